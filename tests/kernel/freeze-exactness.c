// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A freeze is exact: calls that say EINTR when they are disturbed go on, signals
 * that arrive meanwhile are neither lost nor doubled nor out of order, restartable
 * sequences and stopped processes are as without us, and the parent hears nothing.
 *
 * REPS sets the stops of each kind.
 */
#include <linux/io_uring.h>
#include <linux/rseq.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "tests/kernel/freeze-common.h"

static struct board *the_board;
static size_t reps = 100;

/* A wait in one system call that must not return until it is poked. */
struct wait {
	const char *name;
	/* In the target, once: make what is waited for; both keep it in @fds. */
	void (*make)(int fds[2]);
	/* In the target: wait. Return: is the answer the right one? */
	bool (*wait)(const int fds[2]);
	/* In the test: end the wait. */
	void (*poke)(const int fds[2]);
};

static void write_byte(const int fds[2])
{
	T_CHECK(write(fds[1], "x", 1) == 1);
}

static bool read_byte(const int fds[2])
{
	char byte;

	return read(fds[0], &byte, 1) == 1;
}

static void make_pipe(int fds[2])
{
	T_SYS(pipe(fds));
}

/* A socket with a timeout says EINTR instead of going on. */
static void make_timed_socket(int fds[2])
{
	struct timeval tv = { 1000, 0 };

	T_SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	T_SYS(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T_SYS(setsockopt(fds[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
}

static bool recv_byte(const int fds[2])
{
	char byte;

	return recv(fds[0], &byte, 1, 0) == 1;
}

static bool readv_byte(const int fds[2])
{
	char byte;
	struct iovec iov = { &byte, 1 };

	return readv(fds[0], &iov, 1) == 1;
}

static bool recvmsg_byte(const int fds[2])
{
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	return recvmsg(fds[0], &msg, 0) == 1;
}

/* A writer that waits for room, with a timeout. */
static void make_room_socket(int fds[2])
{
	struct timeval tv = { 1000, 0 };

	T_SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	T_SYS(setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
}

static void fill(const int fds[2])
{
	char buf[512] = "";

	while (send(fds[0], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static bool send_some(const int fds[2])
{
	fill(fds);
	return send(fds[0], "y", 1, 0) == 1;
}

static bool write_some(const int fds[2])
{
	fill(fds);
	return write(fds[0], "y", 1) == 1;
}

static bool writev_some(const int fds[2])
{
	struct iovec iov = { (void *)(uintptr_t)"y", 1 };

	fill(fds);
	return writev(fds[0], &iov, 1) == 1;
}

static void drain(const int fds[2])
{
	char buf[4096];

	while (recv(fds[1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static void make_listener(int fds[2])
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval tv = { 1000, 0 };
	socklen_t len = sizeof(addr);

	fds[0] = (int)T_SYS(socket(AF_INET, SOCK_STREAM, 0));
	T_SYS(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T_SYS(bind(fds[0], (struct sockaddr *)&addr, sizeof(addr)));
	T_SYS(listen(fds[0], 5));
	T_SYS(getsockname(fds[0], (struct sockaddr *)&addr, &len));
	fds[1] = ntohs(addr.sin_port);
}

static bool accept_one(const int fds[2])
{
	int fd = accept(fds[0], NULL, NULL);

	close(fd);
	return fd >= 0;
}

static void connect_to(const int fds[2])
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)fds[1]) };
	int fd = (int)T_SYS(socket(AF_INET, SOCK_STREAM, 0));

	T_SYS(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	close(fd);
}

static bool epoll_byte(const int fds[2])
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = epoll_create1(EPOLL_CLOEXEC), n;

	epoll_ctl(fd, EPOLL_CTL_ADD, fds[0], &event);
	n = epoll_wait(fd, &event, 1, -1);
	close(fd);
	return n == 1 && read_byte(fds);
}

static bool epoll_timed_byte(const int fds[2])
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = epoll_create1(EPOLL_CLOEXEC), n;

	epoll_ctl(fd, EPOLL_CTL_ADD, fds[0], &event);
	n = epoll_wait(fd, &event, 1, 1000000);
	close(fd);
	return n == 1 && read_byte(fds);
}

static void make_semaphore(int fds[2])
{
	fds[0] = (int)T_SYS(semget(IPC_PRIVATE, 1, 0600));
}

static bool down(const int fds[2])
{
	struct sembuf op = { 0, -1, 0 };

	return semop(fds[0], &op, 1) == 0;
}

static bool down_timed(const int fds[2])
{
	struct sembuf op = { 0, -1, 0 };
	struct timespec ts = { 1000, 0 };

	return semtimedop(fds[0], &op, 1, &ts) == 0;
}

static void up(const int fds[2])
{
	struct sembuf op = { 0, 1, 0 };

	T_SYS(semop(fds[0], &op, 1));
}

static void make_queue(int fds[2])
{
	fds[0] = (int)T_SYS(msgget(IPC_PRIVATE, 0600));
}

static bool receive(const int fds[2])
{
	struct {
		long type;
		char text[8];
	} msg;

	return msgrcv(fds[0], &msg, sizeof(msg.text), 0, 0) >= 0;
}

static void send_message(const int fds[2])
{
	struct {
		long type;
		char text[8];
	} msg = { 1, "x" };

	T_SYS(msgsnd(fds[0], &msg, sizeof(msg.text), 0));
}

static void make_watch(int fds[2])
{
	fds[0] = (int)T_SYS(inotify_init1(IN_CLOEXEC));
	T_SYS(inotify_add_watch(fds[0], "/proc/self/exe", IN_OPEN));
}

static bool read_event(const int fds[2])
{
	char buf[512];

	return read(fds[0], buf, sizeof(buf)) > 0;
}

static void open_watched(const int fds[2])
{
	close((int)T_SYS(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)));
}

/* A ring without any entry: one that waits for a completion. */
static void make_ring(int fds[2])
{
	struct io_uring_params params = { .flags = 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);

	fds[0] = fd;
}

static bool enter_ring(const int fds[2])
{
	long r = syscall(SYS_io_uring_enter, fds[0], 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);

	return r == 0;
}

static const struct wait waits[] = {
	{ "read of a pipe", make_pipe, read_byte, write_byte },
	{ "epoll_wait", make_pipe, epoll_byte, write_byte },
	{ "epoll_wait with a timeout", make_pipe, epoll_timed_byte, write_byte },
	{ "read with a timeout", make_timed_socket, read_byte, write_byte },
	{ "readv with a timeout", make_timed_socket, readv_byte, write_byte },
	{ "recv with a timeout", make_timed_socket, recv_byte, write_byte },
	{ "recvmsg with a timeout", make_timed_socket, recvmsg_byte, write_byte },
	{ "send with a timeout", make_room_socket, send_some, drain },
	{ "write with a timeout", make_room_socket, write_some, drain },
	{ "writev with a timeout", make_room_socket, writev_some, drain },
	{ "accept with a timeout", make_listener, accept_one, connect_to },
	{ "semop", make_semaphore, down, up },
	{ "semtimedop", make_semaphore, down_timed, up },
	{ "msgrcv", make_queue, receive, send_message },
	{ "read of inotify", make_watch, read_event, open_watched },
	{ "io_uring_enter", make_ring, enter_ring, NULL },
};

static void in_wait(const struct wait *wait, const int fds[2], struct board *board)
{
	board->ready = true;
	for (;;) {
		if (!wait->wait(fds))
			broken(board, "%s", strerror(errno));
		board->laps++;
	}
}

static void clean_up(const struct wait *wait, const int fds[2])
{
	if (wait->make == make_semaphore)
		semctl(fds[0], 0, IPC_RMID);
	else if (wait->make == make_queue)
		msgctl(fds[0], IPC_RMID, NULL);
	else
		close(fds[0]);
	if (wait->make != make_listener && fds[1] > 0)
		close(fds[1]);
}

static void undisturbed(const struct wait *wait, uint64_t *seed)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	int fds[2] = { -1, -1 };
	unsigned long laps;
	pid_t pid;

	wait->make(fds);
	if (fds[0] < 0) {
		printf("%s: not there\n", wait->name);
		board_free(board);
		return;
	}
	pid = t_fork();
	if (pid == 0)
		in_wait(wait, fds, board);
	T_UNTIL(5, board->ready && t_proc_state(pid) == 'S');
	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps / 2 && !board->error[0]; i++) {
		bool pokes = wait->poke && i % 4 == 3;

		laps = board->laps;
		freeze_ok(freeze, pid, board);
		/* An event that comes within the stop is seen after it. */
		if (pokes && i % 8 == 7)
			wait->poke(fds);
		usleep((useconds_t)t_below(seed, 100));
		go_ok(freeze);
		if (pokes && i % 8 != 7)
			wait->poke(fds);
		if (pokes)
			T_UNTIL(5, board->laps > laps || board->error[0]);
		else
			T_CHECK(board->laps == laps, "%s returned", wait->name);
		T_UNTIL(5, t_proc_state(pid) == 'S' || board->error[0]);
	}
	if (board->error[0])
		T_FAIL("%s: %s", wait->name, board->error);
	printf("%s: %lu laps\n", wait->name, board->laps);
	umem_freeze_free(freeze);
	t_end(pid);
	clean_up(wait, fds);
	board_free(board);
}

/* Queued signals come once each, in order, with what they carry; the others once at least. */
static void on_queued(int signo, siginfo_t *info, void *context)
{
	struct board *board = the_board;

	if (info->si_value.sival_int != (int)board->signals)
		broken(board, "signal %d came as number %lu", info->si_value.sival_int,
			board->signals);
	board->signals++;
}

static void on_plain(int signo)
{
	the_board->aborts++;
}

static void *spin(void *arg)
{
	for (;;)
		;
	return NULL;
}

static void takes_signals(struct board *board, int how)
{
	struct sigaction queued = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO };
	struct sigaction plain = { .sa_handler = on_plain };
	pthread_t thread;

	the_board = board;
	sigaction(SIGRTMIN, &queued, NULL);
	if (how == 2) {
		/* One thread that takes them, another beside it. */
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, SIGRTMIN);
		sigaddset(&set, SIGUSR1);
		sigprocmask(SIG_BLOCK, &set, NULL);
		pthread_create(&thread, NULL, spin, NULL);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
	}
	sigaction(SIGUSR1, &plain, NULL);
	board->ready = true;
	for (;;) {
		unsigned long had = board->signals + board->aborts;
		struct timespec ts = { 10, 0 };

		if (how != 1)
			continue;
		/* In a sleep a handler must end it with EINTR, nothing else may. */
		if (nanosleep(&ts, NULL) == 0 || errno != EINTR)
			broken(board, "nanosleep: %s", strerror(errno));
		if (board->signals + board->aborts == had)
			broken(board, "EINTR without a signal");
	}
}

static void signals_arrive(int how, uint64_t *seed)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	unsigned long n_plain = 0;
	int n_sent = 0;
	pid_t pid = t_fork(), sender;

	if (pid == 0)
		takes_signals(board, how);
	T_UNTIL(5, board->ready);
	sender = t_fork();
	if (sender == 0) {
		while (!board->stop) {
			if (sigqueue(pid, SIGRTMIN, (union sigval){ .sival_int = n_sent }) == 0)
				n_sent++;
			usleep(300);
		}
		_exit(n_sent % 251);
	}
	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps; i++) {
		unsigned long had = board->signals;

		freeze_ok(freeze, pid, board);
		had = board->signals;
		if (i % 5 == 0) {
			unsigned long plain = board->aborts;

			/* One that comes within the stop. */
			T_SYS(kill(pid, SIGUSR1));
			usleep((useconds_t)t_below(seed, 2000));
			T_CHECK(board->aborts == plain);
			n_plain++;
		}
		T_CHECK(board->signals == had, "a handler ran in the stop");
		go_ok(freeze);
		T_UNTIL(5, board->aborts == n_plain || board->error[0]);
	}
	board->stop = true;
	n_sent = WEXITSTATUS(t_wait(sender));
	T_UNTIL(5, board->signals % 251 == (unsigned long)n_sent || board->error[0]);
	T_CHECK(board->error[0] == '\0', "%s", board->error);
	printf("signals: %lu queued, %lu others, none lost\n", board->signals, board->aborts);
	umem_freeze_free(freeze);
	t_end(pid);
	board_free(board);
}

