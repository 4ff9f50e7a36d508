/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The numbers of the image format, and reading and writing them in memory.
 *
 * Theory of operation
 *
 * umemd-image(5) has the format byte for byte. In short:
 *
 *     | header 4096 | frames and gaps ... | page hashes | index |
 *
 *     index:  PRNT id and name of the parent
 *             FRAM a record for each frame: which pages, where, how long, checksum
 *             SPAC a record for each run of pages of a space (one SPAC a space)
 *             HASH where the page hashes are, and their key
 *             INFO, PROC description
 *
 * Stored pages are numbered: the number of a page is its place in the order in which
 * pages were stored, so a run of addresses that was put in one go is a run of numbers.
 * Frames hold ranges of numbers; a run of an index refers to a range of numbers. So
 * a duplicate costs nothing but a run, and a frame can be moved within the file
 * without touching a run.
 *
 * Each byte of the file is under a checksum: the header under its own, the index under
 * the id in the header, frames under those in their records, the hashes under that in
 * HASH; all other bytes are zero.
 *
 * Frames of 32 KiB are the choice of these measurements (zstd level 1; random read: decode
 * only, of memory of a Redis server, of a Python program, of shared libraries):
 *
 *     frame      ratio             compress MB/s    decompress MB/s   random read
 *      4 KiB     2.1  8.5  2.4      246  494  266     720 1490  720     6 us
 *     16 KiB     2.3 10.8  2.8      326  805  359     970 1970 1040    16 us
 *     32 KiB     2.3 10.7  2.8      338  874  371    1120 2210 1220    28 us
 *     64 KiB     2.3 10.5  2.9      381  979  421    1220 2370 1300    52 us
 *    128 KiB     2.3 10.1  3.0      423 1027  467    1290 2510 1440    98 us
 *
 * Reading a block of the disk at random takes 48 us there: with 32 KiB a read costs less
 * in decoding than in waiting, and nearly all of the ratio is had.
 *
 * In memory a frame takes 32 bytes and a run 24: 64 GiB in frames of 32 KiB are 64 MiB
 * for a reader; a writer has 8 bytes a page besides (128 MiB), and its table of
 * duplicates, which is bounded.
 */
#ifndef UMEM_STORE_FORMAT_H
#define UMEM_STORE_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include <umemd/store.h>

#define UMEM_IMAGE_MAGIC        "\x89UMEM\r\n\x1a"
#define UMEM_IMAGE_VERSION      1u
#define UMEM_IMAGE_HEADER_BYTES 4096u
#define UMEM_IMAGE_PAGE_SHIFT   12

/* Fields of the header. */
#define UMEM_HEADER_MAGIC        0
#define UMEM_HEADER_VERSION      8
#define UMEM_HEADER_LENGTH       12
#define UMEM_HEADER_FLAGS        16
#define UMEM_HEADER_FILE_BYTES   24
#define UMEM_HEADER_INDEX_OFFSET 32
#define UMEM_HEADER_INDEX_BYTES  40
#define UMEM_HEADER_ID           48
#define UMEM_HEADER_CHECKSUM     4088

/** UMEM_TAG - the number of a part's name of four letters. */
#define UMEM_TAG(a, b, c, d) \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* Parts of the index. */
#define UMEM_TAG_PARENT  UMEM_TAG('P', 'R', 'N', 'T')
#define UMEM_TAG_FRAMES  UMEM_TAG('F', 'R', 'A', 'M')
#define UMEM_TAG_SPACE   UMEM_TAG('S', 'P', 'A', 'C')
#define UMEM_TAG_HASHES  UMEM_TAG('H', 'A', 'S', 'H')
#define UMEM_TAG_INFO    UMEM_TAG('I', 'N', 'F', 'O')
#define UMEM_TAG_PROCESS UMEM_TAG('P', 'R', 'O', 'C')

/** UMEM_MAX_SPACES - more spaces are refused. */
#define UMEM_MAX_SPACES 65536u

/** UMEM_MAX_FRAME_PAGES - pages in a frame, at most. */
#define UMEM_MAX_FRAME_PAGES 64u

/** UMEM_FRAME_PAGES - pages in a frame, usually. */
#define UMEM_FRAME_PAGES 8u

#define UMEM_FRAME_RECORD_BYTES 32u
#define UMEM_RUN_RECORD_BYTES   24u

