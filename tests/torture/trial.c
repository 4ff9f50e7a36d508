// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One seed: dirty tracking against an oracle that reads everything.
 *
 * Theory of operation
 *
 * For each seed a tracker watches an actor (actor.h) over many rounds. Beside
 * it a model plays the one who relies on the rounds, a pre-copy migration: it
 * holds a hash of every page, forgets what a round calls gone, and takes over
 * anew what a round calls dirty. Then the model has to equal the memory:
 *
 *     model page != memory page              a change was missed
 *     model page where nothing is mapped     a range was not called gone
 *     dirty page where nothing is mapped     a range was invented
 *     written page that no step touched      a false positive
 *
 * A page that the model does not have counts as what the mapping shows when
 * nothing was done to it: zeros, or the file of a private mapping.
 *
 * With --swap pictures are taken in some rounds only, because taking one
 * brings swapped pages in; what the rounds between said is added up.
 */
#include "tests/torture/trial.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <umemd/track.h>

#include "lib/base/ranges.h"
#include "tests/lib/harness.h"
#include "tests/lib/oracle.h"
#include "tests/torture/actor.h"

#undef board

/**
 * struct trial - one seed.
 * @model: pages as the reader of the rounds knows them.
 * @now: pages as they are.
 * @pending: dirty since the last picture; @written: of them for that reason.
 * @gone, @touched: likewise.
 * @excused: incomplete ranges since the last picture.
 */
struct trial {
	const struct trial_options *options;
	uint64_t seed;
	uint64_t state;
	unsigned round;
	pid_t pid;
	int fd;
	uint64_t commands;
	struct actor_board board;
	struct oracle_picture model, now, next;
	struct umem_ranges pending, written, gone, touched, excused, mapped;
	bool touched_all;
	struct trial_tally tally;
	unsigned n_bad;
};

static struct trial trial;

static void complain(struct trial *t, uint64_t addr, const char *what)
{
	if (t->n_bad++ == 0)
		fprintf(stderr,
			"FAIL: SEED=%llu dirty-oracle --seeds 1 --rounds %u --steps %u%s%s: "
			"round %u\n%s\n",
			(unsigned long long)t->seed, t->options->rounds, t->options->steps,
			t->options->swap ? " --swap" : "",
			t->options->folios ? " --folios" : "", t->round, t->board.log);
	if (t->n_bad > 12)
		return;
	fprintf(stderr, "%s at %#llx\n", what, (unsigned long long)addr);
	for (uint64_t i = 0; i < t->board.n_areas; i++) {
		const struct actor_area *a = &t->board.areas[i];

		if (addr >= a->at && addr < a->at + a->pages * PAGE)
			fprintf(stderr,
				"  area %#llx +%llu kind %d object %d page %llu hidden %d\n",
				(unsigned long long)a->at, (unsigned long long)a->pages, a->kind,
				a->object, (unsigned long long)(addr - a->at) / PAGE, a->hidden);
	}
	oracle_describe(t->pid, addr);
}

static void read_board(struct trial *t)
{
	struct iovec local = { &t->board, sizeof(t->board) };
	struct iovec remote = { (void *)BOARD_AT, sizeof(t->board) };

	T_CHECK(process_vm_readv(t->pid, &local, 1, &remote, 1, 0) == (ssize_t)sizeof(t->board),
		"seed %llu round %u: the actor ended", (unsigned long long)t->seed, t->round);
}

/* Has the actor done its command, and is it blocked in read(2)? */
static bool is_quiet(struct trial *t)
{
	uint64_t done = 0;
	struct iovec local = { &done, 8 };
	struct iovec remote = { (char *)BOARD_AT + offsetof(struct actor_board, done), 8 };
	char path[64], text[128] = "", want[64];
	int fd, status;

	if (process_vm_readv(t->pid, &local, 1, &remote, 1, 0) != 8) {
		if (waitpid(t->pid, &status, WNOHANG) == t->pid)
			T_FAIL("seed %llu round %u: the actor ended, status %#x",
				(unsigned long long)t->seed, t->round, status);
		return false;
	}
	if (done != t->commands)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)t->pid);
	fd = (int)T_SYS(open(path, O_RDONLY | O_CLOEXEC));
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	snprintf(want, sizeof(want), "%d 0x%x ", (int)SYS_read, t->fd);
	return strncmp(text, want, strlen(want)) == 0;
}

static void wait_quiet(struct trial *t)
{
	uint64_t end = t_now_ns() + 60000000000u;

	while (!is_quiet(t)) {
		T_CHECK(t_now_ns() < end, "seed %llu: the actor does not come to rest",
			(unsigned long long)t->seed);
		sched_yield();
	}
	read_board(t);
}

static void add(struct umem_ranges *ranges, uint64_t start, uint64_t end)
{
	T_OK(umem_ranges_add(ranges, start, end));
}

