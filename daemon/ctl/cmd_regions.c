// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl regions: the mappings of a process. */
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/table.h"
#include "lib/mem/pageset.h"
#include "lib/op/survey.h"

#define VERB "regions"

#define WHY_CHANGED "it changed while it was looked at"

/* Writers of a region that are named. */
#define MAX_WRITERS 4

/**
 * struct total - sums over all regions.
 * @pages: where they are.
 * @changed: a mapping changed while we looked, and is not in @pages.
 * @reasons: why not trackable.
 */
struct total {
	uint64_t regions;
	uint64_t bytes;
	uint64_t trackable_bytes;
	uint64_t pinned_bytes;
	struct ctl_sums pages;
	bool changed;
	struct ctl_footnotes reasons;
};

static void print_help(void)
{
	puts("umemctl regions PID\n\n"
	     "Lists the mappings of a process: what backs them, what of them is in memory,\n"
	     "swapped and pinned, whether they can be tracked or why not, and who else maps\n"
	     "the same memory. The process is not stopped and nothing is brought in.");
}

/**
 * struct row - a mapping, and what is said of it.
 * @in: where its pages are; NULL for none, or when it changed meanwhile.
 * @pinned_bytes: of it.
 * @untrackable: why, or NULL.
 * @reason: number of the footnote that says so, or 0.
 */
struct row {
	const struct umem_region *region;
	const struct umem_residency_region *in;
	uint64_t page_size_bytes;
	uint64_t pinned_bytes;
	const char *untrackable;
	size_t reason;
};

static struct row row_of(const struct umem_survey *survey, const struct umem_region *g)
{
	return (struct row){
		.region = g,
		.in = umem_survey_has_pages(g) ? umem_survey_pages(survey, g) : NULL,
		.page_size_bytes = umem_survey_page_size(survey, g),
		.pinned_bytes = umem_survey_pinned(survey, g),
		.untrackable = umem_survey_untrackable(survey, g),
	};
}

static void count(struct total *t, struct row *row)
{
	uint64_t bytes = row->region->end - row->region->start;

	t->regions++;
	t->bytes += bytes;
	t->pinned_bytes += row->pinned_bytes;
	if (row->in)
		ctl_sums_add(&t->pages, row->in);
	else if (umem_survey_has_pages(row->region))
		t->changed = true;
	if (row->untrackable)
		row->reason = ctl_footnotes_add(&t->reasons, row->untrackable, bytes);
	else
		t->trackable_bytes += bytes;
}

static const char *prot_text(char buf[5], uint32_t flags)
{
	buf[0] = flags & UMEM_VMA_READ ? 'r' : '-';
	buf[1] = flags & UMEM_VMA_WRITE ? 'w' : '-';
	buf[2] = flags & UMEM_VMA_EXEC ? 'x' : '-';
	buf[3] = flags & UMEM_VMA_SHARED ? 's' : 'p';
	buf[4] = '\0';
	return buf;
}

static struct umem_json *json_sharers(const struct umem_survey *survey,
	const struct umem_region *g)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < survey->sharers.n; i++) {
		const struct umem_survey_sharer *s = &survey->sharers.v[i];
		struct umem_json *item;

		if (!umem_ranges_overlaps(&s->mapped, g->start, g->end))
			continue;
		item = umem_json_object();
		umem_json_set_u64(item, "pid", (uint64_t)s->pid);
		umem_json_set_text(item, "name", s->comm);
		umem_json_set_bool(item, "writes",
			umem_ranges_overlaps(&s->written, g->start, g->end));
		umem_json_append_consume(list, item);
	}
	return list;
}

/* Where its pages are, and whether that is exact. */
static void set_pages(struct umem_json *line, const struct row *row)
{
	const struct umem_residency_region *in = row->in;

	ctl_json_states(line, in ? in->bytes : NULL);
	ctl_json_known(line, "swapped_io_bytes", in && in->io_known, in ? in->io_bytes : 0);
	if (!umem_survey_has_pages(row->region)) {
		umem_json_set_null(line, "exact");
		umem_json_set_null(line, "inexact");
		return;
	}
	umem_json_set_bool(line, "exact", in && in->exact);
	if (in && in->exact)
		umem_json_set_null(line, "inexact");
	else
		umem_json_set_text(line, "inexact", in ? in->reason : WHY_CHANGED);
}

