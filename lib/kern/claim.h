/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Claims: at most one owner of a job on a process, among all programs of a
 * network namespace. A claim is a name in the abstract namespace of Unix
 * sockets: it leaves no file, and ends with its owner, however that ends.
 */
#ifndef UMEM_KERN_CLAIM_H
#define UMEM_KERN_CLAIM_H

#include <stdint.h>

/**
 * umem_claim - claim a job on a process.
 * @job: a word.
 * @pid, @start_ticks: identity of the process.
 * @ret_fd: the claim; closing it gives it back.
 *
 * It is a courtesy between programs, not a protection: any user can claim.
 * Return: 0, -EADDRINUSE when another one has it, -EMFILE.
 */
int umem_claim(const char *job, int pid, uint64_t start_ticks, int *ret_fd);

#endif
