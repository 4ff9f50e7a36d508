/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * umemd's engine: all public headers, and the version.
 *
 *     cc program.c $(pkg-config --cflags --libs umemd-engine)
 *
 * The engine works in the calling process; no daemon is needed. It prints
 * nothing, changes no signal disposition and keeps no global state.
 */
#ifndef UMEMD_UMEMD_H
#define UMEMD_UMEMD_H

#include <umemd/export.h>
#include <umemd/residency.h>
#include <umemd/store.h>
#include <umemd/target.h>
#include <umemd/track.h>
#include <umemd/types.h>

/** umem_version - version of the library in use, "MAJOR.MINOR.PATCH"; static. */
UMEM_API const char *umem_version(void);

#endif
