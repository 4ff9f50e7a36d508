/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small images for tests of one thing: two processes of known pages.
 */
#ifndef TESTS_FORMATS_SCENE_H
#define TESTS_FORMATS_SCENE_H

#include <umemd/export.h>

#include "tests/lib/harness.h"

#define S_PAGE 4096u

/* Addresses of the first process. */
#define S_ANON    0x100000ull /* 16 pages: data, but for zeros at 4 to 7 */
#define S_FILE    0x200000ull /* 4 pages of the file "mapped": the second is its own */
#define S_UNKNOWN 0x300000ull /* 2 pages: the first is not known, where the scene has it */
#define S_SEGMENT 0x400000ull /* 4 pages of a segment: data */

/**
 * struct scene - what to make.
 * @generation: of the data.
 * @with_file, @with_unknown: these regions are there.
 * @changed: pages of S_ANON that differ from the parent, as bits.
 * @zeroed: pages of S_ANON that became zeros, as bits.
 * @moved: S_SEGMENT shows another part of the segment than it did.
 * @private: S_SEGMENT is private memory.
 * @parent: path of the parent's image, or NULL.
 */
struct scene {
	unsigned generation;
	bool with_file;
	bool with_unknown;
	unsigned changed;
	unsigned zeroed;
	bool moved;
	bool private;
	const char *parent;
};

/** s_begin - go to an empty folder of this test's own. */
void s_begin(void);

/** s_make - write the image. */
void s_make(const struct scene *scene, const char *path);

/** s_export - export an image; fails unless it returns @want and says why. */
void s_export(const char *image, const char *format, const char *path,
	const struct umem_image_export_options *options, int want, const char *text);

/** s_import - import into "back.umem"; fails unless it returns @want and says why. */
void s_import(const char *format, const char *path,
	const struct umem_image_import_options *options, int want, const char *text);

/** s_nothing_left - fail when there is a file of a moment here. */
void s_nothing_left(void);

/** s_no_file - fail when @path is there. */
void s_no_file(const char *path);

/** s_read - bytes of a file. */
void s_read(const char *path, uint64_t offset, void *bytes, size_t len);

/** s_is_page - is it the page of that number and generation? */
bool s_is_page(const uint8_t *bytes, uint64_t page, unsigned generation);

#endif
