// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Residency where it is easily got wrong in processes: pages that share a frame, the
 * huge page of zeros, poisoned and secret memory, ten thousand mappings, processes
 * that end, files that must not be touched; and what may be asked at all.
 */
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <umemd/target.h>

#include "tests/kernel/scratch.h"
#include "tests/lib/harness.h"
#include "tests/matrix/residency-scene.h"

#define PAGES 512ul

#define KSM "/sys/kernel/mm/ksm/"

static char *act_huge_zero(char command)
{
	char *at = k_anon_huge(K_HUGE);

	(void)*(volatile char *)at;
	return at;
}

static void huge_zero(void)
{
	struct scene scene = scene_start(act_huge_zero);

	scene_check_all(&scene, K_HUGE, UMEM_STATE_ZERO, "the huge page of zeros");
	scene_end(&scene);
}

static char ksm_run[8], ksm_zero[8];

static void restore_ksm(void)
{
	k_write_text(KSM "use_zero_pages", ksm_zero);
	k_write_text(KSM "run", ksm_run);
}

static char *act_ksm(char command)
{
	static char *at;

	if (command == 0) {
		at = k_anon(PAGES * PAGE);
		/* One half of pages of one content, the other of zeros. */
		memset(at, 7, PAGES / 2 * PAGE);
		memset(at + PAGES / 2 * PAGE, 0, PAGES / 2 * PAGE);
		T_SYS(madvise(at, PAGES * PAGE, MADV_MERGEABLE));
	} else {
		scene_stay(at, PAGES * PAGE);
	}
	return at;
}

static bool merged(pid_t pid)
{
	char path[64], line[128];
	unsigned long long pages = 0, zeros = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "ksm_merging_pages %llu", &pages);
		sscanf(line, "ksm_zero_pages %llu", &zeros);
	}
	if (file)
		fclose(file);
	return pages >= PAGES / 2 - 1 && zeros >= PAGES / 2 - 1;
}

/* Merged pages are in memory like others; zeros cost nothing. */
static void same_pages(void)
{
	uint64_t run, zero;
	struct scene scene;

	if (!k_read_u64(KSM "run", &run) || !k_read_u64(KSM "use_zero_pages", &zero))
		return;
	snprintf(ksm_run, sizeof(ksm_run), "%llu", (unsigned long long)run);
	snprintf(ksm_zero, sizeof(ksm_zero), "%llu", (unsigned long long)zero);
	k_at_end(restore_ksm);
	scene = scene_start(act_ksm);
	T_OK(k_write_text(KSM "use_zero_pages", "1"));
	T_UNTIL(60, (k_write_text(KSM "run", "1"), merged(scene.pid)));
	k_write_text(KSM "run", "0");
	scene_tell(&scene, 'l');
	for (size_t i = 0; i < scene_n_methods; i++) {
		scene_check(scene.pid, scene_methods[i], scene.at, PAGES / 2 * PAGE,
			UMEM_STATE_RESIDENT, "merged pages");
		scene_check(scene.pid, scene_methods[i], scene.at + PAGES / 2 * PAGE,
			PAGES / 2 * PAGE, UMEM_STATE_ZERO, "merged pages of zeros");
	}
	restore_ksm();
	scene_end(&scene);
}

static int object;
static size_t object_bytes;

static char *act_disk(char command)
{
	char *at = k_map(object_bytes, MAP_PRIVATE, object);

	*at = 1;
	return scene_stay(at, object_bytes);
}

static char disk_path[64];

static void remove_disk(void)
{
	unlink(disk_path);
}

/* A look does not show: a file of a disk is not opened, nor is it of any use to. */
static void unseen(void)
{
	char event[4096];
	struct scene scene;
	int watch = (int)T_SYS(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));

	snprintf(disk_path, sizeof(disk_path), "/var/tmp/umem-test-odd-%d", (int)getpid());
	k_at_end(remove_disk);
	object = (int)T_SYS(open(disk_path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
	object_bytes = 4 * PAGE;
	T_SYS(ftruncate(object, (off_t)object_bytes));
	T_SYS(inotify_add_watch(watch, disk_path, IN_OPEN | IN_ACCESS | IN_CLOSE | IN_ATTRIB));
	scene = scene_start(act_disk);
	for (size_t i = 0; i < scene_n_methods; i++) {
		scene_check(scene.pid, scene_methods[i], scene.at, PAGE, UMEM_STATE_RESIDENT,
			"a private file");
		scene_check(scene.pid, scene_methods[i], scene.at + PAGE, 3 * PAGE,
			UMEM_STATE_UNTOUCHED, "the rest of it");
	}
	scene_ask(scene.pid, NULL, "-map_files", scene.at, PAGE);
	T_CHECK(read(watch, event, sizeof(event)) < 0 && errno == EAGAIN);
	T_SYS(unlink(disk_path));
	scene_end(&scene);
	close(object);
	close(watch);
}

static char *act_secret(char command)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);
	char *at;

	if (fd < 0 || ftruncate(fd, 4 * PAGE) < 0)
		return NULL;
	at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return NULL;
	at[0] = 1;
	return at;
}

static void secret(void)
{
	struct scene scene = scene_start(act_secret);
	struct scene_answer answer;

	if (scene.at) {
		answer = scene_ask(scene.pid, NULL, NULL, scene.at, 4 * PAGE);
		T_CHECK(!answer.exact && strstr(answer.reason, "secret"), "(%s)", answer.reason);
		T_CHECK(answer.pages[UMEM_STATE_RESIDENT] == 1);
	}
	scene_end(&scene);
}

