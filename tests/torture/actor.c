// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The actor's frame: commands, the board, areas of random kinds.
 *
 * Theory of operation: all randomness comes from one seed and no address is
 * left to the kernel in the arena, so that a seed replays the same steps at
 * the same addresses. What may be reported without a change of content (a
 * write of equal bytes, a discard, a fault that fills a huge page) is noted as
 * a touch, at every address that shows the page.
 */
#include "tests/torture/actor.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/harness.h"

static uint64_t state;

uint64_t act_below(uint64_t n)
{
	return t_below(&state, n);
}

void act_log(const char *fmt, ...)
{
	va_list args;
	int n;

	if (board->log_len + 256 > LOG_BYTES)
		return;
	va_start(args, fmt);
	n = vsnprintf(board->log + board->log_len, 255, fmt, args);
	va_end(args);
	board->log_len += (uint64_t)(n > 254 ? 254 : n);
	board->log[board->log_len++] = '\n';
	board->log[board->log_len] = '\0';
}

static void note_touch(uint64_t start, uint64_t end)
{
	if (board->n_touches == MAX_TOUCHES) {
		board->touched_all = 1;
		return;
	}
	board->touches[board->n_touches++] = (struct actor_touch){ start, end };
}

void act_touch(const struct actor_area *area, uint64_t first, uint64_t pages)
{
	bool coarse = area->kind == ACT_THP || act_is_huge(area) ||
		(area->object >= 0 && board->objects[area->object].collapsed);

	for (uint64_t i = 0; i < board->n_areas; i++) {
		const struct actor_area *a = &board->areas[i];
		uint64_t start = a->at, end = a->at + a->pages * PAGE;
		uint64_t low, high;

		if (a != area && (area->object < 0 || a->object != area->object))
			continue;
		if (first + area->offset + pages <= a->offset ||
			first + area->offset >= a->offset + a->pages)
			continue;
		low = first + area->offset > a->offset ?
			a->at + (first + area->offset - a->offset) * PAGE : start;
		high = a->at + (first + area->offset + pages - a->offset) * PAGE;
		if (coarse) {
			low &= ~(HUGE - 1);
			high = (high + HUGE - 1) & ~(HUGE - 1);
		}
		/* A huge page may reach into the area beside, which is the same mapping. */
		if (!coarse && low < start)
			low = start;
		if (!coarse && high > end)
			high = end;
		note_touch(low, high);
	}
}

bool act_usable(const struct actor_area *a, uint64_t page)
{
	if (a->hidden || page >= a->pages)
		return false;
	if (a->guard_pages && page >= a->guard_first && page < a->guard_first + a->guard_pages)
		return false;
	return a->object < 0 || page + a->offset < board->objects[a->object].pages;
}

void act_write(const struct actor_area *a, uint64_t page)
{
	uint8_t *at = (uint8_t *)(a->at + page * PAGE);

	if (!act_usable(a, page))
		return;
	act_touch(a, page, 1);
	if (act_below(4) == 0) {
		t_fill_page(at, page, act_below(250));
	} else {
		uint64_t from = act_below(PAGE - 8), n = 1 + act_below(8);

		for (uint64_t i = 0; i < n; i++)
			at[from + i] = (uint8_t)act_below(256);
	}
}

struct actor_area *act_pick(void)
{
	return board->n_areas ? &board->areas[act_below(board->n_areas)] : NULL;
}

static bool is_free(uint64_t start, uint64_t end)
{
	if (start < ARENA_AT || end > ARENA_END)
		return false;
	for (uint64_t i = 0; i < board->n_areas; i++) {
		const struct actor_area *a = &board->areas[i];

		if (start < a->at + a->pages * PAGE && a->at < end)
			return false;
	}
	return true;
}

/* Right behind another area, or anywhere; 0 if there is no place. */
uint64_t act_place(uint64_t pages, uint64_t align)
{
	for (int attempt = 0; attempt < 32; attempt++) {
		struct actor_area *neighbour = act_pick();
		uint64_t at = ARENA_AT + act_below(N_SLOTS) * SLOT_BYTES +
			act_below(SLOT_BYTES / 2 / align) * align;

		if (neighbour && attempt < 8 && act_below(2))
			at = neighbour->at + neighbour->pages * PAGE;
		if (at % align == 0 && is_free(at, at + pages * PAGE))
			return at;
	}
	return 0;
}

static int open_disk(void)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd >= 0 ? fd : open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static int open_object(enum actor_kind kind)
{
	switch (kind) {
	case ACT_MEMFD:
	case ACT_MEMFD_PRIVATE:
		return memfd_create("torture", MFD_CLOEXEC);
	case ACT_TMPFS:
		return open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	case ACT_HUGETLB_SHARED:
		return memfd_create("torture-huge", MFD_CLOEXEC | MFD_HUGETLB);
	default:
		return open_disk();
	}
}

/* Some pages of a new file hold data from the start. */
static void prefill(int fd, enum actor_kind kind, uint64_t pages)
{
	bool all = kind == ACT_FILE_PRIVATE || kind == ACT_MEMFD_PRIVATE;
	uint8_t page[PAGE];

	if (kind == ACT_HUGETLB_SHARED)
		return;
	for (uint64_t i = 0; i < pages; i++) {
		if (!all && act_below(4))
			continue;
		t_fill_page(page, i, 7);
		if (pwrite(fd, page, sizeof(page), (off_t)(i * PAGE)) != (ssize_t)PAGE)
			T_FAIL("writing a file: %s", strerror(errno));
	}
}

