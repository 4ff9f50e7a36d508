// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copying into an image: at once, and by way of a stage that several threads fill.
 * Random sets of pages of private memory, a memfd and one that is cut short; what
 * comes out is what is in memory, and what cannot be read is not in the image.
 */
#include "lib/op/copier.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define PAGE  4096u
#define PAGES 700u
#define LEN   (PAGES * PAGE)
#define CUT   500u /* pages that are left of the third one */

enum area { AREA_PRIVATE, AREA_MEMFD, AREA_CUT, N_AREAS };

UMEM_DEFINE_CLEANUP(struct umem_image, umem_image_free)

static uint8_t *areas[N_AREAS];

/* Return: the descriptor of the object that is cut short. */
static int make_areas(void)
{
	int cut_fd = -1;

	for (enum area a = 0; a < N_AREAS; a++) {
		int fd = a == AREA_PRIVATE ? -1 : (int)T_SYS(memfd_create("copier", MFD_CLOEXEC));

		if (fd >= 0)
			T_SYS(ftruncate(fd, LEN));
		areas[a] = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
		T_CHECK(areas[a] != MAP_FAILED);
		for (unsigned i = 0; i < PAGES; i++)
			t_fill_page(areas[a] + i * PAGE, i, a);
		if (a == AREA_CUT)
			T_SYS(ftruncate(cut_fd = fd, CUT * PAGE));
		else if (fd >= 0)
			close(fd);
	}
	return cut_fd;
}

static void choose(uint64_t *seed, struct umem_pageset *set, bool (*in)[PAGES])
{
	for (enum area a = 0; a < N_AREAS; a++)
		for (unsigned i = 0; i < PAGES;) {
			unsigned n = 1 + (unsigned)t_below(seed, t_below(seed, 8) ? 4 : 400);

			n = n > PAGES - i ? PAGES - i : n;
			if (t_below(seed, 2)) {
				uint64_t at = (uintptr_t)areas[a] + i * PAGE;

				T_OK(umem_pageset_add(set, at, at + n * PAGE));
				memset(&in[a][i], true, n);
			}
			i += n;
		}
}

static void check(struct umem_image *image, struct umem_copier *copier, bool (*in)[PAGES])
{
	uint8_t got[PAGE], want[PAGE];

	for (enum area a = 0; a < N_AREAS; a++)
		for (unsigned i = 0; i < PAGES; i++) {
			uint64_t at = (uintptr_t)areas[a] + i * PAGE;
			bool hole = a == AREA_CUT && i >= CUT;
			int r = umem_image_get(image, 0, at, got, 1, NULL);

			T_CHECK((r == 0) == (in[a][i] && !hole), "area %d, page %u: %d", a, i, r);
			T_CHECK(umem_pageset_has(&copier->covered, at) == (r == 0), "page %u", i);
			T_CHECK(umem_pageset_has(&copier->unreadable, at) == (in[a][i] && hole),
				"page %u", i);
			if (r != 0)
				continue;
			t_fill_page(want, i, a);
			T_CHECK(memcmp(got, want, PAGE) == 0, "area %d, page %u", a, i);
		}
}

static struct umem_image_writer *writer_new(void)
{
	struct umem_image_create_options options = {
		.size = sizeof(options),
		.codec = UMEM_IMAGE_CODEC_NONE,
		.n_threads = -1,
		.anonymous = true,
	};
	struct umem_image_writer *writer;

	T_OK(umem_image_create("/tmp", &options, &writer, NULL));
	return writer;
}

/* @readers: threads that fill the stage; 0: copy at once. */
static void trial(struct umem_target *target, uint64_t *seed, unsigned readers)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset set = { 0 };
	UMEM_CLEANUP(umem_copier_deinit) struct umem_copier copier = { 0 };
	UMEM_CLEANUP(umem_stage_deinit) struct umem_stage stage = { 0 };
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	struct umem_image_writer *writer = writer_new();
	bool in[N_AREAS][PAGES] = { 0 };

	choose(seed, &set, in);
	T_OK(umem_copier_init(&copier, target));
	umem_copier_begin(&copier, writer, 0, false, false);
	if (readers == 0) {
		T_OK(umem_copier_copy(&copier, &set));
	} else {
		while (copier.n_readers < readers)
			T_OK(umem_reader_init(&copier.readers[copier.n_readers++], target));
		while (copier.n_readers > readers)
			umem_reader_deinit(&copier.readers[--copier.n_readers]);
		T_OK(umem_copier_prepare(&copier));
		T_OK(umem_copier_stage(&copier, &set, &stage));
		T_CHECK(stage.used_bytes == umem_pageset_bytes(&set));
		T_OK(umem_copier_unstage(&copier, &stage, NULL));
		T_CHECK(stage.used_bytes == 0 && stage.n_pieces == 0);
	}
	T_CHECK(copier.read_bytes == umem_pageset_bytes(&set));
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	check(image, &copier, in);
}

static int stop_at_once(void *user, uint64_t bytes)
{
	(void)bytes;
	(*(int *)user)++;
	return -ECANCELED;
}

