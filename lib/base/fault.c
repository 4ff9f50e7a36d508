// SPDX-License-Identifier: LGPL-2.1-or-later
/* Named fault points, switched on by the environment variable UMEM_FAULTS. */
#include "lib/base/fault.h"

#include <stdlib.h>
#include <string.h>

#ifdef UMEM_FAULT_POINTS
/* Safe in a child of a raw clone: getenv() and string scans only. */
long umem_fault_point(const char *name)
{
	const char *at = getenv("UMEM_FAULTS");
	size_t len = strlen(name);

	while (at && *at) {
		if (strncmp(at, name, len) == 0 && at[len] == '=')
			return strtol(at + len + 1, NULL, 10);
		at = strchr(at, ',');
		if (at)
			at++;
	}
	return 0;
}
#endif
