/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who can write a process's memory without a page fault.
 *
 * Pages that are pinned for DMA, and pages that the kernel itself shares with
 * the process, change with no trace in the page tables. The kernel has no list
 * of them; this collects what /proc shows: buffers registered with io_uring
 * (by address), devices of which only the presence is known (VFIO, iommufd,
 * RDMA, AF_XDP), VmPin that nobody explains, and whether direct I/O may be in
 * flight. Everything is read from a directory descriptor of /proc/PID, or of a
 * fake tree in tests; its text is treated as hostile.
 */
#ifndef UMEM_KERN_PINS_H
#define UMEM_KERN_PINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

/** enum umem_pin_kind - by what memory is pinned. */
enum umem_pin_kind {
	UMEM_PIN_IO_URING, /* a registered buffer: the range is known */
	UMEM_PIN_VFIO,     /* a VFIO or iommufd descriptor: the range is not known */
	UMEM_PIN_RDMA,     /* an InfiniBand verbs descriptor: likewise */
	UMEM_PIN_XDP,      /* an AF_XDP socket: likewise */
	UMEM_PIN_UNKNOWN,  /* VmPin is larger than what is explained */
	UMEM_N_PIN_KINDS,
};

/**
 * struct umem_pin - one finding.
 * @kind: by what.
 * @range: where; 0 to UINT64_MAX when it is somewhere in the target.
 * @what: which descriptor or how much, for people.
 */
struct umem_pin {
	enum umem_pin_kind kind;
	struct umem_range range;
	char what[96];
};

/**
 * struct umem_pins - all findings; all zero is empty.
 * @v, @n, @room: the findings, in no order.
 * @vmpin_bytes: VmPin of the process.
 * @explained_bytes: pages of known ranges, rounded to whole pages.
 * @io_uring: the process holds an io_uring.
 * @direct_io: it holds a file opened with O_DIRECT or an aio context or an io_uring, so
 *             that a read may be on its way into memory at any moment.
 */
struct umem_pins {
	struct umem_pin *v;
	size_t n;
	size_t room;
	uint64_t vmpin_bytes;
	uint64_t explained_bytes;
	bool io_uring;
	bool direct_io;
};

/**
 * umem_pins_read - look for pins now.
 * @proc_fd: directory /proc/PID (O_PATH will do), or a fake tree.
 * @pidfd: pidfd of the process, to ask a socket for its family; or -1 (a fake tree).
 * @pins: overwritten; what it held is reused.
 *
 * Return: 0, -ESRCH or -ENOENT when the process is gone, -EACCES or -EPERM, -ENOMEM.
 */
int umem_pins_read(int proc_fd, int pidfd, struct umem_pins *pins);

/** umem_pins_deinit - free what @pins owns and make it empty. */
void umem_pins_deinit(struct umem_pins *pins);

/** umem_pin_kind_name - for people: "io_uring registered buffer", ... */
const char *umem_pin_kind_name(enum umem_pin_kind kind);

/**
 * umem_pins_parse_fdinfo - the fdinfo text of an io_uring, added to @pins;
 * the parser that is fuzzed.
 *
 * Return: 0, -EBADMSG, -ENOMEM.
 */
int umem_pins_parse_fdinfo(const char *text, size_t len_bytes, const char *what,
	struct umem_pins *pins);

#endif
