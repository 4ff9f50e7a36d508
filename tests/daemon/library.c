// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libumemd against a daemon: each call, each kind of answer, and the time that a
 * collect takes more than one by the engine itself.
 *
 *     daemon-library SOCKET
 */
#include <umemd/client.h>
#include <umemd/umemd.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/ranges.h"
#include "tests/lib/harness.h"

#define N    64u
#define PAGE 4096u

/* A child that writes the pages that it is sent. */
struct child {
	pid_t pid;
	int command[2];
	int reply[2];
	char *at;
};

static void start_child(struct child *c)
{
	unsigned char page;

	c->at = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_CHECK(c->at != MAP_FAILED);
	T_SYS(madvise(c->at, N * PAGE, MADV_NOHUGEPAGE));
	memset(c->at, 1, N * PAGE);
	T_SYS(pipe(c->command));
	T_SYS(pipe(c->reply));
	c->pid = t_fork();
	if (c->pid)
		return;
	memset(c->at, 1, N * PAGE); /* its own pages */
	while (read(c->command[0], &page, 1) == 1) {
		c->at[page * PAGE]++;
		if (write(c->reply[1], &page, 1) != 1)
			break;
	}
	_exit(0);
}

static void write_page(struct child *c, unsigned char page)
{
	T_CHECK(write(c->command[1], &page, 1) == 1);
	T_CHECK(read(c->reply[0], &page, 1) == 1);
}

static int add_range(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	return umem_ranges_add(user, start, end);
}

/* Exactly these pages of the child, in either form. */
static void check_round(struct umem_client *client, const char *target, struct child *c,
	enum umem_client_form form, uint64_t pages)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges dirty = { 0 };
	struct umem_client_round *round;
	struct umem_note note = { 0 };
	size_t n_gone;

	T_CHECK(umem_client_collect(client, target, form, UINT64_MAX, &round, &note) == 0, "%s",
		note.text);
	T_OK(umem_client_round_each(round, add_range, &dirty));
	for (unsigned i = 0; i < N && form != UMEM_CLIENT_NUMBERS; i++)
		T_CHECK(umem_ranges_has(&dirty, (uintptr_t)c->at + i * PAGE) == (pages >> i & 1),
			"page %u", i);
	T_CHECK(umem_client_round_numbers(round)->dirty_bytes ==
		(uint64_t)__builtin_popcountll(pages) * PAGE);
	T_CHECK(umem_client_round_numbers(round)->complete && !umem_client_round_recovered(round));
	umem_client_round_gone(round, &n_gone);
	T_CHECK(n_gone == 0);
	umem_client_round_free(round);
}

static void rounds(struct umem_client *client, struct child *c)
{
	struct umem_range region = { (uintptr_t)c->at, (uintptr_t)c->at + N * PAGE };
	struct umem_watch_options options = { .size = sizeof(options), .regions = &region,
		.n_regions = 1 };
	const struct umem_armed *armed;
	char target[UMEM_CLIENT_TARGET];
	struct umem_note note = { 0 };

	T_CHECK(umem_client_attach(client, c->pid, NULL, target, &note) == 0, "%s", note.text);
	T_OK(umem_client_start(client, target, &options, &armed, NULL));
	T_CHECK(armed->tracked_bytes == N * PAGE && strcmp(armed->tracker, "wp_async") == 0 &&
		armed->n_assumes > 0 && armed->stop_ns > 0);
	T_CHECK(umem_client_start(client, target, &options, &armed, &note) == -EALREADY, "%s",
		note.text);
	for (int form = UMEM_CLIENT_NUMBERS; form <= UMEM_CLIENT_BITMAP; form++) {
		check_round(client, target, c, (enum umem_client_form)form, 0);
		write_page(c, 0);
		write_page(c, 1);
		write_page(c, 63);
		check_round(client, target, c, (enum umem_client_form)form, 1ull << 63 | 3);
	}
	T_OK(umem_client_stop(client, target, NULL));
	T_CHECK(umem_client_stop(client, target, NULL) == -ENOENT);
	T_OK(umem_client_detach(client, target, NULL));
	memset(&note, 0, sizeof(note));
	T_CHECK(umem_client_detach(client, target, &note) == -ENOENT);
	T_CHECK(strstr(note.text, target), "%s", note.text);
}

/* Median of how long a collect takes. */
static uint64_t median_ns(int (*collect)(void *user), void *user)
{
	uint64_t v[401];
	const size_t n = sizeof(v) / sizeof(v[0]);

	for (size_t i = 0; i < n; i++) {
		uint64_t start_ns = t_now_ns();

		T_OK(collect(user));
		v[i] = t_now_ns() - start_ns;
		for (size_t k = i; k > 0 && v[k] < v[k - 1]; k--) {
			uint64_t swap = v[k];

			v[k] = v[k - 1];
			v[k - 1] = swap;
		}
	}
	return v[n / 2];
}

/* What both kinds of a collect need. */
struct timed {
	struct umem_watch *watch;
	struct umem_client *client;
	const char *target;
};

