// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The text of /proc/swaps. All of it is taken or nothing; the sums are those of the
 * areas; a second look says the same.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "lib/kern/swapdev.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	static struct umem_swap_areas areas, again;
	const char *text = (const char *)data;
	uint64_t total = 0, used = 0;
	int r = umem_swap_areas_parse(text, len_bytes, &areas);

	if (r < 0) {
		FUZZ_CHECK(r == -EBADMSG && areas.n == 0);
		FUZZ_CHECK(areas.total_bytes == 0 && areas.used_bytes == 0);
		return 0;
	}
	FUZZ_CHECK(r == 0 && areas.n == umem_swap_count(text, len_bytes));
	for (size_t i = 0; i < areas.n; i++) {
		FUZZ_CHECK(strlen(areas.v[i].path) > 0 && strlen(areas.v[i].path) < len_bytes);
		FUZZ_CHECK(!areas.v[i].is_zram && !areas.v[i].has_zram);
		total += areas.v[i].size_bytes;
		used += areas.v[i].used_bytes;
	}
	FUZZ_CHECK(total == areas.total_bytes && used == areas.used_bytes);
	FUZZ_CHECK(umem_swap_free_bytes(&areas) <= total);
	FUZZ_CHECK(umem_swap_in_memory(&areas) == (used == 0));
	FUZZ_CHECK(umem_swap_areas_parse(text, len_bytes, &again) == 0 && again.n == areas.n);
	for (size_t i = 0; i < areas.n; i++)
		FUZZ_CHECK(strcmp(areas.v[i].path, again.v[i].path) == 0 &&
			areas.v[i].priority == again.v[i].priority);
	return 0;
}
