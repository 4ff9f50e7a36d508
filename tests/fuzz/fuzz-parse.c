// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What people type: sizes, times, numbers, ranges. A value that is taken reads
 * the same when it is printed again; a refusal names a reason and leaves the
 * result alone.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/base/parse.h"

typedef int (*parse_fn)(const char *text, uint64_t *ret_value);

static void check_value(parse_fn parse, const char *text, const char *suffix)
{
	uint64_t value = 4711, again;
	char printed[40];
	int r = parse(text, &value);

	if (r < 0) {
		FUZZ_CHECK((r == -EINVAL || r == -ERANGE) && value == 4711);
		return;
	}
	FUZZ_CHECK(r == 0 && text[0] >= '0' && text[0] <= '9');
	snprintf(printed, sizeof(printed), "%llu%s", (unsigned long long)value, suffix);
	FUZZ_CHECK(parse(printed, &again) == 0 && again == value);
}

static void check_range(const char *text)
{
	struct umem_range range = { 3, 1 }, again;
	char printed[60];
	int r = umem_parse_range(text, &range);

	if (r < 0) {
		FUZZ_CHECK((r == -EINVAL || r == -ERANGE) && range.start == 3 && range.end == 1);
		return;
	}
	FUZZ_CHECK(r == 0 && range.start < range.end);
	snprintf(printed, sizeof(printed), "0x%llx-%llx", (unsigned long long)range.start,
		(unsigned long long)range.end);
	FUZZ_CHECK(umem_parse_range(printed, &again) == 0);
	FUZZ_CHECK(again.start == range.start && again.end == range.end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	UMEM_FREE char *text = calloc(1, len_bytes + 1);

	if (len_bytes)
		memcpy(text, data, len_bytes);
	check_value(umem_parse_u64, text, "");
	check_value(umem_parse_size, text, "");
	check_value(umem_parse_time, text, "ns");
	check_range(text);
	return 0;
}
