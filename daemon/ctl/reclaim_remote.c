// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umemctl reclaim by umemd.
 *
 * The target belongs to one connection, and what it does is heard by another one, since
 * hearing takes all of a connection. When this ends the target is let go, and its
 * policy with it; what is out stays out.
 */
#include "daemon/ctl/reclaim_remote.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include <umemd/client.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/reclaim_print.h"
#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/pidfd.h"

/* It is to end, and that is no failure. */
#define STOP 100

/* A run. */
struct run {
	const struct reclaim_remote *how;
	int pid;
	int pidfd;
	char comm[64];
	uint64_t stop_ns;
	struct reclaim_total total;
	struct umem_reclaim_report report;
	struct umem_reclaim_seen target;
	bool any;
};

static void read_seen(const struct umem_client_reclaim_seen *in, struct umem_reclaim_seen *ret_seen)
{
	enum umem_reclaim_decision decision = UMEM_RECLAIM_HOLD;

	for (int i = 0; i < UMEM_N_RECLAIM_DECISIONS; i++)
		if (in->decision[0] == umem_reclaim_decision_name(i)[0])
			decision = (enum umem_reclaim_decision)i;
	*ret_seen = (struct umem_reclaim_seen){
		.resident_bytes = in->resident_bytes,
		.swapped_bytes = in->swapped_bytes,
		.out_bytes = in->out_bytes,
		.trial_bytes = in->trial_bytes,
		.reclaimed_bytes = in->reclaimed_bytes,
		.refused_bytes = in->refused_bytes,
		.refaulted_bytes = in->refaulted_bytes,
		.refault_ppm_min = in->refault_ppm_min,
		.refault_out_ppm_min = in->refault_out_ppm_min,
		.pressure_known = in->pressure_known,
		.pressure_ppm = in->pressure_ppm,
		.cold_bytes = in->cold_bytes,
		.want_bytes = in->want_bytes,
		.sample_bytes = in->sample_bytes,
		.try_bytes = in->try_bytes,
		.bound_ppm = (uint32_t)in->in_use_max_ppm,
		.confidence_ppm = (uint32_t)in->confidence_ppm,
		.decision = decision,
		.reason = in->reason,
	};
}

static int print(struct run *run, const struct umem_client_interval *interval)
{
	UMEM_FREE struct umem_reclaim_event *events = calloc(interval->n_events + 1,
		sizeof(*events));
	struct umem_reclaim_report *report = &run->report;

	if (!events)
		return -ENOMEM;
	for (size_t i = 0; i < interval->n_events; i++) {
		events[i].pid = run->pid;
		memcpy(events[i].comm, run->comm, sizeof(events[i].comm));
		strncpy(events[i].text, interval->events[i], sizeof(events[i].text) - 1);
	}
	*report = (struct umem_reclaim_report){
		.interval = interval->interval,
		.at_ns = interval->at_ns,
		.interval_ns = interval->interval_ns,
		.cpu_ppm = interval->cpu_ppm,
		.swap_free_bytes = interval->swap_free_bytes,
		.stored_ppm = interval->stored_ppm,
		.targets = &run->target,
		.n_targets = interval->has_target,
		.events = events,
		.n_events = interval->n_events,
	};
	read_seen(&interval->sum, &report->sum);
	read_seen(&interval->target, &run->target);
	run->target.pid = run->pid;
	memcpy(run->target.comm, run->comm, sizeof(run->target.comm));
	run->any = true;
	reclaim_count(&run->total, report);
	return reclaim_print_events(report, run->how->json) < 0 ||
		reclaim_print_interval(report, run->how->json) < 0 || ctl_flush() < 0 ? -EIO : 0;
}

static int on_interval(void *user, const struct umem_client_interval *interval)
{
	struct run *run = user;
	struct pollfd fds[] = {
		{ .fd = run->how->signals, .events = POLLIN },
		{ .fd = STDOUT_FILENO }, /* an error: nobody reads any more */
	};
	int r = interval ? print(run, interval) : 0;

	if (r == 0 && (poll(fds, UMEM_ARRAY_LEN(fds), 0) > 0 || umem_now_ns() >= run->stop_ns))
		r = STOP;
	return r;
}

