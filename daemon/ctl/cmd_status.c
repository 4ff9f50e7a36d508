// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl status: what the daemon manages. */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <string.h>

#include <umemd/client.h>

#include "daemon/ctl/ctl.h"

#define VERB "status"

static void print_help(void)
{
	puts("umemctl status\n\n"
	     "Lists the targets of umemd: yours, or all for root and administrators.");
}

static const char *how_of(const struct umem_client_target *t)
{
	return t->handed ? "handed_off" : t->opened ? "opened" : "attached";
}

static int print_json(const struct umem_client_target *t)
{
	struct umem_json *line = umem_json_object();

	umem_json_set_text(line, "target", t->target);
	umem_json_set_u64(line, "pid", (uint64_t)t->pid);
	umem_json_set_text(line, "name", t->name);
	umem_json_set_u64(line, "uid", t->uid);
	umem_json_set_text(line, "how", how_of(t));
	umem_json_set_text(line, "state", t->state);
	umem_json_set_bool(line, "kept", t->kept);
	if (t->reclaim)
		umem_json_set_text(line, "reclaim", t->reclaim);
	else
		umem_json_set_null(line, "reclaim");
	umem_json_set_u64(line, "restarts", t->restarts);
	umem_json_set_u64(line, "stop_ns", t->stop_ns);
	umem_json_set_u64(line, "age_ns", t->age_ns);
	return umem_json_write_consume(stdout, line);
}

static void print_row(const struct umem_client_target *t)
{
	const struct passwd *user = getpwuid(t->uid);
	char name[64], who[32], age[16];

	snprintf(who, sizeof(who), "%u", t->uid);
	printf("%-8s %8d %-16s %-10s %-10s %-10s %4s %-8s %8llu %8s\n", t->target, t->pid,
		ctl_clean(name, sizeof(name), t->name, 16), user ? user->pw_name : who, t->state,
		how_of(t), t->kept ? "yes" : "no",
		t->reclaim ? t->reclaim : "-",
		(unsigned long long)t->restarts, ctl_time(age, t->age_ns));
}

static int each(void *user, const struct umem_client_target *target)
{
	const struct ctl_options *options = user;

	if (options->json)
		return print_json(target);
	print_row(target);
	return 0;
}

int cmd_status(const struct ctl_options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct umem_client *client = NULL;
	struct umem_note note = { 0 };
	int opt, r;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt != 'h')
			return CTL_USAGE;
		print_help();
		return CTL_DONE;
	}
	if (optind < argc)
		return ctl_usage(VERB, "\"%s\" is not understood", argv[optind]);
	r = umem_client_connect(options->connect, &client, &note);
	if (r == 0 && !options->json)
		printf("%-8s %8s %-16s %-10s %-10s %-10s %4s %-8s %8s %8s\n", "TARGET", "PID",
			"NAME", "USER", "STATE", "HOW", "KEPT", "RECLAIM", "RESTARTS", "AGE");
	if (r == 0)
		r = umem_client_each_target(client, each, (void *)options, &note);
	if (r == 0)
		r = ctl_flush();
	umem_client_free(client);
	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}
