// SPDX-License-Identifier: LGPL-2.1-or-later
/* Tagged parts; see parts.h. */
#include "lib/store/parts.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/attr.h"

void umem_parts_deinit(struct umem_parts *parts)
{
	free(parts->v);
	*parts = (struct umem_parts){ 0 };
}

unsigned char *umem_parts_room(struct umem_parts *parts, size_t len_bytes)
{
	unsigned char *at;

	if (parts->failed)
		return NULL;
	if (parts->room - parts->len_bytes < len_bytes) {
		size_t want = umem_max_u64(parts->room * 2, parts->len_bytes + len_bytes + 256);
		unsigned char *more = realloc(parts->v, want);

		if (!more) {
			parts->failed = true;
			return NULL;
		}
		parts->v = more;
		parts->room = want;
	}
	at = parts->v + parts->len_bytes;
	parts->len_bytes += len_bytes;
	return at;
}

void umem_parts_add(struct umem_parts *parts, const void *bytes, size_t len_bytes)
{
	unsigned char *at = umem_parts_room(parts, len_bytes);

	if (at && len_bytes > 0)
		memcpy(at, bytes, len_bytes);
}

void umem_parts_u32(struct umem_parts *parts, uint32_t value)
{
	unsigned char *at = umem_parts_room(parts, 4);

	if (at)
		umem_put32(at, value);
}

void umem_parts_u64(struct umem_parts *parts, uint64_t value)
{
	unsigned char *at = umem_parts_room(parts, 8);

	if (at)
		umem_put64(at, value);
}

void umem_parts_text(struct umem_parts *parts, const char *text)
{
	if (!text)
		text = "";
	umem_parts_add(parts, text, strlen(text) + 1);
}

size_t umem_parts_begin(struct umem_parts *parts, uint32_t tag, uint32_t flags)
{
	size_t begun = parts->len_bytes;

	umem_parts_u32(parts, tag);
	umem_parts_u32(parts, flags);
	umem_parts_u64(parts, 0);
	return begun;
}

void umem_parts_end(struct umem_parts *parts, size_t begun)
{
	static const unsigned char zeros[8];
	size_t len = parts->len_bytes - begun - UMEM_PART_HEADER_BYTES;

	umem_parts_add(parts, zeros, umem_align_up(len, 8) - len);
	if (!parts->failed)
		umem_put64(parts->v + begun + 8, len);
}

void umem_parts_whole_text(struct umem_parts *parts, uint32_t tag, const char *text)
{
	size_t begun = umem_parts_begin(parts, tag, 0);

	umem_parts_text(parts, text);
	umem_parts_end(parts, begun);
}

int umem_part_next(struct umem_cursor *c, struct umem_part *ret_part)
{
	size_t left = umem_cursor_left(c);
	uint64_t len;

	if (left == 0)
		return 0;
	if (left < UMEM_PART_HEADER_BYTES)
		return -EBADMSG;
	len = umem_get64(c->at + 8);
	left -= UMEM_PART_HEADER_BYTES;
	/* The first comparison keeps the rounding from passing 64 bits. */
	if (len > left || umem_align_up(len, 8) > left)
		return -EBADMSG;
	ret_part->tag = umem_get32(c->at);
	ret_part->required = umem_get32(c->at + 4) & UMEM_PART_REQUIRED;
	ret_part->at = (const unsigned char *)c->at + UMEM_PART_HEADER_BYTES;
	ret_part->len_bytes = len;
	for (uint64_t i = len; i < umem_align_up(len, 8); i++) {
		if (ret_part->at[i] != 0)
			return -EBADMSG;
	}
	c->at += UMEM_PART_HEADER_BYTES + umem_align_up(len, 8);
	return 1;
}

const char *umem_part_text(const struct umem_part *part, size_t offset)
{
	const char *text = (const char *)part->at + offset;
	size_t len;

	if (offset >= part->len_bytes)
		return NULL;
	len = part->len_bytes - offset;
	return memchr(text, '\0', len) == text + len - 1 ? text : NULL;
}
