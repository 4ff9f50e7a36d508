/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory of CRIU images on its way into an image: processes and their mappings.
 */
#ifndef UMEM_STORE_CRIU_SOURCE_H
#define UMEM_STORE_CRIU_SOURCE_H

#include "lib/store/criu_chain.h"
#include "lib/store/criu_wire.h"
#include "lib/store/export.h"

/* Mappings of files; of shared segments; of the kernel's pages. */
#define UMEM_CRIU_OF_FILES    (UMEM_CRIU_VMA_FILE_PRIVATE | UMEM_CRIU_VMA_FILE_SHARED)
#define UMEM_CRIU_OF_SEGMENTS (UMEM_CRIU_VMA_ANON_SHARED | UMEM_CRIU_VMA_SYSV)
#define UMEM_CRIU_OF_KERNEL   (UMEM_CRIU_VMA_VVAR | UMEM_CRIU_VMA_VDSO | UMEM_CRIU_VMA_VSYSCALL)

/**
 * struct umem_criu_process - a process.
 * @tree, @mm, @comm: as read.
 * @regions, @threads: for the description.
 */
struct umem_criu_process {
	struct umem_criu_task tree;
	struct umem_criu_mm mm;
	char comm[16];
	struct umem_image_region *regions;
	struct umem_image_thread *threads;
};

/**
 * struct umem_criu_source - a directory on its way in.
 * @job: the import.
 * @chain: it and its parents.
 * @tasks, @n_tasks: processes.
 * @files, @n_files: mapped files, ascending by id.
 * @segment: the pages of a shared segment, the last one that was asked for.
 * @shmid: of which.
 * @space: whose pages are being put.
 * @shift: from what the entry says to the address.
 * @from: up to here the range is done.
 * @zeros: what is left out of the pagemap is zeros.
 * @found_bytes: pages of entries that a mapping had.
 */
struct umem_criu_source {
	struct umem_import *job;
	struct umem_criu_chain chain;
	struct umem_criu_process *tasks;
	size_t n_tasks;
	struct umem_criu_file *files;
	size_t n_files;
	struct umem_criu_pages *segment;
	uint64_t shmid;
	uint32_t space;
	uint64_t shift;
	uint64_t from;
	bool zeros;
	uint64_t found_bytes;
};

/**
 * umem_criu_source_read - everything but pages, from the first directory of @from->chain,
 * which is open. Sets @tasks and @files. Return: 0; as umem_image_import(), noted.
 */
int umem_criu_source_read(struct umem_criu_source *from);

/** umem_criu_source_describe - give the processes to the writer. Return: 0 or -errno. */
int umem_criu_source_describe(const struct umem_criu_source *from);

/** umem_criu_source_deinit - free what it owns, the chain too. */
void umem_criu_source_deinit(struct umem_criu_source *from);

#endif
