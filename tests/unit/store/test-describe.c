// SPDX-License-Identifier: LGPL-2.1-or-later
/* Descriptions: random ones come back as they were; wrong ones are refused. */
#include "lib/store/describe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/lib/harness.h"

#define MAX 6

/** struct scene - a random description, and what its pointers point to. */
struct scene {
	struct umem_image_info info;
	struct umem_image_incomplete incomplete[MAX];
	struct umem_image_process processes[MAX];
	struct umem_image_thread threads[MAX][MAX];
	struct umem_image_blob blobs[MAX][MAX][MAX];
	struct umem_image_region regions[MAX][MAX];
	char texts[16][40];
	unsigned char bytes[300];
};

static void fill_numbers(void *to, size_t len, uint64_t *rng)
{
	for (size_t i = 0; i < len; i++)
		((unsigned char *)to)[i] = (unsigned char)t_rand(rng);
}

static const char *some_text(struct scene *s, uint64_t *rng)
{
	return t_below(rng, 6) ? s->texts[t_below(rng, 16)] : NULL;
}

static void make_process(struct scene *s, size_t p, uint64_t *rng)
{
	struct umem_image_process *process = &s->processes[p];
	uint64_t at = t_below(rng, 1 << 20) * 4096;

	fill_numbers(process, sizeof(*process), rng);
	process->space = (uint32_t)t_below(rng, 5);
	snprintf(process->comm, sizeof(process->comm), "p%u", (unsigned)(p % 10));
	process->exe = some_text(s, rng);
	process->cmdline = (char *)s->bytes;
	process->cmdline_len_bytes = t_below(rng, 300);
	process->auxv = s->bytes;
	process->auxv_len_bytes = t_below(rng, 300);
	process->threads = s->threads[p];
	process->n_threads = t_below(rng, MAX);
	process->regions = s->regions[p];
	process->n_regions = t_below(rng, MAX);
	for (size_t t = 0; t < process->n_threads; t++) {
		struct umem_image_thread *thread = &s->threads[p][t];

		thread->tid = (int32_t)t_rand(rng);
		snprintf(thread->name, sizeof(thread->name), "thread %u", (unsigned)(t % 10));
		thread->blobs = s->blobs[p][t];
		thread->n_blobs = t_below(rng, MAX);
		for (size_t b = 0; b < thread->n_blobs; b++)
			s->blobs[p][t][b] = (struct umem_image_blob){ (uint32_t)t_rand(rng),
				(uint32_t)t_below(rng, 300), s->bytes };
	}
	for (size_t r = 0; r < process->n_regions; r++) {
		struct umem_image_region *region = &s->regions[p][r];

		fill_numbers(region, sizeof(*region), rng);
		region->start = at;
		region->end = at += (1 + t_below(rng, 50)) * 4096;
		at += t_below(rng, 2) * 4096;
		region->file_backed = t_below(rng, 2);
		region->kind_name = some_text(s, rng);
		region->path = some_text(s, rng);
	}
}

static void make_scene(struct scene *s, size_t n, uint64_t *rng)
{
	fill_numbers(s, sizeof(*s), rng);
	for (int i = 0; i < 16; i++)
		snprintf(s->texts[i], sizeof(s->texts[i]), "%.*s", i * 2,
			"text \n\xff and more of it to be cut off");
	s->info.method = some_text(s, rng);
	s->info.creator = some_text(s, rng);
	s->info.kernel = some_text(s, rng);
	s->info.machine = some_text(s, rng);
	s->info.complete = t_below(rng, 2);
	s->info.incomplete = s->incomplete;
	s->info.n_incomplete = t_below(rng, MAX);
	for (size_t i = 0; i < MAX; i++)
		s->incomplete[i].reason = some_text(s, rng);
	for (size_t p = 0; p < n; p++)
		make_process(s, p, rng);
}

static void same_text(const char *want, const char *have)
{
	assert_string_equal(want ? want : "", have);
}

