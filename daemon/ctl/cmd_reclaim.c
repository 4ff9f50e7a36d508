// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl reclaim: put out what is cold, interval after interval. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/reclaim_print.h"
#include "daemon/ctl/reclaim_remote.h"
#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/parse.h"

#define VERB "reclaim"

/* What was decided for an interval is put out in so many pieces, spread over it. */
#define PIECES 25

/* A piece is at least this large. */
#define PIECE_BYTES_MIN (1u << 20)

/**
 * struct job - one run of the verb.
 * @ctl: global options.
 * @options: what was asked for.
 * @connect: socket of the daemon that is to do it; NULL: this process does.
 * @pids: --, the processes.
 * @duration_ns: end after this long; 0 means never.
 * @signals: descriptor of ctl_signals().
 * @total: so far.
 */
struct job {
	const struct ctl_options *ctl;
	const char *connect;
	struct umem_reclaim_options options;
	int *pids;
	uint64_t duration_ns;
	int signals;
	struct reclaim_total total;
};

static void print_help(void)
{
	puts("umemctl reclaim PID...|--cgroup PATH|--name GLOB [OPTION]...\n\n"
	     "Puts out (MADV_PAGEOUT) what of the memory of processes is not in use, interval\n"
	     "after interval, and watches what comes back: when that is too much, it holds\n"
	     "still. Reads nothing in. Ends cleanly on Ctrl-C; what is out stays out until\n"
	     "it is used (or see umemctl pagein).\n\n"
	     "  --policy probe       (default) puts memory on trial (in swap, and in memory\n"
	     "                       still), or small samples out, and looks what is used;\n"
	     "                       the rest goes only where nearly nothing is\n"
	     "  --policy age         what was not written for --age; watches writes\n"
	     "  --policy pressure    as probe, as much as the tasks do not stand still for\n"
	     "  --age TIME           for the policy age (default 2m)\n"
	     "  --interval TIME      between two decisions (default 5s)\n"
	     "  --refault-max PCT/min|off\n"
	     "                       what may come back a minute, as a share of what is out\n"
	     "                       (default 0.2%/min)\n"
	     "  --pressure-max PCT   share of time that tasks may wait for memory (0.1%); of\n"
	     "                       the machine only if given, or with the policy pressure\n"
	     "  --rate SIZE/s        at most so much a second\n"
	     "  --floor SIZE         leave so much of it resident\n"
	     "  --cpu-max PCT        of one processor, for this program (default 2%)\n"
	     "  --swap-left SIZE     leave so much swap free (default 64M)\n"
	     "  --duration TIME      end after this long (default: never)\n"
	     "  --dry-run            decide and say it, but do nothing\n"
	     "  --seed N             of the choice of samples, to repeat a run");
}

static void drop_suffix(char *text, const char *suffix)
{
	size_t len = strlen(text), end = strlen(suffix);

	if (len > end && strcmp(text + len - end, suffix) == 0)
		text[len - end] = '\0';
}

static int parse_policy(struct job *job, const char *word)
{
	static const struct {
		const char *name;
		enum umem_policy policy;
	} names[] = { { "age", UMEM_POLICY_AGE }, { "probe", UMEM_POLICY_PROBE },
		{ "pressure", UMEM_POLICY_PRESSURE } };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(names); i++) {
		if (strcmp(word, names[i].name) == 0) {
			job->options.policy = names[i].policy;
			return CTL_DONE;
		}
	}
	return ctl_usage(VERB, "there is no policy \"%s\"; take age, probe or pressure", word);
}

static int parse_refaults(struct job *job, char *word)
{
	if (strcmp(word, "off") == 0) {
		job->options.refault_max_ppm_min = UINT64_MAX;
		return CTL_DONE;
	}
	drop_suffix(word, "/min");
	if (umem_parse_percent(word, &job->options.refault_max_ppm_min) < 0 ||
		job->options.refault_max_ppm_min == 0)
		return ctl_usage(VERB, "\"%s\" is no share a minute; take one like 0.2%%/min, "
			"or off", word);
	return CTL_DONE;
}

static int parse_percent(const char *option, const char *word, uint64_t *ret_ppm)
{
	if (umem_parse_percent(word, ret_ppm) < 0 || *ret_ppm == 0)
		return ctl_usage(VERB, "%s \"%s\" is no share; take one like 0.5%%", option, word);
	return CTL_DONE;
}

static int parse_size(const char *option, char *word, uint64_t *ret_bytes)
{
	if (umem_parse_size(word, ret_bytes) < 0)
		return ctl_usage(VERB, "%s \"%s\" is no size; take one like 64M", option, word);
	return CTL_DONE;
}

