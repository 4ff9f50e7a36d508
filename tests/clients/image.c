// SPDX-License-Identifier: LGPL-2.1-or-later
/* The content of a process, hashed page by page, and what is left in it. */
#include "tests/clients/client.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/kern/pagemap.h"

#define CHUNK_PAGES 512

/* All threads of @pid are stopped. */
static bool all_stopped(pid_t pid)
{
	char path[64], line[512];
	struct dirent *entry;
	bool stopped = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	T_CHECK(dir);
	while (stopped && (entry = readdir(dir))) {
		FILE *file;
		char *at;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", (int)pid,
			entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		at = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
		stopped = at && at[1] == ' ' && at[2] == 'T';
		fclose(file);
	}
	closedir(dir);
	return stopped;
}

void cl_stop(pid_t pid)
{
	T_SYS(kill(pid, SIGSTOP));
	T_UNTIL(10, all_stopped(pid));
}

void cl_cont(pid_t pid)
{
	T_SYS(kill(pid, SIGCONT));
}

static uint64_t hash_page(const uint64_t *words)
{
	uint64_t hash = 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < UMEM_PAGE_BYTES / 8; i++) {
		hash = (hash ^ words[i]) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	return hash;
}

static uint64_t zero_hash(void)
{
	static const uint64_t zeros[UMEM_PAGE_BYTES / 8];
	static uint64_t hash;

	if (!hash)
		hash = hash_page(zeros);
	return hash;
}

static void add_page(struct cl_image *image, const struct cl_page *page)
{
	if (image->n == image->room) {
		image->room = image->room ? image->room * 2 : 4096;
		image->v = reallocarray(image->v, image->room, sizeof(*image->v));
		T_CHECK(image->v);
	}
	image->v[image->n++] = *page;
}

/* Is there something at this pagemap word? A mark is nothing. */
static bool is_there(uint64_t word)
{
	if (word & UMEM_PM_PRESENT)
		return true;
	return (word & UMEM_PM_SWAPPED) && UMEM_PM_SWAP_TYPE(word) != UMEM_PM_MARKER_TYPE;
}

static void take_run(struct cl_image *image, pid_t pid, uint64_t start, uint64_t end,
	bool anon)
{
	static uint64_t bytes[CHUNK_PAGES][UMEM_PAGE_BYTES / 8];

	while (start < end) {
		size_t len = (size_t)umem_min_u64(end - start, sizeof(bytes));
		struct iovec to = { bytes, len }, from = { (void *)start, len };
		ssize_t n = process_vm_readv(pid, &to, 1, &from, 1, 0);

		/* Past the end of a file there is nothing to read. */
		n = n < 0 ? 0 : n;
		for (size_t i = 0; i < (size_t)n / UMEM_PAGE_BYTES; i++)
			add_page(image, &(struct cl_page){
				.addr = start + i * UMEM_PAGE_BYTES,
				.hash = hash_page(bytes[i]),
				.zero_if_absent = anon,
			});
		start += n > 0 && (size_t)n == len ? len : (size_t)n + UMEM_PAGE_BYTES;
	}
}

/* A mapping: all of a file's, what is there of other memory. */
static void take_mapping(struct cl_image *image, pid_t pid, int pagemap, uint64_t start,
	uint64_t end, bool anon)
{
	uint64_t words[CHUNK_PAGES], run = 0;

	if (!anon) {
		take_run(image, pid, start, end, false);
		return;
	}
	for (uint64_t at = start; at < end;) {
		size_t want = (size_t)umem_min_u64((end - at) >> UMEM_PAGE_SHIFT, CHUNK_PAGES);
		size_t n = 0;

		T_OK(umem_pagemap_words(pagemap, at, words, want, &n));
		T_CHECK(n == want);
		for (size_t i = 0; i < n; i++, at += UMEM_PAGE_BYTES) {
			if (is_there(words[i])) {
				run = run ? run : at;
			} else if (run) {
				take_run(image, pid, run, at, true);
				run = 0;
			}
		}
	}
	if (run)
		take_run(image, pid, run, end, true);
}

/* A line of maps: is it memory that the program can write, and whose content is its own? */
static bool parse_mapping(const char *line, struct umem_range *ret_range, bool *ret_anon)
{
	unsigned long long start, end, inode;
	char flags[8], name[512] = "";
	int n = sscanf(line, "%llx-%llx %7s %*s %*s %llu %511[^\n]", &start, &end, flags, &inode,
		name);
	bool memory = inode == 0 || strstr(name, "/memfd:") || strstr(name, "/dev/zero") ||
		strstr(name, "/dev/shm/");

	T_CHECK(n >= 4);
	if (flags[0] != 'r' || flags[1] != 'w' || (!memory && strstr(name, "/dev/")))
		return false;
	*ret_range = (struct umem_range){ start, end };
	*ret_anon = memory;
	return true;
}

