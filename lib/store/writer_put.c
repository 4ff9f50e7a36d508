// SPDX-License-Identifier: LGPL-2.1-or-later
/* The writer of an image: what is known of pages; see writer.h. */
#include <errno.h>
#include <stdlib.h>

#include "lib/store/image.h"
#include "lib/store/writer.h"

#define PAGE_BYTES UMEM_IMAGE_PAGE_BYTES

/** struct put - a call of umem_image_put(): @run collects pages that belong together. */
struct put {
	struct umem_image_writer *w;
	uint32_t space;
	bool compare;
	struct umem_run run;
	struct umem_image_peek peek;
};

/* Pages from @start to @end can be. */
static int check_range(struct umem_image_writer *w, uint64_t start, uint64_t end)
{
	int r = umem_writer_check(w);

	if (r < 0)
		return r;
	if ((start | end) % PAGE_BYTES || start > end)
		return -EINVAL;
	return 0;
}

/* Put a run of any length into the index. */
static int set_run(struct umem_image_writer *w, uint32_t space, const struct umem_run *run)
{
	struct umem_writer_space *s;
	int r = umem_writer_space(w, space, &s);
	uint64_t dead = 0;

	if (r < 0)
		return r;
	r = umem_runs_set(&s->runs, run, &dead);
	w->n_superseded += dead;
	w->n_superseded_ever += dead;
	return r < 0 ? umem_writer_fail(w, r, "index") : 0;
}

static int set_range(struct umem_image_writer *w, uint32_t space, uint64_t start, uint64_t end,
	struct umem_run run)
{
	while (start < end) {
		uint64_t n = umem_min_u64((end - start) / PAGE_BYTES, UMEM_RUN_MAX_PAGES);
		int r;

		run.start = start;
		run.n_pages = n;
		r = set_run(w, space, &run);
		if (r < 0)
			return r;
		if (run.kind == UMEM_RUN_PARENT)
			run.ref += n * PAGE_BYTES;
		start += n * PAGE_BYTES;
	}
	return 0;
}

/* One more page: it goes on with the run, or begins one. */
static int add_page(struct put *put, uint64_t addr, enum umem_run_kind kind, uint32_t space,
	uint64_t ref)
{
	struct umem_run *run = &put->run;
	bool goes_on = run->n_pages > 0 && run->kind == kind && run->space == space;
	int r;

	if (goes_on && kind == UMEM_RUN_DATA)
		goes_on = run->ref + run->n_pages == ref;
	else if (goes_on && kind == UMEM_RUN_PARENT)
		goes_on = run->ref + (uint64_t)run->n_pages * PAGE_BYTES == ref;
	else if (goes_on)
		goes_on = run->ref == ref;
	if (goes_on) {
		run->n_pages++;
		return 0;
	}
	if (run->n_pages > 0) {
		r = set_run(put->w, put->space, run);
		if (r < 0)
			return r;
	}
	*run = (struct umem_run){ .start = addr, .n_pages = 1, .kind = kind, .space = space,
		.ref = ref };
	return 0;
}

/* One word, repeated? */
static bool is_fill(const unsigned char *page, uint64_t *ret_word)
{
	*ret_word = umem_get64(page);
	return umem_get64(page + PAGE_BYTES - 8) == *ret_word &&
		umem_get64(page + 8) == *ret_word && memcmp(page, page + 8, PAGE_BYTES - 8) == 0;
}

static int note_hash(struct umem_image_writer *w, uint64_t number, uint64_t lane)
{
	if (number >= w->hashes_room) {
		uint64_t room = w->hashes_room ? w->hashes_room * 2 : 1024;
		uint64_t *more = realloc(w->hashes, room * sizeof(*more));

		if (!more)
			return umem_writer_fail(w, -ENOMEM, "hashes of pages");
		w->hashes = more;
		w->hashes_room = room;
	}
	w->hashes[number] = lane;
	return 0;
}

/* Where this content is, in this image or in the parent; stored when it is nowhere. */
static int place_page(struct put *put, uint64_t addr, const unsigned char *page)
{
	struct umem_image_writer *w = put->w;
	struct umem_pagehash2 hash = umem_pagehash_both(&w->key, page);
	uint64_t number, there;
	uint32_t space;
	int r;

	if (umem_dedup_find(&w->dedup, &hash, &number))
		return add_page(put, addr, UMEM_RUN_DATA, 0, number);
	if (w->kin && umem_kin_find(w->kin, page, w->next, &space, &there))
		return add_page(put, addr, UMEM_RUN_PARENT, space, there);
	r = note_hash(w, w->next, hash.lane[0]);
	if (r < 0)
		return r;
	r = umem_sink_page(w->sink, w->next, page);
	if (r < 0)
		return umem_writer_fail_writing(w, r);
	umem_dedup_add(&w->dedup, &hash, w->next);
	return add_page(put, addr, UMEM_RUN_DATA, 0, w->next++);
}

