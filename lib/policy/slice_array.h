/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The array of slices, for the files of lib/policy that build a new one.
 */
#ifndef UMEM_POLICY_SLICE_ARRAY_H
#define UMEM_POLICY_SLICE_ARRAY_H

#include "lib/policy/slice.h"

/** umem_slices_append - put a copy of @slice at the end. Return: 0, -ENOMEM. */
int umem_slices_append(struct umem_slices *self, const struct umem_slice *slice);

/** umem_slices_take - make @from's slices ours, and @from empty; frees what we had. */
void umem_slices_take(struct umem_slices *self, struct umem_slices *from);

#endif
