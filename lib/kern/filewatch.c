// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Was any of these files changed by a call: fanotify(7).
 *
 * Of inotify and fanotify only the latter takes a descriptor in place of a path, and
 * a process in a sandbox has no paths. Events carry an identity of the file instead of
 * a descriptor (FAN_REPORT_FID), which is what lets everybody use it. Which file it was
 * is not looked up: the answer is rarely yes, and whoever asks looks at all then.
 */
#include "lib/kern/filewatch.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

int umem_filewatch_open(int *ret_watch_fd)
{
	int fd = fanotify_init(UMEM_FILEWATCH_FLAGS, 0);

	if (fd < 0)
		return -errno;
	*ret_watch_fd = fd;
	return 0;
}

int umem_filewatch_add(int watch_fd, int fd)
{
	return fanotify_mark(watch_fd, FAN_MARK_ADD, FAN_MODIFY, fd, NULL) < 0 ? -errno : 0;
}

int umem_filewatch_take(int watch_fd)
{
	char events[4096];
	int any = 0;

	for (;;) {
		ssize_t n = read(watch_fd, events, sizeof(events));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return any;
		if (n < 0)
			return -errno;
		if (n == 0)
			return any;
		any = 1;
	}
}
