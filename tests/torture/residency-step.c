// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Steps of the residency oracle that touch, page out, discard, arm, lock, fork.
 *
 * Two combinations are left out, because the kernel hangs in them (Linux 6.18):
 * guards in file mappings that have marks, and locked mappings of disk files.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/kern/uapi.h"
#include "tests/kernel/scratch.h"
#include "tests/lib/harness.h"
#include "tests/torture/residency.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

#define N_IOVECS 64

bool cast_pick(struct cast *c, unsigned *ret_who, struct cast_area **ret_area)
{
	for (int attempt = 0; attempt < 16; attempt++) {
		unsigned who = (unsigned)cast_below(c, N_ACTORS);
		struct cast_area *a = &c->actors[who].areas[cast_below(c, N_SLOTS)];

		if (!c->actors[who].pid || !a->pages)
			continue;
		*ret_who = who;
		*ret_area = a;
		return true;
	}
	return false;
}

/* One that fits. */
static bool pick(struct cast *c, bool (*fits)(const struct cast_area *a), unsigned *ret_who,
	struct cast_area **ret_area)
{
	for (int attempt = 0; attempt < 40; attempt++)
		if (cast_pick(c, ret_who, ret_area) && fits(*ret_area))
			return true;
	return false;
}

static bool is_shared(const struct cast_area *a)
{
	return a->object >= 0 && a->shared && !a->huge;
}

static bool is_private_file(const struct cast_area *a)
{
	return a->object >= 0 && !a->shared && !a->huge;
}

void cast_part(struct cast *c, const struct cast_area *a, uint64_t *ret_first, uint64_t *ret_n)
{
	uint64_t grain = a->huge || (a->pages >= 1024 && cast_below(c, 4) == 0) ?
		PAGES_PER_HUGE : 1;
	uint64_t grains = a->pages / grain, first = cast_below(c, grains), n;

	switch (cast_below(c, 4)) {
	case 0:
		first = 0;
		n = grains;
		break;
	case 1:
		n = 1 + cast_below(c, 4);
		break;
	default:
		n = 1 + cast_below(c, grains);
	}
	if (n > grains - first)
		n = grains - first;
	*ret_first = first * grain;
	*ret_n = n * grain;
}

/* Huge pages one by one, so that it is known which of them the object holds then. */
static void touch_huge(struct cast *c, unsigned who, const struct cast_area *a, uint64_t first,
	uint64_t n, enum cast_touch how)
{
	for (uint64_t i = first; i < first + n; i += PAGES_PER_HUGE) {
		uint64_t page = (a->offset + i) / PAGES_PER_HUGE;

		if (cast_touch(c, who, a->at + i * PAGE, 1, 1, how) && a->shared)
			c->objects[a->object].held[page] = true;
	}
}

static void touch(struct cast *c)
{
	enum cast_touch how = (enum cast_touch)cast_below(c, N_TOUCHES);
	uint64_t first, n, stride = cast_below(c, 2) ? 1 : 2 + cast_below(c, 6), done;
	struct cast_area *a;
	unsigned who;

	if (!cast_pick(c, &who, &a))
		return;
	cast_part(c, a, &first, &n);
	if (a->huge) {
		touch_huge(c, who, a, first, n, how);
		return;
	}
	if (how == TOUCH_RANDOM && n > 128)
		n = 128;
	done = cast_touch(c, who, a->at + first * PAGE, (n + stride - 1) / stride, stride, how);
	cast_log(c, "%u touch %d %#llx page %llu +%llu each %llu: %llu", who, how,
		(unsigned long long)a->at, (unsigned long long)first, (unsigned long long)n,
		(unsigned long long)stride, (unsigned long long)done);
}

