/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random memory of a few processes, of which every page is known, over generations.
 *
 * The oracle of the tests of formats: it is written as images (a child for each
 * generation), told to other programs as JSON and plain bytes, and compared with
 * images that came back from another format.
 */
#ifndef TESTS_FORMATS_MODEL_H
#define TESTS_FORMATS_MODEL_H

#include <umemd/store.h>

#define M_PAGE          4096u
#define M_MAX_PROCESSES 3
#define M_MAX_REGIONS   10
#define M_MAX_PAGES     80
#define M_MAX_SEGMENTS  3
#define M_MAX_THREADS   3

/** enum m_state - a page. */
enum m_state {
	M_ZERO,
	M_FILL,
	M_DATA,
	M_FILE,
	M_UNKNOWN,
};

/** struct m_page - its state, and which content of those it had. */
struct m_page {
	enum m_state state;
	uint32_t generation;
};

/** enum m_kind - a mapping. */
enum m_kind {
	M_ANON,
	M_FILE_PRIVATE,
	M_FILE_SHARED,
	M_SEGMENT, /* a part of shared memory, whose pages are the segment's */
	M_KERNEL,  /* [vvar] */
};

/** struct m_region - a mapping of a process. */
struct m_region {
	uint64_t start;
	uint64_t n_pages;
	enum m_kind kind;
	unsigned flags;
	/** @at: page of the file or segment that it begins with. */
	uint64_t at;
	unsigned segment;
	struct m_page pages[M_MAX_PAGES];
};

/** struct m_process - a process, with regions ascending. */
struct m_process {
	int pid;
	int ppid;
	unsigned n_regions;
	struct m_region regions[M_MAX_REGIONS];
	unsigned n_threads;
};

/** struct m_memory - all of it, at one moment. */
struct m_memory {
	unsigned generation;
	unsigned n_processes;
	struct m_process processes[M_MAX_PROCESSES];
	struct m_page segments[M_MAX_SEGMENTS][M_MAX_PAGES];
};

/** m_init - random memory; a file for mappings is made in the working directory. */
void m_init(struct m_memory *memory, uint64_t *rng);

/** m_step - the next generation: pages change, and with @layout mappings too. */
void m_step(struct m_memory *memory, uint64_t *rng, bool layout);

/** m_page_of - a page of a region, wherever it is kept. */
const struct m_page *m_page_of(const struct m_memory *memory, const struct m_region *region,
	uint64_t page);

/** m_content - the bytes of a page; of one that is not known zeros. */
void m_content(const struct m_memory *memory, const struct m_process *process,
	const struct m_region *region, uint64_t page, uint8_t to[M_PAGE]);

/** m_same_page - is it the same content in @before, at the same address? */
bool m_same_page(const struct m_memory *memory, const struct m_memory *before,
	const struct m_process *process, const struct m_region *region, uint64_t page);

/** m_write - an image of it at @path. @before, @parent: what the parent image is of. */
void m_write(const struct m_memory *memory, const struct m_memory *before, const char *path,
	struct umem_image *parent, uint64_t *rng);

/** m_tell - PREFIX.json, and PREFIX-PID.bin with all bytes, region after region. */
void m_tell(const struct m_memory *memory, const char *prefix);

/**
 * enum m_view - what an image can be expected to say.
 * @M_VIEW_IMAGE: all of it.
 * @M_VIEW_CRIU: what came by CRIU's images: where nothing was known are zeros.
 * @M_VIEW_RAW: what came by a raw file: bytes, of files too; no mappings of the kernel.
 */
enum m_view {
	M_VIEW_IMAGE,
	M_VIEW_CRIU,
	M_VIEW_RAW,
};

/** m_compare - fail where an image says something else. */
void m_compare(const struct m_memory *memory, struct umem_image *image, enum m_view view);

#endif
