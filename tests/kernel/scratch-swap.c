// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Swap areas that a kernel test makes and takes away again: zram, files.
 *
 * Theory of operation: a test means the area it asked for last, so that this gets
 * a priority above all others. That alone is not enough: each processor goes on in
 * the cluster of 512 slots that it filled last, whatever its area's priority
 * (swap_alloc_fast(), mm/swapfile.c), so that each is led to the end of it first.
 *
 * The kernel numbers areas by the first number that is free and keeps the number
 * while the area is on; that number, the type, is in pagemap words. /proc/swaps
 * lists areas by number without saying it, so it is read from a page of our own.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/swap.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/lru.h"
#include "tests/kernel/scratch.h"

#define MAX_AREAS 4

/* @zram_id is -1 for a file; a slot without a path is free. */
struct area {
	char path[64];
	int zram_id;
	bool on;
};

static struct area areas[MAX_AREAS];
static struct area *newest;
static int priority = 32700;
static bool hooked;

static void drop(struct area *area)
{
	char path[64], text[16];

	if (area->on)
		swapoff(area->path);
	area->on = false;
	if (area->zram_id < 0) {
		unlink(area->path);
	} else {
		snprintf(path, sizeof(path), "/sys/block/zram%d/reset", area->zram_id);
		k_write_text(path, "1");
		snprintf(text, sizeof(text), "%d", area->zram_id);
		k_write_text("/sys/class/zram-control/hot_remove", text);
	}
	area->path[0] = '\0';
}

static void drop_all(void)
{
	for (int i = 0; i < MAX_AREAS; i++) {
		if (areas[i].path[0])
			drop(&areas[i]);
	}
}

static struct area *new_area(void)
{
	if (!hooked)
		k_at_end(drop_all);
	hooked = true;
	for (int i = 0; i < MAX_AREAS; i++) {
		if (!areas[i].path[0])
			return &areas[i];
	}
	T_FAIL("too many swap areas");
}

static struct area *area_of(const char *path)
{
	for (int i = 0; i < MAX_AREAS; i++) {
		if (!strcmp(areas[i].path, path))
			return &areas[i];
	}
	T_FAIL("no area %s", path);
}

void k_format_swap(const char *path, uint64_t size_bytes)
{
	uint32_t head[3] = { 1, (uint32_t)(size_bytes / K_PAGE) - 1, 0 };
	char page[K_PAGE] = { 0 };
	int fd = (int)T_SYS(open(path, O_RDWR | O_CLOEXEC));

	memcpy(page + 1024, head, sizeof(head));
	memcpy(page + K_PAGE - 10, "SWAPSPACE2", 10);
	T_OK(umem_write_all(fd, page, sizeof(page)));
	T_SYS(fsync(fd));
	close(fd);
}

/* Something in each page, so that the area has to store it. */
static void fill(char *at, size_t len)
{
	for (size_t i = 0; i < len; i += K_PAGE)
		*(size_t *)(void *)(at + i) = i + 1;
}

/* Have this processor use up the cluster it is filling, with pages to spare. */
static void use_up_cluster(void)
{
	const size_t len = 1024 * K_PAGE;
	char *at = k_anon(len);

	fill(at, len);
	T_SYS(madvise(at, len, MADV_PAGEOUT));
	munmap(at, len);
}

static void take_over(void)
{
	cpu_set_t allowed, one;

	T_SYS(sched_getaffinity(0, sizeof(allowed), &allowed));
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		T_SYS(sched_setaffinity(0, sizeof(one), &one));
		use_up_cluster();
	}
	T_SYS(sched_setaffinity(0, sizeof(allowed), &allowed));
}

static uint64_t used_kb(const char *path)
{
	FILE *file = fopen("/proc/swaps", "re");
	unsigned long long used = 0;
	char line[256], name[128];

	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%127s %*s %*s %llu", name, &used) == 2 && !strcmp(name, path))
			break;
		used = 0;
	}
	fclose(file);
	return used;
}

/*
 * The type of the area that takes what is put out now. Skips when that is not the
 * one at @path, because somebody prefers another.
 */
