/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A scratch folder that stands in for /proc, /sys or a cgroup hierarchy: a test
 * writes the texts into it that a kernel would show. It is removed when the test
 * program ends.
 */
#ifndef TESTS_LIB_TREE_H
#define TESTS_LIB_TREE_H

/** t_tree - the folder's absolute path; made by the first call. One a program. */
const char *t_tree(void);

/** t_tree_path - absolute path of @name in it; good until the eighth call after. */
const char *t_tree_path(const char *name);

/** t_tree_folder - make the folder @name, and those above it. */
void t_tree_folder(const char *name);

/** t_tree_put - make the file @name of @text, and the folders above it. */
void t_tree_put(const char *name, const char *text);

/** t_tree_drop - remove the file or the whole folder @name. */
void t_tree_drop(const char *name);

#endif
