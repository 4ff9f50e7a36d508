// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is known of a thread in a stop, in the layout of a core file's notes.
 *
 * The kernel writes these notes when a program dumps core (fill_thread_core_info(),
 * fs/binfmt_elf.c); a tracer finds the same in several places.
 */
#include "lib/kern/freeze_notes.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/kern/freeze_job.h"
#include "lib/kern/inject_arch.h"
#include "lib/kern/inject_stop.h"
#include "lib/kern/pidfd.h"

/* A signal mask as the kernel has it. */
#define MASK_BYTES 8

/* Pending signals are asked for in this number at a time. */
#define PEEK_SIGNALS 4

/* Registers of any 32-bit architecture here: 17 words on x86, 18 on arm. */
#define REG_WORDS_32 18

/* What /proc tells times in, whatever the kernel's own tick is. */
#define TICKS_PER_S 100

/* A time as a 32-bit program has it. */
struct time_32 {
	int32_t sec;
	int32_t usec;
};

/* struct elf_prstatus of a 32-bit architecture, with room for the registers of any. */
struct prstatus_32 {
	struct elf_siginfo info;
	int16_t cursig;
	uint32_t sigpend;
	uint32_t sighold;
	int32_t pid;
	int32_t ppid;
	int32_t pgrp;
	int32_t sid;
	struct time_32 times[4];
	uint32_t reg[REG_WORDS_32 + 1];
};

static struct timeval time_of(uint64_t ticks)
{
	return (struct timeval){ .tv_sec = (time_t)(ticks / TICKS_PER_S),
		.tv_usec = (suseconds_t)(ticks % TICKS_PER_S * (1000000 / TICKS_PER_S)) };
}

/*
 * Signals that wait for this thread alone, as a core has them; but for those that the
 * kernel had no memory to take a record of.
 */
static uint64_t pending(int tid)
{
	siginfo_t infos[PEEK_SIGNALS];
	struct __ptrace_peeksiginfo_args args = { .nr = PEEK_SIGNALS };
	uint64_t set = 0;
	long n;

	do {
		n = umem_inject_trace(PTRACE_PEEKSIGINFO, tid, (uintptr_t)&args, (uintptr_t)infos);
		for (long i = 0; i < n; i++)
			set |= 1ull << (infos[i].si_signo - 1);
		args.off += (uint64_t)(n > 0 ? n : 0);
	} while (n == PEEK_SIGNALS);
	return set;
}

/* All of NT_PRSTATUS; for a 64-bit thread, and what one of 32 bits is made from. */
static int read_prstatus(int pid, int tid, const siginfo_t *info, struct elf_prstatus *st,
	size_t *ret_reg_bytes, char name[16])
{
	struct iovec iov = { st->pr_reg, sizeof(st->pr_reg) };
	struct umem_proc_stat stat = { .comm = "" };
	uint64_t mask = 0;

	if (umem_inject_trace(PTRACE_GETREGSET, tid, NT_PRSTATUS, (uintptr_t)&iov) < 0)
		return -ESRCH;
	umem_inject_trace(PTRACE_GETSIGMASK, tid, MASK_BYTES, (uintptr_t)&mask);
	umem_proc_stat_read(pid, tid, &stat);
	st->pr_info.si_signo = info->si_signo;
	st->pr_info.si_code = info->si_code;
	st->pr_info.si_errno = info->si_errno;
	st->pr_cursig = (short)info->si_signo;
	st->pr_sigpend = pending(tid);
	st->pr_sighold = mask;
	st->pr_pid = tid;
	st->pr_ppid = stat.ppid;
	st->pr_pgrp = stat.pgrp;
	st->pr_sid = stat.sid;
	st->pr_utime = time_of(stat.utime_ticks);
	st->pr_stime = time_of(stat.stime_ticks);
	st->pr_cutime = time_of(stat.cutime_ticks);
	st->pr_cstime = time_of(stat.cstime_ticks);
	memcpy(name, stat.comm, 15);
	*ret_reg_bytes = iov.iov_len;
	return 0;
}

static struct time_32 short_time(struct timeval tv)
{
	return (struct time_32){ (int32_t)tv.tv_sec, (int32_t)tv.tv_usec };
}

