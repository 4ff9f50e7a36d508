// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freezing where something is in the way: tracers, missing rights, threads that do not
 * stop, frozen groups, page faults that somebody has to serve. After a refusal the
 * target is as it was.
 */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

#include "tests/kernel/freeze-common.h"

static struct umem_freeze *freeze;

/* A target that answers each byte of its pipe by a lap; a thread beside it. */
static void *beside(void *arg)
{
	struct board *board = arg;

	for (;;)
		board->signals++;
	return NULL;
}

static void answer(struct board *board)
{
	pthread_t thread;
	char byte;

	pthread_create(&thread, NULL, beside, board);
	board->ready = true;
	while (read(board->pipe_fds[0], &byte, 1) == 1)
		board->laps++;
	broken(board, "read: %s", strerror(errno));
}

static pid_t start(struct board *board, void (*run)(struct board *board))
{
	pid_t pid = t_fork();

	if (pid == 0) {
		run(board);
		_exit(0);
	}
	T_UNTIL(5, board->ready || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	return pid;
}

static void ask(struct board *board)
{
	unsigned long laps = board->laps;

	T_CHECK(write(board->pipe_fds[1], "x", 1) == 1);
	T_UNTIL(5, board->laps == laps + 1 || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
}

static void once(pid_t pid, struct board *board)
{
	unsigned long laps;

	freeze_ok(freeze, pid, board);
	laps = board->signals;
	usleep(500);
	T_CHECK(board->signals == laps);
	go_ok(freeze);
	T_UNTIL(5, board->signals > laps);
}

/* It must be refused with these words, and everything runs on. */
static void refused(pid_t pid, struct board *board, int err, const char *words)
{
	struct umem_note note = { 0 };
	unsigned long laps;
	int r = freeze_any(freeze, pid, SECOND / 5, NULL, &note);

	T_CHECK(r == err, "%d %s", r, note.text);
	T_CHECK(strstr(note.text, words), "%s", note.text);
	laps = board->signals;
	T_UNTIL(5, board->signals > laps);
}

static void nobody(void)
{
	struct umem_freeze_process who[2] = { { .pid = fork() } };
	struct umem_freeze_count count;
	struct umem_note note = { 0 };
	uint64_t ns = 1;

	if (who[0].pid == 0)
		_exit(0);
	T_UNTIL(5, t_proc_state(who[0].pid) == 'Z');
	T_OK(umem_pidfd_open(who[0].pid, &who[0].pidfd));
	T_CHECK(umem_freeze_stop(freeze, who, 1, SECOND, NULL, &note) == UMEM_GONE);
	/* Its end is still there for us. */
	T_CHECK(waitpid(who[0].pid, NULL, 0) == who[0].pid);
	T_CHECK(umem_freeze_stop(freeze, who, 1, SECOND, NULL, &note) == UMEM_GONE);
	/* An id that another process has by now: the pidfd tells. */
	who[0].pid = 1;
	T_CHECK(umem_freeze_stop(freeze, who, 1, SECOND, NULL, &note) == UMEM_GONE);
	who[0].pid = getpid();
	T_CHECK(umem_freeze_stop(freeze, who, 1, SECOND, NULL, &note) == -EINVAL);
	T_CHECK(umem_freeze_stop(freeze, who, 0, SECOND, NULL, &note) == -EINVAL);
	close(who[0].pidfd);
	T_CHECK(umem_freeze_go(freeze, &ns) == 0 && ns == 0);
	umem_freeze_count(freeze, 0, &count);
	T_CHECK(count.n_stopped == 0);
	T_CHECK(umem_freeze_more(freeze, SECOND, NULL) == -EINVAL);
	T_CHECK(umem_freeze_threads(freeze, 0, NULL, NULL) == -EINVAL);
	T_CHECK(umem_freeze_free(NULL) == NULL);
}

static void kernel_thread(void)
{
	struct umem_note note = { 0 };
	struct umem_proc_stat stat;

	if (umem_proc_stat_read(2, 0, &stat) < 0 || !stat.kernel_thread)
		return;
	T_CHECK(freeze_any(freeze, 2, SECOND, NULL, &note) == -ENOTSUP, "%s", note.text);
	T_CHECK(strstr(note.text, "kernel thread"));
}

static void traced_already(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, answer), tracer = t_fork();
	struct umem_freeze *second;
	struct umem_note note = { 0 };
	char number[32];

	if (tracer == 0) {
		ptrace(PTRACE_SEIZE, pid, 0, 0);
		pause();
	}
	T_UNTIL(5, tracer_of(pid) == tracer);
	snprintf(number, sizeof(number), "process %d already", (int)tracer);
	refused(pid, board, -EBUSY, number);
	T_CHECK(tracer_of(pid) == tracer);
	ask(board);
	t_end(tracer);
	once(pid, board);
	/* Held by ourselves. */
	freeze_ok(freeze, pid, board);
	T_CHECK(freeze_any(freeze, pid, SECOND, NULL, &note) == -EINVAL);
	T_OK(umem_freeze_new(&second));
	T_CHECK(freeze_any(second, pid, SECOND, NULL, &note) == -EBUSY);
	umem_freeze_free(second);
	go_ok(freeze);
	ask(board);
	t_end(pid);
	board_free(board);
}

static void not_permitted(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, answer), other = t_fork();
	int status;

	if (other == 0) {
		struct umem_note note = { 0 };

		if (setresuid(65534, 65534, 65534) < 0)
			_exit(77);
		_exit(freeze_any(freeze, pid, SECOND, NULL, &note) == -EPERM && note.text[0] ? 0 :
			1);
	}
	status = t_wait(other);
	T_CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77, "%x", status);
	ask(board);
	t_end(pid);
	board_free(board);
}

