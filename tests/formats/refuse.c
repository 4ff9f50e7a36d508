// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What an export or import refuses: it says why, and leaves nothing; what was there
 * stays. And the choices that it takes.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "tests/formats/scene.h"

typedef struct umem_image_export_options options_t;

static void options(void)
{
	const struct umem_range odd = { S_ANON + 1, S_ANON + S_PAGE };
	const struct umem_range nowhere = { 0x900000, 0x901000 };
	const struct umem_range crossed[] = { { 0x2000, 0x3000 }, { 0x1000, 0x2000 } };
	struct umem_image_export_options v = { 0 };

	s_make(&(struct scene){ 0 }, "plain.umem");
	s_export("plain.umem", "elf", "x", NULL, -EINVAL, "elf");
	s_export("plain.umem", "core", "x", &(options_t){ .diff = true }, -EINVAL, "core");
	s_export("plain.umem", "core", "x", &(options_t){ .unknown_as_zero = true }, -EINVAL, NULL);
	s_export("plain.umem", "criu", "x", &(options_t){ .pid = 10 }, -EINVAL, "one process");
	s_export("plain.umem", "raw", "x", &(options_t){ .tid = 10 }, -EINVAL, NULL);
	s_export("plain.umem", "raw", "x", &(options_t){ .parent_path = "." }, -EINVAL, NULL);
	s_export("plain.umem", "raw", "x", &(options_t){ .pid = 12 }, -ESRCH, "12");
	s_export("plain.umem", "core", "x", &(options_t){ .pid = 10, .tid = 9 }, -ESRCH, "9");
	s_export("plain.umem", "raw", "x", &(options_t){ .diff = true }, -ENOENT, "no parent");
	s_export("plain.umem", "criu", "x", &(options_t){ .parent_path = "." }, -ENOENT, NULL);
	v.n_regions = 1;
	v.regions = &odd;
	s_export("plain.umem", "raw", "x", &v, -EINVAL, "pages");
	v.regions = &nowhere;
	s_export("plain.umem", "raw", "x", &v, -ENOENT, "0x900000");
	v.n_regions = 2;
	v.regions = crossed;
	s_export("plain.umem", "raw", "x", &v, -EINVAL, "ascending");
	s_no_file("x");
	s_import("core", "x", NULL, -EINVAL, "core");
	for (size_t i = 0; i < 4; i++)
		T_CHECK(!!umem_image_format(i) == (i < 3));
}

/* Pages that nobody knows: a core has none, others need to be told. */
static void unknown(void)
{
	const struct umem_range known = { S_UNKNOWN + S_PAGE, S_UNKNOWN + 2 * S_PAGE };
	uint8_t pages[2 * S_PAGE];

	s_make(&(struct scene){ .with_unknown = true }, "unknown.umem");
	s_export("unknown.umem", "core", "core", NULL, 0, NULL);
	s_export("unknown.umem", "raw", "x", NULL, -ENODATA, "0x300000");
	s_export("unknown.umem", "criu", "x", NULL, -ENODATA, "0x300000");
	s_no_file("x");
	s_export("unknown.umem", "raw", "x", &(options_t){ .unknown_as_zero = true }, 0, NULL);
	s_read("x", 16 * S_PAGE, pages, sizeof(pages));
	T_CHECK(pages[0] == 0 && memcmp(pages, pages + 1, S_PAGE - 1) == 0);
	T_CHECK(s_is_page(pages + S_PAGE, 700, 0));
	/* What was chosen does not hold it. */
	s_export("unknown.umem", "raw", "x", &(options_t){ .regions = &known, .n_regions = 1 }, 0,
		NULL);
	s_read("x", 0, pages, S_PAGE);
	T_CHECK(s_is_page(pages, 700, 0));
	s_export("unknown.umem", "criu", "d", &(options_t){ .unknown_as_zero = true }, 0, NULL);
}

static void set_mtime(const char *path, long seconds)
{
	const struct timespec ts[2] = { { .tv_sec = seconds }, { .tv_sec = seconds } };

	T_SYS(utimensat(AT_FDCWD, path, ts, 0));
}

