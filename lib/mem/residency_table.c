// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Page tables, entry by entry.
 *
 * Theory of operation
 *
 * PAGEMAP_SCAN costs a nanosecond a page and sees everything but one thing:
 * "swapped" is whatever is not empty and not present. Of that kind are also
 * the marks that a userfaultfd leaves on pages that were never there, and
 * entries of pages that are just being moved. The classic word has the swap
 * type, which tells them apart, but costs some 30 ns. So words are read where
 * the scan says swapped and nowhere else, in one piece for runs that lie
 * close: a system call costs as much as ten words.
 *
 * Where nearly all is swapped, or every few pages change between swapped and not,
 * the scan tells little for its price (some 20 ns a page then): after such a piece
 * the next one is read by words alone, as long as that goes on.
 *
 * The two do not look at the same moment. A page that came in between is
 * present in its word: the word is newer, and it wins.
 *
 *     swap type   0 ...          areas of swapon(2)
 *                 23 ... 30      no swap: devices' pages, pages being moved,
 *                                poisoned ones (SWP_*_NUM, linux/swap.h)
 *                 31             marks; the offset says of what (PTE_MARKER_*)
 *
 * The kernel shows type and offset only to CAP_SYS_ADMIN; for others all of it
 * is 0, which no true entry is (the first page of an area is its header). Marks
 * of a write protection have its bit in their word nevertheless; a swap entry
 * may have it.
 *
 * Words of the pool's huge pages have no swap bit at all: a page that is being
 * moved is an empty word there, which only the scan calls swapped.
 *
 * The page of zeros is no file's and not exclusive in its word. The huge page of
 * zeros is called a file's (Linux 6.18), also in memory that has no file; a scan
 * passes it for any huge page before Linux 6.16, and then words are read of those.
 */
#include "lib/mem/residency_table.h"

#include <errno.h>
#include <stdlib.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/kpage.h"
#include "lib/mem/pageset.h"
#include "lib/mem/residency_zero.h"

/*
 * The kernel collects ranges 512 at a time. A call that fills more than one such
 * batch and gets to the end leaves walk_end where the last but one batch ended, and
 * the last batch is reported again by the next call (pagemap_scan, fs/proc/task_mmu.c,
 * Linux 6.18). With room for one batch that does not happen.
 */
#define N_VEC   512
#define N_WORDS 8192

/* Scanned at a time, so that it shows where words are cheaper; more where they are not. */
#define PIECE_BYTES     (2ull << 20)
#define PIECE_MAX_BYTES (1ull << 44)
#define PIECE_OF_WORDS  (N_WORDS * UMEM_PAGE_BYTES)

/* Runs that are closer than so many pages are read in one piece. */
#define JOIN_PAGES 16

/* The last type that can be a swap area: MAX_SWAPFILES - 1 with every option on. */
#define LAST_AREA 22

/* Of a mark: a guard (PTE_MARKER_GUARD, linux/swapops.h). */
#define MARK_GUARD (4u << 5)

/* What only CAP_SYS_ADMIN is shown: frame, or swap type and offset. */
#define FRAME (UMEM_PM_SOFT_DIRTY - 1)

int umem_table_init(struct umem_table *table, int pagemap_fd, bool blind)
{
	*table = (struct umem_table){
		.pagemap_fd = pagemap_fd,
		.kpageflags_fd = -1,
		.blind = blind,
		.guard = PAGE_IS_GUARD,
		.n_vec = N_VEC,
		.n_words = N_WORDS,
	};
	table->vec = calloc(N_VEC, sizeof(*table->vec));
	table->words = calloc(N_WORDS, sizeof(*table->words));
	if (!table->vec || !table->words) {
		umem_table_deinit(table);
		return -ENOMEM;
	}
	return 0;
}

void umem_table_deinit(struct umem_table *table)
{
	if (table->vec)
		umem_fd_close(table->kpageflags_fd);
	free(table->vec);
	free(table->words);
	*table = (struct umem_table){ .pagemap_fd = -1, .kpageflags_fd = -1 };
}

