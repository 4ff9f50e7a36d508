// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Accesses by idle page tracking.
 *
 * Theory of operation
 *
 * The kernel's bits belong to page frames, so that a page is followed through the
 * frame it is in:
 *
 *     marked   pages of the last look, in order of their addresses
 *     frames   [ f0 f1 f2 ... ]  the frame of each then; 0 where nothing was marked
 *
 *     look     pagemap words -> frames now -> bits of these frames
 *              same frame as then, and its bit still set:  idle
 *              everything else:                            accessed
 *              frames whose bit is not set (again):        mark
 *
 * A bit that is set is not set again: that would take an access that came after it
 * was read. A new frame has no bit set, so that what was swapped out and in, copied
 * or collapsed reads as accessed by the kernel's own doing; remembering frames makes
 * sure of it, also where a page moved into a frame that others have marked. Frames
 * are remembered by the low 32 bits of their number (another one of the same bits is
 * 16 TiB away).
 *
 * Pages that are mapped more than once are left alone. A bit of theirs would be read
 * and set for each target that maps them, and each would miss what was accessed
 * before another one looked. They cannot be paged out one by one anyhow. For the
 * same reason a target has one owner (umem_claim()).
 *
 * The bit of a large page is that of its head frame. Pages are taken for small ones
 * at first. What reads as not idle is asked about once more, if its flags
 * (/proc/kpageflags) say that it is a part of a large one, by the head; so the flags
 * of idle memory are not read, unless it is large.
 *
 * Memory is gone through in chunks, each in the order of its frames: on a machine that
 * has run for a while neighbours lie two or four together in frames far apart, and a
 * word of the bitmap would be read once for each of them. A large page may lie in
 * several chunks: `heads` remembers those that were marked anew on the way, whose bit
 * does not say any more what it did.
 *
 * Others who mark. DAMON is asked for at each look. Somebody who marks all of the
 * machine's frames marks a page of ours, the canary, that nobody else has a reason to
 * touch. One who marks this target's frames only, and is none of ours, is not found.
 *
 * Run only against a file system that stands in for the kernel's bitmap, on the real
 * frames of a real process: no kernel at hand has idle page tracking.
 */
#include "lib/track/page_idle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/claim.h"
#include "lib/kern/damon.h"
#include "lib/kern/kpage.h"
#include "lib/kern/lru.h"
#include "lib/kern/pageidle.h"
#include "lib/kern/pagemap.h"

/**
 * struct page_idle - the source.
 * @files: what a look reads. @self_fd: our own pagemap.
 * @claim_fd: keeps others of ours from this target.
 * @canary: a page of ours.
 */
struct page_idle {
	struct umem_accessed base;
	struct umem_idle_files files;
	struct umem_idle_marks marks;
	int self_fd;
	int claim_fd;
	char *canary;
};

static struct page_idle *self_of(struct umem_accessed *accessed)
{
	return (struct page_idle *)accessed;
}

static void destroy(struct umem_accessed *accessed)
{
	struct page_idle *self = self_of(accessed);

	if (self->canary)
		munmap(self->canary, UMEM_PAGE_BYTES);
	umem_fd_close(self->files.bitmap_fd);
	umem_fd_close(self->files.flags_fd);
	umem_fd_close(self->self_fd);
	umem_fd_close(self->claim_fd);
	umem_idle_marks_deinit(&self->marks);
	free(self);
}

static void destroyp(struct page_idle **self)
{
	if (*self)
		destroy(&(*self)->base);
}

/* The frame that the canary is in now, or 0. */
static uint64_t find_canary(struct page_idle *self)
{
	uint64_t word;
	size_t n = 0;

	if (umem_pagemap_words(self->self_fd, (uintptr_t)self->canary, &word, 1, &n) < 0 ||
		n == 0 || !(word & UMEM_PM_PRESENT))
		return 0;
	return word & UMEM_PM_PFN_MASK;
}

