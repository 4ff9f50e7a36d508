// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a word of pagemap says of a page: each kind of entry, as root sees it
 * and as others do, with flags of frames from a file in place of /proc/kpageflags.
 */
#include "lib/mem/residency_table.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/kpage.h"
#include "tests/lib/harness.h"

#define PFN_ZERO 7ull
#define PFN_PAGE 9ull
#define SWAP(type, offset) (UMEM_PM_SWAPPED | (type) | (uint64_t)(offset) << 5)

/* One word, and what it is: to root, and where type, offset and frame are hidden. */
static const struct {
	const char *what;
	uint64_t word;
	bool anonymous;
	enum umem_entry root;
	enum umem_entry other;
} words[] = {
	{ "nothing", 0, true, UMEM_ENTRY_NONE, UMEM_ENTRY_NONE },
	{ "soft-dirty", UMEM_PM_SOFT_DIRTY, true, UMEM_ENTRY_NONE, UMEM_ENTRY_NONE },
	{ "a page", UMEM_PM_PRESENT | UMEM_PM_EXCLUSIVE | PFN_PAGE, true, UMEM_ENTRY_PRESENT,
		UMEM_ENTRY_PRESENT },
	{ "a protected page", UMEM_PM_PRESENT | UMEM_PM_EXCLUSIVE | UMEM_PM_UFFD_WP | PFN_PAGE,
		true, UMEM_ENTRY_PRESENT, UMEM_ENTRY_PRESENT },
	{ "a file's page", UMEM_PM_PRESENT | UMEM_PM_FILE | PFN_PAGE, false, UMEM_ENTRY_PRESENT,
		UMEM_ENTRY_PRESENT },
	{ "the page of zeros", UMEM_PM_PRESENT | PFN_ZERO, true, UMEM_ENTRY_ZERO,
		UMEM_ENTRY_PRESENT },
	{ "the huge page of zeros", UMEM_PM_PRESENT | UMEM_PM_FILE | PFN_ZERO, true,
		UMEM_ENTRY_ZERO, UMEM_ENTRY_ZERO },
	{ "a shared page", UMEM_PM_PRESENT | PFN_PAGE, true, UMEM_ENTRY_PRESENT,
		UMEM_ENTRY_PRESENT },
	{ "the first page of an area", SWAP(0, 1), true, UMEM_ENTRY_SWAPPED,
		UMEM_ENTRY_UNMARKED },
	{ "a protected one of the last", SWAP(22, 1ull << 40) | UMEM_PM_UFFD_WP, true,
		UMEM_ENTRY_SWAPPED, UMEM_ENTRY_HIDDEN },
	{ "a page that is moved", SWAP(28, PFN_PAGE), true, UMEM_ENTRY_PRESENT,
		UMEM_ENTRY_UNMARKED },
	{ "the first special type", SWAP(23, PFN_PAGE), true, UMEM_ENTRY_PRESENT,
		UMEM_ENTRY_UNMARKED },
	{ "a mark", SWAP(31, 1) | UMEM_PM_UFFD_WP, true, UMEM_ENTRY_NONE, UMEM_ENTRY_HIDDEN },
	{ "a poisoned page", SWAP(31, 2), true, UMEM_ENTRY_NONE, UMEM_ENTRY_UNMARKED },
	{ "a guard", SWAP(31, 4) | UMEM_PM_GUARD, true, UMEM_ENTRY_GUARD, UMEM_ENTRY_GUARD },
	{ "a guard with a mark", SWAP(31, 5) | UMEM_PM_GUARD | UMEM_PM_UFFD_WP, true,
		UMEM_ENTRY_GUARD, UMEM_ENTRY_GUARD },
};

static struct umem_table open_table(bool blind, bool flags)
{
	uint64_t file[PFN_PAGE + 1] = { [PFN_ZERO] = UMEM_KPF(ZERO_PAGE) };
	struct umem_table table;

	T_OK(umem_table_init(&table, -1, blind));
	if (flags) {
		table.kpageflags_fd = (int)T_SYS(memfd_create("flags", MFD_CLOEXEC));
		T_OK(umem_write_all(table.kpageflags_fd, file, sizeof(file)));
	}
	return table;
}