/* Who wants no more is not asked again. */
static void cancelled(struct umem_target *target)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset set = { 0 };
	UMEM_CLEANUP(umem_copier_deinit) struct umem_copier copier = { 0 };
	struct umem_image_writer *writer = writer_new();
	int calls = 0;

	T_OK(umem_pageset_add(&set, (uintptr_t)areas[0], (uintptr_t)areas[0] + LEN));
	T_OK(umem_copier_init(&copier, target));
	umem_copier_begin(&copier, writer, 0, false, false);
	copier.step = stop_at_once;
	copier.user = &calls;
	T_CHECK(umem_copier_copy(&copier, &set) == -ECANCELED && calls == 1);
	umem_image_writer_free(writer);
}

/* What is dropped is not of the image, and what is read again afterwards is. */
static void dropped(struct umem_target *target)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset set = { 0 };
	UMEM_CLEANUP(umem_copier_deinit) struct umem_copier copier = { 0 };
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	struct umem_image_writer *writer = writer_new();
	uint64_t at = (uintptr_t)areas[0];
	uint8_t page[PAGE];

	T_OK(umem_copier_init(&copier, target));
	umem_copier_begin(&copier, writer, 0, false, false);
	T_OK(umem_pageset_add(&set, at, at + 4 * PAGE));
	T_OK(umem_copier_copy(&copier, &set));
	T_OK(umem_pageset_sub(&set, at, at + PAGE));
	T_OK(umem_copier_drop(&copier, &set));
	T_CHECK(umem_pageset_bytes(&copier.covered) == PAGE);
	T_OK(umem_pageset_sub(&set, at, at + 3 * PAGE));
	T_OK(umem_copier_copy(&copier, &set));
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	for (unsigned i = 0; i < 4; i++)
		T_CHECK((umem_image_get(image, 0, at + i * PAGE, page, 1, NULL) == 0) ==
			(i == 0 || i == 3), "page %u", i);
}

/* Staged twice: the last one counts; what is gone does not; a hole may become readable. */
static void restaged(struct umem_target *target, int cut_fd)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset set = { 0 }, gone = { 0 };
	UMEM_CLEANUP(umem_copier_deinit) struct umem_copier copier = { 0 };
	UMEM_CLEANUP(umem_stage_deinit) struct umem_stage stage = { 0 };
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	struct umem_image_writer *writer = writer_new();
	uint64_t at = (uintptr_t)areas[AREA_MEMFD], cut = (uintptr_t)areas[AREA_CUT] + CUT * PAGE;
	uint8_t got[PAGE], want[PAGE];

	T_OK(umem_copier_init(&copier, target));
	umem_copier_begin(&copier, writer, 0, false, false);
	T_OK(umem_pageset_add(&set, at, at + 400 * PAGE));
	T_OK(umem_pageset_add(&set, cut, cut + PAGE));
	T_OK(umem_copier_stage(&copier, &set, &stage));
	T_CHECK(umem_pageset_has(&copier.unreadable, cut));
	for (unsigned i = 100; i < 200; i++)
		t_fill_page(areas[AREA_MEMFD] + i * PAGE, i, 77);
	T_SYS(ftruncate(cut_fd, LEN));
	umem_pageset_clear(&set);
	T_OK(umem_pageset_add(&set, at + 100 * PAGE, at + 150 * PAGE));
	T_OK(umem_pageset_add(&set, cut, cut + PAGE));
	T_OK(umem_copier_stage(&copier, &set, &stage));
	T_CHECK(!umem_pageset_has(&copier.unreadable, cut));
	T_OK(umem_pageset_add(&gone, at + 140 * PAGE, at + 160 * PAGE));
	T_OK(umem_copier_unstage(&copier, &stage, &gone));
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	for (unsigned i = 0; i < 400; i++) {
		int r = umem_image_get(image, 0, at + i * PAGE, got, 1, NULL);

		T_CHECK((r == 0) == (i < 140 || i >= 160), "page %u: %d", i, r);
		if (r != 0)
			continue;
		/* Of pages 160 to 199 only the first copy was taken. */
		t_fill_page(want, i, i >= 100 && i < 140 ? 77 : AREA_MEMFD);
		T_CHECK(memcmp(got, want, PAGE) == 0, "page %u", i);
	}
	T_OK(umem_image_get(image, 0, cut, got, 1, NULL));
}

int main(void)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges changed = { 0 };
	uint64_t seed = t_seed();
	struct umem_target *target;
	int cut_fd = make_areas();
	pid_t pid;

	pid = t_fork();
	if (pid == 0)
		for (;;)
			pause();
	T_OK(umem_target_open(pid, NULL, &target, NULL));
	T_OK(umem_target_refresh(target, &changed, &changed, NULL));
	for (int i = 0; i < 6; i++)
		for (unsigned readers = 0; readers <= UMEM_FAN_MAX; readers++)
			trial(target, &seed, readers);
	cancelled(target);
	dropped(target);
	/* Where no thread can be had, all is done by one. */
	setenv("UMEM_FAULTS", "fan.no-thread=1", 1);
	trial(target, &seed, UMEM_FAN_MAX);
	unsetenv("UMEM_FAULTS");
	restaged(target, cut_fd);
	umem_target_free(target);
	t_end(pid);
	return 0;
}
