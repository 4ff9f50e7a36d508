// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl pageout: put memory of a process out, once, and verify it. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <umemd/track.h>

#include "daemon/ctl/move.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/parse.h"
#include "lib/kern/swapdev.h"
#include "lib/mem/target.h"
#include "lib/op/pageout.h"

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
 * @written, @unwatched: what that left out, and what could not be watched.
 */
struct pageout {
	struct move m;
	uint64_t unwritten_ns;
	int signals;
	struct umem_pageset written;
	struct umem_pageset unwatched;
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

/* Wait for @ns. Return: 0, UMEM_AGAIN when it is to end, UMEM_GONE. */
static int wait_for(struct pageout *p, const struct umem_target *target, uint64_t ns)
{
	struct pollfd fds[] = {
		{ .fd = p->signals, .events = POLLIN },
		{ .fd = STDOUT_FILENO }, /* an error: nobody reads any more */
		{ .fd = umem_target_pidfd(target), .events = POLLIN },
	};
	uint64_t end_ns = umem_now_ns() + ns;

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

/* Pinned pages are left to those who tell that they are. */
static int note_written(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct pageout *p = user;

	return why == UMEM_WHY_PINNED ? 0 : umem_pageset_add(&p->written, start, end);
}

/* What was not watched, or not all of it. */
static int note_unwatched(struct pageout *p, const struct umem_target *target,
	const struct umem_round *round)
{
	int r = 0;

	for (size_t i = 0; i < target->space.n && r == 0; i++)
		if (!target->space.v[i].registered)
			r = umem_pageset_add(&p->unwatched, target->space.v[i].start,
				target->space.v[i].end);
	for (size_t i = 0; i < round->n_incomplete && r == 0; i++) {
		const struct umem_reason *reason = &round->incomplete[i];

		if (reason->end != UINT64_MAX)
			r = umem_pageset_add(&p->unwatched, reason->start, reason->end);
		else if (!p->m.ctl->quiet)
			fprintf(stderr, "umemctl: pageout: not all writes could be seen: %s\n",
				reason->reason);
	}
	return r;
}

/* Watch for as long as was asked. The first round is what came before. */
static int watch(struct pageout *p, struct umem_target *target, struct umem_watch *w,
	struct umem_note *note)
{
	const struct umem_round *round;
	int r = umem_watch_collect(w, &round, note);

	if (r == 0)
		r = wait_for(p, target, p->unwritten_ns);
	if (r == UMEM_GONE)
		snprintf(note->text, sizeof(note->text), "process %d ended", p->m.pid);
	if (r == 0)
		r = umem_watch_collect(w, &round, note);
	if (r == 0)
		r = umem_watch_each(w, note_written, p);
	return r == 0 ? note_unwatched(p, target, round) : r;
}

/*
 * Which pages were written. The watch is over when this returns: it puts huge pages
 * together again that it split, and that would bring in what is out.
 */
static int find_written(struct pageout *p, struct umem_note *note)
{
	struct umem_attach_options attach = ctl_attach_options();
	struct umem_watch_options options = {
		.size = sizeof(options),
		.regions = p->m.asked.v,
		.n_regions = p->m.asked.n,
	};
	struct umem_target *target = NULL;
	struct umem_watch *w = NULL;
	int r = umem_target_attach(p->m.pid, &attach, &target, note);

	if (r == 0)
		r = umem_watch_new(target, &options, &w, note);
	if (r == 0)
		r = watch(p, target, w, note);
	umem_watch_free(w);
	umem_target_free(target);
	return r;
}

static int put_out(struct pageout *p, struct umem_pageout *ret_result, struct umem_note *note)
{
	struct umem_pageout_watcher watcher = {
		.progress = ctl_progress_step,
		.user = &p->m.progress,
		.leave = p->unwritten_ns ? &p->written : NULL,
		.unwatched = p->unwritten_ns ? &p->unwatched : NULL,
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
		umem_json_set_u64(object, "written_bytes", umem_pageset_bytes(&p->written));
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
			ctl_size(size, umem_pageset_bytes(&p->written)));
}

static int run(struct pageout *p)
{
	struct umem_pageout result = { 0 };
	struct umem_note note = { 0 };
	int r = 0;

	/* Without swap there is nothing to watch for; the answer says so. */
	if (p->unwritten_ns && umem_swap_active())
		r = find_written(p, &note);
	/* What is shown is of the work itself. */
	if (r == 0)
		ctl_progress_begin(&p->m.progress, words.verb, p->m.ctl->quiet, p->signals);
	if (r == 0)
		r = put_out(p, &result, &note);
	else if (r == UMEM_AGAIN)
		r = 0; /* interrupted before anything was done */
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
	umem_pageset_deinit(&p.written);
	umem_pageset_deinit(&p.unwatched);
	move_deinit(&p.m);
	return r;
}
