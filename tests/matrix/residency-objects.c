// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Residency where it is easily got wrong in objects: seals, read-only mounts, pages
 * that were allocated but not written, the swap cache, marks beside swapped pages,
 * files with nearly nothing in them, files that change their size meanwhile, huge
 * pages of a pool that is empty.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <umemd/target.h>

#include "tests/kernel/scratch.h"
#include "tests/lib/harness.h"
#include "tests/matrix/residency-scene.h"

#define PAGES 512ul

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static int object;
static size_t object_bytes;

static char *act_map(char command)
{
	char *at = mmap(NULL, object_bytes, PROT_READ, MAP_SHARED, object, 0);

	T_CHECK(at != MAP_FAILED);
	return at;
}

/* A memfd of @pages, all of them swapped out. */
static void swapped_memfd(unsigned flags, size_t pages)
{
	struct umem_cachestat stat = { 0 };
	char *at;

	object = (int)T_SYS(memfd_create("odd", flags | MFD_CLOEXEC));
	object_bytes = pages * PAGE;
	T_SYS(ftruncate(object, (off_t)object_bytes));
	at = mmap(NULL, object_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
	T_CHECK(at != MAP_FAILED);
	for (int i = 0; i < 100 && stat.nr_evicted < pages; i++) {
		struct umem_cachestat_range range = { .len = object_bytes };

		k_touch(at, object_bytes, 1);
		T_SYS(madvise(at, object_bytes, MADV_PAGEOUT));
		T_SYS(syscall(SYS_cachestat, object, &range, &stat, 0));
	}
	T_CHECK(stat.nr_evicted == pages);
	munmap(at, object_bytes);
}

/* What nobody may write can be asked all the same. */
static void seals(void)
{
	static const int all[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE };

	for (size_t i = 0; i < 2; i++) {
		struct scene scene;

		swapped_memfd(MFD_ALLOW_SEALING, PAGES);
		T_SYS(fcntl(object, F_ADD_SEALS, all[i] | F_SEAL_GROW | F_SEAL_SHRINK));
		scene = scene_start(act_map);
		scene_check_all(&scene, object_bytes, UMEM_STATE_SWAPPED, "a sealed memfd");
		scene_end(&scene);
		close(object);
	}
}

static char *act_stay(char command)
{
	return scene_stay(act_map(command), object_bytes);
}

static void read_only_mount(void)
{
	struct scene scene;
	char *at;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return;
	T_SYS(mount("odd", "/mnt", "tmpfs", MS_NOEXEC, "size=64m,mode=0700"));
	object = (int)T_SYS(open("/mnt/odd", O_CREAT | O_RDWR | O_CLOEXEC, 0400));
	T_SYS(ftruncate(object, (off_t)object_bytes));
	at = mmap(NULL, object_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
	T_CHECK(at != MAP_FAILED);
	k_touch(at, object_bytes, 1);
	T_SYS(munmap(at, object_bytes));
	close(object);
	T_SYS(mount(NULL, "/mnt", NULL, MS_REMOUNT | MS_RDONLY, "size=64m"));
	object = (int)T_SYS(open("/mnt/odd", O_RDONLY | O_CLOEXEC));
	T_SYS(fchown(object, 1, 1) < 0 && errno == EROFS ? 0 : -1);
	scene = scene_start(act_stay);
	scene_check_all(&scene, object_bytes, UMEM_STATE_RESIDENT, "a tmpfs that is read-only");
	scene_end(&scene);
	close(object);
}

/* The pages of the object one by one, by state. */
static void count_pages(uint64_t pages[UMEM_N_STATES])
{
	memset(pages, 0, UMEM_N_STATES * sizeof(*pages));
	for (uint64_t at = 0; at < object_bytes; at += PAGE) {
		struct umem_cachestat_range range = { .off = at, .len = PAGE };
		struct umem_cachestat stat = { 0 };

		T_SYS(syscall(SYS_cachestat, object, &range, &stat, 0));
		pages[stat.nr_cache ? UMEM_STATE_RESIDENT : stat.nr_evicted ?
			UMEM_STATE_SWAPPED : UMEM_STATE_UNTOUCHED]++;
	}
}

/* What is idle may be put out by the machine itself: ask until nothing moved meanwhile. */
static void check_counts(const struct scene *scene, const char *method)
{
	uint64_t before[UMEM_N_STATES], after[UMEM_N_STATES];
	struct scene_answer answer;
	int attempts = 0;

	do {
		T_CHECK(attempts++ < 50, "pages do not come to rest");
		count_pages(before);
		answer = scene_ask(scene->pid, method, NULL, scene->at, object_bytes);
		count_pages(after);
	} while (memcmp(before, after, sizeof(before)) != 0);
	T_CHECK(!answer.exact || !memcmp(answer.pages, after, sizeof(after)),
		"(%s: %llu resident, not %llu)", answer.method,
		(unsigned long long)answer.pages[UMEM_STATE_RESIDENT],
		(unsigned long long)after[UMEM_STATE_RESIDENT]);
}

/*
 * As many pages that were allocated but not written as there are in the swap
 * cache: sums of mincore(2) and cachestat(2) agree, and both kinds of page are
 * taken for the other one.
 */
static void sums_that_agree(void)
{
	struct umem_cachestat_range range = { .len = PAGES * PAGE };
	struct umem_cachestat stat = { 0 };
	struct scene scene;
	char *at;

	object = k_memfd(PAGES * PAGE);
	object_bytes = PAGES * PAGE;
	at = k_map(object_bytes, MAP_SHARED, object);
	T_SYS(fallocate(object, 0, 0, 10 * PAGE));
	k_touch(at + 10 * PAGE, object_bytes - 10 * PAGE, 1);
	for (int i = 0; i < 100 && stat.nr_evicted < 10; i++) {
		T_SYS(madvise(at + 100 * PAGE, 10 * PAGE, MADV_PAGEOUT));
		T_SYS(syscall(SYS_cachestat, object, &range, &stat, 0));
	}
	T_CHECK(stat.nr_evicted == 10 && stat.nr_cache == PAGES - 10);
	scene = scene_start(act_map);
	for (size_t i = 0; i < scene_n_methods; i++)
		check_counts(&scene, scene_methods[i]);
	scene_end(&scene);
	munmap(at, object_bytes);
	close(object);
}

/* Long swapped ranges with a few other pages in them, and what lies past the end of the file. */
static void long_ranges(void)
{
	size_t pages = 10 * PAGES;
	struct scene scene;
	char *at;

	swapped_memfd(0, pages);
	at = k_map(object_bytes, MAP_SHARED, object);
	at[7 * PAGES * PAGE + 3 * PAGE]++;
	T_SYS(fallocate(object, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * PAGES * PAGE,
		2 * PAGE));
	T_SYS(fallocate(object, FALLOC_FL_KEEP_SIZE, (off_t)object_bytes, 3 * PAGE));
	scene = scene_start(act_map);
	for (size_t i = 0; i < scene_n_methods; i++)
		check_counts(&scene, scene_methods[i]);
	scene_end(&scene);
	munmap(at, object_bytes);
	close(object);
}

/* Who has all future mappings filled at once has not ours filled: holes stay holes. */
static void locked_asker(void)
{
	uint64_t pages[UMEM_N_STATES];
	struct scene scene;

	swapped_memfd(0, 6 * PAGES);
	T_SYS(fallocate(object, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGES / 2 * PAGE));
	scene = scene_start(act_map);
	T_SYS(mlockall(MCL_FUTURE));
	for (size_t i = 0; i < scene_n_methods; i++) {
		scene_ask(scene.pid, scene_methods[i], NULL, scene.at, object_bytes);
		count_pages(pages);
		T_CHECK(pages[UMEM_STATE_UNTOUCHED] == PAGES / 2, "(%zu: %llu)", i,
			(unsigned long long)pages[UMEM_STATE_UNTOUCHED]);
	}
	T_SYS(munlockall());
	scene_end(&scene);
	close(object);
}

static char *act_private_armed(char command)
{
	char *at = k_map(PAGES * PAGE, MAP_PRIVATE, object);

	T_OK(k_register(k_uffd(K_TRACK), at, PAGES * PAGE));
	/* Marks where the object has nothing: as many as it has swapped pages. */
	T_CHECK(k_collect(k_pagemap(), at, PAGES / 2 * PAGE) == PAGES / 2);
	return at;
}

/*
 * A private mapping: the first half of it marks, the second half swapped pages
 * of the object. To smaps that is one half swapped, and to who sees no swap types
 * one half may be.
 */
static void marks_and_swap(void)
{
	struct scene_answer answer;
	struct scene scene;

	swapped_memfd(0, PAGES);
	T_SYS(fallocate(object, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGES / 2 * PAGE));
	scene = scene_start(act_private_armed);
	answer = scene_ask(scene.pid, NULL, NULL, scene.at, PAGES * PAGE);
	T_CHECK(answer.exact && answer.pages[UMEM_STATE_SWAPPED] == PAGES / 2 &&
		answer.pages[UMEM_STATE_UNTOUCHED] == PAGES / 2);
	answer = scene_ask(scene.pid, NULL, scene_blind, scene.at, PAGES * PAGE);
	T_CHECK(answer.exact ? answer.pages[UMEM_STATE_SWAPPED] == PAGES / 2 :
			       answer.reason[0] != 0);
	scene_end(&scene);
	close(object);
}

static int shm_id;

static char *act_sysv(char command)
{
	char *at = shmat(shm_id, NULL, 0);

	T_CHECK(at != (void *)-1);
	k_touch(at, 2 * K_HUGE, 1);
	T_SYS(shmctl(shm_id, IPC_RMID, NULL));
	return scene_stay(at, 2 * K_HUGE);
}

static void system_v(bool huge)
{
	struct scene scene;

	shm_id = (int)T_SYS(shmget(IPC_PRIVATE, 2 * K_HUGE,
		IPC_CREAT | 0600 | (huge ? SHM_HUGETLB : 0)));
	scene = scene_start(act_sysv);
	scene_check_all(&scene, 2 * K_HUGE, UMEM_STATE_RESIDENT, "System V memory");
	scene_end(&scene);
}

static char *act_sparse(char command)
{
	size_t len = 8ul << 40;
	int fd = k_memfd(len);
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	T_CHECK(at != MAP_FAILED);
	for (size_t i = 0; i < len; i += len / 16)
		at[i + 5 * PAGE]++;
	return scene_stay(at, len);
}

/* Eight tebibytes with sixteen pages in them: it is done at once. */
static void sparse(void)
{
	struct scene scene = scene_start(act_sparse);

	for (size_t i = 0; i < scene_n_methods; i++) {
		uint64_t start_ns = t_now_ns();
		struct scene_answer answer;

		/* There is a word for each page, also where there is none. */
		if (scene_methods[i] && strcmp(scene_methods[i], "words") == 0)
			continue;
		answer = scene_ask(scene.pid, scene_methods[i], NULL, scene.at, 8ul << 40);
		T_CHECK(answer.exact && answer.pages[UMEM_STATE_RESIDENT] == 16, "(by %s: %s)",
			answer.method, answer.reason);
		k_fact("8 TiB with 16 pages by %s: %.1f ms", answer.method,
			(double)(t_now_ns() - start_ns) / 1e6);
		T_CHECK(t_now_ns() - start_ns < 5000000000u);
	}
	scene_end(&scene);
}

static void resize_for_ever(int fd, size_t most, size_t grain)
{
	uint64_t state = 1;

	if (t_fork() != 0)
		return;
	for (;;) {
		off_t to = (off_t)(t_below(&state, most / grain + 1) * grain);

		T_SYS(ftruncate(fd, to));
		if (to)
			fallocate(fd, 0, 0, (off_t)grain);
	}
}

/* A file that becomes shorter and longer all the time; questions neither fail nor change it. */
static void changing_size(bool huge)
{
	struct umem_target *target;
	struct umem_residency *map;
	struct scene scene;

	object = (int)T_SYS(memfd_create("odd", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0)));
	object_bytes = 4 * K_HUGE;
	T_SYS(ftruncate(object, (off_t)object_bytes));
	scene = scene_start(act_map);
	resize_for_ever(object, object_bytes, huge ? K_HUGE : PAGE);
	T_OK(umem_target_open(scene.pid, NULL, &target, NULL));
	T_OK(umem_residency_new(target, NULL, &map, NULL));
	for (int i = 0; i < 300; i++) {
		struct stat st;

		T_OK(umem_residency_refresh(map, NULL));
		T_SYS(fstat(object, &st));
		T_CHECK((size_t)st.st_size <= object_bytes);
	}
	umem_residency_free(map);
	umem_target_free(target);
	scene_end(&scene);
	close(object);
}

static char *act_pool(char command)
{
	char *at = mmap(NULL, 2 * K_HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		object, K_HUGE);

	T_CHECK(at != MAP_FAILED);
	at[K_HUGE] = 1;
	/* And all others that there are. */
	for (int i = 0; i < 1000; i++)
		if (mmap(NULL, K_HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
				    MAP_HUGETLB | MAP_POPULATE, -1, 0) == MAP_FAILED)
			break;
	return at;
}

/*
 * A file of huge pages that is mapped from its second page on, asked for a few base
 * pages in the middle of one, sealed, and with all that the pool has taken.
 */
static void huge_pages(void)
{
	struct umem_residency_options options = { .size = sizeof(options), .n_regions = 1 };
	const struct umem_residency_region *v;
	uint64_t free_before, free_after;
	struct umem_range range;
	struct umem_target *target;
	struct umem_residency *map;
	struct scene scene;
	size_t n;

	object = (int)T_SYS(memfd_create("odd", MFD_CLOEXEC | MFD_HUGETLB | MFD_ALLOW_SEALING));
	T_SYS(ftruncate(object, 3 * K_HUGE));
	scene = scene_start(act_pool);
	T_SYS(fcntl(object, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK));
	k_read_u64(POOL "free_hugepages", &free_before);
	T_OK(umem_target_open(scene.pid, NULL, &target, NULL));
	range.start = (uintptr_t)scene.at + K_HUGE - 3 * PAGE;
	range.end = (uintptr_t)scene.at + K_HUGE + 5 * PAGE;
	options.regions = &range;
	T_OK(umem_residency_new(target, &options, &map, NULL));
	v = umem_residency_regions(map, &n);
	T_CHECK(n == 1 && v[0].start == range.start && v[0].end == range.end && v[0].exact,
		"(%s)", v[0].reason ? v[0].reason : "");
	T_CHECK(v[0].bytes[UMEM_STATE_UNTOUCHED] == 3 * PAGE &&
		v[0].bytes[UMEM_STATE_RESIDENT] == 5 * PAGE);
	umem_residency_free(map);
	umem_target_free(target);
	k_read_u64(POOL "free_hugepages", &free_after);
	k_fact("%llu huge pages were free before, %llu after",
		(unsigned long long)free_before, (unsigned long long)free_after);
	scene_end(&scene);
	close(object);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("swap needs root");
	k_swap_file(64ul << 20);
	seals();
	sums_that_agree();
	long_ranges();
	locked_asker();
	marks_and_swap();
	system_v(false);
	sparse();
	changing_size(false);
	read_only_mount();
	k_hugepages(6);
	system_v(true);
	changing_size(true);
	huge_pages();
	return 0;
}
