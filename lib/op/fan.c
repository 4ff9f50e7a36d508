// SPDX-License-Identifier: LGPL-2.1-or-later
/* Fan out: slices of one piece of work. */
#include "lib/op/fan.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "lib/base/fault.h"

/** struct slice - one of them. */
struct slice {
	int (*work)(void *user, unsigned slice);
	void *user;
	unsigned index;
	int result;
	bool started;
	pthread_t thread;
};

static void *run(void *arg)
{
	struct slice *s = arg;

	s->result = s->work(s->user, s->index);
	return NULL;
}

int umem_fan_out(unsigned n, int (*work)(void *user, unsigned slice), void *user)
{
	struct slice v[UMEM_FAN_MAX] = { 0 };
	int r = 0;

	for (unsigned i = 0; i < n; i++) {
		v[i] = (struct slice){ .work = work, .user = user, .index = i };
		v[i].started = i > 0 && !UMEM_FAULT_POINT("fan.no-thread") &&
			pthread_create(&v[i].thread, NULL, run, &v[i]) == 0;
	}
	for (unsigned i = 0; i < n; i++)
		if (!v[i].started)
			run(&v[i]);
	for (unsigned i = 0; i < n; i++) {
		if (v[i].started)
			pthread_join(v[i].thread, NULL);
		if (r == 0)
			r = v[i].result;
	}
	return r;
}

unsigned umem_fan_width(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : n > UMEM_FAN_MAX ? UMEM_FAN_MAX : (unsigned)n;
}
