// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What became of the memory of pages that went out.
 *
 * Theory of operation
 *
 * Out is not freed. Pages that go to a swap file or a disk are written in the
 * background, and stay in the swap cache until the kernel looks for memory; only zram
 * gives them free at once. Which it is, the flags of the frame tell that the page had
 * before. They are read right behind each batch, and only those that are in the swap
 * cache then are kept (16 bytes a page) to be read again at the end. A frame that was
 * freed and is somebody else's swap cache by now is counted as if it was not: too little
 * may be called free, never too much.
 *
 * What frees them, when asked for:
 *
 *     private pages   a touch maps the page again from the swap cache, without I/O;
 *                     page and slot agree, so MADV_PAGEOUT frees it at once and
 *                     writes nothing (1.8 and 1.6 us a page)
 *     shared memory   a touch takes the page out of the swap cache and gives its slot
 *                     back, it would be written anew: only the kernel's own reclaim
 *                     frees these. With cgroup2 it is asked for that many bytes of
 *                     the target's group; pages that were just written come first.
 *
 * More than half of swap used, the kernel gives slots back at a touch of private pages
 * as well (vm_swap_full(), mm/swapfile.c): then it is not tried. Nor is what is still
 * being written after a while.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/kern/cgroup.h"
#include "lib/kern/kpage.h"
#include "lib/kern/lru.h"
#include "lib/mem/machine.h"
#include "lib/op/pageout_job.h"
#include "lib/op/touch.h"

/* How long is waited for pages to be written, and between two looks. */
#define WRITE_NS 10000000000u
#define LOOK_NS	 2000000

#define NOTE_HIDDEN "which frames they had is told only to CAP_SYS_ADMIN, by /proc/kpageflags"
#define NOTE_CACHED                                                                        \
	"the others are written to a file or a disk, and in memory until the kernel needs it " \
	"(the swap cache)"
#define NOTE_SHARED                                                                        \
	"the others are shared memory in the swap cache, which only the kernel's own reclaim " \
	"frees"
#define NOTE_HALF                                                                          \
	"the others are in the swap cache; more than half of swap is used, so that they "  \
	"cannot be freed without being written once more"
#define NOTE_WRITING "the others are still being written"
#define NOTE_SERVED                                                                        \
	"the others are in the swap cache; a userfaultfd serves their memory, so that they " \
	"may not be touched"

static int add(struct umem_frames *frames, uint64_t addr, uint64_t pfn)
{
	if (frames->n == frames->room) {
		size_t room = frames->room ? frames->room * 2 : 1024;
		struct umem_frame *v = reallocarray(frames->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		frames->v = v;
		frames->room = room;
	}
	frames->sorted = frames->n == 0 ||
		(frames->sorted && frames->v[frames->n - 1].addr < addr);
	frames->v[frames->n++] = (struct umem_frame){ addr, pfn };
	return 0;
}

int umem_frames_note(struct umem_pageout_job *job, const struct umem_frame *frames, size_t n)
{
	uint64_t pfns[UMEM_BATCH_PAGES], flags[UMEM_BATCH_PAGES];
	int r;

	if (n == 0 || job->kpageflags_fd < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		pfns[i] = frames[i].pfn;
	r = umem_kpage_read(job->kpageflags_fd, pfns, n, UMEM_KPF(NOPAGE), flags);
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!pfns[i])
			r = umem_pageset_add(&job->hidden, frames[i].addr,
				frames[i].addr + UMEM_PAGE_BYTES);
		else if (umem_kpage_in_swap_cache(flags[i]))
			r = add(&job->frames, frames[i].addr, pfns[i]);
	}
	return r;
}