#define MANY 10000

static char *act_many(char command)
{
	int fd = k_memfd(MANY * 2 * PAGE);
	char *at = scene_stay(k_map(MANY * 2 * PAGE, MAP_SHARED, fd), MANY * 2 * PAGE);

	for (size_t i = 0; i < MANY; i++) {
		at[2 * i * PAGE]++;
		T_SYS(mprotect(at + (2 * i + 1) * PAGE, PAGE, PROT_READ));
	}
	return at;
}

static void many_mappings(void)
{
	struct scene scene = scene_start(act_many);
	uint64_t start_ns = t_now_ns();
	struct scene_answer answer = scene_ask(scene.pid, NULL, NULL, scene.at, MANY * 2 * PAGE);

	k_fact("%d mappings of one memfd: %.1f ms", 2 * MANY,
		(double)(t_now_ns() - start_ns) / 1e6);
	T_CHECK(answer.exact && answer.pages[UMEM_STATE_RESIDENT] == MANY &&
		answer.pages[UMEM_STATE_UNTOUCHED] == MANY);
	T_CHECK(t_now_ns() - start_ns < 10000000000u);
	scene_end(&scene);
}

static char *act_poison(char command)
{
	char *at = mmap(NULL, 2 * K_HUGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	int uffd = k_uffd(UFFD_FEATURE_POISON | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	struct uffdio_poison poison = { .range = { (uintptr_t)at, K_HUGE } };

	T_CHECK(at != MAP_FAILED);
	T_OK(k_register(uffd, at, 2 * K_HUGE));
	T_SYS(ioctl(uffd, UFFDIO_POISON, &poison));
	return at;
}

/* Private huge pages: a poisoned one cannot be told from one that is being moved. */
static void poisoned(void)
{
	struct scene scene = scene_start(act_poison);
	struct scene_answer answer = scene_ask(scene.pid, NULL, NULL, scene.at, 2 * K_HUGE);

	T_CHECK(!answer.exact && answer.reason[0]);
	scene_end(&scene);
}

static char *act_end(char command)
{
	static char text[] = "/bin/sleep", arg[] = "600";
	char *args[] = { text, arg, NULL }, *none = NULL;

	if (command == 'x')
		execve(text, args, &none);
	if (command == 'q')
		_exit(0);
	return k_anon(PAGE);
}

/* What ended, or is another program by now, is gone. */
static void gone(char how)
{
	struct scene scene = scene_start(act_end);
	struct umem_residency *map;
	struct umem_target *target;
	struct umem_note note = { 0 };

	T_OK(umem_target_open(scene.pid, NULL, &target, NULL));
	T_OK(umem_residency_new(target, NULL, &map, NULL));
	T_CHECK(write(scene.command, &how, 1) == 1);
	T_UNTIL(20, umem_residency_refresh(map, NULL) == UMEM_GONE);
	T_CHECK(umem_residency_refresh(map, &note) == UMEM_GONE && note.text[0]);
	umem_residency_free(map);
	T_CHECK(umem_residency_new(target, NULL, &map, NULL) == UMEM_GONE);
	umem_target_free(target);
	scene_end(&scene);
}

/* What cannot be asked is said to be so. */
static void options(void)
{
	struct scene scene = scene_start(act_end);
	struct umem_range range = { (uintptr_t)scene.at, UINT64_MAX };
	struct umem_residency_options ask = { .size = sizeof(ask), .method = "magic" };
	const struct umem_residency_region *v;
	struct umem_note note = { 0 };
	struct umem_target *target;
	struct umem_residency *map;
	size_t n;

	T_OK(umem_target_open(scene.pid, NULL, &target, NULL));
	T_CHECK(umem_residency_new(target, &ask, &map, &note) == -EINVAL);
	T_CHECK(strstr(note.text, "magic") && note.err == -EINVAL);
	ask.method = NULL;
	ask.regions = &range;
	ask.n_regions = 1;
	T_OK(umem_residency_new(target, &ask, &map, NULL));
	v = umem_residency_regions(map, &n);
	T_CHECK(n > 1 && v[0].start == range.start);
	umem_residency_free(map);
	range = (struct umem_range){ (uintptr_t)scene.at + 1, (uintptr_t)scene.at + 2 };
	T_OK(umem_residency_new(target, &ask, &map, NULL));
	v = umem_residency_regions(map, &n);
	T_CHECK(n == 1 && v[0].end - v[0].start == PAGE);
	umem_residency_free(map);
	range = (struct umem_range){ PAGE, 2 * PAGE };
	note = (struct umem_note){ 0 };
	T_CHECK(umem_residency_new(target, &ask, &map, &note) == -ENOENT && note.text[0]);
	T_CHECK(umem_residency_free(NULL) == NULL);
	umem_target_free(target);
	scene_end(&scene);
}

int main(void)
{
	if (geteuid() != 0)
		T_SKIP("swap needs root");
	k_swap_file(64ul << 20);
	options();
	huge_zero();
	unseen();
	secret();
	many_mappings();
	gone('x');
	gone('q');
	same_pages();
	k_hugepages(2);
	poisoned();
	return 0;
}
