// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a worker leaves to its successor.
 *
 * Theory of operation
 *
 *     [ head: magic, slot, sums ] [ slot 0 ... ] [ slot 1 ... ]
 *
 * A record goes to the slot that the head does not name; then the head is
 * written, in one piece that a signal cannot cut, and names it. Whenever the writer
 * dies, the head names a slot that is whole. No other failure has to be survived:
 * the memory is not a disk.
 *
 * A slot grows as needed, up to SLOT_BYTES; a sparse file costs what is written.
 */
#include "daemon/worker/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/attr.h"

#define MAGIC      0x31304c4a4d454d55ull /* "UMEMJL01" */
#define HEAD_BYTES 4096
#define SLOT_BYTES (1ll << 30)
#define MAX_RANGES ((uint64_t)SLOT_BYTES / sizeof(struct umem_range) / 2 - 1)

/* The head; @counter is even for slot 0 and odd for slot 1. */
struct head {
	uint64_t magic;
	uint64_t counter;
	uint64_t round;
	uint64_t n_watched;
	uint64_t n_held;
};

void journal_left_deinit(struct journal_left *left)
{
	umem_ranges_deinit(&left->watched);
	umem_ranges_deinit(&left->held);
	*left = (struct journal_left){ 0 };
}

static off_t slot_at(uint64_t counter)
{
	return HEAD_BYTES + (off_t)(counter & 1) * SLOT_BYTES;
}

static int write_at(int fd, const void *data, size_t len_bytes, off_t at)
{
	const char *from = data;

	while (len_bytes) {
		ssize_t n = pwrite(fd, from, len_bytes, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		at += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

static int read_at(int fd, void *data, size_t len_bytes, off_t at)
{
	char *to = data;

	while (len_bytes) {
		ssize_t n = pread(fd, to, len_bytes, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		to += n;
		at += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

static int read_head(int fd, struct head *ret_head)
{
	ssize_t n = pread(fd, ret_head, sizeof(*ret_head), 0);

	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(*ret_head) || ret_head->magic == 0)
		return -ENODATA;
	return ret_head->magic == MAGIC ? 0 : -EBADMSG;
}

int journal_write(int fd, const struct umem_watch_left *left)
{
	const size_t watched_bytes = left->n_watched * sizeof(*left->watched);
	struct head head;
	off_t at;
	int r = read_head(fd, &head);

	if (r == -ENODATA)
		head.counter = 1;
	else if (r < 0)
		return r;
	if (left->n_watched > MAX_RANGES || left->n_held > MAX_RANGES)
		return -EFBIG;
	head = (struct head){ MAGIC, head.counter + 1, left->round, left->n_watched,
		left->n_held };
	at = slot_at(head.counter);
	r = write_at(fd, left->watched, watched_bytes, at);
	if (r == 0)
		r = write_at(fd, left->held, left->n_held * sizeof(*left->held),
			at + (off_t)watched_bytes);
	return r < 0 ? r : write_at(fd, &head, sizeof(head), 0);
}

/* @n ranges, which must be ascending and not empty. */
static int read_ranges(int fd, uint64_t n, off_t at, struct umem_ranges *ret_set)
{
	UMEM_FREE struct umem_range *v = NULL;
	uint64_t last = 0;
	int r;

	if (n > MAX_RANGES)
		return -EBADMSG;
	if (n == 0)
		return 0;
	v = reallocarray(NULL, n, sizeof(*v));
	if (!v)
		return -ENOMEM;
	r = read_at(fd, v, n * sizeof(*v), at);
	for (uint64_t i = 0; i < n && r == 0; i++) {
		if (v[i].start < last || v[i].end <= v[i].start)
			return -EBADMSG;
		last = v[i].end;
		r = umem_ranges_add(ret_set, v[i].start, v[i].end);
	}
	return r;
}

int journal_read(int fd, struct journal_left *ret_left)
{
	UMEM_CLEANUP(journal_left_deinit) struct journal_left found = { 0 };
	struct head head;
	off_t at;
	int r = read_head(fd, &head);

	if (r < 0)
		return r;
	at = slot_at(head.counter);
	r = read_ranges(fd, head.n_watched, at, &found.watched);
	if (r == 0)
		r = read_ranges(fd, head.n_held, at + (off_t)(head.n_watched *
			sizeof(struct umem_range)), &found.held);
	if (r < 0)
		return r;
	*ret_left = found;
	ret_left->left = (struct umem_watch_left){
		.round = head.round,
		.watched = ret_left->watched.v,
		.n_watched = ret_left->watched.n,
		.held = ret_left->held.v,
		.n_held = ret_left->held.n,
	};
	found = (struct journal_left){ 0 };
	return 0;
}
