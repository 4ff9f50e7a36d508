// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The mappings of a process: PROCMAP_QUERY, else the text of /proc/PID/maps.
 *
 * Theory of operation
 *
 * Both interfaces are a walk by address: "the mapping that covers or follows
 * this address", again from where that one ends. Between two steps (for the
 * text: between two reads) the process runs on, so that a mapping may grow
 * downwards over the position, merge with its neighbour, or move:
 *
 *     read:     [ A )[ B )         then A and B merge with C
 *     next:     [  A B C     )     reported from the position behind B
 *
 * The list stays ascending and disjoint by one rule, take_vma(): the later word
 * wins. Earlier entries inside the new one are dropped, an earlier one that
 * reaches into it is cut, and what ends at or before the position is a repeat.
 *
 * The text escapes a newline in a path as \012 and nothing else: a backslash
 * stays a backslash (seq_path(m, path, "\n"), fs/proc/task_mmu.c). A file whose
 * name really holds the four bytes "\012" therefore reads as a newline; the
 * query has no such flaw. The text also lists the gate page [vsyscall], which
 * no process owns and the query does not know; it is left out here.
 *
 * The query gives paths up to PATH_MAX - 1 bytes and ENAMETOOLONG above; such a
 * mapping is asked for again without its name, which becomes "//too-long" (no
 * path of the kernel starts with two slashes). The same stands in for names
 * once NAMES_MAX bytes are used up: names are the target's to choose, 65,530
 * of 4 KiB by default, and must not become a weapon against the reader.
 *
 * Names lie in one buffer that is kept from read to read, neighbours with the
 * same name share it, and when it moves all pointers into it are moved along.
 * A read that finds no more than the one before does not allocate.
 *
 * AUTO is the query wherever there is one: it alone tells the page size. Cost
 * of one mapping on Linux 6.18, warm, of the process itself:
 *
 *     mappings                       query     text
 *     30, a mix                      404 ns    718 ns
 *     10,029, most anonymous         321 ns    263 ns
 *     10,029, most of a file         459 ns    956 ns
 */
#include "lib/kern/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/cursor.h"
#include "lib/kern/uapi.h"

#define NAMES_MAX (64u << 20)
#define TEXT_ROOM (64u << 10)
#define TEXT_MAX  (1u << 20)

static const char no_name[] = "";
static const char long_name[] = "//too-long";

int umem_maps_open(int pid, int *ret_fd)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

void umem_maps_deinit(struct umem_maps *maps)
{
	free(maps->v);
	free(maps->names);
	free(maps->text);
	*maps = (struct umem_maps){ 0 };
}

static bool name_is_pooled(const struct umem_maps *maps, const char *name)
{
	return name != no_name && name != long_name;
}

/* Room for one more name of up to @len_bytes and its NUL; names move along. */
static int reserve_name(struct umem_maps *maps, size_t len_bytes)
{
	size_t room = maps->names_room ? maps->names_room : 8 * PATH_MAX;
	char *more;

	if (maps->names_room - maps->names_len > len_bytes)
		return 0;
	while (room - maps->names_len <= len_bytes)
		room *= 2;
	more = malloc(room);
	if (!more)
		return -ENOMEM;
	if (maps->names_len)
		memcpy(more, maps->names, maps->names_len);
	for (size_t i = 0; i < maps->n; i++) {
		if (name_is_pooled(maps, maps->v[i].name))
			maps->v[i].name = more + (maps->v[i].name - maps->names);
	}
	free(maps->names);
	maps->names = more;
	maps->names_room = room;
	return 0;
}

/* The name that lies ready behind the used part, kept or shared or refused. */
static const char *keep_name(struct umem_maps *maps, size_t len_bytes)
{
	char *name = maps->names + maps->names_len;

	if (len_bytes == 0)
		return no_name;
	if (maps->n > 0) {
		const char *before = maps->v[maps->n - 1].name;

		if (strcmp(before, name) == 0)
			return before;
	}
	if (maps->names_len + len_bytes >= NAMES_MAX)
		return long_name;
	maps->names_len += len_bytes + 1;
	return name;
}

