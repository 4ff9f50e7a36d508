// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl dirty: dirty tracking, round after round. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <umemd/track.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/dirty_source.h"
#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/json.h"
#include "lib/base/parse.h"
#include "lib/base/ranges.h"

#define VERB "dirty"

/**
 * struct dirty - one run of the verb.
 * @options: global ones.
 * @interval_ns: between two collects.
 * @rounds: stop after so many; 0 means never.
 * @by_stdin: a newline on stdin is one collect.
 * @ranges: print ranges.
 * @asked: --region.
 * @watch: what is being watched, and how.
 * @pending: newlines that were read and not answered yet.
 * @input_ended: end of file on stdin.
 * @n_rounds: rounds so far.
 */
struct dirty {
	const struct ctl_options *options;
	uint64_t interval_ns;
	uint64_t rounds;
	bool by_stdin;
	bool ranges;
	struct umem_ranges asked;
	struct umem_watch_options watch;
	uint64_t pending;
	bool input_ended;
	uint64_t n_rounds;
};

static void print_help(void)
{
	puts("umemctl dirty PID [OPTION]...\n\n"
	     "Attaches to a running process, unmodified, and shows round after round which\n"
	     "of its pages changed. Ends cleanly on Ctrl-C.\n\n"
	     "  --interval TIME      between two rounds (default 1s)\n"
	     "  --rounds N           end after N rounds (default: never)\n"
	     "  --trigger interval|stdin\n"
	     "                       stdin: each newline is one round, end of file ends\n"
	     "  --ranges             list the ranges of each round\n"
	     "  --region A-B         only these addresses (hexadecimal); may be repeated\n"
	     "  --sharers            track all other processes that map the same memory, too\n"
	     "  --pins always|report|refuse\n"
	     "                       pages that can be written without a fault: in every round\n"
	     "                       (default), left out and named, or not accepted\n"
	     "  --tracker NAME       wp_async or soft_dirty (default: the best there is)");
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

static int parse_one(struct dirty *d, int opt, const char *arg)
{
	static const char *const triggers[] = { "interval", "stdin", NULL };
	static const char *const pins[] = { "always", "report", "refuse", NULL };
	struct umem_range range;
	int value = 0, r;

	switch (opt) {
	case 'i':
		if (umem_parse_time(arg, &d->interval_ns) < 0)
			return ctl_usage(VERB, "--interval: \"%s\" is no time, like 100ms or 1s",
				arg);
		return CTL_DONE;
	case 'n':
		if (umem_parse_u64(arg, &d->rounds) < 0 || d->rounds == 0)
			return ctl_usage(VERB, "--rounds: \"%s\" is no number above 0", arg);
		return CTL_DONE;
	case 't':
		r = parse_word("--trigger", arg, triggers, &value);
		if (r == CTL_DONE)
			d->by_stdin = value == 1;
		return r;
	case 'p':
		r = parse_word("--pins", arg, pins, &value);
		if (r == CTL_DONE)
			d->watch.pins = (enum umem_pins_policy)value;
		return r;
	case 'r':
		if (umem_parse_range(arg, &range) < 0)
			return ctl_usage(VERB, "--region: \"%s\" is no range; write START-END in "
				"hexadecimal", arg);
		if (umem_ranges_add(&d->asked, range.start, range.end) < 0)
			return CTL_FAILED;
		return CTL_DONE;
	case 'l':
		d->ranges = true;
		return CTL_DONE;
	case 's':
		d->watch.sharers = true;
		return CTL_DONE;
	case 'k':
		d->watch.tracker = arg;
		return CTL_DONE;
	default:
		fputs("Try 'umemctl dirty --help'.\n", stderr);
		return CTL_USAGE;
	}
}

/* Return: an exit code, or -1 to go on with *@ret_pid. */
static int parse(struct dirty *d, int argc, char **argv, int *ret_pid)
{
	static const struct option longs[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "rounds", required_argument, NULL, 'n' },
		{ "trigger", required_argument, NULL, 't' },
		{ "pins", required_argument, NULL, 'p' },
		{ "region", required_argument, NULL, 'r' },
		{ "ranges", no_argument, NULL, 'l' },
		{ "sharers", no_argument, NULL, 's' },
		{ "tracker", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, r;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		r = parse_one(d, opt, optarg);
		if (r != CTL_DONE)
			return r;
	}
	if (argc - optind > 1)
		return ctl_usage(VERB, "one process at a time, not also \"%s\"", argv[optind + 1]);
	r = ctl_pid(VERB, argv[optind], ret_pid);
	return r == CTL_DONE ? -1 : r;
}

static int print_armed_json(const struct umem_armed *armed, int pid)
{
	struct umem_json *event = umem_json_object();

	umem_json_set_text(event, "event", "armed");
	umem_json_set_u64(event, "pid", (uint64_t)pid);
	umem_json_set_u64(event, "regions", armed->regions);
	umem_json_set_u64(event, "tracked_bytes", armed->tracked_bytes);
	umem_json_set_u64(event, "stop_ns", armed->stop_ns);
	umem_json_set_u64(event, "arm_ns", armed->arm_ns);
	umem_json_set_consume(event, "assumes", ctl_json_reasons(armed->assumes, armed->n_assumes));
	return umem_json_write_consume(stdout, event);
}

static void print_armed_table(const struct umem_armed *armed, int pid)
{
	char size[16], stop[16], arm[16], text[256];

	snprintf(text, sizeof(text),
		"pid %d: %llu regions, %s, watched by %s; stopped %s, armed in %s", pid,
		(unsigned long long)armed->regions, ctl_size(size, armed->tracked_bytes),
		armed->tracker, ctl_time(stop, armed->stop_ns), ctl_time(arm, armed->arm_ns));
	ctl_wrap(text, 0, 2);
	for (size_t i = 0; i < armed->n_assumes; i++)
		ctl_print_reason("assumes: ", &armed->assumes[i]);
	printf("%5s %6s %7s %6s %6s %7s %6s %6s %6s %7s %s\n", "ROUND", "DIRTY", "WRITTEN", "NEW",
		"PINNED", "PUNCHED", "SHARER", "GONE", "RATE/s", "SCAN", "COMPLETE");
}

static struct umem_json *json_round(const struct umem_round *round, int pid)
{
	struct umem_json *event = umem_json_object();

	umem_json_set_text(event, "event", "round");
	umem_json_set_u64(event, "round", round->round);
	umem_json_set_u64(event, "pid", (uint64_t)pid);
	umem_json_set_u64(event, "at_ns", round->at_ns);
	umem_json_set_u64(event, "interval_ns", round->interval_ns);
	umem_json_set_u64(event, "tracked_bytes", round->tracked_bytes);
	umem_json_set_u64(event, "dirty_bytes", round->dirty_bytes);
	for (int i = 0; i < UMEM_N_WHYS; i++) {
		char key[32];

		snprintf(key, sizeof(key), "%s_bytes", umem_why_name((enum umem_why)i));
		umem_json_set_u64(event, key, round->why_bytes[i]);
	}
	umem_json_set_u64(event, "gone_bytes", round->gone_bytes);
	umem_json_set_u64(event, "scan_ns", round->scan_ns);
	umem_json_set_bool(event, "complete", round->complete);
	umem_json_set_consume(event, "incomplete",
		ctl_json_reasons(round->incomplete, round->n_incomplete));
	return event;
}

static struct umem_json *json_range(uint64_t start, uint64_t end, const char *why)
{
	struct umem_json *item = umem_json_object();

	umem_json_set_addr(item, "start", start);
	umem_json_set_addr(item, "end", end);
	if (why)
		umem_json_set_text(item, "why", why);
	return item;
}

/* An item of "ranges"; @user is the number of items before it. */
static int print_range_json(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	uint64_t *n = user;

	return umem_json_item_consume(stdout, json_range(start, end, umem_why_name(why)),
		(*n)++ == 0);
}

static int print_round_json(struct dirty *d, struct dirty_source *source,
	const struct umem_round *round)
{
	struct umem_json *event = json_round(round, source->pid);
	const struct umem_range *gone;
	uint64_t n_items = 0;
	size_t n;
	int r;

	if (!d->ranges)
		return umem_json_write_consume(stdout, event);
	r = umem_json_open_consume(stdout, event, "ranges");
	if (r == 0)
		r = source->ops->each(source, print_range_json, &n_items);
	if (r == 0)
		r = umem_json_next(stdout, "gone");
	gone = source->ops->gone(source, &n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = umem_json_item_consume(stdout, json_range(gone[i].start, gone[i].end, NULL),
			i == 0);
	return r < 0 ? r : umem_json_close(stdout);
}

static int print_range_table(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	char size[16];

	printf("  %#14llx-%#-14llx %8s  %s\n", (unsigned long long)start,
		(unsigned long long)end, ctl_size(size, end - start), umem_why_name(why));
	return 0;
}

static int print_round_table(struct dirty *d, struct dirty_source *source,
	const struct umem_round *round)
{
	static const struct {
		enum umem_why why;
		int width;
	} columns[] = { { UMEM_WHY_WRITTEN, 7 }, { UMEM_WHY_NEW, 6 }, { UMEM_WHY_PINNED, 6 },
		{ UMEM_WHY_PUNCHED, 7 }, { UMEM_WHY_SHARER, 6 } };
	double seconds = (double)round->interval_ns / 1e9;
	char text[16];
	const struct umem_range *gone;
	size_t n;
	int r = 0;

	printf("%5llu %6s", (unsigned long long)round->round,
		ctl_size(text, round->dirty_bytes));
	for (size_t i = 0; i < UMEM_ARRAY_LEN(columns); i++)
		printf(" %*s", columns[i].width,
			ctl_size(text, round->why_bytes[columns[i].why]));
	printf(" %6s", ctl_size(text, round->gone_bytes));
	printf(" %6s", ctl_size(text, (uint64_t)((double)round->dirty_bytes / seconds)));
	printf(" %7s %s\n", ctl_time(text, round->scan_ns), round->complete ? "yes" : "NO");
	for (size_t i = 0; i < round->n_incomplete; i++)
		ctl_print_reason("incomplete: ", &round->incomplete[i]);
	if (!d->ranges)
		return 0;
	r = source->ops->each(source, print_range_table, NULL);
	gone = source->ops->gone(source, &n);
	for (size_t i = 0; i < n; i++)
		printf("  %#14llx-%#-14llx %8s  gone\n", (unsigned long long)gone[i].start,
			(unsigned long long)gone[i].end,
			ctl_size(text, gone[i].end - gone[i].start));
	return r;
}

/* Read what stdin has: newlines are counted. */
static void read_input(struct dirty *d)
{
	char buf[256];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		d->input_ended = true;
	for (ssize_t i = 0; i < n; i++)
		d->pending += buf[i] == '\n';
}

/* What a wait ended with. */
enum wake { WAKE_END, WAKE_COLLECT, WAKE_GONE };

static enum wake wait_next(struct dirty *d, const struct dirty_source *source, int signals,
	uint64_t due_ns)
{
	struct pollfd fds[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = source->pidfd, .events = POLLIN },
		{ .fd = d->by_stdin && !d->input_ended ? STDIN_FILENO : -1, .events = POLLIN },
		{ .fd = STDOUT_FILENO }, /* an error: nobody reads any more */
	};

	for (;;) {
		uint64_t now_ns = umem_now_ns();
		bool answer = d->by_stdin && (d->pending || d->input_ended);
		bool due = answer || (!d->by_stdin && now_ns >= due_ns);
		uint64_t left_ns = due ? 0 : due_ns - now_ns;
		struct timespec wait = { (time_t)(left_ns / 1000000000u),
			(long)(left_ns % 1000000000u) };

		/* Also when a round is due: signals must be heard between any two. */
		if (ppoll(fds, UMEM_ARRAY_LEN(fds), d->by_stdin && !due ? NULL : &wait, NULL) < 0)
			continue;
		if (fds[0].revents || fds[3].revents)
			return WAKE_END;
		if (fds[1].revents)
			return WAKE_GONE;
		if (due && d->by_stdin && !d->pending)
			return WAKE_END;
		if (due) {
			d->pending -= d->by_stdin;
			return WAKE_COLLECT;
		}
		if (fds[2].revents) {
			read_input(d);
			if (d->input_ended)
				fds[2].fd = -1;
		}
	}
}

static int print_done(struct dirty *d)
{
	struct umem_json *event;

	if (!d->options->json)
		return 0;
	event = umem_json_object();
	umem_json_set_text(event, "event", "done");
	umem_json_set_u64(event, "rounds", d->n_rounds);
	return umem_json_write_consume(stdout, event);
}

/* Rounds until somebody ends it. Return: outcome or -errno. */
static int run_rounds(struct dirty *d, struct dirty_source *source, int signals,
	struct umem_note *note)
{
	uint64_t due_ns = umem_now_ns() + d->interval_ns;

	while (!d->rounds || d->n_rounds < d->rounds) {
		const struct umem_round *round;
		enum wake wake = wait_next(d, source, signals, due_ns);
		int r;

		if (wake == WAKE_END)
			break;
		if (wake == WAKE_GONE) {
			snprintf(note->text, sizeof(note->text), "process %d ended", source->pid);
			return UMEM_GONE;
		}
		r = source->ops->collect(source, &round, note);
		if (r != 0)
			return r;
		d->n_rounds++;
		r = d->options->json ? print_round_json(d, source, round) :
				       print_round_table(d, source, round);
		if (r == 0)
			r = ctl_flush();
		if (r < 0)
			return r;
		/* A round that took longer than the interval delays the next, no more. */
		due_ns = umem_max_u64(due_ns + d->interval_ns, umem_now_ns());
	}
	return print_done(d);
}

static int run(struct dirty *d, int pid, int signals)
{
	struct dirty_source *source = NULL;
	struct umem_note note = { 0 };
	int r = d->options->connect ?
		dirty_remote_new(d->options->connect, pid, &d->watch, d->ranges, &source, &note) :
		dirty_embedded_new(pid, &d->watch, &source, &note);

	if (r == 0) {
		if (d->options->json)
			r = print_armed_json(source->armed, pid);
		else
			print_armed_table(source->armed, pid);
		if (r == 0)
			r = ctl_flush();
	}
	if (r == 0)
		r = run_rounds(d, source, signals, &note);
	if (source)
		source->ops->free(source);
	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}

int cmd_dirty(const struct ctl_options *options, int argc, char **argv)
{
	struct dirty d = {
		.options = options,
		.interval_ns = 1000000000,
		.watch = { .size = sizeof(d.watch) },
	};
	UMEM_FD int signals = -1;
	int pid = 0, r;

	r = parse(&d, argc, argv, &pid);
	if (r >= 0) {
		umem_ranges_deinit(&d.asked);
		return r;
	}
	d.watch.regions = d.asked.v;
	d.watch.n_regions = d.asked.n;
	r = ctl_signals(&signals);
	r = r < 0 ? ctl_failed(VERB, r, &(struct umem_note){ 0 }) : run(&d, pid, signals);
	umem_ranges_deinit(&d.asked);
	return r;
}
