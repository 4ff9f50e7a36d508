// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a kernel test borrows from the whole machine, and gives back: huge
 * pages, swap on a zram device or a file; and what it reads from /proc and /sys.
 *
 * Theory of operation: the pool of huge pages is changed by a difference, not
 * set, so that two programs that borrow at once leave it as it was. Cleaning
 * up is plain system calls, run by exit(3) and by SIGTERM/SIGINT alike, and
 * only in the process that borrowed. Swap areas of tests come before those of the
 * machine, and a file before zram: a test means the area it asked for. (Some pages
 * still go elsewhere: each processor first fills the cluster it has begun.)
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/kernel/scratch.h"

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static pid_t borrower;
static unsigned borrowed_hugepages;
static int zram_id = -1;
static bool zram_on;
static char swap_path[64];
static void (*hook)(void);

bool k_read_u64(const char *path, uint64_t *ret_value)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	*ret_value = strtoull(text, NULL, 0);
	return true;
}

int k_write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static void change_pool(long by)
{
	char text[32];
	uint64_t now = 0;

	if (!k_read_u64(POOL, &now))
		return;
	snprintf(text, sizeof(text), "%ld", (long)now + by);
	k_write_text(POOL, text);
}

static void drop_zram(void)
{
	char path[64], text[16];

	snprintf(path, sizeof(path), "/dev/zram%d", zram_id);
	if (zram_on)
		swapoff(path);
	zram_on = false;
	snprintf(path, sizeof(path), "/sys/block/zram%d/reset", zram_id);
	k_write_text(path, "1");
	snprintf(text, sizeof(text), "%d", zram_id);
	k_write_text("/sys/class/zram-control/hot_remove", text);
	zram_id = -1;
}

static void drop_swap_file(void)
{
	swapoff(swap_path);
	unlink(swap_path);
	swap_path[0] = '\0';
}

static void give_back(void)
{
	if (getpid() != borrower)
		return;
	if (hook)
		hook();
	hook = NULL;
	if (borrowed_hugepages)
		change_pool(-(long)borrowed_hugepages);
	borrowed_hugepages = 0;
	if (zram_id >= 0)
		drop_zram();
	if (swap_path[0])
		drop_swap_file();
}

static void on_signal(int signo)
{
	give_back();
	_exit(128 + signo);
}

static void borrow(void)
{
	if (borrower)
		return;
	borrower = getpid();
	atexit(give_back);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGSEGV, on_signal);
	signal(SIGBUS, on_signal);
}

void k_at_end(void (*give_back_hook)(void))
{
	borrow();
	hook = give_back_hook;
}

void k_hugepages(unsigned n)
{
	uint64_t before = 0, after = 0;

	if (!k_read_u64(POOL, &before))
		T_SKIP("no 2 MiB huge pages");
	borrow();
	change_pool((long)n);
	if (!k_read_u64(POOL, &after) || after < before + n) {
		borrowed_hugepages = after > before ? (unsigned)(after - before) : 0;
		T_SKIP("the kernel did not give %u huge pages", n);
	}
	borrowed_hugepages = n;
}

static void format_swap(const char *dev, uint64_t size_bytes)
{
	uint32_t head[3] = { 1, (uint32_t)(size_bytes / K_PAGE) - 1, 0 };
	char page[K_PAGE] = { 0 };
	int fd = (int)T_SYS(open(dev, O_RDWR | O_CLOEXEC));

	memcpy(page + 1024, head, sizeof(head));
	memcpy(page + K_PAGE - 10, "SWAPSPACE2", 10);
	T_OK(umem_write_all(fd, page, sizeof(page)));
	T_SYS(fsync(fd));
	close(fd);
}

const char *k_zram_swap(uint64_t size_bytes)
{
	static char path[64];
	char text[32];
	uint64_t id = 0;

	if (geteuid() != 0 || !k_read_u64("/sys/class/zram-control/hot_add", &id))
		T_SKIP("no zram device can be added");
	borrow();
	zram_id = (int)id;
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", zram_id);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)size_bytes);
	T_OK(k_write_text(path, text));
	snprintf(path, sizeof(path), "/dev/zram%d", zram_id);
	T_UNTIL(5, access(path, R_OK | W_OK) == 0);
	format_swap(path, size_bytes);
	T_SYS(swapon(path, SWAP_FLAG_PREFER | 100));
	zram_on = true;
	return path;
}

const char *k_swap_file(uint64_t size_bytes)
{
	static const char zeros[1 << 16];
	struct statfs fs;
	int fd;

	if (geteuid() != 0)
		T_SKIP("swapon(2) needs root");
	borrow();
	snprintf(swap_path, sizeof(swap_path), "/var/tmp/umem-swap-%d", (int)getpid());
	fd = (int)T_SYS(open(swap_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
	if (fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
		T_SKIP("/var/tmp is no disk");
	/* Written, since a swap file must not have holes. */
	for (uint64_t done = 0; done < size_bytes; done += sizeof(zeros))
		T_OK(umem_write_all(fd, zeros, sizeof(zeros)));
	T_SYS(fsync(fd));
	close(fd);
	format_swap(swap_path, size_bytes);
	if (swapon(swap_path, SWAP_FLAG_PREFER | 200) < 0)
		T_SKIP("no swap on a file of /var/tmp: %s", strerror(errno));
	return swap_path;
}

static uint64_t field_kb(FILE *file, const char *field)
{
	size_t len = strlen(field);
	char line[256];

	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, field, len) == 0 && line[len] == ':')
			return strtoull(line + len + 1, NULL, 10);
	}
	return 0;
}

uint64_t k_status_kb(const char *field)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t kb;

	T_CHECK(file != NULL);
	kb = field_kb(file, field);
	fclose(file);
	return kb;
}

uint64_t k_smaps_kb(const void *at, const char *field)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long long start, end;
	char line[512];
	uint64_t kb = 0;

	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx-%llx ", &start, &end) == 2 && start <= (uintptr_t)at &&
			(uintptr_t)at < end) {
			kb = field_kb(file, field);
			break;
		}
	}
	fclose(file);
	return kb;
}