/* Every so many pages, from outside. */
static int64_t advise_pieces(struct cast *c, unsigned who, uint64_t at, uint64_t n,
	uint64_t stride)
{
	struct iovec pieces[N_IOVECS];
	int pidfd = (int)T_SYS(syscall(SYS_pidfd_open, c->actors[who].pid, 0));
	size_t k = 0;
	int64_t r;

	for (uint64_t i = 0; i < n && k < N_IOVECS; i += stride, k++)
		pieces[k] = (struct iovec){ (void *)(at + i * PAGE),
			(stride == 1 ? n : 1) * PAGE };
	if (stride == 1)
		k = 1;
	r = syscall(SYS_process_madvise, pidfd, pieces, k, MADV_PAGEOUT, 0);
	close(pidfd);
	return r;
}

static void page_out(struct cast *c)
{
	uint64_t first, n, stride = cast_below(c, 3) ? 1 : 2 + cast_below(c, 5);
	struct cast_area *a;
	unsigned who;
	int64_t r = 0;

	if (!cast_pick(c, &who, &a))
		return;
	cast_part(c, a, &first, &n);
	if (cast_below(c, 3) == 0)
		r = advise_pieces(c, who, a->at + first * PAGE, n, stride);
	else if (stride == 1)
		r = cast_syscall(c, who, SYS_madvise, a->at + first * PAGE, n * PAGE,
			MADV_PAGEOUT, 0, 0, 0);
	else
		for (uint64_t i = first; i < first + n && i < first + 100 * stride; i += stride)
			r = cast_syscall(c, who, SYS_madvise, a->at + i * PAGE, PAGE,
				MADV_PAGEOUT, 0, 0, 0);
	cast_log(c, "%u pageout %#llx page %llu +%llu each %llu: %lld", who,
		(unsigned long long)a->at, (unsigned long long)first, (unsigned long long)n,
		(unsigned long long)stride, (long long)r);
}

/* Pages that several map do not go: unmapped everywhere but here, they do. */
static void page_out_object(struct cast *c)
{
	struct cast_area *a;
	uint64_t first, n;
	unsigned who;

	if (!pick(c, is_shared, &who, &a))
		return;
	cast_part(c, a, &first, &n);
	for (unsigned i = 0; i < N_ACTORS; i++) {
		for (size_t k = 0; k < N_SLOTS && c->actors[i].pid; k++) {
			struct cast_area *b = &c->actors[i].areas[k];

			if (b->pages && b->object == a->object && b->shared && b != a)
				cast_syscall(c, i, SYS_madvise, b->at, b->pages * PAGE,
					MADV_DONTNEED, 0, 0, 0);
		}
	}
	if (cast_below(c, 2))
		cast_touch(c, who, a->at + first * PAGE, n, 1, TOUCH_READ);
	cast_syscall(c, who, SYS_madvise, a->at + first * PAGE, n * PAGE, MADV_PAGEOUT, 0, 0, 0);
	cast_log(c, "%u pageout of object %d %#llx page %llu +%llu", who, a->object,
		(unsigned long long)a->at, (unsigned long long)first, (unsigned long long)n);
}

/* Copies of its own in a private mapping, here and there; then the object's pages go. */
static void part_ways(struct cast *c)
{
	struct cast_area *a;
	uint64_t first, n, stride = 2 + cast_below(c, 3);
	struct cast_object *o;
	unsigned who;

	if (!pick(c, is_private_file, &who, &a))
		return;
	o = &c->objects[a->object];
	cast_part(c, a, &first, &n);
	cast_touch(c, who, a->at + first * PAGE, (n + stride - 1) / stride, stride, TOUCH_WRITE);
	if (o->backing == BACK_DISK || a->offset + first >= o->pages)
		return;
	if (cast_below(c, 2))
		cast_syscall(c, who, SYS_madvise, a->at + first * PAGE, n * PAGE, MADV_PAGEOUT, 0,
			0, 0);
	if (cast_below(c, 2))
		fallocate(o->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)((a->offset + first) * PAGE), (off_t)(n * PAGE));
	if (cast_below(c, 2))
		cast_touch(c, who, a->at + first * PAGE, (n + stride - 1) / stride, stride,
			TOUCH_WRITE);
	cast_log(c, "%u copies of %#llx page %llu +%llu each %llu", who,
		(unsigned long long)a->at, (unsigned long long)first, (unsigned long long)n,
		(unsigned long long)stride);
}

