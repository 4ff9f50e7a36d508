// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a pagemap word and a scan say of a page that is out, and of what only
 * looks so: a mark, poison, a guard page. The type in the word tells them from
 * each other. An area keeps its number when one before it goes away, so that a
 * number may be larger than the count of areas.
 */
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 8

/* Kinds of marks, in the place of the offset (include/linux/swapops.h). */
#define MARK_PROTECTED 1u
#define MARK_POISON    2u
#define MARK_GUARD     4u

static uint64_t offset_of(uint64_t word)
{
	return word >> 5 & ((1ull << 50) - 1);
}

static void show(int pm, char *at, const char *what)
{
	uint64_t word = k_word(pm, at);

	k_fact("%s: word %#llx: type %u, offset %llu; bits %#llx", what, (unsigned long long)word,
		UMEM_PM_SWAP_TYPE(word), (unsigned long long)offset_of(word),
		(unsigned long long)k_bits(pm, at));
}

static void check_mark(int pm, char *at, unsigned kind, uint64_t bits, const char *what)
{
	uint64_t word = k_word(pm, at);

	show(pm, at, what);
	T_CHECK(word & UMEM_PM_SWAPPED && !(word & UMEM_PM_PRESENT), "(%s)", what);
	T_CHECK(UMEM_PM_SWAP_TYPE(word) == UMEM_PM_MARKER_TYPE, "(%s)", what);
	T_CHECK(offset_of(word) == kind, "(%s)", what);
	T_CHECK(k_bits(pm, at) == bits, "(%s)", what);
	T_CHECK(k_smaps_kb(at, "Swap") == 0, "(%s)", what);
}

static void marks(int pm)
{
	int uffd = k_uffd(K_TRACK | UFFD_FEATURE_POISON);
	char *at = k_anon(N * K_PAGE), *guard = k_anon(N * K_PAGE);
	struct uffdio_poison poison = { .range = { (uintptr_t)at + 2 * K_PAGE, K_PAGE } };

	T_OK(umem_uffd_register(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE,
		UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING));
	T_OK(umem_uffd_protect(uffd, (uintptr_t)at, (uintptr_t)at + K_PAGE, 1));
	T_SYS(ioctl(uffd, UFFDIO_POISON, &poison));
	check_mark(pm, at, MARK_PROTECTED, PAGE_IS_WPALLOWED | PAGE_IS_SWAPPED, "a mark");
	check_mark(pm, at + 2 * K_PAGE, MARK_POISON,
		PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | PAGE_IS_SWAPPED, "poison");
	T_CHECK(k_word(pm, at + 4 * K_PAGE) == 0); /* control: untouched */
	munmap(at, N * K_PAGE);
	close(uffd);

	if (madvise(guard, K_PAGE, MADV_GUARD_INSTALL) < 0) {
		printf("no guard pages: %s\n", strerror(errno));
		return;
	}
	check_mark(pm, guard, MARK_GUARD, PAGE_IS_WRITTEN | PAGE_IS_SWAPPED | PAGE_IS_GUARD,
		"guard");
	T_CHECK(k_word(pm, guard) & UMEM_PM_GUARD);
	munmap(guard, N * K_PAGE);
}

/* A protected page that is out has no WRITTEN; all else that is out has it. */
static void armed(int pm, unsigned type)
{
	int uffd = k_uffd(K_TRACK);
	char *at = k_anon(N * K_PAGE);

	for (int i = 0; i < N; i++)
		t_fill_page(at + i * K_PAGE, (uint64_t)i, 0);
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_OK(umem_uffd_protect(uffd, (uintptr_t)at, (uintptr_t)at + K_PAGE, 1));
	k_put_out(pm, at, N * K_PAGE);
	k_in_area(pm, at, N * K_PAGE, type);
	show(pm, at, "out, protected");
	show(pm, at + K_PAGE, "out, registered and not protected");
	T_CHECK(k_bits(pm, at) == (PAGE_IS_WPALLOWED | PAGE_IS_SWAPPED));
	T_CHECK(k_bits(pm, at + K_PAGE) ==
		(PAGE_IS_WPALLOWED | PAGE_IS_SWAPPED | PAGE_IS_WRITTEN));
	T_CHECK(k_word(pm, at) & UMEM_PM_UFFD_WP);
	T_CHECK(!(k_word(pm, at + K_PAGE) & UMEM_PM_UFFD_WP));
	T_CHECK(k_smaps_kb(at, "Swap") == N * 4);
	munmap(at, N * K_PAGE);
	close(uffd);
}

static void areas(int pm)
{
	char *one = k_anon(N * K_PAGE), *two = k_anon(N * K_PAGE);
	unsigned first, second, third;
	const char *area;

	for (int i = 0; i < N; i++) {
		t_fill_page(one + i * K_PAGE, (uint64_t)i, 1);
		t_fill_page(two + i * K_PAGE, (uint64_t)i, 2);
	}
	area = k_zram_swap(16 << 20);
	first = k_swap_type();
	k_put_out(pm, one, N * K_PAGE);
	show(pm, one, "out, unregistered");
	T_CHECK(k_bits(pm, one) == (PAGE_IS_SWAPPED | PAGE_IS_WRITTEN));
	k_in_area(pm, one, N * K_PAGE, first);
	T_CHECK(k_smaps_kb(one, "Swap") == N * 4);
	armed(pm, first);

	k_zram_swap(16 << 20);
	second = k_swap_type();
	k_put_out(pm, two, N * K_PAGE);
	k_in_area(pm, two, N * K_PAGE, second);
	T_CHECK(second != first);
	T_CHECK(UMEM_PM_SWAP_TYPE(k_word(pm, one)) == first);

	/* All of the first comes back; the second keeps its number. */
	k_swap_off(area);
	T_CHECK(k_count(pm, one, N * K_PAGE, PAGE_IS_PRESENT) == N);
	T_CHECK(UMEM_PM_SWAP_TYPE(k_word(pm, two)) == second);
	T_CHECK(k_swap_type() == second);
	k_zram_swap(16 << 20);
	third = k_swap_type();
	k_fact("types: first area %u, second %u, one after the first is off %u", first, second,
		third);
	T_CHECK(third != second && third < UMEM_PM_MARKER_TYPE);
	T_CHECK((uint8_t)one[3 * K_PAGE + 5] == t_pattern(3, 5, 1));
	T_CHECK((uint8_t)two[3 * K_PAGE + 5] == t_pattern(3, 5, 2));
}

int main(void)
{
	int pm = k_pagemap();

	if (geteuid() != 0)
		T_SKIP("types in pagemap words need root");
	marks(pm);
	areas(pm);
	return 0;
}
