// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Running system calls inside another process, without its help.
 *
 * Theory of operation
 *
 * Goal: a few system calls in a process that knows nothing of us, after which
 * it goes on as if nothing had been. One thread lends its registers for some
 * ten microseconds; no byte of the target's memory is written, and its other
 * threads keep running.
 *
 *      caller                     helper                       target thread
 *      census of threads
 *      find an instruction
 *      raw clone ---------------> follow its processor
 *      wait, with a limit         SEIZE, check identity
 *                                 INTERRUPT -----------------> event stop
 *                                 save registers, mask
 *                                 mask all signals
 *                                 registers = call 1 --------> entry stop
 *                                                    --------> exit stop
 *                                 fetch the descriptor
 *                                 registers = call 2 --------> entry, exit stop
 *                                 registers, mask = saved
 *                                 DETACH --------------------> signal and restart path,
 *      reaps, copies results <--- exit                         user code
 *
 * The helper is a process of its own, because a tracer's death lets its target
 * run with whatever registers it has just then. It leads a group, blocks
 * signals and outlives the caller: SIGKILL to the caller in mid-stop hurts
 * nobody. It shares the caller's descriptor table, so that a fetched
 * descriptor is the caller's at once, and a dead caller's is closed with the
 * helper. It shares no other memory than the job, since a thread of ours may
 * hold any lock at the moment of the clone.
 *
 * Exactness. PTRACE_INTERRUPT makes a system call return with -ERESTART...,
 * and the kernel decides what to do about it only behind our stop (x86-64:
 * from rax and orig_rax, see inject_x86_64.c; arm64 differs, see
 * inject_aarch64.c). Rules that follow:
 *
 * - Every stop of ours lies before that decision: the event stop is taken in
 *   get_signal(), and an exit stop comes before the signal work of the return
 *   to user mode. Registers written in either are what the decision sees.
 * - PTRACE_DETACH marks the thread as having signal work (__ptrace_unlink()
 *   wakes a traced task by signal_wake_up), so the decision is made, though
 *   we detach from an exit stop. No second event stop is needed.
 * - While registers are borrowed the thread counts as outside of a call.
 * - All signals are masked meanwhile, by the mask the thread would have in
 *   user code: PTRACE_GETSIGMASK looks through the temporary mask of
 *   sigsuspend and its kin, and setting it drops the temporary one; the
 *   restarted call sets it again. SIGSTOP passes any mask: it is let through,
 *   and our calls go on in the stopped group, as a tracer may have it. The
 *   kernel stops the thread again when we detach.
 * - No single step: its SIGTRAP is forced, which resets a program's ignored
 *   or blocked SIGTRAP. System call stops leave dispositions alone.
 * - A step must not sleep by a timeout of its own: the thread has room to
 *   remember one interrupted sleep, and that is the target's.
 * - Some calls say EINTR whenever they are disturbed. These are restarted
 *   unless a handler runs (umem_inject_regs_rewait()). Where such a wait has a
 *   timeout, it starts anew: a thread in one is the last choice.
 * - Restartable sequences (rseq) are aborted as by a preemption.
 * - Seccomp filters and syscall user dispatch are off for our calls only.
 *
 * Giving up. A step that cannot be brought to its end (a frozen control
 * group, a call that blocks) is interrupted after a second, then everything is
 * put back. Descriptors that finished steps opened are closed in the target
 * again unless it could not be made to run at all. A thread that does not stop
 * within its slice is left alone, and another one is tried.
 *
 * Left out on purpose: a SIGKILL aimed at the helper, as by the out-of-memory
 * killer or the end of our control group, in those microseconds; threads in
 * uninterruptible sleep, as the parent of a vfork; 32-bit code.
 *
 * Kernel: PTRACE_SEIZE 3.4, pidfd_getfd 5.6, rseq configuration 5.13; used
 * when there: PIDFD_THREAD 6.9, PROCMAP_QUERY 6.11.
 */
#include "lib/kern/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/inject_job.h"
#include "lib/kern/pidfd.h"

/* How long past its deadline a helper may be busy giving things back. */
#define GRACE_NS 3000000000u

/* Longer than anybody waits, and far from an overflow. */
#define MAX_DEADLINE_NS (86400u * 1000000000ull)

/* So often, a millisecond apart, EPERM without a reason is asked again. */
#define MAX_REFUSALS 5

/* Between two looks at a target none of whose threads can be stopped. */
#define RETRY_NS 1000000u

static void unmap_job(struct umem_inject_job **job)
{
	if (*job)
		munmap(*job, sizeof(**job));
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = { 0, (long)ns };

	nanosleep(&ts, NULL);
}

