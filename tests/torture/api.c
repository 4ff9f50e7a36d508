// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The cooperative hand-off: userfaultfds that programs made for themselves,
 * and everything that is wrong with one. A failure says what is wrong, keeps
 * nothing, and leaves the descriptor to its owner.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <umemd/track.h>

#include "lib/kern/uapi.h"
#include "tests/lib/harness.h"

#define PAGE 4096ull
#define N    64ull

static int new_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		T_SKIP("no userfaultfd: %s", strerror(errno));
	if (features && ioctl(fd, UFFDIO_API, &api) < 0)
		T_SKIP("no UFFD_FEATURE_WP_ASYNC: %s", strerror(errno));
	return fd;
}

#define ASYNC (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | \
	UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP)

static char *new_area(void)
{
	char *at = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		0);

	T_CHECK(at != MAP_FAILED);
	memset(at, 1, N * PAGE);
	return at;
}

static unsigned n_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static struct umem_range range_of(const char *at, uint64_t first, uint64_t n)
{
	uint64_t start = (uintptr_t)at + first * PAGE;

	return (struct umem_range){ start, start + n * PAGE };
}

/* One collect; the pages of @at that it calls dirty, as bits. */
struct seen {
	uint64_t base;
	uint64_t bits;
	uint64_t outside;
};

static int see(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct seen *seen = user;

	for (; start < end; start += PAGE) {
		if (start < seen->base || start >= seen->base + N * PAGE)
			seen->outside++;
		else
			seen->bits |= 1ull << ((start - seen->base) / PAGE);
	}
	return 0;
}

static uint64_t collect(struct umem_watch *watch, const char *at)
{
	struct seen seen = { .base = (uintptr_t)at };
	const struct umem_round *round;
	struct umem_note note = { 0 };

	T_CHECK(umem_watch_collect(watch, &round, &note) == 0, "%s", note.text);
	T_OK(umem_watch_each(watch, see, &seen));
	T_CHECK(seen.outside == 0, "%llu pages that were not handed over",
		(unsigned long long)seen.outside);
	return seen.bits;
}

