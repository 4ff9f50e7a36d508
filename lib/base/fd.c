// SPDX-License-Identifier: LGPL-2.1-or-later
/* Owned file descriptors and whole-file reads. */
#include "lib/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int umem_fd_close(int fd)
{
	int saved = errno;

	/* close(2) releases the descriptor on Linux even when it says EINTR. */
	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

int umem_read_all(int fd, size_t max_bytes, char **ret_text, size_t *ret_len_bytes)
{
	UMEM_FREE char *text = NULL;
	size_t len = 0, room = 0;

	for (;;) {
		if (room - len < 2) {
			size_t want = room ? room * 2 : 16384;
			char *more = realloc(text, want);

			if (!more)
				return -ENOMEM;
			text = more;
			room = want;
		}
		ssize_t n = read(fd, text + len, room - len - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max_bytes)
			return -EFBIG;
	}
	text[len] = '\0';
	if (ret_len_bytes)
		*ret_len_bytes = len;
	*ret_text = UMEM_TAKE_PTR(text);
	return 0;
}

int umem_read_file(int dirfd, const char *name, size_t max_bytes, char **ret_text,
	size_t *ret_len_bytes)
{
	UMEM_FD int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	return umem_read_all(fd, max_bytes, ret_text, ret_len_bytes);
}

int umem_write_all(int fd, const void *data, size_t len_bytes)
{
	const char *at = data;

	while (len_bytes > 0) {
		ssize_t n = write(fd, at, len_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}