/* Writes from outside, into pages that the actor could write itself. */
static void write_from_outside(struct trial *t)
{
	char path[64];
	int mem;

	if (t_below(&t->state, 2))
		return;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)t->pid);
	mem = (int)T_SYS(open(path, O_RDWR | O_CLOEXEC));
	for (int i = 0; i < 6 && t->board.n_areas; i++) {
		struct actor_area *a = &t->board.areas[t_below(&t->state, t->board.n_areas)];
		uint64_t page = t_below(&t->state, a->pages), word = t_rand(&t->state);
		uint64_t at = a->at + page * PAGE + t_below(&t->state, PAGE - 8);
		struct iovec local = { &word, 8 }, remote = { (void *)at, 8 };
		ssize_t n;

		if (i & 1)
			n = pwrite(mem, &word, 8, (off_t)at);
		else
			n = process_vm_writev(t->pid, &local, 1, &remote, 1, 0);
		if (n <= 0)
			continue;
		/* Everybody who shows the page; coarse is good enough here. */
		for (uint64_t k = 0; k < t->board.n_areas; k++) {
			const struct actor_area *b = &t->board.areas[k];
			uint64_t start = at & ~(PAGE - 1);

			if (b == a && (a->kind == ACT_THP || act_is_huge(a)))
				add(&t->touched, start & ~(HUGE - 1), (start & ~(HUGE - 1)) + HUGE);
			else if (b == a)
				add(&t->touched, start, start + PAGE);
			else if (a->object >= 0 && b->object == a->object)
				add(&t->touched, b->at, b->at + b->pages * PAGE);
		}
	}
	close(mem);
}

static void take_touches(struct trial *t)
{
	t->touched_all |= t->board.touched_all != 0;
	for (uint64_t i = 0; i < t->board.n_touches; i++)
		if (t->board.touches[i].end > t->board.touches[i].start)
			add(&t->touched, t->board.touches[i].start, t->board.touches[i].end);
}

static int take_range(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct trial *t = user;

	if (start >= BOARD_AT && end <= BOARD_AT + sizeof(t->board) + PAGE)
		return 0;
	t->tally.dirty_pages += (end - start) / PAGE;
	if (why == UMEM_WHY_WRITTEN)
		add(&t->written, start, end);
	if (t->options->verbose && start >= ARENA_AT && start < ARENA_END)
		printf("   %#llx-%#llx %s\n", (unsigned long long)start, (unsigned long long)end,
			umem_why_name(why));
	return umem_ranges_add(&t->pending, start, end);
}

/* The model forgets what is gone; then what is dirty waits to be copied. */
static void take_round(struct trial *t, struct umem_watch *watch, const struct umem_round *round)
{
	const struct umem_range *gone;
	struct umem_ranges these = { 0 };
	size_t n, kept = 0;

	gone = umem_watch_gone(watch, &n);
	for (size_t i = 0; i < n; i++) {
		T_OK(umem_ranges_sub(&t->pending, gone[i].start, gone[i].end));
		add(&t->gone, gone[i].start, gone[i].end);
		add(&these, gone[i].start, gone[i].end);
		if (t->options->verbose)
			printf("   %#llx-%#llx gone\n", (unsigned long long)gone[i].start,
				(unsigned long long)gone[i].end);
	}
	for (size_t i = 0; i < t->model.n && these.n; i++)
		if (!umem_ranges_has(&these, t->model.v[i].addr))
			t->model.v[kept++] = t->model.v[i];
	if (these.n)
		t->model.n = kept;
	umem_ranges_deinit(&these);
	T_OK(umem_watch_each(watch, take_range, t));
	if (!round->complete) {
		t->tally.incomplete++;
		for (size_t i = 0; i < round->n_incomplete; i++) {
			const struct umem_reason *why = &round->incomplete[i];

			if (t->tally.incomplete < 4 || t->options->verbose)
				printf("seed %llu round %u incomplete %#llx-%#llx: %s\n",
					(unsigned long long)t->seed, t->round,
					(unsigned long long)why->start,
					(unsigned long long)why->end, why->reason);
			add(&t->excused, why->start, why->end);
		}
	}
}

static bool in_arena(uint64_t addr)
{
	return addr >= ARENA_AT && addr < ARENA_END;
}

static void judge_page(struct trial *t, const struct oracle_page *page,
	const struct oracle_page *known)
{
	struct oracle_page next = *page;
	bool dirty = umem_ranges_has(&t->pending, page->addr);

	if (dirty)
		;
	else if (known)
		next.hash = known->hash;
	else if (!(page->flags & ORACLE_FILE_CONTENT))
		next.hash = oracle_zero_hash();
	if (next.hash != page->hash) {
		if (!umem_ranges_has(&t->excused, page->addr))
			complain(t, page->addr, known ? "MISSED" : "MISSED (new)");
		next.hash = page->hash;
	}
	if (dirty && known && known->hash == page->hash && in_arena(page->addr) &&
		!t->touched_all && umem_ranges_has(&t->written, page->addr) &&
		!umem_ranges_has(&t->touched, page->addr))
		complain(t, page->addr, "FALSE POSITIVE");
	oracle_add(&t->next, &next);
}

