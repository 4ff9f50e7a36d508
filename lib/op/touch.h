/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Touching pages of a target from outside, so that the kernel has them in its page
 * table again.
 */
#ifndef UMEM_OP_TOUCH_H
#define UMEM_OP_TOUCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/ranges.h"
#include "lib/mem/target.h"

/**
 * struct umem_toucher - a target whose pages are touched.
 * @mem_fd: /proc/PID/mem of the memory that the target has.
 * @served: mappings that a userfaultfd serves: touching one may wait for ever.
 */
struct umem_toucher {
	int mem_fd;
	struct umem_ranges served;
};

/** umem_toucher_init - get ready. Return: 0, UMEM_GONE, -EACCES, -EPERM, -ENOMEM, -EMFILE. */
int umem_toucher_init(struct umem_toucher *toucher, const struct umem_target *target);

/** umem_toucher_deinit - close and free what it owns. */
void umem_toucher_deinit(struct umem_toucher *toucher);

/**
 * umem_touch - read a byte of a page.
 *
 * A page that is swapped comes in; one that is not there would be made: look before.
 * Return: 0; -EFAULT: it cannot be read (not mapped any more, a guard, poison, or it is
 * in @served, and was not tried); UMEM_GONE.
 */
int umem_touch(const struct umem_toucher *toucher, uint64_t addr);

#endif
