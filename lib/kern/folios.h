/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Large folios that the kernel made for shared memory, as a count. */
#ifndef UMEM_KERN_FOLIOS_H
#define UMEM_KERN_FOLIOS_H

#include <stdint.h>

/**
 * umem_folios_count - how many were made since boot, on the whole machine.
 *
 * A first touch of memfd, tmpfs or shared anonymous memory may be given a folio of more
 * than one page (shmem_enabled, huge=), and MADV_COLLAPSE and khugepaged make them of
 * what is there: all of it is data then, holes included. While this count stands still
 * no hole of shared memory was filled but by the page that was touched. Counted when
 * the folio is allocated. A reading takes some 40 us.
 *
 * Return: 0; -ENODATA when this kernel does not count all of them; -errno of reading
 * /proc/vmstat or /sys/kernel/mm/transparent_hugepage.
 */
int umem_folios_count(uint64_t *ret_count);

#endif