static void all_words(void)
{
	struct umem_table root = open_table(false, true), other = open_table(true, false);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		/* What root sees, once with flags and once hidden; and as it is hidden. */
		uint64_t hidden = words[i].word & ~(UMEM_PM_SOFT_DIRTY - 1);

		root.anonymous = other.anonymous = words[i].anonymous;
		T_CHECK(umem_table_entry(&root, words[i].word) == words[i].root, "(%s: %d)",
			words[i].what, umem_table_entry(&root, words[i].word));
		T_CHECK(umem_table_entry(&other, words[i].word) == words[i].other, "(%s: %d)",
			words[i].what, umem_table_entry(&other, words[i].word));
		T_CHECK(umem_table_entry(&root, hidden) == words[i].other, "(%s: %d)",
			words[i].what, umem_table_entry(&root, hidden));
	}
	umem_table_deinit(&root);
	umem_table_deinit(&other);
}

/* It says so when it may have taken a page of zeros for another, and not otherwise. */
static void blindness(void)
{
	struct umem_table table = open_table(false, true);

	table.anonymous = true;
	T_CHECK(umem_table_entry(&table, UMEM_PM_PRESENT | PFN_ZERO) == UMEM_ENTRY_ZERO);
	T_CHECK(umem_table_entry(&table, UMEM_PM_PRESENT | PFN_PAGE) == UMEM_ENTRY_PRESENT);
	T_CHECK(!table.zero_blind && table.zero_pfn == PFN_ZERO);
	T_CHECK(umem_table_entry(&table, UMEM_PM_PRESENT) == UMEM_ENTRY_PRESENT);
	T_CHECK(table.zero_blind);
	umem_table_deinit(&table);
	table = open_table(false, false);
	T_CHECK(umem_table_entry(&table, UMEM_PM_PRESENT | UMEM_PM_EXCLUSIVE | PFN_PAGE) ==
		UMEM_ENTRY_PRESENT);
	T_CHECK(!table.zero_blind);
	T_CHECK(umem_table_entry(&table, UMEM_PM_PRESENT | PFN_ZERO) == UMEM_ENTRY_PRESENT);
	T_CHECK(table.zero_blind);
	umem_table_deinit(&table);
}

/* A kernel without the bit for guards: the offset of the mark tells root. */
static void guards_without_bit(void)
{
	struct umem_table table = open_table(false, false);

	table.guard = 0;
	T_CHECK(umem_table_entry(&table, SWAP(31, 4)) == UMEM_ENTRY_GUARD);
	T_CHECK(umem_table_entry(&table, SWAP(31, 5) | UMEM_PM_UFFD_WP) == UMEM_ENTRY_GUARD);
	T_CHECK(umem_table_entry(&table, SWAP(31, 3) | UMEM_PM_UFFD_WP) == UMEM_ENTRY_NONE);
	umem_table_deinit(&table);
}

/* Bytes by entry. */
static int add(void *user, uint64_t start, uint64_t end, enum umem_entry entry)
{
	uint64_t *bytes = user;

	bytes[entry] += end - start;
	return 0;
}

/*
 * Huge pages, one of them of zeros, by scans that are believed to tell it and by
 * scans that are not.
 */
static void huge_zero(void)
{
	const size_t huge = 2ul << 20;
	char *map = mmap(NULL, 4 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		0);
	char *at = (char *)umem_align_up((uintptr_t)map, huge);
	struct umem_table table;
	int fd = -1;

	T_CHECK(map != MAP_FAILED);
	madvise(at, 3 * huge, MADV_HUGEPAGE);
	at[0] = 1;
	(void)*(volatile char *)(at + huge);
	T_OK(umem_pagemap_open(getpid(), &fd));
	T_OK(umem_table_init(&table, fd, false));
	umem_kpage_open(UMEM_KPAGE_FLAGS, &table.kpageflags_fd);
	table.anonymous = true;
	for (int i = 0; i < 2; i++) {
		uint64_t bytes[UMEM_ENTRY_UNMARKED + 1] = { 0 };
		int r = umem_table_scan(&table, (uintptr_t)at, (uintptr_t)at + 3 * huge, add,
			bytes);

		if (r == -ENOTTY)
			break;
		T_OK(r);
		/* Without huge pages it is a small one. */
		T_CHECK(table.zero_blind || bytes[UMEM_ENTRY_ZERO] == huge ||
			bytes[UMEM_ENTRY_ZERO] == 4096, "%llu",
			(unsigned long long)bytes[UMEM_ENTRY_ZERO]);
		T_CHECK(bytes[UMEM_ENTRY_PRESENT] <= huge);
		table.huge_zero = UMEM_HUGE_ZERO_HIDDEN;
	}
	umem_table_deinit(&table);
	close(fd);
	munmap(map, 4 * huge);
}

int main(void)
{
	huge_zero();
	all_words();
	blindness();
	guards_without_bit();
	return 0;
}
