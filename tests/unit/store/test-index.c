// SPDX-License-Identifier: LGPL-2.1-or-later
/* What an index may not say: each is refused, and by its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/store/image.h"
#include "tests/lib/harness.h"

#define DATA_END 1000000u
#define A        0x7f0000000000ull
#define LAST     (UINT64_MAX - 4095)

/** struct sample - what an index is made of; the good one, or with one thing wrong. */
struct sample {
	struct umem_frame frames[2];
	struct umem_run runs[2];
	uint64_t hashes[2];
	bool has_parent;
	bool no_frames;
	bool twice_frames;
	unsigned char reserved;
	size_t cut;
	uint32_t unknown_flags;
	bool has_unknown;
};

static const struct sample good = {
	.frames = { { 0, 4096, 8192, 2, UMEM_FRAME_PLAIN, 1 }, { 5, 12288, 100, 8,
		UMEM_FRAME_ZSTD, 2 } },
	.runs = { { A, 2, 0, UMEM_RUN_DATA, 0 }, { A + 8192, 3, 0, UMEM_RUN_DATA, 6 } },
	.hashes = { 20000, 10 },
};

static void add_frames(const struct sample *s, struct umem_parts *parts)
{
	size_t begun = umem_parts_begin(parts, UMEM_TAG_FRAMES, UMEM_PART_REQUIRED);

	for (int i = 0; i < 2; i++) {
		unsigned char *at = umem_parts_room(parts, UMEM_FRAME_RECORD_BYTES);

		umem_frame_save(&s->frames[i], at);
		at[23] = s->reserved;
	}
	parts->len_bytes -= s->cut;
	umem_parts_end(parts, begun);
}

static int parse(const struct sample *s, const char **ret_why, struct umem_index *index)
{
	struct umem_parts parts = { 0 };
	size_t begun;

	if (s->has_parent) {
		begun = umem_parts_begin(&parts, UMEM_TAG_PARENT, UMEM_PART_REQUIRED);
		umem_parts_u64(&parts, 1);
		umem_parts_u64(&parts, 2);
		umem_parts_text(&parts, "parent");
		umem_parts_end(&parts, begun);
	}
	if (!s->no_frames)
		add_frames(s, &parts);
	if (s->twice_frames)
		add_frames(s, &parts);
	begun = umem_parts_begin(&parts, UMEM_TAG_SPACE, UMEM_PART_REQUIRED);
	for (int i = 0; i < 2; i++)
		umem_run_save(&s->runs[i], umem_parts_room(&parts, UMEM_RUN_RECORD_BYTES));
	umem_parts_end(&parts, begun);
	begun = umem_parts_begin(&parts, UMEM_TAG_HASHES, 0);
	umem_parts_u64(&parts, s->hashes[0]);
	umem_parts_u64(&parts, s->hashes[1]);
	umem_parts_u64(&parts, 0);
	memset(umem_parts_room(&parts, UMEM_PAGEHASH_WORDS * 8), 0, UMEM_PAGEHASH_WORDS * 8);
	umem_parts_end(&parts, begun);
	if (s->has_unknown)
		umem_parts_end(&parts, umem_parts_begin(&parts, UMEM_TAG('N', 'E', 'W', '!'),
			s->unknown_flags));
	*index = (struct umem_index){ .bytes = parts.v, .len_bytes = parts.len_bytes };
	return umem_index_parse(index, DATA_END, ret_why);
}

static void must_refuse(const struct sample *s, int want, const char *with, int line)
{
	struct umem_index index;
	const char *why = "";
	int r = parse(s, &why, &index);

	T_CHECK(r == want && strstr(why, with), "line %d: %d %s", line, r, why);
	umem_index_deinit(&index);
}

/* REFUSE - the good one with a field changed is refused. */
#define REFUSE(change, want, with)                    \
	do {                                          \
		struct sample s = good;               \
		change;                               \
		must_refuse(&s, want, with, __LINE__); \
	} while (0)

/* ALLOW - the good one with a field changed is fine. */
#define ALLOW(change)                                             \
	do {                                                      \
		struct sample s = good;                           \
		struct umem_index index;                          \
		const char *why = "";                             \
		change;                                           \
		int r = parse(&s, &why, &index);                  \
		T_CHECK(r == 0, "line %d: %s", __LINE__, why);    \
		umem_index_deinit(&index);                        \
	} while (0)

