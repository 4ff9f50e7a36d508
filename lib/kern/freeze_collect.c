// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freeze, the tracer: asking threads to stop, waiting for them, letting them go.
 *
 * The theory of operation is in freeze.c.
 */
#include "lib/kern/freeze_job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/inject_arch.h"
#include "lib/kern/inject_stop.h"
#include "lib/kern/pidfd.h"

void umem_freeze_interrupt(struct umem_freeze *f)
{
	for (size_t i = 0; i < f->n_slots; i++) {
		struct umem_freeze_slot *slot = &f->slots[i];

		if (slot->state != UMEM_FREEZE_SEIZED)
			continue;
		/* One that is stopped already, by a signal, is asked in vain and found below. */
		umem_inject_trace(PTRACE_INTERRUPT, slot->tid, 0, 0);
		slot->state = UMEM_FREEZE_ASKED;
	}
}

/*
 * A thread stands. Its answer to a disturbed call is mended at once, not when
 * it is let go: so it stays right if we are killed.
 */
static int stands(struct umem_freeze *f, struct umem_freeze_slot *slot, int status)
{
	int event = status >> 8;

	/* The memory that the caller meant has been replaced. */
	if (event == PTRACE_EVENT_EXEC)
		return UMEM_GONE;
	slot->state = UMEM_FREEZE_STOPPED;
	slot->deliver = event == 0 ? (uint8_t)(status & 0x7f) : 0;
	umem_inject_mend(slot->tid);
	return 0;
}

/*
 * Wait for one thread, or have a look at it. The stop is not consumed (WNOWAIT):
 * the kernel gives a signal that was about to be taken to the thread when we die,
 * but only as long as nobody has waited for it. A tracer is told of stops whatever
 * it asks for, so one that is known is told again.
 */
static int look(struct umem_freeze *f, struct umem_freeze_slot *slot, int how)
{
	const int kinds = WEXITED | WSTOPPED;
	bool leader = slot->tid == f->targets[slot->process].who.pid;
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_PID, (id_t)slot->tid, &info, kinds | how | WNOWAIT | __WALL) < 0) {
		/* In an exec a thread takes the leader's id, and its own is no more. */
		if (errno == ECHILD)
			slot->state = UMEM_FREEZE_NONE;
		return 0;
	}
	if (info.si_pid == 0)
		return 0;
	if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) {
		if (slot->state == UMEM_FREEZE_STOPPED)
			return 0;
		f->failed = slot->process;
		return stands(f, slot, info.si_status);
	}
	/* A leader is told last. Its end is for its parent, who hears of it by our exit. */
	if (leader) {
		f->failed = slot->process;
		return UMEM_GONE;
	}
	waitid(P_PID, (id_t)slot->tid, &info, WEXITED | WNOHANG | __WALL);
	slot->state = UMEM_FREEZE_NONE;
	return 0;
}

/* A leader that ends while its threads live on reports nothing. */
static void look_for_zombie(struct umem_freeze *f, struct umem_freeze_slot *slot)
{
	int pid = f->targets[slot->process].who.pid;
	struct umem_proc_stat stat;

	if (slot->tid == pid && umem_proc_stat_read(pid, pid, &stat) == 0 && stat.state == 'Z')
		slot->state = UMEM_FREEZE_ZOMBIE;
}

/* Where a thread waits in the kernel, if that may be known. */
static void read_wchan(int pid, int tid, char text[static 64])
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/wchan", pid, tid);
	UMEM_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, text, 63);
	text[n > 0 ? n : 0] = '\0';
	if (strcmp(text, "0") == 0)
		text[0] = '\0';
}

static int note_late(struct umem_freeze *f, const struct umem_freeze_slot *slot)
{
	int pid = f->targets[slot->process].who.pid;
	struct umem_proc_stat stat = { .state = '?' };
	char wchan[64];

	f->failed = slot->process;
	umem_proc_stat_read(pid, slot->tid, &stat);
	read_wchan(pid, slot->tid, wchan);
	return umem_note_set(&f->note, -ETIMEDOUT, 0,
		"thread %d (%s) of process %d did not stop in time; it is in state %c%s%s",
		slot->tid, stat.comm, pid, stat.state, wchan[0] ? ", in " : "", wchan);
}

/* A look at all, because it takes long. Return: as look(). */
static int look_at_all(struct umem_freeze *f)
{
	for (size_t i = 0; i < f->n_slots; i++) {
		struct umem_freeze_slot *slot = &f->slots[i];
		int r = 0;

		if (slot->state == UMEM_FREEZE_ASKED || slot->state == UMEM_FREEZE_STOPPED)
			r = look(f, slot, WNOHANG);
		if (r != 0)
			return r;
		if (slot->state == UMEM_FREEZE_ASKED)
			look_for_zombie(f, slot);
	}
	return 0;
}

/*
 * Each is waited for in turn, asleep: a thread may need this very processor to
 * reach its stop. When a tick ends a wait, all are looked at, also those that
 * stand: an exec waits until we have seen the end of all the others.
 */
int umem_freeze_collect(struct umem_freeze *f)
{
	for (size_t i = 0; i < f->n_slots;) {
		struct umem_freeze_slot *slot = &f->slots[i];
		int r = 0;

		if (slot->state != UMEM_FREEZE_ASKED) {
			i++;
			continue;
		}
		r = look(f, slot, 0);
		if (r == 0 && slot->state == UMEM_FREEZE_ASKED)
			r = look_at_all(f);
		if (r != 0)
			return r;
		if (slot->state == UMEM_FREEZE_ASKED && umem_now_ns() >= f->deadline_ns)
			return note_late(f, slot);
	}
	return 0;
}

/* The leader's end is told last; by this its parent hears of it. */
void umem_freeze_reap(struct umem_freeze *f)
{
	for (size_t i = f->n_slots; i-- > 0;) {
		struct umem_freeze_slot *slot = &f->slots[i];
		siginfo_t info = { .si_pid = 0 };

		if (slot->state != UMEM_FREEZE_STOPPED ||
			waitid(P_PID, (id_t)slot->tid, &info,
				WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 ||
			info.si_pid == 0 || info.si_code == CLD_TRAPPED)
			continue;
		waitid(P_PID, (id_t)slot->tid, &info, WEXITED | WNOHANG | __WALL);
		slot->state = UMEM_FREEZE_NONE;
	}
}

void umem_freeze_release(struct umem_freeze *f)
{
	for (size_t i = 0; i < f->n_slots; i++) {
		struct umem_freeze_slot *slot = &f->slots[i];

		if (slot->state != UMEM_FREEZE_STOPPED)
			continue;
		umem_inject_trace(PTRACE_DETACH, slot->tid, 0, slot->deliver);
		slot->state = UMEM_FREEZE_NONE;
	}
}
