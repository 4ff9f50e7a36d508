// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a kernel test borrows from the whole machine, and gives back: huge
 * pages; and what it reads from /proc and /sys.
 *
 * Theory of operation: the pool of huge pages is changed by a difference, not
 * set, so that two programs that borrow at once leave it as it was. Cleaning
 * up is plain system calls, run by exit(3) and by SIGTERM/SIGINT alike, and
 * only in the process that borrowed.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define POOL         "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define SHMEM_FOLIOS "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/shmem_enabled"

#define MAX_HOOKS 4

static pid_t borrower;
static unsigned borrowed_hugepages;
static void (*hooks[MAX_HOOKS])(void);
static int n_hooks;
/* What was chosen before: "always [never] advise" has it in brackets. */
static char shmem_folios[16];

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

static void give_back(void)
{
	if (getpid() != borrower)
		return;
	while (n_hooks > 0)
		hooks[--n_hooks]();
	if (borrowed_hugepages)
		change_pool(-(long)borrowed_hugepages);
	borrowed_hugepages = 0;
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
	T_CHECK(n_hooks < MAX_HOOKS);
	hooks[n_hooks++] = give_back_hook;
}

static void shmem_folios_back(void)
{
	k_write_text(SHMEM_FOLIOS, shmem_folios);
}

void k_shmem_folios(void)
{
	char text[128] = "", *word, *end;
	int fd = open(SHMEM_FOLIOS, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		T_SKIP("no folios of 64 kB for shared memory: %s", strerror(errno));
	T_CHECK(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	word = strchr(text, '[');
	end = word ? strchr(word, ']') : NULL;
	T_CHECK(end && (size_t)(end - word) <= sizeof(shmem_folios), "%s", text);
	memcpy(shmem_folios, word + 1, (size_t)(end - word) - 1);
	k_at_end(shmem_folios_back);
	T_OK(k_write_text(SHMEM_FOLIOS, "advise"));
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
