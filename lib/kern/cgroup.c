// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory cgroups: finding and opening them.
 *
 * Theory of operation
 *
 * Two files make a folder out of a process:
 *
 *     /proc/PID/cgroup         4:memory:/a/b            version 1
 *                              0::/a/b                  version 2
 *     /proc/self/mountinfo     ... /a /sys/fs/cgroup/memory ... - cgroup ... rw,memory
 *                                   |  |
 *                    root of the mount  where it is      -> /sys/fs/cgroup/memory/b
 *
 * Both paths are relative to the reader's cgroup namespace. A process outside of it
 * has "/../..." there, which must not be resolved in the file system: it would leave
 * the mount for whatever lies beside it. Any ".." is therefore "not to be seen from
 * here".
 *
 * Which hierarchy: version 2 if its cgroup.controllers has memory, else the mount of
 * version 1 that says memory. Where both versions are mounted ("hybrid") version 2
 * has no controllers and is good for pressure only, which it has without any.
 *
 * What a folder is, its files tell (cgroup.procs: a cgroup; cgroup.controllers:
 * version 2; memory.*: the controller is on), never its place or its file system:
 * so a tree of plain files can stand in for it.
 */
#include "lib/kern/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cursor.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

#define MOUNTINFO_MAX_BYTES (16u << 20)
#define CGROUP_MAX_BYTES    (1u << 20)
#define MOUNTS_MAX          64u

struct mount {
	int version;
	bool has_memory;
	char *root;
	char *point;
};

/* Mounts of cgroup hierarchies, in the order they were mounted; all zero is none. */
struct mounts {
	struct mount v[MOUNTS_MAX];
	size_t n;
};

static void mounts_deinit(struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->n; i++) {
		free(mounts->v[i].root);
		free(mounts->v[i].point);
	}
	mounts->n = 0;
}

void umem_cgroup_deinit(struct umem_cgroup *cgroup)
{
	umem_fd_close(cgroup->fd);
	umem_fd_close(cgroup->psi_fd);
	free(cgroup->path);
	*cgroup = UMEM_CGROUP_NONE;
}

/* Has the list of words, parted by @separator, this one? */
static bool has_word(const char *text, size_t len, char separator, const char *word)
{
	const char *at = text, *end = text + len;

	while (at < end) {
		const char *stop = memchr(at, separator, (size_t)(end - at));

		if (!stop)
			stop = end;
		if ((size_t)(stop - at) == strlen(word) &&
			memcmp(at, word, (size_t)(stop - at)) == 0)
			return true;
		at = stop + 1;
	}
	return false;
}

static bool v2_has_memory(const char *point)
{
	UMEM_FREE char *text = NULL;
	char path[PATH_MAX];
	size_t len;

	if (snprintf(path, sizeof(path), "%s/cgroup.controllers", point) >= (int)sizeof(path) ||
		umem_read_file(AT_FDCWD, path, CGROUP_MAX_BYTES, &text, &len) < 0)
		return false;
	return has_word(text, strcspn(text, "\n"), ' ', "memory");
}

/* The next word of a line, unescaped. Return: NULL if none, or no memory. */
static char *path_word(struct umem_cursor *line)
{
	struct umem_cursor word;
	char *path;

	if (!umem_cursor_word(line, &word))
		return NULL;
	path = malloc(umem_cursor_left(&word) + 1);
	if (path && !umem_cursor_unescape(word, path)) {
		free(path);
		path = NULL;
	}
	umem_cursor_spaces(line);
	return path;
}

static bool skip_word(struct umem_cursor *line, struct umem_cursor *ret_word)
{
	if (!umem_cursor_word(line, ret_word))
		return false;
	umem_cursor_spaces(line);
	return true;
}

static bool word_is(const struct umem_cursor *word, const char *want)
{
	return umem_cursor_left(word) == strlen(want) &&
		memcmp(word->at, want, strlen(want)) == 0;
}

