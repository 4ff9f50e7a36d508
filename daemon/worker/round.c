// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A round of dirty tracking, in the forms in which it can be asked for.
 *
 * Tables and bitmaps are written straight into a memfd that goes to the client.
 */
#include "daemon/worker/round.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/worker/memfd.h"
#include "lib/base/fd.h"
#include "lib/mem/pageset.h"

#define REASONS_MAX 1024u
#define WHY_GONE    UMEM_N_WHYS
/* Pages between two areas, which one area has as zeros instead. */
#define GAP_PAGES 2048u

struct umem_json *round_json_reasons(const struct umem_reason *v, size_t n)
{
	struct umem_json *list = umem_json_array(), *item;
	size_t shown = n > REASONS_MAX ? REASONS_MAX : n;
	char more[64];

	for (size_t i = 0; i < shown; i++) {
		item = umem_json_object();
		if (v[i].end != UINT64_MAX) {
			umem_json_set_u64(item, "start", v[i].start);
			umem_json_set_u64(item, "end", v[i].end);
		}
		umem_json_set_text(item, "reason", v[i].reason);
		umem_json_append_consume(list, item);
	}
	if (shown < n) {
		snprintf(more, sizeof(more), "%zu more reasons", n - shown);
		item = umem_json_object();
		umem_json_set_text(item, "reason", more);
		umem_json_append_consume(list, item);
	}
	return list;
}

static struct umem_json *json_round(const struct umem_round *round, bool recovered)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_u64(json, "round", round->round);
	umem_json_set_u64(json, "at_ns", round->at_ns);
	umem_json_set_u64(json, "interval_ns", round->interval_ns);
	umem_json_set_u64(json, "tracked_bytes", round->tracked_bytes);
	umem_json_set_u64(json, "dirty_bytes", round->dirty_bytes);
	for (int i = 0; i < UMEM_N_WHYS; i++) {
		char key[32];

		snprintf(key, sizeof(key), "%s_bytes", umem_why_name((enum umem_why)i));
		umem_json_set_u64(json, key, round->why_bytes[i]);
	}
	umem_json_set_u64(json, "gone_bytes", round->gone_bytes);
	umem_json_set_u64(json, "scan_ns", round->scan_ns);
	umem_json_set_bool(json, "complete", round->complete);
	umem_json_set_consume(json, "incomplete",
		round_json_reasons(round->incomplete, round->n_incomplete));
	umem_json_set_bool(json, "recovered", recovered);
	return json;
}

static int count_range(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	(*(uint64_t *)user)++;
	return 0;
}

static struct umem_json *json_range(uint64_t start, uint64_t end)
{
	struct umem_json *item = umem_json_object();

	umem_json_set_u64(item, "start", start);
	umem_json_set_u64(item, "end", end);
	return item;
}

static int append_range(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct umem_json *item = json_range(start, end);

	umem_json_set_text(item, "why", umem_why_name(why));
	umem_json_append_consume(user, item);
	return 0;
}

static int add_gone(struct umem_watch *watch, uint64_t n_others, struct answer *answer)
{
	struct umem_json *list;
	size_t n;
	const struct umem_range *gone = umem_watch_gone(watch, &n);

	answer->n_ranges = n_others + n;
	if (answer->n_ranges > ROUND_RANGES_MAX)
		return -E2BIG;
	list = umem_json_array();
	for (size_t i = 0; i < n; i++)
		umem_json_append_consume(list, json_range(gone[i].start, gone[i].end));
	umem_json_set_consume(answer->parameters, "gone", list);
	return 0;
}

static int add_ranges(struct umem_watch *watch, struct answer *answer)
{
	struct umem_json *list;
	uint64_t n = 0;
	int r = umem_watch_each(watch, count_range, &n);

	if (r == 0)
		r = add_gone(watch, n, answer);
	if (r < 0)
		return r;
	list = umem_json_array();
	umem_json_set_consume(answer->parameters, "ranges", list);
	return umem_watch_each(watch, append_range, list);
}

static int write_record(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct round_record **at = user;

	*(*at)++ = (struct round_record){ start, end, why };
	return 0;
}

