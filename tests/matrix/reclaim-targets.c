// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Targets of reclaim that do what processes do: fork, execute, end, die, unmap,
 * discard, lock; are watched by others; come and go by name and by cgroup.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <umemd/track.h>

#include "lib/kern/pidfd.h"
#include "tests/matrix/victim.h"

#define HOT    256
#define COLD   2048
#define ZRAM   (128ull << 20)
#define ENOUGH (COLD * 6 / 10)
#define GROUP  "/sys/fs/cgroup/memory"

static char group[64];

static void run_on(struct run *run, struct victim *v, enum umem_policy policy)
{
	static int pid;

	pid = v->pid;
	run_init(run, policy);
	run->options.pids = &pid;
	run->options.n_pids = 1;
	run->options.age_ns = V_STEP_NS;
	run_begin(run);
}

static void until_out(struct run *run, struct victim *v, uint64_t enough)
{
	for (int i = 0; i < 150 && v_out(v, HOT, COLD) < enough; i++)
		run_step(run, v, V_TOUCH);
	T_CHECK(v_out(v, HOT, COLD) >= enough, "(%llu: %s)",
		(unsigned long long)v_out(v, HOT, COLD), run->report->sum.reason);
}

static void begin(struct run *run, struct victim *v)
{
	v_start(v, HOT, COLD, NULL);
	run_on(run, v, UMEM_POLICY_PROBE);
}

static void end(struct run *run, struct victim *v)
{
	run_end(run);
	v_tell(v, V_CHECK);
	v_stop(v);
}

/* What a child shares cannot go; it is told, held, and goes when the child has ended. */
static void fork_shares(void)
{
	struct victim v;
	struct run run;
	uint64_t before, refused = 0;
	pid_t child;

	begin(&run, &v);
	run_steps(&run, &v, V_TOUCH, 3);
	child = (pid_t)v_tell(&v, V_FORK);
	before = v_out(&v, HOT, COLD);
	for (int i = 0; i < 40; i++) {
		run_step(&run, &v, V_TOUCH);
		refused += run.report->sum.refused_bytes;
	}
	k_fact("shared with a child: %llu KiB refused, %lld more pages out",
		(unsigned long long)refused >> 10,
		(long long)(v_out(&v, HOT, COLD) - before));
	T_CHECK(refused > 0);
	/* Held: it is not tried again in each interval. */
	T_CHECK(refused < 40 * COLD * K_PAGE / 8);
	T_CHECK(v_out(&v, HOT, COLD) <= before + COLD / 16);
	kill(child, SIGKILL);
	/* What was refused is held for longer each time. */
	until_out(&run, &v, COLD / 2);
	end(&run, &v);
}

static void exec_is_another(enum umem_policy policy)
{
	struct victim v;
	struct run run;

	v_start(&v, HOT, COLD, NULL);
	run_on(&run, &v, policy);
	until_out(&run, &v, ENOUGH);
	run_work(&run);
	v.base = v_tell(&v, V_EXEC);
	run_look(&run);
	T_CHECK(run.result == 0 && run_told(&run, v.pid, "executed another program"));
	T_CHECK(run.report->n_targets == 1 && run.report->sum.out_bytes == 0);
	T_CHECK(run.report->sum.refaulted_bytes == 0);
	/* Nothing of the new program can be old yet. */
	T_CHECK(policy != UMEM_POLICY_AGE || run.report->sum.want_bytes == 0, "(%llu)",
		(unsigned long long)run.report->sum.want_bytes);
	/* What was opened before shows the program that is gone. */
	close(v.pagemap);
	v.pagemap = v_pagemap(v.pid);
	until_out(&run, &v, ENOUGH);
	end(&run, &v);
}

