// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The texts that lead to a process's cgroup: mountinfo up to the first NUL, behind it
 * /proc/PID/cgroup. What is found is an open cgroup below its mount; a refusal opens
 * nothing.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/cgroup.h"
#include "tests/lib/tree.h"

static void put(const char *name, const char *text, size_t len)
{
	UMEM_FD int fd = open(t_tree_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0 && umem_write_all(fd, text, len) == 0);
}

/* The lowest free descriptor tells whether one was left open. */
static int next_fd(void)
{
	int fd = open("/", O_PATH | O_CLOEXEC);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
	const uint8_t *nul = len_bytes ? memchr(data, '\0', len_bytes) : NULL;
	size_t head = nul ? (size_t)(nul - data) : len_bytes;
	struct umem_cgroup cgroup = UMEM_CGROUP_NONE;
	int r, fd;

	t_tree_folder("proc/self");
	t_tree_folder("proc/1");
	put("proc/self/mountinfo", (const char *)data, head);
	put("proc/1/cgroup", nul ? (const char *)nul + 1 : "", nul ? len_bytes - head - 1 : 0);
	fd = next_fd();
	r = umem_cgroup_of(t_tree_path("proc"), 1, &cgroup, NULL);
	if (r < 0) {
		FUZZ_CHECK(cgroup.fd == -1 && cgroup.psi_fd == -1 && !cgroup.path);
	} else {
		FUZZ_CHECK(r == 0 && (cgroup.version == 1 || cgroup.version == 2));
		FUZZ_CHECK(faccessat(cgroup.fd, "cgroup.procs", F_OK, 0) == 0);
		FUZZ_CHECK(cgroup.path && strlen(cgroup.path) > 0);
	}
	umem_cgroup_deinit(&cgroup);
	FUZZ_CHECK(next_fd() == fd);
	return 0;
}
