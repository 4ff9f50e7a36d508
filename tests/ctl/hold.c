// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A process that holds still, with memory of several kinds for others to change.
 *
 * hold PAGES: prints one JSON line, {"pid", "areas": {name: [start, end]}}, each area of
 * PAGES pages, and does nothing until the end of file on stdin. Two thirds of each area
 * have content that does not compress, the rest was never touched. Each newline on stdin
 * makes it discard the first quarter of "anon", and is answered with a newline.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define PAGE 4096ul

struct area {
	const char *name;
	char *at;
};

static char *map(size_t len, int flags, int fd)
{
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	T_CHECK(at != MAP_FAILED);
	/* No neighbour that it could merge with. */
	T_SYS(madvise(at, len, MADV_DONTDUMP));
	return at;
}

static int make_memfd(size_t len)
{
	int fd = (int)T_SYS(memfd_create("hold", MFD_CLOEXEC));

	T_SYS(ftruncate(fd, (off_t)len));
	return fd;
}

/* Every page of it has content of its own, so that what is not written shows the file. */
static int make_file(size_t len, uint64_t *random)
{
	char path[] = "/var/tmp/umem-test-hold-XXXXXX";
	int fd = (int)T_SYS(mkostemp(path, O_CLOEXEC));
	uint64_t words[PAGE / 8];

	T_SYS(unlink(path));
	for (size_t at = 0; at < len; at += PAGE) {
		for (size_t i = 0; i < PAGE / 8; i++)
			words[i] = t_rand(random);
		T_CHECK(write(fd, words, PAGE) == (ssize_t)PAGE);
	}
	return fd;
}

int main(int argc, char **argv)
{
	size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 256, len = n * PAGE;
	uint64_t random = 1;
	struct area areas[] = {
		{ "anon", map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1) },
		{ "shared", map(len, MAP_SHARED | MAP_ANONYMOUS, -1) },
		{ "memfd", map(len, MAP_SHARED, make_memfd(len)) },
		{ "file", map(len, MAP_PRIVATE, make_file(len, &random)) },
	};
	char c;

	prctl(PR_SET_PDEATHSIG, 9);
	printf("{\"pid\":%d,\"areas\":{", getpid());
	for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		uint64_t *words = (uint64_t *)(void *)areas[i].at;

		for (size_t k = 0; k < len / 8 / 3 * 2; k++)
			words[k] = t_rand(&random);
		printf("%s\"%s\":[%lu,%lu]", i ? "," : "", areas[i].name,
			(unsigned long)areas[i].at, (unsigned long)areas[i].at + len);
	}
	printf("}}\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) == 1) {
		T_SYS(madvise(areas[0].at, len / 4 / PAGE * PAGE, MADV_DONTNEED));
		printf("\n");
		fflush(stdout);
	}
	return 0;
}
