// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl pagein: bring swapped memory of a process back. */
#include <getopt.h>
#include <unistd.h>

#include "daemon/ctl/move.h"
#include "lib/base/fd.h"
#include "lib/op/pageout.h"

static const struct move_words words = {
	.verb = "pagein",
	.moved_key = "brought_in_bytes",
	.already_key = "already_in_bytes",
	.moved = "brought in",
	.already = "already in",
	.returned = "went out again",
};

static void print_help(void)
{
	puts("umemctl pagein PID [OPTION]...\n\n"
	     "Brings what is swapped of a process back into memory, before it is needed, and\n"
	     "looks whether it is there. Ends cleanly on Ctrl-C.\n\n"
	     "  --region A-B         only these addresses (hexadecimal); may be repeated\n"
	     "  --max SIZE           at most so much; lower addresses come first");
}

/* Return: an exit code, or -1 to go on. */
static int parse(struct move *m, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "region", required_argument, NULL, 'r' },
		{ "max", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, r = CTL_DONE;

	while (r == CTL_DONE && (opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (opt) {
		case 'r':
			r = move_parse_region(m, optarg);
			break;
		case 'm':
			r = move_parse_max(m, optarg);
			break;
		case 'h':
			print_help();
			return CTL_DONE;
		default:
			fputs("Try 'umemctl pagein --help'.\n", stderr);
			return CTL_USAGE;
		}
	}
	if (r == CTL_DONE)
		r = move_parse_end(m, argc, argv);
	return r == CTL_DONE ? -1 : r;
}

static int bring_in(struct move *m, struct umem_pageout *ret_result, struct umem_note *note)
{
	struct umem_pageout_watcher watcher = {
		.progress = ctl_progress_step,
		.user = &m->progress,
	};
	struct umem_attach_options attach = ctl_attach_options();
	struct umem_target *target = NULL;
	int r = umem_target_open(m->pid, &attach, &target, note);

	if (r == 0)
		r = umem_pagein_watched(target, &m->options, &watcher, ret_result, note);
	umem_target_free(target);
	return r;
}

static int run(struct move *m)
{
	UMEM_CLEANUP(move_remote_deinit) struct move_remote remote = { 0 };
	struct umem_note note = { 0 };
	struct umem_pageout result = { 0 };
	int r = m->ctl->connect ? move_by_daemon(m, false, 0, &remote, &note) :
				  bring_in(m, &result, &note);

	if (r == 0 && remote.moved)
		result = remote.moved->numbers;
	ctl_progress_end(&m->progress);
	if (r == 0 && m->ctl->json)
		r = umem_json_write_consume(stdout, move_json(m, &result));
	else if (r == 0)
		move_print(m, &result, NULL);
	if (r == 0)
		r = ctl_flush();
	return r == 0 ? CTL_DONE : ctl_ended(words.verb, r, &note);
}

int cmd_pagein(const struct ctl_options *options, int argc, char **argv)
{
	struct move m = { .ctl = options, .words = &words };
	UMEM_FD int signals = -1;
	int r = parse(&m, argc, argv);

	if (r < 0) {
		r = ctl_signals(&signals);
		ctl_progress_begin(&m.progress, words.verb, options->quiet, signals);
		r = r < 0 ? ctl_failed(words.verb, r, &(struct umem_note){ 0 }) : run(&m);
	}
	move_deinit(&m);
	return r;
}
