// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A child of the target, made by injection.
 *
 * Theory of operation
 *
 * Goal: the memory of a process at one moment, to be read while it runs on. The
 * kernel copies it on write for a child; so one is made, and kept from running.
 *
 *      caller               helper (a process)                  target
 *      choose a thread
 *      raw clone ---------> lead a group, close what is not ours
 *      freeze all others                                        stand
 *      "hold" ------------> stop and borrow the thread -------> stands
 *      freeze what appeared
 *      "make" ------------> clone(2) in it -------------------> child is born, stands
 *                           tie the child to us
 *      copies what is not in the child
 *      "go" --------------> give the thread back -------------> runs on
 *      let the others go    strip the child
 *      reads the child ...
 *      "end" -------------> kill the child, wait for it
 *                           wait4(2) in the target -----------> has no child left
 *
 * The helper outlives us: when we die, which our pidfd tells it, or execute another
 * program, which closes our end of the socket, it takes the same way from wherever
 * it is. It is a copy of our process, not a sharer of
 * our memory as the tracer of a freeze is: who kills a process that is out of
 * memory kills all that share its memory, and the helper must not die while it
 * has borrowed a thread.
 *
 * The child is traced from birth (PTRACE_O_TRACECLONE), so it never runs an
 * instruction, and is killed by the kernel when the helper dies
 * (PTRACE_O_EXITKILL). Between its birth and that option, some microseconds, a
 * SIGKILL of the helper would let it run: it has no stack, no pointers and all signals
 * blocked, so it dies of SIGSEGV at the next access to memory, some instructions on.
 *
 * What others could notice of a child, and what is done about it:
 * - SIGCHLD, wait(2): exit signal 0. Such a child is looked at only by waits that
 *   ask for it (__WALL, __WCLONE); the others answer ECHILD and block as if it
 *   were not there, and it tells nobody of its end. It is reaped by a wait4(2)
 *   in the target, as no other process may reap it.
 * - Descriptors: a connection that the target closes must be closed. The child is
 *   made with the target's table (CLONE_FILES), which adds no reference, and leaves
 *   it by close_range(2) as soon as the thread runs on.
 * - Signals to its group: setsid(2) in the child.
 * - What the C library keeps of a thread (robust futexes, clear_child_tid) is not
 *   inherited, so the child's end writes and wakes nothing.
 * - Memory: oom_score_adj 1000, so that it goes before the target does.
 *
 * What can be noticed: one more process in lists and in limits while it lives;
 * RUSAGE_CHILDREN, whose largest resident set becomes at least the child's, and
 * its processor time; counts of mappings (SysV nattch, seals of a memfd that need
 * no writable mapping, busy mounts). A target that executes another program
 * meanwhile gets SIGCHLD when the child ends (the kernel does not trust an exit
 * signal over an exec), and the dead child is reaped all the same.
 *
 * Left out on purpose: SIGKILL of the helper while it holds the thread, which now
 * includes the clone(2) itself (24 ms for a GiB in 4K pages).
 *
 * Kernel: PTRACE_O_EXITKILL 3.8, close_range 5.9 (else unshare, and files stay
 * open in the child).
 */
#include "lib/kern/inject_fork_job.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/procmem.h"

/* Longer than anybody waits, and far from an overflow. */
#define MAX_DEADLINE_NS (86400u * 1000000000ull)

/* How long past its deadline a helper may be busy giving things back. */
#define GRACE_NS 2000000000u

/* How long umem_fork_free() waits. */
#define END_NS 5000000000u

/**
 * struct umem_fork - a child to be, or one that is.
 * @pid, @pidfd: the target.
 * @job: shared with the helper.
 * @mem_fd: the target's memory.
 * @socket_fd: our end, or -1 when no helper runs.
 * @helper_pid, @helper_fd: the helper.
 * @asked: a command is under way.
 * @held: the helper holds a thread.
 * @child: see umem_fork_child().
 */
struct umem_fork {
	int pid;
	int pidfd;
	struct umem_fork_job *job;
	int mem_fd;
	int socket_fd;
	int helper_pid;
	int helper_fd;
	bool asked;
	bool held;
	struct umem_fork_child child;
};

/*
 * Wait for the helper's end until @until_ns; else it ends without us. It is told so:
 * that our end of the socket closes it may not see, as others of our children may
 * have a copy of it.
 */
