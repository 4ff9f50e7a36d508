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

/* Writers of a region that are named. */
#define MAX_WRITERS 4

/**
 * struct total - sums over all regions.
 * @reasons: why not trackable.
 */
struct total {
	uint64_t regions;
	uint64_t bytes;
	uint64_t trackable_bytes;
	uint64_t resident_bytes;
	uint64_t swapped_bytes;
	uint64_t pinned_bytes;
	struct ctl_footnotes reasons;
};

static void print_help(void)
{
	puts("umemctl regions PID\n\n"
	     "Lists the mappings of a process: what backs them, what of them is in memory,\n"
	     "swapped and pinned, whether they can be tracked or why not, and who else maps\n"
	     "the same memory. The process is not stopped and nothing is brought in.");
}

/* Return: the number of its reason, or 0 for trackable. */
static size_t count(struct total *t, const struct umem_region *g,
	const struct umem_resident *in, uint64_t pinned_bytes)
{
	uint64_t bytes = g->end - g->start;

	t->regions++;
	t->bytes += bytes;
	t->resident_bytes += in->resident_bytes;
	t->swapped_bytes += in->swapped_bytes;
	t->pinned_bytes += pinned_bytes;
	if (!in->untrackable) {
		t->trackable_bytes += bytes;
		return 0;
	}
	return ctl_footnotes_add(&t->reasons, in->untrackable, bytes);
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

static void set_known(struct umem_json *object, const char *key, bool known, uint64_t value)
{
	if (known)
		umem_json_set_u64(object, key, value);
	else
		umem_json_set_null(object, key);
}

static int print_region_json(const struct umem_survey *survey, const struct umem_region *g,
	const struct umem_resident *in)
{
	struct umem_json *line = umem_json_object();
	char prot[5];

	umem_json_set_text(line, "event", "region");
	umem_json_set_addr(line, "start", g->start);
	umem_json_set_addr(line, "end", g->end);
	umem_json_set_text(line, "kind", umem_kind_name(g->kind));
	umem_json_set_text(line, "path", g->name);
	umem_json_set_text(line, "prot", prot_text(prot, g->vma_flags));
	umem_json_set_u64(line, "page_size_bytes", in->page_size_bytes);
	umem_json_set_bool(line, "trackable", !in->untrackable);
	if (in->untrackable)
		umem_json_set_text(line, "reason", in->untrackable);
	else
		umem_json_set_null(line, "reason");
	set_known(line, "resident_bytes", in->known, in->resident_bytes);
	set_known(line, "swapped_bytes", in->known, in->swapped_bytes);
	set_known(line, "pinned_bytes", !survey->pins_hidden, umem_survey_pinned(survey, g));
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
	umem_json_set_u64(line, "resident_bytes", t->resident_bytes);
	umem_json_set_u64(line, "swapped_bytes", t->swapped_bytes);
	set_known(line, "pinned_bytes", !survey->pins_hidden, t->pinned_bytes);
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

static void print_region_table(const struct umem_survey *survey, const struct umem_region *g,
	const struct umem_resident *in, size_t reason)
{
	char prot[5], text[16];

	printf("  %012" PRIx64 "-%012" PRIx64 " %s", g->start, g->end,
		prot_text(prot, g->vma_flags));
	printf(" %7s", ctl_size(text, g->end - g->start));
	printf(" %8s", in->known ? ctl_size(text, in->resident_bytes) : "?");
	printf(" %7s", in->known ? ctl_size(text, in->swapped_bytes) : "?");
	printf(" %6s", survey->pins_hidden ? "?" : ctl_size(text, umem_survey_pinned(survey, g)));
	if (reason)
		printf("  no [%zu]\n", reason);
	else
		printf("  yes\n");
	print_sharers(survey, g);
}

static void print_total_table(const struct umem_survey *survey, const struct total *t)
{
	char text[16];

	printf("%-30s", "total");
	printf(" %9s", ctl_size(text, t->bytes));
	printf(" %8s", ctl_size(text, t->resident_bytes));
	printf(" %7s", ctl_size(text, t->swapped_bytes));
	printf(" %6s", survey->pins_hidden ? "?" : ctl_size(text, t->pinned_bytes));
	printf("  %s\n", ctl_size(text, t->trackable_bytes));
	ctl_footnotes_print(&t->reasons, "not trackable");
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
		const struct umem_region *g = &space->v[i];
		struct umem_resident in = umem_resident_of(&survey->smaps, g);
		size_t reason = count(&total, g, &in, umem_survey_pinned(survey, g));
		struct ctl_headline headline;

		if (json) {
			r = print_region_json(survey, g, &in);
			continue;
		}
		headline = (struct ctl_headline){ umem_kind_name(g->kind), in.page_size_bytes,
			g->name };
		if (i == 0 || !ctl_headline_same(&above, &headline))
			ctl_headline_print(&headline);
		above = headline;
		print_region_table(survey, g, &in, reason);
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
		r = print_all(survey, options->json);
	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}
