// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl: the command for operators. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/ctl/ctl.h"

static const struct ctl_verb verbs[] = {
	{ "doctor", "[--pid PID]", "what this kernel, and this process, allow", false, cmd_doctor },
	{ "regions", "PID", "the mappings, what is in memory, what can be tracked", false,
		cmd_regions },
	{ "dirty", "PID", "dirty tracking, round after round", true, cmd_dirty },
	{ "swap", "PID | --file PATH", "where every page is, without touching one", true,
		cmd_swap },
	{ "pageout", "PID", "put memory out to swap, once, and verify it", true, cmd_pageout },
	{ "pagein", "PID", "bring swapped memory back", true, cmd_pagein },
	{ "reclaim", "PID...", "put out what is not in use, keep what comes back", true,
		cmd_reclaim },
	{ "snapshot", "PID -o FILE", "save memory as it is at one moment, while it runs", true,
		cmd_snapshot },
	{ "image", "VERB FILE", "work on what snapshot saved", false, cmd_image },
	{ "status", "", "what umemd manages", true, cmd_status },
	{ "top", "", "the same, live", true, cmd_top },
};

#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_help(FILE *out)
{
	fputs("umemctl [--json] [-q] [--connect SOCKET | --embedded] VERB ...\n\n"
	      "Sees and manages the memory of running processes from user space.\n\n",
		out);
	for (size_t i = 0; i < N_VERBS; i++)
		fprintf(out, "  %-8s %-18s %s\n", verbs[i].name, verbs[i].usage, verbs[i].summary);
	fputs("\n  --json      one JSON object a line instead of a table\n"
	      "  -q          no hints and no progress on stderr\n"
	      "  --connect SOCKET\n"
	      "              have the daemon that listens there do it (dirty, swap, pageout,\n"
	      "              pagein, reclaim, snapshot, status, top)\n"
	      "  --embedded  do the work in this process, also where a daemon listens\n"
	      "  --help      this; 'umemctl VERB --help' tells the verb's options\n"
	      "  --version   the version\n\n"
	      "Exit status: 0 done, 1 failed, 2 usage, 3 target gone, 4 the kernel lacks a\n"
	      "feature, 5 not permitted. See umemctl(1).\n",
		out);
}

/* Run a verb, here or by a daemon. @embedded: not by one. */
static int run(const struct ctl_verb *verb, struct ctl_options *options, bool embedded, int argc,
	char **argv)
{
	if (options->connect && !verb->remote) {
		fprintf(stderr, "umemctl: %s: umemd does not do this yet; leave --connect out\n",
			verb->name);
		return CTL_USAGE;
	}
	if (!options->connect && !embedded && verb->remote && access(UMEMD_SOCKET, W_OK) == 0) {
		options->connect = UMEMD_SOCKET;
		options->usual = true;
	}
	return verb->run(options, argc, argv);
}

/*
 * A descriptor of a target must not become our standard output. What was closed
 * is nothing: reading ends at once, and writing to standard output fails.
 */
static void open_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
			open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)
			abort();
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "connect", required_argument, NULL, 'c' },
		{ "embedded", no_argument, NULL, 'e' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ 0 },
	};
	struct ctl_options options = { 0 };
	static char name[32] = "umemctl";
	bool embedded = false;
	char word[80];
	int opt;

	open_standard();
	argv[0] = name; /* as getopt names us */
	/* A reader that went away is an error of the next write, and we detach cleanly. */
	signal(SIGPIPE, SIG_IGN);
	while ((opt = getopt_long(argc, argv, "+qh", longs, NULL)) != -1) {
		switch (opt) {
		case 'j':
			options.json = true;
			break;
		case 'q':
			options.quiet = true;
			break;
		case 'c':
			options.connect = optarg;
			break;
		case 'e':
			embedded = true;
			break;
		case 'h':
			print_help(stdout);
			return CTL_DONE;
		case 'v':
			puts("umemctl " UMEMD_VERSION);
			return CTL_DONE;
		default:
			fputs("Try 'umemctl --help'.\n", stderr);
			return CTL_USAGE;
		}
	}
	if (embedded && options.connect) {
		fputs("umemctl: either --connect or --embedded\nTry 'umemctl --help'.\n", stderr);
		return CTL_USAGE;
	}
	if (optind == argc) {
		print_help(stderr);
		return CTL_USAGE;
	}
	for (size_t i = 0; i < N_VERBS; i++) {
		if (strcmp(argv[optind], verbs[i].name) == 0) {
			int first = optind;

			/* getopt starts anew, for a program of that name. */
			snprintf(name, sizeof(name), "umemctl: %s", verbs[i].name);
			argv[first] = name;
			optind = 0;
			return run(&verbs[i], &options, embedded, argc - first, argv + first);
		}
	}
	fprintf(stderr, "umemctl: there is no verb \"%s\"\nTry 'umemctl --help'.\n",
		ctl_clean(word, sizeof(word), argv[optind], 60));
	return CTL_USAGE;
}
