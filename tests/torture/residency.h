/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The residency oracle: a cast of processes that carry out system calls and
 * touch memory on command, what they map, and what is known of it without the
 * engine.
 *
 * All choices are made in one place, the stage (the process that also judges),
 * from one seed; the actors only obey. So the stage knows each area and object.
 * What pages are where is never reckoned: it is read from the kernel, page by page.
 */
#ifndef TESTS_TORTURE_RESIDENCY_H
#define TESTS_TORTURE_RESIDENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <umemd/residency.h>
#include <umemd/types.h>

#define PAGE 4096ull
#define HUGE (2ull << 20)
#define PAGES_PER_HUGE 512ull

/* Where neither a program nor the shadow of a sanitizer lies. */
#define BOARD_AT    0x200000000000ull
#define ARENA_AT    0x210000000000ull
#define SLOT_BYTES  (16ull << 20)
#define SLOT_PAGES  (SLOT_BYTES / PAGE)
#define N_SLOTS     12
#define ARENA_PAGES (N_SLOTS * SLOT_PAGES)
#define ARENA_END   (ARENA_AT + ARENA_PAGES * PAGE)

#define N_ACTORS  4
#define N_OBJECTS 10
#define MAX_HUGE  8

/* The most that an object or an area has, so that it fits into a slot at any offset below 512. */
#define LARGE_PAGES (SLOT_PAGES - 512)

/** enum cast_backing - what an object is; BACK_ANON is none. */
enum cast_backing {
	BACK_ANON,
	BACK_MEMFD,
	BACK_TMPFS,
	BACK_TMPFS_HUGE, /* a file of a tmpfs with huge=always */
	BACK_SHARED_ANON,
	BACK_SYSV,
	BACK_HUGETLB,
	BACK_DISK,
	N_BACKINGS,
};

/**
 * struct cast_object - memory that several may map.
 * @fd: the stage's own descriptor.
 * @map: and its own mapping, which nobody touches; not of huge pages.
 * @shm_id: of a System V segment.
 * @pages: size, in pages of 4096 bytes.
 * @beyond: pages were allocated past the end of the file.
 * @held: of huge pages: which it holds.
 */
struct cast_object {
	enum cast_backing backing;
	int fd;
	unsigned char *map;
	int shm_id;
	uint64_t pages;
	bool beyond;
	bool held[MAX_HUGE];
};

/**
 * struct cast_area - what an actor has in a slot of its arena.
 * @pages: its length; 0 where there is nothing.
 * @object: index, or -1 for private anonymous memory.
 * @offset: of its first page in the object, in pages.
 * @shared: MAP_SHARED.
 * @huge: of the pool of huge pages.
 * @armed: a userfaultfd has been at it.
 * @registered: and is now, at least in part.
 */
struct cast_area {
	uint64_t at;
	uint64_t pages;
	int object;
	uint64_t offset;
	bool shared;
	bool huge;
	bool armed;
	bool registered;
};

/**
 * struct cast_actor - one process.
 * @pid: its id, or 0 where there is none.
 * @parent: the actor that forked it; it ends with it. -1: the stage.
 * @sock, @own_sock: the command line: the stage's end, and the actor's.
 * @pagemap: as root sees it.
 * @uffd: a duplicate of its own, or -1.
 */
struct cast_actor {
	pid_t pid;
	int parent;
	int sock;
	int own_sock;
	int pagemap;
	int uffd;
	struct cast_area areas[N_SLOTS];
};

/**
 * struct cast_board - memory that all share, at BOARD_AT.
 * @mincore: bytes of mincore(2), by the actor itself.
 * @scratch: arguments of system calls.
 */
struct cast_board {
	unsigned char mincore[SLOT_PAGES];
	char scratch[PAGE];
};

/**
 * struct cast_options - what to run.
 * @seeds, @rounds, @steps: how much; a round is some steps and a judgement.
 * @jobs: seeds at a time, 1 or 2.
 * @nobody: actors and asker are an unprivileged user.
 * @compact: have the kernel move pages while questions are asked.
 * @hugetlb: there is a pool of huge pages.
 */
struct cast_options {
	unsigned seeds;
	unsigned rounds;
	unsigned steps;
	unsigned jobs;
	bool nobody;
	bool compact;
	bool hugetlb;
	bool verbose;
};

/** struct cast_tally - what came out. */
struct cast_tally {
	uint64_t steps;
	uint64_t queries;
	uint64_t pages;      /* compared */
	uint64_t inexact;    /* of regions that said that they are not exact */
	uint64_t moved;      /* that moved during a query */
	uint64_t again;      /* queries that were repeated for that */
	uint64_t states[UMEM_N_STATES];
};

/** struct cast - everything of one seed. */
struct cast {
	const struct cast_options *options;
	uint64_t seed;
	uint64_t state;
	unsigned round;
	struct cast_actor actors[N_ACTORS];
	struct cast_object objects[N_OBJECTS];
	size_t n_objects;
	int kpageflags;
	char log[65536];
	size_t log_len;
	struct cast_tally tally;
};

/** struct cast_truth - each page of an arena, by looking at it alone. */
struct cast_truth {
	/* enum umem_state, or TRUTH_NONE where nothing is mapped */
	unsigned char state[ARENA_PAGES];
	/* the entry in the page table: enum umem_state, RESIDENT where present */
	unsigned char entry[ARENA_PAGES];
	/* the page of the object: UNTOUCHED, RESIDENT or SWAPPED */
	unsigned char object[ARENA_PAGES];
};

#define TRUTH_NONE 0xff

/** cast_run - run one seed; complains on stderr. Return: did it pass? */
bool cast_run(const struct cast_options *options, uint64_t seed, struct cast_tally *ret_tally);

