// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What every page of a quiet process holds.
 *
 * Theory of operation
 *
 * Reading a page through /proc/PID/mem faults it in, and that would change the
 * state under test: a hole of a memfd would be filled, an untouched page would
 * get the zero page. So the raw pagemap word decides first:
 *
 *     shared mapping                read(2) from the file: no page table is touched
 *     private, present or swapped   /proc/PID/mem (it reads what mprotect hides, too)
 *     private anonymous, neither    zeros
 *     private file, neither         read(2) from the file
 *     guard page, past the end      counts as zeros: nothing can be read there
 *
 * A write-protect mark reads as swapped with a swap type that no device has.
 * Reading a page that is swapped brings it in, which no other way avoids; a
 * test that wants pages to stay out for long takes fewer pictures.
 */
#include "tests/lib/oracle.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/lib/harness.h"

#define PAGE 4096ull
#define N_BATCH 256

#define PM_PRESENT (1ull << 63)
#define PM_SWAPPED (1ull << 62)
#define PM_FILE    (1ull << 61)
#define PM_GUARD   (1ull << 58)
#define MARKER     31u

/* One mapping as the text of maps says. */
struct vma {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t inode;
	bool shared;
	char name[256];
};

static uint8_t buffer[N_BATCH * PAGE];

uint64_t oracle_hash(const void *page)
{
	return XXH3_64bits(page, PAGE);
}

uint64_t oracle_zero_hash(void)
{
	static const uint8_t zeros[PAGE];
	static uint64_t hash;

	if (!hash)
		hash = oracle_hash(zeros);
	return hash;
}

void oracle_add(struct oracle_picture *picture, const struct oracle_page *page)
{
	if (picture->n == picture->room) {
		picture->room = picture->room ? picture->room * 2 : 4096;
		picture->v = reallocarray(picture->v, picture->room, sizeof(*page));
		T_CHECK(picture->v != NULL);
	}
	picture->v[picture->n++] = *page;
}

void oracle_free(struct oracle_picture *picture)
{
	free(picture->v);
	*picture = (struct oracle_picture){ 0 };
}

struct oracle_page *oracle_find(const struct oracle_picture *picture, uint64_t addr)
{
	size_t low = 0, high = picture->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (picture->v[mid].addr < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < picture->n && picture->v[low].addr == addr ? &picture->v[low] : NULL;
}

static bool parse(const char *line, struct vma *vma)
{
	unsigned long long start, end, offset, inode;
	char perms[8];
	int at = 0;

	if (sscanf(line, "%llx-%llx %7s %llx %*s %llu %n", &start, &end, perms, &offset,
		    &inode, &at) < 5)
		return false;
	*vma = (struct vma){ start, end, offset, inode, perms[3] == 's', "" };
	snprintf(vma->name, sizeof(vma->name), "%.255s", at ? line + at : "");
	vma->name[strcspn(vma->name, "\n")] = '\0';
	return true;
}

/* What the kernel maps, or shares with the process. */
static bool is_foreign(const struct vma *vma)
{
	return strncmp(vma->name, "[v", 2) == 0 || strncmp(vma->name, "[uprobes", 8) == 0 ||
		strncmp(vma->name, "anon_inode:", 11) == 0;
}

static int open_file(pid_t pid, const struct vma *vma)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", (int)pid,
		(unsigned long long)vma->start, (unsigned long long)vma->end);
	return (int)T_SYS(open(path, O_RDONLY | O_CLOEXEC));
}

/* Where the content of a page is. */
enum from { FROM_NOWHERE, FROM_FILE, FROM_MEM };

static enum from source_of(const struct vma *vma, uint64_t word, uint64_t addr, uint64_t size,
	bool huge)
{
	uint64_t at = addr - vma->start + vma->offset;
	bool marker = (word & PM_SWAPPED) && (word & 31) == MARKER;

	if (word & PM_GUARD)
		return FROM_NOWHERE;
	if (vma->shared)
		return at < size ? FROM_FILE : FROM_NOWHERE;
	if ((word & PM_PRESENT) || ((word & PM_SWAPPED) && !marker && !huge)) {
		/* Page cache past the end of the file cannot be accessed. */
		if ((word & PM_PRESENT) && (word & PM_FILE) && vma->inode && !huge)
			return at < size ? FROM_FILE : FROM_NOWHERE;
		return FROM_MEM;
	}
	if (vma->inode && !huge)
		return at < size ? FROM_FILE : FROM_NOWHERE;
	return FROM_NOWHERE;
}