static void vfork_waits(struct board *board)
{
	pthread_t thread;
	pid_t pid;

	pthread_create(&thread, NULL, beside, board);
	pid = vfork();
	if (pid == 0) {
		char byte;

		board->tid = getpid();
		board->ready = true;
		/* Raw: the memory is the parent's. */
		syscall(SYS_read, board->pipe_fds[0], &byte, 1);
		_exit(0);
	}
	board->laps++;
	for (;;)
		pause();
}

/* The parent of a vfork cannot stop; the others are let go, and so is it when it can. */
static void vfork_family(void)
{
	struct board *board = board_new();
	pid_t pid = start(board, vfork_waits);
	char words[32];

	T_UNTIL(5, t_proc_state(pid) == 'D');
	snprintf(words, sizeof(words), "thread %d (", (int)pid);
	refused(pid, board, -ETIMEDOUT, words);
	refused(pid, board, -ETIMEDOUT, "state D");
	T_CHECK(tracer_of(pid) == 0);
	T_CHECK(write(board->pipe_fds[1], "x", 1) == 1);
	T_UNTIL(5, board->laps == 1);
	once(pid, board);
	t_end(pid);
	board_free(board);
}

/* A page of the target that is missing until somebody serves it. */
struct missing {
	int uffd;
	char *page;
	atomic_bool serves;
};

static void *serve(void *arg)
{
	struct missing *missing = arg;
	struct uffdio_zeropage zero = { .range = { (uintptr_t)missing->page, 4096 } };
	struct pollfd pfd = { .fd = missing->uffd, .events = POLLIN };

	poll(&pfd, 1, 5000);
	t_msleep(30);
	T_SYS(ioctl(missing->uffd, UFFDIO_ZEROPAGE, &zero));
	return NULL;
}

static void faults(struct board *board, int how)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	pthread_t thread;

	if (uffd < 0)
		broken(board, "userfaultfd: %s", strerror(errno));
	T_OK(umem_uffd_api(uffd, 0, NULL));
	reg.range = (struct uffdio_range){ (uintptr_t)page, 4096 };
	T_SYS(ioctl(uffd, UFFDIO_REGISTER, &reg));
	board->mark[0] = (uintptr_t)page;
	board->tid = uffd;
	pthread_create(&thread, NULL, beside, board);
	board->ready = true;
	/* A fault of the program, or one of the kernel on its behalf. */
	if (how == 0)
		board->laps += 1 + (unsigned long)*(volatile char *)page;
	else if (read(board->pipe_fds[0], page, 1) == 1)
		board->laps++;
	for (;;)
		pause();
}

static void faults_by_program(struct board *board)
{
	faults(board, 0);
}

static void faults_by_kernel(struct board *board)
{
	faults(board, 1);
}

/*
 * A thread that waits for its own page stops. One whose read(2) waits for it does not
 * before it is served; then all stand, if another thread of ours serves it.
 */
static void page_faults(void)
{
	struct board *board = board_new();
	struct missing missing;
	pthread_t thread;
	uint64_t begin_ns;
	int pidfd;
	pid_t pid = t_fork();

	if (pid == 0)
		faults_by_program(board);
	T_UNTIL(5, board->ready || board->error[0]);
	if (board->error[0])
		T_SKIP("%s", board->error);
	t_msleep(20);
	once(pid, board);
	T_CHECK(board->laps == 0);
	t_end(pid);
	board_free(board);

	board = board_new();
	T_CHECK(write(board->pipe_fds[1], "x", 1) == 1);
	pid = start(board, faults_by_kernel);
	t_msleep(20);
	/* Whether it stops at once is the kernel's matter; that it stops is ours. */
	T_OK(umem_pidfd_open(pid, &pidfd));
	T_OK(umem_pidfd_getfd(pidfd, board->tid, &missing.uffd));
	missing.page = (char *)(uintptr_t)board->mark[0];
	T_CHECK(pthread_create(&thread, NULL, serve, &missing) == 0);
	begin_ns = t_now_ns();
	once(pid, board);
	printf("a page fault of the kernel: stands after %lu ms, served after 30\n",
		(t_now_ns() - begin_ns) / 1000000);
	pthread_join(thread, NULL);
	T_UNTIL(5, board->laps == 1);
	close(missing.uffd);
	close(pidfd);
	t_end(pid);
	board_free(board);
}

static bool put(const char *dir, const char *name, const char *text)
{
	char path[128];
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : write(fd, text, strlen(text));
	close(fd);
	return n > 0;
}

