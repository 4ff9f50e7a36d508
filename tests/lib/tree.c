// SPDX-License-Identifier: LGPL-2.1-or-later
/* A scratch folder that stands in for /proc, /sys or a cgroup hierarchy. */
#include "tests/lib/tree.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"

static char root[] = "/tmp/umem-tree-XXXXXX";
static pid_t owner;

static int drop_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return remove(path);
}

static void drop_root(void)
{
	if (getpid() == owner)
		nftw(root, drop_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *t_tree(void)
{
	if (!owner) {
		T_CHECK(mkdtemp(root), "errno %d", errno);
		owner = getpid();
		atexit(drop_root);
	}
	return root;
}

/* "ROOT/NAME" and @end into @path, of PATH_MAX bytes. */
static void compose(char *path, const char *name, const char *end)
{
	int len = snprintf(path, PATH_MAX, "%s/%s%s", t_tree(), name, end);

	T_CHECK(len < PATH_MAX);
}

const char *t_tree_path(const char *name)
{
	static char paths[8][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % UMEM_ARRAY_LEN(paths)];

	compose(path, name, "");
	return path;
}

static void make_folders(char *path, char *end)
{
	for (char *at = path + strlen(t_tree()) + 1; at < end; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(path, 0755) < 0)
			T_CHECK(errno == EEXIST, "%s: errno %d", path, errno);
		*at = '/';
	}
}

void t_tree_folder(const char *name)
{
	char path[PATH_MAX];

	compose(path, name, "/");
	make_folders(path, path + strlen(path));
}

void t_tree_put(const char *name, const char *text)
{
	char path[PATH_MAX];

	compose(path, name, "");
	make_folders(path, path + strlen(path));
	UMEM_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	T_CHECK(fd >= 0, "%s: errno %d", path, errno);
	T_OK(umem_write_all(fd, text, strlen(text)));
}

void t_tree_drop(const char *name)
{
	T_SYS(nftw(t_tree_path(name), drop_one, 16, FTW_DEPTH | FTW_PHYS));
}
