// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freeze, the tracer: which threads there are, and becoming their tracer.
 *
 * The theory of operation is in freeze.c.
 */
#include "lib/kern/freeze_job.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/base/note.h"
#include "lib/base/parse.h"
#include "lib/kern/inject_job.h"
#include "lib/kern/inject_stop.h"
#include "lib/kern/pidfd.h"

/* How often a refusal to be traced is checked: an exec hands ids over. */
#define SEIZE_TRIES 3

/* A directory of threads has two links, and one more for each thread. */
#define OTHER_LINKS 2

/* A table is at most an eighth full at first, and half full at last. */
#define TABLE_FACTOR 8
#define MIN_TABLE    4096u

static uint32_t *map_table(uint32_t n)
{
	uint32_t *table = mmap(NULL, n * sizeof(*table), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return table == MAP_FAILED ? NULL : table;
}

int umem_freeze_table_new(struct umem_freeze *f, size_t n_expected)
{
	size_t slots_bytes = sizeof(*f->slots) * UMEM_FREEZE_MAX_THREADS;
	uint32_t n = MIN_TABLE;

	if (n_expected > UMEM_FREEZE_MAX_THREADS / 2)
		return -ENOMEM;
	while (n < n_expected * TABLE_FACTOR)
		n *= 2;
	f->slots = mmap(NULL, slots_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f->slots == MAP_FAILED) {
		f->slots = NULL;
		return -ENOMEM;
	}
	memset(f->slots, 0, sizeof(*f->slots) * n_expected * 2);
	f->n_slots = 0;
	f->table = map_table(n);
	f->table_mask = n - 1;
	return f->table ? 0 : -ENOMEM;
}

void umem_freeze_table_free(struct umem_freeze *f)
{
	if (f->slots)
		munmap(f->slots, sizeof(*f->slots) * UMEM_FREEZE_MAX_THREADS);
	if (f->table)
		munmap(f->table, sizeof(*f->table) * (f->table_mask + 1));
	f->slots = NULL;
	f->table = NULL;
}

/* The place of a thread id in the table: its own, or an empty one. */
static uint32_t *place(uint32_t *table, uint32_t mask, const struct umem_freeze_slot *slots,
	int tid)
{
	uint32_t at = (uint32_t)tid * 2654435761u;

	for (;; at++) {
		uint32_t *entry = &table[at & mask];

		if (*entry == 0 || slots[*entry - 1].tid == tid)
			return entry;
	}
}

/* More threads than anybody could have thought: a larger table, in the stop. */
static int grow(struct umem_freeze *f)
{
	uint32_t n = (f->table_mask + 1) * 4, *table;

	if (f->n_slots >= UMEM_FREEZE_MAX_THREADS)
		return -ENOMEM;
	table = map_table(n);
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_slots; i++)
		*place(table, n - 1, f->slots, f->slots[i].tid) = (uint32_t)i + 1;
	munmap(f->table, sizeof(*f->table) * (f->table_mask + 1));
	f->table = table;
	f->table_mask = n - 1;
	return 0;
}

/* The slot of a thread, which is new if its state is UMEM_FREEZE_NONE; or NULL. */
static struct umem_freeze_slot *slot_of(struct umem_freeze *f, size_t process, int tid)
{
	uint32_t *entry = place(f->table, f->table_mask, f->slots, tid);
	struct umem_freeze_slot *slot;

	if (*entry == 0) {
		if (f->n_slots * 2 > f->table_mask || f->n_slots >= UMEM_FREEZE_MAX_THREADS) {
			if (grow(f) < 0)
				return NULL;
			entry = place(f->table, f->table_mask, f->slots, tid);
		}
		f->slots[f->n_slots] = (struct umem_freeze_slot){ .tid = tid };
		*entry = (uint32_t)++f->n_slots;
	}
	slot = &f->slots[*entry - 1];
	/* An id that one process had and another one has now. */
	if (slot->process != process && slot->state > UMEM_FREEZE_STOPPED)
		slot->state = UMEM_FREEZE_NONE;
	if (slot->state == UMEM_FREEZE_NONE) {
		slot->process = (uint32_t)process;
		slot->deliver = 0;
	}
	return slot;
}

/*
 * What a thread is, before it is touched: a kernel lets one trace a worker of an
 * io_uring, but stopping it breaks off what it does, and the program reads -512 as
 * the result of its request. Return: 0, with the slot marked if it is not to be
 * traced; UMEM_AGAIN it may be traced; -errno.
 */
static int classify(struct umem_freeze *f, struct umem_freeze_slot *slot)
{
	int pid = f->targets[slot->process].who.pid, tid = slot->tid;
	struct umem_proc_stat stat;

	if (umem_proc_stat_read(pid, tid, &stat) < 0 || stat.state == 'X')
		return 0;
	if (stat.state == 'Z') {
		slot->state = tid == pid ? UMEM_FREEZE_ZOMBIE : UMEM_FREEZE_NONE;
		return 0;
	}
	if (stat.kernel_thread)
		return umem_note_set(&f->note, -ENOTSUP, 0, "process %d is a kernel thread", pid);
	if (stat.user_worker) {
		slot->worker = stat.io_worker ? UMEM_FREEZE_WORKER_IO : UMEM_FREEZE_WORKER_OTHER;
		slot->state = UMEM_FREEZE_WORKER;
		return 0;
	}
	return UMEM_AGAIN;
}

