// SPDX-License-Identifier: LGPL-2.1-or-later
/* Content of pages of an image, and their hashes; see image.h. */
#include <errno.h>
#include <stdlib.h>

#include <umemd/store.h>

#include "lib/base/note.h"
#include "lib/store/digest.h"
#include "lib/store/image.h"

static void fill(void *bytes, uint64_t word, uint64_t len_bytes)
{
	unsigned char *at = bytes;

	if (word == 0) {
		memset(bytes, 0, len_bytes);
		return;
	}
	for (uint64_t i = 0; i < len_bytes; i += 8)
		umem_put64(at + i, word);
}

/* Why a page cannot be had. */
static int refuse(struct umem_image *image, uint32_t space, uint64_t addr,
	const struct umem_resolved *found, struct umem_note *note)
{
	const struct umem_image_region *region;

	if (found->what == UMEM_IMAGE_PARENT)
		return umem_note_set(note, -ENOENT, addr,
			"%s: the page at %#llx is in its parent %s, which was not opened",
			found->image->path, (unsigned long long)addr,
			found->image->index.parent_name);
	region = umem_image_region(image, space, addr);
	if (!region || region->start > addr)
		return umem_note_set(note, -ENXIO, addr, "%s: nothing is mapped at %#llx",
			image->path, (unsigned long long)addr);
	if (region->file_backed)
		return umem_note_set(note, -ENODATA, addr,
			"%s: the page at %#llx is not in the image: it is as in the file %s",
			image->path, (unsigned long long)addr, region->path);
	return umem_note_set(note, -ENODATA, addr, "%s: the page at %#llx is not in the image",
		image->path, (unsigned long long)addr);
}

int umem_image_get(struct umem_image *image, uint32_t space, uint64_t addr, void *bytes,
	uint64_t n_pages, struct umem_note *note)
{
	unsigned char *to = bytes;
	uint64_t end;

	if (space >= image->index.n_spaces || addr % UMEM_IMAGE_PAGE_BYTES ||
		n_pages > (UINT64_MAX - addr) / UMEM_IMAGE_PAGE_BYTES)
		return umem_note_set(note, -EINVAL, addr, "%s: no such space or address",
			image->path);
	end = addr + n_pages * UMEM_IMAGE_PAGE_BYTES;
	while (addr < end) {
		struct umem_resolved found;
		const char *why = "";
		uint64_t len, offset = 0;
		int r = 0;

		umem_image_resolve(image, space, addr, end, &found);
		len = found.end - addr;
		if (found.what == UMEM_IMAGE_ZERO || found.what == UMEM_IMAGE_FILL)
			fill(to, found.what == UMEM_IMAGE_FILL ? found.ref : 0, len);
		else if (found.what == UMEM_IMAGE_DATA)
			r = umem_fetch_pages(found.image->fetch, found.ref, to,
				len / UMEM_IMAGE_PAGE_BYTES, &why, &offset);
		else
			return refuse(image, space, addr, &found, note);
		if (r < 0)
			return umem_note_set(note, r, addr,
				"%s: %s%s, at byte %llu of the file, for the page at %#llx",
				found.image->path, r == -EBADMSG ? "damaged: " : "", why,
				(unsigned long long)offset, (unsigned long long)addr);
		addr = found.end;
		to += len;
	}
	return 0;
}

int umem_image_ordinals(struct umem_image *image)
{
	uint64_t n = 0;

	if (image->ordinals)
		return 0;
	image->ordinals = calloc(image->index.n_frames + 1, sizeof(*image->ordinals));
	if (!image->ordinals)
		return -ENOMEM;
	for (size_t i = 0; i < image->index.n_frames; i++) {
		image->ordinals[i] = n;
		n += umem_index_frame(&image->index, i).n_pages;
	}
	return 0;
}

int umem_image_load_hashes(struct umem_image *image)
{
	const struct umem_index *index = &image->index;
	UMEM_FREE struct umem_pagehash *key = NULL;
	UMEM_FREE uint64_t *hashes = NULL;
	int r;

	if (image->hashes)
		return 0;
	if (!index->hashes_key)
		return -ENODATA;
	r = umem_image_ordinals(image);
	if (r < 0)
		return r;
	key = calloc(1, sizeof(*key));
	hashes = malloc(index->n_hashes * 8 + 8);
	if (!key || !hashes)
		return -ENOMEM;
	r = umem_image_pread(image->fd, hashes, index->n_hashes * 8, index->hashes_offset);
	if (r < 0)
		return r;
	if (umem_digest64(hashes, index->n_hashes * 8) != index->hashes_checksum)
		return -EBADMSG;
	for (uint64_t i = 0; i < index->n_hashes; i++)
		hashes[i] = le64toh(hashes[i]);
	umem_pagehash_load(key, index->hashes_key);
	image->key = UMEM_TAKE_PTR(key);
	image->hashes = UMEM_TAKE_PTR(hashes);
	return 0;
}

void umem_image_peek_init(struct umem_image_peek *peek, struct umem_image *image)
{
	*peek = (struct umem_image_peek){ .image = image };
}

/* Is stored page @number of @image this page? */
static int same_hash(struct umem_image_peek *peek, struct umem_image *image, uint64_t number,
	const void *page)
{
	struct umem_frame frame = { 0 };
	int r = umem_image_load_hashes(image);

	/* Without hashes it is not known to be the same. */
	if (r == -ENODATA)
		return UMEM_PEEK_OTHER;
	if (r < 0)
		return r;
	if (peek->frame < image->index.n_frames)
		frame = umem_index_frame(&image->index, peek->frame);
	if (number < frame.first || number - frame.first >= frame.n_pages) {
		if (!umem_index_frame_of(&image->index, number, &peek->frame))
			return -EBADMSG;
		frame = umem_index_frame(&image->index, peek->frame);
	}
	return image->hashes[image->ordinals[peek->frame] + number - frame.first] ==
		umem_pagehash_one(image->key, page) ? UMEM_PEEK_SAME : UMEM_PEEK_OTHER;
}

int umem_image_peek(struct umem_image_peek *peek, uint32_t space, uint64_t addr,
	const void *page)
{
	const struct umem_resolved *found = &peek->found;

	if (!found->image || peek->space != space || addr < peek->start || addr >= found->end) {
		peek->space = space;
		peek->start = addr;
		umem_image_resolve(peek->image, space, addr, UINT64_MAX, &peek->found);
	}
	/* Pages of zeros and fills do not come here: they are told from others at once. */
	if (found->what != UMEM_IMAGE_DATA)
		return UMEM_PEEK_OTHER;
	return same_hash(peek, found->image,
		found->ref + ((addr - peek->start) >> UMEM_IMAGE_PAGE_SHIFT), page);
}
