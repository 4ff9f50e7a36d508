// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Registering a part of a mapping cuts it in two, and that is no secret to the program:
 * its own mremap(2) over the cut fails (EFAULT). When the part is unregistered, the
 * mappings are one again, and the call works.
 *
 * So who registers by a list of mappings that may be out of date has to look afterwards
 * whether what was registered is whole mappings.
 */
#include <sys/mman.h>

#include "tests/kernel/scratch.h"

#define N 16

/* Move all of [@at, @at + N pages) and back. Return: 0 or -errno. */
static int move(char *at)
{
	char *place = k_map(N * K_PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	if (mremap(at, N * K_PAGE, N * K_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) != place) {
		int r = -errno;

		munmap(place, N * K_PAGE);
		return r;
	}
	T_CHECK(mremap(place, N * K_PAGE, N * K_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
	return 0;
}

int main(void)
{
	int uffd = k_uffd(K_TRACK);
	/* With a gap on each side, so that no neighbour is merged with it. */
	char *at = k_map((N + 2) * K_PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1) + K_PAGE;
	int r;

	T_SYS(munmap(at - K_PAGE, K_PAGE));
	T_SYS(munmap(at + N * K_PAGE, K_PAGE));
	k_touch(at, N * K_PAGE, 1);
	T_OK(move(at));

	T_OK(k_register(uffd, at, N * K_PAGE));
	T_OK(umem_uffd_unregister(uffd, (uintptr_t)at, (uintptr_t)at + N * K_PAGE));
	T_OK(move(at));

	T_OK(k_register(uffd, at, N / 2 * K_PAGE));
	r = move(at);
	k_fact("mremap over half a registered mapping: %s", strerror(-r));
	T_CHECK(r == -EFAULT);

	T_OK(umem_uffd_unregister(uffd, (uintptr_t)at, (uintptr_t)at + N / 2 * K_PAGE));
	T_OK(move(at));
	return 0;
}
