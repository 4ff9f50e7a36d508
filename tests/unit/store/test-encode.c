// SPDX-License-Identifier: LGPL-2.1-or-later
/* Frames: compressed and back, damaged, and by threads in order. */
#include "lib/store/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "lib/store/digest.h"
#include "tests/lib/harness.h"
#include "tests/unit/store/model.h"

#define BLOCK_PAGES 24u

static void codec(void **state)
{
	static unsigned char page[8 * PAGE], stored[8 * PAGE], back[8 * PAGE];
	struct umem_encoder *encoder;
	struct umem_decoder *decoder;
	uint64_t rng = t_seed();

	assert_int_equal(umem_encoder_new(1000, &encoder), -EINVAL);
	T_OK(umem_decoder_new(&decoder));
	for (int level = -3; level < 6; level++) {
		size_t n;

		T_OK(umem_encoder_new(level, &encoder));
		for (unsigned i = 0; i < 8; i++)
			model_page(4 + 8 * i, page + i * PAGE);
		n = umem_encoder_frame(encoder, page, sizeof(page), stored, sizeof(stored));
		assert_true(n > 0 && n < sizeof(page) / 2);
		T_OK(umem_decoder_frame(decoder, stored, n, back, sizeof(back)));
		assert_memory_equal(page, back, sizeof(page));
		/* Not exactly so many bytes, and not these. */
		assert_int_equal(umem_decoder_frame(decoder, stored, n, back, PAGE), -EBADMSG);
		assert_int_equal(umem_decoder_frame(decoder, stored, n - 1, back, sizeof(back)),
			-EBADMSG);
		for (int k = 0; k < 300; k++) {
			size_t at = t_below(&rng, n);

			stored[at] ^= (unsigned char)(1 + t_below(&rng, 255));
			umem_decoder_frame(decoder, stored, n, back, sizeof(back));
		}
		/* What does not fit says so. */
		model_page(1, page);
		assert_int_equal(umem_encoder_frame(encoder, page, PAGE, stored, PAGE - 100), 0);
		umem_encoder_free(encoder);
	}
	umem_decoder_free(decoder);
}

/* Fill a block with pages from @first on; some do not compress. */
static void fill(struct umem_block *block, unsigned char *pages, uint64_t first, uint64_t *rng)
{
	unsigned left = BLOCK_PAGES;

	block->pages = pages;
	block->n_pages = BLOCK_PAGES;
	block->n_frames = 0;
	for (unsigned i = 0; i < BLOCK_PAGES; i++)
		model_page(1 + t_below(rng, 1000), pages + i * PAGE);
	while (left > 0) {
		unsigned n = 1 + (unsigned)t_below(rng, left < 8 ? left : 8);

		block->frames[block->n_frames++] =
			(struct umem_frame){ .first = first + BLOCK_PAGES - left, .n_pages = n };
		left -= n;
	}
}

static void check_block(const struct umem_block *block, const unsigned char *pages,
	struct umem_decoder *decoder)
{
	const unsigned char *at = block->out ? block->out : block->pages;
	static unsigned char back[BLOCK_PAGES * PAGE];
	size_t sum = 0;

	for (unsigned i = 0; i < block->n_frames; i++) {
		const struct umem_frame *frame = &block->frames[i];
		size_t len = frame->n_pages * PAGE;

		assert_int_equal(frame->offset, sum);
		assert_int_equal(frame->checksum,
			umem_digest64(at + frame->offset, frame->stored_bytes));
		if (frame->codec == UMEM_FRAME_ZSTD) {
			T_OK(umem_decoder_frame(decoder, at + frame->offset,
				frame->stored_bytes, back, len));
			assert_memory_equal(back, pages, len);
		} else {
			assert_int_equal(frame->stored_bytes, len);
			assert_memory_equal(at + frame->offset, pages, len);
		}
		pages += len;
		sum += frame->stored_bytes;
	}
	assert_int_equal(block->out_bytes, sum);
}

/* Blocks through threads come back in order, and as without threads. */
static void threads(void **state)
{
	static unsigned char pages[8][BLOCK_PAGES * PAGE], out[8][BLOCK_PAGES * PAGE];
	struct umem_decoder *decoder;
	uint64_t rng = t_seed();

	T_OK(umem_decoder_new(&decoder));
	for (unsigned n_threads = 0; n_threads < 5; n_threads++) {
		uint64_t n_given = 0, n_taken = 0;
		struct umem_pipe *pipe;
		struct umem_block *block;

		T_OK(umem_pipe_new(n_threads, 8, true, 1, &pipe));
		assert_null(umem_pipe_take(pipe, true));
		while (n_taken < 300) {
			block = n_given < 300 ? umem_pipe_free_block(pipe) : NULL;
			if (block && t_below(&rng, 3)) {
				fill(block, pages[n_given % 8], n_given * BLOCK_PAGES, &rng);
				block->out = n_given % 5 ? out[n_given % 8] : NULL;
				n_given++;
				umem_pipe_give(pipe);
				continue;
			}
			block = umem_pipe_take(pipe, t_below(&rng, 2));
			if (!block)
				continue;
			assert_int_equal(block->frames[0].first, n_taken * BLOCK_PAGES);
			check_block(block, pages[n_taken % 8], decoder);
			n_taken++;
		}
		assert_int_equal(umem_pipe_under_way(pipe), 0);
		/* Ended with blocks under way. */
		for (int i = 0; i < 3; i++) {
			block = umem_pipe_free_block(pipe);
			fill(block, pages[i], 0, &rng);
			block->out = out[i];
			umem_pipe_give(pipe);
		}
		umem_pipe_free(pipe);
	}
	umem_decoder_free(decoder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codec),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
