// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl image export: images in the formats of other programs. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include <umemd/export.h>

#include "daemon/ctl/image.h"
#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/parse.h"
#include "lib/base/ranges.h"

/**
 * struct making - a file that is made from an image.
 * @run: the verb.
 * @path: the image.
 * @out: the new file.
 * @format: of it.
 * @asked: --region.
 * @options: of the export.
 * @extents: for JSON: what is where in a raw file.
 */
struct making {
	struct ctl_image *run;
	const char *path;
	const char *out;
	const char *format;
	struct umem_ranges asked;
	struct umem_image_export_options options;
	struct umem_json *extents;
};

static void print_help(void)
{
	puts("umemctl image export FILE --format F -o OUT [OPTION]...\n\n"
	     "Writes an image in the format of other programs.\n\n"
	     "  --format core|raw|criu\n"
	     "                       an ELF core for debuggers; memory without a header, one\n"
	     "                       mapping behind the other; a folder of CRIU images\n"
	     "  -o, --output OUT     the file, or folder, that is made\n"
	     "  --pid PID            (core, raw) of which process (default: the first one)\n"
	     "  --region A-B         (raw) only mappings that overlap it; may be repeated\n"
	     "  --diff               (raw) only what differs from the parent; the rest is holes\n"
	     "  --parent DIR         (criu) the folder that the parent was exported to\n"
	     "  --embed-files        (core) copy pages of mapped files into it\n"
	     "  --sparse             (raw, criu) zeros for pages that the image does not have");
}

static void add_extent(void *user, const struct umem_image_extent *extent)
{
	struct making *m = user;
	struct umem_json *item = umem_json_object();

	umem_json_set_u64(item, "pid", (uint64_t)extent->pid);
	umem_json_set_addr(item, "start", extent->start);
	umem_json_set_addr(item, "end", extent->end);
	umem_json_set_u64(item, "file_offset", extent->file_offset);
	umem_json_append_consume(m->extents, item);
}

static int step(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct making *m = user;

	return ctl_image_step(m->run, done_bytes, total_bytes);
}

static int parse_one(struct making *m, int opt, const char *arg)
{
	struct umem_range range;
	int pid = 0, r;

	switch (opt) {
	case 'f':
		m->format = arg;
		return CTL_DONE;
	case 'o':
		m->out = arg;
		return CTL_DONE;
	case 'p':
		r = ctl_pid(m->run->verb, arg, &pid);
		m->options.pid = pid;
		return r;
	case 'r':
		if (umem_parse_range(arg, &range) < 0)
			return ctl_usage(m->run->verb, "--region: \"%s\" is no range; write "
				"START-END in hexadecimal", arg);
		return umem_ranges_add(&m->asked, range.start, range.end) < 0 ? CTL_FAILED :
										CTL_DONE;
	case 'd':
		m->options.diff = true;
		return CTL_DONE;
	case 'q':
		m->options.parent_path = arg;
		return CTL_DONE;
	case 'e':
		m->options.embed_files = true;
		return CTL_DONE;
	case 's':
		m->options.unknown_as_zero = true;
		return CTL_DONE;
	default:
		return CTL_USAGE;
	}
}

/* Return: an exit code, or -1 to go on. */
static int parse(struct making *m, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "format", required_argument, NULL, 'f' },
		{ "output", required_argument, NULL, 'o' },
		{ "pid", required_argument, NULL, 'p' },
		{ "region", required_argument, NULL, 'r' },
		{ "diff", no_argument, NULL, 'd' },
		{ "parent", required_argument, NULL, 'q' },
		{ "embed-files", no_argument, NULL, 'e' },
		{ "sparse", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, r;

	while ((opt = getopt_long(argc, argv, "ho:", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		r = parse_one(m, opt, optarg);
		if (r != CTL_DONE)
			return r;
	}
	if (!m->out)
		return ctl_usage(m->run->verb, "-o OUT is missing: what to make");
	r = ctl_image_one_path(m->run, argc, argv, &m->path);
	return r == CTL_DONE ? -1 : r;
}

static int print_exported(struct making *m, const struct umem_image_exported *made)
{
	uint64_t ns = umem_now_ns() - m->run->progress.start_ns;
	char length[16], data[16], took[16];
	struct umem_json *object;
	int r;

	ctl_progress_end(&m->run->progress);
	if (!m->run->ctl->json) {
		printf("%s: %s, %s of it data (%s)\n", m->out,
			ctl_size(length, made->length_bytes), ctl_size(data, made->data_bytes),
			ctl_time(took, ns));
		if (made->unknown_bytes)
			printf("  %s are not known to the image: %s\n",
				ctl_size(data, made->unknown_bytes),
				strcmp(m->format, "core") == 0 ? "left out" : "zeros");
		return ctl_flush();
	}
	object = umem_json_object();
	umem_json_set_text(object, "path", m->out);
	umem_json_set_text(object, "format", m->format);
	umem_json_set_u64(object, "length_bytes", made->length_bytes);
	umem_json_set_u64(object, "data_bytes", made->data_bytes);
	umem_json_set_u64(object, "file_bytes", made->file_bytes);
	umem_json_set_u64(object, "unknown_bytes", made->unknown_bytes);
	umem_json_set_u64(object, "parent_bytes", made->parent_bytes);
	umem_json_set_consume(object, "extents", m->extents);
	m->extents = NULL;
	umem_json_set_u64(object, "elapsed_ns", ns);
	r = umem_json_write_consume(stdout, object);
	return r < 0 ? r : ctl_flush();
}

static int export(struct making *m, struct umem_note *note)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	struct umem_image_exported made;
	int r = umem_image_open(m->path, NULL, &image, note);

	m->options.size = sizeof(m->options);
	m->options.regions = m->asked.v;
	m->options.n_regions = m->asked.n;
	m->options.extent = add_extent;
	m->options.progress = step;
	m->options.user = m;
	if (r == 0)
		r = umem_image_export(image, m->format, m->out, &m->options, &made, note);
	/* No process of this machine is gone. */
	if (r == -ESRCH)
		r = -ENOENT;
	return r == 0 ? print_exported(m, &made) : r;
}

int image_export(struct ctl_image *run, int argc, char **argv)
{
	struct making m = { .run = run };
	struct umem_note note = { 0 };
	int r = parse(&m, argc, argv);

	if (r < 0 && !m.format)
		r = ctl_usage(run->verb, "--format is missing: core, raw or criu");
	if (r < 0) {
		m.extents = umem_json_array();
		r = export(&m, &note);
		umem_json_free(m.extents);
		r = r == 0 ? CTL_DONE : ctl_image_ended(run, r, &note, "nothing was written");
	}
	umem_ranges_deinit(&m.asked);
	return r;
}
