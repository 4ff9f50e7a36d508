// SPDX-License-Identifier: LGPL-2.1-or-later
/* What umemctl snapshot shows of one: progress, and what it came to. */
#include "daemon/ctl/snapshot.h"

#include <errno.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"

/* A progress event at most so often. */
#define EVENT_NS 500000000u

static void print_progress(struct snapshot *s, const struct umem_snapshot_progress *p)
{
	uint64_t now_ns = umem_now_ns();
	struct umem_json *event;

	if (!s->options->json || now_ns - s->event_ns < EVENT_NS)
		return;
	s->event_ns = now_ns;
	event = umem_json_object();
	umem_json_set_text(event, "event", "progress");
	umem_json_set_text(event, "stage", p->stage);
	umem_json_set_u64(event, "round", p->round);
	umem_json_set_u64(event, "done_bytes", p->done_bytes);
	umem_json_set_u64(event, "total_bytes", p->total_bytes);
	umem_json_write_consume(stdout, event);
	ctl_flush();
}

bool snapshot_see_progress(void *user, const struct umem_snapshot_progress *p)
{
	struct snapshot *s = user;

	print_progress(s, p);
	return ctl_progress_step(&s->progress, p->done_bytes, p->total_bytes);
}

static int print_json(struct snapshot *s, const char *path, const struct umem_snapshot *done)
{
	struct umem_json *event = umem_json_object();

	umem_json_set_text(event, "event", "done");
	umem_json_set_u64(event, "pid", (uint64_t)s->pid);
	umem_json_set_text(event, "path", path);
	umem_json_set_text(event, "format", s->format);
	umem_json_set_text(event, "method", done->method);
	umem_json_set_text(event, "why", done->why);
	umem_json_set_u64(event, "processes", done->n_processes);
	umem_json_set_u64(event, "pause_ns", done->pause_ns);
	umem_json_set_u64(event, "attach_stop_ns", done->attach_stop_ns);
	umem_json_set_u64(event, "total_ns", done->total_ns);
	umem_json_set_u64(event, "rounds", done->rounds);
	umem_json_set_u64(event, "pages", done->pages);
	umem_json_set_u64(event, "zero_pages", done->zero_pages);
	umem_json_set_u64(event, "parent_pages", done->parent_pages);
	umem_json_set_u64(event, "stopped_bytes", done->stopped_bytes);
	umem_json_set_u64(event, "written_bytes", done->written_bytes);
	if (done->incremental)
		umem_json_set_text(event, "incremental", done->incremental);
	else
		umem_json_set_null(event, "incremental");
	umem_json_set_bool(event, "complete", done->complete);
	umem_json_set_consume(event, "incomplete",
		ctl_json_reasons(done->incomplete, done->n_incomplete));
	return umem_json_write_consume(stdout, event);
}

static void print_table(struct snapshot *s, const char *path, const struct umem_snapshot *done)
{
	char text[512], pause[16], total[16], read[16], zero[16], size[16], name[128];

	snprintf(text, sizeof(text), "pid %d: %s in %s, stopped for %s (%s: %s)", s->pid,
		ctl_clean(name, sizeof(name), path, 100), ctl_time(total, done->total_ns),
		ctl_time(pause, done->pause_ns), done->method, done->why);
	ctl_wrap(text, 0, 2);
	snprintf(text, sizeof(text), "%s read in %llu round%s, %s of zeros; %s on disk",
		ctl_size(read, done->pages << 12), (unsigned long long)done->rounds,
		done->rounds == 1 ? "" : "s", ctl_size(zero, done->zero_pages << 12),
		ctl_size(size, done->written_bytes));
	fputs("  ", stdout);
	ctl_wrap(text, 2, 4);
	if (done->incremental)
		printf("  %s are as in the parent (%s)\n",
			ctl_size(read, done->parent_pages << 12), done->incremental);
	for (size_t i = 0; i < done->n_incomplete; i++)
		ctl_print_reason("incomplete: ", &done->incomplete[i]);
	if (done->complete)
		puts("  complete");
}

int snapshot_print_done(struct snapshot *s, const char *path, const struct umem_snapshot *done)
{
	int r = 0;

	ctl_progress_end(&s->progress);
	if (s->options->json)
		r = print_json(s, path, done);
	else
		print_table(s, path, done);
	return r == 0 ? ctl_flush() : r;
}

static int export_step(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct umem_snapshot_progress progress = {
		.stage = "export",
		.done_bytes = done_bytes,
		.total_bytes = total_bytes,
	};

	return snapshot_see_progress(user, &progress) ? -ECANCELED : 0;
}

int snapshot_export(struct snapshot *s, struct umem_image *image, const char *path,
	struct umem_note *note)
{
	const struct umem_image_export_options options = {
		.size = sizeof(options),
		.progress = export_step,
		.user = s,
	};

	return umem_image_export(image, s->format, path, &options, NULL, note);
}
