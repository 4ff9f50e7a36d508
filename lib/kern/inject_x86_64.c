// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Injection on x86-64.
 *
 * The kernel decides on the restart of an interrupted system call after our
 * stop, from two registers that a tracer sees and may set: rax holds
 * -ERESTART..., orig_rax the number of the call, or -1 outside of one
 * (arch_do_signal_or_restart, arch/x86/kernel/signal.c). Saved and written back
 * they make the decision happen as if nothing had been. In between orig_rax is
 * -1, so that no borrowed register is taken for a call to restart.
 */
#include "lib/kern/inject_arch.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "lib/base/attr.h"

/* include/linux/errno.h, never seen by programs: restart unless a handler runs. */
#define ERESTARTNOHAND 514

/* The trap flag: a program that steps itself must not step our call. */
#define FLAG_TRAP 0x100u

/* Words of the registers of 32-bit code (struct user_regs_struct32 of the kernel). */
#define REGS_32_BYTES   68
#define REG_32_EAX      6
#define REG_32_ORIG_EAX 11

/* IORING_ENTER_EXT_ARG: the fifth argument may hold a timeout. */
#define ENTER_EXT_ARG 8u

_Static_assert(sizeof(struct user_regs_struct) <= sizeof(uint64_t) * UMEM_INJECT_REG_WORDS,
	"struct umem_inject_regs");

const unsigned char umem_inject_insn[] = { 0x0f, 0x05 };
const size_t umem_inject_insn_bytes = sizeof(umem_inject_insn);
const size_t umem_inject_insn_align = 1;

const uint32_t umem_inject_regsets[] = { NT_PRFPREG, NT_X86_XSTATE };
const size_t umem_inject_n_regsets = UMEM_ARRAY_LEN(umem_inject_regsets);

static struct user_regs_struct *regs_of(struct umem_inject_regs *regs)
{
	return (struct user_regs_struct *)regs->word;
}

static const struct user_regs_struct *const_regs_of(const struct umem_inject_regs *regs)
{
	return (const struct user_regs_struct *)regs->word;
}

int umem_inject_regs_read(int tid, struct umem_inject_regs *ret_regs)
{
	struct iovec iov = { ret_regs->word, sizeof(ret_regs->word) };

	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov) < 0)
		return -errno;
	/* A thread in a 32-bit code segment shows 17 words of 4 bytes. */
	if (iov.iov_len != sizeof(struct user_regs_struct))
		return -ENOTSUP;
	ret_regs->call_nr = -1;
	return 0;
}

int umem_inject_regs_write(int tid, const struct umem_inject_regs *regs)
{
	struct iovec iov = { (void *)regs->word, sizeof(struct user_regs_struct) };

	return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov) < 0 ? -errno : 0;
}

uint64_t umem_inject_regs_ip(const struct umem_inject_regs *regs)
{
	return const_regs_of(regs)->rip;
}

void umem_inject_regs_set_ip(struct umem_inject_regs *regs, uint64_t ip)
{
	regs_of(regs)->rip = ip;
}

void umem_inject_regs_bare(struct umem_inject_regs *regs)
{
	struct user_regs_struct *r = regs_of(regs);

	/* The code behind a call may take its stack from rbp. */
	r->rsp = r->rbp = r->rbx = r->r12 = r->r13 = r->r14 = r->r15 = 0;
}

long umem_inject_regs_result(const struct umem_inject_regs *regs)
{
	return (long)const_regs_of(regs)->rax;
}

void umem_inject_regs_call(const struct umem_inject_regs *saved, uint64_t insn, long nr,
	const uint64_t args[6], struct umem_inject_regs *ret_regs)
{
	struct user_regs_struct *r = regs_of(ret_regs);

	*ret_regs = *saved;
	r->rip = insn;
	r->rax = (unsigned long)nr;
	r->orig_rax = (unsigned long)-1;
	r->rdi = args[0];
	r->rsi = args[1];
	r->rdx = args[2];
	r->r10 = args[3];
	r->r8 = args[4];
	r->r9 = args[5];
	r->eflags &= ~(unsigned long)FLAG_TRAP;
}

bool umem_inject_regs_user(const struct umem_inject_regs *regs)
{
	return (long)const_regs_of(regs)->orig_rax < 0;
}

/* Calls that say EINTR whenever they are disturbed, having done nothing. */
static bool says_eintr(long nr)
{
	switch (nr) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
	case SYS_io_uring_enter:
	/* These when the socket has a timeout; nothing was transferred then. */
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect:
	case SYS_read:
	case SYS_readv:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_write:
	case SYS_writev:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_sendmmsg:
	case SYS_sendfile:
	case SYS_splice:
		return true;
	}
	return false;
}

bool umem_inject_regs_rewait(struct umem_inject_regs *regs)
{
	struct user_regs_struct *r = regs_of(regs);

	if ((long)r->rax != -EINTR || !says_eintr((long)r->orig_rax))
		return false;
	r->rax = (unsigned long)-ERESTARTNOHAND;
	return true;
}

/* The same calls for 32-bit code, by the numbers of asm/unistd_32.h. */
static bool says_eintr_32(uint32_t nr)
{
	static const uint16_t numbers[] = {
		3 /* read */, 4 /* write */, 102 /* socketcall */, 117 /* ipc */, 145 /* readv */,
		146 /* writev */, 177 /* rt_sigtimedwait */, 187 /* sendfile */,
		239 /* sendfile64 */, 247 /* io_getevents */, 256 /* epoll_wait */,
		313 /* splice */, 319 /* epoll_pwait */, 337 /* recvmmsg */, 345 /* sendmmsg */,
		362 /* connect */, 364 /* accept4 */, 369 /* sendto */, 370 /* sendmsg */,
		371 /* recvfrom */, 372 /* recvmsg */, 417 /* recvmmsg_time64 */,
		420 /* semtimedop_time64 */, 421 /* rt_sigtimedwait_time64 */,
		426 /* io_uring_enter */, 441 /* epoll_pwait2 */,
	};

	for (size_t i = 0; i < UMEM_ARRAY_LEN(numbers); i++) {
		if (nr == numbers[i])
			return true;
	}
	return false;
}

void umem_inject_mend(int tid)
{
	union {
		struct umem_inject_regs whole;
		uint32_t half[sizeof(struct umem_inject_regs) / 4];
	} regs;
	struct iovec iov = { &regs, REGS_32_BYTES };
	int r = umem_inject_regs_read(tid, &regs.whole);

	if (r == 0 && umem_inject_regs_rewait(&regs.whole))
		umem_inject_regs_write(tid, &regs.whole);
	if (r != -ENOTSUP || regs.half[REG_32_EAX] != (uint32_t)-EINTR ||
		!says_eintr_32(regs.half[REG_32_ORIG_EAX]))
		return;
	regs.half[REG_32_EAX] = (uint32_t)-ERESTARTNOHAND;
	ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov);
}

bool umem_inject_call_restarts_late(long nr, const uint64_t args[6])
{
	switch (nr) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return (int)args[3] > 0;
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
		return args[3] != 0;
	case SYS_rt_sigtimedwait:
		return args[2] != 0;
	case SYS_io_getevents:
		return args[4] != 0;
	case SYS_io_uring_enter:
		return args[3] & ENTER_EXT_ARG;
	}
	return false;
}

bool umem_inject_enters_itself(int tid, const struct umem_inject_regs *regs)
{
	return false;
}

int umem_inject_take_entry(int tid, struct umem_inject_regs *saved, long nr,
	const uint64_t args[6])
{
	return -ENOTSUP;
}
