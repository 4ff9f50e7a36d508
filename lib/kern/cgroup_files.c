// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory cgroups: who is in one, what it uses, making it give back.
 *
 * A file that is not there means two things: the controller is not on, or the cgroup
 * was removed, whose folder has no file any more. cgroup.procs tells which.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cursor.h"
#include "lib/base/fd.h"
#include "lib/base/fields.h"
#include "lib/kern/cgroup.h"

#define NUMBER_MAX_BYTES 64u
#define STAT_MAX_BYTES   (1u << 20)
/* Four million processes, the most that a kernel has. */
#define PROCS_MAX_BYTES  (48u << 20)
#define FOLDERS_MAX      65536u
#define LEVELS_MAX       64

#define RECLAIM_STEP_BYTES (32u << 20)
#define SIGNALS_MAX        64

/* PAGE_COUNTER_MAX in bytes: how version 1 writes "no limit", whatever the page size. */
#define V1_NO_LIMIT ((uint64_t)INT64_MAX & ~0xffffull)

void umem_cgroup_pids_deinit(struct umem_cgroup_pids *pids)
{
	free(pids->v);
	*pids = (struct umem_cgroup_pids){ 0 };
}

/* What a failure to open one of its files means. */
static int missing(const struct umem_cgroup *cgroup, int err)
{
	if (err != -ENOENT)
		return err;
	return faccessat(cgroup->fd, "cgroup.procs", F_OK, 0) == 0 ? -EOPNOTSUPP : -ENODEV;
}

static int compare_ids(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void tidy(struct umem_cgroup_pids *pids)
{
	size_t n = 0;

	if (pids->n == 0)
		return;
	qsort(pids->v, pids->n, sizeof(*pids->v), compare_ids);
	for (size_t i = 0; i < pids->n; i++) {
		if (n == 0 || pids->v[n - 1] != pids->v[i])
			pids->v[n++] = pids->v[i];
	}
	pids->n = n;
}

struct walk {
	struct umem_cgroup_pids *pids;
	size_t max;
	size_t n_folders;
	bool more; /* some were left out */
	bool full; /* no more can be taken */
};

static int add(struct walk *walk, int pid)
{
	struct umem_cgroup_pids *pids = walk->pids;

	if (pids->n == walk->max) {
		tidy(pids);
		walk->full = pids->n == walk->max &&
			(!pids->n || !bsearch(&pid, pids->v, pids->n, sizeof(pid), compare_ids));
		if (pids->n == walk->max)
			return 0;
	}
	if (pids->n == pids->room) {
		size_t room = pids->room ? pids->room * 2 : 64;
		int *v = reallocarray(pids->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		pids->v = v;
		pids->room = room;
	}
	pids->v[pids->n++] = pid;
	return 0;
}

static int read_procs(struct walk *walk, int dirfd)
{
	UMEM_FREE char *text = NULL;
	struct umem_cursor c, line;
	size_t len;
	int r = umem_read_file(dirfd, "cgroup.procs", PROCS_MAX_BYTES, &text, &len);

	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	c = umem_cursor_init(text, len);
	while (!walk->full && umem_cursor_line(&c, &line)) {
		uint64_t pid;

		if (!umem_cursor_dec(&line, &pid) || umem_cursor_left(&line) || pid > INT_MAX)
			return -EBADMSG;
		if (pid == 0)
			walk->pids->n_unseen++;
		else
			r = add(walk, (int)pid);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Gone meanwhile, or threads of a process that is listed where its domain is. */
static bool passed_over(int err)
{
	return err == -ENOENT || err == -ENODEV || err == -EOPNOTSUPP || err == -ENOTDIR;
}

static int walk_folder(struct walk *walk, int dirfd, int level);

static int walk_below(struct walk *walk, int dirfd, const char *name, int level)
{
	UMEM_FD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = fd < 0 ? -errno : walk_folder(walk, fd, level);

	return r < 0 && passed_over(r) ? 0 : r;
}

static int walk_folder(struct walk *walk, int dirfd, int level)
{
	int r = read_procs(walk, dirfd), fd;
	struct dirent *entry;
	DIR *dir;

	/* Threaded folders may have others below; what is gone has none. */
	if (r < 0 && !(level > 0 && r == -EOPNOTSUPP))
		return r;
	r = 0;
	walk->full = walk->full || ++walk->n_folders > FOLDERS_MAX;
	if (walk->full || level == LEVELS_MAX) {
		walk->more = true;
		return 0;
	}
	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		umem_fd_close(fd);
		return r;
	}
	while (r == 0 && !walk->full) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			r = -errno;
			break;
		}
		if (entry->d_name[0] == '.' &&
			(!entry->d_name[1] || strcmp(entry->d_name, "..") == 0))
			continue;
		if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)
			r = walk_below(walk, fd, entry->d_name, level + 1);
	}
	closedir(dir);
	return r;
}

