// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl status: what the daemon manages, and how its rules are doing. */
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
	     "Lists the targets of umemd: yours, or all for root and administrators; for those\n"
	     "also the rules of umemd.conf, with the processes that each is about.");
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

static int print_rule_json(const struct umem_client_rule *rule)
{
	struct umem_json *line = umem_json_object(), *list = umem_json_array();

	umem_json_set_text(line, "rule", rule->rule);
	umem_json_set_text(line, "policy", rule->policy);
	umem_json_set_u64(line, "matched", rule->matched);
	umem_json_set_u64(line, "applied", rule->applied);
	umem_json_set_u64(line, "refused", rule->refused);
	for (size_t i = 0; i < rule->n_refusals; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_int(item, "pid", rule->refusals[i].pid);
		umem_json_set_text(item, "reason", rule->refusals[i].reason);
		umem_json_append_consume(list, item);
	}
	umem_json_set_consume(line, "refusals", list);
	return umem_json_write_consume(stdout, line);
}

/* What is told of rules. @n: so far. */
struct rules {
	const struct ctl_options *options;
	size_t n;
};

static int each_rule(void *user, const struct umem_client_rule *rule)
{
	struct rules *rules = user;
	char text[512];

	if (rules->options->json)
		return print_rule_json(rule);
	if (rules->n++ == 0)
		printf("\n%-32s %-8s %8s %8s %8s\n", "RULE", "RECLAIM", "MATCHED", "APPLIED",
			"REFUSED");
	printf("%-32s %-8s %8llu %8llu %8llu\n", ctl_clean(text, sizeof(text), rule->rule, 32),
		rule->policy, (unsigned long long)rule->matched,
		(unsigned long long)rule->applied, (unsigned long long)rule->refused);
	for (size_t i = 0; i < rule->n_refusals; i++)
		printf("  process %d is left alone: %s\n", rule->refusals[i].pid,
			ctl_clean(text, sizeof(text), rule->refusals[i].reason, 0));
	if (rule->refused > rule->n_refusals)
		printf("  and %llu more\n",
			(unsigned long long)(rule->refused - rule->n_refusals));
	return 0;
}

int cmd_status(const struct ctl_options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct rules rules = { .options = options };
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
		r = umem_client_each_rule(client, each_rule, &rules, &note);
	/* One that is older has none to tell about. */
	if (r == -EOPNOTSUPP)
		r = 0;
	if (r == 0)
		r = ctl_flush();
	umem_client_free(client);
	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}
