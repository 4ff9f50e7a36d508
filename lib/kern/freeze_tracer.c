// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freeze, the tracer: its life, from the first thread seized to the last let go.
 *
 * The theory of operation is in freeze.c.
 */
#include "lib/kern/freeze_job.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/note.h"

/* How often a wait looks beyond what it waits for. */
#define TICK_US 1000

/* How often to look for ends of targets while they stand. */
#define LOOK_NS 50000000

/* How long a tracer whose caller died may need to let go of all. */
#define ORPHAN_SECONDS 1

/* Of this process; in storage of the thread that waits for its end, which has touched it. */
static _Thread_local struct umem_freeze *mine;

/* Kills this process when it rings; raw, since the C library would start a thread. */
static _Thread_local int last_timer;

static void on_signal(int signo)
{
}

/*
 * The caller is dead. Just to die as well would let threads go in mid-stop, with an EINTR
 * that nobody has mended; so what was begun is ended in order, if that is possible in time.
 */
static void on_orphaned(int signo)
{
	const struct itimerspec soon = { .it_value = { .tv_sec = ORPHAN_SECONDS } };

	syscall(SYS_timer_settime, last_timer, 0, &soon, NULL);
	atomic_store(&mine->request, UMEM_FREEZE_REQUEST_GO);
}

void umem_freeze_touch(struct umem_freeze *f)
{
	mine = f;
	last_timer = -1;
}

static void tick(long us)
{
	struct itimerval timer = { { 0, us }, { 0, us } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

static void let_child_signal(bool on)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(on ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}

/* A process of its own: what ends the caller's group or terminal does not end it in mid-stop. */
static void set_up(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct sigaction orphaned = { .sa_handler = on_orphaned };
	struct sigevent kill = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	bool timer = syscall(SYS_timer_create, CLOCK_MONOTONIC, &kill, &last_timer) == 0;
	sigset_t set;

	setpgid(0, 0);
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGCHLD, &action, NULL);
	sigaction(SIGUSR1, &orphaned, NULL);
	sigfillset(&set);
	sigdelset(&set, SIGALRM);
	sigdelset(&set, SIGUSR1);
	sigprocmask(SIG_SETMASK, &set, NULL);
	prctl(PR_SET_PDEATHSIG, timer ? SIGUSR1 : SIGKILL);
}

/* Find all threads, while all run. */
static int seize_all(struct umem_freeze *f)
{
	size_t n_new;
	int r = 0;

	for (size_t i = 0; i < f->n_targets && r == 0; i++)
		r = umem_freeze_seize_new(f, i, &n_new);
	return r;
}

/* Look for threads that were made before their makers stood. Return: 0, UMEM_AGAIN, else. */
static int settle(struct umem_freeze *f)
{
	bool settled = true;
	size_t n_new;

	for (size_t i = 0; i < f->n_targets; i++) {
		int r = umem_freeze_is_settled(f, i);

		if (r == 1)
			continue;
		if (r == 0)
			r = umem_freeze_seize_new(f, i, &n_new);
		if (r != 0)
			return r;
		settled = false;
	}
	return settled ? 0 : UMEM_AGAIN;
}

/* A process none of whose threads lives. */
static int check_alive(struct umem_freeze *f)
{
	for (size_t p = 0; p < f->n_targets; p++) {
		bool alive = false;

		for (size_t i = 0; i < f->n_slots && !alive; i++)
			alive = f->slots[i].process == p &&
				(f->slots[i].state == UMEM_FREEZE_STOPPED ||
					f->slots[i].state == UMEM_FREEZE_EXCEPT);
		f->failed = p;
		if (!alive)
			return UMEM_GONE;
	}
	return 0;
}

/* Ask, wait and look again until all stand that there are. */
static int stand_all(struct umem_freeze *f)
{
	for (;;) {
		int r;

		umem_freeze_interrupt(f);
		r = umem_freeze_collect(f);
		if (r == 0)
			r = settle(f);
		if (r == 0)
			return check_alive(f);
		if (r != UMEM_AGAIN)
			return r;
		if (umem_now_ns() >= f->deadline_ns)
			return umem_note_set(&f->note, -ETIMEDOUT, 0,
				"process %d makes threads faster than they can be stopped",
				f->targets[f->failed].who.pid);
	}
}

static int stop_all(struct umem_freeze *f)
{
	uint64_t begin_ns = umem_now_ns();
	int r = seize_all(f);

	f->first_ns = umem_now_ns();
	if (r == 0)
		r = stand_all(f);
	f->stopped_ns = umem_now_ns();
	/* A signal stopped one before we asked it to. */
	for (size_t i = 0; i < f->n_slots && r == 0; i++) {
		if (f->slots[i].deliver != 0)
			f->first_ns = begin_ns;
	}
	return r;
}

/* Those that appeared since. */
static void stop_more(struct umem_freeze *f)
{
	tick(TICK_US);
	f->result = settle(f);
	if (f->result == UMEM_AGAIN)
		f->result = stand_all(f);
	tick(0);
}

static void answer(struct umem_freeze *f)
{
	atomic_store(&f->answer, UMEM_FREEZE_ANSWER_DONE);
	syscall(SYS_futex, &f->answer, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/*
 * The next request. A target that is killed meanwhile must not wait for us until its
 * parent hears of it, so ends are taken note of: SIGCHLD ends the wait, or the time
 * limit if it came just before.
 */
static uint32_t next_request(struct umem_freeze *f)
{
	const struct timespec limit = { 0, LOOK_NS };
	uint32_t request;

	let_child_signal(true);
	while ((request = atomic_exchange(&f->request, UMEM_FREEZE_REQUEST_NONE)) ==
		UMEM_FREEZE_REQUEST_NONE) {
		if (syscall(SYS_futex, &f->request, FUTEX_WAIT, UMEM_FREEZE_REQUEST_NONE, &limit,
			    NULL, 0) < 0 && errno != EAGAIN)
			umem_freeze_reap(f);
	}
	let_child_signal(false);
	return request;
}

int umem_freeze_tracer(struct umem_freeze *f)
{
	set_up();
	if (getppid() != f->owner_pid)
		return 1;
	tick(TICK_US);
	f->result = stop_all(f);
	tick(0);
	if (f->result != 0) {
		umem_freeze_release(f);
		return 0;
	}
	answer(f);
	for (uint32_t request; (request = next_request(f)) != UMEM_FREEZE_REQUEST_GO;) {
		if (request == UMEM_FREEZE_REQUEST_NOTES)
			umem_freeze_read_notes(f);
		else
			stop_more(f);
		answer(f);
	}
	umem_freeze_release(f);
	f->gone_ns = umem_now_ns();
	answer(f);
	return 0;
}
