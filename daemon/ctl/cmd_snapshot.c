// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl snapshot: the memory of a running process at one moment, as an image. */
#include "daemon/ctl/snapshot.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/parse.h"

#define VERB SNAPSHOT_VERB

static void print_help(void)
{
	puts("umemctl snapshot PID -o FILE [OPTION]...\n\n"
	     "Saves the memory of a running process, as it is at one moment, without stopping\n"
	     "it for more than that. Ends cleanly on Ctrl-C: the process runs on, and no file\n"
	     "is left.\n\n"
	     "  -o FILE              the image; one that is there is replaced in the end\n"
	     "  --method auto|precopy|cow|fork|freeze\n"
	     "                       copy while it runs and stop it for the rest; copy each page\n"
	     "                       before its first write; by a child; stop, copy, go on\n"
	     "  --format umem|core|raw|criu\n"
	     "                       of the file (default umem; criu makes a folder)\n"
	     "  --parent FILE        store only what differs from this image\n"
	     "  --codec zstd|none    compress (default zstd)\n"
	     "  --region A-B         only these addresses (hexadecimal); may be repeated\n"
	     "  --tree               with all its descendants, and all who map its shared memory\n"
	     "  --trigger stdin      each newline takes one more image, FILE.1, FILE.2, ..., each\n"
	     "                       an increment to the one before; end of file ends");
}

static int parse_method(struct snapshot *s, const char *arg)
{
	for (int i = 0; i < UMEM_N_SNAPSHOT_METHODS; i++) {
		if (strcmp(arg, umem_snapshot_method_name((enum umem_snapshot_method)i)) == 0) {
			s->take.method = (enum umem_snapshot_method)i;
			return CTL_DONE;
		}
	}
	return ctl_usage(VERB, "--method does not know \"%s\"; there are auto, precopy, cow, "
		"fork and freeze", arg);
}

static int parse_word(const char *what, const char *word, const char *const *words, int *ret)
{
	for (int i = 0; words[i]; i++) {
		if (strcmp(word, words[i]) == 0) {
			*ret = i;
			return CTL_DONE;
		}
	}
	return ctl_usage(VERB, "%s does not know \"%s\"", what, word);
}

static int parse_region(struct snapshot *s, const char *arg)
{
	struct umem_range range;

	if (umem_parse_range(arg, &range) < 0)
		return ctl_usage(VERB, "--region: \"%s\" is no range; write START-END in "
			"hexadecimal", arg);
	return umem_ranges_add(&s->asked, range.start, range.end) < 0 ? CTL_FAILED : CTL_DONE;
}

static int parse_one(struct snapshot *s, int opt, const char *arg)
{
	static const char *const formats[] = { "umem", "core", "raw", "criu", NULL };
	static const char *const codecs[] = { "none", "zstd", NULL };
	static const char *const triggers[] = { "once", "stdin", NULL };
	int value = 0, r;

	switch (opt) {
	case 'o':
		s->path = arg;
		return CTL_DONE;
	case 'm':
		return parse_method(s, arg);
	case 'f':
		r = parse_word("--format", arg, formats, &value);
		s->format = formats[value];
		return r;
	case 'p':
		s->parent_path = arg;
		return CTL_DONE;
	case 'c':
		r = parse_word("--codec", arg, codecs, &value);
		s->take.codec = value ? UMEM_IMAGE_CODEC_ZSTD : UMEM_IMAGE_CODEC_NONE;
		return r;
	case 'r':
		return parse_region(s, arg);
	case 't':
		s->take.tree = true;
		return CTL_DONE;
	case 'g':
		r = parse_word("--trigger", arg, triggers, &value);
		s->by_stdin = value == 1;
		return r;
	default:
		fputs("Try 'umemctl snapshot --help'.\n", stderr);
		return CTL_USAGE;
	}
}

static int check(struct snapshot *s)
{
	bool native = strcmp(s->format, "umem") == 0;

	if (!s->path || !s->path[0])
		return ctl_usage(VERB, "-o FILE is missing: where to write the image");
	if (s->parent_path && !native)
		return ctl_usage(VERB, "--parent is for --format umem; make the increment, and "
			"then umemctl image export it");
	if (s->by_stdin && !native)
		return ctl_usage(VERB, "--trigger stdin is for --format umem");
	if (s->take.tree && s->asked.n)
		return ctl_usage(VERB, "--region names addresses of one process; it does not go "
			"with --tree");
	if (s->by_stdin && s->options->connect)
		return ctl_usage(VERB, "umemd takes single snapshots, and does not stay armed "
			"for --trigger stdin; umemctl --embedded does");
	s->take.unnamed = !native;
	s->take.stay_armed = s->by_stdin;
	s->take.regions = s->asked.v;
	s->take.n_regions = s->asked.n;
	return -1;
}

