// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl doctor: what this kernel, and a process, allow. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "daemon/ctl/doctor.h"
#include "lib/base/note.h"
#include "lib/track/track.h"

#define VERB "doctor"

/* Where the text begins, behind the state and the longest name. */
#define TEXT_COLUMN 39

static void print_help(void)
{
	puts("umemctl doctor [--pid PID]\n\n"
	     "Tries on scratch memory every kernel behaviour that umemd relies on, and says\n"
	     "what each enables and how to get it. Blind spots are changes of memory that\n"
	     "this kernel does not report, with what is done about them.\n\n"
	     "  --pid PID   also examine a process, without stopping it: can it be attached\n"
	     "              to, what can be tracked, who may write it unseen, who shares it\n\n"
	     "Exit status 0 if dirty tracking works here (and, with --pid, for that process),\n"
	     "4 if the kernel lacks what it takes, else what 'umemctl dirty' would end with.\n"
	     "UMEM_FEATURES=-name,+name overrides what was found.");
}

static const char *state_of(const struct umem_feats *feats, enum umem_feat feat)
{
	uint64_t bit = UMEM_FEAT_BIT(feat);

	if (feats->unknown & bit)
		return "unknown";
	if (UMEM_FEATS_BLIND_SPOTS & bit)
		return feats->found & bit ? "blind" : "sees";
	return feats->found & bit ? "found" : "missing";
}

static void print_row(const struct umem_feats *feats, enum umem_feat feat)
{
	const struct umem_feat_info *info = umem_feat_info(feat);
	uint64_t bit = UMEM_FEAT_BIT(feat);
	bool blind_spot = UMEM_FEATS_BLIND_SPOTS & bit;
	bool wanting = !(feats->found & bit) != blind_spot || (feats->unknown & bit);
	char text[256];

	printf("  %-8s %-27s ", state_of(feats, feat), info->name);
	ctl_wrap(info->enables, TEXT_COLUMN, TEXT_COLUMN);
	if (wanting && strcmp(info->how_to_get, "nothing yet") != 0) {
		snprintf(text, sizeof(text), "%s: %s", blind_spot ? "cure" : "get it",
			info->how_to_get);
		printf("%*s", TEXT_COLUMN, "");
		ctl_wrap(text, TEXT_COLUMN, TEXT_COLUMN + 2);
	}
	if (feats->detail[feat][0]) {
		snprintf(text, sizeof(text), "(%s)", feats->detail[feat]);
		printf("%*s", TEXT_COLUMN, "");
		ctl_wrap(text, TEXT_COLUMN, TEXT_COLUMN + 1);
	}
}

static void print_features_table(const struct umem_feats *feats)
{
	static const struct {
		enum umem_feat first;
		const char *title;
	} groups[] = {
		{ UMEM_FEAT_USERFAULTFD, "Dirty tracking" },
		{ UMEM_FEAT_PINNED_UNSEEN,
			"Blind spots (changes that the kernel does not report), and what is done" },
		{ UMEM_FEAT_PIDFD_GETFD, "Reaching a process" },
		{ UMEM_FEAT_UFFD_EVENTS, "Serving faults" },
		{ UMEM_FEAT_PROCESS_MADVISE, "Residency and reclaim" },
	};

	for (size_t i = 0; i < UMEM_N_FEATS; i++) {
		for (size_t k = 0; k < UMEM_ARRAY_LEN(groups); k++)
			if ((size_t)groups[k].first == i)
				printf("%s%s\n", i ? "\n" : "", groups[k].title);
		print_row(feats, (enum umem_feat)i);
	}
}

static int print_features_json(const struct umem_feats *feats)
{
	int r = 0;

	for (size_t i = 0; i < UMEM_N_FEATS && r == 0; i++) {
		const struct umem_feat_info *info = umem_feat_info((enum umem_feat)i);
		struct umem_json *line = umem_json_object();
		uint64_t bit = UMEM_FEAT_BIT(i);

		umem_json_set_text(line, "event", "feature");
		umem_json_set_text(line, "name", info->name);
		if (feats->unknown & bit)
			umem_json_set_null(line, "found");
		else
			umem_json_set_bool(line, "found", feats->found & bit);
		umem_json_set_bool(line, "blind_spot", UMEM_FEATS_BLIND_SPOTS & bit);
		umem_json_set_text(line, "enables", info->enables);
		umem_json_set_text(line, "how_to_get", info->how_to_get);
		umem_json_set_text(line, "detail", feats->detail[i]);
		r = umem_json_write_consume(stdout, line);
	}
	return r;
}

static struct umem_json *json_names(uint64_t mask)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < UMEM_N_FEATS; i++)
		if (mask & UMEM_FEAT_BIT(i))
			umem_json_append_consume(list,
				umem_json_text(umem_feat_info((enum umem_feat)i)->name));
	return list;
}

