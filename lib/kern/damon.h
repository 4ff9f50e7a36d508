/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is DAMON at work on this machine, and for whom? Looking only.
 *
 * DAMON is not used as a source of accesses. Its control files under
 * /sys/kernel/mm/damon/admin have one owner and know of no other
 * (Documentation/admin-guide/mm/damon/usage.rst): kdamonds are made by writing
 * their number, which removes all that were set up before, or fails with EBUSY
 * while one of them runs. A second program can neither add its own beside them
 * nor tell that those which do not run belong to nobody. What it measures are
 * shares of samples of a region, no pages. And it ages pages by the idle bit of
 * their frame (damon_ptep_mkold() sets it and takes the accessed bit), so that
 * while a kdamond runs, idle page tracking misses accesses (lib/kern/pageidle.h).
 */
#ifndef UMEM_KERN_DAMON_H
#define UMEM_KERN_DAMON_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct umem_damon - what is known of it.
 * @has_control: the control files are there (CONFIG_DAMON_SYSFS).
 * @n_kdamonds: kdamonds that somebody has set up through them.
 * @user: who runs: "kdamond 0 (paddr)", a kernel module ("damon_reclaim",
 *	"damon_lru_sort", "damon_stat"), or "" when nobody does.
 * @offered: address spaces that can be monitored, as "vaddr fvaddr paddr"; "" where
 *	nothing is set up that can be asked.
 */
struct umem_damon {
	bool has_control;
	uint64_t n_kdamonds;
	char user[48];
	char offered[48];
};

/**
 * umem_damon_read - look.
 * @sys: "/sys", or what stands in for it; NULL is the former.
 *
 * A kdamond of another owner may start at any time: this is about now.
 * Return: 0, -EACCES; a kernel without DAMON is all zero.
 */
int umem_damon_read(const char *sys, struct umem_damon *ret_damon);

#endif
