// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A child of the target, the helper process: making it, keeping it, ending it.
 *
 * The theory of operation is in inject_fork.c. Everything here runs in a child of
 * a raw clone of a process that may have had threads: async-signal-safe functions
 * only, no allocation, no locks, no note.
 */
#include "lib/kern/inject_fork_job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/base/fd.h"
#include "lib/kern/freeze_notes.h"
#include "lib/kern/inject_stop.h"
#include "lib/kern/pidfd.h"

/* linux/close_range.h */
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2u
#endif

/* How long the child may take to its first stop, and to its end. */
#define CHILD_NS 30000000000u

/* How long the calls may take that take things from the child. */
#define CALLS_NS 1000000000u

/*
 * How long to try to make the target forget the child, and how often: a debugger
 * may hold it just now.
 */
#define FORGET_NS       60000000000u
#define FORGET_PAUSE_US 50000

/* What one call in the target may take. */
#define FORGET_STOP_NS 200000000u

/* The helper's view of things. */
struct keeper {
	struct umem_fork_job *job;
	struct umem_inject_stop parent;
	struct umem_inject_stop child;
	bool held;
	bool child_lives;
	int child_fd;
};

static void on_child(int signo)
{
}

/* Keep no descriptor of the caller's open but our own. */
static void close_others(const struct umem_fork_job *job)
{
	int keep[4] = { job->socket_fd, job->owner_fd, job->inject.pidfd, job->inject.mem_fd };
	unsigned from = 0;

	for (int i = 0; i < 4; i++) {
		for (int j = i + 1; j < 4; j++) {
			int fd = keep[i];

			if (keep[j] >= fd)
				continue;
			keep[i] = keep[j];
			keep[j] = fd;
		}
		if ((unsigned)keep[i] > from)
			syscall(SYS_close_range, from, keep[i] - 1, 0);
		from = (unsigned)keep[i] + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0);
}

/* What a core file says of the thread, as it is before anything is borrowed. */
static void note_thread(struct keeper *k)
{
	struct umem_fork_job *job = k->job;
	size_t used;

	umem_inject_mend(k->parent.tid);
	job->has_thread = umem_freeze_notes(job->inject.pid, k->parent.tid, 0, job->payloads,
		sizeof(job->payloads), job->notes, &job->thread, &used) == 0;
}

static int hold(struct keeper *k)
{
	struct umem_fork_job *job = k->job;
	int r;

	k->parent = (struct umem_inject_stop){ .job = &job->inject,
		.options = PTRACE_O_TRACECLONE };
	r = umem_inject_hold(&k->parent, &job->inject.threads[0]);
	if (r != 0)
		return r;
	note_thread(k);
	r = umem_inject_borrow(&k->parent);
	k->held = r == 0;
	if (r != 0 && r != UMEM_GONE)
		umem_inject_give_back(&k->parent);
	job->report.tid = k->parent.tid;
	return r;
}

static int go(struct keeper *k)
{
	int r = 0;

	if (k->held)
		r = umem_inject_give_back(&k->parent);
	if (k->held)
		k->job->report.stop_ns = umem_now_ns() - k->parent.begin_ns;
	k->held = false;
	return r;
}

/* The child at its birth, before its first instruction: from here on it dies with us. */
static int catch_child(struct keeper *k, int pid)
{
	struct umem_inject_stop *c = &k->child;
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
	int status, r;

	*c = (struct umem_inject_stop){ .job = &k->job->inject, .tid = pid };
	k->child_lives = true;
	k->job->child_pid = pid;
	r = umem_inject_wait_stop(c, umem_now_ns() + CHILD_NS, &status);
	if (r != 0)
		return r;
	umem_inject_wait_us(UMEM_FAULT_POINT("fork.birth-delay-us"));
	if (umem_inject_trace(PTRACE_SETOPTIONS, pid, 0,
		    (uintptr_t)(options | PTRACE_O_SUSPEND_SECCOMP)) < 0)
		umem_inject_trace(PTRACE_SETOPTIONS, pid, 0, (uintptr_t)options);
	k->child_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = umem_inject_regs_read(pid, &c->saved);
	return r == -ESRCH ? UMEM_GONE : r;
}

/*
 * The table of descriptors is shared: no file gets one more reference by the
 * child, which would keep connections open that the target closes. exit_signal 0
 * keeps the child out of sight of the target's own waits. Without a stack what
 * was just born cannot run far, should we die before it is tied to us.
 */