int umem_cgroup_pids(const struct umem_cgroup *cgroup, size_t max,
	struct umem_cgroup_pids *pids)
{
	struct walk walk = { .pids = pids, .max = max };
	int r;

	pids->n = 0;
	pids->n_unseen = 0;
	r = walk_folder(&walk, cgroup->fd, 0);
	if (r < 0) {
		pids->n = 0;
		pids->n_unseen = 0;
		return r == -ENOENT ? -ENODEV : r;
	}
	tidy(pids);
	return walk.more || walk.full ? UMEM_CGROUP_MORE : 0;
}

/* A file of one number; "max" is UINT64_MAX. */
static int read_number(int dirfd, const char *name, uint64_t *ret_value)
{
	UMEM_FREE char *text = NULL;
	struct umem_cursor c;
	uint64_t value;
	size_t len;
	int r = umem_read_file(dirfd, name, NUMBER_MAX_BYTES, &text, &len);

	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	c = umem_cursor_init(text, len);
	if (umem_cursor_str(&c, "max"))
		value = UINT64_MAX;
	else if (!umem_cursor_dec(&c, &value))
		return -EBADMSG;
	if (!umem_cursor_char(&c, '\n') || umem_cursor_left(&c))
		return -EBADMSG;
	*ret_value = value;
	return 0;
}

/* As read_number(); @otherwise where there is no such file. */
static int read_number_or(int dirfd, const char *name, uint64_t otherwise, uint64_t *ret_value)
{
	int r = read_number(dirfd, name, ret_value);

	if (r != -ENOENT)
		return r;
	*ret_value = otherwise;
	return 0;
}

/* What the swap limits leave, of this folder and of those above up to the root. */
static int v2_swap_room(int dirfd, uint64_t *ret_bytes)
{
	UMEM_FD int at = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	uint64_t room = UINT64_MAX, used = 0, limit = UINT64_MAX;

	if (at < 0)
		return -errno;
	for (;;) {
		int r = read_number(at, "memory.swap.max", &limit), parent;

		/* The root has no such file, what lies above it neither. */
		if (r == -ENOENT)
			break;
		if (r == 0)
			r = read_number(at, "memory.swap.current", &used);
		if (r < 0)
			return r;
		if (limit != UINT64_MAX)
			room = umem_min_u64(room, used < limit ? limit - used : 0);
		parent = openat(at, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent < 0)
			return -errno;
		umem_fd_close(at);
		at = parent;
	}
	*ret_bytes = room;
	return 0;
}

static int v2_usage(int dirfd, struct umem_cgroup_usage *usage)
{
	int r = read_number(dirfd, "memory.current", &usage->memory_bytes);

	if (r == 0)
		r = read_number(dirfd, "memory.max", &usage->memory_max_bytes);
	if (r < 0)
		return r;
	r = read_number(dirfd, "memory.swap.current", &usage->swap_bytes);
	if (r == -ENOENT)
		return 0;
	usage->has_swap = true;
	return r < 0 ? r : v2_swap_room(dirfd, &usage->swap_room_bytes);
}

