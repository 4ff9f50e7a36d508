// SPDX-License-Identifier: LGPL-2.1-or-later
/* Compression of frames; see codec.h. */
#include "lib/store/codec.h"

#include <errno.h>
#include <zstd.h>

/** struct umem_encoder - the context, which keeps its tables from frame to frame. */
struct umem_encoder {
	ZSTD_CCtx *context;
};

/** struct umem_decoder - the context. */
struct umem_decoder {
	ZSTD_DCtx *context;
};

static int set_up(ZSTD_CCtx *context, int level)
{
	/* The checksum of a frame is over its bytes in the file, so zstd need not add one. */
	if (ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)) ||
		ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0)) ||
		ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1)))
		return -EINVAL;
	return 0;
}

int umem_encoder_new(int level, struct umem_encoder **ret_encoder)
{
	UMEM_CLEANUP(umem_encoder_freep) struct umem_encoder *encoder = NULL;
	int r;

	if (level == 0)
		level = UMEM_CODEC_LEVEL;
	if (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel())
		return -EINVAL;
	encoder = calloc(1, sizeof(*encoder));
	if (!encoder)
		return -ENOMEM;
	encoder->context = ZSTD_createCCtx();
	if (!encoder->context)
		return -ENOMEM;
	r = set_up(encoder->context, level);
	if (r < 0)
		return r;
	*ret_encoder = UMEM_TAKE_PTR(encoder);
	return 0;
}

struct umem_encoder *umem_encoder_free(struct umem_encoder *encoder)
{
	if (encoder)
		ZSTD_freeCCtx(encoder->context);
	free(encoder);
	return NULL;
}

size_t umem_encoder_frame(struct umem_encoder *encoder, const void *from, size_t len_bytes,
	void *to, size_t room_bytes)
{
	size_t n = ZSTD_compress2(encoder->context, to, room_bytes, from, len_bytes);

	return ZSTD_isError(n) ? 0 : n;
}

int umem_decoder_new(struct umem_decoder **ret_decoder)
{
	UMEM_CLEANUP(umem_decoder_freep) struct umem_decoder *decoder =
		calloc(1, sizeof(*decoder));

	if (!decoder)
		return -ENOMEM;
	decoder->context = ZSTD_createDCtx();
	if (!decoder->context)
		return -ENOMEM;
	*ret_decoder = UMEM_TAKE_PTR(decoder);
	return 0;
}

struct umem_decoder *umem_decoder_free(struct umem_decoder *decoder)
{
	if (decoder)
		ZSTD_freeDCtx(decoder->context);
	free(decoder);
	return NULL;
}

int umem_decoder_frame(struct umem_decoder *decoder, const void *from, size_t stored_bytes,
	void *to, size_t len_bytes)
{
	size_t n = ZSTD_decompressDCtx(decoder->context, to, len_bytes, from, stored_bytes);

	return ZSTD_isError(n) || n != len_bytes ? -EBADMSG : 0;
}
