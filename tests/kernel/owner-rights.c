// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What CAP_FOWNER gives a process that may neither write a file of shared memory nor
 * owns it: cachestat(2) and mincore(2) tell the truth by a descriptor that can only be
 * read, and MADV_PAGEOUT moves its pages in another process. Without it the first is
 * refused, the second calls all in memory, and the third does nothing, in silence.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "lib/kern/pidfd.h"
#include "tests/kernel/peer.h"

#define N      4
#define LEN    (N * K_PAGE)
#define NOBODY 65534

#define CAPS_TO_ADVISE (1u << CAP_SYS_PTRACE | 1u << CAP_SYS_NICE)

/* What the asking process finds: 0 or errno of cachestat, pages that mincore calls resident. */
struct answer {
	int cachestat;
	int resident;
	int advised;
};

static void become_nobody(uint32_t caps)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { caps, caps, 0 } };

	T_SYS(prctl(PR_SET_KEEPCAPS, 1));
	T_SYS(syscall(SYS_setgroups, 0, NULL));
	T_SYS(syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY));
	T_SYS(syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY));
	T_SYS(syscall(SYS_capset, &head, data));
}

/* Page 0 is in memory, the others are holes; and all of it is to go out of @pidfd's. */
static struct answer ask(int fd, int pidfd, char *at)
{
	const struct iovec all = { at, LEN };
	struct umem_cachestat stat = { 0 };
	struct answer answer = { 0 };
	unsigned char in[N];
	uint64_t bytes = 0;
	char *map = mmap(NULL, LEN, PROT_NONE, MAP_SHARED, fd, 0);

	T_CHECK(map != MAP_FAILED);
	answer.cachestat = -umem_filecache_stat(fd, 0, LEN, &stat);
	if (!answer.cachestat)
		T_CHECK(stat.nr_cache == 1 && stat.nr_evicted == 0);
	T_SYS(mincore(map, LEN, in));
	for (int i = 0; i < N; i++)
		answer.resident += in[i] & 1;
	answer.advised = umem_pidfd_madvise(pidfd, &all, 1, MADV_PAGEOUT, &bytes);
	return answer;
}

static struct answer ask_as_nobody(uint32_t caps, int fd, int pidfd, char *at)
{
	struct answer *shared = (void *)k_map(K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1), answer;
	pid_t pid = t_fork();

	if (pid == 0) {
		become_nobody(caps);
		umem_lru_drain();
		*shared = ask(fd, pidfd, at);
		_exit(0);
	}
	T_CHECK(t_wait(pid) == 0);
	answer = *shared;
	munmap(shared, K_PAGE);
	return answer;
}

int main(void)
{
	struct answer answer;
	struct k_peer peer;
	int fd, read_only;
	char *at;

	if (geteuid() != 0)
		T_SKIP("asking as another user needs root");
	k_zram_swap(16u << 20);
	T_SYS(unshare(CLONE_NEWNS));
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		T_SKIP("mounts cannot be made private: %s", strerror(errno));
	T_SYS(mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755"));
	fd = (int)T_SYS(open("/mnt/file", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	T_SYS(ftruncate(fd, LEN));
	read_only = (int)T_SYS(open("/mnt/file", O_RDONLY | O_CLOEXEC));
	at = k_map(LEN, MAP_SHARED, fd);
	k_peer_start(&peer);
	k_peer_do(&peer, k_write, at, K_PAGE, 1);

	answer = ask_as_nobody(CAPS_TO_ADVISE, read_only, peer.pidfd, at);
	if (answer.cachestat == ENOSYS)
		T_SKIP("no cachestat");
	k_fact("nobody: cachestat: %s; mincore: %d of %d; pageout: %s, %zu of 1 stay",
		strerror(answer.cachestat), answer.resident, N, strerror(-answer.advised),
		k_here(peer.pm, at, LEN));
	T_CHECK(answer.cachestat == EPERM && answer.resident == N);
	T_CHECK(answer.advised == 0 && k_here(peer.pm, at, LEN) == 1);

	/* Once in a while the kernel has just this page in use. */
	for (int i = 0; i < 10 && (i == 0 || k_here(peer.pm, at, LEN)); i++)
		answer = ask_as_nobody(CAPS_TO_ADVISE | 1u << CAP_FOWNER, read_only, peer.pidfd,
			at);
	k_fact("with CAP_FOWNER: cachestat: %s; mincore: %d of %d; pageout: %s, %zu of 1 stay",
		answer.cachestat ? strerror(answer.cachestat) : "exact", answer.resident, N,
		strerror(-answer.advised), k_here(peer.pm, at, LEN));
	T_CHECK(answer.cachestat == 0 && answer.resident == 1);
	T_CHECK(answer.advised == 0 && k_here(peer.pm, at, LEN) == 0);
	k_peer_end(&peer);
	return 0;
}
