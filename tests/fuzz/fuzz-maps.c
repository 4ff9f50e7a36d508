// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The text of /proc/PID/maps. A line that is taken is a proper mapping and
 * reads the same when it is printed again; a list is ascending and disjoint.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/cursor.h"
#include "lib/base/fd.h"
#include "lib/kern/maps.h"

static size_t print_line(char *to, const struct umem_vma *vma)
{
	char *at = to + sprintf(to, "%llx-%llx %c%c%c%c %llx %x:%x %llu ",
		(unsigned long long)vma->start, (unsigned long long)vma->end,
		vma->flags & UMEM_VMA_READ ? 'r' : '-', vma->flags & UMEM_VMA_WRITE ? 'w' : '-',
		vma->flags & UMEM_VMA_EXEC ? 'x' : '-', vma->flags & UMEM_VMA_SHARED ? 's' : 'p',
		(unsigned long long)vma->offset, vma->dev_major, vma->dev_minor,
		(unsigned long long)vma->inode);

	for (const char *c = vma->name; *c; c++) {
		if (*c == '\n')
			at = stpcpy(at, "\\012");
		else
			*at++ = *c;
	}
	return (size_t)(at - to);
}

static void check_line(const char *line, size_t len)
{
	UMEM_FREE char *name = malloc(len + 1), *again = malloc(4 * len + 200);
	UMEM_FREE char *text = malloc(4 * len + 200);
	struct umem_vma vma = { .start = 1 }, second;

	if (!umem_maps_parse_line(line, len, name, &vma)) {
		FUZZ_CHECK(vma.start == 1 && vma.end == 0 && !vma.name);
		return;
	}
	FUZZ_CHECK(vma.start < vma.end && vma.name == name && strlen(name) <= len);
	FUZZ_CHECK(name[0] != ' ' && vma.page_size_bytes == 0);
	FUZZ_CHECK(umem_maps_parse_line(text, print_line(text, &vma), again, &second));
	FUZZ_CHECK(strcmp(name, again) == 0 && second.start == vma.start &&
		second.end == vma.end && second.offset == vma.offset &&
		second.inode == vma.inode && second.flags == vma.flags &&
		second.dev_major == vma.dev_major && second.dev_minor == vma.dev_minor);
}

static void check_list(int fd, struct umem_maps *maps)
{
	int r = umem_maps_read(fd, UMEM_MAPS_TEXT, maps);

	FUZZ_CHECK(r == 0 || (r == -EBADMSG && maps->n == 0));
	for (size_t i = 0; i < maps->n; i++) {
		FUZZ_CHECK(maps->v[i].start < maps->v[i].end);
		FUZZ_CHECK(i == 0 || maps->v[i - 1].end <= maps->v[i].start);
		FUZZ_CHECK(strlen(maps->v[i].name) < 65536);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	static struct umem_maps maps;
	struct umem_cursor text = umem_cursor_init(data, len_bytes), line;
	UMEM_FD int fd = memfd_create("maps", MFD_CLOEXEC);

	check_line((const char *)data, len_bytes);
	while (umem_cursor_line(&text, &line))
		check_line(line.at, umem_cursor_left(&line));
	if (len_bytes == 0 || fd < 0 || umem_write_all(fd, data, len_bytes) < 0)
		return 0;
	check_list(fd, &maps);
	return 0;
}