/* A line of mountinfo; false for one that is no cgroup mount of use. */
static bool parse_mount(struct umem_cursor line, struct mount *ret_mount)
{
	UMEM_FREE char *root = NULL;
	UMEM_FREE char *point = NULL;
	struct umem_cursor word, type, options;
	struct mount mount = { 0 };

	for (int i = 0; i < 3; i++) {
		if (!skip_word(&line, &word))
			return false;
	}
	root = path_word(&line);
	point = root ? path_word(&line) : NULL;
	if (!point)
		return false;
	/* Options, optional fields, and a dash behind them. */
	do {
		if (!skip_word(&line, &word))
			return false;
	} while (!word_is(&word, "-"));
	if (!skip_word(&line, &type) || !skip_word(&line, &word) || !skip_word(&line, &options))
		return false;
	if (word_is(&type, "cgroup2")) {
		mount.version = 2;
		mount.has_memory = v2_has_memory(point);
	} else if (word_is(&type, "cgroup") &&
		has_word(options.at, umem_cursor_left(&options), ',', "memory")) {
		mount.version = 1;
		mount.has_memory = true;
	} else {
		return false;
	}
	mount.root = UMEM_TAKE_PTR(root);
	mount.point = UMEM_TAKE_PTR(point);
	*ret_mount = mount;
	return true;
}

