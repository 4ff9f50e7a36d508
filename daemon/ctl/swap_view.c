// SPDX-License-Identifier: LGPL-2.1-or-later
/* One look at where the pages of a process are. */
#include <errno.h>
#include <string.h>

#include "daemon/ctl/swap.h"
#include "lib/base/attr.h"
#include "lib/base/note.h"
#include "lib/kern/pidfd.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"

void swap_view_deinit(struct swap_view *view)
{
	umem_survey_sharers_deinit(&view->found);
	umem_residency_free(view->map);
	umem_target_free(view->target);
	swap_file_free(view->pages);
	*view = (struct swap_view){ 0 };
}

/* Size of the page at @addr; that of a huge page where one is mapped. */
static uint64_t page_size_at(struct umem_target *target, uint64_t addr)
{
	const struct umem_region *region = umem_space_find(&target->space, addr);

	return region ? region->page_size_bytes : UMEM_PAGE_BYTES;
}

/* Huge pages are in one state as a whole, so none is to be cut in two. */
static int widen(struct umem_target *target, struct umem_ranges *asked)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges wide = { 0 };
	int r = 0;

	for (size_t i = 0; i < asked->n && r == 0; i++) {
		uint64_t start = asked->v[i].start, last = asked->v[i].end - 1;
		uint64_t size = page_size_at(target, last);

		/* The last page of all has no end that could be written. */
		last = umem_min_u64(last, UINT64_MAX - size);
		r = umem_ranges_add(&wide, umem_align_down(start, page_size_at(target, start)),
			umem_align_down(last, size) + size);
	}
	if (r == 0) {
		struct umem_ranges narrow = *asked;

		*asked = wide;
		wide = narrow;
	}
	return r;
}

/* Each of the ranges must hold something. */
static int check_asked(const struct swap_view *view, const struct umem_ranges *asked,
	struct umem_note *note)
{
	for (size_t i = 0; i < asked->n; i++) {
		bool any = false;

		for (size_t k = 0; k < view->n && !any; k++)
			any = view->v[k].start < asked->v[i].end &&
				view->v[k].end > asked->v[i].start;
		if (!any)
			return umem_note_set(note, -ENOENT, asked->v[i].start,
				"no memory of pid %d is mapped at %#llx-%#llx; umemctl regions "
				"lists what is", view->pid,
				(unsigned long long)asked->v[i].start,
				(unsigned long long)asked->v[i].end);
	}
	return 0;
}

static int read_mappings(struct swap_view *view, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };

	return umem_target_refresh(view->target, &appeared, &vanished, note);
}

static int look(struct swap_view *view, const struct umem_ranges *asked, const char *method,
	struct umem_note *note)
{
	struct umem_residency_options options = {
		.size = sizeof(options),
		.regions = asked->v,
		.n_regions = asked->n,
		.method = method,
	};
	int r = umem_residency_new(view->target, &options, &view->map, note);

	if (r == -ENOENT) {
		/* Which of them is said below. */
		umem_note_clear(note);
		return check_asked(view, asked, note);
	}
	if (r != 0)
		return r;
	view->v = umem_residency_regions(view->map, &view->n);
	for (size_t i = 0; i < view->n; i++)
		ctl_sums_add(&view->sums, &view->v[i]);
	return check_asked(view, asked, note);
}

int swap_view_process(struct swap_view *view, int pid, struct umem_ranges *asked,
	const char *method, bool sharers, struct umem_note *note)
{
	struct umem_attach_options attach = ctl_attach_options();
	struct umem_proc_stat stat;
	int r = umem_target_open(pid, &attach, &view->target, note);

	view->pid = pid;
	if (r == 0 && umem_proc_stat_read(pid, 0, &stat) == 0)
		memcpy(view->comm, stat.comm, sizeof(view->comm));
	if (r == 0)
		r = read_mappings(view, note);
	if (r == 0)
		r = widen(view->target, asked);
	if (r == 0)
		r = look(view, asked, method, note);
	if (r == 0 && sharers) {
		r = umem_survey_sharers_find(view->target, &view->found);
		view->sharers = &view->found;
	}
	return r;
}

int swap_view_each(const struct swap_view *view, const struct umem_residency_region *region,
	swap_each each, void *user)
{
	if (view->pages)
		return swap_file_each(view->pages, (size_t)(region - view->v), each, user);
	return umem_residency_each(view->map, region->start, region->end, each, user);
}