/* A stopped process is frozen in its stop, stays in it, and its parent hears nothing. */
static void stopped(void)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	int status;
	pid_t pid = t_fork();

	if (pid == 0) {
		pthread_t thread;

		pthread_create(&thread, NULL, spin, NULL);
		for (;;) {
			usleep(100);
			board->laps++;
		}
	}
	T_UNTIL(5, board->laps > 0);
	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps / 2; i++) {
		unsigned long laps;

		T_SYS(kill(pid, SIGSTOP));
		T_CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
		laps = board->laps;
		freeze_ok(freeze, pid, board);
		/* SIGCONT within the stop holds after it. */
		if (i % 2)
			T_SYS(kill(pid, SIGCONT));
		go_ok(freeze);
		if (i % 2 == 0) {
			T_UNTIL(5, t_proc_state(pid) == 'T');
			T_CHECK(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG) == 0);
			T_CHECK(board->laps == laps);
			T_SYS(kill(pid, SIGCONT));
		}
		T_CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
		T_UNTIL(5, board->laps > laps + 1);
		/* And SIGSTOP within it, too. */
		freeze_ok(freeze, pid, board);
		T_SYS(kill(pid, SIGSTOP));
		go_ok(freeze);
		T_CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
		T_UNTIL(5, t_proc_state(pid) == 'T');
		T_SYS(kill(pid, SIGCONT));
		T_CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
	}
	printf("stopped and continued: %lu laps\n", board->laps);
	umem_freeze_free(freeze);
	t_end(pid);
	board_free(board);
}

