// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reclaim where there is no swap, and where it fills up: it stops and says why, and
 * no page is lost. Needs a machine without swap of its own.
 */
#include <errno.h>
#include <unistd.h>

#include "lib/kern/swapdev.h"
#include "tests/matrix/victim.h"

#define HOT  256
#define COLD 3840
#define ZRAM (4ull << 20)

int main(int argc, char **argv)
{
	struct umem_reclaim *reclaim = NULL;
	struct umem_note note = { 0 };
	struct victim v;
	struct run run;
	bool stopped = false;
	int pid, r;

	v_main(argc, argv);
	if (umem_swap_active())
		T_SKIP("there is swap on this machine already, which would not fill up");
	v_start(&v, HOT, COLD, NULL);
	pid = v.pid;
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	r = umem_reclaim_new(&run.options, &reclaim, &note);
	if (r == 0 || strstr(note.text, "no swap") == NULL)
		T_CHECK(umem_swap_active(), "(%d: %s)", r, note.text);
	umem_reclaim_free(reclaim);
	k_zram_swap(ZRAM);
	run_begin(&run);
	for (int i = 0; i < 100 && !stopped; i++) {
		run_step(&run, &v, V_READ);
		stopped = run.report->sum.decision == UMEM_RECLAIM_STOP;
	}
	k_fact("%llu KiB out of 4096, %llu left; %s",
		(unsigned long long)run.report->sum.out_bytes >> 10,
		(unsigned long long)run.report->swap_free_bytes, run.report->sum.reason);
	if (run.report->swap_free_bytes > ZRAM)
		T_SKIP("swap was added meanwhile");
	T_CHECK(run.report->sum.out_bytes <= ZRAM);
	T_CHECK(stopped && strstr(run.report->sum.reason, "no swap"), "(%s)",
		run.report->sum.reason);
	v_tell(&v, V_CHECK);
	run_look(&run);
	run_end(&run);
	v_tell(&v, V_CHECK);
	v_stop(&v);
	return 0;
}