/* Wait for the helper's end until @until_ns. Return: 0 or -ETIMEDOUT. */
static int wait_helper(int helper_pid, int helper_fd, uint64_t until_ns)
{
	struct pollfd pfd = { .fd = helper_fd, .events = POLLIN };
	int n;

	do {
		uint64_t now_ns = umem_now_ns();
		uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
		struct timespec left = { (time_t)(left_ns / 1000000000u),
			(long)(left_ns % 1000000000u) };

		n = ppoll(&pfd, 1, &left, NULL);
		if (n == 0)
			return -ETIMEDOUT;
	} while (n < 0);
	while (waitpid(helper_pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	return 0;
}

/* Start a helper on the job and see it through. Return: the job's result, -errno. */
static int run_helper(struct umem_inject_job *job)
{
	sigset_t all, before;
	int fd = -1;
	long pid;

	/* The helper must never run a handler of ours. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid = syscall(SYS_clone, CLONE_FILES | CLONE_PIDFD, 0, &fd, 0, 0);
	if (pid == 0)
		umem_inject_helper(job);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return (int)pid;

	UMEM_FD int helper_fd = fd;
	uint64_t now_ns = umem_now_ns();
	uint64_t end_ns = job->deadline_ns > now_ns ? job->deadline_ns : now_ns;

	if (wait_helper((int)pid, helper_fd, end_ns + GRACE_NS) < 0) {
		/* It holds the target and gives it back when it can. */
		atomic_store(&job->abandoned, true);
		return -ETIMEDOUT;
	}
	return job->result;
}

/* The results of a finished job for the caller; or, on failure, nothing at all. */
static void take_results(struct umem_inject_job *job, int r, struct umem_inject_step *steps,
	struct umem_inject_report *ret_report)
{
	for (size_t i = 0; i < job->n_steps; i++) {
		if (r == 0)
			steps[i] = job->steps[i];
		else
			umem_fd_close(job->steps[i].ret_fd);
	}
	if (r == 0 && ret_report)
		*ret_report = job->report;
}

int umem_inject_note_failure(const struct umem_inject_job *job, int r, struct umem_note *note)
{
	int pid = job->pid, tid = job->stage_tid;
	long tracer;

	switch (job->stage) {
	case UMEM_INJECT_STAGE_SEIZE:
		tracer = umem_inject_status_word(pid, tid, "TracerPid");
		if (r == -EPERM && tracer > 0)
			return umem_note_set(note, -EBUSY, 0,
				"process %d is traced by process %ld already", pid, tracer);
		return umem_note_set(note, r, 0,
			"process %d may not be traced: needs CAP_SYS_PTRACE, or the same user "
			"and a kernel.yama.ptrace_scope that allows it", pid);
	case UMEM_INJECT_STAGE_SECCOMP:
		return umem_note_set(note, r, 0,
			"process %d has a seccomp filter; suspending it needs CAP_SYS_ADMIN "
			"and no filter of our own", pid);
	case UMEM_INJECT_STAGE_REGS:
		if (r == -ENOTSUP)
			return umem_note_set(note, r, 0,
				"process %d runs 32-bit code, which is not supported", pid);
		break;
	case UMEM_INJECT_STAGE_CALL:
		if (r == -ETIMEDOUT)
			return umem_note_set(note, r, 0,
				"thread %d of process %d stopped, but ran none of our calls "
				"to its end: is it frozen by its control group?", tid, pid);
		break;
	case UMEM_INJECT_STAGE_FETCH:
		return umem_note_set(note, r, 0,
			"a descriptor of process %d could not be fetched: %s", pid, strerror(-r));
	default:
		break;
	}
	return umem_note_set(note, r, 0, "thread %d of process %d could not be used: %s", tid,
		pid, strerror(-r));
}

int umem_inject_prepare(struct umem_inject_job *job, const struct umem_inject_census *census,
	struct umem_note *note)
{
	int r = UMEM_AGAIN;

	for (size_t i = 0; i < census->n && r == UMEM_AGAIN; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/task/%d/mem", job->pid, census->v[i].tid);
		job->mem_fd = open(path, O_RDONLY | O_CLOEXEC);
		if (job->mem_fd < 0 && (errno == ENOENT || errno == ESRCH))
			continue;
		if (job->mem_fd < 0)
			return umem_note_set(note, errno == EACCES ? -EPERM : -errno, 0,
				"the memory of process %d may not be read: needs CAP_SYS_PTRACE, "
				"or the same user", job->pid);
		r = umem_inject_find_insn(job->pid, census->v[i].tid, job->mem_fd, &job->insn);
		if (r != 0)
			job->mem_fd = umem_fd_close(job->mem_fd);
		/*
		 * A thread that just exits has no memory any more; others may. In
		 * the middle of an exec nothing is mapped yet.
		 */
		job->no_insn = r == -ENOEXEC;
		if (r == UMEM_GONE || r == -ENOEXEC)
			r = UMEM_AGAIN;
	}
	return r;
}

/*
 * Was it refused for what is over by now? The kernel says EPERM also of a thread that just
 * ends, and of one that another tracer is about to let go.
 */
static bool is_passing(struct umem_inject_job *job)
{
	struct umem_proc_stat stat;

	if (umem_proc_stat_read(job->pid, job->stage_tid, &stat) < 0 || stat.state == 'Z' ||
		stat.state == 'X')
		return true;
	return umem_inject_status_word(job->pid, job->stage_tid, "TracerPid") <= 0 &&
		job->refusals++ < MAX_REFUSALS;
}

/* One try with the threads of this moment. Return: UMEM_AGAIN to look once more, else final. */
static int attempt(struct umem_inject_job *job, const struct umem_inject_census *census,
	const struct umem_inject_step *steps, struct umem_note *note)
{
	char byte;
	int r = umem_inject_prepare(job, census, note);

	if (r != 0)
		return r;
	UMEM_FD int mem_fd = job->mem_fd;

	memcpy(job->threads, census->v, census->n * sizeof(census->v[0]));
	job->n_threads = census->n;
	memcpy(job->steps, steps, job->n_steps * sizeof(steps[0]));
	for (size_t i = 0; i < job->n_steps; i++) {
		job->steps[i].ret_value = -ECANCELED;
		job->steps[i].ret_fd = -1;
	}
	job->result = -EINTR;
	r = run_helper(job);
	/* Nothing was run, and the memory that we prepared for is no more: an exec. */
	if (r == UMEM_AGAIN && pread(mem_fd, &byte, 1, (off_t)job->insn) == 0)
		return UMEM_GONE;
	if (r == -EPERM && job->stage == UMEM_INJECT_STAGE_SEIZE && is_passing(job))
		return UMEM_AGAIN;
	return r < 0 ? umem_inject_note_failure(job, r, note) : r;
}

/* Repeat until a thread could be used, the target is gone, or time is up. */
static int run_until(struct umem_inject_job *job, const struct umem_inject_step *steps,
	struct umem_note *note)
{
	for (;;) {
		struct umem_inject_census census;
		int r = umem_inject_census(job->pid, &census);

		if (r == -ENOTSUP)
			return umem_note_set(note, r, 0, "process %d is a kernel thread", job->pid);
		if (r == UMEM_GONE || umem_pidfd_exited(job->pidfd))
			return UMEM_GONE;
		if (r < 0)
			return umem_note_set(note, r, 0,
				"the threads of process %d cannot be listed: %s",
				job->pid, strerror(-r));
		r = census.n > 0 ? attempt(job, &census, steps, note) : UMEM_AGAIN;
		if (r != UMEM_AGAIN)
			return r;
		if (umem_now_ns() >= job->deadline_ns) {
			if (census.n_alive == 0)
				return UMEM_GONE;
			if (job->no_insn)
				return umem_note_set(note, -ENOEXEC, 0,
					"process %d maps no code that enters the kernel", job->pid);
			return umem_note_set(note, -ETIMEDOUT, 0,
				"no thread of process %d could be stopped in time; thread %d is in "
				"state %c", job->pid,
				census.stuck_tid ? census.stuck_tid : job->stage_tid,
				census.stuck_tid ? census.stuck_state : '?');
		}
		sleep_ns(RETRY_NS);
	}
}

int umem_inject_run(int pid, int pidfd, struct umem_inject_step *steps, size_t n_steps,
	uint64_t deadline_ns, struct umem_inject_report *ret_report,
	struct umem_note *note)
{
	uint64_t now_ns = umem_now_ns();
	int r;

	if (pid <= 0 || pid == getpid() || n_steps == 0 || n_steps > UMEM_INJECT_MAX_STEPS)
		return umem_note_set(note, -EINVAL, 0, "process %d cannot be asked for %zu calls",
			pid, n_steps);
	for (size_t i = 0; i < n_steps; i++) {
		if (steps[i].arg0_from >= (int)i || steps[i].else_of >= (int)i)
			return umem_note_set(note, -EINVAL, 0, "step %zu refers to a later one", i);
	}

	UMEM_CLEANUP(unmap_job) struct umem_inject_job *job = mmap(NULL, sizeof(*job),
		PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (job == MAP_FAILED) {
		job = NULL;
		return umem_note_set(note, -ENOMEM, 0, "no memory to attach to process %d", pid);
	}
	job->pid = pid;
	job->pidfd = pidfd;
	job->deadline_ns = now_ns + umem_min_u64(deadline_ns, MAX_DEADLINE_NS);
	job->n_steps = n_steps;
	for (size_t i = 0; i < n_steps; i++)
		job->steps[i].ret_fd = -1;
	r = run_until(job, steps, note);
	take_results(job, r, steps, ret_report);
	return r;
}
