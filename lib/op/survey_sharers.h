/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who else maps the shared memory of a process, as a list by process id. A look
 * of the moment; nothing is stopped. One owner.
 */
#ifndef UMEM_OP_SURVEY_SHARERS_H
#define UMEM_OP_SURVEY_SHARERS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/ranges.h"
#include "lib/mem/target.h"

/**
 * struct umem_survey_sharer - another process that maps its shared memory.
 * @pid: its id.
 * @comm: its name; any bytes.
 * @mapped, @written: as in struct umem_mapper.
 */
struct umem_survey_sharer {
	int pid;
	char comm[64];
	struct umem_ranges mapped;
	struct umem_ranges written;
};

/**
 * struct umem_survey_sharers - @n of them at @v, by id; all zero is empty.
 * @n_hidden: processes that may map its memory and may not be looked at.
 */
struct umem_survey_sharers {
	struct umem_survey_sharer *v;
	size_t n;
	size_t room;
	uint64_t n_hidden;
};

/** umem_survey_sharers_deinit - free what the list owns and make it empty. */
void umem_survey_sharers_deinit(struct umem_survey_sharers *sharers);

/**
 * umem_survey_sharers_find - find all other mappers of a target's shared memory.
 * @target: refreshed.
 * @sharers: empty.
 *
 * Return: 0, -ENOMEM, or -errno of opening /proc; what was found so far is kept.
 */
int umem_survey_sharers_find(const struct umem_target *target,
	struct umem_survey_sharers *sharers);

#endif
