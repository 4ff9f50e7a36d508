// SPDX-License-Identifier: LGPL-2.1-or-later
/* CRIU's image files, parsed: records, and the pagemap as ranges. */
#include "lib/store/criu_read.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <umemd/store.h>

#include "lib/base/note.h"
#include "lib/store/criu_wire.h"

#define PAGE UMEM_IMAGE_PAGE_BYTES

static bool number(struct umem_cursor *file, uint32_t *ret_value)
{
	uint32_t le;

	if (umem_cursor_left(file) < sizeof(le))
		return false;
	memcpy(&le, file->at, sizeof(le));
	file->at += sizeof(le);
	*ret_value = le32toh(le);
	return true;
}

bool umem_criu_begin(struct umem_cursor *file, uint32_t first, uint32_t second)
{
	uint32_t value;

	if (!number(file, &value) || value != first)
		return false;
	return second == 0 || (number(file, &value) && value == second);
}

int umem_criu_record(struct umem_cursor *file, struct umem_cursor *ret_record)
{
	uint32_t len;

	if (umem_cursor_left(file) == 0)
		return 0;
	if (!number(file, &len) || len > umem_cursor_left(file))
		return -EBADMSG;
	*ret_record = umem_cursor_init(file->at, len);
	file->at += len;
	return 1;
}

static int add_span(struct umem_criu_map *map, const struct umem_criu_span *span)
{
	struct umem_criu_span *last = map->n > 0 ? &map->v[map->n - 1] : NULL;
	bool parent = span->offset == UMEM_CRIU_IN_PARENT;

	/* What is present and adjacent is adjacent in the file of pages, too. */
	if (last && last->end == span->start && (last->offset == UMEM_CRIU_IN_PARENT) == parent) {
		last->end = span->end;
		return 0;
	}
	if (map->n == map->room) {
		size_t room = map->room ? map->room * 2 : 64;
		struct umem_criu_span *more = reallocarray(map->v, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		map->v = more;
		map->room = room;
	}
	map->v[map->n++] = *span;
	return 0;
}

/* What an entry claims, checked. */
static int check_run(const struct umem_criu_map *map, const struct umem_criu_run *run,
	const char *name, struct umem_note *note)
{
	uint64_t len, end;

	if (run->n_pages == 0 || run->vaddr % PAGE ||
		__builtin_mul_overflow(run->n_pages, (uint64_t)PAGE, &len) ||
		__builtin_add_overflow(run->vaddr, len, &end) || end > INT64_MAX)
		return umem_note_set(note, -EBADMSG, run->vaddr, "%s: the entry of %" PRIu64
			" pages at 0x%" PRIx64 " cannot be", name, run->n_pages, run->vaddr);
	if (map->n > 0 && run->vaddr < map->v[map->n - 1].end)
		return umem_note_set(note, -EBADMSG, run->vaddr, "%s: the entry at 0x%" PRIx64
			" is not behind the one before", name, run->vaddr);
	if ((run->flags & (UMEM_CRIU_PE_LAZY | UMEM_CRIU_PE_PRESENT | UMEM_CRIU_PE_PARENT)) ==
		UMEM_CRIU_PE_LAZY)
		return umem_note_set(note, -ENODATA, run->vaddr, "%s: pages at 0x%" PRIx64
			" are still with the machine that was dumped from (lazy)", name,
			run->vaddr);
	return 0;
}

static int take_run(struct umem_criu_map *map, const struct umem_criu_run *run,
	const char *name, struct umem_note *note)
{
	bool present = run->flags & UMEM_CRIU_PE_PRESENT;
	struct umem_criu_span span = { .start = run->vaddr, .offset = UMEM_CRIU_IN_PARENT };
	int r = check_run(map, run, name, note);

	/* Without any flag there is nothing to be had: as if there were no entry. */
	if (r < 0 || !(run->flags & (UMEM_CRIU_PE_PRESENT | UMEM_CRIU_PE_PARENT)))
		return r;
	span.end = run->vaddr + run->n_pages * PAGE;
	if (present) {
		span.offset = map->pages_bytes;
		/* The addresses are disjoint and below INT64_MAX, so is their sum. */
		map->pages_bytes += run->n_pages * PAGE;
	}
	return add_span(map, &span);
}

static int parse(struct umem_cursor file, const char *name, struct umem_criu_map *map,
	struct umem_note *note)
{
	struct umem_cursor record;
	int more, r;

	if (!umem_criu_begin(&file, UMEM_CRIU_COMMON, UMEM_CRIU_PAGEMAP))
		return umem_note_set(note, -EILSEQ, 0, "%s is not a pagemap of CRIU", name);
	more = umem_criu_record(&file, &record);
	if (more <= 0 || umem_criu_get_head(record.at, umem_cursor_left(&record),
			&map->pages_id) < 0)
		return umem_note_set(note, -EBADMSG, 0, "%s: damaged at its head", name);
	while ((more = umem_criu_record(&file, &record)) > 0) {
		struct umem_criu_run run;

		r = umem_criu_get_run(record.at, umem_cursor_left(&record), &run);
		if (r == -ENOTSUP)
			return umem_note_set(note, r, 0, "%s: has entries of a version of CRIU "
				"that is not known (compressed pages?)", name);
		if (r == -EBADMSG)
			return umem_note_set(note, r, 0, "%s: damaged behind %zu entries", name,
				map->n);
		if (r == 0)
			r = take_run(map, &run, name, note);
		if (r < 0)
			return r;
	}
	return more < 0 ? umem_note_set(note, more, 0, "%s: cut off", name) : 0;
}

int umem_criu_map_parse(const void *bytes, size_t len_bytes, const char *name,
	struct umem_criu_map *ret_map, struct umem_note *note)
{
	struct umem_criu_map map = { 0 };
	int r = parse(umem_cursor_init(bytes, len_bytes), name, &map, note);

	if (r < 0)
		umem_criu_map_deinit(&map);
	else
		*ret_map = map;
	return r;
}

size_t umem_criu_map_find(const struct umem_criu_map *map, uint64_t addr)
{
	size_t low = 0, high = map->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (map->v[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void umem_criu_map_deinit(struct umem_criu_map *map)
{
	free(map->v);
	*map = (struct umem_criu_map){ 0 };
}
