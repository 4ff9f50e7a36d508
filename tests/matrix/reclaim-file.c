// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reclaim with a swap file, which keeps what goes out in the swap cache: what was on
 * trial is dropped from there, so that its memory is free; and what comes back is
 * counted, whether it was read from the file or taken from the cache by a minor fault.
 */
#include "lib/kern/vmstat.h"
#include "tests/matrix/victim.h"

#define HOT  1024
#define COLD 8192

static uint64_t cached(void)
{
	struct umem_meminfo info;

	T_OK(umem_meminfo_read(NULL, &info));
	return info.swap_cached_bytes / K_PAGE;
}

int main(int argc, char **argv)
{
	uint64_t out, kept, back;
	struct victim v;
	struct run run;
	int pid;

	v_main(argc, argv);
	k_swap_file(128ull << 20);
	v_start(&v, HOT, COLD, NULL);
	pid = v.pid;
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	run_begin(&run);
	for (int i = 0; i < 120 && v_out(&v, HOT, COLD) < COLD; i++)
		run_step(&run, &v, V_READ);
	/* Until what is on trial is decided, too. */
	for (int i = 0; i < 20; i++)
		run_step(&run, &v, V_READ);
	run_work(&run);
	out = v_out(&v, 0, HOT + COLD);
	kept = cached();
	T_CHECK(v_out(&v, HOT, COLD) >= COLD * 8 / 10, "(%llu, %s)",
		(unsigned long long)v_out(&v, HOT, COLD), run.report->sum.reason);
	T_CHECK(v_out(&v, 0, HOT) <= HOT / 10);
	T_CHECK(v_tell(&v, V_CHECK) == HOT + COLD);
	run_look(&run);
	back = run.report->sum.refaulted_bytes / K_PAGE;
	k_fact("swap file: %llu out, %llu in the swap cache of the machine; %llu came back",
		(unsigned long long)out, (unsigned long long)kept, (unsigned long long)back);
	T_CHECK(kept <= out / 4, "(%llu of %llu)", (unsigned long long)kept,
		(unsigned long long)out);
	T_CHECK(back >= out * 9 / 10, "(%llu of %llu)", (unsigned long long)back,
		(unsigned long long)out);
	run_end(&run);
	v_stop(&v);
	return 0;
}
