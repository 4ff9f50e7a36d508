/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What tables of mappings share: headlines of groups, footnotes that say once what
 * holds for many rows, and sums over where pages are.
 */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/residency.h>

#include "lib/base/json.h"

/* More reasons than there are. */
#define CTL_MAX_FOOTNOTES 16

/**
 * struct ctl_footnotes - reasons, numbered from 1; all zero is none.
 * @v: @n of them, static texts, with the mappings that they are about.
 */
struct ctl_footnotes {
	struct {
		const char *reason;
		uint64_t regions;
		uint64_t bytes;
	} v[CTL_MAX_FOOTNOTES];
	size_t n;
};

/** ctl_footnotes_add - one more mapping of @bytes to which @reason applies. Return: its number. */
size_t ctl_footnotes_add(struct ctl_footnotes *notes, const char *reason, uint64_t bytes);

/**
 * ctl_footnotes_print - "[1] TITLE, 3 regions, 1.2M: reason", a line each.
 * @mark: what rows are marked with instead of numbers, one character; 0 for numbers.
 */
void ctl_footnotes_print(const struct ctl_footnotes *notes, const char *title, char mark);

/**
 * struct ctl_headline - what neighbours have in common that go under one headline.
 * @kind, @path: texts; no path is empty.
 */
struct ctl_headline {
	const char *kind;
	uint64_t page_size_bytes;
	const char *path;
};

/** ctl_headline_same - do two mappings go under one headline? */
bool ctl_headline_same(const struct ctl_headline *a, const struct ctl_headline *b);

/** ctl_headline_print - print a line: kind, page size unless it is 4 KiB, path. */
void ctl_headline_print(const struct ctl_headline *headline);

/**
 * struct ctl_sums - over mappings whose pages were looked at; all zero is none.
 * @regions: number of mappings.
 * @bytes: by enum umem_state.
 * @io_bytes: as in struct umem_residency_region.
 * @io_unknown: of some mapping it is not known.
 * @inexact: why mappings are not exact.
 */
struct ctl_sums {
	uint64_t regions;
	uint64_t bytes[UMEM_N_STATES];
	uint64_t io_bytes;
	bool io_unknown;
	struct ctl_footnotes inexact;
};

/** ctl_sums_add - one more mapping. Return: the number of its footnote, 0 when it is exact. */
size_t ctl_sums_add(struct ctl_sums *sums, const struct umem_residency_region *in);

/** ctl_sums_total - all bytes of all states. */
uint64_t ctl_sums_total(const struct ctl_sums *sums);

/**
 * ctl_json_states - set "resident_bytes" and so on, a member for each state.
 * @bytes: by enum umem_state; NULL sets null.
 */
void ctl_json_states(struct umem_json *object, const uint64_t *bytes);

/** ctl_json_known - set @key to a number, or to null when it is not known. */
void ctl_json_known(struct umem_json *object, const char *key, bool known, uint64_t value);

#endif