/* A refusal: by another tracer, or for want of rights, if it lasts. */
static int note_refused(struct umem_freeze *f, const struct umem_freeze_slot *slot)
{
	int pid = f->targets[slot->process].who.pid, tid = slot->tid;
	long tracer = umem_inject_status_word(pid, tid, "TracerPid");

	if (tracer > 0)
		return umem_note_set(&f->note, -EBUSY, 0,
			"thread %d of process %d is traced by process %ld already", tid, pid,
			tracer);
	return umem_note_set(&f->note, -EPERM, 0,
		"thread %d of process %d may not be traced: needs CAP_SYS_PTRACE, or the same user "
		"and a kernel.yama.ptrace_scope that allows it", tid, pid);
}

static int seize(struct umem_freeze *f, struct umem_freeze_slot *slot)
{
	int r = classify(f, slot);

	for (int i = 0; r == UMEM_AGAIN && i < SEIZE_TRIES; i++) {
		long traced;

		/* For tests: time for an exec to begin in between. */
		umem_inject_wait_us(UMEM_FAULT_POINT("freeze.seize-delay-us"));
		atomic_store(&f->seizing_ns, umem_now_ns());
		traced = umem_inject_trace(PTRACE_SEIZE, slot->tid, 0, PTRACE_O_TRACEEXEC);
		atomic_store(&f->seizing_ns, 0);
		if (traced == 0)
			slot->state = UMEM_FREEZE_SEIZED;
		if (traced == 0 || traced == -ESRCH)
			return 0;
		if (i > 0)
			sched_yield();
		/* It may have ended, or in an exec another one has its id. */
		r = classify(f, slot);
	}
	return r == UMEM_AGAIN ? note_refused(f, slot) : r;
}

/* A thread that was listed. Return: 0 and whether it was new, -errno. */
static int meet(struct umem_freeze *f, size_t process, int tid, size_t *n_new)
{
	struct umem_freeze_slot *slot = slot_of(f, process, tid);

	if (!slot)
		return umem_note_set(&f->note, -ENOMEM, 0, "too many threads");
	if (slot->state != UMEM_FREEZE_NONE)
		return 0;
	(*n_new)++;
	if (tid == f->targets[process].who.except_tid) {
		slot->state = UMEM_FREEZE_EXCEPT;
		return 0;
	}
	return seize(f, slot);
}

int umem_freeze_seize_new(struct umem_freeze *f, size_t process, size_t *ret_n_new)
{
	int fd = f->targets[process].task_fd;
	size_t n_new = 0;

	f->failed = process;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		long len = syscall(SYS_getdents64, fd, f->names, UMEM_FREEZE_NAMES_BYTES);

		if (len < 0)
			return errno == ENOENT ? UMEM_GONE : -errno;
		if (len == 0)
			break;
		for (long at = 0; at < len;) {
			struct dirent64 *entry = (struct dirent64 *)(f->names + at);
			uint64_t tid;
			int r;

			at += entry->d_reclen;
			if (umem_parse_u64(entry->d_name, &tid) < 0)
				continue;
			r = meet(f, process, (int)tid, &n_new);
			if (r != 0)
				return r;
		}
	}
	*ret_n_new = n_new;
	return umem_pidfd_exited(f->targets[process].who.pidfd) ? UMEM_GONE : 0;
}

/* Does a thread that we do not hold still exist? */
static bool exists(const struct umem_freeze_target *target, int tid)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", tid);
	return faccessat(target->task_fd, name, F_OK, 0) == 0;
}

/*
 * The kernel counts the threads for the links of their directory. Those that we
 * hold exist for sure, even if they were killed, since only we may reap them; the
 * others are looked at after the count was taken. If all of these exist and are as
 * many as were counted, there is no other one.
 */
int umem_freeze_is_settled(struct umem_freeze *f, size_t process)
{
	const struct umem_freeze_target *target = &f->targets[process];
	struct stat st;
	size_t n = 0;

	f->failed = process;
	if (fstat(target->task_fd, &st) < 0)
		return -errno;
	for (size_t i = 0; i < f->n_slots; i++) {
		struct umem_freeze_slot *slot = &f->slots[i];

		if (slot->process != process || slot->state == UMEM_FREEZE_NONE)
			continue;
		if (slot->state != UMEM_FREEZE_STOPPED && !exists(target, slot->tid)) {
			slot->state = UMEM_FREEZE_NONE;
			return 0;
		}
		n++;
	}
	return n + OTHER_LINKS == st.st_nlink;
}
