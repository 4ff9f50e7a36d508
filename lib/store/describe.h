/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The description of an image, to and from its parts.
 */
#ifndef UMEM_STORE_DESCRIBE_H
#define UMEM_STORE_DESCRIBE_H

#include "lib/store/parts.h"

/** UMEM_MAX_PROCESSES - more are refused. */
#define UMEM_MAX_PROCESSES 65536u

/* Parts of INFO. */
#define UMEM_TAG_METHOD     UMEM_TAG('M', 'E', 'T', 'H')
#define UMEM_TAG_CREATOR    UMEM_TAG('C', 'R', 'E', 'A')
#define UMEM_TAG_KERNEL     UMEM_TAG('K', 'E', 'R', 'N')
#define UMEM_TAG_MACHINE    UMEM_TAG('M', 'A', 'C', 'H')
#define UMEM_TAG_TIMES      UMEM_TAG('T', 'I', 'M', 'E')
#define UMEM_TAG_INCOMPLETE UMEM_TAG('I', 'N', 'C', 'O')

/* Parts of PROC. */
#define UMEM_TAG_BASE    UMEM_TAG('B', 'A', 'S', 'E')
#define UMEM_TAG_EXE     UMEM_TAG('E', 'X', 'E', ' ')
#define UMEM_TAG_CMDLINE UMEM_TAG('C', 'M', 'D', 'L')
#define UMEM_TAG_AUXV    UMEM_TAG('A', 'U', 'X', 'V')
#define UMEM_TAG_THREAD  UMEM_TAG('T', 'H', 'R', 'D')
#define UMEM_TAG_REGION  UMEM_TAG('R', 'E', 'G', 'N')

/* Part of THRD, behind its fixed bytes. */
#define UMEM_TAG_BLOB UMEM_TAG('B', 'L', 'O', 'B')

#define UMEM_TIMES_BYTES      40u
#define UMEM_INCOMPLETE_BYTES 24u
#define UMEM_BASE_BYTES       56u
#define UMEM_THREAD_BYTES     24u
#define UMEM_REGION_BYTES     80u

/** UMEM_REGION_FILE_BACKED - flag of a region. */
#define UMEM_REGION_FILE_BACKED 1u

/**
 * umem_describe - INFO and a PROC for each process.
 * @info: NULL: nothing is known.
 *
 * Return: 0, -EINVAL: regions that are not ascending or not of whole pages, a space
 * or a name that cannot be; -E2BIG; -ENOMEM.
 */
int umem_describe(const struct umem_image_process *processes, size_t n,
	const struct umem_image_info *info, struct umem_parts *parts);

/**
 * struct umem_described - a description that was read; all zero is empty.
 * @info: texts point into the parts.
 * @processes, @n_processes: as @info.
 * @incomplete, @threads, @blobs, @regions: what these point to.
 */
struct umem_described {
	struct umem_image_info info;
	struct umem_image_process *processes;
	size_t n_processes;
	struct umem_image_incomplete *incomplete;
	struct umem_image_thread *threads;
	struct umem_image_blob *blobs;
	struct umem_image_region *regions;
};

/**
 * umem_described_read - read the description of an index.
 * @index: all its parts; of no byte trusted. It must outlive @ret_described.
 * @ret_why: static text of what is wrong, when it is.
 *
 * Return: 0, -EBADMSG, -ENOTSUP: a required part is not known; -ENOMEM.
 */
int umem_described_read(struct umem_cursor index, struct umem_described *ret_described,
	const char **ret_why);

/** umem_described_deinit - free what it owns and make it empty. */
void umem_described_deinit(struct umem_described *described);

#endif
