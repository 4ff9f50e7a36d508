// SPDX-License-Identifier: LGPL-2.1-or-later
/* The kernel's lists of pages for reclaim. */
#include "lib/kern/lru.h"

#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

void umem_lru_drain(void)
{
	int node = 0, status;

	/* The array of nodes makes it a move, else it would only be asked where pages are. */
	syscall(SYS_move_pages, 0, 0ul, NULL, &node, &status, 0);
}