static void same_process(const struct umem_image_process *a, const struct umem_image_process *b)
{
	assert_int_equal(a->space, b->space);
	assert_int_equal(a->pid, b->pid);
	assert_int_equal(a->ppid, b->ppid);
	assert_int_equal(a->pgid, b->pgid);
	assert_int_equal(a->sid, b->sid);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->start_ticks, b->start_ticks);
	assert_string_equal(a->comm, b->comm);
	same_text(a->exe, b->exe);
	assert_int_equal(a->cmdline_len_bytes, b->cmdline_len_bytes);
	assert_memory_equal(a->cmdline, b->cmdline, a->cmdline_len_bytes);
	assert_int_equal(a->auxv_len_bytes, b->auxv_len_bytes);
	assert_memory_equal(a->auxv, b->auxv, a->auxv_len_bytes);
	assert_int_equal(a->n_threads, b->n_threads);
	for (size_t t = 0; t < a->n_threads; t++) {
		const struct umem_image_thread *x = &a->threads[t], *y = &b->threads[t];

		assert_int_equal(x->tid, y->tid);
		assert_string_equal(x->name, y->name);
		assert_int_equal(x->n_blobs, y->n_blobs);
		for (size_t i = 0; i < x->n_blobs; i++) {
			assert_int_equal(x->blobs[i].type, y->blobs[i].type);
			assert_int_equal(x->blobs[i].len_bytes, y->blobs[i].len_bytes);
			assert_memory_equal(x->blobs[i].bytes, y->blobs[i].bytes,
				x->blobs[i].len_bytes);
		}
	}
	assert_int_equal(a->n_regions, b->n_regions);
	for (size_t r = 0; r < a->n_regions; r++) {
		const struct umem_image_region *x = &a->regions[r], *y = &b->regions[r];

		assert_int_equal(x->start, y->start);
		assert_int_equal(x->end, y->end);
		assert_int_equal(x->offset, y->offset);
		assert_int_equal(x->inode, y->inode);
		assert_int_equal(x->page_size_bytes, y->page_size_bytes);
		assert_int_equal(x->dev_major, y->dev_major);
		assert_int_equal(x->dev_minor, y->dev_minor);
		assert_int_equal(x->vma_flags, y->vma_flags);
		assert_int_equal(x->kind, y->kind);
		same_text(x->kind_name, y->kind_name);
		same_text(x->path, y->path);
		assert_int_equal(x->file_backed, y->file_backed);
		assert_int_equal(x->file_size_bytes, y->file_size_bytes);
		assert_int_equal(x->file_mtime_ns, y->file_mtime_ns);
	}
}

static int read_back(const struct umem_parts *parts, struct umem_described *to)
{
	const char *why = NULL;
	int r = umem_described_read(umem_cursor_init(parts->v, parts->len_bytes), to, &why);

	assert_true(r == 0 || r == -ENOMEM || why);
	return r;
}

static void back_again(void **state)
{
	static struct scene s;
	uint64_t rng = t_seed();

	for (int round = 0; round < 500; round++) {
		size_t n = t_below(&rng, MAX + 1);
		struct umem_parts parts = { 0 };
		struct umem_described d;

		make_scene(&s, n, &rng);
		T_OK(umem_describe(s.processes, n, &s.info, &parts));
		T_OK(read_back(&parts, &d));
		same_text(s.info.method, d.info.method);
		same_text(s.info.creator, d.info.creator);
		same_text(s.info.kernel, d.info.kernel);
		same_text(s.info.machine, d.info.machine);
		assert_int_equal(s.info.time_ns, d.info.time_ns);
		assert_int_equal(s.info.pause_ns, d.info.pause_ns);
		assert_int_equal(s.info.total_ns, d.info.total_ns);
		assert_int_equal(s.info.rounds, d.info.rounds);
		assert_int_equal(s.info.complete, d.info.complete);
		assert_int_equal(s.info.n_incomplete, d.info.n_incomplete);
		for (size_t i = 0; i < s.info.n_incomplete; i++) {
			assert_int_equal(s.incomplete[i].space, d.incomplete[i].space);
			assert_int_equal(s.incomplete[i].start, d.incomplete[i].start);
			assert_int_equal(s.incomplete[i].end, d.incomplete[i].end);
			same_text(s.incomplete[i].reason, d.incomplete[i].reason);
		}
		assert_int_equal(n, d.n_processes);
		for (size_t p = 0; p < n; p++)
			same_process(&s.processes[p], &d.processes[p]);
		umem_described_deinit(&d);
		umem_parts_deinit(&parts);
	}
}