/* It ends between the looks, in the middle of work; named by its id that ends the run. */
static void killed(bool by_name)
{
	struct victim v;
	struct run run;
	char name[16];
	pid_t pid;
	bool more;

	snprintf(name, sizeof(name), "rt-%d", (int)getpid());
	v_start(&v, HOT, COLD, name);
	if (by_name) {
		run_init(&run, UMEM_POLICY_PROBE);
		run.options.name = name;
		run_begin(&run);
		T_CHECK(run.report->n_targets == 1 && run_told(&run, v.pid, "found"));
	} else {
		run_on(&run, &v, UMEM_POLICY_PROBE);
	}
	until_out(&run, &v, COLD / 2);
	T_OK(umem_reclaim_work(run.reclaim, 1, &more));
	pid = v.pid;
	v.pid = 0;
	t_end(pid);
	run_work(&run);
	run_look(&run);
	T_CHECK(run.report->n_targets == 0 && run_told(&run, pid, "ended"));
	T_CHECK(run.result == (by_name ? 0 : UMEM_GONE), "(%d)", run.result);
	if (by_name) {
		T_CHECK(run.report->sum.decision == UMEM_RECLAIM_HOLD);
		T_CHECK(strcmp(run.report->sum.reason, "no process is there") == 0);
	} else {
		T_CHECK(strstr(run.note.text, "ended"), "(%s)", run.note.text);
	}
	run_end(&run);
	v_stop(&v);
}

/* What is unmapped or discarded while it is out did not come back. */
static void given_back(enum v_order order)
{
	struct victim v;
	struct run run;
	uint64_t out, out_now, faults, refaulted, given;

	begin(&run, &v);
	until_out(&run, &v, ENOUGH);
	for (int i = 0; i < 100 && v_out(&v, HOT + COLD / 4 * 3, COLD / 4) < COLD / 8; i++)
		run_step(&run, &v, V_TOUCH);
	run_step(&run, &v, V_TOUCH);
	out = run.report->sum.out_bytes + run.report->sum.trial_bytes;
	given = v_out(&v, HOT + COLD / 4 * 3, COLD / 4);
	refaulted = run.refaulted_bytes;
	faults = v_maj_flt(&v);
	v_tell(&v, order);
	run_look(&run);
	T_CHECK(given >= COLD / 16, "(%llu)", (unsigned long long)given);
	T_CHECK((run.refaulted_bytes - refaulted) / K_PAGE <= v_maj_flt(&v) - faults);
	T_CHECK(run.refaulted_bytes - refaulted <= COLD / 32 * K_PAGE, "(%llu)",
		(unsigned long long)(run.refaulted_bytes - refaulted));
	/* Some of it may have been put out by others. What is on trial is not mapped either. */
	out_now = run.report->sum.out_bytes + run.report->sum.trial_bytes;
	T_CHECK(out_now + given * K_PAGE * 9 / 10 <= out, "(%llu, %llu, %llu)",
		(unsigned long long)out_now, (unsigned long long)given, (unsigned long long)out);
	end(&run, &v);
}

/* mlock(2) brings all back, and what is locked does not go; the run goes on. */
static void locked(void)
{
	struct victim v;
	struct run run;

	begin(&run, &v);
	until_out(&run, &v, ENOUGH);
	v_tell(&v, V_LOCK);
	run_look(&run);
	T_CHECK(v_out(&v, 0, HOT + COLD) == 0);
	for (int i = 0; i < 30; i++) {
		run_step(&run, &v, V_TOUCH);
		T_CHECK(run.result == 0 && v_out(&v, 0, HOT + COLD) == 0);
	}
	end(&run, &v);
}

/* A watch of our own, at the same time: it sees each write, and no page that only moved. */
static void watched(void)
{
	struct umem_watch_options options = { .size = sizeof(options) };
	const struct umem_round *round;
	struct umem_target *target;
	struct umem_watch *watch;
	struct umem_note note = { 0 };
	struct umem_reclaim *aged;
	struct victim v;
	struct run run;
	int r;

	begin(&run, &v);
	T_OK(umem_target_attach(v.pid, NULL, &target, &note));
	T_OK(umem_watch_new(target, &options, &watch, &note));
	T_OK(umem_watch_collect(watch, &round, &note));
	for (int i = 0; i < 150 && v_out(&v, HOT, COLD) < ENOUGH; i++) {
		run_step(&run, &v, V_TOUCH);
		T_OK(umem_watch_collect(watch, &round, &note));
		T_CHECK(round->complete && round->dirty_bytes >= HOT * K_PAGE);
		T_CHECK(round->dirty_bytes <= (HOT + 64) * K_PAGE, "(%llu)",
			(unsigned long long)round->dirty_bytes);
	}
	T_CHECK(v_out(&v, HOT, COLD) >= ENOUGH);
	/* It comes back by being read: that changes nothing of it. */
	v_tell(&v, V_CHECK);
	T_OK(umem_watch_collect(watch, &round, &note));
	T_CHECK(round->dirty_bytes <= 64 * K_PAGE, "(%llu)",
		(unsigned long long)round->dirty_bytes);
	run_end(&run);
	/* The policy age would need the place of that watch. */
	run.options.policy = UMEM_POLICY_AGE;
	r = umem_reclaim_new(&run.options, &aged, &note);
	T_CHECK(r == -EBUSY && strstr(note.text, "userfaultfd"), "(%d: %s)", r, note.text);
	umem_watch_free(watch);
	umem_target_free(target);
	v_tell(&v, V_CHECK);
	v_stop(&v);
}

