// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What fuzz-server.c plays with.
 *
 *     this program -> process 1 of the namespace -> the fuzzer -> the victim, workers, ...
 *
 * Process 1 waits for the fuzzer and ends with its status, and the namespace with it. It
 * is the parent of whatever loses its own, so that nothing can get out of sight.
 */
#include "tests/fuzz/server_world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/uapi.h"
#include "tests/lib/harness.h"

#define AREA 0x200000000000ull

static void *area;
static char program[256];
static pid_t victim, dead;
static int victim_uffd = -1, dead_uffd = -1;

/* End as the child did. */
static void end_as(pid_t child)
{
	pid_t pid;
	int status;

	do
		pid = wait(&status);
	while (pid != child && (pid > 0 || errno == EINTR));
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

void world_enter(void)
{
	pid_t parent = getpid(), child;

	T_SYS(readlink("/proc/self/exe", program, sizeof(program) - 8));
	strcat(program, "-victim");
	if (geteuid() != 0)
		T_SKIP("needs root");
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
		T_SKIP("no process namespace: %s", strerror(errno));
	fflush(NULL);
	child = (pid_t)T_SYS(fork());
	if (child)
		end_as(child);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	T_CHECK(getppid() == 0 || getppid() == parent);
	T_SYS(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	T_SYS(mount("proc", "/proc", "proc", 0, NULL));
	T_SYS(mount("tmpfs", "/run", "tmpfs", 0, NULL));
	child = (pid_t)T_SYS(fork());
	if (child)
		end_as(child);
	/* Where nothing is put by itself, here and in the victim. */
	area = mmap((void *)AREA, WORLD_PAGES * 4096u, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	T_CHECK(area == (void *)AREA);
	memset(area, 7, WORLD_PAGES * 4096u);
}

/* A userfaultfd of this process, as io.umemd.Targets.HandOff asks for one. */
static int new_uffd(int flags, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int uffd = (int)T_SYS(syscall(SYS_userfaultfd, O_CLOEXEC | flags));

	T_SYS(ioctl(uffd, UFFDIO_API, &api));
	return uffd;
}

/* A process that waits, and its userfaultfd. */
static pid_t start(int *ret_uffd)
{
	char at[32], len[16], byte;
	int pair[2];
	pid_t pid;

	T_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	fflush(NULL);
	snprintf(at, sizeof(at), "%#llx", (unsigned long long)world_area());
	snprintf(len, sizeof(len), "%u", WORLD_PAGES * 4096u);
	pid = (pid_t)T_SYS(fork());
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		T_SYS(dup2(pair[1], 3));
		T_SYS(close_range(4, ~0u, 0));
		execl(program, "victim", at, len, NULL);
		_exit(1);
	}
	close(pair[1]);
	T_CHECK(read(pair[0], &byte, 1) == 1);
	close(pair[0]);
	{
		UMEM_FD int pidfd = (int)T_SYS(pidfd_open(pid, 0));

		*ret_uffd = (int)T_SYS(pidfd_getfd(pidfd, 4, 0));
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void world_end_victim(void)
{
	if (victim)
		end(victim);
	victim = 0;
	victim_uffd = umem_fd_close(victim_uffd);
}

pid_t world_victim(void)
{
	if (!victim)
		victim = start(&victim_uffd);
	return victim;
}

pid_t world_dead(void)
{
	if (!dead) {
		dead = start(&dead_uffd);
		end(dead);
	}
	return dead;
}

uint64_t world_area(void)
{
	return (uint64_t)(uintptr_t)area;
}

bool world_area_is_free(void)
{
	UMEM_FD int uffd = new_uffd(O_NONBLOCK, UFFD_FEATURE_WP_ASYNC);
	struct uffdio_register reg = {
		.range = { world_area(), WORLD_PAGES * 4096u },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) == 0;
}

bool world_victim_is_free(void)
{
	UMEM_FREE char *text = NULL;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)world_victim());
	T_OK(umem_read_file(AT_FDCWD, path, 1u << 16, &text, NULL));
	return strstr(text, "\nTracerPid:\t0\n") != NULL;
}

static int a_pipe(void)
{
	int pair[2];

	T_SYS(pipe2(pair, O_CLOEXEC));
	close(pair[1]);
	return pair[0];
}

static int a_socket(void)
{
	int pair[2];

	T_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	close(pair[1]);
	return pair[0];
}

/* Memory, @sealed for good. */
static int a_memfd(bool sealed)
{
	int fd = (int)T_SYS(memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));

	T_SYS(ftruncate(fd, 8192));
	if (sealed)
		T_SYS(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
	return fd;
}

/* Another descriptor for @fd, which may be none. */
static int again(int fd)
{
	return fd < 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) :
		(int)T_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int world_fd(char kind, int self)
{
	world_victim();
	world_dead();
	switch (kind) {
	case 'p':
		return a_pipe();
	case 'm':
		return a_memfd(false);
	case 's':
		return a_memfd(true);
	case 'k':
		return a_socket();
	case 'd':
		return (int)T_SYS(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	case 'o':
		return (int)T_SYS(open("/", O_PATH | O_CLOEXEC));
	case 'f': /* as a snapshot is written to */
		return (int)T_SYS(open("/run", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	case 'r': /* one that cannot be written */
		return (int)T_SYS(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	case 'e':
		return (int)T_SYS(epoll_create1(EPOLL_CLOEXEC));
	case 'i':
		return (int)T_SYS(pidfd_open(world_victim(), 0));
	case 'u': /* one's own userfaultfd */
		return new_uffd(O_NONBLOCK, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
	case 'b': /* one that blocks */
		return new_uffd(0, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
	case 'w': /* without what is asked for */
		return new_uffd(O_NONBLOCK, 0);
	case 'h': /* before its hand-shake */
		return (int)T_SYS(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
	case 'c': /* of another process */
		return again(victim_uffd);
	case 'g': /* of one that is gone */
		return again(dead_uffd);
	case 'n': /* the connection itself */
		return again(self);
	default:
		return (int)T_SYS(open("/dev/null", O_RDWR | O_CLOEXEC));
	}
}

/* Numbers in a directory, one that reading it takes not counted. */
static unsigned count_numbers(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
	if (dir)
		closedir(dir);
	return n;
}

void world_kill_workers(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		UMEM_FREE char *text = NULL;
		char path[40];

		snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
			umem_read_file(AT_FDCWD, path, 64, &text, NULL) == 0 &&
			strncmp(text, "umemd-worker", 12) == 0)
			kill((pid_t)strtol(entry->d_name, NULL, 10), SIGKILL);
	}
	if (dir)
		closedir(dir);
}

struct world_count world_count(void)
{
	char path[40];

	world_dead();
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)world_victim());
	return (struct world_count){
		.fds = count_numbers("/proc/self/fd"),
		.processes = count_numbers("/proc"),
		.victim_fds = count_numbers(path),
	};
}
