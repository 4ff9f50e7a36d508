// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Opening images: parents that are missing, swapped, in a circle or too many; what is no
 * image; what an image says of itself; options; runs of zeros of any length.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/store/describe.h"
#include "lib/store/digest.h"
#include "lib/store/image.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"
#include "tests/unit/store/model.h"

static struct umem_image *open_it(const char *name)
{
	struct umem_note note = { 0 };
	struct umem_image *image;
	int r = umem_image_open(t_tree_path(name), NULL, &image, &note);

	T_CHECK(r == 0, "%s", note.text);
	return image;
}

/* An image of one page, a child of @parent if that is not NULL. */
static void make(const char *name, const char *parent, uint64_t content)
{
	struct umem_image_create_options options = { .size = sizeof(options), .n_threads = -1 };
	struct umem_image_writer *writer;
	static struct model model;

	if (parent)
		options.parent = open_it(parent);
	T_OK(umem_image_create(t_tree_path(name), &options, &writer, NULL));
	if (parent)
		T_OK(umem_image_put_parent(writer, 0, 0, UINT64_MAX - 4095));
	model_put(&model, writer, 0, content % MODEL_PAGES, &content, 1, false);
	T_OK(umem_image_commit(writer, NULL, NULL));
	umem_image_writer_free(writer);
	umem_image_free(options.parent);
}

static void must_not_open(const char *name, int want, const char *with)
{
	struct umem_note note = { 0 };
	struct umem_image *image = NULL;
	int r = umem_image_open(t_tree_path(name), NULL, &image, &note);

	T_CHECK(r == want && !image, "%d %s", r, note.text);
	T_CHECK(strstr(note.text, with), "%s", note.text);
}

