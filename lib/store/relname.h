/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of files relative to the folder of another file.
 */
#ifndef UMEM_STORE_RELNAME_H
#define UMEM_STORE_RELNAME_H

/**
 * umem_relname - how the file @from would name the file @to: "b", "../x/b", or an
 * absolute path where the folders have nothing in common.
 * @from: need not exist, but its folder must.
 * @to: exists.
 * @ret_name: freed by the caller.
 *
 * Symbolic links are resolved first, so that both can be moved together.
 * Return: 0, -ENOENT, -ENOMEM, -errno.
 */
int umem_relname(const char *from, const char *to, char **ret_name);

/**
 * umem_relname_join - where the file @name is that the file @from names.
 * @ret_path: freed by the caller. Return: 0, -ENOMEM.
 */
int umem_relname_join(const char *from, const char *name, char **ret_path);

#endif
