/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A keyed hash of a page, which a program cannot make collide without the key.
 *
 * Theory of operation
 *
 * Two pages with the same hash are taken to be the same page: that of the parent
 * stands for that of the child, one stored page for two. The content is that of
 * programs which may be hostile, so a hash that everybody can compute will not do:
 * they could prepare pages that collide. Comparing the bytes as well would mean to
 * read the parent, or what was just written.
 *
 * So the hash is universal: its key is drawn anew for each image, and for any two
 * different pages that were chosen without knowing the key, the share of keys under
 * which they collide is proven small. One lane of it is NH (from UMAC): with w the
 * 512 little-endian words of a page and k the words of the key,
 *
 *     nh = sum over i < 256 of
 *          (w[2i] + k[2i] mod 2^64) * (w[2i+1] + k[2i+1] mod 2^64)   mod 2^128
 *
 * collides with probability 2^-64; a polynomial modulo p = 2^61 - 1, at the secret
 * point r, of its three digits to the base 2^61 (h2 are the upper 6 bits),
 *
 *     hash = (h2 * r + h1) * r + h0   mod p
 *
 * adds 2/p. A lane is 61 bits wide, and two pages collide with less than 2^-59.
 *
 * - The first lane is in the file, with its key. It is compared only with the page at
 *   the same address in the parent: 2^24 pairs for 64 GiB, so 2^-35 that one of them
 *   is wrong if a hostile program has filled all of it for this. It cannot know the
 *   key unless it can read the image, which holds its memory and that of others.
 * - The second lane has a key that never leaves the memory of the writer: the key
 *   moved on by two words (Toeplitz, which keeps lanes independent), and an own r.
 *   Duplicates within an image are told by both lanes, 122 bits: 2^47 pairs, 2^-71.
 *   There a page of one program may stand for that of another, so this key is that
 *   of no file, and never used again.
 *
 * It takes a multiplication for 16 bytes and lane, a tenth of a microsecond a page.
 */
#ifndef UMEM_STORE_PAGEHASH_H
#define UMEM_STORE_PAGEHASH_H

#include <stddef.h>
#include <stdint.h>

/** UMEM_PAGEHASH_WORDS - words of the key of the first lane: 512, and r. */
#define UMEM_PAGEHASH_WORDS 513

/**
 * struct umem_pagehash - the key.
 * @nh: words of NH; the second lane begins at the third.
 * @r: secret points of the lanes, below 2^61 - 1.
 */
struct umem_pagehash {
	uint64_t nh[514];
	uint64_t r[2];
};

/** struct umem_pagehash2 - both lanes. */
struct umem_pagehash2 {
	uint64_t lane[2];
};

/** umem_pagehash_draw - a new key, from the kernel's random numbers. Return: 0, -errno. */
int umem_pagehash_draw(struct umem_pagehash *ret_key);

/** umem_pagehash_one - the first lane of a page; @page is aligned to 8 bytes or not. */
uint64_t umem_pagehash_one(const struct umem_pagehash *key, const void *page);

/** umem_pagehash_both - both lanes of a page. */
struct umem_pagehash2 umem_pagehash_both(const struct umem_pagehash *key, const void *page);

/** umem_pagehash_save - the key of the first lane as it is in a file. */
void umem_pagehash_save(const struct umem_pagehash *key, void *to);

/** umem_pagehash_load - what umem_pagehash_save() gave; the second lane is unusable. */
void umem_pagehash_load(struct umem_pagehash *ret_key, const void *from);

#endif
