// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Two images compared: their pages, their regions.
 *
 * Theory of operation
 *
 * Both are looked up side by side, through their chains, a range at a time for which
 * neither answer changes. Where both answers are the same stored page of the same image
 * (which chains that fork from one ancestor share), or the same word, nothing is read;
 * otherwise pages are. What differs is collected, so that neighbours are told once.
 */
#include <errno.h>
#include <stdlib.h>

#include <umemd/store.h>

#include "lib/base/note.h"
#include "lib/store/image.h"

#define CHUNK_PAGES 256u

/** struct pair - spaces that are compared; one may be UMEM_IMAGE_NO_SPACE. */
struct pair {
	uint32_t first;
	uint32_t second;
};

/**
 * struct diff - a comparison.
 * @pair: of which spaces.
 * @range, @change: what was found last, and not told yet; empty: nothing.
 * @bytes: room for twice CHUNK_PAGES pages.
 * @count_only: the first walk, which finds @total.
 */
struct diff {
	struct umem_image *first;
	struct umem_image *second;
	const struct umem_image_diff_options *options;
	struct umem_note *note;
	struct pair pair;
	struct umem_range range;
	enum umem_image_change change;
	unsigned char *bytes;
	bool count_only;
	uint64_t done;
	uint64_t total;
};

static int tell(struct diff *d)
{
	int r = 0;

	if (d->range.end > d->range.start && d->options->pages)
		r = d->options->pages(d->options->user, d->pair.first, d->pair.second, &d->range,
			d->change);
	d->range = (struct umem_range){ 0 };
	return r;
}

static int differs(struct diff *d, uint64_t start, uint64_t end, enum umem_image_change change)
{
	int r;

	if (d->count_only)
		return 0;
	if (d->range.end == start && d->range.end > d->range.start && d->change == change) {
		d->range.end = end;
		return 0;
	}
	r = tell(d);
	d->range = (struct umem_range){ start, end };
	d->change = change;
	return r;
}

static int progress(struct diff *d, uint64_t n_bytes)
{
	d->done += n_bytes;
	return d->options->progress ?
		d->options->progress(d->options->user, d->done, d->total) : 0;
}

/* Read both, and compare page by page. */
static int compare_bytes(struct diff *d, uint64_t start, uint64_t end)
{
	unsigned char *a = d->bytes, *b = d->bytes + (size_t)CHUNK_PAGES * UMEM_IMAGE_PAGE_BYTES;

	if (d->count_only) {
		d->total += end - start;
		return 0;
	}
	while (start < end) {
		uint64_t n = umem_min_u64((end - start) / UMEM_IMAGE_PAGE_BYTES, CHUNK_PAGES);
		int r = umem_image_get(d->first, d->pair.first, start, a, n, d->note);

		if (r == 0)
			r = umem_image_get(d->second, d->pair.second, start, b, n, d->note);
		for (uint64_t i = 0; i < n && r == 0; i++) {
			uint64_t at = start + i * UMEM_IMAGE_PAGE_BYTES;

			if (memcmp(a + i * UMEM_IMAGE_PAGE_BYTES, b + i * UMEM_IMAGE_PAGE_BYTES,
				    UMEM_IMAGE_PAGE_BYTES) != 0)
				r = differs(d, at, at + UMEM_IMAGE_PAGE_BYTES,
					UMEM_IMAGE_CHANGED);
		}
		if (r == 0)
			r = progress(d, n * UMEM_IMAGE_PAGE_BYTES);
		if (r != 0)
			return r;
		start += n * UMEM_IMAGE_PAGE_BYTES;
	}
	return 0;
}

/* Are they known to be the same, or known to differ, without reading? */
static bool is_same(const struct umem_resolved *a, const struct umem_resolved *b)
{
	if (a->what != b->what)
		return false;
	if (a->what == UMEM_IMAGE_ZERO)
		return true;
	if (a->what == UMEM_IMAGE_FILL)
		return a->ref == b->ref;
	return a->what == UMEM_IMAGE_DATA && a->ref == b->ref &&
		memcmp(a->image->id.bytes, b->image->id.bytes, sizeof(a->image->id.bytes)) == 0;
}

