// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Damaged images: each byte changed, cut off at each length, numbers that are huge. Every
 * damage is named by open or verify; reading gives the right bytes or an error.
 *
 *     SEED=N
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/store/digest.h"
#include "lib/store/format.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"
#include "tests/unit/store/model.h"

/** struct sample - a small image, as bytes and as a file in memory. */
struct sample {
	struct model model;
	unsigned char *bytes;
	size_t len;
	int fd;
	bool has_parent;
};

static void describe(struct umem_image_writer *writer)
{
	const struct umem_image_region regions[] = {
		{ .start = MODEL_START, .end = model_addr(20), .kind_name = "anonymous",
			.page_size_bytes = 4096 },
		{ .start = model_addr(30), .end = model_addr(40), .path = "/bin/true",
			.kind_name = "file-private", .file_backed = true },
	};
	const struct umem_image_blob blobs[] = { { 1, 5, "hello" }, { 2, 0, NULL } };
	const struct umem_image_thread threads[] = {
		{ .tid = 10, .name = "main", .blobs = blobs, .n_blobs = 2 },
		{ .tid = 11, .name = "other" },
	};
	const struct umem_image_process process = { .pid = 10, .comm = "main",
		.exe = "/bin/true", .cmdline = "true\0x", .cmdline_len_bytes = 7,
		.threads = threads, .n_threads = 2, .regions = regions, .n_regions = 2 };
	const struct umem_image_incomplete incomplete = { 0, MODEL_START, model_addr(1), "why" };
	const struct umem_image_info info = { .method = "freeze", .incomplete = &incomplete,
		.n_incomplete = 1 };

	T_OK(umem_image_describe(writer, &process, 1, &info));
}

static void make(struct sample *sample, enum umem_image_codec codec, struct umem_image *parent)
{
	struct umem_image_create_options options = { .size = sizeof(options), .codec = codec,
		.parent = parent, .frame_bytes = 8192, .buffer_bytes = 1 << 17 };
	const uint64_t contents[] = { 5, 6, 1, 0, 8, 7, 4, 5 };
	struct umem_image_writer *writer;
	char *text;

	*sample = (struct sample){ .has_parent = parent != NULL };
	model_clear(&sample->model);
	T_OK(umem_image_create(t_tree_path("sample"), &options, &writer, NULL));
	model_put(&sample->model, writer, 0, 0, contents, 8, false);
	model_put(&sample->model, writer, 1, 3, contents + 1, 3, false);
	if (parent) {
		/* The same content, by way of the parent; and what it has not. */
		T_OK(umem_image_put_parent(writer, 0, model_addr(1), model_addr(3)));
		T_OK(umem_image_put_parent(writer, 0, model_addr(12), model_addr(14)));
	}
	describe(writer);
	T_OK(umem_image_commit(writer, NULL, NULL));
	umem_image_writer_free(writer);
	T_OK(umem_read_file(AT_FDCWD, t_tree_path("sample"), 1 << 20, &text, &sample->len));
	sample->bytes = (unsigned char *)text;
	sample->fd = (int)T_SYS(memfd_create("sample", MFD_CLOEXEC));
	T_OK(umem_write_all(sample->fd, text, sample->len));
}

static void drop(struct sample *sample)
{
	free(sample->bytes);
	close(sample->fd);
}

/* Every page that can be read has the right bytes. Return: some could not. */
static bool read_all(const struct sample *sample, struct umem_image *image)
{
	unsigned char have[PAGE], want[PAGE];
	bool bad = false;

	for (uint32_t s = 0; s < umem_image_n_spaces(image) && s < MODEL_SPACES; s++) {
		for (uint64_t i = 0; i < 20; i++) {
			struct umem_note note = { 0 };
			int r = umem_image_get(image, s, model_addr(i), have, 1, &note);

			if (sample->model.page[s][i] == MODEL_ABSENT) {
				T_CHECK(r == -ENODATA || r == -ENXIO);
				continue;
			}
			if (r < 0) {
				T_CHECK(r == -EBADMSG && note.text[0], "%d", r);
				bad = true;
				continue;
			}
			model_page(sample->model.page[s][i], want);
			T_CHECK(memcmp(have, want, PAGE) == 0, "wrong bytes in silence");
		}
	}
	return bad;
}

