// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl doctor --pid: what one process allows. */
#include <inttypes.h>
#include <string.h>

#include "daemon/ctl/doctor.h"

#define MAX_KINDS 64

/* Regions of one kind that can be watched, or cannot for one reason. */
struct kind_sum {
	enum umem_kind kind;
	const char *reason;
	uint64_t regions;
	uint64_t bytes;
};

struct kind_sums {
	struct kind_sum v[MAX_KINDS];
	size_t n;
};

static void sum(const struct umem_survey *survey, struct kind_sums *ret_sums)
{
	const struct umem_space *space = &survey->target->space;
	struct kind_sums *s = ret_sums;

	s->n = 0;
	for (size_t i = 0; i < space->n; i++) {
		const struct umem_region *g = &space->v[i];
		const char *reason = umem_survey_untrackable(survey, g);
		size_t k = 0;

		/* Reasons are static texts: equal means the same. */
		while (k < s->n && (s->v[k].kind != g->kind || s->v[k].reason != reason))
			k++;
		if (k == MAX_KINDS)
			continue;
		if (k == s->n)
			s->v[s->n++] = (struct kind_sum){ .kind = g->kind, .reason = reason };
		s->v[k].regions++;
		s->v[k].bytes += g->end - g->start;
	}
}

static bool known_place(const struct umem_pin *pin)
{
	return pin->range.end != UINT64_MAX;
}

void doctor_target_deinit(struct doctor_target *target)
{
	umem_reasons_deinit(&target->why);
}

/* What makes rounds incomplete in this region, as far as it can be foreseen. */
static int examine_region(struct doctor_target *t, const struct umem_region *g, bool map_files)
{
	const char *reason = umem_survey_untrackable(t->survey, g);
	bool own = g->kind != UMEM_KIND_KERNEL && g->kind != UMEM_KIND_KERNEL_SHARED;
	bool read_only = umem_kind_shared(g->kind) && !(g->vma_flags & UMEM_VMA_WRITE);

	if (!reason)
		t->trackable_bytes += g->end - g->start;
	if (reason && own && !read_only)
		return umem_reasons_add(&t->why, g->start, g->end, "not tracked: %s", reason);
	if (!reason && umem_kind_shared(g->kind) && !map_files)
		return umem_reasons_add(&t->why, g->start, g->end,
			"holes punched in it cannot be seen (needs CAP_CHECKPOINT_RESTORE)");
	return 0;
}

int doctor_target_examine(struct umem_survey *survey, const struct umem_feats *feats,
	struct doctor_target *t)
{
	const struct umem_space *space = &survey->target->space;
	int r;

	t->survey = survey;
	r = umem_obstacles_find(survey->target, feats, &t->obstacles);
	for (size_t i = 0; i < space->n && r == 0; i++)
		r = examine_region(t, &space->v[i], umem_feats_has(feats, UMEM_FEAT_MAP_FILES));
	for (size_t i = 0; i < survey->pins.n && r == 0; i++)
		if (!known_place(&survey->pins.v[i]))
			r = umem_reasons_add(&t->why, 0, UINT64_MAX,
				"pinned, may be written without a fault: %s (%s)",
				umem_pin_kind_name(survey->pins.v[i].kind),
				survey->pins.v[i].what);
	for (size_t i = 0; i < survey->sharers.n && r == 0; i++) {
		const struct umem_survey_sharer *s = &survey->sharers.v[i];

		for (size_t k = 0; k < s->written.n && r == 0; k++)
			r = umem_reasons_add(&t->why, s->written.v[k].start,
				s->written.v[k].end,
				"pid %d (%s) maps it too and may write it; --sharers tracks it "
				"as well", s->pid, s->comm);
	}
	if (r == 0 && survey->pins_hidden)
		r = umem_reasons_add(&t->why, 0, UINT64_MAX,
			"who has its memory pinned may not be looked at");
	return r;
}

const struct umem_obstacle *doctor_target_blocked(const struct doctor_target *target)
{
	const struct umem_obstacles *list = &target->obstacles;

	return list->n && list->v[0].err ? &list->v[0] : NULL;
}

