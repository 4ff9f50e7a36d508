// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Out is not freed. After MADV_PAGEOUT to zram the frames are free; with a swap file
 * they stay in the swap cache, which their flags tell, and what frees them:
 *
 *   - not another MADV_PAGEOUT: it passes over what is not mapped;
 *   - private pages: a read from outside (no I/O, a minor fault of the reader) and
 *     MADV_PAGEOUT again, which writes nothing, since slot and page agree;
 *   - not so shared memory: a touch takes the page out of the swap cache and gives its
 *     slot back, and the second page-out writes it again, into the swap cache.
 */
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/kpage.h"
#include "lib/kern/pidfd.h"
#include "lib/kern/procstat.h"
#include "lib/kern/swapdev.h"
#include "lib/kern/vmstat.h"
#include "tests/kernel/scratch.h"

#define N    16384ul
#define MOST (N * 9 / 10) /* other areas, batches of other processors, reused frames */
#define FEW  (N / 10)

/* Others swap, too, and areas of theirs may come first: a round must be undisturbed. */
#define ROUNDS 20

static const char *failed;

#define HOLDS(cond)                     \
	do {                            \
		if (!(cond)) {          \
			failed = #cond; \
			return false;   \
		}                       \
	} while (0)

/* A process, its pages, and the frames that they were in when last looked at. */
struct target {
	pid_t pid;
	int pidfd;
	int pm;
	int proc_fd;
	char *at;
	uint64_t pfns[N];
};

static int kpf = -1;

