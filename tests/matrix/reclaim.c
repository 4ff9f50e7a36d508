// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reclaim on real processes: what is cold goes out, what is hot stays, what came back
 * is counted right, and no byte is lost; by every policy.
 */
#include <unistd.h>

#include "lib/kern/vmstat.h"
#include "tests/matrix/victim.h"

#define HOT   2048
#define COLD  10240
#define ZRAM  (256ull << 20)

/* The swap areas: while somebody takes one away, pages come back by no fault. */
struct areas {
	char names[4096];
	uint64_t total_bytes;
};

static struct areas areas_now(void)
{
	FILE *file = fopen("/proc/swaps", "re");
	struct umem_meminfo info;
	struct areas now = { 0 };
	char line[256];
	size_t len = 0;

	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file) && len + sizeof(line) < sizeof(now.names))
		len += (size_t)sprintf(now.names + len, "%.*s;", (int)strcspn(line, " \t"), line);
	fclose(file);
	T_OK(umem_meminfo_read(NULL, &info));
	now.total_bytes = info.swap_total_bytes;
	return now;
}

static bool are_as(const struct areas *before)
{
	struct areas now = areas_now();

	return strcmp(now.names, before->names) == 0 && now.total_bytes == before->total_bytes;
}

/*
 * Steps until enough is out. What came back by our count against the faults of the
 * victim. Return: steps.
 */
static unsigned until_out(struct run *run, struct victim *v, enum v_order order,
	uint64_t n_pages, unsigned most)
{
	uint64_t faults = v_maj_flt(v), refaulted = run->refaulted_bytes, back;
	struct areas before = areas_now();
	unsigned n = 0;

	for (; n < most && v_out(v, v->n_hot, v->n_cold) < n_pages; n++)
		run_step(run, v, order);
	faults = v_maj_flt(v) - faults;
	back = (run->refaulted_bytes - refaulted) / K_PAGE;
	k_fact("%u steps: cold out %llu of %llu, hot out %llu of %llu, came back %llu, "
		"major faults %llu; %s", n,
		(unsigned long long)v_out(v, v->n_hot, v->n_cold), (unsigned long long)v->n_cold,
		(unsigned long long)v_out(v, 0, v->n_hot), (unsigned long long)v->n_hot,
		(unsigned long long)back, (unsigned long long)faults, run->report->sum.reason);
	/* Of what others put out, and the kernel, nothing is in our count. */
	T_CHECK(back <= faults, "(%llu > %llu)", (unsigned long long)back,
		(unsigned long long)faults);
	if (are_as(&before))
		T_CHECK(faults - back <= 4 + faults / 20, "(%llu, %llu)",
			(unsigned long long)back, (unsigned long long)faults);
	return n;
}

/* What is said to be out, or on trial, has slots: by the words of its pages. */
static void says_what_is(const struct run *run, const struct victim *v)
{
	uint64_t said = (run->report->sum.swapped_bytes + run->report->sum.trial_bytes) / K_PAGE;
	uint64_t out = v_out(v, 0, v->n_hot + v->n_cold);

	/* Of the rest of the process some may be out, too. */
	T_CHECK(said >= out && said <= out + 1024, "(%llu, %llu)", (unsigned long long)said,
		(unsigned long long)out);
}

/* Cold goes, hot stays, nothing is lost. */
static void policy(enum umem_policy policy, enum v_order order, uint64_t enough, unsigned most)
{
	struct areas before;
	struct victim v;
	struct run run;
	int pid;

	v_start(&v, HOT, COLD, NULL);
	pid = v.pid;
	run_init(&run, policy);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	run.options.age_ns = 2 * V_STEP_NS;
	run_begin(&run);
	T_CHECK(run.report->interval == 0 && run_told(&run, v.pid, "found"));
	until_out(&run, &v, order, enough, most);
	T_CHECK(v_out(&v, HOT, COLD) >= enough, "(%s)", run.report->sum.reason);
	run_step(&run, &v, order);
	says_what_is(&run, &v);
	/* Right after it was used: what is out of it now is none. */
	T_CHECK(v_out(&v, 0, HOT) == 0);
	run_work(&run);
	T_CHECK(v_out(&v, 0, HOT) <= HOT / 10, "(%llu)", (unsigned long long)v_out(&v, 0, HOT));
	before = areas_now();
	T_CHECK(v_tell(&v, V_CHECK) == HOT + COLD);
	run_look(&run);
	if (are_as(&before))
		T_CHECK(run.report->sum.refaulted_bytes >= enough * K_PAGE * 9 / 10, "(%llu)",
			(unsigned long long)run.report->sum.refaulted_bytes);
	run_end(&run);
	T_CHECK(v_tell(&v, V_CHECK) == HOT + COLD);
	v_stop(&v);
}

