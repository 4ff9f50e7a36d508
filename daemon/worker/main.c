// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umemd-worker: works on one target for umemd, which starts it; see isolate.h for
 * the descriptors that it begins with. With a last word "snapshot" it takes one, as a
 * process of its own: see snapshotter.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "daemon/worker/isolate.h"
#include "daemon/worker/seccomp.h"
#include "daemon/worker/snapshotter.h"
#include "daemon/worker/worker.h"
#include "lib/base/parse.h"

/* A number of the command line, at most @max. */
static int parse(const char *word, uint64_t max, uint64_t *ret_value)
{
	int r = umem_parse_u64(word, ret_value);

	return r < 0 || *ret_value > max ? -EINVAL : 0;
}

static int fail(const char *what, int r)
{
	fprintf(stderr, "umemd-worker: %s: %s\n", what, strerror(-r));
	return 1;
}

static int take_snapshot(const struct isolate_options *options)
{
	int r = isolate_snapshot(options);

	if (r < 0)
		return fail("isolation", r);
	/* Not one of those that umemd replaces when they die. */
	prctl(PR_SET_NAME, "umemd-snapshot", 0, 0, 0);
	r = seccomp_stage_enter(SECCOMP_SNAPSHOT, NULL);
	if (r < 0)
		return fail("the filter of system calls", r);
	r = snapshotter_run();
	return r < 0 ? fail("a snapshot", r) : 0;
}

int main(int argc, char **argv)
{
	struct isolate_options options;
	struct isolate isolate;
	uint64_t uid, gid, manager;
	bool snapshot = argc == 5 && strcmp(argv[4], "snapshot") == 0;
	int r;

	if ((argc != 4 && !snapshot) || parse(argv[1], UINT32_MAX, &uid) < 0 ||
		parse(argv[2], UINT32_MAX, &gid) < 0 || parse(argv[3], INT32_MAX, &manager) < 0) {
		fputs("umemd-worker is started by umemd(8)\n", stderr);
		return 2;
	}
	options = (struct isolate_options){ (uid_t)uid, (gid_t)gid, (pid_t)manager };
	if (snapshot)
		return take_snapshot(&options);
	r = isolate_start(&options, &isolate);
	if (r < 0)
		return fail("isolation", r);
	r = seccomp_stage_enter(SECCOMP_WAIT, NULL);
	if (r < 0)
		return fail("the filter of system calls", r);
	r = worker_run(&isolate);
	return r < 0 ? fail("serving", r) : 0;
}
