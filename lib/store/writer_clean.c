// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The writer of an image: room of content that was replaced; see writer.h.
 *
 * Theory of operation
 *
 * Pre-copy puts hot pages again and again, so the file would grow by every round. A
 * cleaning bounds that. It is a mark and sweep over what is in memory:
 *
 *     mark   a bit for each stored page that a run refers to
 *     sort   frames by place, which gives the live and the dead pages of each slot
 *     sweep  slots without a live page are released, and written again
 *     move   while more is dead than may be: of the slots with the smallest live share,
 *            live pages are read back and stored again under their old numbers, so no
 *            run changes; then the slot is released, too
 *
 * It is begun when as many pages were replaced as are a quarter of what is stored, but
 * at least 64 MiB, and leaves at most a quarter of the live ones dead. So the file has
 * at most about 1.7 times what is live, and 64 MiB; a page that is put costs at most a
 * constant number of moves. Before the index is written, an eighth takes the place of
 * a quarter.
 *
 * A dead page in a frame that is kept is still there, so a duplicate of it may refer
 * to it again. What is given back is also taken out of the table of duplicates.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/store/digest.h"
#include "lib/store/writer.h"

#define PAGE_BYTES UMEM_IMAGE_PAGE_BYTES
#define MOVE_BATCH 16u

/** struct slot - a slot of the file: @first frame of it by place, @n of them. */
struct slot {
	size_t first;
	size_t n;
	uint64_t start;
	uint64_t end;
	uint64_t n_live;
	uint64_t n_pages;
	bool is_freed;
};

/**
 * struct clean - a cleaning.
 * @live: a bit for each number.
 * @frames, @n_frames: of the sink, by place in the file.
 * @slots, @n_slots: the same.
 * @decoder, @stored, @pages: to read frames back.
 */
struct clean {
	struct umem_image_writer *w;
	uint64_t *live;
	struct umem_frame *frames;
	size_t n_frames;
	struct slot *slots;
	size_t n_slots;
	struct umem_decoder *decoder;
	unsigned char *stored;
	unsigned char *pages;
};

static void clean_deinit(struct clean *c)
{
	umem_decoder_free(c->decoder);
	free(c->live);
	free(c->frames);
	free(c->slots);
	free(c->stored);
	free(c->pages);
}

static bool is_live(const struct clean *c, uint64_t number)
{
	return c->live[number / 64] >> (number % 64) & 1;
}