static void frames(void **state)
{
	ALLOW(s.frames[1].first = 2);
	REFUSE(s.frames[1].first = 1, -EBADMSG, "impossible pages");
	REFUSE(s.frames[1].first = UINT64_MAX - 5, -EBADMSG, "impossible pages");
	REFUSE(s.frames[0].n_pages = 0, -EBADMSG, "impossible pages");
	REFUSE(s.frames[1].n_pages = 65, -EBADMSG, "impossible pages");
	REFUSE(s.frames[0].n_pages = 6, -EBADMSG, "impossible");
	REFUSE(s.frames[0].stored_bytes = 8191, -EBADMSG, "impossible length");
	REFUSE(s.frames[1].stored_bytes = 0, -EBADMSG, "impossible length");
	REFUSE(s.frames[1].stored_bytes = 32769, -EBADMSG, "impossible length");
	REFUSE(s.frames[1].codec = 2, -ENOTSUP, "codec");
	REFUSE(s.reserved = 1, -ENOTSUP, "codec");
	REFUSE(s.frames[1].offset = 4095, -EBADMSG, "outside");
	ALLOW(s.frames[1].offset = DATA_END - 100);
	REFUSE(s.frames[1].offset = DATA_END - 99, -EBADMSG, "outside");
	REFUSE(s.frames[1].offset = UINT64_MAX - 50, -EBADMSG, "outside");
	REFUSE(s.cut = 1, -EBADMSG, "cut off");
	REFUSE(s.no_frames = true, -EBADMSG, "no list of frames");
	REFUSE(s.twice_frames = true, -EBADMSG, "list of frames");
}

static void runs(void **state)
{
	REFUSE(s.runs[1].start = A + 4096, -EBADMSG, "ascending");
	REFUSE(s.runs[1].start = A - 40960, -EBADMSG, "ascending");
	REFUSE(s.runs[1].start = A + 8193, -EBADMSG, "ascending");
	REFUSE(s.runs[0].n_pages = 0, -EBADMSG, "ascending");
	REFUSE(s.runs[0].n_pages = 3, -EBADMSG, "ascending");
	ALLOW(s.runs[1].start = LAST - 3 * 4096);
	REFUSE(s.runs[1].start = LAST - 2 * 4096, -EBADMSG, "ascending");
	REFUSE(s.runs[1].start = LAST, -EBADMSG, "ascending");
	REFUSE(s.runs[0].space = 1, -EBADMSG, "should not have");
	REFUSE(s.runs[0].kind = 0, -ENOTSUP, "kind");
	REFUSE(s.runs[0].kind = 5, -ENOTSUP, "kind");
	REFUSE(s.runs[1].ref = UINT64_MAX - 2, -EBADMSG, "impossible pages");
	ALLOW(s.runs[0].kind = UMEM_RUN_ZERO);
	REFUSE(s.runs[1].kind = UMEM_RUN_ZERO, -EBADMSG, "not of zeros");
	ALLOW(s.runs[1].kind = UMEM_RUN_FILL);
	REFUSE(s.runs[0].kind = UMEM_RUN_PARENT, -EBADMSG, "there is none");
	ALLOW(s.runs[0].kind = UMEM_RUN_PARENT; s.has_parent = true);
	ALLOW(s.runs[0].kind = UMEM_RUN_PARENT; s.has_parent = true; s.runs[0].space = 7);
	REFUSE(s.runs[1].kind = UMEM_RUN_PARENT; s.has_parent = true, -EBADMSG, "of the parent");
	REFUSE(s.runs[1].kind = UMEM_RUN_PARENT; s.runs[1].ref = LAST - 4096;
		s.has_parent = true, -EBADMSG, "of the parent");
}

static void others(void **state)
{
	ALLOW(s.has_parent = true);
	REFUSE(s.hashes[1] = 9, -EBADMSG, "as many hashes");
	REFUSE(s.hashes[1] = UINT64_MAX, -EBADMSG, "outside");
	REFUSE(s.hashes[0] = DATA_END - 79, -EBADMSG, "outside");
	REFUSE(s.hashes[0] = 0, -EBADMSG, "outside");
	ALLOW(s.has_unknown = true);
	ALLOW(s.has_unknown = true; s.unknown_flags = 2);
	REFUSE(s.has_unknown = true; s.unknown_flags = 1, -ENOTSUP, "does not know");
}

static void lookup(void **state)
{
	struct umem_index index;
	const char *why;
	size_t i;

	T_OK(parse(&good, &why, &index));
	for (uint64_t number = 0; number < 20; number++) {
		bool has = number < 2 || (number >= 5 && number < 13);

		i = 9;
		assert_int_equal(umem_index_frame_of(&index, number, &i), has);
		assert_int_equal(i, has ? number >= 5 : 9);
	}
	assert_false(umem_index_frame_of(&index, UINT64_MAX, &i));
	umem_index_deinit(&index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames),
		cmocka_unit_test(runs),
		cmocka_unit_test(others),
		cmocka_unit_test(lookup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
