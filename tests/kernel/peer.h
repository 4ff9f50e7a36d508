/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another process, which runs functions of the test on memory of its own.
 *
 * The test maps memory, touches none of it, and starts peers: each has the
 * mapping at the same address. Private memory is then each peer's own, shared
 * memory is mapped by those only that touch it. A peer ends with the test; a
 * check that fails in it ends the test.
 */
#ifndef TESTS_KERNEL_PEER_H
#define TESTS_KERNEL_PEER_H

#include "lib/kern/lru.h"
#include "tests/kernel/scratch.h"

/**
 * struct k_peer - a process that waits for orders.
 * @pid, @pidfd: it.
 * @pm: its pagemap.
 * @order_fd: where orders go; the other fields belong to peer.c.
 */
struct k_peer {
	pid_t pid;
	int pidfd;
	int pm;
	int order_fd;
	int spare_fds[2];
};

/** k_act - what a peer can be told to do. */
typedef long k_act(char *at, size_t len, long arg);

/** k_peer_start - a child of this process that waits for orders. */
void k_peer_start(struct k_peer *ret_peer);

/** k_peer_fork - have @peer fork; the child takes orders too. Once for each peer. */
void k_peer_fork(struct k_peer *peer, struct k_peer *ret_child);

/** k_peer_do - have @act run in the peer. Return: what it returned. */
long k_peer_do(const struct k_peer *peer, k_act *act, char *at, size_t len, long arg);

/** k_peer_end - end it and wait for it; of one that a peer forked: until it is gone. */
void k_peer_end(struct k_peer *peer);

/* Acts. */

/** k_fill - the pattern of generation @gen over whole pages, counted from @at. */
long k_fill(char *at, size_t len, long gen);

/** k_wrong - pages that do not begin and end as k_fill() with @gen left them. */
long k_wrong(char *at, size_t len, long gen);

/** k_fill_random - bytes that no area can make smaller. */
long k_fill_random(char *at, size_t len, long seed);

/** k_wrong_random - words that differ from what k_fill_random() left. */
long k_wrong_random(char *at, size_t len, long seed);

/** k_rss_kb, k_swap_kb - what smaps of the mapping at @at says. */
long k_rss_kb(char *at, size_t len, long unused);
long k_swap_kb(char *at, size_t len, long unused);

/** k_read - read a byte of each page. */
long k_read(char *at, size_t len, long unused);

/** k_write - write a byte of each page. */
long k_write(char *at, size_t len, long value);

/** k_advise - madvise(2). Return: 0 or -errno. */
long k_advise(char *at, size_t len, long advice);

/** k_go_to_cpu - run on one processor only from now on. */
long k_go_to_cpu(char *at, size_t len, long cpu);

/** k_peer_advise - process_madvise(2) of one range. Return: bytes or -errno. */
long k_peer_advise(const struct k_peer *peer, const void *at, size_t len, int advice);

/** k_peer_out - advise MADV_PAGEOUT until no page of the range is present there. */
void k_peer_out(const struct k_peer *peer, const void *at, size_t len);

/**
 * k_peer_out_file - the same for a mapping of the first @len bytes of shared
 * memory @fd, until none of it is in memory but for the swap cache.
 */
void k_peer_out_file(const struct k_peer *peer, const void *at, size_t len, int fd);

/** k_cached - pages of the first @len bytes of shared memory @fd that are in memory. */
uint64_t k_cached(int fd, size_t len);

/** k_in_core - pages that mincore(2) finds in memory: these, and the swap cache. */
size_t k_in_core(int fd, size_t len);

/** k_evicted - pages of the first @len bytes of @fd that are out. */
uint64_t k_evicted(int fd, size_t len);

/** k_out - pages whose words say swapped out, and are no marks. */
size_t k_out(int pm, const void *at, size_t len);

/** k_here - pages that are present. */
size_t k_here(int pm, const void *at, size_t len);

/** k_faults - faults of a process up to now. */
struct k_faults {
	uint64_t minor;
	uint64_t major;
};

struct k_faults k_faults(pid_t pid);

/** k_vmstat - a counter of /proc/vmstat; of the whole machine. */
uint64_t k_vmstat(const char *name);

/** k_page_flag - is bit @flag (KPF_*) set for the page at @at? Needs root. */
bool k_page_flag(int pm, const void *at, unsigned flag);

/** k_map_count - how often the page at @at is mapped (kpagecount). Needs root. */
uint64_t k_map_count(int pm, const void *at);

#endif