static int put_page(struct put *put, uint64_t addr, const unsigned char *page)
{
	uint64_t word;
	int r;

	if (is_fill(page, &word))
		return add_page(put, addr, word ? UMEM_RUN_FILL : UMEM_RUN_ZERO, 0, word);
	if (put->compare) {
		uint32_t parent = put->w->spaces[put->space].parent;

		r = umem_image_peek(&put->peek, parent, addr, page);
		if (r < 0)
			return umem_writer_fail(put->w, r, "reading the parent");
		if (r == UMEM_PEEK_SAME)
			return add_page(put, addr, UMEM_RUN_PARENT, parent, addr);
	}
	return place_page(put, addr, page);
}

static int put_pages(struct umem_image_writer *w, uint32_t space, uint64_t addr,
	const void *bytes, uint64_t n_pages, bool compare)
{
	struct put put = { .w = w, .space = space, .compare = compare };
	struct umem_writer_space *s;
	int r = umem_writer_check(w);

	if (r < 0)
		return r;
	if (addr % PAGE_BYTES || n_pages > (UINT64_MAX - addr) / PAGE_BYTES)
		return -EINVAL;
	r = umem_writer_space(w, space, &s);
	if (r < 0)
		return r;
	if (compare)
		umem_image_peek_init(&put.peek, w->parent);
	for (uint64_t i = 0; i < n_pages && r == 0; i++)
		r = put_page(&put, addr + i * PAGE_BYTES,
			(const unsigned char *)bytes + i * PAGE_BYTES);
	if (r == 0 && put.run.n_pages > 0)
		r = set_run(w, space, &put.run);
	return r == 0 ? umem_writer_clean_if(w) : r;
}

int umem_image_put(struct umem_image_writer *w, uint32_t space, uint64_t addr,
	const void *bytes, uint64_t n_pages)
{
	return put_pages(w, space, addr, bytes, n_pages, false);
}

int umem_image_put_if_changed(struct umem_image_writer *w, uint32_t space, uint64_t addr,
	const void *bytes, uint64_t n_pages)
{
	return put_pages(w, space, addr, bytes, n_pages, w->parent != NULL);
}

int umem_image_put_zero(struct umem_image_writer *w, uint32_t space, uint64_t start,
	uint64_t end)
{
	int r = check_range(w, start, end);

	if (r < 0)
		return r;
	return set_range(w, space, start, end, (struct umem_run){ .kind = UMEM_RUN_ZERO });
}

int umem_image_drop(struct umem_image_writer *w, uint32_t space, uint64_t start, uint64_t end)
{
	struct umem_writer_space *s;
	uint64_t dead = 0;
	int r = check_range(w, start, end);

	if (r == 0)
		r = umem_writer_space(w, space, &s);
	if (r < 0)
		return r;
	r = umem_runs_drop(&s->runs, start, end, &dead);
	w->n_superseded += dead;
	w->n_superseded_ever += dead;
	return r < 0 ? umem_writer_fail(w, r, "index") : umem_writer_clean_if(w);
}

int umem_image_put_parent(struct umem_image_writer *w, uint32_t space, uint64_t start,
	uint64_t end)
{
	struct umem_writer_space *s;
	uint32_t parent;
	size_t at;
	int r = w->parent ? umem_image_drop(w, space, start, end) : -EINVAL;

	if (r == 0)
		r = umem_writer_space(w, space, &s);
	if (r < 0)
		return r;
	parent = s->parent;
	if (parent >= umem_image_n_spaces(w->parent))
		return 0;
	at = umem_image_find(w->parent, parent, start);
	for (; start < end && at < umem_image_n_runs(w->parent, parent); at++) {
		struct umem_run run = umem_image_run_at(w->parent, parent, at);
		uint64_t from = umem_max_u64(start, run.start);
		uint64_t to = umem_min_u64(end, umem_run_end(&run));

		if (from >= to)
			break;
		r = set_range(w, space, from, to, (struct umem_run){ .kind = UMEM_RUN_PARENT,
			.space = parent, .ref = from });
		if (r < 0)
			return r;
	}
	return 0;
}
