// SPDX-License-Identifier: LGPL-2.1-or-later
/* Steps that change content: writes, discards, holes, forks, threads, heap and stack. */
#include <alloca.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/harness.h"
#include "tests/torture/actor.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

static void *at_page(const struct actor_area *a, uint64_t page)
{
	return (void *)(a->at + page * PAGE);
}

static void write_some(void)
{
	struct actor_area *a = act_pick();
	uint64_t n = 1 + act_below(12), first;

	if (!a)
		return;
	first = act_below(a->pages);
	if (act_below(3) == 0) {
		for (uint64_t i = 0; i < 4 * n && first + i < a->pages; i++)
			act_write(a, first + i);
	} else {
		for (uint64_t i = 0; i < n; i++)
			act_write(a, act_below(a->pages));
	}
	act_log("  write %#llx", (unsigned long long)a->at);
}

/* Reading brings pages in; not where a hole was punched in this round (see assumes). */
static void read_some(void)
{
	struct actor_area *a = act_pick();

	if (!a || a->discarded || (a->object >= 0 && board->objects[a->object].punched))
		return;
	for (uint64_t i = 0; i < 20; i++) {
		uint64_t page = act_below(a->pages);

		if (act_usable(a, page))
			(void)*(volatile char *)at_page(a, page);
	}
	act_log("  read %#llx", (unsigned long long)a->at);
}

/* A random part of an area; often aligned to 2 MiB. */
static bool part(const struct actor_area *a, uint64_t *ret_first, uint64_t *ret_n)
{
	uint64_t g = act_is_huge(a) || (a->pages >= 512 && act_below(2)) ? 512 : 1;
	uint64_t skew = (a->at / PAGE) % g, first, n;

	skew = skew ? g - skew : 0;
	if (a->pages < skew + g)
		return false;
	first = act_below((a->pages - skew) / g) * g + skew;
	n = (a->pages - first) / g;
	n = act_below(3) ? g : (1 + act_below(n)) * g;
	*ret_first = first;
	*ret_n = n;
	return true;
}

static void advise(int advice, const char *name)
{
	struct actor_area *a = act_pick();
	uint64_t first, n;
	int r;

	if (!a || !part(a, &first, &n))
		return;
	act_touch(a, first, n);
	r = madvise(at_page(a, first), n * PAGE, advice);
	a->discarded |= advice == MADV_DONTNEED && act_is_huge(a);
	a->freed |= advice == MADV_FREE && r == 0;
	act_log("  %s %#llx page %llu +%llu: %s", name, (unsigned long long)a->at,
		(unsigned long long)first, (unsigned long long)n, r ? strerror(errno) : "ok");
}

static struct actor_area *pick_object(void)
{
	for (int i = 0; i < 8; i++) {
		struct actor_area *a = act_pick();

		if (a && !act_is_private(a) && a->object >= 0)
			return a;
	}
	return NULL;
}

static void punch(bool by_fd)
{
	struct actor_area *a = pick_object();
	uint64_t first, n;
	int fd, r;

	if (!a || a->pinned || !part(a, &first, &n))
		return;
	fd = board->objects[a->object].fd;
	act_touch(a, first, n);
	board->objects[a->object].punched = true;
	if (by_fd && fd >= 0)
		r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)((a->offset + first) * PAGE), (off_t)(n * PAGE));
	else
		r = madvise(at_page(a, first), n * PAGE, MADV_REMOVE);
	act_log("  punch %#llx page %llu +%llu by fd %d: %s", (unsigned long long)a->at,
		(unsigned long long)first, (unsigned long long)n, by_fd,
		r ? strerror(errno) : "ok");
}

static void truncate_object(void)
{
	struct actor_area *a = pick_object();
	struct actor_object *o;
	uint64_t to, g;

	if (!a || a->pinned || board->objects[a->object].fd < 0)
		return;
	o = &board->objects[a->object];
	g = act_is_huge(a) ? 512 : 1;
	to = act_below(3) ? act_below(o->pages + 1) / g * g : (o->pages + g * act_below(64));
	if (to > 4096)
		return;
	act_touch(a, 0, 8192);
	for (uint64_t i = 0; i < board->n_areas; i++)
		if (board->areas[i].object == a->object)
			act_touch(&board->areas[i], 0, board->areas[i].pages);
	o->punched = true;
	if (ftruncate(o->fd, (off_t)(to * PAGE)) == 0)
		o->pages = to;
	act_log("  truncate %#llx to %llu", (unsigned long long)a->at, (unsigned long long)to);
	if (act_below(2) && to < a->offset + a->pages) {
		to = a->offset + a->pages;
		if (ftruncate(o->fd, (off_t)(to * PAGE)) == 0)
			o->pages = to;
		act_log("  and back to %llu", (unsigned long long)to);
	}
}

/*
 * Not on file mappings: MADV_GUARD_INSTALL first zaps and then insists on
 * empty entries, but the zap of a file mapping keeps write-protect marks, so
 * that the call starts over for ever (Linux 6.15 to 6.18 at least).
 */