static void judge(struct trial *t)
{
	struct oracle_picture old;
	size_t k = 0;

	oracle_take(&t->now, t->pid, BOARD_AT, BOARD_AT + sizeof(t->board));
	t->next.n = 0;
	for (size_t i = 0; i < t->now.n; i++) {
		const struct oracle_page *page = &t->now.v[i];

		for (; k < t->model.n && t->model.v[k].addr < page->addr; k++)
			complain(t, t->model.v[k].addr, "NOT CALLED GONE");
		judge_page(t, page,
			k < t->model.n && t->model.v[k].addr == page->addr ? &t->model.v[k] : NULL);
		if (k < t->model.n && t->model.v[k].addr == page->addr)
			k++;
	}
	for (; k < t->model.n; k++)
		complain(t, t->model.v[k].addr, "NOT CALLED GONE");
	old = t->model;
	t->model = t->next;
	t->next = old;
	t->tally.pictures++;
	t->tally.pages += t->now.n;
	umem_ranges_clear(&t->pending);
	umem_ranges_clear(&t->written);
	umem_ranges_clear(&t->gone);
	umem_ranges_clear(&t->touched);
	umem_ranges_clear(&t->excused);
	t->touched_all = false;
}

/* Nothing may be reported where nothing is mapped. */
static void judge_mapped(struct trial *t)
{
	for (size_t i = 0; i < t->pending.n; i++)
		for (uint64_t at = t->pending.v[i].start; at < t->pending.v[i].end; at += PAGE)
			if (in_arena(at) && !oracle_find(&t->now, at))
				complain(t, at, "REPORTED, BUT NOT MAPPED");
}

/* Return: our end of its command line. */
static int start_actor(struct trial *t)
{
	int pair[2];

	T_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	t->pid = t_fork();
	if (t->pid == 0) {
		close(pair[0]);
		actor_run(pair[1], t->seed, t->options);
	}
	close(pair[1]);
	/* The actor's descriptor has the number that ours had. */
	t->fd = pair[1];
	t->state = t->seed ^ 0x6f7261636c65u;
	t->commands = 1;
	wait_quiet(t);
	return pair[0];
}

/*
 * A collect that fails on the way, and some steps more: the next round has to
 * hold what this one would have held. Needs the fault points of a test build.
 */
static void fail_collect(struct trial *t, struct umem_watch *watch, int command_fd)
{
	const struct umem_round *round;
	int r;

	setenv("UMEM_FAULTS", t_below(&t->state, 2) ? "track.collect-errno=12" :
						      "track.watch-errno=12", 1);
	r = umem_watch_collect(watch, &round, NULL);
	unsetenv("UMEM_FAULTS");
	if (r == 0) {
		/* Nothing was there to fail on. */
		take_round(t, watch, round);
		return;
	}
	T_CHECK(r == -ENOMEM, "%d", r);
	t->tally.failed++;
	if (t_below(&t->state, 2))
		return;
	T_CHECK(write(command_fd, "+", 1) == 1);
	t->commands++;
	wait_quiet(t);
	take_touches(t);
}

static void run_trial(struct trial *t)
{
	struct umem_target *target = NULL;
	struct umem_watch *watch = NULL;
	struct umem_note note = { 0 };
	int command_fd = start_actor(t);
	int r;

	r = umem_target_attach(t->pid, NULL, &target, &note);
	if (r == -ENOTTY || r == -ENOSYS)
		T_SKIP("%s", note.text);
	T_CHECK(r == 0, "%s", note.text);
	T_CHECK(umem_watch_new(target, NULL, &watch, &note) == 0, "%s", note.text);
	wait_quiet(t);
	oracle_take(&t->model, t->pid, BOARD_AT, BOARD_AT + sizeof(t->board));
	for (t->round = 1; t->round <= t->options->rounds && !t->n_bad; t->round++) {
		const struct umem_round *round;

		T_CHECK(write(command_fd, "x", 1) == 1);
		t->commands++;
		wait_quiet(t);
		take_touches(t);
		write_from_outside(t);
		if (t->options->verbose)
			printf("round %u\n%s\n", t->round, t->board.log);
		if (t_below(&t->state, 8) == 0)
			fail_collect(t, watch, command_fd);
		r = umem_watch_collect(watch, &round, &note);
		if (r != 0)
			complain(t, note.addr, note.text);
		T_CHECK(r == 0, "%s", note.text);
		take_round(t, watch, round);
		t->tally.rounds++;
		if (t->options->swap && t_below(&t->state, 3))
			continue;
		oracle_take(&t->now, t->pid, BOARD_AT, BOARD_AT + sizeof(t->board));
		if (!t->options->swap)
			judge_mapped(t);
		judge(t);
	}
	umem_watch_free(watch);
	umem_target_free(target);
	t_end(t->pid);
}

bool trial_run(const struct trial_options *options, uint64_t seed,
	struct trial_tally *ret_tally)
{
	trial.options = options;
	trial.seed = seed;
	run_trial(&trial);
	*ret_tally = trial.tally;
	return trial.n_bad == 0;
}
