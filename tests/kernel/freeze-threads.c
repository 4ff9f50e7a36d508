// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is told of frozen threads: registers, masks, pending signals, names, as a core
 * file has them; of 32-bit code, too. What it costs.
 */
#include <elf.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/procfs.h>
#include <sys/user.h>
#include <time.h>

#include "tests/kernel/freeze-common.h"

#define MAX_THREADS 80

/* What was told of one thread. */
struct told {
	int tid;
	char name[16];
	unsigned word_bytes;
	struct elf_prstatus status;
	size_t status_bytes;
	size_t fp_bytes;
	unsigned char fp[4096];
	size_t xstate_bytes;
	siginfo_t info;
	bool has_info;
};

struct list {
	struct told v[MAX_THREADS];
	size_t n;
};

static void copy(void *into, size_t room, const struct umem_frozen_note *note)
{
	memcpy(into, note->bytes, note->len_bytes < room ? note->len_bytes : room);
}

static int take(void *user, const struct umem_frozen_thread *thread)
{
	struct list *list = user;
	struct told *told = &list->v[list->n];

	T_CHECK(list->n < MAX_THREADS);
	memset(told, 0, sizeof(*told));
	told->tid = thread->tid;
	told->word_bytes = thread->word_bytes;
	memcpy(told->name, thread->name, sizeof(told->name));
	T_CHECK(thread->n_notes > 0 && thread->notes[0].type == NT_PRSTATUS);
	for (size_t i = 0; i < thread->n_notes; i++) {
		const struct umem_frozen_note *note = &thread->notes[i];

		T_CHECK(((uintptr_t)note->bytes & 15) == 0);
		switch (note->type) {
		case NT_PRSTATUS:
			copy(&told->status, sizeof(told->status), note);
			told->status_bytes = note->len_bytes;
			break;
		case NT_FPREGSET:
			copy(told->fp, sizeof(told->fp), note);
			told->fp_bytes = note->len_bytes;
			break;
		case NT_X86_XSTATE:
			told->xstate_bytes = note->len_bytes;
			break;
		case NT_SIGINFO:
			T_CHECK(note->len_bytes == sizeof(told->info));
			copy(&told->info, sizeof(told->info), note);
			told->has_info = true;
			break;
		}
	}
	list->n++;
	return 0;
}

static void ask_threads(struct umem_freeze *freeze, struct list *list)
{
	list->n = 0;
	T_OK(umem_freeze_threads(freeze, 0, take, list));
}

static const struct told *find(const struct list *list, int tid)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->v[i].tid == tid)
			return &list->v[i];
	}
	T_FAIL("thread %d is not told of", tid);
}

/* Where threads write who they are. */
struct ids {
	atomic_int sleeper;
	atomic_int waiter;
	atomic_int spinner;
	atomic_int blocker;
};

static struct ids *ids;

static void *sleeps(void *arg)
{
	struct timespec ts = { 1000, 0 };

	prctl(PR_SET_NAME, "the sleeper (1)");
	ids->sleeper = gettid();
	nanosleep(&ts, NULL);
	return NULL;
}

static void *waits(void *arg)
{
	struct epoll_event event;
	int fd = epoll_create1(EPOLL_CLOEXEC);

	ids->waiter = gettid();
	epoll_wait(fd, &event, 1, -1);
	return NULL;
}

static void *blocks(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	ids->blocker = gettid();
	for (;;)
		pause();
	return NULL;
}

static void *spins(void *arg)
{
	ids->spinner = gettid();
#ifdef __x86_64__
	__asm__ volatile(
		"movq $0x1122334455667788, %%rbx\n"
		"movq $0x99aabbccddeeff00, %%r12\n"
		"movq %%rbx, %%xmm7\n"
		"1: jmp 1b\n" : : : "rbx", "r12", "xmm7");
#endif
	for (;;)
		;
	return NULL;
}

