// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The texts that pins are read from. All of a ring's buffers are added or none,
 * each a proper range; a second look at the same text says the same.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "lib/kern/pins.h"

static void check_rest(const char *text, size_t len)
{
	uint64_t value = 7;

	if (!umem_pins_parse_flags(text, len, &value))
		FUZZ_CHECK(value == 7);
	value = 7;
	if (!umem_pins_parse_vmpin(text, len, &value))
		FUZZ_CHECK(value == 7);
	else
		FUZZ_CHECK(value % 1024 == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	static struct umem_pins pins;
	const char *text = (const char *)data;
	uint64_t inode = 5, again = 6;
	size_t n;
	int r;

	check_rest(text, len_bytes);
	pins.n = 0;
	FUZZ_CHECK(umem_pins_add(&pins, UMEM_PIN_VFIO, 1, 2, "\n\xff first") == 0);
	FUZZ_CHECK(strcmp(pins.v[0].what, "?? first") == 0);
	r = umem_pins_parse_fdinfo(text, len_bytes, "fd", &pins, &inode);
	n = pins.n;
	FUZZ_CHECK(r == UMEM_PINS_PARSED || ((r == UMEM_PINS_BUSY || r == -EBADMSG) && n == 1));
	FUZZ_CHECK(r >= 0 || inode == 5);
	/* A line of a buffer takes six bytes or more. */
	FUZZ_CHECK(n >= 1 && n - 1 <= len_bytes / 6);
	for (size_t i = 1; i < n; i++) {
		FUZZ_CHECK(pins.v[i].kind == UMEM_PIN_IO_URING && pins.v[i].range.start > 0);
		FUZZ_CHECK(pins.v[i].range.start < pins.v[i].range.end);
	}
	FUZZ_CHECK(umem_pins_parse_fdinfo(text, len_bytes, "fd", &pins, &again) == r);
	FUZZ_CHECK(pins.n == 2 * n - 1 && (r < 0 || again == inode));
	for (size_t i = 1; i < n; i++)
		FUZZ_CHECK(pins.v[i].range.end == pins.v[i + n - 1].range.end);
	return 0;
}
