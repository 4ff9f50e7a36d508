// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A round as it came: its numbers, and a table or bitmap that is mapped from the
 * worker's own memory. That is sealed, so it stays as it is and cannot shrink under
 * the mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/ranges.h"
#include "lib/client/client.h"

#define PAGE_BYTES 4096u
#define SEALS      (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* A record of a table: io.umemd.Dirty. */
struct record {
	uint64_t start;
	uint64_t end;
	uint64_t why;
};

/* A part of a bitmap. */
struct area {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
};

/**
 * struct umem_client_round - a round.
 * @at, @len_bytes: what is mapped; NULL for nothing.
 * @n_records: of a table, those that are not gone.
 * @areas, @n_areas: of a bitmap.
 */
struct umem_client_round {
	struct umem_round numbers;
	struct umem_reasons incomplete;
	bool recovered;
	struct umem_ranges gone;
	const void *at;
	size_t len_bytes;
	bool is_table;
	size_t n_records;
	struct area *areas;
	size_t n_areas;
};

UMEM_DEFINE_CLEANUP(struct umem_client_round, umem_client_round_free)

struct umem_client_round *umem_client_round_free(struct umem_client_round *round)
{
	if (!round)
		return NULL;
	if (round->at)
		munmap((void *)round->at, round->len_bytes);
	umem_reasons_deinit(&round->incomplete);
	umem_ranges_deinit(&round->gone);
	free(round->areas);
	free(round);
	return NULL;
}

static int read_numbers(const struct umem_json *json, struct umem_client_round *round)
{
	static const char *const whys[UMEM_N_WHYS] = {
		[UMEM_WHY_WRITTEN] = "written_bytes", [UMEM_WHY_NEW] = "new_bytes",
		[UMEM_WHY_PUNCHED] = "punched_bytes", [UMEM_WHY_SHARER] = "sharer_bytes",
		[UMEM_WHY_PINNED] = "pinned_bytes",
	};
	int r = umem_client_read_reasons(umem_json_get(json, "incomplete"), &round->incomplete);

	round->numbers = (struct umem_round){
		.round = umem_client_get_u64(json, "round"),
		.at_ns = umem_client_get_u64(json, "at_ns"),
		.interval_ns = umem_client_get_u64(json, "interval_ns"),
		.tracked_bytes = umem_client_get_u64(json, "tracked_bytes"),
		.dirty_bytes = umem_client_get_u64(json, "dirty_bytes"),
		.gone_bytes = umem_client_get_u64(json, "gone_bytes"),
		.scan_ns = umem_client_get_u64(json, "scan_ns"),
		.complete = umem_json_get_bool(json, "complete", false),
		.incomplete = round->incomplete.v,
		.n_incomplete = round->incomplete.n,
	};
	for (int i = 0; i < UMEM_N_WHYS; i++)
		round->numbers.why_bytes[i] = umem_client_get_u64(json, whys[i]);
	round->recovered = umem_json_get_bool(json, "recovered", false);
	return r;
}

int umem_client_map_memfd(const struct umem_client_answer *answer, int64_t index,
	const void **ret_at, size_t *ret_len_bytes)
{
	int fd = index >= 0 && (uint64_t)index < answer->frame.n_fds ?
		answer->frame.fds[index] : -1;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *at = NULL;

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0)
		return -EPROTO;
	if (st.st_size > 0)
		at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*ret_at = at;
	*ret_len_bytes = (size_t)st.st_size;
	return 0;
}

static int read_table(struct umem_client_round *round)
{
	const struct record *v = round->at;
	size_t n = round->len_bytes / sizeof(*v), i = 0;
	uint64_t last = 0;
	int r = 0;

	round->is_table = true;
	if (round->len_bytes % sizeof(*v))
		return -EPROTO;
	for (; i < n && v[i].why < UMEM_N_WHYS; i++) {
		if (v[i].start < last || v[i].end <= v[i].start)
			return -EPROTO;
		last = v[i].end;
	}
	round->n_records = i;
	for (; i < n && r == 0; i++) {
		if (v[i].why != UMEM_N_WHYS || v[i].end <= v[i].start)
			return -EPROTO;
		r = umem_ranges_add(&round->gone, v[i].start, v[i].end);
	}
	return r;
}

