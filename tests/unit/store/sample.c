// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The sample images: a parent and its child that have something of everything.
 *
 *     store-sample make DIR    write DIR/parent.umem and DIR/child.umem
 *     store-sample expect      print what they hold, without reading them
 *     store-sample read DIR    print what they hold, as the library reads it
 *
 * Those in tests/golden/image-1 were made by "make" of the first version, and have to
 * stay readable. What is printed is also what tests/golden/read-image prints, which
 * was written from the manual page.
 */
#include <unistd.h>

#include "lib/store/writer.h"
#include "tests/lib/harness.h"
#include "tests/unit/store/model.h"

#define SAMPLE_PAGES 40u

static const struct umem_image_region regions[] = {
	{ .start = MODEL_START, .end = MODEL_START + 40 * PAGE, .kind = 0,
		.kind_name = "anonymous", .vma_flags = 3, .page_size_bytes = 4096 },
	{ .start = MODEL_START + 50 * PAGE, .end = MODEL_START + 70 * PAGE, .offset = 8192,
		.inode = 77, .dev_major = 8, .dev_minor = 1, .kind = 2,
		.kind_name = "file-private", .path = "/usr/bin/sample program",
		.vma_flags = 5, .page_size_bytes = 4096, .file_backed = true,
		.file_size_bytes = 123456, .file_mtime_ns = 1700000000123456789 },
};
static const struct umem_image_blob blobs[] = { { 1, 11, "prstatus..." }, { 2, 4, "fpre" },
	{ 0x202, 0, "" } };
static const struct umem_image_thread threads[] = {
	{ .tid = 100, .name = "sample", .blobs = blobs, .n_blobs = 3 },
	{ .tid = 101, .name = "fifteen letters" },
};
static const struct umem_image_process processes[] = {
	{ .space = 0, .pid = 100, .ppid = 1, .pgid = 100, .sid = 99, .uid = 1000, .gid = 1001,
		.start_ticks = 123456, .comm = "sample", .exe = "/usr/bin/sample program",
		.cmdline = "sample\0-x\0", .cmdline_len_bytes = 10, .auxv = "auxvauxvauxvauxv",
		.auxv_len_bytes = 16, .threads = threads, .n_threads = 2, .regions = regions,
		.n_regions = 2 },
	{ .space = 2, .pid = 102, .ppid = 100, .pgid = 100, .sid = 99, .comm = "child" },
};
static const struct umem_image_incomplete incomplete[] = {
	{ 2, MODEL_START, MODEL_START + 4096, "discarded before it was copied" },
	{ 0, 0, UINT64_MAX, "for the sake of the sample" },
};
static const struct umem_image_info info = { .method = "cow", .creator = "sample 1",
	.kernel = "6.18", .machine = "x86_64", .time_ns = 1700000000000000000,
	.pause_ns = 1234567, .total_ns = 2345678901, .rounds = 3, .incomplete = incomplete,
	.n_incomplete = 2 };

/* Content of page @i of a space; the child has other pages than the parent. */
static uint64_t content_of(bool child, uint32_t space, uint64_t i)
{
	if (i % 13 == 12)
		return MODEL_ABSENT;
	if (child && i % 7 == 0)
		return 5000 + i;
	if (i % 5 == 1)
		return 0;
	if (i % 11 == 3)
		return 8 * (i + 1);
	/* Half of each space is the same in all. */
	return i < 30 ? 8 * i + i % 8 : 1000 * (space + 1) + 8 * i + i % 7 + 1;
}

static void make(const char *dir, bool child)
{
	struct umem_image_create_options options = { .size = sizeof(options), .n_threads = -1,
		.codec = UMEM_IMAGE_CODEC_ZSTD, .mode = 0644, .frame_bytes = child ? 16384 : 0 };
	struct umem_image_writer *writer;
	unsigned char page[PAGE];
	char path[4096];
	uint64_t rng = child ? 2 : 1;

	snprintf(path, sizeof(path), "%s/parent.umem", dir);
	if (child)
		T_OK(umem_image_open(path, NULL, &options.parent, NULL));
	snprintf(path, sizeof(path), "%s/%s.umem", dir, child ? "child" : "parent");
	T_OK(umem_image_create(path, &options, &writer, NULL));
	for (unsigned i = 0; i < 514; i++)
		writer->key.nh[i] = t_rand(&rng);
	writer->key.r[0] = t_rand(&rng) >> 4;
	writer->key.r[1] = t_rand(&rng) >> 4;
	for (uint32_t s = 0; s < MODEL_SPACES; s++) {
		for (uint64_t i = 0; i < SAMPLE_PAGES; i++) {
			uint64_t content = content_of(child, s, i);

			if (content == MODEL_ABSENT)
				continue;
			model_page(content, page);
			/* The last space of the child was the first of the parent. */
			T_OK(umem_image_put_if_changed(writer, s, model_addr(i), page, 1));
		}
	}
	T_OK(umem_image_describe(writer, processes, 2, &info));
	T_OK(umem_image_commit(writer, NULL, NULL));
	umem_image_writer_free(writer);
	umem_image_free(options.parent);
}

