/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A target: one process whose memory is being managed.
 *
 * A target comes in by umem_target_attach() (any unmodified process) or by
 * umem_target_adopt() (a program that hands its own userfaultfd over). It owns
 * the descriptors through which its memory is reached. Freeing it lifts every
 * protection and leaves nothing behind. A target belongs to one thread at a
 * time; different targets are independent.
 */
#ifndef UMEMD_TARGET_H
#define UMEMD_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

struct umem_target;

/**
 * struct umem_attach_options - how to attach.
 * @size: sizeof(struct umem_attach_options), for later growth.
 * @deadline_ns: give up when no thread of the target could be stopped within
 *               this time; 0 means one second.
 * @feature_override: features to force on or off, "-procmap_query,+soft_dirty";
 *               NULL for none. For tests and bug reports.
 */
struct umem_attach_options {
	size_t size;
	uint64_t deadline_ns;
	const char *feature_override;
};

/**
 * umem_target_attach - attach to a running process that knows nothing of us.
 * @pid: process id.
 * @options: NULL for defaults.
 * @ret_target: freed with umem_target_free().
 * @note: what went wrong, for people; may be NULL.
 *
 * One thread of the target is stopped for well under a millisecond while
 * userfaultfd(2) is called in it; its descriptor is fetched and closed there.
 *
 * Return: 0; UMEM_GONE: no such process, or it ended; -EPERM, -EACCES: not
 * permitted; -EBUSY: traced by another process; -ETIMEDOUT: no thread could be
 * stopped; -ENOTSUP: a kernel thread, or a 32-bit process; -EINVAL: ourselves,
 * the init process, or a thread's id; -ENOSYS, -ENOTTY: the kernel lacks a
 * feature, named in @note; -ENOMEM, -EMFILE.
 */
UMEM_API int umem_target_attach(int pid, const struct umem_attach_options *options,
	struct umem_target **ret_target, struct umem_note *note);

/**
 * umem_target_open - a target for looking only: residency, paging out and back.
 * The process is not stopped, so that any will do, also the init process and
 * ourselves. Arguments and codes as umem_target_attach().
 */
UMEM_API int umem_target_open(int pid, const struct umem_attach_options *options,
	struct umem_target **ret_target, struct umem_note *note);

/**
 * umem_target_adopt - take over a userfaultfd that a program made for itself.
 * @pid: the process whose memory it is.
 * @uffd: non-blocking userfaultfd after its UFFDIO_API hand-shake with
 *        UFFD_FEATURE_WP_ASYNC; owned by the target when this succeeds, and
 *        left to the caller when it fails.
 * @ranges: what to manage; page-aligned, any order, may not overlap.
 * @n_ranges: at least 1.
 *
 * Return: as umem_target_attach(); -EBADF or -EINVAL when @uffd is not a
 * userfaultfd of @pid's memory in asynchronous write-protect mode, or a range
 * is empty, unaligned, overlapping or not mapped.
 */
UMEM_API int umem_target_adopt(int pid, int uffd, const struct umem_range *ranges,
	size_t n_ranges, const struct umem_attach_options *options,
	struct umem_target **ret_target, struct umem_note *note);

/**
 * umem_target_free - detach and free; NULL is fine.
 *
 * Lifts protection everywhere and closes every descriptor. Never blocks on the
 * target. Return: NULL.
 */
UMEM_API struct umem_target *umem_target_free(struct umem_target *target);

/** umem_target_pid - its process id. */
UMEM_API int umem_target_pid(const struct umem_target *target);

/** umem_target_pidfd - a pidfd to poll for its end; owned by the target. */
UMEM_API int umem_target_pidfd(const struct umem_target *target);

/** umem_target_stop_ns - how long attaching stopped it; 0 after umem_target_adopt(). */
UMEM_API uint64_t umem_target_stop_ns(const struct umem_target *target);

#endif
