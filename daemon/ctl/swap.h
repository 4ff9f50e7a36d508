/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of `umemctl swap`: one look at a process or at a file in memory, and
 * the ways to show it.
 */
#ifndef CTL_SWAP_H
#define CTL_SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/client.h>
#include <umemd/residency.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/table.h"
#include "lib/base/ranges.h"
#include "lib/op/survey_sharers.h"

struct swap_file;

/**
 * struct swap_view - what was seen.
 * @pid, @comm: the process; 0 and empty for a file.
 * @file: path of the file, or NULL; the caller's. Addresses are its offsets then.
 * @v: @n mappings, or parts of the file.
 * @sums: over all of them.
 * @sharers: who else maps it, or NULL when nobody asked.
 * @target, @map, @found, @pages, @remote: what it was seen through; owned.
 */
struct swap_view {
	int pid;
	char comm[64];
	const char *file;
	const struct umem_residency_region *v;
	size_t n;
	struct ctl_sums sums;
	const struct umem_survey_sharers *sharers;
	struct umem_target *target;
	struct umem_residency *map;
	struct umem_survey_sharers found;
	struct swap_file *pages;
	struct umem_client_map *remote;
};

/** swap_each - takes a run of pages; what it returns other than 0 ends the walk. */
typedef int (*swap_each)(void *user, uint64_t start, uint64_t end, enum umem_state state);

/**
 * swap_view_process - look at process @pid.
 * @asked: only these addresses; empty for all. Widened to whole pages.
 * @method: as in struct umem_residency_options.
 * @sharers: find out who else maps its shared memory, too.
 * @view: all zero; given to swap_view_deinit() in any case.
 *
 * Return: 0, or as umem_target_open() and umem_residency_new(); -ENOENT: one of
 * @asked holds no mapping.
 */
int swap_view_process(struct swap_view *view, int pid, struct umem_ranges *asked,
	const char *method, bool sharers, struct umem_note *note);

/**
 * swap_view_remote - have the daemon at @path look.
 * @asked: as above, not widened here; @options says the rest.
 * Return: as above, and as umem_client_open().
 */
int swap_view_remote(struct swap_view *view, const char *path, int pid,
	const struct umem_ranges *asked, struct umem_client_map_options *options,
	struct umem_note *note);

/**
 * swap_view_file - look at a file in memory, which may be mapped by nobody.
 * @asked: only these offsets; empty for all.
 * @method: as umem_residency_file(); an unknown one is -EINVAL.
 *
 * Return: 0; -EINVAL: not a file of tmpfs or hugetlbfs, no memfd; -ENOENT: there
 * is none, or one of @asked lies past its end; -EPERM, -EACCES; -ENOSYS; -ENOMEM.
 */
int swap_view_file(struct swap_view *view, const char *path, struct umem_ranges *asked,
	const char *method, struct umem_note *note);

/** swap_view_deinit - free what it owns. */
void swap_view_deinit(struct swap_view *view);

/** swap_view_each - the runs of pages of @region, ascending. Return: 0, what @each did, -ENOMEM. */
int swap_view_each(const struct swap_view *view, const struct umem_residency_region *region,
	swap_each each, void *user);

/** swap_file_free - NULL is fine. Return: NULL. */
struct swap_file *swap_file_free(struct swap_file *pages);

/** swap_file_each - the runs of part @i of a file; as swap_view_each(). */
int swap_file_each(const struct swap_file *pages, size_t i, swap_each each, void *user);

/** swap_json_print - print it as one JSON object. @ranges: with all runs. Return: 0 or -errno. */
int swap_json_print(const struct swap_view *view, bool ranges);

/** swap_table_print - print it for people. @ranges: with all runs. Return: 0 or -errno. */
int swap_table_print(const struct swap_view *view, bool ranges);

/** swap_map_print - print it as a picture. Return: 0 or -errno. */
int swap_map_print(const struct swap_view *view);

#endif
