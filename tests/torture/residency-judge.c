// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The judgement: answers of the engine beside the truth, page by page.
 *
 * Theory of operation
 *
 * The truth is looked up before and after a question. A page that was alike
 * both times must be so in the answer, where that says that it is exact. When
 * pages moved (reclaim, the machine's own DAMON), the question is asked again.
 * What the kernel moves on its own also shows in faults, page tables and sums
 * of smaps, so these are held against the answer only when the footprint of
 * one of a few attempts did not change; a query that changes it does so each
 * time.
 */
#include <stdarg.h>
#include <unistd.h>

#include "tests/lib/harness.h"
#include "tests/torture/residency.h"

#define ATTEMPTS 12

static const char *way_name(size_t way, char text[96])
{
	snprintf(text, 96, "%s%s%s", cast_ways[way].method ? cast_ways[way].method : "(any)",
		cast_ways[way].features ? " " : "",
		cast_ways[way].features ? cast_ways[way].features : "");
	return text;
}

static bool complain(struct cast *c, unsigned who, size_t way, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static bool complain(struct cast *c, unsigned who, size_t way, const char *fmt, ...)
{
	char name[96];
	va_list args;

	fprintf(stderr, "%s\nFAIL: SEED=%llu residency-oracle --seeds 1 --rounds %u --steps %u%s: "
		"round %u actor %u (pid %d) by %s: ", c->log, (unsigned long long)c->seed,
		c->options->rounds, c->options->steps, c->options->nobody ? " --nobody" : "",
		c->round, who, (int)c->actors[who].pid, way_name(way, name));
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs("\n", stderr);
	return false;
}

static bool is_disk_shared(const struct cast *c, const struct cast_area *a)
{
	return a->object >= 0 && a->shared && c->objects[a->object].backing == BACK_DISK;
}

static const struct cast_area *area_at(const struct cast *c, unsigned who, uint64_t at)
{
	const struct cast_area *a = &c->actors[who].areas[(at - ARENA_AT) / SLOT_BYTES];

	return a->pages && at >= a->at && at < a->at + a->pages * PAGE ? a : NULL;
}

/* Do the sums of a region fit what is said of its pages? */
static bool sums_fit(const struct cast_answer *answer, const struct cast_region *region)
{
	uint64_t bytes[UMEM_N_STATES] = { 0 };

	for (uint64_t at = region->start; at < region->end; at += PAGE) {
		unsigned char state = answer->state[(at - ARENA_AT) / PAGE];

		if (state >= UMEM_N_STATES)
			return false;
		bytes[state] += PAGE;
	}
	return memcmp(bytes, region->bytes, sizeof(bytes)) == 0 &&
		region->io_bytes <= bytes[UMEM_STATE_SWAPPED];
}

/**
 * struct inquiry - one question, and what was so before and after it.
 * @swap: what there was of swap areas before; @swap_after: and after.
 * @moved: pages that were not alike.
 * @last: it will not be asked again.
 */
struct inquiry {
	unsigned who;
	size_t way;
	const struct cast_answer *answer;
	const struct cast_truth *before;
	const struct cast_truth *after;
	enum cast_swap swap;
	enum cast_swap swap_after;
	uint64_t moved;
	bool last;
};

static bool judge_page(struct cast *c, struct inquiry *q, const struct cast_region *region,
	uint64_t at)
{
	uint64_t i = (at - ARENA_AT) / PAGE;
	unsigned char said = q->answer->state[i], was = q->before->state[i];
	const struct cast_area *a = area_at(c, q->who, at);

	if (!a)
		return complain(c, q->who, q->way, "%#llx is not mapped", (unsigned long long)at);
	if (was != q->after->state[i]) {
		q->moved++;
		return true;
	}
	c->tally.pages++;
	c->tally.states[was]++;
	if (said == was)
		return true;
	return complain(c, q->who, q->way, "page %llu of %#llx (object %d, offset %llu, %s) is "
		"said to be %s, but is %s (entry %s, object %s); region %#llx-%#llx %s by %s",
		(unsigned long long)(at - a->at) / PAGE, (unsigned long long)a->at, a->object,
		(unsigned long long)a->offset, a->shared ? "shared" : "private",
		umem_state_name((enum umem_state)said), umem_state_name((enum umem_state)was),
		umem_state_name((enum umem_state)q->before->entry[i]),
		umem_state_name((enum umem_state)q->before->object[i]),
		(unsigned long long)region->start, (unsigned long long)region->end, region->kind,
		region->method);
}

/* What takes I/O: nothing of zram, of a device what is not in the swap cache. */
static bool judge_io(struct cast *c, const struct inquiry *q, const struct cast_region *region,
	const struct cast_area *a)
{
	uint64_t swapped = region->bytes[UMEM_STATE_SWAPPED], io = 0;
	bool object = a->object >= 0 && a->shared && !c->options->nobody;

	if (swapped == 0)
		return region->io_known && region->io_bytes == 0;
	if (q->swap == SWAP_MIXED)
		return !region->io_known;
	if (q->swap == SWAP_ZRAM)
		return region->io_known && region->io_bytes == 0;
	if (!object || !region->exact || q->swap != SWAP_DEVICE)
		return !region->io_known || region->io_bytes == swapped;
	for (uint64_t at = region->start; at < region->end; at += PAGE) {
		uint64_t i = (at - ARENA_AT) / PAGE;

		io += q->after->state[i] == UMEM_STATE_SWAPPED &&
			!cast_cached(&c->objects[a->object], a->offset + (at - a->at) / PAGE) ?
			PAGE : 0;
	}
	return region->io_known && region->io_bytes == io;
}

static bool judge_region(struct cast *c, struct inquiry *q, const struct cast_region *region)
{
	const struct cast_area *a = area_at(c, q->who, region->start);

	if (!a)
		return complain(c, q->who, q->way, "a region %#llx-%#llx where there is none",
			(unsigned long long)region->start, (unsigned long long)region->end);
	if (region->exact == (region->reason[0] != '\0'))
		return complain(c, q->who, q->way, "exact %d, and a reason: %s", region->exact,
			region->reason);
	if (!sums_fit(q->answer, region))
		return complain(c, q->who, q->way, "sums of %#llx-%#llx do not fit its pages",
			(unsigned long long)region->start, (unsigned long long)region->end);
	if (is_disk_shared(c, a)) {
		if (region->exact)
			return complain(c, q->who, q->way, "a shared file is called exact");
		return true;
	}
	if (!region->exact) {
		c->tally.inexact += (region->end - region->start) / PAGE;
		if (cast_ways[q->way].exact && !c->options->nobody)
			return complain(c, q->who, q->way, "%#llx-%#llx %s by %s is not exact: %s",
				(unsigned long long)region->start,
				(unsigned long long)region->end, region->kind, region->method,
				region->reason);
		return true;
	}
	for (uint64_t at = region->start; at < region->end; at += PAGE)
		if (!judge_page(c, q, region, at))
			return false;
	/* Pages leave the swap cache at any time: at the last attempt it must fit. */
	if (q->moved || q->swap != q->swap_after || judge_io(c, q, region, a))
		return true;
	q->moved++;
	return !q->last || complain(c, q->who, q->way, "%#llx-%#llx: I/O known %d, %llu of %llu "
		"swapped bytes, swap %d", (unsigned long long)region->start,
		(unsigned long long)region->end, region->io_known,
		(unsigned long long)region->io_bytes,
		(unsigned long long)region->bytes[UMEM_STATE_SWAPPED], (int)q->swap);
}

/* All that was asked for is there, once. */
static bool judge_cover(struct cast *c, const struct inquiry *q, const struct umem_range *ranges,
	size_t n)
{
	if (q->answer->twice)
		return complain(c, q->who, q->way, "a page is there twice");
	for (uint64_t i = 0; i < ARENA_PAGES; i++) {
		uint64_t at = ARENA_AT + i * PAGE;
		bool wanted = q->before->state[i] != TRUTH_NONE && n == 0;

		for (size_t k = 0; k < n; k++)
			wanted |= q->before->state[i] != TRUTH_NONE && at >= ranges[k].start &&
				at < ranges[k].end;
		if (wanted != (q->answer->state[i] != TRUTH_NONE))
			return complain(c, q->who, q->way, "%#llx is %s", (unsigned long long)at,
				wanted ? "left out" : "there, but was not asked for");
	}
	return true;
}

static bool judge_answer(struct cast *c, struct inquiry *q, const struct umem_range *ranges,
	size_t n)
{
	if (q->answer->r != 0 && !(q->answer->r == -ENOENT && n))
		return complain(c, q->who, q->way, "returned %d (%s)", q->answer->r,
			q->answer->note);
	if (!judge_cover(c, q, ranges, n))
		return false;
	q->moved = 0;
	for (size_t i = 0; i < q->answer->n; i++) {
		const struct cast_region *region = &q->answer->v[i];

		if (region->start >= ARENA_AT && region->end <= ARENA_END &&
			!judge_region(c, q, region))
			return false;
	}
	return true;
}

/* A few ranges with any borders; often nothing, which means all. */
static size_t random_ranges(struct cast *c, struct umem_range ranges[4])
{
	size_t n = cast_below(c, 3) ? 0 : 1 + cast_below(c, 3);

	for (size_t i = 0; i < n; i++) {
		uint64_t slot = cast_below(c, N_SLOTS) * SLOT_PAGES;

		ranges[i].start = ARENA_AT + (slot + cast_below(c, 700)) * PAGE;
		ranges[i].end = ranges[i].start + (1 + cast_below(c, 1500)) * PAGE;
	}
	return n;
}

static bool complain_of_footprint(struct cast *c, unsigned who, size_t way,
	const struct cast_footprint *before, const struct cast_footprint *after)
{
	for (unsigned i = 0; i < N_ACTORS; i++)
		if (before->major[i] != after->major[i] || before->minor[i] != after->minor[i] ||
			before->pte_kb[i] != after->pte_kb[i])
			return complain(c, who, way, "faults of actor %u: %llu+%llu became "
				"%llu+%llu, page tables %llu %llu kB", i,
				(unsigned long long)before->major[i],
				(unsigned long long)before->minor[i],
				(unsigned long long)after->major[i],
				(unsigned long long)after->minor[i],
				(unsigned long long)before->pte_kb[i],
				(unsigned long long)after->pte_kb[i]);
	if (before->huge_free != after->huge_free || before->huge_reserved != after->huge_reserved)
		return complain(c, who, way, "huge pages %llu-%llu became %llu-%llu",
			(unsigned long long)before->huge_free,
			(unsigned long long)before->huge_reserved,
			(unsigned long long)after->huge_free,
			(unsigned long long)after->huge_reserved);
	return complain(c, who, way, "pages do not come to rest");
}

static bool judge_way(struct cast *c, unsigned who, size_t way, struct cast_truth truth[2],
	unsigned *now)
{
	struct cast_footprint before, after;
	struct umem_range ranges[4];
	size_t n = random_ranges(c, ranges);
	bool again = cast_below(c, 2);

	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		struct inquiry q = { .who = who, .way = way, .before = &truth[*now],
			.after = &truth[!*now], .last = attempt == ATTEMPTS - 1 };

		q.swap = cast_swap();
		cast_footprint(c, &before);
		q.answer = cast_ask(c->actors[who].pid, way, again, ranges, n);
		cast_footprint(c, &after);
		cast_truth(c, who, &truth[!*now]);
		q.swap_after = cast_swap();
		*now = !*now;
		c->tally.queries++;
		if (!judge_answer(c, &q, ranges, n))
			return false;
		c->tally.moved += q.moved;
		if (!q.moved && !memcmp(&before, &after, sizeof(before)))
			return true;
		c->tally.again++;
		t_msleep((unsigned)attempt * 4);
	}
	return complain_of_footprint(c, who, way, &before, &after);
}

bool cast_judge(struct cast *c)
{
	static struct cast_truth truth[2];
	unsigned main_actor = (unsigned)cast_below(c, N_ACTORS);

	for (unsigned i = 0; i < N_ACTORS; i++) {
		unsigned who = (main_actor + i) % N_ACTORS, now = 0;

		if (!c->actors[who].pid)
			continue;
		cast_truth(c, who, &truth[0]);
		cast_check_witnesses(c, who, &truth[0]);
		for (size_t way = 0; way < cast_n_ways; way++)
			if ((i == 0 || cast_below(c, cast_n_ways) == 0) &&
				!judge_way(c, who, way, truth, &now))
				return false;
	}
	return true;
}

/* By descriptor. */

struct reading {
	unsigned char *state;
	uint64_t at;
	bool gap;
};

static int take_run(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct reading *reading = user;

	reading->gap |= start != reading->at;
	reading->at = end;
	for (uint64_t i = start / PAGE; i < end / PAGE; i++)
		reading->state[i] = (unsigned char)state;
	return 0;
}

/* Return: does it fit, or did pages move? Complains. */
static bool judge_object(struct cast *c, const struct cast_object *o, const char *method)
{
	static unsigned char before[2 * SLOT_PAGES], after[2 * SLOT_PAGES], said[2 * SLOT_PAGES];
	struct reading reading = { .state = said };
	struct umem_residency_region region;
	int r;

	T_SYS(lseek(o->fd, 123, SEEK_SET));
	for (uint64_t i = 0; i < o->pages; i++)
		before[i] = (unsigned char)cast_object_state(o, i);
	r = umem_residency_file(o->fd, 0, UINT64_MAX, method, take_run, &reading, &region);
	for (uint64_t i = 0; i < o->pages; i++)
		after[i] = (unsigned char)cast_object_state(o, i);
	if (r == 0 && (reading.gap || reading.at != o->pages * PAGE ||
			      lseek(o->fd, 0, SEEK_CUR) != 123))
		r = -EBADMSG;
	for (uint64_t i = 0; i < o->pages && r == 0 && region.exact; i++)
		if (before[i] == after[i] && said[i] != after[i])
			r = -EBADMSG;
	if (r == 0)
		return true;
	fprintf(stderr, "%s\nFAIL: SEED=%llu round %u object %d by descriptor, %s: %d, up to %llu "
		"of %llu pages\n", c->log, (unsigned long long)c->seed, c->round,
		(int)(o - c->objects), method ? method : "(any)", r,
		(unsigned long long)reading.at / PAGE, (unsigned long long)o->pages);
	return false;
}

bool cast_judge_objects(struct cast *c)
{
	static const char *const methods[] = { NULL, "cachestat", "halving", "extents" };

	for (size_t i = 0; i < c->n_objects; i++) {
		const struct cast_object *o = &c->objects[i];

		if (o->backing == BACK_DISK)
			continue;
		if (o->backing == BACK_HUGETLB && !judge_object(c, o, "continue"))
			return false;
		for (size_t k = 0; k < (o->backing == BACK_HUGETLB ? 1 : 4); k++)
			if (!judge_object(c, o, methods[k]))
				return false;
	}
	return true;
}
