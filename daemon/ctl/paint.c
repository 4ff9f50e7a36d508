// SPDX-License-Identifier: LGPL-2.1-or-later
/* Cells and labels on a terminal. */
#include "daemon/ctl/paint.h"

#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

/* Left half block, in UTF-8. */
#define HALF "\xe2\x96\x8c"

/* Of text that is not to stand out. */
#define TEXT_COLOUR 244

/*
 * From blue over red to yellow it gets brighter, which is told apart with any
 * eyes, and in grey.
 */
static const struct {
	char plain;
	uint8_t colour;
	const char *meaning;
} shades[PAINT_N_SHADES] = {
	[PAINT_NONE] = { ' ', 0, "" },
	[PAINT_UNTOUCHED] = { '.', 240, "untouched" },
	[PAINT_GUARD] = { 'X', 250, "guard" },
	[PAINT_ZERO] = { '0', 65, "zeros" },
	[PAINT_SPARSE] = { ',', 24, "sparse, in memory" },
	[PAINT_SPARSE_OUT] = { ':', 136, "sparse, some out" },
	[PAINT_RESIDENT] = { '-', 61, "in memory" },
	[PAINT_OUT_LITTLE] = { '+', 97, "a little out" },
	[PAINT_OUT_SOME] = { '*', 132, "half out" },
	[PAINT_OUT_MOST] = { '%', 173, "mostly out" },
	[PAINT_OUT] = { '#', 221, "out" },
};

static bool has_colours(void)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
	const char *more = getenv("COLORTERM");

	if ((none && none[0]) || !isatty(STDOUT_FILENO))
		return false;
	if (!term || !term[0] || strcmp(term, "dumb") == 0)
		return false;
	return strstr(term, "256color") || (more && more[0]);
}

void paint_init(struct paint *paint)
{
	*paint = (struct paint){ .colours = has_colours() };
	paint->locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	if (paint->locale)
		paint->utf8 = strcmp(nl_langinfo_l(CODESET, paint->locale), "UTF-8") == 0;
	paint->cells_a_column = paint->colours && paint->utf8 ? 2 : 1;
}

void paint_deinit(struct paint *paint)
{
	if (paint->locale)
		freelocale(paint->locale);
	paint->locale = (locale_t)0;
}

/* Colours as they are set; 0 is the terminal's own. */
struct pen {
	unsigned fore;
	unsigned back;
};

static void set_one(unsigned *now, unsigned want, unsigned base)
{
	if (*now == want)
		return;
	*now = want;
	if (want)
		printf("\033[%u;5;%um", base + 8, want);
	else
		printf("\033[%um", base + 9);
}

static void set_pen(struct pen *pen, unsigned fore, unsigned back)
{
	set_one(&pen->fore, fore, 30);
	set_one(&pen->back, back, 40);
}

static void print_column(const struct paint *paint, struct pen *pen,
	const struct paint_column *column)
{
	unsigned left = shades[column->cells[0]].colour, right = shades[column->cells[1]].colour;

	if (!paint->colours) {
		putchar(column->text ? column->text : shades[column->cells[0]].plain);
	} else if (column->text) {
		set_pen(pen, TEXT_COLOUR, 0);
		putchar(column->text);
	} else if (paint->cells_a_column == 1 || left == right) {
		set_pen(pen, pen->fore, left);
		putchar(' ');
	} else {
		set_pen(pen, left, right);
		fputs(HALF, stdout);
	}
}

void paint_row(const struct paint *paint, const struct paint_column *row, size_t n)
{
	struct pen pen = { 0 };

	for (size_t i = 0; i < n; i++)
		print_column(paint, &pen, &row[i]);
	set_pen(&pen, 0, 0);
}

/*
 * One entry of the legend: what a shade means, beside cells of it unless another @sample
 * is given. Return: the column after it.
 */
static int explain(const struct paint *paint, enum paint_shade shade, const char *sample,
	int column, int width)
{
	struct paint_column cells[2] = { { 0, { shade, shade } }, { 0, { shade, shade } } };
	const char *meaning = shades[shade].meaning;
	size_t n_cells = paint->colours ? 2 : 1;
	int len = (int)(strlen(meaning) + 1 + (sample ? strlen(sample) : n_cells));

	if (column > 0 && column + 3 + len > width) {
		putchar('\n');
		column = 0;
	} else if (column > 0) {
		fputs("   ", stdout);
		column += 3;
	}
	if (sample)
		fputs(sample, stdout);
	else
		paint_row(paint, cells, n_cells);
	printf(" %s", meaning);
	return column + len;
}

void paint_legend(const struct paint *paint, unsigned mask, bool gaps, int width)
{
	int column = 0;

	for (int i = PAINT_N_SHADES - 1; i > PAINT_NONE; i--)
		if (mask & 1u << i)
			column = explain(paint, (enum paint_shade)i, NULL, column, width);
	if (gaps)
		column = explain(paint, PAINT_UNTOUCHED, "[1.0G]", column, width);
	if (column > 0)
		putchar('\n');
}

/**
 * struct letter - one character of a text.
 * @at, @len: its bytes, if it may be shown; else @at is "?".
 * @columns: that it takes.
 * @step: bytes of the text.
 */
struct letter {
	const char *at;
	size_t len;
	size_t columns;
	size_t step;
};

/* In the user's locale, which the caller has set. A mark or a control has no width of its own. */
static struct letter letter_at(const struct paint *paint, const char *text)
{
	struct letter letter = { "?", 1, 1, 1 };
	unsigned char first = (unsigned char)*text;
	mbstate_t state = { 0 };
	wchar_t wide;
	size_t n;

	if (first >= 0x20 && first < 0x7f) {
		letter.at = text;
		return letter;
	}
	if (!paint->utf8 || first < 0x80)
		return letter;
	n = mbrtowc(&wide, text, strlen(text), &state);
	if (n == (size_t)-1 || n == (size_t)-2)
		return letter;
	letter.step = n;
	if (wcwidth(wide) < 1)
		return letter;
	letter.at = text;
	letter.len = n;
	letter.columns = (size_t)wcwidth(wide);
	return letter;
}

static size_t columns_of(const struct paint *paint, const char *text)
{
	size_t columns = 0;

	while (*text) {
		struct letter letter = letter_at(paint, text);

		columns += letter.columns;
		text += letter.step;
	}
	return columns;
}

static locale_t enter(const struct paint *paint)
{
	return paint->locale ? uselocale(paint->locale) : (locale_t)0;
}

static void leave(locale_t before)
{
	if (before)
		uselocale(before);
}

size_t paint_columns(const struct paint *paint, const char *text)
{
	locale_t before = enter(paint);
	size_t columns = columns_of(paint, text);

	leave(before);
	return columns;
}

void paint_label(const struct paint *paint, const char *text, size_t width)
{
	locale_t before = enter(paint);
	bool cut = columns_of(paint, text) > width && width > 2;
	size_t used = 0;

	while (*text) {
		struct letter letter = letter_at(paint, text);

		if (used + letter.columns > width - (cut ? 2 : 0))
			break;
		fwrite(letter.at, 1, letter.len, stdout);
		used += letter.columns;
		text += letter.step;
	}
	leave(before);
	printf("%s%*s", cut ? ".." : "", (int)(width - used - (cut ? 2 : 0)), "");
}

void paint_aside(const struct paint *paint, const char *text, size_t width)
{
	struct pen pen = { 0 };

	if (paint->colours)
		set_pen(&pen, TEXT_COLOUR, 0);
	printf("%-*.*s", (int)width, (int)width, text);
	set_pen(&pen, 0, 0);
}
