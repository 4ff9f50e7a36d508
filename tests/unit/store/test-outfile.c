// SPDX-License-Identifier: LGPL-2.1-or-later
/* Files that are there whole or not at all: names, what is replaced, what is left. */
#include "lib/store/outfile.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "lib/store/relname.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"

/* Whatever the file system offers: each with and without the features. */
static const char *const ways[] = { "", "outfile.direct=22", "outfile.tmpfile=95",
	"outfile.tmpfile=95,outfile.direct=22" };

static unsigned n_names(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
	closedir(dir);
	return n;
}

static void write_to(const struct umem_outfile *file, char what)
{
	static char page[4096] __attribute__((aligned(4096)));

	memset(page, what, sizeof(page));
	assert_int_equal(pwrite(file->fd, page, sizeof(page), 0), sizeof(page));
}

static void check_file(const char *path, char what)
{
	UMEM_FREE char *text = NULL;
	size_t len;

	T_OK(umem_read_file(AT_FDCWD, path, 8192, &text, &len));
	assert_int_equal(len, 4096);
	assert_int_equal(text[0], what);
	assert_int_equal(text[4095], what);
}

static void commit_and_replace(void **state)
{
	for (size_t w = 0; w < UMEM_ARRAY_LEN(ways); w++) {
		struct umem_note note = { 0 };
		struct umem_outfile file;
		struct stat st;
		char path[4096];

		t_tree_folder("out");
		snprintf(path, sizeof(path), "%s/file", t_tree_path("out"));
		setenv("UMEM_FAULTS", ways[w], 1);
		for (char what = 'a'; what < 'd'; what++) {
			T_OK(umem_outfile_open(path, 0640, false, false, &file, &note));
			write_to(&file, what);
			if (what > 'a')
				check_file(path, (char)(what - 1));
			T_OK(umem_outfile_commit(&file, &note));
			umem_outfile_deinit(&file);
			check_file(path, what);
			assert_int_equal(n_names(t_tree_path("out")), 1);
		}
		T_SYS(stat(path, &st));
		assert_int_equal(st.st_mode & 07777, 0640);
		/* Given up: the old one stays, and nothing else. */
		T_OK(umem_outfile_open(path, 0600, false, false, &file, &note));
		write_to(&file, 'z');
		umem_outfile_deinit(&file);
		check_file(path, 'c');
		assert_int_equal(n_names(t_tree_path("out")), 1);
		/* A name that must be new. */
		assert_int_equal(umem_outfile_open(path, 0600, false, true, &file, &note), -EEXIST);
		assert_non_null(strstr(note.text, path));
		T_SYS(unlink(path));
		T_OK(umem_outfile_open(path, 0600, false, true, &file, NULL));
		/* Somebody was quicker. */
		close((int)T_SYS(open(path, O_CREAT | O_EXCL | O_CLOEXEC, 0600)));
		assert_int_equal(umem_outfile_commit(&file, NULL), -EEXIST);
		umem_outfile_deinit(&file);
		assert_int_equal(n_names(t_tree_path("out")), 1);
		t_tree_drop("out");
	}
	setenv("UMEM_FAULTS", "", 1);
}

static void anonymous(void **state)
{
	for (size_t w = 0; w < UMEM_ARRAY_LEN(ways); w++) {
		struct umem_outfile file;

		t_tree_folder("out");
		setenv("UMEM_FAULTS", ways[w], 1);
		/* By the folder, and by a name in it that is not used. */
		for (int i = 0; i < 2; i++) {
			T_OK(umem_outfile_open(t_tree_path(i ? "out/x" : "out"), 0600, true, false,
				&file, NULL));
			write_to(&file, 'x');
			assert_int_equal(n_names(t_tree_path("out")), 0);
			T_OK(umem_outfile_commit(&file, NULL));
			assert_int_equal(n_names(t_tree_path("out")), 0);
			umem_outfile_deinit(&file);
		}
		t_tree_drop("out");
	}
	setenv("UMEM_FAULTS", "", 1);
}

static void refused(void **state)
{
	struct umem_note note = { 0 };
	struct umem_outfile file;

	assert_int_equal(umem_outfile_open(t_tree_path("no/file"), 0600, false, false, &file,
		&note), -ENOENT);
	assert_non_null(strstr(note.text, "no/file"));
	/* A device would be replaced by rename; a folder cannot be. */
	assert_int_equal(umem_outfile_open("/dev/null", 0600, false, false, &file, NULL), -EINVAL);
	assert_int_equal(umem_outfile_open(t_tree(), 0600, false, false, &file, NULL), -EINVAL);
	assert_int_equal(umem_outfile_open("/tmp/", 0600, false, false, &file, NULL), -EISDIR);
}

