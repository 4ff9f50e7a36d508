/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The probes behind feat.c; private to lib/kern/feat*.c.
 *
 * A probe works on scratch memory of its own and leaves nothing behind.
 * Return: 1 found, 0 missing, -errno when it could not be tried. Each may
 * write one line to @detail (UMEM_FEAT_DETAIL_SIZE).
 */
#ifndef UMEM_KERN_FEAT_PROBE_H
#define UMEM_KERN_FEAT_PROBE_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/feat.h"
#include "lib/kern/pagemap.h"
#include "lib/kern/uapi.h"
#include "lib/kern/uffd.h"

/** UMEM_PROBE_TRACK - the features of a tracker without a fault handler. */
#define UMEM_PROBE_TRACK \
	(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/**
 * struct umem_scratch - what a probe works on.
 * @at, @len: a mapping, or NULL.
 * @base, @base_len: what is unmapped in the end.
 * @fd: the file behind it, or -1.
 * @uffd, @pm: watching it, or -1.
 */
struct umem_scratch {
	char *at;
	size_t len;
	char *base;
	size_t base_len;
	int fd;
	int uffd;
	int pm;
};

#define UMEM_SCRATCH_NONE { .fd = -1, .uffd = -1, .pm = -1 }

/** UMEM_SCRATCH - a scratch that gives everything back when it leaves its scope. */
#define UMEM_SCRATCH UMEM_CLEANUP(umem_scratch_deinit) struct umem_scratch

void umem_scratch_deinit(struct umem_scratch *s);

/** umem_scratch_map - map @len bytes at a multiple of @align, written once each page. */
int umem_scratch_map(struct umem_scratch *s, size_t len, size_t align, int flags, int fd);

/** umem_scratch_memfd - a memfd of @len bytes, mapped with @flags, written once. */
int umem_scratch_memfd(struct umem_scratch *s, size_t len, int flags);

/** umem_scratch_watch - open userfaultfd and pagemap, register the scratch. */
int umem_scratch_watch(struct umem_scratch *s, int open_flags, uint64_t features);

/** umem_scratch_touch - write the first byte of each page. */
void umem_scratch_touch(struct umem_scratch *s);

/**
 * umem_scratch_scan - pages of [@from, @from + @len) with all of @all, armed
 * again if @protect. Return: 0 and the count, or -errno.
 */
int umem_scratch_scan(struct umem_scratch *s, size_t from, size_t len, bool protect,
	uint64_t all, size_t *ret_pages);

/** umem_scratch_arm - collect everything; @ret_pages may be NULL. */
int umem_scratch_arm(struct umem_scratch *s, size_t *ret_pages);

/** umem_probe_say - the detail line. Return: @result, to be returned on. */
int umem_probe_say(char *detail, int result, const char *fmt, ...) UMEM_PRINTF(3, 4);

/*
 * The answer of a probe whose call failed: no such call, option or right is "missing";
 * our own limits are "unknown".
 */
static inline int missing(int err, char *detail)
{
	int result = err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -EAGAIN ? err : 0;

	return umem_probe_say(detail, result, "%s", strerrordesc_np(-err));
}

int umem_probe_userfaultfd(char *detail);
int umem_probe_wp_async(char *detail);
int umem_probe_user_mode_only(char *detail);
int umem_probe_hugetlbfs_shmem(char *detail);
int umem_probe_pagemap_scan(char *detail);
int umem_probe_holes(char *detail);
int umem_probe_holes_any_mask(char *detail);
int umem_probe_check_wpasync(char *detail);
int umem_probe_procmap_query(char *detail);
int umem_probe_map_files(char *detail);
int umem_probe_swap_type(char *detail);
int umem_probe_soft_dirty(char *detail);
int umem_probe_mtime_on_punch(char *detail);
int umem_probe_fine_times(char *detail);

int umem_probe_pinned_unseen(char *detail);
int umem_probe_punch_unseen(char *detail);
int umem_probe_private_discard_unseen(char *detail);
int umem_probe_hugetlb_discard_unseen(char *detail);
int umem_probe_hugetlb_holes_unseen(char *detail);

int umem_probe_pidfd_getfd(char *detail);
int umem_probe_pidfd_thread(char *detail);
int umem_probe_ptrace_seize(char *detail);
int umem_probe_suspend_seccomp(char *detail);
int umem_probe_rseq_configuration(char *detail);

int umem_probe_events(char *detail);
int umem_probe_minor(char *detail);
int umem_probe_move(char *detail);
int umem_probe_poison(char *detail);

int umem_probe_process_madvise(char *detail);
int umem_probe_cachestat(char *detail);
int umem_probe_guard(char *detail);
int umem_probe_thp(char *detail);
int umem_probe_ksm(char *detail);
int umem_probe_psi(char *detail);
int umem_probe_damon(char *detail);
int umem_probe_page_idle(char *detail);
int umem_probe_scan_accessed(char *detail);
int umem_probe_zram(char *detail);
int umem_probe_swap(char *detail);

/* The same of what stands in for /sys; NULL is /sys. */
int umem_probe_damon_at(const char *sys, char *detail);
int umem_probe_page_idle_at(const char *sys, char *detail);

#endif
