// SPDX-License-Identifier: LGPL-2.1-or-later
/* Probes of what could tell that memory is in use: idle bits, DAMON, PAGEMAP_SCAN. */
#include <errno.h>

#include "lib/kern/damon.h"
#include "lib/kern/feat_probe.h"
#include "lib/kern/lru.h"
#include "lib/kern/pageidle.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

#define N_PAGES 64u

int umem_probe_damon_at(const char *sys, char *detail)
{
	struct umem_damon damon;
	int r = umem_damon_read(sys, &damon);

	if (r < 0)
		return missing(r, detail);
	if (damon.user[0])
		return umem_probe_say(detail, damon.has_control, "in use by another: %s",
			damon.user);
	if (!damon.has_control)
		return missing(-ENOENT, detail);
	if (damon.n_kdamonds)
		return umem_probe_say(detail, 1, "set up by another, not running");
	return umem_probe_say(detail, 1, "not set up");
}

int umem_probe_damon(char *detail)
{
	return umem_probe_damon_at(NULL, detail);
}

/* Frames of the scratch, put on the lists of the reclaimer: else they could not be marked. */
static int frames(struct umem_scratch *s, uint64_t *pfns, char *detail)
{
	size_t n = 0;
	int err = umem_scratch_map(s, N_PAGES * PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!err)
		err = umem_pagemap_open(getpid(), &s->pm);
	if (err)
		return err;
	umem_scratch_touch(s);
	umem_lru_drain();
	err = umem_pagemap_words(s->pm, (uintptr_t)s->at, pfns, N_PAGES, &n);
	if (err)
		return err;
	if (n != N_PAGES)
		return -EIO;
	for (size_t i = 0; i < N_PAGES; i++) {
		if (!(pfns[i] & UMEM_PM_PRESENT))
			return -EAGAIN;
		pfns[i] &= UMEM_PM_PFN_MASK;
		if (!pfns[i])
			return umem_probe_say(detail, -EPERM,
				"frame numbers are hidden: take CAP_SYS_ADMIN");
	}
	return 0;
}

/*
 * Marked, every other page is stored to, and the bits tell which. Between the two
 * the page-table caches are flushed, from which accesses would go unseen.
 */
int umem_probe_page_idle_at(const char *sys, char *detail)
{
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	uint64_t pfns[N_PAGES];
	bool idle[N_PAGES];
	UMEM_FD int fd = -1;
	size_t n_idle = 0, n_missed = 0;
	int err = umem_pageidle_open(sys, &fd);

	if (err)
		return missing(err, detail);
	err = frames(&s, pfns, detail);
	if (!err)
		err = umem_pageidle_mark(fd, pfns, N_PAGES);
	if (!err && (mprotect(s.at, s.len, PROT_NONE) < 0 ||
			    mprotect(s.at, s.len, PROT_READ | PROT_WRITE) < 0))
		err = -errno;
	if (err)
		return err;
	for (size_t i = 0; i < N_PAGES; i += 2)
		*(volatile char *)(s.at + i * PAGE) += 1;
	err = umem_pageidle_read(fd, pfns, N_PAGES, idle);
	if (err)
		return err;
	for (size_t i = 0; i < N_PAGES; i++)
		*(i % 2 ? &n_idle : &n_missed) += idle[i];
	if (n_missed)
		return umem_probe_say(detail, 0, "%zu of %u pages in use read as idle", n_missed,
			N_PAGES / 2);
	if (n_idle < N_PAGES / 4)
		return umem_probe_say(detail, 0, "%zu of %u idle pages read as idle", n_idle,
			N_PAGES / 2);
	return 1;
}

int umem_probe_page_idle(char *detail)
{
	return umem_probe_page_idle_at(NULL, detail);
}

/*
 * A kernel refuses categories that it does not know. One that takes more than this
 * program has names for is told, and no more: what a new bit means is not guessed.
 */
int umem_probe_scan_accessed(char *detail)
{
	const uint64_t named = PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | PAGE_IS_FILE |
		PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | PAGE_IS_HUGE |
		PAGE_IS_SOFT_DIRTY | PAGE_IS_GUARD;
	UMEM_SCRATCH s = UMEM_SCRATCH_NONE;
	uint64_t taken = 0;
	int err = umem_scratch_map(&s, PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!err)
		err = umem_pagemap_open(getpid(), &s.pm);
	for (unsigned bit = 0; bit < 64 && !err; bit++) {
		size_t n = 0;
		int r = umem_scratch_scan(&s, 0, PAGE, false, 1ull << bit, &n);

		if (r == 0)
			taken |= 1ull << bit;
		else if (r != -EINVAL)
			err = r;
	}
	if (err)
		return missing(err, detail);
	if (taken & ~named)
		return umem_probe_say(detail, 0, "categories 0x%llx are new to this program",
			(unsigned long long)(taken & ~named));
	return umem_probe_say(detail, 0, "no category beyond those known here");
}
