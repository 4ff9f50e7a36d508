// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Images: opened, walked, read, verified, compared with themselves.
 *
 * A change of any byte is found by a checksum, so the input would never get far. Unless
 * it says otherwise (by its last byte), checksums are made right first, where they can
 * be found: those of frames and hashes in the index, then the index, then the header.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <umemd/store.h>

#include "lib/base/fd.h"
#include "lib/store/digest.h"
#include "lib/store/image.h"

#define MAX_PAGES 64u

static void seal_frames(unsigned char *bytes, size_t len, unsigned char *at, size_t n)
{
	for (size_t i = 0; i + UMEM_FRAME_RECORD_BYTES <= n; i += UMEM_FRAME_RECORD_BYTES) {
		struct umem_frame frame = umem_frame_load(at + i);

		if (frame.offset <= len && frame.stored_bytes <= len - frame.offset)
			umem_put64(at + i + 24,
				umem_digest64(bytes + frame.offset, frame.stored_bytes));
	}
}

static void seal_hashes(const unsigned char *bytes, size_t len, unsigned char *at, size_t n)
{
	uint64_t offset, n_hashes;

	if (n < 24)
		return;
	offset = umem_get64(at);
	n_hashes = umem_get64(at + 8);
	if (offset <= len && n_hashes <= (len - offset) / 8)
		umem_put64(at + 16, umem_digest64(bytes + offset, n_hashes * 8));
}

static void seal(unsigned char *bytes, size_t len)
{
	struct umem_image_id id;
	struct umem_cursor c;
	struct umem_part part;
	uint64_t offset, n;

	if (len < UMEM_IMAGE_HEADER_BYTES)
		return;
	umem_put64(bytes + UMEM_HEADER_FILE_BYTES, len);
	offset = umem_get64(bytes + UMEM_HEADER_INDEX_OFFSET);
	n = umem_get64(bytes + UMEM_HEADER_INDEX_BYTES);
	if (offset <= len && n <= len - offset) {
		c = umem_cursor_init(bytes + offset, n);
		while (umem_part_next(&c, &part) > 0) {
			unsigned char *at = bytes + (part.at - bytes);

			if (part.tag == UMEM_TAG_FRAMES)
				seal_frames(bytes, len, at, part.len_bytes);
			if (part.tag == UMEM_TAG_HASHES)
				seal_hashes(bytes, len, at, part.len_bytes);
		}
		umem_digest128(bytes + offset, n, &id);
		memcpy(bytes + UMEM_HEADER_ID, id.bytes, sizeof(id.bytes));
	}
	umem_put64(bytes + UMEM_HEADER_CHECKSUM, umem_digest64(bytes, UMEM_HEADER_CHECKSUM));
}

/** struct walk - a walk over an image: @good: verify found nothing. */
struct walk {
	struct umem_image *image;
	uint32_t space;
	uint64_t last_end;
	unsigned n;
	bool good;
};

static int each(void *user, const struct umem_image_run *run)
{
	static unsigned char pages[MAX_PAGES * UMEM_IMAGE_PAGE_BYTES];
	struct walk *walk = user;
	uint64_t n = (run->end - run->start) / UMEM_IMAGE_PAGE_BYTES;
	int r;

	FUZZ_CHECK(run->start < run->end && run->start >= walk->last_end);
	FUZZ_CHECK(run->what < UMEM_N_IMAGE_PAGES);
	walk->last_end = run->end;
	r = umem_image_get(walk->image, walk->space, run->start, pages,
		n < MAX_PAGES ? n : MAX_PAGES, NULL);
	/* What is called good can be read; what is not known cannot. */
	if (run->what == UMEM_IMAGE_FILE || run->what == UMEM_IMAGE_NONE)
		FUZZ_CHECK(r == -ENODATA);
	else if (run->what != UMEM_IMAGE_DATA || walk->good)
		FUZZ_CHECK(r == 0);
	else
		FUZZ_CHECK(r == 0 || r == -EBADMSG);
	return ++walk->n == 1000;
}

static int differs(void *user, uint32_t first, uint32_t second, const struct umem_range *range,
	enum umem_image_change change)
{
	FUZZ_CHECK(false);
	return 0;
}

static void use(struct umem_image *image)
{
	struct umem_image_diff_options diff = { .size = sizeof(diff), .pages = differs };
	struct umem_note note = { 0 };
	struct umem_image_totals totals;
	int good = umem_image_verify(image, NULL, &note);

	FUZZ_CHECK(good == 0 || good == -EBADMSG);
	FUZZ_CHECK((good == 0) == (note.text[0] == '\0'));
	umem_image_totals(image, &totals);
	for (uint32_t s = 0; s < umem_image_n_spaces(image) && s < 100; s++) {
		struct walk walk = { .image = image, .space = s, .good = good == 0 };

		umem_image_each(image, s, 0, UINT64_MAX, each, &walk);
	}
	/* Which may be of any length, but is the same as itself: nothing is read. */
	if (umem_image_n_spaces(image) < 100)
		FUZZ_CHECK(umem_image_diff(image, image, &diff, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	UMEM_FREE unsigned char *bytes = malloc(len_bytes + 1);
	UMEM_FD int fd = memfd_create("image", MFD_CLOEXEC);
	struct umem_note note = { 0 };
	struct umem_image *image;

	if (!bytes || fd < 0)
		return 0;
	if (len_bytes > 0)
		memcpy(bytes, data, len_bytes);
	if (len_bytes > 0 && bytes[len_bytes - 1] != 0xff)
		seal(bytes, len_bytes);
	if (umem_write_all(fd, bytes, len_bytes) < 0)
		return 0;
	if (umem_image_open_fd(fd, NULL, NULL, &image, &note) < 0) {
		FUZZ_CHECK(note.text[0] != '\0');
		return 0;
	}
	use(image);
	umem_image_free(image);
	return 0;
}
