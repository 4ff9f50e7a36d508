/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes of another process: process_vm_readv(2), else /proc/PID/mem.
 *
 * Reading a page that is missing in a range which a userfaultfd watches waits
 * for whoever serves it: never read from the thread that serves. Reading a
 * swapped page brings it in. No state beyond the descriptor.
 */
#ifndef UMEM_KERN_PROCMEM_H
#define UMEM_KERN_PROCMEM_H

#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/ranges.h"

/** enum umem_procmem_method - which interface to use; AUTO tries both. */
enum umem_procmem_method {
	UMEM_PROCMEM_AUTO,
	UMEM_PROCMEM_READV,
	UMEM_PROCMEM_MEM,
};

/**
 * umem_procmem_open - /proc/@pid/mem for reading; it stays with the memory it
 * was opened on. Return: 0, -ENOENT, -EACCES, -EPERM, -EMFILE.
 */
int umem_procmem_open(int pid, int *ret_fd);

/**
 * umem_procmem_read - read ranges of memory one behind the other into a buffer.
 * @pid: whose. After an exec, or when the number was given anew, READV and AUTO
 *       read other memory: look at a pidfd and at @mem_fd's maps afterwards.
 * @mem_fd: of umem_procmem_open(), or -1. AUTO asks it for what the first
 *          refuses: it reads memory without PROT_READ too.
 * @runs, @n_runs: what to read, in any order, of any alignment.
 * @buf: room for the sum of their lengths.
 * @holes: gets the addresses that could not be read (nothing mapped there, a
 *         guard page, poison, secret memory, past the end of a file), in whole
 *         pages within the run; their bytes in @buf are 0.
 *
 * Return: 0, also with holes; -ESRCH when the process or the memory is gone,
 * -EPERM, -EACCES, -ENOSYS (READV), -ENOMEM, -EBADF (MEM without @mem_fd).
 */
int umem_procmem_read(int pid, int mem_fd, enum umem_procmem_method method,
	const struct umem_range *runs, size_t n_runs, void *buf, struct umem_ranges *holes);

#endif
