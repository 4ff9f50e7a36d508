// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl image info: what is in an image. */
#include <getopt.h>
#include <string.h>
#include <time.h>

#include "daemon/ctl/image.h"
#include "lib/base/json.h"

static void print_help(void)
{
	puts("umemctl image info FILE [OPTION]...\n\n"
	     "Tells how and when an image was made, of which processes, and what it is made of.\n\n"
	     "  --regions            list the mappings of each process");
}

static struct umem_json *json_incomplete(const struct umem_image_info *info)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < info->n_incomplete; i++) {
		const struct umem_image_incomplete *from = &info->incomplete[i];
		struct umem_json *item = umem_json_object();

		umem_json_set_u64(item, "space", from->space);
		umem_json_set_addr(item, "start", from->start);
		umem_json_set_addr(item, "end", from->end);
		umem_json_set_text(item, "reason", from->reason);
		umem_json_append_consume(list, item);
	}
	return list;
}

static struct umem_json *json_region(const struct umem_image_region *from)
{
	struct umem_json *item = umem_json_object();

	umem_json_set_addr(item, "start", from->start);
	umem_json_set_addr(item, "end", from->end);
	umem_json_set_text(item, "kind", from->kind_name);
	umem_json_set_text(item, "path", from->path);
	umem_json_set_u64(item, "offset", from->offset);
	umem_json_set_u64(item, "page_size_bytes", from->page_size_bytes);
	umem_json_set_bool(item, "file_backed", from->file_backed);
	return item;
}

static struct umem_json *json_process(const struct umem_image_process *p, bool with_regions)
{
	struct umem_json *item = umem_json_object(), *list;

	umem_json_set_u64(item, "space", p->space);
	umem_json_set_u64(item, "pid", (uint64_t)p->pid);
	umem_json_set_u64(item, "ppid", (uint64_t)p->ppid);
	umem_json_set_text(item, "comm", p->comm);
	umem_json_set_text(item, "exe", p->exe);
	umem_json_set_u64(item, "n_threads", p->n_threads);
	umem_json_set_u64(item, "n_regions", p->n_regions);
	if (!with_regions)
		return item;
	list = umem_json_array();
	for (size_t i = 0; i < p->n_regions; i++)
		umem_json_append_consume(list, json_region(&p->regions[i]));
	umem_json_set_consume(item, "regions", list);
	return item;
}

static struct umem_json *json_totals(const struct umem_image_totals *t)
{
	struct umem_json *item = umem_json_object();

	umem_json_set_u64(item, "data_bytes", t->data_bytes);
	umem_json_set_u64(item, "duplicate_bytes", t->duplicate_bytes);
	umem_json_set_u64(item, "zero_bytes", t->zero_bytes);
	umem_json_set_u64(item, "fill_bytes", t->fill_bytes);
	umem_json_set_u64(item, "parent_bytes", t->parent_bytes);
	umem_json_set_u64(item, "stored_bytes", t->stored_bytes);
	umem_json_set_u64(item, "frame_bytes", t->frame_bytes);
	umem_json_set_u64(item, "index_bytes", t->index_bytes);
	umem_json_set_u64(item, "file_bytes", t->file_bytes);
	umem_json_set_u64(item, "disk_bytes", t->disk_bytes);
	umem_json_set_u64(item, "n_frames", t->n_frames);
	umem_json_set_u64(item, "n_runs", t->n_runs);
	return item;
}

static void set_parent(struct umem_json *object, const struct umem_image *image)
{
	struct umem_image_id id;
	const char *name = umem_image_parent_name(image, &id);
	struct umem_json *item;
	char text[33];

	if (!name) {
		umem_json_set_null(object, "parent");
		return;
	}
	item = umem_json_object();
	umem_json_set_text(item, "path", name);
	umem_json_set_text(item, "id", ctl_image_id_text(text, &id));
	umem_json_set_consume(object, "parent", item);
}

