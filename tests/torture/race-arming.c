// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Rounds at full speed against writers at full speed: no write may fall
 * between two rounds.
 *
 * Theory of operation
 *
 * Threads of the target write ever higher sequence numbers into random pages,
 * one word a page. The parent collects without a pause and copies the reported
 * pages after each round, as a pre-copy migration does. At the end the writers
 * stop, one more round is collected and copied, and the copy must equal the
 * memory. A page may have changed between its round and its copy: then it is
 * in the next round, too, so only the end is judged.
 *
 * The log page (private, outside of the judgement) holds for each page the
 * highest number that was written: it tells a lost write from a lost discard.
 * Besides the writers, one thread forks, one discards pages, one maps and
 * unmaps.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <umemd/track.h>

#include "tests/lib/harness.h"

#define PAGE     4096ull
#define AT       0x20000000000ull
#define N_PAGES  2048ull
#define N_AREAS  3
#define STEP     0x10000000ull
#define LOG_AT   0x30000000000ull
#define CHURN_AT 0x31000000000ull
#define N_WRITERS 4

/* What lies at LOG_AT in the target. */
struct log {
	atomic_bool stop;
	atomic_uint stopped;
	atomic_ullong writes;
	atomic_ullong forks;
	atomic_ullong discards;
	atomic_ullong last[N_AREAS][N_PAGES];
};

#define LOG ((struct log *)LOG_AT)

static const char *const area_names[N_AREAS] = { "anonymous", "huge pages", "memfd" };

/* The parent's copy. */
static uint64_t copy[N_AREAS][N_PAGES];

static volatile uint64_t *word(unsigned area, uint64_t page)
{
	return (volatile uint64_t *)(AT + area * STEP + page * PAGE);
}

/* Several writers: a page belongs to one of them, so that numbers only rise. */
static void *writer(void *arg)
{
	uint64_t id = (uintptr_t)arg, state = id * 77, n = 0;

	while (!LOG->stop) {
		unsigned area = (unsigned)t_below(&state, N_AREAS);
		uint64_t page = t_below(&state, N_PAGES / N_WRITERS) * N_WRITERS + id;
		uint64_t seq = ++n;

		LOG->last[area][page] = seq;
		*word(area, page) = seq;
	}
	LOG->writes += n;
	LOG->stopped++;
	return NULL;
}

static void *forker(void *arg)
{
	while (!LOG->stop) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
		LOG->forks++;
		t_msleep(2);
	}
	LOG->stopped++;
	return NULL;
}

static void *discarder(void *arg)
{
	uint64_t state = 4711;

	while (!LOG->stop) {
		unsigned area = (unsigned)t_below(&state, 2);
		uint64_t page = t_below(&state, N_PAGES - 4);

		madvise((void *)word(area, page), 4 * PAGE, MADV_DONTNEED);
		LOG->discards++;
		usleep(50);
	}
	LOG->stopped++;
	return NULL;
}

