// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl pageout: put memory of a process out, once, and verify it. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "daemon/ctl/move.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/base/parse.h"
#include "lib/kern/swapdev.h"
#include "lib/op/pageout.h"
#include "lib/op/unwritten.h"

static const struct move_words words = {
	.verb = "pageout",
	.moved_key = "reclaimed_bytes",
	.already_key = "already_out_bytes",
	.moved = "reclaimed",
	.already = "already out",
	.returned = "came back",
};

/**
 * struct pageout - one run of the verb.
 * @m: what pagein has, too.
 * @unwritten_ns: --not-written-for; 0 means it was not given.
 * @signals: descriptor of ctl_signals().
 * @unwritten: what that left out, and what could not be watched.
 * @written_bytes: of what it left out.
 * @pidfd: of the process, while it is watched; borrowed.
 */
struct pageout {
	struct move m;
	uint64_t unwritten_ns;
	int signals;
	struct umem_unwritten unwritten;
	uint64_t written_bytes;
	int pidfd;
};

static void print_help(void)
{
	puts("umemctl pageout PID [OPTION]...\n\n"
	     "Puts what is resident of a process out to swap, and looks whether it is there:\n"
	     "what was reclaimed, what came back at once, what could not go and why. Ends\n"
	     "cleanly on Ctrl-C; what is out stays out until it is used.\n\n"
	     "  --region A-B         only these addresses (hexadecimal); may be repeated\n"
	     "  --not-written-for TIME\n"
	     "                       watch writes for so long first, and leave what was written\n"
	     "  --max SIZE           at most so much; lower addresses come first\n"
	     "  --free               where swap is a file or a disk, also free the memory now");
}

static int parse_one(struct pageout *p, int opt, const char *arg)
{
	switch (opt) {
	case 'r':
		return move_parse_region(&p->m, arg);
	case 'm':
		return move_parse_max(&p->m, arg);
	case 'w':
		if (umem_parse_time(arg, &p->unwritten_ns) < 0 || p->unwritten_ns == 0)
			return ctl_usage(words.verb, "--not-written-for: \"%s\" is no time above "
				"0, like 100ms or 30s", arg);
		return CTL_DONE;
	case 'f':
		p->m.options.free_cached = true;
		return CTL_DONE;
	default:
		fputs("Try 'umemctl pageout --help'.\n", stderr);
		return CTL_USAGE;
	}
}

