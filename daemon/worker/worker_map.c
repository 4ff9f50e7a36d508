// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where the pages of the target are: the verb Map.
 *
 * A map is told in parts of so many mappings as a reply takes, each made when it is asked
 * for; so a part is of one moment, and a process with very many mappings is told in
 * several. Nothing here touches the space that a watch of the same target has: what
 * appears must appear to it.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <umemd/residency.h>

#include "daemon/worker/memfd.h"
#include "daemon/worker/worker.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/mem/residency.h"
#include "lib/op/survey_sharers.h"

/* Of a reply: mappings, bytes of their names and values, ranges. */
#define REGIONS_MAX 2048u
#define TEXT_MAX    (1u << 20)
#define REGION_TEXT 300u
#define RANGES_MAX  4096u

/* A record of a table; @state is enum umem_state. */
struct record {
	uint64_t start;
	uint64_t end;
	uint64_t state;
};

/* A map, and the part of it that is told: its first @n mappings. */
struct part {
	struct umem_residency *map;
	const struct umem_residency_region *v;
	size_t n;
	size_t n_all;
};

static struct umem_json *json_range(uint64_t start, uint64_t end)
{
	struct umem_json *item = umem_json_object();

	umem_json_set_u64(item, "start", start);
	umem_json_set_u64(item, "end", end);
	return item;
}

static struct umem_json *json_region(const struct umem_residency_region *in)
{
	struct umem_json *item = json_range(in->start, in->end);

	umem_json_set_text(item, "kind", in->kind);
	umem_json_set_text(item, "path", in->path);
	umem_json_set_u64(item, "page_size_bytes", in->page_size_bytes);
	umem_json_set_text(item, "method", in->method);
	umem_json_set_bool(item, "exact", in->exact);
	if (in->reason)
		umem_json_set_text(item, "reason", in->reason);
	umem_json_set_u64(item, "untouched_bytes", in->bytes[UMEM_STATE_UNTOUCHED]);
	umem_json_set_u64(item, "resident_bytes", in->bytes[UMEM_STATE_RESIDENT]);
	umem_json_set_u64(item, "swapped_bytes", in->bytes[UMEM_STATE_SWAPPED]);
	umem_json_set_u64(item, "zero_bytes", in->bytes[UMEM_STATE_ZERO]);
	umem_json_set_u64(item, "guard_bytes", in->bytes[UMEM_STATE_GUARD]);
	if (in->io_known)
		umem_json_set_u64(item, "swapped_io_bytes", in->io_bytes);
	return item;
}

/* The mappings of a reply, and where those behind them begin. */
static void add_regions(struct part *part, struct answer *answer)
{
	struct umem_json *list = umem_json_array();
	size_t text = 0;

	for (part->n = 0; part->n < part->n_all && part->n < REGIONS_MAX && text < TEXT_MAX;
		part->n++) {
		text += REGION_TEXT + strlen(part->v[part->n].path);
		umem_json_append_consume(list, json_region(&part->v[part->n]));
	}
	umem_json_set_consume(answer->parameters, "regions", list);
	if (part->n < part->n_all)
		umem_json_set_u64(answer->parameters, "next", part->v[part->n].start);
}

/* Walk the runs of the part. Return: as umem_residency_each(). */
static int each_run(const struct part *part,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_state state), void *user)
{
	return part->n == 0 ? 0 : umem_residency_each(part->map, part->v[0].start,
		part->v[part->n - 1].end, each, user);
}

static int count_run(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	(*(uint64_t *)user)++;
	return 0;
}

static int append_run(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct umem_json *item = json_range(start, end);

	umem_json_set_text(item, "state", umem_state_name(state));
	umem_json_append_consume(user, item);
	return 0;
}

static int write_run(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct record **at = user;

	*(*at)++ = (struct record){ start, end, state };
	return 0;
}

static int add_ranges(const struct part *part, struct answer *answer)
{
	struct umem_json *list;
	int r;

	answer->n_ranges = 0;
	r = each_run(part, count_run, &answer->n_ranges);
	if (r < 0)
		return r;
	if (answer->n_ranges > RANGES_MAX)
		return -E2BIG;
	list = umem_json_array();
	umem_json_set_consume(answer->parameters, "ranges", list);
	return each_run(part, append_run, list);
}

