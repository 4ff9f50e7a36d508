// SPDX-License-Identifier: LGPL-2.1-or-later
/* A look at a process from outside. */
#include "lib/op/survey.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/mem/pageset.h"
#include "lib/mem/trackable.h"

struct umem_survey *umem_survey_free(struct umem_survey *survey)
{
	if (!survey)
		return NULL;
	umem_residency_free(survey->residency);
	umem_survey_sharers_deinit(&survey->sharers);
	umem_ranges_deinit(&survey->pinned);
	umem_pins_deinit(&survey->pins);
	umem_smaps_deinit(&survey->smaps);
	umem_target_free(survey->target);
	free(survey);
	return NULL;
}

static int find_pins(struct umem_survey *survey, struct umem_note *note)
{
	struct umem_target *target = survey->target;
	int r = umem_target_read_pins(target, &survey->pins);

	if (r == -EACCES || r == -EPERM) {
		survey->pins_hidden = true;
		return 0;
	}
	if (r < 0)
		return umem_note_set(note, r, 0, "looking for pinned memory of pid %d: %s",
			target->pid, strerror(-r));
	for (size_t i = 0; i < survey->pins.n && r == 0; i++) {
		const struct umem_range *at = &survey->pins.v[i].range;

		if (at->end != UINT64_MAX)
			r = umem_ranges_add(&survey->pinned,
				umem_align_down(at->start, UMEM_PAGE_BYTES),
				umem_align_up(at->end, UMEM_PAGE_BYTES));
	}
	return r;
}

static int look(struct umem_survey *survey, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	struct umem_proc_stat stat;
	int r = umem_target_refresh(survey->target, &appeared, &vanished, note);

	if (r != 0)
		return r;
	r = umem_proc_stat_read(survey->target->pid, 0, &stat);
	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
	memcpy(survey->comm, stat.comm, sizeof(survey->comm));
	r = umem_smaps_read(survey->target->proc_fd, &survey->smaps);
	if (r == -ENOENT || r == -ESRCH)
		return UMEM_GONE;
	if (r < 0)
		return umem_note_set(note, r, 0, "reading /proc/%d/smaps: %s",
			survey->target->pid, strerror(-r));
	r = find_pins(survey, note);
	return r == 0 ? umem_survey_sharers_find(survey->target, &survey->sharers) : r;
}

int umem_survey_new(int pid, const struct umem_attach_options *options,
	struct umem_survey **ret_survey, struct umem_note *note)
{
	UMEM_CLEANUP(umem_survey_freep) struct umem_survey *survey = calloc(1, sizeof(*survey));
	int r;

	if (!survey)
		return -ENOMEM;
	r = umem_target_open(pid, options, &survey->target, note);
	if (r == 0)
		r = look(survey, note);
	if (r == 0 && umem_target_gone(survey->target))
		r = UMEM_GONE;
	if (r == UMEM_GONE)
		umem_note_set(note, -ESRCH, 0, "process %d ended", pid);
	if (r != 0)
		return r;
	*ret_survey = UMEM_TAKE_PTR(survey);
	return 0;
}

int umem_survey_pages_read(struct umem_survey *survey, struct umem_note *note)
{
	survey->residency = umem_residency_free(survey->residency);
	return umem_residency_new(survey->target, NULL, &survey->residency, note);
}

bool umem_survey_has_pages(const struct umem_region *region)
{
	return region->kind != UMEM_KIND_KERNEL && region->kind != UMEM_KIND_KERNEL_SHARED &&
		region->kind != UMEM_KIND_DEVICE;
}

const struct umem_residency_region *umem_survey_pages(const struct umem_survey *survey,
	const struct umem_region *region)
{
	size_t low = 0, high;
	const struct umem_residency_region *v = umem_residency_regions(survey->residency, &high);
	size_t n = high;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (v[mid].start < region->start)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == n || v[low].start != region->start || v[low].end != region->end)
		return NULL;
	return &v[low];
}

static const struct umem_smap *smap_of(const struct umem_survey *survey,
	const struct umem_region *region)
{
	return umem_smaps_find(&survey->smaps, region->start, region->end);
}

const char *umem_survey_untrackable(const struct umem_survey *survey,
	const struct umem_region *region)
{
	return umem_region_untrackable(region, smap_of(survey, region));
}

uint64_t umem_survey_page_size(const struct umem_survey *survey,
	const struct umem_region *region)
{
	const struct umem_smap *smap = smap_of(survey, region);

	return smap && smap->page_size_bytes ? smap->page_size_bytes : region->page_size_bytes;
}

uint64_t umem_survey_pinned(const struct umem_survey *survey,
	const struct umem_region *region)
{
	const struct umem_ranges *pinned = &survey->pinned;
	uint64_t bytes = 0;

	for (size_t i = umem_ranges_find(pinned, region->start);
		i < pinned->n && pinned->v[i].start < region->end; i++)
		bytes += umem_min_u64(pinned->v[i].end, region->end) -
			umem_max_u64(pinned->v[i].start, region->start);
	return bytes;
}
