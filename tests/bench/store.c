// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What images cost: written and read, beside what dd does with the same flags.
 *
 * dd: a loop of pwrite(2) or pread(2) of 1 MiB with O_DIRECT, and fsync(2). Memory is of
 * random words, which do not compress, or of records as programs have them (pointers,
 * small numbers, text), which compress about threefold. A read begins with what was
 * read before out of the page cache.
 *
 * changed: an image of memory of which 5% was written since its parent, all pages
 * compared with the parent; beside the full image.
 *
 * With BENCH_BYTES (4 GiB) of memory, and files in BENCH_DIR (/var/tmp).
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <umemd/store.h>

#include "tests/bench/bench.h"

#define CHUNK_BYTES (1ull << 20)
#define N_RANDOM    4000u
#define RUNS        5

static unsigned char *memory;
static uint64_t n_bytes;
static char path[4096];
static char child_path[4096];

/** struct side - a way to do it: @ns of each run. */
struct side {
	const char *name;
	uint64_t ns[RUNS];
	uint64_t file_bytes;
};

static void fill_random(uint64_t seed)
{
	uint64_t *word = (uint64_t *)memory;

	for (uint64_t i = 0; i < n_bytes / 8; i++)
		word[i] = t_rand(&seed);
}

/* Records of 64 bytes, as of a program's heap. */
static void fill_records(uint64_t seed)
{
	for (uint64_t i = 0; i < n_bytes; i += 64) {
		uint64_t rng = t_rand(&seed), *word = (uint64_t *)(memory + i);

		word[0] = 0x7f12a4000000 + (rng & 0xfffff8);
		word[1] = 0x7f12a4000000 + (rng >> 24 & 0xfffff8);
		word[2] = rng >> 48 & 0xff;
		word[3] = 1;
		word[4] = 0x35;
		word[5] = 0;
		snprintf((char *)&word[6], 16, "user:%09u", (unsigned)(rng >> 32) % 1000000000);
	}
}

/* What was read or written leaves the page cache. */
static void forget(const char *name)
{
	int fd = (int)T_SYS(open(name, O_RDONLY | O_CLOEXEC));

	T_SYS(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	close(fd);
}

static uint64_t dd_write(void)
{
	uint64_t start = b_now_ns();
	int fd = (int)T_SYS(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600));

	for (uint64_t at = 0; at < n_bytes; at += CHUNK_BYTES)
		T_CHECK(pwrite(fd, memory + at, CHUNK_BYTES, (off_t)at) == (ssize_t)CHUNK_BYTES);
	T_SYS(fsync(fd));
	close(fd);
	return b_now_ns() - start;
}

static uint64_t dd_read(void)
{
	unsigned char *to = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int fd = (int)T_SYS(open(path, O_RDONLY | O_DIRECT | O_CLOEXEC));
	uint64_t start = b_now_ns();

	for (uint64_t at = 0; at < n_bytes; at += CHUNK_BYTES)
		T_CHECK(pread(fd, to, CHUNK_BYTES, (off_t)at) == (ssize_t)CHUNK_BYTES);
	start = b_now_ns() - start;
	munmap(to, CHUNK_BYTES);
	close(fd);
	return start;
}

static void ok(int r, const struct umem_note *note)
{
	T_CHECK(r == 0, "%d, %s", r, note->text);
}

static uint64_t image_write(enum umem_image_codec codec, uint64_t *ret_bytes)
{
	struct umem_image_create_options options = { .size = sizeof(options), .codec = codec };
	uint64_t start = b_now_ns();
	struct umem_image_totals totals;
	struct umem_image_writer *writer;
	struct umem_note note = { 0 };

	ok(umem_image_create(path, &options, &writer, &note), &note);
	for (uint64_t at = 0; at < n_bytes; at += CHUNK_BYTES)
		T_OK(umem_image_put(writer, 0, 0x10000000 + at, memory + at, CHUNK_BYTES / B_PAGE));
	ok(umem_image_commit(writer, NULL, &note), &note);
	start = b_now_ns() - start;
	umem_image_writer_free(writer);

	struct umem_image *image;

	ok(umem_image_open(path, NULL, &image, &note), &note);
	umem_image_totals(image, &totals);
	*ret_bytes = totals.file_bytes;
	umem_image_free(image);
	return start;
}

