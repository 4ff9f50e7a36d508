/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cells and labels on a terminal: in 256 colours, two cells a character where the
 * terminal is known to take UTF-8, or as plain characters. Writes to stdout.
 */
#ifndef CTL_PAINT_H
#define CTL_PAINT_H

#include <locale.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** enum paint_shade - how a cell looks. */
enum paint_shade {
	PAINT_NONE, /* no cell */
	PAINT_UNTOUCHED,
	PAINT_GUARD,
	PAINT_ZERO,
	PAINT_SPARSE,     /* little of it was touched, and that is in memory */
	PAINT_SPARSE_OUT, /* the same, but some or all of that is out */
	PAINT_RESIDENT,
	PAINT_OUT_LITTLE, /* less than a third of what was touched is out */
	PAINT_OUT_SOME,
	PAINT_OUT_MOST,   /* more than two thirds, but not all */
	PAINT_OUT,
	PAINT_N_SHADES,
};

/**
 * struct paint - what the terminal can do; initialized by paint_init().
 * @colours: it has 256 of them, and they are wanted.
 * @utf8: it takes UTF-8, by the locale.
 * @cells_a_column: 2 where half blocks can be drawn in colours, else 1.
 * @locale: of the user, for the width of characters; or 0.
 */
struct paint {
	bool colours;
	bool utf8;
	unsigned cells_a_column;
	locale_t locale;
};

/**
 * struct paint_column - one column of a row.
 * @text: an ASCII character, or 0 for cells.
 * @cells: from the left; the second is PAINT_NONE where there is but one.
 */
struct paint_column {
	char text;
	enum paint_shade cells[2];
};

/** paint_init - find out: stdout, TERM, COLORTERM, NO_COLOR, the locale. */
void paint_init(struct paint *paint);

/** paint_deinit - free what it owns. */
void paint_deinit(struct paint *paint);

/** paint_row - print @n columns; no newline. */
void paint_row(const struct paint *paint, const struct paint_column *row, size_t n);

/**
 * paint_legend - say what the shades mean, in lines of at most @width columns.
 * @shades: bits, 1 << enum paint_shade, of those to explain.
 * @gaps: explain lengths in brackets, too.
 */
void paint_legend(const struct paint *paint, unsigned shades, bool gaps, int width);

/** paint_columns - columns that @text takes; no character that it may not show counts as one. */
size_t paint_columns(const struct paint *paint, const char *text);

/**
 * paint_label - print @text in exactly @width columns: padded, or without its tail.
 * What does not belong on a terminal becomes '?'.
 */
void paint_label(const struct paint *paint, const char *text, size_t width);

/** paint_aside - print ASCII @text in exactly @width columns, less bright than labels. */
void paint_aside(const struct paint *paint, const char *text, size_t width);

#endif
