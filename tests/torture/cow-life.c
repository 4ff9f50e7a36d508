// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copy before write and ends of all kinds: we are killed at any moment, and the
 * victim runs on with nothing left in it; the victim ends or executes another
 * program, and we come to an end, too, and say so; freeing at any moment.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/freeze.h"
#include "lib/kern/smaps.h"
#include "lib/track/cow.h"
#include "tests/lib/harness.h"
#include "tests/torture/cow-victim.h"

#define DEADLINE_NS 20000000000ull

/* A snapshot is never this slow; but the machine may be busy. */
#define LIMIT_NS 60000000000ull

static const struct v_plan plan = {
	.n_lanes = 2, .lane_pages = 256, .n_churners = 2, .churn = V_CHURN_ALL,
	.cold_pages = 1500, .pause_us = 50, .seed = 5,
};

static struct umem_target *target;

static struct umem_cow *begin(pid_t pid)
{
	static const struct umem_range arena = { V_ARENA_AT, V_ARENA_END };
	struct umem_ranges which = { .v = (struct umem_range *)&arena, .n = 1 };
	struct umem_cow_member member = { .which = &which, .uffd = -1 };
	struct umem_note note = { 0 };
	struct umem_cow *cow;
	uint64_t stop_ns;
	int r = umem_target_open(pid, NULL, &target, &note);

	T_CHECK(r == 0, "%s", note.text);
	member.target = target;
	for (int i = 0; i < 20 && member.uffd < 0; i++) {
		r = umem_target_fetch_sync(target, DEADLINE_NS, &member.uffd, &stop_ns, NULL);
		if (r == -ENOTTY || r == -ENOSYS)
			T_SKIP("no userfaultfd that holds writers up");
	}
	T_CHECK(r == 0, "%d", r);
	r = umem_cow_new(&member, 1, NULL, &cow, &note);
	T_CHECK(r == 0, "%s", note.text);
	return cow;
}

/* Return: of umem_cow_moment(). */
static int moment(struct umem_cow *cow)
{
	struct umem_freeze_process process = { target->pid, target->pidfd, 0 };
	struct umem_freeze *freeze;
	int r;

	T_OK(umem_freeze_new(&freeze));
	r = umem_freeze_stop(freeze, &process, 1, DEADLINE_NS, NULL, NULL);
	if (r == 0)
		r = umem_cow_moment(cow, NULL);
	umem_freeze_free(freeze);
	return r;
}

static int take(struct umem_cow *cow, unsigned n_pieces)
{
	uint64_t end_ns = t_now_ns() + LIMIT_NS;
	struct umem_cow_piece piece;

	for (unsigned i = 0; i < n_pieces;) {
		int r = umem_cow_next(cow, &piece, NULL);

		T_CHECK(t_now_ns() < end_ns, "it does not come to an end");
		if (r == UMEM_AGAIN)
			continue;
		if (r != 0 || piece.n_pages == 0)
			return r;
		i++;
	}
	return 0;
}

/* A word that all lanes change all the time. */
static uint64_t counter(pid_t pid)
{
	uint64_t value = 0;
	struct iovec to = { &value, sizeof(value) }, from = { (void *)v_lane_at(0), sizeof(value) };

	T_CHECK(process_vm_readv(pid, &to, 1, &from, 1, 0) == sizeof(value));
	return value;
}

/* Nothing is left, and it runs on. */
static void check_unharmed(pid_t pid)
{
	struct umem_smaps smaps = { 0 };
	uint64_t before = counter(pid), left = 1;
	uint64_t end_ns = t_now_ns() + LIMIT_NS;
	char path[40];
	int fd;

	while (left > 0) {
		T_CHECK(t_now_ns() < end_ns, "mappings are still watched");
		snprintf(path, sizeof(path), "/proc/%d", pid);
		fd = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
		T_OK(umem_smaps_read(fd, &smaps));
		close(fd);
		left = 0;
		for (size_t i = 0; i < smaps.n; i++)
			left += (smaps.v[i].flags & UMEM_SMAP_UFFD) != 0;
		if (left)
			t_msleep(1);
	}
	umem_smaps_deinit(&smaps);
	T_UNTIL(60, counter(pid) != before);
	before = counter(pid);
	T_UNTIL(60, counter(pid) != before);
}

/* A snapshot in a process of its own, which is killed after @us. */
static void kill_us(pid_t victim, unsigned us)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		for (;;) {
			struct umem_cow *cow = begin(victim);

			T_OK(umem_cow_prepare(cow, NULL));
			T_OK(moment(cow));
			T_OK(take(cow, 1u << 30));
			umem_cow_free(cow);
			umem_target_free(target);
		}
	}
	usleep(us);
	t_end(pid);
	check_unharmed(victim);
}

