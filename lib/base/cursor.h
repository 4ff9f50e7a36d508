/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bounds-checked cursor over bytes that come from outside.
 *
 * Every parser of this tree reads through a cursor: a step that would leave
 * the input fails and moves nothing, so that a parser is a chain of calls
 * that each may say no. Nothing is copied; the input outlives the cursor.
 */
#ifndef UMEM_BASE_CURSOR_H
#define UMEM_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct umem_cursor - where a parser is.
 * @at: next unread byte.
 * @end: one past the last byte.
 */
struct umem_cursor {
	const char *at;
	const char *end;
};

/** umem_cursor_init - a cursor over @len_bytes bytes at @data. */
static inline struct umem_cursor umem_cursor_init(const void *data, size_t len_bytes)
{
	return (struct umem_cursor){ .at = data, .end = (const char *)data + len_bytes };
}

static inline size_t umem_cursor_left(const struct umem_cursor *c)
{
	return (size_t)(c->end - c->at);
}

/** umem_cursor_line - split the next line off, without its newline. Return: false at the end. */
bool umem_cursor_line(struct umem_cursor *c, struct umem_cursor *ret_line);

/** umem_cursor_char - step over @want. Return: false, unmoved, if another byte is next. */
bool umem_cursor_char(struct umem_cursor *c, char want);

/** umem_cursor_str - step over the string @want. Return: false, unmoved, if it is not next. */
bool umem_cursor_str(struct umem_cursor *c, const char *want);

/** umem_cursor_spaces - step over blanks and tabs, as many as there are. */
void umem_cursor_spaces(struct umem_cursor *c);

/**
 * umem_cursor_word - split off the bytes up to the next blank, tab or the end.
 * Return: false if none.
 */
bool umem_cursor_word(struct umem_cursor *c, struct umem_cursor *ret_word);

/**
 * umem_cursor_hex - read hexadecimal digits, without a 0x.
 *
 * Return: false, unmoved, when there is no digit or the number passes 64 bits.
 */
bool umem_cursor_hex(struct umem_cursor *c, uint64_t *ret_value);

/** umem_cursor_dec - read decimal digits; false as umem_cursor_hex(). */
bool umem_cursor_dec(struct umem_cursor *c, uint64_t *ret_value);

/** umem_cursor_oct - read octal digits; false as umem_cursor_hex(). */
bool umem_cursor_oct(struct umem_cursor *c, uint64_t *ret_value);

/**
 * umem_cursor_unescape - copy what is left, a backslash and three octal digits as the
 * byte that they mean: how /proc writes blanks in paths.
 * @to: room for umem_cursor_left() + 1 bytes; gets a NUL behind.
 *
 * Return: false when it holds a NUL or would, or a backslash before anything else.
 */
bool umem_cursor_unescape(struct umem_cursor c, char *to);

#endif
