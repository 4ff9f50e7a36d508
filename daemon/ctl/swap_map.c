// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where pages are, as a picture.
 *
 * Theory of operation
 *
 * Neighbours that share a headline are a group: a label, and the cells of its
 * bytes, one after the other, in rows. All cells stand for the same number of
 * bytes, a power of two. It is the least one with which all groups together take
 * no more than MORE_ROWS rows besides their first ones; it is found by laying
 * everything out without printing it, twice as coarse each time.
 *
 * Untouched cells in a long row tell nothing and would make the scale coarse in
 * a process that reserves terabytes: more than SHORT_COLUMNS columns of them
 * become their length in brackets.
 *
 *     runs of pages -> cells -> (untouched ones wait) -> columns of a row
 *       add_run()      put_cells()       flush()           put_cell()
 *
 * A cell with any page out is never drawn as one that is all in memory, and one
 * with a page that was touched never as untouched. Zeros and guards show where
 * nothing else is.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/ctl/paint.h"
#include "daemon/ctl/swap.h"
#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

/* Rows besides the first of each group. */
#define MORE_ROWS 16

/* Columns of untouched cells that are drawn as they are. */
#define SHORT_COLUMNS 16
#define SHORT_CELLS   (2 * SHORT_COLUMNS)

/* A cell of which a smaller part was touched is sparse. */
#define SPARSE_PART 8

/* Where nothing tells how wide the terminal is, and what is the least. */
#define WIDTH_DEFAULT 80
#define COLUMNS_MIN   8

/* The layout is too large. */
#define TOO_LARGE 1

/**
 * struct group - neighbours under one headline.
 * @first, @n: its mappings.
 * @sums: over them.
 */
struct group {
	size_t first;
	size_t n;
	struct ctl_sums sums;
};

/**
 * struct picture - a layout that is going on, or is being printed.
 * @view: of what.
 * @paint: on which terminal.
 * @print: print rows; otherwise count them only.
 * @cell_bytes: the scale.
 * @name_columns, @size_columns: of the label; without the second the size is left out.
 * @columns: of the cells.
 * @rows, @limit: rows so far, and how many are too many; without limit when printing.
 * @group: the current one; @group_rows: its rows so far.
 * @sum, @filled: of the cell that is not full yet, from @cell_at on.
 * @waiting, @waiting_at: untouched cells, and where the first of them are.
 * @row, @n_columns: the row that is not full yet, from @row_at on.
 * @open: its last column has room for one more cell.
 * @shades: bits of those that were used.
 * @gaps: so were lengths.
 */
struct picture {
	const struct swap_view *view;
	const struct paint *paint;
	bool print;
	uint64_t cell_bytes;
	size_t name_columns;
	size_t size_columns;
	size_t columns;
	size_t rows;
	size_t limit;
	const struct group *group;
	size_t group_rows;
	uint64_t sum[UMEM_N_STATES];
	uint64_t filled;
	uint64_t cell_at;
	uint64_t waiting;
	uint64_t waiting_at[SHORT_CELLS];
	struct paint_column *row;
	size_t n_columns;
	uint64_t row_at;
	bool open;
	unsigned shades;
	bool gaps;
};

static enum paint_shade shade_of(const uint64_t bytes[UMEM_N_STATES])
{
	uint64_t out = bytes[UMEM_STATE_SWAPPED], touched = out + bytes[UMEM_STATE_RESIDENT];
	uint64_t all = touched + bytes[UMEM_STATE_ZERO] + bytes[UMEM_STATE_GUARD] +
		bytes[UMEM_STATE_UNTOUCHED];

	if (touched == 0 && bytes[UMEM_STATE_ZERO])
		return PAINT_ZERO;
	if (touched == 0)
		return bytes[UMEM_STATE_GUARD] ? PAINT_GUARD : PAINT_UNTOUCHED;
	if (touched < all / SPARSE_PART)
		return out ? PAINT_SPARSE_OUT : PAINT_SPARSE;
	if (out == 0)
		return PAINT_RESIDENT;
	if (out == touched)
		return PAINT_OUT;
	if (out < touched / 3)
		return PAINT_OUT_LITTLE;
	return out > touched - touched / 3 ? PAINT_OUT_MOST : PAINT_OUT_SOME;
}

/* The share that is out of what is in memory or out, in at most 5 columns. */
static const char *share_text(char buf[16], const struct ctl_sums *sums)
{
	uint64_t out = sums->bytes[UMEM_STATE_SWAPPED];
	uint64_t touched = out + sums->bytes[UMEM_STATE_RESIDENT];
	const char *mark = sums->inexact.n ? "~" : "";
	unsigned percent = touched ? (unsigned)((double)out * 100 / (double)touched) : 0;

	if (touched == 0)
		snprintf(buf, 16, "%s-", mark);
	else if (out && percent == 0)
		snprintf(buf, 16, "%s<1%%", mark);
	else
		snprintf(buf, 16, "%s%u%%", mark, percent);
	return buf;
}

