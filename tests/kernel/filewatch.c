// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * fanotify by descriptor tells each truncate, punch and write(2) of a file, named or not,
 * and no store through a mapping. Memory without a name says nothing of punches.
 */
#include <fcntl.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define BYTES (16 * K_PAGE)

static bool any(int watch)
{
	char events[4096];
	bool told = false;

	while (read(watch, events, sizeof(events)) > 0)
		told = true;
	T_CHECK(errno == EAGAIN);
	return told;
}

/* @named: punches and write(2) have to be told. */
static void look(const char *what, int fd, char *at, bool named)
{
	bool punched, removed, written;
	int watch = (int)T_SYS(fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK |
				FAN_CLOEXEC, 0));

	T_SYS(fanotify_mark(watch, FAN_MARK_ADD, FAN_MODIFY, fd, NULL));
	k_touch(at, BYTES, 1);
	T_CHECK(!any(watch), "%s: a store was told", what);
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, K_PAGE));
	punched = any(watch);
	T_SYS(madvise(at + K_PAGE, K_PAGE, MADV_REMOVE));
	removed = any(watch);
	T_SYS(ftruncate(fd, BYTES / 2));
	T_CHECK(any(watch), "%s: truncate", what);
	T_SYS(ftruncate(fd, BYTES));
	T_CHECK(any(watch), "%s: extension", what);
	T_CHECK(pwrite(fd, "x", 1, 0) == 1);
	written = any(watch);
	T_SYS(madvise(at, BYTES, MADV_DONTNEED));
	T_CHECK(!any(watch), "%s: a discard was told", what);
	k_fact("%s: truncate told, punch %stold, MADV_REMOVE %stold, write(2) %stold, store not",
		what, punched ? "" : "not ", removed ? "" : "not ", written ? "" : "not ");
	T_CHECK(!named || (punched && removed && written));
	close(watch);
}

static int no_name(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		T_SKIP("no file without a name in %s: %s", dir, strerror(errno));
	T_SYS(ftruncate(fd, BYTES));
	return fd;
}

int main(void)
{
	int disk = no_name("/var/tmp"), tmpfs = no_name("/dev/shm"), memfd = k_memfd(BYTES);

	look("tmpfs", tmpfs, k_map(BYTES, MAP_SHARED, tmpfs), true);
	look("disk", disk, k_map(BYTES, MAP_SHARED, disk), true);
	look("memfd", memfd, k_map(BYTES, MAP_SHARED, memfd), false);
	return 0;
}