static void read_run(int fd, uint64_t at, uint64_t n_pages, uint64_t addr)
{
	ssize_t got = pread(fd, buffer, n_pages * PAGE, (off_t)at);

	if (got < 0)
		T_FAIL("reading %llu pages of %#llx: %s", (unsigned long long)n_pages,
			(unsigned long long)addr, strerror(errno));
	memset(buffer + got, 0, n_pages * PAGE - (uint64_t)got);
}

static void add_run(struct oracle_picture *picture, uint64_t addr, uint64_t n, enum from from,
	const struct vma *vma, const uint64_t *words, int fd, int mem)
{
	if (from == FROM_MEM)
		read_run(mem, addr, n, addr);
	else if (from == FROM_FILE)
		read_run(fd, addr - vma->start + vma->offset, n, addr);
	for (uint64_t i = 0; i < n; i++) {
		struct oracle_page page = { .addr = addr + i * PAGE };

		page.hash = from == FROM_NOWHERE ? oracle_zero_hash() :
						   oracle_hash(buffer + i * PAGE);
		if (from == FROM_FILE && !vma->shared)
			page.flags |= ORACLE_FILE_CONTENT;
		if (from == FROM_NOWHERE && (vma->inode || (words[i] & PM_GUARD)))
			page.flags |= ORACLE_NO_ACCESS;
		oracle_add(picture, &page);
	}
}

static void take_vma(struct oracle_picture *picture, pid_t pid, const struct vma *vma, int mem,
	int pagemap)
{
	bool huge = strstr(vma->name, "anon_hugepage") || strstr(vma->name, "torture-huge");
	bool file = vma->inode && !(huge && !vma->shared);
	int fd = file ? open_file(pid, vma) : -1;
	uint64_t words[N_BATCH], size = 0;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0)
		size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX;
	for (uint64_t addr = vma->start; addr < vma->end;) {
		uint64_t n = (vma->end - addr) / PAGE, i = 0;

		n = n > N_BATCH ? N_BATCH : n;
		T_CHECK(pread(pagemap, words, n * 8, (off_t)(addr / PAGE * 8)) ==
			(ssize_t)(n * 8));
		while (i < n) {
			enum from from = source_of(vma, words[i], addr + i * PAGE, size, huge);
			uint64_t k = i + 1;

			while (k < n && from == source_of(vma, words[k], addr + k * PAGE, size,
						huge))
				k++;
			add_run(picture, addr + i * PAGE, k - i, from, vma, words + i, fd, mem);
			i = k;
		}
		addr += n * PAGE;
	}
	if (fd >= 0)
		close(fd);
}

static int open_proc(pid_t pid, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return (int)T_SYS(open(path, flags | O_CLOEXEC));
}

void oracle_take(struct oracle_picture *picture, pid_t pid, uint64_t skip_start,
	uint64_t skip_end)
{
	int mem = open_proc(pid, "mem", O_RDONLY), pagemap = open_proc(pid, "pagemap", O_RDONLY);
	FILE *maps = fdopen(open_proc(pid, "maps", O_RDONLY), "r");
	char line[1024];
	struct vma vma;

	T_CHECK(maps != NULL);
	picture->n = 0;
	while (fgets(line, sizeof(line), maps)) {
		if (!parse(line, &vma) || is_foreign(&vma))
			continue;
		if (vma.start < skip_end && vma.end > skip_start)
			continue;
		take_vma(picture, pid, &vma, mem, pagemap);
	}
	fclose(maps);
	close(mem);
	close(pagemap);
}

void oracle_describe(pid_t pid, uint64_t addr)
{
	int pagemap = open_proc(pid, "pagemap", O_RDONLY);
	FILE *smaps = fdopen(open_proc(pid, "smaps", O_RDONLY), "r");
	unsigned long long start, end;
	bool inside = false;
	uint64_t word = 0;
	char line[1024];

	if (pread(pagemap, &word, 8, (off_t)(addr / PAGE * 8)) == 8)
		fprintf(stderr, "  %#llx pagemap word %#llx\n", (unsigned long long)addr,
			(unsigned long long)word);
	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%llx-%llx ", &start, &end) == 2) {
			inside = start <= addr && addr < end;
			if (inside)
				fprintf(stderr, "  %s", line);
		} else if (inside && strncmp(line, "VmFlags", 7) == 0) {
			fprintf(stderr, "  %s", line);
		}
	}
	if (smaps)
		fclose(smaps);
	close(pagemap);
}
