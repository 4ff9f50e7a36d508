/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fan out: slices of one piece of work, each in a thread of its own, sharing nothing
 * but what is only read.
 */
#ifndef UMEM_OP_FAN_H
#define UMEM_OP_FAN_H

/** UMEM_FAN_MAX - slices at most. */
#define UMEM_FAN_MAX 4

/**
 * umem_fan_out - call @work for each slice from 0 to @n - 1, at once, and wait for all.
 * @n: 1 to UMEM_FAN_MAX; slice 0 is done by the calling thread. Threads have its
 *	priority. Where none can be started, the caller does the slice as well.
 * @work: returns 0, an outcome or -errno.
 *
 * Return: the result of the first slice that did not return 0, or 0.
 */
int umem_fan_out(unsigned n, int (*work)(void *user, unsigned slice), void *user);

/** umem_fan_width - slices that this machine does at once, at most UMEM_FAN_MAX. */
unsigned umem_fan_width(void);

#endif
