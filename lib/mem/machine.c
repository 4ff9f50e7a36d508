// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What work on a target has to know of the whole machine.
 *
 * Between who may look and who may not goes JSON: a member for each area and each
 * amount of memory that the kernel tells.
 */
#include "lib/mem/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/kern/cgroup.h"
#include "lib/kern/kpage.h"

/* More areas than the kernel has room for (MAX_SWAPFILES). */
#define MAX_AREAS 64u

/* A number of a struct, and its name. */
struct amount {
	const char *key;
	size_t offset;
};

/* In the order of enum umem_meminfo_item. */
static const struct amount amounts[UMEM_N_MEMINFOS] = {
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

/* In the order of enum umem_vmstat_item. */
static const struct amount events[UMEM_N_VMSTATS] = {
#define EVENT(item, member) [UMEM_VMSTAT_##item] = { #member, offsetof(struct umem_vmstat, member) }
	EVENT(PSWPIN, pswpin),
	EVENT(PSWPOUT, pswpout),
	EVENT(SWPIN_ZERO, swpin_zero),
	EVENT(SWPOUT_ZERO, swpout_zero),
	EVENT(ZSWPIN, zswpin),
	EVENT(ZSWPOUT, zswpout),
	EVENT(PGMAJFAULT, pgmajfault),
	EVENT(PGSCAN_KSWAPD, pgscan_kswapd),
	EVENT(PGSCAN_DIRECT, pgscan_direct),
	EVENT(PGSCAN_PROACTIVE, pgscan_proactive),
	EVENT(PGSTEAL_KSWAPD, pgsteal_kswapd),
	EVENT(PGSTEAL_DIRECT, pgsteal_direct),
	EVENT(PGSTEAL_PROACTIVE, pgsteal_proactive),
	EVENT(PGSCAN_ANON, pgscan_anon),
	EVENT(PGSCAN_FILE, pgscan_file),
	EVENT(PGSTEAL_ANON, pgsteal_anon),
	EVENT(PGSTEAL_FILE, pgsteal_file),
	EVENT(WORKINGSET_REFAULT_ANON, workingset_refault_anon),
#undef EVENT
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
		area->zram.orig_bytes = get_u64(item, "orig_bytes");
		area->zram.mem_used_bytes = get_u64(item, "mem_used_bytes");
		area->path = strdup(umem_json_get_text(item, "path", ""));
		if (!area->path)
			return -ENOMEM;
		if (__builtin_add_overflow(areas->total_bytes, area->size_bytes,
			    &areas->total_bytes) ||
			__builtin_add_overflow(areas->used_bytes, area->used_bytes,
				&areas->used_bytes))
			return -EBADMSG;
	}
	return 0;
}

/* Members of @json into what @v names. Return: bits of those that are there. */
static uint32_t read_amounts(const struct umem_json *json, const struct amount *v, size_t n,
	void *to)
{
	uint32_t present = 0;

	for (size_t i = 0; i < n; i++) {
		if (umem_json_type(umem_json_get(json, v[i].key)) != UMEM_JSON_INT)
			continue;
		*(uint64_t *)((char *)to + v[i].offset) = get_u64(json, v[i].key);
		present |= 1u << i;
	}
	return present;
}

static struct umem_json *json_amounts(const void *from, uint32_t present, const struct amount *v,
	size_t n)
{
	struct umem_json *json = umem_json_object();

	for (size_t i = 0; i < n; i++)
		if (present >> i & 1)
			umem_json_set_u64(json, v[i].key,
				*(const uint64_t *)((const char *)from + v[i].offset));
	return json;
}

static struct umem_meminfo read_memory(const struct umem_json *found)
{
	struct umem_meminfo info = { 0 };

	info.present = read_amounts(umem_json_get(found, "memory"), amounts, UMEM_N_MEMINFOS,
		&info);
	return info;
}

static int read_found(const struct umem_json *found, struct umem_machine *machine)
{
	machine->info = read_memory(found);
	return read_areas(umem_json_get(found, "areas"), &machine->areas);
}