static void advise(struct cast *c)
{
	static const struct {
		int advice;
		const char *name;
		bool huge;
	} advices[] = {
		{ MADV_DONTNEED, "dontneed", true },
		{ MADV_DONTNEED, "dontneed", true },
		{ MADV_FREE, "free", true },
		{ MADV_COLD, "cold", false },
		{ MADV_WILLNEED, "willneed", false },
		{ MADV_WILLNEED, "willneed", false },
		{ MADV_POPULATE_READ, "populate read", false },
		{ MADV_POPULATE_WRITE, "populate write", false },
		{ MADV_COLLAPSE, "collapse", false },
		{ MADV_COLLAPSE, "collapse", false },
		{ MADV_HUGEPAGE, "hugepage", false },
		{ MADV_NOHUGEPAGE, "nohugepage", false },
	};
	size_t i = cast_below(c, sizeof(advices) / sizeof(advices[0]));
	struct cast_area *a;
	uint64_t first, n;
	unsigned who;
	int64_t r;

	if (!cast_pick(c, &who, &a) || (a->huge && !advices[i].huge))
		return;
	cast_part(c, a, &first, &n);
	r = cast_syscall(c, who, SYS_madvise, a->at + first * PAGE, n * PAGE,
		(uint64_t)advices[i].advice, 0, 0, 0);
	cast_log(c, "%u %s %#llx page %llu +%llu: %lld", who, advices[i].name,
		(unsigned long long)a->at, (unsigned long long)first, (unsigned long long)n,
		(long long)r);
}

static void fork_or_exit(struct cast *c)
{
	unsigned who = (unsigned)cast_below(c, N_ACTORS), slot = (unsigned)cast_below(c, N_ACTORS);

	if (!c->actors[who].pid)
		return;
	if (!c->actors[slot].pid) {
		cast_fork(c, who, slot);
		cast_log(c, "%u forks %u", who, slot);
		return;
	}
	for (unsigned i = 0; i < N_ACTORS; i++)
		if (c->actors[i].pid && c->actors[i].parent == (int)slot)
			return;
	if (slot != 0) {
		cast_exit(c, slot);
		cast_log(c, "%u exits", slot);
	}
}

static void guard(struct cast *c)
{
	int advice = cast_below(c, 3) ? MADV_GUARD_INSTALL : MADV_GUARD_REMOVE;
	struct cast_area *a;
	uint64_t first, n;
	unsigned who;
	int64_t r;

	if (!cast_pick(c, &who, &a) || a->huge || (a->object >= 0 && a->armed))
		return;
	cast_part(c, a, &first, &n);
	if (n > 40)
		n = 1 + cast_below(c, 40);
	r = cast_syscall(c, who, SYS_madvise, a->at + first * PAGE, n * PAGE, (uint64_t)advice, 0,
		0, 0);
	cast_log(c, "%u guard %d %#llx page %llu +%llu: %lld", who, advice,
		(unsigned long long)a->at, (unsigned long long)first, (unsigned long long)n,
		(long long)r);
}

