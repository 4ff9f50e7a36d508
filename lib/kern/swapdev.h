/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The machine's swap areas, from /proc/swaps.
 */
#ifndef UMEM_KERN_SWAPDEV_H
#define UMEM_KERN_SWAPDEV_H

#include <stdbool.h>
#include <stddef.h>

/** umem_swap_active - is any swap area in use? True when it cannot be told. */
bool umem_swap_active(void);

/** umem_swap_count - areas in the text of /proc/swaps. */
size_t umem_swap_count(const char *text, size_t len_bytes);

#endif
