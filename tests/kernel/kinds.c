// SPDX-License-Identifier: LGPL-2.1-or-later
/* Processes that wait or work in one way each, and check themselves. */
#include <linux/futex.h>
#include <linux/prctl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>

#include "tests/kernel/kinds.h"

/*
 * A relative wait of the target, and how late it may end on a busy machine: a
 * wait that begins anew at each call lasts as long as the calls come, seconds.
 */
#define WAIT_NS 20000000ull
uint64_t kinds_late_ns = 600000000;

static atomic_ulong *signals;

static void count_signal(int signo)
{
	(*signals)++;
}

static void handle(struct board *board, int signo)
{
	struct sigaction action = { .sa_handler = count_signal };

	signals = &board->signals;
	sigaction(signo, &action, NULL);
}

static void block(int signo, sigset_t *ret_before)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(SIG_BLOCK, &set, ret_before);
}

/*
 * A wait that is interrupted every few milliseconds must end in time all the
 * same: if it began anew each time it would never end.
 */
static void check_wait(struct board *board, const char *what, uint64_t begin_ns, bool exact)
{
	uint64_t took_ns = t_now_ns() - begin_ns;

	if (took_ns < WAIT_NS)
		broken(board, "%s ended early, after %lu us", what, took_ns / 1000);
	if (exact && took_ns > WAIT_NS + kinds_late_ns)
		broken(board, "%s ended late, after %lu us", what, took_ns / 1000);
	board->laps++;
}

static void in_nanosleep(struct board *board)
{
	struct timespec ts = { 0, (long)WAIT_NS };

	for (;;) {
		uint64_t begin_ns = t_now_ns();

		if (nanosleep(&ts, NULL) != 0)
			broken(board, "nanosleep: %s", strerror(errno));
		check_wait(board, "nanosleep", begin_ns, true);
	}
}

static void in_poll(struct board *board)
{
	struct pollfd pfd = { .fd = board->pipe_fds[0], .events = POLLIN };

	for (;;) {
		uint64_t begin_ns = t_now_ns();
		int n = poll(&pfd, 1, (int)(WAIT_NS / 1000000));

		if (n != 0)
			broken(board, "poll: %d %s", n, strerror(errno));
		check_wait(board, "poll", begin_ns, true);
	}
}

static void in_select(struct board *board)
{
	for (;;) {
		struct timeval tv = { 0, (long)WAIT_NS / 1000 };
		uint64_t begin_ns = t_now_ns();
		int n = select(0, NULL, NULL, NULL, &tv);

		if (n != 0)
			broken(board, "select: %d %s", n, strerror(errno));
		check_wait(board, "select", begin_ns, true);
	}
}

static void in_futex(struct board *board)
{
	struct timespec ts = { 0, (long)WAIT_NS };
	int word = 0;

	for (;;) {
		uint64_t begin_ns = t_now_ns();
		long r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);

		if (r != -1 || errno != ETIMEDOUT)
			broken(board, "futex: %ld %s", r, strerror(errno));
		check_wait(board, "futex", begin_ns, true);
	}
}

/* The kernel answers EINTR here, and keeps no remaining time. */
static void in_epoll_timeout(struct board *board)
{
	struct epoll_event event;
	int fd = epoll_create1(EPOLL_CLOEXEC);

	for (;;) {
		uint64_t begin_ns = t_now_ns();
		int n = epoll_wait(fd, &event, 1, (int)(WAIT_NS / 1000000));

		if (n != 0)
			broken(board, "epoll_wait: %d %s", n, strerror(errno));
		check_wait(board, "epoll_wait", begin_ns, false);
	}
}

/* Bytes that poke() writes come one by one, in order, and never an EINTR. */
static void take_byte(struct board *board, const char *what)
{
	uint8_t byte;
	ssize_t n = read(board->pipe_fds[0], &byte, 1);

	if (n != 1 || byte != (uint8_t)board->laps)
		broken(board, "%s: read %zd %s", what, n, strerror(errno));
	board->laps++;
}

static void in_epoll(struct board *board)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(fd, EPOLL_CTL_ADD, board->pipe_fds[0], &event);
	for (;;) {
		int n = epoll_wait(fd, &event, 1, -1);

		if (n != 1)
			broken(board, "epoll_wait: %d %s", n, strerror(errno));
		take_byte(board, "epoll_wait");
	}
}

static void in_read(struct board *board)
{
	for (;;)
		take_byte(board, "read");
}

static void poke_byte(struct board *board, pid_t pid)
{
	unsigned long laps = board->laps;
	uint8_t byte = (uint8_t)laps;

	T_CHECK(write(board->pipe_fds[1], &byte, 1) == 1);
	T_UNTIL(5, board->laps > laps || board->error[0]);
}

