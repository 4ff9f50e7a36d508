/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The actor: a process that changes its memory in every way there is, by
 * random steps from a seed, and tells on a board what it touched.
 *
 * The board lies in the actor's private memory at a fixed address; the oracle
 * reads it from outside and leaves it out of the judgement. Everything that
 * steps work on lies in the arena. Between two commands the actor is blocked
 * in read(2) and changes nothing.
 */
#ifndef TESTS_TORTURE_ACTOR_H
#define TESTS_TORTURE_ACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/torture/trial.h"

#define PAGE 4096ull
#define HUGE (2ull << 20)

#define BOARD_AT 0x100000000ull
#define ARENA_AT 0x10000000000ull
#define SLOT_BYTES (32ull << 20)
#define N_SLOTS 40
#define ARENA_END (ARENA_AT + N_SLOTS * SLOT_BYTES)

#define MAX_AREAS 64
#define MAX_OBJECTS 1024
#define MAX_TOUCHES 16384
#define LOG_BYTES 32768

/** enum actor_kind - what an area is made of. */
enum actor_kind {
	ACT_ANON,
	ACT_THP,
	ACT_SHARED_ANON,
	ACT_MEMFD,
	ACT_TMPFS,
	ACT_FILE_SHARED,
	ACT_FILE_PRIVATE,
	ACT_MEMFD_PRIVATE,
	ACT_HUGETLB,
	ACT_HUGETLB_SHARED,
	ACT_N_KINDS,
};

/**
 * struct actor_area - one mapping, or a part of one.
 * @at, @pages: where; pages of 4096 bytes also for huge ones.
 * @object: index of what it maps, or -1 for private anonymous memory.
 * @offset: of its first page in the object, in pages.
 * @hidden: PROT_NONE or read-only now.
 * @locked: mlock was tried; making it writable again faults all of it in.
 * @freed: MADV_FREE was called: pages of it may go at any time.
 * @mergeable: KSM may merge its pages whenever it runs.
 * @discarded: a private huge page was, in this round: none is read then (see assumes).
 * @young: a second mapping that appeared in this round; it stays for the next (see assumes).
 * @pinned: registered with the ring; it is neither moved nor replaced.
 * @guard_first, @guard_pages: guard pages in it.
 */
struct actor_area {
	uint64_t at;
	uint64_t pages;
	uint64_t offset;
	int object;
	enum actor_kind kind;
	bool hidden;
	bool pinned;
	bool locked;
	bool freed;
	bool mergeable;
	bool discarded;
	bool young;
	uint64_t guard_first;
	uint64_t guard_pages;
};

/**
 * struct actor_object - a file: @pages up to its end, @punched in this round.
 * @collapsed: may lie in huge pages; when one that is mapped as such is split,
 *	the kernel forgets the marks of all of it.
 */
struct actor_object {
	int fd;
	uint64_t pages;
	int users;
	bool punched;
	bool collapsed;
};

struct actor_touch {
	uint64_t start;
	uint64_t end;
};

/**
 * struct actor_board - the face of the actor.
 * @seed, @steps, @swap, @folios, @hugetlb: orders, written before a command is sent.
 * @done: commands that were carried out.
 * @n_touches, @touches: since the last command; if full, @touched_all.
 * @log: the steps of the last command, as text.
 */
struct actor_board {
	uint64_t seed;
	uint64_t steps;
	uint64_t swap;
	uint64_t folios;
	uint64_t hugetlb;
	uint64_t done;
	uint64_t n_areas;
	struct actor_area areas[MAX_AREAS];
	uint64_t n_objects;
	struct actor_object objects[MAX_OBJECTS];
	uint64_t touched_all;
	uint64_t n_touches;
	struct actor_touch touches[MAX_TOUCHES];
	uint64_t log_len;
	char log[LOG_BYTES];
};

/**
 * actor_run - be the actor; commands come by @fd, a byte each: '+' goes on in
 * the round of the last one, any other begins a round. Never returns.
 */
void actor_run(int fd, uint64_t seed, const struct trial_options *options)
	__attribute__((noreturn));

/* Inside of the actor, shared by its files. */

/** board - of this process. */
#define board ((struct actor_board *)BOARD_AT)

/** act_log - add a line about the step being done. */
void act_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** act_below - random number below @n. */
uint64_t act_below(uint64_t n);

/** act_touch - pages that may be reported: of @area, and of all that show the same object. */
void act_touch(const struct actor_area *area, uint64_t first, uint64_t pages);

/** act_usable - can the program write this page now? */
bool act_usable(const struct actor_area *area, uint64_t page);

/** act_write - write a few bytes or all of page @page of @area, if it is usable. */
void act_write(const struct actor_area *area, uint64_t page);

/** act_pick - a random area, or NULL if there is none. */
struct actor_area *act_pick(void);

/** act_create - map a new area. Return: it, or NULL. */
struct actor_area *act_create(void);

/**
 * act_create_at - map a new area of @kind.
 * @at: 0 for anywhere.
 * @pages: 0 for any number.
 * Return: it, or NULL.
 */
struct actor_area *act_create_at(enum actor_kind kind, uint64_t at, uint64_t pages);

/** act_mmap - map @area as its fields say. */
bool act_mmap(struct actor_area *area);

/** act_place - a free place, or 0. */
uint64_t act_place(uint64_t pages, uint64_t align);

/** act_map_step - one random change of the mappings. */
void act_map_step(void);

/** act_content_step - one random change of content. */
void act_content_step(void);

/** act_kernel_step - one random change that the kernel makes: reclaim, KSM, I/O. */
void act_kernel_step(void);

/** act_is_private - private anonymous or private file memory? */
static inline bool act_is_private(const struct actor_area *a)
{
	return a->kind == ACT_ANON || a->kind == ACT_THP || a->kind == ACT_FILE_PRIVATE ||
		a->kind == ACT_MEMFD_PRIVATE || a->kind == ACT_HUGETLB;
}

/** act_is_huge - pages of the reserved pool? */
static inline bool act_is_huge(const struct actor_area *a)
{
	return a->kind == ACT_HUGETLB || a->kind == ACT_HUGETLB_SHARED;
}

#endif
