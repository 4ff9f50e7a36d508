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

#include "lib/kern/maps.h"

/** enum umem_pin_kind - by what memory is pinned. */
enum umem_pin_kind {
	UMEM_PIN_IO_URING, /* a registered buffer: the range is known */
	UMEM_PIN_VFIO,     /* a VFIO, vDPA or iommufd descriptor: the range is not known */
	UMEM_PIN_RDMA,     /* an InfiniBand verbs descriptor: likewise */
	UMEM_PIN_XDP,      /* an AF_XDP socket: likewise */
	UMEM_PIN_UNKNOWN,  /* something pins or may pin, and nothing tells where */
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
 * struct umem_pins_socket - a socket that was asked for its family once.
 * @inode: its number.
 * @xdp: it is one of AF_XDP.
 * @seen: private to pins_socket.c.
 */
struct umem_pins_socket {
	uint64_t inode;
	bool xdp;
	bool seen;
};

/**
 * struct umem_pins - all findings; all zero is empty.
 * @v, @n, @room: the findings, in no order.
 * @vmpin_bytes: VmPin of the process.
 * @explained_bytes: the union of the known ranges in whole pages: the least
 *                   that the kernel counts for them. It counts large pages
 *                   whole and a page twice that is in two rings, so that
 *                   UMEM_PIN_UNKNOWN may be a false alarm, never a miss.
 * @io_uring: the process holds an io_uring.
 * @direct_io: it holds an io_uring or a file opened with O_DIRECT, so that a
 *             read may be on its way into memory at any moment. (A Linux aio
 *             context is seen in the mappings, as "/[aio]".)
 * @sockets, @n_sockets, @sockets_room, @maps: private to pins.c, kept from
 *             read to read.
 */
struct umem_pins {
	struct umem_pin *v;
	size_t n;
	size_t room;
	uint64_t vmpin_bytes;
	uint64_t explained_bytes;
	bool io_uring;
	bool direct_io;
	struct umem_pins_socket *sockets;
	size_t n_sockets;
	size_t sockets_room;
	struct umem_maps maps;
};

/** UMEM_PINS_MAX - findings kept; what is beyond becomes one UMEM_PIN_UNKNOWN. */
#define UMEM_PINS_MAX 65536u

/**
 * umem_pins_read - look for pins now.
 * @proc_fd: directory /proc/PID (O_PATH will do), or a fake tree.
 * @pidfd: pidfd of the process, to ask a socket for its family; or -1 (a fake
 *         tree), then AF_XDP is not found.
 * @pins: overwritten; what it held is reused. A socket is asked once for as
 *        long as it stays open, so keep one @pins a process. Empty on failure.
 *
 * Return: 0, -ESRCH or -ENOENT when the process is gone, -EACCES or -EPERM,
 * -EMFILE, -ENOMEM.
 */
int umem_pins_read(int proc_fd, int pidfd, struct umem_pins *pins);

/** umem_pins_deinit - free what @pins owns and make it empty. */
void umem_pins_deinit(struct umem_pins *pins);

/** umem_pin_kind_name - for people: "io_uring registered buffer", ... */
const char *umem_pin_kind_name(enum umem_pin_kind kind);

/**
 * umem_pins_add - one more finding; the kind decides whether it explains VmPin.
 * @start, @end: where; 0 and UINT64_MAX for somewhere.
 * @what: for people; unprintable bytes are replaced, what is too long is cut.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_pins_add(struct umem_pins *pins, enum umem_pin_kind kind, uint64_t start,
	uint64_t end, const char *what);

/** enum umem_pins_parsed - outcomes of umem_pins_parse_fdinfo(). */
enum umem_pins_parsed {
	UMEM_PINS_PARSED = 0,
	UMEM_PINS_BUSY = 1, /* the ring was in use, the kernel left its buffers out */
};

/**
 * umem_pins_parse_fdinfo - the fdinfo text of an io_uring, its buffers added to
 * @pins; the parser that is fuzzed.
 * @ret_inode: of the ring, which its mappings carry too; 0 before Linux 5.14.
 *
 * Return: an outcome above, -EBADMSG (nothing is added), -ENOMEM.
 */
int umem_pins_parse_fdinfo(const char *text, size_t len_bytes, const char *what,
	struct umem_pins *pins, uint64_t *ret_inode);

/**
 * umem_pins_parse_flags - the open(2) flags in any fdinfo text.
 * Return: true and *@ret_flags; or false.
 */
bool umem_pins_parse_flags(const char *text, size_t len_bytes, uint64_t *ret_flags);

/**
 * umem_pins_parse_vmpin - VmPin in the text of /proc/PID/status.
 * Return: true and *@ret_bytes; false where there is no such line.
 */
bool umem_pins_parse_vmpin(const char *text, size_t len_bytes, uint64_t *ret_bytes);

#endif
