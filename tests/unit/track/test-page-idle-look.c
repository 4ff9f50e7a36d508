// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which pages were accessed, by idle page tracking: this process's own memory and
 * frames, a bitmap that stands in for the kernel's, a naive model beside it.
 */
#include <errno.h>
#include <time.h>

#include "lib/kern/kpage.h"
#include "tests/unit/track/accessed.h"

#define HUGE     (2ull << 20)
#define N_HUGE   512u
#define N_ANON   1024u
#define N_SHARED 384u
#define N        (N_ANON + N_SHARED)
#define ROUNDS   100u

/* A chunk of lib/track/page_idle_look.c without half a large page. */
#define N_SMALL  (65536u - 256u)
#define ROOM     (N_SMALL * PAGE + 3 * HUGE)

/* Private memory, behind it shared memory. */
static char *memory;

/*
 * The model: what is known of each page by what was done to it.
 * @then: its word when it was marked, 0 when it was not.
 * @used: it was accessed since.
 * @unsure: it moved by itself while it was looked at; no exact answer this time.
 */
static struct {
	uint64_t then;
	bool used;
	bool unsure;
} model[N];

static uint64_t seed;
static pid_t child;

static uint64_t frame_of(size_t page)
{
	uint64_t word;

	words_of(memory + page * PAGE, &word, 1);
	return word & UMEM_PM_PFN_MASK;
}

static bool ignored(uint64_t pfn)
{
	return pfn % 37 == 5;
}

static void store(size_t page, unsigned round)
{
	/* What was there when it was marked is of another round. */
	*(volatile uint8_t *)(memory + page * PAGE) = (uint8_t)(round % 251 + 1);
	model[page].used = true;
}

/* A frame that is given back to the kernel loses its mark. */
static void give_back(size_t page, size_t n, int advice)
{
	for (size_t i = page; i < page + n; i++)
		if (frame_of(i))
			t_idle_access(frame_of(i));
	if (madvise(memory + page * PAGE, n * PAGE, advice) < 0)
		fail_msg("advice %d: %s", advice, strerror(errno));
	for (size_t i = page; i < page + n; i++)
		model[i].used = true;
}

static void act(unsigned round)
{
	size_t page = (size_t)t_below(&seed, N), n = 1 + (size_t)t_below(&seed, 24);
	uint64_t pfn;

	n = page + n > N ? N - page : n;
	switch (t_below(&seed, 16)) {
	case 0:
		/* Only what lies wholly in one of the two: their end is inside otherwise. */
		give_back(page, n, page < N_ANON ? MADV_DONTNEED : MADV_COLD);
		return;
	case 1:
		give_back(page, n, MADV_PAGEOUT);
		return;
	case 2:
		/* A read: the memory does not show it. */
		pfn = frame_of(page);
		if (pfn) {
			t_idle_access(pfn);
			model[page].used = true;
		}
		return;
	case 3:
		if (child <= 0 && t_below(&seed, 8) == 0)
			child = new_child();
		return;
	default:
		for (size_t i = page; i < page + n; i++)
			store(i, round);
	}
}

/* All of it, or pieces. */
static void choose(struct umem_pageset *pages)
{
	bool all = t_below(&seed, 3) != 0;
	uint64_t start = (uintptr_t)memory;

	for (size_t at = 0; at < N;) {
		size_t n = all ? N : 1 + (size_t)t_below(&seed, 100);

		n = at + n > N ? N - at : n;
		if (all || t_below(&seed, 2))
			assert_int_equal(0, umem_pageset_add(pages, start + at * PAGE,
				start + (at + n) * PAGE));
		at += n;
	}
}

static bool marked(uint64_t word)
{
	const uint64_t needed = UMEM_PM_PRESENT | UMEM_PM_EXCLUSIVE;

	return (word & needed) == needed && !ignored(word & UMEM_PM_PFN_MASK);
}

/* Compare one page with the model, and let the model go on. Return: exactly compared. */
static bool check(size_t i, bool in, bool said, uint64_t before, uint64_t after)
{
	bool exact = in && before == after && !model[i].unsure;
	bool idle = marked(after) && model[i].then == after && !model[i].used;

	if (said && !in)
		fail_msg("page %zu was not asked about", i);
	if (exact && said == idle)
		fail_msg("page %zu: said %d, was %#llx, is %#llx, used %d", i, said,
			(unsigned long long)model[i].then, (unsigned long long)after,
			model[i].used);
	if (in && model[i].used && !said)
		fail_msg("page %zu was used, and is said to be idle", i);
	model[i].then = in && marked(after) ? after : 0;
	model[i].unsure = in && before != after;
	/* An access that nobody asked about is forgotten with the mark. */
	model[i].used = false;
	return exact;
}