static void *pauses(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static pid_t start(struct board *board, int n_more)
{
	pid_t pid;

	ids = mmap(NULL, sizeof(*ids), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_CHECK(ids != MAP_FAILED);
	pid = t_fork();
	if (pid == 0) {
		pthread_t thread;

		pthread_create(&thread, NULL, sleeps, NULL);
		pthread_create(&thread, NULL, waits, NULL);
		pthread_create(&thread, NULL, blocks, NULL);
		pthread_create(&thread, NULL, spins, NULL);
		for (int i = 0; i < n_more; i++)
			pthread_create(&thread, NULL, pauses, NULL);
		pauses(NULL);
	}
	T_UNTIL(5, ids->sleeper && ids->waiter && ids->spinner && ids->blocker);
	t_msleep(20);
	return pid;
}

#ifdef __x86_64__
/* linux/errno.h */
#define ERESTART_RESTARTBLOCK 516
#define ERESTARTNOHAND        514

static void check_registers(const struct list *list)
{
	const struct user_regs_struct *r;
	const struct told *told;
	uint64_t xmm7;

	told = find(list, ids->sleeper);
	r = (const void *)told->status.pr_reg;
	/* From the second time on it is the call that continues it. */
	T_CHECK(r->orig_rax == SYS_clock_nanosleep || r->orig_rax == SYS_restart_syscall, "%lu",
		(unsigned long)r->orig_rax);
	T_CHECK((long)r->rax == -ERESTART_RESTARTBLOCK, "%ld", (long)r->rax);
	T_CHECK(strcmp(told->name, "the sleeper (1)") == 0, "%s", told->name);

	told = find(list, ids->waiter);
	r = (const void *)told->status.pr_reg;
	T_CHECK(r->orig_rax == SYS_epoll_wait && (long)r->rax == -ERESTARTNOHAND);

	told = find(list, ids->spinner);
	r = (const void *)told->status.pr_reg;
	T_CHECK((long)r->orig_rax == -1);
	T_CHECK(r->rbx == 0x1122334455667788 && r->r12 == 0x99aabbccddeeff00);
	memcpy(&xmm7, told->fp + offsetof(struct user_fpregs_struct, xmm_space) + 7 * 16, 8);
	T_CHECK(told->fp_bytes == sizeof(struct user_fpregs_struct) && xmm7 == r->rbx);
	T_CHECK(told->xstate_bytes > sizeof(struct user_fpregs_struct));
}
#else
static void check_registers(const struct list *list)
{
}
#endif

static void registers_and_signals(void)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	struct umem_freeze_count count;
	const struct told *told;
	struct list *list = calloc(1, sizeof(*list));
	pid_t pid = start(board, 0);

	T_OK(umem_freeze_new(&freeze));
	for (int i = 0; i < 50; i++) {
		T_SYS(syscall(SYS_tgkill, pid, ids->blocker, SIGUSR1));
		freeze_ok(freeze, pid, board);
		umem_freeze_count(freeze, 0, &count);
		ask_threads(freeze, list);
		T_CHECK(list->n == 5 && count.n_stopped == 5);
		T_CHECK(list->v[0].tid == pid, "the leader is not the first");
		check_registers(list);
		told = find(list, ids->blocker);
		T_CHECK(told->status.pr_sighold ==
			(1ull << (SIGUSR1 - 1) | 1ull << (SIGRTMIN + 2)));
		T_CHECK(told->status.pr_sigpend == 1ull << (SIGUSR1 - 1), "%lx",
			told->status.pr_sigpend);
		for (size_t j = 0; j < list->n; j++) {
			told = &list->v[j];
			T_CHECK(told->status.pr_pid == told->tid);
			T_CHECK(told->status.pr_ppid == getpid());
			T_CHECK(told->status.pr_pgrp == getpgid(pid));
			T_CHECK(told->status.pr_sid == getsid(pid));
			T_CHECK(told->status.pr_fpvalid == 1 && told->word_bytes == 8);
			T_CHECK(told->status_bytes == sizeof(told->status));
			T_CHECK(!told->has_info && told->status.pr_cursig == 0);
		}
		go_ok(freeze);
	}
	told = find(list, ids->spinner);
	T_CHECK(told->status.pr_utime.tv_usec > 0 || told->status.pr_utime.tv_sec > 0);
	umem_freeze_free(freeze);
	t_end(pid);
	free(list);
	board_free(board);
}

static struct board *the_board;

static void on_signal(int signo)
{
	the_board->signals++;
}

static void *deaf(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	the_board->ready = true;
	return pauses(NULL);
}

/*
 * A thread that is stopped on its way to a handler: the signal is told of. The time
 * between two threads is stretched, so that one comes to the first of them.
 */
static void about_to_take(void)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	struct list *list = calloc(1, sizeof(*list));
	unsigned n_seen = 0;
	pid_t pid = t_fork(), sender;

	if (pid == 0) {
		pthread_t thread;

		the_board = board;
		signal(SIGRTMIN + 1, on_signal);
		pthread_create(&thread, NULL, deaf, NULL);
		for (;;)
			;
	}
	T_UNTIL(5, board->ready);
	sender = t_fork();
	if (sender == 0) {
		/* Few at a time: all processes of a user share the room for them. */
		for (unsigned long i = 0; !board->stop;) {
			union sigval value = { .sival_int = 1000 };

			if (i < board->signals + 4 && sigqueue(pid, SIGRTMIN + 1, value) == 0)
				i++;
		}
		_exit(0);
	}
	setenv("UMEM_FAULTS", "freeze.seize-delay-us=1000", 1);
	T_OK(umem_freeze_new(&freeze));
	for (int i = 0; i < 500 && n_seen < 10; i++) {
		const struct told *told;

		freeze_ok(freeze, pid, board);
		ask_threads(freeze, list);
		told = find(list, pid);
		if (told->has_info) {
			T_CHECK(told->info.si_signo == SIGRTMIN + 1);
			T_CHECK(told->info.si_pid == sender);
			T_CHECK(told->info.si_value.sival_int == 1000);
			T_CHECK(told->status.pr_cursig == SIGRTMIN + 1);
			T_CHECK(told->status.pr_info.si_signo == SIGRTMIN + 1);
			n_seen++;
		}
		go_ok(freeze);
	}
	unsetenv("UMEM_FAULTS");
	printf("%u stops on the way to a handler\n", n_seen);
	T_CHECK(n_seen > 0);
	umem_freeze_free(freeze);
	board->stop = true;
	t_wait(sender);
	t_end(pid);
	free(list);
	board_free(board);
}

