// SPDX-License-Identifier: LGPL-2.1-or-later
/* The machine's swap areas, from /proc/swaps. */
#include "lib/kern/swapdev.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/base/cursor.h"
#include "lib/base/fd.h"

size_t umem_swap_count(const char *text, size_t len_bytes)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	size_t n = 0;

	/* A title, then a line an area: no path in it can hold a newline (it is escaped). */
	while (umem_cursor_line(&c, &line))
		n++;
	return n ? n - 1 : 0;
}

bool umem_swap_active(void)
{
	UMEM_FREE char *text = NULL;
	size_t len;
	int r = umem_read_file(AT_FDCWD, "/proc/swaps", 1 << 20, &text, &len);

	/* Without CONFIG_SWAP there is no such file and no swap. */
	if (r == -ENOENT)
		return false;
	return r < 0 || umem_swap_count(text, len) > 0;
}
