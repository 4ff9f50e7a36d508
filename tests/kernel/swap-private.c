// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Private memory that is out: after a fork parent and child both have the word
 * of the one slot, until each touches the page for itself; of a private mapping
 * of a shared memory file, copies have words of their own, and a page that was
 * not written has none, be it in memory, out or a hole: only the file knows.
 */
#include <unistd.h>

#include "tests/kernel/peer.h"

#define N   16
#define LEN (N * K_PAGE)

static void show(const char *who, const struct k_peer *peer, char *at)
{
	uint64_t word = k_word(peer->pm, at);

	k_fact("%s: word %#llx, type %u, bits %#llx", who, (unsigned long long)word,
		UMEM_PM_SWAP_TYPE(word), (unsigned long long)k_bits(peer->pm, at));
}

static void forked(char *at)
{
	struct k_peer parent, child;
	uint64_t word;

	k_peer_start(&parent);
	k_peer_do(&parent, k_fill, at, LEN, 0);
	k_peer_out(&parent, at, LEN);
	T_CHECK(k_out(parent.pm, at, LEN) == N);
	word = k_word(parent.pm, at);
	k_peer_fork(&parent, &child);
	T_CHECK(k_out(parent.pm, at, LEN) == N && k_out(child.pm, at, LEN) == N);
	T_CHECK(k_word(child.pm, at) >> 5 == word >> 5); /* the same slot */
	T_CHECK(UMEM_PM_SWAP_TYPE(k_word(child.pm, at)) == UMEM_PM_SWAP_TYPE(word));

	/* A read, a store by the parent: the child's words stay. */
	k_peer_do(&parent, k_read, at, K_PAGE, 0);
	k_peer_do(&parent, k_write, at + K_PAGE, K_PAGE, 1);
	show("parent, read", &parent, at);
	show("child, page the parent read", &child, at);
	show("child, page the parent wrote", &child, at + K_PAGE);
	T_CHECK(k_here(parent.pm, at, 2 * K_PAGE) == 2);
	T_CHECK(k_word(child.pm, at) == word);
	T_CHECK(k_out(child.pm, at, LEN) == N);
	T_CHECK(k_peer_do(&child, k_wrong, at, LEN, 0) == 0);
	T_CHECK(k_here(child.pm, at, LEN) == N);
	T_CHECK(k_out(parent.pm, at, LEN) == N - 2);

	/* Resident at the time of the fork: kept from going out by the other. */
	k_peer_do(&parent, k_read, at, LEN, 0);
	k_peer_end(&child);
	k_peer_out(&parent, at, LEN);
	T_CHECK(k_out(parent.pm, at, LEN) == N);
	k_peer_end(&parent);
}

/* Pages 0-3 written privately; of the others 4-7 read, 8-11 not, 12-15 holes. */
static void of_shared_file(void)
{
	int fd = k_memfd(LEN);
	char *shared = k_map(LEN, MAP_SHARED, fd), *at = k_map(LEN, MAP_PRIVATE, fd);
	struct k_peer writer, owner;

	k_peer_start(&writer);
	k_peer_start(&owner);
	k_peer_do(&writer, k_fill, shared, 12 * K_PAGE, 0);
	k_peer_do(&owner, k_write, at, 4 * K_PAGE, 9);
	T_CHECK(k_cached(fd, LEN) == 12);

	/* The file's pages first, through the one who maps them all. */
	k_peer_out_file(&writer, shared, 12 * K_PAGE, fd);
	T_CHECK(k_evicted(fd, LEN) == 12);
	T_CHECK(k_here(owner.pm, at, 4 * K_PAGE) == 4);
	T_CHECK(k_word(owner.pm, at + 8 * K_PAGE) == 0);
	T_CHECK(k_word(owner.pm, at + 12 * K_PAGE) == 0);

	/* Then the copies. */
	k_peer_out(&owner, at, LEN);
	show("private copy, out", &owner, at);
	show("not written, out in the file", &owner, at + 8 * K_PAGE);
	T_CHECK(k_out(owner.pm, at, LEN) == 4 && k_out(owner.pm, at, 4 * K_PAGE) == 4);

	/* Reading brings the file's page in, for all; a word appears while mapped. */
	k_peer_do(&owner, k_read, at + 4 * K_PAGE, 4 * K_PAGE, 0);
	T_CHECK(k_here(owner.pm, at, LEN) >= 4);
	show("not written, read", &owner, at + 4 * K_PAGE);
	T_CHECK(k_bits(owner.pm, at + 4 * K_PAGE) & PAGE_IS_FILE);
	T_CHECK(k_cached(fd, LEN) >= 4 && k_evicted(fd, LEN) == 12 - k_cached(fd, LEN));
	T_CHECK(k_out(owner.pm, at, LEN) == 4);
	/* Through the private mapping it goes out, too. */
	k_peer_out(&owner, at, LEN);
	k_fact("put out through the private mapping: %llu of 12 are out",
		(unsigned long long)k_evicted(fd, LEN));
	T_CHECK(k_peer_do(&writer, k_wrong, shared, 12 * K_PAGE, 0) == 0);
	k_peer_do(&owner, k_read, at, LEN, 0);
	T_CHECK(k_out(owner.pm, at, LEN) == 0);
	k_peer_end(&writer);
	k_peer_end(&owner);
}

int main(void)
{
	k_zram_swap(64 << 20);
	forked(k_anon(LEN));
	of_shared_file();
	return 0;
}
