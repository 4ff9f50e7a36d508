// SPDX-License-Identifier: LGPL-2.1-or-later
/* Text of the form "KEY NUMBER", a line each. */
#include "lib/base/fields.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "lib/base/cursor.h"

/* "  123" or "  123 kB", and nothing behind it. */
static bool number(struct umem_cursor c, uint64_t *ret_value)
{
	uint64_t value;

	umem_cursor_spaces(&c);
	if (!umem_cursor_dec(&c, &value))
		return false;
	if (umem_cursor_str(&c, " kB") && __builtin_mul_overflow(value, 1024u, &value))
		return false;
	if (umem_cursor_left(&c))
		return false;
	*ret_value = value;
	return true;
}

uint32_t umem_fields_parse(const char *text, size_t len_bytes, const struct umem_field *fields,
	size_t n_fields, void *ret_struct)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line, key;
	uint32_t found = 0, all = n_fields < 32 ? (1u << n_fields) - 1 : UINT32_MAX;

	assert(n_fields <= 32);
	while (found != all && umem_cursor_line(&c, &line)) {
		if (!umem_cursor_word(&line, &key))
			continue;
		for (size_t i = 0; i < n_fields; i++) {
			size_t len = umem_cursor_left(&key);
			uint64_t value;

			if (found & 1u << i || strlen(fields[i].key) != len ||
				memcmp(fields[i].key, key.at, len) != 0)
				continue;
			if (!number(line, &value))
				break;
			memcpy((char *)ret_struct + fields[i].offset, &value, sizeof(value));
			found |= 1u << i;
			break;
		}
	}
	return found;
}
