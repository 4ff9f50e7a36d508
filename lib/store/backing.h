/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of a region that are not in an image, since they are those of a file.
 *
 * The file is read only when it is the one of then: same size and time of change.
 * An image may come from anywhere; it never makes us open what could block, or what
 * is no regular file.
 */
#ifndef UMEM_STORE_BACKING_H
#define UMEM_STORE_BACKING_H

#include <umemd/store.h>

#include "lib/base/attr.h"

/** struct umem_backing - the file of a region. */
struct umem_backing {
	int fd;
	const struct umem_image_region *region;
};

#define UMEM_BACKING_NONE ((struct umem_backing){ .fd = -1 })

/**
 * umem_backing_open - open the file that backs @region.
 * Return: 0; -ENODATA: it cannot be opened, or the image does not tell which it was;
 * -ESTALE: another file is there now, or it was changed. Noted.
 */
int umem_backing_open(const struct umem_image_region *region, struct umem_backing *ret_backing,
	struct umem_note *note);

/**
 * umem_backing_read - pages of the region, as the kernel maps them: zeros behind the
 * end of the file in its last page. Return: 0; -ENODATA: past the end; -errno. Noted.
 */
int umem_backing_read(const struct umem_backing *backing, uint64_t addr, void *bytes,
	uint64_t n_pages, struct umem_note *note);

/** umem_backing_end - the address in @region behind which its file has no page. */
uint64_t umem_backing_end(const struct umem_image_region *region);

/** umem_backing_close - close it; one of UMEM_BACKING_NONE too. */
void umem_backing_close(struct umem_backing *backing);

/** UMEM_BACKING - one that is closed when it leaves its scope. */
#define UMEM_BACKING UMEM_CLEANUP(umem_backing_close)

#endif
