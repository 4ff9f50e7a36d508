// SPDX-License-Identifier: LGPL-2.1-or-later
/* Bytes of another process: private and shared memory, holes, objects cut short. */
#include "lib/mem/reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/kern/pagemap.h"
#include "tests/lib/harness.h"

#define PAGE  4096u
#define PAGES 16u
#define LEN   (PAGES * PAGE)

/** struct scene - memory that a child has, too. */
struct scene {
	uint8_t *private;
	uint8_t *shared;
	uint8_t *hidden;
	int memfd;
	pid_t pid;
	struct umem_target *target;
	struct umem_reader reader;
};

static uint8_t *map(int flags, int fd)
{
	uint8_t *at = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, fd, 0);

	T_CHECK(at != MAP_FAILED);
	return at;
}

static void begin(struct scene *s)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };

	s->memfd = (int)T_SYS(memfd_create("reader", MFD_CLOEXEC));
	T_SYS(ftruncate(s->memfd, LEN));
	s->private = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	s->shared = map(MAP_SHARED, s->memfd);
	s->hidden = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (unsigned i = 0; i < PAGES; i += 2) {
		t_fill_page(s->private + i * PAGE, i, 1);
		t_fill_page(s->shared + i * PAGE, i, 2);
		t_fill_page(s->hidden + i * PAGE, i, 3);
	}
	T_SYS(mprotect(s->hidden, LEN, PROT_NONE));
	s->pid = t_fork();
	if (s->pid == 0)
		for (;;)
			pause();
	T_OK(umem_target_open(s->pid, NULL, &s->target, NULL));
	T_OK(umem_target_refresh(s->target, &appeared, &vanished, NULL));
	T_OK(umem_reader_init(&s->reader, s->target));
}

static void end(struct scene *s)
{
	umem_reader_deinit(&s->reader);
	umem_target_free(s->target);
	t_end(s->pid);
	close(s->memfd);
	munmap(s->private, LEN);
	munmap(s->shared, LEN);
	munmap(s->hidden, LEN);
}

static void check_page(const uint8_t *page, unsigned i, uint64_t gen)
{
	uint8_t want[PAGE] = { 0 };

	if (i % 2 == 0)
		t_fill_page(want, i, gen);
	T_CHECK(memcmp(page, want, PAGE) == 0, "page %u of %llu", i, (unsigned long long)gen);
}

/* Runs in descending order, of one page and of several, as bytes and in their order. */
static void read_runs(struct scene *s, const uint8_t *at, uint64_t gen)
{
	uint64_t a = (uintptr_t)at;
	struct umem_range runs[] = {
		{ a + 9 * PAGE, a + 12 * PAGE },
		{ a + 4 * PAGE, a + 5 * PAGE },
		{ a, a + 2 * PAGE },
	};
	static const unsigned pages[] = { 9, 10, 11, 4, 0, 1 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	uint8_t buf[6 * PAGE];
	struct umem_region *region = umem_space_find(&s->target->space, a);

	memset(buf, 0xee, sizeof(buf));
	T_CHECK(region);
	T_OK(umem_reader_read(&s->reader, region, runs, 3, buf, &holes));
	T_CHECK(holes.n == 0);
	for (unsigned i = 0; i < 6; i++)
		check_page(buf + i * PAGE, pages[i], gen);
}

/* An object that was cut short: its last page is whole, the rest is a hole. */
static void cut_short(struct scene *s)
{
	uint64_t a = (uintptr_t)s->shared;
	struct umem_range run = { a + 2 * PAGE, a + 8 * PAGE };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	uint8_t buf[6 * PAGE];

	T_SYS(ftruncate(s->memfd, 4 * PAGE + 100));
	memset(buf, 0xee, sizeof(buf));
	T_OK(umem_reader_read(&s->reader, umem_space_find(&s->target->space, a), &run, 1, buf,
		&holes));
	T_CHECK(holes.n == 1 && holes.v[0].start == a + 5 * PAGE && holes.v[0].end == run.end);
	check_page(buf, 2, 2);
	check_page(buf + PAGE, 3, 2);
	for (unsigned i = 0; i < PAGE; i++)
		T_CHECK(buf[2 * PAGE + i] == (i < 100 ? t_pattern(4, i, 2) : 0), "byte %u", i);
	for (unsigned i = 3 * PAGE; i < sizeof(buf); i++)
		T_CHECK(buf[i] == 0);
}

/* Reading an object maps nothing into the target; reading by its page tables would. */
static void no_trace(struct scene *s)
{
	uint64_t a = (uintptr_t)s->shared, word, words[PAGES];
	struct umem_range run = { a, a + LEN };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	static uint8_t buf[LEN];
	size_t n;

	T_OK(umem_pagemap_words(s->target->pagemap_fd, a, words, PAGES, &n));
	T_OK(umem_reader_read(&s->reader, umem_space_find(&s->target->space, a), &run, 1, buf,
		&holes));
	for (unsigned i = 0; i < PAGES; i++) {
		T_OK(umem_pagemap_words(s->target->pagemap_fd, a + i * PAGE, &word, 1, &n));
		T_CHECK(word == words[i], "page %u", i);
	}
}

int main(void)
{
	struct scene s = { .reader = UMEM_READER_NONE };

	begin(&s);
	T_CHECK(s.reader.n_objects == 0);
	read_runs(&s, s.private, 1);
	read_runs(&s, s.hidden, 3);
	no_trace(&s);
	read_runs(&s, s.shared, 2);
	T_CHECK(s.reader.n_objects == 1);
	cut_short(&s);
	/* What may not be opened is read as private memory is. */
	close(s.reader.objects[0].fd);
	s.reader.objects[0].fd = -1;
	T_SYS(ftruncate(s.memfd, LEN));
	for (unsigned i = 0; i < PAGES; i += 2)
		t_fill_page(s.shared + i * PAGE, i, 2);
	memset(s.shared + 5 * PAGE, 0, PAGE);
	read_runs(&s, s.shared, 2);
	end(&s);
	return 0;
}