/* One thing that may write unseen. */
struct unseen {
	uint64_t start;
	uint64_t end;
	const char *by;
	const char *detail;
	const char *handling;
};

/* Call @each for everything that may write memory of the target unseen. */
static int each_unseen(const struct umem_survey *survey,
	int (*each)(const struct unseen *unseen))
{
	const struct umem_space *space = &survey->target->space;
	int r = 0;

	for (size_t i = 0; i < survey->pins.n && r == 0; i++) {
		const struct umem_pin *pin = &survey->pins.v[i];

		r = each(&(struct unseen){ pin->range.start, pin->range.end,
			umem_pin_kind_name(pin->kind), pin->what,
			known_place(pin) ? "in every round" : "rounds are incomplete" });
	}
	for (size_t i = 0; i < space->n && r == 0; i++) {
		const struct umem_region *g = &space->v[i];

		if (g->kind == UMEM_KIND_KERNEL_SHARED)
			r = each(&(struct unseen){ g->start, g->end, "the kernel", g->name,
				"in every round" });
		else if (g->kind == UMEM_KIND_DEVICE)
			r = each(&(struct unseen){ g->start, g->end, "a device", g->name,
				"rounds are incomplete" });
	}
	if (r == 0 && survey->pins.direct_io)
		r = each(&(struct unseen){ 0, UINT64_MAX, "direct I/O",
			"an io_uring, or a file opened with O_DIRECT",
			"written pages are in two rounds" });
	if (r == 0 && survey->pins_hidden)
		r = each(&(struct unseen){ 0, UINT64_MAX, "unknown", "descriptors may not be "
			"looked at", "rounds are incomplete" });
	return r;
}

static int unseen_json(const struct unseen *u)
{
	struct umem_json *line = umem_json_object();

	umem_json_set_text(line, "event", "unseen");
	umem_json_set_addr(line, "start", u->start);
	umem_json_set_addr(line, "end", u->end);
	umem_json_set_text(line, "by", u->by);
	umem_json_set_text(line, "detail", u->detail);
	umem_json_set_text(line, "handling", u->handling);
	return umem_json_write_consume(stdout, line);
}

static struct umem_json *json_obstacles(const struct umem_obstacles *list)
{
	struct umem_json *array = umem_json_array();

	for (size_t i = 0; i < list->n; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_text(item, "what", list->v[i].what);
		umem_json_set_bool(item, "blocks", list->v[i].err != 0);
		umem_json_set_text(item, "text", list->v[i].text);
		umem_json_append_consume(array, item);
	}
	return array;
}

static int kind_json(const struct kind_sum *s)
{
	struct umem_json *line = umem_json_object();

	umem_json_set_text(line, "event", "memory");
	umem_json_set_text(line, "kind", umem_kind_name(s->kind));
	umem_json_set_bool(line, "trackable", !s->reason);
	if (s->reason)
		umem_json_set_text(line, "reason", s->reason);
	else
		umem_json_set_null(line, "reason");
	umem_json_set_u64(line, "regions", s->regions);
	umem_json_set_u64(line, "bytes", s->bytes);
	return umem_json_write_consume(stdout, line);
}

static int sharer_json(const struct umem_survey_sharer *s)
{
	struct umem_json *line = umem_json_object();

	umem_json_set_text(line, "event", "sharer");
	umem_json_set_u64(line, "pid", (uint64_t)s->pid);
	umem_json_set_text(line, "name", s->comm);
	umem_json_set_bool(line, "writes", s->written.n > 0);
	umem_json_set_u64(line, "mapped_bytes", umem_ranges_bytes(&s->mapped));
	umem_json_set_u64(line, "writable_bytes", umem_ranges_bytes(&s->written));
	umem_json_set_consume(line, "ranges", ctl_json_ranges(&s->mapped));
	return umem_json_write_consume(stdout, line);
}