/* Cut off, or any byte of it changed: refused, or understood otherwise; never a crash. */
static void damaged(void **state)
{
	static struct scene s;
	uint64_t rng = t_seed();

	for (int round = 0; round < 30; round++) {
		struct umem_parts parts = { 0 };

		make_scene(&s, 2, &rng);
		T_OK(umem_describe(s.processes, 2, &s.info, &parts));
		for (int i = 0; i < 400; i++) {
			struct umem_described d = { 0 };
			/* At its end, for a sanitizer to see. */
			size_t len = t_below(&rng, 2) ? parts.len_bytes :
				t_below(&rng, parts.len_bytes);
			struct umem_parts copy = { malloc(len + 1), len, 0, false };

			memcpy(copy.v, parts.v, len);
			for (uint64_t k = t_below(&rng, 4); k > 0 && len > 0; k--)
				copy.v[t_below(&rng, len)] = (unsigned char)t_rand(&rng);
			copy.v = realloc(copy.v, len ? len : 1);
			if (read_back(&copy, &d) == 0)
				umem_described_deinit(&d);
			umem_parts_deinit(&copy);
		}
		umem_parts_deinit(&parts);
	}
}

/* A part that is not known is passed over, unless it is required. */
static void unknown_parts(void **state)
{
	const struct umem_image_process process = { .pid = 7, .comm = "x" };

	for (uint32_t flags = 0; flags < 2; flags++) {
		for (int inside = 0; inside < 2; inside++) {
			struct umem_parts parts = { 0 };
			struct umem_described d = { 0 };
			size_t begun, new;
			int r;

			T_OK(umem_describe(&process, 1, NULL, &parts));
			begun = umem_parts_begin(&parts, inside ? UMEM_TAG_INFO :
				UMEM_TAG('N', 'E', 'W', ' '), UMEM_PART_REQUIRED);
			new = umem_parts_begin(&parts, UMEM_TAG('N', 'E', 'W', '!'), flags);
			umem_parts_text(&parts, "what may it mean");
			umem_parts_end(&parts, new);
			umem_parts_end(&parts, begun);
			r = read_back(&parts, &d);
			/* Those of the index are told from known ones elsewhere (index.c). */
			assert_int_equal(r, inside && flags ? -ENOTSUP : 0);
			if (r == 0)
				assert_int_equal(d.processes[0].pid, 7);
			umem_described_deinit(&d);
			umem_parts_deinit(&parts);
		}
	}
}

static void refused(void **state)
{
	struct umem_image_region regions[2] = { { .start = 4096, .end = 8192 },
		{ .start = 8192, .end = 12288 } };
	struct umem_image_thread thread = { .tid = 1 };
	struct umem_image_process process = { .regions = regions, .n_regions = 2,
		.threads = &thread, .n_threads = 1 };
	struct umem_parts parts = { 0 };

	T_OK(umem_describe(&process, 1, NULL, &parts));
	regions[1].start = 4096;
	assert_int_equal(umem_describe(&process, 1, NULL, &parts), -EINVAL);
	regions[1].start = 8193;
	assert_int_equal(umem_describe(&process, 1, NULL, &parts), -EINVAL);
	regions[1].start = 12288;
	assert_int_equal(umem_describe(&process, 1, NULL, &parts), -EINVAL);
	process.n_regions = 1;
	process.space = UMEM_MAX_SPACES;
	assert_int_equal(umem_describe(&process, 1, NULL, &parts), -EINVAL);
	process.space = 0;
	memset(process.comm, 'x', sizeof(process.comm));
	assert_int_equal(umem_describe(&process, 1, NULL, &parts), -EINVAL);
	process.comm[15] = '\0';
	memset(thread.name, 'x', sizeof(thread.name));
	assert_int_equal(umem_describe(&process, 1, NULL, &parts), -EINVAL);
	assert_int_equal(umem_describe(&process, UMEM_MAX_PROCESSES + 1, NULL, &parts), -E2BIG);
	umem_parts_deinit(&parts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(back_again),
		cmocka_unit_test(damaged),
		cmocka_unit_test(unknown_parts),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
