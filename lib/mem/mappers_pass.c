// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A walk over the mappers of an object on behalf of another process.
 *
 * The one that asks knows the target's regions, the one that answers may look at
 * other processes. Between them goes JSON: objects one way; for each process that maps
 * one, addresses of the target the other way.
 */
#include "lib/mem/mappers_pass.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* More is not asked for in one message. */
#define MAX_OBJECTS 4096u

static struct umem_json *json_objects(const struct umem_mappers *m)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < m->n_index; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_u64(item, "inode", m->index[i].inode);
		umem_json_set_u64(item, "device", m->index[i].device);
		umem_json_set_u64(item, "start", m->index[i].start);
		umem_json_set_u64(item, "offset", m->index[i].offset);
		umem_json_set_u64(item, "bytes", m->index[i].len_bytes);
		umem_json_append_consume(list, item);
	}
	return list;
}

int umem_mappers_ask(struct umem_mappers *m, const struct umem_reach *reach)
{
	struct umem_json *found = NULL;
	int r = reach->mappers && m->n_index <= MAX_OBJECTS ?
		reach->mappers(reach->user, json_objects(m), &found) : -EACCES;

	if (r == -ENOMEM)
		return r;
	umem_json_free(m->found);
	m->found = found;
	m->next = 0;
	m->n_hidden = r < 0 ? 1 : (uint64_t)umem_json_get_int(found, "hidden", 1);
	return 0;
}

static int read_ranges(const struct umem_json *list, struct umem_ranges *ret_set)
{
	size_t n = umem_json_count(list);
	int r = 0;

	umem_ranges_clear(ret_set);
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct umem_json *item = umem_json_item(list, i);

		r = umem_ranges_add(ret_set, (uint64_t)umem_json_get_int(item, "start", 0),
			(uint64_t)umem_json_get_int(item, "end", 0));
	}
	return r;
}

int umem_mappers_take(struct umem_mappers *m, bool (*skip)(void *user, int pid), void *user,
	const struct umem_mapper **ret_mapper)
{
	const struct umem_json *item;

	while ((item = umem_json_item(umem_json_get(m->found, "mappers"), m->next))) {
		int r;

		m->next++;
		m->now.pid = (int)umem_json_get_int(item, "pid", 0);
		if (m->now.pid && skip && skip(user, m->now.pid))
			continue;
		m->now.stat = (struct umem_proc_stat){
			.start_ticks = (uint64_t)umem_json_get_int(item, "start_ticks", 0),
		};
		snprintf(m->now.stat.comm, sizeof(m->now.stat.comm), "%s",
			umem_json_get_text(item, "name", ""));
		r = read_ranges(umem_json_get(item, "mapped"), &m->now.mapped);
		if (r == 0)
			r = read_ranges(umem_json_get(item, "written"), &m->now.written);
		if (r < 0)
			return r;
		*ret_mapper = &m->now;
		return 1;
	}
	return 0;
}

static int read_objects(struct umem_mappers *m, const struct umem_json *objects)
{
	size_t n = umem_json_count(objects);
	int r = n > MAX_OBJECTS ? -EINVAL : 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct umem_json *item = umem_json_item(objects, i);
		int64_t v[] = {
			umem_json_get_int(item, "inode", -1),
			umem_json_get_int(item, "device", -1),
			umem_json_get_int(item, "start", -1),
			umem_json_get_int(item, "offset", -1),
			umem_json_get_int(item, "bytes", -1),
		};
		uint64_t end;

		if ((v[0] | v[1] | v[2] | v[3] | v[4]) < 0 ||
			__builtin_add_overflow((uint64_t)v[3], (uint64_t)v[4], &end))
			return -EINVAL;
		r = umem_mappers_add(m, &(struct umem_mapped){
			.inode = (uint64_t)v[0],
			.device = (uint64_t)v[1],
			.start = (uint64_t)v[2],
			.offset = (uint64_t)v[3],
			.len_bytes = (uint64_t)v[4],
		});
	}
	return r;
}

static struct umem_json *json_ranges(const struct umem_ranges *set)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < set->n; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_u64(item, "start", set->v[i].start);
		umem_json_set_u64(item, "end", set->v[i].end);
		umem_json_append_consume(list, item);
	}
	return list;
}

static struct umem_json *json_mapper(const struct umem_mapper *mapper, bool named)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_u64(json, "pid", named ? (uint64_t)mapper->pid : 0);
	umem_json_set_text(json, "name", named ? mapper->stat.comm : "");
	umem_json_set_u64(json, "start_ticks", named ? mapper->stat.start_ticks : 0);
	umem_json_set_consume(json, "mapped", json_ranges(&mapper->mapped));
	umem_json_set_consume(json, "written", json_ranges(&mapper->written));
	return json;
}

int umem_mappers_find(int pid, int tid, const struct umem_json *objects,
	bool (*may_name)(void *user, int pid), void *user, struct umem_json **ret_found)
{
	UMEM_CLEANUP(umem_mappers_deinit) struct umem_mappers m = { .pid = pid, .tid = tid };
	UMEM_CLEANUP(umem_json_freep) struct umem_json *list = umem_json_array();
	const struct umem_mapper *mapper;
	struct umem_json *found;
	int r = read_objects(&m, objects);

	if (r == 0)
		r = umem_mappers_open(&m);
	while (r == 0) {
		r = umem_mappers_next(&m, NULL, NULL, &mapper);
		if (r <= 0)
			break;
		umem_json_append_consume(list, json_mapper(mapper, may_name(user, mapper->pid)));
		r = 0;
	}
	if (r < 0)
		return r;
	found = umem_json_object();
	umem_json_set_consume(found, "mappers", UMEM_TAKE_PTR(list));
	umem_json_set_u64(found, "hidden", m.n_hidden);
	*ret_found = found;
	return 0;
}
