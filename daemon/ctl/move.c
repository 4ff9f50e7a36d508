// SPDX-License-Identifier: LGPL-2.1-or-later
/* What pageout and pagein share: their options, and what they print. */
#include "daemon/ctl/move.h"

#include <getopt.h>

#include "lib/base/clock.h"
#include "lib/base/parse.h"

/* Where the third column of the table begins. */
#define REASON_COLUMN 26

void move_deinit(struct move *m)
{
	umem_ranges_deinit(&m->asked);
}

int move_parse_region(struct move *m, const char *arg)
{
	struct umem_range range;

	if (umem_parse_range(arg, &range) < 0)
		return ctl_usage(m->words->verb, "--region: \"%s\" is no range; write START-END in "
			"hexadecimal", arg);
	return umem_ranges_add(&m->asked, range.start, range.end) < 0 ? CTL_FAILED : CTL_DONE;
}

int move_parse_max(struct move *m, const char *arg)
{
	if (umem_parse_size(arg, &m->options.max_bytes) < 0 || m->options.max_bytes == 0)
		return ctl_usage(m->words->verb, "--max: \"%s\" is no size above 0, like 64M", arg);
	return CTL_DONE;
}

int move_parse_end(struct move *m, int argc, char **argv)
{
	if (argc - optind > 1)
		return ctl_usage(m->words->verb, "one process at a time, not also \"%s\"",
			argv[optind + 1]);
	m->options.size = sizeof(m->options);
	m->options.ranges = m->asked.v;
	m->options.n_ranges = m->asked.n;
	return ctl_pid(m->words->verb, argv[optind], &m->pid);
}

void move_remote_deinit(struct move_remote *remote)
{
	umem_client_free(remote->client);
}

int move_by_daemon(struct move *m, bool out, uint64_t unwritten_ns, struct move_remote *remote,
	struct umem_note *note)
{
	const struct umem_client_move_options options = {
		.size = sizeof(options),
		.regions = m->asked.v,
		.n_regions = m->asked.n,
		.max_bytes = m->options.max_bytes,
		.free_cached = m->options.free_cached,
		.unwritten_ns = unwritten_ns,
		.progress = ctl_progress_step,
		.user = &m->progress,
	};
	char target[UMEM_CLIENT_TARGET];
	int r = umem_client_connect(m->ctl->connect, &remote->client, note);

	/* Watching writes takes what attaching gives. */
	if (r == 0)
		r = unwritten_ns ?
			umem_client_attach(remote->client, m->pid, NULL, target, note) :
			umem_client_open(remote->client, m->pid, NULL, target, note);
	if (r == 0)
		r = out ? umem_client_pageout(remote->client, target, &options, &remote->moved,
				note) :
			umem_client_pagein(remote->client, target, &options, &remote->moved,
				note);
	if (r == 0) {
		m->progress.stopped = remote->moved->interrupted;
		m->progress.start_ns = umem_now_ns() - remote->moved->elapsed_ns;
	}
	if (r == 0 && remote->moved->recovered && !m->ctl->quiet)
		fprintf(stderr, "umemctl: %s: a worker of umemd died meanwhile; what it moved "
			"counts as %s\n", m->words->verb, m->words->already);
	return r;
}

struct umem_json *move_json(const struct move *m, const struct umem_pageout *result)
{
	struct umem_json *object = umem_json_object(), *list = umem_json_array();

	umem_json_set_u64(object, "pid", (uint64_t)m->pid);
	umem_json_set_u64(object, "asked_bytes", result->asked_bytes);
	umem_json_set_u64(object, m->words->moved_key, result->moved_bytes);
	umem_json_set_u64(object, m->words->already_key, result->already_bytes);
	umem_json_set_u64(object, "returned_bytes", result->returned_bytes);
	for (size_t i = 0; i < result->n_refused; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_u64(item, "bytes", result->refused[i].bytes);
		umem_json_set_text(item, "reason", result->refused[i].reason);
		umem_json_append_consume(list, item);
	}
	umem_json_set_consume(object, "refused", list);
	umem_json_set_bool(object, "interrupted", m->progress.stopped);
	umem_json_set_u64(object, "elapsed_ns", umem_now_ns() - m->progress.start_ns);
	return object;
}

/* A line of the table: what, how much, and more of it. */
static void print_line(const char *title, uint64_t bytes, const char *more)
{
	char size[16];
	int column = printf("  %-14s %8s", title, ctl_size(size, bytes));

	if (!more || !more[0]) {
		putchar('\n');
		return;
	}
	printf("%*s", REASON_COLUMN - column, "");
	ctl_wrap(more, REASON_COLUMN, REASON_COLUMN);
}

void move_print(const struct move *m, const struct umem_pageout *result, const char *freed)
{
	uint64_t ns = umem_now_ns() - m->progress.start_ns;
	char asked[16], took[16], rate[16];

	printf("pid %d: asked for %s, took %s", m->pid, ctl_size(asked, result->asked_bytes),
		ctl_time(took, ns));
	if (result->moved_bytes > 0)
		printf(" (%s/s)", ctl_size(rate, (uint64_t)((double)result->moved_bytes /
			((double)ns / 1e9))));
	puts(m->progress.stopped ? ", interrupted" : "");
	print_line(m->words->moved, result->moved_bytes, freed);
	if (result->returned_bytes)
		print_line(m->words->returned, result->returned_bytes, NULL);
	for (size_t i = 0; i < result->n_refused; i++)
		print_line("refused", result->refused[i].bytes, result->refused[i].reason);
	print_line(m->words->already, result->already_bytes, NULL);
}
