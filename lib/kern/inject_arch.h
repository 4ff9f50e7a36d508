/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What injection and freezing need to know of a processor: private to inject*.c
 * and freeze*.c.
 *
 * One file of inject_<cpu>.c is linked. All functions but the pure ones act on
 * a thread in a ptrace stop of the calling process and return 0 or -errno
 * (-ESRCH: the thread was killed). They are safe in a child of a raw clone.
 */
#ifndef UMEM_KERN_INJECT_ARCH_H
#define UMEM_KERN_INJECT_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** UMEM_INJECT_REG_WORDS - room for the general registers of any processor here. */
#define UMEM_INJECT_REG_WORDS 36

/**
 * struct umem_inject_regs - the general registers of a stopped thread.
 * @word: in the layout of the regset NT_PRSTATUS.
 * @call_nr: where the kernel keeps the number of the system call apart from
 *           them (arm64), that number; -1 outside of a call.
 */
struct umem_inject_regs {
	uint64_t word[UMEM_INJECT_REG_WORDS];
	int call_nr;
};

/** umem_inject_insn - the bytes of the instruction that enters the kernel. */
extern const unsigned char umem_inject_insn[];
/** umem_inject_insn_bytes - how many they are; it is aligned to @umem_inject_insn_align. */
extern const size_t umem_inject_insn_bytes;
extern const size_t umem_inject_insn_align;

/** umem_inject_regsets - register sets beside NT_PRSTATUS that a core file has. */
extern const uint32_t umem_inject_regsets[];
/** umem_inject_n_regsets - how many they are, not more than 6. */
extern const size_t umem_inject_n_regsets;

/** umem_inject_regs_read - Return: 0, -ENOTSUP (not a thread of our word size), -errno. */
int umem_inject_regs_read(int tid, struct umem_inject_regs *ret_regs);

/** umem_inject_regs_write - make these the thread's registers. */
int umem_inject_regs_write(int tid, const struct umem_inject_regs *regs);

/** umem_inject_regs_ip - address of the next instruction. */
uint64_t umem_inject_regs_ip(const struct umem_inject_regs *regs);

/** umem_inject_regs_set_ip - go on elsewhere. */
void umem_inject_regs_set_ip(struct umem_inject_regs *regs, uint64_t ip);

/**
 * umem_inject_regs_bare - take the stack and all pointers from registers of
 * umem_inject_regs_call(): whoever ran on with them would not get far.
 */
void umem_inject_regs_bare(struct umem_inject_regs *regs);

/** umem_inject_regs_result - what the call returned that a thread just left. */
long umem_inject_regs_result(const struct umem_inject_regs *regs);

/**
 * umem_inject_regs_call - registers that make a system call.
 * @saved: what the thread had; everything the call does not need stays.
 * @insn: address of an instruction that enters the kernel.
 */
void umem_inject_regs_call(const struct umem_inject_regs *saved, uint64_t insn, long nr,
	const uint64_t args[6], struct umem_inject_regs *ret_regs);

/** umem_inject_regs_user - was the thread certainly stopped outside of a system call? */
bool umem_inject_regs_user(const struct umem_inject_regs *regs);

/**
 * umem_inject_regs_rewait - let an interrupted wait go on.
 *
 * Some calls answer EINTR whenever a thread is stopped, even if no handler ran
 * (signal(7), "Interruption of system calls and library functions by stop
 * signals"). This turns that answer into the kernel's own "restart unless a
 * handler runs". Return: whether @regs was changed.
 */
bool umem_inject_regs_rewait(struct umem_inject_regs *regs);

/**
 * umem_inject_mend - umem_inject_regs_rewait() for a thread, also in 32-bit code.
 */
void umem_inject_mend(int tid);

/**
 * umem_inject_call_restarts_late - would a thread waiting in call @nr with
 * @args notice that it was stopped, by a timeout that starts anew or an EINTR?
 */
bool umem_inject_call_restarts_late(long nr, const uint64_t args[6]);

/**
 * umem_inject_enters_itself - will the thread, as it is, make a system call at once?
 *
 * Where the kernel decides on a restart before it lets us see the thread
 * (arm64), the first step must borrow that very call; see inject_aarch64.c.
 * Return: false on processors that need nothing of the kind.
 */
bool umem_inject_enters_itself(int tid, const struct umem_inject_regs *regs);

/**
 * umem_inject_take_entry - at a system call entry stop of a thread that
 * entered by itself: note how it entered in @saved, run another call instead.
 */
int umem_inject_take_entry(int tid, struct umem_inject_regs *saved, long nr,
	const uint64_t args[6]);

#endif