/* Returns from sigsuspend happen by a handler only, one each. */
static void in_sigsuspend(struct board *board)
{
	sigset_t before;

	block(SIGUSR1, &before);
	handle(board, SIGUSR1);
	board->ready = true;
	for (;;) {
		unsigned long had = board->signals;

		if (sigsuspend(&before) != -1 || errno != EINTR || board->signals != had + 1)
			broken(board, "sigsuspend: %s, %lu signals", strerror(errno),
				board->signals - had);
		board->laps++;
	}
}

static void in_ppoll(struct board *board)
{
	sigset_t before;

	block(SIGUSR1, &before);
	handle(board, SIGUSR1);
	board->ready = true;
	for (;;) {
		unsigned long had = board->signals;

		if (ppoll(NULL, 0, NULL, &before) != -1 || errno != EINTR ||
			board->signals != had + 1)
			broken(board, "ppoll: %s, %lu signals", strerror(errno),
				board->signals - had);
		board->laps++;
	}
}

static void in_sigwait(struct board *board)
{
	sigset_t set;

	block(SIGUSR1, &set);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	board->ready = true;
	for (;;) {
		if (sigwaitinfo(&set, NULL) != SIGUSR1)
			broken(board, "sigwaitinfo: %s", strerror(errno));
		board->laps++;
	}
}

static void poke_signal(struct board *board, pid_t pid)
{
	unsigned long laps = board->laps;

	T_SYS(kill(pid, SIGUSR1));
	T_UNTIL(5, board->laps > laps || board->error[0]);
}

#ifdef __x86_64__
struct registers {
	uint64_t in[16];
	uint64_t out[16];
	uint8_t vec_in[16][16];
	uint8_t vec_out[16][16];
};

/* Load every register from @r, count in[2] down, and store them again. */
static void hold_registers(struct registers *r)
{
	__asm__ volatile(
			"sub $128, %%rsp\n push %%rbp\n push %%rdi\n"
			"movdqu 256(%%rdi), %%xmm0\n movdqu 272(%%rdi), %%xmm1\n"
			"movdqu 288(%%rdi), %%xmm2\n movdqu 304(%%rdi), %%xmm3\n"
			"movdqu 320(%%rdi), %%xmm4\n movdqu 336(%%rdi), %%xmm5\n"
			"movdqu 352(%%rdi), %%xmm6\n movdqu 368(%%rdi), %%xmm7\n"
			"movdqu 384(%%rdi), %%xmm8\n movdqu 400(%%rdi), %%xmm9\n"
			"movdqu 416(%%rdi), %%xmm10\n movdqu 432(%%rdi), %%xmm11\n"
			"movdqu 448(%%rdi), %%xmm12\n movdqu 464(%%rdi), %%xmm13\n"
			"movdqu 480(%%rdi), %%xmm14\n movdqu 496(%%rdi), %%xmm15\n"
			"mov 0(%%rdi), %%rax\n mov 8(%%rdi), %%rbx\n"
			"mov 16(%%rdi), %%rcx\n mov 24(%%rdi), %%rdx\n"
			"mov 32(%%rdi), %%rsi\n mov 48(%%rdi), %%rbp\n"
			"mov 56(%%rdi), %%r8\n mov 64(%%rdi), %%r9\n"
			"mov 72(%%rdi), %%r10\n mov 80(%%rdi), %%r11\n"
			"mov 88(%%rdi), %%r12\n mov 96(%%rdi), %%r13\n"
			"mov 104(%%rdi), %%r14\n mov 112(%%rdi), %%r15\n"
			"mov 40(%%rdi), %%rdi\n 1: dec %%rcx\n"
			"jnz 1b\n push %%rdi\n"
			"mov 8(%%rsp), %%rdi\n mov %%rax, 128(%%rdi)\n"
			"mov %%rbx, 136(%%rdi)\n mov %%rcx, 144(%%rdi)\n"
			"mov %%rdx, 152(%%rdi)\n mov %%rsi, 160(%%rdi)\n"
			"mov %%rbp, 176(%%rdi)\n mov %%r8, 184(%%rdi)\n"
			"mov %%r9, 192(%%rdi)\n mov %%r10, 200(%%rdi)\n"
			"mov %%r11, 208(%%rdi)\n mov %%r12, 216(%%rdi)\n"
			"mov %%r13, 224(%%rdi)\n mov %%r14, 232(%%rdi)\n"
			"mov %%r15, 240(%%rdi)\n pop 168(%%rdi)\n"
			"movdqu %%xmm0, 512(%%rdi)\n movdqu %%xmm1, 528(%%rdi)\n"
			"movdqu %%xmm2, 544(%%rdi)\n movdqu %%xmm3, 560(%%rdi)\n"
			"movdqu %%xmm4, 576(%%rdi)\n movdqu %%xmm5, 592(%%rdi)\n"
			"movdqu %%xmm6, 608(%%rdi)\n movdqu %%xmm7, 624(%%rdi)\n"
			"movdqu %%xmm8, 640(%%rdi)\n movdqu %%xmm9, 656(%%rdi)\n"
			"movdqu %%xmm10, 672(%%rdi)\n movdqu %%xmm11, 688(%%rdi)\n"
			"movdqu %%xmm12, 704(%%rdi)\n movdqu %%xmm13, 720(%%rdi)\n"
			"movdqu %%xmm14, 736(%%rdi)\n movdqu %%xmm15, 752(%%rdi)\n"
			"pop %%rdi\n pop %%rbp\n add $128, %%rsp\n"
			:
			: "D"(r)
			: "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13",
			  "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			  "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			  "xmm15", "memory", "cc");
}

