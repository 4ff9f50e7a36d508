// SPDX-License-Identifier: LGPL-2.1-or-later
/* Directories and sparse files that appear whole or not at all. */
#include "lib/store/outdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "lib/store/sparse.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"

static size_t entries(const char *path)
{
	DIR *stream = opendir(path);
	size_t n = 0;

	if (!stream)
		return SIZE_MAX;
	while (readdir(stream))
		n++;
	closedir(stream);
	return n - 2;
}

static void touch(const char *name)
{
	UMEM_FD int fd = (int)T_SYS(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));

	assert_true(fd >= 0);
}

static void put_file(struct umem_outdir *dir, const char *name)
{
	UMEM_SPARSE struct umem_sparse file = UMEM_SPARSE_NONE;

	assert_int_equal(0, umem_sparse_open_in(dir->fd, name, &file, NULL));
	assert_int_equal(0, umem_sparse_write(&file, 0, name, strlen(name), NULL));
	assert_int_equal(0, umem_sparse_commit(&file, NULL));
}

static void whole_or_not(void **state)
{
	UMEM_OUTDIR struct umem_outdir dir = UMEM_OUTDIR_NONE;
	struct umem_note note = { 0 };

	assert_int_equal(0, umem_outdir_create("new//", &dir, &note));
	put_file(&dir, "one");
	assert_true(access("new", F_OK) < 0);
	umem_outdir_deinit(&dir);
	assert_int_equal(0, entries("."));

	/* An empty one is replaced. */
	assert_int_equal(0, mkdir("new", 0755));
	assert_int_equal(0, umem_outdir_create("new", &dir, &note));
	put_file(&dir, "one");
	put_file(&dir, "two");
	assert_int_equal(0, umem_outdir_commit(&dir, &note));
	umem_outdir_deinit(&dir);
	assert_int_equal(1, entries("."));
	assert_int_equal(2, entries("new"));

	/* One that has files is not. */
	assert_int_equal(-ENOTEMPTY, umem_outdir_create("new", &dir, &note));
	assert_non_null(strstr(note.text, "new"));
	assert_int_equal(2, entries("new"));

	/* One that got files meanwhile neither. */
	assert_int_equal(0, mkdir("late", 0755));
	assert_int_equal(0, umem_outdir_create("late", &dir, NULL));
	put_file(&dir, "one");
	touch("late/other");
	note = (struct umem_note){ 0 };
	assert_true(umem_outdir_commit(&dir, &note) < 0 && note.text[0]);
	umem_outdir_deinit(&dir);
	assert_int_equal(2, entries("."));
}

static void refused(void **state)
{
	static const char *const names[] = { "", "/", ".", "..", "a/..", "no-such/x" };
	struct umem_outdir dir = UMEM_OUTDIR_NONE;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(names); i++) {
		struct umem_note note = { 0 };

		assert_true(umem_outdir_create(names[i], &dir, &note) < 0 && note.text[0]);
		assert_int_equal(-1, dir.fd);
	}
	touch("file");
	assert_int_equal(-ENOTDIR, umem_outdir_create("file", &dir, NULL));
}

/* From @from, a link to @to leads there; it is relative where they share a folder. */
static void check_link(const char *from, const char *to, bool relative)
{
	UMEM_OUTDIR struct umem_outdir dir = UMEM_OUTDIR_NONE;
	struct umem_note note = { 0 };
	char path[4096], text[300];
	struct stat a, b;
	ssize_t n;

	T_OK(umem_outdir_create(from, &dir, &note));
	if (umem_outdir_link(&dir, "parent", to, &note) < 0)
		T_FAIL("%s", note.text);
	T_OK(umem_outdir_commit(&dir, &note));
	snprintf(path, sizeof(path), "%s/parent", from);
	assert_int_equal(0, stat(path, &a));
	assert_int_equal(0, stat(to, &b));
	assert_true(a.st_ino == b.st_ino);
	n = readlink(path, text, sizeof(text));
	assert_true(n > 0 && (text[0] != '/') == relative);
	T_SYS(unlink(path));
	T_SYS(rmdir(from));
}

