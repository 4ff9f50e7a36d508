/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stopping all threads of processes, and letting them go exactly.
 *
 * The threads are held by a helper process of ours (their tracer), which has no
 * memory but the caller's. When it or the caller dies, by whatever means, the
 * kernel lets all threads go as they were. See freeze.c for the theory of
 * operation. An object serves one caller at a time, from any of its threads.
 */
#ifndef UMEM_KERN_FREEZE_H
#define UMEM_KERN_FREEZE_H

#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"

/** struct umem_freeze - opaque. */
struct umem_freeze;

/**
 * struct umem_freeze_process - whom to stop.
 * @pid: process id (of the thread group), not our own.
 * @pidfd: a pidfd of it that the caller checked, so that a reused id is noticed;
 *         it must stay open until the threads are let go.
 * @except_tid: a thread that is left running, or 0.
 */
struct umem_freeze_process {
	int pid;
	int pidfd;
	int except_tid;
};

/**
 * enum umem_freeze_worker - threads of the kernel within a program. They run
 * none of its code, but they read and write its memory. They are not stopped: what
 * they do would be broken off, and the program would see that.
 * @UMEM_FREEZE_WORKER_IO: for an io_uring.
 * @UMEM_FREEZE_WORKER_OTHER: for another device of the kernel, as vhost.
 */
enum umem_freeze_worker {
	UMEM_FREEZE_WORKER_IO,
	UMEM_FREEZE_WORKER_OTHER,
	UMEM_FREEZE_N_WORKERS,
};

/** umem_freeze_worker_name - what such a thread is, in words. */
const char *umem_freeze_worker_name(enum umem_freeze_worker worker);

/**
 * struct umem_freeze_count - the threads of a stopped process.
 * @n_stopped: held.
 * @n_workers: by kind: not held, and maybe at work.
 * @worker_tid: one of those, or 0.
 */
struct umem_freeze_count {
	size_t n_stopped;
	size_t n_workers[UMEM_FREEZE_N_WORKERS];
	int worker_tid;
};

/**
 * struct umem_frozen_note - something known of a thread, as a note of a core file.
 * @type: NT_PRSTATUS (struct elf_prstatus), NT_FPREGSET, NT_X86_XSTATE (x86),
 *        NT_ARM_* (arm64), NT_SIGINFO (siginfo_t, of a signal that it is about
 *        to take).
 * @len_bytes, @bytes: the payload.
 */
struct umem_frozen_note {
	uint32_t type;
	uint32_t len_bytes;
	const void *bytes;
};

/**
 * struct umem_frozen_thread - a thread that is held.
 * @tid: its id.
 * @name: as pthread_setname_np(3) set it; NUL-terminated.
 * @word_bytes: 8, or 4 where it runs 32-bit code; then NT_PRSTATUS has the
 *              layout of the 32-bit architecture.
 * @notes, @n_notes: NT_PRSTATUS first. Registers are what the thread goes on
 *                   with: in an interrupted system call, the call's number and
 *                   the kernel's restart code.
 */
struct umem_frozen_thread {
	int tid;
	char name[16];
	unsigned word_bytes;
	const struct umem_frozen_note *notes;
	size_t n_notes;
};

/** umem_freeze_new - Return: 0, -ENOMEM. */
int umem_freeze_new(struct umem_freeze **ret_freeze);

/** umem_freeze_free - let all go, then free; NULL is fine. Return: NULL. */
struct umem_freeze *umem_freeze_free(struct umem_freeze *freeze);

UMEM_DEFINE_CLEANUP(struct umem_freeze, umem_freeze_free)

/**
 * umem_freeze_stop - stop all threads of all processes.
 * @freeze: that holds none.
 * @v, @n: the processes, each once; copied.
 * @deadline_ns: give up when they could not be stopped within this time.
 * @ret_stop_ns: from the first request to stop until all stood; may be NULL.
 * @note: says which thread was in the way, and why.
 *
 * A thread that waits in the kernel where no signal reaches it (state D: the
 * parent of a vfork, a dead file server, a page fault of the kernel itself that
 * a userfaultfd has not served) stands only when that wait is over, and all
 * others stand as long: keep the deadline short and repeat. Who serves such
 * faults must not be the caller of this.
 *
 * Return: 0; UMEM_GONE when one of them exited or replaced its memory by exec;
 * -EBUSY traced already; -EPERM not permitted; -ETIMEDOUT; -ENOTSUP a kernel
 * thread; -EINVAL our own process, or a @freeze that holds threads; -EMFILE,
 * -ENOMEM, -EAGAIN. If not 0, all are let go as they were, see
 * umem_freeze_failed().
 */
int umem_freeze_stop(struct umem_freeze *freeze, const struct umem_freeze_process *v, size_t n,
	uint64_t deadline_ns, uint64_t *ret_stop_ns, struct umem_note *note);

/**
 * umem_freeze_more - stop also what appeared since: a thread that was left out may
 * have made others before it was stopped in another way.
 *
 * Return: as umem_freeze_stop(), but if not 0, those that stood stand still; -EIO
 * the helper died.
 */
int umem_freeze_more(struct umem_freeze *freeze, uint64_t deadline_ns, struct umem_note *note);

/** umem_freeze_failed - index of the process that the last failed stop was about. */
size_t umem_freeze_failed(const struct umem_freeze *freeze);

/** umem_freeze_count - how many threads of process @process are held, and are not. */
void umem_freeze_count(const struct umem_freeze *freeze, size_t process,
	struct umem_freeze_count *ret_count);

/** umem_freeze_threads_cb - one thread; what it points to is valid during the call. */
typedef int umem_freeze_threads_cb(void *user, const struct umem_frozen_thread *thread);

/**
 * umem_freeze_threads - what is known of the threads that are held.
 * @process: index of the process, as given to umem_freeze_stop().
 * @cb: called for each thread, the leader first; other than 0 ends it.
 *
 * Costs about 10 us a thread, within the stop. A thread that was killed
 * meanwhile is left out.
 *
 * Return: 0, what @cb returned, -EINVAL nothing is held, -EIO the helper died.
 */
int umem_freeze_threads(struct umem_freeze *freeze, size_t process, umem_freeze_threads_cb *cb,
	void *user);

/**
 * umem_freeze_go - let all go exactly as they were; nothing if none is held.
 * @ret_stopped_ns: from the first request to stop until the last was let go; 0
 *                  if none was held. May be NULL.
 *
 * Return: 0, or UMEM_AGAIN when the helper was killed meanwhile: the threads have
 * been running since, and what was read is not of one moment.
 */
int umem_freeze_go(struct umem_freeze *freeze, uint64_t *ret_stopped_ns);

#endif