static void itself(void)
{
	char *at = new_area();
	struct umem_range r[2] = { range_of(at, 0, 16), range_of(at, 32, 16) };
	struct umem_target *target = NULL;
	struct umem_watch *watch = NULL;
	struct umem_note note = { 0 };
	unsigned before = n_fds();
	int uffd = new_uffd(ASYNC);

	T_CHECK(umem_target_adopt(getpid(), uffd, r, 2, NULL, &target, &note) == 0, "%s",
		note.text);
	T_CHECK(umem_target_stop_ns(target) == 0);
	T_CHECK(umem_watch_new(target, NULL, &watch, &note) == 0, "%s", note.text);
	T_CHECK(umem_watch_armed(watch)->tracked_bytes == 32 * PAGE);
	collect(watch, at);
	at[3 * PAGE] = 2;
	at[20 * PAGE] = 2; /* not handed over */
	at[33 * PAGE] = 2;
	T_CHECK(collect(watch, at) == (1ull << 3 | 1ull << 33));
	T_CHECK(collect(watch, at) == 0);
	/* A part of what was handed over is replaced, and used again. */
	T_CHECK(mmap(at + 34 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	at[35 * PAGE] = 3;
	T_CHECK(collect(watch, at) == 1ull << 35);
	at[36 * PAGE] = 3;
	T_CHECK(collect(watch, at) == 1ull << 36);
	umem_watch_free(watch);
	umem_target_free(target);
	T_CHECK(n_fds() == before);
	munmap(at, N * PAGE);
	printf("a program tracks itself\n");
}

static void send_fd(int sock, int fd, uint64_t value)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &value, 8 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	T_CHECK(sendmsg(sock, &msg, 0) == 8);
}

static int receive_fd(int sock, uint64_t *ret_value)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { ret_value, 8 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	T_CHECK(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) == 8);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

/* The child hands its userfaultfd over, then writes the page that a byte names. */
static void child(int sock)
{
	char *at = new_area();
	char page;

	send_fd(sock, new_uffd(ASYNC), (uintptr_t)at);
	while (read(sock, &page, 1) == 1) {
		at[page * (long)PAGE]++;
		T_CHECK(write(sock, "x", 1) == 1);
	}
	_exit(0);
}

static pid_t start_child(int *ret_sock, int *ret_uffd, char **ret_at)
{
	int pair[2];
	uint64_t at;
	pid_t pid;

	T_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	pid = t_fork();
	if (pid == 0) {
		close(pair[0]);
		child(pair[1]);
	}
	close(pair[1]);
	*ret_sock = pair[0];
	*ret_uffd = receive_fd(pair[0], &at);
	*ret_at = (char *)at;
	return pid;
}

static void received(void)
{
	struct umem_target *target = NULL;
	struct umem_watch *watch = NULL;
	struct umem_note note = { 0 };
	unsigned before = n_fds();
	struct umem_range r;
	int sock, uffd;
	char *at, done;
	pid_t pid = start_child(&sock, &uffd, &at);

	r = range_of(at, 0, N);
	T_CHECK(umem_target_adopt(pid, uffd, &r, 1, NULL, &target, &note) == 0, "%s", note.text);
	T_CHECK(umem_watch_new(target, NULL, &watch, &note) == 0, "%s", note.text);
	for (char page = 0; page < 10; page++) {
		const struct umem_round *round;

		T_CHECK(write(sock, &page, 1) == 1 && read(sock, &done, 1) == 1);
		T_CHECK(collect(watch, at) == 1ull << page);
		T_CHECK(umem_watch_collect(watch, &round, NULL) == 0 && round->complete &&
			round->dirty_bytes == 0);
	}
	t_end(pid);
	const struct umem_round *round;

	T_CHECK(umem_watch_collect(watch, &round, &note) == UMEM_GONE);
	umem_watch_free(watch);
	umem_target_free(target);
	close(sock);
	T_CHECK(n_fds() == before);
	printf("a child's memory by a received userfaultfd: %s\n", note.text);
}

static void refuse(const char *what, int pid, int fd, const struct umem_range *r, size_t n,
	int want)
{
	struct umem_target *target = NULL;
	struct umem_note note = { 0 };
	unsigned before = n_fds();
	int got = umem_target_adopt(pid, fd, r, n, NULL, &target, &note);

	T_CHECK(got == want, "%s: %d instead of %d (%s)", what, got, want, note.text);
	T_CHECK(target == NULL && n_fds() == before, "%s", what);
	T_CHECK(note.text[0], "%s: no explanation", what);
	T_CHECK(fd < 0 || fd == 999 || fcntl(fd, F_GETFD) >= 0, "%s: our descriptor is closed",
		what);
	printf("%s: %d, %s\n", what, got, note.text);
}

static void wrong(void)
{
	char *at = new_area(), *child_at, *hole;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), sock, child_uffd;
	int uffd = new_uffd(ASYNC), raw = new_uffd(0);
	int sync = new_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	pid_t pid = start_child(&sock, &child_uffd, &child_at), twin;
	struct umem_range good = range_of(at, 0, N), bad[2];

	refuse("no descriptor", getpid(), 999, &good, 1, -EBADF);
	refuse("not a userfaultfd", getpid(), null, &good, 1, -EBADF);
	refuse("before its hand-shake", getpid(), raw, &good, 1, -EINVAL);
	refuse("synchronous", getpid(), sync, &good, 1, -EINVAL);
	refuse("no range", getpid(), uffd, &good, 0, -EINVAL);
	bad[0] = (struct umem_range){ good.start, good.start };
	refuse("an empty range", getpid(), uffd, bad, 1, -EINVAL);
	bad[0] = (struct umem_range){ good.end, good.start };
	refuse("a range that ends before it starts", getpid(), uffd, bad, 1, -EINVAL);
	bad[0] = (struct umem_range){ good.start + 1, good.end };
	refuse("an unaligned range", getpid(), uffd, bad, 1, -EINVAL);
	bad[0] = range_of(at, 0, 10);
	bad[1] = range_of(at, 9, 10);
	refuse("overlapping ranges", getpid(), uffd, bad, 2, -EINVAL);
	hole = mmap(NULL, N * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(hole, N * PAGE);
	bad[0] = range_of(at, 0, 10);
	bad[1] = range_of(hole, 0, N);
	refuse("nothing mapped", getpid(), uffd, bad, 2, -EINVAL);
	bad[0] = range_of(child_at, 0, N);
	refuse("another process's userfaultfd", getpid(), child_uffd, &good, 1, -EINVAL);
	refuse("our userfaultfd for another process", pid, uffd, bad, 1, -EINVAL);
	/* A child of ours shows the same addresses, but it is not registered there. */
	twin = t_fork();
	if (twin == 0)
		for (;;)
			pause();
	refuse("our userfaultfd for our child", twin, uffd, &good, 1, -EINVAL);
	t_end(twin);
	refuse("no such process", 0x3fffffff, uffd, &good, 1, UMEM_GONE);
	kill(pid, SIGKILL);
	t_wait(pid);
	refuse("a process that ended", pid, child_uffd, bad, 1, UMEM_GONE);
	/* What was refused after all is still good for its owner. */
	struct umem_target *target = NULL;

	T_OK(umem_target_adopt(getpid(), uffd, &good, 1, NULL, &target, NULL));
	umem_target_free(target);
	close(sock);
	close(child_uffd);
	close(null);
	close(raw);
	close(sync);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	itself();
	received();
	wrong();
	return 0;
}
