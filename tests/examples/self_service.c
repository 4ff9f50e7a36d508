// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A service that has umemd track it: it makes a userfaultfd of its own memory, hands it
 * over, and hears of each round from its own event loop.
 *
 *     cc self_service.c $(pkg-config --cflags --libs libumemd)
 *     ./a.out [SOCKET]
 *
 * Only public headers are used.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <umemd/client.h>

/* Newer than the headers of some distributions. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif

#define PAGES  1024
#define ROUNDS 5

/* The service: memory that it works in, and what it is told of it. */
struct service {
	char *area;
	int n_rounds;
	uint64_t written;  /* pages, by us */
	uint64_t reported; /* pages, by umemd */
	int result;
	int ended;
};

static int count(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	*(uint64_t *)user += (end - start) / 4096;
	return 0;
}

static void on_round(void *user, struct umem_client_round *round, int result,
	const struct umem_note *note)
{
	struct service *service = user;

	if (!round) {
		service->result = result;
		service->ended = 1;
		if (result != 0)
			fprintf(stderr, "monitoring ended: %s\n", note->text);
		return;
	}
	umem_client_round_each(round, count, &service->reported);
	printf("round %llu: %llu bytes\n",
		(unsigned long long)umem_client_round_numbers(round)->round,
		(unsigned long long)umem_client_round_numbers(round)->dirty_bytes);
	umem_client_round_free(round);
	service->n_rounds++;
}

/* One turn of the loop: a little work, then whatever umemd has to say. */
static int turn(struct service *service, struct umem_client *client)
{
	struct pollfd pfd = { umem_client_fd(client), umem_client_events(client), 0 };
	int heard = service->n_rounds;

	service->area[(service->written++ % PAGES) * 4096] ^= 1;
	/* Nothing more is written until it was heard of, so that it can be counted. */
	while (service->n_rounds == heard && !service->ended) {
		if (poll(&pfd, 1, 10000) <= 0)
			return -ETIMEDOUT;
		if (umem_client_dispatch(client) < 0)
			return -EPIPE;
	}
	return 0;
}

static int fail(const char *what, const struct umem_note *note)
{
	fprintf(stderr, "%s: %s\n", what, note->text);
	return 1;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = { .api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
	struct service service = { .area = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) };
	struct umem_range range = { (uintptr_t)service.area,
		(uintptr_t)service.area + PAGES * 4096 };
	const struct umem_armed *armed;
	struct umem_client *client;
	struct umem_note note = { 0 };
	char target[UMEM_CLIENT_TARGET];

	if (service.area == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0) {
		printf("this kernel has no asynchronous write protection: %s\n", strerror(errno));
		return 77;
	}
	memset(service.area, 1, PAGES * 4096);
	if (umem_client_connect(argc > 1 ? argv[1] : NULL, &client, &note) != 0)
		return fail("connecting", &note);
	if (umem_client_hand_off(client, uffd, &range, 1, NULL, target, &note) != 0)
		return fail("handing off", &note);
	if (umem_client_start(client, target, NULL, &armed, &note) != 0)
		return fail("starting", &note);
	printf("target %s: %llu bytes are tracked\n", target,
		(unsigned long long)armed->tracked_bytes);
	if (umem_client_monitor(client, target, 20000000, ROUNDS, UMEM_CLIENT_BITMAP, on_round,
		    &service, &note) != 0)
		return fail("monitoring", &note);
	while (!service.ended)
		if (turn(&service, client) < 0)
			return 1;
	/* Now calls that wait are possible again. */
	if (umem_client_detach(client, target, &note) != 0)
		return fail("letting go", &note);
	umem_client_free(client);
	printf("%llu pages written, %llu reported, %d rounds\n",
		(unsigned long long)service.written, (unsigned long long)service.reported,
		service.n_rounds);
	return service.result != 0 || service.n_rounds != ROUNDS ||
		service.reported != service.written;
}