/* What a group is called where there is little room. */
static void print_name(const struct picture *p, const struct umem_residency_region *in)
{
	static const char deleted[] = " (deleted)";
	size_t len = strlen(in->path), cut = sizeof(deleted) - 1;
	UMEM_FREE char *path = strdup(in->path);
	const char *name = path && len ? path : in->kind;
	const char *slash;

	if (path && len > cut && strcmp(path + len - cut, deleted) == 0)
		path[len - cut] = '\0';
	slash = strrchr(name, '/');
	if (slash && slash[1] && paint_columns(p->paint, name) > p->name_columns)
		name = slash + 1;
	paint_label(p->paint, name, p->name_columns);
}

static void print_label(const struct picture *p)
{
	size_t width = p->name_columns + p->size_columns + 7;
	char text[24], size[16];

	if (p->group_rows > 0) {
		int n = snprintf(text, sizeof(text), "%012" PRIx64, p->row_at);

		paint_aside(p->paint, (size_t)n < width ? text : "", width);
		return;
	}
	print_name(p, &p->view->v[p->group->first]);
	if (p->size_columns)
		printf(" %*s", (int)p->size_columns - 1,
			ctl_size(size, ctl_sums_total(&p->group->sums)));
	printf(" %5s ", share_text(text, &p->group->sums));
}

static int end_row(struct picture *p)
{
	if (p->print) {
		print_label(p);
		paint_row(p->paint, p->row, p->n_columns);
		putchar('\n');
	}
	p->rows++;
	p->group_rows++;
	p->n_columns = 0;
	p->open = false;
	if (p->print)
		return ferror(stdout) ? -EIO : 0;
	return p->rows > p->limit ? TOO_LARGE : 0;
}

static int put_cell(struct picture *p, enum paint_shade shade, uint64_t at)
{
	int r;

	p->shades |= 1u << shade;
	if (p->open) {
		p->row[p->n_columns - 1].cells[1] = shade;
		p->open = false;
		return 0;
	}
	if (p->n_columns == p->columns) {
		r = end_row(p);
		if (r != 0)
			return r;
	}
	if (p->n_columns == 0)
		p->row_at = at;
	p->row[p->n_columns++] = (struct paint_column){ .cells = { shade, PAINT_NONE } };
	p->open = p->paint->cells_a_column == 2;
	return 0;
}

/* The length of a gap, in brackets, not broken over two rows. */
static int put_gap(struct picture *p, uint64_t bytes, uint64_t at)
{
	char size[16], text[24];
	int r = 0, len = snprintf(text, sizeof(text), "[%s]", ctl_size(size, bytes));

	if (p->n_columns + (size_t)len > p->columns)
		r = end_row(p);
	if (p->n_columns == 0)
		p->row_at = at;
	for (int i = 0; i < len; i++)
		p->row[p->n_columns++] = (struct paint_column){ .text = text[i] };
	p->open = false;
	p->gaps = true;
	return r;
}

/* The untouched cells that wait. */
static int flush(struct picture *p)
{
	uint64_t n = p->waiting;
	int r = 0;

	p->waiting = 0;
	if (n > SHORT_COLUMNS * p->paint->cells_a_column)
		return put_gap(p, n * p->cell_bytes, p->waiting_at[0]);
	for (uint64_t i = 0; i < n && r == 0; i++)
		r = put_cell(p, PAINT_UNTOUCHED, p->waiting_at[i]);
	return r;
}

/* @n cells alike, the first at @at. */
static int put_cells(struct picture *p, enum paint_shade shade, uint64_t n, uint64_t at)
{
	int r;

	if (shade == PAINT_UNTOUCHED) {
		for (uint64_t i = 0; i < n && p->waiting + i < SHORT_CELLS; i++)
			p->waiting_at[p->waiting + i] = at + i * p->cell_bytes;
		p->waiting += n;
		return 0;
	}
	r = flush(p);
	for (uint64_t i = 0; i < n && r == 0; i++)
		r = put_cell(p, shade, at + i * p->cell_bytes);
	return r;
}

static int end_cell(struct picture *p)
{
	int r = put_cells(p, shade_of(p->sum), 1, p->cell_at);

	memset(p->sum, 0, sizeof(p->sum));
	p->filled = 0;
	return r;
}

static int add_run(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct picture *p = user;
	int r = 0;

	assert(p->cell_bytes > 0);
	while (start < end && r == 0) {
		uint64_t take = umem_min_u64(end - start, p->cell_bytes - p->filled);

		if (p->filled == 0 && take > 0 && take == p->cell_bytes) {
			uint64_t alike[UMEM_N_STATES] = { 0 };
			uint64_t n = (end - start) / take;

			alike[state] = 1;
			r = put_cells(p, shade_of(alike), n, start);
			start += n * p->cell_bytes;
			continue;
		}
		if (p->filled == 0)
			p->cell_at = start;
		p->sum[state] += take;
		p->filled += take;
		start += take;
		if (p->filled == p->cell_bytes)
			r = end_cell(p);
	}
	return r;
}

