// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Injection, the helper process: stop, borrow, give back.
 *
 * The theory of operation is in inject.c. Everything here runs in a child of
 * a raw clone of a process that may have had threads: async-signal-safe
 * functions only, no allocation, no locks, no note.
 */
#include "lib/kern/inject_stop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rseq.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/base/fd.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/uapi.h"

/* How long one thread may take to stop before another one is tried. */
#define STOP_SLICE_NS 50000000u

/* How long the calls of one stop may take before they are interrupted. */
#define CALLS_NS 1000000000u

/* How often a wait looks at the clock. */
#define TICK_US 5000

/* The smallest nice value. */
#define FIRST_NICE (-20)

/* How often and how far apart a refusal to be traced is checked. */
#define SEIZE_TRIES    3
#define SEIZE_PAUSE_US 500

/* A signal mask as the kernel has it. */
#define MASK_BYTES 8

/* Syscall user dispatch, ptrace access since 6.4 (linux/ptrace.h). */
#define GET_DISPATCH 0x4211
#define SET_DISPATCH 0x4210

static void on_tick(int signo)
{
}

/*
 * Wait until the thread is where the kernel holds it for our interrupt, with
 * no signal half delivered. Signals that come first take their normal way.
 */
static int wait_interrupt(const struct umem_inject_stop *s, uint64_t until_ns)
{
	for (;;) {
		int status, r = umem_inject_wait_stop(s, until_ns, &status);

		if (r != 0)
			return r;
		if (umem_inject_event(status) == PTRACE_EVENT_STOP)
			return 0;
		/* The memory that the caller meant has been replaced. */
		if (umem_inject_event(status) == PTRACE_EVENT_EXEC)
			return UMEM_GONE;
		r = (int)umem_inject_trace(PTRACE_CONT, s->tid, 0, (uintptr_t)WSTOPSIG(status));
		if (r < 0 && r != -ESRCH)
			return r;
	}
}

/*
 * A thread that was stopped inside a restartable sequence has to abort it: our
 * calls make the kernel forget the sequence (rseq_ip_fixup, kernel/rseq.c), as
 * it would on any preemption, but with our address instead of the thread's.
 */
static void abort_sequence(struct umem_inject_stop *s)
{
	struct __ptrace_rseq_configuration conf;
	struct rseq_cs cs;
	uint64_t ptr = 0;

	if (!umem_inject_regs_user(&s->saved) ||
		umem_inject_trace(PTRACE_GET_RSEQ_CONFIGURATION, s->tid, sizeof(conf),
			(uintptr_t)&conf) < 0 ||
		conf.rseq_abi_pointer == 0)
		return;
	if (pread(s->job->mem_fd, &ptr, sizeof(ptr),
		    (off_t)(conf.rseq_abi_pointer + offsetof(struct rseq, rseq_cs))) !=
		    sizeof(ptr) || ptr == 0)
		return;
	if (pread(s->job->mem_fd, &cs, sizeof(cs), (off_t)ptr) != sizeof(cs))
		return;
	if (umem_inject_regs_ip(&s->saved) - cs.start_ip < cs.post_commit_offset)
		umem_inject_regs_set_ip(&s->saved, cs.abort_ip);
}

/* Is the instruction still there, in the memory that the caller meant? */
static int check_insn(struct umem_inject_stop *s)
{
	unsigned char now[8];
	size_t len = umem_inject_insn_bytes;
	long word;

	if (pread(s->job->mem_fd, now, len, (off_t)s->job->insn) != (ssize_t)len)
		return UMEM_GONE;
	/* The thread's own view: after an exec it is of another memory. */
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, s->tid, s->job->insn, 0);
	if (errno == ESRCH)
		return UMEM_GONE;
	if (errno != 0 || memcmp(&word, umem_inject_insn, len) != 0)
		return UMEM_AGAIN;
	return 0;
}