static int print_json(struct umem_image *image, bool with_regions)
{
	const struct umem_image_info *info = umem_image_info(image);
	struct umem_json *object = umem_json_object(), *list = umem_json_array();
	struct umem_image_totals totals;
	char text[33];
	size_t n;
	const struct umem_image_process *v = umem_image_processes(image, &n);

	umem_image_totals(image, &totals);
	umem_json_set_text(object, "path", umem_image_path(image));
	umem_json_set_text(object, "id", ctl_image_id_text(text, umem_image_id(image)));
	set_parent(object, image);
	umem_json_set_text(object, "method", info->method);
	umem_json_set_text(object, "creator", info->creator);
	umem_json_set_text(object, "kernel", info->kernel);
	umem_json_set_text(object, "machine", info->machine);
	umem_json_set_u64(object, "time_ns", info->time_ns);
	umem_json_set_u64(object, "pause_ns", info->pause_ns);
	umem_json_set_u64(object, "total_ns", info->total_ns);
	umem_json_set_u64(object, "rounds", info->rounds);
	umem_json_set_bool(object, "complete", info->complete);
	umem_json_set_consume(object, "incomplete", json_incomplete(info));
	for (size_t i = 0; i < n; i++)
		umem_json_append_consume(list, json_process(&v[i], with_regions));
	umem_json_set_consume(object, "processes", list);
	umem_json_set_consume(object, "totals", json_totals(&totals));
	return umem_json_write_consume(stdout, object);
}

static void print_process(const struct umem_image_process *p, bool with_regions)
{
	char name[64], size[16];

	printf("  pid %d (%s): %zu threads, %zu mappings\n", p->pid,
		ctl_clean(name, sizeof(name), p->comm, 0), p->n_threads, p->n_regions);
	for (size_t i = 0; with_regions && i < p->n_regions; i++) {
		const struct umem_image_region *g = &p->regions[i];
		char path[256];

		printf("    %#14llx-%#-14llx %8s  %-14s %s\n", (unsigned long long)g->start,
			(unsigned long long)g->end, ctl_size(size, g->end - g->start), g->kind_name,
			ctl_clean(path, sizeof(path), g->path, 40));
	}
}

static void print_amount(const char *what, uint64_t bytes, const char *more)
{
	char size[16];

	if (bytes)
		printf("  %-22s %8s%s\n", what, ctl_size(size, bytes), more);
}

static void print_totals(const struct umem_image_totals *t)
{
	char more[64] = "";

	if (t->frame_bytes && t->frame_bytes < t->stored_bytes)
		snprintf(more, sizeof(more), "  (compressed to %.1f%%)",
			100.0 * (double)t->frame_bytes / (double)t->stored_bytes);
	print_amount("pages with content", t->data_bytes, "");
	print_amount("of these duplicates", t->duplicate_bytes, "");
	print_amount("of zeros", t->zero_bytes, "");
	print_amount("of one repeated word", t->fill_bytes, "");
	print_amount("as in the parent", t->parent_bytes, "");
	print_amount("stored", t->stored_bytes, more);
	print_amount("index, descriptions", t->index_bytes, "");
	print_amount("file", t->file_bytes, "");
}

static void print_table(struct umem_image *image, bool with_regions)
{
	const struct umem_image_info *info = umem_image_info(image);
	time_t seconds = (time_t)(info->time_ns / 1000000000u);
	struct umem_image_totals totals;
	char when[32], pause[16], took[16], name[256];
	struct tm tm;
	size_t n;
	const struct umem_image_process *v = umem_image_processes(image, &n);

	umem_image_totals(image, &totals);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &tm));
	printf("%s: of %s, by %s in %s, stopped for %s\n",
		ctl_clean(name, sizeof(name), umem_image_path(image), 0), when,
		info->method[0] ? info->method : "an unknown method",
		ctl_time(took, info->total_ns), ctl_time(pause, info->pause_ns));
	if (umem_image_parent_name(image, NULL))
		printf("  an increment to %s\n", ctl_clean(name, sizeof(name),
			umem_image_parent_name(image, NULL), 0));
	for (size_t i = 0; i < n; i++)
		print_process(&v[i], with_regions);
	print_totals(&totals);
	for (size_t i = 0; i < info->n_incomplete; i++) {
		struct umem_reason why = { info->incomplete[i].start, info->incomplete[i].end,
			info->incomplete[i].reason };

		ctl_print_reason("incomplete: ", &why);
	}
	if (info->complete)
		puts("  complete");
}

int image_info(struct ctl_image *run, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "regions", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	/* What it is made of is told also when its parent is not there. */
	struct umem_image_open_options open = { .size = sizeof(open), .without_parents = true };
	struct umem_note note = { 0 };
	bool with_regions = false;
	const char *path;
	int opt, r;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		if (opt != 'r')
			return CTL_USAGE;
		with_regions = true;
	}
	r = ctl_image_one_path(run, argc, argv, &path);
	if (r != CTL_DONE)
		return r;
	r = umem_image_open(path, &open, &image, &note);
	if (r == 0 && run->ctl->json)
		r = print_json(image, with_regions);
	else if (r == 0)
		print_table(image, with_regions);
	if (r == 0)
		r = ctl_flush();
	return r == 0 ? CTL_DONE : ctl_ended(run->verb, r, &note);
}
