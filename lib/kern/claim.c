// SPDX-License-Identifier: LGPL-2.1-or-later
/* Claims on processes. */
#include "lib/kern/claim.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/base/fd.h"

int umem_claim(const char *job, int pid, uint64_t start_ticks, int *ret_fd)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	UMEM_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int len;

	if (fd < 0)
		return -errno;
	/* The zero in front makes it abstract. */
	len = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "io.umemd.%s/%d.%llu", job,
		pid, (unsigned long long)start_ticks);
	if (bind(fd, (struct sockaddr *)&name,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) < 0)
		return -errno;
	*ret_fd = umem_fd_take(&fd);
	return 0;
}
