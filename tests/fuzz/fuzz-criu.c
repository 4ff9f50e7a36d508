// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Directories of CRIU images, read into an image. The input is files one behind the
 * other: a byte that says which, a length of 16 bits, that many bytes. Of a file of
 * pages the length is in units of 2048, and the bytes are made up; bit 7 of the first
 * byte punches its first page out.
 *
 * What takes the pages is defined here, in place of the image writer: ranges are whole,
 * of no space that is not described, and nothing is put twice; pages are those of a
 * file of pages. What is refused says why.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/ranges.h"
#include "lib/store/export.h"

#define PAGE   4096u
#define SPACES 16

static const char *const names[] = {
	"pstree.img", "mm-1.img", "pagemap-1.img", "pages-1.img", "files.img", "core-1.img",
	"pagemap-shmem-9.img", "pages-2.img", "parent/pagemap-1.img", "parent/pages-1.img",
	"parent/pagemap-shmem-9.img", "parent/pages-2.img", "mm-2.img", "pagemap-2.img",
};

static char place[] = "/dev/shm/umem-test-fuzz-XXXXXX";
static int place_fd = -1;
static uint8_t buf[UMEM_EXPORT_CHUNK];
static struct umem_ranges put[SPACES];
static uint32_t n_spaces;

static void remove_files(void)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(names); i++)
		unlinkat(place_fd, names[i], 0);
}

static void remove_place(void)
{
	remove_files();
	unlinkat(place_fd, "parent", AT_REMOVEDIR);
	rmdir(place);
}

static void make_place(void)
{
	if (place_fd >= 0)
		return;
	if (!mkdtemp(place)) {
		strcpy(place, "/tmp/umem-test-fuzz-XXXXXX");
		FUZZ_CHECK(mkdtemp(place));
	}
	place_fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(place_fd >= 0 && mkdirat(place_fd, "parent", 0700) == 0);
	atexit(remove_place);
}

static void check_put(uint32_t space, uint64_t start, uint64_t end)
{
	FUZZ_CHECK(space < UINT32_MAX && start < end && start % PAGE == 0 && end % PAGE == 0);
	if (space >= SPACES)
		return;
	FUZZ_CHECK(!umem_ranges_overlaps(&put[space], start, end));
	FUZZ_CHECK(umem_ranges_add(&put[space], start, end) == 0);
	n_spaces = n_spaces > space ? n_spaces : space + 1;
}

int umem_image_put(struct umem_image_writer *writer, uint32_t space, uint64_t addr,
	const void *bytes, uint64_t n_pages)
{
	const uint8_t *byte = bytes;

	/* Each page of the files that are made here begins with a byte that is not 0. */
	for (uint64_t i = 0; i < n_pages; i++)
		FUZZ_CHECK(byte[i * PAGE] == 0xa5);
	check_put(space, addr, addr + n_pages * PAGE);
	return 0;
}

int umem_image_put_zero(struct umem_image_writer *writer, uint32_t space, uint64_t start,
	uint64_t end)
{
	check_put(space, start, end);
	return 0;
}

int umem_image_describe(struct umem_image_writer *writer,
	const struct umem_image_process *processes, size_t n, const struct umem_image_info *info)
{
	FUZZ_CHECK(n_spaces <= n && info->complete == (info->n_incomplete == 0));
	for (size_t i = 0; i < n; i++) {
		uint64_t before = 0;

		FUZZ_CHECK(processes[i].space == i && strnlen(processes[i].comm, 16) < 16);
		for (size_t k = 0; k < processes[i].n_regions; k++) {
			const struct umem_image_region *region = &processes[i].regions[k];

			FUZZ_CHECK(region->start >= before && region->start < region->end);
			FUZZ_CHECK(region->path && region->kind_name);
			before = region->end;
		}
	}
	return 0;
}

static void write_file(const char *name, const uint8_t *bytes, size_t len)
{
	UMEM_FD int fd = openat(place_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		0600);

	FUZZ_CHECK(fd >= 0 && umem_write_all(fd, bytes, len) == 0);
}

static void write_pages(const char *name, size_t len, bool punched)
{
	UMEM_FD int fd = openat(place_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		0600);
	static uint8_t page[PAGE];

	memset(page, 0xa5, sizeof(page));
	FUZZ_CHECK(fd >= 0);
	for (size_t at = 0; at < len; at += PAGE)
		FUZZ_CHECK(umem_write_all(fd, page, len - at < PAGE ? len - at : PAGE) == 0);
	if (punched && len >= PAGE)
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE);
}

static void write_files(const uint8_t *data, size_t len)
{
	size_t n;

	for (; len >= 3; data += n, len -= n) {
		const char *name = names[(data[0] & 0x7f) % UMEM_ARRAY_LEN(names)];
		bool punched = data[0] & 0x80;

		n = (size_t)data[1] | (size_t)data[2] << 8;
		data += 3;
		len -= 3;
		if (strstr(name, "pages-")) {
			write_pages(name, (n & 0x1f) * 2048, punched);
			n = 0;
			continue;
		}
		n = n < len ? n : len;
		write_file(name, data, n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	struct umem_note note = { 0 };
	struct umem_import job = { .path = place, .note = &note, .buf = buf };
	int r;

	make_place();
	remove_files();
	write_files(data, len_bytes);
	n_spaces = 0;
	r = umem_criu_import(&job);
	FUZZ_CHECK(r <= 0 && (r < 0) == (note.text[0] != '\0' && note.err == r));
	for (size_t i = 0; i < SPACES; i++)
		umem_ranges_deinit(&put[i]);
	return 0;
}