static int make(struct keeper *k, uint64_t until_ns)
{
	struct umem_fork_job *job = k->job;
	const uint64_t args[6] = { CLONE_FILES };
	uint64_t begin_ns = umem_now_ns();
	int r;

	job->inject.stage = UMEM_INJECT_STAGE_CALL;
	job->clone_error = (int)UMEM_FAULT_POINT("fork.clone-errno");
	if (job->clone_error)
		return -job->clone_error;
	k->parent.until_ns = until_ns;
	k->parent.bare = true;
	r = umem_inject_call(&k->parent, SYS_clone, args, &job->child_ns_pid);
	job->report.clone_ns = umem_now_ns() - begin_ns;
	/* Whatever else happened: what was born is ours to end. */
	if (k->parent.born > 0 && r != 0) {
		job->child_ns_pid = k->parent.born;
		catch_child(k, k->parent.born);
	}
	if (r != 0)
		return r;
	if (job->child_ns_pid < 0) {
		job->clone_error = (int)-job->child_ns_pid;
		return (int)job->child_ns_pid;
	}
	r = catch_child(k, k->parent.born);
	if (r == 0 && k->parent.interrupted)
		r = -ETIMEDOUT;
	job->report.stop_ns = umem_now_ns() - k->parent.begin_ns;
	return r;
}

/*
 * Take from the child what others could notice: its share in the descriptors, its
 * place in the group that a terminal or a supervisor signals; and let it be the
 * first to go when memory runs out. Without the first it must not live.
 */
static int strip_child(struct keeper *k)
{
	const uint64_t all[6] = { 0, UINT32_MAX, CLOSE_RANGE_UNSHARE };
	const uint64_t files[6] = { CLONE_FILES };
	const uint64_t none[6] = { 0 };
	char path[48];
	long value;
	int r;

	k->child.until_ns = umem_now_ns() + CALLS_NS;
	r = umem_inject_call(&k->child, SYS_close_range, all, &value);
	/* Before 5.9: at least a table of its own. */
	if (r == 0 && (value < 0 || UMEM_FAULT_POINT("fork.no-close-range")))
		r = umem_inject_call(&k->child, SYS_unshare, files, &value);
	if (r == 0 && value < 0)
		r = (int)value;
	if (r == 0)
		r = umem_inject_call(&k->child, SYS_setsid, none, &value);
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", k->child.tid);
	UMEM_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, "1000", 4);
	return r;
}

/* Reap it on our side; the target's is next. */
static void end_child(struct keeper *k)
{
	uint64_t end_ns = umem_now_ns() + CHILD_NS;

	if (!k->child_lives)
		return;
	kill(k->child.tid, SIGKILL);
	while (waitpid(k->child.tid, NULL, __WALL) != k->child.tid) {
		if (errno != EINTR || umem_now_ns() > end_ns)
			break;
	}
	k->child_lives = false;
}

/*
 * Its end is told to its tracer alone: nobody else can be told before we took note.
 * Its stops are told, too.
 */
static void see_child(struct keeper *k)
{
	siginfo_t info = { .si_pid = 0 };

	if (k->child_lives && waitid(P_PID, (id_t)k->child.tid, &info,
				      WEXITED | WNOHANG | __WALL) == 0 &&
		info.si_pid != 0 && info.si_code != CLD_TRAPPED)
		k->child_lives = false;
}

/* Is the child's id still that of the child, dead but not reaped? */
static bool is_remembered(const struct keeper *k)
{
	return k->child_fd >= 0 && syscall(SYS_pidfd_send_signal, k->child_fd, 0, NULL, 0) == 0;
}

/* One call of wait4(2) in one thread of the target. */
static int forget_by(struct umem_inject_job *inject, long child_ns_pid,
	const struct umem_inject_thread *thread)
{
	const uint64_t args[6] = { (uint64_t)child_ns_pid, 0, WNOHANG | __WALL, 0 };
	struct umem_inject_stop s = { .job = inject };
	long value = -1;
	int r = umem_inject_hold(&s, thread);

	if (r != 0)
		return UMEM_AGAIN;
	r = umem_inject_borrow(&s);
	s.until_ns = umem_now_ns() + CALLS_NS;
	if (r == 0)
		r = umem_inject_call(&s, SYS_wait4, args, &value);
	if (r != UMEM_GONE)
		umem_inject_give_back(&s);
	/* ECHILD: another wait of the target was quicker. */
	return r == 0 && (value == child_ns_pid || value == -ECHILD) ? 0 : UMEM_AGAIN;
}

