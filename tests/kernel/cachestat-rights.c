// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whom the kernel tells what of a file is in memory. cachestat(2) asks for a
 * descriptor that may write, or ownership, or the right to open it for writing;
 * mincore(2) does not look at the descriptor, and answers "all of it" instead
 * of an error. A memfd and shared anonymous memory are open to all by their
 * mode, a tmpfs file is as it was made. hugetlbfs has nothing to say.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "tests/kernel/peer.h"

#define N      4
#define NOBODY 65534

/* What the asking process finds: 0 or errno, and pages that mincore calls resident. */
struct answer {
	int cachestat;
	int resident;
	int opened_for_writing;
};

/* Page 0 is in memory, the others are holes. */
static struct answer ask(int fd)
{
	struct umem_cachestat stat = { 0 };
	struct answer answer = { 0 };
	unsigned char in[N];
	char path[64];
	char *at = mmap(NULL, N * K_PAGE, PROT_READ, MAP_SHARED, fd, 0);
	int again;

	answer.cachestat = -umem_filecache_stat(fd, 0, N * K_PAGE, &stat);
	if (!answer.cachestat)
		T_CHECK(stat.nr_cache == 1 && stat.nr_evicted == 0);
	T_CHECK(at != MAP_FAILED);
	T_SYS(mincore(at, N * K_PAGE, in));
	for (int i = 0; i < N; i++)
		answer.resident += in[i] & 1;
	munmap(at, N * K_PAGE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	answer.opened_for_writing = again >= 0;
	close(again);
	return answer;
}

static struct answer ask_as(uid_t uid, int fd)
{
	struct answer *shared = (void *)k_map(K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1), answer;
	pid_t pid = t_fork();

	if (pid == 0) {
		if (uid) {
			T_SYS(setresgid(uid, uid, uid));
			T_SYS(setresuid(uid, uid, uid));
		}
		*shared = ask(fd);
		_exit(0);
	}
	T_CHECK(t_wait(pid) == 0);
	answer = *shared;
	munmap(shared, K_PAGE);
	return answer;
}

static void check(const char *what, uid_t uid, int fd, int cachestat, int resident)
{
	struct answer answer = ask_as(uid, fd);

	k_fact("%s, %s: cachestat: %s; mincore: %d of %d; %s", what, uid ? "nobody" : "root",
		answer.cachestat ? strerror(answer.cachestat) : "exact", answer.resident, N,
		answer.opened_for_writing ? "can be opened for writing" : "cannot");
	T_CHECK(answer.cachestat == cachestat, "(%s)", what);
	T_CHECK(answer.resident == resident, "(%s)", what);
}

static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return (int)T_SYS(open(path, flags | O_CLOEXEC));
}

static void tmpfs_files(void)
{
	int fd, read_only;

	T_SYS(unshare(CLONE_NEWNS));
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		T_SKIP("mounts cannot be made private: %s", strerror(errno));
	T_SYS(mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755"));
	fd = (int)T_SYS(open("/mnt/file", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	T_SYS(ftruncate(fd, N * K_PAGE));
	T_SYS(pwrite(fd, "1", 1, 0));
	read_only = reopen(fd, O_RDONLY);
	check("tmpfs file 0600 of root, writable fd", 0, fd, 0, 1);
	check("tmpfs file 0600 of root, read-only fd", 0, read_only, 0, 1);
	check("tmpfs file 0600 of root, writable fd", NOBODY, fd, 0, N); /* the difference */
	check("tmpfs file 0600 of root, read-only fd", NOBODY, read_only, EPERM, N);
	T_SYS(fchmod(fd, 0644));
	check("tmpfs file 0644 of root, read-only fd", NOBODY, read_only, EPERM, N);
	T_SYS(fchmod(fd, 0666));
	check("tmpfs file 0666 of root, read-only fd", NOBODY, read_only, 0, 1);
	T_SYS(fchmod(fd, 0400));
	T_SYS(fchown(fd, NOBODY, NOBODY));
	check("tmpfs file 0400 of nobody, read-only fd", NOBODY, read_only, 0, 1);
}

/* What map_files gives of memory that another process made. */
static void through_map_files(void)
{
	char *at = k_map(N * K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	struct k_peer peer;
	struct stat st;
	int fd = -1;

	k_peer_start(&peer);
	k_peer_do(&peer, k_write, at, K_PAGE, 1);
	T_OK(umem_filecache_open_mapping(peer.pid, (uintptr_t)at, (uintptr_t)at + N * K_PAGE,
		O_RDWR, &fd));
	T_SYS(fstat(fd, &st));
	k_fact("shared anonymous memory by map_files: mode %o", st.st_mode);
	check("shared anonymous memory by map_files, writable", 0, fd, 0, 1);
	close(fd);
	T_OK(umem_filecache_open_mapping(peer.pid, (uintptr_t)at, (uintptr_t)at + N * K_PAGE,
		O_RDONLY, &fd));
	check("shared anonymous memory by map_files, read-only", 0, fd, 0, 1);
	check("shared anonymous memory by map_files, read-only", NOBODY, fd, 0, 1);
	T_CHECK(k_here(peer.pm, at, N * K_PAGE) == 1);
	k_peer_end(&peer);
	close(fd);
}

static void no_answer(void)
{
	struct umem_cachestat stat;
	int fd = (int)memfd_create("scratch-huge", MFD_CLOEXEC | MFD_HUGETLB), err;

	if (fd < 0) {
		printf("no hugetlb memfd here\n");
		return;
	}
	T_SYS(ftruncate(fd, K_HUGE));
	err = umem_filecache_stat(fd, 0, K_HUGE, &stat);
	k_fact("hugetlb: cachestat: %s", err ? strerror(-err) : "done");
	T_CHECK(err == -EOPNOTSUPP);
	close(fd);
}

int main(void)
{
	struct umem_cachestat stat;
	int fd = k_memfd(N * K_PAGE), read_only;
	int err = umem_filecache_stat(fd, 0, K_PAGE, &stat);

	if (err == -ENOSYS)
		T_SKIP("no cachestat");
	T_OK(err);
	if (geteuid() != 0)
		T_SKIP("asking as another user needs root");
	T_SYS(pwrite(fd, "1", 1, 0));
	read_only = reopen(fd, O_RDONLY);
	check("memfd of root, writable fd", 0, fd, 0, 1);
	check("memfd of root, writable fd", NOBODY, fd, 0, 1);
	check("memfd of root, read-only fd", NOBODY, read_only, 0, 1);
	through_map_files();
	no_answer();
	tmpfs_files();
	return 0;
}