static uint64_t image_read(void)
{
	unsigned char *to = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct umem_note note = { 0 };
	struct umem_image *image;
	uint64_t start;

	forget(path);
	start = b_now_ns();
	ok(umem_image_open(path, NULL, &image, &note), &note);
	for (uint64_t at = 0; at < n_bytes; at += CHUNK_BYTES)
		ok(umem_image_get(image, 0, 0x10000000 + at, to, CHUNK_BYTES / B_PAGE, &note),
			&note);
	start = b_now_ns() - start;
	T_CHECK(memcmp(to, memory + n_bytes - CHUNK_BYTES, CHUNK_BYTES) == 0);
	umem_image_free(image);
	munmap(to, CHUNK_BYTES);
	return start;
}

static uint64_t image_verify(void)
{
	struct umem_note note = { 0 };
	struct umem_image *image;
	uint64_t start;

	forget(path);
	start = b_now_ns();
	ok(umem_image_open(path, NULL, &image, &note), &note);
	ok(umem_image_verify(image, NULL, &note), &note);
	start = b_now_ns() - start;
	umem_image_free(image);
	return start;
}

/* Single pages at random: of the image, or of the file. Return: of one. */
static uint64_t random_reads(bool of_image)
{
	unsigned char *to = mmap(NULL, B_PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int fd = (int)T_SYS(open(path, O_RDONLY | O_DIRECT | O_CLOEXEC));
	struct umem_note note = { 0 };
	uint64_t rng = 7, ns = 0;
	struct umem_image *image;
	struct stat st;

	T_SYS(fstat(fd, &st));
	forget(path);
	ok(umem_image_open(path, NULL, &image, &note), &note);
	for (unsigned i = 0; i < N_RANDOM; i++) {
		uint64_t n = of_image ? n_bytes / B_PAGE : (uint64_t)st.st_size / B_PAGE;
		uint64_t at = t_below(&rng, n) * B_PAGE, start = b_now_ns();

		if (of_image)
			ok(umem_image_get(image, 0, 0x10000000 + at, to, 1, &note), &note);
		else
			T_CHECK(pread(fd, to, B_PAGE, (off_t)at) == (ssize_t)B_PAGE);
		ns += b_now_ns() - start;
	}
	umem_image_free(image);
	close(fd);
	munmap(to, B_PAGE);
	return ns / N_RANDOM;
}

/* All pages once more, of which every twentieth was written. */
static uint64_t image_changed(enum umem_image_codec codec, bool known, uint64_t *ret_bytes)
{
	struct umem_image_create_options options = { .size = sizeof(options), .codec = codec };
	struct umem_image_writer *writer;
	struct umem_image_totals totals;
	struct umem_note note = { 0 };
	struct umem_image *parent;
	uint64_t start;

	for (uint64_t at = 0; at < n_bytes; at += 20 * B_PAGE)
		((uint64_t *)(memory + at))[9]++;
	forget(path);
	start = b_now_ns();
	ok(umem_image_open(path, NULL, &parent, &note), &note);
	options.parent = parent;
	ok(umem_image_create(child_path, &options, &writer, &note), &note);
	if (known)
		T_OK(umem_image_put_parent(writer, 0, 0x10000000, 0x10000000 + n_bytes));
	for (uint64_t at = 0; at < n_bytes; at += known ? 20 * B_PAGE : CHUNK_BYTES)
		T_OK(umem_image_put_if_changed(writer, 0, 0x10000000 + at, memory + at,
			known ? 1 : CHUNK_BYTES / B_PAGE));
	ok(umem_image_commit(writer, &totals, &note), &note);
	start = b_now_ns() - start;
	umem_image_writer_free(writer);
	umem_image_free(parent);
	*ret_bytes = totals.file_bytes;
	return start;
}

static void print_side(const char *what, struct side *side, bool is_latency)
{
	uint64_t ns = b_median(side->ns, RUNS);

	if (is_latency)
		printf("%-10s %-22s %8.1f us\n", what, side->name, (double)ns / 1e3);
	else
		printf("%-10s %-22s %8.2f GB/s  file %6.1f%%\n", what, side->name,
			(double)n_bytes / (double)ns,
			100.0 * (double)side->file_bytes / (double)n_bytes);
	fflush(stdout);
	b_json("store", "\"memory\":\"%s\",\"side\":\"%s\",\"bytes\":%llu,\"ns\":%llu,"
		"\"file_bytes\":%llu", what, side->name, (unsigned long long)n_bytes,
		(unsigned long long)ns, (unsigned long long)side->file_bytes);
}

static void run_codec(const char *what, const char *name, enum umem_image_codec codec)
{
	char names[8][40];
	struct side dd = { .name = "write dd" }, write = { 0 }, read = { 0 }, verify = { 0 };
	struct side dd_back = { .name = "read dd" }, page = { 0 }, dd_page = { 0 };
	struct side known = { 0 }, hashed = { 0 };
	struct side *all[] = { &write, &read, &verify, &page, &known, &hashed, &dd_page };
	static const char *const verbs[] = { "write", "read", "verify", "random page",
		"5% changed, known", "5% changed, compared", "random page dd" };

	for (unsigned i = 0; i < 7; i++) {
		snprintf(names[i], sizeof(names[i]), "%s %s", verbs[i], i < 6 ? name : "");
		all[i]->name = names[i];
	}
	dd.file_bytes = dd_back.file_bytes = n_bytes;
	for (int i = 0; i < RUNS; i++) {
		dd.ns[i] = dd_write();
		dd_back.ns[i] = dd_read();
		write.ns[i] = image_write(codec, &write.file_bytes);
		read.ns[i] = image_read();
		verify.ns[i] = image_verify();
		page.ns[i] = random_reads(true);
		dd_page.ns[i] = random_reads(false);
		known.ns[i] = image_changed(codec, true, &known.file_bytes);
		image_write(codec, &write.file_bytes);
		hashed.ns[i] = image_changed(codec, false, &hashed.file_bytes);
	}
	read.file_bytes = verify.file_bytes = write.file_bytes;
	print_side(what, &dd, false);
	print_side(what, &write, false);
	print_side(what, &dd_back, false);
	print_side(what, &read, false);
	print_side(what, &verify, false);
	print_side(what, &known, false);
	print_side(what, &hashed, false);
	print_side(what, &dd_page, true);
	print_side(what, &page, true);
}

int main(void)
{
	const char *dir = getenv("BENCH_DIR");

	n_bytes = b_bytes() & ~(CHUNK_BYTES - 1);
	snprintf(path, sizeof(path), "%s/umem-bench-%d.umem", dir ? dir : "/var/tmp", getpid());
	snprintf(child_path, sizeof(child_path), "%s/umem-bench-%d-child.umem",
		dir ? dir : "/var/tmp", getpid());
	memory = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_CHECK(memory != MAP_FAILED);
	printf("Images of %llu MiB, medians of %d\n", (unsigned long long)n_bytes >> 20, RUNS);
	fill_random(1);
	run_codec("random", "none", UMEM_IMAGE_CODEC_NONE);
	run_codec("random", "zstd", UMEM_IMAGE_CODEC_ZSTD);
	fill_records(1);
	run_codec("records", "none", UMEM_IMAGE_CODEC_NONE);
	run_codec("records", "zstd", UMEM_IMAGE_CODEC_ZSTD);
	unlink(path);
	unlink(child_path);
	return 0;
}