static int lay_out_group(struct picture *p, const struct group *group)
{
	int r = 0;

	p->group = group;
	p->group_rows = 0;
	for (size_t i = 0; i < group->n && r == 0; i++)
		r = swap_view_each(p->view, &p->view->v[group->first + i], add_run, p);
	if (r == 0 && p->filled)
		r = end_cell(p);
	if (r == 0)
		r = flush(p);
	return r == 0 && p->n_columns ? end_row(p) : r;
}

/* Return: 0, TOO_LARGE, -errno. */
static int lay_out(struct picture *p, const struct group *groups, size_t n, bool print)
{
	int r = 0;

	p->print = print;
	p->rows = p->n_columns = 0;
	p->filled = p->waiting = 0;
	p->open = p->gaps = false;
	p->shades = 0;
	memset(p->sum, 0, sizeof(p->sum));
	for (size_t i = 0; i < n && r == 0; i++)
		r = lay_out_group(p, &groups[i]);
	return r;
}

static int find_scale(struct picture *p, const struct group *groups, size_t n)
{
	const uint64_t *bytes = p->view->sums.bytes;
	uint64_t touched = bytes[UMEM_STATE_RESIDENT] + bytes[UMEM_STATE_SWAPPED];
	int r;

	p->limit = n + MORE_ROWS;
	/* What was touched takes a cell in any case: no need to try finer ones. */
	p->cell_bytes = UMEM_PAGE_BYTES;
	while (touched / p->cell_bytes > p->limit * p->columns * p->paint->cells_a_column)
		p->cell_bytes *= 2;
	while ((r = lay_out(p, groups, n, false)) == TOO_LARGE)
		p->cell_bytes *= 2;
	return r;
}

static size_t find_groups(const struct swap_view *view, struct group *ret_groups)
{
	struct ctl_headline above = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < view->n; i++) {
		const struct umem_residency_region *in = &view->v[i];
		struct ctl_headline headline = { in->kind, in->page_size_bytes, in->path };

		if (i == 0 || !ctl_headline_same(&above, &headline))
			ret_groups[n++] = (struct group){ .first = i };
		above = headline;
		ret_groups[n - 1].n++;
		ctl_sums_add(&ret_groups[n - 1].sums, in);
	}
	return n;
}

/* The width of everything, by that of the terminal. Return: columns of a line. */
static size_t set_width(struct picture *p)
{
	size_t width = ctl_width() ? (size_t)ctl_width() : WIDTH_DEFAULT, label;

	p->size_columns = width < 60 ? 0 : 6;
	p->name_columns = width < 25 ? 5 : umem_min_u64(umem_max_u64(width / 5, 9), 32);
	label = p->name_columns + p->size_columns + 7;
	/* Rows of round numbers of cells are easier to count in. */
	p->columns = umem_align_down(width - label, COLUMNS_MIN);
	return width;
}

static void print_head(const struct picture *p)
{
	const struct swap_view *view = p->view;
	char out[16], in[16], all[16], cell[16], name[64], text[4600], path[4200];
	size_t at;

	if (view->file)
		at = (size_t)snprintf(text, sizeof(text), "%s",
			ctl_clean(path, sizeof(path), view->file, ctl_width()));
	else
		at = (size_t)snprintf(text, sizeof(text), "pid %d (%s)", view->pid,
			ctl_clean(name, sizeof(name), view->comm, 0));
	snprintf(text + at, sizeof(text) - at,
		": %s out, %s in memory, of %s mapped; 1 cell%s = %s",
		ctl_size(out, view->sums.bytes[UMEM_STATE_SWAPPED]),
		ctl_size(in, view->sums.bytes[UMEM_STATE_RESIDENT]),
		ctl_size(all, ctl_sums_total(&view->sums)),
		p->paint->cells_a_column == 2 ? " (half a column)" : "",
		ctl_size(cell, p->cell_bytes));
	ctl_wrap(text, 0, 2);
	printf("\n%-*s", (int)p->name_columns, "NAME");
	if (p->size_columns)
		printf(" %*s", (int)p->size_columns - 1, "SIZE");
	printf(" %5s\n", "OUT");
}

static int print_picture(struct picture *p, struct group *groups)
{
	size_t n = find_groups(p->view, groups), width = set_width(p);
	int r;

	p->row = calloc(p->columns, sizeof(*p->row));
	if (!p->row)
		return -ENOMEM;
	r = find_scale(p, groups, n);
	if (r < 0)
		return r;
	print_head(p);
	r = lay_out(p, groups, n, true);
	if (r < 0)
		return r;
	putchar('\n');
	paint_legend(p->paint, p->shades, p->gaps, (int)width);
	ctl_footnotes_print(&p->view->sums.inexact, "not exact", '~');
	return ctl_flush();
}

int swap_map_print(const struct swap_view *view)
{
	UMEM_FREE struct group *groups = calloc(view->n + 1, sizeof(*groups));
	UMEM_CLEANUP(paint_deinit) struct paint paint;
	struct picture p = { .view = view, .paint = &paint };
	int r;

	paint_init(&paint);
	r = groups ? print_picture(&p, groups) : -ENOMEM;
	free(p.row);
	return r;
}