/* Return: an exit code, or -1 to go on. */
static int parse(struct pageout *p, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "region", required_argument, NULL, 'r' },
		{ "max", required_argument, NULL, 'm' },
		{ "not-written-for", required_argument, NULL, 'w' },
		{ "free", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, r = CTL_DONE;

	while (r == CTL_DONE && (opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		r = parse_one(p, opt, optarg);
	}
	if (r == CTL_DONE)
		r = move_parse_end(&p->m, argc, argv);
	return r == CTL_DONE ? -1 : r;
}

/* Wait as long as was asked. Return: 0, UMEM_AGAIN when it is to end, UMEM_GONE. */
static int wait_for_writes(void *user)
{
	struct pageout *p = user;
	struct pollfd fds[] = {
		{ .fd = p->signals, .events = POLLIN },
		{ .fd = STDOUT_FILENO }, /* an error: nobody reads any more */
		{ .fd = p->pidfd, .events = POLLIN },
	};
	uint64_t end_ns = umem_now_ns() + p->unwritten_ns;

	for (uint64_t now_ns = umem_now_ns(); now_ns < end_ns; now_ns = umem_now_ns()) {
		struct timespec wait = { (time_t)((end_ns - now_ns) / 1000000000u),
			(long)((end_ns - now_ns) % 1000000000u) };

		if (ppoll(fds, UMEM_ARRAY_LEN(fds), &wait, NULL) <= 0)
			continue;
		if (fds[2].revents)
			return UMEM_GONE;
		p->m.progress.stopped = true;
		return UMEM_AGAIN;
	}
	return 0;
}

static void say_unseen(const struct pageout *p, const char *reason)
{
	if (!p->m.ctl->quiet)
		fprintf(stderr, "umemctl: pageout: not all writes could be seen: %s\n", reason);
}

static int find_written(struct pageout *p, struct umem_note *note)
{
	struct umem_attach_options attach = ctl_attach_options();
	struct umem_target *target = NULL;
	int r = umem_target_attach(p->m.pid, &attach, &target, note);

	if (r == 0) {
		p->pidfd = umem_target_pidfd(target);
		r = umem_unwritten_find(target, p->m.asked.v, p->m.asked.n, wait_for_writes, p,
			&p->unwritten, note);
	}
	if (r == UMEM_GONE)
		umem_note_set(note, -ESRCH, 0, "process %d ended", p->m.pid);
	for (size_t i = 0; i < p->unwritten.unseen.n && r == 0; i++)
		say_unseen(p, p->unwritten.unseen.v[i].reason);
	umem_target_free(target);
	return r;
}

static int put_out(struct pageout *p, struct umem_pageout *ret_result, struct umem_note *note)
{
	struct umem_pageout_watcher watcher = {
		.progress = ctl_progress_step,
		.user = &p->m.progress,
		.leave = p->unwritten_ns ? &p->unwritten.written : NULL,
		.unwatched = p->unwritten_ns ? &p->unwritten.unwatched : NULL,
	};
	struct umem_attach_options attach = ctl_attach_options();
	struct umem_target *target = NULL;
	int r = umem_target_open(p->m.pid, &attach, &target, note);

	if (r == 0)
		r = umem_pageout_watched(target, &p->m.options, &watcher, ret_result, note);
	umem_target_free(target);
	return r;
}

static int print_json(const struct pageout *p, const struct umem_pageout *result)
{
	struct umem_json *object = move_json(&p->m, result);

	if (result->freed_known)
		umem_json_set_u64(object, "freed_bytes", result->freed_bytes);
	else
		umem_json_set_null(object, "freed_bytes");
	if (result->freed_note)
		umem_json_set_text(object, "freed_note", result->freed_note);
	else
		umem_json_set_null(object, "freed_note");
	if (p->unwritten_ns)
		umem_json_set_u64(object, "written_bytes", p->written_bytes);
	else
		umem_json_set_null(object, "written_bytes");
	return umem_json_write_consume(stdout, object);
}

static void print_table(const struct pageout *p, const struct umem_pageout *result)
{
	const char *note = result->freed_note ? result->freed_note : "";
	char freed[512] = "", size[16];

	if (!result->freed_known)
		snprintf(freed, sizeof(freed), "how much of it is freed is not known: %s", note);
	else if (result->freed_bytes < result->moved_bytes)
		snprintf(freed, sizeof(freed), "%s of it freed; %s",
			ctl_size(size, result->freed_bytes), note);
	move_print(&p->m, result, freed);
	if (p->unwritten_ns)
		printf("  %-14s %8s\n", "written, left",
			ctl_size(size, p->written_bytes));
}

static int run_here(struct pageout *p, struct umem_pageout *ret_result, struct umem_note *note)
{
	int r = 0;

	/* Without swap there is nothing to watch for; the answer says so. */
	if (p->unwritten_ns && umem_swap_active())
		r = find_written(p, note);
	if (r == UMEM_AGAIN)
		return 0; /* interrupted before anything was done */
	p->written_bytes = umem_pageset_bytes(&p->unwritten.written);
	/* What is shown is of the work itself. */
	if (r == 0) {
		ctl_progress_begin(&p->m.progress, words.verb, p->m.ctl->quiet, p->signals);
		r = put_out(p, ret_result, note);
	}
	return r;
}

static int run_by_daemon(struct pageout *p, struct move_remote *remote,
	struct umem_pageout *ret_result, struct umem_note *note)
{
	int r = move_by_daemon(&p->m, true, p->unwritten_ns, remote, note);

	if (r != 0)
		return r;
	*ret_result = remote->moved->numbers;
	p->written_bytes = remote->moved->written_bytes;
	for (size_t i = 0; i < remote->moved->n_unseen; i++)
		say_unseen(p, remote->moved->unseen[i]);
	return 0;
}

static int run(struct pageout *p)
{
	UMEM_CLEANUP(move_remote_deinit) struct move_remote remote = { 0 };
	struct umem_pageout result = { 0 };
	struct umem_note note = { 0 };
	int r = p->m.ctl->connect ? run_by_daemon(p, &remote, &result, &note) :
				    run_here(p, &result, &note);

	ctl_progress_end(&p->m.progress);
	if (r == 0 && p->m.ctl->json)
		r = print_json(p, &result);
	else if (r == 0)
		print_table(p, &result);
	if (r == 0)
		r = ctl_flush();
	return r == 0 ? CTL_DONE : ctl_ended(words.verb, r, &note);
}

int cmd_pageout(const struct ctl_options *options, int argc, char **argv)
{
	struct pageout p = {
		.m = { .ctl = options, .words = &words },
		.signals = -1,
	};
	int r = parse(&p, argc, argv);

	if (r < 0) {
		r = ctl_signals(&p.signals);
		ctl_progress_begin(&p.m.progress, words.verb, options->quiet, p.signals);
		r = r < 0 ? ctl_failed(words.verb, r, &(struct umem_note){ 0 }) : run(&p);
	}
	umem_fd_close(p.signals);
	umem_unwritten_deinit(&p.unwritten);
	move_deinit(&p.m);
	return r;
}
