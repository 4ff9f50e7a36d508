/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scratch memory, userfaultfds and scans for the programs that prove one
 * promise of the kernel each.
 *
 * Everything here ends the test when it cannot do its work: a missing feature
 * skips, anything else fails. Scans are raw (no wrapper's policy between the
 * test and the kernel).
 */
#ifndef TESTS_KERNEL_SCRATCH_H
#define TESTS_KERNEL_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "lib/kern/pagemap.h"
#include "lib/kern/uapi.h"
#include "lib/kern/uffd.h"
#include "tests/lib/harness.h"

#define K_PAGE 4096ul
#define K_HUGE (2ul << 20)

/** K_TRACK - the features of a tracker that needs no fault handler. */
#define K_TRACK                                                      \
	(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |       \
		UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/** k_uffd - a userfaultfd of our memory with @features; skips when one is missing. */
int k_uffd(uint64_t features);

/** k_pagemap - our own pagemap, of the process that asks. */
int k_pagemap(void);

/** k_map - mmap(2) that must succeed; @flags without MAP_ANONYMOUS need @fd. */
char *k_map(size_t len, int flags, int fd);

/** k_anon - private anonymous memory without huge pages. */
char *k_anon(size_t len);

/** k_anon_huge - private anonymous memory at a 2 MiB boundary, huge pages welcome. */
char *k_anon_huge(size_t len);

/** k_map_huge - a shared mapping of @fd at a 2 MiB boundary. */
char *k_map_huge(size_t len, int fd);

/** k_memfd - a memfd of @len bytes. */
int k_memfd(size_t len);

/** k_file - an unlinked file of @n_pages pattern pages on a disk file system. */
int k_file(size_t n_pages);

/** k_touch - write one byte in each page of [@at, @at + @len). */
void k_touch(char *at, size_t len, char value);

/** k_register - register for write protection. Return: 0 or -errno. */
int k_register(int uffd, const void *at, size_t len);

/**
 * k_scan - one raw PAGEMAP_SCAN for exactly @all, returning @wanted.
 * @ret_walk_end: may be NULL.
 *
 * Return: number of ranges, or -errno.
 */
long k_scan(int pm, uint64_t flags, const void *at, size_t len, uint64_t all, uint64_t wanted,
	struct page_region *vec, size_t n_vec, uint64_t *ret_walk_end);

/** k_collect - report and arm again what is WRITTEN. Return: pages reported. */
size_t k_collect(int pm, const void *at, size_t len);

/** k_written - pages that are WRITTEN; changes nothing. */
size_t k_written(int pm, const void *at, size_t len);

/** k_count - pages that have all bits of @all; changes nothing. */
size_t k_count(int pm, const void *at, size_t len, uint64_t all);

/** k_bits - every PAGE_IS_* of one page; changes nothing. */
uint64_t k_bits(int pm, const void *at);

/** k_word - the classic pagemap word of one page. */
uint64_t k_word(int pm, const void *at);

/** k_status_kb - a field of /proc/self/status, in kB; 0 where there is none. */
uint64_t k_status_kb(const char *field);

/** k_smaps_kb - a field of the mapping of /proc/self/smaps that holds @at, in kB. */
uint64_t k_smaps_kb(const void *at, const char *field);

/** k_read_u64 - a number from a file. Return: false when it cannot be read. */
bool k_read_u64(const char *path, uint64_t *ret_value);

/** k_write_text - write @text to a file. Return: 0 or -errno. */
int k_write_text(const char *path, const char *text);

/**
 * k_hugepages - have @n more 2 MiB pages in the pool until this program ends;
 * skips when the kernel cannot give them.
 */
void k_hugepages(unsigned n);

/**
 * k_zram_swap - swap on a new zram device until this program ends (also by a
 * failure or SIGTERM); it takes what is put out before the areas that were there
 * do. Skips without zram, and when the machine prefers another area still.
 * Return: its path.
 */
const char *k_zram_swap(uint64_t size_bytes);

/** k_format_swap - make a device or a file ready for swapon(2). */
void k_format_swap(const char *dev, uint64_t size_bytes);

/**
 * k_swap_file - swap on a new file of a disk file system until this program ends, as
 * k_zram_swap(). Pages stay in the swap cache, since its writes take time. Skips where
 * no swap file can be. Return: its path.
 */
const char *k_swap_file(uint64_t size_bytes);

/** k_swap_off - take one area away now; what is in it comes back into memory. */
void k_swap_off(const char *path);

/** k_swap_type - the type of the area made last, in the words of pages that it has. */
unsigned k_swap_type(void);

/**
 * k_in_area - skip unless all of the range is out, to the area of that type: the
 * machine may have preferred another one meanwhile.
 */
void k_in_area(int pm, char *at, size_t len, unsigned type);

/**
 * k_put_out - advise MADV_PAGEOUT for own memory until none of it is present, also
 * what waits in a batch of another processor.
 */
void k_put_out(int pm, char *at, size_t len);

/** k_zram_set - write @value to a file in the sysfs directory of the zram at @path. */
void k_zram_set(const char *path, const char *file, const char *value);

/** k_zram_stat - a number of the line in a file there, the first is 0. */
uint64_t k_zram_stat(const char *path, const char *file, int field);

/**
 * k_shmem_folios - folios of 64 kB for shared memory that asks for huge pages
 * (MADV_HUGEPAGE), on the whole machine until this program ends. Skips where the kernel
 * has none (before Linux 6.11).
 */
void k_shmem_folios(void);

/**
 * k_at_end - run @give_back_hook when this program ends, by exit(3) or by a signal;
 * it makes system calls only. A few hooks a program, the last one runs first.
 */
void k_at_end(void (*give_back_hook)(void));

/** k_fact - print a measured fact. */
void k_fact(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