/* Read words from @at on, at most up to @end. */
static int fill(struct umem_table *table, uint64_t at, uint64_t end)
{
	size_t want = (size_t)umem_min_u64(table->n_words, (end - at) >> UMEM_PAGE_SHIFT), n;
	int r;

	table->n_valid = 0;
	r = umem_pagemap_words(table->pagemap_fd, at, table->words, want, &n);
	if (r < 0)
		return r;
	if (n == 0)
		return -ESRCH;
	table->words_at = at;
	table->n_valid = n;
	return 0;
}

static enum umem_entry entry_of_swap(uint64_t word)
{
	unsigned type = UMEM_PM_SWAP_TYPE(word);

	if ((word & FRAME) == 0)
		return word & UMEM_PM_UFFD_WP ? UMEM_ENTRY_HIDDEN : UMEM_ENTRY_UNMARKED;
	if (type == UMEM_PM_MARKER_TYPE)
		return word & MARK_GUARD ? UMEM_ENTRY_GUARD : UMEM_ENTRY_NONE;
	return type > LAST_AREA ? UMEM_ENTRY_PRESENT : UMEM_ENTRY_SWAPPED;
}

/* Is a page that is shared by page tables the page of zeros? */
static bool is_zero(struct umem_table *table, uint64_t word)
{
	uint64_t pfn = word & FRAME, flags = 0;

	if (word & UMEM_PM_EXCLUSIVE || (word & UMEM_PM_FILE && !table->anonymous))
		return false;
	if (pfn != 0 && pfn == table->zero_pfn)
		return true;
	if (pfn == 0 || table->kpageflags_fd < 0 ||
		umem_kpage_read(table->kpageflags_fd, &pfn, 1, 0, &flags) < 0) {
		/* Nothing else in anonymous memory is called a file's. */
		if (word & UMEM_PM_FILE)
			return true;
		table->zero_blind = true;
		return false;
	}
	if (flags & UMEM_KPF(ZERO_PAGE))
		table->zero_pfn = pfn;
	return flags & UMEM_KPF(ZERO_PAGE);
}

enum umem_entry umem_table_entry(struct umem_table *table, uint64_t word)
{
	if (table->blind)
		word &= ~FRAME;
	if (word & UMEM_PM_GUARD && table->guard)
		return UMEM_ENTRY_GUARD;
	if (word & UMEM_PM_PRESENT)
		return is_zero(table, word) ? UMEM_ENTRY_ZERO : UMEM_ENTRY_PRESENT;
	return word & UMEM_PM_SWAPPED ? entry_of_swap(word) : UMEM_ENTRY_NONE;
}

static enum umem_entry entry_at(struct umem_table *table, size_t index, bool swapped)
{
	uint64_t word = table->words[index];
	enum umem_entry entry = umem_table_entry(table, word);

	return swapped && table->pool && entry == UMEM_ENTRY_NONE && !(word & UMEM_PM_UFFD_WP) ?
		UMEM_ENTRY_UNMARKED : entry;
}

/**
 * struct mix - what a stretch of pages is made of.
 * @pages, @swapped: pages, and those of them that take words.
 * @runs: how often that changes, about.
 */
struct mix {
	uint64_t pages;
	uint64_t swapped;
	uint64_t runs;
};

/*
 * The end of the words from @i on that are certainly of the kind of the one at @i: mostly
 * they are alike for long, and this is what a page costs then.
 */
static size_t run_end(const struct umem_table *table, size_t i, size_t n)
{
	const uint64_t flags = UMEM_PM_PRESENT | UMEM_PM_SWAPPED | UMEM_PM_FILE | UMEM_PM_GUARD |
		UMEM_PM_UFFD_WP | UMEM_PM_EXCLUSIVE;
	const uint64_t *words = table->words, first = words[i++];

	if (first & UMEM_PM_PRESENT) {
		while (first & UMEM_PM_EXCLUSIVE && i < n && !((words[i] ^ first) & flags))
			i++;
	} else if (!(first & UMEM_PM_SWAPPED)) {
		while (i < n && !((words[i] ^ first) & flags))
			i++;
	} else if (UMEM_PM_SWAP_TYPE(first) != UMEM_PM_MARKER_TYPE && first & FRAME) {
		/* Of one swap area; no true entry has nothing in it. */
		while (i < n && !((words[i] ^ first) & (flags | UMEM_PM_SWAP_TYPE(~0ull))) &&
			words[i] & FRAME)
			i++;
	}
	return i;
}

