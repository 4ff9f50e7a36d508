// SPDX-License-Identifier: LGPL-2.1-or-later
/* What backs a mapping, from its name, its flags and its file system. */
#include "lib/mem/region.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define S UMEM_VMA_SHARED

static void kinds(void **state)
{
	static const struct {
		const char *name;
		uint64_t inode;
		uint32_t flags;
		uint64_t page_size;
		enum umem_backing backing;
		enum umem_kind kind;
	} t[] = {
		{ "", 0, 0, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_ANON },
		{ "[heap]", 0, 0, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_ANON },
		{ "[stack]", 0, 0, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_ANON },
		{ "[anon:arena]", 0, 0, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_ANON },
		{ "[vdso]", 0, 0, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_KERNEL },
		{ "[vvar]", 0, 0, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_KERNEL },
		{ "[uprobes]", 0, 0, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_KERNEL },
		{ "/memfd:x (deleted)", 7, S, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_SHMEM },
		{ "/dev/zero (deleted)", 7, S, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_SHMEM },
		{ "/SYSV00000000 (deleted)", 7, S, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_SHMEM },
		{ "[anon_shmem:x]", 7, S, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_SHMEM },
		{ "/dev/shm/x", 7, S, 4096, UMEM_BACKING_SHMEM, UMEM_KIND_SHMEM },
		{ "/dev/shm/x", 7, 0, 4096, UMEM_BACKING_SHMEM, UMEM_KIND_FILE_PRIVATE },
		{ "/memfd:x (deleted)", 7, 0, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_FILE_PRIVATE },
		{ "/lib/x", 7, 0, 4096, UMEM_BACKING_FILE, UMEM_KIND_FILE_PRIVATE },
		{ "/lib/x", 7, S, 4096, UMEM_BACKING_FILE, UMEM_KIND_FILE_SHARED },
		{ "/lib/x", 7, S, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_FILE_SHARED },
		{ "/anon_hugepage (deleted)", 7, 0, 2u << 20, UMEM_BACKING_UNKNOWN,
			UMEM_KIND_HUGETLB },
		{ "/anon_hugepage (deleted)", 7, S, 2u << 20, UMEM_BACKING_UNKNOWN,
			UMEM_KIND_HUGETLB_SHARED },
		{ "/dev/hugepages/x", 7, S, 0, UMEM_BACKING_HUGETLB, UMEM_KIND_HUGETLB_SHARED },
		{ "/dev/zero", 7, 0, 4096, UMEM_BACKING_DEVICE, UMEM_KIND_ANON },
		{ "/dev/mem", 7, S, 4096, UMEM_BACKING_DEVICE, UMEM_KIND_DEVICE },
		{ "anon_inode:[io_uring]", 7, S, 4096, UMEM_BACKING_UNKNOWN,
			UMEM_KIND_KERNEL_SHARED },
		{ "socket:[1]", 7, S, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_KERNEL_SHARED },
		{ "/[aio] (deleted)", 7, S, 4096, UMEM_BACKING_UNKNOWN, UMEM_KIND_KERNEL_SHARED },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct umem_vma vma = {
			.start = 0x1000,
			.end = 0x2000,
			.inode = t[i].inode,
			.flags = t[i].flags,
			.page_size_bytes = t[i].page_size,
			.name = t[i].name,
		};
		struct umem_region region;

		umem_region_init(&region, &vma, t[i].backing);
		if (region.kind != t[i].kind)
			print_error("%s: %s\n", t[i].name, umem_kind_name(region.kind));
		assert_int_equal(t[i].kind, region.kind);
		assert_true(region.page_size_bytes >= 4096);
	}
}

static void same_object(void **state)
{
	struct umem_region file = {
		.start = 0x10000, .end = 0x20000, .offset = 0x3000, .inode = 5,
		.page_size_bytes = 4096, .kind = UMEM_KIND_FILE_PRIVATE, .name = "",
	};
	struct umem_region tail = file, other = file, anon = { .kind = UMEM_KIND_ANON };

	/* The second half of a mapping that was split. */
	tail.start = 0x18000;
	tail.offset = 0xb000;
	assert_true(umem_region_same_object(&file, &tail, 0x18000));
	tail.offset = 0xc000;
	assert_false(umem_region_same_object(&file, &tail, 0x18000));
	other.inode = 6;
	assert_false(umem_region_same_object(&file, &other, 0x10000));
	other = file;
	other.vma_flags = UMEM_VMA_SHARED;
	assert_false(umem_region_same_object(&file, &other, 0x10000));
	other = file;
	other.vma_flags = UMEM_VMA_WRITE; /* protection does not matter */
	assert_true(umem_region_same_object(&file, &other, 0x10000));
	assert_false(umem_region_same_object(&file, &anon, 0x10000));
	/* An offset means nothing for anonymous memory. */
	other = anon;
	other.offset = 0x9000;
	assert_true(umem_region_same_object(&anon, &other, 0x10000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds),
		cmocka_unit_test(same_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