/* One owner: a second run is refused with a message, until the first one has ended. */
static void claimed(void)
{
	struct umem_reclaim *second = NULL;
	struct umem_note note = { 0 };
	struct victim v;
	struct run run, named;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "rc-%d", (int)getpid());
	v_start(&v, HOT, COLD, name);
	run_on(&run, &v, UMEM_POLICY_PROBE);
	r = umem_reclaim_new(&run.options, &second, &note);
	T_CHECK(r == -EADDRINUSE && strstr(note.text, "another umemctl"), "(%d: %s)", r, note.text);
	/* Found by its name it is told, once, and the run goes on without. */
	run_init(&named, UMEM_POLICY_PROBE);
	named.options.name = name;
	run_begin(&named);
	T_CHECK(run_told(&named, v.pid, "another umemctl") && named.report->n_targets == 0);
	run_step(&named, NULL, 0);
	T_CHECK(named.report->n_events == 0);
	run_end(&named);
	run_end(&run);
	T_OK(umem_reclaim_new(&run.options, &second, &note));
	umem_reclaim_free(second);
	v_stop(&v);
}

static void expect_refused(int pid, int code, const char *part)
{
	struct umem_reclaim *reclaim = NULL;
	struct umem_note note = { 0 };
	struct run run;
	int r;

	run_init(&run, UMEM_POLICY_PROBE);
	run.options.pids = &pid;
	run.options.n_pids = 1;
	r = umem_reclaim_new(&run.options, &reclaim, &note);
	T_CHECK(r == code && strstr(note.text, part), "(pid %d: %d: %s)", pid, r, note.text);
}

static int a_kernel_thread(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int found = 0;

	T_CHECK(proc != NULL);
	while (!found && (entry = readdir(proc))) {
		struct umem_proc_stat stat;
		int pid = atoi(entry->d_name);

		if (pid > 0 && umem_proc_stat_read(pid, 0, &stat) == 0 && stat.kernel_thread)
			found = pid;
	}
	closedir(proc);
	return found;
}

static void not_to_be_had(void)
{
	int kernel_thread = a_kernel_thread();
	pid_t ended = t_fork();

	if (ended == 0)
		_exit(0);
	t_wait(ended);
	expect_refused(ended, UMEM_GONE, "there is no process");
	expect_refused(getpid(), -EINVAL, "this program itself");
	if (kernel_thread)
		expect_refused(kernel_thread, -ENOTSUP, "kernel thread");
}

static uint64_t least_out(const struct victim *v, int n)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < n; i++)
		least = v_out(&v[i], HOT, COLD) < least ? v_out(&v[i], HOT, COLD) : least;
	return least;
}

/* Several by their name: the cold of each goes out, what comes later is found, too. */
static void by_name(void)
{
	struct victim v[3];
	char name[16], glob[16];
	struct run run;

	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "rn-%d-%d", (int)getpid(), i);
		v_start(&v[i], HOT, COLD, name);
	}
	snprintf(glob, sizeof(glob), "rn-%d-*", (int)getpid());
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.name = glob;
	run_begin(&run);
	T_CHECK(run.report->n_targets == 2);
	snprintf(name, sizeof(name), "rn-%d-2", (int)getpid());
	v_start(&v[2], HOT, COLD, name);
	for (int step = 0; step < 150 && least_out(v, 3) < ENOUGH; step++) {
		run_work(&run);
		for (int i = 0; i < 3; i++)
			v_tell(&v[i], V_READ);
		run_look(&run);
		T_CHECK(run_told(&run, v[2].pid, "found") == (step == 0));
	}
	T_CHECK(run.report->n_targets == 3);
	T_CHECK(least_out(v, 3) >= ENOUGH, "(%llu)", (unsigned long long)least_out(v, 3));
	run_end(&run);
	for (int i = 0; i < 3; i++) {
		v_tell(&v[i], V_CHECK);
		v_stop(&v[i]);
	}
}

