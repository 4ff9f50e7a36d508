// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Directories of CRIU images that are not whole: each damage is named, and none is
 * taken for content. And those that deduplication leaves, which are.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "tests/formats/scene.h"

/* A parent "p", and "c" with page 1 of S_ANON changed and page 3 now zeros. */
static void make_chain(void)
{
	s_begin();
	s_make(&(struct scene){ .with_file = true }, "p.umem");
	s_make(&(struct scene){ .with_file = true, .generation = 1, .changed = 2, .zeroed = 8,
		.parent = "p.umem" }, "c.umem");
	s_export("p.umem", "criu", "p", NULL, 0, NULL);
	s_export("c.umem", "criu", "c", &(struct umem_image_export_options){
		.parent_path = "p" }, 0, NULL);
}

/* The child as it was imported. */
static void check_child(void)
{
	uint8_t page[S_PAGE];
	struct umem_image *image;

	T_OK(umem_image_open("back.umem", NULL, &image, NULL));
	T_OK(umem_image_get(image, 0, S_ANON, page, 1, NULL));
	T_CHECK(s_is_page(page, 0, 0));
	T_OK(umem_image_get(image, 0, S_ANON + S_PAGE, page, 1, NULL));
	T_CHECK(s_is_page(page, 1, 1));
	T_OK(umem_image_get(image, 0, S_ANON + 3 * S_PAGE, page, 1, NULL));
	T_CHECK(page[0] == 0 && memcmp(page, page + 1, S_PAGE - 1) == 0);
	T_OK(umem_image_get(image, 0, S_SEGMENT + S_PAGE, page, 1, NULL));
	T_CHECK(s_is_page(page, 801, 0));
	umem_image_free(image);
}

/* Where the page of @index in the pages of PID 10 is in the parent's file. */
static void punch(const char *path, uint64_t index)
{
	UMEM_FD int fd = (int)T_SYS(open(path, O_WRONLY | O_CLOEXEC));

	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(index * S_PAGE),
		S_PAGE));
}

/* The parent's first file of pages is that of process 10: pages 0 to 3, 8 to 15 of S_ANON. */
static void deduplicated(void)
{
	make_chain();
	punch("p/pages-1.img", 1);
	s_import("criu", "c", NULL, 0, NULL);
	check_child();
	/* Alone the parent is not an image any more. */
	s_import("criu", "p", NULL, -ENODATA, "0x101000");
	/* And this page nobody else has. */
	punch("p/pages-1.img", 0);
	s_import("criu", "c", NULL, -ENODATA, "0x100000");
}

static void cut(const char *path, long bytes)
{
	struct stat st;

	T_SYS(stat(path, &st));
	T_SYS(truncate(path, st.st_size - bytes));
}

static void missing(void)
{
	static const struct {
		const char *path;
		int r;
	} v[] = {
		{ "c/pstree.img", -ENOENT }, { "c/mm-10.img", -ENOENT },
		{ "c/mm-11.img", -ENOENT }, { "c/pagemap-10.img", -ENOENT },
		{ "c/pages-1.img", -EBADMSG }, { "p/pages-1.img", -EBADMSG },
		{ "p/pagemap-10.img", -EBADMSG }, { "p/pagemap-shmem-1099511627783.img", -EBADMSG },
		{ "c/pagemap-shmem-1099511627783.img", -ENOENT },
		{ "c/parent", -EBADMSG },
	};

	for (size_t i = 0; i < UMEM_ARRAY_LEN(v); i++) {
		make_chain();
		T_SYS(unlink(v[i].path));
		s_import("criu", "c", NULL, v[i].r, strchr(v[i].path, '-'));
	}
	/* What is not needed may be missing. */
	make_chain();
	T_SYS(unlink("c/files.img"));
	T_SYS(unlink("c/stats-dump"));
	T_SYS(unlink("c/inventory.img"));
	T_SYS(unlink("c/umemd-image-id"));
	s_import("criu", "c", NULL, 0, NULL);
	check_child();
}