/* Why what was seen since the last look is worth nothing, or NULL. */
static const char *find_disturbance(struct page_idle *self)
{
	uint64_t frame = find_canary(self);
	struct umem_damon damon;
	bool idle = false;

	if (frame != 0)
		(void)umem_pageidle_read(self->files.bitmap_fd, &frame, 1, &idle);
	/* Bring it in, or have its bit cleared again. */
	if (idle || frame == 0)
		(*(volatile char *)self->canary)++;
	if (umem_damon_read(self->base.sys, &damon) == 0 && damon.user[0])
		return "DAMON is at work, which takes accessed bits";
	return idle ? "somebody else marks page frames as idle" : NULL;
}

/* One owner of a target's idle bits. */
static int claim(struct page_idle *self, int pid, struct umem_note *note)
{
	struct umem_proc_stat stat;
	int r = umem_proc_stat_read(pid, 0, &stat);

	if (r == -ENOENT || r == -ESRCH)
		return UMEM_GONE;
	if (r == 0)
		r = umem_claim("idle", pid, stat.start_ticks, &self->claim_fd);
	return r == -EADDRINUSE ? umem_note_set(note, r, 0,
		"another one tracks idle pages of pid %d (%s) already", pid, stat.comm) : r;
}

static int create(struct umem_target *target, const char *sys,
	struct umem_accessed **ret_accessed, struct umem_note *note)
{
	UMEM_CLEANUP(destroyp) struct page_idle *self = calloc(1, sizeof(*self));
	struct umem_damon damon;
	void *at;
	int r;

	if (!self)
		return -ENOMEM;
	self->files.bitmap_fd = self->files.flags_fd = self->self_fd = self->claim_fd = -1;
	r = umem_pageidle_open(sys, &self->files.bitmap_fd);
	if (r == 0)
		r = umem_kpage_open(UMEM_KPAGE_FLAGS, &self->files.flags_fd);
	if (r == 0)
		r = umem_pagemap_open(getpid(), &self->self_fd);
	if (r < 0)
		return umem_note_set(note, r == -ENOENT ? -ENOTSUP : r, 0,
			"idle page tracking: %s", strerror(-r));
	if (umem_damon_read(sys, &damon) == 0 && damon.user[0])
		return umem_note_set(note, -EBUSY, 0,
			"idle page tracking is not used while DAMON is at work: %s", damon.user);
	r = claim(self, target->pid, note);
	if (r != 0)
		return r;
	at = mmap(NULL, UMEM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		0);
	if (at == MAP_FAILED)
		return -errno;
	self->canary = at;
	/* A frame of its own, whatever lies beside it. */
	madvise(at, UMEM_PAGE_BYTES, MADV_NOHUGEPAGE);
	*self->canary = 1;
	*ret_accessed = &UMEM_TAKE_PTR(self)->base;
	return 0;
}

static int collect(struct umem_accessed *accessed, struct umem_pageset *pages,
	struct umem_pageset *ret_accessed, struct umem_accessed_count *ret_count)
{
	struct page_idle *self = self_of(accessed);
	const char *disturbed = find_disturbance(self);

	self->files.pagemap_fd = accessed->target->pagemap_fd;
	/* What waits in a processor's batch could not be marked. */
	umem_lru_drain();
	return umem_idle_look(&self->files, &self->marks, pages, ret_accessed, disturbed,
		ret_count);
}

static uint64_t memory(const struct umem_accessed *accessed)
{
	const struct page_idle *self = (const struct page_idle *)accessed;

	return sizeof(*self) + self->marks.n * sizeof(*self->marks.frames) +
	       umem_pageset_memory(&self->marks.pages);
}

const struct umem_accessed_ops umem_accessed_page_idle = {
	.name = "page_idle",
	.feat = UMEM_FEAT_PAGE_IDLE,
	.create = create,
	.collect = collect,
	.memory = memory,
	.destroy = destroy,
};
