// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who can write a process's memory without a page fault.
 *
 * Theory of operation
 *
 * One pass over /proc/PID/fd. What a descriptor is, its link tells:
 *
 *     anon_inode:[io_uring]              its fdinfo lists the buffers
 *     /dev/vfio/..., anon_inode:[vfio-   a device that may write anywhere;
 *       device], /dev/iommu, ...         presence is all there is
 *     socket:[INODE]                     asked for its family (pidfd_getfd(2)
 *                                        and SO_DOMAIN), each inode once
 *     a path                             fdinfo for O_DIRECT, until one is found
 *     anything else                      nothing
 *
 * VmPin of /proc/PID/status is the counter-check: what it has beyond the union
 * of the known ranges is pinned by somebody unseen, such as a ring whose
 * descriptor was passed away: UMEM_PIN_UNKNOWN. It is no proof the other way
 * round (Linux 6.18, each seen in a test):
 *
 *   - pages registered in a ring that another process created are accounted to
 *     that process, so VmPin here stays 0. As long as a descriptor of the ring
 *     is here, its fdinfo has the range. An inherited ring shows ranges of the
 *     creator's memory, too: pinned for certain elsewhere, listed here as well.
 *   - the rings themselves, when they lie in the process's own memory
 *     (IORING_SETUP_NO_MMAP), are written by the kernel through a mapping of its
 *     own: a completion changes the page, PAGEMAP_SCAN reports nothing and VmPin
 *     does not count it. A ring that has no mapping here (its inode is not in
 *     the maps) is therefore UMEM_PIN_UNKNOWN.
 *   - AF_XDP and VFIO account to the user or to VmLck.
 *
 * A ring that is busy hides its buffers (pins_fdinfo.c). It is asked again a
 * few times; then it is UMEM_PIN_UNKNOWN, as is one whose text is no fdinfo.
 *
 * VmPin is read before the pass and, where there was a ring, after it, and the
 * larger counts: a buffer that comes or goes in between raises an alarm rather
 * than hide something. A closed ring counts until its release has run.
 *
 * Cost of a read on Linux 6.18, warm:
 *
 *     descriptors            20          5,000
 *     pipes                  80 us       7.8 ms     (a readlink each)
 *     sockets, known         59 us      11.9 ms
 *     sockets, first look   146 us      23.3 ms
 *     files                 150 us      20.0 ms     (fdinfo for O_DIRECT)
 *
 * Left out on purpose: device nodes under a name of their own (their numbers
 * are dynamic), descriptor tables of threads that unshared theirs.
 */
#include "lib/kern/pins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/cursor.h"
#include "lib/base/fd.h"
#include "lib/kern/pins_socket.h"

#define LINK_MAX_BYTES   256
#define STATUS_MAX_BYTES (64u << 10)
/* The largest ring: 32768 submissions and 65536 completions, a line each. */
#define FDINFO_MAX_BYTES (32u << 20)
#define BUSY_TRIES       32

static const struct {
	const char *link;
	bool prefix;
	enum umem_pin_kind kind;
} devices[] = {
	{ "/dev/vfio/", true, UMEM_PIN_VFIO },
	{ "anon_inode:[vfio-device]", false, UMEM_PIN_VFIO },
	{ "/dev/iommu", false, UMEM_PIN_VFIO },
	{ "/dev/vhost-vdpa-", true, UMEM_PIN_VFIO },
	{ "/dev/infiniband/", true, UMEM_PIN_RDMA },
	{ "/dev/nvidia", true, UMEM_PIN_UNKNOWN },
	{ "/dev/kfd", false, UMEM_PIN_UNKNOWN },
};

/* A ring by its inode, to be found among the mappings. */
struct ring {
	uint64_t inode;
	bool mapped;
};

/* One pass: what is read from, and what came up that needs a second look. */
struct walk {
	int proc_fd;
	int pidfd;
	struct umem_pins *pins;
	size_t n_known_sockets;
	struct ring *rings;
	size_t n_rings;
};