/* Return: an exit code, or -1 to go on. */
static int parse(struct snapshot *s, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "method", required_argument, NULL, 'm' },
		{ "format", required_argument, NULL, 'f' },
		{ "parent", required_argument, NULL, 'p' },
		{ "codec", required_argument, NULL, 'c' },
		{ "region", required_argument, NULL, 'r' },
		{ "tree", no_argument, NULL, 't' },
		{ "trigger", required_argument, NULL, 'g' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, r;

	while ((opt = getopt_long(argc, argv, "ho:", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		r = parse_one(s, opt, optarg);
		if (r != CTL_DONE)
			return r;
	}
	if (argc - optind > 1)
		return ctl_usage(VERB, "one process at a time, not also \"%s\"", argv[optind + 1]);
	r = ctl_pid(VERB, argv[optind], &s->pid);
	return r == CTL_DONE ? check(s) : r;
}

/* One image; of another format, by way of one without a name. */
static int take_one(struct snapshot *s, struct umem_snapshotter *shooter, const char *path,
	struct umem_image *parent, struct umem_image **ret_image, struct umem_note *note)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	struct umem_snapshot done;
	const struct umem_snapshot *taken;
	int r = umem_snapshotter_take(shooter, path, parent, &image, &taken, note);

	if (r != 0)
		return r;
	done = *taken;
	if (s->take.unnamed) {
		r = snapshot_export(s, image, path, note);
		if (r != 0)
			return r;
	}
	s->n_taken++;
	*ret_image = UMEM_TAKE_PTR(image);
	return snapshot_print_done(s, path, &done);
}

/* Wait for a newline. Return: 1; 0 at the end, or when a signal came. */
static int wait_newline(struct snapshot *s)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = s->progress.signals, .events = POLLIN },
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = STDOUT_FILENO },
		};
		char c;

		if (poll(fds, UMEM_ARRAY_LEN(fds), -1) < 0)
			continue;
		if (fds[0].revents || fds[2].revents || read(STDIN_FILENO, &c, 1) != 1)
			return 0;
		if (c == '\n')
			return 1;
	}
}

/* The first image, and one more for each newline. */
static int take_all(struct snapshot *s, struct umem_snapshotter *shooter, struct umem_note *note)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *parent = NULL;
	UMEM_FREE char *path = NULL;
	int r = 0;

	if (s->parent_path)
		r = umem_image_open(s->parent_path, NULL, &parent, note);
	if (r != 0)
		return r;
	do {
		struct umem_image *image = NULL;

		free(path);
		path = NULL;
		if (s->n_taken == 0)
			path = strdup(s->path);
		else if (asprintf(&path, "%s.%llu", s->path, (unsigned long long)s->n_taken) < 0)
			path = NULL;
		if (!path)
			return -ENOMEM;
		r = take_one(s, shooter, path, parent, &image, note);
		if (r != 0)
			return r;
		umem_image_free(parent);
		parent = image;
	} while (s->by_stdin && wait_newline(s));
	return 0;
}

static int run(struct snapshot *s)
{
	struct umem_attach_options attach = ctl_attach_options();
	struct umem_snapshotter *shooter = NULL;
	struct umem_note note = { 0 };
	bool there = false;
	int r;

	s->take.size = sizeof(s->take);
	s->take.feature_override = attach.feature_override;
	s->take.progress = snapshot_see_progress;
	s->take.user = s;
	if (s->options->connect)
		r = snapshot_remote(s, &there, &note);
	else
		r = umem_snapshotter_new(s->pid, &s->take, &shooter, &note);
	if (r == 0 && shooter)
		r = take_all(s, shooter, &note);
	ctl_progress_end(&s->progress);
	/* Of one that was there: not only that it is gone, but what became of the image. */
	if (r == UMEM_GONE && (shooter || there || !note.text[0]))
		snprintf(note.text, sizeof(note.text), "process %d ended, or executed another "
			"program, before all was copied: no image was made", s->pid);
	umem_snapshotter_free(shooter);
	if (r == -ECANCELED && (s->progress.stopped || !note.text[0]))
		snprintf(note.text, sizeof(note.text),
			"interrupted: no image was made, and pid %d runs on", s->pid);
	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}

int cmd_snapshot(const struct ctl_options *options, int argc, char **argv)
{
	struct snapshot s = { .options = options, .format = "umem" };
	UMEM_FD int signals = -1;
	int r = parse(&s, argc, argv);

	if (r < 0) {
		r = ctl_signals(&signals);
		ctl_progress_begin(&s.progress, VERB, options->quiet, signals);
		r = r < 0 ? ctl_failed(VERB, r, &(struct umem_note){ 0 }) : run(&s);
	}
	umem_ranges_deinit(&s.asked);
	return r;
}
