// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Stopping all threads of processes, and letting them go exactly.
 *
 * Theory of operation
 *
 * Goal: no thread of some processes runs for as long as the caller wants, and
 * then all go on as if nothing had been, whoever dies meanwhile.
 *
 *      caller            host (a thread)        tracer (a process)     targets
 *      make room
 *      start host -----> clone, wait ---------> list threads, SEIZE    run on
 *      wait, look                               INTERRUPT all -------> each runs into
 *      at the clock                             collect the stops <--- its stop
 *                                               list again; done
 *      <--------------------------------------- "done"                 stand
 *      reads memory, asks for notes
 *      "go" ----------------------------------> DETACH all ----------> run on
 *                        reap, end <----------- exit
 *
 * The tracer is a process, since only one can be ended from outside in whatever
 * it is stuck, and the end of the tracer is what lets everything go that cannot
 * be detached: threads that have not stopped yet, leaders that ended. It shares
 * memory and descriptors with the caller like a child of vfork(2), so it costs
 * no copy of page tables. It uses the thread-local storage of the host, which
 * waits for its end in that very clone. If the caller dies, the host does, and
 * that kills the tracer (PR_SET_PDEATHSIG). As a child without exit signal it is
 * not seen by the caller's own waits, and the stops tell nobody but the tracer.
 *
 * Phases. Seizing does not disturb; so all threads that can be found are seized
 * before the first is asked to stop. Then all are asked, then all awaited: they
 * run into their stops beside each other. A thread may have made another before
 * it stood, so the kernel's count of threads is compared with those that are
 * known, and if they differ the threads are listed again
 * (umem_freeze_is_settled()).
 *
 * Exactness, beyond what inject.c tells of stops:
 * - A thread stands either in the event stop that was asked for (a group stop
 *   is one too), or about to take a signal that it had dequeued before. Then it
 *   takes it when it is let go, with all that came with it.
 * - Stops are looked at, not consumed, so that the kernel itself delivers that
 *   signal should the tracer die.
 * - Calls that say EINTR when they are disturbed are mended in the registers at
 *   the stop (umem_inject_regs_rewait()), and are right whoever lets go; unless the
 *   tracer itself is killed in the microseconds between that stop and its look at it.
 *   It is not by the death of its caller: it ends the stop, lets go, and ends. Such a
 *   wait with a timeout starts anew, which nobody can help.
 * - Nothing is run in the threads, so restartable sequences, masks, filters are
 *   the kernel's business, as in any preemption.
 * - A stopped process (SIGSTOP) is taken over from its stop and goes back into
 *   it; SIGCONT meanwhile holds when it is let go.
 *
 * An exec of one thread waits for the end of all others, which we are told of
 * and have to take note of; while PTRACE_SEIZE waits for the exec. A tracer that
 * is in that embrace, or in an exec that waits for a slow disk, is killed by the
 * caller and another one is started.
 *
 * Left out on purpose: threads in uninterruptible sleep, see
 * umem_freeze_stop(); workers of the kernel are counted.
 *
 * Kernel: PTRACE_SEIZE 3.4, CLONE_PIDFD 5.2, pidfd_send_signal 5.1.
 */
#include "lib/kern/freeze_job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/pidfd.h"

/* Longer than anybody waits, and far from an overflow. */
#define MAX_DEADLINE_NS (86400u * 1000000000ull)

/* How long the tracer may need past the deadline to say so. */
#define GRACE_NS 200000000u

/* How long one PTRACE_SEIZE may take: it is a matter of a microsecond. */
#define STUCK_NS 3000000u

#define GUARD_BYTES 4096u

const char *umem_freeze_worker_name(enum umem_freeze_worker worker)
{
	static const char *const names[UMEM_FREEZE_N_WORKERS] = {
		[UMEM_FREEZE_WORKER_IO] = "worker of an io_uring",
		[UMEM_FREEZE_WORKER_OTHER] = "worker of the kernel",
	};

	return names[worker];
}

