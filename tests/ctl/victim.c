// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A process to be looked at and attached to: it checks its own memory.
 *
 * victim MODE: prints "ready PID TID START-END" and then answers each newline
 * on stdin with "ok N" after checking that its pages hold what it wrote, and
 * writing the next generation. End of file ends it. In mode "family" TID is a
 * child that does the writing.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/kern/uapi.h"
#include "lib/kern/uffd.h"
#include "tests/lib/harness.h"

#define N_PAGES 64
#define PAGE 4096u

static volatile int thread_tid;
static int ask[2], answer[2];
static pid_t child_pid;

static void *idle(void *user)
{
	thread_tid = (int)syscall(SYS_gettid);
	pause();
	return NULL;
}

static void use_uffd(char *at)
{
	int fd;

	if (umem_uffd_open(UFFD_USER_MODE_ONLY, &fd) < 0)
		T_SKIP("no userfaultfd");
	T_OK(umem_uffd_api(fd, 0, NULL));
	T_OK(umem_uffd_register(fd, (uintptr_t)at, (uintptr_t)at + 4 * PAGE,
		UFFDIO_REGISTER_MODE_MISSING));
}

/* A filter that allows everything is still a filter. */
static void use_seccomp(void)
{
	struct sock_filter filter[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { .len = 1, .filter = filter };

	T_SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	T_SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

/* A child that writes in the place of its parent. */
static void start_child(char *at)
{
	T_SYS(pipe(ask));
	T_SYS(pipe(answer));
	child_pid = t_fork();
	if (child_pid == 0) {
		char gen;

		while (read(ask[0], &gen, 1) == 1) {
			for (uint64_t i = 0; i < N_PAGES; i++)
				t_fill_page(at + i * PAGE, i, (uint64_t)gen);
			if (write(answer[1], &gen, 1) != 1)
				break;
		}
		_exit(0);
	}
}

static void write_pages(char *at, uint64_t gen)
{
	char c = (char)gen;

	if (child_pid) {
		T_CHECK(write(ask[1], &c, 1) == 1);
		T_CHECK(read(answer[0], &c, 1) == 1);
		return;
	}
	for (uint64_t i = 0; i < N_PAGES; i++)
		t_fill_page(at + i * PAGE, i, gen);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "plain";
	bool family = strcmp(mode, "family") == 0;
	bool shared = family || strcmp(mode, "shared") == 0;
	uint64_t gen = 0;
	pthread_t thread;
	char *at;
	char c;

	at = mmap(NULL, N_PAGES * PAGE, PROT_READ | PROT_WRITE,
		MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
	T_CHECK(at != MAP_FAILED);
	/* A mapping of its own, with no neighbour that it could merge with. */
	T_SYS(madvise(at, N_PAGES * PAGE, MADV_DONTDUMP));
	for (uint64_t i = 0; i < N_PAGES; i++)
		t_fill_page(at + i * PAGE, i, gen);
	if (strcmp(mode, "thread") == 0) {
		T_CHECK(pthread_create(&thread, NULL, idle, NULL) == 0);
		T_UNTIL(5, thread_tid != 0);
	}
	if (strcmp(mode, "uffd") == 0)
		use_uffd(at);
	if (strcmp(mode, "seccomp") == 0)
		use_seccomp();
	if (strcmp(mode, "named") == 0)
		prctl(PR_SET_NAME, "\033[31mre\n\xe2\x80\xae\xff");
	if (family)
		start_child(at);
	printf("ready %d %d %lx-%lx\n", getpid(), family ? child_pid : thread_tid,
		(unsigned long)at, (unsigned long)at + N_PAGES * PAGE);
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) == 1) {
		for (uint64_t i = 0; i < N_PAGES; i++)
			for (uint64_t k = 0; k < PAGE; k++)
				T_CHECK((uint8_t)at[i * PAGE + k] == t_pattern(i, k, gen),
					"page %d", (int)i);
		gen++;
		write_pages(at, gen);
		printf("ok %d\n", (int)gen);
		fflush(stdout);
	}
	return 0;
}
