/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/PID/smaps: per mapping, what is in memory, what is swapped, and the
 * flags of the kernel's own (VmFlags).
 *
 * Nothing is brought in by reading it, but the kernel walks all page tables of
 * the process, so this is for a look now and then, not for every round. The
 * list is ascending; as with maps, mappings may change while it is read.
 */
#ifndef UMEM_KERN_SMAPS_H
#define UMEM_KERN_SMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define UMEM_SMAP_MAY_WRITE (1u << 0) /* mw: can be made writable */
#define UMEM_SMAP_UFFD      (1u << 1) /* um, uw, ui: a userfaultfd watches it */
#define UMEM_SMAP_SPECIAL   (1u << 2) /* pf, io, mm, de: of a driver or the kernel */
#define UMEM_SMAP_HUGETLB   (1u << 3) /* ht: from the reserved pool */
#define UMEM_SMAP_DROPPABLE (1u << 4) /* dp: the kernel may drop its content */
#define UMEM_SMAP_SHADOW    (1u << 5) /* ss: a shadow stack */
#define UMEM_SMAP_LOCKED    (1u << 6) /* lo: kept in memory by mlock(2) */
#define UMEM_SMAP_WIPED     (1u << 9) /* wf: zeros in a child by fork */
#define UMEM_SMAP_FAULTS    (1u << 7) /* um, ui: touching it may wait for a userfaultfd's reader */
#define UMEM_SMAP_MERGEABLE (1u << 8) /* mg: its pages may be merged with equal ones */

/**
 * struct umem_smap - one mapping.
 * @start, @end: its addresses.
 * @page_size_bytes: KernelPageSize.
 * @resident_bytes: pages that its page table maps, huge pages of the reserved
 *                  pool included, the shared zero page not.
 * @swapped_bytes: pages on a swap device. Of private memory those of this
 *                 page table (marks do not count); of shared memory those of
 *                 the part of the object that is mapped, whoever mapped it.
 * @flags: UMEM_SMAP_*.
 */
struct umem_smap {
	uint64_t start;
	uint64_t end;
	uint64_t page_size_bytes;
	uint64_t resident_bytes;
	uint64_t swapped_bytes;
	uint32_t flags;
};

/** struct umem_smaps - @n mappings at @v, ascending; all zero is empty. */
struct umem_smaps {
	struct umem_smap *v;
	size_t n;
	size_t room;
};

/** umem_smaps_deinit - free what the list owns and make it empty. */
void umem_smaps_deinit(struct umem_smaps *smaps);

/**
 * umem_smaps_read - read the whole list anew.
 * @proc_fd: directory /proc/PID, or that of one of its threads; O_PATH will do.
 *
 * Return: 0 (an empty list when the memory is gone), -ENOENT or -ESRCH when
 * the process is gone, -EACCES, -EPERM, -EBADMSG, -ENOMEM.
 */
int umem_smaps_read(int proc_fd, struct umem_smaps *smaps);

/**
 * umem_smaps_parse - the text of smaps, from any stream; no byte is trusted.
 * @smaps: overwritten; what it held is reused. Empty on failure.
 *
 * Return: 0, -EBADMSG, -ENOMEM, -EIO.
 */
int umem_smaps_parse(FILE *text, struct umem_smaps *smaps);

/** umem_smaps_find - the mapping with exactly these addresses, or NULL. */
const struct umem_smap *umem_smaps_find(const struct umem_smaps *smaps, uint64_t start,
	uint64_t end);

#endif