static void end_child(void)
{
	if (child > 0)
		t_end(child);
	child = 0;
}

static void against_a_model(void **state)
{
	static uint64_t before[N], after[N];
	struct umem_accessed *source = new_source();
	uint64_t n_exact = 0, n_idle = 0, n_all = 0;

	memset(model, 0, sizeof(model));
	t_idle_forget();
	for (uint64_t pfn = 0; pfn < 1 << 23; pfn++)
		if (ignored(pfn))
			t_idle_ignore(pfn, true);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset pages = { 0 };
		UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset accessed = { 0 };
		struct umem_accessed_count count;

		for (uint64_t i = t_below(&seed, 60); i > 0; i--)
			act(round);
		choose(&pages);
		words_of(memory, before, N);
		assert_int_equal(0, umem_accessed_collect(source, &pages, &accessed, &count));
		words_of(memory, after, N);
		assert_null(count.disturbed);
		for (size_t i = 0; i < N; i++) {
			uint64_t at = (uintptr_t)memory + i * PAGE;

			n_exact += check(i, umem_pageset_has(&pages, at),
				umem_pageset_has(&accessed, at), before[i], after[i]);
		}
		n_idle += count.idle;
		n_all += count.pages;
		end_child();
	}
	print_message("%llu pages asked about, %llu compared exactly, %llu idle\n",
		(unsigned long long)n_all, (unsigned long long)n_exact,
		(unsigned long long)n_idle);
	/* It was not all noise. */
	assert_true(n_exact > n_all / 2 && n_idle > n_all / 20 && n_idle < n_all);
	assert_int_equal(0, t_idle_calls().bad);
	umem_accessed_free(source);
	t_idle_forget();
}

/* Words of the bitmap in which the first @n pages have their bits. */
static uint64_t count_words(size_t n)
{
	uint64_t at[N], n_words = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		at[i] = frame_of(i) / 64;
		while (at[k] != at[i])
			k++;
		n_words += k == i;
	}
	return n_words;
}

/* Steps that are told apart: nothing, a store, new pages, the second owner's frames. */
static void step_by_step(void **state)
{
	struct umem_accessed *source = new_source();
	struct umem_accessed_count count;
	uint64_t before, n_words;
	const unsigned n = 100;

	for (size_t i = 0; i < N; i++)
		store(i, ROUNDS + 1);
	count = look(source, memory, n);
	assert_int_equal(n, count.unknown);
	assert_int_equal(n, look(source, memory, n).idle);
	for (size_t i = 0; i < 7; i++)
		store(i * 3, ROUNDS + 2);
	count = look(source, memory, n);
	assert_int_equal(7, count.accessed);
	assert_int_equal(n - 7, count.idle);
	assert_int_equal(n, look(source, memory, n).idle);
	/* Twice as many: the second half was not marked. */
	count = look(source, memory, 2 * n);
	assert_int_equal(n, count.idle);
	assert_int_equal(n, count.unknown);
	/* A child has the private pages too, and then not any more. */
	child = new_child();
	assert_int_equal(2 * n, look(source, memory, 2 * n).unknown);
	end_child();
	assert_int_equal(2 * n, look(source, memory, 2 * n).unknown);
	assert_int_equal(2 * n, look(source, memory, 2 * n).idle);
	/* No word of the bitmap is read twice; one more is the canary's. */
	before = t_idle_calls().words_read;
	n_words = count_words(2 * n);
	assert_int_equal(2 * n, look(source, memory, 2 * n).idle);
	assert_in_range(t_idle_calls().words_read - before, n_words, n_words + 1);
	/* Zero pages and nothing at all. */
	assert_int_equal(0, madvise(memory, n * PAGE, MADV_DONTNEED));
	(void)*(volatile char *)memory;
	count = look(source, memory, 2 * n);
	assert_int_equal(n, count.unknown);
	assert_int_equal(0, look(source, memory, 0).pages);
	umem_accessed_free(source);
}