int umem_inject_borrow(struct umem_inject_stop *s)
{
	uint64_t all = UINT64_MAX;
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | s->options;
	int r;

	s->job->stage = UMEM_INJECT_STAGE_REGS;
	r = umem_inject_regs_read(s->tid, &s->saved);
	s->has_regs = r == 0;
	if (r == 0)
		r = check_insn(s);
	if (r == 0)
		r = (int)umem_inject_trace(PTRACE_GETSIGMASK, s->tid, MASK_BYTES,
			(uintptr_t)&s->mask);
	if (r != 0)
		return r == -ESRCH ? UMEM_GONE : r;
	abort_sequence(s);

	/*
	 * Whether the thread has a filter may have changed since anybody looked,
	 * so the option is always asked for; that it is refused only matters if
	 * there is a filter.
	 */
	s->job->stage = UMEM_INJECT_STAGE_SECCOMP;
	r = (int)umem_inject_trace(PTRACE_SETOPTIONS, s->tid, 0,
		(uintptr_t)(options | PTRACE_O_SUSPEND_SECCOMP));
	if (r < 0 && umem_inject_status_word(s->job->pid, s->tid, "Seccomp") > 0)
		return -EACCES;
	if (r < 0 && s->options != 0)
		umem_inject_trace(PTRACE_SETOPTIONS, s->tid, 0, (uintptr_t)options);
	r = (int)umem_inject_trace(GET_DISPATCH, s->tid, sizeof(s->dispatch),
		(uintptr_t)&s->dispatch);
	if (r == 0 && s->dispatch.mode != 0) {
		struct umem_inject_dispatch off = { .mode = 0 };

		umem_inject_trace(SET_DISPATCH, s->tid, sizeof(off), (uintptr_t)&off);
	}
	s->job->stage = UMEM_INJECT_STAGE_CALL;
	r = (int)umem_inject_trace(PTRACE_SETSIGMASK, s->tid, MASK_BYTES, (uintptr_t)&all);
	if (r < 0)
		return r == -ESRCH ? UMEM_GONE : r;
	s->masked = true;
	return 0;
}

int umem_inject_give_back(struct umem_inject_stop *s)
{
	bool waits = s->has_regs && umem_inject_regs_rewait(&s->saved);
	int r = 0;

	if (s->dirty || waits)
		r = umem_inject_regs_write(s->tid, &s->saved);
	if (r == 0 && s->masked)
		r = (int)umem_inject_trace(PTRACE_SETSIGMASK, s->tid, MASK_BYTES,
			(uintptr_t)&s->mask);
	if (s->dispatch.mode != 0)
		umem_inject_trace(SET_DISPATCH, s->tid, sizeof(s->dispatch),
			(uintptr_t)&s->dispatch);
	if (r == 0)
		r = (int)umem_inject_trace(PTRACE_DETACH, s->tid, 0, (uintptr_t)s->deliver);
	return r < 0 ? UMEM_GONE : 0;
}

/* From the stop to the detach. Return: as umem_inject_job.result. */
static int use_stopped(struct umem_inject_stop *s)
{
	int r = umem_inject_borrow(s);

	if (r == 0) {
		s->until_ns = umem_now_ns() + CALLS_NS;
		r = umem_inject_run_steps(s);
		if (r < 0 && r != -EIO && !s->interrupted)
			umem_inject_undo_steps(s);
	}
	/* Killed: then whatever failed before failed because of that. */
	if (r != UMEM_GONE && umem_inject_give_back(s) != 0)
		r = UMEM_GONE;
	return r;
}

/*
 * Is the thread we hold one of the process that the caller means? What we hold
 * cannot be reaped and its id not be reused, so that the answer lasts.
 */
static int check_identity(const struct umem_inject_job *job, int tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d", job->pid, tid);
	if (access(path, F_OK) < 0)
		return UMEM_AGAIN;
	return umem_pidfd_exited(job->pidfd) ? UMEM_GONE : 0;
}

/*
 * Become the tracer. A thread that is just ending is refused like one that we
 * may not trace, and in an exec another thread takes over the id of the one
 * that ended: a refusal counts when it lasts. Return: 0, UMEM_AGAIN, -EPERM.
 */
static int seize(const struct umem_inject_job *job, int tid)
{
	int r = 0;

	for (int i = 0; i < SEIZE_TRIES; i++) {
		struct umem_proc_stat stat;

		if (i > 0)
			umem_inject_wait_us(SEIZE_PAUSE_US);
		r = (int)umem_inject_trace(PTRACE_SEIZE, tid, 0,
			PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC);
		if (r != -EPERM)
			break;
		if (umem_proc_stat_read(job->pid, tid, &stat) < 0 || stat.state == 'Z' ||
			stat.state == 'X')
			return UMEM_AGAIN;
	}
	return r == -ESRCH ? UMEM_AGAIN : r;
}

