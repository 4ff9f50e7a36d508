// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where the pages of a target are, as it came: the mappings of all replies, and the
 * table of each, mapped from the worker's own memory, which is sealed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/note.h"
#include "lib/client/client.h"

#define MAP "io.umemd.Residency.Map"

/* No process has more mappings; each part has one at least. */
#define PARTS_MAX 4096u

/* A record of a table: io.umemd.Residency. */
struct record {
	uint64_t start;
	uint64_t end;
	uint64_t state;
};

/**
 * struct part - what came with one reply.
 * @parameters: in which the texts of its mappings live.
 * @records, @n_records: its runs of pages, mapped; NULL for none.
 */
struct part {
	struct umem_json *parameters;
	const struct record *records;
	size_t len_bytes;
	size_t n_records;
};

/**
 * struct umem_client_map - a map.
 * @parts, @n_parts: ascending.
 * @v, @n: the mappings of all of them.
 * @sharers, @n_sharers, @hidden: who else maps the shared memory.
 */
struct umem_client_map {
	struct part *parts;
	size_t n_parts;
	struct umem_residency_region *v;
	size_t n;
	struct umem_client_sharer *sharers;
	size_t n_sharers;
	uint64_t hidden;
};

UMEM_DEFINE_CLEANUP(struct umem_client_map, umem_client_map_free)

struct umem_client_map *umem_client_map_free(struct umem_client_map *map)
{
	if (!map)
		return NULL;
	for (size_t i = 0; i < map->n_parts; i++) {
		if (map->parts[i].records)
			munmap((void *)map->parts[i].records, map->parts[i].len_bytes);
		umem_json_free(map->parts[i].parameters);
	}
	for (size_t i = 0; i < map->n_sharers; i++)
		free((void *)map->sharers[i].mapped);
	free(map->sharers);
	free(map->parts);
	free(map->v);
	free(map);
	return NULL;
}

static void read_region(const struct umem_json *item, struct umem_residency_region *ret_region)
{
	static const char *const bytes[UMEM_N_STATES] = {
		[UMEM_STATE_UNTOUCHED] = "untouched_bytes",
		[UMEM_STATE_RESIDENT] = "resident_bytes",
		[UMEM_STATE_SWAPPED] = "swapped_bytes",
		[UMEM_STATE_ZERO] = "zero_bytes",
		[UMEM_STATE_GUARD] = "guard_bytes",
	};

	*ret_region = (struct umem_residency_region){
		.start = umem_client_get_u64(item, "start"),
		.end = umem_client_get_u64(item, "end"),
		.kind = umem_json_get_text(item, "kind", ""),
		.path = umem_json_get_text(item, "path", ""),
		.page_size_bytes = umem_client_get_u64(item, "page_size_bytes"),
		.method = umem_json_get_text(item, "method", ""),
		.exact = umem_json_get_bool(item, "exact", false),
		.reason = umem_json_get_text(item, "reason", NULL),
		.io_known = umem_json_type(umem_json_get(item, "swapped_io_bytes")) ==
			UMEM_JSON_INT,
		.io_bytes = umem_client_get_u64(item, "swapped_io_bytes"),
	};
	for (int i = 0; i < UMEM_N_STATES; i++)
		ret_region->bytes[i] = umem_client_get_u64(item, bytes[i]);
}

