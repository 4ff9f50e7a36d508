/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of a client (see <umemd/client.h>), shared by the files of libumemd. */
#ifndef UMEM_CLIENT_CLIENT_H
#define UMEM_CLIENT_CLIENT_H

#include <umemd/client.h>

#include "lib/base/reasons.h"
#include "lib/proto/frame.h"
#include "lib/proto/message.h"

/**
 * struct umem_client - a connection.
 * @sock: -1 once it is over.
 * @timeout_ns: of a call; 0 for none.
 * @inbox, @outbox: of it.
 * @armed, @assumes, @tracker: of the last umem_client_start().
 * @on_round, @user: of umem_client_monitor(), while it monitors.
 * @path: of the daemon's socket.
 * @moved, @texts, @n_texts: of the last umem_client_pageout() or umem_client_pagein().
 * @snapshot, @incomplete, @words: of the last umem_client_snapshot().
 */
struct umem_client {
	int sock;
	uint64_t timeout_ns;
	struct umem_inbox inbox;
	struct umem_outbox outbox;
	struct umem_armed armed;
	struct umem_reasons assumes;
	char tracker[32];
	void (*on_round)(void *user, struct umem_client_round *round, int result,
		const struct umem_note *note);
	void *user;
	char *path;
	struct umem_client_moved moved;
	char **texts;
	size_t n_texts;
	struct umem_snapshot snapshot;
	struct umem_reasons incomplete;
	struct umem_json *words;
};

/**
 * struct umem_client_answer - a reply, and the descriptors that came with it.
 * @reply: decoded. @frame: owns the descriptors.
 */
struct umem_client_answer {
	struct umem_reply reply;
	struct umem_frame frame;
};

/** umem_client_answer_deinit - free and close. */
void umem_client_answer_deinit(struct umem_client_answer *answer);

/**
 * umem_client_call - call @method and wait for its only reply.
 * @parameters: consumed. @fds, @n_fds: duplicated, sent along.
 * Return: 0; as of all calls in <umemd/client.h>, with @note.
 */
int umem_client_call(struct umem_client *client, const char *method,
	struct umem_json *parameters, const int *fds, size_t n_fds,
	struct umem_client_answer *ret_answer, struct umem_note *note);

/**
 * umem_client_call_more - the same with "more": wait for the last of several replies.
 * @each: gets the parameters of each reply before it, and NULL now and then when there
 *	is none; may call on other connections only. What it returns other than 0 ends it and
 *	the connection, and is returned.
 */
int umem_client_call_more(struct umem_client *client, const char *method,
	struct umem_json *parameters, const int *fds, size_t n_fds,
	int (*each)(void *user, const struct umem_json *parameters), void *user,
	struct umem_client_answer *ret_answer, struct umem_note *note);

/** umem_client_for_target - parameters that name @target; owned by the caller. */
struct umem_json *umem_client_for_target(const char *target);

/** umem_client_set_regions - set @key to an array of Range; without any, not at all. */
void umem_client_set_regions(struct umem_json *parameters, const char *key,
	const struct umem_range *v, size_t n);

/** umem_client_forget_moved - free the texts of @moved. */
void umem_client_forget_moved(struct umem_client *client);

/** umem_client_send - call @method with "more", without waiting. Return: as above. */
int umem_client_send_more(struct umem_client *client, const char *method,
	struct umem_json *parameters, struct umem_note *note);

/** umem_client_result - what a reply is: 0, or an error of it with @note. */
int umem_client_result(const struct umem_reply *reply, struct umem_note *note);

/** umem_client_take - the next reply that is here. Return: 0; UMEM_AGAIN; -EPROTO, -ENOMEM. */
int umem_client_take(struct umem_client *client, struct umem_client_answer *ret_answer);

/** umem_client_round_new - the round of a reply. Return: 0; -EPROTO; -ENOMEM; -errno. */
int umem_client_round_new(struct umem_client_answer *answer,
	struct umem_client_round **ret_round);

/**
 * umem_client_map_memfd - map descriptor @index of a reply, which must be sealed.
 * @ret_at: for munmap(2); NULL when it is empty. Return: 0, -EPROTO, -errno of mmap(2).
 */
int umem_client_map_memfd(const struct umem_client_answer *answer, int64_t index,
	const void **ret_at, size_t *ret_len_bytes);

/** umem_client_read_reasons - an array of Reason. Return: 0, -EPROTO, -ENOMEM. */
int umem_client_read_reasons(const struct umem_json *list, struct umem_reasons *ret_reasons);

/** umem_client_get_u64 - member @key as a number that is not negative; 0 for another. */
uint64_t umem_client_get_u64(const struct umem_json *object, const char *key);

#endif