/*
 * Move to the processor that a sleeping thread wakes up on: waking each other
 * there costs 5 us a turn, across processors that idle 25 to 50. A running
 * thread is placed by the scheduler on another, idle processor each time it
 * goes on, as long as we are busy on its own; polling for it saves one of the
 * two wake-ups of a turn (measured: 150 us a stop instead of 280).
 */
static void follow(int cpu)
{
	cpu_set_t set;

	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int umem_inject_hold(struct umem_inject_stop *s, const struct umem_inject_thread *thread)
{
	struct umem_inject_job *job = s->job;
	uint64_t slice_ns;
	int r;

	s->tid = thread->tid;
	s->polls = thread->cpu < 0;
	job->stage_tid = thread->tid;
	job->stage = UMEM_INJECT_STAGE_SEIZE;
	follow(thread->cpu);
	r = seize(job, thread->tid);
	if (r != 0)
		return r;
	r = check_identity(job, thread->tid);
	if (r != 0)
		return r;

	job->stage = UMEM_INJECT_STAGE_STOP;
	s->begin_ns = umem_now_ns();
	slice_ns = s->begin_ns + STOP_SLICE_NS;
	if (umem_inject_trace(PTRACE_INTERRUPT, thread->tid, 0, 0) < 0)
		return UMEM_AGAIN;
	r = wait_interrupt(s, slice_ns < job->deadline_ns ? slice_ns : job->deadline_ns);
	if (r == -ETIMEDOUT)
		return UMEM_AGAIN;
	/* Nothing was run yet: what became of the process is for the caller to see. */
	return r == UMEM_GONE ? -EAGAIN : r;
}

/*
 * Stop one thread and run the steps in it. Return: as umem_inject_job.result,
 * UMEM_AGAIN for the next thread; or -EAGAIN to start over with what is there
 * by then: an exec may have given what we hold the id of another thread.
 */
static int try_thread(struct umem_inject_job *job, const struct umem_inject_thread *thread)
{
	struct umem_inject_stop s = { .job = job };
	int r;

	UMEM_FD int thread_fd = UMEM_FAULT_POINT("inject.no-thread-pidfd") ? -1 :
		(int)syscall(SYS_pidfd_open, thread->tid, PIDFD_THREAD);

	/* Before 6.9 there is only the process's, which fails once its leader is gone. */
	s.getfd_pidfd = thread_fd >= 0 ? thread_fd : job->pidfd;
	r = umem_inject_hold(&s, thread);
	if (r != 0)
		return r;
	r = use_stopped(&s);
	job->report.tid = thread->tid;
	job->report.stop_ns = umem_now_ns() - s.begin_ns;
	return r;
}

void umem_inject_tick(bool on)
{
	struct itimerval timer = { { 0, on ? TICK_US : 0 }, { 0, on ? TICK_US : 0 } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

void umem_inject_be_first(void)
{
	const struct sched_param param = { .sched_priority = 1 };

	if (UMEM_FAULT_POINT("inject.no-realtime") || sched_setscheduler(0, SCHED_RR, &param) < 0)
		setpriority(PRIO_PROCESS, 0, FIRST_NICE);
}

void umem_inject_set_up(void)
{
	struct sigaction tick = { .sa_handler = on_tick };
	sigset_t set;

	/* Not a session: the scheduler would count it as a new one, behind all others. */
	setpgid(0, 0);
	umem_inject_be_first();
	sigaction(SIGALRM, &tick, NULL);
	sigfillset(&set);
	sigdelset(&set, SIGALRM);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

void umem_inject_leave(int status)
{
	for (;;)
		syscall(SYS_exit_group, status);
}

void umem_inject_helper(struct umem_inject_job *job)
{
	int r = UMEM_AGAIN;
	size_t i;

	umem_inject_set_up();
	umem_inject_tick(true);
	for (i = 0; i < job->n_threads && r == UMEM_AGAIN; i++) {
		if (i > 0 && umem_now_ns() >= job->deadline_ns)
			break;
		r = try_thread(job, &job->threads[i]);
	}
	/* Refused because we hold it already, under its former id? */
	if (r == -EPERM && job->stage == UMEM_INJECT_STAGE_SEIZE && i > 1)
		r = -EAGAIN;
	/* Threads that would not stop are let go by our exit, untouched. */
	job->result = r == -EAGAIN ? UMEM_AGAIN : r;
	umem_inject_leave(0);
}
