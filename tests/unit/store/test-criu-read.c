// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pagemaps of CRIU as its versions write them, and damaged ones. The bytes are made
 * here by the rules of the wire format, not by our writer.
 */
#include "lib/store/criu_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "lib/store/criu_wire.h"
#include "tests/lib/harness.h"

#define PAGE 4096ull

/** struct text - a file in the making. */
struct text {
	uint8_t v[65536];
	size_t n;
};

static void u32(struct text *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to->v[to->n++] = (uint8_t)(value >> 8 * i);
}

static void varint(struct text *to, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		to->v[to->n++] = (uint8_t)(value | 0x80);
	to->v[to->n++] = (uint8_t)value;
}

static void field(struct text *to, uint32_t number, uint64_t value)
{
	varint(to, number << 3);
	varint(to, value);
}

static void record(struct text *to, const struct text *message)
{
	u32(to, (uint32_t)message->n);
	memcpy(to->v + to->n, message->v, message->n);
	to->n += message->n;
}

static void begin(struct text *to, uint32_t pages_id)
{
	struct text head = { .n = 0 };

	to->n = 0;
	u32(to, 0x54564319);
	u32(to, 0x56084025);
	field(&head, 1, pages_id);
	record(to, &head);
}

/* One entry; a field of a negative value is left out. */
static void entry(struct text *to, uint64_t vaddr, int64_t compat, int64_t in_parent,
	int64_t flags, int64_t nr_pages)
{
	const int64_t v[] = { compat, in_parent, flags, nr_pages };
	struct text message = { .n = 0 };

	field(&message, 1, vaddr);
	for (unsigned i = 0; i < 4; i++) {
		if (v[i] >= 0)
			field(&message, i + 2, (uint64_t)v[i]);
	}
	record(to, &message);
}

static int parse(const struct text *text, struct umem_criu_map *map, struct umem_note *note)
{
	/* An exact copy, so that a sanitizer sees a step past the end. */
	uint8_t *copy = malloc(text->n ? text->n : 1);
	int r;

	memcpy(copy, text->v, text->n);
	*note = (struct umem_note){ 0 };
	*map = (struct umem_criu_map){ 0 };
	r = umem_criu_map_parse(copy, text->n, "pagemap-1.img", map, note);
	free(copy);
	if (r < 0)
		assert_true(note->text[0] != '\0' && note->err == r);
	return r;
}

static void check_span(const struct umem_criu_map *map, size_t i, uint64_t start, uint64_t end,
	uint64_t offset)
{
	assert_true(i < map->n);
	assert_int_equal(map->v[i].start, start);
	assert_int_equal(map->v[i].end, end);
	assert_int_equal(map->v[i].offset, offset);
}

/* 3.x before flags: in_parent, or not. */
static void oldest(void **state)
{
	struct umem_criu_map map;
	struct umem_note note;
	struct text text;

	begin(&text, 7);
	entry(&text, 0x1000, 2, -1, -1, -1);
	entry(&text, 0x5000, 3, 1, -1, -1);
	entry(&text, 0x9000, 1, 0, -1, -1);
	assert_int_equal(0, parse(&text, &map, &note));
	assert_int_equal(3, map.n);
	assert_int_equal(7, map.pages_id);
	assert_int_equal(3 * PAGE, map.pages_bytes);
	check_span(&map, 0, 0x1000, 0x3000, 0);
	check_span(&map, 1, 0x5000, 0x8000, UMEM_CRIU_IN_PARENT);
	check_span(&map, 2, 0x9000, 0xa000, 2 * PAGE);
	assert_int_equal(1, umem_criu_map_find(&map, 0x3000));
	assert_int_equal(1, umem_criu_map_find(&map, 0x7fff));
	assert_int_equal(3, umem_criu_map_find(&map, 0xa000));
	umem_criu_map_deinit(&map);
}

