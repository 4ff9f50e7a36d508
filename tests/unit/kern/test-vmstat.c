// SPDX-License-Identifier: LGPL-2.1-or-later
/* Numbers of the machine: real text, missing lines, missing files, this machine. */
#include "lib/kern/vmstat.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define ALL(n) ((1u << (n)) - 1)

static void vmstat_text(void **state)
{
	const char *text = "nr_free_pages 6129\npgpgin 1\npswpin 11\npswpout 12\npgmajfault 13\n"
			   "pgsteal_kswapd 14\npgsteal_direct 15\npgsteal_khugepaged 900\n"
			   "pgsteal_proactive 16\npgscan_kswapd 17\npgscan_direct 18\n"
			   "pgscan_khugepaged 901\npgscan_proactive 19\n"
			   "pgscan_direct_throttle 902\nswpin_zero 20\nswpout_zero 21\n"
			   "pgscan_anon 22\npgscan_file 23\npgsteal_anon 24\npgsteal_file 25\n"
			   "workingset_refault_anon 26\nworkingset_refault_file 903\n"
			   "zswpin 27\nzswpout 28\nzswpwb 904\n";
	struct umem_vmstat stat = umem_vmstat_parse(text, strlen(text));

	assert_int_equal(ALL(UMEM_N_VMSTATS), stat.present);
	assert_int_equal(11, stat.pswpin);
	assert_int_equal(12, stat.pswpout);
	assert_int_equal(13, stat.pgmajfault);
	assert_int_equal(14, stat.pgsteal_kswapd);
	assert_int_equal(15, stat.pgsteal_direct);
	assert_int_equal(16, stat.pgsteal_proactive);
	assert_int_equal(17, stat.pgscan_kswapd);
	assert_int_equal(18, stat.pgscan_direct);
	assert_int_equal(19, stat.pgscan_proactive);
	assert_int_equal(20, stat.swpin_zero);
	assert_int_equal(21, stat.swpout_zero);
	assert_int_equal(22, stat.pgscan_anon);
	assert_int_equal(23, stat.pgscan_file);
	assert_int_equal(24, stat.pgsteal_anon);
	assert_int_equal(25, stat.pgsteal_file);
	assert_int_equal(26, stat.workingset_refault_anon);
	assert_int_equal(27, stat.zswpin);
	assert_int_equal(28, stat.zswpout);
}

static void missing_lines(void **state)
{
	const char *text = "pswpin 1\npswpout -2\npgmajfault\npgscan_kswapd 99999999999999999999\n"
			   "pgscan_kswapd_normal 5\npgsteal_direct 6 7\nswpin_zero 3";
	struct umem_vmstat stat = umem_vmstat_parse(text, strlen(text));

	assert_int_equal(1u << UMEM_VMSTAT_PSWPIN | 1u << UMEM_VMSTAT_SWPIN_ZERO, stat.present);
	assert_int_equal(1, stat.pswpin);
	assert_int_equal(3, stat.swpin_zero);
	assert_int_equal(0, stat.pswpout + stat.pgmajfault + stat.pgscan_kswapd +
		stat.pgsteal_direct);
	assert_int_equal(0, umem_vmstat_parse("", 0).present);
	assert_int_equal(0, umem_meminfo_parse("", 0).present);
}

static void meminfo_text(void **state)
{
	const char *text = "MemTotal:       24684092 kB\nMemFree:        24515320 kB\n"
			   "MemAvailable:   24429148 kB\nBuffers:             516 kB\n"
			   "SwapCached:            7 kB\nSwapTotal:             9 kB\n"
			   "SwapFree:              8 kB\nZswap:                 1 kB\n"
			   "Zswapped:              2 kB\nHugePages_Total:       0\n";
	struct umem_meminfo info = umem_meminfo_parse(text, strlen(text));

	assert_int_equal(ALL(UMEM_N_MEMINFOS), info.present);
	assert_true(info.total_bytes == 24684092ull * 1024);
	assert_true(info.free_bytes == 24515320ull * 1024);
	assert_true(info.available_bytes == 24429148ull * 1024);
	assert_int_equal(7 * 1024, info.swap_cached_bytes);
	assert_int_equal(9 * 1024, info.swap_total_bytes);
	assert_int_equal(8 * 1024, info.swap_free_bytes);
	assert_int_equal(1024, info.zswap_bytes);
	assert_int_equal(2048, info.zswapped_bytes);
}

static void this_machine(void **state)
{
	struct umem_vmstat stat = { .pswpin = 5 };
	struct umem_meminfo info = { .total_bytes = 5 };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	assert_int_equal(-ENOENT, umem_vmstat_read("/proc/no-such-file", &stat));
	assert_int_equal(-ENOENT, umem_meminfo_read("/proc/no-such-file", &info));
	assert_int_equal(5, stat.pswpin);
	assert_int_equal(5, info.total_bytes);
	assert_int_equal(0, umem_vmstat_read(NULL, &stat));
	assert_true(stat.present & 1u << UMEM_VMSTAT_PGMAJFAULT);
	assert_true(stat.pgmajfault > 0);
	assert_int_equal(0, umem_meminfo_read(NULL, &info));
	assert_true(info.total_bytes == (uint64_t)sysconf(_SC_PHYS_PAGES) * page);
	assert_true(info.free_bytes < info.total_bytes);
	assert_true(info.swap_free_bytes <= info.swap_total_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vmstat_text),
		cmocka_unit_test(missing_lines),
		cmocka_unit_test(meminfo_text),
		cmocka_unit_test(this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