/* Large pages are one unit, also where a border of chunks cuts them. */
static void large_pages(void **state)
{
	struct umem_accessed *source = NULL;
	struct umem_accessed_count count;
	char *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *large = (char *)umem_align_up((uintptr_t)room + N_SMALL * PAGE, HUGE);
	char *start = large - N_SMALL * PAGE;
	uint64_t word, flags;
	int flags_fd = -1;

	assert_true(room != MAP_FAILED);
	assert_int_equal(0, madvise(room, ROOM, MADV_NOHUGEPAGE));
	assert_int_equal(0, madvise(large, 2 * HUGE, MADV_HUGEPAGE));
	for (char *at = start; at < large + 2 * HUGE; at += PAGE)
		*(volatile char *)at = 1;
	words_of(large + PAGE, &word, 1);
	word &= UMEM_PM_PFN_MASK;
	assert_int_equal(0, umem_kpage_open(UMEM_KPAGE_FLAGS, &flags_fd));
	assert_int_equal(0, umem_kpage_read(flags_fd, &word, 1, 0, &flags));
	close(flags_fd);
	if (!(flags & UMEM_KPF(COMPOUND_TAIL))) {
		print_message("no huge page to be had\n");
		skip();
	}
	t_idle_window(room, ROOM);
	source = new_source();
	look(source, large, 2 * N_HUGE);
	assert_int_equal(2 * N_HUGE, look(source, large, 2 * N_HUGE).idle);
	large[300 * PAGE] = 2;
	count = look(source, large, 2 * N_HUGE);
	assert_int_equal(N_HUGE, count.accessed);
	assert_int_equal(N_HUGE, count.idle);
	/* A part, without its head. */
	look(source, large + 100 * PAGE, 50);
	assert_int_equal(50, look(source, large + 100 * PAGE, 50).idle);
	large[300 * PAGE] = 3;
	assert_int_equal(50, look(source, large + 100 * PAGE, 50).accessed);
	/* The first half of a large page ends a chunk, the second begins one. */
	look(source, start, N_SMALL + 2 * N_HUGE);
	count = look(source, start, N_SMALL + 2 * N_HUGE);
	assert_int_equal(N_SMALL + 2 * N_HUGE, count.idle);
	large[0] = 4;
	count = look(source, start, N_SMALL + 2 * N_HUGE);
	assert_int_equal(N_HUGE, count.accessed);
	assert_int_equal(N_SMALL + N_HUGE, count.idle);
	umem_accessed_free(source);
	munmap(room, ROOM);
	t_idle_window(NULL, 0);
	t_idle_window(memory, N * PAGE);
}

static uint64_t cpu_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/*
 * What it costs beside the kernel's own work with the bits: a plain file holds them,
 * which keeps what it is given and loses it when it is cut.
 */
static void cost(void **state)
{
	const uint64_t n = 65536;
	char *at = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct umem_accessed *source = NULL;
	uint64_t best[3] = { UINT64_MAX, UINT64_MAX, UINT64_MAX }, empty;
	struct umem_accessed_count count;

	assert_true(at != MAP_FAILED);
	assert_int_equal(0, madvise(at, n * PAGE, MADV_NOHUGEPAGE));
	memset(at, 1, n * PAGE);
	t_tree_put("plain/kernel/mm/page_idle/bitmap", "");
	assert_int_equal(0, umem_accessed_open(target, t_tree_path("plain"), &source, NULL));
	empty = umem_accessed_memory(source);
	for (size_t i = 0; i < 15; i++) {
		uint64_t t0;

		if (i % 3 == 0)
			assert_int_equal(0,
				truncate(t_tree_path("plain/kernel/mm/page_idle/bitmap"), 0));
		t0 = cpu_ns();
		count = look(source, at, i % 3 < 2 ? n : 1);
		best[i % 3] = umem_min_u64(best[i % 3], cpu_ns() - t0);
		if (i % 3 == 0)
			assert_int_equal(0, count.idle);
		if (i % 3 < 2)
			assert_in_range(umem_accessed_memory(source) - empty, 4 * n, 5 * n);
	}
	print_message("a page in use %llu ns, idle %llu ns, a look %llu us\n",
		(unsigned long long)(best[0] / n), (unsigned long long)(best[1] / n),
		(unsigned long long)(best[2] / 1000));
	umem_accessed_free(source);
	t_tree_drop("plain");
	munmap(at, n * PAGE);
}

static int set_up_memory(void **state)
{
	int fd = memfd_create("accessed", MFD_CLOEXEC);

	memory = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || memory == MAP_FAILED ||
		ftruncate(fd, N_SHARED * PAGE) < 0 ||
		mmap(memory + N_ANON * PAGE, N_SHARED * PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
		madvise(memory, N_ANON * PAGE, MADV_NOHUGEPAGE) < 0)
		return -1;
	close(fd);
	t_idle_window(memory, N * PAGE);
	target = new_target(getpid(), "+page_idle");
	return 0;
}

static int tear_down(void **state)
{
	end_child();
	umem_target_free(target);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_a_model),
		cmocka_unit_test(step_by_step),
		cmocka_unit_test(large_pages),
		cmocka_unit_test(cost),
	};

	seed = t_seed();
	t_idle_start(T_IDLE_FRAMES);
	return cmocka_run_group_tests(tests, set_up_memory, tear_down);
}
