/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compression of frames. The only user of the compression library.
 *
 * A frame is compressed on its own, without a dictionary, so that a page can be had by
 * reading one frame. One encoder or decoder belongs to one thread.
 */
#ifndef UMEM_STORE_CODEC_H
#define UMEM_STORE_CODEC_H

#include <stddef.h>

#include "lib/base/attr.h"

struct umem_encoder;
struct umem_decoder;

/** UMEM_CODEC_LEVEL - the usual level. */
#define UMEM_CODEC_LEVEL 1

/**
 * umem_encoder_new - an encoder.
 * @level: as zstd counts them; 0 means UMEM_CODEC_LEVEL.
 *
 * Return: 0, -EINVAL: no such level, -ENOMEM.
 */
int umem_encoder_new(int level, struct umem_encoder **ret_encoder);

/** umem_encoder_free - NULL is fine. Return: NULL. */
struct umem_encoder *umem_encoder_free(struct umem_encoder *encoder);

/**
 * umem_encoder_frame - compress @len_bytes bytes at @from to @to.
 * @to: room for @room_bytes.
 *
 * Return: bytes written, or 0: it does not fit.
 */
size_t umem_encoder_frame(struct umem_encoder *encoder, const void *from, size_t len_bytes,
	void *to, size_t room_bytes);

/** umem_decoder_new - a decoder. Return: 0, -ENOMEM. */
int umem_decoder_new(struct umem_decoder **ret_decoder);

/** umem_decoder_free - NULL is fine. Return: NULL. */
struct umem_decoder *umem_decoder_free(struct umem_decoder *decoder);

/**
 * umem_decoder_frame - the @len_bytes bytes that @stored_bytes bytes at @from stand for.
 *
 * No byte of @from is trusted. Return: 0, or -EBADMSG: they do not give exactly so many.
 */
int umem_decoder_frame(struct umem_decoder *decoder, const void *from, size_t stored_bytes,
	void *to, size_t len_bytes);

UMEM_DEFINE_CLEANUP(struct umem_encoder, umem_encoder_free)
UMEM_DEFINE_CLEANUP(struct umem_decoder, umem_decoder_free)

#endif
