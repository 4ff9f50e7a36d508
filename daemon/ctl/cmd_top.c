// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl top: what umemd manages, live. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <umemd/client.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/screen.h"
#include "daemon/ctl/top.h"
#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/parse.h"

#define VERB "top"

#define INTERVAL_MIN_NS 50000000u
/* Of an answer: signals are heard between two of them. */
#define TIMEOUT_NS 3000000000u
/* What is drawn in one go. */
#define BUFFER_BYTES (256u << 10)

/**
 * struct top - one run of the verb.
 * @options: global ones.
 * @updates: end after so many; 0 means never.
 * @client: the daemon. @list: of it, as last asked for.
 * @view: how it is shown.
 * @page: rows of the last picture.
 */
struct top {
	const struct ctl_options *options;
	uint64_t updates;
	struct umem_client *client;
	struct top_list list;
	struct top_view view;
	size_t page;
};

static void print_help(void)
{
	printf("umemctl top [OPTION]...\n\n"
	       "Shows the targets of umemd: yours, or all for root and administrators. Live on a\n"
	       "terminal, where the foot tells the keys; elsewhere one table, or with --json\n"
	       "lines without end.\n\n"
	       "  --interval TIME   between two updates (default 1s)\n"
	       "  --updates N       end after N of them\n"
	       "  --sort COLUMN     %s\n"
	       "                    (default dirty)\n"
	       "  --reverse         the other way round\n",
		top_words());
}

static int parse_one(struct top *top, int opt, const char *arg)
{
	int by;

	switch (opt) {
	case 'i':
		if (umem_parse_time(arg, &top->view.interval_ns) < 0 ||
			top->view.interval_ns < INTERVAL_MIN_NS)
			return ctl_usage(VERB, "--interval: \"%s\" is no time of 50ms or more, "
				"like 500ms or 2s", arg);
		return CTL_DONE;
	case 'n':
		if (umem_parse_u64(arg, &top->updates) < 0 || top->updates == 0)
			return ctl_usage(VERB, "--updates: \"%s\" is no number above 0", arg);
		return CTL_DONE;
	case 's':
		by = top_column_of_word(arg);
		if (by < 0)
			return ctl_usage(VERB, "--sort does not know \"%s\", but %s", arg,
				top_words());
		top->view.by = (enum top_column)by;
		return CTL_DONE;
	case 'r':
		top->view.reverse = true;
		return CTL_DONE;
	default:
		fputs("Try 'umemctl top --help'.\n", stderr);
		return CTL_USAGE;
	}
}

/* Return: an exit code, or -1 to go on. */
static int parse(struct top *top, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "updates", required_argument, NULL, 'n' },
		{ "sort", required_argument, NULL, 's' },
		{ "reverse", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, r;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		r = parse_one(top, opt, optarg);
		if (r != CTL_DONE)
			return r;
	}
	if (optind < argc)
		return ctl_usage(VERB, "\"%s\" is not understood", argv[optind]);
	return -1;
}

static int update(struct top *top, struct umem_note *note)
{
	int r = top_fetch(top->client, &top->list, note);

	if (r == 0)
		top_sort(&top->list, top->view.by, top->view.reverse);
	return r;
}

/* What a key does. Return: false to end. @ret_now: update at once. */
static bool press(struct top *top, int key, bool *ret_now)
{
	struct top_view *view = &top->view;
	int by = top_column_of_key(key);

	switch (key) {
	case 'q':
		return false;
	case ' ':
		*ret_now = true;
		break;
	case 'v':
		view->reverse = !view->reverse;
		break;
	case SCREEN_UP:
	case 'k':
		view->first -= view->first > 0;
		break;
	case SCREEN_DOWN:
	case 'j':
		view->first++;
		break;
	case SCREEN_PAGE_UP:
		view->first -= umem_min_u64(view->first, top->page);
		break;
	case SCREEN_PAGE_DOWN:
		view->first += top->page;
		break;
	case SCREEN_HOME:
		view->first = 0;
		break;
	case SCREEN_BOTTOM:
		view->first = top->list.n;
		break;
	default:
		if (by < 0)
			break;
		view->reverse = false;
		view->by = (enum top_column)by;
	}
	top_sort(&top->list, view->by, view->reverse);
	return true;
}

/* Pictures until somebody ends it. Return: 0; as of the daemon's answers. */
static int run_live(struct top *top, struct screen *screen, struct umem_note *note)
{
	for (uint64_t n = 0; !top->updates || n < top->updates; n++) {
		uint64_t due_ns = umem_now_ns() + top->view.interval_ns;
		bool now = false;
		int r = update(top, note);

		if (r != 0)
			return r;
		while (!now) {
			enum screen_event event;
			int key;

			top->page = top_draw(&top->view, &top->list);
			event = screen_wait(screen, due_ns, &key);
			if (event == SCREEN_END ||
				(event == SCREEN_PRESSED && !press(top, key, &now)))
				return 0;
			now |= event == SCREEN_DUE;
		}
	}
	return 0;
}

static int live(struct top *top, struct umem_note *note)
{
	static char buffer[BUFFER_BYTES];
	struct screen screen;
	int r;

	/* A picture is written at once, so that it does not flicker. */
	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	r = screen_open(&screen);
	if (r == 0)
		r = run_live(top, &screen, note);
	screen_close(&screen);
	return r;
}

/* Lines until somebody ends it, or nobody reads them any more. */
static int run_json(struct top *top, struct umem_note *note)
{
	UMEM_FD int signals = -1;
	int r = ctl_signals(&signals);

	for (uint64_t n = 0; r == 0; n++) {
		struct pollfd fds[] = {
			{ .fd = signals, .events = POLLIN },
			{ .fd = STDOUT_FILENO },
		};
		struct timespec wait = { (time_t)(top->view.interval_ns / 1000000000u),
			(long)(top->view.interval_ns % 1000000000u) };

		r = update(top, note);
		if (r == 0)
			r = top_print_json(&top->list, umem_now_ns());
		if (r == 0)
			r = ctl_flush();
		if (r != 0 || n + 1 == top->updates || ppoll(fds, 2, &wait, NULL) > 0)
			break;
	}
	return r;
}

static int run(struct top *top, struct umem_note *note)
{
	int r = umem_client_connect(top->options->connect, &top->client, note);

	if (r != 0)
		return r;
	umem_client_set_timeout(top->client, TIMEOUT_NS);
	if (top->options->json)
		return run_json(top, note);
	if (screen_is_there())
		return live(top, note);
	r = update(top, note);
	if (r == 0)
		top_print_table(&top->view, &top->list, ctl_width());
	return r == 0 ? ctl_flush() : r;
}

int cmd_top(const struct ctl_options *options, int argc, char **argv)
{
	struct top top = {
		.options = options,
		.view = {
			.source = options->connect ? options->connect : UMEMD_SOCKET,
			.by = TOP_DIRTY,
			.interval_ns = 1000000000u,
		},
	};
	struct umem_note note = { 0 };
	int r = parse(&top, argc, argv);

	if (r >= 0)
		return r;
	paint_init(&top.view.paint);
	r = run(&top, &note);
	paint_deinit(&top.view.paint);
	top_deinit(&top.list);
	umem_client_free(top.client);
	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}