/* Put @vma at the end of the list; see "the later word wins" above. */
static int take_vma(struct umem_maps *maps, const struct umem_vma *vma)
{
	if (maps->n > 0 && vma->end <= maps->v[maps->n - 1].end)
		return 0;
	while (maps->n > 0 && maps->v[maps->n - 1].start >= vma->start)
		maps->n--;
	if (maps->n > 0 && maps->v[maps->n - 1].end > vma->start)
		maps->v[maps->n - 1].end = vma->start;
	if (maps->n == maps->room) {
		size_t room = maps->room ? maps->room * 2 : 64;
		struct umem_vma *more = reallocarray(maps->v, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		maps->v = more;
		maps->room = room;
	}
	maps->v[maps->n++] = *vma;
	return 0;
}

/* One step of the query, the name put behind the used part of the pool. */
static int query(int fd, uint64_t at, char *name, struct procmap_query *ret_query)
{
	int r;

	*ret_query = (struct procmap_query){
		.size = sizeof(*ret_query),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
		.query_addr = at,
		.vma_name_addr = (uintptr_t)name,
		.vma_name_size = name ? PATH_MAX : 0,
	};
	do
		r = ioctl(fd, PROCMAP_QUERY, ret_query);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int umem_maps_at(int fd, uint64_t addr, struct umem_range *ret_range)
{
	struct procmap_query q;
	int r = query(fd, addr, NULL, &q);

	if (r == 0)
		*ret_range = (struct umem_range){ q.vma_start, q.vma_end };
	return r;
}

static uint32_t flags_of_query(uint64_t bits)
{
	return (bits & PROCMAP_QUERY_VMA_READABLE ? UMEM_VMA_READ : 0) |
		(bits & PROCMAP_QUERY_VMA_WRITABLE ? UMEM_VMA_WRITE : 0) |
		(bits & PROCMAP_QUERY_VMA_EXECUTABLE ? UMEM_VMA_EXEC : 0) |
		(bits & PROCMAP_QUERY_VMA_SHARED ? UMEM_VMA_SHARED : 0);
}

static int read_query(int fd, struct umem_maps *maps)
{
	uint64_t at = 0;

	for (;;) {
		int r = reserve_name(maps, PATH_MAX);
		struct procmap_query q;
		bool too_long = false;

		if (r < 0)
			return r;
		r = query(fd, at, maps->names + maps->names_len, &q);
		if (r == -ENAMETOOLONG) {
			too_long = true;
			r = query(fd, at, NULL, &q);
		}
		if (r == -ENOENT)
			return 0;
		if (r == -ESRCH) {
			maps->n = 0;
			return 0;
		}
		if (r < 0)
			return r;
		if (q.vma_end <= at || q.vma_start >= q.vma_end)
			return -EIO;

		struct umem_vma vma = {
			.start = q.vma_start,
			.end = q.vma_end,
			.offset = q.vma_offset,
			.inode = q.inode,
			.page_size_bytes = q.vma_page_size,
			.dev_major = q.dev_major,
			.dev_minor = q.dev_minor,
			.flags = flags_of_query(q.vma_flags),
			.name = too_long ? long_name :
				keep_name(maps, q.vma_name_size ? q.vma_name_size - 1 : 0),
		};
		r = take_vma(maps, &vma);
		if (r < 0)
			return r;
		at = vma.end;
	}
}

static bool parse_flags(struct umem_cursor *c, uint32_t *ret_flags)
{
	static const struct {
		char yes, no;
		uint32_t flag;
	} letters[] = {
		{ 'r', '-', UMEM_VMA_READ },
		{ 'w', '-', UMEM_VMA_WRITE },
		{ 'x', '-', UMEM_VMA_EXEC },
		{ 's', 'p', UMEM_VMA_SHARED },
	};
	uint32_t flags = 0;

	for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
		if (umem_cursor_char(c, letters[i].yes))
			flags |= letters[i].flag;
		else if (!umem_cursor_char(c, letters[i].no))
			return false;
	}
	*ret_flags = flags;
	return true;
}

static void unescape(struct umem_cursor *c, char *name)
{
	while (c->at < c->end) {
		if (umem_cursor_str(c, "\\012"))
			*name++ = '\n';
		else
			*name++ = *c->at++;
	}
	*name = '\0';
}

bool umem_maps_parse_line(const char *line, size_t len_bytes, char *name,
	struct umem_vma *ret_vma)
{
	struct umem_cursor c = umem_cursor_init(line, len_bytes);
	struct umem_vma vma = { .name = name };
	uint64_t major, minor;

	/* A NUL would end the name for every later reader. */
	if (memchr(line, '\0', len_bytes))
		return false;
	if (!umem_cursor_hex(&c, &vma.start) || !umem_cursor_char(&c, '-') ||
		!umem_cursor_hex(&c, &vma.end) || !umem_cursor_char(&c, ' ') ||
		!parse_flags(&c, &vma.flags) || !umem_cursor_char(&c, ' ') ||
		!umem_cursor_hex(&c, &vma.offset) || !umem_cursor_char(&c, ' ') ||
		!umem_cursor_hex(&c, &major) || !umem_cursor_char(&c, ':') ||
		!umem_cursor_hex(&c, &minor) || !umem_cursor_char(&c, ' ') ||
		!umem_cursor_dec(&c, &vma.inode))
		return false;
	if (vma.start >= vma.end || major > UINT32_MAX || minor > UINT32_MAX)
		return false;
	/* Padding to a column; a name itself starts with no blank. */
	if (c.at < c.end && *c.at != ' ')
		return false;
	while (umem_cursor_char(&c, ' '))
		;
	unescape(&c, name);
	vma.dev_major = (uint32_t)major;
	vma.dev_minor = (uint32_t)minor;
	*ret_vma = vma;
	return true;
}

static int take_line(struct umem_maps *maps, const char *line, size_t len_bytes)
{
	struct umem_vma vma;
	int r;

	if (len_bytes == 0)
		return -EBADMSG;
	r = reserve_name(maps, len_bytes);
	if (r < 0)
		return r;
	if (!umem_maps_parse_line(line, len_bytes, maps->names + maps->names_len, &vma))
		return -EBADMSG;
	/* The gate page lies in the kernel's half. */
	if (vma.start >> 63)
		return 0;
	vma.name = keep_name(maps, strlen(vma.name));
	return take_vma(maps, &vma);
}

/* Take the whole lines of the buffer; *@len_bytes becomes what is left of it. */
static int take_text(struct umem_maps *maps, size_t *len_bytes)
{
	char *at = maps->text, *end = at + *len_bytes, *newline;

	while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
		int r = take_line(maps, at, (size_t)(newline - at));

		if (r < 0)
			return r;
		at = newline + 1;
	}
	*len_bytes = (size_t)(end - at);
	memmove(maps->text, at, *len_bytes);
	return 0;
}

