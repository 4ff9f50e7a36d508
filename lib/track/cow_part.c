// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pages of a snapshot and their states, as the owner sees them before the moment. */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/fd.h"

int umem_cow_runs_add(struct umem_cow_runs *runs, const struct umem_cow_run *run)
{
	if (runs->n == runs->room) {
		size_t room = runs->room ? runs->room * 2 : 256;
		struct umem_cow_run *v = reallocarray(runs->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		runs->v = v;
		runs->room = room;
	}
	runs->v[runs->n++] = *run;
	return 0;
}

void umem_cow_runs_deinit(struct umem_cow_runs *runs)
{
	free(runs->v);
	*runs = (struct umem_cow_runs){ 0 };
}

/* Zeros that cost memory only where they are written: a mapping may be huge and empty. */
static void *sparse(uint64_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static uint64_t n_blocks(uint64_t n_pages)
{
	return n_pages / UMEM_COW_BLOCK_PAGES + 1;
}

struct umem_cow_part *umem_cow_part_free(struct umem_cow_part *part)
{
	if (!part)
		return NULL;
	if (part->state)
		munmap((void *)part->state, part->n_pages);
	if (part->open)
		munmap(part->open, n_blocks(part->n_pages));
	umem_fd_close(part->fd);
	umem_ranges_deinit(&part->data);
	umem_ranges_deinit(&part->blocks);
	free(part->seen);
	free(part);
	return NULL;
}

UMEM_DEFINE_CLEANUP(struct umem_cow_part, umem_cow_part_free)

int umem_cow_part_new(struct umem_cow *cow, uint64_t n_pages, uint64_t unit_pages,
	struct umem_cow_part **ret_part)
{
	UMEM_CLEANUP(umem_cow_part_freep) struct umem_cow_part *part = calloc(1, sizeof(*part));

	if (!part)
		return -ENOMEM;
	part->fd = -1;
	part->n_pages = n_pages;
	part->unit_pages = unit_pages;
	part->state = sparse(n_pages);
	part->open = sparse(n_blocks(n_pages));
	if (!part->state || !part->open)
		return -ENOMEM;
	if (cow->n_parts == cow->parts_room) {
		size_t room = cow->parts_room ? cow->parts_room * 2 : 64;
		struct umem_cow_part **v = reallocarray(cow->parts, room,
			sizeof(struct umem_cow_part *));

		if (!v)
			return -ENOMEM;
		cow->parts = v;
		cow->parts_room = room;
	}
	cow->parts[cow->n_parts++] = part;
	*ret_part = UMEM_TAKE_PTR(part);
	return 0;
}

int umem_cow_part_grow(struct umem_cow_part *part, uint64_t n_pages)
{
	void *state, *open;

	if (n_pages <= part->n_pages)
		return 0;
	state = mremap((void *)part->state, part->n_pages, n_pages, MREMAP_MAYMOVE);
	if (state == MAP_FAILED)
		return -ENOMEM;
	part->state = state;
	open = mremap(part->open, n_blocks(part->n_pages), n_blocks(n_pages), MREMAP_MAYMOVE);
	if (open == MAP_FAILED)
		return -ENOMEM;
	part->open = open;
	part->n_pages = n_pages;
	return 0;
}

static int add_seen(struct umem_cow_part *part, const struct umem_cow_seen *seen)
{
	struct umem_cow_seen *v = reallocarray(part->seen, part->n_seen + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	part->seen = v;
	v[part->n_seen++] = *seen;
	return 0;
}

/* What was seen at [start, end) before is history. */
static int unsee(struct umem_cow_part *part, const struct umem_cow_process *process,
	uint64_t start, uint64_t end)
{
	size_t n = part->n_seen;

	for (size_t i = 0; i < n; i++) {
		struct umem_cow_seen *old = &part->seen[i], rest = *old;
		uint64_t old_end = old->start + (old->n_pages << UMEM_PAGE_SHIFT);

		if (old->process != process || old->start >= end || old_end <= start)
			continue;
		old->n_pages = old->start < start ? (start - old->start) >> UMEM_PAGE_SHIFT : 0;
		if (old_end <= end)
			continue;
		rest.page += (end - rest.start) >> UMEM_PAGE_SHIFT;
		rest.n_pages = (old_end - end) >> UMEM_PAGE_SHIFT;
		rest.start = end;
		if (add_seen(part, &rest) < 0)
			return -ENOMEM;
	}
	return 0;
}

int umem_cow_part_show(struct umem_cow_part *part, struct umem_cow_process *process,
	uint64_t start, uint64_t end, uint64_t page)
{
	struct umem_cow_view view = { .start = start, .end = end, .part = part, .page = page };
	struct umem_cow_seen seen = {
		.process = process,
		.start = start,
		.page = page,
		.n_pages = (end - start) >> UMEM_PAGE_SHIFT,
	};
	int r = unsee(part, process, start, end);

	if (r == 0)
		r = add_seen(part, &seen);
	return r < 0 ? r : umem_cow_map_add(&process->image, &view);
}

uint64_t umem_cow_where(const struct umem_cow_map *map, const struct umem_cow_seen *seen,
	const struct umem_cow_run *run, uint64_t *ret_addr)
{
	uint64_t addr = seen->start + ((run->page - seen->page) << UMEM_PAGE_SHIFT), n;
	const struct umem_cow_view *view;

	if (run->page < seen->page || run->page >= seen->page + seen->n_pages)
		return 0;
	view = umem_cow_map_find(map, addr);
	if (!view || view->part != run->part ||
		view->page + ((addr - view->start) >> UMEM_PAGE_SHIFT) != run->page)
		return 0;
	n = umem_min_u64(seen->page + seen->n_pages - run->page,
		(view->end - addr) >> UMEM_PAGE_SHIFT);
	*ret_addr = addr;
	return umem_min_u64(n, run->n_pages);
}

/* The pages of @view within [start, end), whole units. */
static struct umem_cow_run pages_of(const struct umem_cow_view *view, uint64_t start, uint64_t end)
{
	uint64_t unit = view->part->unit_pages;
	uint64_t from = umem_max_u64(view->start, start) - view->start;
	uint64_t to = umem_min_u64(view->end, end) - view->start;
	uint64_t first = umem_align_down(view->page + (from >> UMEM_PAGE_SHIFT), unit);
	uint64_t last = umem_align_up(view->page + (to >> UMEM_PAGE_SHIFT), unit);

	return (struct umem_cow_run){ view->part, first, last - first };
}

static int note_blocks(struct umem_cow_part *part, uint64_t page, uint64_t n_pages)
{
	return umem_ranges_add(&part->blocks, umem_align_down(page, UMEM_COW_BLOCK_PAGES),
		umem_min_u64(umem_align_up(page + n_pages, UMEM_COW_BLOCK_PAGES), part->n_pages));
}

int umem_cow_mark_pages(const struct umem_cow_run *run, enum umem_cow_state state)
{
	struct umem_cow_part *part = run->part;
	int r = state == UMEM_COW_EMPTY ? 0 : note_blocks(part, run->page, run->n_pages);

	for (uint64_t k = run->page; k < run->page + run->n_pages && r == 0; k++) {
		uint8_t old = atomic_load_explicit(&part->state[k], memory_order_relaxed);

		/* What is empty is not written for it; what is open stays so. */
		if ((old & ~UMEM_COW_OPEN) != state)
			atomic_store_explicit(&part->state[k], (uint8_t)state,
				memory_order_relaxed);
	}
	return r;
}

int umem_cow_mark(struct umem_cow_process *process, uint64_t start, uint64_t end,
	enum umem_cow_state state)
{
	const struct umem_cow_map *map = &process->image;
	int r = 0;

	for (size_t i = umem_cow_map_first(map, start);
		i < map->n && map->v[i].start < end && r == 0; i++) {
		struct umem_cow_run run = pages_of(&map->v[i], start, end);

		/* What one process does to its mapping the object does not notice. */
		if (run.part->fd >= 0 && state == UMEM_COW_EMPTY)
			continue;
		r = umem_cow_mark_pages(&run, state);
	}
	return r;
}

static int list_block(struct umem_cow *cow, struct umem_cow_part *part, uint64_t page)
{
	uint64_t block = page / UMEM_COW_BLOCK_PAGES;
	struct umem_cow_run run = {
		.part = part,
		.page = block * UMEM_COW_BLOCK_PAGES,
	};

	if (part->open[block])
		return 0;
	part->open[block] = 1;
	run.n_pages = umem_min_u64(UMEM_COW_BLOCK_PAGES, part->n_pages - run.page);
	return umem_cow_runs_add(&cow->opened, &run);
}

int umem_cow_open_page(struct umem_cow *cow, struct umem_cow_part *part, uint64_t page)
{
	atomic_store_explicit(&part->state[page], UMEM_COW_WANTED | UMEM_COW_OPEN,
		memory_order_relaxed);
	return list_block(cow, part, page);
}

int umem_cow_mark_open(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end)
{
	const struct umem_cow_map *map = &process->image;
	int r = 0;

	for (size_t i = umem_cow_map_first(map, start);
		i < map->n && map->v[i].start < end && r == 0; i++) {
		struct umem_cow_run run = pages_of(&map->v[i], start, end);

		r = note_blocks(run.part, run.page, run.n_pages);
		for (uint64_t k = run.page; k < run.page + run.n_pages && r == 0; k++)
			r = umem_cow_open_page(cow, run.part, k);
	}
	return r;
}