int umem_freeze_new(struct umem_freeze **ret_freeze)
{
	struct umem_freeze *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->tracer_fd = -1;
	/* Touched here, so that the stop has no page fault of ours. */
	f->stack = mmap(NULL, UMEM_FREEZE_STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (f->stack == MAP_FAILED)
		f->stack = NULL;
	f->names = malloc(UMEM_FREEZE_NAMES_BYTES);
	f->arena = malloc(UMEM_FREEZE_ARENA_BYTES);
	if (!f->stack || !f->names || !f->arena ||
		mprotect(f->stack, GUARD_BYTES, PROT_NONE) < 0) {
		umem_freeze_free(f);
		return -ENOMEM;
	}
	memset(f->names, 0, UMEM_FREEZE_NAMES_BYTES);
	memset(f->arena, 0, UMEM_FREEZE_ARENA_BYTES);
	*ret_freeze = f;
	return 0;
}

struct umem_freeze *umem_freeze_free(struct umem_freeze *freeze)
{
	if (!freeze)
		return NULL;
	umem_freeze_go(freeze, NULL);
	if (freeze->stack)
		munmap(freeze->stack, UMEM_FREEZE_STACK_BYTES);
	free(freeze->names);
	free(freeze->arena);
	free(freeze);
	return NULL;
}

static void close_targets(struct umem_freeze *f)
{
	for (size_t i = 0; i < f->n_targets; i++)
		umem_fd_close(f->targets[i].task_fd);
	free(f->targets);
	f->targets = NULL;
	f->n_targets = 0;
	umem_freeze_table_free(f);
}

/* Open what is needed of each process. Return: 0, UMEM_GONE, -errno with a note. */
static int open_targets(struct umem_freeze *f, const struct umem_freeze_process *v, size_t n,
	size_t *ret_n_threads, struct umem_note *note)
{
	size_t n_threads = 0;

	f->targets = calloc(n, sizeof(*f->targets));
	if (!f->targets)
		return umem_note_set(note, -ENOMEM, 0, "no memory to stop %zu processes", n);
	for (size_t i = 0; i < n; i++) {
		struct stat st;
		char path[40];
		int fd;

		f->failed = i;
		if (v[i].pid <= 0 || v[i].pid == getpid())
			return umem_note_set(note, -EINVAL, 0, "process %d cannot be stopped",
				v[i].pid);
		snprintf(path, sizeof(path), "/proc/%d/task", v[i].pid);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 && (errno == ENOENT || errno == ESRCH))
			return UMEM_GONE;
		if (fd < 0)
			return umem_note_set(note, -errno, 0,
				"the threads of process %d cannot be listed: %s", v[i].pid,
				strerror(errno));
		f->targets[i] = (struct umem_freeze_target){ .who = v[i], .task_fd = fd };
		f->n_targets = i + 1;
		/* From here on the descriptor stays with whom the pidfd means. */
		if (umem_pidfd_exited(v[i].pidfd))
			return UMEM_GONE;
		if (fstat(fd, &st) == 0)
			n_threads += st.st_nlink;
	}
	*ret_n_threads = n_threads;
	return 0;
}

/* One tracer. Return: 0 all stand; UMEM_AGAIN it got stuck; else final. */
static int attempt(struct umem_freeze *f, size_t n_threads, uint64_t stuck_ns,
	struct umem_note *note)
{
	int r = umem_freeze_table_new(f, n_threads);

	if (r == 0)
		r = umem_freeze_start(f);
	if (r < 0)
		return umem_note_set(note, r, 0, "no resources to stop process %d: %s",
			f->targets[0].who.pid, strerror(-r));
	if (umem_freeze_await(f, f->deadline_ns + GRACE_NS, stuck_ns)) {
		f->holds = true;
		return 0;
	}
	umem_freeze_end(f);
	umem_freeze_table_free(f);
	if (f->result == UMEM_AGAIN && !f->killed)
		return umem_note_set(note, -EIO, 0,
			"the helper that was to stop process %d died (wait status %x)",
			f->targets[0].who.pid, (unsigned)f->tracer_status);
	if (f->result < 0)
		return umem_note_set(note, f->result, 0, "%s", f->note.text[0] ? f->note.text :
			strerror(-f->result));
	return f->result;
}

