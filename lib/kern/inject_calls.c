// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Injection, the helper process: system calls in a thread that is stopped.
 *
 * The theory of operation is in inject.c; inject_stop.c saves what is borrowed
 * here and gives it back. Async-signal-safe functions only.
 */
#include "lib/kern/inject_stop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/kern/pidfd.h"

/* How long to poll for a stop of a thread on another processor; see follow(). */
#define POLL_NS 40000u

/* linux/errno.h: -512 to -516 are the kernel's own words for "interrupted". */
#define ERESTART_FIRST 512
#define ERESTART_LAST  516

void umem_inject_wait_us(long us)
{
	uint64_t end_ns = umem_now_ns() + (uint64_t)us * 1000;

	while (us > 0 && umem_now_ns() < end_ns)
		usleep(500);
}

long umem_inject_trace(int request, int tid, uintptr_t addr, uintptr_t data)
{
	long r = ptrace((enum __ptrace_request)request, tid, addr, data);

	return r < 0 ? -errno : r;
}

int umem_inject_wait_stop(const struct umem_inject_stop *s, uint64_t until_ns, int *ret_status)
{
	uint64_t poll_end_ns = s->polls ? umem_now_ns() + POLL_NS : 0;

	for (;;) {
		bool polls = poll_end_ns != 0 && umem_now_ns() < poll_end_ns;
		int status, r = waitpid(s->tid, &status, __WALL | (polls ? WNOHANG : 0));

		if (r == 0)
			continue;
		if (r == s->tid && WIFSTOPPED(status)) {
			*ret_status = status;
			return 0;
		}
		/* Exited; or an exec took the thread away, which nobody reports. */
		if (r == s->tid || errno != EINTR)
			return UMEM_GONE;
		if (umem_now_ns() >= until_ns)
			return -ETIMEDOUT;
	}
}

/*
 * Let the thread run to its next system call stop, entry or exit. Return: 0
 * there; -ETIMEDOUT when it does not get there, stopped where it was; UMEM_GONE.
 */
static int run_to_call(struct umem_inject_stop *s)
{
	int status, r, signo = 0;

	for (;;) {
		r = (int)umem_inject_trace(PTRACE_SYSCALL, s->tid, 0, (uintptr_t)signo);
		if (r < 0)
			return r == -ESRCH ? UMEM_GONE : r;
		while ((r = umem_inject_wait_stop(s, s->until_ns, &status)) == -ETIMEDOUT) {
			/* Frozen by its control group, or in a call that blocks. */
			umem_inject_trace(PTRACE_INTERRUPT, s->tid, 0, 0);
			s->interrupted = true;
			s->until_ns = UINT64_MAX;
		}
		if (r != 0)
			return r;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 0;
		signo = 0;
		if (umem_inject_event(status) == PTRACE_EVENT_STOP) {
			/* Our interrupt of above, or news of a group stop or its end. */
			if (s->interrupted)
				return -ETIMEDOUT;
			continue;
		}
		if (umem_inject_event(status) == PTRACE_EVENT_CLONE) {
			unsigned long born = 0;

			umem_inject_trace(PTRACE_GETEVENTMSG, s->tid, 0, (uintptr_t)&born);
			s->born = (int)born;
			continue;
		}
		if (umem_inject_event(status) != 0)
			return UMEM_GONE;
		/* Only SIGSTOP gets through the mask; it stops all other threads now. */
		signo = WSTOPSIG(status);
		if (signo != SIGSTOP) {
			siginfo_t info;

			/* What our call brought about is not the target's to see. */
			if (umem_inject_trace(PTRACE_GETSIGINFO, s->tid, 0,
				    (uintptr_t)&info) == 0 &&
				info.si_code <= 0)
				s->deliver = signo;
			return -EIO;
		}
	}
}

int umem_inject_call(struct umem_inject_stop *s, long nr, const uint64_t args[6],
	long *ret_value)
{
	struct umem_inject_regs regs;
	bool itself = !s->dirty && umem_inject_enters_itself(s->tid, &s->saved);
	int r = 0;

	if (!itself) {
		umem_inject_regs_call(&s->saved, s->job->insn, nr, args, &regs);
		if (s->bare)
			umem_inject_regs_bare(&regs);
		r = umem_inject_regs_write(s->tid, &regs);
	}
	s->dirty = true;
	if (r == 0)
		r = run_to_call(s);
	if (r == 0 && itself)
		r = umem_inject_take_entry(s->tid, &s->saved, nr, args);
	if (r == 0)
		r = run_to_call(s);
	if (r == 0)
		r = umem_inject_regs_read(s->tid, &regs);
	if (r != 0)
		return r == -ESRCH ? UMEM_GONE : r;
	*ret_value = umem_inject_regs_result(&regs);
	if (*ret_value <= -ERESTART_FIRST && *ret_value >= -ERESTART_LAST)
		*ret_value = -EINTR;
	return 0;
}

static bool is_wanted(const struct umem_inject_step *steps, const struct umem_inject_step *step)
{
	if (step->arg0_from >= 0 && steps[step->arg0_from].ret_value < 0)
		return false;
	if (step->else_of >= 0) {
		long other = steps[step->else_of].ret_value;

		return other < 0 && other != -ECANCELED;
	}
	return true;
}

static int fetch(struct umem_inject_stop *s, struct umem_inject_step *step)
{
	int r = -(int)UMEM_FAULT_POINT("inject.fetch-errno");

	if (atomic_load(&s->job->abandoned))
		r = -ETIMEDOUT;
	if (r == 0)
		r = umem_pidfd_getfd(s->getfd_pidfd, (int)step->ret_value, &step->ret_fd);
	return r == -ESRCH ? UMEM_GONE : r;
}

int umem_inject_run_steps(struct umem_inject_stop *s)
{
	struct umem_inject_step *steps = s->job->steps;

	for (size_t i = 0; i < s->job->n_steps; i++) {
		struct umem_inject_step *step = &steps[i];
		uint64_t args[6];
		int r;

		if (!is_wanted(steps, step))
			continue;
		memcpy(args, step->args, sizeof(args));
		if (step->arg0_from >= 0)
			args[0] = (uint64_t)steps[step->arg0_from].ret_value;
		s->job->stage = UMEM_INJECT_STAGE_CALL;
		r = umem_inject_call(s, step->nr, args, &step->ret_value);
		if (r != 0)
			return r;
		/* For tests: a wide window with borrowed registers. */
		umem_inject_wait_us(UMEM_FAULT_POINT("inject.stopped-delay-us"));
		if (s->interrupted)
			return -ETIMEDOUT;
		s->job->stage = UMEM_INJECT_STAGE_FETCH;
		if (step->fetch_fd && step->ret_value >= 0) {
			r = fetch(s, step);
			if (r != 0)
				return r;
		}
	}
	return 0;
}

void umem_inject_undo_steps(struct umem_inject_stop *s)
{
	struct umem_inject_step *steps = s->job->steps;

	for (size_t i = 0; i < s->job->n_steps; i++) {
		uint64_t args[6] = { (uint64_t)steps[i].ret_value };
		bool open = steps[i].fetch_fd && steps[i].ret_value >= 0;
		long ignored;

		for (size_t j = i + 1; open && j < s->job->n_steps; j++) {
			if (steps[j].nr == SYS_close && steps[j].arg0_from == (int)i &&
				steps[j].ret_value == 0)
				open = false;
		}
		if (open && umem_inject_call(s, SYS_close, args, &ignored) != 0)
			return;
	}
}
