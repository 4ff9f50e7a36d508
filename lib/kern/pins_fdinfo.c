// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Parsing of /proc/PID/fdinfo/FD and /proc/PID/status for pins; pure.
 *
 * Theory of operation
 *
 * The fdinfo of an io_uring (io_uring/fdinfo.c) has, among much else:
 *
 *     flags:  02000002
 *     ino:    37525
 *     UserBufs:       3
 *         0: 0x556b34938064/8192          address/length in bytes
 *         1: <none>                       an empty slot of a sparse table
 *         2: 0x0/65536                    a kernel buffer: no user memory
 *
 * The kernel prints everything below the flags only when it gets the ring's
 * lock at once. A ring that works while it is looked at has no UserBufs line:
 * UMEM_PINS_BUSY. No byte of the text before the buffers is the target's to
 * choose: paths of registered files follow a number on their line, newlines
 * escaped, so that no line can be made to begin with "UserBufs:".
 */
#include "lib/kern/pins.h"

#include <errno.h>

#include "lib/base/cursor.h"

/* The next line that starts with @key; the cursor of what follows the key. */
static bool find_line(struct umem_cursor *text, const char *key, struct umem_cursor *ret_rest)
{
	struct umem_cursor line;

	while (umem_cursor_line(text, &line)) {
		if (!umem_cursor_str(&line, key))
			continue;
		umem_cursor_spaces(&line);
		*ret_rest = line;
		return true;
	}
	return false;
}

static bool at_end(const struct umem_cursor *c)
{
	return c->at == c->end;
}

bool umem_pins_parse_flags(const char *text, size_t len_bytes, uint64_t *ret_flags)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	uint64_t flags;

	if (!find_line(&c, "flags:", &line) || !umem_cursor_oct(&line, &flags) || !at_end(&line))
		return false;
	*ret_flags = flags;
	return true;
}

bool umem_pins_parse_vmpin(const char *text, size_t len_bytes, uint64_t *ret_bytes)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	uint64_t kib, bytes;

	if (!find_line(&c, "VmPin:", &line) || !umem_cursor_dec(&line, &kib) ||
		!umem_cursor_str(&line, " kB") || !at_end(&line))
		return false;
	if (__builtin_mul_overflow(kib, (uint64_t)1024, &bytes))
		return false;
	*ret_bytes = bytes;
	return true;
}

/* "INDEX: 0xADDRESS/LENGTH" or "INDEX: <none>"; an empty range for the latter. */
static bool parse_buffer(struct umem_cursor *c, struct umem_range *ret_range)
{
	struct umem_cursor line;
	uint64_t index, start, len, end;

	if (!umem_cursor_line(c, &line))
		return false;
	umem_cursor_spaces(&line);
	if (!umem_cursor_dec(&line, &index) || !umem_cursor_str(&line, ": "))
		return false;
	*ret_range = (struct umem_range){ 0 };
	if (umem_cursor_str(&line, "<none>"))
		return at_end(&line);
	if (!umem_cursor_str(&line, "0x") || !umem_cursor_hex(&line, &start) ||
		!umem_cursor_char(&line, '/') || !umem_cursor_dec(&line, &len) || !at_end(&line))
		return false;
	if (__builtin_add_overflow(start, len, &end))
		return false;
	if (start != 0)
		*ret_range = (struct umem_range){ start, end };
	return true;
}

static int parse_buffers(struct umem_cursor *c, uint64_t n, const char *what,
	struct umem_pins *pins)
{
	const size_t n_before = pins->n;

	for (uint64_t i = 0; i < n; i++) {
		struct umem_range range;
		int r;

		if (!parse_buffer(c, &range)) {
			pins->n = n_before;
			return -EBADMSG;
		}
		if (range.start == range.end)
			continue;
		r = umem_pins_add(pins, UMEM_PIN_IO_URING, range.start, range.end, what);
		if (r < 0) {
			pins->n = n_before;
			return r;
		}
	}
	return 0;
}

int umem_pins_parse_fdinfo(const char *text, size_t len_bytes, const char *what,
	struct umem_pins *pins, uint64_t *ret_inode)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	uint64_t inode = 0, n;
	int r;

	if (find_line(&c, "ino:", &line) && (!umem_cursor_dec(&line, &inode) || !at_end(&line)))
		return -EBADMSG;
	c = umem_cursor_init(text, len_bytes);
	if (!find_line(&c, "UserBufs:", &line)) {
		*ret_inode = inode;
		return UMEM_PINS_BUSY;
	}
	if (!umem_cursor_dec(&line, &n) || !at_end(&line))
		return -EBADMSG;
	r = parse_buffers(&c, n, what, pins);
	if (r < 0)
		return r;
	*ret_inode = inode;
	return UMEM_PINS_PARSED;
}
