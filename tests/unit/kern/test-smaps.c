// SPDX-License-Identifier: LGPL-2.1-or-later
/* The text of smaps: what is taken from it, what is refused, what is live. */
#include "lib/kern/smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"

static int parse(const char *text, struct umem_smaps *smaps)
{
	FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	int r;

	T_CHECK(file != NULL);
	r = umem_smaps_parse(file, smaps);
	fclose(file);
	return r;
}

static void golden(void)
{
	static const char text[] =
		"55e000000000-55e000004000 r--p 00000000 fe:00 247476  /usr/bin/a Rss: 9 kB\n"
		"Size:                 16 kB\nKernelPageSize:        4 kB\n"
		"Rss:                 12 kB\n"
		"Swap:                  8 kB\nSwapPss:               4 kB\n"
		"VmFlags: rd mr mw me uw sd\n"
		"7f0000000000-7f0000400000 rw-s 00000000 00:0f 5  /anon_hugepage (deleted)\n"
		"KernelPageSize:     2048 kB\nRss:                  0 kB\n"
		"Shared_Hugetlb:     2048 kB\nPrivate_Hugetlb:    2048 kB\nSwap:   0 kB\n"
		"VmFlags: rd wr sh mr mw me ms de ht sd \n"
		"7ffc00000000-7ffc00001000 r--p 00000000 00:00 0  [vvar]\n"
		"VmFlags: rd mr pf io de dd dp ss wp uwx\n"
		"7ffd00000000-7ffd00001000 rw-p 00000000 00:00 0 \n"
		"VmFlags: rd wr mr mw me lo ac um \n"
		"7ffe00000000-7ffe00001000 rw-p 00000000 00:00 0 \n"
		"VmFlags: rd wr mr mw me ac ui \n";
	struct umem_smaps smaps = { 0 };
	const struct umem_smap *s;

	T_OK(parse(text, &smaps));
	T_CHECK(smaps.n == 5);
	s = umem_smaps_find(&smaps, 0x55e000000000, 0x55e000004000);
	T_CHECK(s && s->resident_bytes == 12288 && s->swapped_bytes == 8192);
	T_CHECK(s->page_size_bytes == 4096);
	T_CHECK(s->flags == (UMEM_SMAP_MAY_WRITE | UMEM_SMAP_UFFD));
	s = umem_smaps_find(&smaps, 0x7f0000000000, 0x7f0000400000);
	T_CHECK(s && s->resident_bytes == 4u << 20 && s->page_size_bytes == 2u << 20);
	T_CHECK(s->flags == (UMEM_SMAP_MAY_WRITE | UMEM_SMAP_HUGETLB | UMEM_SMAP_SPECIAL));
	s = umem_smaps_find(&smaps, 0x7ffc00000000, 0x7ffc00001000);
	T_CHECK(s && s->flags == (UMEM_SMAP_SPECIAL | UMEM_SMAP_DROPPABLE | UMEM_SMAP_SHADOW));
	s = umem_smaps_find(&smaps, 0x7ffd00000000, 0x7ffd00001000);
	T_CHECK(s && s->flags == (UMEM_SMAP_MAY_WRITE | UMEM_SMAP_LOCKED | UMEM_SMAP_UFFD |
		UMEM_SMAP_FAULTS));
	s = umem_smaps_find(&smaps, 0x7ffe00000000, 0x7ffe00001000);
	T_CHECK(s && s->flags == (UMEM_SMAP_MAY_WRITE | UMEM_SMAP_UFFD | UMEM_SMAP_FAULTS));
	/* Other borders are another mapping. */
	T_CHECK(!umem_smaps_find(&smaps, 0x7ffc00000000, 0x7ffc00002000));
	T_CHECK(!umem_smaps_find(&smaps, 0x7ffc00001000, 0x7ffc00002000));

	/* A mapping that grew downwards while it was read replaces what it covers. */
	T_OK(parse("1000-2000 rw-p 0 00:00 0\nRss: 4 kB\n2000-3000 rw-p 0 00:00 0\n"
		   "1000-4000 rw-p 0 00:00 0\nRss: 8 kB\n", &smaps));
	T_CHECK(smaps.n == 1 && smaps.v[0].end == 0x4000 && smaps.v[0].resident_bytes == 8192);

	T_CHECK(parse("Rss: 4 kB\n", &smaps) == -EBADMSG && smaps.n == 0);
	T_CHECK(parse("nonsense", &smaps) == -EBADMSG);
	/* A number that cannot be is not taken. */
	T_OK(parse("1000-2000 rw-p 0 00:00 0\nRss: 99999999999999999999 kB\nSwap: x kB\n"
		   "Swap: 18446744073709551615 kB\n", &smaps));
	T_CHECK(smaps.n == 1 && smaps.v[0].resident_bytes == 0 && smaps.v[0].swapped_bytes == 0);
	umem_smaps_deinit(&smaps);
}

static void live(void)
{
	const size_t page = 4096;
	char *at = mmap(NULL, 16 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	UMEM_FD int proc = (int)T_SYS(open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
	struct umem_smaps smaps = { 0 };
	const struct umem_smap *s;

	T_CHECK(at != MAP_FAILED);
	memset(at, 1, 5 * page);
	T_OK(umem_smaps_read(proc, &smaps));
	s = umem_smaps_find(&smaps, (uintptr_t)at, (uintptr_t)at + 16 * page);
	T_CHECK(s && s->resident_bytes == 5 * page && s->swapped_bytes == 0);
	T_CHECK(s->flags == UMEM_SMAP_MAY_WRITE);
	/* A sanitizer makes the library's function one that does nothing. */
	T_SYS(syscall(SYS_mlock, at, page));
	T_OK(umem_smaps_read(proc, &smaps));
	s = umem_smaps_find(&smaps, (uintptr_t)at, (uintptr_t)at + page);
	T_CHECK(s && s->flags == (UMEM_SMAP_MAY_WRITE | UMEM_SMAP_LOCKED));
	T_CHECK(umem_smaps_read(T_SYS(open("/", O_PATH)), &smaps) == -ENOENT && smaps.n == 0);
	umem_smaps_deinit(&smaps);
}

int main(void)
{
	golden();
	live();
	return 0;
}