const char *umem_pin_kind_name(enum umem_pin_kind kind)
{
	static const char *const names[UMEM_N_PIN_KINDS] = {
		[UMEM_PIN_IO_URING] = "io_uring registered buffer",
		[UMEM_PIN_VFIO] = "VFIO or iommufd device",
		[UMEM_PIN_RDMA] = "RDMA device",
		[UMEM_PIN_XDP] = "AF_XDP socket",
		[UMEM_PIN_UNKNOWN] = "pinned by an unknown owner",
	};

	return (unsigned)kind < UMEM_N_PIN_KINDS ? names[kind] : "?";
}

void umem_pins_deinit(struct umem_pins *pins)
{
	free(pins->v);
	free(pins->sockets);
	umem_maps_deinit(&pins->maps);
	*pins = (struct umem_pins){ 0 };
}

int umem_pins_add(struct umem_pins *pins, enum umem_pin_kind kind, uint64_t start,
	uint64_t end, const char *what)
{
	struct umem_pin *pin;

	/* The last place is for the finding that stands for all further ones. */
	if (pins->n >= UMEM_PINS_MAX - 1) {
		if (pins->n == UMEM_PINS_MAX)
			return 0;
		kind = UMEM_PIN_UNKNOWN;
		start = 0;
		end = UINT64_MAX;
		what = "too many findings";
	}
	if (pins->n == pins->room) {
		size_t room = pins->room ? pins->room * 2 : 16;
		struct umem_pin *more = reallocarray(pins->v, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		pins->v = more;
		pins->room = room;
	}
	pin = &pins->v[pins->n++];
	*pin = (struct umem_pin){ .kind = kind, .range = { start, end } };
	snprintf(pin->what, sizeof(pin->what), "%s", what);
	for (char *at = pin->what; *at; at++) {
		if (*at < ' ' || *at > '~')
			*at = '?';
	}
	return 0;
}

static int add_somewhere(struct umem_pins *pins, enum umem_pin_kind kind, int fd,
	const char *what)
{
	char text[LINK_MAX_BYTES + 32];

	snprintf(text, sizeof(text), "fd %d: %s", fd, what);
	return umem_pins_add(pins, kind, 0, UINT64_MAX, text);
}

/* Gone since the directory was read is not an error of any step. */
static bool is_gone(int err)
{
	return err == -ENOENT || err == -ESRCH || err == -EBADF;
}

static int read_ring(struct walk *walk, int fd)
{
	struct umem_pins *pins = walk->pins;
	struct ring *more;
	uint64_t inode = 0;
	char path[32], what[32];
	int r = UMEM_PINS_BUSY;

	pins->io_uring = true;
	pins->direct_io = true;
	snprintf(path, sizeof(path), "fdinfo/%d", fd);
	snprintf(what, sizeof(what), "fd %d: io_uring", fd);
	for (int tries = 0; r == UMEM_PINS_BUSY && tries < BUSY_TRIES; tries++) {
		UMEM_FREE char *text = NULL;
		size_t len;

		r = umem_read_file(walk->proc_fd, path, FDINFO_MAX_BYTES, &text, &len);
		if (is_gone(r))
			return 0;
		if (r == 0)
			r = umem_pins_parse_fdinfo(text, len, what, pins, &inode);
	}
	if (r == UMEM_PINS_BUSY)
		r = add_somewhere(pins, UMEM_PIN_UNKNOWN, fd, "io_uring, busy at each look");
	else if (r == -EBADMSG || r == -EFBIG)
		r = add_somewhere(pins, UMEM_PIN_UNKNOWN, fd, "io_uring, not understood");
	if (r < 0)
		return r;
	if (inode == 0)
		return 0;
	more = reallocarray(walk->rings, walk->n_rings + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	walk->rings = more;
	walk->rings[walk->n_rings++] = (struct ring){ .inode = inode };
	return 0;
}

static int read_socket(struct walk *walk, int fd, uint64_t inode)
{
	bool xdp = false;
	int r;

	if (walk->pidfd < 0)
		return 0;
	r = umem_pins_ask_socket(walk->pins, walk->n_known_sockets, walk->pidfd, fd, inode, &xdp);
	if (r < 0 || !xdp)
		return r;
	return add_somewhere(walk->pins, UMEM_PIN_XDP, fd, "AF_XDP socket");
}

static int read_flags(struct walk *walk, int fd)
{
	char path[32], text[512];
	uint64_t flags;
	ssize_t n;

	snprintf(path, sizeof(path), "fdinfo/%d", fd);
	UMEM_FD int info = openat(walk->proc_fd, path, O_RDONLY | O_CLOEXEC);

	if (info < 0)
		return is_gone(-errno) ? 0 : -errno;
	n = read(info, text, sizeof(text));
	if (n < 0)
		return is_gone(-errno) || errno == EINTR ? 0 : -errno;
	if (umem_pins_parse_flags(text, (size_t)n, &flags) && (flags & O_DIRECT))
		walk->pins->direct_io = true;
	return 0;
}

static int read_fd(struct walk *walk, int fd, const char *name)
{
	char link[LINK_MAX_BYTES];
	ssize_t len = readlinkat(walk->proc_fd, name, link, sizeof(link) - 1);
	struct umem_cursor c;
	uint64_t inode;

	if (len < 0)
		return is_gone(-errno) ? 0 : -errno;
	link[len] = '\0';
	if (strcmp(link, "anon_inode:[io_uring]") == 0)
		return read_ring(walk, fd);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(devices); i++) {
		if (devices[i].prefix ?
				strncmp(link, devices[i].link, strlen(devices[i].link)) == 0 :
				strcmp(link, devices[i].link) == 0)
			return add_somewhere(walk->pins, devices[i].kind, fd, link);
	}
	c = umem_cursor_init(link, (size_t)len);
	if (umem_cursor_str(&c, "socket:[")) {
		if (!umem_cursor_dec(&c, &inode))
			return 0;
		return read_socket(walk, fd, inode);
	}
	/* Shared memory and terminals have no direct I/O, /dev/null neither. */
	if (link[0] != '/' || walk->pins->direct_io || strncmp(link, "/memfd:", 7) == 0 ||
		strncmp(link, "/dev/pts/", 9) == 0 || strcmp(link, "/dev/null") == 0)
		return 0;
	return read_flags(walk, fd);
}

static int read_fds(struct walk *walk)
{
	int dirfd = openat(walk->proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir;

	if (dirfd < 0)
		return -errno;
	dir = fdopendir(dirfd);
	if (!dir) {
		r = -errno;
		umem_fd_close(dirfd);
		return r;
	}
	while (r == 0) {
		struct dirent *entry;
		struct umem_cursor c;
		uint64_t fd;
		char name[32];

		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			r = -errno;
			break;
		}
		c = umem_cursor_init(entry->d_name, strlen(entry->d_name));
		if (!umem_cursor_dec(&c, &fd) || c.at != c.end || fd > INT32_MAX)
			continue;
		snprintf(name, sizeof(name), "fd/%d", (int)fd);
		r = read_fd(walk, (int)fd, name);
	}
	closedir(dir);
	return r;
}

static int read_vmpin(int proc_fd, uint64_t *ret_bytes)
{
	UMEM_FREE char *text = NULL;
	size_t len;
	int r = umem_read_file(proc_fd, "status", STATUS_MAX_BYTES, &text, &len);

	if (r < 0)
		return r;
	/* A zombie has no such line, and no memory. */
	if (!umem_pins_parse_vmpin(text, len, ret_bytes))
		*ret_bytes = 0;
	return 0;
}

static int compare_rings(const void *a, const void *b)
{
	const struct ring *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* Rings that are mapped nowhere lie in the process's own memory, perhaps. */
static int check_rings(struct walk *walk)
{
	struct umem_maps *maps = &walk->pins->maps;
	UMEM_FD int fd = -1;
	size_t n = 0;
	int r;

	if (walk->n_rings == 0)
		return 0;
	fd = openat(walk->proc_fd, "maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = umem_maps_read(fd, UMEM_MAPS_AUTO, maps);
	if (r < 0)
		return r;
	qsort(walk->rings, walk->n_rings, sizeof(*walk->rings), compare_rings);
	/* The same ring may be open more than once. */
	for (size_t i = 0; i < walk->n_rings; i++) {
		if (n == 0 || walk->rings[n - 1].inode != walk->rings[i].inode)
			walk->rings[n++] = walk->rings[i];
	}
	for (size_t i = 0; i < maps->n; i++) {
		struct ring key = { .inode = maps->v[i].inode }, *found;

		if (strcmp(maps->v[i].name, "anon_inode:[io_uring]") != 0)
			continue;
		found = bsearch(&key, walk->rings, n, sizeof(key), compare_rings);
		if (found)
			found->mapped = true;
	}
	for (size_t i = 0; i < n; i++) {
		if (!walk->rings[i].mapped)
			return umem_pins_add(walk->pins, UMEM_PIN_UNKNOWN, 0, UINT64_MAX,
				"io_uring without a mapping: its rings may lie in ordinary memory");
	}
	return 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct umem_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* The union of the known ranges in whole pages. */
static int explain(struct umem_pins *pins)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	UMEM_FREE struct umem_range *v = NULL;
	uint64_t at = 0, bytes;
	size_t n = 0;

	if (pins->n == 0)
		return 0;
	v = calloc(pins->n, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < pins->n; i++) {
		if (pins->v[i].kind == UMEM_PIN_IO_URING)
			v[n++] = pins->v[i].range;
	}
	qsort(v, n, sizeof(*v), compare_ranges);
	for (size_t i = 0; i < n; i++) {
		uint64_t start = umem_max_u64(umem_align_down(v[i].start, page), at);
		uint64_t end = umem_align_down(v[i].end - 1, page);

		/* Not rounded up: the last page of 64 bits would be 0. */
		if (end < start)
			continue;
		if (__builtin_add_overflow(end - start, page, &bytes) ||
			__builtin_add_overflow(pins->explained_bytes, bytes,
				&pins->explained_bytes) ||
			__builtin_add_overflow(end, page, &at)) {
			pins->explained_bytes = UINT64_MAX;
			break;
		}
	}
	return 0;
}

static int read_pins(struct walk *walk)
{
	struct umem_pins *pins = walk->pins;
	uint64_t after = 0;
	char what[64];
	int r;

	r = read_vmpin(walk->proc_fd, &pins->vmpin_bytes);
	if (r < 0)
		return r;
	r = read_fds(walk);
	if (r < 0)
		return r;
	umem_pins_tidy_sockets(pins);
	r = check_rings(walk);
	if (r < 0)
		return r;
	if (pins->io_uring) {
		r = read_vmpin(walk->proc_fd, &after);
		if (r < 0)
			return r;
		pins->vmpin_bytes = umem_max_u64(pins->vmpin_bytes, after);
	}
	r = explain(pins);
	if (r < 0 || pins->vmpin_bytes <= pins->explained_bytes)
		return r;
	snprintf(what, sizeof(what), "VmPin: %llu of %llu kB unexplained",
		(unsigned long long)(pins->vmpin_bytes - pins->explained_bytes) / 1024,
		(unsigned long long)pins->vmpin_bytes / 1024);
	return umem_pins_add(pins, UMEM_PIN_UNKNOWN, 0, UINT64_MAX, what);
}

int umem_pins_read(int proc_fd, int pidfd, struct umem_pins *pins)
{
	struct walk walk = { .proc_fd = proc_fd, .pidfd = pidfd, .pins = pins,
		.n_known_sockets = pins->n_sockets };
	int r;

	pins->n = 0;
	pins->vmpin_bytes = 0;
	pins->explained_bytes = 0;
	pins->io_uring = false;
	pins->direct_io = false;
	r = read_pins(&walk);
	if (r < 0) {
		pins->n = 0;
		pins->n_sockets = 0;
	}
	free(walk.rings);
	return r;
}
