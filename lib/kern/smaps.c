// SPDX-License-Identifier: LGPL-2.1-or-later
/* /proc/PID/smaps, read line by line. */
#include "lib/kern/smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/base/cursor.h"
#include "lib/base/fd.h"
#include "lib/kern/maps.h"

static const struct {
	const char *letters;
	uint32_t flag;
} vm_flags[] = {
	{ "mw", UMEM_SMAP_MAY_WRITE },
	{ "um", UMEM_SMAP_UFFD | UMEM_SMAP_FAULTS },
	{ "uw", UMEM_SMAP_UFFD },
	{ "wf", UMEM_SMAP_WIPED },
	{ "ui", UMEM_SMAP_UFFD | UMEM_SMAP_FAULTS },
	{ "pf", UMEM_SMAP_SPECIAL },
	{ "io", UMEM_SMAP_SPECIAL },
	{ "mm", UMEM_SMAP_SPECIAL },
	{ "de", UMEM_SMAP_SPECIAL },
	{ "ht", UMEM_SMAP_HUGETLB },
	{ "dp", UMEM_SMAP_DROPPABLE },
	{ "ss", UMEM_SMAP_SHADOW },
	{ "lo", UMEM_SMAP_LOCKED },
	{ "mg", UMEM_SMAP_MERGEABLE },
};

void umem_smaps_deinit(struct umem_smaps *smaps)
{
	free(smaps->v);
	*smaps = (struct umem_smaps){ 0 };
}

static int add(struct umem_smaps *smaps, const struct umem_vma *vma)
{
	const struct umem_smap *last = smaps->n ? &smaps->v[smaps->n - 1] : NULL;

	/* A mapping that grew downwards meanwhile is listed again; the later word counts. */
	while (last && last->end > vma->start) {
		smaps->n--;
		last = smaps->n ? &smaps->v[smaps->n - 1] : NULL;
	}
	if (smaps->n == smaps->room) {
		size_t room = smaps->room ? smaps->room * 2 : 256;
		struct umem_smap *v = reallocarray(smaps->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		smaps->v = v;
		smaps->room = room;
	}
	smaps->v[smaps->n++] = (struct umem_smap){ .start = vma->start, .end = vma->end };
	return 0;
}

/* "Key:   123 kB". Return: true when the line has this key and a number. */
static bool kilobytes(struct umem_cursor line, const char *key, uint64_t *ret_bytes)
{
	uint64_t value;

	if (!umem_cursor_str(&line, key))
		return false;
	umem_cursor_spaces(&line);
	if (!umem_cursor_dec(&line, &value) || __builtin_mul_overflow(value, 1024u, ret_bytes))
		return false;
	return true;
}

static void parse_flags(struct umem_cursor line, struct umem_smap *smap)
{
	struct umem_cursor word;

	for (;;) {
		umem_cursor_spaces(&line);
		if (!umem_cursor_word(&line, &word))
			return;
		for (size_t i = 0; i < UMEM_ARRAY_LEN(vm_flags); i++)
			if (umem_cursor_left(&word) == 2 &&
				memcmp(word.at, vm_flags[i].letters, 2) == 0)
				smap->flags |= vm_flags[i].flag;
	}
}

static void parse_field(struct umem_cursor line, struct umem_smap *smap)
{
	uint64_t bytes;

	if (kilobytes(line, "KernelPageSize:", &bytes))
		smap->page_size_bytes = bytes;
	else if (kilobytes(line, "Rss:", &bytes) ||
		kilobytes(line, "Shared_Hugetlb:", &bytes) ||
		kilobytes(line, "Private_Hugetlb:", &bytes))
		smap->resident_bytes += bytes;
	else if (kilobytes(line, "Swap:", &bytes))
		smap->swapped_bytes = bytes;
	else if (umem_cursor_str(&line, "VmFlags:"))
		parse_flags(line, smap);
}

static int parse(FILE *text, struct umem_smaps *smaps)
{
	UMEM_FREE char *line = NULL;
	UMEM_FREE char *name = NULL;
	size_t room = 0, name_room = 0;
	ssize_t len;

	smaps->n = 0;
	while ((len = getline(&line, &room, text)) > 0) {
		struct umem_vma vma;
		int r = 0;

		if (line[len - 1] == '\n')
			len--;
		if (name_room < room) {
			char *more = realloc(name, room);

			if (!more)
				return -ENOMEM;
			name = more;
			name_room = room;
		}
		if (umem_maps_parse_line(line, (size_t)len, name, &vma))
			r = add(smaps, &vma);
		else if (smaps->n)
			parse_field(umem_cursor_init(line, (size_t)len), &smaps->v[smaps->n - 1]);
		else
			r = -EBADMSG;
		if (r < 0)
			return r;
	}
	return ferror(text) ? -EIO : 0;
}

int umem_smaps_parse(FILE *text, struct umem_smaps *smaps)
{
	int r = parse(text, smaps);

	if (r < 0)
		smaps->n = 0;
	return r;
}

int umem_smaps_read(int proc_fd, struct umem_smaps *smaps)
{
	UMEM_FD int fd = openat(proc_fd, "smaps", O_RDONLY | O_CLOEXEC);
	FILE *text;
	int r;

	smaps->n = 0;
	if (fd < 0)
		return -errno;
	text = fdopen(fd, "r");
	if (!text)
		return -errno;
	umem_fd_take(&fd);
	r = umem_smaps_parse(text, smaps);
	fclose(text);
	return r;
}

const struct umem_smap *umem_smaps_find(const struct umem_smaps *smaps, uint64_t start,
	uint64_t end)
{
	size_t low = 0, high = smaps->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (smaps->v[mid].start < start)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == smaps->n || smaps->v[low].start != start || smaps->v[low].end != end)
		return NULL;
	return &smaps->v[low];
}