static void start(struct target *target, char *at)
{
	char path[40], byte;
	int ready[2];

	T_SYS(pipe2(ready, O_CLOEXEC));
	target->at = at;
	target->pid = t_fork();
	if (target->pid == 0) {
		for (size_t i = 0; i < N; i++)
			t_fill_page(at + i * K_PAGE, i, 0);
		T_CHECK(write(ready[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	munmap(at, N * K_PAGE); /* mapped once, or it does not go out */
	T_CHECK(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	snprintf(path, sizeof(path), "/proc/%d", (int)target->pid);
	target->proc_fd = (int)T_SYS(open(path, O_PATH | O_CLOEXEC));
	T_OK(umem_pidfd_open(target->pid, &target->pidfd));
	T_OK(umem_pagemap_open(target->pid, &target->pm));
}

static void end(struct target *target)
{
	t_end(target->pid);
	close(target->proc_fd);
	close(target->pidfd);
	close(target->pm);
}

/* Note the frames of the pages that are present. Return: how many are. */
static size_t look(struct target *target)
{
	size_t n = 0, n_present = 0;

	T_OK(umem_pagemap_words(target->pm, (uintptr_t)target->at, target->pfns, N, &n));
	T_CHECK(n == N);
	for (size_t i = 0; i < N; i++) {
		n_present += !!(target->pfns[i] & UMEM_PM_PRESENT);
		target->pfns[i] = target->pfns[i] & UMEM_PM_PRESENT ?
			target->pfns[i] & ((1ull << 55) - 1) : UINT64_MAX;
	}
	return n_present;
}

/* Frames noted that have @flag now. */
static size_t frames_with(const struct target *target, uint64_t flag)
{
	static uint64_t flags[N];
	size_t n = 0;

	T_OK(umem_kpage_read(kpf, target->pfns, N, UMEM_KPF(NOPAGE), flags));
	for (size_t i = 0; i < N; i++)
		n += (flags[i] & flag) == flag;
	return n;
}

static size_t cached(const struct target *target)
{
	return frames_with(target, UMEM_KPF(SWAPCACHE));
}

/* Advise from outside, and wait until what had to be written is. */
static void page_out(struct target *target)
{
	struct iovec iov = { target->at, N * K_PAGE };
	uint64_t bytes = 0;

	T_OK(umem_pidfd_madvise(target->pidfd, &iov, 1, MADV_PAGEOUT, &bytes));
	T_CHECK(bytes == N * K_PAGE);
	T_UNTIL(20, frames_with(target, UMEM_KPF(WRITEBACK) | UMEM_KPF(SWAPCACHE)) < FEW / 10);
}

static void access_all(struct target *target, bool write)
{
	enum { BATCH = 512 };
	static char bytes[BATCH];

	for (size_t i = 0; i < N; i += BATCH) {
		struct iovec local = { bytes, BATCH }, remote[BATCH];

		for (size_t k = 0; k < BATCH; k++)
			remote[k] = (struct iovec){ target->at + (i + k) * K_PAGE, 1 };
		T_CHECK(BATCH == (write ?
			process_vm_writev(target->pid, &local, 1, remote, BATCH, 0) :
			process_vm_readv(target->pid, &local, 1, remote, BATCH, 0)));
	}
}

static struct umem_procstat numbers_of(const struct target *target)
{
	struct umem_procstat stat;

	T_OK(umem_procstat_read(target->proc_fd, &stat));
	return stat;
}

static struct umem_procstat our_numbers(void)
{
	UMEM_FD int fd = (int)T_SYS(open("/proc/self", O_PATH | O_CLOEXEC));
	struct umem_procstat stat;

	T_OK(umem_procstat_read(fd, &stat));
	return stat;
}

static uint64_t pages_written(void)
{
	struct umem_vmstat stat;

	T_OK(umem_vmstat_read(NULL, &stat));
	return stat.pswpout;
}

static struct umem_swap_area area_of(const char *path)
{
	struct umem_swap_areas areas = { 0 }, one;
	struct umem_swap_area area = { 0 };

	T_OK(umem_swap_areas_read(NULL, NULL, &areas));
	for (size_t i = 0; i < areas.n; i++) {
		if (strcmp(areas.v[i].path, path) == 0)
			area = areas.v[i];
	}
	T_CHECK(area.path, "%s is no area", path);
	one = (struct umem_swap_areas){ .v = &area, .n = 1 };
	T_CHECK(area.used_bytes == 0 || umem_swap_in_memory(&one) == area.is_zram);
	area.path = NULL;
	umem_swap_areas_deinit(&areas);
	return area;
}

static bool zram(struct target *target, const char *path)
{
	struct umem_swap_area area;
	struct umem_procstat before, now;
	struct iovec iov = { target->at, N * K_PAGE };
	uint64_t bytes;

	HOLDS(look(target) == N && cached(target) < FEW);
	page_out(target);
	area = area_of(path);
	HOLDS(area.used_bytes >= MOST * K_PAGE);
	T_CHECK(area.is_zram && area.has_zram && !area.zram.backed);
	T_CHECK(area.kind == UMEM_SWAP_PARTITION && area.size_bytes == (4 * N - 1) * K_PAGE);
	HOLDS(area.zram.orig_bytes >= MOST * K_PAGE);
	T_CHECK(area.zram.compr_bytes > 0 && area.zram.compr_bytes < area.zram.orig_bytes);
	T_CHECK(area.zram.mem_used_bytes >= area.zram.compr_bytes);
	k_fact("zram: %zu of %lu frames are in the swap cache after a page-out", cached(target), N);
	HOLDS(cached(target) < FEW);
	HOLDS(frames_with(target, UMEM_KPF(ANON)) < N / 2); /* most are free, or somebody's */

	/* What comes back does so by major faults, and gives its slot back at once. */
	before = our_numbers();
	access_all(target, false);
	now = our_numbers();
	k_fact("zram: reading %lu pages back: %llu major faults of the reader", N,
		(unsigned long long)(now.maj_flt - before.maj_flt));
	HOLDS(now.maj_flt - before.maj_flt >= MOST);
	HOLDS(area_of(path).used_bytes < FEW * K_PAGE);
	HOLDS(look(target) == N && cached(target) < FEW);

	/* Read ahead, they are in the swap cache, where no page-out finds them. */
	page_out(target);
	T_OK(umem_pidfd_madvise(target->pidfd, &iov, 1, MADV_WILLNEED, &bytes));
	page_out(target);
	before = our_numbers();
	access_all(target, false);
	now = our_numbers();
	k_fact("zram: WILLNEED, PAGEOUT, then reading: %llu major faults, %llu minor",
		(unsigned long long)(now.maj_flt - before.maj_flt),
		(unsigned long long)(now.min_flt - before.min_flt));
	HOLDS(now.maj_flt - before.maj_flt < FEW);
	return true;
}

/* Out to the file: not resident any more, and not freed. */
static bool out_to_file(struct target *target, const char *path)
{
	struct umem_procstat stat;
	struct umem_meminfo info;

	access_all(target, true); /* slot and page must differ */
	HOLDS(look(target) == N);
	page_out(target);
	HOLDS(area_of(path).used_bytes >= MOST * K_PAGE);
	stat = numbers_of(target);
	T_OK(umem_meminfo_read(NULL, &info));
	k_fact("file: %zu of %lu frames in the swap cache, RSS %llu pages, swapped %llu, "
	       "SwapCached %llu", cached(target), N,
		(unsigned long long)(stat.rss_anon_bytes + stat.rss_shmem_bytes) / K_PAGE,
		(unsigned long long)stat.swap_bytes / K_PAGE,
		(unsigned long long)info.swap_cached_bytes / K_PAGE);
	HOLDS(cached(target) >= MOST);
	HOLDS(frames_with(target, UMEM_KPF(MMAP)) < FEW);
	HOLDS(stat.rss_anon_bytes + stat.rss_shmem_bytes < FEW * K_PAGE);
	HOLDS(info.swap_cached_bytes >= MOST * K_PAGE);
	return true;
}

static bool private_pages(struct target *target, const char *path)
{
	struct umem_procstat before, ours, now;
	uint64_t written, start_ns;

	if (!out_to_file(target, path))
		return false;
	before = numbers_of(target);
	HOLDS(before.swap_bytes >= MOST * K_PAGE);
	page_out(target);
	HOLDS(cached(target) >= MOST);

	ours = our_numbers();
	written = pages_written();
	start_ns = t_now_ns();
	access_all(target, false);
	start_ns = t_now_ns() - start_ns;
	now = our_numbers();
	HOLDS(now.maj_flt - ours.maj_flt < FEW && now.min_flt - ours.min_flt >= MOST);
	now = numbers_of(target);
	HOLDS(now.maj_flt == before.maj_flt && now.min_flt - before.min_flt < FEW);
	HOLDS(cached(target) >= MOST && frames_with(target, UMEM_KPF(MMAP)) >= MOST);
	page_out(target);
	written = pages_written() - written;
	k_fact("file, private: read (%llu ns a page) and paged out again: %zu frames in the swap "
	       "cache, %llu pages written", (unsigned long long)start_ns / N, cached(target),
		(unsigned long long)written);
	HOLDS(written < FEW && cached(target) < FEW);
	HOLDS(area_of(path).used_bytes >= MOST * K_PAGE);

	/* Read from the device, a page keeps its slot: out again without a write. */
	access_all(target, false);
	HOLDS(look(target) == N && cached(target) >= MOST);
	written = pages_written();
	page_out(target);
	written = pages_written() - written;
	k_fact("file, private: read from the device and paged out: %zu frames in the swap cache, "
	       "%llu pages written", cached(target), (unsigned long long)written);
	HOLDS(written < FEW && cached(target) < FEW);
	return true;
}

static bool shared_pages(struct target *target, const char *path)
{
	uint64_t written;

	if (!out_to_file(target, path))
		return false;
	access_all(target, false);
	HOLDS(look(target) == N && cached(target) < FEW);
	HOLDS(area_of(path).used_bytes < FEW * K_PAGE);
	written = pages_written();
	page_out(target);
	written = pages_written() - written;
	k_fact("file, shared: read and paged out again: %zu frames in the swap cache, %llu pages "
	       "written", cached(target), (unsigned long long)written);
	HOLDS(written >= MOST && cached(target) >= MOST);
	return true;
}

/* Each round has a process of its own. */
static void until_it_holds(const char *path, bool shared,
	bool (*round)(struct target *, const char *))
{
	static struct target target;
	bool done = false;

	for (int i = 0; i < ROUNDS && !done; i++) {
		int fd = shared ? k_memfd(N * K_PAGE) : -1;

		start(&target, shared ? k_map(N * K_PAGE, MAP_SHARED, fd) : k_anon(N * K_PAGE));
		umem_fd_close(fd);
		done = round(&target, path);
		end(&target);
	}
	T_CHECK(done, "(%s)", failed);
}

int main(void)
{
	const char *path;
	int r = umem_kpage_open(UMEM_KPAGE_FLAGS, &kpf);

	if (r < 0)
		T_SKIP("no kpageflags: %s", strerror(-r));
	until_it_holds(k_zram_swap(4 * N * K_PAGE), false, zram);
	path = k_swap_file(4 * N * K_PAGE);
	T_CHECK(area_of(path).kind == UMEM_SWAP_FILE && !area_of(path).is_zram);
	until_it_holds(path, false, private_pages);
	until_it_holds(path, true, shared_pages);
	return 0;
}