static int mark(struct clean *c)
{
	c->live = calloc(c->w->next / 64 + 1, sizeof(*c->live));
	if (!c->live)
		return -ENOMEM;
	for (uint32_t s = 0; s < c->w->n_spaces; s++) {
		const struct umem_runs *runs = &c->w->spaces[s].runs;
		struct umem_runs_at at;

		for (bool more = umem_runs_first(runs, &at); more;
			more = umem_runs_next(runs, &at)) {
			const struct umem_run *run = umem_runs_get(runs, &at);

			if (run->kind != UMEM_RUN_DATA)
				continue;
			for (uint64_t n = run->ref; n < run->ref + run->n_pages; n++)
				c->live[n / 64] |= 1ull << (n % 64);
		}
	}
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct umem_frame *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static int by_number(const void *a, const void *b)
{
	const struct umem_frame *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

struct umem_frame *umem_writer_sort(struct umem_image_writer *w, size_t *ret_n)
{
	struct umem_frame *frames = umem_sink_frames(w->sink, ret_n);
	bool sorted = true;

	for (size_t i = 1; i < *ret_n && sorted; i++)
		sorted = frames[i - 1].first < frames[i].first;
	if (!sorted)
		qsort(frames, *ret_n, sizeof(*frames), by_number);
	return frames;
}

/* The frames by place, and what is live in each slot. */
static int find_slots(struct clean *c)
{
	struct umem_frame *frames = umem_sink_frames(c->w->sink, &c->n_frames);
	size_t slot_bytes = umem_sink_slot_bytes(c->w->sink);

	c->frames = malloc((c->n_frames + 1) * sizeof(*c->frames));
	c->slots = calloc(c->n_frames + 1, sizeof(*c->slots));
	if (!c->frames || !c->slots)
		return -ENOMEM;
	if (c->n_frames > 0)
		memcpy(c->frames, frames, c->n_frames * sizeof(*c->frames));
	qsort(c->frames, c->n_frames, sizeof(*c->frames), by_place);
	for (size_t i = 0; i < c->n_frames; i++) {
		const struct umem_frame *frame = &c->frames[i];
		struct slot *slot = c->n_slots ? &c->slots[c->n_slots - 1] : NULL;
		uint64_t start = (frame->offset - UMEM_IMAGE_HEADER_BYTES) / slot_bytes *
			slot_bytes + UMEM_IMAGE_HEADER_BYTES;

		if (!slot || slot->start != start) {
			slot = &c->slots[c->n_slots++];
			*slot = (struct slot){ .first = i, .start = start };
		}
		slot->n++;
		slot->end = umem_align_up(frame->offset + frame->stored_bytes, PAGE_BYTES);
		slot->n_pages += frame->n_pages;
		for (uint64_t n = frame->first; n < frame->first + frame->n_pages; n++)
			slot->n_live += is_live(c, n);
	}
	return 0;
}

/* A frame of a slot, decoded into @c->pages. */
static int read_frame(struct clean *c, const struct slot *slot,
	const struct umem_frame *frame)
{
	const unsigned char *at = c->stored + (frame->offset - slot->start);
	size_t len = (size_t)frame->n_pages * PAGE_BYTES;

	/* Never make a good checksum of what the disk gave back wrong. */
	if (umem_digest64(at, frame->stored_bytes) != frame->checksum)
		return -EIO;
	if (frame->codec == UMEM_FRAME_PLAIN) {
		memcpy(c->pages, at, len);
		return 0;
	}
	if (!c->decoder && umem_decoder_new(&c->decoder) < 0)
		return -ENOMEM;
	return umem_decoder_frame(c->decoder, at, frame->stored_bytes, c->pages, len);
}

/* Store the live pages of a slot once more. */
static int move(struct clean *c, const struct slot *slot)
{
	size_t len = slot->end - slot->start;
	int r;

	free(c->stored);
	c->stored = aligned_alloc(PAGE_BYTES, len);
	if (!c->stored)
		return -ENOMEM;
	r = umem_sink_read(c->w->sink, c->stored, len, slot->start);
	for (size_t i = slot->first; r == 0 && i < slot->first + slot->n; i++) {
		const struct umem_frame *frame = &c->frames[i];

		r = read_frame(c, slot, frame);
		for (unsigned k = 0; r == 0 && k < frame->n_pages; k++) {
			if (is_live(c, frame->first + k))
				r = umem_sink_page(c->w->sink, frame->first + k,
					c->pages + (size_t)k * PAGE_BYTES);
		}
	}
	return r;
}

static int by_share(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;
	uint64_t left = x->n_live * y->n_pages, right = y->n_live * x->n_pages;

	return (left > right) - (left < right);
}

/* Choose what is given back: until at most @max_dead pages are dead in what is kept. */
static void choose(struct clean *c, uint64_t max_dead)
{
	uint64_t dead = 0;

	for (size_t i = 0; i < c->n_slots; i++)
		dead += c->slots[i].n_pages - c->slots[i].n_live;
	qsort(c->slots, c->n_slots, sizeof(*c->slots), by_share);
	for (size_t i = 0; i < c->n_slots; i++) {
		struct slot *slot = &c->slots[i];

		if (slot->n_live > 0 && dead <= max_dead)
			break;
		slot->is_freed = true;
		dead -= slot->n_pages - slot->n_live;
	}
}

/* Leave only the frames that are kept; what move() stores comes behind them. */
static void keep_frames(struct clean *c)
{
	size_t n_room, n = 0;
	struct umem_frame *frames = umem_sink_frames(c->w->sink, &n_room);

	for (size_t e = 0; e < c->n_slots; e++) {
		const struct slot *slot = &c->slots[e];

		if (slot->is_freed)
			continue;
		memcpy(frames + n, c->frames + slot->first, slot->n * sizeof(*frames));
		n += slot->n;
	}
	umem_sink_set_frames(c->w->sink, n);
}

static bool is_stored(void *user, uint64_t number)
{
	struct clean *c = user;

	return is_live(c, number);
}

/* From here on @c->live has a bit for each page that is in a frame. */
static void mark_stored(struct clean *c)
{
	size_t n;
	const struct umem_frame *frames = umem_sink_frames(c->w->sink, &n);

	uint64_t n_live = 0;

	for (uint64_t i = 0; i <= c->w->next / 64; i++)
		n_live += (uint64_t)__builtin_popcountll(c->live[i]);
	memset(c->live, 0, (c->w->next / 64 + 1) * sizeof(*c->live));
	c->w->n_kept = 0;
	c->w->next_kept = c->w->next;
	for (size_t i = 0; i < n; i++) {
		c->w->n_kept += frames[i].n_pages;
		for (uint64_t k = frames[i].first; k < frames[i].first + frames[i].n_pages; k++)
			c->live[k / 64] |= 1ull << (k % 64);
	}
	c->w->n_dead = c->w->n_kept - n_live;
}

/* Release the slots from @from up to @to that were chosen. */
static int release(struct clean *c, size_t from, size_t to)
{
	int r = 0;

	for (size_t i = from; i < to && r == 0; i++) {
		if (c->slots[i].is_freed)
			r = umem_sink_release(c->w->sink, c->slots[i].start);
	}
	return r;
}

/*
 * The dead come first, so what is moved may go there, and later where it was read from.
 * In batches, and when all blocks have their place: so it does not depend on how quick
 * threads are, which slot a block gets.
 */
static int sweep(struct clean *c)
{
	size_t done = 0;
	int r = 0;

	keep_frames(c);
	while (done < c->n_slots && c->slots[done].n_live == 0)
		done++;
	r = release(c, 0, done);
	while (r == 0 && done < c->n_slots && c->slots[done].is_freed) {
		size_t end = umem_min_u64(done + MOVE_BATCH, c->n_slots);

		for (size_t i = done; i < end && r == 0; i++) {
			if (c->slots[i].is_freed)
				r = move(c, &c->slots[i]);
		}
		if (r == 0)
			r = umem_sink_settle(c->w->sink);
		if (r == 0)
			r = release(c, done, end);
		done = end;
	}
	if (r == 0)
		r = umem_sink_flush(c->w->sink);
	if (r < 0)
		return r;
	mark_stored(c);
	return umem_dedup_keep(&c->w->dedup, is_stored, c);
}

int umem_writer_clean(struct umem_image_writer *w, uint64_t max_dead_pages)
{
	UMEM_CLEANUP(clean_deinit) struct clean c = { .w = w };
	int r = umem_sink_flush(w->sink);

	if (r == 0)
		r = mark(&c);
	if (r == 0)
		r = find_slots(&c);
	c.pages = malloc((size_t)UMEM_MAX_FRAME_PAGES * PAGE_BYTES);
	if (r == 0 && !c.pages)
		r = -ENOMEM;
	if (r == 0) {
		choose(&c, max_dead_pages);
		r = sweep(&c);
	}
	w->n_superseded = 0;
	return r < 0 ? umem_writer_fail_writing(w, r) : 0;
}

/* Pages in frames, and on their way there. */
static uint64_t n_stored(const struct umem_image_writer *w)
{
	return w->n_kept + (w->next - w->next_kept);
}

/* Clean until at most a part of what is live is dead. */
static int clean_to(struct umem_image_writer *w, unsigned part)
{
	uint64_t n = n_stored(w);

	return umem_writer_clean(w, (n - umem_min_u64(n, w->n_dead + w->n_superseded)) / part);
}

int umem_writer_clean_if(struct umem_image_writer *w)
{
	if (w->n_superseded < umem_max_u64(w->min_superseded, n_stored(w) / 4))
		return 0;
	return clean_to(w, 4);
}

int umem_writer_clean_last(struct umem_image_writer *w)
{
	if (w->n_dead + w->n_superseded < umem_max_u64(w->min_superseded / 16, n_stored(w) / 8))
		return 0;
	return clean_to(w, 8);
}