/* Open, read and verify. Return: it was found to be damaged. */
static bool is_found(const struct sample *sample)
{
	struct umem_note note = { 0 };
	struct umem_image *image;
	bool bad;
	int r = umem_image_open_fd(sample->fd, t_tree_path("file"), NULL, &image, &note);

	if (r < 0) {
		T_CHECK(note.text[0], "%d", r);
		T_CHECK(r == -EBADMSG || r == -EILSEQ || r == -ENOTSUP, "%d %s", r, note.text);
		return true;
	}
	bad = read_all(sample, image);
	r = umem_image_verify(image, NULL, &note);
	T_CHECK(r == 0 || r == -EBADMSG, "%d %s", r, note.text);
	/* What a read meets, verify meets. */
	T_CHECK(!bad || r < 0);
	T_CHECK(r == 0 || note.text[0]);
	umem_image_free(image);
	return r < 0;
}

static void put_byte(const struct sample *sample, size_t at, unsigned char value)
{
	T_CHECK(pwrite(sample->fd, &value, 1, (off_t)at) == 1);
}

static void flip_all(const struct sample *sample, uint64_t *rng)
{
	T_CHECK(!is_found(sample));
	for (size_t at = 0; at < sample->len; at++) {
		/* One bit, or any other byte. */
		unsigned char flip = t_below(rng, 2) ? (unsigned char)(1u << t_below(rng, 8)) :
			(unsigned char)(1 + t_below(rng, 255));

		put_byte(sample, at, sample->bytes[at] ^ flip);
		T_CHECK(is_found(sample), "byte %zu ^ %#x is not found", at, flip);
		put_byte(sample, at, sample->bytes[at]);
	}
	T_CHECK(!is_found(sample));
}

static void cut_all(const struct sample *sample)
{
	for (size_t len = sample->len; len-- > 0;) {
		T_SYS(ftruncate(sample->fd, (off_t)len));
		T_CHECK(is_found(sample), "cut at %zu", len);
	}
	T_CHECK(pwrite(sample->fd, sample->bytes, sample->len, 0) == (ssize_t)sample->len);
	/* And longer than it is. */
	T_SYS(ftruncate(sample->fd, (off_t)sample->len + 1));
	T_CHECK(is_found(sample));
	T_SYS(ftruncate(sample->fd, (off_t)sample->len + 4096));
	T_CHECK(is_found(sample));
	T_SYS(ftruncate(sample->fd, (off_t)sample->len));
}

/* Make checksums right again after a change of header or index: a forger does so. */
static void seal(unsigned char *bytes, size_t len)
{
	uint64_t offset = umem_get64(bytes + UMEM_HEADER_INDEX_OFFSET);
	uint64_t index = umem_get64(bytes + UMEM_HEADER_INDEX_BYTES);
	struct umem_image_id id;

	if (offset <= len && index <= len - offset) {
		umem_digest128(bytes + offset, index, &id);
		memcpy(bytes + UMEM_HEADER_ID, id.bytes, sizeof(id.bytes));
	}
	umem_put64(bytes + UMEM_HEADER_CHECKSUM, umem_digest64(bytes, UMEM_HEADER_CHECKSUM));
}

/*
 * With checksums that are right, what is said may be anything: nothing may crash, and
 * what verify calls good must be readable.
 */
static void check_forged(const struct sample *sample)
{
	struct umem_note note = { 0 };
	struct umem_image *image;
	static unsigned char pages[40 * PAGE];

	if (umem_image_open_fd(sample->fd, NULL, NULL, &image, &note) < 0) {
		T_CHECK(note.text[0]);
		return;
	}
	int good = umem_image_verify(image, NULL, &note);

	T_CHECK(good == 0 || note.text[0]);
	for (uint32_t s = 0; s < umem_image_n_spaces(image) && s < 4; s++) {
		for (uint64_t i = 0; i < 40; i++) {
			int r = umem_image_get(image, s, model_addr(i), pages, 1, NULL);

			T_CHECK(r == 0 || r == -ENODATA || r == -ENXIO ||
				(r == -EBADMSG && good < 0));
		}
		umem_image_get(image, s, MODEL_START, pages, 40, NULL);
	}
	umem_image_free(image);
}

