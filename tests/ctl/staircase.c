// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The staircase and its judge, for tests that are no C programs.
 *
 * ctl-staircase --staircase "LANES KIND PAGES CHURN PROCESSES SEED": the victim. It
 * prints "ready PID", answers a newline on stdin with "ok N" (it is unharmed), executes
 * itself anew at an "x", ends at a "q" and at the end of file.
 *
 * ctl-staircase judge IMAGE PID [START-END]...: is the image one moment, but for the
 * ranges that it does not know? UMEMCTL names the command that reads it.
 */
#include "tests/matrix/staircase.h"

#include "tests/clients/client.h"
#include "tests/clients/snapshot.h"

static bool read_image(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	(void)pid;
	return cl_snapshot_read(user, 0, at, bytes, len);
}

int main(int argc, char **argv)
{
	struct umem_ranges unknown = { 0 };
	struct sc_verdict verdict;
	struct sc_reader reader;

	sc_main(argc, argv);
	T_CHECK(argc >= 4 && strcmp(argv[1], "judge") == 0);
	for (int i = 4; i < argc; i++) {
		char *end;
		uint64_t start = strtoull(argv[i], &end, 16);

		T_CHECK(*end == '-');
		T_OK(umem_ranges_add(&unknown, start, strtoull(end + 1, NULL, 16)));
	}
	reader = (struct sc_reader){ read_image, argv[2] };
	sc_judge(&reader, (pid_t)atoi(argv[3]), &unknown, &verdict);
	if (verdict.is_one_moment)
		printf("one moment: %llu pages\n", (unsigned long long)verdict.done);
	else
		printf("torn: %s\n", verdict.why);
	umem_ranges_deinit(&unknown);
	return verdict.is_one_moment ? 0 : 1;
}
