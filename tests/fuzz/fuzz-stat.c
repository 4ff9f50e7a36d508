// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The text of /proc/PID/stat, whose name field may hold anything. What is taken
 * has a letter as its state and a name that ends; a refusal leaves the result
 * alone.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "lib/kern/pidfd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	struct umem_proc_stat stat, before, again;
	int r;

	memset(&stat, 0x5a, sizeof(stat));
	before = stat;
	r = umem_proc_stat_parse((const char *)data, len_bytes, &stat);
	if (r < 0) {
		FUZZ_CHECK(r == -EBADMSG && memcmp(&stat, &before, sizeof(stat)) == 0);
		return 0;
	}
	FUZZ_CHECK(r == 0 && memchr(stat.comm, '\0', sizeof(stat.comm)));
	FUZZ_CHECK(strlen(stat.comm) <= len_bytes && stat.last_cpu >= 0);
	FUZZ_CHECK(umem_proc_stat_parse((const char *)data, len_bytes, &again) == 0);
	FUZZ_CHECK(again.state == stat.state && again.start_ticks == stat.start_ticks &&
		again.last_cpu == stat.last_cpu && again.maj_flt == stat.maj_flt &&
		again.stime_ticks == stat.stime_ticks && strcmp(again.comm, stat.comm) == 0);
	return 0;
}
