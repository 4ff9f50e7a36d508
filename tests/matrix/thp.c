// SPDX-License-Identifier: LGPL-2.1-or-later
/* Huge pages are tracked by 4 KiB pages, and are huge again after the target is let go. */
#include <sys/mman.h>
#include <unistd.h>

#include <umemd/track.h>

#include "tests/lib/harness.h"

#define BLOCK  (2ul << 20)
#define BLOCKS 8

static long huge_kib(pid_t pid, uint64_t start)
{
	char path[40], line[512];
	bool here = false;
	long kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file)) {
		unsigned long long a, b;

		if (sscanf(line, "%llx-%llx ", &a, &b) == 2)
			here = a < start + BLOCK * BLOCKS && b > start;
		else if (here && strncmp(line, "AnonHugePages:", 14) == 0)
			kib += atol(line + 14);
	}
	fclose(file);
	return kib;
}

int main(void)
{
	char *area = mmap(NULL, (BLOCKS + 1) * BLOCK, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *base = (char *)(((uintptr_t)area + BLOCK - 1) & ~(BLOCK - 1));
	const struct umem_round *round;
	struct umem_target *target;
	struct umem_watch *watch;
	int cmd[2], reply[2];
	struct umem_range region = { (uintptr_t)base, (uintptr_t)base + BLOCK * BLOCKS };
	struct umem_watch_options options = {
		.size = sizeof(options), .regions = &region, .n_regions = 1,
	};
	long before;
	pid_t pid;
	char c;

	T_CHECK(area != MAP_FAILED);
	if (madvise(base, BLOCK * BLOCKS, MADV_HUGEPAGE) < 0)
		T_SKIP("no transparent huge pages in this kernel");
	T_SYS(pipe(cmd));
	T_SYS(pipe(reply));
	pid = t_fork();
	if (pid == 0) {
		memset(base, 1, BLOCK * BLOCKS);
		while (write(reply[1], "", 1) == 1 && read(cmd[0], &c, 1) == 1)
			for (int i = 0; i < BLOCKS / 2; i++)
				base[i * BLOCK + 4096 * 7]++;
		_exit(0);
	}
	T_CHECK(read(reply[0], &c, 1) == 1);
	before = huge_kib(pid, region.start);
	if (before < (long)(BLOCK * BLOCKS / 1024))
		T_SKIP("no huge pages to be had: %ld KiB of %lu", before, BLOCK * BLOCKS / 1024);
	T_OK(umem_target_attach(pid, NULL, &target, NULL));
	T_OK(umem_watch_new(target, &options, &watch, NULL));
	T_CHECK(huge_kib(pid, region.start) == before, "(arming keeps them)");
	T_CHECK(write(cmd[1], "", 1) == 1 && read(reply[0], &c, 1) == 1);
	T_OK(umem_watch_collect(watch, &round, NULL));
	T_CHECK(round->dirty_bytes == BLOCKS / 2 * 4096, "(%llu)",
		(unsigned long long)round->dirty_bytes);
	T_CHECK(huge_kib(pid, region.start) == before / 2, "(a write splits)");
	umem_watch_free(watch);
	umem_target_free(target);
	T_CHECK(huge_kib(pid, region.start) == before, "(%ld of %ld KiB)",
		huge_kib(pid, region.start), before);
	t_end(pid);
	return 0;
}
