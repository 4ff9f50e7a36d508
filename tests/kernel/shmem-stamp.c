// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The times of a shared memory file change when it is punched, truncated or
 * written through a descriptor, and do not change by stores.
 *
 * The times come from a clock of one tick (4 ms at 250 Hz). A file system
 * with multigrain timestamps gives a finer one to a change after the old time
 * was queried; without, two changes in one tick look the same: the last part
 * tells which it is.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 16

struct stamp {
	struct timespec m, c;
};

static struct stamp stamp(int fd)
{
	struct stat st;

	T_SYS(fstat(fd, &st));
	return (struct stamp){ st.st_mtim, st.st_ctim };
}

static bool same(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* A new tick: what is changed after this carries a new time by any clock. */
static void settle(void)
{
	t_msleep(12);
}

static const char *moved(int fd, struct stamp before)
{
	struct stamp now = stamp(fd);
	bool m = !same(before.m, now.m), c = !same(before.c, now.c);

	return m && c ? "both" : m ? "mtime" : c ? "ctime" : "none";
}

static void check(int fd, struct stamp before, const char *want, const char *file, const char *what)
{
	const char *got = moved(fd, before);

	k_fact("%s: %s: %s", file, what, got);
	T_CHECK(strcmp(got, want) == 0, "(%s: %s: want %s, got %s)", file, what, want, got);
}

/* Stores by page state: which of them touch the file's times? */
static void stores(int fd, char *at, const char *file)
{
	struct stamp s;
	volatile char sink;

	settle();
	s = stamp(fd);
	k_touch(at, 4 * K_PAGE, 2);
	check(fd, s, "none", file, "stores to mapped pages");
	T_SYS(madvise(at, N * K_PAGE, MADV_DONTNEED));
	s = stamp(fd);
	sink = at[0];
	(void)sink;
	check(fd, s, "none", file, "read fault of a page that is there");
	at[1 * K_PAGE] = 3;
	check(fd, s, "none", file, "write fault of a page that is there");
}

static void holes(int fd, char *at, const char *file)
{
	struct stamp s;
	volatile char sink;

	settle();
	s = stamp(fd);
	sink = at[12 * K_PAGE];
	(void)sink;
	k_fact("%s: read fault of a hole: %s", file, moved(fd, s));
	settle();
	s = stamp(fd);
	at[13 * K_PAGE] = 3;
	k_fact("%s: write fault of a hole: %s", file, moved(fd, s));
}

static void changes(int fd, char *at, const char *file)
{
	struct stamp s;

	settle();
	s = stamp(fd);
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * K_PAGE, K_PAGE));
	check(fd, s, "both", file, "fallocate PUNCH_HOLE");
	settle();
	s = stamp(fd);
	T_SYS(madvise(at + 5 * K_PAGE, K_PAGE, MADV_REMOVE));
	check(fd, s, "both", file, "MADV_REMOVE");
	settle();
	s = stamp(fd);
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * K_PAGE, K_PAGE));
	k_fact("%s: a punch of what is a hole: %s", file, moved(fd, s));
	settle();
	s = stamp(fd);
	T_CHECK(pwrite(fd, "x", 1, 0) == 1);
	check(fd, s, "both", file, "write(2)");
	settle();
	s = stamp(fd);
	T_SYS(ftruncate(fd, 15 * K_PAGE));
	check(fd, s, "both", file, "ftruncate, smaller");
	settle();
	s = stamp(fd);
	T_SYS(ftruncate(fd, 15 * K_PAGE));
	k_fact("%s: ftruncate to the same size: %s", file, moved(fd, s));
	T_SYS(ftruncate(fd, N * K_PAGE));
	settle();
	s = stamp(fd);
	T_SYS(fallocate(fd, 0, 0, N * K_PAGE));
	k_fact("%s: fallocate that fills holes: %s", file, moved(fd, s));
}

/* How often do two changes, with a fstat between them, carry one time? */
static void two_in_a_tick(int fd, const char *file)
{
	int equal = 0, equal_unasked = 0;

	for (int i = 0; i < 200; i++) {
		struct stamp a;

		T_CHECK(pwrite(fd, "a", 1, 0) == 1);
		a = stamp(fd);
		T_CHECK(pwrite(fd, "b", 1, 0) == 1);
		equal += same(a.m, stamp(fd).m) && same(a.c, stamp(fd).c);
	}
	for (int i = 0; i < 200; i++) {
		struct stamp a = stamp(fd), b;

		T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, K_PAGE));
		b = stamp(fd);
		equal_unasked += same(a.m, b.m) && same(a.c, b.c);
	}
	k_fact("%s: write(2), fstat, write(2): the same times %d of 200; "
	       "punch after punch %d of 200", file, equal, equal_unasked);
	/* After two ticks without a change no later one can carry the old time. */
	for (int i = 0; i < 10; i++) {
		struct stamp a;

		settle();
		a = stamp(fd);
		T_CHECK(pwrite(fd, "c", 1, 0) == 1);
		T_CHECK(!same(a.m, stamp(fd).m));
	}
}

static void run(int fd, char *at, const char *file)
{
	k_touch(at, 12 * K_PAGE, 1);
	stores(fd, at, file);
	holes(fd, at, file);
	changes(fd, at, file);
	two_in_a_tick(fd, file);
}

int main(void)
{
	int fd = k_memfd(N * K_PAGE);
	char path[80], *at;

	run(fd, k_map(N * K_PAGE, MAP_SHARED, fd), "memfd");

	at = k_map(N * K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		(unsigned long)at + N * K_PAGE);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		T_SKIP("cannot open /proc/self/map_files: %s", strerror(errno));
	run(fd, at, "MAP_SHARED|MAP_ANONYMOUS");
	return 0;
}
