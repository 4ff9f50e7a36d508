// SPDX-License-Identifier: LGPL-2.1-or-later
/* Small images for tests of one thing. */
#include "tests/formats/scene.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "tests/lib/tree.h"

void s_begin(void)
{
	T_SYS(chdir("/"));
	t_tree_folder("work");
	t_tree_drop("work");
	t_tree_folder("work");
	T_SYS(chdir(t_tree_path("work")));
}

static void data(uint8_t *to, uint64_t page, unsigned generation)
{
	uint64_t rng = page * 31 + generation;

	for (size_t i = 0; i < S_PAGE; i += 8) {
		uint64_t word = t_rand(&rng);

		memcpy(to + i, &word, 8);
	}
}

bool s_is_page(const uint8_t *bytes, uint64_t page, unsigned generation)
{
	uint8_t want[S_PAGE];

	data(want, page, generation);
	return memcmp(want, bytes, S_PAGE) == 0;
}

static void make_file(void)
{
	UMEM_FD int fd = -1;
	uint8_t page[S_PAGE];

	if (access("mapped", F_OK) == 0)
		return;
	fd = (int)T_SYS(open("mapped", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	for (uint64_t i = 0; i < 4; i++) {
		data(page, 500 + i, 0);
		T_OK(umem_write_all(fd, page, sizeof(page)));
	}
}

static void put(struct umem_image_writer *writer, uint32_t space, uint64_t addr, uint64_t page,
	unsigned generation)
{
	uint8_t bytes[S_PAGE];

	data(bytes, page, generation);
	T_OK(umem_image_put(writer, space, addr, bytes, 1));
}

static void put_anon(const struct scene *scene, struct umem_image_writer *writer)
{
	for (uint64_t i = 0; i < 16; i++) {
		uint64_t addr = S_ANON + i * S_PAGE;

		if (scene->zeroed >> i & 1 || (!scene->parent && i >= 4 && i < 8))
			T_OK(umem_image_put_zero(writer, 0, addr, addr + S_PAGE));
		else if (!scene->parent || scene->changed >> i & 1)
			put(writer, 0, addr, i, scene->generation);
		else
			T_OK(umem_image_put_parent(writer, 0, addr, addr + S_PAGE));
	}
}

static void put_all(const struct scene *scene, struct umem_image_writer *writer)
{
	put_anon(scene, writer);
	if (scene->with_file)
		put(writer, 0, S_FILE + S_PAGE, 600, scene->generation);
	if (scene->with_unknown)
		put(writer, 0, S_UNKNOWN + S_PAGE, 700, scene->generation);
	for (uint64_t i = 0; i < 4; i++) {
		if (scene->parent)
			T_OK(umem_image_put_parent(writer, 0, S_SEGMENT + i * S_PAGE,
				S_SEGMENT + (i + 1) * S_PAGE));
		else
			put(writer, 0, S_SEGMENT + i * S_PAGE, 800 + i, scene->generation);
	}
	put(writer, 1, S_ANON, 900, scene->generation);
}

static size_t fill_regions(const struct scene *scene, struct umem_image_region *v)
{
	static char path[4096];
	size_t n = 0;
	struct stat st;

	v[n++] = (struct umem_image_region){ .start = S_ANON, .end = S_ANON + 16 * S_PAGE,
		.vma_flags = 3 };
	if (scene->with_file) {
		make_file();
		T_CHECK(realpath("mapped", path));
		T_SYS(stat(path, &st));
		v[n++] = (struct umem_image_region){ .start = S_FILE,
			.end = S_FILE + 4 * S_PAGE, .vma_flags = 3, .path = path,
			.inode = st.st_ino, .file_backed = true,
			.file_size_bytes = (uint64_t)st.st_size,
			.file_mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
				(uint64_t)st.st_mtim.tv_nsec };
	}
	if (scene->with_unknown)
		v[n++] = (struct umem_image_region){ .start = S_UNKNOWN,
			.end = S_UNKNOWN + 2 * S_PAGE, .vma_flags = 3 };
	v[n++] = (struct umem_image_region){ .start = S_SEGMENT, .end = S_SEGMENT + 4 * S_PAGE,
		.vma_flags = 11, .inode = 7, .dev_minor = 1,
		.offset = scene->moved ? 4 * S_PAGE : 0 };
	if (scene->private)
		v[n - 1] = (struct umem_image_region){ .start = S_SEGMENT,
			.end = S_SEGMENT + 4 * S_PAGE, .vma_flags = 3 };
	return n;
}

void s_make(const struct scene *scene, const char *path)
{
	struct umem_image *parent = NULL;
	struct umem_image_create_options options = { .size = sizeof(options), .n_threads = -1 };
	struct umem_image_region regions[4];
	const struct umem_image_region second = { .start = S_ANON, .end = S_ANON + S_PAGE,
		.vma_flags = 1 };
	const struct umem_image_process v[2] = {
		{ .pid = 10, .ppid = 1, .regions = regions,
			.n_regions = fill_regions(scene, regions) },
		{ .space = 1, .pid = 11, .ppid = 10, .start_ticks = 1, .regions = &second,
			.n_regions = 1 },
	};
	struct umem_image_writer *writer;

	if (scene->parent)
		T_OK(umem_image_open(scene->parent, NULL, &parent, NULL));
	options.parent = parent;
	T_OK(umem_image_create(path, &options, &writer, NULL));
	put_all(scene, writer);
	T_OK(umem_image_describe(writer, v, 2, NULL));
	T_OK(umem_image_commit(writer, NULL, NULL));
	umem_image_writer_free(writer);
	umem_image_free(parent);
}

static void check_result(const char *what, int r, int want, const struct umem_note *note,
	const char *text)
{
	if (r != want)
		T_FAIL("%s: %d, not %d: %s", what, r, want, note->text);
	if (r < 0 && (note->err != r || !note->text[0]))
		T_FAIL("%s: %d is not noted: %d '%s'", what, r, note->err, note->text);
	if (text && !strstr(note->text, text))
		T_FAIL("%s: '%s' lacks '%s'", what, note->text, text);
}

void s_export(const char *path, const char *format, const char *to,
	const struct umem_image_export_options *options, int want, const char *text)
{
	struct umem_image_export_options copy = { 0 };
	struct umem_note note = { 0 };
	struct umem_image *image;
	int r;

	if (options)
		copy = *options;
	copy.size = sizeof(copy);
	T_OK(umem_image_open(path, NULL, &image, NULL));
	r = umem_image_export(image, format, to, &copy, NULL, &note);
	check_result(to, r, want, &note, text);
	umem_image_free(image);
}

void s_import(const char *format, const char *path,
	const struct umem_image_import_options *options, int want, const char *text)
{
	struct umem_image_import_options copy = { 0 };
	struct umem_note note = { 0 };
	struct umem_image_writer *writer;
	int r;

	if (options)
		copy = *options;
	copy.size = sizeof(copy);
	T_OK(umem_image_create("back.umem", NULL, &writer, NULL));
	r = umem_image_import(writer, format, path, &copy, &note);
	check_result(path, r, want, &note, text);
	if (r == 0)
		T_OK(umem_image_commit(writer, NULL, NULL));
	umem_image_writer_free(writer);
}

void s_nothing_left(void)
{
	DIR *stream = opendir(".");
	struct dirent *entry;

	T_CHECK(stream);
	while ((entry = readdir(stream)))
		T_CHECK(!strstr(entry->d_name, "umem-tmp"), "left: %s", entry->d_name);
	closedir(stream);
}

void s_no_file(const char *path)
{
	struct stat st;

	T_CHECK(lstat(path, &st) < 0 && errno == ENOENT, "%s is there", path);
}

void s_read(const char *path, uint64_t offset, void *bytes, size_t len)
{
	UMEM_FD int fd = (int)T_SYS(open(path, O_RDONLY | O_CLOEXEC));

	T_CHECK(pread(fd, bytes, len, (off_t)offset) == (ssize_t)len, "%s is short", path);
}
