// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The pages that a thread touched last wait in a batch of its processor for
 * their place on the lists of reclaim, up to 31 of them. MADV_PAGEOUT empties
 * the batches of the processor it runs on only: from another one it passes
 * those pages over and says nothing, however often it is called. Running where
 * they wait, or having all batches emptied (move_pages of no page does that),
 * puts them out.
 */
#include <sched.h>
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N     64
#define LEN   (N * K_PAGE)
#define BATCH 31 /* PAGEVEC_SIZE, include/linux/pagevec.h */

/* Two processors that we may use. */
static void two_processors(long *ret_one, long *ret_other)
{
	long found[2] = { -1, -1 };
	cpu_set_t set;
	int n = 0;

	T_SYS(sched_getaffinity(0, sizeof(set), &set));
	for (long cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++) {
		if (CPU_ISSET((size_t)cpu, &set))
			found[n++] = cpu;
	}
	if (n < 2)
		T_SKIP("only one processor");
	*ret_one = found[0];
	*ret_other = found[1];
}

static size_t left(const struct k_peer *peer, char *at)
{
	T_CHECK(k_peer_advise(peer, at, LEN, MADV_PAGEOUT) == (long)LEN);
	return k_here(peer->pm, at, LEN);
}

static void run(const char *what, char *at, long here, long there)
{
	size_t first, again, moved, drained;
	struct k_peer peer;
	uint64_t start, took;

	k_peer_start(&peer);
	T_OK((int)k_peer_do(&peer, k_go_to_cpu, NULL, 0, there));
	T_OK((int)k_go_to_cpu(NULL, 0, here));
	k_peer_do(&peer, k_write, at, K_PAGE, 1);
	umem_lru_drain();
	k_peer_do(&peer, k_fill, at + K_PAGE, LEN - K_PAGE, 0);
	first = left(&peer, at);
	again = left(&peer, at);
	T_OK((int)k_go_to_cpu(NULL, 0, there));
	moved = left(&peer, at);
	T_OK((int)k_go_to_cpu(NULL, 0, here));

	k_peer_do(&peer, k_read, at, LEN, 0);
	k_peer_do(&peer, k_write, at, LEN, 1);
	T_CHECK(left(&peer, at) <= BATCH);
	start = t_now_ns();
	umem_lru_drain();
	took = t_now_ns() - start;
	drained = left(&peer, at);
	k_fact("%s: of %d pages touched on another processor stay %zu, at the next call %zu, "
	       "called there %zu; emptying all batches took %llu ns, then stay %zu", what, N,
		first, again, moved, (unsigned long long)took, drained);
	T_CHECK(first <= BATCH && again <= first);
	T_CHECK(moved == 0);
	T_CHECK(drained == 0);
	k_peer_end(&peer);
}

int main(void)
{
	long here = 0, there = 0;

	two_processors(&here, &there);
	k_zram_swap(64 << 20);
	for (int i = 0; i < 3; i++) {
		run("anonymous", k_anon(LEN), here, there);
		run("shared", k_map(LEN, MAP_SHARED | MAP_ANONYMOUS, -1), here, there);
	}
	return 0;
}