/* Pages of a file are taken from it only if it is as it was. */
static void changed_file(void)
{
	const options_t embed = { .embed_files = true };
	uint8_t page[S_PAGE];
	struct stat st;

	s_make(&(struct scene){ .with_file = true }, "file.umem");
	T_SYS(stat("mapped", &st));
	s_export("file.umem", "raw", "good", NULL, 0, NULL);
	s_read("good", 16 * S_PAGE, page, S_PAGE);
	T_CHECK(s_is_page(page, 500, 0));
	s_read("good", 17 * S_PAGE, page, S_PAGE);
	T_CHECK(s_is_page(page, 600, 0));
	s_export("file.umem", "core", "good", &embed, 0, NULL);
	set_mtime("mapped", 1000);
	s_export("file.umem", "raw", "x", NULL, -ESTALE, "changed");
	s_export("file.umem", "core", "x", &embed, -ESTALE, "mapped");
	s_no_file("x");
	/* A core only says where it was. */
	s_export("file.umem", "core", "x", NULL, 0, NULL);
	T_SYS(unlink("mapped"));
	T_SYS(mkfifo("mapped", 0600));
	s_export("file.umem", "raw", "y", NULL, -ESTALE, NULL);
	T_SYS(unlink("mapped"));
	s_export("file.umem", "raw", "y", NULL, -ENODATA, "mapped");
	s_no_file("y");
}

/* Regions that were chosen, cut to what was asked for. */
static void chosen(void)
{
	const struct umem_range v[] = { { S_ANON + S_PAGE, S_ANON + 3 * S_PAGE },
		{ S_ANON + 8 * S_PAGE, S_SEGMENT + S_PAGE } };
	const options_t choice = { .regions = v, .n_regions = 2 };
	uint8_t page[S_PAGE];
	struct stat st;

	s_make(&(struct scene){ 0 }, "plain.umem");
	s_export("plain.umem", "raw", "chosen", &choice, 0, NULL);
	T_SYS(stat("chosen", &st));
	T_CHECK(st.st_size == 11 * S_PAGE);
	s_read("chosen", S_PAGE, page, S_PAGE);
	T_CHECK(s_is_page(page, 2, 0));
	s_read("chosen", 2 * S_PAGE, page, S_PAGE);
	T_CHECK(s_is_page(page, 8, 0));
	s_read("chosen", 10 * S_PAGE, page, S_PAGE);
	T_CHECK(s_is_page(page, 800, 0));
	s_export("plain.umem", "raw", "second", &(options_t){ .pid = 11 }, 0, NULL);
	s_read("second", 0, page, S_PAGE);
	T_CHECK(s_is_page(page, 900, 0));
}

static int stop_progress(void *user, uint64_t done, uint64_t total)
{
	return 7;
}

/* Where something is, and what cannot be there. */
static void places(void)
{
	const options_t stop = { .progress = stop_progress };
	char text[4] = "";

	s_make(&(struct scene){ 0 }, "plain.umem");
	T_SYS(mkdir("folder", 0755));
	T_SYS(mkdir("full", 0755));
	T_SYS(symlink("nothing", "full/x"));
	s_export("plain.umem", "raw", "folder", NULL, -EINVAL, "folder");
	s_export("plain.umem", "criu", "full", NULL, -ENOTEMPTY, "full");
	s_export("plain.umem", "criu", "plain.umem", NULL, -ENOTDIR, "plain.umem");
	s_export("plain.umem", "core", "no/where", NULL, -ENOENT, "no");
	s_export("plain.umem", "criu", "no/where", NULL, -ENOENT, "no");
	s_export("plain.umem", "criu", "folder/", NULL, 0, NULL);
	UMEM_FD int fd = (int)T_SYS(open("old", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));

	T_OK(umem_write_all(fd, "old", 3));
	s_export("plain.umem", "raw", "old", &stop, 7, NULL);
	s_export("plain.umem", "core", "old", &stop, 7, NULL);
	s_export("plain.umem", "criu", "new", &stop, 7, NULL);
	s_no_file("new");
	s_read("old", 0, text, 3);
	T_CHECK(strcmp(text, "old") == 0);
	s_export("plain.umem", "raw", "old", NULL, 0, NULL);
	s_read("old", 0, text, 3);
	T_CHECK(strcmp(text, "old") != 0);
}

