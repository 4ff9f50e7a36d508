/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A look at a process from outside: its regions, what of it could be watched,
 * who may write it unseen, who shares it, and where its pages are.
 *
 * Nothing is stopped, registered or brought in. It is a look at a process that
 * runs on: what it says was true a moment ago. One owner.
 */
#ifndef UMEM_OP_SURVEY_H
#define UMEM_OP_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/kern/pins.h"
#include "lib/kern/smaps.h"
#include "lib/mem/residency.h"
#include "lib/mem/target.h"
#include "lib/op/survey_sharers.h"

/**
 * struct umem_survey - what was seen.
 * @target: the process; owned. Its space holds the regions.
 * @comm: its name; any bytes.
 * @smaps: the kernel's flags of its mappings.
 * @pins: who can write its memory without a fault.
 * @pins_hidden: they may not be looked at, @pins is empty.
 * @pinned: the ranges that are known to be pinned, in whole pages.
 * @sharers: other mappers of its shared memory.
 * @residency: where its pages are, after umem_survey_pages_read().
 */
struct umem_survey {
	struct umem_target *target;
	char comm[64];
	struct umem_smaps smaps;
	struct umem_pins pins;
	bool pins_hidden;
	struct umem_ranges pinned;
	struct umem_survey_sharers sharers;
	struct umem_residency *residency;
};

/**
 * umem_survey_new - look at process @pid.
 * @options: NULL for defaults; only the features are used.
 * @ret_survey: freed with umem_survey_free().
 *
 * Return: 0; UMEM_GONE; -EPERM, -EACCES: its memory may not be looked at;
 * -ENOTSUP: a kernel thread; -EINVAL: a thread's id, or an unknown feature;
 * -ENOMEM.
 */
int umem_survey_new(int pid, const struct umem_attach_options *options,
	struct umem_survey **ret_survey, struct umem_note *note);

/** umem_survey_free - free; NULL is fine. Return: NULL. */
struct umem_survey *umem_survey_free(struct umem_survey *survey);

UMEM_DEFINE_CLEANUP(struct umem_survey, umem_survey_free)

/**
 * umem_survey_pages_read - look where its pages are. Apart from the rest, because it
 * looks at every page.
 *
 * Return: 0, or as umem_residency_new().
 */
int umem_survey_pages_read(struct umem_survey *survey, struct umem_note *note);

/**
 * umem_survey_has_pages - are there pages of the program in @region? Not in what the
 * kernel or a device lends it.
 */
bool umem_survey_has_pages(const struct umem_region *region);

/**
 * umem_survey_pages - where the pages of @region are.
 *
 * Return: NULL when umem_survey_has_pages() says no, and when the region changed
 * while we looked.
 */
const struct umem_residency_region *umem_survey_pages(const struct umem_survey *survey,
	const struct umem_region *region);

/** umem_survey_untrackable - why @region could not be watched (static text), or NULL. */
const char *umem_survey_untrackable(const struct umem_survey *survey,
	const struct umem_region *region);

/** umem_survey_page_size - granule in which @region is mapped. */
uint64_t umem_survey_page_size(const struct umem_survey *survey,
	const struct umem_region *region);

/** umem_survey_pinned - bytes of @region that are known to be pinned. */
uint64_t umem_survey_pinned(const struct umem_survey *survey,
	const struct umem_region *region);

#endif
