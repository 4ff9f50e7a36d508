// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freeze, the caller's side of the tracer: starting it, asking it, ending it.
 *
 * The theory of operation is in freeze.c.
 */
#include "lib/kern/freeze_job.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/inject_stop.h"

/* How long the tracer may take to answer, with all its targets stopped. */
#define ANSWER_NS 10000000000u

/* How long it may be about one PTRACE_SEIZE then. */
#define STUCK_NS 20000000u

/* How often a wait that lasts looks at the clock. */
#define TICK_NS 1000000

static void wait_word(_Atomic uint32_t *word, uint32_t is, long for_ns)
{
	struct timespec ts = { 0, for_ns };

	syscall(SYS_futex, word, FUTEX_WAIT, is, for_ns > 0 ? &ts : NULL, NULL, 0);
}

static void wake_word(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static int tracer(void *arg)
{
	return umem_freeze_tracer(arg);
}

/* The thread that the tracer borrows its storage from. */
static void *host(void *arg)
{
	struct umem_freeze *f = arg;
	uint32_t none = UMEM_FREEZE_ANSWER_NONE;
	int pid;

	/* It is inherited: a process that was just born waits longest for a processor. */
	umem_inject_be_first();
	umem_freeze_touch(f);
	pid = clone(tracer, f->stack + UMEM_FREEZE_STACK_BYTES,
		CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PIDFD, f, &f->tracer_fd);
	if (pid < 0)
		f->result = -errno;
	while (pid > 0 && waitpid(pid, &f->tracer_status, __WALL) < 0 && errno == EINTR)
		;
	atomic_store(&f->ended, true);
	if (atomic_compare_exchange_strong(&f->answer, &none, UMEM_FREEZE_ANSWER_DEAD))
		wake_word(&f->answer);
	return NULL;
}

int umem_freeze_start(struct umem_freeze *f)
{
	sigset_t all, before;
	int r;

	f->owner_pid = getpid();
	f->result = UMEM_AGAIN;
	f->killed = false;
	f->tracer_status = 0;
	f->tracer_fd = -1;
	umem_note_clear(&f->note);
	atomic_store(&f->ended, false);
	atomic_store(&f->seizing_ns, 0);
	atomic_store(&f->request, UMEM_FREEZE_REQUEST_NONE);
	atomic_store(&f->answer, UMEM_FREEZE_ANSWER_NONE);
	/* It must never run a handler of ours. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	r = pthread_create(&f->host, NULL, host, f);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

void umem_freeze_end(struct umem_freeze *f)
{
	pthread_join(f->host, NULL);
	f->tracer_fd = umem_fd_close(f->tracer_fd);
}

static bool is_stuck(struct umem_freeze *f, uint64_t stuck_ns)
{
	uint64_t since_ns = atomic_load(&f->seizing_ns);
	uint64_t now_ns = umem_now_ns();

	return since_ns != 0 && now_ns > since_ns && now_ns - since_ns > stuck_ns;
}

bool umem_freeze_await(struct umem_freeze *f, uint64_t until_ns, uint64_t stuck_ns)
{
	uint32_t answer;

	while ((answer = atomic_load(&f->answer)) == UMEM_FREEZE_ANSWER_NONE) {
		/* In vain before it was started: the descriptor comes with it. */
		if (!f->killed && (umem_now_ns() > until_ns || is_stuck(f, stuck_ns)))
			f->killed = syscall(SYS_pidfd_send_signal, f->tracer_fd, SIGKILL, NULL,
				0) == 0;
		wait_word(&f->answer, UMEM_FREEZE_ANSWER_NONE, TICK_NS);
	}
	return answer == UMEM_FREEZE_ANSWER_DONE;
}

bool umem_freeze_ask(struct umem_freeze *f, enum umem_freeze_request request)
{
	atomic_store(&f->answer, UMEM_FREEZE_ANSWER_NONE);
	if (atomic_load(&f->ended))
		return false;
	atomic_store(&f->request, request);
	wake_word(&f->request);
	return umem_freeze_await(f, umem_max_u64(umem_now_ns(), f->deadline_ns) + ANSWER_NS,
		STUCK_NS);
}