static void links(void **state)
{
	UMEM_OUTDIR struct umem_outdir dir = UMEM_OUTDIR_NONE;
	char deep[4096];

	assert_int_equal(0, mkdir("a", 0755));
	assert_int_equal(0, mkdir("a/b", 0755));
	assert_int_equal(0, mkdir("a/bc", 0755));
	assert_int_equal(0, symlink("a/b", "way"));
	check_link("a/b/new", "a/bc", true);
	check_link("a/b/new", "a/b", true);
	check_link("a/b/new", "a", true);
	check_link("new", "a/bc", true);
	check_link("a/b", "a/bc", true);
	assert_int_equal(0, mkdir("a/b", 0755));
	check_link("way/new", "a/bc", true);
	check_link("a/bc/new", "way", true);
	check_link("a/new", "/tmp", false);
	snprintf(deep, sizeof(deep), "%s/a/bc/new", t_tree_path("work"));
	check_link(deep, "a/b", true);
	T_OK(umem_outdir_create("x", &dir, NULL));
	assert_int_equal(-ENOENT, umem_outdir_link(&dir, "parent", "no-such", NULL));
}

/* Far more than a window of write-behind, with holes between. */
static void holes(void **state)
{
	UMEM_SPARSE struct umem_sparse file = UMEM_SPARSE_NONE;
	static uint8_t page[4096], back[4096];
	struct stat st;
	int fd;

	assert_int_equal(0, umem_sparse_open("holes", &file, NULL));
	for (uint64_t i = 0; i < 9000; i++) {
		t_fill_page(page, i, 1);
		assert_int_equal(0, umem_sparse_write(&file, i * 4 * 4096, page, 4096, NULL));
	}
	for (uint64_t i = 1; i < 4; i++) {
		t_fill_page(page, i, 2);
		assert_int_equal(0, umem_sparse_write(&file, i << 36, page, 4096, NULL));
	}
	assert_int_equal(0, umem_sparse_set_length(&file, 1ull << 38, NULL));
	assert_int_equal(9003 * 4096, file.data_bytes);
	assert_true(access("holes", F_OK) < 0);
	assert_int_equal(0, umem_sparse_commit(&file, NULL));
	umem_sparse_deinit(&file);
	fd = (int)T_SYS(open("holes", O_RDONLY | O_CLOEXEC));
	assert_int_equal(0, fstat(fd, &st));
	assert_int_equal(st.st_size, 1ull << 38);
	assert_true(st.st_blocks * 512 < 9100 * 4096 + (1 << 20));
	assert_int_equal(st.st_mode & 0777, 0600);
	for (uint64_t i = 0; i < 9000; i += 97) {
		t_fill_page(page, i, 1);
		assert_int_equal(4096, pread(fd, back, 4096, (off_t)(i * 4 * 4096)));
		assert_memory_equal(page, back, 4096);
	}
	t_fill_page(page, 3, 2);
	assert_int_equal(4096, pread(fd, back, 4096, 3ll << 36));
	assert_memory_equal(page, back, 4096);
	close(fd);
	/* Past what a file can be: said, and nothing there. */
	assert_int_equal(0, umem_sparse_open("long", &file, NULL));
	assert_int_equal(-EFBIG, umem_sparse_write(&file, INT64_MAX - 10, page, 4096, NULL));
	assert_int_equal(-EFBIG, umem_sparse_set_length(&file, UINT64_MAX, NULL));
	umem_sparse_deinit(&file);
	assert_true(access("long", F_OK) < 0);
}

static int empty_top(void **state)
{
	t_tree_drop("work");
	t_tree_folder("work");
	T_SYS(chdir(t_tree_path("work")));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(whole_or_not, empty_top),
		cmocka_unit_test_setup(refused, empty_top),
		cmocka_unit_test_setup(links, empty_top),
		cmocka_unit_test_setup(holes, empty_top),
	};

	t_tree_folder("work");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