/*
 * Single pages in use all over what is cold: found page by page, and none of them had to
 * be waited for, or next to none.
 */
static void sprinkled(void)
{
	uint64_t used = COLD / V_GAP, faults, in = 0;
	struct areas before = areas_now();
	struct victim v;
	struct run run;
	int pid;

	v_start(&v, HOT, COLD, NULL);
	pid = v.pid;
	faults = v_maj_flt(&v);
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	run.options.refault_max_ppm_min = 2000;
	run_begin(&run);
	for (int i = 0; i < 120 && v_out(&v, HOT, COLD) < (COLD - used) * 9 / 10; i++)
		run_step(&run, &v, V_SPARSE);
	for (int i = 0; i < 12; i++)
		run_step(&run, &v, V_SPARSE);
	faults = v_maj_flt(&v) - faults;
	for (uint64_t i = 0; i < COLD; i += V_GAP)
		in += v_out(&v, HOT + i, 1) == 0;
	k_fact("one page in %u in use: %llu of %llu others out, %llu of %llu in, %llu major "
		"faults, %llu pages on trial; %s", V_GAP,
		(unsigned long long)v_out(&v, HOT, COLD), (unsigned long long)(COLD - used),
		(unsigned long long)in, (unsigned long long)used, (unsigned long long)faults,
		(unsigned long long)run.report->sum.trial_bytes / K_PAGE,
		run.report->sum.reason);
	T_CHECK(v_out(&v, HOT, COLD) >= (COLD - used) * 9 / 10);
	T_CHECK(in >= used * 9 / 10);
	if (are_as(&before))
		T_CHECK(faults <= used / 10, "(%llu)", (unsigned long long)faults);
	run_end(&run);
	T_CHECK(v_tell(&v, V_CHECK) == HOT + COLD);
	v_stop(&v);
}

/* Pages that left swap on this machine, by reading; those of zeros, too. */
static uint64_t swap_ins(void)
{
	struct umem_vmstat stat;

	T_OK(umem_vmstat_read(NULL, &stat));
	return stat.pswpin + stat.swpin_zero;
}

/*
 * What the victim discards and fills anew between two looks was out and is in memory,
 * but did not come back. What it touches besides is counted all the same.
 */
static void refilled(bool shared)
{
	uint64_t before, out, back;
	struct victim v;
	struct run run;
	int pid;

	v_start(&v, HOT, COLD, NULL);
	if (shared)
		v_tell(&v, V_SHARE);
	pid = v.pid;
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	run_begin(&run);
	for (int i = 0; i < 120 && run.report->sum.out_bytes < COLD * K_PAGE * 8 / 10; i++)
		run_step(&run, &v, V_READ);
	T_CHECK(run.report->sum.out_bytes >= COLD * K_PAGE * 8 / 10, "(%s)",
		run.report->sum.reason);
	run_step(&run, &v, V_READ);
	run_work(&run);
	before = swap_ins();
	T_CHECK(v_tell(&v, V_REFILL) == COLD / 2);
	run_look(&run);
	back = run.report->sum.refaulted_bytes / K_PAGE;
	before = swap_ins() - before;
	k_fact("%s memory, %d pages discarded and filled anew: %llu came back, %llu read",
		shared ? "shared" : "private", COLD / 2, (unsigned long long)back,
		(unsigned long long)before);
	T_CHECK(back <= before + COLD / 64);
	out = shared ? run.report->sum.out_bytes / K_PAGE : v_out(&v, 0, HOT + COLD);
	T_CHECK(out >= COLD / 4, "(%llu)", (unsigned long long)out);
	T_CHECK(v_tell(&v, V_CHECK) == HOT + COLD);
	run_look(&run);
	T_CHECK(run.report->sum.refaulted_bytes / K_PAGE >= out - out / 50, "(%llu of %llu)",
		(unsigned long long)run.report->sum.refaulted_bytes / K_PAGE,
		(unsigned long long)out);
	run_end(&run);
	v_stop(&v);
}

