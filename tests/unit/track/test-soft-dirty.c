// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The soft-dirty tracker on a fake process: pagemap and clear_refs are regular
 * files. A random model sets and clears bits beside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/kern/pagemap.h"
#include "lib/track/track.h"
#include "tests/lib/harness.h"

#define PAGE   UMEM_PAGE_BYTES
#define BASE   0x100000ull
#define N      512u
#define N_ANON 256u

/* Two regions: private anonymous memory, then shared memory. */
struct fake {
	char dir[32];
	struct umem_target target;
	struct umem_region regions[3];
	struct umem_tracker *tracker;
	uint64_t words[N];
};

static int setup(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	strcpy(f->dir, "/tmp/soft-dirty.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->target.pid = f->target.tid = 1;
	f->target.pidfd = f->target.maps_fd = f->target.uffd = -1;
	f->target.proc_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(f->target.proc_fd, "clear_refs", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	f->target.pagemap_fd = openat(f->target.proc_fd, "pagemap", O_CREAT | O_RDWR | O_CLOEXEC,
		0600);
	assert_true(f->target.pagemap_fd >= 0);
	f->regions[0] = (struct umem_region){ .start = BASE, .end = BASE + N_ANON * PAGE,
		.page_size_bytes = PAGE, .kind = UMEM_KIND_ANON };
	f->regions[1] = (struct umem_region){ .start = BASE + N_ANON * PAGE,
		.end = BASE + N * PAGE, .page_size_bytes = PAGE, .kind = UMEM_KIND_SHMEM,
		.inode = 7 };
	f->regions[2] = (struct umem_region){ .start = BASE + N * PAGE,
		.end = BASE + (N + 2) * PAGE, .page_size_bytes = PAGE, .kind = UMEM_KIND_KERNEL };
	f->target.space.v = f->regions;
	f->target.space.n = 3;
	assert_int_equal(umem_track_soft_dirty.create(&f->target, &f->tracker), 0);
	f->tracker->ops = &umem_track_soft_dirty;
	f->tracker->target = &f->target;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fake *f = *state;

	umem_tracker_free(f->tracker);
	unlinkat(f->target.proc_fd, "clear_refs", 0);
	unlinkat(f->target.proc_fd, "pagemap", 0);
	close(f->target.proc_fd);
	close(f->target.pagemap_fd);
	rmdir(f->dir);
	free(f);
	return 0;
}

/* The words to the file; how often clear_refs was written since, and with what. */
static void publish(struct fake *f)
{
	off_t at = (off_t)(BASE / PAGE * sizeof(uint64_t));

	assert_int_equal(pwrite(f->target.pagemap_fd, f->words, sizeof(f->words), at),
		sizeof(f->words));
	/* The mapping past ours is the kernel's; the file must not end before it. */
	assert_int_equal(ftruncate(f->target.pagemap_fd, at + (off_t)sizeof(f->words) + 16), 0);
}

static size_t n_clears(struct fake *f)
{
	char text[256] = "";
	int fd = openat(f->target.proc_fd, "clear_refs", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	assert_true(n >= 0);
	assert_int_equal(strspn(text, "4"), n);
	return (size_t)n;
}

static void watch_all(struct fake *f, struct umem_pageset *fresh)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges all = { 0 };

	publish(f);
	assert_int_equal(umem_ranges_add(&all, BASE, BASE + (N + 2) * PAGE), 0);
	assert_int_equal(f->tracker->ops->watch(f->tracker, &all, fresh, NULL), 0);
}

static int collect(struct fake *f, struct umem_pageset *written, struct umem_reasons *why)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges lost = { 0 };
	int r;

	publish(f);
	r = f->tracker->ops->collect(f->tracker, written, &lost, why, NULL);
	assert_int_equal(lost.n, 0);
	return r;
}

static void watch_says_what_is_there(void **state)
{
	struct fake *f = *state;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset fresh = { 0 };

	f->words[1] = UMEM_PM_PRESENT;
	f->words[2] = UMEM_PM_SWAPPED | UMEM_PM_SOFT_DIRTY;
	f->words[3] = UMEM_PM_SOFT_DIRTY; /* nothing there: only its mapping is new */
	watch_all(f, &fresh);
	assert_int_equal(umem_pageset_bytes(&fresh), 2 * PAGE);
	assert_true(umem_pageset_has(&fresh, BASE + PAGE));
	assert_true(umem_pageset_has(&fresh, BASE + 2 * PAGE));
	assert_int_equal(n_clears(f), 1);
	assert_int_equal(umem_ranges_bytes(f->tracker->ops->watched(f->tracker)), N * PAGE);
	assert_non_null(f->regions[2].untrackable);
	assert_null(f->regions[0].untrackable);
}

static void writes_and_discards(void **state)
{
	struct fake *f = *state;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset fresh = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset written = { 0 };
	UMEM_CLEANUP(umem_reasons_deinit) struct umem_reasons why = { 0 };

	for (unsigned i = 0; i < 8; i++)
		f->words[i] = UMEM_PM_PRESENT;
	watch_all(f, &fresh);
	f->words[2] |= UMEM_PM_SOFT_DIRTY;
	f->words[5] = 0;						      /* discarded */
	f->words[6] = UMEM_PM_SWAPPED;					      /* just swapped */
	f->words[100] = UMEM_PM_PRESENT | UMEM_PM_SOFT_DIRTY;		      /* first touch */
	assert_int_equal(collect(f, &written, &why), 0);
	assert_int_equal(umem_pageset_bytes(&written), 3 * PAGE);
	assert_true(umem_pageset_has(&written, BASE + 2 * PAGE));
	assert_true(umem_pageset_has(&written, BASE + 5 * PAGE));
	assert_true(umem_pageset_has(&written, BASE + 100 * PAGE));
	assert_int_equal(n_clears(f), 2);
	/* It says that it is not atomic, and that shared memory is worse. */
	assert_int_equal(why.n, 2);
	assert_int_equal(why.v[1].start, f->regions[1].start);

	/* A discard is reported once. */
	f->words[2] = f->words[100] = UMEM_PM_PRESENT;
	umem_pageset_clear(&written);
	assert_int_equal(collect(f, &written, &why), 0);
	assert_true(umem_pageset_empty(&written));
}

static void forgets(void **state)
{
	struct fake *f = *state;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset fresh = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset written = { 0 };
	UMEM_CLEANUP(umem_reasons_deinit) struct umem_reasons why = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges gone = { 0 };

	f->words[4] = f->words[300] = UMEM_PM_PRESENT;
	watch_all(f, &fresh);
	assert_int_equal(umem_ranges_add(&gone, f->regions[0].start, f->regions[0].end), 0);
	assert_int_equal(f->tracker->ops->forget(f->tracker, &gone), 0);
	f->words[4] = 0;
	f->words[300] |= UMEM_PM_SOFT_DIRTY;
	assert_int_equal(collect(f, &written, &why), 0);
	assert_int_equal(umem_pageset_bytes(&written), PAGE);
	assert_int_equal(umem_ranges_bytes(f->tracker->ops->watched(f->tracker)),
		(N - N_ANON) * PAGE);
}

static void a_process_that_ended(void **state)
{
	struct fake *f = *state;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset fresh = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset written = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges lost = { 0 };
	UMEM_CLEANUP(umem_reasons_deinit) struct umem_reasons why = { 0 };

	watch_all(f, &fresh);
	/* The pagemap of a memory that is gone is empty. */
	assert_int_equal(ftruncate(f->target.pagemap_fd, 0), 0);
	assert_int_equal(f->tracker->ops->collect(f->tracker, &written, &lost, &why, NULL),
		UMEM_GONE);
}

/* A model beside it: what changed since the last round, by any means. */
static void random_rounds(void **state)
{
	struct fake *f = *state;
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset fresh = { 0 };
	UMEM_CLEANUP(umem_reasons_deinit) struct umem_reasons why = { 0 };
	uint64_t seed = t_seed();

	watch_all(f, &fresh);
	for (int round = 0; round < 200; round++) {
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset written = { 0 };
		bool changed[N] = { 0 }, held[N];

		for (unsigned i = 0; i < N; i++) {
			f->words[i] &= ~UMEM_PM_SOFT_DIRTY;
			held[i] = f->words[i] & (UMEM_PM_PRESENT | UMEM_PM_SWAPPED);
		}
		for (int k = 0; k < 60; k++) {
			uint64_t i = t_below(&seed, N);

			switch (t_below(&seed, 4)) {
			case 0: /* discarded */
				f->words[i] = 0;
				changed[i] |= held[i];
				break;
			case 1: /* out and in again, the bit comes along */
				if (f->words[i])
					f->words[i] ^= UMEM_PM_PRESENT | UMEM_PM_SWAPPED;
				break;
			default:
				f->words[i] = UMEM_PM_PRESENT | UMEM_PM_SOFT_DIRTY;
				changed[i] = true;
			}
		}
		/* Written and discarded where nothing was before: zeros again. */
		for (unsigned i = 0; i < N; i++)
			if (!held[i] && !f->words[i])
				changed[i] = false;
		assert_int_equal(collect(f, &written, &why), 0);
		for (unsigned i = 0; i < N; i++)
			assert_int_equal(umem_pageset_has(&written, BASE + i * PAGE), changed[i]);
	}
	assert_true(f->tracker->ops->memory(f->tracker) < (1 << 20));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(watch_says_what_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_and_discards, setup, teardown),
		cmocka_unit_test_setup_teardown(forgets, setup, teardown),
		cmocka_unit_test_setup_teardown(a_process_that_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(random_rounds, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