static int print_verdict_json(const struct umem_feats *feats, const char *tracker,
	const struct doctor_target *target)
{
	struct umem_json *line = umem_json_object();
	const struct umem_obstacle *blocked = target ? doctor_target_blocked(target) : NULL;

	umem_json_set_text(line, "event", "verdict");
	umem_json_set_bool(line, "tracking", tracker && !blocked);
	if (tracker)
		umem_json_set_text(line, "tracker", tracker);
	else
		umem_json_set_null(line, "tracker");
	umem_json_set_consume(line, "missing",
		json_names(~feats->found & ~feats->unknown & ~UMEM_FEATS_BLIND_SPOTS));
	umem_json_set_consume(line, "unknown", json_names(feats->unknown));
	umem_json_set_consume(line, "blind_spots",
		json_names(feats->found & UMEM_FEATS_BLIND_SPOTS));
	if (!target)
		return umem_json_write_consume(stdout, line);
	umem_json_set_u64(line, "pid", (uint64_t)target->survey->target->pid);
	umem_json_set_bool(line, "attachable", !blocked);
	umem_json_set_u64(line, "trackable_bytes", target->trackable_bytes);
	umem_json_set_bool(line, "complete", target->why.n == 0 && tracker && !blocked);
	umem_json_set_consume(line, "incomplete",
		ctl_json_reasons(target->why.v, target->why.n));
	return umem_json_write_consume(stdout, line);
}

static void print_verdict_table(const char *tracker, const struct doctor_target *target)
{
	const struct umem_obstacle *blocked = target ? doctor_target_blocked(target) : NULL;
	char size[16];

	putchar('\n');
	if (!tracker) {
		ctl_wrap("Dirty tracking does not work here: it takes uffd_wp_async and "
			 "pagemap_scan, or soft_dirty.", 0, 0);
		return;
	}
	if (!target)
		printf("Dirty tracking works here, by %s.\n", tracker);
	else if (blocked)
		printf("Dirty tracking of pid %d is not possible now.\n",
			target->survey->target->pid);
	else
		printf("Dirty tracking of pid %d works for %s, by %s.\n",
			target->survey->target->pid, ctl_size(size, target->trackable_bytes),
			tracker);
	if (target && !blocked && target->why.n) {
		puts("Its rounds will not be complete:");
		for (size_t i = 0; i < target->why.n; i++)
			ctl_print_reason("", &target->why.v[i]);
	}
}

static int print_all(const struct ctl_options *options, const struct umem_feats *feats,
	const struct doctor_target *target)
{
	const char *tracker = umem_tracker_choice(feats);
	int r = 0;

	if (options->json) {
		r = print_features_json(feats);
		if (r == 0 && target)
			r = doctor_target_json(target);
		if (r == 0)
			r = print_verdict_json(feats, tracker, target);
	} else {
		print_features_table(feats);
		if (target)
			r = doctor_target_table(target);
		if (r == 0)
			print_verdict_table(tracker, target);
	}
	return r < 0 ? r : ctl_flush();
}

static int run(const struct ctl_options *options, int pid)
{
	UMEM_CLEANUP(umem_survey_freep) struct umem_survey *survey = NULL;
	struct umem_attach_options attach = ctl_attach_options();
	const struct umem_obstacle *blocked;
	UMEM_CLEANUP(doctor_target_deinit) struct doctor_target target = { 0 };
	struct umem_feats feats;
	struct umem_note note = { 0 };
	int r = umem_feats_probe(&feats);

	if (r == 0)
		r = umem_feats_override(&feats, attach.feature_override);
	if (r == -EINVAL)
		umem_note_set(&note, r, 0,
			"UMEM_FEATURES=\"%s\" is no list of +name and -name; umemctl doctor "
			"lists the names", attach.feature_override);
	if (r == 0 && pid)
		r = umem_survey_new(pid, &attach, &survey, &note);
	if (r == 0 && pid)
		r = doctor_target_examine(survey, &feats, &target);
	if (r == 0)
		r = print_all(options, &feats, pid ? &target : NULL);
	if (r != 0)
		return ctl_ended(VERB, r, &note);
	if (!umem_tracker_choice(&feats))
		return ctl_failed(VERB, umem_target_check_kernel(&feats, &note), &note);
	blocked = pid ? doctor_target_blocked(&target) : NULL;
	if (!blocked)
		return CTL_DONE;
	umem_note_set(&note, blocked->err, 0, "%s", blocked->text);
	return ctl_failed(VERB, blocked->err, &note);
}

int cmd_doctor(const struct ctl_options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pid", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int pid = 0, opt, r;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (opt) {
		case 'h':
			print_help();
			return CTL_DONE;
		case 'p':
			r = ctl_pid(VERB, optarg, &pid);
			if (r != CTL_DONE)
				return r;
			break;
		default:
			fputs("Try 'umemctl doctor --help'.\n", stderr);
			return CTL_USAGE;
		}
	}
	if (optind < argc)
		return ctl_usage(VERB, "\"%s\" is one word too many; a process is given by --pid",
			argv[optind]);
	return run(options, pid);
}