/* The objective is held: 0.2% a minute, over ten minutes, with its burst. */
static void objective(void)
{
	uint64_t most = (HOT + COLD) * 2 / 1000 * (10 + 2 + 1) + 2;
	struct victim v;
	struct run run;
	int pid;

	v_start(&v, HOT, COLD, NULL);
	pid = v.pid;
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	run.options.refault_max_ppm_min = 2000;
	run_begin(&run);
	until_out(&run, &v, V_READ, COLD, 120);
	T_CHECK(run.refaulted_bytes / K_PAGE <= most, "(%llu > %llu)",
		(unsigned long long)run.refaulted_bytes / K_PAGE, (unsigned long long)most);
	T_CHECK(run.reclaimed_bytes > 0);
	run_end(&run);
	T_CHECK(v_tell(&v, V_CHECK) == HOT + COLD);
	v_stop(&v);
}

/* Nothing moves: which page is where is the same afterwards. */
static void dry_run(void)
{
	uint64_t before, faults;
	struct victim v;
	struct run run;
	int pid;

	v_start(&v, HOT, COLD, NULL);
	pid = v.pid;
	before = v_out(&v, 0, HOT + COLD);
	faults = v_maj_flt(&v);
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	run.options.dry_run = true;
	run_begin(&run);
	T_CHECK(run.report->sum.want_bytes > 0 && run.report->sum.decision == UMEM_RECLAIM_GROW);
	run_steps(&run, &v, V_READ, 20);
	T_CHECK(run.reclaimed_bytes == 0 && run.report->sum.out_bytes == 0);
	/* Others may put pages out; we do not. */
	T_CHECK(v_out(&v, 0, HOT + COLD) <= before + COLD / 8);
	T_CHECK(v_maj_flt(&v) - faults <= 4);
	run_end(&run);
	v_stop(&v);
}

/* Huge pages that are in use are split by their sample, and made again. */
static void huge_pages(void)
{
	uint64_t before, least = UINT64_MAX, after;
	struct victim v;
	struct run run;
	int pid;

	v_start(&v, 16 * 512, 0, NULL);
	v_tell(&v, V_HUGE);
	before = v_huge(&v);
	if (before < 8 * K_HUGE) {
		k_fact("%llu bytes of huge pages could be had: not looked at",
			(unsigned long long)before);
		v_stop(&v);
		return;
	}
	pid = v.pid;
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	run_begin(&run);
	for (int i = 0; i < 20; i++) {
		run_work(&run);
		after = v_huge(&v);
		least = after < least ? after : least;
		run_step(&run, &v, V_READ);
	}
	after = v_huge(&v);
	k_fact("huge pages: %llu MiB, at the least %llu, in the end %llu",
		(unsigned long long)before >> 20, (unsigned long long)least >> 20,
		(unsigned long long)after >> 20);
	T_CHECK(least < before && after + K_HUGE >= before);
	run_end(&run);
	T_CHECK(v_tell(&v, V_CHECK) == 16 * 512);
	v_stop(&v);
}

int main(int argc, char **argv)
{
	v_main(argc, argv);
	k_zram_swap(ZRAM);
	policy(UMEM_POLICY_PROBE, V_READ, COLD * 8 / 10, 120);
	policy(UMEM_POLICY_AGE, V_TOUCH, COLD * 8 / 10, 120);
	policy(UMEM_POLICY_PRESSURE, V_READ, COLD / 4, 160);
	sprinkled();
	refilled(false);
	refilled(true);
	objective();
	huge_pages();
	dry_run();
	return 0;
}
