// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Advice to the kernel about memory of another process.
 *
 * Theory of operation
 *
 * The kernel holds the lock of the target's address space for reading while a call
 * lasts. The target's page faults go on, but its mmap(2) and munmap(2) wait, and a
 * row of calls one right behind the other keeps them waiting for longer than one
 * call: a reader that comes again gets the lock before a writer that sleeps (Linux
 * 6.18: up to 20 ms with calls of 0.5 ms). So calls are kept short, by the time they
 * take, and after each there is a pause in which the writer gets its turn: the
 * longest wait is then that of one call. With pages going out to zram a call comes
 * to some 100 to 200 pages.
 *
 * A call stops at the first run it cannot do, and tells how far it came:
 *
 *     bytes < asked     the rest is asked again, then its first run tells why
 *     ENOMEM            a part of the run is not mapped; what is, was done
 *     EINVAL            a mapping in the run does not take the advice; what lies
 *                       behind it in the run was not done
 *
 * Runs are made of what was one mapping when it was looked at, but a mapping may have
 * been split since (mlock(2) of a part): after an EINVAL the mappings are read
 * again, and the run is done mapping by mapping.
 */
#include "lib/op/advise.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/kern/pidfd.h"

#define BATCH_MIN_BYTES	  (64ull << 10)
#define BATCH_FIRST_BYTES (256ull << 10)

/* How long a call should take, and how long others get the lock then. */
#define CALL_NS	 500000u
#define PAUSE_NS 20000

/* Calls that a signal ends before they did anything. */
#define MAX_INTERRUPTED 64

/** struct place - where in the runs advising is. */
struct place {
	const struct umem_range *run;
	const struct umem_range *end;
	uint64_t at;
};

void umem_advisor_init(struct umem_advisor *advisor, const struct umem_target *target,
	int advice)
{
	*advisor = (struct umem_advisor){
		.target = target,
		.advice = advice,
		.batch_bytes = BATCH_FIRST_BYTES,
	};
}

void umem_advisor_deinit(struct umem_advisor *advisor)
{
	umem_ranges_deinit(&advisor->deaf);
	umem_maps_deinit(&advisor->maps);
}

static void go_on(struct place *place, uint64_t n_bytes)
{
	while (place->run < place->end && n_bytes > 0) {
		uint64_t step = umem_min_u64(n_bytes, place->run->end - place->at);

		place->at += step;
		n_bytes -= step;
		if (place->at == place->run->end && ++place->run < place->end)
			place->at = place->run->start;
	}
}

/* One system call. Return: as process_madvise(2); how much was done, maybe nothing. */
static int call(struct umem_advisor *advisor, const struct iovec *iov, size_t n,
	uint64_t *ret_bytes)
{
	uint64_t start_ns = umem_now_ns(), took_ns;
	int r, tries = 0;

	do
		r = umem_pidfd_madvise(advisor->target->pidfd, iov, n, advisor->advice, ret_bytes);
	while ((r == -EINTR || r == -EAGAIN) && ++tries < MAX_INTERRUPTED);
	took_ns = umem_now_ns() - start_ns;
	if (took_ns > CALL_NS * 3 / 2)
		advisor->batch_bytes = umem_max_u64(advisor->batch_bytes / 2, BATCH_MIN_BYTES);
	else if (took_ns < CALL_NS / 2 && n > 0)
		advisor->batch_bytes =
			umem_min_u64(advisor->batch_bytes + (16u << 10), UMEM_ADVISE_MAX_BYTES);
	if (took_ns > CALL_NS / 8 && !advisor->hasty)
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	return r;
}

/* The mapping at @addr, or the next one; NULL behind the last. */
static const struct umem_vma *mapping(const struct umem_maps *maps, uint64_t addr)
{
	for (size_t i = 0; i < maps->n; i++)
		if (maps->v[i].end > addr)
			return &maps->v[i];
	return NULL;
}

/* The run at @place has a mapping that is deaf: do what is before it, and go on behind. */
static int do_by_mapping(struct umem_advisor *advisor, struct place *place)
{
	const struct umem_target *target = advisor->target;
	bool query = umem_feats_has(&target->feats, UMEM_FEAT_PROCMAP_QUERY);
	uint64_t end = place->run->end;
	int r = umem_maps_read(target->maps_fd, query ? UMEM_MAPS_AUTO : UMEM_MAPS_TEXT,
		&advisor->maps);

	if (r < 0)
		return r;
	while (place->run < place->end && place->at < end && place->run->end == end) {
		const struct umem_vma *vma = mapping(&advisor->maps, place->at);
		struct iovec iov;
		uint64_t bytes;

		if (!vma || vma->start >= end) {
			go_on(place, end - place->at);
			return 0;
		}
		if (vma->start > place->at)
			go_on(place, vma->start - place->at);
		iov = (struct iovec){ (void *)(uintptr_t)place->at,
			umem_min_u64(end, vma->end) - place->at };
		r = call(advisor, &iov, 1, &bytes);
		if (r == -EINVAL)
			r = umem_ranges_add(&advisor->deaf, vma->start, vma->end);
		if (r < 0 && r != -ENOMEM)
			return r;
		go_on(place, iov.iov_len);
	}
	return 0;
}

int umem_advise(struct umem_advisor *advisor, const struct umem_range *runs, size_t n_runs)
{
	struct place place = { .run = runs, .end = runs + n_runs };

	place.at = n_runs ? runs->start : 0;
	while (place.run < place.end) {
		struct iovec iov[IOV_MAX];
		uint64_t bytes = 0;
		size_t n = 0;
		int r;

		for (const struct umem_range *run = place.run; run < place.end && n < IOV_MAX;
			run++, n++) {
			uint64_t start = n == 0 ? place.at : run->start;

			iov[n] = (struct iovec){ (void *)(uintptr_t)start, run->end - start };
		}
		r = call(advisor, iov, n, &bytes);
		if (r == -EINVAL)
			r = do_by_mapping(advisor, &place);
		else if (r == 0 && bytes > 0)
			go_on(&place, bytes);
		else if (r == 0 || r == -ENOMEM || r == -EINTR || r == -EAGAIN || r == -EIO) {
			/* Nothing of it is left to do, or it does not work. */
			r = 0;
			go_on(&place, place.run->end - place.at);
		}
		if (r == -ESRCH)
			return UMEM_GONE;
		if (r < 0)
			return r == -EACCES ? -EPERM : r;
	}
	return 0;
}
