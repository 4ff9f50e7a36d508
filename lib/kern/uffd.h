/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * userfaultfd(2): the hand-shake and the ioctls, one function each.
 *
 * The descriptor may belong to another process's memory; every call acts on
 * the memory that the descriptor was made in, and answers -ESRCH when that is
 * gone. Nothing here keeps state. ioctl_userfaultfd(2) is the source.
 */
#ifndef UMEM_KERN_UFFD_H
#define UMEM_KERN_UFFD_H

#include <stdint.h>

#include "lib/kern/uapi.h"

/**
 * umem_uffd_open - a userfaultfd of our own memory.
 * @flags: O_CLOEXEC | O_NONBLOCK is added; UFFD_USER_MODE_ONLY or 0.
 * @ret_fd: owned by the caller.
 *
 * Return: 0, -EPERM (unprivileged and not user mode only), -ENOSYS, -EMFILE.
 */
int umem_uffd_open(int flags, int *ret_fd);

/**
 * umem_uffd_api - the one hand-shake that a descriptor gets.
 * @features: UFFD_FEATURE_* that are needed.
 * @ret_features: what the kernel has; may be NULL.
 *
 * Return: 0, -EINVAL when a feature is missing (the descriptor is then still
 * fresh) or the hand-shake was made before, -EPERM for EVENT_FORK without
 * CAP_SYS_PTRACE, -ESRCH.
 */
int umem_uffd_api(int fd, uint64_t features, uint64_t *ret_features);

/**
 * umem_uffd_register - watch [@start, @end), whole pages.
 * @mode: UFFDIO_REGISTER_MODE_*.
 *
 * Return: 0, -EBUSY when another userfaultfd has a part of it, -EINVAL for a
 * hole or a kind of memory that cannot be watched in this mode, -ENOMEM (also
 * past vm.max_map_count), -EPERM for a file that may not be written, -ESRCH.
 */
int umem_uffd_register(int fd, uint64_t start, uint64_t end, uint64_t mode);

/** umem_uffd_unregister - stop watching, protection lifted. Return: 0, -EINVAL, -ESRCH. */
int umem_uffd_unregister(int fd, uint64_t start, uint64_t end);

/**
 * umem_uffd_protect - set (@on) or lift write protection on every page.
 *
 * Return: 0, -ENOENT (not registered or a hole), -EAGAIN (an event is unread;
 * try again), -ESRCH.
 */
int umem_uffd_protect(int fd, uint64_t start, uint64_t end, int on);

/**
 * umem_uffd_continue - map the pages that the object behind [@start, @end) holds
 * there already (minor faults). Allocates nothing.
 *
 * Return: 0; -EFAULT: the object holds no page at @start; -EEXIST: it is mapped; -EAGAIN: a part
 * was done, or the mappings are changing; -ENOENT, -ESRCH.
 */
int umem_uffd_continue(int fd, uint64_t start, uint64_t end);

/**
 * umem_uffd_changing - is an event pending, or the change that it tells of under way?
 *
 * While one is, its maker waits (before the change for a discard, behind it for a
 * move or an unmapping) until the event has been read, and umem_uffd_protect()
 * says -EAGAIN. Changes nothing: it is a copy of no bytes, which the kernel
 * refuses for the one reason or for the other.
 *
 * Return: 1 or 0; -errno when it cannot be told.
 */
int umem_uffd_changing(int fd);

/**
 * umem_uffd_read - the next message; faults come before events.
 * Return: 0, -EAGAIN: there is none, -EINVAL before the hand-shake.
 */
int umem_uffd_read(int fd, struct uffd_msg *ret_msg);

/** umem_uffd_wake - let all who wait for a fault in the range try again. Return: 0 or -errno. */
int umem_uffd_wake(int fd, uint64_t start, uint64_t end);

#endif
