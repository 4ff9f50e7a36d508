// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl snapshot: the memory of a running process at one moment, as an image. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <umemd/export.h>
#include <umemd/op.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/progress.h"
#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/json.h"
#include "lib/base/parse.h"
#include "lib/base/ranges.h"

#define VERB "snapshot"

/* A progress event at most so often. */
#define EVENT_NS 500000000u

UMEM_DEFINE_CLEANUP(struct umem_image, umem_image_free)

/**
 * struct snapshot - one run of the verb.
 * @options: global ones.
 * @pid: of whom.
 * @path: -o.
 * @format: --format.
 * @parent_path: --parent.
 * @by_stdin: each newline on stdin is one more image, an increment to the one before.
 * @asked: --region.
 * @take: what to take and how.
 * @progress: on stderr.
 * @event_ns: when the last progress event was printed.
 * @n_taken: images so far.
 */
struct snapshot {
	const struct ctl_options *options;
	int pid;
	const char *path;
	const char *format;
	const char *parent_path;
	bool by_stdin;
	struct umem_ranges asked;
	struct umem_snapshot_options take;
	struct ctl_progress progress;
	uint64_t event_ns;
	uint64_t n_taken;
};

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

static void print_progress(struct snapshot *s, const struct umem_snapshot_progress *p)
{
	uint64_t now_ns = umem_now_ns();
	struct umem_json *event;

	if (!s->options->json || now_ns - s->event_ns < EVENT_NS)
		return;
	s->event_ns = now_ns;
	event = umem_json_object();
	umem_json_set_text(event, "event", "progress");
	umem_json_set_text(event, "stage", p->stage);
	umem_json_set_u64(event, "round", p->round);
	umem_json_set_u64(event, "done_bytes", p->done_bytes);
	umem_json_set_u64(event, "total_bytes", p->total_bytes);
	umem_json_write_consume(stdout, event);
	ctl_flush();
}

static bool see_progress(void *user, const struct umem_snapshot_progress *p)
{
	struct snapshot *s = user;

	print_progress(s, p);
	return ctl_progress_step(&s->progress, p->done_bytes, p->total_bytes);
}

static int print_json(struct snapshot *s, const char *path, const struct umem_snapshot *done)
{
	struct umem_json *event = umem_json_object();

	umem_json_set_text(event, "event", "done");
	umem_json_set_u64(event, "pid", (uint64_t)s->pid);
	umem_json_set_text(event, "path", path);
	umem_json_set_text(event, "format", s->format);
	umem_json_set_text(event, "method", done->method);
	umem_json_set_text(event, "why", done->why);
	umem_json_set_u64(event, "processes", done->n_processes);
	umem_json_set_u64(event, "pause_ns", done->pause_ns);
	umem_json_set_u64(event, "attach_stop_ns", done->attach_stop_ns);
	umem_json_set_u64(event, "total_ns", done->total_ns);
	umem_json_set_u64(event, "rounds", done->rounds);
	umem_json_set_u64(event, "pages", done->pages);
	umem_json_set_u64(event, "zero_pages", done->zero_pages);
	umem_json_set_u64(event, "parent_pages", done->parent_pages);
	umem_json_set_u64(event, "stopped_bytes", done->stopped_bytes);
	umem_json_set_u64(event, "written_bytes", done->written_bytes);
	if (done->incremental)
		umem_json_set_text(event, "incremental", done->incremental);
	else
		umem_json_set_null(event, "incremental");
	umem_json_set_bool(event, "complete", done->complete);
	umem_json_set_consume(event, "incomplete",
		ctl_json_reasons(done->incomplete, done->n_incomplete));
	return umem_json_write_consume(stdout, event);
}

static void print_table(struct snapshot *s, const char *path, const struct umem_snapshot *done)
{
	char text[512], pause[16], total[16], read[16], zero[16], size[16], name[128];

	snprintf(text, sizeof(text), "pid %d: %s in %s, stopped for %s (%s: %s)", s->pid,
		ctl_clean(name, sizeof(name), path, 100), ctl_time(total, done->total_ns),
		ctl_time(pause, done->pause_ns), done->method, done->why);
	ctl_wrap(text, 0, 2);
	snprintf(text, sizeof(text), "%s read in %llu round%s, %s of zeros; %s on disk",
		ctl_size(read, done->pages << 12), (unsigned long long)done->rounds,
		done->rounds == 1 ? "" : "s", ctl_size(zero, done->zero_pages << 12),
		ctl_size(size, done->written_bytes));
	fputs("  ", stdout);
	ctl_wrap(text, 2, 4);
	if (done->incremental)
		printf("  %s are as in the parent (%s)\n",
			ctl_size(read, done->parent_pages << 12), done->incremental);
	for (size_t i = 0; i < done->n_incomplete; i++)
		ctl_print_reason("incomplete: ", &done->incomplete[i]);
	if (done->complete)
		puts("  complete");
}

static int print_done(struct snapshot *s, const char *path, const struct umem_snapshot *done)
{
	int r = 0;

	ctl_progress_end(&s->progress);
	if (s->options->json)
		r = print_json(s, path, done);
	else
		print_table(s, path, done);
	return r == 0 ? ctl_flush() : r;
}

static int export_step(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct umem_snapshot_progress progress = {
		.stage = "export",
		.done_bytes = done_bytes,
		.total_bytes = total_bytes,
	};

	return see_progress(user, &progress) ? -ECANCELED : 0;
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
		struct umem_image_export_options export = {
			.size = sizeof(export),
			.progress = export_step,
			.user = s,
		};

		r = umem_image_export(image, s->format, path, &export, NULL, note);
		if (r != 0)
			return r;
	}
	s->n_taken++;
	*ret_image = UMEM_TAKE_PTR(image);
	return print_done(s, path, &done);
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
	int r;

	s->take.size = sizeof(s->take);
	s->take.feature_override = attach.feature_override;
	s->take.progress = see_progress;
	s->take.user = s;
	r = umem_snapshotter_new(s->pid, &s->take, &shooter, &note);
	if (r == 0)
		r = take_all(s, shooter, &note);
	ctl_progress_end(&s->progress);
	/* Of one that was there: not only that it is gone, but what became of the image. */
	if (r == UMEM_GONE && (shooter || !note.text[0]))
		snprintf(note.text, sizeof(note.text), "process %d ended, or executed another "
			"program, before all was copied: no image was made", s->pid);
	umem_snapshotter_free(shooter);
	if (r == -ECANCELED)
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
