// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemd: manages the memory of processes for others. See umemd(8). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "lib/base/attr.h"

/* What the command line says. */
struct options {
	const char *config;
	const char *socket;
	const char *worker;
	bool check;
	bool verbose;
};

static void print_help(void)
{
	puts("umemd [OPTION]...\n\n"
	     "Manages the memory of processes for the programs that connect to its socket.\n"
	     "Runs in the foreground; SIGTERM ends it, with every target let go.\n\n"
	     "  --socket PATH    listen there, not where the configuration says\n"
	     "  --config FILE    read this one, not " UMEMD_SYSCONFDIR "/umemd/umemd.conf\n"
	     "  --worker PATH    the program of the workers\n"
	     "  --check-config   say whether the configuration is good, show it, and end\n"
	     "  -v, --verbose    tell about every change of state\n"
	     "  --help           this\n"
	     "  --version        the version\n\n"
	     "See umemd(8), umemd.conf(5).");
}

/* Return: an exit code, or -1 to go on. */
static int parse(struct options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "config", required_argument, NULL, 'c' },
		{ "worker", required_argument, NULL, 'w' },
		{ "check-config", no_argument, NULL, 'k' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "vh", longs, NULL)) != -1) {
		switch (opt) {
		case 's':
			options->socket = optarg;
			break;
		case 'c':
			options->config = optarg;
			break;
		case 'w':
			options->worker = optarg;
			break;
		case 'k':
			options->check = true;
			break;
		case 'v':
			options->verbose = true;
			break;
		case 'h':
			print_help();
			return 0;
		case 'V':
			puts("umemd " UMEMD_VERSION);
			return 0;
		default:
			fputs("Try 'umemd --help'.\n", stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "umemd: \"%s\" is not understood\nTry 'umemd --help'.\n",
			argv[optind]);
		return 2;
	}
	return -1;
}

static int set_path(char *to, const char *from, const char *what)
{
	if (!from)
		return 0;
	if (strlen(from) >= CONFIG_PATH) {
		fprintf(stderr, "umemd: %s: the path is too long\n", what);
		return -1;
	}
	snprintf(to, CONFIG_PATH, "%s", from);
	return 0;
}

/*
 * The configuration as it holds, and the file that it came from. Return: 0, or -1 and the
 * reason was told.
 */
static int configure(const struct options *options, struct config *config, const char **ret_path)
{
	const char *path = options->config ? options->config :
					     UMEMD_SYSCONFDIR "/umemd/umemd.conf";
	struct umem_note note = { 0 };
	int r;

	config_defaults(config);
	r = config_read(config, path, &note);
	*ret_path = path;
	if (r == -ENOENT && !options->config) {
		r = 0; /* the defaults hold */
		*ret_path = NULL;
	}
	if (r < 0) {
		fprintf(stderr, "umemd: %s\n", note.text);
		return -1;
	}
	if (options->verbose)
		config->log_level = LOG_LEVEL_DEBUG;
	if (set_path(config->socket, options->socket, "--socket") < 0)
		return -1;
	return set_path(config->worker, options->worker, "--worker");
}

int main(int argc, char **argv)
{
	static struct manager manager;
	struct options options = { 0 };
	struct umem_note note = { 0 };
	const char *path;
	struct config config;
	int r = parse(&options, argc, argv);

	if (r >= 0)
		return r;
	if (configure(&options, &config, &path) < 0)
		return 2;
	if (options.check) {
		config_print(&config, stdout);
		return 0;
	}
	r = manager_start(&manager, &config, path, &note);
	if (r < 0) {
		fprintf(stderr, "umemd: %s\n", note.text);
		return 1;
	}
	log_notice("listening at %s", config.socket);
	r = manager_run(&manager);
	manager_stop(&manager);
	return r < 0 ? 1 : 0;
}
