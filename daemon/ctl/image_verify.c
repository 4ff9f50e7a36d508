// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl image verify: prove every byte. */
#include <errno.h>
#include <getopt.h>

#include "daemon/ctl/image.h"
#include "lib/base/clock.h"
#include "lib/base/json.h"

/* So many damages are listed; all are counted. */
#define MOST_DAMAGES 1000

/**
 * struct damages - what is wrong with an image.
 * @list: items, for JSON; else NULL, and they are printed at once.
 * @n: how many.
 * @run: whose.
 */
struct damages {
	struct umem_json *list;
	uint64_t n;
	struct ctl_image *run;
};

static void add_damage(void *user, const char *path, uint64_t file_offset, const char *text)
{
	struct damages *d = user;
	char name[256], clean[512];

	if (d->n++ >= MOST_DAMAGES)
		return;
	if (d->list) {
		struct umem_json *item = umem_json_object();

		umem_json_set_text(item, "path", path);
		umem_json_set_u64(item, "offset", file_offset);
		umem_json_set_text(item, "text", text);
		umem_json_append_consume(d->list, item);
		return;
	}
	ctl_progress_end(&d->run->progress);
	printf("%s: at %llu: %s\n", ctl_clean(name, sizeof(name), path, 0),
		(unsigned long long)file_offset, ctl_clean(clean, sizeof(clean), text, 0));
}

/* Progress, of a struct damages. */
static int step(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct damages *d = user;

	return ctl_image_step(d->run, done_bytes, total_bytes);
}

static int print_verdict(struct damages *d, const char *path, int result, const char *text)
{
	uint64_t ns = umem_now_ns() - d->run->progress.start_ns;
	struct umem_json *object;
	char took[16];

	ctl_progress_end(&d->run->progress);
	if (!d->list) {
		if (result == 0)
			printf("%s: every byte is as it was written (%s)\n", path,
				ctl_time(took, ns));
		return ctl_flush();
	}
	object = umem_json_object();
	umem_json_set_text(object, "path", path);
	umem_json_set_bool(object, "ok", result == 0);
	umem_json_set_u64(object, "n_damages", result == 0 ? 0 : umem_max_u64(d->n, 1));
	umem_json_set_consume(object, "damages", d->list);
	d->list = NULL;
	if (result != 0)
		umem_json_set_text(object, "error", text);
	umem_json_set_u64(object, "elapsed_ns", ns);
	result = umem_json_write_consume(stdout, object);
	return result < 0 ? result : ctl_flush();
}

int image_verify(struct ctl_image *run, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	struct damages damages = { .run = run };
	struct umem_image_verify_options options = {
		.size = sizeof(options),
		.progress = step,
		.damage = add_damage,
		.user = &damages,
	};
	struct umem_note note = { 0 };
	const char *path;
	int opt, r;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt != 'h')
			return CTL_USAGE;
		puts("umemctl image verify FILE\n\n"
		     "Reads every byte of an image and of its parents, and checks it. Each damage\n"
		     "is named; exit status 1 then.");
		return CTL_DONE;
	}
	r = ctl_image_one_path(run, argc, argv, &path);
	if (r != CTL_DONE)
		return r;
	if (run->ctl->json)
		damages.list = umem_json_array();
	r = umem_image_open(path, NULL, &image, &note);
	if (r == 0)
		r = umem_image_verify(image, &options, &note);
	if (r != -ECANCELED) {
		int printed = print_verdict(&damages, path, r, note.text);

		r = r == 0 ? printed : r;
	}
	umem_json_free(damages.list);
	return r == 0 ? CTL_DONE : ctl_image_ended(run, r, &note, "not all was verified");
}