static void drop_group(void)
{
	rmdir(group);
}

static void move_to(const char *folder, pid_t pid)
{
	char path[96], text[16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	snprintf(text, sizeof(text), "%d", (int)pid);
	T_OK(k_write_text(path, text));
}

/* By cgroup: who joins is found, who leaves is let go, and its end ends the run. */
static void by_cgroup(void)
{
	struct victim v[2];
	struct run run;

	snprintf(group, sizeof(group), GROUP "/umem-reclaim-%d", (int)getpid());
	if (access(GROUP "/cgroup.procs", W_OK) < 0 || mkdir(group, 0755) < 0) {
		k_fact("no memory cgroup of version 1 can be made here: %s", strerror(errno));
		return;
	}
	k_at_end(drop_group);
	v_start(&v[0], HOT, COLD, NULL);
	v_start(&v[1], HOT, COLD, NULL);
	move_to(group, v[0].pid);
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.cgroup = group;
	run_begin(&run);
	T_CHECK(run.report->n_targets == 1 && run_told(&run, v[0].pid, "found"));
	until_out(&run, &v[0], ENOUGH);
	move_to(group, v[1].pid);
	run_step(&run, &v[0], V_READ);
	T_CHECK(run.report->n_targets == 2 && run_told(&run, v[1].pid, "found"));
	move_to(GROUP, v[0].pid);
	run_step(&run, &v[1], V_READ);
	T_CHECK(run.report->n_targets == 1 && run_told(&run, v[0].pid, "not one of them"));
	until_out(&run, &v[1], ENOUGH);
	v_tell(&v[0], V_CHECK);
	v_tell(&v[1], V_CHECK);
	v_stop(&v[0]);
	v_stop(&v[1]);
	T_UNTIL(5, rmdir(group) == 0);
	run_look(&run);
	T_CHECK(run.result == UMEM_GONE && strstr(run.note.text, "removed"), "(%d: %s)",
		run.result, run.note.text);
	T_CHECK(run_told(&run, v[1].pid, "ended") && run.report->n_targets == 0);
	run_end(&run);
}

/* A program that knows nothing of us: workers of stress-ng that fill memory and sleep. */
static void stress(void)
{
	pid_t pid;
	struct run run;

	if (system("command -v stress-ng > /dev/null") != 0) {
		k_fact("no stress-ng (Debian: stress-ng)");
		return;
	}
	pid = t_fork();
	if (pid == 0) {
		execlp("stress-ng", "stress-ng", "--quiet", "--vm", "2", "--vm-bytes", "32M",
			"--vm-keep", "--vm-hang", "0", "--timeout", "60", NULL);
		_exit(1);
	}
	run_init(&run, UMEM_POLICY_PROBE);
	run.options.name = "stress-ng-vm*";
	run_begin(&run);
	T_UNTIL(20, (run_look(&run), run.report->n_targets >= 2 &&
		run.report->sum.resident_bytes >= 16u << 20));
	for (int i = 0; i < 200 && run.report->sum.out_bytes < 8u << 20; i++)
		run_step(&run, NULL, 0);
	k_fact("stress-ng: %zu workers, %llu KiB out of %llu; %s", run.report->n_targets,
		(unsigned long long)run.report->sum.out_bytes >> 10,
		(unsigned long long)run.report->sum.resident_bytes >> 10,
		run.report->sum.reason);
	T_CHECK(run.report->sum.out_bytes >= 8u << 20);
	run_end(&run);
	/* It ends its workers itself. */
	T_SYS(kill(pid, SIGTERM));
	t_wait(pid);
}

int main(int argc, char **argv)
{
	v_main(argc, argv);
	k_zram_swap(ZRAM);
	fork_shares();
	exec_is_another(UMEM_POLICY_PROBE);
	exec_is_another(UMEM_POLICY_AGE);
	killed(false);
	killed(true);
	given_back(V_UNMAP);
	given_back(V_DISCARD);
	locked();
	watched();
	claimed();
	not_to_be_had();
	by_name();
	by_cgroup();
	stress();
	return 0;
}
