// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sources of accesses: who else marks, what is not there, targets that end. */
#include <errno.h>
#include <sys/prctl.h>

#include "lib/base/fd.h"
#include "lib/kern/pageidle.h"
#include "tests/unit/track/accessed.h"

#define KDAMOND "kernel/mm/damon/admin/kdamonds/"

/* Pages that were written. */
static char *memory;
static const unsigned n = 100;

/* Mark all frames of this process, as somebody would who marks all of the machine. */
static void mark_all(void)
{
	static uint64_t words[1 << 16];
	unsigned long start, end;
	char line[512];
	FILE *file = fopen("/proc/self/maps", "re");
	UMEM_FD int fd = -1;

	assert_int_equal(0, umem_pageidle_open(t_tree(), &fd));
	while (fgets(line, sizeof(line), file)) {
		/* The shadow memory of a sanitizer is of terabytes. */
		if (sscanf(line, "%lx-%lx", &start, &end) != 2 || end - start > 1ull << 36)
			continue;
		for (size_t got = 0, k; start < end; start += got * PAGE) {
			/* The last line is not a part of the process. */
			if (umem_pagemap_words(target->pagemap_fd, start, words,
				    umem_min_u64((end - start) / PAGE, 1 << 16), &got) < 0 ||
				got == 0)
				break;
			k = 0;
			for (size_t i = 0; i < got; i++)
				if (words[i] & UMEM_PM_PRESENT && words[i] & UMEM_PM_PFN_MASK)
					words[k++] = words[i] & UMEM_PM_PFN_MASK;
			assert_int_equal(0, umem_pageidle_mark(fd, words, k));
		}
	}
	fclose(file);
}

static void others_who_mark(void **state)
{
	struct umem_accessed *source = new_source(), *second = NULL;
	struct umem_accessed_count count;
	struct umem_note note = { 0 };

	look(source, memory, n);
	look(source, memory, n);
	/* Marks of this process's other pages go with their frames, should these move. */
	t_idle_window(NULL, 0);
	for (int tries = 0; tries < 5; tries++) {
		memory[5 * PAGE]++;
		mark_all();
		count = look(source, memory, n);
		if (count.disturbed)
			break;
	}
	assert_non_null(count.disturbed);
	assert_int_equal(n, count.unknown);
	count = look(source, memory, n);
	assert_null(count.disturbed);
	assert_int_equal(n, count.idle);

	t_tree_put(KDAMOND "nr_kdamonds", "1\n");
	t_tree_put(KDAMOND "0/state", "on\n");
	t_tree_put(KDAMOND "0/contexts/0/operations", "paddr\n");
	count = look(source, memory, n);
	assert_non_null(count.disturbed);
	assert_int_equal(n, count.unknown);
	/* One of ours is there; DAMON comes first. */
	assert_int_equal(-EBUSY, umem_accessed_open(target, t_tree(), &second, &note));
	assert_non_null(strstr(note.text, "kdamond 0 (paddr)"));
	t_tree_put(KDAMOND "0/state", "off\n");
	note = (struct umem_note){ 0 };
	assert_int_equal(-EADDRINUSE, umem_accessed_open(target, t_tree(), &second, &note));
	assert_non_null(strstr(note.text, "already"));
	assert_null(second);
	assert_int_equal(n, look(source, memory, n).idle);
	umem_accessed_free(source);
	umem_accessed_free(new_source());
	t_tree_drop("kernel/mm/damon");
	t_idle_window(memory, n * PAGE);
}