static void guard(void)
{
	struct actor_area *a = act_pick();
	uint64_t first, n;
	int r;

	if (!a || a->pinned || act_is_huge(a))
		return;
	if (a->guard_pages) {
		act_touch(a, a->guard_first, a->guard_pages);
		r = madvise(at_page(a, a->guard_first), a->guard_pages * PAGE,
			MADV_GUARD_REMOVE);
		a->guard_pages = r ? a->guard_pages : 0;
	} else {
		if ((a->kind != ACT_ANON && a->kind != ACT_THP) || !part(a, &first, &n))
			return;
		act_touch(a, first, n);
		r = madvise(at_page(a, first), n * PAGE, MADV_GUARD_INSTALL);
		if (r == 0) {
			a->guard_first = first;
			a->guard_pages = n;
		}
	}
	act_log("  guard %#llx page %llu +%llu", (unsigned long long)a->at,
		(unsigned long long)a->guard_first, (unsigned long long)a->guard_pages);
}

/*
 * Not files on disk: a fault in a locked mapping whose entry has a mark and
 * whose page is not in the page cache starts over for ever
 * (filemap_fault_recheck_pte_none() takes the mark for a page; Linux 6.18).
 */
static void lock(void)
{
	struct actor_area *a = act_pick();

	if (!a || act_is_huge(a) || a->kind == ACT_FILE_SHARED || a->kind == ACT_FILE_PRIVATE ||
		(a->object >= 0 && board->objects[a->object].punched))
		return;
	act_touch(a, 0, a->pages);
	a->locked = true;
	if (mlock((void *)a->at, a->pages * PAGE) == 0 && act_below(3))
		munlock((void *)a->at, a->pages * PAGE);
	act_log("  mlock %#llx", (unsigned long long)a->at);
}

/* A child that exits at once, or writes its own copies; the parent writes then or after. */
static void fork_step(void)
{
	uint64_t how = act_below(3);
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 0; how && i < 20; i++) {
			struct actor_area *a = act_pick();

			if (a && act_is_private(a))
				act_write(a, act_below(a->pages));
		}
		_exit(0);
	}
	T_CHECK(pid > 0);
	if (how == 2)
		write_some();
	waitpid(pid, NULL, 0);
	if (how != 1)
		write_some();
	act_log("  fork %llu", (unsigned long long)how);
}

struct job {
	uint8_t *at[16];
};

static void *work(void *arg)
{
	struct job *job = arg;

	for (int i = 0; i < 16; i++)
		if (job->at[i])
			job->at[i][i * 3] += 1;
	return NULL;
}

static void threads(void)
{
	struct job jobs[4] = { 0 };
	pthread_t ids[4];

	for (int i = 0; i < 4 * 16; i++) {
		struct actor_area *a = act_pick();
		uint64_t page = a ? act_below(a->pages) : 0;

		if (!a || !act_usable(a, page))
			continue;
		act_touch(a, page, 1);
		jobs[i / 16].at[i % 16] = at_page(a, page);
	}
	for (int i = 0; i < 4; i++)
		T_CHECK(pthread_create(&ids[i], NULL, work, &jobs[i]) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(ids[i], NULL);
}

static void churn_heap(void)
{
	static char *held[32];

	for (int i = 0; i < 40; i++) {
		uint64_t k = act_below(32), size = act_below(8) ? act_below(3000) :
								  act_below(400000);

		if (act_below(3) == 0) {
			free(held[k]);
			held[k] = NULL;
		} else {
			held[k] = realloc(held[k], size + 1);
			T_CHECK(held[k] != NULL);
			memset(held[k], (int)act_below(256), size + 1);
		}
	}
}

static void break_heap(void)
{
	static intptr_t grown;
	intptr_t by = (intptr_t)act_below(64) * 4096;

	if (grown && act_below(2)) {
		if (sbrk(-grown) != (void *)-1)
			grown = 0;
		return;
	}
	void *old = sbrk(by);

	if (old == (void *)-1)
		return;
	memset(old, (int)act_below(256), (size_t)by);
	/* The allocator may have grown meanwhile: only the last growth is undone. */
	grown = 0;
}

static void __attribute__((noinline)) deep_stack(void)
{
	size_t n = 65536 + act_below(400000);
	volatile char *deep = alloca(n);

	for (size_t i = 0; i < n; i += 512)
		deep[i] = (char)act_below(256);
}

static void populate(void)
{
	if (act_below(2)) {
		advise(MADV_POPULATE_WRITE, "populate");
		return;
	}
	struct actor_area *a = act_pick();

	if (a && !a->discarded && (a->object < 0 || !board->objects[a->object].punched))
		madvise((void *)a->at, a->pages * PAGE, MADV_POPULATE_READ);
}

static const struct {
	unsigned weight;
	const char *name;
	void (*run)(void);
} steps[] = {
	{ 30, "write", write_some },
	{ 8, "read", read_some },
	{ 4, "guard", guard },
	{ 3, "lock", lock },
	{ 4, "fork", fork_step },
	{ 4, "threads", threads },
	{ 4, "heap", churn_heap },
	{ 2, "brk", break_heap },
	{ 3, "stack", deep_stack },
	{ 4, "populate", populate },
	{ 7, "truncate", truncate_object },
};

void act_content_step(void)
{
	uint64_t what = act_below(100);

	if (what < 10) {
		advise(MADV_DONTNEED, "dontneed");
	} else if (what < 14) {
		advise(MADV_FREE, "free");
	} else if (what < 24) {
		punch(what & 1);
	} else {
		what = act_below(73);
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			if (what < steps[i].weight) {
				act_log("%s", steps[i].name);
				steps[i].run();
				return;
			}
			what -= steps[i].weight;
		}
	}
}