static void resolve(struct umem_image *image, uint32_t space, uint64_t at,
	struct umem_resolved *ret)
{
	if (space != UMEM_IMAGE_NO_SPACE) {
		umem_image_resolve(image, space, at, UINT64_MAX, ret);
		return;
	}
	*ret = (struct umem_resolved){ .end = UINT64_MAX, .what = UMEM_RESOLVED_ABSENT };
}

static int compare_space(struct diff *d)
{
	uint64_t at = 0;
	int r = 0;

	while (at < UINT64_MAX - UMEM_IMAGE_PAGE_BYTES && r == 0) {
		struct umem_resolved a, b;
		uint64_t end;

		resolve(d->first, d->pair.first, at, &a);
		resolve(d->second, d->pair.second, at, &b);
		end = umem_min_u64(a.end, b.end);
		if (a.what == UMEM_RESOLVED_ABSENT && b.what == UMEM_RESOLVED_ABSENT)
			;
		else if (a.what == UMEM_RESOLVED_ABSENT)
			r = differs(d, at, end, UMEM_IMAGE_ADDED);
		else if (b.what == UMEM_RESOLVED_ABSENT)
			r = differs(d, at, end, UMEM_IMAGE_REMOVED);
		else if (!is_same(&a, &b))
			r = compare_bytes(d, at, end);
		at = end;
	}
	return r == 0 ? tell(d) : r;
}

static const struct umem_image_process *process_of(const struct umem_image *image,
	uint32_t space)
{
	uint32_t i = space < image->index.n_spaces ? image->index.processes_of[space] : UINT32_MAX;

	return i == UINT32_MAX ? NULL : &image->index.described.processes[i];
}

