/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Was any of these files changed by a call: truncated, punched, written?
 *
 * Stores through a mapping do not count. One owner; no thread of its own.
 */
#ifndef UMEM_KERN_FILEWATCH_H
#define UMEM_KERN_FILEWATCH_H

#include <sys/fanotify.h>

/** UMEM_FILEWATCH_FLAGS - of fanotify_init(2), for who allows nothing else. */
#define UMEM_FILEWATCH_FLAGS (FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK | FAN_CLOEXEC)

/**
 * umem_filewatch_open - a watch over no file yet.
 *
 * Return: 0 with a descriptor in @ret_watch_fd, to be closed by the caller; -ENOSYS,
 * -EMFILE (128 a user, as a rule), -EPERM (before Linux 5.13, without privileges).
 */
int umem_filewatch_open(int *ret_watch_fd);

/**
 * umem_filewatch_add - watch the file behind @fd, whatever path or name it has or had.
 * @fd: open for reading. It may be closed; the file stays watched.
 *
 * Memory without a name (memfd, shared anonymous) can be added, and says nothing when
 * it is punched or written (tests/kernel/filewatch).
 *
 * Return: 0, or -errno where the file system cannot tell (-ENODEV, -EOPNOTSUPP,
 * -EXDEV), or the user watches too much (-ENOSPC).
 */
int umem_filewatch_add(int watch_fd, int fd);

/**
 * umem_filewatch_take - has anything happened since the last call?
 *
 * What a call changes is told when it is done, before it returns.
 *
 * Return: 1 for yes, or when too much happened to be told apart; 0; -errno of read(2).
 */
int umem_filewatch_take(int watch_fd);

#endif