/* Flags; then the count of 64 bits beside a 0, alone, and different from the old one. */
static void counts(void **state)
{
	struct umem_criu_map map;
	struct umem_note note;
	struct text text;

	begin(&text, 1);
	entry(&text, 0x1000, 2, -1, 4, -1);
	entry(&text, 0x10000, 0, -1, 4, 3);
	entry(&text, 0x20000, 5, -1, 4, 4);
	entry(&text, 0x40000, 0, -1, 1, 1ll << 33);
	entry(&text, 0x400000000000, 1, 1, 6, 1);
	/* flags that say nothing: no page */
	entry(&text, 0x400000009000, 1, -1, 0, 1);
	assert_int_equal(0, parse(&text, &map, &note));
	assert_int_equal(5, map.n);
	check_span(&map, 0, 0x1000, 0x3000, 0);
	check_span(&map, 1, 0x10000, 0x13000, 2 * PAGE);
	check_span(&map, 2, 0x20000, 0x24000, 5 * PAGE);
	check_span(&map, 3, 0x40000, 0x40000 + (PAGE << 33), UMEM_CRIU_IN_PARENT);
	/* flags are there: the older field does not count */
	check_span(&map, 4, 0x400000000000, 0x400000001000, 9 * PAGE);
	assert_int_equal(10 * PAGE, map.pages_bytes);
	umem_criu_map_deinit(&map);
}

/* Adjacent entries of one sort are one range, and their pages stay in order. */
static void merged(void **state)
{
	struct umem_criu_map map;
	struct umem_note note;
	struct text text;

	begin(&text, 1);
	for (uint64_t i = 0; i < 10; i++)
		entry(&text, 0x1000 + i * PAGE, 1, -1, i == 5 ? 1 : 4, 1);
	assert_int_equal(0, parse(&text, &map, &note));
	assert_int_equal(3, map.n);
	check_span(&map, 2, 0x7000, 0xb000, 5 * PAGE);
	umem_criu_map_deinit(&map);
}

static void refused(void **state)
{
	static const struct {
		int64_t v[5];
		int r;
		const char *text;
	} cases[] = {
		{ { 0x1001, 1, -1, 4, 1 }, -EBADMSG, "cannot be" },
		{ { 0x1000, 0, -1, 4, 0 }, -EBADMSG, "cannot be" },
		{ { 0x1000, 0, -1, 4, -1 }, -EBADMSG, "cannot be" },
		{ { 0x1000, 1, -1, 4, 1ll << 62 }, -EBADMSG, "cannot be" },
		{ { 0x7ffffffffffff000, 1, -1, 4, 1 }, -EBADMSG, "cannot be" },
		{ { 0x1000, 1, -1, 2, 1 }, -ENODATA, "lazy" },
		{ { 0, 1, -1, 4, 2 }, -EBADMSG, "not behind" },
	};
	struct umem_criu_map map;
	struct umem_note note;
	struct text text, message = { .n = 0 };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(cases); i++) {
		const int64_t *v = cases[i].v;

		begin(&text, 1);
		if (v[0] == 0)
			entry(&text, 0x1000, 1, -1, 4, 1);
		entry(&text, (uint64_t)v[0], v[1], v[2], v[3], v[4]);
		assert_int_equal(cases[i].r, parse(&text, &map, &note));
		assert_non_null(strstr(note.text, cases[i].text));
		assert_int_equal(0, map.n);
	}
	/* A field that is not known: what the bytes are may have changed. */
	begin(&text, 1);
	field(&message, 1, 0x1000);
	field(&message, 2, 1);
	field(&message, 6, 1000);
	record(&text, &message);
	assert_int_equal(-ENOTSUP, parse(&text, &map, &note));
	/* Another file, and none. */
	begin(&text, 1);
	text.v[4] ^= 1;
	assert_int_equal(-EILSEQ, parse(&text, &map, &note));
	text.n = 0;
	assert_int_equal(-EILSEQ, parse(&text, &map, &note));
}