static int print_region_json(const struct umem_survey *survey, const struct row *row)
{
	const struct umem_region *g = row->region;
	struct umem_json *line = umem_json_object();
	char prot[5];

	umem_json_set_text(line, "event", "region");
	umem_json_set_addr(line, "start", g->start);
	umem_json_set_addr(line, "end", g->end);
	umem_json_set_text(line, "kind", umem_kind_name(g->kind));
	umem_json_set_text(line, "path", g->name);
	umem_json_set_text(line, "prot", prot_text(prot, g->vma_flags));
	umem_json_set_u64(line, "page_size_bytes", row->page_size_bytes);
	umem_json_set_bool(line, "trackable", !row->untrackable);
	if (row->untrackable)
		umem_json_set_text(line, "reason", row->untrackable);
	else
		umem_json_set_null(line, "reason");
	set_pages(line, row);
	ctl_json_known(line, "pinned_bytes", !survey->pins_hidden, row->pinned_bytes);
	umem_json_set_consume(line, "sharers", json_sharers(survey, g));
	return umem_json_write_consume(stdout, line);
}

static int print_total_json(const struct umem_survey *survey, const struct total *t)
{
	struct umem_json *line = umem_json_object();

	umem_json_set_text(line, "event", "total");
	umem_json_set_u64(line, "pid", (uint64_t)survey->target->pid);
	umem_json_set_u64(line, "regions", t->regions);
	umem_json_set_u64(line, "bytes", t->bytes);
	umem_json_set_u64(line, "trackable_bytes", t->trackable_bytes);
	ctl_json_states(line, t->pages.bytes);
	ctl_json_known(line, "swapped_io_bytes", !t->pages.io_unknown, t->pages.io_bytes);
	umem_json_set_bool(line, "exact", !t->changed && t->pages.inexact.n == 0);
	ctl_json_known(line, "pinned_bytes", !survey->pins_hidden, t->pinned_bytes);
	umem_json_set_u64(line, "sharers", survey->sharers.n);
	umem_json_set_u64(line, "hidden_processes", survey->sharers.n_hidden);
	return umem_json_write_consume(stdout, line);
}

/* Writers by name, readers by number. */
static void print_sharers(const struct umem_survey *survey, const struct umem_region *g)
{
	size_t writers = 0, readers = 0, at = 0;
	char text[512], name[64];

	for (size_t i = 0; i < survey->sharers.n; i++) {
		const struct umem_survey_sharer *s = &survey->sharers.v[i];

		if (!umem_ranges_overlaps(&s->mapped, g->start, g->end))
			continue;
		if (!umem_ranges_overlaps(&s->written, g->start, g->end))
			readers++;
		else if (++writers <= MAX_WRITERS)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%spid %d (%s)",
				writers > 1 ? ", " : "may be written by ", s->pid,
				ctl_clean(name, sizeof(name), s->comm, 0));
	}
	if (writers > MAX_WRITERS)
		at += (size_t)snprintf(text + at, sizeof(text) - at, " and %zu more",
			writers - MAX_WRITERS);
	if (readers)
		snprintf(text + at, sizeof(text) - at, "%salso mapped by %zu other%s, not writable",
			writers ? "; " : "", readers, readers == 1 ? "" : "s");
	if (writers || readers) {
		printf("    ");
		ctl_wrap(text, 4, 6);
	}
}

/* A size in a column; what is not exact has a mark. */
static void print_state(const struct row *row, enum umem_state state, int width)
{
	const struct umem_residency_region *in = row->in;
	char size[16], text[24] = "-";

	if (in)
		snprintf(text, sizeof(text), "%s%s", in->exact ? "" : "~",
			ctl_size(size, in->bytes[state]));
	else if (umem_survey_has_pages(row->region))
		snprintf(text, sizeof(text), "?");
	printf(" %*s", width, text);
}

