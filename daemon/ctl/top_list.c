// SPDX-License-Identifier: LGPL-2.1-or-later
/* The targets that umemctl top shows: asked for, put in order, and as JSON. */
#include "daemon/ctl/top.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/table.h"
#include "lib/base/attr.h"
#include "lib/base/json.h"

/* A round that is older than some of its intervals says nothing of now. */
#define STALE_INTERVALS 3
#define STALE_NS        5000000000ull

static uint64_t rate_of(const struct umem_client_target *t)
{
	if (t->dirty_bytes == UMEM_CLIENT_UNKNOWN || t->interval_ns == UMEM_CLIENT_UNKNOWN ||
		t->idle_ns == UMEM_CLIENT_UNKNOWN || t->interval_ns == 0 ||
		t->tracked_bytes == UMEM_CLIENT_UNKNOWN)
		return UMEM_CLIENT_UNKNOWN;
	if (t->idle_ns > STALE_NS && t->idle_ns / STALE_INTERVALS > t->interval_ns)
		return UMEM_CLIENT_UNKNOWN;
	return (uint64_t)((double)t->dirty_bytes * 1e9 / (double)t->interval_ns);
}

static int add(void *user, const struct umem_client_target *t)
{
	struct top_list *list = user;
	struct top_row *row;

	if (list->n == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		struct top_row *v = realloc(list->v, room * sizeof(*v));

		if (!v)
			return -ENOMEM;
		list->v = v;
		list->room = room;
	}
	row = &list->v[list->n++];
	*row = (struct top_row){
		.pid = t->pid,
		.uid = t->uid,
		.how = t->handed ? "handed_off" : t->opened ? "opened" : "attached",
		.kept = t->kept,
		.restarts = t->restarts,
		.stop_ns = t->stop_ns,
		.age_ns = t->age_ns,
		.rounds = t->rounds,
		.recovered = t->recovered,
		.tracked_bytes = t->tracked_bytes,
		.dirty_bytes = t->dirty_bytes,
		.rate = rate_of(t),
		.interval_ns = t->interval_ns,
		.scan_ns = t->scan_ns,
		.idle_ns = t->idle_ns,
		.resident_bytes = t->resident_bytes,
		.swapped_bytes = t->swapped_bytes,
	};
	snprintf(row->target, sizeof(row->target), "%s", t->target);
	snprintf(row->name, sizeof(row->name), "%s", t->name);
	snprintf(row->state, sizeof(row->state), "%s", t->state);
	snprintf(row->reclaim, sizeof(row->reclaim), "%s", t->reclaim ? t->reclaim : "");
	return 0;
}

int top_fetch(struct umem_client *client, struct top_list *list, struct umem_note *note)
{
	list->n = 0;
	return umem_client_each_target(client, add, list, note);
}

void top_deinit(struct top_list *list)
{
	free(list->v);
	*list = (struct top_list){ 0 };
}

static const char *text_of(const struct top_row *row, enum top_column by)
{
	return by == TOP_NAME ? row->name : by == TOP_STATE ? row->state : NULL;
}

static uint64_t number_of(const struct top_row *row, enum top_column by)
{
	switch (by) {
	case TOP_TARGET:
		return strtoull(row->target + 1, NULL, 10);
	case TOP_PID:
		return (uint64_t)row->pid;
	case TOP_USER:
		return row->uid;
	case TOP_DIRTY:
		return row->rate;
	case TOP_TRACKED:
		return row->tracked_bytes;
	case TOP_RESIDENT:
		return row->resident_bytes;
	case TOP_SWAPPED:
		return row->swapped_bytes;
	case TOP_ROUNDS:
		return row->rounds;
	case TOP_SCAN:
		return row->scan_ns;
	case TOP_LAST:
		return row->idle_ns;
	case TOP_RESTARTS:
		return row->restarts;
	default:
		return row->age_ns;
	}
}

/* An order, for qsort_r(3). */
struct order {
	enum top_column by;
	bool reverse;
};

static int compare(const void *a, const void *b, void *user)
{
	const struct top_row *one = a, *other = b;
	const struct order *order = user;
	const char *text = text_of(one, order->by);
	/* The same every time: rows that are equal must not dance. */
	int last = one->pid != other->pid ? (one->pid < other->pid ? -1 : 1) :
		strcmp(one->target, other->target), r;

	if (text) {
		r = strcmp(text, text_of(other, order->by));
	} else {
		uint64_t m = number_of(one, order->by), n = number_of(other, order->by);

		if (m == n)
			return last;
		if (m == UMEM_CLIENT_UNKNOWN || n == UMEM_CLIENT_UNKNOWN)
			return m == UMEM_CLIENT_UNKNOWN ? 1 : -1;
		r = m > n ? -1 : 1;
	}
	return r == 0 ? last : order->reverse ? -r : r;
}

void top_sort(struct top_list *list, enum top_column by, bool reverse)
{
	struct order order = { by, reverse };

	if (list->n)
		qsort_r(list->v, list->n, sizeof(*list->v), compare, &order);
}

/* Null stands for what is not known. */
static void set_known(struct umem_json *line, const char *key, uint64_t value)
{
	ctl_json_known(line, key, value != UMEM_CLIENT_UNKNOWN, value);
}

int top_print_json(const struct top_list *list, uint64_t at_ns)
{
	int r = 0;

	for (size_t i = 0; i < list->n && r == 0; i++) {
		const struct top_row *row = &list->v[i];
		struct umem_json *line = umem_json_object();

		umem_json_set_u64(line, "at_ns", at_ns);
		umem_json_set_text(line, "target", row->target);
		umem_json_set_u64(line, "pid", (uint64_t)row->pid);
		umem_json_set_text(line, "name", row->name);
		umem_json_set_u64(line, "uid", row->uid);
		umem_json_set_text(line, "how", row->how);
		umem_json_set_text(line, "state", row->state);
		umem_json_set_bool(line, "kept", row->kept);
		if (row->reclaim[0])
			umem_json_set_text(line, "reclaim", row->reclaim);
		else
			umem_json_set_null(line, "reclaim");
		umem_json_set_u64(line, "restarts", row->restarts);
		umem_json_set_u64(line, "stop_ns", row->stop_ns);
		umem_json_set_u64(line, "age_ns", row->age_ns);
		umem_json_set_u64(line, "rounds", row->rounds);
		umem_json_set_u64(line, "recovered", row->recovered);
		set_known(line, "tracked_bytes", row->tracked_bytes);
		set_known(line, "dirty_bytes", row->dirty_bytes);
		set_known(line, "dirty_bytes_per_s", row->rate);
		set_known(line, "interval_ns", row->interval_ns);
		set_known(line, "scan_ns", row->scan_ns);
		set_known(line, "idle_ns", row->idle_ns);
		set_known(line, "resident_bytes", row->resident_bytes);
		set_known(line, "swapped_bytes", row->swapped_bytes);
		r = umem_json_write_consume(stdout, line);
	}
	return r;
}