/* residency-cast.c: the processes */

/** cast_open - make the objects and the first actor. */
void cast_open(struct cast *c);

/** cast_syscall - have an actor make a system call. Return: its value, or -errno. */
int64_t cast_syscall(struct cast *c, unsigned who, long nr, uint64_t a0, uint64_t a1,
	uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

/** enum cast_touch - how a page is touched. */
enum cast_touch {
	TOUCH_READ,
	TOUCH_WRITE,  /* a byte */
	TOUCH_CLEAR,  /* a byte of zero */
	TOUCH_RANDOM, /* all of it, so that it does not compress */
	N_TOUCHES,
};

/** cast_touch - touch @n pages from @at on, each @stride-th. Return: pages that could be. */
uint64_t cast_touch(struct cast *c, unsigned who, uint64_t at, uint64_t n, uint64_t stride,
	enum cast_touch how);

/** cast_fork - have @who fork; the child is @slot. */
void cast_fork(struct cast *c, unsigned who, unsigned slot);

/** cast_exit - end an actor that is not the first and has no children. */
void cast_exit(struct cast *c, unsigned who);

/** cast_board - the shared board. */
static inline struct cast_board *cast_board(void)
{
	return (struct cast_board *)BOARD_AT;
}

/** cast_log - add a line about the steps being done. */
void cast_log(struct cast *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** cast_below - random number below @n. */
uint64_t cast_below(struct cast *c, uint64_t n);

/* residency-step.c, residency-step-map.c: what is done */

/** cast_step - one random step. */
void cast_step(struct cast *c);

/** cast_map_step - one random change of mappings or objects. */
void cast_map_step(struct cast *c);

/** cast_pick - a random actor, and one of its areas; false if it has none. */
bool cast_pick(struct cast *c, unsigned *ret_who, struct cast_area **ret_area);

/** cast_part - a random part of an area, in pages; whole huge pages where it has such. */
void cast_part(struct cast *c, const struct cast_area *a, uint64_t *ret_first, uint64_t *ret_n);

/* residency-truth.c: what is so */

/** cast_truth - look at each page of an arena. */
void cast_truth(struct cast *c, unsigned who, struct cast_truth *ret_truth);

/** cast_object_state - look at one page of an object. */
enum umem_state cast_object_state(const struct cast_object *o, uint64_t page);

/** cast_cached - is a page of an object in memory, if only in the swap cache? */
bool cast_cached(const struct cast_object *o, uint64_t page);

/** enum cast_swap - what the swap areas are that hold something. */
enum cast_swap {
	SWAP_NONE,
	SWAP_ZRAM,
	SWAP_DEVICE,
	SWAP_MIXED,
};

/** cast_swap - look at them. */
enum cast_swap cast_swap(void);

/** cast_check_witnesses - hold the truth against mincore(2) and smaps of the actor. */
void cast_check_witnesses(struct cast *c, unsigned who, const struct cast_truth *before);

/**
 * struct cast_footprint - what a query must not change.
 * @major, @minor: faults; @pte_kb: memory of page tables, of all actors.
 * @resident_kb, @swapped_kb: sums of smaps.
 * @huge_free, @huge_reserved: of the machine.
 */
struct cast_footprint {
	uint64_t major[N_ACTORS];
	uint64_t minor[N_ACTORS];
	uint64_t pte_kb[N_ACTORS];
	uint64_t resident_kb[N_ACTORS];
	uint64_t swapped_kb[N_ACTORS];
	uint64_t huge_free;
	uint64_t huge_reserved;
};

/** cast_footprint - as it is now. */
void cast_footprint(struct cast *c, struct cast_footprint *ret_print);

/* residency-ask.c: the engine's answers, from a process of its own */

#define MAX_ANSWERS 1024

/** struct cast_region - as struct umem_residency_region, without pointers. */
struct cast_region {
	uint64_t start;
	uint64_t end;
	uint64_t page_size_bytes;
	uint64_t bytes[UMEM_N_STATES];
	uint64_t io_bytes;
	bool exact;
	bool io_known;
	char kind[24];
	char method[32];
	char reason[160];
};

/**
 * struct cast_answer - a map.
 * @r, @note: what the engine returned.
 * @twice: a page was reported more than once.
 * @state: of the pages of the arena, TRUTH_NONE where it says nothing.
 */
struct cast_answer {
	int r;
	char note[384];
	size_t n;
	bool twice;
	struct cast_region v[MAX_ANSWERS];
	unsigned char state[ARENA_PAGES];
};

/**
 * struct cast_way - a way to ask.
 * @method: of struct umem_residency_options.
 * @features: UMEM_FEATURES.
 * @exact: root gets exact answers for all of the arena but shared files of a disk.
 */
struct cast_way {
	const char *method;
	const char *features;
	bool exact;
};

extern const struct cast_way cast_ways[];
extern const size_t cast_n_ways;

/** cast_asker_start - start the asking process. Called before the first actor is. */
void cast_asker_start(bool nobody);

/**
 * cast_ask - ask.
 * @way: index in cast_ways.
 * @again: look again with the map that is kept of the last time, if there is one.
 * @ranges, @n: only there; 0 for all.
 * Return: the answer, valid until the next.
 */
const struct cast_answer *cast_ask(pid_t pid, size_t way, bool again,
	const struct umem_range *ranges, size_t n);

/* residency-judge.c */

/** cast_judge - ask in every way about an actor, in one about the others, and compare. */
bool cast_judge(struct cast *c);

/** cast_judge_objects - the same for objects by descriptor. */
bool cast_judge_objects(struct cast *c);

#endif
