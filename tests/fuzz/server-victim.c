// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The process that peers in fuzz-server.c have looked at. Never instrumented: what a sanitizer
 * maps takes longer to look at than all else.
 *
 * usage: fuzz-server-victim ADDRESS BYTES    descriptor 3 hears when it is ready, and 4 is a
 *                                            userfaultfd of its own then
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/kern/uapi.h"

int main(int argc, char **argv)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
	};
	size_t len = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;
	void *at = len ? (void *)(uintptr_t)strtoull(argv[1], NULL, 0) : NULL;

	if (!at ||
		mmap(at, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
		return 1;
	memset(at, 7, len);
	if (syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK) != 4 || ioctl(4, UFFDIO_API, &api) < 0)
		return 1;
	if (write(3, "x", 1) != 1)
		return 1;
	for (;;)
		pause();
}
