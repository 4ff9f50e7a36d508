// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A program that tracks its own memory: it makes a userfaultfd, hands it to the
 * engine with a list of regions, and asks which pages changed.
 *
 *     cc self_dirty.c $(pkg-config --cflags --libs umemd-engine)
 *
 * Only public headers are used.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <umemd/umemd.h>

/* Newer than the headers of some distributions. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define PAGES 1024

static int print_range(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	uint64_t base = *(uint64_t *)user;

	printf("  pages %llu to %llu: %s\n", (unsigned long long)((start - base) / 4096),
		(unsigned long long)((end - base) / 4096 - 1), umem_why_name(why));
	return 0;
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	char *area = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t base = (uint64_t)area;
	struct umem_range range = { base, base + PAGES * 4096 };
	struct umem_target *target;
	struct umem_watch *watch;
	const struct umem_round *round;
	struct umem_note note = { 0 };
	int r, uffd = (int)syscall(SYS_userfaultfd,
		O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (area == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0) {
		printf("this kernel has no asynchronous write protection: %s\n",
			strerror(errno));
		return 77;
	}
	memset(area, 1, PAGES * 4096);
	r = umem_target_adopt(getpid(), uffd, &range, 1, NULL, &target, &note);
	if (r == 0)
		r = umem_watch_new(target, NULL, &watch, &note);
	if (r != 0) {
		fprintf(stderr, "cannot watch: %s\n", note.text);
		return 1;
	}
	for (int i = 1; i <= 3; i++) {
		memset(area + i * 100 * 4096, i, (size_t)i * 4096);
		r = umem_watch_collect(watch, &round, &note);
		if (r != 0) {
			fprintf(stderr, "cannot collect: %s\n", note.text);
			return 1;
		}
		printf("round %llu: %llu bytes\n", (unsigned long long)round->round,
			(unsigned long long)round->dirty_bytes);
		umem_watch_each(watch, print_range, &base);
		for (size_t k = 0; k < round->n_incomplete; k++)
			printf("  incomplete: %s\n", round->incomplete[k].reason);
		/* What this loop wrote, and nothing else. */
		if (round->dirty_bytes != (uint64_t)i * 4096 || !round->complete)
			return 1;
	}
	umem_watch_free(watch);
	umem_target_free(target);
	printf("umemd %s\n", umem_version());
	return 0;
}