/* Mappings come and go beside the areas, and between them. */
static void *mapper(void *arg)
{
	while (!LOG->stop) {
		void *at = (void *)(AT + STEP / 2);

		at = mmap(at, 16 * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		T_CHECK(at != MAP_FAILED);
		memset(at, 1, 16 * PAGE);
		usleep(100);
		munmap(at, 16 * PAGE);
	}
	LOG->stopped++;
	return NULL;
}

static void map_at(uint64_t at, uint64_t len, int flags, int fd)
{
	T_CHECK(mmap((void *)at, len, PROT_READ | PROT_WRITE,
			flags | MAP_FIXED_NOREPLACE, fd, 0) == (void *)at);
}

static void target(int ready, bool storm)
{
	int fd = (int)T_SYS(memfd_create("race", MFD_CLOEXEC));
	void *(*others[])(void *) = { forker, discarder, mapper };
	pthread_t id;

	T_SYS(ftruncate(fd, N_PAGES * PAGE));
	map_at(LOG_AT, sizeof(struct log), MAP_PRIVATE | MAP_ANONYMOUS, -1);
	map_at(AT, N_PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	map_at(AT + STEP, N_PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise((void *)(AT + STEP), N_PAGES * PAGE, MADV_HUGEPAGE);
	map_at(AT + 2 * STEP, N_PAGES * PAGE, MAP_SHARED, fd);
	for (uint64_t i = 0; i < N_WRITERS; i++)
		T_CHECK(pthread_create(&id, NULL, writer, (void *)(uintptr_t)i) == 0);
	for (int i = 0; storm && i < 3; i++)
		T_CHECK(pthread_create(&id, NULL, others[i], NULL) == 0);
	T_CHECK(write(ready, "x", 1) == 1);
	for (;;)
		pause();
}

static void read_words(pid_t pid, uint64_t start, uint64_t n, uint64_t *out)
{
	for (uint64_t done = 0; done < n;) {
		uint64_t k = n - done > 512 ? 512 : n - done;
		struct iovec local = { out + done, k * 8 }, remote[512];

		for (uint64_t i = 0; i < k; i++)
			remote[i] = (struct iovec){ (void *)(start + (done + i) * PAGE), 8 };
		T_CHECK(process_vm_readv(pid, &local, 1, remote, k, 0) == (ssize_t)(k * 8));
		done += k;
	}
}

struct copier {
	pid_t pid;
	uint64_t pages;
};

static int copy_range(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct copier *c = user;

	for (unsigned a = 0; a < N_AREAS; a++) {
		uint64_t first = AT + a * STEP, last = first + N_PAGES * PAGE;
		uint64_t s = start > first ? start : first, e = end < last ? end : last;

		if (s >= e)
			continue;
		read_words(c->pid, s, (e - s) / PAGE, &copy[a][(s - first) / PAGE]);
		c->pages += (e - s) / PAGE;
	}
	return 0;
}

static void poke_stop(pid_t pid)
{
	bool stop = true;
	struct iovec local = { &stop, sizeof(stop) }, remote = { (void *)LOG_AT, sizeof(stop) };

	T_CHECK(process_vm_writev(pid, &local, 1, &remote, 1, 0) == sizeof(stop));
}

static struct log result;

static void read_log(pid_t pid)
{
	struct iovec local = { &result, sizeof(result) };
	struct iovec remote = { (void *)LOG_AT, sizeof(result) };

	T_CHECK(process_vm_readv(pid, &local, 1, &remote, 1, 0) == sizeof(result));
}

static void stop_target(pid_t pid, unsigned n_threads)
{
	uint64_t deadline = t_now_ns() + 20000000000u;

	poke_stop(pid);
	do {
		T_CHECK(t_now_ns() < deadline);
		t_msleep(1);
		read_log(pid);
	} while (result.stopped < n_threads);
}

static void compare(pid_t pid)
{
	static uint64_t now[N_PAGES];
	unsigned bad = 0;

	for (unsigned a = 0; a < N_AREAS; a++) {
		read_words(pid, AT + a * STEP, N_PAGES, now);
		for (uint64_t p = 0; p < N_PAGES; p++) {
			if (now[p] == copy[a][p])
				continue;
			fprintf(stderr, "%s page %llu: copy %llu, memory %llu, last written %llu\n",
				area_names[a], (unsigned long long)p,
				(unsigned long long)copy[a][p], (unsigned long long)now[p],
				(unsigned long long)result.last[a][p]);
			bad++;
		}
	}
	T_CHECK(bad == 0, "%u pages are in neither round", bad);
}

static void race(unsigned seconds, bool storm)
{
	struct umem_target *t = NULL;
	struct umem_watch *watch = NULL;
	struct umem_note note = { 0 };
	const struct umem_round *round;
	uint64_t end_ns, rounds = 0, incomplete = 0;
	struct copier copier = { 0 };
	int ready[2];
	char c;

	T_SYS(pipe(ready));
	memset(copy, 0, sizeof(copy));
	copier.pid = t_fork();
	if (copier.pid == 0)
		target(ready[1], storm);
	T_CHECK(read(ready[0], &c, 1) == 1);
	T_CHECK(umem_target_attach(copier.pid, NULL, &t, &note) == 0, "%s", note.text);
	T_CHECK(umem_watch_new(t, NULL, &watch, &note) == 0, "%s", note.text);
	/* Everything once, after arming; from here on only what is reported. */
	for (unsigned a = 0; a < N_AREAS; a++)
		read_words(copier.pid, AT + a * STEP, N_PAGES, copy[a]);
	end_ns = t_now_ns() + seconds * 1000000000ull;
	while (t_now_ns() < end_ns) {
		int r = umem_watch_collect(watch, &round, &note);

		T_CHECK(r == 0 || r == -EAGAIN, "%d %s", r, note.text);
		if (r)
			continue;
		incomplete += !round->complete;
		for (size_t i = 0; i < round->n_incomplete && incomplete == 1; i++)
			printf("incomplete: %#llx %s\n",
				(unsigned long long)round->incomplete[i].start,
				round->incomplete[i].reason);
		T_OK(umem_watch_each(watch, copy_range, &copier));
		rounds++;
	}
	stop_target(copier.pid, N_WRITERS + (storm ? 3 : 0));
	T_CHECK(umem_watch_collect(watch, &round, &note) == 0, "%s", note.text);
	T_OK(umem_watch_each(watch, copy_range, &copier));
	compare(copier.pid);
	printf("%s: %llu rounds (%llu incomplete), %llu writes, %llu pages copied, %llu forks, "
	       "%llu discards\n", storm ? "storm" : "writers only", (unsigned long long)rounds,
		(unsigned long long)incomplete, (unsigned long long)result.writes,
		(unsigned long long)copier.pages, (unsigned long long)result.forks,
		(unsigned long long)result.discards);
	umem_watch_free(watch);
	umem_target_free(t);
	t_end(copier.pid);
	close(ready[0]);
	close(ready[1]);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0)
		T_SKIP("attaching needs root");
	race(seconds, false);
	race(seconds, true);
	return 0;
}