static int v1_limit(int dirfd, const char *name, uint64_t *ret_bytes)
{
	uint64_t value;
	int r = read_number_or(dirfd, name, UINT64_MAX, &value);

	if (r == 0)
		*ret_bytes = value >= V1_NO_LIMIT ? UINT64_MAX : value;
	return r;
}

static int v1_usage(int dirfd, struct umem_cgroup_usage *usage)
{
	static const struct umem_field fields[] = {
		{ "total_swap", offsetof(struct umem_cgroup_usage, swap_bytes) },
	};
	UMEM_FREE char *text = NULL;
	size_t len = 0;
	int r = read_number(dirfd, "memory.usage_in_bytes", &usage->memory_bytes);

	if (r == 0)
		r = v1_limit(dirfd, "memory.limit_in_bytes", &usage->memory_max_bytes);
	if (r == 0)
		r = v1_limit(dirfd, "memory.memsw.limit_in_bytes", &usage->memsw_max_bytes);
	if (r == 0)
		r = umem_read_file(dirfd, "memory.stat", STAT_MAX_BYTES, &text, &len);
	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	usage->has_swap = umem_fields_parse(text, len, fields, 1, usage) == 1;
	return 0;
}

int umem_cgroup_usage(const struct umem_cgroup *cgroup, struct umem_cgroup_usage *ret_usage)
{
	struct umem_cgroup_usage usage = {
		.memory_max_bytes = UINT64_MAX,
		.swap_room_bytes = UINT64_MAX,
		.memsw_max_bytes = UINT64_MAX,
	};
	int r = cgroup->version == 2 ? v2_usage(cgroup->fd, &usage) : v1_usage(cgroup->fd, &usage);

	if (r < 0)
		return missing(cgroup, r);
	*ret_usage = usage;
	return 0;
}

int umem_cgroup_psi(const struct umem_cgroup *cgroup, struct umem_psi *ret_psi)
{
	int r = cgroup->psi_fd < 0 ? -ENOENT :
		umem_psi_read(cgroup->psi_fd, "memory.pressure", ret_psi);

	/* Without a cgroup, not without PSI. */
	if (r == -ENOENT && faccessat(cgroup->fd, "cgroup.procs", F_OK, 0) < 0)
		return -ENODEV;
	return r;
}

/* Write @text to a control file; again after each signal, @signals of which are left. */
static int command(int fd, const char *text, int *signals)
{
	for (;;) {
		ssize_t n = write(fd, text, strlen(text));

		if (n >= 0)
			return 0;
		if (errno != EINTR || --*signals < 0)
			return -errno;
	}
}

static int open_command(const struct umem_cgroup *cgroup, const char *name, int *ret_fd)
{
	int fd = openat(cgroup->fd, name, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return missing(cgroup, -errno);
	*ret_fd = fd;
	return 0;
}

int umem_cgroup_reclaim(const struct umem_cgroup *cgroup, uint64_t bytes)
{
	int signals = SIGNALS_MAX;
	UMEM_FD int fd = -1;
	int r = open_command(cgroup, "memory.reclaim", &fd);

	while (r == 0 && bytes > 0) {
		uint64_t step = umem_min_u64(bytes, RECLAIM_STEP_BYTES);
		char text[32];

		snprintf(text, sizeof(text), "%llu\n", (unsigned long long)step);
		r = command(fd, text, &signals);
		bytes -= step;
	}
	return r == -EAGAIN ? UMEM_CGROUP_PARTIAL : r;
}

int umem_cgroup_force_empty(const struct umem_cgroup *cgroup)
{
	int signals = SIGNALS_MAX;
	UMEM_FD int fd = -1;
	int r = open_command(cgroup, "memory.force_empty", &fd);

	return r < 0 ? r : command(fd, "0\n", &signals);
}
