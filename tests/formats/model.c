// SPDX-License-Identifier: LGPL-2.1-or-later
/* Random memory of a few processes, of which every page is known, over generations. */
#include "tests/formats/model.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "tests/lib/harness.h"

/* More pages than a region has, and half a page, so that some mapping reaches the end. */
#define FILE_BYTES (M_MAX_PAGES * M_PAGE + M_PAGE / 2)
#define FILE_NAME  "mapped-file"

static enum m_state random_state(uint64_t *rng, enum m_kind kind)
{
	uint64_t n = t_below(rng, 10);

	if (kind == M_KERNEL)
		return M_UNKNOWN;
	if (kind == M_ANON && t_below(rng, 20) == 0)
		return M_UNKNOWN;
	if (n < 4)
		return M_DATA;
	if (n < 5)
		return M_FILL;
	if (kind == M_FILE_PRIVATE || kind == M_FILE_SHARED)
		return n < 6 ? M_ZERO : M_FILE;
	return M_ZERO;
}

/* States come in runs, as they do in programs; @one in a few begins another. */
static void random_pages(uint64_t *rng, struct m_page *v, uint64_t n, enum m_kind kind,
	unsigned generation)
{
	for (uint64_t i = 0; i < n; i++) {
		if (i > 0 && t_below(rng, 4) != 0)
			v[i].state = v[i - 1].state;
		else
			v[i].state = random_state(rng, kind);
		v[i].generation = generation;
	}
}

static unsigned flags_of(uint64_t *rng, enum m_kind kind)
{
	static const unsigned v[] = { 1, 3, 5, 0, 7 };
	unsigned shared = kind == M_SEGMENT || kind == M_FILE_SHARED ? 8 : 0;

	return kind == M_KERNEL ? 1 : v[t_below(rng, UMEM_ARRAY_LEN(v))] | shared;
}

static void random_region(struct m_memory *memory, uint64_t *rng, struct m_region *region)
{
	region->n_pages = 1 + t_below(rng, M_MAX_PAGES - 10);
	region->kind = (enum m_kind)t_below(rng, M_KERNEL + 1);
	/* One is enough. */
	if (region->kind == M_KERNEL && t_below(rng, 4) != 0)
		region->kind = M_ANON;
	region->flags = flags_of(rng, region->kind);
	region->at = t_below(rng, 3) == 0 ? 0 : t_below(rng, M_MAX_PAGES - region->n_pages + 1);
	region->segment = (unsigned)t_below(rng, M_MAX_SEGMENTS);
	random_pages(rng, region->pages, region->n_pages, region->kind, memory->generation);
}

static void random_process(struct m_memory *memory, uint64_t *rng, struct m_process *process)
{
	uint64_t addr = 0x10000;

	process->n_regions = 1 + (unsigned)t_below(rng, M_MAX_REGIONS - 2);
	process->n_threads = 1 + (unsigned)t_below(rng, M_MAX_THREADS);
	for (unsigned i = 0; i < process->n_regions; i++) {
		random_region(memory, rng, &process->regions[i]);
		/* Some touch, some are far apart. */
		if (t_below(rng, 2) == 0)
			addr += M_PAGE * (t_below(rng, 3) == 0 ? t_below(rng, 1ull << 30) : 1);
		process->regions[i].start = addr;
		addr += process->regions[i].n_pages * M_PAGE;
	}
}

static void make_file(void)
{
	UMEM_FD int fd = (int)T_SYS(open(FILE_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		0600));
	static uint8_t bytes[FILE_BYTES];

	for (size_t i = 0; i < FILE_BYTES; i++)
		bytes[i] = t_pattern(i / M_PAGE, i % M_PAGE, 77);
	memcpy(bytes, "\177ELF", 4);
	T_OK(umem_write_all(fd, bytes, sizeof(bytes)));
}

void m_init(struct m_memory *memory, uint64_t *rng)
{
	*memory = (struct m_memory){ .n_processes = 1 + (unsigned)t_below(rng, M_MAX_PROCESSES) };
	make_file();
	for (unsigned i = 0; i < M_MAX_SEGMENTS; i++)
		random_pages(rng, memory->segments[i], M_MAX_PAGES, M_SEGMENT, 0);
	for (unsigned i = 0; i < memory->n_processes; i++) {
		memory->processes[i].pid = 1000 + 10 * (int)i;
		memory->processes[i].ppid = i == 0 ? 1 : 1000 + 10 * (int)t_below(rng, i);
		random_process(memory, rng, &memory->processes[i]);
	}
}