static int reserve_text(struct umem_maps *maps, size_t len_bytes)
{
	size_t room = maps->text_room ? maps->text_room * 2 : TEXT_ROOM;
	char *more;

	if (len_bytes < maps->text_room)
		return 0;
	if (room > TEXT_MAX)
		return -EBADMSG;
	more = realloc(maps->text, room);
	if (!more)
		return -ENOMEM;
	maps->text = more;
	maps->text_room = room;
	return 0;
}

static int read_text(int fd, struct umem_maps *maps)
{
	size_t len = 0;
	off_t at = 0;

	for (;;) {
		int r = reserve_text(maps, len);
		ssize_t n;

		if (r < 0)
			return r;
		n = pread(fd, maps->text + len, maps->text_room - len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ESRCH) {
			maps->n = 0;
			return 0;
		}
		if (n < 0)
			return -errno;
		/* The last line ends in a newline too. */
		if (n == 0)
			return len ? -EBADMSG : 0;
		at += n;
		len += (size_t)n;
		r = take_text(maps, &len);
		if (r < 0)
			return r;
	}
}

static void forget(struct umem_maps *maps)
{
	maps->n = 0;
	maps->names_len = 0;
}

int umem_maps_read(int fd, enum umem_maps_method method, struct umem_maps *maps)
{
	int r = -ENOTTY;

	forget(maps);
	if (method != UMEM_MAPS_TEXT)
		r = read_query(fd, maps);
	if (r == -ENOTTY && method != UMEM_MAPS_QUERY) {
		forget(maps);
		r = read_text(fd, maps);
	}
	if (r < 0)
		forget(maps);
	return r;
}
