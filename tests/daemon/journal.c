// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A worker's journal: what is read is what was written last, whole, whenever the
 * writer is killed; and what is no journal is refused.
 */
#include "daemon/worker/journal.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define MAX 3000u

/* The record of round @round: everything about it follows from the number. */
static void make(uint64_t round, struct umem_range *v, struct umem_watch_left *ret_left)
{
	size_t n = round % MAX, m = round * 7 % MAX;

	for (size_t i = 0; i < MAX; i++)
		v[i] = (struct umem_range){ (round + 2 * i) << 12, (round + 2 * i + 1) << 12 };
	*ret_left = (struct umem_watch_left){ round, v, n, v, m };
}

static void check(const struct journal_left *found)
{
	static struct umem_range v[MAX];
	struct umem_watch_left want;

	make(found->left.round, v, &want);
	T_CHECK(found->left.n_watched == want.n_watched && found->left.n_held == want.n_held);
	T_CHECK(want.n_watched == 0 ||
		memcmp(found->left.watched, v, want.n_watched * sizeof(v[0])) == 0);
	T_CHECK(want.n_held == 0 || memcmp(found->left.held, v, want.n_held * sizeof(v[0])) == 0);
}

static void write_for_ever(int fd, volatile uint64_t *written)
{
	static struct umem_range v[MAX];

	for (uint64_t round = *written + 1;; round++) {
		struct umem_watch_left left;

		make(round, v, &left);
		T_OK(journal_write(fd, &left));
		*written = round;
	}
}

static void killed(uint64_t *rng)
{
	volatile uint64_t *written = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = (int)T_SYS(memfd_create("journal", MFD_CLOEXEC));
	struct journal_left found = { 0 };

	T_CHECK(journal_read(fd, &found) == -ENODATA);
	for (int i = 0; i < 50; i++) {
		uint64_t before = *written;
		pid_t child = t_fork();

		if (child == 0)
			write_for_ever(fd, written);
		T_UNTIL(10, *written > before + t_below(rng, 20));
		for (volatile uint64_t wait = t_below(rng, 50000); wait; wait--)
			;
		t_end(child);
		T_OK(journal_read(fd, &found));
		T_CHECK(found.left.round == *written || found.left.round == *written + 1,
			"read %llu, written %llu", (unsigned long long)found.left.round,
			(unsigned long long)*written);
		check(&found);
		journal_left_deinit(&found);
		*written = *written + 1;
	}
	printf("%llu rounds written, 50 kills\n", (unsigned long long)*written);
	close(fd);
}

/* Bytes of a journal changed at random: refused, or well-formed; never more than it holds. */
static void damaged(uint64_t *rng)
{
	static struct umem_range v[MAX];
	struct umem_watch_left left;
	unsigned refused = 0;

	for (int i = 0; i < 2000; i++) {
		int fd = (int)T_SYS(memfd_create("journal", MFD_CLOEXEC));
		struct journal_left found = { 0 };
		int r;

		make(1 + t_below(rng, 20), v, &left);
		T_OK(journal_write(fd, &left));
		for (uint64_t k = 1 + t_below(rng, 4); k; k--) {
			uint8_t byte = (uint8_t)t_rand(rng);

			T_SYS(pwrite(fd, &byte, 1,
				t_below(rng, 2) ? (off_t)t_below(rng, 40) :
						  (off_t)(4096 + t_below(rng, 200))));
		}
		if (t_below(rng, 4) == 0)
			T_SYS(ftruncate(fd, (off_t)t_below(rng, 4300)));
		r = journal_read(fd, &found);
		T_CHECK(r == 0 || r == -EBADMSG || r == -ENODATA, "%d", r);
		refused += r != 0;
		for (size_t k = 0; k < found.watched.n; k++)
			T_CHECK(found.watched.v[k].start < found.watched.v[k].end);
		journal_left_deinit(&found);
		close(fd);
	}
	T_CHECK(refused > 100);
}

int main(void)
{
	uint64_t rng = t_seed();

	killed(&rng);
	damaged(&rng);
	return 0;
}
