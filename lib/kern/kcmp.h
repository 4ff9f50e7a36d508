/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kcmp(2): do two processes share one memory?
 */
#ifndef UMEM_KERN_KCMP_H
#define UMEM_KERN_KCMP_H

#include <stdbool.h>

/** umem_kcmp_same_memory - have both the same mm (vfork, CLONE_VM)? False when unknown. */
bool umem_kcmp_same_memory(int pid_a, int pid_b);

#endif
