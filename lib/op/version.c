// SPDX-License-Identifier: LGPL-2.1-or-later
/* The version of the engine. */
#include <umemd/umemd.h>

const char *umem_version(void)
{
	return UMEMD_VERSION;
}