/** enum umem_frame_codec - how a frame is stored. */
enum umem_frame_codec {
	UMEM_FRAME_PLAIN = 0,
	UMEM_FRAME_ZSTD = 1,
};

/**
 * struct umem_frame - pages that are stored together.
 * @first: number of the first page.
 * @offset: in the file.
 * @stored_bytes: length there.
 * @n_pages: pages in it.
 * @codec: enum umem_frame_codec.
 * @checksum: umem_digest64() of the bytes in the file.
 */
struct umem_frame {
	uint64_t first;
	uint64_t offset;
	uint32_t stored_bytes;
	uint16_t n_pages;
	uint8_t codec;
	uint64_t checksum;
};

/** enum umem_run_kind - what a run of an index says. */
enum umem_run_kind {
	UMEM_RUN_ZERO = 1,
	UMEM_RUN_FILL = 2,
	UMEM_RUN_DATA = 3,
	UMEM_RUN_PARENT = 4,
};

/**
 * struct umem_run - pages of a space that belong together.
 * @start: address of the first page.
 * @n_pages: how many.
 * @space: of the parent, where the run refers to it.
 * @kind: enum umem_run_kind.
 * @ref: the word of FILL; number of the first page of DATA; address in the parent.
 */
struct umem_run {
	uint64_t start;
	uint64_t n_pages : 40;
	uint64_t space : 20;
	uint64_t kind : 4;
	uint64_t ref;
};

/** UMEM_RUN_MAX_PAGES - pages in one run. */
#define UMEM_RUN_MAX_PAGES ((1ull << 40) - 1)

_Static_assert(sizeof(struct umem_run) == 24, "a run is small");
_Static_assert(sizeof(struct umem_frame) == 32, "a frame is small");

/** umem_run_end - one past the last address of a run. */
static inline uint64_t umem_run_end(const struct umem_run *run)
{
	return run->start + ((uint64_t)run->n_pages << UMEM_IMAGE_PAGE_SHIFT);
}

/** umem_run_skip - take @n_pages off the front of a run; less than it has. */
static inline void umem_run_skip(struct umem_run *run, uint64_t n_pages)
{
	run->start += n_pages << UMEM_IMAGE_PAGE_SHIFT;
	run->n_pages -= n_pages;
	if (run->kind == UMEM_RUN_DATA)
		run->ref += n_pages;
	else if (run->kind == UMEM_RUN_PARENT)
		run->ref += n_pages << UMEM_IMAGE_PAGE_SHIFT;
}

/* Little-endian numbers at any address. */
static inline uint16_t umem_get16(const void *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return le16toh(value);
}

static inline uint32_t umem_get32(const void *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static inline uint64_t umem_get64(const void *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

static inline void umem_put16(void *at, uint16_t value)
{
	value = htole16(value);
	memcpy(at, &value, sizeof(value));
}

static inline void umem_put32(void *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static inline void umem_put64(void *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

/** umem_frame_save, umem_frame_load - a record of FRAM. */
static inline void umem_frame_save(const struct umem_frame *frame, unsigned char *to)
{
	umem_put64(to, frame->first);
	umem_put64(to + 8, frame->offset);
	umem_put32(to + 16, frame->stored_bytes);
	umem_put16(to + 20, frame->n_pages);
	to[22] = frame->codec;
	to[23] = 0;
	umem_put64(to + 24, frame->checksum);
}

static inline struct umem_frame umem_frame_load(const unsigned char *from)
{
	return (struct umem_frame){
		.first = umem_get64(from),
		.offset = umem_get64(from + 8),
		.stored_bytes = umem_get32(from + 16),
		.n_pages = umem_get16(from + 20),
		.codec = from[22],
		.checksum = umem_get64(from + 24),
	};
}

/** umem_run_save, umem_run_load - a record of SPAC. */
static inline void umem_run_save(const struct umem_run *run, unsigned char *to)
{
	umem_put64(to, run->start);
	umem_put64(to + 8, (uint64_t)run->n_pages | (uint64_t)run->space << 40 |
		(uint64_t)run->kind << 60);
	umem_put64(to + 16, run->ref);
}

static inline struct umem_run umem_run_load(const unsigned char *from)
{
	uint64_t packed = umem_get64(from + 8);

	return (struct umem_run){
		.start = umem_get64(from),
		.n_pages = packed & UMEM_RUN_MAX_PAGES,
		.space = packed >> 40 & 0xfffff,
		.kind = packed >> 60,
		.ref = umem_get64(from + 16),
	};
}

#endif