/* A userfaultfd of the actor, shared with us. */
static bool have_uffd(struct cast *c, unsigned who)
{
	struct cast_actor *a = &c->actors[who];
	uint64_t flags = O_CLOEXEC | O_NONBLOCK | (c->options->nobody ? UFFD_USER_MODE_ONLY : 0);
	int64_t fd;
	int pidfd;

	if (a->uffd >= 0)
		return true;
	fd = cast_syscall(c, who, SYS_userfaultfd, flags, 0, 0, 0, 0, 0);
	if (fd < 0)
		return false;
	pidfd = (int)T_SYS(syscall(SYS_pidfd_open, a->pid, 0));
	a->uffd = (int)T_SYS(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
	close(pidfd);
	T_OK(umem_uffd_api(a->uffd, K_TRACK | UFFD_FEATURE_POISON, NULL));
	return true;
}

/* Protect by a scan, which leaves marks where nothing is, or by the ioctl. */
static int64_t protect(struct cast *c, unsigned who, uint64_t start, uint64_t end)
{
	struct page_region vec[8];
	uint64_t at = start;

	if (cast_below(c, 4) == 0)
		return umem_uffd_protect(c->actors[who].uffd, start, end, 1);
	while (at < end) {
		uint64_t next = at;
		long n = k_scan(c->actors[who].pagemap, PM_SCAN_WP_MATCHING, (void *)at, end - at,
			PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, vec, 8, &next);

		if (n < 0 || next <= at)
			return n;
		at = next;
	}
	return 0;
}

static void poison(struct cast *c, unsigned who, uint64_t start, uint64_t end)
{
	struct uffdio_poison poison = { .range = { start, end - start } };
	int r = ioctl(c->actors[who].uffd, UFFDIO_POISON, &poison);

	cast_log(c, "%u poison %#llx-%#llx: %s", who, (unsigned long long)start,
		(unsigned long long)end, r ? strerror(errno) : "ok");
}

static void arm(struct cast *c)
{
	struct cast_area *a;
	uint64_t first, n, start, end;
	unsigned who;
	int64_t r;

	if (!cast_pick(c, &who, &a) || !have_uffd(c, who))
		return;
	cast_part(c, a, &first, &n);
	start = a->at + first * PAGE;
	end = start + n * PAGE;
	if (a->registered && cast_below(c, 4) == 0) {
		r = umem_uffd_unregister(c->actors[who].uffd, a->at, a->at + a->pages * PAGE);
		a->registered = false;
	} else {
		r = umem_uffd_register(c->actors[who].uffd, start, end, UFFDIO_REGISTER_MODE_WP);
		if (r == 0) {
			a->registered = a->armed = true;
			/* Only where there is no mark yet. */
			if (!a->huge && cast_below(c, 3) == 0)
				poison(c, who, end - PAGE, end);
			r = protect(c, who, start, end);
		}
	}
	cast_log(c, "%u arm %#llx page %llu +%llu: %lld registered %d", who,
		(unsigned long long)a->at, (unsigned long long)first, (unsigned long long)n,
		(long long)r, a->registered);
}

static void lock(struct cast *c)
{
	struct cast_area *a;
	uint64_t first, n;
	unsigned who;
	int64_t r;

	if (!cast_pick(c, &who, &a) || a->huge ||
		(a->object >= 0 && c->objects[a->object].backing == BACK_DISK))
		return;
	cast_part(c, a, &first, &n);
	if (cast_below(c, 3) == 0)
		r = cast_syscall(c, who, SYS_mlock2, a->at + first * PAGE, n * PAGE,
			cast_below(c, 2) ? MLOCK_ONFAULT : 0, 0, 0, 0);
	else
		r = cast_syscall(c, who, SYS_munlock, a->at, a->pages * PAGE, 0, 0, 0, 0);
	cast_log(c, "%u lock %#llx page %llu +%llu: %lld", who, (unsigned long long)a->at,
		(unsigned long long)first, (unsigned long long)n, (long long)r);
}

void cast_step(struct cast *c)
{
	static const struct {
		unsigned weight;
		void (*run)(struct cast *c);
	} steps[] = {
		{ 22, touch },
		{ 4, part_ways },
		{ 16, page_out },
		{ 8, page_out_object },
		{ 14, advise },
		{ 5, fork_or_exit },
		{ 4, guard },
		{ 8, arm },
		{ 3, lock },
		{ 16, cast_map_step },
	};
	uint64_t what = cast_below(c, 100);

	c->tally.steps++;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (what < steps[i].weight) {
			steps[i].run(c);
			return;
		}
		what -= steps[i].weight;
	}
}