static int read_areas(const struct umem_json *list, struct umem_client_round *round)
{
	size_t n = umem_json_count(list);

	round->areas = n ? calloc(n, sizeof(*round->areas)) : NULL;
	if (n && !round->areas)
		return -ENOMEM;
	for (; round->n_areas < n; round->n_areas++) {
		const struct umem_json *item = umem_json_item(list, round->n_areas);
		struct area area = {
			umem_client_get_u64(item, "start"),
			umem_client_get_u64(item, "end"),
			umem_client_get_u64(item, "offset"),
		};
		uint64_t bytes = (area.end - area.start) / PAGE_BYTES / 8;

		if (area.end <= area.start || (area.start | area.end) % (8 * PAGE_BYTES) ||
			area.offset > round->len_bytes || bytes > round->len_bytes - area.offset)
			return -EPROTO;
		round->areas[round->n_areas] = area;
	}
	return 0;
}

static int read_gone(const struct umem_json *list, struct umem_client_round *round)
{
	const struct umem_json *item;
	int r = 0;

	for (size_t i = 0; (item = umem_json_item(list, i)) && r == 0; i++) {
		uint64_t start = umem_client_get_u64(item, "start");
		uint64_t end = umem_client_get_u64(item, "end");

		r = end > start ? umem_ranges_add(&round->gone, start, end) : -EPROTO;
	}
	return r;
}

int umem_client_round_new(struct umem_client_answer *answer,
	struct umem_client_round **ret_round)
{
	UMEM_CLEANUP(umem_client_round_freep) struct umem_client_round *round =
		calloc(1, sizeof(*round));
	const struct umem_json *p = answer->reply.parameters;
	int64_t table = umem_json_get_int(p, "table", -1);
	int64_t bitmap = umem_json_get_int(p, "bitmap", -1);
	int r;

	if (!round)
		return -ENOMEM;
	if (!umem_json_get(p, "round"))
		return -EPROTO;
	r = read_numbers(umem_json_get(p, "round"), round);
	if (r == 0 && (table >= 0 || bitmap >= 0))
		r = umem_client_map_memfd(answer, table >= 0 ? table : bitmap, &round->at,
			&round->len_bytes);
	if (r == 0 && table >= 0)
		r = read_table(round);
	else if (r == 0 && bitmap >= 0)
		r = read_areas(umem_json_get(p, "areas"), round);
	if (r == 0 && table < 0)
		r = read_gone(umem_json_get(p, "gone"), round);
	if (r < 0)
		return r;
	*ret_round = UMEM_TAKE_PTR(round);
	return 0;
}

const struct umem_round *umem_client_round_numbers(const struct umem_client_round *round)
{
	return &round->numbers;
}

bool umem_client_round_recovered(const struct umem_client_round *round)
{
	return round->recovered;
}

const struct umem_range *umem_client_round_gone(const struct umem_client_round *round,
	size_t *ret_n)
{
	*ret_n = round->gone.n;
	return round->gone.v;
}

/* The runs of set bits of an area. */
static int each_run(const struct umem_client_round *round, const struct area *area,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_why why), void *user)
{
	const uint8_t *bits = (const uint8_t *)round->at + area->offset;
	uint64_t n = (area->end - area->start) / PAGE_BYTES, begin = 0;
	bool inside = false;
	int r = 0;

	for (uint64_t i = 0; i <= n && r == 0; i++) {
		bool set = i < n && bits[i / 8] >> (i % 8) & 1;

		if (set && !inside)
			begin = i;
		if (!set && inside)
			r = each(user, area->start + begin * PAGE_BYTES,
				area->start + i * PAGE_BYTES, UMEM_WHY_WRITTEN);
		inside = set;
	}
	return r;
}

int umem_client_round_each(const struct umem_client_round *round,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_why why), void *user)
{
	const struct record *v = round->at;
	int r = 0;

	for (size_t i = 0; i < round->n_records && r == 0; i++)
		r = each(user, v[i].start, v[i].end, (enum umem_why)v[i].why);
	for (size_t i = 0; i < round->n_areas && r == 0; i++)
		r = each_run(round, &round->areas[i], each, user);
	return r;
}
