// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One look at where the pages of a file in memory are.
 *
 * The sums are to be printed before the runs, and both are to be of one look, so
 * the runs are kept: eight bytes each, page number and state. A run ends where
 * the next one begins; each part ends with a run that is none.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "daemon/ctl/swap.h"
#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/mem/pageset.h"

#define STATE_BITS 3
#define STATE_MASK ((1u << STATE_BITS) - 1)

/**
 * struct swap_file - parts of a file, and the runs of each.
 * @v, @n: the parts.
 * @first: index of the first run of each part.
 * @runs: @n_runs of them.
 */
struct swap_file {
	struct umem_residency_region *v;
	size_t *first;
	size_t n;
	uint64_t *runs;
	size_t n_runs;
	size_t room;
};

UMEM_DEFINE_CLEANUP(struct swap_file, swap_file_free)

struct swap_file *swap_file_free(struct swap_file *pages)
{
	if (!pages)
		return NULL;
	free(pages->v);
	free(pages->first);
	free(pages->runs);
	free(pages);
	return NULL;
}

static int add_run(struct swap_file *pages, uint64_t start, unsigned state)
{
	if (pages->n_runs == pages->room) {
		size_t room = pages->room ? pages->room * 2 : 1024;
		uint64_t *runs = reallocarray(pages->runs, room, sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		pages->runs = runs;
		pages->room = room;
	}
	pages->runs[pages->n_runs++] = start >> UMEM_PAGE_SHIFT << STATE_BITS | state;
	return 0;
}

static int take_run(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	return add_run(user, start, state);
}

int swap_file_each(const struct swap_file *pages, size_t i, swap_each each, void *user)
{
	int r = 0;

	for (size_t k = pages->first[i]; (pages->runs[k] & STATE_MASK) != STATE_MASK && r == 0; k++)
		r = each(user, pages->runs[k] >> STATE_BITS << UMEM_PAGE_SHIFT,
			pages->runs[k + 1] >> STATE_BITS << UMEM_PAGE_SHIFT,
			(enum umem_state)(pages->runs[k] & STATE_MASK));
	return r;
}

static int look_at(struct swap_file *pages, int fd, const struct umem_range *range,
	const char *method)
{
	struct umem_residency_region *part = &pages->v[pages->n];
	int r;

	pages->first[pages->n] = pages->n_runs;
	r = umem_residency_file(fd, range->start, range->end, method, take_run, pages, part);
	if (r == 0)
		r = add_run(pages, part->end, STATE_MASK);
	if (r == 0)
		pages->n++;
	return r;
}

/*
 * Open a file if it is one in memory. What it is, is known before it is opened:
 * opening a device may do something to it. Not for writing, which keeps others from
 * executing it and breaks their leases, but where huge pages are to be asked for.
 */
static int open_in_memory(const char *path, int *ret_fd, uint64_t *ret_page_size_bytes)
{
	UMEM_FD int place = open(path, O_PATH | O_CLOEXEC);
	struct statfs fs;
	struct stat st;
	char self[40];
	int fd;

	if (place < 0 || fstat(place, &st) < 0 || fstatfs(place, &fs) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
		return -EINVAL;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", place);
	fd = fs.f_type == HUGETLBFS_MAGIC ? open(self, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		fd = open(self, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	*ret_page_size_bytes = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize :
							      UMEM_PAGE_BYTES;
	return 0;
}

static int open_failed(const char *path, int r, struct umem_note *note)
{
	if (r == -EINVAL)
		return umem_note_set(note, r, 0,
			"%s is no file in memory: give a memfd, or a file of tmpfs or hugetlbfs",
			path);
	return umem_note_set(note, r, 0, "%s: %s", path, strerror(-r));
}

static int look_failed(const char *path, const char *method, int r, struct umem_note *note)
{
	switch (r) {
	case -EINVAL:
		return umem_note_set(note, r, 0,
			"\"%s\" is no method for this file; take cachestat, halving or extents, "
			"for huge pages continue", method ? method : "");
	case -EPERM:
	case -EACCES:
		return umem_note_set(note, r, 0,
			"what %s holds is told only to its owner, and to who may write to it",
			path);
	case -ENOSYS:
		return umem_note_set(note, r, 0,
			"%s: the kernel lacks cachestat(2), which came with Linux 6.5", path);
	default:
		return umem_note_set(note, r, 0, "looking at the pages of %s: %s", path,
			strerror(-r));
	}
}

/* In whole pages, as huge as they are. Nothing that a file can hold lies past @limit. */
static int widen(struct umem_ranges *asked, uint64_t page_size_bytes)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges narrow = *asked;
	uint64_t limit = umem_align_down(INT64_MAX, page_size_bytes);
	int r = 0;

	*asked = (struct umem_ranges){ 0 };
	for (size_t i = 0; i < narrow.n && r == 0; i++)
		r = umem_ranges_add(asked,
			umem_align_down(umem_min_u64(narrow.v[i].start, limit - 1),
				page_size_bytes),
			umem_align_up(umem_min_u64(narrow.v[i].end, limit), page_size_bytes));
	return r < 0 || narrow.n ? r : umem_ranges_add(asked, 0, limit);
}

static int look(struct swap_file *pages, int fd, const char *path,
	const struct umem_ranges *asked, const char *method, struct umem_note *note)
{
	size_t n = asked->n;
	int r = 0;

	pages->v = calloc(n, sizeof(*pages->v));
	pages->first = calloc(n, sizeof(*pages->first));
	if (!pages->v || !pages->first)
		return -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++) {
		r = look_at(pages, fd, &asked->v[i], method);
		if (r < 0)
			return look_failed(path, method, r, note);
		if (asked->v[i].start > 0 && pages->v[i].start == pages->v[i].end)
			return umem_note_set(note, -ENOENT, 0, "%s ends before %#llx", path,
				(unsigned long long)asked->v[i].start);
	}
	return 0;
}

int swap_view_file(struct swap_view *view, const char *path, struct umem_ranges *asked,
	const char *method, struct umem_note *note)
{
	UMEM_FD int fd = -1;
	uint64_t page_size_bytes = UMEM_PAGE_BYTES;
	int r = open_in_memory(path, &fd, &page_size_bytes);

	view->file = path;
	if (r < 0)
		return open_failed(path, r, note);
	view->pages = calloc(1, sizeof(*view->pages));
	if (!view->pages)
		return -ENOMEM;
	r = widen(asked, page_size_bytes);
	if (r == 0)
		r = look(view->pages, fd, path, asked, method, note);
	if (r < 0)
		return r;
	view->v = view->pages->v;
	view->n = view->pages->n;
	for (size_t i = 0; i < view->n; i++) {
		struct umem_residency_region *part = &view->pages->v[i];

		part->path = path;
		part->kind = part->page_size_bytes > UMEM_PAGE_BYTES ? "hugetlb-shared" : "shmem";
		ctl_sums_add(&view->sums, part);
	}
	return 0;
}