static struct umem_client_policy policy_of(const struct umem_reclaim_options *options)
{
	static const char *const names[] = {
		[UMEM_POLICY_AGE] = "age",
		[UMEM_POLICY_PROBE] = "probe",
		[UMEM_POLICY_PRESSURE] = "pressure",
	};

	return (struct umem_client_policy){
		.size = sizeof(struct umem_client_policy),
		.policy = names[options->policy],
		.interval_ns = options->interval_ns,
		.refault_max_ppm_min = options->refault_max_ppm_min,
		.pressure_max_ppm = options->machine_pressure ? options->pressure_max_ppm : 0,
		.rate_bytes_s = options->limits.rate_bytes_s,
		.floor_bytes = options->limits.floor_bytes,
		.swap_left_bytes = options->limits.swap_min_bytes,
		.cpu_max_ppm = options->limits.cpu_max_ppm,
		.age_ns = options->age_ns,
		.dry_run = options->dry_run,
		.seed = options->seed,
	};
}

/* Bring the process in, and begin. */
static int begin(struct umem_client *client, const struct umem_reclaim_options *options,
	char ret_target[UMEM_CLIENT_TARGET], struct umem_note *note)
{
	const struct umem_client_policy policy = policy_of(options);
	int pid = options->pids[0], r;

	/* The policy age watches writes. */
	r = options->policy == UMEM_POLICY_AGE ?
		umem_client_attach(client, pid, NULL, ret_target, note) :
		umem_client_open(client, pid, NULL, ret_target, note);
	return r == 0 ? umem_client_reclaim_set(client, ret_target, &policy, note) : r;
}

/* Hear of it until it ends. Return: STOP when that was our own wish. */
static int hear(struct run *run, const char *target, struct umem_note *note)
{
	struct pollfd end = { .fd = run->pidfd, .events = POLLIN };
	struct umem_client *listener = NULL;
	int r = umem_client_connect(run->how->path, &listener, note);

	if (r == 0)
		r = umem_client_reclaim_each(listener, target, on_interval, run, note);
	umem_client_free(listener);
	if ((r == 0 || r == -ENOENT) && poll(&end, 1, 1000) > 0) {
		umem_note_clear(note);
		umem_note_set(note, -ESRCH, 0, "all targets have ended");
		return UMEM_GONE;
	}
	return r == 0 ? umem_note_set(note, -ECANCELED, 0, "umemd let process %d go", run->pid) :
			r;
}

int reclaim_by_daemon(const struct reclaim_remote *how,
	const struct umem_reclaim_options *options, struct umem_note *note)
{
	uint64_t now_ns = umem_now_ns();
	struct run run = {
		.how = how,
		.pid = options->pids[0],
		.pidfd = pidfd_open(options->pids[0], 0),
		.stop_ns = how->duration_ns ? now_ns + how->duration_ns : UINT64_MAX,
	};
	struct umem_client *owner = NULL;
	char target[UMEM_CLIENT_TARGET];
	struct umem_proc_stat stat;
	int r = umem_client_connect(how->path, &owner, note);

	if (umem_proc_stat_read(run.pid, 0, &stat) == 0)
		memcpy(run.comm, stat.comm, sizeof(run.comm));
	if (r == 0)
		r = begin(owner, options, target, note);
	if (r == 0) {
		if (!how->json)
			reclaim_print_head();
		r = hear(&run, target, note);
		/* Waited for, so that nothing is left when we end. */
		umem_client_detach(owner, target, NULL);
		if ((r == STOP || r == UMEM_GONE) && reclaim_print_done(&run.total,
			run.any ? &run.report : NULL, how->json) < 0)
			r = -EIO;
	}
	umem_client_free(owner);
	umem_fd_close(run.pidfd);
	return r == STOP ? 0 : r;
}