int umem_freeze_stop(struct umem_freeze *freeze, const struct umem_freeze_process *v, size_t n,
	uint64_t deadline_ns, uint64_t *ret_stop_ns, struct umem_note *note)
{
	uint64_t stuck_ns = STUCK_NS;
	size_t n_threads = 0;
	int r;

	freeze->failed = 0;
	if (freeze->holds || n == 0)
		return umem_note_set(note, -EINVAL, 0, "%s", n == 0 ? "no process to stop" :
			"processes are stopped already");
	freeze->deadline_ns = umem_now_ns() + umem_min_u64(deadline_ns, MAX_DEADLINE_NS);
	r = open_targets(freeze, v, n, &n_threads, note);
	while (r == 0) {
		r = attempt(freeze, n_threads, stuck_ns, note);
		if (r != UMEM_AGAIN)
			break;
		r = 0;
		stuck_ns *= 2;
		if (umem_now_ns() >= freeze->deadline_ns)
			r = umem_note_set(note, -ETIMEDOUT, 0,
				"process %d cannot be traced as long as one of its threads is "
				"within exec", v[freeze->failed].pid);
	}
	if (r != 0) {
		close_targets(freeze);
		return r;
	}
	if (ret_stop_ns)
		*ret_stop_ns = freeze->stopped_ns - freeze->first_ns;
	return 0;
}

int umem_freeze_more(struct umem_freeze *freeze, uint64_t deadline_ns, struct umem_note *note)
{
	if (!freeze->holds)
		return umem_note_set(note, -EINVAL, 0, "no process is stopped");
	freeze->deadline_ns = umem_now_ns() + umem_min_u64(deadline_ns, MAX_DEADLINE_NS);
	if (!umem_freeze_ask(freeze, UMEM_FREEZE_REQUEST_MORE))
		return umem_note_set(note, -EIO, 0, "the helper that held process %d died",
			freeze->targets[0].who.pid);
	if (freeze->result < 0)
		return umem_note_set(note, freeze->result, 0, "%s", freeze->note.text);
	return freeze->result;
}

size_t umem_freeze_failed(const struct umem_freeze *freeze)
{
	return freeze->failed;
}

void umem_freeze_count(const struct umem_freeze *freeze, size_t process,
	struct umem_freeze_count *ret_count)
{
	struct umem_freeze_count count = { .n_stopped = 0 };

	for (size_t i = 0; i < freeze->n_slots && freeze->holds; i++) {
		const struct umem_freeze_slot *slot = &freeze->slots[i];

		if (slot->process != process)
			continue;
		if (slot->state == UMEM_FREEZE_STOPPED)
			count.n_stopped++;
		if (slot->state == UMEM_FREEZE_WORKER) {
			count.n_workers[slot->worker]++;
			count.worker_tid = slot->tid;
		}
	}
	*ret_count = count;
}

int umem_freeze_threads(struct umem_freeze *freeze, size_t process, umem_freeze_threads_cb *cb,
	void *user)
{
	if (!freeze->holds || process >= freeze->n_targets)
		return -EINVAL;
	freeze->process = process;
	freeze->at = 0;
	do {
		if (!umem_freeze_ask(freeze, UMEM_FREEZE_REQUEST_NOTES))
			return -EIO;
		for (size_t i = 0; i < freeze->n_threads; i++) {
			int r = cb(user, &freeze->threads[i]);

			if (r != 0)
				return r;
		}
	} while (freeze->at < freeze->n_slots);
	return 0;
}

int umem_freeze_go(struct umem_freeze *freeze, uint64_t *ret_stopped_ns)
{
	bool held;

	if (ret_stopped_ns)
		*ret_stopped_ns = 0;
	if (!freeze->holds)
		return 0;
	held = umem_freeze_ask(freeze, UMEM_FREEZE_REQUEST_GO);
	if (!held)
		freeze->gone_ns = umem_now_ns();
	umem_freeze_end(freeze);
	close_targets(freeze);
	freeze->holds = false;
	if (ret_stopped_ns)
		*ret_stopped_ns = freeze->gone_ns - freeze->first_ns;
	return held ? 0 : UMEM_AGAIN;
}
