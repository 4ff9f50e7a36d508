// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The limits of reclaim, by bytes: floor, rate, processor time, swap that is short,
 * taken away, made anew, or does not compress; and what the kernel may lack.
 */
#include <errno.h>
#include <sys/swap.h>
#include <unistd.h>

#include "tests/matrix/victim.h"

#define HOT  256
#define COLD 3072
#define ZRAM (128ull << 20)
#define ALL  ((HOT + COLD) * K_PAGE)

static int pid;
static const char *zram;

static void begin(struct run *run, struct victim *v)
{
	v_start(v, HOT, COLD, NULL);
	pid = v->pid;
	run_init(run, UMEM_POLICY_PROBE);
	run->options.pids = &pid;
	run->options.n_pids = 1;
}

static void end(struct run *run, struct victim *v)
{
	run_end(run);
	v_tell(v, V_CHECK);
	v_stop(v);
}

static bool says(const struct run *run, const char *part)
{
	return strstr(run->report->sum.reason, part) != NULL;
}

static void until_out(struct run *run, struct victim *v, uint64_t enough)
{
	for (int i = 0; i < 150 && run->report->sum.out_bytes < enough; i++)
		run_step(run, v, V_READ);
	T_CHECK(run->report->sum.out_bytes >= enough, "(%llu: %s)",
		(unsigned long long)run->report->sum.out_bytes, run->report->sum.reason);
}

static void floor_holds(void)
{
	uint64_t floor, least = UINT64_MAX;
	bool told = false;
	struct victim v;
	struct run run;

	begin(&run, &v);
	floor = run.options.limits.floor_bytes = ALL - (2u << 20);
	run_begin(&run);
	for (int i = 0; i < 80; i++) {
		run_step(&run, &v, V_READ);
		least = run.report->sum.resident_bytes < least ? run.report->sum.resident_bytes :
								least;
		told |= says(&run, "floor");
	}
	k_fact("floor %llu KiB, least %llu KiB; %s", (unsigned long long)floor >> 10,
		(unsigned long long)least >> 10, run.report->sum.reason);
	/* Below it only by what others put out; we stop at it. */
	T_CHECK(told && run.reclaimed_bytes - run.refaulted_bytes <= ALL + (1u << 20) - floor);
	end(&run, &v);
}

static void rate_holds(void)
{
	const uint64_t rate = 64u << 10, most = rate * V_STEP_NS / 1000000000u;
	uint64_t largest = 0;
	struct victim v;
	struct run run;

	begin(&run, &v);
	run.options.limits.rate_bytes_s = rate;
	run_begin(&run);
	/* Nothing lies behind the first look, and yet there is a rate. */
	T_CHECK(run.report->sum.decision == UMEM_RECLAIM_GROW, "(%s)", run.report->sum.reason);
	T_CHECK(run.report->sum.want_bytes <= most);
	for (int i = 0; i < 80; i++) {
		run_step(&run, &v, V_READ);
		T_CHECK(run.report->sum.want_bytes <= most);
		T_CHECK(run.report->sum.reclaimed_bytes <= most);
		largest = run.report->sum.reclaimed_bytes > largest ?
			run.report->sum.reclaimed_bytes : largest;
	}
	/* It is what holds it back. */
	T_CHECK(largest >= most - (8u << 10), "(%llu of %llu)", (unsigned long long)largest,
		(unsigned long long)most);
	end(&run, &v);
}

/* A part per million of a processor is less than a look takes. */
static void cpu_holds(void)
{
	struct victim v;
	struct run run;

	begin(&run, &v);
	run.options.limits.cpu_max_ppm = 1;
	run_begin(&run);
	run_step(&run, &v, V_READ);
	for (int i = 0; i < 10; i++) {
		T_CHECK(run.report->sum.decision == UMEM_RECLAIM_STOP && says(&run, "CPU"), "(%s)",
			run.report->sum.reason);
		run_step(&run, &v, V_READ);
		T_CHECK(run.report->sum.reclaimed_bytes == 0);
	}
	end(&run, &v);
}

static void swap_left(void)
{
	struct victim v;
	struct run run;

	begin(&run, &v);
	run.options.limits.swap_min_bytes = UINT64_MAX - 1;
	run_begin(&run);
	run_steps(&run, &v, V_READ, 10);
	T_CHECK(run.reclaimed_bytes == 0 && run.report->sum.decision == UMEM_RECLAIM_STOP);
	T_CHECK(says(&run, "little swap"), "(%s)", run.report->sum.reason);
	end(&run, &v);
}