static int add_table(const struct part *part, struct answer *answer)
{
	struct record *at;
	void *table = NULL;
	uint64_t n = 0;
	int fd = -1, r = each_run(part, count_run, &n);

	if (r == 0)
		r = memfd_new("umemd-map", n * sizeof(*at), &fd, &table);
	if (r < 0)
		return r;
	at = table;
	r = each_run(part, write_run, &at);
	if (r < 0) {
		munmap(table, n * sizeof(*at));
		umem_fd_close(fd);
		return r;
	}
	return memfd_answer(fd, table, n * sizeof(*at), "table", answer);
}

static struct umem_json *json_sharer(const struct umem_survey_sharer *sharer)
{
	struct umem_json *item = umem_json_object(), *list = umem_json_array();

	for (size_t i = 0; i < sharer->mapped.n; i++)
		umem_json_append_consume(list,
			json_range(sharer->mapped.v[i].start, sharer->mapped.v[i].end));
	umem_json_set_u64(item, "pid", (uint64_t)sharer->pid);
	umem_json_set_text(item, "name", sharer->comm);
	umem_json_set_consume(item, "mapped", list);
	return item;
}

/* Who else maps the shared memory. Those that may not be named are only counted. */
static int add_sharers(const struct umem_target *look, struct answer *answer)
{
	UMEM_CLEANUP(umem_survey_sharers_deinit) struct umem_survey_sharers sharers = { 0 };
	int r = umem_survey_sharers_find(look, &sharers);
	struct umem_json *list;
	uint64_t hidden = sharers.n_hidden;
	size_t n = 0;

	if (r < 0)
		return r;
	list = umem_json_array();
	for (size_t i = 0; i < sharers.n; i++) {
		n += sharers.v[i].mapped.n;
		if (sharers.v[i].pid == 0 || n > RANGES_MAX)
			hidden++;
		else
			umem_json_append_consume(list, json_sharer(&sharers.v[i]));
	}
	umem_json_set_consume(answer->parameters, "sharers", list);
	umem_json_set_u64(answer->parameters, "hidden", hidden);
	return 0;
}

/* The ranges that are asked for, from an address on. */
static int read_asked(const struct umem_json *parameters, struct umem_ranges *ret_asked,
	struct umem_note *note)
{
	int64_t from = umem_json_get_int(parameters, "from", 0);
	int r = worker_regions(umem_json_get(parameters, "regions"), ret_asked, note);

	if (r < 0 || from == 0)
		return r;
	if (from < 0)
		return umem_note_set(note, -EINVAL, 0, "from: not an address");
	if (ret_asked->n == 0)
		return umem_ranges_add(ret_asked, (uint64_t)from, INT64_MAX);
	r = umem_ranges_sub(ret_asked, 0, (uint64_t)from);
	if (r == 0 && ret_asked->n == 0)
		return umem_note_set(note, -EINVAL, 0, "from: past all of the regions");
	return r;
}

/* What is to be known before the map is made, by a space of its own. */
static int prepare(const struct umem_target *target, struct umem_ranges *asked, bool sharers,
	struct answer *answer)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	struct umem_target look = *target;
	int r;

	look.space = (struct umem_space){ 0 };
	r = umem_target_refresh(&look, &appeared, &vanished, &answer->note);
	if (r == 0)
		r = umem_residency_widen(&look.space, asked);
	if (r == 0 && sharers)
		r = add_sharers(&look, answer);
	umem_space_deinit(&look.space);
	return r;
}

static int add_form(const struct part *part, const char *form, struct answer *answer)
{
	if (strcmp(form, "ranges") == 0)
		return add_ranges(part, answer);
	return strcmp(form, "table") == 0 ? add_table(part, answer) : 0;
}

int worker_map(struct worker *w, const struct umem_json *parameters, struct answer *answer)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges asked = { 0 };
	struct umem_residency_options options = {
		.size = sizeof(options),
		.method = umem_json_get_text(parameters, "method", NULL),
	};
	struct part part = { 0 };
	int r = read_asked(parameters, &asked, &answer->note);

	answer->parameters = umem_json_object();
	if (r == 0)
		r = prepare(w->target, &asked,
			umem_json_get_bool(parameters, "sharers", false), answer);
	options.regions = asked.v;
	options.n_regions = asked.n;
	if (r == 0)
		r = umem_residency_new(w->target, &options, &part.map, &answer->note);
	if (r == 0) {
		part.v = umem_residency_regions(part.map, &part.n_all);
		add_regions(&part, answer);
		r = add_form(&part, umem_json_get_text(parameters, "form", "numbers"), answer);
	}
	umem_residency_free(part.map);
	return r;
}