static void change_pages(uint64_t *rng, struct m_page *v, uint64_t n, enum m_kind kind,
	unsigned generation)
{
	for (uint64_t i = 0; i < n; i++) {
		if (t_below(rng, 5) == 0)
			random_pages(rng, &v[i], 1, kind, generation);
	}
}

static void change_layout(struct m_memory *memory, uint64_t *rng, struct m_process *process)
{
	unsigned which = (unsigned)t_below(rng, process->n_regions);

	if (process->n_regions > 1 && t_below(rng, 2) == 0) {
		memmove(&process->regions[which], &process->regions[which + 1],
			(process->n_regions - which - 1) * sizeof(struct m_region));
		process->n_regions--;
		return;
	}
	/* Another mapping at the same addresses. */
	uint64_t start = process->regions[which].start;
	uint64_t n_pages = process->regions[which].n_pages;

	random_region(memory, rng, &process->regions[which]);
	process->regions[which].start = start;
	if (process->regions[which].n_pages > n_pages)
		process->regions[which].n_pages = n_pages;
}

void m_step(struct m_memory *memory, uint64_t *rng, bool layout)
{
	memory->generation++;
	for (unsigned i = 0; i < M_MAX_SEGMENTS; i++)
		change_pages(rng, memory->segments[i], M_MAX_PAGES, M_SEGMENT, memory->generation);
	for (unsigned i = 0; i < memory->n_processes; i++) {
		struct m_process *process = &memory->processes[i];

		for (unsigned k = 0; k < process->n_regions; k++)
			change_pages(rng, process->regions[k].pages, process->regions[k].n_pages,
				process->regions[k].kind, memory->generation);
		if (layout)
			change_layout(memory, rng, process);
	}
}

const struct m_page *m_page_of(const struct m_memory *memory, const struct m_region *region,
	uint64_t page)
{
	return region->kind == M_SEGMENT ? &memory->segments[region->segment][region->at + page] :
					   &region->pages[page];
}

static void file_content(uint64_t page, uint8_t to[M_PAGE])
{
	UMEM_FD int fd = (int)T_SYS(open(FILE_NAME, O_RDONLY | O_CLOEXEC));

	memset(to, 0, M_PAGE);
	T_SYS(pread(fd, to, M_PAGE, (off_t)(page * M_PAGE)));
}

void m_content(const struct m_memory *memory, const struct m_process *process,
	const struct m_region *region, uint64_t page, uint8_t to[M_PAGE])
{
	const struct m_page *p = m_page_of(memory, region, page);
	uint64_t key = region->kind == M_SEGMENT ?
		region->segment * 1000 + region->at + page :
		region->start + page * M_PAGE + (uint64_t)process->pid;
	uint64_t rng = key * 977 + p->generation, word = t_rand(&rng) | 1;

	memset(to, 0, M_PAGE);
	if (p->state == M_FILE) {
		file_content(region->at + page, to);
		return;
	}
	for (size_t i = 0; i < M_PAGE && (p->state == M_FILL || p->state == M_DATA); i += 8) {
		if (p->state == M_DATA)
			word = t_rand(&rng);
		memcpy(to + i, &word, 8);
	}
}

/* The page at the same address before, if it was of the same mapping. */
static const struct m_page *before_of(const struct m_memory *before,
	const struct m_process *process, const struct m_region *region, uint64_t page,
	const struct m_region **ret_region)
{
	uint64_t addr = region->start + page * M_PAGE;

	for (unsigned i = 0; before && i < before->n_processes; i++) {
		const struct m_process *then = &before->processes[i];

		for (unsigned k = 0; then->pid == process->pid && k < then->n_regions; k++) {
			const struct m_region *r = &then->regions[k];

			if (addr < r->start || addr >= r->start + r->n_pages * M_PAGE)
				continue;
			*ret_region = r;
			return m_page_of(before, r, (addr - r->start) / M_PAGE);
		}
	}
	return NULL;
}

bool m_same_page(const struct m_memory *memory, const struct m_memory *before,
	const struct m_process *process, const struct m_region *region, uint64_t page)
{
	const struct m_page *now = m_page_of(memory, region, page), *then;
	const struct m_region *old = NULL;
	uint8_t a[M_PAGE], b[M_PAGE];

	then = before_of(before, process, region, page, &old);
	if (!then || then->state == M_UNKNOWN || now->state == M_UNKNOWN)
		return false;
	m_content(memory, process, region, page, a);
	m_content(before, process, old, (region->start - old->start) / M_PAGE + page, b);
	return (now->state == M_FILE) == (then->state == M_FILE) && memcmp(a, b, M_PAGE) == 0;
}
