// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Injection on arm64.
 *
 * Theory of operation
 *
 * Here the kernel prepares the restart of an interrupted system call before a
 * tracer sees the thread (do_signal(), arch/arm64/kernel/signal.c): the program
 * counter is back on the svc instruction, x0 is the first argument again, and
 * the error is known to the kernel's stack frame only. When the thread goes on
 * from there, the kernel still has to do one thing: turn the call into
 * restart_syscall (x8 = 128) if the error was -ERESTART_RESTARTBLOCK, and it
 * does so only if the program counter was not touched. So a thread that stands
 * on an svc is let into the kernel by that very instruction; at the entry stop
 * x8 tells what the restart is to be, and the call becomes ours. To put things
 * back the thread is placed on its svc once more, with that x8.
 *
 * Left out: when a signal with a handler arrives within our stop, the handler
 * runs and then the call is made (again), also where it would have failed with
 * EINTR: of the kernel's error nothing is left to tell these apart.
 *
 * x7 is overwritten by the kernel around a system call stop with what it was
 * at the svc; it is therefore never changed.
 */
#include "lib/kern/inject_arch.h"

#include <asm/ptrace.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "lib/base/attr.h"

#ifndef NT_ARM_SYSTEM_CALL
#define NT_ARM_SYSTEM_CALL 0x404
#endif
#ifndef NT_ARM_SVE
#define NT_ARM_SVE 0x405
#endif
#ifndef NT_ARM_PAC_MASK
#define NT_ARM_PAC_MASK 0x406
#endif

/* PSTATE: single step; the kind of branch, that a landing pad would check. */
#define PSTATE_STEP   (1ull << 21)
#define PSTATE_BRANCH (3ull << 10)

#define SVC_0 0xd4000001u

/* IORING_ENTER_EXT_ARG: the fifth argument may hold a timeout. */
#define ENTER_EXT_ARG 8u

_Static_assert(sizeof(struct user_pt_regs) <= sizeof(uint64_t) * UMEM_INJECT_REG_WORDS,
	"struct umem_inject_regs");

const unsigned char umem_inject_insn[] = { 0x01, 0x00, 0x00, 0xd4 };
const size_t umem_inject_insn_bytes = sizeof(umem_inject_insn);
const size_t umem_inject_insn_align = 4;

const uint32_t umem_inject_regsets[] = { NT_PRFPREG, NT_ARM_TLS, NT_ARM_SYSTEM_CALL, NT_ARM_SVE,
	NT_ARM_PAC_MASK };
const size_t umem_inject_n_regsets = UMEM_ARRAY_LEN(umem_inject_regsets);

static struct user_pt_regs *regs_of(struct umem_inject_regs *regs)
{
	return (struct user_pt_regs *)regs->word;
}

static const struct user_pt_regs *const_regs_of(const struct umem_inject_regs *regs)
{
	return (const struct user_pt_regs *)regs->word;
}

static int set_call_nr(int tid, int nr)
{
	struct iovec iov = { &nr, sizeof(nr) };

	return ptrace(PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &iov) < 0 ? -errno : 0;
}

int umem_inject_regs_read(int tid, struct umem_inject_regs *ret_regs)
{
	struct iovec iov = { ret_regs->word, sizeof(ret_regs->word) };
	struct iovec call_iov = { &ret_regs->call_nr, sizeof(ret_regs->call_nr) };

	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov) < 0)
		return -errno;
	/* A 32-bit thread shows 18 words of 4 bytes. */
	if (iov.iov_len != sizeof(struct user_pt_regs))
		return -ENOTSUP;
	if (ptrace(PTRACE_GETREGSET, tid, NT_ARM_SYSTEM_CALL, &call_iov) < 0)
		return -errno;
	return 0;
}

int umem_inject_regs_write(int tid, const struct umem_inject_regs *regs)
{
	struct iovec iov = { (void *)regs->word, sizeof(struct user_pt_regs) };

	if (ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov) < 0)
		return -errno;
	return set_call_nr(tid, regs->call_nr);
}

uint64_t umem_inject_regs_ip(const struct umem_inject_regs *regs)
{
	return const_regs_of(regs)->pc;
}

void umem_inject_regs_set_ip(struct umem_inject_regs *regs, uint64_t ip)
{
	regs_of(regs)->pc = ip;
}

void umem_inject_regs_bare(struct umem_inject_regs *regs)
{
	struct user_pt_regs *r = regs_of(regs);

	for (int i = 9; i < 31; i++)
		r->regs[i] = 0;
	r->sp = 0;
}

long umem_inject_regs_result(const struct umem_inject_regs *regs)
{
	return (long)const_regs_of(regs)->regs[0];
}

static void set_call(struct umem_inject_regs *regs, long nr, const uint64_t args[6])
{
	struct user_pt_regs *r = regs_of(regs);

	for (int i = 0; i < 6; i++)
		r->regs[i] = args[i];
	r->regs[8] = (uint64_t)nr;
}

void umem_inject_regs_call(const struct umem_inject_regs *saved, uint64_t insn, long nr,
	const uint64_t args[6], struct umem_inject_regs *ret_regs)
{
	struct user_pt_regs *r = regs_of(ret_regs);

	*ret_regs = *saved;
	set_call(ret_regs, nr, args);
	r->pc = insn;
	r->pstate &= ~(PSTATE_STEP | PSTATE_BRANCH);
	ret_regs->call_nr = -1;
}

/* An interrupted call and plain code look the same here. */
bool umem_inject_regs_user(const struct umem_inject_regs *regs)
{
	return true;
}

/* x0 alone does not tell whether the kernel just put the EINTR there. */
bool umem_inject_regs_rewait(struct umem_inject_regs *regs)
{
	return false;
}

void umem_inject_mend(int tid)
{
}

/* Waits that answer EINTR to any disturbance, which is not mended here. */
bool umem_inject_call_restarts_late(long nr, const uint64_t args[6])
{
	switch (nr) {
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
	case SYS_io_uring_enter:
		return true;
	}
	return false;
}

bool umem_inject_enters_itself(int tid, const struct umem_inject_regs *regs)
{
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, tid, const_regs_of(regs)->pc, 0);
	/* Any immediate: the kernel does not look at it. */
	return errno == 0 && ((uint32_t)word & 0xffe0001fu) == SVC_0;
}

int umem_inject_take_entry(int tid, struct umem_inject_regs *saved, long nr,
	const uint64_t args[6])
{
	struct umem_inject_regs now;
	int r = umem_inject_regs_read(tid, &now);

	if (r < 0)
		return r;
	regs_of(saved)->regs[8] = regs_of(&now)->regs[8];
	set_call(&now, nr, args);
	/* What the kernel shows in x7 is its own mark; it keeps the real one. */
	now.call_nr = (int)nr;
	return umem_inject_regs_write(tid, &now);
}