static bool same_text(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static bool same_region(const struct umem_image_region *a, const struct umem_image_region *b)
{
	return a->offset == b->offset && a->vma_flags == b->vma_flags &&
		a->inode == b->inode && a->page_size_bytes == b->page_size_bytes &&
		a->file_backed == b->file_backed && same_text(a->kind_name, b->kind_name) &&
		same_text(a->path, b->path);
}

static int tell_region(struct diff *d, const struct umem_image_region *a,
	const struct umem_image_region *b)
{
	enum umem_image_change change = !a ? UMEM_IMAGE_ADDED :
		!b ? UMEM_IMAGE_REMOVED : UMEM_IMAGE_CHANGED;

	return d->options->regions(d->options->user, d->pair.first, d->pair.second, a, b, change);
}

/* Both lists are ascending. */
static int compare_regions(struct diff *d)
{
	const struct umem_image_process *a = process_of(d->first, d->pair.first);
	const struct umem_image_process *b = process_of(d->second, d->pair.second);
	size_t n_a = a ? a->n_regions : 0, n_b = b ? b->n_regions : 0, i = 0, k = 0;
	int r = 0;

	while (r == 0 && d->options->regions && (i < n_a || k < n_b)) {
		const struct umem_image_region *x = i < n_a ? &a->regions[i] : NULL;
		const struct umem_image_region *y = k < n_b ? &b->regions[k] : NULL;

		if (x && y && x->start == y->start && x->end == y->end) {
			if (!same_region(x, y))
				r = tell_region(d, x, y);
			i++;
			k++;
		} else if (x && (!y || x->start <= y->start)) {
			r = tell_region(d, x, NULL);
			i++;
		} else {
			r = tell_region(d, NULL, y);
			k++;
		}
	}
	return r;
}

/** struct by_pid - a process and its space. */
struct by_pid {
	int32_t pid;
	uint32_t space;
};

static int compare_pids(const void *a, const void *b)
{
	const struct by_pid *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* The processes of @image by pid; freed by the caller. */
static int list_pids(const struct umem_image *image, struct by_pid **ret_v)
{
	const struct umem_described *described = &image->index.described;
	struct by_pid *v = calloc(described->n_processes + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < described->n_processes; i++)
		v[i] = (struct by_pid){ described->processes[i].pid,
			described->processes[i].space };
	qsort(v, described->n_processes, sizeof(*v), compare_pids);
	*ret_v = v;
	return 0;
}

/* Give space @i of the first image its counterpart @k, unless another one has that. */
static bool give(struct pair *pairs, bool *taken, uint32_t n_second, uint32_t i, uint32_t k)
{
	if (k >= n_second || taken[k])
		return false;
	pairs[i].second = k;
	taken[k] = true;
	return true;
}

/* Is space @i that of the same pid in both, or of no process in either? */
static bool is_same_owner(const struct diff *d, uint32_t i)
{
	const struct umem_image_process *a = process_of(d->first, i);
	const struct umem_image_process *b = process_of(d->second, i);

	return a && b ? a->pid == b->pid : !a && !b;
}

/* By number and owner, then by pid; when that gives nothing, by number. */
static int pair_first(const struct diff *d, struct pair *pairs, bool *taken)
{
	uint32_t n_second = umem_image_n_spaces(d->second);
	UMEM_FREE struct by_pid *pids = NULL;
	bool any = false;
	int r = list_pids(d->second, &pids);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < umem_image_n_spaces(d->first); i++) {
		pairs[i] = (struct pair){ i, UMEM_IMAGE_NO_SPACE };
		if (is_same_owner(d, i) && give(pairs, taken, n_second, i, i))
			any |= process_of(d->first, i) != NULL;
	}
	for (uint32_t i = 0; i < umem_image_n_spaces(d->first); i++) {
		const struct umem_image_process *process = process_of(d->first, i);
		struct by_pid key = { .pid = process ? process->pid : 0 };
		const struct by_pid *found = process ? bsearch(&key, pids,
			d->second->index.described.n_processes, sizeof(key), compare_pids) : NULL;

		if (found && pairs[i].second == UMEM_IMAGE_NO_SPACE)
			any |= give(pairs, taken, n_second, i, found->space);
	}
	for (uint32_t i = 0; i < umem_image_n_spaces(d->first) && !any; i++) {
		if (pairs[i].second == UMEM_IMAGE_NO_SPACE)
			give(pairs, taken, n_second, i, i);
	}
	return 0;
}

/* Pair the spaces of both images; @pairs has room for all of both. */
static int pair_up(const struct diff *d, struct pair *pairs, size_t *ret_n)
{
	uint32_t n = umem_image_n_spaces(d->first), n_second = umem_image_n_spaces(d->second);
	UMEM_FREE bool *taken = calloc(n_second + 1, sizeof(*taken));
	int r = taken ? pair_first(d, pairs, taken) : -ENOMEM;

	if (r < 0)
		return r;
	for (uint32_t k = 0; k < n_second; k++) {
		if (!taken[k])
			pairs[n++] = (struct pair){ UMEM_IMAGE_NO_SPACE, k };
	}
	*ret_n = n;
	return 0;
}

static int compare_all(struct diff *d, const struct pair *pairs, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		d->pair = pairs[i];
		if (!d->count_only)
			r = compare_regions(d);
		if (r == 0)
			r = compare_space(d);
	}
	return r;
}

int umem_image_diff(struct umem_image *first, struct umem_image *second,
	const struct umem_image_diff_options *options, struct umem_note *note)
{
	UMEM_FREE struct pair *pairs = calloc((size_t)umem_image_n_spaces(first) +
		umem_image_n_spaces(second) + 1, sizeof(*pairs));
	UMEM_FREE unsigned char *bytes =
		malloc(2 * (size_t)CHUNK_PAGES * UMEM_IMAGE_PAGE_BYTES);
	struct diff d = { .first = first, .second = second, .options = options, .note = note,
		.bytes = bytes, .count_only = true };
	size_t n;
	int r;

	if (options->size != sizeof(*options))
		return umem_note_set(note, -EINVAL, 0, "options of another version");
	if (!pairs || !bytes)
		return -ENOMEM;
	r = pair_up(&d, pairs, &n);
	if (r < 0)
		return r;
	compare_all(&d, pairs, n);
	d.count_only = false;
	return compare_all(&d, pairs, n);
}
