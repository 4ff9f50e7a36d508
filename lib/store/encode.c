// SPDX-License-Identifier: LGPL-2.1-or-later
/* A block of pages made into frames; see encode.h. */
#include "lib/store/encode.h"

#include "lib/store/digest.h"

/* What compression has to come below to be worth it: it must save a thirty-second. */
static size_t worth_bytes(size_t len_bytes)
{
	return len_bytes - len_bytes / 32 - 1;
}

/* After so many frames in a row that do not compress, only every fourth is tried. */
#define HOPELESS 4u

static void encode_frame(struct umem_frame *frame, const unsigned char *from,
	unsigned char *to, struct umem_encoder *encoder)
{
	size_t len = (size_t)frame->n_pages << UMEM_IMAGE_PAGE_SHIFT;
	size_t n = encoder ? umem_encoder_frame(encoder, from, len, to, worth_bytes(len)) : 0;

	frame->codec = n ? UMEM_FRAME_ZSTD : UMEM_FRAME_PLAIN;
	frame->stored_bytes = (uint32_t)(n ? n : len);
	if (n == 0 && to != from)
		memcpy(to, from, len);
	frame->checksum = umem_digest64(to, frame->stored_bytes);
}

void umem_block_encode(struct umem_block *block, struct umem_encoder *encoder)
{
	const unsigned char *from = block->pages;
	unsigned n_plain = 0;
	size_t at = 0;

	for (unsigned i = 0; i < block->n_frames; i++) {
		struct umem_frame *frame = &block->frames[i];
		unsigned char *to = block->out ? block->out + at : (unsigned char *)from;
		bool tried = block->out && (n_plain < HOPELESS || n_plain % 4 == 0);

		frame->offset = at;
		encode_frame(frame, from, to, tried ? encoder : NULL);
		n_plain = frame->codec == UMEM_FRAME_PLAIN ? n_plain + 1 : 0;
		at += frame->stored_bytes;
		from += (size_t)frame->n_pages << UMEM_IMAGE_PAGE_SHIFT;
	}
	block->out_bytes = at;
}