static int collect_here(void *user)
{
	const struct umem_round *round;

	return umem_watch_collect(((struct timed *)user)->watch, &round, NULL);
}

static int collect_there(void *user)
{
	struct timed *t = user;
	struct umem_client_round *round = NULL;
	int r = umem_client_collect(t->client, t->target, UMEM_CLIENT_NUMBERS, UINT64_MAX, &round,
		NULL);

	umem_client_round_free(round);
	return r;
}

static void cost(struct umem_client *client, struct child *c)
{
	struct timed timed = { .client = client };
	const struct umem_armed *armed;
	char name[UMEM_CLIENT_TARGET];
	struct umem_target *target;
	uint64_t here_ns, there_ns, start_ns;

	T_OK(umem_target_attach(c->pid, NULL, &target, NULL));
	T_OK(umem_watch_new(target, NULL, &timed.watch, NULL));
	here_ns = median_ns(collect_here, &timed);
	umem_watch_free(timed.watch);
	umem_target_free(target);
	start_ns = t_now_ns();
	T_OK(umem_client_attach(client, c->pid, NULL, name, NULL));
	printf("attached in %.2f ms\n", (double)(t_now_ns() - start_ns) / 1e6);
	T_OK(umem_client_start(client, name, NULL, &armed, NULL));
	timed.target = name;
	there_ns = median_ns(collect_there, &timed);
	printf("a collect: %.1f us by the engine, %.1f us through the daemon\n",
		(double)here_ns / 1e3, (double)there_ns / 1e3);
	T_OK(umem_client_detach(client, name, NULL));
}

static int count_target(void *user, const struct umem_client_target *t)
{
	int *n = user;

	T_CHECK(t->pid > 0 && t->target[0] && strcmp(t->state, "ready") == 0 && t->kept);
	return ++*n == 2 ? 77 : 0;
}

static void targets(const char *path, struct umem_client *client, struct child *c)
{
	struct umem_client_bring_options keep = { .size = sizeof(keep), .keep = true };
	char a[UMEM_CLIENT_TARGET], b[UMEM_CLIENT_TARGET];
	struct umem_client *other;
	struct child second;
	int n = 0;

	start_child(&second);
	T_OK(umem_client_connect(path, &other, NULL));
	T_OK(umem_client_attach(other, c->pid, &keep, a, NULL));
	T_OK(umem_client_attach(other, second.pid, &keep, b, NULL));
	umem_client_free(other);
	T_CHECK(umem_client_each_target(client, count_target, &n, NULL) == 77 && n == 2);
	T_OK(umem_client_detach(client, a, NULL));
	T_OK(umem_client_detach(client, b, NULL));
	t_end(second.pid);
	n = 0;
	T_OK(umem_client_each_target(client, count_target, &n, NULL));
	T_CHECK(n == 0);
}

/* A socket at which nobody answers. */
static int silent_socket(char path[64])
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = (int)T_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	snprintf(path, 64, "/tmp/umemd-silent-%d", (int)getpid());
	strcpy(addr.sun_path, path);
	T_SYS(bind(sock, (struct sockaddr *)&addr, sizeof(addr)));
	T_SYS(listen(sock, 1));
	return sock;
}

static void refusals(struct umem_client *client)
{
	char target[UMEM_CLIENT_TARGET] = "untouched";
	struct umem_client *other;
	struct umem_note note = { 0 };
	char silent[64];
	int sock;

	T_CHECK(umem_client_attach(client, 0x7ffffff0, NULL, target, &note) == UMEM_GONE);
	T_CHECK(strstr(note.text, "there is no process"), "%s", note.text);
	T_CHECK(umem_client_attach(client, -1, NULL, target, NULL) == -EINVAL);
	T_CHECK(umem_client_attach(client, 1, NULL, target, NULL) == -EINVAL);
	T_CHECK(strcmp(target, "untouched") == 0);
	T_CHECK(umem_client_connect("/nowhere", &other, NULL) == -ENOENT);
	/* A daemon that says nothing: the time is over, and so is the connection. */
	sock = silent_socket(silent);
	T_OK(umem_client_connect(silent, &other, NULL));
	unlink(silent);
	umem_client_set_timeout(other, 50000000);
	T_CHECK(umem_client_detach(other, "x", NULL) == -ETIMEDOUT);
	T_CHECK(umem_client_detach(other, "x", NULL) == -EPIPE);
	T_CHECK(umem_client_fd(other) == -1 && umem_client_dispatch(other) == -EPIPE);
	umem_client_free(other);
	close(sock);
}

/* What a monitor was told. */
struct told {
	int n;
	int end;
};

static void on_round(void *user, struct umem_client_round *round, int result,
	const struct umem_note *note)
{
	struct told *told = user;

	told->n += round != NULL;
	if (!round)
		told->end = result ? result : 1000;
	umem_client_round_free(round);
}

static void dispatch_until(struct umem_client *client, const struct told *told, int n)
{
	while (told->n < n && !told->end) {
		struct pollfd pfd = { umem_client_fd(client), umem_client_events(client), 0 };

		T_CHECK(poll(&pfd, 1, 20000) == 1);
		if (umem_client_dispatch(client) < 0)
			break;
	}
}

