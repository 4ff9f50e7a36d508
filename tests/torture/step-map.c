// SPDX-License-Identifier: LGPL-2.1-or-later
/* Steps that change mappings: new, moved, grown, shrunk, replaced, vanished, split. */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/harness.h"
#include "tests/torture/actor.h"

static void *at_page(const struct actor_area *a, uint64_t page)
{
	return (void *)(a->at + page * PAGE);
}

static void use(int object, int by)
{
	struct actor_object *o;

	if (object < 0)
		return;
	o = &board->objects[object];
	o->users += by;
	if (o->users == 0 && o->fd >= 0) {
		close(o->fd);
		o->fd = -1;
	}
}

static void remove_area(struct actor_area *a)
{
	use(a->object, -1);
	*a = board->areas[--board->n_areas];
}

static void lift_guard(struct actor_area *a)
{
	if (!a->guard_pages)
		return;
	act_touch(a, a->guard_first, a->guard_pages);
	T_CHECK(madvise(at_page(a, a->guard_first), a->guard_pages * PAGE, 103) == 0);
	a->guard_pages = 0;
}

/* Splitting a huge page of shared memory loses its marks. */
static void touch_collapsed(const struct actor_area *a)
{
	if (a->object >= 0 && board->objects[a->object].collapsed)
		act_touch(a, 0, a->pages);
}

/* The granule in which an area can be cut. */
static uint64_t grain(const struct actor_area *a)
{
	return act_is_huge(a) ? 512 : 1;
}

/* Cut @a in two at page @page of it; the mapping is left alone. Return: the second part. */
static struct actor_area *cut(struct actor_area *a, uint64_t page)
{
	struct actor_area *b;

	if (board->n_areas == MAX_AREAS || page == 0 || page >= a->pages)
		return NULL;
	lift_guard(a);
	touch_collapsed(a);
	b = &board->areas[board->n_areas++];
	*b = *a;
	b->at += page * PAGE;
	b->offset += page;
	b->pages -= page;
	a->pages = page;
	use(b->object, 1);
	return b;
}

static void make_alias(void)
{
	struct actor_area *a = act_pick(), b;
	uint64_t first, pages;

	if (!a || act_is_private(a) || a->hidden || a->pinned || board->n_areas == MAX_AREAS)
		return;
	first = act_below(a->pages / grain(a)) * grain(a);
	pages = a->pages - first;
	b = *a;
	b.at = act_place(pages, act_is_huge(a) ? HUGE : PAGE);
	b.pages = pages;
	b.offset += first;
	b.guard_pages = 0;
	b.young = true;
	if (!b.at)
		return;
	if (board->objects[a->object].fd < 0) {
		/* An old length of 0 makes a second mapping of the same memory. */
		if (mremap(at_page(a, first), 0, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			    (void *)b.at) == MAP_FAILED)
			return;
	} else if (!act_mmap(&b)) {
		return;
	}
	use(b.object, 1);
	board->areas[board->n_areas++] = b;
	act_log("  alias %#llx of %#llx", (unsigned long long)b.at, (unsigned long long)a->at);
}

static void move(bool keep_old)
{
	struct actor_area *a = act_pick(), old;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | (keep_old ? MREMAP_DONTUNMAP : 0);
	uint64_t at;

	if (!a || a->pinned || (keep_old && board->n_areas == MAX_AREAS))
		return;
	at = act_place(a->pages, a->kind == ACT_THP || act_is_huge(a) ? HUGE : PAGE);
	if (!at)
		return;
	lift_guard(a);
	act_touch(a, 0, a->pages);
	if (mremap((void *)a->at, a->pages * PAGE, a->pages * PAGE, flags, (void *)at) ==
		MAP_FAILED) {
		act_log("  mremap: %s", strerror(errno));
		return;
	}
	act_log("  to %#llx", (unsigned long long)at);
	old = *a;
	a->at = at;
	if (keep_old) {
		a->young |= old.object >= 0;
		board->areas[board->n_areas++] = old;
		use(old.object, 1);
	}
}

static bool room_behind(const struct actor_area *a, uint64_t pages)
{
	uint64_t start = a->at + a->pages * PAGE, end = start + pages * PAGE;

	for (uint64_t i = 0; i < board->n_areas; i++) {
		const struct actor_area *b = &board->areas[i];

		if (start < b->at + b->pages * PAGE && b->at < end)
			return false;
	}
	return end <= ARENA_END;
}

static void grow(void)
{
	struct actor_area *a = act_pick();
	uint64_t by = 1 + act_below(200);

	if (!a || a->pinned || act_is_huge(a) || a->pages > 2048 || !room_behind(a, by))
		return;
	if (mremap((void *)a->at, a->pages * PAGE, (a->pages + by) * PAGE, 0) == MAP_FAILED)
		return;
	a->pages += by;
	a->young |= a->object >= 0;
	act_touch(a, a->pages - by, by);
	act_log("  by %llu", (unsigned long long)by);
}

