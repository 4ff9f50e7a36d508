// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where the pages of an object are, by a descriptor of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/mem/residency.h"

/**
 * struct look - an object being looked at.
 * @view: it.
 * @shared: its descriptor shares its position with that of the caller.
 * @each, @user: the caller's.
 * @place: where swapped pages are.
 * @cached_bytes: of them, those in memory; as far as that is @known.
 */
struct look {
	struct umem_object_view view;
	bool shared;
	umem_walk_each each;
	void *user;
	enum umem_swap_place place;
	bool known;
	uint64_t cached_bytes;
};

/*
 * The same file by a descriptor of our own: its position is moved, and that of
 * @fd is shared with whoever gave it. What may not be opened again is duplicated.
 */
static int open_again(int fd, bool *ret_shared)
{
	char path[40];
	int own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	*ret_shared = own < 0;
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return own < 0 ? -errno : own;
}

/* A descriptor for writing is a right of its own: it may be told more than a new one. */
static int open_view(int fd, const char *method, struct look *look)
{
	struct statfs fs;
	int own, r;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (!umem_object_is_memory((uint64_t)fs.f_type))
		return -EINVAL;
	own = open_again(fd, &look->shared);
	if (own < 0)
		return own;
	r = umem_object_open_consume(own, method, 0, &look->view);
	if (r != -EPERM || look->shared)
		return r;
	look->shared = true;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return own < 0 ? -errno : umem_object_open_consume(own, method, 0, &look->view);
}

static enum umem_swap_place place_now(void)
{
	UMEM_CLEANUP(umem_swap_areas_deinit) struct umem_swap_areas areas = { 0 };
	struct umem_meminfo info;
	bool known;

	if (umem_swap_areas_read(NULL, NULL, &areas) < 0)
		return UMEM_SWAP_UNKNOWN;
	known = umem_meminfo_read(NULL, &info) == 0;
	return umem_swap_place(&areas, known ? &info : NULL);
}

static int take(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct look *look = user;
	uint64_t bytes = 0;

	if (state == UMEM_STATE_SWAPPED) {
		if (look->place == UMEM_SWAP_UNKNOWN)
			look->place = place_now();
		if (look->place == UMEM_SWAP_DEVICE)
			look->known &= umem_object_in_memory(&look->view, start, end, &bytes) == 0;
		look->cached_bytes += bytes;
	}
	return look->each ? look->each(look->user, start, end, state) : 0;
}

static const char *doubt(struct umem_object_view *view)
{
	if (view->method != UMEM_OBJECT_EXTENTS)
		return NULL;
	if (place_now() != UMEM_SWAP_NOWHERE)
		return "pages in the swap cache count as resident";
	return umem_object_all_written(view) ? NULL :
		"pages that were allocated but never written count as untouched";
}

static void find_io(const struct look *look, struct umem_residency_region *about)
{
	uint64_t swapped = about->bytes[UMEM_STATE_SWAPPED];

	about->io_known = swapped == 0 || look->place == UMEM_SWAP_MEMORY ||
		look->place == UMEM_SWAP_DEVICE_ONLY ||
		(look->place == UMEM_SWAP_DEVICE && look->known && about->exact);
	if (about->io_known && look->place != UMEM_SWAP_MEMORY)
		about->io_bytes = swapped - look->cached_bytes;
}

static int read_file(struct look *look, uint64_t start, uint64_t end,
	struct umem_residency_region *about)
{
	struct umem_walk walk = { .each = take, .user = look };
	uint64_t size;
	int r = umem_object_size(&look->view, &size);

	if (r < 0)
		return r;
	start = umem_align_down(start, UMEM_PAGE_BYTES);
	end = umem_min_u64(umem_page_up(end), umem_page_up(size));
	if (start < end)
		r = umem_object_walk(&look->view, start, end, 0, &walk);
	if (r == 0)
		r = umem_walk_end(&walk);
	if (r != 0)
		return r;
	*about = (struct umem_residency_region){
		.start = start,
		.end = umem_max_u64(start, end),
		.kind = "",
		.path = "",
		.page_size_bytes = umem_max_u64(look->view.huge_bytes, UMEM_PAGE_BYTES),
		.method = umem_object_method_name(look->view.method),
	};
	memcpy(about->bytes, walk.bytes, sizeof(walk.bytes));
	about->reason = doubt(&look->view);
	about->exact = !about->reason;
	find_io(look, about);
	return 0;
}

int umem_residency_file(int fd, uint64_t start, uint64_t end, const char *method,
	umem_walk_each each, void *user, struct umem_residency_region *ret_region)
{
	struct look look = { .view = UMEM_OBJECT_NONE, .each = each, .user = user, .known = true };
	struct umem_residency_region about;
	off_t position = lseek(fd, 0, SEEK_CUR);
	int r = open_view(fd, method, &look);

	if (r < 0)
		return r == -ENOTSUP ? -EINVAL : r;
	r = read_file(&look, start, end, &about);
	umem_object_close(&look.view);
	if (look.shared && position >= 0)
		lseek(fd, position, SEEK_SET);
	if (r == 0)
		*ret_region = about;
	return r;
}