/* Monitoring ends by number, and with its target. */
static void monitor(const char *path, struct umem_client *client, struct child *c)
{
	const struct umem_armed *armed;
	char target[UMEM_CLIENT_TARGET];
	struct umem_client *other;
	struct told told = { 0 };

	T_OK(umem_client_attach(client, c->pid, NULL, target, NULL));
	T_OK(umem_client_start(client, target, NULL, &armed, NULL));
	T_OK(umem_client_monitor(client, target, 2000000, 3, UMEM_CLIENT_RANGES, on_round, &told,
		NULL));
	T_CHECK(umem_client_detach(client, target, NULL) == -EBUSY);
	dispatch_until(client, &told, 99);
	T_CHECK(told.n == 3 && told.end == 1000, "%d %d", told.n, told.end);
	told = (struct told){ 0 };
	T_OK(umem_client_monitor(client, target, 2000000, 0, UMEM_CLIENT_NUMBERS, on_round, &told,
		NULL));
	dispatch_until(client, &told, 3);
	T_OK(umem_client_connect(path, &other, NULL));
	T_OK(umem_client_detach(other, target, NULL));
	umem_client_free(other);
	dispatch_until(client, &told, 1 << 30);
	T_CHECK(told.n >= 3 && told.end != 0 && told.end != 1000, "%d %d", told.n, told.end);
}

/* How often progress was told; with @stop it ends the snapshot. */
struct seen {
	int n;
	bool stop;
};

static bool see(void *user, const struct umem_snapshot_progress *progress)
{
	struct seen *seen = user;

	T_CHECK(progress->stage && progress->done_bytes <= progress->total_bytes);
	seen->n++;
	return seen->stop;
}

static int new_file(void)
{
	return (int)T_SYS(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

/* Whole, as an increment, and broken off; the target is as it was. */
static void snapshots(const char *path, struct child *c)
{
	struct seen seen = { 0 };
	struct umem_client_snapshot_options options = {
		.size = sizeof(options), .name = "mine", .progress = see, .user = &seen,
	};
	const struct umem_snapshot *taken;
	char target[UMEM_CLIENT_TARGET];
	struct umem_note note = { 0 };
	struct umem_client *client;
	struct umem_image *image;
	unsigned char page[PAGE];
	int first = new_file(), second = new_file();

	T_OK(umem_client_connect(path, &client, NULL));
	T_OK(umem_client_attach(client, c->pid, NULL, target, NULL));
	write_page(c, 3);
	options.output_fd = first;
	T_CHECK(umem_client_snapshot(client, target, &options, &taken, &note) == 0, "%s",
		note.text);
	T_CHECK(taken->complete && taken->pages >= N && taken->n_processes == 1 &&
		strcmp(taken->method, "precopy") == 0 && !taken->incremental);
	T_OK(umem_image_open_fd(first, NULL, NULL, &image, NULL));
	T_OK(umem_image_get(image, 0, (uint64_t)c->at + 3 * PAGE, page, 1, NULL));
	T_CHECK(page[0] > 1 && page[1] == 1);
	umem_image_free(image);
	/* The file is not empty any more. */
	T_CHECK(umem_client_snapshot(client, target, &options, &taken, &note) == -EINVAL);
	options.output_fd = second;
	options.parents = &first;
	options.n_parents = 1;
	options.parent_name = "first";
	options.method = UMEM_SNAPSHOT_FREEZE;
	T_CHECK(umem_client_snapshot(client, target, &options, &taken, &note) == 0, "%s",
		note.text);
	T_CHECK(strcmp(taken->incremental, "compared") == 0 && taken->parent_pages > 0);
	options.n_parents = 14;
	T_CHECK(umem_client_snapshot(client, target, &options, &taken, &note) == -E2BIG);
	T_OK(umem_client_cancel_snapshot(client, target, NULL));
	/* Broken off: that connection is over, and the target with it. */
	seen = (struct seen){ .stop = true };
	options.n_parents = 0;
	T_SYS(ftruncate(second, 0));
	T_CHECK(umem_client_snapshot(client, target, &options, &taken, &note) == -ECANCELED);
	T_CHECK(seen.n == 1 && umem_client_detach(client, target, NULL) == -EPIPE);
	umem_client_free(client);
	write_page(c, 4);
	close(first);
	close(second);
}

int main(int argc, char **argv)
{
	struct umem_client *client;
	struct umem_note note = { 0 };
	struct child child;

	if (argc != 2)
		T_SKIP("no socket was given: tests/daemon/library.py gives one");
	start_child(&child);
	T_CHECK(umem_client_connect(argv[1], &client, &note) == 0, "%s", note.text);
	rounds(client, &child);
	targets(argv[1], client, &child);
	refusals(client);
	cost(client, &child);
	monitor(argv[1], client, &child);
	snapshots(argv[1], &child);
	umem_client_free(client);
	t_end(child.pid);
	return 0;
}