static void shrink(void)
{
	struct actor_area *a = act_pick();
	uint64_t g, to;

	if (!a || a->young || a->pinned || a->pages < 16)
		return;
	g = grain(a);
	to = (a->pages / 2 + act_below(a->pages / 2)) / g * g;
	if (to == 0 || to >= a->pages)
		return;
	lift_guard(a);
	touch_collapsed(a);
	if (act_is_huge(a))
		T_SYS(munmap(at_page(a, to), (a->pages - to) * PAGE));
	else if (mremap((void *)a->at, a->pages * PAGE, to * PAGE, 0) == MAP_FAILED)
		return;
	a->pages = to;
	act_log("  to %llu", (unsigned long long)to);
}

/* Another mapping of the same length at the same place, in one step or two. */
static void replace(void)
{
	struct actor_area *a = act_pick(), old;
	uint64_t how = act_below(4);

	if (!a || a->young || a->pinned)
		return;
	lift_guard(a);
	old = *a;
	act_log("  how %llu", (unsigned long long)how);
	if (how == 0 || (how == 1 && old.object < 0)) {
		if (act_is_huge(a))
			return;
		T_CHECK(mmap((void *)old.at, old.pages * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
		use(old.object, -1);
		*a = (struct actor_area){ .at = old.at, .pages = old.pages, .object = -1 };
	} else if (how == 1) {
		/* The very same part of the very same object. */
		if (board->objects[old.object].fd < 0 || old.hidden)
			return;
		T_SYS(munmap((void *)old.at, old.pages * PAGE));
		T_CHECK(act_mmap(a));
	} else {
		T_SYS(munmap((void *)old.at, old.pages * PAGE));
		enum actor_kind kind = old.kind;

		remove_area(a);
		if (how != 2 && !act_is_huge(&old))
			kind = (enum actor_kind)act_below(ACT_HUGETLB);
		act_create_at(kind, old.at, old.pages);
	}
}

static void unmap(void)
{
	struct actor_area *a = act_pick(), *b;
	uint64_t g, first, n;

	if (!a || a->young || a->pinned)
		return;
	g = grain(a);
	if (act_below(2) || a->pages < 4 * g) {
		T_SYS(munmap((void *)a->at, a->pages * PAGE));
		remove_area(a);
		return;
	}
	first = act_below(a->pages / g) * g;
	n = (1 + act_below((a->pages - first) / g)) * g;
	act_log("  part %llu +%llu", (unsigned long long)first, (unsigned long long)n);
	if (first + n < a->pages && !cut(a, first + n))
		return;
	b = first ? cut(a, first) : a;
	if (!b)
		return;
	lift_guard(b);
	T_SYS(munmap((void *)b->at, b->pages * PAGE));
	remove_area(b);
}

static void protect(void)
{
	struct actor_area *a = act_pick();
	uint64_t g;

	if (!a || a->pinned)
		return;
	g = grain(a);
	if (!a->hidden && act_below(2) && a->pages > g)
		a = cut(a, (1 + act_below((a->pages - 1) / g ? (a->pages - 1) / g : 1)) * g);
	if (!a)
		return;
	if (a->locked)
		act_touch(a, 0, a->pages);
	if (a->hidden) {
		T_SYS(mprotect((void *)a->at, a->pages * PAGE, PROT_READ | PROT_WRITE));
		a->hidden = false;
	} else {
		T_SYS(mprotect((void *)a->at, a->pages * PAGE,
			act_below(2) ? PROT_NONE : PROT_READ));
		a->hidden = true;
		/* Often back at once: split and merged again. */
		if (act_below(2)) {
			T_SYS(mprotect((void *)a->at, a->pages * PAGE,
				PROT_READ | PROT_WRITE));
			a->hidden = false;
		}
	}
	act_log("  %#llx hidden %d", (unsigned long long)a->at, a->hidden);
}

void act_map_step(void)
{
	uint64_t what = act_below(100);

	if (what < 25) {
		act_log("create");
		act_create();
	} else if (what < 37) {
		act_log("alias");
		make_alias();
	} else if (what < 47) {
		act_log("move");
		move(false);
	} else if (what < 52) {
		act_log("move, old place stays mapped");
		move(true);
	} else if (what < 60) {
		act_log("grow");
		grow();
	} else if (what < 65) {
		act_log("shrink");
		shrink();
	} else if (what < 78) {
		act_log("replace");
		replace();
	} else if (what < 88) {
		act_log("unmap");
		unmap();
	} else {
		act_log("protect");
		protect();
	}
}