/* Map @a; its place, kind and object are set. */
bool act_mmap(struct actor_area *a)
{
	int flags = MAP_FIXED_NOREPLACE | (act_is_private(a) ? MAP_PRIVATE : MAP_SHARED);
	int fd = -1;
	void *at;

	if (a->object >= 0 && board->objects[a->object].fd >= 0)
		fd = board->objects[a->object].fd;
	else
		flags |= MAP_ANONYMOUS;
	if (a->kind == ACT_HUGETLB)
		flags |= MAP_HUGETLB;
	at = mmap((void *)a->at, a->pages * PAGE, PROT_READ | PROT_WRITE, flags, fd,
		(off_t)(a->offset * PAGE));
	if (at == MAP_FAILED) {
		act_log("  mmap %#llx: %s", (unsigned long long)a->at, strerror(errno));
		return false;
	}
	T_CHECK((uint64_t)at == a->at);
	if (a->kind == ACT_THP || (board->folios && !act_is_private(a) && a->object >= 0))
		madvise(at, a->pages * PAGE, MADV_HUGEPAGE);
	return true;
}

static uint64_t random_size(enum actor_kind kind)
{
	if (kind == ACT_HUGETLB || kind == ACT_HUGETLB_SHARED)
		return 512 * (1 + act_below(2));
	if (kind == ACT_THP)
		return 512 * (1 + act_below(3)) + act_below(2) * act_below(200);
	if (act_below(12) == 0)
		return 512 + act_below(1024);
	return 64 + act_below(449);
}

/* A new area of @kind at @at (0: anywhere), @pages long (0: any). */
struct actor_area *act_create_at(enum actor_kind kind, uint64_t at, uint64_t pages)
{
	struct actor_area a = { .kind = kind, .object = -1 };
	uint64_t align = kind == ACT_THP || kind == ACT_HUGETLB || kind == ACT_HUGETLB_SHARED ?
		HUGE : PAGE;

	if (board->n_areas == MAX_AREAS || board->n_objects == MAX_OBJECTS)
		return NULL;
	a.pages = pages ? pages : random_size(kind);
	a.at = at ? at : act_place(a.pages, align);
	if (!a.at || a.at % align || (act_is_huge(&a) && a.pages % 512))
		return NULL;
	if (kind != ACT_ANON && kind != ACT_THP && kind != ACT_HUGETLB) {
		struct actor_object *o = &board->objects[board->n_objects];

		*o = (struct actor_object){ .fd = -1, .pages = a.pages, .users = 1 };
		if (kind != ACT_SHARED_ANON) {
			o->fd = open_object(kind);
			if (o->fd < 0 || ftruncate(o->fd, (off_t)(a.pages * PAGE)) < 0) {
				close(o->fd);
				return NULL;
			}
			prefill(o->fd, kind, a.pages);
		}
		a.object = (int)board->n_objects++;
	}
	if (!act_mmap(&a)) {
		if (a.object >= 0 && board->objects[a.object].fd >= 0)
			close(board->objects[a.object].fd);
		return NULL;
	}
	act_log("  area %#llx +%llu kind %d", (unsigned long long)a.at,
		(unsigned long long)a.pages, kind);
	board->areas[board->n_areas] = a;
	return &board->areas[board->n_areas++];
}

struct actor_area *act_create(void)
{
	enum actor_kind kind = (enum actor_kind)act_below(ACT_N_KINDS);

	if ((kind == ACT_HUGETLB || kind == ACT_HUGETLB_SHARED) && !board->hugetlb)
		kind = ACT_ANON;
	return act_create_at(kind, 0, 0);
}

/* Where the kernel may do something at any time: reclaim, KSM, splits of huge pages. */
static void touch_restless(void)
{
	for (uint64_t i = 0; i < board->n_areas; i++) {
		const struct actor_area *a = &board->areas[i];

		if (a->freed || a->mergeable ||
			(a->object >= 0 && board->objects[a->object].collapsed))
			act_touch(a, 0, a->pages);
	}
}

/* @same_round: nothing was collected since the last command. */
static void do_command(bool same_round)
{
	if (!same_round)
		board->n_touches = board->touched_all = board->log_len = 0;
	for (uint64_t i = 0; i < board->n_objects && !same_round; i++)
		board->objects[i].punched = false;
	for (uint64_t i = 0; i < board->n_areas && !same_round; i++)
		board->areas[i].discarded = board->areas[i].young = false;
	touch_restless();
	for (uint64_t i = 0; i < board->steps; i++) {
		uint64_t what = act_below(100);

		if (board->n_areas < 6)
			act_create();
		if (what < 50)
			act_content_step();
		else if (what < 80)
			act_map_step();
		else
			act_kernel_step();
	}
}

void actor_run(int fd, uint64_t seed, const struct trial_options *options)
{
	char command;

	T_CHECK(mmap((void *)BOARD_AT, sizeof(*board), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			0) == (void *)BOARD_AT);
	state = board->seed = seed;
	board->steps = options->steps;
	board->swap = options->swap;
	board->folios = options->folios;
	board->hugetlb = options->hugetlb;
	for (int i = 0; i < 10; i++)
		act_create();
	do_command(false);
	board->done = 1;
	while (read(fd, &command, 1) == 1) {
		do_command(command == '+');
		board->done++;
	}
	_exit(0);
}