static void print_region_table(const struct umem_survey *survey, const struct row *row)
{
	const struct umem_region *g = row->region;
	char prot[5], text[16];

	printf("  %012" PRIx64 "-%012" PRIx64 " %s", g->start, g->end,
		prot_text(prot, g->vma_flags));
	printf(" %7s", ctl_size(text, g->end - g->start));
	print_state(row, UMEM_STATE_RESIDENT, 8);
	print_state(row, UMEM_STATE_SWAPPED, 7);
	printf(" %6s", survey->pins_hidden ? "?" : ctl_size(text, row->pinned_bytes));
	if (row->reason)
		printf("  no [%zu]\n", row->reason);
	else
		printf("  yes\n");
	print_sharers(survey, g);
}

static void print_total_table(const struct umem_survey *survey, const struct total *t)
{
	char text[16];

	printf("%-30s", "total");
	printf(" %9s", ctl_size(text, t->bytes));
	printf(" %8s", ctl_size(text, t->pages.bytes[UMEM_STATE_RESIDENT]));
	printf(" %7s", ctl_size(text, t->pages.bytes[UMEM_STATE_SWAPPED]));
	printf(" %6s", survey->pins_hidden ? "?" : ctl_size(text, t->pinned_bytes));
	printf("  %s\n", ctl_size(text, t->trackable_bytes));
	ctl_footnotes_print(&t->reasons, "not trackable", 0);
	ctl_footnotes_print(&t->pages.inexact, "not exact", '~');
	if (t->changed)
		puts("  ?   changed while it was looked at");
	if (survey->pins.n > 0 && survey->pinned.n == 0)
		puts("  some memory is pinned, nobody tells where (see umemctl doctor --pid)");
	if (survey->pins_hidden)
		puts("  who has memory pinned may not be looked at (needs CAP_SYS_PTRACE)");
	if (survey->sharers.n_hidden)
		printf("  who else maps shared memory is not fully known: %" PRIu64 " process%s\n"
		       "  may not be looked at\n", survey->sharers.n_hidden,
			survey->sharers.n_hidden == 1 ? "" : "es");
}

static int print_all(const struct umem_survey *survey, bool json)
{
	const struct umem_space *space = &survey->target->space;
	struct ctl_headline above = { 0 };
	struct total total = { 0 };
	int r = 0;

	if (!json)
		printf("%-30s %9s %8s %7s %6s  %s\n", "  START        END          PROT", "SIZE",
			"RESIDENT", "SWAPPED", "PINNED", "TRACKABLE");
	for (size_t i = 0; i < space->n && r == 0; i++) {
		struct row row = row_of(survey, &space->v[i]);
		struct ctl_headline headline = { umem_kind_name(row.region->kind),
			row.page_size_bytes, row.region->name };

		count(&total, &row);
		if (json) {
			r = print_region_json(survey, &row);
			continue;
		}
		if (i == 0 || !ctl_headline_same(&above, &headline))
			ctl_headline_print(&headline);
		above = headline;
		print_region_table(survey, &row);
	}
	if (r == 0 && json)
		r = print_total_json(survey, &total);
	else if (r == 0)
		print_total_table(survey, &total);
	return r < 0 ? r : ctl_flush();
}

int cmd_regions(const struct ctl_options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	UMEM_CLEANUP(umem_survey_freep) struct umem_survey *survey = NULL;
	struct umem_attach_options attach = ctl_attach_options();
	struct umem_note note = { 0 };
	int opt, pid, r;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		fputs("Try 'umemctl regions --help'.\n", stderr);
		return CTL_USAGE;
	}
	if (argc - optind > 1)
		return ctl_usage(VERB, "one process at a time, not also \"%s\"", argv[optind + 1]);
	r = ctl_pid(VERB, argv[optind], &pid);
	if (r != CTL_DONE)
		return r;
	r = umem_survey_new(pid, &attach, &survey, &note);
	if (r == 0)
		r = umem_survey_pages_read(survey, &note);
	if (r == 0)
		r = print_all(survey, options->json);
	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}
