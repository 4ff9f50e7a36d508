// SPDX-License-Identifier: LGPL-2.1-or-later
/* Processes that the clients of a load bring in, and what umemd leaves in them. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/smaps.h"
#include "tests/clients/client.h"
#include "tests/torture/load.h"

#define PAGES 256u

/* This page table entry is write-protected for a userfaultfd. */
#define PM_UFFD_WP (1ull << 57)

/* Children are noted by the harness, which knows no threads. */
static pthread_mutex_t children_lock = PTHREAD_MUTEX_INITIALIZER;

/* The answer to what was asked; it must be @wanted. */
static void answer(struct ld_target *t, const char *wanted, char line[128])
{
	struct pollfd pfd = { .fd = fileno(t->out), .events = POLLIN };

	T_CHECK(poll(&pfd, 1, LD_WAIT_MS) == 1, "process %d does not run on", (int)t->pid);
	T_CHECK(fgets(line, 128, t->out), "process %d ended", (int)t->pid);
	T_CHECK(strncmp(line, wanted, strlen(wanted)) == 0, "process %d: %s", (int)t->pid, line);
}

void ld_target_start(struct ld_target *t, const char *victim, bool busy)
{
	char pages[16], line[128];
	const char *argv[] = { victim, pages, busy ? "busy" : "calm", NULL };

	snprintf(pages, sizeof(pages), "%u", PAGES);
	pthread_mutex_lock(&children_lock);
	t->pid = cl_spawn(argv, "victims.log", &t->in, &t->out);
	pthread_mutex_unlock(&children_lock);
	setvbuf(t->out, NULL, _IONBF, 0);
	answer(t, "ready ", line);
	t->start = strtoull(line + 6, NULL, 16);
	t->n_pages = PAGES;
}

static void tell(struct ld_target *t, const char *text)
{
	T_CHECK(write(t->in, text, strlen(text)) == (ssize_t)strlen(text));
}

void ld_target_write(struct ld_target *t, const unsigned *pages, unsigned n)
{
	char text[1000] = "write";
	size_t len = 5;
	char line[128];

	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %u", pages[i]);
	snprintf(text + len, sizeof(text) - len, "\n");
	tell(t, text);
	answer(t, "ok", line);
}

void ld_target_check(struct ld_target *t)
{
	char line[128];

	tell(t, "check\n");
	answer(t, "ok", line);
}

void ld_target_end(struct ld_target *t)
{
	pthread_mutex_lock(&children_lock);
	t_end(t->pid);
	pthread_mutex_unlock(&children_lock);
	close(t->in);
	fclose(t->out);
	t->pid = 0;
}

static bool has_uffd(int proc)
{
	int fds = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fds < 0 ? NULL : fdopendir(fds);
	struct dirent *entry;
	bool found = false;

	T_CHECK(dir != NULL);
	while ((entry = readdir(dir))) {
		char text[64] = "";

		if (readlinkat(dirfd(dir), entry->d_name, text, sizeof(text) - 1) > 0)
			found |= strstr(text, "userfaultfd") != NULL;
	}
	closedir(dir);
	return found;
}

static bool is_registered(int proc)
{
	struct umem_smaps smaps = { 0 };
	bool found = false;

	T_OK(umem_smaps_read(proc, &smaps));
	for (size_t i = 0; i < smaps.n; i++)
		found |= (smaps.v[i].flags & UMEM_SMAP_UFFD) != 0;
	umem_smaps_deinit(&smaps);
	return found;
}

static bool has_protected_page(int proc, const struct ld_target *t)
{
	int fd = openat(proc, "pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t words[PAGES];
	bool found = false;

	T_CHECK(fd >= 0 && pread(fd, words, sizeof(words), (off_t)(t->start / LD_PAGE * 8)) ==
		sizeof(words));
	for (unsigned i = 0; i < PAGES; i++)
		found |= (words[i] & PM_UFFD_WP) != 0;
	close(fd);
	return found;
}

static bool is_traced(int proc)
{
	int fd = openat(proc, "status", O_RDONLY | O_CLOEXEC);
	char text[4096] = "";

	T_CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return !strstr(text, "\nTracerPid:\t0\n");
}

const char *ld_target_left(const struct ld_target *t)
{
	const char *left = NULL;
	char path[40];
	int proc;

	snprintf(path, sizeof(path), "/proc/%d", (int)t->pid);
	proc = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (has_uffd(proc))
		left = "a userfaultfd";
	else if (is_registered(proc))
		left = "a mapping that is watched";
	else if (has_protected_page(proc, t))
		left = "a page that is protected";
	else if (is_traced(proc))
		left = "a tracer";
	umem_fd_close(proc);
	return left;
}
