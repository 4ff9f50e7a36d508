// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sizes: address space that is reserved and empty, more segments than a header counts,
 * memory that is longer than a file can be.
 */
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "tests/formats/scene.h"

#define N_REGIONS 70000u

static void make(const char *path, const struct umem_image_region *regions, size_t n, bool zeros,
	uint64_t with_data)
{
	const struct umem_image_process process = { .pid = 10, .regions = regions,
		.n_regions = n };
	struct umem_image_writer *writer;
	uint8_t page[S_PAGE];
	struct umem_note note = { 0 };

	T_OK(umem_image_create(path, NULL, &writer, NULL));
	for (size_t i = 0; i < n && zeros; i++)
		T_OK(umem_image_put_zero(writer, 0, regions[i].start, regions[i].end));
	for (size_t i = 0; i < n && with_data; i += with_data) {
		memset(page, 1 + (int)(i % 250), sizeof(page));
		T_OK(umem_image_put(writer, 0, regions[i].start, page, 1));
	}
	T_OK(umem_image_describe(writer, &process, 1, NULL));
	T_CHECK(umem_image_commit(writer, NULL, &note) == 0, "%s", note.text);
	umem_image_writer_free(writer);
}

/* 70,000 regions with a page between: each a segment, each second with content. */
static void many(void)
{
	struct umem_image_region *regions = calloc(N_REGIONS, sizeof(*regions));
	UMEM_FREE Elf64_Phdr *heads = calloc(N_REGIONS + 1, sizeof(*heads));
	Elf64_Ehdr head;
	Elf64_Shdr number;
	uint8_t byte;

	T_CHECK(regions && heads);
	for (uint64_t i = 0; i < N_REGIONS; i++)
		regions[i] = (struct umem_image_region){ .start = 0x10000 + i * 2 * S_PAGE,
			.end = 0x10000 + (i * 2 + 1) * S_PAGE, .vma_flags = 3 };
	make("many.umem", regions, N_REGIONS, true, 2);
	free(regions);
	s_export("many.umem", "core", "core", NULL, 0, NULL);
	s_read("core", 0, &head, sizeof(head));
	T_CHECK(head.e_phnum == PN_XNUM && head.e_shnum == 1);
	s_read("core", head.e_shoff, &number, sizeof(number));
	T_CHECK(number.sh_info == N_REGIONS + 1);
	s_read("core", head.e_phoff, heads, (N_REGIONS + 1) * sizeof(*heads));
	T_CHECK(heads[0].p_type == PT_NOTE);
	for (uint64_t i = 0; i < N_REGIONS; i++) {
		const Elf64_Phdr *load = &heads[i + 1];
		uint64_t stored = i & 1 ? 0 : S_PAGE;
		uint8_t want = (uint8_t)(1 + i % 250);

		T_CHECK(load->p_type == PT_LOAD && load->p_vaddr == 0x10000 + i * 2 * S_PAGE);
		T_CHECK(load->p_memsz == S_PAGE && load->p_filesz == stored);
		if (i % 1002 != 0)
			continue;
		s_read("core", load->p_offset + 7, &byte, 1);
		T_CHECK(byte == want);
	}
	/* Another reader of ELF counts the same. */
	if (access("/usr/bin/readelf", X_OK) == 0)
		T_CHECK(system("test $(readelf -lW core | grep -c LOAD) = 70000") == 0);
	s_export("many.umem", "criu", "criu", NULL, 0, NULL);
	s_import("criu", "criu", NULL, 0, NULL);
}

/* 16 TiB reserved, as sanitizers do, and a page in it that was written. */
static void reserved(void)
{
	const struct umem_image_region regions[] = {
		{ .start = 1ull << 40, .end = 17ull << 40, .vma_flags = 3 },
		{ .start = 20ull << 40, .end = 52ull << 40 },
	};
	Elf64_Phdr loads[4];
	struct stat st;

	make("reserved.umem", regions, 2, true, 2);
	s_export("reserved.umem", "core", "core", NULL, 0, NULL);
	T_SYS(stat("core", &st));
	T_CHECK(st.st_size < 4 << 20 && st.st_blocks * 512 < 1 << 20);
	s_read("core", sizeof(Elf64_Ehdr), loads, sizeof(loads));
	T_CHECK(loads[1].p_filesz == S_PAGE && loads[1].p_memsz == S_PAGE);
	T_CHECK(loads[2].p_filesz == 0 && loads[2].p_memsz == (16ull << 40) - S_PAGE);
	T_CHECK(loads[3].p_filesz == 0 && loads[3].p_memsz == 32ull << 40);
	s_export("reserved.umem", "criu", "criu", NULL, 0, NULL);
	s_import("criu", "criu", NULL, 0, NULL);
	/* A raw file of 48 TiB is more than ext4 can hold; where it is not, it has no blocks. */
	struct umem_image *image;
	struct umem_note note = { 0 };
	int r;

	T_OK(umem_image_open("reserved.umem", NULL, &image, NULL));
	r = umem_image_export(image, "raw", "raw", NULL, NULL, &note);
	T_CHECK(r == 0 || (r == -EFBIG && note.text[0] && access("raw", F_OK) < 0), "%d %s", r,
		note.text);
	umem_image_free(image);
}

/* Regions that together are longer than a number of bytes can say. */
static void endless(void)
{
	struct umem_image_region regions[3];

	for (uint64_t i = 0; i < 3; i++)
		regions[i] = (struct umem_image_region){ .start = (i << 62) + S_PAGE,
			.end = (i + 1) << 62, .vma_flags = 3 };
	make("endless.umem", regions, 3, false, 0);
	s_export("endless.umem", "raw", "raw", &(struct umem_image_export_options){
		.unknown_as_zero = true }, -EFBIG, "longer");
	s_export("endless.umem", "core", "core", NULL, 0, NULL);
	s_no_file("raw");
}

/* No region, no process. */
static void nothing(void)
{
	struct umem_image_writer *writer;

	make("empty.umem", NULL, 0, false, 0);
	s_export("empty.umem", "core", "core", NULL, 0, NULL);
	s_export("empty.umem", "raw", "raw", NULL, 0, NULL);
	s_export("empty.umem", "criu", "criu", NULL, 0, NULL);
	s_import("criu", "criu", NULL, 0, NULL);
	T_OK(umem_image_create("none.umem", NULL, &writer, NULL));
	T_OK(umem_image_commit(writer, NULL, NULL));
	umem_image_writer_free(writer);
	s_export("none.umem", "core", "x", NULL, -ESRCH, "process");
	s_export("none.umem", "raw", "x", NULL, -ESRCH, "process");
	s_export("none.umem", "criu", "x", NULL, -ESRCH, "process");
	s_no_file("x");
}

int main(void)
{
	static void (*const tests[])(void) = { many, reserved, endless, nothing };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(tests); i++) {
		s_begin();
		tests[i]();
		s_nothing_left();
	}
	return 0;
}
