// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl image: work on images; the verbs, and what they share. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "daemon/ctl/image.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

static const struct verb {
	const char *name;
	const char *full;
	const char *usage;
	const char *summary;
	int (*run)(struct ctl_image *run, int argc, char **argv);
} verbs[] = {
	{ "info", "image info", "FILE", "what is in it", image_info },
	{ "verify", "image verify", "FILE", "prove every byte of it and of its parents",
		image_verify },
	{ "read", "image read", "FILE --at ADDR --len N", "bytes of memory, to standard output",
		image_read },
	{ "diff", "image diff", "FIRST SECOND", "which pages and mappings differ", image_diff },
	{ "export", "image export", "FILE --format F -o OUT", "write it as core, raw or criu",
		image_export },
	{ "flatten", "image flatten", "FILE -o OUT", "fold a chain into one image",
		image_flatten },
};

static void print_help(FILE *out)
{
	fputs("umemctl image VERB FILE [OPTION]...\n\n"
	      "Works on images that umemctl snapshot made.\n\n", out);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(verbs); i++)
		fprintf(out, "  %-8s %-24s %s\n", verbs[i].name, verbs[i].usage, verbs[i].summary);
	fputs("\n'umemctl image VERB --help' tells the verb's options.\n", out);
}

int ctl_image_step(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct ctl_image *run = user;

	return ctl_progress_step(&run->progress, done_bytes, total_bytes) ? -ECANCELED : 0;
}

int ctl_image_ended(struct ctl_image *run, int result, struct umem_note *note, const char *done)
{
	ctl_progress_end(&run->progress);
	if (result == -ECANCELED) {
		umem_note_clear(note);
		umem_note_set(note, result, 0, "interrupted: %s", done);
	}
	return ctl_ended(run->verb, result, note);
}

int ctl_image_space(struct ctl_image *run, const struct umem_image *image,
	const struct umem_image_process **ret_process, struct umem_note *note)
{
	size_t n;
	const struct umem_image_process *v = umem_image_processes(image, &n);

	run->space = 0;
	*ret_process = n ? &v[0] : NULL;
	for (size_t i = 0; run->pid && i <= n; i++) {
		if (i == n)
			return umem_note_set(note, -ENOENT, 0,
				"there is no process %d in %s (umemctl image info lists them)",
				run->pid, umem_image_path(image));
		if (v[i].pid == run->pid) {
			*ret_process = &v[i];
			break;
		}
	}
	if (*ret_process)
		run->space = (*ret_process)->space;
	return 0;
}

const char *ctl_image_id_text(char buf[33], const struct umem_image_id *id)
{
	for (size_t i = 0; i < sizeof(id->bytes); i++)
		snprintf(buf + 2 * i, 3, "%02x", id->bytes[i]);
	return buf;
}

int ctl_image_one_path(const struct ctl_image *run, int argc, char **argv, const char **ret_path)
{
	if (argc == optind)
		return ctl_usage(run->verb, "give the file of an image");
	if (argc - optind > 1)
		return ctl_usage(run->verb, "one image at a time, not also \"%s\"",
			argv[optind + 1]);
	*ret_path = argv[optind];
	return CTL_DONE;
}

int cmd_image(const struct ctl_options *options, int argc, char **argv)
{
	static char name[48];
	struct ctl_image run = { .ctl = options };
	UMEM_FD int signals = -1;
	char word[80];
	int r;

	if (argc < 2) {
		print_help(stderr);
		return CTL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return CTL_DONE;
	}
	for (size_t i = 0; i < UMEM_ARRAY_LEN(verbs); i++) {
		if (strcmp(argv[1], verbs[i].name) != 0)
			continue;
		run.verb = verbs[i].full;
		snprintf(name, sizeof(name), "umemctl: %s", run.verb);
		argv[1] = name;
		optind = 0;
		r = ctl_signals(&signals);
		if (r < 0)
			return ctl_failed(run.verb, r, &(struct umem_note){ 0 });
		ctl_progress_begin(&run.progress, run.verb, options->quiet, signals);
		return verbs[i].run(&run, argc - 1, argv + 1);
	}
	return ctl_usage("image", "there is no verb \"%s\"",
		ctl_clean(word, sizeof(word), argv[1], 60));
}
