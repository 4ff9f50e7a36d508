// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who else maps the shared memory of a process. */
#include "lib/op/survey_sharers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem/mappers.h"

void umem_survey_sharers_deinit(struct umem_survey_sharers *sharers)
{
	for (size_t i = 0; i < sharers->n; i++) {
		umem_ranges_deinit(&sharers->v[i].mapped);
		umem_ranges_deinit(&sharers->v[i].written);
	}
	free(sharers->v);
	*sharers = (struct umem_survey_sharers){ 0 };
}

static int copy_ranges(const struct umem_ranges *from, struct umem_ranges *ret_copy)
{
	int r = 0;

	for (size_t i = 0; i < from->n && r == 0; i++)
		r = umem_ranges_add(ret_copy, from->v[i].start, from->v[i].end);
	return r;
}

static int add(struct umem_survey_sharers *sharers, const struct umem_mapper *mapper)
{
	struct umem_survey_sharer *s;
	int r;

	if (sharers->n == sharers->room) {
		size_t room = sharers->room ? sharers->room * 2 : 16;
		struct umem_survey_sharer *v = reallocarray(sharers->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		sharers->v = v;
		sharers->room = room;
	}
	s = &sharers->v[sharers->n++];
	*s = (struct umem_survey_sharer){ .pid = mapper->pid };
	memcpy(s->comm, mapper->stat.comm, sizeof(s->comm));
	r = copy_ranges(&mapper->mapped, &s->mapped);
	return r < 0 ? r : copy_ranges(&mapper->written, &s->written);
}

static int by_pid(const void *a, const void *b)
{
	const struct umem_survey_sharer *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* A map of residency keeps what it looked at mapped; that is no sharer. */
static bool is_us(void *user, int pid)
{
	(void)user;
	return pid == getpid();
}

int umem_survey_sharers_find(const struct umem_target *target,
	struct umem_survey_sharers *sharers)
{
	UMEM_CLEANUP(umem_mappers_deinit) struct umem_mappers mappers = { 0 };
	const struct umem_mapper *mapper;
	int r = umem_mappers_begin(&mappers, target, NULL);

	while (r == 0) {
		r = umem_mappers_next(&mappers, is_us, NULL, &mapper);
		if (r <= 0)
			break;
		r = add(sharers, mapper);
	}
	sharers->n_hidden = mappers.n_hidden;
	if (sharers->n)
		qsort(sharers->v, sharers->n, sizeof(sharers->v[0]), by_pid);
	return r;
}