/* Does it take the flags of its frame to tell a page from the page of zeros? */
static bool is_unclear(const struct umem_table *table, uint64_t word)
{
	const uint64_t mask = UMEM_PM_PRESENT | UMEM_PM_EXCLUSIVE |
		(table->anonymous ? 0 : UMEM_PM_FILE);

	return (word & mask) == UMEM_PM_PRESENT;
}

/* Take in a run of @n words. */
static void mix_add(struct mix *mix, uint64_t word, uint64_t n)
{
	mix->pages += n;
	mix->swapped += word & UMEM_PM_SWAPPED ? n : 0;
	mix->runs++;
}

/*
 * Hand on the entries of a range by its words; @swapped: the scan called them so.
 * @mix: gets what they are made of, and it ends where words do not tell; or NULL.
 * @ret_end: how far, with a @mix.
 */
static int by_words(struct umem_table *table, uint64_t start, uint64_t end, bool swapped,
	struct mix *mix, uint64_t *ret_end, umem_table_each each, void *user)
{
	enum umem_entry entry = UMEM_ENTRY_NONE;
	uint64_t from = start, at = start;
	int r;

	while (at < end) {
		uint64_t i = (at - table->words_at) >> UMEM_PAGE_SHIFT, first;
		enum umem_entry now;

		if (at < table->words_at || i >= table->n_valid) {
			r = fill(table, at, end);
			if (r < 0)
				return r;
			i = 0;
		}
		if (mix && is_unclear(table, table->words[i]))
			break;
		now = entry_at(table, i, swapped);
		if (at > from && now != entry) {
			r = each(user, from, at, entry);
			if (r != 0)
				return r;
			from = at;
		}
		entry = now;
		first = i;
		i = run_end(table, i,
			umem_min_u64(table->n_valid, i + ((end - at) >> UMEM_PAGE_SHIFT)));
		if (mix)
			mix_add(mix, table->words[first], i - first);
		at += (i - first) << UMEM_PAGE_SHIFT;
	}
	if (ret_end)
		*ret_end = at;
	return from < at ? each(user, from, at, entry) : 0;
}

int umem_table_words(struct umem_table *table, uint64_t start, uint64_t end,
	umem_table_each each, void *user)
{
	table->n_valid = 0;
	return by_words(table, start, end, false, NULL, NULL, each, user);
}

static bool is_rough(const struct umem_table *table)
{
	return table->rough && table->anonymous;
}

static bool calls_swapped(const struct page_region *range)
{
	return (range->categories & (PAGE_IS_SWAPPED | PAGE_IS_PRESENT | PAGE_IS_GUARD)) ==
		PAGE_IS_SWAPPED;
}

static bool needs_words(const struct umem_table *table, const struct page_region *range)
{
	return calls_swapped(range) && !is_rough(table);
}

/* Can it be the huge page of zeros, and the scan does not tell? */
static bool may_be_zero(struct umem_table *table, const struct page_region *range)
{
	const uint64_t huge = PAGE_IS_PRESENT | PAGE_IS_HUGE;

	if (!table->anonymous || (range->categories & (huge | PAGE_IS_PFNZERO)) != huge)
		return false;
	if (table->huge_zero == UMEM_HUGE_ZERO_UNKNOWN)
		table->huge_zero = umem_zero_scan_tells() ? UMEM_HUGE_ZERO_TOLD :
							    UMEM_HUGE_ZERO_HIDDEN;
	return table->huge_zero == UMEM_HUGE_ZERO_HIDDEN;
}

/* Where reading words for the range @i of @n, and for swapped ones close behind it, ends. */
static uint64_t words_end(const struct umem_table *table, size_t i, size_t n)
{
	uint64_t start = table->vec[i].start, end = table->vec[i].end;

	for (i++; i < n && end - start < table->n_words * UMEM_PAGE_BYTES; i++) {
		if (table->vec[i].start > end + JOIN_PAGES * UMEM_PAGE_BYTES)
			break;
		if (needs_words(table, &table->vec[i]))
			end = table->vec[i].end;
	}
	return end;
}

