/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What PAGEMAP_SCAN says of the huge page of zeros. */
#ifndef UMEM_MEM_RESIDENCY_ZERO_H
#define UMEM_MEM_RESIDENCY_ZERO_H

#include <stdbool.h>

/**
 * umem_zero_scan_tells - does a scan call the huge page of zeros PFNZERO? Before Linux
 * 6.16 it does not. Tried out on memory of our own, which is never written. Return:
 * false also when it cannot be tried.
 */
bool umem_zero_scan_tells(void);

#endif