/* Have somebody else look. Return: 0 or -errno. */
static int ask(const struct umem_target *target, unsigned parts, struct umem_json **ret_found)
{
	const struct umem_reach *reach = target->reach;

	return reach->machine ? reach->machine(reach->user, parts, ret_found) : -EACCES;
}

int umem_machine_read(const struct umem_target *target, struct umem_machine *machine)
{
	UMEM_CLEANUP(umem_json_freep) struct umem_json *found = NULL;
	int r;

	if (!target->reach)
		return read_here(machine);
	r = ask(target, 0, &found);
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
	int r = target->reach ? ask(target, UMEM_MACHINE_ROOM, &found) : read_here(&machine);

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
		umem_json_set_u64(item, "orig_bytes", area->zram.orig_bytes);
		umem_json_set_u64(item, "mem_used_bytes", area->zram.mem_used_bytes);
		umem_json_set_text(item, "path", area->path);
		umem_json_append_consume(list, item);
	}
	return list;
}

static struct umem_json *json_psi(const struct umem_psi *psi, bool own)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_bool(json, "own", own);
	umem_json_set_u64(json, "some_avg10", psi->some.avg10);
	umem_json_set_u64(json, "some_total_us", psi->some.total_us);
	umem_json_set_u64(json, "full_avg10", psi->full.avg10);
	umem_json_set_u64(json, "full_total_us", psi->full.total_us);
	return json;
}

/* Stalls of the cgroup of process @pid, or of the machine; nothing where nobody tells. */
static void add_psi(int pid, struct umem_json *found)
{
	UMEM_CLEANUP(umem_cgroup_deinit) struct umem_cgroup cgroup = UMEM_CGROUP_NONE;
	struct umem_psi psi;
	bool own = umem_cgroup_of("/proc", pid, &cgroup, NULL) == 0 &&
		umem_cgroup_psi(&cgroup, &psi) == 0;

	if (own || umem_psi_read(AT_FDCWD, UMEM_PSI_MACHINE, &psi) == 0)
		umem_json_set_consume(found, "pressure", json_psi(&psi, own));
}

int umem_machine_strain(const struct umem_target *target, struct umem_machine_strain *ret_strain)
{
	UMEM_CLEANUP(umem_json_freep) struct umem_json *found = NULL;
	const struct umem_json *psi;
	int r = ask(target, UMEM_MACHINE_STRAIN, &found);

	if (r < 0)
		return r;
	*ret_strain = (struct umem_machine_strain){ .info = read_memory(found) };
	ret_strain->vmstat.present = read_amounts(umem_json_get(found, "events"), events,
		UMEM_N_VMSTATS, &ret_strain->vmstat);
	psi = umem_json_get(found, "pressure");
	ret_strain->psi_known = umem_json_type(psi) == UMEM_JSON_OBJECT;
	ret_strain->psi_own = umem_json_get_bool(psi, "own", false);
	ret_strain->psi = (struct umem_psi){
		.some = { (uint32_t)get_u64(psi, "some_avg10"), get_u64(psi, "some_total_us") },
		.full = { (uint32_t)get_u64(psi, "full_avg10"), get_u64(psi, "full_total_us") },
	};
	return 0;
}

int umem_machine_find(int pid, unsigned parts, struct umem_json **ret_found)
{
	UMEM_CLEANUP(umem_machine_deinit) struct umem_machine machine = { 0 };
	struct umem_vmstat vmstat;
	struct umem_json *found;
	uint64_t room;
	int r = read_here(&machine);

	if (r < 0)
		return r;
	found = umem_json_object();
	umem_json_set_consume(found, "areas", json_areas(&machine.areas));
	umem_json_set_consume(found, "memory", json_amounts(&machine.info, machine.info.present,
		amounts, UMEM_N_MEMINFOS));
	room = parts & UMEM_MACHINE_ROOM ? cgroup_room(pid) : UINT64_MAX;
	if (room <= INT64_MAX)
		umem_json_set_u64(found, "cgroup_room_bytes", room);
	if (parts & UMEM_MACHINE_STRAIN) {
		add_psi(pid, found);
		if (umem_vmstat_read(NULL, &vmstat) == 0)
			umem_json_set_consume(found, "events", json_amounts(&vmstat,
				vmstat.present, events, UMEM_N_VMSTATS));
	}
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