/* Cut anywhere: whole entries are read, anything else is said. */
static void cut_off(void **state)
{
	struct umem_criu_map map;
	struct umem_note note;
	struct text text, part;
	size_t whole = 0, ends[4], n = 0;

	begin(&text, 1);
	ends[n++] = text.n;
	for (uint64_t i = 0; i < 3; i++) {
		entry(&text, 0x10000 * (i + 1), 1, -1, 4, 1);
		ends[n++] = text.n;
	}
	for (size_t len = 0; len <= text.n; len++) {
		bool is_end = false;
		int r;

		part = text;
		part.n = len;
		for (size_t i = 0; i < n; i++)
			is_end = is_end || ends[i] == len;
		r = parse(&part, &map, &note);
		assert_int_equal(r == 0, is_end);
		whole += r == 0;
		umem_criu_map_deinit(&map);
	}
	assert_int_equal(4, whole);
}

/* What we write is read by the old rule and by the new one. */
static void both_counts(void **state)
{
	static const uint64_t n_pages[] = { 1, 1000, UINT32_MAX, 1ull << 32 };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(n_pages); i++) {
		struct umem_criu_run run = { 0x1000, n_pages[i], UMEM_CRIU_PE_PRESENT }, back;
		struct umem_bytes bytes = { 0 };
		struct text old = { .n = 0 }, new = { .n = 0 };

		assert_int_equal(0, umem_criu_put_run(&bytes, &run));
		assert_int_equal(0, umem_criu_get_run(bytes.v + 4, bytes.n - 4, &back));
		assert_int_equal(run.vaddr, back.vaddr);
		assert_int_equal(run.n_pages, back.n_pages);
		assert_int_equal(run.flags, back.flags);
		/* required fields come first and in order: vaddr, then the old count */
		field(&old, 1, 0x1000);
		field(&old, 2, n_pages[i] <= UINT32_MAX ? n_pages[i] : 0);
		assert_memory_equal(old.v, bytes.v + 4, old.n);
		field(&new, 5, n_pages[i]);
		assert_memory_equal(new.v, bytes.v + bytes.n - new.n, new.n);
		umem_bytes_deinit(&bytes);
	}
}

/* Messages that are cut or are of another kind are said to be damaged, at any length. */
static void messages(void **state)
{
	struct umem_criu_vma vmas[2] = { { .start = 0x1000, .end = 0x3000, .status = 0x201 },
		{ .start = 0x4000, .end = 0x5000, .offset = 0x7000, .shmid = 9, .status = 0x101 } };
	uint64_t auxv[4] = { 1, UINT64_MAX, 0, 0 };
	struct umem_criu_mm mm = { 3, auxv, 4, vmas, 2 }, back = { 0 };
	struct umem_bytes bytes = { 0 };
	size_t good = 0;

	assert_int_equal(0, umem_criu_put_mm(&bytes, &mm));
	for (size_t len = 0; len <= bytes.n - 4; len++) {
		int r = umem_criu_get_mm(bytes.v + 4, len, &back);

		assert_true(r == 0 || r == -EBADMSG);
		good += r == 0;
		if (len == bytes.n - 4) {
			assert_int_equal(0, r);
			assert_int_equal(2, back.n_vmas);
			assert_memory_equal(vmas, back.vmas, sizeof(vmas));
			assert_int_equal(4, back.n_auxv);
			assert_memory_equal(auxv, back.auxv, sizeof(auxv));
			assert_int_equal(3, back.exe_id);
		}
		if (r == 0)
			umem_criu_mm_deinit(&back);
	}
	/* What is repeated may be cut between two of it. */
	assert_true(good >= 1 && good <= 8);
	umem_bytes_deinit(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oldest),
		cmocka_unit_test(counts),
		cmocka_unit_test(merged),
		cmocka_unit_test(refused),
		cmocka_unit_test(cut_off),
		cmocka_unit_test(both_counts),
		cmocka_unit_test(messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
