// SPDX-License-Identifier: LGPL-2.1-or-later
/* userfaultfd(2): the hand-shake and the ioctls. */
#include "lib/kern/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

int umem_uffd_open(int flags, int *ret_fd)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	if (fd < 0)
		return -errno;
	*ret_fd = (int)fd;
	return 0;
}

int umem_uffd_api(int fd, uint64_t features, uint64_t *ret_features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	if (ret_features)
		*ret_features = api.features;
	return 0;
}

int umem_uffd_register(int fd, uint64_t start, uint64_t end, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { .start = start, .len = end - start },
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

int umem_uffd_unregister(int fd, uint64_t start, uint64_t end)
{
	struct uffdio_range range = { .start = start, .len = end - start };

	return ioctl(fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

int umem_uffd_protect(int fd, uint64_t start, uint64_t end, int on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = start, .len = end - start },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) < 0 ? -errno : 0;
}

int umem_uffd_continue(int fd, uint64_t start, uint64_t end)
{
	struct uffdio_continue more = {
		.range = { .start = start, .len = end - start },
		.mode = UFFDIO_CONTINUE_MODE_DONTWAKE,
	};

	return ioctl(fd, UFFDIO_CONTINUE, &more) < 0 ? -errno : 0;
}

int umem_uffd_changing(int fd)
{
	struct uffdio_copy copy = { .len = 0 };

	if (ioctl(fd, UFFDIO_COPY, &copy) == 0 || errno == EINVAL)
		return 0;
	return errno == EAGAIN ? 1 : -errno;
}

int umem_uffd_read(int fd, struct uffd_msg *ret_msg)
{
	struct uffd_msg msg;
	ssize_t n;

	do
		n = read(fd, &msg, sizeof(msg));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n != (ssize_t)sizeof(msg))
		return -EAGAIN;
	*ret_msg = msg;
	return 0;
}

int umem_uffd_wake(int fd, uint64_t start, uint64_t end)
{
	struct uffdio_range range = { .start = start, .len = end - start };

	return ioctl(fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}