/* FNV-1a, which is written down in two lines everywhere. */
static uint64_t fnv(const void *bytes, size_t len)
{
	const unsigned char *at = bytes;
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ at[i]) * 0x100000001b3;
	return hash;
}

static void print_page(uint32_t space, uint64_t addr, const unsigned char *page)
{
	printf("page %u %llx %016llx\n", space, (unsigned long long)addr,
		(unsigned long long)fnv(page, PAGE));
}

static void expect(bool child)
{
	unsigned char page[PAGE];

	for (uint32_t s = 0; s < MODEL_SPACES; s++) {
		for (uint64_t i = 0; i < SAMPLE_PAGES; i++) {
			uint64_t content = content_of(child, s, i);

			if (content == MODEL_ABSENT)
				continue;
			model_page(content, page);
			print_page(s, model_addr(i), page);
		}
	}
}

static void print_region(const struct umem_image_region *r)
{
	printf("region %llx-%llx offset %llu inode %llu granule %llu dev %u:%u flags %u kind %u "
	       "%s file %u size %llu mtime %llu path %s\n", (unsigned long long)r->start,
		(unsigned long long)r->end, (unsigned long long)r->offset,
		(unsigned long long)r->inode, (unsigned long long)r->page_size_bytes,
		r->dev_major, r->dev_minor, r->vma_flags, r->kind, r->kind_name,
		r->file_backed, (unsigned long long)r->file_size_bytes,
		(unsigned long long)r->file_mtime_ns, r->path ? r->path : "");
}

static void print_process(const struct umem_image_process *p)
{
	printf("process %u pid %d ppid %d pgid %d sid %d uid %u gid %u start %llu comm %s exe %s "
	       "cmdline %016llx auxv %016llx\n", p->space, p->pid, p->ppid, p->pgid, p->sid,
		p->uid, p->gid, (unsigned long long)p->start_ticks, p->comm, p->exe ? p->exe : "",
		(unsigned long long)fnv(p->cmdline, p->cmdline_len_bytes),
		(unsigned long long)fnv(p->auxv, p->auxv_len_bytes));
	for (size_t t = 0; t < p->n_threads; t++) {
		printf("thread %d %s\n", p->threads[t].tid, p->threads[t].name);
		for (size_t b = 0; b < p->threads[t].n_blobs; b++)
			printf("blob %x %u %016llx\n", p->threads[t].blobs[b].type,
				p->threads[t].blobs[b].len_bytes,
				(unsigned long long)fnv(p->threads[t].blobs[b].bytes,
					p->threads[t].blobs[b].len_bytes));
	}
	for (size_t r = 0; r < p->n_regions; r++)
		print_region(&p->regions[r]);
}

static void print_description(const struct umem_image_info *i,
	const struct umem_image_process *p, size_t n)
{
	printf("info method %s creator %s kernel %s machine %s time %llu pause %llu total %llu "
	       "rounds %llu complete %u\n", i->method, i->creator, i->kernel, i->machine,
		(unsigned long long)i->time_ns, (unsigned long long)i->pause_ns,
		(unsigned long long)i->total_ns, (unsigned long long)i->rounds, i->complete);
	for (size_t k = 0; k < i->n_incomplete; k++)
		printf("incomplete %u %llx-%llx %s\n", i->incomplete[k].space,
			(unsigned long long)i->incomplete[k].start,
			(unsigned long long)i->incomplete[k].end, i->incomplete[k].reason);
	for (size_t k = 0; k < n; k++)
		print_process(&p[k]);
}

static void read_image(const char *dir, const char *name)
{
	unsigned char page[PAGE];
	struct umem_note note = { 0 };
	struct umem_image *image;
	const struct umem_image_process *p;
	char path[4096];
	size_t n;
	int r;

	snprintf(path, sizeof(path), "%s/%s.umem", dir, name);
	r = umem_image_open(path, NULL, &image, &note);
	T_CHECK(r == 0, "%s", note.text);
	model_verify(image);
	for (uint32_t s = 0; s < umem_image_n_spaces(image); s++) {
		for (uint64_t i = 0; i < MODEL_PAGES; i++) {
			r = umem_image_get(image, s, model_addr(i), page, 1, &note);
			T_CHECK(r == 0 || r == -ENODATA || r == -ENXIO, "%s", note.text);
			if (r == 0)
				print_page(s, model_addr(i), page);
		}
	}
	p = umem_image_processes(image, &n);
	print_description(umem_image_info(image), p, n);
	umem_image_free(image);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "make") == 0) {
		make(argv[2], false);
		make(argv[2], true);
		return 0;
	}
	for (int child = 0; child < 2; child++) {
		printf("%s\n", child ? "child" : "parent");
		if (argc == 3 && strcmp(argv[1], "read") == 0) {
			read_image(argv[2], child ? "child" : "parent");
			continue;
		}
		T_CHECK(argc == 2 && strcmp(argv[1], "expect") == 0);
		expect(child);
		print_description(&info, processes, 2);
	}
	return 0;
}
