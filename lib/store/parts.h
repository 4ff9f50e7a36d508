/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tagged parts: what an index is made of.
 *
 *     tag 4 | flags 4 | length 8 | bytes ... | zeros up to a multiple of 8
 *
 * A reader passes over a part that it does not know, unless it is marked as required.
 * Parts may have parts inside.
 */
#ifndef UMEM_STORE_PARTS_H
#define UMEM_STORE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/cursor.h"
#include "lib/store/format.h"

#define UMEM_PART_HEADER_BYTES 16u

/** UMEM_PART_REQUIRED - flag: who does not know this part does not understand the rest. */
#define UMEM_PART_REQUIRED 1u

/**
 * struct umem_parts - parts that are being made; all zero is empty.
 * @v, @len_bytes: what there is.
 * @room: private.
 * @failed: memory was short; @v is not complete.
 */
struct umem_parts {
	unsigned char *v;
	size_t len_bytes;
	size_t room;
	bool failed;
};

/** umem_parts_deinit - free what it owns and make it empty. */
void umem_parts_deinit(struct umem_parts *parts);

/** umem_parts_begin - begin a part. Return: what umem_parts_end() wants. */
size_t umem_parts_begin(struct umem_parts *parts, uint32_t tag, uint32_t flags);

/** umem_parts_end - its length is known now. */
void umem_parts_end(struct umem_parts *parts, size_t begun);

/** umem_parts_room - @len_bytes bytes to be filled in. Return: NULL: memory is short. */
unsigned char *umem_parts_room(struct umem_parts *parts, size_t len_bytes);

/** umem_parts_add, _u32, _u64, _text - the next bytes; a text has its NUL; NULL is "". */
void umem_parts_add(struct umem_parts *parts, const void *bytes, size_t len_bytes);
void umem_parts_u32(struct umem_parts *parts, uint32_t value);
void umem_parts_u64(struct umem_parts *parts, uint64_t value);
void umem_parts_text(struct umem_parts *parts, const char *text);

/** umem_parts_whole_text - a part that is one text. */
void umem_parts_whole_text(struct umem_parts *parts, uint32_t tag, const char *text);

/**
 * struct umem_part - a part that was found.
 * @tag, @required: what it is.
 * @at, @len_bytes: its bytes; @at is aligned to 8 when the first part is.
 */
struct umem_part {
	uint32_t tag;
	bool required;
	const unsigned char *at;
	size_t len_bytes;
};

/**
 * umem_part_next - the next part.
 * Return: 1; 0: there is none; -EBADMSG: it is cut off, or what fills it up is not zero.
 */
int umem_part_next(struct umem_cursor *c, struct umem_part *ret_part);

/** umem_part_text - a text that is the part from @offset on. Return: NULL: it is none. */
const char *umem_part_text(const struct umem_part *part, size_t offset);

/** umem_part_cursor - a cursor over the part from @offset on, which is within it. */
static inline struct umem_cursor umem_part_cursor(const struct umem_part *part, size_t offset)
{
	return umem_cursor_init(part->at + offset, part->len_bytes - offset);
}

#endif