/*
 * Content that is the parent's, of a mapping that is not: CRIU would look for it where
 * the parent's images do not have it, so it is stored.
 */
static void other_mapping(void)
{
	static const struct scene v[] = {
		{ .generation = 1, .parent = "plain.umem", .moved = true },
		{ .generation = 1, .parent = "plain.umem", .private = true },
	};

	s_make(&(struct scene){ 0 }, "plain.umem");
	s_export("plain.umem", "criu", "p", NULL, 0, NULL);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(v); i++) {
		struct umem_image *image;
		uint8_t page[S_PAGE];

		s_make(&v[i], "child.umem");
		s_export("child.umem", "criu", i ? "c1" : "c0",
			&(options_t){ .parent_path = "p" }, 0, NULL);
		s_import("criu", i ? "c1" : "c0", NULL, 0, NULL);
		T_OK(umem_image_open("back.umem", NULL, &image, NULL));
		for (uint64_t k = 0; k < 4; k++) {
			T_OK(umem_image_get(image, 0, S_SEGMENT + k * S_PAGE, page, 1, NULL));
			T_CHECK(s_is_page(page, 800 + k, 0));
		}
		umem_image_free(image);
	}
}

/* Differences, and references to a parent that is not the one. */
static void parents(void)
{
	const struct scene child = { .generation = 1, .changed = 2, .zeroed = 8,
		.parent = "plain.umem" };
	uint8_t page[S_PAGE];

	s_make(&(struct scene){ 0 }, "plain.umem");
	s_make(&(struct scene){ .generation = 5 }, "other.umem");
	s_make(&child, "child.umem");
	s_make(&(struct scene){ .generation = 1, .changed = 2, .with_unknown = true,
		.parent = "plain.umem" }, "grown.umem");
	s_export("plain.umem", "criu", "p", NULL, 0, NULL);
	s_export("other.umem", "criu", "o", NULL, 0, NULL);
	s_export("child.umem", "criu", "c", &(options_t){ .parent_path = "o" }, -ESTALE, "o");
	s_export("child.umem", "criu", "c", &(options_t){ .parent_path = "." }, -ESTALE, NULL);
	s_export("child.umem", "criu", "c", &(options_t){ .parent_path = "no" }, -ENOENT, NULL);
	s_no_file("c");
	s_export("child.umem", "criu", "c", &(options_t){ .parent_path = "p" }, 0, NULL);
	s_export("grown.umem", "raw", "x", &(options_t){ .diff = true }, -ESTALE, "regions");
	s_no_file("x");
	s_export("child.umem", "raw", "x", &(options_t){ .diff = true }, 0, NULL);
	UMEM_FD int fd = (int)T_SYS(open("x", O_RDONLY | O_CLOEXEC));

	T_CHECK(lseek(fd, 0, SEEK_DATA) == S_PAGE && lseek(fd, S_PAGE, SEEK_HOLE) == 2 * S_PAGE);
	T_CHECK(lseek(fd, 2 * S_PAGE, SEEK_DATA) == 3 * S_PAGE);
	T_CHECK(lseek(fd, 3 * S_PAGE, SEEK_HOLE) == 4 * S_PAGE);
	T_CHECK(lseek(fd, 4 * S_PAGE, SEEK_DATA) < 0 && errno == ENXIO);
	s_read("x", 3 * S_PAGE, page, S_PAGE);
	T_CHECK(page[0] == 0 && memcmp(page, page + 1, S_PAGE - 1) == 0);
}

int main(void)
{
	static void (*const tests[])(void) = { options, unknown, changed_file, chosen, places,
		parents, other_mapping };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(tests); i++) {
		s_begin();
		tests[i]();
		s_nothing_left();
	}
	return 0;
}