static int by_addr(const void *a, const void *b)
{
	const struct umem_frame *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Index of the first frame at @addr or behind it. */
static size_t find(struct umem_frames *frames, uint64_t addr)
{
	size_t low = 0, high = frames->n;

	if (!frames->sorted && frames->n)
		qsort(frames->v, frames->n, sizeof(*frames->v), by_addr);
	frames->sorted = true;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (frames->v[mid].addr < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int umem_frames_count(struct umem_pageout_job *job, const uint64_t *addrs, size_t n)
{
	uint64_t pfns[UMEM_BATCH_PAGES], flags[UMEM_BATCH_PAGES];
	struct umem_frames *frames = &job->frames;
	size_t at, n_cached = 0;
	int r;

	if (n == 0 || job->kpageflags_fd < 0)
		return 0;
	at = find(frames, addrs[0]);
	for (size_t i = 0; i < n; i++) {
		while (at < frames->n && frames->v[at].addr < addrs[i])
			at++;
		if (at < frames->n && frames->v[at].addr == addrs[i])
			pfns[n_cached++] = frames->v[at].pfn;
		else if (umem_pageset_has(&job->hidden, addrs[i]))
			job->hidden_bytes += UMEM_PAGE_BYTES;
	}
	r = umem_kpage_read(job->kpageflags_fd, pfns, n_cached, UMEM_KPF(NOPAGE), flags);
	for (size_t i = 0; i < n_cached && r == 0; i++)
		job->cached_bytes += umem_kpage_in_swap_cache(flags[i]) ? UMEM_PAGE_BYTES : 0;
	return r;
}

/* The pages whose frames have all of @flags now. */
static int pages_with(struct umem_pageout_job *job, uint64_t flags, struct umem_pageset *out)
{
	const struct umem_frames *frames = &job->frames;
	int r = 0;

	find(&job->frames, 0);
	for (size_t at = 0, n; at < frames->n && r == 0; at += n) {
		uint64_t pfns[UMEM_BATCH_PAGES], words[UMEM_BATCH_PAGES];

		n = umem_min_u64(frames->n - at, UMEM_BATCH_PAGES);
		for (size_t i = 0; i < n; i++)
			pfns[i] = frames->v[at + i].pfn;
		r = umem_kpage_read(job->kpageflags_fd, pfns, n, UMEM_KPF(NOPAGE), words);
		for (size_t i = 0; i < n && r == 0; i++)
			if ((words[i] & flags) == flags)
				r = umem_pageset_add(out, frames->v[at + i].addr,
					frames->v[at + i].addr + UMEM_PAGE_BYTES);
	}
	return r;
}

/* Wait until @cached is written; what takes too long is taken out of it. */
static int wait_written(struct umem_pageout_job *job, struct umem_pageset *cached)
{
	uint64_t end_ns = umem_now_ns() + WRITE_NS;

	for (;;) {
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset busy = { 0 };
		int r = pages_with(job, UMEM_KPF(SWAPCACHE) | UMEM_KPF(WRITEBACK), &busy);

		if (r < 0 || umem_pageset_empty(&busy))
			return r;
		if (umem_now_ns() >= end_ns || umem_pageout_over(job)) {
			job->free_note = NOTE_WRITING;
			return umem_pageset_subtract(cached, &busy);
		}
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
}

/* Does the kernel keep the slot of a page that is touched? */
static bool keeps_slots(const struct umem_target *target)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };

	return umem_machine_read(target, &machine) == 0 &&
		umem_swap_free_bytes(&machine.areas) * 2 > machine.areas.total_bytes + (1u << 20);
}

/** struct freeing - the second pass. */
struct freeing {
	struct umem_pageout_job *job;
	struct umem_toucher toucher;
};

/* Touch those of the batch that are out, and put them out again. */
static int free_batch(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct freeing *freeing = user;
	struct umem_pageout_job *job = freeing->job;
	struct umem_range runs[UMEM_BATCH_PAGES];
	size_t n = 0;
	int r;

	if (umem_pageout_over(job))
		return UMEM_AGAIN;
	r = umem_pages_words(view, batch);
	for (size_t i = 0; i < batch->n && r == 0; i++) {
		uint64_t addr = batch->addr[i];

		/* Not in the page table: it is the object's. */
		if (batch->place[i] == UMEM_PLACE_UNSEEN)
			job->free_note = NOTE_SHARED;
		if (batch->place[i] != UMEM_PLACE_OUT)
			continue;
		r = umem_touch(&freeing->toucher, addr);
		if (r == -EFAULT) {
			job->free_note = NOTE_SERVED;
			r = 0;
			continue;
		}
		if (n && runs[n - 1].end == addr)
			runs[n - 1].end += UMEM_PAGE_BYTES;
		else
			runs[n++] = (struct umem_range){ addr, addr + UMEM_PAGE_BYTES };
	}
	return r == 0 && n ? umem_advise(&job->advisor, runs, n) : r;
}

/* A page that could not go again at once is tried once more: it must not stay in for it. */
static int out_again(void *user, struct umem_page_view *view, struct umem_page_batch *batch)
{
	struct umem_pageout_job *job = ((struct freeing *)user)->job;
	struct umem_range runs[UMEM_BATCH_PAGES];
	size_t n = 0;
	int r = umem_pages_words(view, batch);

	for (size_t i = 0; i < batch->n && r == 0; i++)
		if (batch->place[i] == UMEM_PLACE_MAPPED)
			runs[n++] = (struct umem_range){ batch->addr[i],
				batch->addr[i] + UMEM_PAGE_BYTES };
	return r == 0 && n ? umem_advise(&job->advisor, runs, n) : r;
}

static int touch_and_free(struct umem_pageout_job *job, struct umem_pageset *cached)
{
	struct freeing freeing = { .job = job };
	struct umem_pages pages = {
		.target = job->target,
		.map = job->map,
		.batch = &job->batch,
		.limit_bytes = &job->advisor.batch_bytes,
		.work = free_batch,
		.user = &freeing,
	};
	int r = umem_toucher_init(&freeing.toucher, job->target);

	if (r != 0) {
		if (r == -EACCES || r == -EPERM)
			return 0;
		return r;
	}
	r = umem_pages_each(&pages, cached);
	if (r == 0 || r == UMEM_AGAIN) {
		umem_lru_drain();
		pages.work = out_again;
		r = umem_pages_each(&pages, cached);
	}
	umem_toucher_deinit(&freeing.toucher);
	return r;
}

/*
 * Have the kernel reclaim in the target's cgroup as much as is left; where it offers that, and
 * not on behalf of somebody else: others are in the cgroup, too.
 */
static int reclaim_rest(struct umem_pageout_job *job)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset left = { 0 };
	UMEM_CLEANUP(umem_cgroup_deinit) struct umem_cgroup cgroup = UMEM_CGROUP_NONE;
	int r = pages_with(job, UMEM_KPF(SWAPCACHE), &left);

	if (r == 0 && !job->target->reach && !umem_pageset_empty(&left) &&
		!umem_pageout_over(job) &&
		umem_cgroup_of("/proc", job->target->pid, &cgroup, NULL) == 0)
		umem_cgroup_reclaim(&cgroup, umem_pageset_bytes(&left));
	return r;
}

int umem_frames_free_cached(struct umem_pageout_job *job)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset cached = { 0 };
	int r;

	if (job->kpageflags_fd < 0 || job->frames.n == 0)
		return 0;
	r = pages_with(job, UMEM_KPF(SWAPCACHE), &cached);
	if (r < 0 || umem_pageset_empty(&cached))
		return r;
	r = wait_written(job, &cached);
	if (r < 0)
		return r;
	if (keeps_slots(job->target))
		r = touch_and_free(job, &cached);
	else
		job->free_note = NOTE_HALF;
	return r == 0 ? reclaim_rest(job) : r;
}

void umem_frames_sum_up(const struct umem_pageout_job *job, struct umem_pageout *result)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };
	uint64_t moved = job->moved_bytes;

	if (job->kpageflags_fd < 0 || (job->hidden_bytes == moved && moved > 0)) {
		/* Memory that poses as a device is written to at once, and its pages are freed. */
		result->freed_known = moved == 0 ||
			(umem_machine_read(job->target, &machine) == 0 &&
			 umem_swap_in_memory(&machine.areas));
		result->freed_bytes = result->freed_known ? moved : 0;
		result->freed_note = result->freed_known ? NULL : NOTE_HIDDEN;
		return;
	}
	result->freed_known = true;
	result->freed_bytes = moved - umem_min_u64(moved, job->cached_bytes + job->hidden_bytes);
	if (result->freed_bytes < moved)
		result->freed_note = job->free_note ? job->free_note : NOTE_CACHED;
}
