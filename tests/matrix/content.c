// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which pages a snapshot has to hold, on memory of which every page is known: private
 * and shared, files mapped privately and shared, with pages written, read, discarded,
 * never touched, and guards.
 */
#include "lib/op/content.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define PAGE  4096u
#define PAGES 64u
#define LEN   (PAGES * PAGE)

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/** enum area - a mapping each. */
enum area {
	AREA_ANON,
	AREA_MEMFD,
	AREA_PRIVATE,
	AREA_SHARED,
	AREA_READ_ONLY,
	AREA_BARE,
	AREA_DELETED, /* a file that has no name any more, longer than the mapping's half */
	N_AREAS
};

/** struct scene - them, and what is true of them. */
struct scene {
	uint8_t *at[N_AREAS];
	bool data[N_AREAS][PAGES];
	bool blank[PAGES];
	bool guards;
	pid_t pid;
	int ready;
};

static char file_path[64];

static void remove_file(void)
{
	if (file_path[0])
		unlink(file_path);
	file_path[0] = 0;
}

/* A file of @pages on a disk; it is removed at the end, or at once. */
static int disk_file(unsigned pages, bool deleted)
{
	char path[] = "/var/tmp/umem-test-content-XXXXXX", page[PAGE];
	int fd = (int)T_SYS(mkstemp(path));

	if (deleted)
		T_SYS(unlink(path));
	else
		strcpy(file_path, path);
	for (unsigned i = 0; i < pages; i++) {
		t_fill_page(page, i, 9);
		T_CHECK(write(fd, page, PAGE) == PAGE);
	}
	return fd;
}

static uint8_t *map(int prot, int flags, int fd)
{
	uint8_t *at = mmap(NULL, LEN, prot, flags, fd, 0);

	T_CHECK(at != MAP_FAILED);
	madvise(at, LEN, MADV_NOHUGEPAGE);
	return at;
}

static void make(struct scene *s)
{
	int memfd = (int)T_SYS(memfd_create("content", MFD_CLOEXEC));
	int file = disk_file(PAGES, false);
	int deleted = disk_file(PAGES / 2, true);
	const int rw = PROT_READ | PROT_WRITE;

	T_SYS(ftruncate(memfd, LEN));
	s->at[AREA_ANON] = map(rw, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	s->at[AREA_MEMFD] = map(rw, MAP_SHARED, memfd);
	s->at[AREA_PRIVATE] = map(rw, MAP_PRIVATE, file);
	s->at[AREA_SHARED] = map(rw, MAP_SHARED, file);
	s->at[AREA_READ_ONLY] = map(PROT_READ, MAP_SHARED, file);
	s->at[AREA_BARE] = map(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	s->at[AREA_DELETED] = map(PROT_READ, MAP_PRIVATE, deleted);
	memset(s->data[AREA_DELETED], true, PAGES / 2);
	close(memfd);
	close(file);
	close(deleted);
}

/* Every page gets one of a few fates; the child does it, both know it. */
static void act(struct scene *s, uint64_t seed)
{
	for (enum area a = 0; a < AREA_READ_ONLY; a++)
		for (unsigned i = 0; i < PAGES; i++) {
			uint8_t *page = s->at[a] + i * PAGE;
			unsigned fate = (unsigned)t_below(&seed, 4);

			switch (fate) {
			case 0: /* never touched */
				break;
			case 1: /* read */
				*(volatile uint8_t *)page;
				s->data[a][i] = a == AREA_SHARED || a == AREA_MEMFD;
				break;
			case 2: /* written */
				t_fill_page(page, i, a);
				s->data[a][i] = true;
				break;
			case 3: /* written and discarded; of shared memory from this mapping only */
				t_fill_page(page, i, a);
				madvise(page, PAGE, MADV_DONTNEED);
				s->data[a][i] = a == AREA_MEMFD;
				break;
			}
		}
	s->guards = madvise(s->at[AREA_ANON], 4 * PAGE, MADV_GUARD_INSTALL) == 0;
	for (unsigned i = 0; i < 4 && s->guards; i++) {
		s->data[AREA_ANON][i] = false;
		s->blank[i] = true;
	}
	/* Read, a page of a file may bring its neighbours into the page table. */
	*(volatile uint8_t *)s->at[AREA_READ_ONLY];
}

static void start(struct scene *s, uint64_t seed)
{
	int ready[2];
	char c;

	T_SYS(pipe(ready));
	s->pid = t_fork();
	if (s->pid == 0) {
		act(s, seed);
		T_CHECK(write(ready[1], "r", 1) == 1);
		for (;;)
			pause();
	}
	T_CHECK(read(ready[0], &c, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	/* The same choices here tell what is true there; objects change twice, to the same. */
	act(s, seed);
}

static void check(struct scene *s, struct umem_content *content)
{
	for (enum area a = 0; a < N_AREAS; a++)
		for (unsigned i = 0; i < PAGES; i++) {
			uint64_t addr = (uintptr_t)s->at[a] + i * PAGE;
			bool have = umem_pageset_has(&content->data, addr);

			/* Pages around one that faults may be mapped, too: of files only. */
			if (a == AREA_SHARED && have && !s->data[a][i])
				continue;
			T_CHECK(have == s->data[a][i], "area %d, page %u: %d", a, i, have);
			if (a == AREA_ANON)
				T_CHECK(umem_pageset_has(&content->blank, addr) == s->blank[i],
					"page %u", i);
		}
}

/* A page that is the file's again is told from one that is a copy. */
static void settle(struct scene *s, struct umem_target *target)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset set = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset out = { 0 };

	for (enum area a = AREA_ANON; a <= AREA_PRIVATE; a++)
		T_OK(umem_pageset_add(&set, (uintptr_t)s->at[a], (uintptr_t)s->at[a] + LEN));
	T_OK(umem_content_settle(target, &set, &out));
	for (enum area a = AREA_ANON; a <= AREA_PRIVATE; a++)
		for (unsigned i = 0; i < PAGES; i++) {
			uint64_t addr = (uintptr_t)s->at[a] + i * PAGE;
			bool is_file = a == AREA_PRIVATE && !s->data[a][i];

			T_CHECK(umem_pageset_has(&out, addr) == is_file, "area %d, page %u", a, i);
			T_CHECK(umem_pageset_has(&set, addr) == !is_file, "area %d, page %u", a, i);
		}
}

static void trial(uint64_t seed)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges gone = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges all = { 0 };
	UMEM_CLEANUP(umem_content_deinit) struct umem_content content = { 0 };
	UMEM_CLEANUP(umem_reasons_deinit) struct umem_reasons why = { 0 };
	struct scene s = { 0 };
	struct umem_target *target;

	make(&s);
	start(&s, seed);
	T_OK(umem_ranges_add(&all, 0, 1ull << 57));
	T_OK(umem_target_open(s.pid, NULL, &target, NULL));
	T_OK(umem_target_refresh(target, &gone, &gone, NULL));
	T_OK(umem_content_find(target, &all, &content, &why, NULL));
	T_CHECK(why.n == 0, "%s", why.v[0].reason);
	check(&s, &content);
	settle(&s, target);
	umem_target_free(target);
	t_end(s.pid);
	for (enum area a = 0; a < N_AREAS; a++)
		munmap(s.at[a], LEN);
	remove_file();
}

int main(void)
{
	uint64_t seed = t_seed();

	atexit(remove_file);
	for (int i = 0; i < 20; i++)
		trial(t_rand(&seed));
	return 0;
}
