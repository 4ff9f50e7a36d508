// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A watch whose process is killed, and the one that follows it: whatever changed
 * after the last round that was told is in the first round of the follower, also
 * what the dead one had collected and told nobody.
 *
 * The target goes to the watching child as descriptors, as to a worker.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <umemd/track.h>

#include "lib/base/ranges.h"
#include "lib/mem/pass.h"
#include "tests/lib/harness.h"
#include "tests/matrix/residency-scene.h"

#define N 64u
#define LEN (N * PAGE)

/* Parts of the scene, each LEN bytes, with a hole behind each. */
enum part { KEPT, UNTOUCHED, SHARED, VANISHING, APPEARING, N_PARTS };

static char *base;

static char *part_at(enum part part)
{
	return base + part * 2 * LEN;
}

static void place(enum part part, int flags)
{
	char *at = part_at(part);

	T_CHECK(mmap(at, LEN, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		at);
	T_SYS(madvise(at, LEN, MADV_NOHUGEPAGE));
}

static char *act(char command)
{
	char *at;

	switch (command) {
	case 0:
		base = mmap(NULL, N_PARTS * 2 * LEN, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		T_CHECK(base != MAP_FAILED);
		for (int i = 0; i < APPEARING; i++)
			place((enum part)i, i == SHARED ? MAP_SHARED : MAP_PRIVATE);
		memset(part_at(KEPT), 1, LEN);
		memset(part_at(SHARED), 1, LEN / 2);
		memset(part_at(VANISHING), 1, LEN);
		return base;
	case '1': /* collected by the one that dies, and told nobody */
		part_at(KEPT)[3 * PAGE] = 2;
		part_at(SHARED)[1 * PAGE] = 2;
		return NULL;
	case '2': /* while nobody watches */
		T_SYS(madvise(part_at(KEPT) + 5 * PAGE, PAGE, MADV_DONTNEED));
		part_at(UNTOUCHED)[7 * PAGE] = 2;
		part_at(SHARED)[40 * PAGE] = 2;
		T_SYS(munmap(part_at(VANISHING), LEN));
		place(APPEARING, MAP_PRIVATE);
		part_at(APPEARING)[9 * PAGE] = 2;
		return NULL;
	default: /* watched again */
		at = part_at(KEPT) + 11 * PAGE;
		*at = 3;
		return NULL;
	}
}

/* What the child told before it was killed. */
struct told {
	volatile int collects;
	volatile uint64_t round;
	volatile size_t n[2];
	struct umem_range v[2][256];
};

static struct umem_target *target_of(const struct umem_passing *passing)
{
	struct umem_target *target;
	int fds[UMEM_N_PASSED];

	for (int i = 0; i < UMEM_N_PASSED; i++)
		fds[i] = (int)T_SYS(dup(passing->fds[i]));
	T_OK(umem_target_from_fds(passing->facts, fds, NULL, &target, NULL));
	return target;
}

static void collect(struct umem_watch *watch, const struct umem_round **ret_round)
{
	struct umem_note note = { 0 };
	int r = umem_watch_collect(watch, ret_round, &note);

	T_CHECK(r == 0, "%d %s", r, note.text);
}

/* Watch, tell about the first round, then collect and tell nobody. */
static void watcher(const struct umem_passing *passing, struct told *told)
{
	struct umem_target *target = target_of(passing);
	const struct umem_round *round;
	struct umem_watch_left left;
	struct umem_watch *watch;

	T_OK(umem_watch_new(target, NULL, &watch, NULL));
	collect(watch, &round);
	T_OK(umem_watch_left(watch, &left));
	T_CHECK(left.n_watched <= 256 && left.n_held <= 256);
	memcpy(told->v[0], left.watched, left.n_watched * sizeof(left.watched[0]));
	memcpy(told->v[1], left.held, left.n_held * sizeof(left.held[0]));
	told->n[0] = left.n_watched;
	told->n[1] = left.n_held;
	told->round = left.round;
	for (;;) {
		collect(watch, &round);
		told->collects++;
		t_msleep(1);
	}
}

/* Pages of a round. */
static int add_range(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	return umem_ranges_add(user, start, end);
}

static bool has(const struct umem_ranges *set, enum part part, unsigned page)
{
	return umem_ranges_has(set, (uintptr_t)part_at(part) + page * PAGE);
}

static void check_first(struct umem_watch *watch, const struct umem_round *round)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges dirty = { 0 };
	const struct umem_range *gone;
	uint64_t vanished = 0;
	size_t n;

	T_OK(umem_watch_each(watch, add_range, &dirty));
	T_CHECK(has(&dirty, KEPT, 3), "collected, and told nobody");
	T_CHECK(has(&dirty, KEPT, 5), "discarded meanwhile");
	T_CHECK(has(&dirty, SHARED, 1), "shared, collected, and told nobody");
	T_CHECK(has(&dirty, SHARED, 40), "shared, written meanwhile");
	T_CHECK(has(&dirty, UNTOUCHED, 7), "touched meanwhile");
	T_CHECK(has(&dirty, APPEARING, 9), "of a new mapping");
	T_CHECK(!has(&dirty, UNTOUCHED, 8) && !has(&dirty, VANISHING, 0));
	gone = umem_watch_gone(watch, &n);
	for (size_t i = 0; i < n; i++)
		if (gone[i].start < (uintptr_t)part_at(VANISHING) + LEN &&
			gone[i].end > (uintptr_t)part_at(VANISHING))
			vanished += gone[i].end - gone[i].start;
	T_CHECK(vanished == LEN, "%llu", (unsigned long long)vanished);
	T_CHECK(round->complete);
}

/* The round behind: exactly one page of the scene, and the same once more when repeated. */
static void check_next(struct umem_watch *watch, struct scene *scene)
{
	const struct umem_round *round;

	scene_tell(scene, '3');
	for (int i = 0; i < 2; i++) {
		UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges dirty = { 0 };

		collect(watch, &round);
		T_OK(umem_watch_each(watch, add_range, &dirty));
		for (int part = 0; part < N_PARTS; part++)
			for (unsigned page = 0; page < N; page++)
				T_CHECK(has(&dirty, (enum part)part, page) ==
						(part == KEPT && page == 11),
					"%d %u in %d", part, page, i);
		umem_watch_repeat(watch);
	}
}

/* Stopped and started again on the same target: all of it is watched again. */
static void check_again(struct umem_target *target, uint64_t tracked_bytes, struct scene *scene)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges dirty = { 0 };
	const struct umem_round *round;
	struct umem_watch *watch;

	T_OK(umem_watch_new(target, NULL, &watch, NULL));
	T_CHECK(umem_watch_armed(watch)->tracked_bytes == tracked_bytes);
	scene_tell(scene, '3');
	collect(watch, &round);
	T_OK(umem_watch_each(watch, add_range, &dirty));
	T_CHECK(has(&dirty, KEPT, 11) && !has(&dirty, KEPT, 12));
	umem_watch_free(watch);
}

