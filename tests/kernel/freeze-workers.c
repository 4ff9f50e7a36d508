// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Workers of the kernel within a program (io_uring) must not be stopped: it breaks off
 * what they do, and the program sees it. A freeze counts them, stops all else, and
 * lives with their coming and going; an injection uses none of them.
 */
#include <liburing.h>
#include <sys/stat.h>

#include "tests/kernel/fork-common.h"

static char fifo[64];

/* A worker that waits for the other end of a pipe with a name, and is not to be disturbed. */
static void open_by_worker(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_openat(sqe, AT_FDCWD, fifo, O_RDONLY | O_CLOEXEC, 0);
	sqe->flags |= IOSQE_ASYNC;
	io_uring_submit(ring);
}

/* And one more that polls the ring, if it shall be. */
static void with_workers(struct board *board, bool polls)
{
	struct io_uring ring;
	struct io_uring_params params = { .flags = polls ? IORING_SETUP_SQPOLL : 0,
		.sq_thread_idle = 100000 };

	if (io_uring_queue_init_params(8, &ring, &params) < 0)
		broken(board, "no ring");
	open_by_worker(&ring);
	board->ready = true;
	for (;;) {
		struct io_uring_cqe *cqe;

		if (io_uring_wait_cqe(&ring, &cqe) != 0)
			continue;
		if (cqe->res < 0)
			broken(board, "open: %d", cqe->res);
		close(cqe->res);
		io_uring_cqe_seen(&ring, cqe);
		open_by_worker(&ring);
		board->laps++;
	}
}

/* Both ends at once: whoever waits for the other one goes on. */
static bool open_both(void)
{
	close((int)T_SYS(open(fifo, O_RDWR | O_CLOEXEC)));
	return true;
}

/* Until the worker was there to notice. */
static void next_lap(struct board *board, unsigned long laps)
{
	T_UNTIL(5, board->laps > laps || board->error[0] || !open_both());
	T_CHECK(board->error[0] == '\0', "%s", board->error);
}

static void counted(bool polls, size_t want)
{
	struct board *board = board_new();
	struct umem_freeze_count count = { 0 };
	struct umem_freeze *freeze;
	pid_t pid = t_fork();

	if (pid == 0)
		with_workers(board, polls);
	T_UNTIL(5, board->ready || board->error[0]);
	if (board->error[0])
		T_SKIP("io_uring: %s", board->error);
	t_msleep(30);
	T_OK(umem_freeze_new(&freeze));
	for (int i = 0; i < 50; i++) {
		unsigned long laps = board->laps;

		freeze_ok(freeze, pid, board);
		umem_freeze_count(freeze, 0, &count);
		T_CHECK(count.n_stopped == 1, "%zu", count.n_stopped);
		T_CHECK(count.n_workers[UMEM_FREEZE_WORKER_IO] >= want, "%zu workers",
			count.n_workers[UMEM_FREEZE_WORKER_IO]);
		T_CHECK(count.worker_tid > 0 && count.worker_tid != pid);
		/* One more appears, or the one that is there goes on. */
		if (i % 2)
			open_both();
		T_OK(umem_freeze_more(freeze, SECOND, NULL));
		go_ok(freeze);
		next_lap(board, laps);
	}
	printf("%zu %s beside 1 thread\n", count.n_workers[UMEM_FREEZE_WORKER_IO],
		umem_freeze_worker_name(UMEM_FREEZE_WORKER_IO));
	umem_freeze_free(freeze);
	t_end(pid);
	board_free(board);
}

/* Nor is a worker the thread that calls are injected into, or that makes a child. */
static void not_borrowed(void)
{
	struct board *board = board_new();
	struct umem_inject_report report;
	pid_t pid = t_fork();

	if (pid == 0)
		with_workers(board, false);
	T_UNTIL(5, board->ready || board->error[0]);
	t_msleep(30);
	for (int i = 0; i < 20; i++) {
		unsigned long laps = board->laps;
		struct forking f;

		inject_ok(pid, board, &report);
		T_CHECK(report.tid == pid);
		fork_ok(pid, board, &f);
		forked_go(&f);
		forked_end(&f);
		next_lap(board, laps);
	}
	t_end(pid);
	board_free(board);
}

static void remove_fifo(void)
{
	unlink(fifo);
}

int main(void)
{
	snprintf(fifo, sizeof(fifo), "/tmp/umem-fifo-%d", (int)getpid());
	T_SYS(mkfifo(fifo, 0600));
	atexit(remove_fifo);
	counted(false, 1);
	counted(true, 2);
	not_borrowed();
	return 0;
}
