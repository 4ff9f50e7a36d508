// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What images rely on of files: one without a name is given one whole, by a link that
 * replaces nothing; who writes it may be killed, and nothing is left; a hole punched into
 * what was written past the page cache reads as zeros and gives the room back, and so
 * does room that was allocated and never written.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"
#include "tests/lib/tree.h"

#define N 64ul

static char *buffer;

/* The file system of the scratch folder may know no nameless files. */
static int nameless(void)
{
	int fd = open(t_tree(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EINVAL)
		T_SKIP("no O_DIRECT in %s", t_tree());
	if (fd < 0)
		T_SKIP("no O_TMPFILE in %s: %s", t_tree(), strerror(errno));
	return fd;
}

static unsigned n_names(void)
{
	DIR *dir = opendir(t_tree());
	struct dirent *entry;
	unsigned n = 0;

	T_CHECK(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int link_as(int fd, const char *name)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, t_tree_path(name), AT_SYMLINK_FOLLOW) < 0 ?
		-errno : 0;
}

static void write_all(int fd, char what)
{
	memset(buffer, what, N * K_PAGE);
	T_CHECK(pwrite(fd, buffer, N * K_PAGE, 0) == (ssize_t)(N * K_PAGE));
}

static void names(void)
{
	int first = nameless(), second = nameless();
	struct stat st;

	write_all(first, 'a');
	write_all(second, 'b');
	T_CHECK(n_names() == 0);
	T_OK(link_as(first, "name"));
	T_CHECK(n_names() == 1);
	T_CHECK(link_as(second, "name") == -EEXIST);
	T_OK(link_as(second, "other"));
	T_SYS(rename(t_tree_path("other"), t_tree_path("name")));
	T_CHECK(n_names() == 1);
	T_SYS(stat(t_tree_path("name"), &st));
	T_CHECK(st.st_size == (off_t)(N * K_PAGE));
	/* What was replaced lives on for who has it open. */
	T_CHECK(pread(first, buffer, K_PAGE, 0) == (ssize_t)K_PAGE && buffer[0] == 'a');
	T_SYS(unlink(t_tree_path("name")));
	close(first);
	close(second);
}

static void killed(void)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = t_fork();

		if (pid == 0) {
			for (;;) {
				int fd = nameless();

				write_all(fd, 'x');
				close(fd);
			}
		}
		t_msleep(2);
		t_end(pid);
		T_CHECK(n_names() == 0);
	}
}

/* All of [start, end) reads as @what, by the page cache and past it. */
static void check(int fd, size_t start, size_t end, char what)
{
	char self[64];
	int cached;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	cached = (int)T_SYS(open(self, O_RDONLY | O_CLOEXEC));
	for (int i = 0; i < 2; i++) {
		T_CHECK(pread(i ? cached : fd, buffer, (end - start) * K_PAGE,
			(off_t)(start * K_PAGE)) == (ssize_t)((end - start) * K_PAGE));
		for (size_t k = 0; k < (end - start) * K_PAGE; k++)
			T_CHECK(buffer[k] == what);
	}
	close(cached);
}

static void holes(void)
{
	int fd = nameless();
	struct stat before, after;

	/* Room ahead, of which only the beginning is written. */
	if (fallocate(fd, 0, 0, 4 * N * K_PAGE) < 0)
		T_SKIP("no fallocate in %s: %s", t_tree(), strerror(errno));
	write_all(fd, 'c');
	check(fd, 0, N, 'c');
	check(fd, N, 2 * N, 0);
	check(fd, 3 * N, 4 * N, 0);
	T_SYS(fstat(fd, &before));
	T_SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16 * K_PAGE, 16 * K_PAGE));
	T_SYS(fstat(fd, &after));
	k_fact("%lld blocks of 512 before, %lld after a hole of %lu", (long long)before.st_blocks,
		(long long)after.st_blocks, 16 * K_PAGE / 512);
	T_CHECK(after.st_size == before.st_size);
	T_CHECK(after.st_blocks <= before.st_blocks - (blkcnt_t)(16 * K_PAGE / 512));
	check(fd, 0, 16, 'c');
	check(fd, 16, 32, 0);
	check(fd, 32, N, 'c');
	T_SYS(ftruncate(fd, N * K_PAGE));
	T_SYS(fstat(fd, &after));
	T_CHECK(after.st_blocks < (blkcnt_t)(N * K_PAGE / 512));
	close(fd);
}

int main(void)
{
	buffer = k_map(2 * N * K_PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	names();
	killed();
	holes();
	return 0;
}
