// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl swap: where every page is. */
#include <getopt.h>

#include "daemon/ctl/swap.h"
#include "lib/base/attr.h"
#include "lib/base/parse.h"

#define VERB "swap"

/**
 * struct swap - one run of the verb.
 * @asked: --region.
 * @method, @file: of the options, or NULL.
 * @ranges, @sharers, @map: given.
 */
struct swap {
	struct umem_ranges asked;
	const char *method;
	const char *file;
	bool ranges;
	bool sharers;
	bool map;
};

static void print_help(void)
{
	puts("umemctl swap PID [OPTION]...\n"
	     "umemctl swap --file PATH [OPTION]...\n\n"
	     "Tells where every page of a process is: in memory, swapped out, a page of zeros,\n"
	     "never touched, a guard. Of shared memory it tells where the object has them,\n"
	     "whoever maps it. The process is not stopped and nothing is brought in.\n\n"
	     "  --region A-B         only these addresses (hexadecimal); may be repeated\n"
	     "  --ranges             list the pages, too, as ranges of one state\n"
	     "  --sharers            tell which other processes map the same memory\n"
	     "  --map                a picture instead of the table: which parts are out\n"
	     "  --method NAME        look by this method where it applies: scan, words, smaps,\n"
	     "                       cachestat, halving, extents or continue (default: by what\n"
	     "                       is mapped, and by what is permitted)\n"
	     "  --file PATH          a memfd (/proc/PID/fd/N) or a file of tmpfs or hugetlbfs\n"
	     "                       instead of a process; it may be mapped by nobody");
}

static int parse_one(struct swap *swap, int opt, const char *arg)
{
	struct umem_range range;

	switch (opt) {
	case 'r':
		if (umem_parse_range(arg, &range) < 0)
			return ctl_usage(VERB, "--region: \"%s\" is no range; write START-END in "
				"hexadecimal", arg);
		if (umem_ranges_add(&swap->asked, range.start, range.end) < 0)
			return CTL_FAILED;
		return CTL_DONE;
	case 'l':
		swap->ranges = true;
		return CTL_DONE;
	case 's':
		swap->sharers = true;
		return CTL_DONE;
	case 'm':
		swap->map = true;
		return CTL_DONE;
	case 'k':
		swap->method = arg;
		return CTL_DONE;
	case 'f':
		swap->file = arg;
		return CTL_DONE;
	default:
		fputs("Try 'umemctl swap --help'.\n", stderr);
		return CTL_USAGE;
	}
}

/* What does not go together. */
static int check_options(const struct ctl_options *options, const struct swap *swap)
{
	if (swap->map && options->json)
		return ctl_usage(VERB, "--map is a picture for people; take --ranges for --json");
	if (swap->map && swap->ranges)
		return ctl_usage(VERB, "--map has no place for --ranges");
	if (swap->map && swap->sharers)
		return ctl_usage(VERB, "--map has no place for --sharers");
	if (swap->file && swap->sharers)
		return ctl_usage(VERB, "--sharers is about a process, not a --file");
	return CTL_DONE;
}

/* Return: an exit code, or -1 to go on with *@ret_pid (0 with --file). */
static int parse(const struct ctl_options *options, struct swap *swap, int argc, char **argv,
	int *ret_pid)
{
	static const struct option longs[] = {
		{ "region", required_argument, NULL, 'r' },
		{ "ranges", no_argument, NULL, 'l' },
		{ "sharers", no_argument, NULL, 's' },
		{ "map", no_argument, NULL, 'm' },
		{ "method", required_argument, NULL, 'k' },
		{ "file", required_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, r;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		r = parse_one(swap, opt, optarg);
		if (r != CTL_DONE)
			return r;
	}
	r = check_options(options, swap);
	if (r != CTL_DONE)
		return r;
	if (swap->file && optind < argc)
		return ctl_usage(VERB, "a --file, or process \"%s\"; not both", argv[optind]);
	if (argc - optind > 1)
		return ctl_usage(VERB, "one process at a time, not also \"%s\"", argv[optind + 1]);
	*ret_pid = 0;
	r = swap->file ? CTL_DONE : ctl_pid(VERB, argv[optind], ret_pid);
	return r == CTL_DONE ? -1 : r;
}

static int run(const struct ctl_options *options, struct swap *swap, int pid)
{
	UMEM_CLEANUP(swap_view_deinit) struct swap_view view = { 0 };
	struct umem_client_map_options remote = {
		.size = sizeof(remote),
		.method = swap->method,
		.ranges = swap->ranges || swap->map,
		.sharers = swap->sharers,
	};
	struct umem_note note = { 0 };
	int r;

	/* A file is this process's to open, whoever looks at processes. */
	if (swap->file)
		r = swap_view_file(&view, swap->file, &swap->asked, swap->method, &note);
	else if (options->connect)
		r = swap_view_remote(&view, options->connect, pid, &swap->asked, &remote, &note);
	else
		r = swap_view_process(&view, pid, &swap->asked, swap->method, swap->sharers,
			&note);
	if (r == 0 && options->json)
		r = swap_json_print(&view, swap->ranges);
	else if (r == 0 && swap->map)
		r = swap_map_print(&view);
	else if (r == 0)
		r = swap_table_print(&view, swap->ranges);
	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}

int cmd_swap(const struct ctl_options *options, int argc, char **argv)
{
	struct swap swap = { 0 };
	int pid = 0, r = parse(options, &swap, argc, argv, &pid);

	if (r < 0)
		r = run(options, &swap, pid);
	umem_ranges_deinit(&swap.asked);
	return r;
}
