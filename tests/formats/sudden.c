// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Exports that end suddenly: killed at any moment, or on a disk that becomes full. What
 * is at their place is whole, or what was there before.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "tests/formats/scene.h"

#define KILLS 25

static char *whole(const char *path, size_t *ret_len)
{
	char *text = NULL;

	T_OK(umem_read_file(AT_FDCWD, path, 1 << 24, &text, ret_len));
	return text;
}

static bool same(const char *a, const char *b)
{
	size_t len_a, len_b;
	UMEM_FREE char *text_a = whole(a, &len_a), *text_b = whole(b, &len_b);

	return len_a == len_b && memcmp(text_a, text_b, len_a) == 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

/* What a directory that was killed leaves is hidden; take it away. Return: how many. */
static unsigned remove_hidden(void)
{
	DIR *stream = opendir(".");
	struct dirent *entry;
	unsigned n = 0;

	T_CHECK(stream);
	while ((entry = readdir(stream))) {
		if (!strstr(entry->d_name, "umem-tmp"))
			continue;
		T_CHECK(entry->d_name[0] == '.');
		T_SYS(nftw(entry->d_name, remove_one, 16, FTW_DEPTH | FTW_PHYS));
		n++;
	}
	closedir(stream);
	return n;
}

/* A child that replaces the file again and again, and makes directories one after another. */
static void export_for_ever(void)
{
	for (unsigned i = 0;; i++) {
		char name[20];

		s_export(i & 1 ? "a.umem" : "b.umem", "raw", "raw", NULL, 0, NULL);
		s_export(i & 1 ? "a.umem" : "b.umem", "core", "core", NULL, 0, NULL);
		snprintf(name, sizeof(name), "dir-%u", i);
		s_export("a.umem", "criu", name, NULL, 0, NULL);
	}
}

/* Every directory that is there is whole; they go. Return: how many there were. */
static unsigned check_directories(void)
{
	unsigned n = 0;

	for (;; n++) {
		char name[20];

		snprintf(name, sizeof(name), "dir-%u", n);
		if (access(name, F_OK) < 0)
			return n;
		s_import("criu", name, NULL, 0, NULL);
		T_SYS(nftw(name, remove_one, 16, FTW_DEPTH | FTW_PHYS));
	}
}

static void killed(void)
{
	uint64_t rng = t_seed();
	unsigned hidden = 0, files = 0, folders = 0;

	s_make(&(struct scene){ 0 }, "a.umem");
	s_make(&(struct scene){ .generation = 1 }, "b.umem");
	s_export("a.umem", "raw", "a.raw", NULL, 0, NULL);
	s_export("b.umem", "raw", "b.raw", NULL, 0, NULL);
	s_export("a.umem", "core", "a.core", NULL, 0, NULL);
	s_export("b.umem", "core", "b.core", NULL, 0, NULL);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t pid = t_fork();

		if (pid == 0) {
			export_for_ever();
			_exit(1);
		}
		usleep((useconds_t)t_below(&rng, 150000));
		t_end(pid);
		if (access("raw", F_OK) == 0) {
			T_CHECK(same("raw", "a.raw") || same("raw", "b.raw"));
			files++;
		}
		if (access("core", F_OK) == 0)
			T_CHECK(same("core", "a.core") || same("core", "b.core"));
		folders += check_directories();
		hidden += remove_hidden();
	}
	printf("%u kills: %u times a whole file, %u whole directories, %u hidden names\n", KILLS,
		files, folders, hidden);
	T_CHECK(files + folders > 0);
}

/* A file system of 128 KiB of our own; it goes with this process. */
static bool small_disk(void)
{
	T_SYS(mkdir("small", 0700));
	if (unshare(CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("small", "small", "tmpfs", 0, "size=128k") < 0)
		return false;
	return true;
}

static void full(void)
{
	struct umem_image_writer *writer;
	const struct umem_image_region region = { .start = S_ANON, .end = S_ANON + 64 * S_PAGE,
		.vma_flags = 3 };
	const struct umem_image_process process = { .pid = 10, .regions = &region, .n_regions = 1 };
	char text[4] = "";
	UMEM_FD int fd = -1;

	if (!small_disk()) {
		printf("no file system could be mounted: a full disk was not tried\n");
		return;
	}
	T_OK(umem_image_create("large.umem", NULL, &writer, NULL));
	for (uint64_t i = 0; i < 64; i++) {
		uint8_t page[S_PAGE];

		t_fill_page(page, i, 3);
		T_OK(umem_image_put(writer, 0, S_ANON + i * S_PAGE, page, 1));
	}
	T_OK(umem_image_describe(writer, &process, 1, NULL));
	T_OK(umem_image_commit(writer, NULL, NULL));
	umem_image_writer_free(writer);
	fd = (int)T_SYS(open("small/out", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	T_OK(umem_write_all(fd, "old", 3));
	fd = umem_fd_close(fd);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const formats[] = { "raw", "core", "criu" };

		s_export("large.umem", formats[i], i == 2 ? "small/dir" : "small/out", NULL,
			-ENOSPC, "No space");
		s_no_file("small/dir");
		s_read("small/out", 0, text, 3);
		T_CHECK(strcmp(text, "old") == 0);
	}
	T_SYS(chdir("small"));
	T_CHECK(remove_hidden() == 0);
	T_SYS(chdir(".."));
	T_SYS(umount("small"));
}

int main(void)
{
	s_begin();
	killed();
	s_begin();
	full();
	return 0;
}