/* A signal that ends the program ends it after the stop, with its own status. */
static void ends_it(void)
{
	struct umem_freeze *freeze;
	static const int signos[] = { SIGTERM, SIGUSR2, SIGKILL };

	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < sizeof(signos) / sizeof(signos[0]); i++) {
		struct board *board = board_new();
		int status;
		pid_t pid = t_fork();

		if (pid == 0) {
			pthread_t thread;

			pthread_create(&thread, NULL, spin, NULL);
			board->ready = true;
			for (;;)
				pause();
		}
		T_UNTIL(5, board->ready);
		freeze_ok(freeze, pid, board);
		T_SYS(kill(pid, signos[i]));
		t_msleep(5);
		T_CHECK(signos[i] == SIGKILL || t_proc_state(pid) == 't');
		/* Of SIGKILL its parent hears although we hold it. */
		if (signos[i] != SIGKILL)
			go_ok(freeze);
		status = t_wait(pid);
		go_ok(freeze);
		T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signos[i], "%x", status);
		board_free(board);
	}
	umem_freeze_free(freeze);
}

#ifdef __x86_64__
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));

/* A restartable sequence that adds one to its processor's counter, as allocators do. */
static bool sequence(struct rseq *rseq, uint64_t *counter)
{
	__asm__ volatile goto(
		".pushsection __rseq_cs, \"aw\"\n.balign 32\n"
		"3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
		"leaq 3b(%%rip), %%rax\nmovq %%rax, %[cs]\n"
		"1:\nmovq (%[counter]), %%rax\nmovl $400, %%ecx\n"
		"5: decl %%ecx\njnz 5b\n"
		"incq %%rax\nmovq %%rax, (%[counter])\n"
		"2:\n"
		".pushsection __rseq_failure, \"ax\"\n.byte 0x0f, 0xb9, 0x3d\n.long 0x53053053\n"
		"4: jmp %l[aborted]\n.popsection\n"
		:
		: [cs] "m"(rseq->rseq_cs), [counter] "r"(counter)
		: "rax", "rcx", "memory", "cc"
		: aborted);
	return false;
aborted:
	return true;
}

