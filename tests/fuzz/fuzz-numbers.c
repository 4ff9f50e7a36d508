// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Texts of numbers: pressure, vmstat, meminfo, and the escapes of paths. What is taken
 * is within its bounds and the same a second time; a refusal leaves the result alone.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cursor.h"
#include "lib/kern/psi.h"
#include "lib/kern/vmstat.h"

static void check_psi(const char *text, size_t len)
{
	struct umem_psi psi, before, again;
	struct umem_psi_share share;
	int r;

	memset(&psi, 0x5a, sizeof(psi));
	before = psi;
	r = umem_psi_parse(text, len, &psi);
	if (r < 0) {
		FUZZ_CHECK(r == -EBADMSG && memcmp(&psi, &before, sizeof(psi)) == 0);
		return;
	}
	FUZZ_CHECK(r == 0 && psi.some.avg10 <= 10000 && psi.full.avg10 <= 10000);
	FUZZ_CHECK(umem_psi_parse(text, len, &again) == 0);
	FUZZ_CHECK(again.some.total_us == psi.some.total_us &&
		again.full.avg10 == psi.full.avg10);
	share = umem_psi_share(&before, &psi, psi.some.total_us);
	FUZZ_CHECK(share.some_ppm <= 1000000 && share.full_ppm <= 1000000);
}

static void check_machine(const char *text, size_t len)
{
	struct umem_vmstat stat = umem_vmstat_parse(text, len);
	struct umem_meminfo info = umem_meminfo_parse(text, len);

	FUZZ_CHECK(stat.present >> UMEM_N_VMSTATS == 0);
	FUZZ_CHECK(info.present >> UMEM_N_MEMINFOS == 0);
	FUZZ_CHECK(stat.pswpin == 0 || stat.present & 1u << UMEM_VMSTAT_PSWPIN);
	FUZZ_CHECK(stat.workingset_refault_anon == 0 ||
		stat.present & 1u << UMEM_VMSTAT_WORKINGSET_REFAULT_ANON);
	FUZZ_CHECK(info.total_bytes == 0 || info.present & 1u << UMEM_MEMINFO_TOTAL);
	FUZZ_CHECK(info.swap_free_bytes == 0 || info.present & 1u << UMEM_MEMINFO_SWAP_FREE);
}

static void check_escapes(const char *text, size_t len)
{
	char *to = malloc(len + 1);

	FUZZ_CHECK(to);
	if (umem_cursor_unescape(umem_cursor_init(text, len), to))
		FUZZ_CHECK(strlen(to) <= len && strlen(to) * 4 >= len);
	free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	const char *text = (const char *)data;

	check_psi(text, len_bytes);
	check_machine(text, len_bytes);
	check_escapes(text, len_bytes);
	return 0;
}