void cl_image_take(struct cl_image *image, pid_t pid)
{
	char path[64], line[1024];
	int pagemap = -1;
	FILE *maps;

	image->n = 0;
	umem_ranges_clear(&image->mapped);
	T_OK(umem_pagemap_open(pid, &pagemap));
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	T_CHECK(maps);
	while (fgets(line, sizeof(line), maps)) {
		struct umem_range range;
		bool anon;

		if (!parse_mapping(line, &range, &anon))
			continue;
		T_OK(umem_ranges_add(&image->mapped, range.start, range.end));
		take_mapping(image, pid, pagemap, range.start, range.end, anon);
	}
	fclose(maps);
	close(pagemap);
}

uint64_t cl_image_missed(const struct cl_image *before, const struct cl_image *after,
	struct cl_round *round, uint64_t *ret_changed)
{
	uint64_t changed = 0, missed = 0;
	size_t i = 0, j = 0;

	while (i < before->n || j < after->n) {
		const struct cl_page *a = i < before->n ? &before->v[i] : NULL;
		const struct cl_page *b = j < after->n ? &after->v[j] : NULL;
		uint64_t addr = a && (!b || a->addr <= b->addr) ? a->addr : b->addr;
		bool is_gone = false;
		uint64_t old_hash = zero_hash(), new_hash = zero_hash();

		if (a && a->addr == addr) {
			old_hash = a->hash;
			i++;
		}
		if (b && b->addr == addr) {
			new_hash = b->hash;
			j++;
		} else {
			is_gone = !umem_ranges_has(&after->mapped, addr);
		}
		if (!is_gone && old_hash == new_hash)
			continue;
		changed++;
		if (is_gone ? umem_ranges_has(&round->gone, addr) :
			      umem_pageset_has(&round->dirty, addr))
			continue;
		if (missed++ < 8 && !umem_pageset_empty(&round->dirty))
			printf("MISSED page %#llx: %s\n", (unsigned long long)addr,
				is_gone ? "mapped no longer" : "content changed");
	}
	*ret_changed = changed;
	return missed;
}

uint64_t cl_image_check(const struct cl_image *before, const struct cl_image *after,
	struct cl_round *round)
{
	struct cl_round nothing = { 0 };
	uint64_t changed, missed = cl_image_missed(before, after, round, &changed);

	T_CHECK(missed == 0, "%llu of %llu changed pages were not reported",
		(unsigned long long)missed, (unsigned long long)changed);
	/* And the oracle can see: without a round, it misses every one. */
	T_CHECK(cl_image_missed(before, after, &nothing, &changed) == changed);
	return changed;
}

void cl_image_deinit(struct cl_image *image)
{
	free(image->v);
	umem_ranges_deinit(&image->mapped);
	*image = (struct cl_image){ 0 };
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "number -> what" of every descriptor, sorted, but for sockets (clients come and go). */
static char *list_fds(pid_t pid)
{
	char dir_path[64], path[96], link[256], *lines[1024], *text;
	struct dirent *entry;
	size_t n = 0, len = 1;
	DIR *dir;

	snprintf(dir_path, sizeof(dir_path), "/proc/%d/fd", (int)pid);
	dir = opendir(dir_path);
	T_CHECK(dir);
	while ((entry = readdir(dir)) && n < 1024) {
		ssize_t got;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%.16s", dir_path, entry->d_name);
		got = readlink(path, link, sizeof(link) - 1);
		if (got < 0)
			continue;
		link[got] = '\0';
		if (strncmp(link, "socket:", 7) == 0)
			continue;
		T_SYS(asprintf(&lines[n], "%s -> %s\n", entry->d_name, link));
		len += strlen(lines[n++]);
	}
	closedir(dir);
	qsort(lines, n, sizeof(lines[0]), compare_text);
	text = calloc(1, len);
	T_CHECK(text);
	for (size_t i = 0; i < n; i++) {
		strcat(text, lines[i]);
		free(lines[i]);
	}
	return text;
}

/* The number behind @key in /proc/PID/status. */
static uint64_t status_value(pid_t pid, const char *key)
{
	char path[64], line[256];
	uint64_t value = UINT64_MAX;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtoull(line + strlen(key), NULL, 10);
	fclose(file);
	return value;
}

void cl_traces_take(struct cl_traces *traces, pid_t pid)
{
	traces->fds = list_fds(pid);
	traces->n_threads = status_value(pid, "Threads:");
}

void cl_traces_check(struct cl_traces *traces, pid_t pid)
{
	char path[64], line[1024];
	char *fds = list_fds(pid);
	FILE *file;

	T_CHECK(strcmp(fds, traces->fds) == 0, "before:\n%safter:\n%s", traces->fds, fds);
	T_CHECK(!strstr(fds, "userfaultfd"));
	T_CHECK(status_value(pid, "TracerPid:") == 0);
	T_CHECK(status_value(pid, "Threads:") == traces->n_threads);
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file);
	while (fgets(line, sizeof(line), file))
		T_CHECK(strncmp(line, "VmFlags:", 8) != 0 ||
			(!strstr(line, " uw ") && !strstr(line, " um ")), "%s", line);
	fclose(file);
	free(fds);
	free(traces->fds);
	traces->fds = NULL;
}
