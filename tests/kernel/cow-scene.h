/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A child with memory that we protect in synchronous mode, for the programs
 * that prove what copying before the write relies on.
 *
 * The child makes the userfaultfd and passes it by its number; it and this
 * process map the same board. Functions of the test run in threads of the child.
 */
#ifndef TESTS_KERNEL_COW_SCENE_H
#define TESTS_KERNEL_COW_SCENE_H

#include <stdatomic.h>
#include <linux/userfaultfd.h>

#include "tests/kernel/scratch.h"

/** K_SYNC - the features of one that holds writers up. */
#define K_SYNC                                                                           \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED |                  \
		UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_EVENT_REMOVE |            \
		UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_THREAD_ID)

/** K_SCENE_PAGES - pages of its memory. */
#define K_SCENE_PAGES 16

/**
 * struct k_scene - the child.
 * @pid: its id.
 * @uffd, @pm: ours: its userfaultfd, its pagemap.
 * @at: its memory, filled with t_fill_page() of generation 1.
 * @board: what it and we see.
 */
struct k_scene {
	pid_t pid;
	int uffd;
	int pm;
	char *at;
	struct k_board *board;
};

/** k_scene_start - a child with private memory, or with that of @fd. */
void k_scene_start(struct k_scene *scene, int fd);

/** k_scene_close_there - have the child close its userfaultfd: ours is the only one then. */
void k_scene_close_there(struct k_scene *scene);

/** k_scene_end - end it. */
void k_scene_end(struct k_scene *scene);

/** k_scene_protect - register and protect all of it. */
void k_scene_protect(struct k_scene *scene);

/** k_scene_begin - have a new thread of the child run @act. */
void k_scene_begin(struct k_scene *scene, void (*act)(char *at));

/** k_scene_through - have all acts that were begun come to their end? */
bool k_scene_through(struct k_scene *scene);

/** k_scene_wait - until they have. */
void k_scene_wait(struct k_scene *scene);

/** k_scene_message - wait for a message, probe for an event, and read it. */
void k_scene_message(struct k_scene *scene, bool event, struct uffd_msg *ret_msg);

/** k_scene_read - a page, as another process reads it. Return: false when it cannot be read. */
bool k_scene_read(struct k_scene *scene, const char *at, char *page);

/** k_scene_is - does the page at @at hold what page @page was filled with? */
bool k_scene_is(struct k_scene *scene, const char *at, uint64_t page);

/** k_scene_lift - lift the protection of one page. Return: as umem_uffd_protect(). */
int k_scene_lift(struct k_scene *scene, const char *at);

/** k_scene_word - the pagemap word of a page. */
uint64_t k_scene_word(struct k_scene *scene, const char *at);

#endif
