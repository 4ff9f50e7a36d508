// SPDX-License-Identifier: LGPL-2.1-or-later
/* Is DAMON at work on this machine, and for whom? */
#include "lib/kern/damon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/parse.h"

#define ADMIN "kernel/mm/damon/admin/kdamonds"

/* Nobody has more; each costs a system call or two. */
#define KDAMONDS_MAX 64u

/* Modules of the kernel that run a kdamond which the control files do not show. */
static const char *const modules[] = { "damon_reclaim", "damon_lru_sort", "damon_stat" };

/* The first line of a file of sysfs; empty on failure. Return: 0 or -errno. */
static int read_line(int sys_fd, const char *name, char *text, size_t size)
{
	UMEM_FD int fd = openat(sys_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	text[0] = '\0';
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

/* avail_operations is a line each. */
static void read_offered(int sys_fd, unsigned i, struct umem_damon *damon)
{
	UMEM_FREE char *text = NULL;
	char name[96];

	snprintf(name, sizeof(name), ADMIN "/%u/contexts/0/avail_operations", i);
	if (umem_read_file(sys_fd, name, 4096, &text, NULL) < 0)
		return;
	for (char *c = text; *c; c++)
		if (*c == '\n')
			*c = c[1] ? ' ' : '\0';
	snprintf(damon->offered, sizeof(damon->offered), "%s", text);
}

static int look(int sys_fd, struct umem_damon *damon)
{
	char name[96], text[64];
	int r = read_line(sys_fd, ADMIN "/nr_kdamonds", text, sizeof(text));

	if (r == -EACCES)
		return r;
	damon->has_control = r == 0;
	if (r == 0 && umem_parse_u64(text, &damon->n_kdamonds) < 0)
		damon->n_kdamonds = 0;
	for (unsigned i = 0; i < umem_min_u64(damon->n_kdamonds, KDAMONDS_MAX); i++) {
		if (!damon->offered[0])
			read_offered(sys_fd, i, damon);
		snprintf(name, sizeof(name), ADMIN "/%u/state", i);
		if (damon->user[0] || read_line(sys_fd, name, text, sizeof(text)) < 0 ||
			strcmp(text, "on") != 0)
			continue;
		/* There is no context while one is being set up. */
		snprintf(name, sizeof(name), ADMIN "/%u/contexts/0/operations", i);
		(void)read_line(sys_fd, name, text, sizeof(text));
		snprintf(damon->user, sizeof(damon->user), "kdamond %u (%.16s)", i,
			text[0] ? text : "?");
	}
	for (size_t i = 0; i < UMEM_ARRAY_LEN(modules) && !damon->user[0]; i++) {
		snprintf(name, sizeof(name), "module/%s/parameters/enabled", modules[i]);
		if (read_line(sys_fd, name, text, sizeof(text)) == 0 && text[0] == 'Y')
			snprintf(damon->user, sizeof(damon->user), "%s", modules[i]);
	}
	return 0;
}

int umem_damon_read(const char *sys, struct umem_damon *ret_damon)
{
	UMEM_FD int sys_fd = open(sys ? sys : "/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct umem_damon damon = { 0 };
	int r;

	if (sys_fd < 0)
		return -errno;
	r = look(sys_fd, &damon);
	if (r == 0)
		*ret_damon = damon;
	return r;
}