/* The mappings of one reply, behind those that are there. */
static int add_regions(struct umem_client_map *map, const struct umem_json *list)
{
	size_t n = umem_json_count(list);
	struct umem_residency_region *v = reallocarray(map->v, map->n + n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	map->v = v;
	for (size_t i = 0; i < n; i++) {
		struct umem_residency_region *region = &map->v[map->n];

		read_region(umem_json_item(list, i), region);
		if (region->start >= region->end || region->page_size_bytes == 0 ||
			(map->n && region->start < map->v[map->n - 1].end))
			return -EPROTO;
		map->n++;
	}
	return 0;
}

static int add_sharers(struct umem_client_map *map, const struct umem_json *parameters)
{
	const struct umem_json *list = umem_json_get(parameters, "sharers");
	size_t n = umem_json_count(list);

	if (map->sharers || !list)
		return 0;
	map->sharers = calloc(n + 1, sizeof(*map->sharers));
	if (!map->sharers)
		return -ENOMEM;
	map->hidden = umem_client_get_u64(parameters, "hidden");
	for (; map->n_sharers < n; map->n_sharers++) {
		const struct umem_json *item = umem_json_item(list, map->n_sharers);
		const struct umem_json *mapped = umem_json_get(item, "mapped");
		size_t n_mapped = umem_json_count(mapped);
		struct umem_range *v = calloc(n_mapped + 1, sizeof(*v));

		if (!v)
			return -ENOMEM;
		for (size_t i = 0; i < n_mapped; i++) {
			v[i].start = umem_client_get_u64(umem_json_item(mapped, i), "start");
			v[i].end = umem_client_get_u64(umem_json_item(mapped, i), "end");
		}
		map->sharers[map->n_sharers] = (struct umem_client_sharer){
			.pid = (int)umem_json_get_int(item, "pid", 0),
			.name = umem_json_get_text(item, "name", ""),
			.mapped = v,
			.n_mapped = n_mapped,
		};
	}
	return 0;
}

static int add_table(struct part *part, const struct umem_client_answer *answer)
{
	const struct umem_json *index = umem_json_get(answer->reply.parameters, "table");
	const struct record *v;
	uint64_t last = 0;
	const void *at;
	int r;

	if (umem_json_type(index) != UMEM_JSON_INT)
		return 0;
	r = umem_client_map_memfd(answer, umem_json_as_int(index, -1), &at, &part->len_bytes);
	if (r < 0)
		return r;
	part->records = v = at;
	part->n_records = part->len_bytes / sizeof(*v);
	for (size_t i = 0; i < part->n_records; i++) {
		if (v[i].start < last || v[i].end <= v[i].start || v[i].state >= UMEM_N_STATES)
			return -EPROTO;
		last = v[i].end;
	}
	return 0;
}

/* Take in one reply. */
static int add_part(struct umem_client_map *map, const struct umem_client_answer *answer)
{
	struct part *parts = reallocarray(map->parts, map->n_parts + 1, sizeof(*parts));
	struct part *part;
	int r;

	if (!parts)
		return -ENOMEM;
	map->parts = parts;
	part = &parts[map->n_parts++];
	*part = (struct part){ .parameters = umem_json_share(answer->reply.parameters) };
	r = add_regions(map, umem_json_get(part->parameters, "regions"));
	if (r == 0)
		r = add_sharers(map, part->parameters);
	return r == 0 ? add_table(part, answer) : r;
}

static struct umem_json *parameters_of(const char *target,
	const struct umem_client_map_options *options, int64_t from)
{
	struct umem_json *parameters = umem_client_for_target(target);

	if (from > 0)
		umem_json_set_int(parameters, "from", from);
	if (!options)
		return parameters;
	umem_client_set_regions(parameters, "regions", options->regions, options->n_regions);
	if (options->method)
		umem_json_set_text(parameters, "method", options->method);
	if (options->ranges)
		umem_json_set_text(parameters, "form", "table");
	/* They are told once. */
	if (options->sharers && from == 0)
		umem_json_set_bool(parameters, "sharers", true);
	return parameters;
}

int umem_client_map(struct umem_client *client, const char *target,
	const struct umem_client_map_options *options, struct umem_client_map **ret_map,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_client_map_freep) struct umem_client_map *map = calloc(1, sizeof(*map));
	int64_t from = 0, last;

	if (!map)
		return -ENOMEM;
	do {
		struct umem_client_answer answer;
		int r = umem_client_call(client, MAP, parameters_of(target, options, from), NULL,
			0, &answer, note);

		/* The rest was unmapped meanwhile. */
		if (r == -ENOENT && from > 0)
			break;
		if (r != 0)
			return r;
		last = from;
		r = add_part(map, &answer);
		from = umem_json_get_int(answer.reply.parameters, "next", 0);
		umem_client_answer_deinit(&answer);
		if (r == 0 && from != 0 && (from <= last || map->n_parts == PARTS_MAX))
			r = -EPROTO;
		if (r < 0)
			return umem_note_set(note, r, 0, "a map is not understood: %s",
				strerror(-r));
	} while (from > 0);
	*ret_map = UMEM_TAKE_PTR(map);
	return 0;
}

const struct umem_residency_region *umem_client_map_regions(const struct umem_client_map *map,
	size_t *ret_n)
{
	*ret_n = map->n;
	return map->v;
}

int umem_client_map_each(const struct umem_client_map *map, uint64_t start, uint64_t end,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_state state), void *user)
{
	int r = 0;

	for (size_t i = 0; i < map->n_parts && r == 0; i++) {
		const struct part *part = &map->parts[i];
		size_t low = 0, high = part->n_records;

		/* The first that ends past @start. */
		while (low < high) {
			size_t mid = low + (high - low) / 2;

			if (part->records[mid].end > start)
				high = mid;
			else
				low = mid + 1;
		}
		for (; low < part->n_records && part->records[low].start < end && r == 0; low++)
			r = each(user, umem_max_u64(part->records[low].start, start),
				umem_min_u64(part->records[low].end, end),
				(enum umem_state)part->records[low].state);
	}
	return r;
}

const struct umem_client_sharer *umem_client_map_sharers(const struct umem_client_map *map,
	size_t *ret_n, uint64_t *ret_hidden)
{
	*ret_n = map->n_sharers;
	*ret_hidden = map->hidden;
	return map->sharers;
}