static unsigned type_of(const char *path)
{
	const size_t len = 16 * K_PAGE;
	uint64_t before = used_kb(path), after;
	char *at = k_anon(len);
	int pm = k_pagemap();
	unsigned type;

	fill(at, len);
	k_put_out(pm, at, len);
	after = used_kb(path);
	type = UMEM_PM_SWAP_TYPE(k_word(pm, at));
	munmap(at, len);
	close(pm);
	if (after < before + len / 1024)
		T_SKIP("another swap area takes what is put out");
	return type;
}

static const char *switch_on(struct area *area, uint64_t size_bytes)
{
	k_format_swap(area->path, size_bytes);
	if (swapon(area->path, SWAP_FLAG_PREFER | priority) < 0)
		T_SKIP("no swap on %s: %s", area->path, strerror(errno));
	area->on = true;
	take_over();
	/* Slots of pages that were let go while they were written come back only so. */
	T_SYS(swapoff(area->path));
	T_SYS(swapon(area->path, SWAP_FLAG_PREFER | priority));
	priority++;
	newest = area;
	type_of(area->path);
	return area->path;
}

const char *k_zram_swap(uint64_t size_bytes)
{
	struct area *area;
	uint64_t id = 0;
	char text[32];

	if (geteuid() != 0 || !k_read_u64("/sys/class/zram-control/hot_add", &id))
		T_SKIP("no zram device can be added");
	area = new_area();
	area->zram_id = (int)id;
	snprintf(area->path, sizeof(area->path), "/dev/zram%d", area->zram_id);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)size_bytes);
	k_zram_set(area->path, "disksize", text);
	T_UNTIL(5, access(area->path, R_OK | W_OK) == 0);
	return switch_on(area, size_bytes);
}

const char *k_swap_file(uint64_t size_bytes)
{
	static const char zeros[1 << 16];
	struct area *area;
	struct statfs fs;
	int fd;

	if (geteuid() != 0)
		T_SKIP("swapon(2) needs root");
	area = new_area();
	area->zram_id = -1;
	snprintf(area->path, sizeof(area->path), "/var/tmp/umem-test-swap-%d-%d", (int)getpid(),
		priority);
	fd = (int)T_SYS(open(area->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
	if (fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
		T_SKIP("/var/tmp is no disk");
	/* Written, since a swap file must not have holes. */
	for (uint64_t done = 0; done < size_bytes; done += sizeof(zeros))
		T_OK(umem_write_all(fd, zeros, sizeof(zeros)));
	T_SYS(fsync(fd));
	close(fd);
	return switch_on(area, size_bytes);
}

void k_swap_off(const char *path)
{
	struct area *area = area_of(path);

	T_SYS(swapoff(path));
	area->on = false;
	drop(area);
}

void k_put_out(int pm, char *at, size_t len)
{
	uint64_t end = t_now_ns() + 10000000000u;

	do {
		umem_lru_drain();
		T_SYS(madvise(at, len, MADV_PAGEOUT));
		T_CHECK(t_now_ns() < end, "%zu pages stay", k_count(pm, at, len, PAGE_IS_PRESENT));
	} while (k_count(pm, at, len, PAGE_IS_PRESENT) > 0);
}

unsigned k_swap_type(void)
{
	T_CHECK(newest && newest->on);
	return type_of(newest->path);
}

void k_in_area(int pm, char *at, size_t len, unsigned type)
{
	for (size_t i = 0; i < len; i += K_PAGE) {
		uint64_t word = k_word(pm, at + i);

		T_CHECK(word & UMEM_PM_SWAPPED);
		if (UMEM_PM_SWAP_TYPE(word) != type)
			T_SKIP("another swap area took what was put out");
	}
}

void k_zram_set(const char *path, const char *file, const char *value)
{
	char name[96];

	snprintf(name, sizeof(name), "/sys/block/zram%d/%s", area_of(path)->zram_id, file);
	T_OK(k_write_text(name, value));
}

uint64_t k_zram_stat(const char *path, const char *file, int field)
{
	char name[96], line[256] = "", *at = line;
	FILE *stat;

	snprintf(name, sizeof(name), "/sys/block/zram%d/%s", area_of(path)->zram_id, file);
	stat = fopen(name, "re");
	T_CHECK(stat && fgets(line, sizeof(line), stat), "(%s)", name);
	fclose(stat);
	while (field-- > 0)
		strtoull(at, &at, 10);
	return strtoull(at, NULL, 10);
}
