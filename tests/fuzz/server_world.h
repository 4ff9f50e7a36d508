/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What fuzz-server.c plays with: a process namespace in which nobody else lives, a process
 * to be worked on, descriptors of all kinds, and a count of what there is.
 */
#ifndef TESTS_FUZZ_SERVER_WORLD_H
#define TESTS_FUZZ_SERVER_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** WORLD_PAGES - of the area that world_area() is about. */
#define WORLD_PAGES 16u

/**
 * struct world_count - what there is.
 * @fds: of this process. @processes: of the namespace. @victim_fds: of the victim.
 */
struct world_count {
	unsigned fds;
	unsigned processes;
	unsigned victim_fds;
};

/**
 * world_enter - go on in a process of its own, in a namespace of its own: whatever number a
 * script names, it is none of this machine's processes. What is left in it ends with it.
 */
void world_enter(void);

/** world_victim - a process that does nothing; another one when the last was ended. */
pid_t world_victim(void);

/** world_end_victim - it ends. */
void world_end_victim(void);

/** world_dead - the number of a process that is no more. */
pid_t world_dead(void);

/** world_area - memory that is at the same place here and in the victim. */
uint64_t world_area(void);

/** world_area_is_free - has nobody registered anything of it here? */
bool world_area_is_free(void);

/** world_victim_is_free - is the victim untraced? */
bool world_victim_is_free(void);

/**
 * world_fd - a new descriptor, owned by the caller.
 * @kind: a letter, see the table in server_world.c; of others /dev/null.
 * @self: the connection that it is to be sent by.
 */
int world_fd(char kind, int self);

/** world_kill_workers - all that run. */
void world_kill_workers(void);

/** world_count - count. */
struct world_count world_count(void);

#endif