static void put_file(const char *name, const void *bytes, size_t len)
{
	int fd = (int)T_SYS(open(t_tree_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		0600));

	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void no_image(void **state)
{
	char page[8192] = { 0 };

	must_not_open("none", -ENOENT, "none");
	put_file("empty", page, 0);
	must_not_open("empty", -EILSEQ, "not an image");
	put_file("zeros", page, sizeof(page));
	must_not_open("zeros", -EILSEQ, "not an image");
	memcpy(page, "\x89UMEM\r\n\x1a", 8);
	put_file("head", page, 8);
	must_not_open("head", -EBADMSG, "cut off");
	put_file("header", page, sizeof(page));
	must_not_open("header", -EBADMSG, "header does not match");
	/* A newer version is not called damage. */
	umem_put32(page + UMEM_HEADER_VERSION, 2);
	umem_put64(page + UMEM_HEADER_CHECKSUM, umem_digest64(page, UMEM_HEADER_CHECKSUM));
	put_file("newer", page, sizeof(page));
	must_not_open("newer", -ENOTSUP, "version 2");
	umem_put32(page + UMEM_HEADER_VERSION, 1);
	umem_put64(page + UMEM_HEADER_FLAGS, 1);
	umem_put64(page + UMEM_HEADER_CHECKSUM, umem_digest64(page, UMEM_HEADER_CHECKSUM));
	put_file("flags", page, sizeof(page));
	must_not_open("flags", -ENOTSUP, "flags 0x1");
	T_SYS(mkfifo(t_tree_path("fifo"), 0600));
	must_not_open("fifo", -EILSEQ, "not a regular file");
	must_not_open(".", -EILSEQ, "not a regular file");
}

static void copy(const char *from, const char *to)
{
	char command[9000];

	snprintf(command, sizeof(command), "cp %s %s", t_tree_path(from), t_tree_path(to));
	assert_int_equal(system(command), 0);
}

static void parents(void **state)
{
	struct umem_image_open_options alone = { .size = sizeof(alone), .without_parents = true };
	struct umem_image_id id;
	struct umem_image *image;
	struct umem_note note = { 0 };
	unsigned char page[PAGE], want[PAGE];

	make("p0", NULL, 1);
	make("p1", "p0", 2);
	make("p2", "p1", 3);
	image = open_it("p2");
	assert_string_equal(umem_image_parent_name(image, &id), "p1");
	assert_memory_equal(&id, umem_image_id(umem_image_parent(image)), sizeof(id));
	assert_null(umem_image_parent_name(umem_image_parent(umem_image_parent(image)), NULL));
	for (uint64_t content = 1; content <= 3; content++) {
		T_OK(umem_image_get(image, 0, model_addr(content), page, 1, NULL));
		model_page(content, want);
		assert_memory_equal(page, want, PAGE);
	}
	model_verify(image);
	umem_image_free(image);
	/* Moved as a whole, they find each other; also by another way to the folder. */
	t_tree_folder("moved");
	for (int i = 0; i < 3; i++) {
		char from[8], to[20];

		snprintf(from, sizeof(from), "p%d", i);
		snprintf(to, sizeof(to), "moved/p%d", i);
		copy(from, to);
	}
	T_SYS(chdir(t_tree()));
	T_OK(umem_image_open("moved/p2", NULL, &image, NULL));
	umem_image_free(image);
	T_SYS(chdir("/"));
	/* The parent was made anew with other content; with the same it has another key. */
	make("moved/p1", "moved/p0", 4);
	must_not_open("moved/p2", -ESTALE, "another image");
	make("moved/p1", "moved/p0", 2);
	must_not_open("moved/p2", -ESTALE, "another image");
	/* Swapped; missing; no image; damaged. */
	copy("p0", "moved/p1");
	must_not_open("moved/p2", -ESTALE, "another image");
	T_SYS(unlink(t_tree_path("moved/p1")));
	must_not_open("moved/p2", -ENOENT, "is missing");
	put_file("moved/p1", "x", 1);
	must_not_open("moved/p2", -EILSEQ, "moved/p1: is not an image");
	copy("p1", "moved/p1");
	T_SYS(truncate(t_tree_path("moved/p1"), 5000));
	must_not_open("moved/p2", -EBADMSG, "moved/p1: damaged");
	/* Without parents it can be looked at, and what is in them is refused. */
	T_OK(umem_image_open(t_tree_path("moved/p2"), &alone, &image, NULL));
	T_OK(umem_image_get(image, 0, model_addr(3), page, 1, NULL));
	assert_int_equal(umem_image_get(image, 0, model_addr(1), page, 1, &note), -ENOENT);
	assert_non_null(strstr(note.text, "p1"));
	umem_image_free(image);
}

/* Make @name the child of whatever is called @parent, by forging. */
static void rename_parent(const char *name, const char *parent, const struct umem_image_id *id)
{
	int fd = (int)T_SYS(open(t_tree_path(name), O_RDWR | O_CLOEXEC));
	unsigned char header[4096], index[65536], *at;
	struct umem_image_id own;
	uint64_t offset, len;

	assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
	offset = umem_get64(header + UMEM_HEADER_INDEX_OFFSET);
	len = umem_get64(header + UMEM_HEADER_INDEX_BYTES);
	assert_true(len <= sizeof(index));
	assert_int_equal(pread(fd, index, len, (off_t)offset), len);
	assert_int_equal(umem_get32(index), UMEM_TAG_PARENT);
	at = index + UMEM_PART_HEADER_BYTES;
	assert_int_equal(strlen((char *)at + 16), strlen(parent));
	strcpy((char *)at + 16, parent);
	if (id)
		memcpy(at, id, sizeof(*id));
	umem_digest128(index, len, &own);
	memcpy(header + UMEM_HEADER_ID, &own, sizeof(own));
	umem_put64(header + UMEM_HEADER_CHECKSUM, umem_digest64(header, UMEM_HEADER_CHECKSUM));
	assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(pwrite(fd, index, len, (off_t)offset), len);
	close(fd);
}

static void cycles(void **state)
{
	struct umem_image *image;
	char name[20], parent[20];

	make("c0", NULL, 1);
	make("c1", "c0", 2);
	make("c2", "c1", 3);
	rename_parent("c1", "c2", NULL);
	must_not_open("c1", -ESTALE, "another image");
	image = NULL;
	/* Identities can be forged in one direction: c1 says c2, and c2 says the new c1. */
	struct umem_image_open_options alone = { .size = sizeof(alone), .without_parents = true };

	T_OK(umem_image_open(t_tree_path("c1"), &alone, &image, NULL));
	rename_parent("c2", "c1", umem_image_id(image));
	umem_image_free(image);
	must_not_open("c2", -ELOOP, "a cycle");
	rename_parent("c1", "c1", NULL);
	must_not_open("c1", -ELOOP, "a cycle");
	/* A chain as long as it may be, and one more. */
	make("d00", NULL, 1);
	for (unsigned i = 1; i < UMEM_IMAGE_MAX_DEPTH; i++) {
		snprintf(name, sizeof(name), "d%02u", i);
		snprintf(parent, sizeof(parent), "d%02u", i - 1);
		make(name, parent, 1 + i);
	}
	image = open_it(name);
	model_verify(image);
	umem_image_free(image);
	make("d99", "d63", 100);
	must_not_open("d99", -ELOOP, "more than 64");
}

/* An image that is needed is not replaced by its child, by whatever name. */
static void own_ancestor(void **state)
{
	struct umem_image_create_options create = { .size = sizeof(create) };
	struct umem_image_writer *writer = NULL;
	struct umem_note note = { 0 };

	make("a0", NULL, 1);
	make("a1", "a0", 2);
	T_SYS(link(t_tree_path("a0"), t_tree_path("other-name")));
	create.parent = open_it("a1");
	assert_int_equal(umem_image_create(t_tree_path("a1"), &create, &writer, NULL), -ELOOP);
	assert_int_equal(umem_image_create(t_tree_path("a0"), &create, &writer, NULL), -ELOOP);
	assert_int_equal(umem_image_create(t_tree_path("other-name"), &create, &writer, &note),
		-ELOOP);
	assert_non_null(strstr(note.text, "ancestor"));
	umem_image_free(create.parent);
}

static void options(void **state)
{
	struct umem_image_create_options create = { .size = sizeof(create) };
	struct umem_image_writer *writer = NULL;
	struct umem_image_open_options open = { 0 };
	struct umem_image *image = NULL;
	struct umem_note note = { 0 };
	unsigned char page[PAGE] = { 0 };

	create.frame_bytes = 5000;
	assert_int_equal(umem_image_create(t_tree_path("o"), &create, &writer, &note), -EINVAL);
	create.frame_bytes = 524288;
	assert_int_equal(umem_image_create(t_tree_path("o"), &create, &writer, NULL), -EINVAL);
	create.frame_bytes = 0;
	create.level = 1000;
	assert_int_equal(umem_image_create(t_tree_path("o"), &create, &writer, NULL), -EINVAL);
	create.level = 0;
	create.codec = 9;
	assert_int_equal(umem_image_create(t_tree_path("o"), &create, &writer, NULL), -EINVAL);
	create.codec = 0;
	create.size = 1;
	assert_int_equal(umem_image_create(t_tree_path("o"), &create, &writer, NULL), -EINVAL);
	assert_int_equal(umem_image_open(t_tree_path("o"), &open, &image, NULL), -ENOENT);
	assert_null(writer);
	T_OK(umem_image_create(t_tree_path("o"), NULL, &writer, NULL));
	assert_int_equal(umem_image_put(writer, 0, 1, page, 1), -EINVAL);
	assert_int_equal(umem_image_put(writer, 0, UINT64_MAX - 4095, page, 1), -EINVAL);
	assert_int_equal(umem_image_put(writer, UMEM_MAX_SPACES, 0, page, 1), -EINVAL);
	assert_int_equal(umem_image_put_zero(writer, 0, 4096, 0), -EINVAL);
	assert_int_equal(umem_image_put_parent(writer, 0, 0, 4096), -EINVAL);
	assert_int_equal(umem_image_link_space(writer, 0, 1), -EINVAL);
	assert_int_equal(umem_image_reopen(writer, &image, NULL), -EINVAL);
	/* None of that hurt it. All of the address space, and one page in it. */
	T_OK(umem_image_put_zero(writer, 2, 0, UINT64_MAX - 4095));
	memset(page, 7, sizeof(page));
	T_OK(umem_image_put(writer, 2, 1ull << 50, page, 1));
	T_OK(umem_image_commit(writer, NULL, NULL));
	assert_int_equal(umem_image_commit(writer, NULL, &note), -EINVAL);
	assert_int_equal(umem_image_put(writer, 0, 0, page, 1), -EINVAL);
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	assert_int_equal(umem_image_n_spaces(image), 3);
	for (uint64_t at = 0; at < 64; at++) {
		T_OK(umem_image_get(image, 2, at < 63 ? 1ull << at & ~4095ull :
			UINT64_MAX - 8191, page, 1, NULL));
		assert_int_equal(page[4095], at == 50 ? 7 : 0);
	}
	model_verify(image);
	umem_image_free(image);
}

static int count_runs(void *user, const struct umem_image_run *run)
{
	unsigned *n = user;

	n[run->what]++;
	return run->what == UMEM_IMAGE_NONE && run->start == 12288 ? 77 : 0;
}

/* What is described, and not in the image. */
static void absent(void **state)
{
	const struct umem_image_region regions[] = {
		{ .start = 4096, .end = 20480, .path = "/the/file", .file_backed = true },
		{ .start = 20480, .end = 40960 },
	};
	const struct umem_image_process process = { .space = 1, .regions = regions,
		.n_regions = 2, .pid = 5 };
	struct umem_image_writer *writer;
	struct umem_note note = { 0 };
	struct umem_image *image;
	unsigned n[UMEM_N_IMAGE_PAGES] = { 0 };
	unsigned char page[PAGE] = { 0 };

	T_OK(umem_image_create(t_tree_path("absent"), NULL, &writer, NULL));
	T_OK(umem_image_put(writer, 1, 8192, page, 1));
	T_OK(umem_image_put(writer, 1, 24576, page, 1));
	T_OK(umem_image_put(writer, 1, 1ull << 40, page, 1));
	T_OK(umem_image_describe(writer, &process, 1, NULL));
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	assert_int_equal(umem_image_get(image, 1, 4096, page, 1, &note), -ENODATA);
	assert_non_null(strstr(note.text, "/the/file"));
	assert_int_equal(note.addr, 4096);
	T_OK(umem_image_get(image, 1, 8192, page, 1, NULL));
	assert_int_equal(umem_image_get(image, 1, 20480, page, 1, NULL), -ENODATA);
	assert_int_equal(umem_image_get(image, 1, 0, page, 1, NULL), -ENXIO);
	assert_int_equal(umem_image_get(image, 1, 40960, page, 1, NULL), -ENXIO);
	assert_int_equal(umem_image_get(image, 0, 4096, page, 1, NULL), -ENXIO);
	assert_int_equal(umem_image_get(image, 2, 4096, page, 1, NULL), -EINVAL);
	assert_int_equal(umem_image_get(image, 1, 4097, page, 1, NULL), -EINVAL);
	T_OK(umem_image_each(image, 1, 0, UINT64_MAX, count_runs, n));
	assert_int_equal(n[UMEM_IMAGE_ZERO], 3);
	assert_int_equal(n[UMEM_IMAGE_FILE], 2);
	assert_int_equal(n[UMEM_IMAGE_NONE], 2);
	assert_int_equal(umem_image_each(image, 2, 0, 1, count_runs, n), -EINVAL);
	umem_image_free(image);
}

/* Images without a name: by the writer, and by a descriptor. */
static void nameless(void **state)
{
	struct umem_image_create_options options = { .size = sizeof(options), .anonymous = true };
	const uint64_t content = 6;
	struct umem_image_writer *writer;
	struct umem_image *image;
	static struct model model;
	uint64_t rng = t_seed();

	model_clear(&model);
	T_OK(umem_image_create(t_tree(), &options, &writer, NULL));
	model_put(&model, writer, 0, 9, &content, 1, false);
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	umem_image_writer_free(writer);
	model_check(&model, image, &rng);
	model_verify(image);
	umem_image_free(image);
}

/* Into a descriptor, with a parent and its parent by descriptors: nothing by a name. */
static void by_descriptors(void **state)
{
	struct umem_image_open_options open_options = { .size = sizeof(open_options) };
	struct umem_image_create_options options = { .size = sizeof(options) };
	struct umem_image_totals totals;
	struct umem_image_writer *writer;
	struct umem_image *image;
	struct umem_note note = { 0 };
	unsigned char page[PAGE], want[PAGE];
	int fds[2], fd;

	make("d0", NULL, 13);
	make("d1", "d0", 21);
	fds[0] = (int)T_SYS(open(t_tree_path("d1"), O_RDONLY | O_CLOEXEC));
	fds[1] = (int)T_SYS(open(t_tree_path("d0"), O_RDONLY | O_CLOEXEC));
	T_SYS(unlink(t_tree_path("d0")));
	T_SYS(unlink(t_tree_path("d1")));
	/* Its own parent is not looked for when only some are given. */
	open_options.parents = fds + 1;
	assert_int_equal(umem_image_open_fd(fds[0], "d1", &open_options, &image, &note), -ENOENT);
	T_CHECK(strstr(note.text, "no descriptor of its parent"), "%s", note.text);
	open_options.n_parents = 1;
	T_CHECK(umem_image_open_fd(fds[0], "d1", &open_options, &options.parent, &note) == 0, "%s",
		note.text);
	fd = (int)T_SYS(open(t_tree(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	options.fd = &fd;
	options.parent_name = "elsewhere/d1";
	T_CHECK(umem_image_create("that", &options, &writer, &note) == 0, "%s", note.text);
	T_OK(umem_image_put_parent(writer, 0, 0, UINT64_MAX - 4095));
	T_CHECK(umem_image_commit(writer, &totals, &note) == 0, "%s", note.text);
	umem_image_writer_free(writer);
	options.parent = umem_image_free(options.parent);
	/* All three, read by the descriptors alone. */
	open_options.parents = fds;
	open_options.n_parents = 2;
	T_CHECK(umem_image_open_fd(fd, NULL, &open_options, &image, &note) == 0, "%s", note.text);
	assert_string_equal(umem_image_parent_name(image, NULL), "elsewhere/d1");
	for (uint64_t content = 13; content <= 21; content += 8) {
		model_page(content, want);
		T_OK(umem_image_get(image, 0, model_addr(content), page, 1, NULL));
		assert_memory_equal(page, want, PAGE);
	}
	umem_image_free(image);
	/* What has something in it is no place to write to. */
	assert_int_equal(umem_image_create("that", &options, &writer, &note), -EINVAL);
	close(fd);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_descriptors),
		cmocka_unit_test(no_image),
		cmocka_unit_test(parents),
		cmocka_unit_test(cycles),
		cmocka_unit_test(own_ancestor),
		cmocka_unit_test(options),
		cmocka_unit_test(absent),
		cmocka_unit_test(nameless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