/* Freed at each stage. */
static void free_early(pid_t victim, uint64_t *rand)
{
	for (int stage = 0; stage < 5; stage++) {
		struct umem_cow *cow = begin(victim);

		if (stage > 0)
			T_OK(umem_cow_prepare(cow, NULL));
		if (stage > 1)
			T_OK(moment(cow));
		if (stage > 2)
			T_OK(take(cow, (unsigned)t_below(rand, 20)));
		if (stage > 3)
			usleep((useconds_t)t_below(rand, 20000));
		umem_cow_free(cow);
		umem_target_free(target);
		check_unharmed(victim);
	}
	umem_cow_free(NULL);
}

/* The victim is killed at any moment of a snapshot. */
static void kill_victim(uint64_t *rand)
{
	pid_t twin, victim = v_start(&plan, &twin), killer;
	struct umem_cow *cow = begin(victim);
	unsigned us = (unsigned)t_below(rand, 30000);
	int r;

	killer = t_fork();
	if (killer == 0) {
		usleep(us);
		kill(victim, SIGKILL);
		_exit(0);
	}
	r = umem_cow_prepare(cow, NULL);
	if (r == 0)
		r = moment(cow);
	if (r == 0)
		r = take(cow, 1u << 30);
	T_CHECK(r == 0 || r == UMEM_GONE, "%d", r);
	if (r == UMEM_GONE)
		T_CHECK(take(cow, 1u << 30) == UMEM_GONE || take(cow, 1u << 30) == 0);
	umem_cow_free(cow);
	umem_target_free(target);
	t_wait(killer);
	t_wait(victim);
}

static void on_signal(int signo)
{
	execl("/bin/sleep", "sleep", "1000", NULL);
	_exit(1);
}

/* A program that executes another one when it is told. */
static pid_t start_execer(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	uint64_t len = 16ull << 20;
	int ends[2];
	pid_t pid;
	char c;

	T_SYS(pipe(ends));
	pid = t_fork();
	if (pid == 0) {
		uint8_t *at = mmap((void *)V_ARENA_AT, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		memset(at, 7, len);
		sigaction(SIGUSR1, &sa, NULL);
		T_CHECK(write(ends[1], "r", 1) == 1);
		for (uint64_t i = 0;; i++)
			at[i * 4096 % len]++;
	}
	T_CHECK(read(ends[0], &c, 1) == 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

/* Its memory ends, and what is left of it is lost, not that of the new program. */
static void exec_victim(void)
{
	pid_t victim = start_execer();
	struct umem_cow *cow = begin(victim);
	struct umem_reasons lost = { 0 };
	struct umem_note note = { 0 };
	struct umem_cow_piece piece;
	char path[40], comm[16] = "";
	uint64_t n = 0;
	int r;

	T_OK(umem_cow_prepare(cow, NULL));
	T_OK(moment(cow));
	T_OK(take(cow, 3));
	T_SYS(kill(victim, SIGUSR1));
	snprintf(path, sizeof(path), "/proc/%d/comm", victim);
	for (uint64_t end_ns = t_now_ns() + LIMIT_NS; strcmp(comm, "sleep\n") != 0;) {
		UMEM_FREE char *text = NULL;

		T_CHECK(t_now_ns() < end_ns);
		T_OK(umem_read_file(AT_FDCWD, path, 64, &text, NULL));
		snprintf(comm, sizeof(comm), "%s", text);
		t_msleep(1);
	}
	while ((r = umem_cow_next(cow, &piece, &note)) != UMEM_GONE) {
		T_CHECK(r == UMEM_AGAIN || (r == 0 && piece.n_pages > 0), "%d", r);
		for (uint64_t i = 0; r == 0 && i < piece.n_pages; i++)
			T_CHECK(piece.bytes[i * 4096 + 5] == 7);
	}
	T_CHECK(strstr(note.text, "executed another program") != NULL, "%s", note.text);
	T_OK(umem_cow_lost(cow, 0, &lost));
	for (size_t i = 0; i < lost.n; i++)
		n += (lost.v[i].end - lost.v[i].start) / 4096;
	T_CHECK(n > 0 && strstr(lost.v[0].reason, "ended") != NULL);
	umem_reasons_deinit(&lost);
	umem_cow_free(cow);
	umem_target_free(target);
	t_end(victim);
}

int main(void)
{
	uint64_t rand = t_seed();
	pid_t twin, victim = v_start(&plan, &twin);

	for (int i = 0; i < 12; i++)
		kill_us(victim, 1000 + (unsigned)t_below(&rand, 120000));
	printf("killed 12 times\n");
	free_early(victim, &rand);
	t_end(victim);
	for (int i = 0; i < 12; i++)
		kill_victim(&rand);
	printf("12 victims killed\n");
	exec_victim();
	return 0;
}
