// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Holes of shared objects that were filled again.
 *
 * Theory of operation
 *
 * A page that held data and is a hole now was punched: objects.c sees that. But the
 * hole may be gone before anybody looks. A store to one page of a hole makes a folio of
 * several pages where the file system has large folios (ext4, XFS, shared memory with
 * shmem_enabled), and all of them are data then, of zeros; so does MADV_COLLAPSE:
 *
 *     page            80    81    82    83
 *     armed           data  data  data  data    marks in the page table
 *     punched         hole  hole  hole  hole    the marks stay
 *     store to 80     data  data  data  data    one folio; only 80 is mapped
 *
 * 81 to 83 look as if nothing had happened. What tells is that they are in memory, hold
 * zeros, and did not before.
 *
 * Reading them takes 0.2 us a page, and a target may share a lot that it does not map,
 * so it is done only after something that can fill holes so:
 *
 *   - shared memory: the count of large folios made on this machine moved, which it
 *     hardly ever does unless shared memory is set up to have them. Where it cannot be
 *     read (in a sandbox), each round;
 *   - files: truncate, fallocate or write(2) was told by fanotify. Where that cannot be
 *     had, each round;
 *   - hugetlbfs has no folios of several pages: never.
 *
 * Each object remembers up to which event it was looked at, so that one that could not
 * be (out of memory half-way) is looked at in the next round.
 *
 * What held zeros at the last look and holds zeros now did not change. That is only
 * known from one look to the next: a round without one forgets it, and a page of zeros
 * may be reported once more.
 *
 * A page that was filled, and written back and evicted within the same round, is not
 * found; reading it would bring it in. What a watch assumes says so.
 */
#include "lib/track/refill.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/filecache.h"
#include "lib/kern/filewatch.h"
#include "lib/kern/folios.h"

#define READ_BYTES (64u << 10)

void umem_refill_gate_deinit(struct umem_refill_gate *gate)
{
	if (gate->watching)
		umem_fd_close(gate->watch_fd);
	*gate = (struct umem_refill_gate){ 0 };
}

/* Count the folios, at most once a round. */
static void count_folios(struct umem_refill_gate *gate)
{
	uint64_t now = 0;
	bool known;

	if (gate->counted)
		return;
	known = umem_folios_count(&now) == 0;
	if (!known || !gate->known || now != gate->folios)
		gate->n_moves++;
	gate->counted = true;
	gate->known = known;
	gate->folios = now;
}

void umem_refill_gate_begin(struct umem_refill_gate *gate)
{
	gate->counted = false;
	if (gate->watching && umem_filewatch_take(gate->watch_fd) != 0)
		gate->n_changes++;
}

/* Have changes of the file behind @fd told. Return: 0 or -errno. */
static int watch(struct umem_refill_gate *gate, int fd)
{
	int r = 0;

	if (!gate->watching)
		r = umem_filewatch_open(&gate->watch_fd);
	if (r < 0)
		return r;
	gate->watching = true;
	return umem_filewatch_add(gate->watch_fd, fd);
}

void umem_refill_init(struct umem_refill *refill, struct umem_refill_gate *gate, int fd)
{
	struct statfs fs;

	*refill = (struct umem_refill){ 0 };
	if (fstatfs(fd, &fs) < 0)
		return;
	if (fs.f_type == HUGETLBFS_MAGIC) {
		refill->how = UMEM_REFILL_NEVER;
	} else if (fs.f_type == TMPFS_MAGIC) {
		count_folios(gate);
		refill->how = UMEM_REFILL_BY_FOLIOS;
		refill->seen = gate->n_moves;
	} else if (watch(gate, fd) == 0) {
		refill->how = UMEM_REFILL_BY_CHANGES;
		refill->seen = gate->n_changes;
	}
}

void umem_refill_deinit(struct umem_refill *refill)
{
	umem_pageset_deinit(&refill->zeros);
}

int umem_refill_zeros(int fd, uint64_t start, uint64_t end, struct umem_pageset *zeros)
{
	static const char zero[UMEM_PAGE_BYTES];
	char data[READ_BYTES];

	while (start < end) {
		ssize_t n = pread(fd, data, umem_min_u64(end - start, sizeof(data)), (off_t)start);
		size_t at = 0;
		int r = 0;

		if (n < 0 && errno == EINTR)
			continue;
		/* Cut off meanwhile: the next round finds that. */
		if (n <= 0)
			return n < 0 ? -errno : 0;
		/* Less than a page is the last one of the file. */
		do {
			size_t len = umem_min_u64((size_t)n - at, sizeof(zero));

			if (memcmp(data + at, zero, len) == 0)
				r = umem_pageset_add(zeros, start + at, start + at + sizeof(zero));
			at += sizeof(zero);
		} while (r == 0 && at + sizeof(zero) <= (size_t)n);
		if (r < 0)
			return r;
		start += at;
	}
	return 0;
}

/* umem_refill_zeros() of a range of which some pages may not be in memory: by halves. */
static int find_zeros(int fd, uint64_t start, uint64_t end, struct umem_pageset *zeros)
{
	struct umem_cachestat stat;
	uint64_t half;
	int r = umem_filecache_stat(fd, start, end, &stat);

	/* Before Linux 6.5 there is no telling: everything is read, and brought in. */
	if (r == -ENOSYS)
		return umem_refill_zeros(fd, start, end, zeros);
	if (r < 0 || stat.nr_cache == 0)
		return r;
	if (stat.nr_cache >= (end - start) / UMEM_PAGE_BYTES)
		return umem_refill_zeros(fd, start, end, zeros);
	half = start + umem_align_down((end - start) / 2, UMEM_PAGE_BYTES);
	if (half == start)
		return 0;
	r = find_zeros(fd, start, half, zeros);
	return r < 0 ? r : find_zeros(fd, half, end, zeros);
}

/* Up to which event there is something to look for; @refill->seen if there is nothing. */
static uint64_t due(const struct umem_refill *refill, struct umem_refill_gate *gate)
{
	switch (refill->how) {
	case UMEM_REFILL_NEVER:
		return refill->seen;
	case UMEM_REFILL_BY_FOLIOS:
		count_folios(gate);
		return gate->n_moves;
	case UMEM_REFILL_BY_CHANGES:
		return gate->n_changes;
	case UMEM_REFILL_UNTOLD:
		break;
	}
	return refill->seen + 1;
}

int umem_refill_look(struct umem_refill *refill, struct umem_refill_gate *gate, int fd,
	struct umem_pageset *kept, struct umem_pageset *filled)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset zeros = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset now = { 0 };
	struct umem_pageset_iter it;
	struct umem_range run;
	uint64_t seen;
	int r;

	/* Nobody can fill what nobody could have punched. */
	if (umem_pageset_empty(kept)) {
		umem_pageset_clear(&refill->zeros);
		return 0;
	}
	seen = due(refill, gate);
	if (seen == refill->seen) {
		umem_pageset_clear(&refill->zeros);
		return 0;
	}
	r = umem_pageset_walk(kept, &it);
	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&it, &run))
		r = find_zeros(fd, run.start, run.end, &zeros);
	umem_pageset_walk_end(&it);
	if (r == 0)
		r = umem_pageset_union(&now, &zeros);
	if (r == 0)
		r = umem_pageset_subtract(&zeros, &refill->zeros);
	if (r == 0)
		r = umem_pageset_union(filled, &zeros);
	if (r < 0)
		return r;
	umem_pageset_clear(&refill->zeros);
	r = umem_pageset_union(&refill->zeros, &now);
	refill->seen = r == 0 ? seen : refill->seen;
	return r;
}
