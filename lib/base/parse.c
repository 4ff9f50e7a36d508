// SPDX-License-Identifier: LGPL-2.1-or-later
/* Strict parsing of what people type. */
#include "lib/base/parse.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "lib/base/cursor.h"

static struct umem_cursor whole(const char *text)
{
	return umem_cursor_init(text, strlen(text));
}

/* A cursor's number says "no digit" and "too large" alike; tell them apart. */
static int number(struct umem_cursor *c, uint64_t *ret_value)
{
	if (umem_cursor_dec(c, ret_value))
		return 0;
	return umem_cursor_left(c) && isdigit((unsigned char)*c->at) ? -ERANGE : -EINVAL;
}

int umem_parse_u64(const char *text, uint64_t *ret_value)
{
	struct umem_cursor c = whole(text);
	uint64_t value;
	int r = number(&c, &value);

	if (r < 0)
		return r;
	if (umem_cursor_left(&c))
		return -EINVAL;
	*ret_value = value;
	return 0;
}

int umem_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	struct umem_cursor c = whole(text);
	uint64_t value;
	int r = number(&c, &value);

	if (r < 0)
		return r;
	if (umem_cursor_left(&c)) {
		const char *unit = memchr(units, *c.at, sizeof(units) - 1);

		if (!unit || umem_cursor_left(&c) != 1)
			return -EINVAL;
		if (__builtin_mul_overflow(value, 1024ull << (10 * (unit - units)), &value))
			return -ERANGE;
	}
	*ret_bytes = value;
	return 0;
}

int umem_parse_time(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 }, { "us", 1000 }, { "ms", 1000000 },
		{ "s", 1000000000 }, { "m", 60000000000 },
	};
	struct umem_cursor c = whole(text);
	uint64_t value, fraction = 0, scale = 1;
	int r = number(&c, &value);

	if (r < 0)
		return r;
	if (umem_cursor_char(&c, '.')) {
		const char *digits = c.at;

		r = number(&c, &fraction);
		if (r < 0)
			return r;
		if (c.at - digits > 9)
			return -EINVAL;
		for (; digits < c.at; digits++)
			scale *= 10;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		struct umem_cursor unit = c;
		uint64_t ns;

		if (!umem_cursor_str(&unit, units[i].name) || umem_cursor_left(&unit))
			continue;
		/* fraction < 10^9 and a unit is at most 6 * 10^10: no overflow there. */
		if (__builtin_mul_overflow(value, units[i].ns, &ns) ||
			__builtin_add_overflow(ns, fraction * (units[i].ns / scale) +
				fraction * (units[i].ns % scale) / scale, &ns))
			return -ERANGE;
		*ret_ns = ns;
		return 0;
	}
	return -EINVAL;
}

int umem_parse_percent(const char *text, uint64_t *ret_ppm)
{
	struct umem_cursor c = whole(text);
	uint64_t value, fraction = 0, scale = 10000;
	int r = number(&c, &value);

	if (r < 0)
		return r;
	if (umem_cursor_char(&c, '.')) {
		const char *digits = c.at;

		r = number(&c, &fraction);
		if (r < 0)
			return r;
		if (c.at - digits > 4)
			return -EINVAL;
		for (; digits < c.at; digits++)
			scale /= 10;
	}
	umem_cursor_char(&c, '%');
	if (umem_cursor_left(&c))
		return -EINVAL;
	if (value > 100 || value * 10000 + fraction * scale > 1000000)
		return -ERANGE;
	*ret_ppm = value * 10000 + fraction * scale;
	return 0;
}

static int address(struct umem_cursor *c, uint64_t *ret_value)
{
	if (!umem_cursor_str(c, "0x"))
		umem_cursor_str(c, "0X");
	if (umem_cursor_hex(c, ret_value))
		return 0;
	return umem_cursor_left(c) && isxdigit((unsigned char)*c->at) ? -ERANGE : -EINVAL;
}

int umem_parse_range(const char *text, struct umem_range *ret_range)
{
	struct umem_cursor c = whole(text);
	struct umem_range range;
	int r = address(&c, &range.start);

	if (r < 0)
		return r;
	if (!umem_cursor_char(&c, '-'))
		return -EINVAL;
	r = address(&c, &range.end);
	if (r < 0)
		return r;
	if (umem_cursor_left(&c) || range.end <= range.start)
		return -EINVAL;
	*ret_range = range;
	return 0;
}
