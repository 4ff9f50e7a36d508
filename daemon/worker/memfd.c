// SPDX-License-Identifier: LGPL-2.1-or-later
/* Memory that goes to a client as it was written. */
#include "daemon/worker/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/fd.h"

int memfd_new(const char *name, size_t len_bytes, int *ret_fd, void **ret_at)
{
	UMEM_FD int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *at = NULL;

	if (fd < 0 || ftruncate(fd, (off_t)len_bytes) < 0)
		return -errno;
	if (len_bytes)
		at = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*ret_at = at;
	*ret_fd = umem_fd_take(&fd);
	return 0;
}

int memfd_answer(int fd, void *at, size_t len_bytes, const char *key, struct answer *answer)
{
	if (len_bytes)
		munmap(at, len_bytes);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
		int r = -errno;

		umem_fd_close(fd);
		return r;
	}
	umem_json_set_u64(answer->parameters, key, answer->n_fds);
	answer->fds[answer->n_fds++] = fd;
	return 0;
}