static void forge(const struct sample *sample, uint64_t *rng, unsigned rounds)
{
	static const uint64_t numbers[] = { 0, 1, 7, 8, 4095, 4096, 1ull << 31, UINT32_MAX,
		1ull << 32, 1ull << 40, INT64_MAX, UINT64_MAX - 4095, UINT64_MAX - 7, UINT64_MAX };
	unsigned char *bytes = malloc(sample->len);
	uint64_t offset = umem_get64(sample->bytes + UMEM_HEADER_INDEX_OFFSET);
	uint64_t index = umem_get64(sample->bytes + UMEM_HEADER_INDEX_BYTES);

	for (unsigned i = 0; i < rounds; i++) {
		size_t n = 1 + t_below(rng, 3);

		memcpy(bytes, sample->bytes, sample->len);
		while (n-- > 0) {
			uint64_t value = numbers[t_below(rng, UMEM_ARRAY_LEN(numbers))];
			size_t at = t_below(rng, 8) ? offset + 4 * t_below(rng, index / 4) :
				8 + 4 * t_below(rng, 10);

			if (t_below(rng, 2) && at + 8 <= sample->len)
				umem_put64(bytes + at, value);
			else if (t_below(rng, 2))
				umem_put32(bytes + at, (uint32_t)value);
			else
				bytes[at] ^= (unsigned char)(1u << t_below(rng, 8));
		}
		seal(bytes, sample->len);
		T_CHECK(pwrite(sample->fd, bytes, sample->len, 0) == (ssize_t)sample->len);
		check_forged(sample);
	}
	T_CHECK(pwrite(sample->fd, sample->bytes, sample->len, 0) == (ssize_t)sample->len);
	free(bytes);
}

/** struct told - damages that verify told of. */
struct told {
	unsigned n;
	uint64_t offsets[4];
	uint64_t done;
};

static void tell(void *user, const char *path, uint64_t offset, const char *text)
{
	struct told *told = user;

	T_CHECK(told->n < 4 && strstr(text, "checksum") && strstr(path, "file"));
	told->offsets[told->n++] = offset;
}

static int progress(void *user, uint64_t done, uint64_t total)
{
	struct told *told = user;

	T_CHECK(done >= told->done && done <= total);
	told->done = done;
	return 0;
}

/* With somebody to tell, all damages are found, and all of the file is read. */
static void tell_all(const struct sample *sample)
{
	struct told told = { 0 };
	struct umem_image_verify_options options = { .size = sizeof(options), .damage = tell,
		.progress = progress, .user = &told, .without_parents = true };
	struct umem_note note = { 0 };
	struct umem_image *image;
	size_t second = 4096 + 8192;

	T_OK(umem_image_open_fd(sample->fd, t_tree_path("file"), NULL, &image, NULL));
	put_byte(sample, 4096, sample->bytes[4096] ^ 1);
	put_byte(sample, second, sample->bytes[second] ^ 1);
	T_CHECK(umem_image_verify(image, &options, &note) == -EBADMSG);
	T_CHECK(told.n == 2 && told.offsets[0] == 4096 && told.offsets[1] == second);
	T_CHECK(told.done == sample->len, "%llu", (unsigned long long)told.done);
	T_CHECK(strstr(note.text, "at byte 4096"), "%s", note.text);
	put_byte(sample, 4096, sample->bytes[4096]);
	put_byte(sample, second, sample->bytes[second]);
	told = (struct told){ 0 };
	T_OK(umem_image_verify(image, &options, NULL));
	umem_image_free(image);
}

static void all_of(struct sample *sample, uint64_t *rng)
{
	printf("%zu bytes\n", sample->len);
	flip_all(sample, rng);
	cut_all(sample);
	if (!sample->has_parent)
		forge(sample, rng, 6000);
	drop(sample);
}

int main(void)
{
	static struct sample sample;
	uint64_t rng = t_seed();
	struct umem_image *parent;

	make(&sample, UMEM_IMAGE_CODEC_ZSTD, NULL);
	all_of(&sample, &rng);
	make(&sample, UMEM_IMAGE_CODEC_NONE, NULL);
	T_SYS(rename(t_tree_path("sample"), t_tree_path("parent")));
	tell_all(&sample);
	all_of(&sample, &rng);
	T_OK(umem_image_open(t_tree_path("parent"), NULL, &parent, NULL));
	make(&sample, UMEM_IMAGE_CODEC_ZSTD, parent);
	umem_image_free(parent);
	all_of(&sample, &rng);
	return 0;
}