/* A frozen group is frozen by us too, and still frozen afterwards. */
static void frozen_group(void)
{
	struct board *board;
	char root[] = "/tmp/umem-cgroup-XXXXXX", dir[64], number[16];
	pid_t pid;

	T_CHECK(mkdtemp(root) != NULL);
	if (mount("none", root, "cgroup2", 0, NULL) < 0) {
		printf("no control group to freeze: %s\n", strerror(errno));
		rmdir(root);
		return;
	}
	snprintf(dir, sizeof(dir), "%s/umem-test-%d", root, (int)getpid());
	T_SYS(mkdir(dir, 0755));
	board = board_new();
	pid = start(board, answer);
	snprintf(number, sizeof(number), "%d", (int)pid);
	if (put(dir, "cgroup.procs", number) && put(dir, "cgroup.freeze", "1")) {
		unsigned long laps;

		t_msleep(20);
		laps = board->signals;
		for (int i = 0; i < 10; i++) {
			freeze_ok(freeze, pid, board);
			go_ok(freeze);
			T_CHECK(board->signals == laps);
		}
		t_msleep(5);
		T_CHECK(board->signals == laps);
		T_CHECK(put(dir, "cgroup.freeze", "0"));
		ask(board);
		once(pid, board);
	} else {
		printf("no control group to freeze\n");
	}
	t_end(pid);
	T_UNTIL(5, rmdir(dir) == 0);
	T_SYS(umount2(root, MNT_DETACH));
	rmdir(root);
	board_free(board);
}

/* Several at once, one of them gone: none is held, and which one it was is told. */
static void several(void)
{
	struct umem_freeze_process who[3];
	struct board *boards[3];
	struct umem_note note = { 0 };
	struct umem_freeze_count count;
	uint64_t ns;

	for (int i = 0; i < 3; i++) {
		boards[i] = board_new();
		who[i] = (struct umem_freeze_process){ .pid = start(boards[i], answer) };
		T_OK(umem_pidfd_open(who[i].pid, &who[i].pidfd));
	}
	for (int i = 0; i < 20; i++) {
		unsigned long laps[3];

		T_OK(umem_freeze_stop(freeze, who, 3, 5 * SECOND, NULL, &note));
		for (int j = 0; j < 3; j++) {
			umem_freeze_count(freeze, (size_t)j, &count);
			T_CHECK(count.n_stopped == 2);
			laps[j] = boards[j]->signals;
		}
		usleep(500);
		for (int j = 0; j < 3; j++)
			T_CHECK(boards[j]->signals == laps[j]);
		T_CHECK(umem_freeze_go(freeze, &ns) == 0 && ns > 500000);
	}
	kill(who[1].pid, SIGKILL);
	T_UNTIL(5, t_proc_state(who[1].pid) == 'Z');
	T_CHECK(umem_freeze_stop(freeze, who, 3, 5 * SECOND, NULL, &note) == UMEM_GONE);
	T_CHECK(umem_freeze_failed(freeze) == 1);
	for (int i = 0; i < 3; i++) {
		if (i != 1)
			ask(boards[i]);
		t_end(who[i].pid);
		close(who[i].pidfd);
		board_free(boards[i]);
	}
}

/* One thread is left out, runs on, and makes another one. */
static void *makes_another(void *arg)
{
	struct board *board = arg;
	pthread_t thread;

	board->tid = gettid();
	while (!board->stop)
		board->laps++;
	pthread_create(&thread, NULL, beside, board);
	for (;;)
		board->laps++;
	return NULL;
}

static void all_but_one(void)
{
	struct board *board = board_new();
	struct umem_freeze_process who = { 0 };
	struct umem_freeze_count count;
	unsigned long laps;

	who.pid = t_fork();
	if (who.pid == 0) {
		pthread_t thread;

		pthread_create(&thread, NULL, makes_another, board);
		for (;;)
			pause();
	}
	T_UNTIL(5, board->tid != 0);
	T_OK(umem_pidfd_open(who.pid, &who.pidfd));
	who.except_tid = board->tid;
	T_OK(umem_freeze_stop(freeze, &who, 1, 5 * SECOND, NULL, NULL));
	umem_freeze_count(freeze, 0, &count);
	T_CHECK(count.n_stopped == 1);
	laps = board->laps;
	T_UNTIL(5, board->laps > laps);
	T_OK(umem_freeze_more(freeze, SECOND, NULL));
	board->stop = true;
	T_UNTIL(5, board->signals > 0);
	T_OK(umem_freeze_more(freeze, SECOND, NULL));
	umem_freeze_count(freeze, 0, &count);
	T_CHECK(count.n_stopped == 2);
	laps = board->signals;
	usleep(500);
	T_CHECK(board->signals == laps);
	go_ok(freeze);
	T_UNTIL(5, board->signals > laps);
	close(who.pidfd);
	t_end(who.pid);
	board_free(board);
}

int main(void)
{
	T_OK(umem_freeze_new(&freeze));
	nobody();
	kernel_thread();
	traced_already();
	not_permitted();
	vfork_family();
	several();
	all_but_one();
	frozen_group();
	page_faults();
	umem_freeze_free(freeze);
	return 0;
}