static void check_name(const char *from, const char *to, const char *want)
{
	UMEM_FREE char *name = NULL, *back = NULL, *real = NULL, *real_to = NULL;

	T_OK(umem_relname(from, to, &name));
	if (want)
		assert_string_equal(name, want);
	T_OK(umem_relname_join(from, name, &back));
	real = realpath(back, NULL);
	real_to = realpath(to, NULL);
	assert_non_null(real);
	assert_string_equal(real, real_to);
}

static void names(void **state)
{
	UMEM_FREE char *name = NULL;
	char from[4096], to[4096];

	t_tree_put("a/b/parent", "x");
	t_tree_folder("a/c");
	snprintf(to, sizeof(to), "%s", t_tree_path("a/b/parent"));
	snprintf(from, sizeof(from), "%s", t_tree_path("a/b/child"));
	check_name(from, to, "parent");
	snprintf(from, sizeof(from), "%s", t_tree_path("a/c/child"));
	check_name(from, to, "../b/parent");
	snprintf(from, sizeof(from), "%s", t_tree_path("child"));
	check_name(from, to, "a/b/parent");
	/* Links are looked through. */
	T_SYS(symlink("a/b", t_tree_path("link")));
	snprintf(to, sizeof(to), "%s", t_tree_path("link/parent"));
	check_name(from, to, "a/b/parent");
	snprintf(from, sizeof(from), "%s", t_tree_path("link/child"));
	check_name(from, to, "parent");
	/* Without a slash; with nothing in common. */
	T_SYS(chdir(t_tree_path("a/b")));
	check_name("child", "parent", "parent");
	check_name("../c/child", "parent", "../b/parent");
	T_SYS(chdir("/"));
	check_name("/proc/child", to, NULL);
	assert_int_equal(umem_relname(from, "/none/there", &name), -ENOENT);
	T_OK(umem_relname_join("child", "/abs/parent", &name));
	assert_string_equal(name, "/abs/parent");
}

static void must_not_adopt(int fd)
{
	struct umem_outfile file = UMEM_OUTFILE_NONE;
	struct umem_note note = { 0 };

	T_CHECK(umem_outfile_adopt(fd, "that", &file, &note) == -EINVAL, "%s", note.text);
	T_CHECK(strstr(note.text, "that: is no empty regular file"), "%s", note.text);
	assert_int_equal(file.fd, -1);
	T_SYS(close(fd));
}

/* A file that somebody else opened, and will name. */
static void adopted(void **state)
{
	struct umem_note note = { 0 };
	struct umem_outfile file;
	char path[4096];
	int fd, ends[2];

	t_tree_folder("adopted");
	snprintf(path, sizeof(path), "%s", t_tree_path("adopted"));
	fd = (int)T_SYS(open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	T_OK(umem_outfile_adopt(fd, "that", &file, &note));
	assert_false(file.direct);
	write_to(&file, 'a');
	T_OK(umem_outfile_commit(&file, &note));
	umem_outfile_deinit(&file);
	/* It is theirs: still open, whole, and without a name. */
	assert_int_equal(lseek(fd, 0, SEEK_END), 4096);
	assert_int_equal(n_names(path), 0);
	must_not_adopt(fd);
	t_tree_put("adopted/file", "");
	snprintf(path, sizeof(path), "%s", t_tree_path("adopted/file"));
	must_not_adopt((int)T_SYS(open(path, O_RDONLY | O_CLOEXEC)));
	must_not_adopt((int)T_SYS(open(path, O_WRONLY | O_CLOEXEC)));
	must_not_adopt((int)T_SYS(open(path, O_RDWR | O_APPEND | O_CLOEXEC)));
	must_not_adopt((int)T_SYS(open(path, O_PATH | O_CLOEXEC)));
	must_not_adopt((int)T_SYS(open("/dev/null", O_RDWR | O_CLOEXEC)));
	must_not_adopt((int)T_SYS(open("/proc/self/comm", O_RDWR | O_CLOEXEC)));
	T_SYS(pipe2(ends, O_CLOEXEC));
	must_not_adopt(ends[0]);
	must_not_adopt(ends[1]);
	assert_int_equal(umem_outfile_adopt(-1, "that", &file, &note), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adopted),
		cmocka_unit_test(commit_and_replace),
		cmocka_unit_test(anonymous),
		cmocka_unit_test(refused),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
