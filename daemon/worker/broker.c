// SPDX-License-Identifier: LGPL-2.1-or-later
/* Asking the manager for what a worker may not open by itself. */
#include "daemon/worker/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "lib/mem/machine.h"
#include "lib/proto/message.h"

#define MAX_BYTES (1u << 20)

static const struct umem_json_limits limits = { MAX_BYTES, 8, 1u << 17 };

/* Send all that waits, then wait for one message. */
static int exchange(struct broker *broker, struct umem_frame *ret_frame)
{
	struct pollfd pfd = { .fd = broker->fd };
	int r = umem_outbox_send(&broker->outbox, broker->fd);

	while (r == -EAGAIN) {
		pfd.events = POLLOUT;
		poll(&pfd, 1, -1);
		r = umem_outbox_send(&broker->outbox, broker->fd);
	}
	while (r == 0) {
		r = umem_inbox_next(&broker->inbox, ret_frame);
		if (r != UMEM_AGAIN)
			return r;
		pfd.events = POLLIN;
		poll(&pfd, 1, -1);
		r = umem_inbox_receive(&broker->inbox, broker->fd);
		if (r == -EAGAIN)
			r = 0;
	}
	return r;
}

/* Call @method. @ret_frame holds the descriptors of the reply. Return: 0 or -errno. */
static int ask(struct broker *broker, const char *method, struct umem_json *parameters,
	struct umem_reply *ret_reply, struct umem_frame *ret_frame)
{
	UMEM_CLEANUP(umem_frame_deinit) struct umem_frame frame = { 0 };
	struct umem_reply reply = { 0 };
	int64_t error;
	int r = umem_outbox_add_call_consume(&broker->outbox, method, parameters, false, NULL, 0);

	if (r == 0)
		r = exchange(broker, &frame);
	if (r == 0)
		r = umem_reply_decode(frame.text, frame.len_bytes, &limits, &reply, NULL);
	if (r < 0)
		return r;
	if (reply.error) {
		error = umem_json_get_int(reply.parameters, "errno", EIO);
		umem_reply_deinit(&reply);
		return error > 0 && error < 4096 ? (int)-error : -EIO;
	}
	*ret_reply = reply;
	*ret_frame = frame;
	frame = (struct umem_frame){ 0 };
	return 0;
}

static struct umem_json *mapping(uint64_t start, uint64_t end)
{
	struct umem_json *parameters = umem_json_object();

	umem_json_set_u64(parameters, "start", start);
	umem_json_set_u64(parameters, "end", end);
	return parameters;
}

/* The same, of a method that answers with a descriptor. */
static int ask_for_fd(struct broker *broker, const char *method, struct umem_json *parameters,
	int *ret_fd)
{
	UMEM_CLEANUP(umem_frame_deinit) struct umem_frame frame = { 0 };
	struct umem_reply reply = { 0 };
	int fd, r = ask(broker, method, parameters, &reply, &frame);

	if (r < 0)
		return r;
	fd = umem_frame_take_fd(&frame, umem_json_get_int(reply.parameters, "fd", -1));
	umem_reply_deinit(&reply);
	if (fd < 0)
		return -EBADF;
	*ret_fd = fd;
	return 0;
}

static int open_mapped(void *user, uint64_t start, uint64_t end, int flags, int *ret_fd)
{
	struct umem_json *parameters = mapping(start, end);

	umem_json_set_bool(parameters, "write", (flags & O_ACCMODE) != O_RDONLY);
	umem_json_set_bool(parameters, "wait", !(flags & O_NONBLOCK));
	return ask_for_fd(user, "io.umemd.Broker.OpenMapped", parameters, ret_fd);
}

static int machine(void *user, unsigned parts, struct umem_json **ret_found)
{
	UMEM_CLEANUP(umem_frame_deinit) struct umem_frame frame = { 0 };
	struct umem_json *parameters = umem_json_object();
	struct umem_reply reply = { 0 };
	int r;

	umem_json_set_bool(parameters, "room", parts & UMEM_MACHINE_ROOM);
	umem_json_set_bool(parameters, "strain", parts & UMEM_MACHINE_STRAIN);
	r = ask(user, "io.umemd.Broker.Machine", parameters, &reply, &frame);
	if (r < 0)
		return r;
	*ret_found = umem_json_share(reply.parameters);
	umem_reply_deinit(&reply);
	return 0;
}

static int open_frames(void *user, int *ret_fd)
{
	return ask_for_fd(user, "io.umemd.Broker.OpenFrames", NULL, ret_fd);
}

/*
 * A file system holds files of one kind; only device nodes lie among others, and
 * where they do their name says so.
 */
static bool is_known_file(const struct broker *broker, const struct umem_vma *vma,
	uint64_t device)
{
	for (size_t i = 0; i < broker->n_devices; i++)
		if (broker->devices[i] == device)
			return strncmp(vma->name, "/dev/", 5) != 0;
	return false;
}

static enum umem_backing backing(void *user, const struct umem_vma *vma)
{
	static const struct {
		const char *word;
		enum umem_backing backing;
	} words[] = {
		{ "shmem", UMEM_BACKING_SHMEM },
		{ "hugetlb", UMEM_BACKING_HUGETLB },
		{ "file", UMEM_BACKING_FILE },
		{ "device", UMEM_BACKING_DEVICE },
	};
	uint64_t device = (uint64_t)vma->dev_major << 32 | vma->dev_minor;
	UMEM_CLEANUP(umem_frame_deinit) struct umem_frame frame = { 0 };
	enum umem_backing found = UMEM_BACKING_UNKNOWN;
	struct broker *broker = user;
	struct umem_reply reply = { 0 };
	const char *word;

	if (is_known_file(broker, vma, device))
		return UMEM_BACKING_FILE;
	if (ask(broker, "io.umemd.Broker.Backing", mapping(vma->start, vma->end), &reply,
		    &frame) < 0)
		return UMEM_BACKING_UNKNOWN;
	word = umem_json_get_text(reply.parameters, "backing", "");
	for (size_t i = 0; i < UMEM_ARRAY_LEN(words); i++)
		if (strcmp(word, words[i].word) == 0)
			found = words[i].backing;
	umem_reply_deinit(&reply);
	if (found == UMEM_BACKING_FILE && broker->n_devices < BROKER_DEVICES)
		broker->devices[broker->n_devices++] = device;
	return found;
}

static int mappers(void *user, struct umem_json *objects, struct umem_json **ret_found)
{
	UMEM_CLEANUP(umem_frame_deinit) struct umem_frame frame = { 0 };
	struct umem_json *parameters = umem_json_object();
	struct umem_reply reply = { 0 };
	int r;

	umem_json_set_consume(parameters, "objects", objects);
	r = ask(user, "io.umemd.Broker.Mappers", parameters, &reply, &frame);
	if (r < 0)
		return r;
	*ret_found = umem_json_share(reply.parameters);
	umem_reply_deinit(&reply);
	return 0;
}

void broker_init(struct broker *broker, int fd, const struct isolate *isolate)
{
	*broker = (struct broker){
		.fd = fd,
		.inbox = { .max_bytes = MAX_BYTES },
		.reach = {
			.open_mapped = open_mapped,
			.backing = backing,
			.mappers = mappers,
			.machine = machine,
			.open_frames = open_frames,
			.own_pagemap_fd = isolate->pagemap_fd,
			.is_owner = isolate->is_owner,
			.user = broker,
		},
	};
}

void broker_deinit(struct broker *broker)
{
	umem_inbox_deinit(&broker->inbox);
	umem_outbox_deinit(&broker->outbox);
}
