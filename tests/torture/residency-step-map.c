// SPDX-License-Identifier: LGPL-2.1-or-later
/* Steps of the residency oracle that change mappings, and objects behind them. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"
#include "tests/lib/harness.h"
#include "tests/torture/residency.h"

/* What it maps must lie in its object when it is made; later it may not. */
static bool choose_object(struct cast *c, struct cast_area *a)
{
	const struct cast_object *o;
	uint64_t grain;

	/* The last one is of huge pages, if there are any. */
	a->object = (int)(cast_below(c, 5) ? cast_below(c, c->n_objects) : c->n_objects - 1);
	o = &c->objects[a->object];
	a->huge = o->backing == BACK_HUGETLB;
	a->shared = cast_below(c, 5) > 1;
	grain = a->huge ? PAGES_PER_HUGE : 1;
	if (o->pages < grain || (a->huge && o->pages > MAX_HUGE * PAGES_PER_HUGE))
		return false;
	if (o->backing == BACK_SYSV) {
		a->shared = true;
		a->offset = 0;
		a->pages = o->pages;
		return true;
	}
	a->offset = cast_below(c, 3) ? 0 : cast_below(c, o->pages / grain) * grain;
	a->pages = (o->pages - a->offset) / grain * grain;
	if (cast_below(c, 3) == 0)
		a->pages = (1 + cast_below(c, a->pages / grain)) * grain;
	/* Some reach past the end of the file. */
	if (!a->huge && cast_below(c, 8) == 0)
		a->pages += 1 + cast_below(c, 40);
	if (a->pages > LARGE_PAGES)
		a->pages = LARGE_PAGES;
	return true;
}

static int64_t map_sysv(struct cast *c, unsigned who, const struct cast_area *a)
{
	/* It is the inode's size that is mapped, which nobody changed. */
	return cast_syscall(c, who, SYS_shmat, (uint64_t)c->objects[a->object].shm_id, a->at, 0, 0,
		0, 0);
}

static int64_t map_it(struct cast *c, unsigned who, const struct cast_area *a)
{
	uint64_t flags = MAP_FIXED_NOREPLACE | (a->shared ? MAP_SHARED : MAP_PRIVATE);
	uint64_t prot = cast_below(c, 8) ? PROT_READ | PROT_WRITE : PROT_READ;
	uint64_t fd = (uint64_t)-1;

	if (a->object >= 0 && c->objects[a->object].backing == BACK_SYSV)
		return map_sysv(c, who, a);
	if (a->object >= 0)
		fd = (uint64_t)c->objects[a->object].fd;
	else
		flags |= MAP_ANONYMOUS | (a->huge ? MAP_HUGETLB : 0);
	if (!a->huge && cast_below(c, 6) == 0)
		flags |= MAP_POPULATE;
	if (a->huge && cast_below(c, 4) == 0)
		flags |= MAP_NORESERVE;
	return cast_syscall(c, who, SYS_mmap, a->at, a->pages * PAGE, prot, flags, fd,
		a->offset * PAGE);
}

static void map(struct cast *c)
{
	unsigned who = (unsigned)cast_below(c, N_ACTORS);
	size_t slot = cast_below(c, N_SLOTS);
	struct cast_area a = { .object = -1 };
	bool thp = false;
	int64_t r;

	if (!c->actors[who].pid || c->actors[who].areas[slot].pages)
		return;
	if (cast_below(c, 5) < 2) {
		a.huge = c->options->hugetlb && cast_below(c, 8) == 0;
		thp = !a.huge && cast_below(c, 2);
		a.pages = a.huge || thp ? PAGES_PER_HUGE * (1 + cast_below(c, 2)) :
			1 + cast_below(c, 600);
	} else if (!choose_object(c, &a)) {
		return;
	}
	a.at = ARENA_AT + slot * SLOT_BYTES;
	/* At a boundary of huge pages, or anywhere. */
	if (!a.huge && !thp && cast_below(c, 2))
		a.at += cast_below(c, 512) * PAGE;
	r = map_it(c, who, &a);
	cast_log(c, "%u map %#llx +%llu object %d offset %llu shared %d huge %d: %lld", who,
		(unsigned long long)a.at, (unsigned long long)a.pages, a.object,
		(unsigned long long)a.offset, a.shared, a.huge, (long long)r);
	if (r != (int64_t)a.at)
		return;
	if (a.object < 0 && !a.huge)
		cast_syscall(c, who, SYS_madvise, a.at, a.pages * PAGE,
			(uint64_t)(thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE), 0, 0, 0);
	c->actors[who].areas[slot] = a;
}

