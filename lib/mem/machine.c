// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What work on a target has to know of the whole machine.
 *
 * Between who may look and who may not goes JSON: a member for each area and each
 * amount of memory that the kernel tells.
 */
#include "lib/mem/machine.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "lib/base/attr.h"
#include "lib/kern/cgroup.h"
#include "lib/kern/kpage.h"

/* More areas than the kernel has room for (MAX_SWAPFILES). */
#define MAX_AREAS 64u

/* Amounts by their names, in the order of enum umem_meminfo_item. */
static const struct {
	const char *key;
	size_t offset;
} amounts[UMEM_N_MEMINFOS] = {
#define AMOUNT(item, member) \
	[UMEM_MEMINFO_##item] = { #member, offsetof(struct umem_meminfo, member) }
	AMOUNT(TOTAL, total_bytes),
	AMOUNT(FREE, free_bytes),
	AMOUNT(AVAILABLE, available_bytes),
	AMOUNT(SWAP_TOTAL, swap_total_bytes),
	AMOUNT(SWAP_FREE, swap_free_bytes),
	AMOUNT(SWAP_CACHED, swap_cached_bytes),
	AMOUNT(ZSWAP, zswap_bytes),
	AMOUNT(ZSWAPPED, zswapped_bytes),
#undef AMOUNT
};

void umem_machine_deinit(struct umem_machine *machine)
{
	umem_swap_areas_deinit(&machine->areas);
	*machine = (struct umem_machine){ 0 };
}

/* What the target's cgroup may have out besides; UINT64_MAX where nothing says so. */
static uint64_t cgroup_room(int pid)
{
	UMEM_CLEANUP(umem_cgroup_deinit) struct umem_cgroup cgroup = UMEM_CGROUP_NONE;
	struct umem_cgroup_usage usage;

	if (umem_cgroup_of("/proc", pid, &cgroup, NULL) != 0 ||
		umem_cgroup_usage(&cgroup, &usage) != 0)
		return UINT64_MAX;
	return usage.swap_room_bytes;
}

static int read_here(struct umem_machine *machine)
{
	int r = umem_swap_areas_read(NULL, NULL, &machine->areas);

	if (r == 0 && umem_meminfo_read(NULL, &machine->info) < 0)
		machine->info = (struct umem_meminfo){ 0 };
	return r;
}

static uint64_t get_u64(const struct umem_json *object, const char *key)
{
	int64_t value = umem_json_get_int(object, key, 0);

	return value > 0 ? (uint64_t)value : 0;
}

static int read_areas(const struct umem_json *list, struct umem_swap_areas *areas)
{
	size_t n = umem_json_count(list);

	umem_swap_areas_deinit(areas);
	if (n > MAX_AREAS)
		return -EBADMSG;
	areas->v = calloc(n ? n : 1, sizeof(*areas->v));
	if (!areas->v)
		return -ENOMEM;
	areas->room = n;
	for (; areas->n < n; areas->n++) {
		const struct umem_json *item = umem_json_item(list, areas->n);
		struct umem_swap_area *area = &areas->v[areas->n];

		area->size_bytes = get_u64(item, "size_bytes");
		area->used_bytes = get_u64(item, "used_bytes");
		area->is_zram = umem_json_get_bool(item, "zram", false);
		area->has_zram = umem_json_get_bool(item, "known", false);
		area->zram.written_back_bytes = get_u64(item, "written_back_bytes");
		if (__builtin_add_overflow(areas->total_bytes, area->size_bytes,
			    &areas->total_bytes) ||
			__builtin_add_overflow(areas->used_bytes, area->used_bytes,
				&areas->used_bytes))
			return -EBADMSG;
	}
	return 0;
}

static struct umem_meminfo read_memory(const struct umem_json *memory)
{
	struct umem_meminfo info = { 0 };

	for (size_t i = 0; i < UMEM_N_MEMINFOS; i++) {
		if (umem_json_type(umem_json_get(memory, amounts[i].key)) != UMEM_JSON_INT)
			continue;
		*(uint64_t *)((char *)&info + amounts[i].offset) = get_u64(memory, amounts[i].key);
		info.present |= 1u << i;
	}
	return info;
}

static int read_found(const struct umem_json *found, struct umem_machine *machine)
{
	machine->info = read_memory(umem_json_get(found, "memory"));
	return read_areas(umem_json_get(found, "areas"), &machine->areas);
}

/* Have somebody else look. Return: 0 or -errno. */
static int ask(const struct umem_target *target, struct umem_json **ret_found)
{
	const struct umem_reach *reach = target->reach;

	return reach->machine ? reach->machine(reach->user, ret_found) : -EACCES;
}

int umem_machine_read(const struct umem_target *target, struct umem_machine *machine)
{
	UMEM_CLEANUP(umem_json_freep) struct umem_json *found = NULL;
	int r;

	if (!target->reach)
		return read_here(machine);
	r = ask(target, &found);
	return r == 0 ? read_found(found, machine) : r;
}

bool umem_machine_has_swap(const struct umem_target *target)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };

	if (!target->reach)
		return umem_swap_active();
	return umem_machine_read(target, &machine) < 0 || machine.areas.n > 0;
}

