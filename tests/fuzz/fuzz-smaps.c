// SPDX-License-Identifier: LGPL-2.1-or-later
/* The text of /proc/PID/smaps: a list is ascending and disjoint, and is found again. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>

#include "lib/kern/smaps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	static struct umem_smaps smaps;
	FILE *text;
	int r;

	if (len_bytes == 0)
		return 0;
	text = fmemopen((void *)(uintptr_t)data, len_bytes, "r");
	if (!text)
		return 0;
	r = umem_smaps_parse(text, &smaps);
	fclose(text);
	FUZZ_CHECK(r == 0 || (r == -EBADMSG && smaps.n == 0));
	for (size_t i = 0; i < smaps.n; i++) {
		const struct umem_smap *s = &smaps.v[i];

		FUZZ_CHECK(s->start < s->end);
		FUZZ_CHECK(i == 0 || smaps.v[i - 1].end <= s->start);
		FUZZ_CHECK(umem_smaps_find(&smaps, s->start, s->end) == s);
	}
	return 0;
}