static int parse_time(const char *option, const char *word, uint64_t least_ns,
	uint64_t *ret_ns)
{
	if (umem_parse_time(word, ret_ns) < 0 || *ret_ns < least_ns)
		return ctl_usage(VERB, "%s \"%s\" is no time of at least %llums; take one like 5s",
			option, word, (unsigned long long)(least_ns / 1000000));
	return CTL_DONE;
}

enum { O_POLICY = 256, O_AGE, O_INTERVAL, O_REFAULT, O_PRESSURE, O_RATE, O_FLOOR, O_CPU, O_SWAP,
	O_DURATION, O_DRY, O_SEED, O_CGROUP, O_NAME };

static const struct option longs[] = {
	{ "policy", required_argument, NULL, O_POLICY },
	{ "age", required_argument, NULL, O_AGE },
	{ "interval", required_argument, NULL, O_INTERVAL },
	{ "refault-max", required_argument, NULL, O_REFAULT },
	{ "pressure-max", required_argument, NULL, O_PRESSURE },
	{ "rate", required_argument, NULL, O_RATE },
	{ "floor", required_argument, NULL, O_FLOOR },
	{ "cpu-max", required_argument, NULL, O_CPU },
	{ "swap-left", required_argument, NULL, O_SWAP },
	{ "duration", required_argument, NULL, O_DURATION },
	{ "dry-run", no_argument, NULL, O_DRY },
	{ "seed", required_argument, NULL, O_SEED },
	{ "cgroup", required_argument, NULL, O_CGROUP },
	{ "name", required_argument, NULL, O_NAME },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* Return: CTL_DONE, or the exit code of what was said. */
static int parse_option(struct job *job, int opt, char *word)
{
	struct umem_reclaim_options *o = &job->options;

	switch (opt) {
	case O_POLICY:
		return parse_policy(job, word);
	case O_AGE:
		return parse_time("--age", word, 1, &o->age_ns);
	case O_INTERVAL:
		return parse_time("--interval", word, 100000000, &o->interval_ns);
	case O_REFAULT:
		return parse_refaults(job, word);
	case O_PRESSURE:
		o->machine_pressure = true;
		return parse_percent("--pressure-max", word, &o->pressure_max_ppm);
	case O_RATE:
		drop_suffix(word, "/s");
		return parse_size("--rate", word, &o->limits.rate_bytes_s);
	case O_FLOOR:
		return parse_size("--floor", word, &o->limits.floor_bytes);
	case O_CPU:
		return parse_percent("--cpu-max", word, &o->limits.cpu_max_ppm);
	case O_SWAP:
		return parse_size("--swap-left", word, &o->limits.swap_min_bytes);
	case O_DURATION:
		return parse_time("--duration", word, 1, &job->duration_ns);
	case O_DRY:
		o->dry_run = true;
		return CTL_DONE;
	case O_SEED:
		return umem_parse_u64(word, &o->seed) < 0 ?
			ctl_usage(VERB, "--seed \"%s\" is no number", word) : CTL_DONE;
	case O_CGROUP:
		o->cgroup = word;
		return CTL_DONE;
	case O_NAME:
		o->name = word;
		return CTL_DONE;
	default:
		fputs("Try 'umemctl reclaim --help'.\n", stderr);
		return CTL_USAGE;
	}
}

static int parse_targets(struct job *job, int argc, char **argv)
{
	struct umem_reclaim_options *o = &job->options;
	int n = argc - optind, ways = (n > 0) + (o->cgroup != NULL) + (o->name != NULL);

	if (ways == 0)
		return ctl_usage(VERB, "give ids of processes, --cgroup PATH or --name GLOB");
	if (ways > 1)
		return ctl_usage(VERB, "ids of processes, --cgroup and --name are three ways to "
			"name targets; take one");
	/* A target of umemd is one process. */
	job->connect = n == 1 || !job->ctl->usual ? job->ctl->connect : NULL;
	if (job->connect && n != 1)
		return ctl_usage(VERB, "umemd reclaims from one process, by its id; take "
			"--embedded for several, and for --cgroup and --name");
	if (n == 0)
		return CTL_DONE;
	job->pids = calloc((size_t)n, sizeof(*job->pids));
	if (!job->pids)
		return ctl_failed(VERB, -ENOMEM, &(struct umem_note){ 0 });
	for (int i = 0; i < n; i++) {
		int r = ctl_pid(VERB, argv[optind + i], &job->pids[i]);

		if (r != CTL_DONE)
			return r;
	}
	o->pids = job->pids;
	o->n_pids = (size_t)n;
	return CTL_DONE;
}

/* What a wait ended with. */
enum wake { WAKE_END, WAKE_TIME };

static enum wake wait_until(const struct job *job, uint64_t due_ns)
{
	struct pollfd fds[] = {
		{ .fd = job->signals, .events = POLLIN },
		{ .fd = STDOUT_FILENO }, /* an error: nobody reads any more */
	};

	for (;;) {
		uint64_t now_ns = umem_now_ns(), left_ns = now_ns < due_ns ? due_ns - now_ns : 0;
		struct timespec wait = { (time_t)(left_ns / 1000000000u),
			(long)(left_ns % 1000000000u) };
		int n = ppoll(fds, UMEM_ARRAY_LEN(fds), &wait, NULL);

		if (n > 0)
			return WAKE_END;
		if (n == 0)
			return WAKE_TIME;
	}
}

/* Put out what was decided, spread over the interval. Return: WAKE_END, WAKE_TIME or -errno. */
static int work(struct job *job, struct umem_reclaim *reclaim, uint64_t want_bytes,
	uint64_t start_ns, uint64_t end_ns)
{
	uint64_t piece = umem_max_u64(want_bytes / PIECES, PIECE_BYTES_MIN);
	bool more = want_bytes > 0;

	for (uint64_t i = 1; more; i++) {
		int r = umem_reclaim_work(reclaim, piece, &more);

		if (r < 0)
			return r;
		if (wait_until(job, umem_min_u64(end_ns,
			    start_ns + job->options.interval_ns / (PIECES + 1) * i)) == WAKE_END)
			return WAKE_END;
		if (umem_now_ns() >= end_ns)
			break;
	}
	return wait_until(job, end_ns);
}

static int run_intervals(struct job *job, struct umem_reclaim *reclaim, struct umem_note *note)
{
	uint64_t start_ns = umem_now_ns();
	uint64_t stop_ns = job->duration_ns ? start_ns + job->duration_ns : UINT64_MAX;
	const struct umem_reclaim_report *report = NULL;
	bool last = false;
	int r;

	if (!job->ctl->json)
		reclaim_print_head();
	for (;;) {
		uint64_t end_ns;

		r = umem_reclaim_look(reclaim, &report, note);
		if (r < 0)
			return r;
		reclaim_count(&job->total, report);
		if (reclaim_print_events(report, job->ctl->json) < 0 ||
			reclaim_print_interval(report, job->ctl->json) < 0 || ctl_flush() < 0)
			return -EIO;
		if (r == UMEM_GONE || last || report->at_ns >= stop_ns)
			break;
		end_ns = umem_min_u64(report->at_ns + job->options.interval_ns, stop_ns);
		r = work(job, reclaim, report->sum.want_bytes + report->sum.try_bytes,
			report->at_ns, end_ns);
		if (r < 0)
			return r;
		/* One more look, so that the end of it is told, too. */
		last = r == WAKE_END;
	}
	if (reclaim_print_done(&job->total, report, job->ctl->json) < 0)
		return -EIO;
	return r;
}

static int run_here(struct job *job, struct umem_note *note)
{
	UMEM_CLEANUP(umem_reclaim_freep) struct umem_reclaim *reclaim = NULL;
	int r = umem_reclaim_new(&job->options, &reclaim, note);

	return r == 0 ? run_intervals(job, reclaim, note) : r;
}

static int run(struct job *job)
{
	struct umem_note note = { 0 };
	const struct reclaim_remote remote = {
		.path = job->connect,
		.json = job->ctl->json,
		.duration_ns = job->duration_ns,
		.signals = job->signals,
	};
	int r = job->connect ? reclaim_by_daemon(&remote, &job->options, &note) :
			       run_here(job, &note);

	return r == 0 ? CTL_DONE : ctl_ended(VERB, r, &note);
}

int cmd_reclaim(const struct ctl_options *options, int argc, char **argv)
{
	struct job job = {
		.ctl = options,
		.options = {
			.policy = UMEM_POLICY_PROBE,
			.interval_ns = 5000000000u,
			.refault_max_ppm_min = 2000,
			.pressure_max_ppm = 1000,
			.limits = UMEM_LIMITS_CONF_DEFAULT,
			.seed = umem_now_ns(),
			.features = ctl_attach_options().feature_override,
		},
		.signals = -1,
	};
	int opt, r = CTL_DONE;

	while (r == CTL_DONE && (opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (opt == 'h') {
			print_help();
			return CTL_DONE;
		}
		r = parse_option(&job, opt, optarg);
	}
	if (r == CTL_DONE)
		r = parse_targets(&job, argc, argv);
	job.options.machine_pressure |= job.options.policy == UMEM_POLICY_PRESSURE;
	if (r == CTL_DONE) {
		/* Whatever we do can wait for the targets. */
		setpriority(PRIO_PROCESS, 0, 19);
		r = ctl_signals(&job.signals);
		r = r < 0 ? ctl_failed(VERB, r, &(struct umem_note){ 0 }) : run(&job);
	}
	umem_fd_close(job.signals);
	free(job.pids);
	return r;
}