static uint64_t counter;

static void *add(void *arg)
{
	struct board *board = arg;
	struct rseq *rseq = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	cpu_set_t set;

	/* On one processor both are right only if sequences are aborted by a stop. */
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (!board->stop) {
		if (sequence(rseq, &counter))
			board->aborts++;
		else
			board->laps++;
	}
	board->signals++;
	return NULL;
}

static void restartable(uint64_t *seed)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	pid_t pid;

	if (!&__rseq_size || __rseq_size == 0) {
		printf("sequences: this C library registers none\n");
		board_free(board);
		return;
	}
	pid = t_fork();
	if (pid == 0) {
		pthread_t thread;

		pthread_create(&thread, NULL, add, board);
		add(board);
		pthread_join(thread, NULL);
		board->mark[0] = counter;
		board->ready = true;
		pause();
	}
	T_UNTIL(5, board->laps > 100);
	T_OK(umem_freeze_new(&freeze));
	for (size_t i = 0; i < reps * 2; i++) {
		freeze_ok(freeze, pid, board);
		go_ok(freeze);
		usleep((useconds_t)t_below(seed, 1000));
	}
	board->stop = true;
	T_UNTIL(5, board->ready);
	T_CHECK(board->mark[0] == board->laps, "%lu of %lu additions", board->mark[0],
		board->laps);
	printf("sequences: %lu finished, %lu aborted\n", board->laps, board->aborts);
	umem_freeze_free(freeze);
	t_end(pid);
	board_free(board);
}
#endif

int main(void)
{
	uint64_t seed = t_seed();

	if (getenv("REPS"))
		reps = strtoul(getenv("REPS"), NULL, 10);
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
		undisturbed(&waits[i], &seed);
	for (int how = 0; how < 3; how++)
		signals_arrive(how, &seed);
	stopped();
	ends_it();
#ifdef __x86_64__
	restartable(&seed);
#endif
	return 0;
}
