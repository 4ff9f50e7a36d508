/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Giving up what a worker does not need, in stages. */
#ifndef WORKER_ISOLATE_H
#define WORKER_ISOLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** enum worker_fd - descriptors that a worker begins with, by number. */
enum worker_fd {
	WORKER_FD_CALLS = 3,  /* calls of the manager */
	WORKER_FD_BROKER = 4, /* questions to the manager */
	WORKER_FD_ROOT = 5,   /* an empty directory, or nothing */
	WORKER_FD_END,
};

/** ISOLATE_LOOSE - things that isolation may have to leave undone. */
#define ISOLATE_LOOSE 8

/**
 * struct isolate - how far it came.
 * @loose, @n_loose: what could not be given up here, static texts.
 * @pagemap_fd: the page table of this process, opened before; -1 where it cannot be.
 * @is_owner: CAP_FOWNER was kept.
 */
struct isolate {
	const char *loose[ISOLATE_LOOSE];
	size_t n_loose;
	int pagemap_fd;
	bool is_owner;
};

/**
 * struct isolate_options - what to become.
 * @uid, @gid: used when started by root.
 * @manager: who must be the parent; 0 for anybody.
 */
struct isolate_options {
	uid_t uid;
	gid_t gid;
	pid_t manager;
};

/**
 * isolate_start - the first stage, before anything is read from anybody.
 * @ret_isolate: what could not be done for want of rights.
 *
 * Return: 0, or -errno of what must not fail.
 */
int isolate_start(const struct isolate_options *options, struct isolate *ret_isolate);

/**
 * isolate_snapshot - the same of a process that takes a snapshot: it becomes @uid, whose
 * rights it then has and no more; when that is root, with the capabilities of its work
 * only. Everything but WORKER_FD_CALLS is closed.
 *
 * Return: 0 or -errno.
 */
int isolate_snapshot(const struct isolate_options *options);

/** isolate_note_loose - one more thing that could not be given up. */
void isolate_note_loose(struct isolate *isolate, const char *what);

#endif