int main(void)
{
	struct umem_watch_options options = { .size = sizeof(options) };
	struct umem_passing passing;
	const struct umem_round *round;
	struct umem_watch_left left;
	struct umem_target *target;
	struct umem_watch *watch;
	struct scene scene;
	struct umem_note note = { 0 };
	struct told *told;
	uint64_t tracked_bytes;
	pid_t child;
	int r;

	scene = scene_start(act);
	base = scene.at;
	/* Not before: the target must share no memory with us. */
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_CHECK(told != MAP_FAILED);
	r = umem_target_attach(scene.pid, NULL, &target, &note);
	if (r == -EPERM || r == -ENOTTY)
		T_SKIP("attaching: %s", note.text);
	T_OK(r);
	T_OK(umem_target_pass(target, false, &passing));
	umem_target_free(target);

	child = t_fork();
	if (child == 0)
		watcher(&passing, told);
	T_UNTIL(20, told->collects > 0);
	scene_tell(&scene, '1');
	r = told->collects;
	T_UNTIL(20, told->collects > r + 1);
	t_end(child);
	scene_tell(&scene, '2');

	left = (struct umem_watch_left){ told->round, told->v[0], told->n[0], told->v[1],
		told->n[1] };
	options.left = &left;
	target = target_of(&passing);
	T_OK(umem_watch_new(target, &options, &watch, NULL));
	collect(watch, &round);
	T_CHECK(round->round == left.round + 1);
	check_first(watch, round);
	tracked_bytes = round->tracked_bytes;
	check_next(watch, &scene);
	umem_watch_free(watch);
	check_again(target, tracked_bytes, &scene);
	umem_target_free(target);
	umem_passing_deinit(&passing);
	scene_end(&scene);
	return 0;
}
