// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl image flatten: fold a chain of images into one. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "daemon/ctl/image.h"
#include "lib/base/clock.h"
#include "lib/base/json.h"

static void print_help(void)
{
	puts("umemctl image flatten FILE -o OUT [OPTION]...\n\n"
	     "Writes an increment and all that it refers to as one image that stands alone.\n\n"
	     "  -o, --output OUT     the new image\n"
	     "  --codec zstd|none    compress (default zstd)");
}

/* Return: an exit code, or -1 to go on. */
static int parse(struct ctl_image *run, struct umem_image_create_options *create, int argc,
	char **argv, const char **ret_out, const char **ret_path)
{
	static const struct option longs[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "codec", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, r;

	*ret_out = NULL;
	while ((opt = getopt_long(argc, argv, "ho:", longs, NULL)) != -1) {
		switch (opt) {
		case 'h':
			print_help();
			return CTL_DONE;
		case 'o':
			*ret_out = optarg;
			break;
		case 'c':
			if (strcmp(optarg, "none") != 0 && strcmp(optarg, "zstd") != 0)
				return ctl_usage(run->verb, "--codec does not know \"%s\"", optarg);
			create->codec = optarg[0] == 'n' ? UMEM_IMAGE_CODEC_NONE :
							   UMEM_IMAGE_CODEC_ZSTD;
			break;
		default:
			return CTL_USAGE;
		}
	}
	if (!*ret_out)
		return ctl_usage(run->verb, "-o OUT is missing: what to make");
	r = ctl_image_one_path(run, argc, argv, ret_path);
	return r == CTL_DONE ? -1 : r;
}

static int print_made(struct ctl_image *run, const char *out, const struct umem_image_totals *made)
{
	uint64_t ns = umem_now_ns() - run->progress.start_ns;
	char size[16], took[16];
	struct umem_json *object;
	int r;

	ctl_progress_end(&run->progress);
	if (!run->ctl->json) {
		printf("%s: %s (%s)\n", out, ctl_size(size, made->file_bytes), ctl_time(took, ns));
		return ctl_flush();
	}
	object = umem_json_object();
	umem_json_set_text(object, "path", out);
	umem_json_set_u64(object, "data_bytes", made->data_bytes);
	umem_json_set_u64(object, "zero_bytes", made->zero_bytes);
	umem_json_set_u64(object, "file_bytes", made->file_bytes);
	umem_json_set_u64(object, "elapsed_ns", ns);
	r = umem_json_write_consume(stdout, object);
	return r < 0 ? r : ctl_flush();
}

int image_flatten(struct ctl_image *run, int argc, char **argv)
{
	struct umem_image_create_options create = { .size = sizeof(create) };
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	struct umem_image_totals made = { 0 };
	struct umem_note note = { 0 };
	const char *out = NULL, *path = NULL;
	int r = parse(run, &create, argc, argv, &out, &path);

	if (r >= 0)
		return r;
	r = umem_image_open(path, NULL, &image, &note);
	if (r == 0)
		r = umem_image_flatten(image, out, &create, ctl_image_step, run, &made, &note);
	if (r == 0)
		r = print_made(run, out, &made);
	return r == 0 ? CTL_DONE : ctl_image_ended(run, r, &note, "nothing was written");
}