/* The same for a thread in 32-bit code. Return: its length. */
static size_t shorten(const struct elf_prstatus *st, size_t reg_bytes, struct prstatus_32 *ret)
{
	size_t n = umem_min_u64(reg_bytes / 4, REG_WORDS_32);
	struct prstatus_32 s = { .info = st->pr_info, .cursig = st->pr_cursig,
		.sigpend = (uint32_t)st->pr_sigpend, .sighold = (uint32_t)st->pr_sighold,
		.pid = st->pr_pid, .ppid = st->pr_ppid, .pgrp = st->pr_pgrp, .sid = st->pr_sid,
		.times = { short_time(st->pr_utime), short_time(st->pr_stime),
			short_time(st->pr_cutime), short_time(st->pr_cstime) } };

	memcpy(s.reg, st->pr_reg, n * 4);
	s.reg[n] = (uint32_t)st->pr_fpvalid;
	*ret = s;
	return offsetof(struct prstatus_32, reg) + (n + 1) * 4;
}

/* Where the next payload goes. */
struct sink {
	unsigned char *buf;
	size_t room_bytes;
	size_t used_bytes;
	struct umem_frozen_note *notes;
	size_t n_notes;
};

static void add_note(struct sink *sink, uint32_t type, size_t len_bytes)
{
	sink->notes[sink->n_notes++] = (struct umem_frozen_note){ type, (uint32_t)len_bytes,
		sink->buf + sink->used_bytes };
	sink->used_bytes += umem_align_up(len_bytes, 16);
}

/* Copy a payload. Return: 0, -ENOBUFS. */
static int put_note(struct sink *sink, uint32_t type, const void *bytes, size_t len_bytes)
{
	if (sink->room_bytes - sink->used_bytes < umem_align_up(len_bytes, 16))
		return -ENOBUFS;
	memcpy(sink->buf + sink->used_bytes, bytes, len_bytes);
	add_note(sink, type, len_bytes);
	return 0;
}

/* Read a register set in place. A full buffer may mean that there is more. */
static int put_regset(struct sink *sink, int tid, uint32_t type)
{
	struct iovec iov = { sink->buf + sink->used_bytes,
		(sink->room_bytes - sink->used_bytes) & ~(size_t)15 };
	size_t room_bytes = iov.iov_len;
	long r = umem_inject_trace(PTRACE_GETREGSET, tid, type, (uintptr_t)&iov);

	if (r == -ESRCH)
		return -ESRCH;
	if (r < 0)
		return 0;
	if (iov.iov_len >= room_bytes)
		return -ENOBUFS;
	add_note(sink, type, iov.iov_len);
	return 0;
}

int umem_freeze_notes(int pid, int tid, int deliver, unsigned char *buf, size_t room_bytes,
	struct umem_frozen_note *notes, struct umem_frozen_thread *ret_thread,
	size_t *ret_used_bytes)
{
	struct sink sink = { .buf = buf, .room_bytes = room_bytes, .notes = notes };
	struct umem_frozen_thread thread = { .tid = tid, .word_bytes = 8, .notes = notes };
	struct elf_prstatus st = { .pr_fpvalid = 1 };
	siginfo_t info = { .si_signo = 0 };
	struct prstatus_32 st_32;
	size_t reg_bytes;
	int r;

	if (deliver)
		umem_inject_trace(PTRACE_GETSIGINFO, tid, 0, (uintptr_t)&info);
	r = read_prstatus(pid, tid, &info, &st, &reg_bytes, thread.name);
	if (r < 0)
		return r;
	if (reg_bytes == sizeof(st.pr_reg)) {
		r = put_note(&sink, NT_PRSTATUS, &st, sizeof(st));
	} else {
		thread.word_bytes = 4;
		r = put_note(&sink, NT_PRSTATUS, &st_32, shorten(&st, reg_bytes, &st_32));
	}
	for (size_t i = 0; i < umem_inject_n_regsets && r == 0; i++)
		r = put_regset(&sink, tid, umem_inject_regsets[i]);
	if (r == 0 && deliver)
		r = put_note(&sink, NT_SIGINFO, &info, sizeof(info));
	if (r < 0)
		return r;
	thread.n_notes = sink.n_notes;
	*ret_thread = thread;
	*ret_used_bytes = sink.used_bytes;
	return 0;
}

void umem_freeze_read_notes(struct umem_freeze *f)
{
	size_t used = 0;

	f->n_threads = 0;
	while (f->at < f->n_slots && f->n_threads < UMEM_FREEZE_BATCH) {
		const struct umem_freeze_slot *slot = &f->slots[f->at];
		size_t len;
		int r;

		if (slot->process == f->process && slot->state == UMEM_FREEZE_STOPPED) {
			r = umem_freeze_notes(f->targets[slot->process].who.pid, slot->tid,
				slot->deliver, f->arena + used, UMEM_FREEZE_ARENA_BYTES - used,
				f->notes[f->n_threads], &f->threads[f->n_threads], &len);
			if (r == -ENOBUFS)
				break;
			if (r == 0) {
				used += len;
				f->n_threads++;
			}
		}
		f->at++;
	}
}