/* Every register of the processor holds what was put there, round after round. */
static void in_registers(struct board *board)
{
	struct registers r;

	for (;;) {
		for (uint64_t i = 0; i < 16; i++) {
			r.in[i] = (board->laps + 1) * 0x9e3779b97f4a7c15u + i * 251;
			memset(r.vec_in[i], (int)(board->laps + i) & 255, 16);
		}
		r.in[2] = 300000;
		hold_registers(&r);
		r.in[2] = 0;
		if (memcmp(r.in, r.out, 15 * sizeof(r.in[0])) != 0)
			broken(board, "a general register changed");
		if (memcmp(r.vec_in, r.vec_out, sizeof(r.vec_in)) != 0)
			broken(board, "a vector register changed");
		board->laps++;
	}
}
#else
static void in_registers(struct board *board)
{
	for (;;)
		board->laps++;
}
#endif

/* In and out of the kernel as fast as it can. */
static void in_calls(struct board *board)
{
	pid_t pid = getpid();

	for (;;) {
		if (syscall(SYS_getpid) != pid || fcntl(-1, F_GETFD) != -1 || errno != EBADF)
			broken(board, "a call returned nonsense");
		board->laps++;
	}
}

/* Handlers run 1000 times a second and change every mask and register they can. */
static void in_signals(struct board *board)
{
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	volatile uint64_t a = 1, b = 2;

	handle(board, SIGALRM);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (;;) {
		a += b;
		b += a;
		if (board->signals > board->laps)
			board->laps++;
	}
}

static void in_blocked(struct board *board)
{
	sigset_t set, now; /* the kernel fills in the first 8 bytes */

	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGTRAP, SIG_IGN);
	sigprocmask(SIG_SETMASK, NULL, &set);
	for (;;) {
		struct timespec ts = { 0, 1000000 };
		struct sigaction action;

		nanosleep(&ts, NULL);
		sigprocmask(SIG_SETMASK, NULL, &now);
		sigaction(SIGTRAP, NULL, &action);
		if (memcmp(&set, &now, 8) != 0 || action.sa_handler != SIG_IGN)
			broken(board, "the mask or the ignored SIGTRAP changed");
		board->laps++;
	}
}

/* A trap handler that nobody may call. */
static void in_trap_handler(struct board *board)
{
	handle(board, SIGTRAP);
	for (;;) {
		if (board->signals)
			broken(board, "SIGTRAP was delivered");
		board->laps++;
	}
}

static void *run_beside(void *arg)
{
	struct board *board = arg;
	uint64_t last_ns = t_now_ns(), longest_ns = 0;

	board->tid = (int)syscall(SYS_gettid);
	while (!board->stop) {
		uint64_t now_ns = t_now_ns();

		if (now_ns - last_ns > longest_ns)
			board->gap_ns = longest_ns = now_ns - last_ns;
		last_ns = now_ns;
		board->laps++;
	}
	return NULL;
}

static void *sleep_beside(void *arg)
{
	in_nanosleep(arg);
	return NULL;
}

/* A worker that never sleeps, a sleeper, and the leader in a long wait. */
static void with_threads(struct board *board)
{
	pthread_t thread;

	pthread_create(&thread, NULL, run_beside, board);
	pthread_create(&thread, NULL, sleep_beside, board);
	for (;;)
		pause();
}

static void without_leader(struct board *board)
{
	pthread_t thread;

	pthread_create(&thread, NULL, sleep_beside, board);
	pthread_exit(NULL);
}

const struct kind kinds[] = {
	{ "nanosleep", in_nanosleep, NULL, false },
	{ "poll", in_poll, NULL, false },
	{ "select", in_select, NULL, false },
	{ "futex", in_futex, NULL, false },
	{ "epoll-timeout", in_epoll_timeout, NULL, false },
	{ "epoll", in_epoll, poke_byte, false },
	{ "read", in_read, poke_byte, false },
	{ "sigsuspend", in_sigsuspend, poke_signal, true },
	{ "ppoll", in_ppoll, poke_signal, true },
	{ "sigwait", in_sigwait, poke_signal, true },
	{ "registers", in_registers, NULL, false },
	{ "calls", in_calls, NULL, false },
	{ "signals", in_signals, NULL, false },
	{ "blocked", in_blocked, NULL, false },
	{ "trap-handler", in_trap_handler, NULL, false },
	{ "threads", with_threads, NULL, false },
	{ "no-leader", without_leader, NULL, false },
};

const size_t n_kinds = sizeof(kinds) / sizeof(kinds[0]);