/* All of it, or one end. */
static void unmap(struct cast *c)
{
	struct cast_area *a;
	uint64_t n, grain;
	unsigned who;

	if (!cast_pick(c, &who, &a))
		return;
	grain = a->huge ? PAGES_PER_HUGE : 1;
	n = cast_below(c, 2) ? a->pages : cast_below(c, a->pages / grain) * grain;
	if (n == 0)
		return;
	cast_log(c, "%u unmap %#llx %llu of %llu", who, (unsigned long long)a->at,
		(unsigned long long)n, (unsigned long long)a->pages);
	if (n == a->pages || cast_below(c, 2)) {
		T_CHECK(cast_syscall(c, who, SYS_munmap, a->at, n * PAGE, 0, 0, 0, 0) == 0);
		a->at += n * PAGE;
		a->offset += n;
	} else {
		T_CHECK(cast_syscall(c, who, SYS_munmap, a->at + (a->pages - n) * PAGE, n * PAGE,
				0, 0, 0, 0) == 0);
	}
	a->pages -= n;
}

/* To another slot, or shorter, or longer. */
static void remap(struct cast *c)
{
	size_t slot = cast_below(c, N_SLOTS);
	uint64_t to, grain, pages;
	struct cast_area *a, moved;
	unsigned who;
	int64_t r;

	if (!cast_pick(c, &who, &a))
		return;
	grain = a->huge ? PAGES_PER_HUGE : 1;
	pages = a->pages;
	if (cast_below(c, 2)) {
		pages = cast_below(c, 2) ? (1 + cast_below(c, pages / grain)) * grain :
					   pages + grain * (1 + cast_below(c, 3));
		if (pages > LARGE_PAGES)
			return;
		if (a->huge && a->object >= 0 && pages > a->pages)
			return; /* it would lengthen the file */
		r = cast_syscall(c, who, SYS_mremap, a->at, a->pages * PAGE, pages * PAGE, 0, 0,
			0);
		if (r == (int64_t)a->at)
			a->pages = pages;
	} else {
		if (c->actors[who].areas[slot].pages)
			return;
		to = ARENA_AT + slot * SLOT_BYTES + (a->huge ? 0 : cast_below(c, 512) * PAGE);
		r = cast_syscall(c, who, SYS_mremap, a->at, pages * PAGE, pages * PAGE,
			MREMAP_MAYMOVE | MREMAP_FIXED, to, 0);
		moved = *a;
		if (r == (int64_t)to) {
			moved.at = to;
			moved.registered = false;
			a->pages = 0;
			c->actors[who].areas[slot] = moved;
		} else {
			/* Of several mappings the first ones may have moved. */
			T_CHECK(cast_syscall(c, who, SYS_munmap, a->at, pages * PAGE, 0, 0, 0,
					0) == 0);
			T_CHECK(cast_syscall(c, who, SYS_munmap, to, pages * PAGE, 0, 0, 0, 0) ==
				0);
			a->pages = 0;
		}
	}
	cast_log(c, "%u mremap %#llx to %llu pages: %#llx", who, (unsigned long long)a->at,
		(unsigned long long)pages, (unsigned long long)r);
}

static void protect(struct cast *c)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
		PROT_READ | PROT_WRITE };
	int prot = prots[cast_below(c, 4)];
	struct cast_area *a;
	uint64_t first, n;
	unsigned who;

	if (!cast_pick(c, &who, &a))
		return;
	cast_part(c, a, &first, &n);
	if (prot & PROT_WRITE) {
		first = 0;
		n = a->pages;
	}
	cast_log(c, "%u mprotect %d %#llx page %llu +%llu: %lld", who, prot,
		(unsigned long long)a->at, (unsigned long long)first, (unsigned long long)n,
		(long long)cast_syscall(c, who, SYS_mprotect, a->at + first * PAGE, n * PAGE,
			(uint64_t)prot, 0, 0, 0));
}

static struct cast_object *pick_object(struct cast *c)
{
	return &c->objects[cast_below(c, c->n_objects)];
}

static void hold(struct cast_object *o, uint64_t first, uint64_t n, bool held)
{
	for (uint64_t i = first / PAGES_PER_HUGE; i < (first + n) / PAGES_PER_HUGE; i++)
		o->held[i] = held;
}