static void leave_helper(struct umem_fork *f, uint64_t until_ns)
{
	struct pollfd pfd = { .fd = f->helper_fd, .events = POLLIN };
	uint8_t byte = UMEM_FORK_END;
	uint64_t now_ns;

	if (f->socket_fd >= 0)
		send(f->socket_fd, &byte, 1, MSG_NOSIGNAL);
	f->socket_fd = umem_fd_close(f->socket_fd);
	if (f->helper_fd < 0)
		return;
	while ((now_ns = umem_now_ns()) < until_ns) {
		if (poll(&pfd, 1, (int)((until_ns - now_ns) / 1000000) + 1) > 0) {
			while (waitpid(f->helper_pid, NULL, __WALL) < 0 && errno == EINTR)
				;
			break;
		}
	}
	f->helper_fd = umem_fd_close(f->helper_fd);
}

static int start_helper(struct umem_fork *f)
{
	sigset_t all, before;
	int ends[2], helper_fd = -1;
	long pid;

	if (f->socket_fd >= 0)
		return 0;
	UMEM_FD int owner_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (owner_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	f->job->socket_fd = ends[1];
	f->job->owner_fd = owner_fd;
	f->job->inject.mem_fd = f->mem_fd;
	atomic_store(&f->job->abandoned, false);
	/* The helper must never run a handler of ours. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid = syscall(SYS_clone, CLONE_PIDFD, 0, &helper_fd, 0, 0);
	if (pid == 0)
		umem_fork_helper(f->job);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	umem_fd_close(ends[1]);
	if (pid < 0) {
		umem_fd_close(ends[0]);
		return (int)pid;
	}
	f->socket_fd = ends[0];
	f->helper_pid = (int)pid;
	f->helper_fd = helper_fd;
	return 0;
}

/* Give the helper a command. */
static void ask(struct umem_fork *f, enum umem_fork_command command)
{
	uint8_t byte = (uint8_t)command;

	f->job->result = -EIO;
	f->asked = f->socket_fd >= 0 && send(f->socket_fd, &byte, 1, MSG_NOSIGNAL) == 1;
}

/* Wait until it is done. Return: its result; -EIO it died; -ETIMEDOUT it ends itself. */
static int await(struct umem_fork *f, uint64_t until_ns)
{
	struct pollfd pfd = { .fd = f->socket_fd, .events = POLLIN };
	uint8_t byte;
	int n;

	if (!f->asked)
		return -EIO;
	f->asked = false;
	do {
		uint64_t now_ns = umem_now_ns();
		uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
		struct timespec left = { (time_t)(left_ns / 1000000000u),
			(long)(left_ns % 1000000000u) };

		n = ppoll(&pfd, 1, &left, NULL);
	} while (n < 0 && errno == EINTR);
	if (n > 0)
		return recv(f->socket_fd, &byte, 1, 0) == 1 ? f->job->result : -EIO;
	atomic_store(&f->job->abandoned, true);
	leave_helper(f, 0);
	return -ETIMEDOUT;
}

/* Find a way into the target's kernel. Return: 0, UMEM_GONE, -errno with a note. */
static int prepare(struct umem_fork *f, struct umem_note *note)
{
	struct umem_inject_census census;
	int r = umem_inject_census(f->pid, &census);

	if (r == -ENOTSUP)
		return umem_note_set(note, r, 0, "process %d is a kernel thread", f->pid);
	if (r == UMEM_GONE || umem_pidfd_exited(f->pidfd))
		return UMEM_GONE;
	if (r < 0)
		return umem_note_set(note, r, 0, "the threads of process %d cannot be listed: %s",
			f->pid, strerror(-r));
	r = umem_inject_prepare(&f->job->inject, &census, note);
	if (r == 0)
		f->mem_fd = f->job->inject.mem_fd;
	if (r == UMEM_AGAIN)
		r = f->job->inject.no_insn ?
			umem_note_set(note, -ENOEXEC, 0,
				"process %d maps no code that enters the kernel", f->pid) :
			UMEM_GONE;
	return r;
}

int umem_fork_new(int pid, int pidfd, struct umem_fork **ret_fork, struct umem_note *note)
{
	UMEM_CLEANUP(umem_fork_freep) struct umem_fork *f = NULL;
	int r;

	if (pid <= 0 || pid == getpid())
		return umem_note_set(note, -EINVAL, 0, "process %d cannot be forked", pid);
	f = calloc(1, sizeof(*f));
	if (!f)
		return umem_note_set(note, -ENOMEM, 0, "no memory to fork process %d", pid);
	f->pid = pid;
	f->pidfd = pidfd;
	f->mem_fd = f->socket_fd = f->helper_fd = -1;
	f->child = (struct umem_fork_child){ 0, -1, -1 };
	f->job = mmap(NULL, sizeof(*f->job), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	if (f->job == MAP_FAILED) {
		f->job = NULL;
		return umem_note_set(note, -ENOMEM, 0, "no memory to fork process %d", pid);
	}
	f->job->inject.pid = pid;
	f->job->inject.pidfd = pidfd;
	r = prepare(f, note);
	if (r != 0)
		return r;
	r = start_helper(f);
	if (r < 0)
		return umem_note_set(note, r, 0, "no resources to fork process %d: %s", pid,
			strerror(-r));
	*ret_fork = UMEM_TAKE_PTR(f);
	return 0;
}

struct umem_fork *umem_fork_free(struct umem_fork *fork)
{
	if (!fork)
		return NULL;
	umem_fd_close(fork->child.mem_fd);
	umem_fd_close(fork->child.pidfd);
	leave_helper(fork, umem_now_ns() + END_NS);
	umem_fd_close(fork->mem_fd);
	if (fork->job)
		munmap(fork->job, sizeof(*fork->job));
	free(fork);
	return NULL;
}

/* Choose the thread that is to make the child. Return: 0, UMEM_GONE, -errno. */
static int choose(struct umem_fork *f, unsigned n_tries, struct umem_note *note)
{
	struct umem_inject_census census;
	int r = umem_inject_census(f->pid, &census);

	if (r == UMEM_GONE || umem_pidfd_exited(f->pidfd) || (r == 0 && census.n_alive == 0))
		return UMEM_GONE;
	if (r < 0)
		return umem_note_set(note, r, 0, "the threads of process %d cannot be listed: %s",
			f->pid, strerror(-r));
	if (census.n == 0)
		return umem_note_set(note, -ETIMEDOUT, 0,
			"no thread of process %d can be stopped; thread %d is in state %c", f->pid,
			census.stuck_tid, census.stuck_state);
	f->job->inject.threads[0] = census.v[n_tries % census.n];
	f->job->inject.n_threads = 1;
	return 0;
}

static int note_clone(const struct umem_fork *f, int r, struct umem_note *note)
{
	if (r == -EAGAIN)
		return umem_note_set(note, r, 0,
			"process %d may not have one more child: it is at the limit of processes "
			"of its user (RLIMIT_NPROC) or of its control group (pids.max)", f->pid);
	if (r == -ENOMEM)
		return umem_note_set(note, r, 0,
			"not enough memory for a child of process %d: its page tables are copied, "
			"and vm.overcommit_memory=2 counts all its memory twice", f->pid);
	return umem_note_set(note, r, 0, "process %d could not make a child: %s", f->pid,
		strerror(-r));
}

/* One command to all helpers at once. Return: 0, UMEM_AGAIN, UMEM_GONE, -errno with a note. */
static int command_all(struct umem_fork *const *v, size_t n, enum umem_fork_command command,
	uint64_t until_ns, struct umem_note *note)
{
	int first = 0;

	for (size_t i = 0; i < n; i++) {
		v[i]->job->inject.deadline_ns = until_ns;
		ask(v[i], command);
	}
	for (size_t i = 0; i < n; i++) {
		struct umem_fork *f = v[i];
		int r = await(f, until_ns + GRACE_NS);

		if (command == UMEM_FORK_HOLD)
			f->held = r == 0;
		if (r == 0 || first != 0)
			continue;
		first = r;
		if (r == -ETIMEDOUT && f->socket_fd < 0)
			umem_note_set(note, r, 0, "process %d did not make a child in time",
				f->pid);
		else if (r == -EIO && f->job->inject.stage != UMEM_INJECT_STAGE_CALL)
			umem_note_set(note, r, 0, "the helper for process %d died", f->pid);
		else if (r < 0 && f->job->clone_error)
			note_clone(f, r, note);
		else if (r == -EAGAIN)
			first = UMEM_AGAIN;
		else if (r < 0)
			first = umem_inject_note_failure(&f->job->inject, r, note);
	}
	return first;
}

/* The descriptors of a child that was made. */
static int open_child(struct umem_fork *f, struct umem_note *note)
{
	struct umem_fork_child child = { f->job->child_pid, -1, -1 };
	int r = umem_pidfd_open(child.pid, &child.pidfd);

	if (r == 0)
		r = umem_procmem_open(child.pid, &child.mem_fd);
	f->child = child;
	if (r < 0)
		return umem_note_set(note, r, 0, "the child of process %d cannot be opened: %s",
			f->pid, strerror(-r));
	return 0;
}

/* Everything back, because something failed: no thread held, no child left. */
static void undo_all(struct umem_fork *const *v, size_t n, struct umem_freeze *freeze)
{
	for (size_t i = 0; i < n; i++) {
		if (v[i]->held)
			umem_fork_go(v[i]);
	}
	umem_freeze_go(freeze, NULL);
	for (size_t i = 0; i < n; i++) {
		umem_fd_close(v[i]->child.mem_fd);
		umem_fd_close(v[i]->child.pidfd);
		v[i]->child = (struct umem_fork_child){ 0, -1, -1 };
		leave_helper(v[i], umem_now_ns() + END_NS);
		v[i]->job->child_pid = 0;
		v[i]->job->clone_error = 0;
	}
}

/* One try. Return: 0, UMEM_AGAIN, else final. */
static int attempt(struct umem_fork *const *v, size_t n, struct umem_freeze *freeze,
	struct umem_freeze_process *who, uint64_t until_ns, struct umem_note *note)
{
	uint64_t now_ns = umem_now_ns();
	uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
	int r = umem_freeze_stop(freeze, who, n, left_ns, NULL, note);

	if (r == 0)
		r = command_all(v, n, UMEM_FORK_HOLD, until_ns, note);
	if (r == 0)
		r = umem_freeze_more(freeze, left_ns, note);
	if (r == 0)
		r = command_all(v, n, UMEM_FORK_MAKE, until_ns, note);
	for (size_t i = 0; i < n && r == 0; i++)
		r = open_child(v[i], note);
	if (r != 0)
		undo_all(v, n, freeze);
	return r;
}

int umem_fork_stop(struct umem_fork *const *v, size_t n, struct umem_freeze *freeze,
	uint64_t deadline_ns, struct umem_note *note)
{
	uint64_t until_ns = umem_now_ns() + umem_min_u64(deadline_ns, MAX_DEADLINE_NS);
	UMEM_FREE struct umem_freeze_process *who = calloc(n, sizeof(*who));
	int r = UMEM_AGAIN;

	if (!who)
		return umem_note_set(note, -ENOMEM, 0, "no memory to fork %zu processes", n);
	for (unsigned n_tries = 0; r == UMEM_AGAIN; n_tries++) {
		r = 0;
		for (size_t i = 0; i < n && r == 0; i++) {
			r = choose(v[i], n_tries, note);
			if (r == 0)
				r = start_helper(v[i]);
			who[i] = (struct umem_freeze_process){ v[i]->pid, v[i]->pidfd,
				v[i]->job->inject.threads[0].tid };
		}
		if (r == 0)
			r = attempt(v, n, freeze, who, until_ns, note);
		if (r == UMEM_AGAIN && umem_now_ns() >= until_ns)
			r = umem_note_set(note, -ETIMEDOUT, 0,
				"no thread of process %d could be stopped in time", v[0]->pid);
	}
	return r < 0 ? umem_note_set(note, r, 0, "%s", strerror(-r)) : r;
}

const struct umem_frozen_thread *umem_fork_thread(const struct umem_fork *fork)
{
	return fork->job->has_thread ? &fork->job->thread : NULL;
}

int umem_fork_go(struct umem_fork *fork)
{
	if (!fork->held)
		return 0;
	fork->held = false;
	ask(fork, UMEM_FORK_GO);
	return await(fork, umem_now_ns() + END_NS);
}

struct umem_fork_child umem_fork_child(const struct umem_fork *fork)
{
	return fork->child;
}

struct umem_fork_report umem_fork_report(const struct umem_fork *fork)
{
	return fork->job->report;
}