/* Each file cut by a byte is damage; of a file of pages by one too. */
static void cut_off(void)
{
	static const char *const v[] = { "c/pstree.img", "c/mm-10.img", "c/pagemap-10.img",
		"c/pages-1.img", "p/pages-1.img", "p/pagemap-10.img", "c/files.img" };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(v); i++) {
		make_chain();
		cut(v[i], 1);
		s_import("criu", "c", NULL, -EBADMSG, NULL);
	}
	make_chain();
	T_SYS(rename("c/mm-10.img", "c/pstree.img"));
	s_import("criu", "c", NULL, -EILSEQ, "pstree.img");
}

/* Parents that lead back, to nothing, or to what is no directory. */
static void circles(void)
{
	make_chain();
	T_SYS(symlink("../c", "p/parent"));
	s_import("criu", "c", NULL, -ELOOP, NULL);
	T_SYS(unlink("p/parent"));
	T_SYS(symlink(".", "p/parent"));
	s_import("criu", "c", NULL, -ELOOP, NULL);
	T_SYS(unlink("c/parent"));
	T_SYS(symlink("nowhere", "c/parent"));
	s_import("criu", "c", NULL, -ENOENT, "parent");
	T_SYS(unlink("c/parent"));
	T_SYS(symlink("mm-10.img", "c/parent"));
	s_import("criu", "c", NULL, -ENOTDIR, "parent");
	s_import("criu", "nowhere", NULL, -ENOENT, "nowhere");
	/* A file that is a link leads out of the directory. */
	make_chain();
	T_SYS(rename("c/pages-1.img", "pages"));
	T_SYS(symlink("../pages", "c/pages-1.img"));
	s_import("criu", "c", NULL, -ELOOP, "pages-1.img");
	T_SYS(unlink("c/pages-1.img"));
	T_SYS(mkfifo("c/pages-1.img", 0600));
	s_import("criu", "c", NULL, -EBADMSG, "pages-1.img");
}

/* Another parent, of the same shape: what its pages are nobody can tell here. */
static void no_mapping(void)
{
	make_chain();
	/* Mappings of one process, pages of another. */
	T_SYS(rename("c/mm-11.img", "c/mm-10.img"));
	s_make(&(struct scene){ 0 }, "again.umem");
	s_export("again.umem", "criu", "again", NULL, 0, NULL);
	T_SYS(rename("again/mm-11.img", "c/mm-11.img"));
	s_import("criu", "c", NULL, -EBADMSG, "no mapping");
}

static void raw(void)
{
	struct umem_image_extent v[2] = { { 1, 0x1000, 0x3000, 0 }, { 1, 0x8000, 0x9000, 0x2000 } };
	struct umem_image_import_options options = { .extents = v, .n_extents = 2 };

	s_begin();
	s_make(&(struct scene){ 0 }, "plain.umem");
	s_export("plain.umem", "raw", "raw", NULL, 0, NULL);
	s_import("raw", "raw", &options, 0, NULL);
	s_import("raw", "raw", NULL, -EINVAL, "no regions");
	v[1].start = 0x2000;
	s_import("raw", "raw", &options, -EINVAL, NULL);
	v[1].start = 0x8001;
	s_import("raw", "raw", &options, -EINVAL, NULL);
	v[1] = (struct umem_image_extent){ 1, 0x8000, 0x9000, 1ull << 40 };
	s_import("raw", "raw", &options, -EBADMSG, "ends");
	v[1] = (struct umem_image_extent){ 1, 0x8000, UINT64_MAX & ~0xfffull, 0x1000 };
	s_import("raw", "raw", &options, -EBADMSG, "ends");
	s_import("raw", "/dev/null", &options, -EINVAL, "/dev/null");
	s_import("raw", "nowhere", &options, -ENOENT, "nowhere");
}

int main(void)
{
	deduplicated();
	missing();
	cut_off();
	circles();
	no_mapping();
	raw();
	return 0;
}