int umem_machine_meminfo(const struct umem_target *target, struct umem_meminfo *ret_info)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };
	int r;

	if (!target->reach)
		return umem_meminfo_read(NULL, ret_info);
	r = umem_machine_read(target, &machine);
	if (r == 0)
		*ret_info = machine.info;
	return r;
}

uint64_t umem_machine_room(const struct umem_target *target, bool *ret_limited)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };
	UMEM_CLEANUP(umem_json_freep) struct umem_json *found = NULL;
	uint64_t bytes = UINT64_MAX, cgroup_bytes = UINT64_MAX;
	const struct umem_json *room;
	int r = target->reach ? ask(target, &found) : read_here(&machine);

	if (!target->reach)
		cgroup_bytes = cgroup_room(target->pid);
	room = umem_json_get(found, "cgroup_room_bytes");
	if (umem_json_type(room) == UMEM_JSON_INT)
		cgroup_bytes = get_u64(found, "cgroup_room_bytes");
	if (r == 0 && target->reach)
		r = read_found(found, &machine);
	if (r == 0)
		bytes = umem_swap_free_bytes(&machine.areas);
	*ret_limited = cgroup_bytes < bytes;
	return umem_min_u64(bytes, cgroup_bytes);
}

static struct umem_json *json_areas(const struct umem_swap_areas *areas)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < areas->n; i++) {
		const struct umem_swap_area *area = &areas->v[i];
		struct umem_json *item = umem_json_object();

		umem_json_set_u64(item, "size_bytes", area->size_bytes);
		umem_json_set_u64(item, "used_bytes", area->used_bytes);
		umem_json_set_bool(item, "zram", area->is_zram);
		umem_json_set_bool(item, "known", area->has_zram);
		umem_json_set_u64(item, "written_back_bytes", area->zram.written_back_bytes);
		umem_json_append_consume(list, item);
	}
	return list;
}

int umem_machine_find(int pid, struct umem_json **ret_found)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };
	struct umem_json *found, *memory;
	uint64_t room;
	int r = read_here(&machine);

	if (r < 0)
		return r;
	memory = umem_json_object();
	for (size_t i = 0; i < UMEM_N_MEMINFOS; i++)
		if (machine.info.present >> i & 1)
			umem_json_set_u64(memory, amounts[i].key,
				*(uint64_t *)((char *)&machine.info + amounts[i].offset));
	found = umem_json_object();
	umem_json_set_consume(found, "areas", json_areas(&machine.areas));
	umem_json_set_consume(found, "memory", memory);
	room = cgroup_room(pid);
	if (room <= INT64_MAX)
		umem_json_set_u64(found, "cgroup_room_bytes", room);
	*ret_found = found;
	return 0;
}

int umem_machine_open_frames(const struct umem_target *target, int *ret_fd)
{
	const struct umem_reach *reach = target->reach;

	if (!reach)
		return umem_kpage_open(UMEM_KPAGE_FLAGS, ret_fd);
	return reach->open_frames ? reach->open_frames(reach->user, ret_fd) : -EACCES;
}