static void cost(void)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	struct list *list = calloc(1, sizeof(*list));
	uint64_t best_ns = UINT64_MAX;
	pid_t pid = start(board, 64);

	T_OK(umem_freeze_new(&freeze));
	for (int i = 0; i < 20; i++) {
		uint64_t begin_ns;

		freeze_ok(freeze, pid, board);
		begin_ns = t_now_ns();
		ask_threads(freeze, list);
		if (t_now_ns() - begin_ns < best_ns)
			best_ns = t_now_ns() - begin_ns;
		T_CHECK(list->n == 69);
		go_ok(freeze);
	}
	printf("registers and names of 69 threads: %lu us, %.1f us each; xstate %zu bytes\n",
		best_ns / 1000, (double)best_ns / 1000 / 69, list->v[0].xstate_bytes);
	umem_freeze_free(freeze);
	t_end(pid);
	free(list);
	board_free(board);
}

#ifdef __x86_64__
/*
 * 32-bit code that waits in epoll_wait, by int $0x80, and looks whether it said EINTR.
 * In: ebp = descriptor, edi = room for an event, with two words behind it. Of the
 * segments only that of the stack is a good one.
 */
__asm__(
	".pushsection .rodata\n.code32\n"
	"code_32:\n"
	"mov %ebp, %ebx\n mov %edi, %ecx\n mov $1, %edx\n mov $-1, %esi\n"
	"mov $256, %eax\n int $0x80\n"
	"cmp $-4, %eax\n je 1f\n"
	"incl %ss:16(%edi)\n jmp code_32\n"
	"1: mov %eax, %ss:12(%edi)\n 2: jmp 2b\n"
	"code_32_end:\n.code64\n.popsection\n");
extern const char code_32[], code_32_end[];

struct low {
	char event[12];
	volatile int answer;
	volatile int n_returns;
	char code[512];
};

static void wait_in_32(struct low *low, int fd)
{
	struct {
		uint64_t ip;
		uint64_t cs;
	} there = { (uintptr_t)low->code, 0x23 };

	__asm__ volatile(
		"push %[cs]\n push %[ip]\n mov %[fd], %%ebp\n lretq\n"
		:
		: [cs] "r"(there.cs), [ip] "r"(there.ip), [fd] "r"(fd), "D"(low));
	__builtin_unreachable();
}

static void other_word_size(void)
{
	struct board *board = board_new();
	struct umem_freeze *freeze;
	struct list *list = calloc(1, sizeof(*list));
	struct low *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_SHARED | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	pid_t pid;

	T_CHECK(low != MAP_FAILED);
	memcpy(low->code, code_32, (size_t)(code_32_end - code_32));
	pid = t_fork();
	if (pid == 0) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLET };
		int fd = epoll_create1(EPOLL_CLOEXEC);

		epoll_ctl(fd, EPOLL_CTL_ADD, board->pipe_fds[0], &event);
		wait_in_32(low, fd);
	}
	T_UNTIL(5, t_proc_state(pid) == 'S');
	T_OK(umem_freeze_new(&freeze));
	for (int i = 0; i < 50; i++) {
		const uint32_t *words;

		freeze_ok(freeze, pid, board);
		ask_threads(freeze, list);
		T_CHECK(list->n == 1 && list->v[0].word_bytes == 4);
		T_CHECK(list->v[0].status_bytes == 144);
		/* The 18th word of the registers tells of floating point, the 12th of the call. */
		words = (const uint32_t *)(const void *)((const char *)&list->v[0].status + 72);
		T_CHECK(words[11] == 256 && (int)words[6] == -ERESTARTNOHAND, "%d %d", words[11],
			(int)words[6]);
		T_CHECK(words[17] == 1);
		go_ok(freeze);
		usleep(500);
		T_CHECK(low->answer == 0, "32-bit code saw %d", low->answer);
	}
	T_CHECK(low->n_returns == 0);
	T_CHECK(write(board->pipe_fds[1], "x", 1) == 1);
	T_UNTIL(5, low->n_returns == 1);
	umem_freeze_free(freeze);
	t_end(pid);
	munmap(low, 4096);
	free(list);
	board_free(board);
}
#endif

int main(void)
{
	registers_and_signals();
	about_to_take();
#ifdef __x86_64__
	other_word_size();
#endif
	cost();
	return 0;
}
