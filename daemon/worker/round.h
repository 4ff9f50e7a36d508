/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A round of dirty tracking, in the forms in which it can be asked for. */
#ifndef WORKER_ROUND_H
#define WORKER_ROUND_H

#include <umemd/track.h>

#include "daemon/worker/answer.h"

/** ROUND_RANGES_MAX - ranges that a reply takes; more go by table or bitmap. */
#define ROUND_RANGES_MAX 8192u

/** ROUND_AREAS_MAX - areas of a bitmap. */
#define ROUND_AREAS_MAX 1024u

/** struct round_record - a record of a table. @why: enum umem_why, or 5 for gone. */
struct round_record {
	uint64_t start;
	uint64_t end;
	uint64_t why;
};

/**
 * round_answer - put the last round of @watch into @answer.
 * @form: "numbers", "ranges", "table" or "bitmap"; NULL is numbers.
 * @recovered: a worker died before it.
 *
 * Return: 0; -E2BIG: more ranges than a reply takes, @answer->n_ranges of them;
 * -ENOMEM; -errno of memfd_create(2) and the like.
 */
int round_answer(struct umem_watch *watch, const struct umem_round *round, const char *form,
	bool recovered, struct answer *answer);

/** round_json_reasons - an array of Reason; past a limit one that says how many follow. */
struct umem_json *round_json_reasons(const struct umem_reason *v, size_t n);

#endif
