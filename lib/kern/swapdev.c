// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The machine's swap areas, from /proc/swaps, and what zram devices hold.
 *
 * Theory of operation
 *
 *     Filename        Type            Size            Used            Priority
 *     /dev/zram1      partition       65532           256             -2
 *     /var/a\040b     file            1048572         0               -3
 *
 * Sizes are in kB. The kernel escapes blank, tab, newline and backslash, so that a
 * line is an area and a word a path (swap_show(), mm/swapfile.c).
 *
 * The path is a name only: a node may be called anything. Whether it is a zram
 * device its number says, by the folder that /sys/dev/block/MAJOR:MINOR leads to.
 * Where the node cannot be reached (another mount namespace) the name must do.
 */
#include "lib/kern/swapdev.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/cursor.h"
#include "lib/base/fd.h"

#define SWAPS_MAX_BYTES (1u << 20)
#define ATTR_MAX_BYTES  (8u << 10)

/* Pages of a backing device are counted in this unit (zram_drv.c, bd_stat_show()). */
#define BACKING_UNIT_BYTES 4096u

size_t umem_swap_count(const char *text, size_t len_bytes)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	size_t n = 0;

	/* A title, then a line an area: no path in it can hold a newline (it is escaped). */
	while (umem_cursor_line(&c, &line))
		n++;
	return n ? n - 1 : 0;
}

bool umem_swap_active(void)
{
	UMEM_FREE char *text = NULL;
	size_t len;
	int r = umem_read_file(AT_FDCWD, "/proc/swaps", SWAPS_MAX_BYTES, &text, &len);

	/* Without CONFIG_SWAP there is no such file and no swap. */
	if (r == -ENOENT)
		return false;
	return r < 0 || umem_swap_count(text, len) > 0;
}

static void clear(struct umem_swap_areas *areas)
{
	for (size_t i = 0; i < areas->n; i++)
		free(areas->v[i].path);
	areas->n = 0;
	areas->total_bytes = 0;
	areas->used_bytes = 0;
}

void umem_swap_areas_deinit(struct umem_swap_areas *areas)
{
	clear(areas);
	free(areas->v);
	*areas = (struct umem_swap_areas){ 0 };
}

/* Blanks, then a number of kB. */
static bool kilobytes(struct umem_cursor *c, uint64_t *ret_bytes)
{
	uint64_t value;

	umem_cursor_spaces(c);
	return umem_cursor_dec(c, &value) && !__builtin_mul_overflow(value, 1024u, ret_bytes);
}

static bool priority(struct umem_cursor *c, int *ret_priority)
{
	uint64_t value;
	bool negative;

	umem_cursor_spaces(c);
	negative = umem_cursor_char(c, '-');
	if (!umem_cursor_dec(c, &value) || value > INT_MAX || umem_cursor_left(c))
		return false;
	*ret_priority = negative ? -(int)value : (int)value;
	return true;
}

static bool kind_of(struct umem_cursor word, enum umem_swap_kind *ret_kind)
{
	bool partition = umem_cursor_str(&word, "partition");

	if (!partition && !umem_cursor_str(&word, "file"))
		return false;
	*ret_kind = partition ? UMEM_SWAP_PARTITION : UMEM_SWAP_FILE;
	return umem_cursor_left(&word) == 0;
}

static int parse_line(struct umem_cursor line, struct umem_swap_area *ret_area)
{
	struct umem_swap_area area = { 0 };
	struct umem_cursor name, kind;
	UMEM_FREE char *path = NULL;

	if (!umem_cursor_word(&line, &name))
		return -EBADMSG;
	path = malloc(umem_cursor_left(&name) + 1);
	if (!path)
		return -ENOMEM;
	if (!umem_cursor_unescape(name, path))
		return -EBADMSG;
	umem_cursor_spaces(&line);
	if (!umem_cursor_word(&line, &kind) || !kind_of(kind, &area.kind) ||
		!kilobytes(&line, &area.size_bytes) || !kilobytes(&line, &area.used_bytes) ||
		!priority(&line, &area.priority))
		return -EBADMSG;
	area.path = UMEM_TAKE_PTR(path);
	*ret_area = area;
	return 0;
}

static int add_line(struct umem_swap_areas *areas, struct umem_cursor line)
{
	struct umem_swap_area *area;
	int r;

	if (areas->n == areas->room) {
		size_t room = areas->room ? areas->room * 2 : 8;
		struct umem_swap_area *v = reallocarray(areas->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		areas->v = v;
		areas->room = room;
	}
	area = &areas->v[areas->n];
	r = parse_line(line, area);
	if (r < 0)
		return r;
	areas->n++;
	if (__builtin_add_overflow(areas->total_bytes, area->size_bytes, &areas->total_bytes) ||
		__builtin_add_overflow(areas->used_bytes, area->used_bytes, &areas->used_bytes))
		return -EBADMSG;
	return 0;
}

int umem_swap_areas_parse(const char *text, size_t len_bytes, struct umem_swap_areas *areas)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	int r = 0;

	clear(areas);
	if (!umem_cursor_line(&c, &line) || !umem_cursor_str(&line, "Filename"))
		return -EBADMSG;
	while (r == 0 && umem_cursor_line(&c, &line))
		r = add_line(areas, line);
	if (r < 0)
		clear(areas);
	return r;
}

