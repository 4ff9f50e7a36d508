/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A naive picture of what an image holds: an array of pages, each of which is a number
 * that says its content. Tests do to it what they do to a writer, and compare.
 */
#ifndef TESTS_UNIT_STORE_MODEL_H
#define TESTS_UNIT_STORE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include <umemd/store.h>

#define MODEL_SPACES 3
#define MODEL_PAGES  700
#define PAGE         4096ull

/** MODEL_ABSENT - content of a page of which nothing is known. */
#define MODEL_ABSENT UINT64_MAX

/** MODEL_START - address of the first page of each space. */
#define MODEL_START 0x7f0000000000ull

/** struct model - what is known of each page. */
struct model {
	uint64_t page[MODEL_SPACES][MODEL_PAGES];
};

/**
 * model_page - content number @content as bytes. 0 is zeros; the others are by their
 * remainder modulo 8: a repeated word, incompressible, or compressible. Those of
 * different numbers differ.
 */
void model_page(uint64_t content, void *to);

/** model_clear - nothing is known. */
void model_clear(struct model *model);

/** model_addr - address of page @i. */
static inline uint64_t model_addr(uint64_t i)
{
	return MODEL_START + i * PAGE;
}

/** model_put - put pages from @i on, both in the model and in @writer. */
void model_put(struct model *model, struct umem_image_writer *writer, uint32_t space,
	uint64_t i, const uint64_t *contents, uint64_t n, bool if_changed);

/**
 * model_step - a random change, the same to both.
 * @parent: what the parent holds; NULL: there is none.
 */
void model_step(struct model *model, const struct model *parent,
	struct umem_image_writer *writer, uint64_t *rng);

/** model_check - @image holds what the model says: by get, in pieces, and by each. */
void model_check(const struct model *model, struct umem_image *image, uint64_t *rng);

/** model_verify - umem_image_verify() finds nothing. */
void model_verify(struct umem_image *image);

/** model_options - random options of a writer: codec, frames, threads, buffers. */
struct umem_image_create_options model_options(uint64_t *rng);

#endif
