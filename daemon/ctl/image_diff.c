// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl image diff: which pages and mappings of two images differ. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "daemon/ctl/image.h"
#include "lib/base/json.h"

static const char *const change_names[] = {
	[UMEM_IMAGE_CHANGED] = "changed",
	[UMEM_IMAGE_ADDED] = "added",
	[UMEM_IMAGE_REMOVED] = "removed",
};

#define N_CHANGES UMEM_ARRAY_LEN(change_names)

/**
 * struct diff - one comparison.
 * @run: the verb.
 * @ranges: list them.
 * @first: names the processes.
 * @bytes: by enum umem_image_change; @regions likewise.
 * @n_items: of the list that is being printed.
 * @range_list, @region_list: for JSON.
 */
struct diff {
	struct ctl_image *run;
	bool ranges;
	struct umem_image *first;
	uint64_t bytes[N_CHANGES];
	uint64_t regions[N_CHANGES];
	struct umem_json *range_list;
	struct umem_json *region_list;
};

static int add_pages(void *user, uint32_t first_space, uint32_t second_space,
	const struct umem_range *range, enum umem_image_change change)
{
	struct diff *d = user;
	struct umem_json *item;
	char size[16];

	d->bytes[change] += range->end - range->start;
	if (!d->ranges)
		return 0;
	if (!d->run->ctl->json) {
		ctl_progress_end(&d->run->progress);
		printf("  %#14llx-%#-14llx %8s  %s\n", (unsigned long long)range->start,
			(unsigned long long)range->end, ctl_size(size, range->end - range->start),
			change_names[change]);
		return 0;
	}
	item = umem_json_object();
	umem_json_set_u64(item, "space",
		first_space == UMEM_IMAGE_NO_SPACE ? second_space : first_space);
	umem_json_set_addr(item, "start", range->start);
	umem_json_set_addr(item, "end", range->end);
	umem_json_set_text(item, "change", change_names[change]);
	umem_json_append_consume(d->range_list, item);
	return 0;
}

static int add_region(void *user, uint32_t first_space, uint32_t second_space,
	const struct umem_image_region *first, const struct umem_image_region *second,
	enum umem_image_change change)
{
	const struct umem_image_region *g = second ? second : first;
	struct diff *d = user;
	struct umem_json *item;
	char size[16], name[128];

	d->regions[change]++;
	if (!d->ranges)
		return 0;
	if (!d->run->ctl->json) {
		ctl_progress_end(&d->run->progress);
		printf("  %#14llx-%#-14llx %8s  mapping %s: %s %s\n", (unsigned long long)g->start,
			(unsigned long long)g->end, ctl_size(size, g->end - g->start),
			change_names[change], g->kind_name,
			ctl_clean(name, sizeof(name), g->path, 40));
		return 0;
	}
	item = umem_json_object();
	umem_json_set_u64(item, "space",
		first_space == UMEM_IMAGE_NO_SPACE ? second_space : first_space);
	umem_json_set_addr(item, "start", g->start);
	umem_json_set_addr(item, "end", g->end);
	umem_json_set_text(item, "kind", g->kind_name);
	umem_json_set_text(item, "path", g->path);
	umem_json_set_text(item, "change", change_names[change]);
	umem_json_append_consume(d->region_list, item);
	return 0;
}

static int step(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct diff *d = user;

	return ctl_image_step(d->run, done_bytes, total_bytes);
}

static int print_json(struct diff *d)
{
	struct umem_json *object = umem_json_object();
	char key[32];
	int r;

	for (size_t i = 0; i < N_CHANGES; i++) {
		snprintf(key, sizeof(key), "%s_bytes", change_names[i]);
		umem_json_set_u64(object, key, d->bytes[i]);
		snprintf(key, sizeof(key), "%s_regions", change_names[i]);
		umem_json_set_u64(object, key, d->regions[i]);
	}
	if (d->ranges) {
		umem_json_set_consume(object, "ranges", d->range_list);
		umem_json_set_consume(object, "regions", d->region_list);
		d->range_list = d->region_list = NULL;
	}
	r = umem_json_write_consume(stdout, object);
	return r < 0 ? r : ctl_flush();
}

static int print_table(struct diff *d)
{
	char text[N_CHANGES][16];

	printf("pages: %s changed, %s added, %s removed\n", ctl_size(text[0], d->bytes[0]),
		ctl_size(text[1], d->bytes[1]), ctl_size(text[2], d->bytes[2]));
	printf("mappings: %llu changed, %llu added, %llu removed\n",
		(unsigned long long)d->regions[0], (unsigned long long)d->regions[1],
		(unsigned long long)d->regions[2]);
	return ctl_flush();
}

/* Return: an exit code, or -1 to go on. */
static int parse(struct diff *d, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "ranges", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			puts("umemctl image diff FIRST SECOND [OPTION]...\n\n"
			     "Compares two images page by page, through their parents.\n\n"
			     "  --ranges             list the ranges and the mappings that differ");
			return CTL_DONE;
		}
		if (opt != 'l')
			return CTL_USAGE;
		d->ranges = true;
	}
	if (argc - optind != 2)
		return ctl_usage(d->run->verb, "give the files of two images");
	return -1;
}

int image_diff(struct ctl_image *run, int argc, char **argv)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *first = NULL, *second = NULL;
	struct diff d = { .run = run };
	struct umem_image_diff_options options = {
		.size = sizeof(options),
		.pages = add_pages,
		.regions = add_region,
		.progress = step,
		.user = &d,
	};
	struct umem_note note = { 0 };
	int r = parse(&d, argc, argv);

	if (r >= 0)
		return r;
	if (run->ctl->json) {
		d.range_list = umem_json_array();
		d.region_list = umem_json_array();
	}
	r = umem_image_open(argv[optind], NULL, &first, &note);
	if (r == 0)
		r = umem_image_open(argv[optind + 1], NULL, &second, &note);
	if (r == 0)
		r = umem_image_diff(first, second, &options, &note);
	ctl_progress_end(&run->progress);
	if (r == 0)
		r = run->ctl->json ? print_json(&d) : print_table(&d);
	umem_json_free(d.range_list);
	umem_json_free(d.region_list);
	return r == 0 ? CTL_DONE : ctl_image_ended(run, r, &note, "not all was compared");
}