static int add_table(struct umem_watch *watch, struct answer *answer)
{
	struct round_record *at;
	void *table = NULL;
	uint64_t n = 0;
	size_t n_gone, len;
	const struct umem_range *gone = umem_watch_gone(watch, &n_gone);
	int fd = -1, r = umem_watch_each(watch, count_range, &n);

	if (r < 0)
		return r;
	len = (n + n_gone) * sizeof(*at);
	r = memfd_new("umemd-table", len, &fd, &table);
	if (r < 0)
		return r;
	at = table;
	r = umem_watch_each(watch, write_record, &at);
	for (size_t i = 0; i < n_gone; i++)
		*at++ = (struct round_record){ gone[i].start, gone[i].end, WHY_GONE };
	if (r < 0) {
		munmap(table, len);
		umem_fd_close(fd);
		return r;
	}
	return memfd_answer(fd, table, len, "table", answer);
}

/*
 * A bitmap in the making: areas of it, and where the bits go. Areas begin at a
 * multiple of eight pages, so that each begins with a byte of its own.
 */
struct bitmap {
	struct umem_range areas[ROUND_AREAS_MAX];
	size_t n;
	uint64_t gap_pages;
	uint8_t *bits;
	size_t at;
	uint64_t offset;
};

#define BYTE_SPAN (8 * UMEM_PAGE_BYTES)

/* Extend the last area or begin another one; 1 when there are too many. */
static int add_area(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct bitmap *b = user;
	struct umem_range *last = b->n ? &b->areas[b->n - 1] : NULL;

	start = umem_align_down(start, BYTE_SPAN);
	end = umem_align_up(end, BYTE_SPAN);
	if (last && start <= last->end + b->gap_pages * UMEM_PAGE_BYTES) {
		last->end = umem_max_u64(last->end, end);
		return 0;
	}
	if (b->n == ROUND_AREAS_MAX)
		return 1;
	b->areas[b->n++] = (struct umem_range){ start, end };
	return 0;
}

static int set_bits(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct bitmap *b = user;

	while (start >= b->areas[b->at].end) {
		b->offset += (b->areas[b->at].end - b->areas[b->at].start) / BYTE_SPAN;
		b->at++;
	}
	for (; start < end; start += UMEM_PAGE_BYTES) {
		uint64_t bit = (start - b->areas[b->at].start) / UMEM_PAGE_BYTES;

		/* Whole bytes of long runs. */
		if (bit % 8 == 0 && end - start >= BYTE_SPAN) {
			uint64_t bytes = (end - start) / BYTE_SPAN;

			memset(b->bits + b->offset + bit / 8, 0xff, bytes);
			start += (bytes * 8 - 1) * UMEM_PAGE_BYTES;
			continue;
		}
		b->bits[b->offset + bit / 8] |= (uint8_t)(1u << bit % 8);
	}
	return 0;
}

static struct umem_json *json_areas(const struct bitmap *b)
{
	struct umem_json *list = umem_json_array();
	uint64_t offset = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct umem_json *item = json_range(b->areas[i].start, b->areas[i].end);

		umem_json_set_u64(item, "offset", offset);
		offset += (b->areas[i].end - b->areas[i].start) / BYTE_SPAN;
		umem_json_append_consume(list, item);
	}
	return list;
}

static int add_bitmap(struct umem_watch *watch, struct answer *answer)
{
	struct bitmap b = { .gap_pages = GAP_PAGES };
	uint64_t len = 0;
	void *at = NULL;
	int fd = -1, r = add_gone(watch, 0, answer);

	while (r == 0) {
		b.n = 0;
		r = umem_watch_each(watch, add_area, &b);
		if (r <= 0)
			break;
		b.gap_pages *= 8;
		r = 0;
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < b.n; i++)
		len += (b.areas[i].end - b.areas[i].start) / BYTE_SPAN;
	r = memfd_new("umemd-bitmap", len, &fd, &at);
	if (r < 0)
		return r;
	b.bits = at;
	r = umem_watch_each(watch, set_bits, &b);
	if (r < 0) {
		munmap(at, len);
		umem_fd_close(fd);
		return r;
	}
	umem_json_set_consume(answer->parameters, "areas", json_areas(&b));
	return memfd_answer(fd, at, len, "bitmap", answer);
}

int round_answer(struct umem_watch *watch, const struct umem_round *round, const char *form,
	bool recovered, struct answer *answer)
{
	answer->parameters = umem_json_object();
	umem_json_set_consume(answer->parameters, "round", json_round(round, recovered));
	if (!form || strcmp(form, "numbers") == 0)
		return 0;
	if (strcmp(form, "ranges") == 0)
		return add_ranges(watch, answer);
	return strcmp(form, "table") == 0 ? add_table(watch, answer) : add_bitmap(watch, answer);
}
