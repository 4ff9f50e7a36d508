// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Large folios of shared memory: /proc/vmstat and the statistics of each size.
 *
 *     thp_file_alloc         of 2 MiB, by a first touch
 *     thp_collapse_alloc     of 2 MiB, by MADV_COLLAPSE and khugepaged
 *     hugepages-SIZE/stats/shmem_alloc    of each size, by a first touch (Linux 6.12)
 *
 * A kernel that knows sizes other than 2 MiB has a directory for each; one of them
 * without that statistic says nothing about them.
 */
#include "lib/kern/folios.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/fields.h"

#define TEXT_MAX_BYTES (1u << 20)
#define SIZES_DIR      "/sys/kernel/mm/transparent_hugepage"

struct events {
	uint64_t file_alloc;
	uint64_t collapse_alloc;
};

static const struct umem_field fields[] = {
	{ "thp_file_alloc", offsetof(struct events, file_alloc) },
	{ "thp_collapse_alloc", offsetof(struct events, collapse_alloc) },
};

/* Add the count of one size. */
static int add_size(int dir_fd, const char *size, uint64_t *count)
{
	char path[300];
	UMEM_FREE char *text = NULL;
	size_t len;
	int r;

	snprintf(path, sizeof(path), "%s/stats/shmem_alloc", size);
	r = umem_read_file(dir_fd, path, TEXT_MAX_BYTES, &text, &len);
	if (r == 0)
		*count += strtoull(text, NULL, 10);
	/* Sizes that only anonymous memory has come with no such statistic. */
	if (r == -ENOENT) {
		snprintf(path, sizeof(path), "%s/shmem_enabled", size);
		return faccessat(dir_fd, path, F_OK, 0) < 0 ? 0 : -ENODATA;
	}
	return r;
}

static int add_sizes(uint64_t *count)
{
	DIR *dir = opendir(SIZES_DIR);
	const struct dirent *entry;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && (entry = readdir(dir)))
		if (strncmp(entry->d_name, "hugepages-", strlen("hugepages-")) == 0)
			r = add_size(dirfd(dir), entry->d_name, count);
	closedir(dir);
	return r;
}

int umem_folios_count(uint64_t *ret_count)
{
	UMEM_FREE char *text = NULL;
	struct events events = { 0 };
	uint64_t count;
	size_t len;
	int r = umem_read_file(AT_FDCWD, "/proc/vmstat", TEXT_MAX_BYTES, &text, &len);

	if (r < 0)
		return r;
	umem_fields_parse(text, len, fields, UMEM_ARRAY_LEN(fields), &events);
	count = events.file_alloc + events.collapse_alloc;
	r = add_sizes(&count);
	if (r == 0)
		*ret_count = count;
	return r;
}