/* The target may have executed another program: a way into the kernel from there. */
static void find_way(struct umem_inject_job *inject)
{
	char path[40], byte;

	if (pread(inject->mem_fd, &byte, 1, (off_t)inject->insn) != 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/mem", inject->pid);
	inject->mem_fd = open(path, O_RDONLY | O_CLOEXEC);
	umem_inject_find_insn_again(inject->pid, inject->pid, inject->mem_fd, &inject->insn);
}

/* The same in whichever thread can be used. The shared job is left alone. */
static int forget_by_any(const struct umem_fork_job *job)
{
	struct umem_inject_job inject = job->inject;
	struct umem_inject_census census;
	int r = umem_inject_census(inject.pid, &census);

	if (r == UMEM_GONE)
		return 0;
	find_way(&inject);
	inject.deadline_ns = umem_now_ns() + FORGET_STOP_NS;
	for (size_t i = 0; r == 0 && i < census.n; i++) {
		if (forget_by(&inject, job->child_ns_pid, &census.v[i]) == 0)
			return 0;
	}
	return UMEM_AGAIN;
}

/*
 * Make the target forget its dead child. In a process of its own, whose end lets go
 * of threads that were asked to stop and did not. Return: 0, UMEM_AGAIN.
 */
static int forget(const struct umem_fork_job *job)
{
	int status = 1, pid = (int)syscall(SYS_clone, 0, 0, 0, 0, 0);

	if (pid == 0) {
		umem_inject_tick(true);
		umem_inject_leave(forget_by_any(job));
	}
	while (pid > 0 && waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	return status == 0 ? 0 : UMEM_AGAIN;
}

static void end(struct keeper *k, uint64_t forget_ns)
{
	uint64_t end_ns = umem_now_ns() + forget_ns;
	struct umem_fork_job *job = k->job;

	go(k);
	end_child(k);
	while (job->child_pid != 0 && is_remembered(k) &&
		!umem_pidfd_exited(job->inject.pidfd) && forget(job) != 0) {
		if (umem_now_ns() > end_ns) {
			job->left_behind = true;
			break;
		}
		umem_inject_wait_us(FORGET_PAUSE_US);
	}
}

/*
 * The next command, while the child's end is seen to. Return: END also when the
 * caller is no more, and whether it is there to be answered.
 */
static enum umem_fork_command next(struct keeper *k, bool *ret_asked)
{
	struct pollfd fds[2] = { { .fd = k->job->socket_fd, .events = POLLIN },
		{ .fd = k->job->owner_fd, .events = POLLIN } };
	sigset_t all_but_child;

	sigfillset(&all_but_child);
	sigdelset(&all_but_child, SIGCHLD);
	*ret_asked = false;
	for (;;) {
		uint8_t command;
		ssize_t n;

		if (ppoll(fds, 2, NULL, &all_but_child) < 0) {
			see_child(k);
			continue;
		}
		if (fds[1].revents)
			return UMEM_FORK_END;
		n = recv(k->job->socket_fd, &command, 1, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		*ret_asked = n == 1;
		return n == 1 ? (enum umem_fork_command)command : UMEM_FORK_END;
	}
}

static void answer(const struct umem_fork_job *job)
{
	uint8_t done = 1;

	send(job->socket_fd, &done, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What comes behind a command, when the caller has its answer. Return: go on? */
static bool follow_up(struct keeper *k, enum umem_fork_command command)
{
	/* What was asked to stop and did not is let go by our end. */
	if (command == UMEM_FORK_HOLD)
		return k->held;
	if (command == UMEM_FORK_GO && k->child_lives && strip_child(k) != 0)
		end_child(k);
	return command != UMEM_FORK_END;
}

static void serve(struct keeper *k)
{
	struct umem_fork_job *job = k->job;
	bool asked, more = true;

	while (more) {
		enum umem_fork_command command = next(k, &asked);

		umem_inject_tick(true);
		if (command == UMEM_FORK_HOLD)
			job->result = hold(k);
		else if (command == UMEM_FORK_MAKE)
			job->result = make(k, job->inject.deadline_ns);
		else if (command == UMEM_FORK_GO)
			job->result = go(k);
		if (atomic_load(&job->abandoned))
			command = UMEM_FORK_END;
		if (command == UMEM_FORK_END)
			end(k, FORGET_NS);
		if (asked)
			answer(job);
		more = follow_up(k, command);
		umem_inject_tick(false);
	}
}

void umem_fork_helper(struct umem_fork_job *job)
{
	struct sigaction action = { .sa_handler = on_child };
	struct keeper k = { .job = job, .child_fd = -1 };

	umem_inject_set_up();
	sigaction(SIGCHLD, &action, NULL);
	close_others(job);
	serve(&k);
	umem_inject_leave(0);
}