/* The device is emptied and made anew: what zram forgets was brought back before. */
static void make_anew(void)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), "/sys/block/%s/reset", zram + strlen("/dev/"));
	T_OK(k_write_text(path, "1"));
	snprintf(path, sizeof(path), "/sys/block/%s/disksize", zram + strlen("/dev/"));
	snprintf(text, sizeof(text), "%llu", (unsigned long long)ZRAM);
	T_OK(k_write_text(path, text));
	k_format_swap(zram, ZRAM);
	T_SYS(swapon(zram, SWAP_FLAG_PREFER | 32000));
}

static void taken_away(void)
{
	uint64_t refaulted;
	struct victim v;
	struct run run;

	begin(&run, &v);
	run_begin(&run);
	until_out(&run, &v, ALL / 2);
	run_work(&run);
	refaulted = run.refaulted_bytes;
	T_SYS(swapoff(zram));
	run_look(&run);
	/* It came back, but nobody used it. */
	T_CHECK(run.refaulted_bytes == refaulted, "(%llu)",
		(unsigned long long)(run.refaulted_bytes - refaulted));
	T_CHECK(run.report->sum.decision != UMEM_RECLAIM_BACK_OFF, "(%s)",
		run.report->sum.reason);
	if (run.report->swap_free_bytes == 0)
		T_CHECK(run.report->sum.decision == UMEM_RECLAIM_STOP && says(&run, "no swap"));
	run_steps(&run, &v, V_READ, 3);
	v_tell(&v, V_CHECK);
	make_anew();
	run_look(&run);
	until_out(&run, &v, ALL / 2);
	end(&run, &v);
}

/* An area that came and went between two looks: what it gave back nobody used. */
static void comes_and_goes(void)
{
	struct victim v;
	struct run run;

	T_SYS(swapoff(zram));
	k_swap_file(8u << 20);
	begin(&run, &v);
	run_begin(&run);
	/* On trial is in swap, too. */
	T_CHECK(run.report->sum.try_bytes > 0);
	T_SYS(swapon(zram, SWAP_FLAG_PREFER | 32767));
	run_work(&run);
	T_SYS(swapoff(zram));
	run_look(&run);
	T_CHECK(run.report->sum.trial_bytes == 0);
	T_CHECK(run.refaulted_bytes == 0, "(%llu of %llu)",
		(unsigned long long)run.refaulted_bytes, (unsigned long long)run.reclaimed_bytes);
	end(&run, &v);
}

/* Random bytes: zram would take more memory than it frees. */
static void incompressible(void)
{
	bool stopped = false;
	struct victim v;
	struct run run;

	begin(&run, &v);
	v_tell(&v, V_RANDOM);
	run.options.limits.stored_max_ppm = 900000;
	run.options.limits.stored_least_bytes = 1u << 20;
	run_begin(&run);
	for (int i = 0; i < 100 && !stopped; i++) {
		run_step(&run, &v, V_READ);
		stopped = run.report->sum.decision == UMEM_RECLAIM_STOP;
	}
	k_fact("random bytes: %llu KiB out, stored %llu ppm, %s",
		(unsigned long long)run.report->sum.out_bytes >> 10,
		(unsigned long long)run.report->stored_ppm, run.report->sum.reason);
	/* Others may have put out what compresses better: the figure is the machine's. */
	if (run.report->stored_ppm > 900000)
		T_CHECK(stopped && says(&run, "does not compress"));
	T_CHECK(!stopped || run.report->sum.out_bytes < ALL);
	end(&run, &v);
}

static void expect(struct run *run, int code, const char *part)
{
	struct umem_reclaim *reclaim = NULL;
	struct umem_note note = { 0 };
	int r = umem_reclaim_new(&run->options, &reclaim, &note);

	T_CHECK(r == code && strstr(note.text, part), "(%d: %s)", r, note.text);
}

static void lacking(void)
{
	struct victim v;
	struct run run;

	begin(&run, &v);
	run.options.features = "-process_madvise";
	expect(&run, -ENOSYS, "process_madvise");
	run.options.features = "-psi";
	run.options.policy = UMEM_POLICY_PRESSURE;
	expect(&run, -ENOSYS, "pressure stall");
	run.options.features = "psi";
	expect(&run, -EINVAL, "UMEM_FEATURES");
	/* The others do without. */
	run.options.features = "-psi";
	run.options.policy = UMEM_POLICY_PROBE;
	run_begin(&run);
	end(&run, &v);
}

int main(int argc, char **argv)
{
	v_main(argc, argv);
	zram = k_zram_swap(ZRAM);
	floor_holds();
	rate_holds();
	cpu_holds();
	swap_left();
	incompressible();
	lacking();
	taken_away();
	comes_and_goes();
	return 0;
}