int doctor_target_json(const struct doctor_target *target)
{
	const struct umem_survey *survey = target->survey;
	struct umem_json *line = umem_json_object();
	struct kind_sums sums;
	int r;

	umem_json_set_text(line, "event", "target");
	umem_json_set_u64(line, "pid", (uint64_t)survey->target->pid);
	umem_json_set_text(line, "name", survey->comm);
	umem_json_set_bool(line, "attachable", !doctor_target_blocked(target));
	umem_json_set_consume(line, "obstacles", json_obstacles(&target->obstacles));
	umem_json_set_u64(line, "hidden_processes", survey->sharers.n_hidden);
	r = umem_json_write_consume(stdout, line);
	sum(survey, &sums);
	for (size_t i = 0; i < sums.n && r == 0; i++)
		r = kind_json(&sums.v[i]);
	if (r == 0)
		r = each_unseen(survey, unseen_json);
	for (size_t i = 0; i < survey->sharers.n && r == 0; i++)
		r = sharer_json(&survey->sharers.v[i]);
	return r;
}

static int unseen_table(const struct unseen *u)
{
	char text[512], detail[256];

	ctl_clean(detail, sizeof(detail), u->detail, 200);
	if (u->end == UINT64_MAX)
		snprintf(text, sizeof(text), "%s (%s): %s", u->by, detail, u->handling);
	else
		snprintf(text, sizeof(text), "%" PRIx64 "-%" PRIx64 " %s (%s): %s", u->start,
			u->end, u->by, detail, u->handling);
	printf("  ");
	ctl_wrap(text, 2, 4);
	return 0;
}

static void sharers_table(const struct umem_survey *survey)
{
	char text[256], name[64], size[16];
	size_t readers = 0;

	puts("Who shares its memory");
	for (size_t i = 0; i < survey->sharers.n; i++) {
		const struct umem_survey_sharer *s = &survey->sharers.v[i];

		if (s->written.n == 0) {
			readers++;
			continue;
		}
		snprintf(text, sizeof(text), "pid %d (%s) may write %s of it: track it with "
			"--sharers", s->pid, ctl_clean(name, sizeof(name), s->comm, 0),
			ctl_size(size, umem_ranges_bytes(&s->written)));
		printf("  ");
		ctl_wrap(text, 2, 4);
	}
	if (readers)
		printf("  %zu process%s map%s parts of it, but cannot write\n", readers,
			readers == 1 ? "" : "es", readers == 1 ? "s" : "");
	if (survey->sharers.n_hidden)
		printf("  not known: %" PRIu64 " process%s may not be looked at\n",
			survey->sharers.n_hidden, survey->sharers.n_hidden == 1 ? "" : "es");
	else if (survey->sharers.n == 0)
		puts("  nobody");
}

int doctor_target_table(const struct doctor_target *target)
{
	const struct umem_survey *survey = target->survey;
	char name[64], size[16];
	struct kind_sums sums;

	printf("\nProcess %d (%s)\n", survey->target->pid,
		ctl_clean(name, sizeof(name), survey->comm, 0));
	printf("  can be attached to: %s\n", doctor_target_blocked(target) ? "NO" : "yes");
	for (size_t i = 0; i < target->obstacles.n; i++) {
		printf("    ");
		ctl_wrap(target->obstacles.v[i].text, 4, 6);
	}
	sum(survey, &sums);
	printf("\n  %-15s %8s %8s  %s\n", "KIND", "REGIONS", "SIZE", "TRACKABLE");
	for (size_t i = 0; i < sums.n; i++) {
		const struct kind_sum *s = &sums.v[i];
		int column = printf("  %-15s %8" PRIu64 " %8s  ", umem_kind_name(s->kind),
			s->regions, ctl_size(size, s->bytes));

		if (s->reason)
			column += printf("no: ");
		ctl_wrap(s->reason ? s->reason : "yes", column, column);
	}
	puts("\nWho may write it unseen");
	if (survey->pins.n == 0 && !survey->pins.direct_io && !survey->pins_hidden)
		puts("  nobody known, besides what is listed here");
	each_unseen(survey, unseen_table);
	putchar('\n');
	sharers_table(survey);
	return 0;
}