static void no_source(void **state)
{
	struct umem_accessed *source = NULL;
	struct umem_target *without = new_target(getpid(), "-page_idle");
	struct umem_target *as_is = new_target(getpid(), NULL);
	struct umem_note note = { 0 };
	struct umem_feats feats;
	int r;

	assert_int_equal(-ENOTSUP, umem_accessed_open(without, t_tree(), &source, &note));
	assert_non_null(strstr(note.text, "page_idle"));
	assert_int_equal(-ENOTSUP, umem_accessed_open(target, t_tree_path("nowhere"), &source,
		NULL));
	assert_null(source);
	assert_null(umem_accessed_free(NULL));
	/* This machine, as it is. */
	assert_int_equal(0, umem_feats_probe_some(UMEM_FEAT_BIT(UMEM_FEAT_PAGE_IDLE), &feats));
	r = umem_accessed_open(as_is, NULL, &source, NULL);
	if (!umem_feats_has(&feats, UMEM_FEAT_PAGE_IDLE))
		assert_int_equal(-ENOTSUP, r);
	else
		assert_true(r == 0 || r == -EBUSY);
	umem_accessed_free(source);
	umem_target_free(without);
	umem_target_free(as_is);
}

/* After a failure nothing is known of the time before. */
static void failures(void **state)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset pages = { 0 }, accessed = { 0 };
	struct umem_accessed *source = new_source();
	struct umem_accessed_count count = { .idle = 4711 };
	int hidden, shown = target->pagemap_fd;

	look(source, memory, 10);
	assert_int_equal(10, look(source, memory, 10).idle);
	assert_int_equal(0, umem_pageset_add(&pages, (uintptr_t)memory,
		(uintptr_t)memory + 10 * PAGE));

	/* Who opened the file decides what it shows. */
	assert_int_equal(0, seteuid(65534));
	prctl(PR_SET_DUMPABLE, 1);
	assert_int_equal(0, umem_pagemap_open(getpid(), &hidden));
	assert_int_equal(0, seteuid(0));
	target->pagemap_fd = hidden;
	assert_int_equal(-EPERM, umem_accessed_collect(source, &pages, &accessed, &count));
	target->pagemap_fd = shown;
	close(hidden);
	assert_int_equal(4711, count.idle);
	assert_int_equal(10, look(source, memory, 10).unknown);
	assert_int_equal(10, look(source, memory, 10).idle);

	/* Past the end of all memory. */
	assert_int_equal(0, umem_pageset_add(&pages, 1ull << 62, (1ull << 62) + PAGE));
	assert_int_equal(UMEM_GONE, umem_accessed_collect(source, &pages, &accessed, &count));
	assert_int_equal(10, look(source, memory, 10).unknown);
	umem_accessed_free(source);
}

static void target_ends(void **state)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset pages = { 0 }, accessed = { 0 };
	struct umem_accessed *source = NULL, *late = NULL;
	struct umem_accessed_count count;
	pid_t child = new_child();
	struct umem_target *other = new_target(child, "+page_idle");

	assert_int_equal(0, umem_accessed_open(other, t_tree(), &source, NULL));
	assert_int_equal(0, umem_pageset_add(&pages, (uintptr_t)memory,
		(uintptr_t)memory + n * PAGE));
	assert_int_equal(0, umem_accessed_collect(source, &pages, &accessed, &count));
	t_end(child);
	assert_int_equal(UMEM_GONE, umem_accessed_collect(source, &pages, &accessed, &count));
	umem_accessed_free(source);
	assert_int_equal(UMEM_GONE, umem_accessed_open(other, t_tree(), &late, NULL));
	umem_target_free(other);
}

static int set_up_memory(void **state)
{
	memory = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || madvise(memory, n * PAGE, MADV_NOHUGEPAGE) < 0)
		return -1;
	memset(memory, 1, n * PAGE);
	t_idle_window(memory, n * PAGE);
	target = new_target(getpid(), "+page_idle");
	return 0;
}

static int tear_down(void **state)
{
	umem_target_free(target);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_who_mark),
		cmocka_unit_test(no_source),
		cmocka_unit_test(failures),
		cmocka_unit_test(target_ends),
	};

	t_idle_start(T_IDLE_FRAMES);
	return cmocka_run_group_tests(tests, set_up_memory, tear_down);
}