static int scanned(struct umem_table *table, size_t i, size_t n, umem_table_each each,
	void *user)
{
	struct page_region *range = &table->vec[i];
	uint64_t valid_end = table->words_at + (table->n_valid << UMEM_PAGE_SHIFT);
	int r;

	if (range->categories & PAGE_IS_GUARD)
		return each(user, range->start, range->end, UMEM_ENTRY_GUARD);
	if (calls_swapped(range) && is_rough(table))
		return each(user, range->start, range->end, UMEM_ENTRY_SWAPPED);
	if (!needs_words(table, range) && !may_be_zero(table, range))
		return each(user, range->start, range->end,
			range->categories & PAGE_IS_PFNZERO ? UMEM_ENTRY_ZERO :
							      UMEM_ENTRY_PRESENT);
	if (range->start < table->words_at || range->start >= valid_end) {
		r = fill(table, range->start, words_end(table, i, n));
		if (r < 0)
			return r;
	}
	return by_words(table, range->start, range->end, true, NULL, NULL, each, user);
}

/* Is it cheaper to read words than to scan and then to read words? */
static bool words_pay(const struct mix *mix)
{
	return mix->swapped * 4 >= mix->pages * 3 ||
		(mix->swapped * 8 >= mix->pages && mix->runs * 16 >= mix->pages);
}

/* Hand on what a call of the scan reported, up to where it got. */
static int take_ranges(struct umem_table *table, size_t n, uint64_t *done, struct mix *mix,
	umem_table_each each, void *user)
{
	int r = 0;

	table->n_valid = 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		struct page_region *range = &table->vec[i];

		/* Never twice, should a call report again what one before it did. */
		range->start = umem_max_u64(range->start, *done);
		if (range->start >= range->end)
			continue;
		if (needs_words(table, range))
			mix->swapped += (range->end - range->start) >> UMEM_PAGE_SHIFT;
		mix->runs++;
		if (range->start > *done)
			r = each(user, *done, range->start, UMEM_ENTRY_NONE);
		if (r == 0)
			r = scanned(table, i, n, each, user);
		*done = range->end;
	}
	return r;
}

/* Scan [@start, @end). @ret_mix: of all of it. */
static int scan_piece(struct umem_table *table, uint64_t start, uint64_t end,
	struct mix *ret_mix, umem_table_each each, void *user)
{
	struct umem_scan scan = { .at = start, .end = end };
	uint64_t done = start;
	size_t n;
	int r;

	*ret_mix = (struct mix){ .pages = (end - start) >> UMEM_PAGE_SHIFT };
	while (scan.at < end) {
		scan.any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | table->guard;
		scan.wanted = scan.any | PAGE_IS_PFNZERO |
			(table->anonymous ? PAGE_IS_HUGE : 0);
		r = umem_pagemap_scan(table->pagemap_fd, &scan, table->vec, table->n_vec, &n);
		if (r == -EINVAL && table->guard) {
			/* Before 6.15; a guard then is a mark like others. */
			table->guard = 0;
			continue;
		}
		if (r == 0)
			r = take_ranges(table, n, &done, ret_mix, each, user);
		if (r != 0)
			return r;
	}
	return done < end ? each(user, done, end, UMEM_ENTRY_NONE) : 0;
}

/* The same by words, as far as these tell. @ret_end: how far. */
static int words_piece(struct umem_table *table, uint64_t start, uint64_t end, uint64_t *ret_end,
	struct mix *ret_mix, umem_table_each each, void *user)
{
	*ret_mix = (struct mix){ 0 };
	table->n_valid = 0;
	return by_words(table, start, end, false, ret_mix, ret_end, each, user);
}

int umem_table_scan(struct umem_table *table, uint64_t start, uint64_t end,
	umem_table_each each, void *user)
{
	uint64_t piece = PIECE_BYTES;
	bool words = false;
	int r = 0;

	for (uint64_t at = start, to; at < end; at = to) {
		uint64_t goal = end - at > piece ? at + piece : end;
		bool was = words;
		struct mix mix;

		to = at;
		if (words)
			r = words_piece(table, at, goal, &to, &mix, each, user);
		if (r == 0 && to == at) {
			/* Words are not wanted, or tell nothing here. */
			to = goal;
			was = false;
			r = scan_piece(table, at, to, &mix, each, user);
		}
		if (r != 0)
			return r;
		words = !table->pool && to == goal && words_pay(&mix);
		if (words)
			piece = PIECE_OF_WORDS;
		else
			piece = was ? PIECE_BYTES : umem_min_u64(piece * 2, PIECE_MAX_BYTES);
	}
	return r;
}
