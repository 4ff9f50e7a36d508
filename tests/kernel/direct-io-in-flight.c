// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A direct read pins its pages when it starts and fills them when it ends. A
 * collect between the two reports the page with its old content, and the
 * content that arrives later is in no round.
 *
 * Theory of operation: the file is served by this very program through
 * /dev/fuse, with direct I/O, so that the moment between pinning and filling
 * lasts as long as it likes: a thread reads, the main thread answers the
 * kernel's requests and collects before it answers the READ. The mount lives
 * in a mount namespace of its own and goes with the process.
 */
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#define N 8

struct in {
	struct fuse_in_header head;
	char body[200 * 1024];
};

static struct in request;
static const char *mount_path;
static char *target;
static atomic_bool finished;

static void answer(int fuse, int error, const void *body, size_t len)
{
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + len),
		.error = error,
		.unique = request.head.unique,
	};
	char buf[sizeof(head) + K_PAGE];

	memcpy(buf, &head, sizeof(head));
	if (len)
		memcpy(buf + sizeof(head), body, len);
	T_CHECK(write(fuse, buf, head.len) == (ssize_t)head.len || errno == ENOENT);
}

static void answer_init(int fuse)
{
	struct fuse_init_in *in = (void *)request.body;
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = in->minor < FUSE_KERNEL_MINOR_VERSION ? in->minor :
								 FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = K_PAGE,
		.max_write = 128 * 1024,
	};

	answer(fuse, 0, &out, sizeof(out));
}

static void answer_attr(int fuse)
{
	struct fuse_attr_out out = {
		.attr = { .ino = 1, .size = K_PAGE, .mode = S_IFREG | 0600, .nlink = 1 },
	};

	answer(fuse, 0, &out, sizeof(out));
}

/* Serve until the reader is done; @at_read runs while a READ is in flight. */
static void serve(int fuse, void (*at_read)(void *), void *user)
{
	struct fuse_open_out opened = { .fh = 1, .open_flags = FOPEN_DIRECT_IO };
	struct pollfd poll_fd = { .fd = fuse, .events = POLLIN };
	char page[K_PAGE];

	t_fill_page(page, 9, 9);
	while (!finished) {
		if (poll(&poll_fd, 1, 20) == 0)
			continue;
		if (read(fuse, &request, sizeof(request)) < 0) {
			T_CHECK(errno == EAGAIN || errno == EINTR || errno == ENOENT);
			continue;
		}
		switch (request.head.opcode) {
		case FUSE_INIT:
			answer_init(fuse);
			break;
		case FUSE_GETATTR:
			answer_attr(fuse);
			break;
		case FUSE_OPEN:
			answer(fuse, 0, &opened, sizeof(opened));
			break;
		case FUSE_READ:
			at_read(user);
			answer(fuse, 0, page, K_PAGE);
			break;
		case FUSE_FORGET:
		case FUSE_INTERRUPT:
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			answer(fuse, 0, NULL, 0);
			break;
		default:
			answer(fuse, -ENOSYS, NULL, 0);
		}
	}
}

static void *reader(void *unused)
{
	int fd = (int)T_SYS(open(mount_path, O_RDONLY | O_CLOEXEC));

	T_CHECK(pread(fd, target, K_PAGE, 0) == (ssize_t)K_PAGE);
	close(fd);
	finished = true;
	return NULL;
}

struct round {
	int pm;
	char *at;
	size_t reported;
	uint8_t content;
	uint64_t vmpin_kb;
};

static void collect_in_flight(void *user)
{
	struct round *round = user;

	round->reported = k_collect(round->pm, round->at, N * K_PAGE);
	round->content = (uint8_t)target[0];
	round->vmpin_kb = k_status_kb("VmPin");
}

static void nothing(void *user)
{
}

static void run(int fuse, int uffd, int pm, char *at, const char *what)
{
	struct round round = { .pm = pm, .at = at };
	pthread_t thread;

	k_touch(at, N * K_PAGE, 1);
	T_OK(k_register(uffd, at, N * K_PAGE));

	/* Control: no collect while it is in flight, and the next one has it. */
	k_collect(pm, at, N * K_PAGE);
	target = at + 2 * K_PAGE;
	finished = false;
	T_OK(pthread_create(&thread, NULL, reader, NULL));
	serve(fuse, nothing, NULL);
	pthread_join(thread, NULL);
	T_CHECK((uint8_t)target[0] == t_pattern(9, 0, 9));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == 1);

	target = at + 5 * K_PAGE;
	finished = false;
	T_OK(pthread_create(&thread, NULL, reader, NULL));
	serve(fuse, collect_in_flight, &round);
	pthread_join(thread, NULL);
	T_CHECK((uint8_t)target[0] == t_pattern(9, 0, 9)); /* it arrived */
	k_fact("%s: collect in flight reports %zu (content %s, VmPin %llu kB); the next one %zu",
		what, round.reported, round.content == 1 ? "old" : "new",
		(unsigned long long)round.vmpin_kb, k_written(pm, at, N * K_PAGE));
	T_CHECK(round.reported == 1 && round.content == 1);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0); /* in no round */
	T_CHECK(round.vmpin_kb == 0);		     /* and nothing tells of the pin */
}

int main(void)
{
	char options[100], path[] = "/tmp/kernel-direct-io-XXXXXX";
	int uffd = k_uffd(K_TRACK), pm = k_pagemap(), fd, fuse;

	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0 || unshare(CLONE_NEWNS) < 0)
		T_SKIP("no /dev/fuse or mount namespace: %s", strerror(errno));
	/* The root of a chroot may be no mount point, which cannot be made private. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		T_SKIP("no private mounts here: %s", strerror(errno));
	T_SYS(mount("scratch", "/tmp", "tmpfs", 0, NULL));
	fd = (int)T_SYS(mkstemp(path));
	close(fd);
	mount_path = path;
	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0", fuse);
	if (mount("scratch", path, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		T_SKIP("cannot mount FUSE: %s", strerror(errno));
	run(fuse, uffd, pm, k_anon(N * K_PAGE), "anonymous");
	run(fuse, uffd, pm, k_map(N * K_PAGE, MAP_SHARED, k_memfd(N * K_PAGE)), "memfd");
	return 0;
}
