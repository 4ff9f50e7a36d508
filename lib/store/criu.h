/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory of CRIU images in the making: what its files share.
 */
#ifndef UMEM_STORE_CRIU_H
#define UMEM_STORE_CRIU_H

#include "lib/store/bytes.h"
#include "lib/store/criu_wire.h"
#include "lib/store/export.h"
#include "lib/store/outdir.h"

/** UMEM_CRIU_ID_NAME - a file of our own, which CRIU does not look at: of which image. */
#define UMEM_CRIU_ID_NAME "umemd-image-id"

/**
 * struct umem_criu_dump - the directory.
 * @job: the export.
 * @dir: where.
 * @processes, @n_processes: of the image, by the time of their start.
 * @pids: of these, ascending.
 * @n_pages_files: pages-N.img so far.
 * @files: mapped files, a tree (tsearch(3)) of struct umem_criu_file by path. Paths are
 *	the image's.
 * @n_files: how many; the last one's id.
 * @file_records: of files.img.
 * @stats: what was written.
 */
struct umem_criu_dump {
	struct umem_export *job;
	struct umem_outdir dir;
	const struct umem_image_process **processes;
	size_t n_processes;
	int32_t *pids;
	uint32_t n_pages_files;
	void *files;
	uint32_t n_files;
	struct umem_bytes file_records;
	struct umem_criu_stats stats;
};

/** umem_criu_is_segment - is it memory that is dumped by what backs it, not by process? */
static inline bool umem_criu_is_segment(const struct umem_image_region *region)
{
	return (region->vma_flags & 8) && !region->file_backed;
}

/** umem_criu_shmid - the number of the segment that a region maps; the same in every export. */
static inline uint64_t umem_criu_shmid(const struct umem_image_region *region)
{
	return region->inode ^ (uint64_t)region->dev_minor << 40 ^
		(uint64_t)region->dev_major << 56;
}

/** umem_criu_dump_file - write a small file whole. @records: behind the magic numbers. */
int umem_criu_dump_file(struct umem_criu_dump *dump, const char *name,
	const struct umem_bytes *records);

/** umem_criu_dump_pages - pagemap and pages of the private memory of a process. */
int umem_criu_dump_pages(struct umem_criu_dump *dump, const struct umem_image_process *process);

/** umem_criu_dump_segments - pagemaps and pages of all shared memory. */
int umem_criu_dump_segments(struct umem_criu_dump *dump);

/** umem_criu_dump_mm - the mappings of a process; adds to @files. */
int umem_criu_dump_mm(struct umem_criu_dump *dump, const struct umem_image_process *process);

/** umem_criu_dump_threads - the registers of a process's threads. */
int umem_criu_dump_threads(struct umem_criu_dump *dump,
	const struct umem_image_process *process);

#endif
