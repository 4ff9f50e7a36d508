// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where pages are, as a table. */
#include <errno.h>
#include <inttypes.h>

#include "daemon/ctl/swap.h"
#include "lib/base/attr.h"

/* Columns that a row takes with all of its fields. */
#define WIDTH_ALL 104

/* Processes that are named in a line. */
#define MAX_NAMED 4

/**
 * struct look - which fields the table has.
 */
struct look {
	bool io;
	bool zero;
	bool guard;
	bool method;
};

/* Where it is narrow, the method, which matters to few, goes, and what is 0 everywhere. */
static struct look look_of(const struct swap_view *view)
{
	const struct ctl_sums *sums = &view->sums;
	int width = ctl_width();
	bool wide = width == 0 || width >= WIDTH_ALL;

	return (struct look){
		.io = wide || sums->bytes[UMEM_STATE_SWAPPED] > 0,
		.zero = wide || sums->bytes[UMEM_STATE_ZERO] > 0,
		.guard = wide || sums->bytes[UMEM_STATE_GUARD] > 0,
		.method = wide,
	};
}

static void print_title(const struct look *look, bool file)
{
	printf("%-27s %5s %8s %7s", file ? "  FROM         TO" : "  START        END", "SIZE",
		"RESIDENT", "SWAPPED");
	if (look->io)
		printf(" %5s", "I/O");
	if (look->zero)
		printf(" %5s", "ZERO");
	printf(" %9s", "UNTOUCHED");
	if (look->guard)
		printf(" %5s", "GUARD");
	if (look->method)
		printf("  %-15s", "METHOD");
	puts("  EXACT");
}

/* The sizes of a row, from the column after its addresses on. */
static void print_sizes(const struct look *look, uint64_t bytes,
	const uint64_t by_state[UMEM_N_STATES], bool io_known, uint64_t io_bytes)
{
	char text[16];

	printf(" %5s", ctl_size(text, bytes));
	printf(" %8s", ctl_size(text, by_state[UMEM_STATE_RESIDENT]));
	printf(" %7s", ctl_size(text, by_state[UMEM_STATE_SWAPPED]));
	if (look->io)
		printf(" %5s", io_known ? ctl_size(text, io_bytes) : "?");
	if (look->zero)
		printf(" %5s", ctl_size(text, by_state[UMEM_STATE_ZERO]));
	printf(" %9s", ctl_size(text, by_state[UMEM_STATE_UNTOUCHED]));
	if (look->guard)
		printf(" %5s", ctl_size(text, by_state[UMEM_STATE_GUARD]));
}

static void print_exact(size_t footnote)
{
	if (footnote)
		printf("  no [%zu]\n", footnote);
	else
		puts("  yes");
}

static void print_sharers(const struct umem_survey_sharers *sharers,
	const struct umem_residency_region *in)
{
	char text[512], name[64];
	size_t n = 0, at = 0;

	for (size_t i = 0; i < sharers->n; i++) {
		const struct umem_survey_sharer *s = &sharers->v[i];

		if (!umem_ranges_overlaps(&s->mapped, in->start, in->end))
			continue;
		if (++n <= MAX_NAMED)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%spid %d (%s)",
				n > 1 ? ", " : "also mapped by ", s->pid,
				ctl_clean(name, sizeof(name), s->comm, 0));
	}
	if (n > MAX_NAMED)
		snprintf(text + at, sizeof(text) - at, " and %zu more", n - MAX_NAMED);
	if (n) {
		printf("    ");
		ctl_wrap(text, 4, 6);
	}
}

static int print_range(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	char size[16];

	(void)user;
	printf("    %012" PRIx64 "-%012" PRIx64 " %5s %s\n", start, end,
		ctl_size(size, end - start), umem_state_name(state));
	return ferror(stdout) ? -EIO : 0;
}

static void print_total(const struct swap_view *view, const struct look *look)
{
	const struct ctl_sums *sums = &view->sums;

	printf("%-27s", "total");
	print_sizes(look, ctl_sums_total(sums), sums->bytes, !sums->io_unknown, sums->io_bytes);
	if (look->method)
		printf("  %-15s", "");
	puts(sums->inexact.n ? "  no" : "  yes");
	ctl_footnotes_print(&sums->inexact, "not exact", 0);
	if (view->sharers && view->sharers->n_hidden)
		printf("  who else maps shared memory is not fully known: %" PRIu64 " process%s\n"
		       "  may not be looked at\n", view->sharers->n_hidden,
			view->sharers->n_hidden == 1 ? "" : "es");
}

int swap_table_print(const struct swap_view *view, bool ranges)
{
	struct ctl_headline above = { 0 };
	struct look look = look_of(view);
	struct ctl_sums sums = { 0 };
	int r = 0;

	print_title(&look, view->file);
	for (size_t i = 0; i < view->n && r == 0; i++) {
		const struct umem_residency_region *in = &view->v[i];
		struct ctl_headline headline = { in->kind, in->page_size_bytes, in->path };

		if (i == 0 || !ctl_headline_same(&above, &headline))
			ctl_headline_print(&headline);
		above = headline;
		printf("  %012" PRIx64 "-%012" PRIx64, in->start, in->end);
		print_sizes(&look, in->end - in->start, in->bytes, in->io_known, in->io_bytes);
		if (look.method)
			printf("  %-15s", in->method);
		/* The same order gives the same numbers as in the sums of all. */
		print_exact(ctl_sums_add(&sums, in));
		if (view->sharers)
			print_sharers(view->sharers, in);
		if (ranges)
			r = swap_view_each(view, in, print_range, NULL);
	}
	if (r < 0)
		return r;
	print_total(view, &look);
	return ctl_flush();
}
