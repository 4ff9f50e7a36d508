/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Named fault points: places where a test can make the next step fail or wait.
 *
 * UMEM_FAULT_POINT("inject.before-restore") is 0 unless the environment names
 * it: UMEM_FAULTS="NAME=VALUE,NAME=VALUE" gives the value to return (a test
 * uses an errno, or a number of microseconds, as the point documents). Release
 * builds (-Dfault_points=false) compile every point to the constant 0.
 */
#ifndef UMEM_BASE_FAULT_H
#define UMEM_BASE_FAULT_H

#ifdef UMEM_FAULT_POINTS
/** umem_fault_point - the value that UMEM_FAULTS gives to @name, or 0. */
long umem_fault_point(const char *name);
#define UMEM_FAULT_POINT(name) umem_fault_point(name)
#else
#define UMEM_FAULT_POINT(name) 0L
#endif

#endif
