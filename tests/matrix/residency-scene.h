/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scenes for residency maps: children that set up memory and then hold still,
 * and short questions about a page of theirs.
 */
#ifndef TESTS_MATRIX_RESIDENCY_SCENE_H
#define TESTS_MATRIX_RESIDENCY_SCENE_H

#include <stdint.h>
#include <sys/types.h>

#include <umemd/residency.h>

#define PAGE 4096ul

/** scene_methods - every method that can be forced, and NULL; @scene_n_methods of them. */
extern const char *const scene_methods[];
extern const size_t scene_n_methods;

/** scene_blind - features as an unprivileged process has them. */
extern const char *const scene_blind;

/**
 * struct scene - a child.
 * @pid: its id.
 * @at: an address that it told.
 * @command, @reply: pipes.
 */
struct scene {
	pid_t pid;
	char *at;
	int command;
	int reply;
};

/**
 * scene_start - a child that calls @act with each command, first with 0, and holds
 * still in between. What @act returns is its address.
 */
struct scene scene_start(char *(*act)(char command));

/** scene_tell - have it carry out a command; returns when it is done. */
void scene_tell(struct scene *scene, char command);

/** scene_end - end it. */
void scene_end(struct scene *scene);

/**
 * struct scene_answer - what a map says of [@at, @at + len) of a process.
 * @pages: by enum umem_state.
 * @exact, @reason, @method: of the region that begins it.
 */
struct scene_answer {
	uint64_t pages[UMEM_N_STATES];
	bool exact;
	char reason[160];
	char method[32];
	bool io_known;
	uint64_t io_bytes;
};

/** scene_ask - a map of @pid; failure ends the test. @features: UMEM_FEATURES, or NULL. */
struct scene_answer scene_ask(pid_t pid, const char *method, const char *features,
	const void *at, size_t len);

/**
 * scene_check - all of it is in @state, and the map says that it is exact. By
 * "extents" and "smaps" it may also say why it is not.
 */
void scene_check(pid_t pid, const char *method, const void *at, size_t len,
	enum umem_state state, const char *what);

/** scene_check_all - the same by every method, and blind; the child must not notice. */
void scene_check_all(const struct scene *scene, size_t len, enum umem_state state,
	const char *what);

/**
 * scene_stay - lock what is there of [@at, @at + @len): the machine itself may put out
 * what is idle. What is not there is not brought in. Return: @at.
 */
char *scene_stay(char *at, size_t len);

/** scene_faults - faults of a process so far, minor and major. */
uint64_t scene_faults(pid_t pid);

#endif
