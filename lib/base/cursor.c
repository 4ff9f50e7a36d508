// SPDX-License-Identifier: LGPL-2.1-or-later
/* A bounds-checked cursor over bytes that come from outside. */
#include "lib/base/cursor.h"

#include <string.h>

bool umem_cursor_line(struct umem_cursor *c, struct umem_cursor *ret_line)
{
	if (c->at == c->end)
		return false;

	const char *newline = memchr(c->at, '\n', umem_cursor_left(c));

	ret_line->at = c->at;
	ret_line->end = newline ? newline : c->end;
	c->at = newline ? newline + 1 : c->end;
	return true;
}

bool umem_cursor_char(struct umem_cursor *c, char want)
{
	if (c->at == c->end || *c->at != want)
		return false;
	c->at++;
	return true;
}

bool umem_cursor_str(struct umem_cursor *c, const char *want)
{
	size_t len = strlen(want);

	if (umem_cursor_left(c) < len || memcmp(c->at, want, len) != 0)
		return false;
	c->at += len;
	return true;
}

void umem_cursor_spaces(struct umem_cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t'))
		c->at++;
}

bool umem_cursor_word(struct umem_cursor *c, struct umem_cursor *ret_word)
{
	const char *at = c->at;

	while (at < c->end && *at != ' ' && *at != '\t')
		at++;
	if (at == c->at)
		return false;
	*ret_word = (struct umem_cursor){ .at = c->at, .end = at };
	c->at = at;
	return true;
}

static int digit_of(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	if (ch >= 'A' && ch <= 'F')
		return ch - 'A' + 10;
	return 16;
}

static bool number(struct umem_cursor *c, int base, uint64_t *ret_value)
{
	const char *at = c->at;
	uint64_t value = 0;

	for (; at < c->end; at++) {
		int digit = digit_of(*at);

		if (digit >= base)
			break;
		if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
			__builtin_add_overflow(value, (uint64_t)digit, &value))
			return false;
	}
	if (at == c->at)
		return false;
	c->at = at;
	*ret_value = value;
	return true;
}

bool umem_cursor_hex(struct umem_cursor *c, uint64_t *ret_value)
{
	return number(c, 16, ret_value);
}

bool umem_cursor_dec(struct umem_cursor *c, uint64_t *ret_value)
{
	return number(c, 10, ret_value);
}

bool umem_cursor_oct(struct umem_cursor *c, uint64_t *ret_value)
{
	return number(c, 8, ret_value);
}

bool umem_cursor_unescape(struct umem_cursor c, char *to)
{
	while (c.at < c.end) {
		unsigned ch = (unsigned char)*c.at++;

		if (ch == '\\') {
			ch = 0;
			for (int i = 0; i < 3; i++) {
				int digit = c.at < c.end ? digit_of(*c.at++) : 16;

				if (digit >= 8)
					return false;
				ch = ch * 8 + (unsigned)digit;
			}
		}
		if (ch == 0 || ch > 0xff)
			return false;
		*to++ = (char)ch;
	}
	*to = '\0';
	return true;
}