/* N of ".../zramN", and nothing behind it. */
static bool zram_name(const char *path, unsigned *ret_id)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct umem_cursor c = umem_cursor_init(name, strlen(name));
	uint64_t id;

	if (!umem_cursor_str(&c, "zram") || !umem_cursor_dec(&c, &id) || umem_cursor_left(&c) ||
		id > INT_MAX)
		return false;
	*ret_id = (unsigned)id;
	return true;
}

static bool is_zram(const char *sys, const char *path, unsigned *ret_id)
{
	char link[PATH_MAX], to[PATH_MAX];
	struct stat st;
	ssize_t len;

	if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
		return zram_name(path, ret_id);
	snprintf(link, sizeof(link), "%s/dev/block/%u:%u", sys, major(st.st_rdev),
		minor(st.st_rdev));
	len = readlink(link, to, sizeof(to) - 1);
	if (len < 0)
		return zram_name(path, ret_id);
	to[len] = '\0';
	return zram_name(to, ret_id);
}

/* The @n first numbers of an attribute of blank-separated ones. */
static bool numbers(int dirfd, const char *name, uint64_t *ret_v, size_t n)
{
	UMEM_FREE char *text = NULL;
	struct umem_cursor c;
	size_t len;

	if (umem_read_file(dirfd, name, ATTR_MAX_BYTES, &text, &len) < 0)
		return false;
	c = umem_cursor_init(text, len);
	for (size_t i = 0; i < n; i++) {
		umem_cursor_spaces(&c);
		if (!umem_cursor_dec(&c, &ret_v[i]))
			return false;
	}
	return true;
}

static bool read_zram(const char *sys, unsigned id, struct umem_zram *ret_zram)
{
	/* Columns 4, 5 and 7 are its limit, its peak, and what compaction freed. */
	enum { ORIG, COMPR, USED, SAME = 5, HUGE = 7, N };
	UMEM_FREE char *backing = NULL;
	uint64_t v[N], written_back = 0;
	char path[PATH_MAX];
	UMEM_FD int dirfd = -1;
	bool backed;
	int r;

	snprintf(path, sizeof(path), "%s/block/zram%u", sys, id);
	dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0 || !numbers(dirfd, "mm_stat", v, N))
		return false;
	r = umem_read_file(dirfd, "backing_dev", ATTR_MAX_BYTES, &backing, NULL);
	/* Without CONFIG_ZRAM_WRITEBACK there is no such file. */
	if (r < 0 && r != -ENOENT)
		return false;
	backed = r == 0 && strcmp(backing, "none\n") != 0;
	if (backed && (!numbers(dirfd, "bd_stat", &written_back, 1) ||
		__builtin_mul_overflow(written_back, BACKING_UNIT_BYTES, &written_back)))
		return false;
	*ret_zram = (struct umem_zram){
		.orig_bytes = v[ORIG],
		.compr_bytes = v[COMPR],
		.mem_used_bytes = v[USED],
		.same_pages = v[SAME],
		.huge_pages = v[HUGE],
		.backed = backed,
		.written_back_bytes = written_back,
	};
	return true;
}

int umem_swap_areas_read(const char *swaps, const char *sys, struct umem_swap_areas *areas)
{
	UMEM_FREE char *text = NULL;
	size_t len;
	int r;

	clear(areas);
	if (!sys)
		sys = "/sys";
	r = umem_read_file(AT_FDCWD, swaps ? swaps : "/proc/swaps", SWAPS_MAX_BYTES, &text, &len);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	r = umem_swap_areas_parse(text, len, areas);
	if (r < 0)
		return r;
	for (size_t i = 0; i < areas->n; i++) {
		struct umem_swap_area *area = &areas->v[i];

		area->is_zram = area->kind == UMEM_SWAP_PARTITION &&
			is_zram(sys, area->path, &area->zram_id);
		area->has_zram = area->is_zram && read_zram(sys, area->zram_id, &area->zram);
	}
	return 0;
}

bool umem_swap_in_memory(const struct umem_swap_areas *areas)
{
	for (size_t i = 0; i < areas->n; i++) {
		const struct umem_swap_area *area = &areas->v[i];

		if (area->used_bytes > 0 &&
			(!area->has_zram || area->zram.written_back_bytes > 0))
			return false;
	}
	return true;
}