/* Punch a hole, or have pages allocated, some past the end of the file. */
static void allocate(struct cast *c)
{
	struct cast_object *o = pick_object(c);
	uint64_t grain = o->backing == BACK_HUGETLB ? PAGES_PER_HUGE : 1, first, n;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r;

	if (o->pages < grain)
		return;
	first = cast_below(c, o->pages / grain) * grain;
	n = (1 + cast_below(c, cast_below(c, 2) ? 4 : (o->pages - first) / grain)) * grain;
	if (n > o->pages - first)
		n = o->pages - first;
	if (cast_below(c, 3) == 0) {
		mode = cast_below(c, 2) ? 0 : FALLOC_FL_KEEP_SIZE;
		n = grain == 1 ? n : grain;
		if (mode && grain == 1 && o->backing != BACK_DISK && cast_below(c, 4) == 0) {
			first = o->pages;
			n = 8;
			o->beyond = true;
		}
	}
	r = fallocate(o->fd, mode, (off_t)(first * PAGE), (off_t)(n * PAGE));
	if (grain > 1 && r == 0)
		hold(o, first, n, !(mode & FALLOC_FL_PUNCH_HOLE));
	cast_log(c, "fallocate %d of object %d page %llu +%llu: %s", mode,
		(int)(o - c->objects), (unsigned long long)first, (unsigned long long)n,
		r ? strerror(errno) : "ok");
}

/* Shorter, longer, or to nothing and back. Of System V segments the size is fixed. */
static void truncate_object(struct cast *c)
{
	struct cast_object *o = pick_object(c);
	uint64_t grain = o->backing == BACK_HUGETLB ? PAGES_PER_HUGE : 1;
	uint64_t to = cast_below(c, o->pages / grain + 1) * grain, back = o->pages;

	if (o->backing == BACK_SYSV || cast_below(c, 3))
		return;
	if (ftruncate(o->fd, (off_t)(to * PAGE)) < 0)
		return;
	o->beyond = false;
	if (grain > 1)
		hold(o, to, MAX_HUGE * PAGES_PER_HUGE - to, false);
	o->pages = to;
	if (cast_below(c, 3) || to == 0) {
		if (grain == 1 && cast_below(c, 2))
			back = to + cast_below(c, 400);
		T_SYS(ftruncate(o->fd, (off_t)(back * PAGE)));
		o->pages = back;
	}
	cast_log(c, "truncate object %d to %llu, now %llu", (int)(o - c->objects),
		(unsigned long long)to, (unsigned long long)o->pages);
}

/* By descriptor: pages that nobody maps. */
static void read_or_write(struct cast *c)
{
	struct cast_object *o = pick_object(c);
	uint64_t first, n;
	char page[PAGE];

	if (o->backing == BACK_HUGETLB || o->pages == 0)
		return;
	first = cast_below(c, o->pages);
	n = 1 + cast_below(c, 60);
	for (uint64_t i = first; i < first + n && i < o->pages; i++) {
		t_fill_page(page, i, 3);
		if (cast_below(c, 3) == 0)
			T_CHECK(pread(o->fd, page, PAGE, (off_t)(i * PAGE)) >= 0);
		else
			T_CHECK(pwrite(o->fd, page, PAGE, (off_t)(i * PAGE)) == (ssize_t)PAGE);
	}
	cast_log(c, "read or write object %d page %llu +%llu", (int)(o - c->objects),
		(unsigned long long)first, (unsigned long long)n);
}

static void remove_part(struct cast *c)
{
	struct cast_area *a;
	uint64_t first, n;
	unsigned who;
	int64_t r;

	if (!cast_pick(c, &who, &a) || a->object < 0 || !a->shared)
		return;
	cast_part(c, a, &first, &n);
	r = cast_syscall(c, who, SYS_madvise, a->at + first * PAGE, n * PAGE, MADV_REMOVE, 0, 0,
		0);
	if (r == 0 && a->huge)
		hold(&c->objects[a->object], a->offset + first, n, false);
	cast_log(c, "%u remove %#llx page %llu +%llu: %lld", who, (unsigned long long)a->at,
		(unsigned long long)first, (unsigned long long)n, (long long)r);
}

void cast_map_step(struct cast *c)
{
	static const struct {
		unsigned weight;
		void (*run)(struct cast *c);
	} steps[] = {
		{ 44, map }, { 8, unmap }, { 10, remap }, { 6, protect },
		{ 12, allocate }, { 6, truncate_object }, { 8, read_or_write }, { 6, remove_part },
	};
	uint64_t what = cast_below(c, 100);

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (what < steps[i].weight) {
			steps[i].run(c);
			return;
		}
		what -= steps[i].weight;
	}
}
