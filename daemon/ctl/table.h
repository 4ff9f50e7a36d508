/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What tables of mappings share: headlines of groups, and footnotes that say once
 * what holds for many rows.
 */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/** ctl_footnotes_print - "[1] TITLE, 3 regions, 1.2M: reason", a line each. */
void ctl_footnotes_print(const struct ctl_footnotes *notes, const char *title);

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

#endif