static int read_mounts(const char *proc, struct mounts *mounts)
{
	UMEM_FREE char *text = NULL;
	struct umem_cursor c, line;
	char path[PATH_MAX];
	size_t len;
	int r;

	if (snprintf(path, sizeof(path), "%s/self/mountinfo", proc) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = umem_read_file(AT_FDCWD, path, MOUNTINFO_MAX_BYTES, &text, &len);
	if (r < 0)
		return r;
	c = umem_cursor_init(text, len);
	while (mounts->n < MOUNTS_MAX && umem_cursor_line(&c, &line))
		mounts->n += parse_mount(line, &mounts->v[mounts->n]);
	return 0;
}

static bool climbs(const char *path)
{
	for (const char *at = path; (at = strstr(at, "..")); at += 2) {
		if ((at == path || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
			return true;
	}
	return false;
}

/*
 * The folder of @path, of this hierarchy, below the mount's place: a suffix of @path,
 * or NULL when it is not below the mount's root.
 */
static const char *below(const struct mount *mount, const char *path)
{
	size_t len = strlen(mount->root);

	if (climbs(path))
		return NULL;
	if (strcmp(mount->root, "/") == 0)
		return path;
	if (strncmp(path, mount->root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return path + len;
}

static bool has_file(int dirfd, const char *name)
{
	return faccessat(dirfd, name, F_OK, 0) == 0;
}

/* Open a folder that is a cgroup. Return: 0, -EINVAL when it is none, -errno. */
static int open_folder(const char *point, const char *rest, struct umem_cgroup *ret_cgroup)
{
	struct umem_cgroup cgroup = UMEM_CGROUP_NONE;
	UMEM_FREE char *path = NULL;
	UMEM_FD int fd = -1;
	size_t len;

	if (asprintf(&path, "%s%s%s", point, *rest && *rest != '/' ? "/" : "", rest) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!has_file(fd, "cgroup.procs"))
		return -EINVAL;
	cgroup.version = has_file(fd, "cgroup.controllers") ? 2 : 1;
	cgroup.has_memory = cgroup.version == 1 ? has_file(fd, "memory.usage_in_bytes") :
		has_file(fd, "memory.current") || has_file(fd, "memory.reclaim");
	if (cgroup.version == 2) {
		cgroup.psi_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (cgroup.psi_fd < 0)
			return -errno;
	}
	cgroup.fd = umem_fd_take(&fd);
	cgroup.path = UMEM_TAKE_PTR(path);
	*ret_cgroup = cgroup;
	return 0;
}

/* The path in a line "ID:CONTROLLERS:PATH", if it is that hierarchy's. */
static bool path_of_line(struct umem_cursor line, int version, struct umem_cursor *ret_path)
{
	struct umem_cursor controllers;
	const char *colon;
	uint64_t id;

	if (!umem_cursor_dec(&line, &id) || !umem_cursor_char(&line, ':'))
		return false;
	colon = memchr(line.at, ':', umem_cursor_left(&line));
	if (!colon)
		return false;
	controllers = umem_cursor_init(line.at, (size_t)(colon - line.at));
	if (version == 2 ? id != 0 || umem_cursor_left(&controllers) != 0 :
		!has_word(controllers.at, umem_cursor_left(&controllers), ',', "memory"))
		return false;
	line.at = colon + 1;
	*ret_path = line;
	return umem_cursor_left(&line) > 0 && *line.at == '/';
}

/* The path of a process in a hierarchy, to be freed. Return: 0, -ENOENT, -ENOMEM. */
static int path_of(const char *text, size_t len, int version, char **ret_path)
{
	struct umem_cursor c = umem_cursor_init(text, len), line, path;

	while (umem_cursor_line(&c, &line)) {
		if (!path_of_line(line, version, &path) ||
			memchr(path.at, '\0', umem_cursor_left(&path)))
			continue;
		*ret_path = strndup(path.at, umem_cursor_left(&path));
		return *ret_path ? 0 : -ENOMEM;
	}
	return -ENOENT;
}

/* The folder of @path in the first mount of @version that shows it. */
static int open_in(const struct mounts *mounts, int version, const char *path,
	struct umem_cgroup *ret_cgroup, const struct mount **ret_mount)
{
	int err = -EXDEV;

	for (size_t i = 0; i < mounts->n; i++) {
		const struct mount *mount = &mounts->v[i];
		const char *rest = mount->version == version ? below(mount, path) : NULL;
		int r = rest ? open_folder(mount->point, rest, ret_cgroup) : -EXDEV;

		if (r == 0) {
			*ret_mount = mount;
			return 0;
		}
		/* Covered by another mount, or removed: neither is to be seen. */
		if (r != -ENOENT && r != -EINVAL && r != -ENOTDIR)
			err = r;
	}
	return err;
}

/* Version 2: from a folder without the controller up to the one that is charged. */
static int climb_to_memory(const struct mount *mount, struct umem_cgroup *cgroup)
{
	size_t top = strlen(mount->point);

	while (!has_file(cgroup->fd, "memory.current") && strlen(cgroup->path) > top) {
		struct umem_cgroup parent = UMEM_CGROUP_NONE;
		char *slash = strrchr(cgroup->path, '/');
		int r;

		*slash = '\0';
		r = open_folder(cgroup->path, "", &parent);
		if (r < 0)
			return r == -ENOENT || r == -EINVAL ? -EXDEV : r;
		umem_cgroup_deinit(cgroup);
		*cgroup = parent;
	}
	return 0;
}

/* Version 1 has no pressure, but the same process has one in version 2. */
static int find_pressure(const struct mounts *mounts, const char *text, size_t len,
	struct umem_cgroup *cgroup)
{
	UMEM_CLEANUP(umem_cgroup_deinit) struct umem_cgroup other = UMEM_CGROUP_NONE;
	const struct mount *mount;
	UMEM_FREE char *path = NULL;
	int r = path_of(text, len, 2, &path);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	/* The root's is the machine's. */
	if (strcmp(path, "/") == 0 || open_in(mounts, 2, path, &other, &mount) < 0)
		return 0;
	cgroup->psi_fd = umem_fd_take(&other.psi_fd);
	return 0;
}

static int read_process(const char *proc, int pid, char **ret_text, size_t *ret_len)
{
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/%d/cgroup", proc, pid) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = umem_read_file(AT_FDCWD, path, CGROUP_MAX_BYTES, ret_text, ret_len);
	return r == -ENOENT ? -ESRCH : r == -EFBIG ? -EBADMSG : r;
}

int umem_cgroup_of(const char *proc, int pid, struct umem_cgroup *ret_cgroup,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_cgroup_deinit) struct umem_cgroup cgroup = UMEM_CGROUP_NONE;
	UMEM_CLEANUP(mounts_deinit) struct mounts mounts = { 0 };
	const struct mount *mount = NULL;
	UMEM_FREE char *text = NULL;
	UMEM_FREE char *path = NULL;
	int r = read_mounts(proc, &mounts), version = 0;
	size_t len;

	if (r < 0)
		return umem_note_set(note, r, 0, "%s/self/mountinfo: %s", proc,
			strerrordesc_np(-r));
	for (size_t i = 0; i < mounts.n; i++) {
		if (mounts.v[i].has_memory && mounts.v[i].version > version)
			version = mounts.v[i].version;
	}
	if (!version)
		return umem_note_set(note, -EOPNOTSUPP, 0,
			"no cgroup hierarchy with the memory controller is mounted");
	r = read_process(proc, pid, &text, &len);
	if (r < 0)
		return umem_note_set(note, r, 0, "cgroup of process %d: %s", pid,
			strerrordesc_np(-r));
	r = path_of(text, len, version, &path);
	if (r < 0)
		return umem_note_set(note, r == -ENOENT ? -EBADMSG : r, 0,
			"process %d is in no memory cgroup", pid);
	r = open_in(&mounts, version, path, &cgroup, &mount);
	if (r == 0 && version == 2)
		r = climb_to_memory(mount, &cgroup);
	if (r < 0)
		return umem_note_set(note, r, 0, "cgroup %s of process %d: %s", path, pid,
			r == -EXDEV ? "not to be seen from here" : strerrordesc_np(-r));
	if (version == 1) {
		r = find_pressure(&mounts, text, len, &cgroup);
		if (r < 0)
			return r;
	}
	*ret_cgroup = cgroup;
	cgroup = UMEM_CGROUP_NONE;
	return 0;
}

/* Look for @path in all hierarchies: those with memory first, version 2 before 1. */
static int open_anywhere(const struct mounts *mounts, const char *path,
	struct umem_cgroup *ret_cgroup)
{
	static const struct mount order[] = { { 2, true }, { 1, true }, { 2, false } };
	int err = -ENOENT;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(order); i++) {
		for (size_t k = 0; k < mounts->n; k++) {
			const struct mount *mount = &mounts->v[k];
			const char *rest = below(mount, path);
			int r;

			if (mount->version != order[i].version ||
				mount->has_memory != order[i].has_memory)
				continue;
			/* As it is seen from here, rather than from the root of all. */
			if (!rest && !climbs(path))
				rest = path;
			r = rest ? open_folder(mount->point, rest, ret_cgroup) : -ENOENT;
			if (r == 0)
				return 0;
			if (err == -ENOENT)
				err = r;
		}
	}
	return err;
}

int umem_cgroup_open(const char *proc, const char *path, struct umem_cgroup *ret_cgroup,
	struct umem_note *note)
{
	UMEM_CLEANUP(mounts_deinit) struct mounts mounts = { 0 };
	int r = *path == '/' ? open_folder(path, "", ret_cgroup) : -ENOENT, r2;

	if (r == 0)
		return 0;
	r2 = *path ? read_mounts(proc, &mounts) : -ENOENT;
	if (r2 == 0)
		r2 = open_anywhere(&mounts, path, ret_cgroup);
	if (r2 == 0)
		return 0;
	/* What was wrong with the nearest thing that there was. */
	if (r == -ENOENT)
		r = r2;
	if (r == -EINVAL)
		return umem_note_set(note, r, 0, "%s is no cgroup: there is no cgroup.procs in it",
			path);
	if (r == -ENOENT && mounts.n == 0)
		return umem_note_set(note, r, 0, "cgroup %s: no such folder, and no cgroup "
			"hierarchy is mounted", path);
	if (r == -ENOENT)
		return umem_note_set(note, r, 0, "cgroup %s: neither in the file system nor in "
			"%s%s", path, mounts.v[0].point, mounts.n > 1 ? " or beside it" : "");
	return umem_note_set(note, r, 0, "cgroup %s: %s", path, strerrordesc_np(-r));
}
