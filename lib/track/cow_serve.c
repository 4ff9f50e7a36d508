// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The thread that serves faults and events: its loop, and its work before the
 * moment.
 *
 * Theory of operation
 *
 * One message at a time, and each by the same three steps:
 *
 *     poll     something is there
 *     probe    is it (or is among it) an event? Then what is about to be discarded
 *              is copied first (cow_peek.c)
 *     read     faults come before events
 *
 * A read without a poll before it could return an event that came behind the
 * probe. With it, only a fault that vanishes (its thread was hit by a signal)
 * just when an event comes can be in the way of that; such a discard is noticed
 * (cow_copy.c), and what it cost is named.
 *
 * While a change of the mappings is under way the kernel lets nobody lift
 * protection. Faults that were read by then are held, and tried again.
 *
 * The owner's orders are read between messages. HOLD is acknowledged when
 * nothing is pending; from then on until the next order the owner may touch all
 * that is the thread's.
 */
#include "lib/track/cow_own.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/base/fd.h"

/* What a writer who goes through memory in order gets lifted at once, at most. */
#define MAX_AHEAD_PAGES 16

/* Events that are read one behind the other before the moment. */
#define MAX_EVENTS 64

/* How long the owner waits for the thread to come to rest. */
#define PATIENCE_NS 1000000000ull

/* How long the owner spins for it before it sleeps. */
#define SPIN_NS 30000

/* Between two tries while a change of the mappings is under way. */
#define RETRY_NS 20000

void umem_cow_wake(struct umem_cow *cow)
{
	uint64_t one = 1;
	ssize_t n = write(cow->server.wake_fd, &one, sizeof(one));

	(void)n; /* it can only be full, and then it wakes, too */
}

void umem_cow_awake(struct umem_cow *cow)
{
	uint64_t count;
	ssize_t n = read(cow->server.wake_fd, &count, sizeof(count));

	(void)n; /* another look is all that it asks for */
}

void umem_cow_fail(struct umem_cow *cow, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&cow->error, &none, error);
}

int umem_cow_order(struct umem_cow *cow, enum umem_cow_order order)
{
	uint64_t since_ns = umem_now_ns();

	atomic_store(&cow->order, order);
	umem_cow_wake(cow);
	while (atomic_load(&cow->ack) != (int)order) {
		int error = atomic_load(&cow->error);

		if (error < 0 && order != UMEM_COW_RELEASE && order != UMEM_COW_END)
			return error;
		if (umem_now_ns() - since_ns > PATIENCE_NS)
			return -EAGAIN;
		/* It may need this processor, and be less urgent than we are. */
		if (umem_now_ns() - since_ns < SPIN_NS)
			sched_yield();
		else
			nanosleep(&(struct timespec){ .tv_nsec = RETRY_NS }, NULL);
	}
	return 0;
}

int umem_cow_lift(struct umem_cow_process *process, uint64_t start, uint64_t end)
{
	int r = umem_uffd_protect(process->uffd, start, end, false);

	if (r == -EINVAL) {
		/* Huge pages of the reserved pool are lifted whole. */
		start = umem_align_down(start, UMEM_COW_BLOCK_BYTES);
		end = umem_align_up(end, UMEM_COW_BLOCK_BYTES);
		r = umem_uffd_protect(process->uffd, start, end, false);
	}
	if (r == -ESRCH) {
		atomic_store(&process->gone, true);
		return r;
	}
	if (r == -EAGAIN)
		return r;
	/* Unmapped, or never ours to protect: whoever waits may look again. */
	if (r < 0)
		umem_uffd_wake(process->uffd, start, end);
	return 0;
}

/* Is the page at @addr part of a transparent huge page? */
static bool is_huge(struct umem_cow *cow, struct umem_cow_process *process, uint64_t addr)
{
	struct umem_scan scan = {
		.at = addr,
		.end = addr + UMEM_PAGE_BYTES,
		.all = PAGE_IS_HUGE,
		.wanted = PAGE_IS_HUGE,
	};
	size_t n = 0;

	return umem_pagemap_scan(process->target->pagemap_fd, &scan, cow->server.vec, 1, &n) ==
		0 && n == 1;
}

/* What was no huge page when it was protected is none now: khugepaged leaves it alone. */
static bool may_be_huge(const struct umem_cow *cow, const struct umem_cow_process *process,
	uint64_t addr)
{
	if (!atomic_load_explicit(&process->huge, memory_order_relaxed))
		return false;
	/* The list is the owner's before the moment. */
	return atomic_load_explicit(&cow->order, memory_order_relaxed) != UMEM_COW_COPY ||
		umem_ranges_has(&process->target->huge, addr);
}

void umem_cow_extent(struct umem_cow *cow, struct umem_cow_process *process, uint64_t addr,
	struct umem_range *ret_range)
{
	struct umem_cow_server *s = &cow->server;
	uint64_t page = umem_align_down(addr, UMEM_PAGE_BYTES);

	if (may_be_huge(cow, process, page) && is_huge(cow, process, page)) {
		ret_range->start = umem_align_down(addr, UMEM_COW_BLOCK_BYTES);
		ret_range->end = ret_range->start + UMEM_COW_BLOCK_BYTES;
		return;
	}
	if (s->next_process == process && s->next_addr == page)
		s->ahead = umem_min_u64(s->ahead * 2, MAX_AHEAD_PAGES);
	else
		s->ahead = 1;
	ret_range->start = page;
	ret_range->end = page + s->ahead * UMEM_PAGE_BYTES;
	/* Not past a page table: what comes behind may be of another kind. */
	ret_range->end = umem_min_u64(ret_range->end,
		umem_align_down(page, UMEM_COW_BLOCK_BYTES) + UMEM_COW_BLOCK_BYTES);
	s->next_process = process;
	s->next_addr = ret_range->end;
}

static void note(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end, enum umem_cow_noted noted)
{
	struct umem_cow_note what = { start, end, process->index, noted };

	if (UMEM_FAULT_POINT("cow.note-lost") || umem_cow_notes_put(&cow->notes, &what) < 0)
		atomic_store(&cow->overflow, true);
}

/* A fault before the moment. The note comes behind the lifting. Return: 0, -EAGAIN. */
static int note_fault(struct umem_cow *cow, struct umem_cow_process *process, uint64_t addr)
{
	struct umem_range range;
	int r;

	umem_cow_extent(cow, process, addr, &range);
	r = umem_cow_lift(process, range.start, range.end);
	if (r == -EAGAIN)
		return r;
	note(cow, process, range.start, range.end, UMEM_COW_LIFTED);
	cow->server.stats.n_noted++;
	return 0;
}

static void note_event(struct umem_cow *cow, struct umem_cow_process *process,
	const struct uffd_msg *msg)
{
	switch (msg->event) {
	case UFFD_EVENT_REMOVE:
		note(cow, process, msg->arg.remove.start, msg->arg.remove.end,
			UMEM_COW_DISCARDED);
		break;
	case UFFD_EVENT_UNMAP:
		note(cow, process, msg->arg.remove.start, msg->arg.remove.end,
			UMEM_COW_REMAPPED);
		break;
	case UFFD_EVENT_REMAP:
		note(cow, process, msg->arg.remap.from, msg->arg.remap.from + msg->arg.remap.len,
			UMEM_COW_REMAPPED);
		note(cow, process, msg->arg.remap.to, msg->arg.remap.to + msg->arg.remap.len,
			UMEM_COW_REMAPPED);
		break;
	default:
		break;
	}
}

static void count_time(struct umem_cow_stats *stats, uint64_t ns)
{
	unsigned class = ns ? 64 - (unsigned)__builtin_clzll(ns) : 0;

	stats->times[class < UMEM_COW_N_TIMES ? class : UMEM_COW_N_TIMES - 1]++;
	stats->max_ns = umem_max_u64(stats->max_ns, ns);
}

/* Return: 0: served; -EAGAIN: not now. */
static int serve_fault(struct umem_cow *cow, struct umem_cow_process *process, uint64_t addr,
	uint64_t since_ns)
{
	int order = atomic_load_explicit(&cow->order, memory_order_acquire), r;
	uint64_t page = umem_align_down(addr, UMEM_PAGE_BYTES);

	if (order == UMEM_COW_COPY) {
		r = umem_cow_copy_fault(cow, process, page);
		if (r == 0) {
			cow->server.stats.n_faults++;
			count_time(&cow->server.stats, umem_now_ns() - since_ns);
		}
		return r;
	}
	if (order == UMEM_COW_RELEASE || order == UMEM_COW_END)
		return umem_cow_lift(process, page, page + UMEM_PAGE_BYTES) == -EAGAIN ?
			-EAGAIN : 0;
	return note_fault(cow, process, page);
}

static void hold(struct umem_cow *cow, struct umem_cow_process *process, uint64_t addr,
	uint64_t since_ns)
{
	struct umem_cow_server *s = &cow->server;

	if (s->n_held == UMEM_COW_MAX_HELD) {
		umem_uffd_wake(process->uffd, addr, addr + UMEM_PAGE_BYTES);
		return;
	}
	s->held[s->n_held++] = (struct umem_cow_held){ process, addr, since_ns };
}

/* Faults that waited for a change of the mappings. */
static void try_held(struct umem_cow *cow)
{
	struct umem_cow_server *s = &cow->server;
	size_t kept = 0;

	for (size_t i = 0; i < s->n_held; i++) {
		struct umem_cow_held h = s->held[i];

		if (serve_fault(cow, h.process, h.addr, h.since_ns) == -EAGAIN)
			s->held[kept++] = h;
	}
	s->n_held = kept;
}

static void serve_event(struct umem_cow *cow, struct umem_cow_process *process,
	const struct uffd_msg *msg)
{
	int order = atomic_load_explicit(&cow->order, memory_order_acquire);

	if (order == UMEM_COW_COPY)
		umem_cow_copy_event(cow, process, msg);
	else if (order == UMEM_COW_NOTE || order == UMEM_COW_HOLD)
		note_event(cow, process, msg);
}

/* For tests: a wide window around the reading of an event. */
static void dawdle(const struct umem_cow *cow)
{
	if (cow->slow_us)
		nanosleep(&(struct timespec){ .tv_nsec = (long)cow->slow_us * 1000 }, NULL);
}

/* Read and serve a message. Return: what it was, or -1: there is none. */
static int serve_message(struct umem_cow *cow, struct umem_cow_process *process,
	uint64_t since_ns)
{
	struct uffd_msg msg;
	int r = umem_uffd_read(process->uffd, &msg);

	if (r < 0 && r != -EAGAIN)
		umem_cow_fail(cow, r);
	if (r < 0)
		return -1;
	if (msg.event != UFFD_EVENT_PAGEFAULT) {
		dawdle(cow);
		serve_event(cow, process, &msg);
		return msg.event;
	}
	if (cow->options.place == UMEM_COW_PLACE_AUTO)
		umem_cow_place_fault(&cow->server.place, process->target->pid,
			(int)msg.arg.pagefault.feat.ptid, since_ns);
	if (serve_fault(cow, process, msg.arg.pagefault.address, since_ns) == -EAGAIN)
		hold(cow, process, umem_align_down(msg.arg.pagefault.address, UMEM_PAGE_BYTES),
			since_ns);
	return msg.event;
}

/* Messages of @process, of which poll(2) said that they are there: one, or all events. */
static void serve_some(struct umem_cow *cow, struct umem_cow_process *process)
{
	bool copying = atomic_load_explicit(&cow->order, memory_order_acquire) == UMEM_COW_COPY;
	uint64_t since_ns = umem_now_ns();
	size_t n_events = 1;

	if (umem_uffd_changing(process->uffd) != 1) {
		serve_message(cow, process, since_ns);
		return;
	}
	dawdle(cow);
	/* Before the moment nothing is lost by a discard. */
	if (copying && !cow->no_peek)
		n_events = umem_max_u64(umem_cow_peek(cow, process), 1);
	else if (!copying)
		n_events = MAX_EVENTS;
	while (n_events > 0) {
		int what = serve_message(cow, process, since_ns);

		if (what < 0)
			break;
		n_events -= what != UFFD_EVENT_PAGEFAULT;
	}
}

/* Wait for messages. Return: how many descriptors have some; @ms as poll(2). */
static int await(struct umem_cow *cow, int ms)
{
	struct umem_cow_server *s = &cow->server;
	/* At rest: whoever faults waits for the next order. */
	bool rests = atomic_load_explicit(&cow->ack, memory_order_relaxed) == UMEM_COW_HOLD;
	int n = rests ? poll(&s->polls[cow->n], 1, ms) : poll(s->polls, cow->n + 1, ms);

	if (n > 0 && s->polls[cow->n].revents) {
		umem_cow_awake(cow);
		n--;
	}
	return rests ? 0 : n;
}

/* Acknowledge an order, when it may be. */
static void obey(struct umem_cow *cow, bool busy)
{
	int order = atomic_load_explicit(&cow->order, memory_order_acquire);

	if (atomic_load_explicit(&cow->ack, memory_order_relaxed) == order)
		return;
	if (order == UMEM_COW_HOLD) {
		if (busy || cow->server.n_held)
			return;
		for (size_t i = 0; i < cow->n; i++)
			if (umem_uffd_changing(cow->v[i].uffd) == 1)
				return;
	}
	atomic_store_explicit(&cow->ack, order, memory_order_release);
}

/* How long to wait for messages: not at all when there is something else to do. */
static int patience_ms(const struct umem_cow *cow)
{
	bool ordered = atomic_load_explicit(&cow->ack, memory_order_relaxed) !=
		atomic_load_explicit(&cow->order, memory_order_acquire);

	return ordered || cow->server.n_held || cow->options.place == UMEM_COW_PLACE_SPIN ?
		0 : umem_cow_idle_ms(cow);
}

/* One step: what is there, or else something of what nobody waits for. */
static void step(struct umem_cow *cow)
{
	struct umem_cow_server *s = &cow->server;
	int n = await(cow, patience_ms(cow));

	atomic_fetch_add(&cow->section, 1);
	for (size_t i = 0; i < cow->n && n > 0; i++)
		if (s->polls[i].revents)
			serve_some(cow, &cow->v[i]);
	if (s->n_held)
		try_held(cow);
	if (n == 0 && s->n_held == 0)
		umem_cow_idle(cow);
	atomic_fetch_add(&cow->section, 1);
	if (n == 0 && s->n_held)
		nanosleep(&(struct timespec){ .tv_nsec = RETRY_NS }, NULL);
	obey(cow, n > 0);
}

static void *serve(void *user)
{
	struct umem_cow *cow = user;

	umem_cow_place_init(&cow->server.place);
	while (atomic_load_explicit(&cow->order, memory_order_acquire) != UMEM_COW_END)
		step(cow);
	atomic_store(&cow->ack, UMEM_COW_END);
	return NULL;
}

int umem_cow_serve_start(struct umem_cow *cow)
{
	struct umem_cow_server *s = &cow->server;
	sigset_t all, before;
	int r;

	s->ahead = 1;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0)
		return -errno;
	s->polls = calloc(cow->n + 1, sizeof(*s->polls));
	if (!s->polls)
		return -ENOMEM;
	for (size_t i = 0; i < cow->n; i++)
		s->polls[i] = (struct pollfd){ .fd = cow->v[i].uffd, .events = POLLIN };
	s->polls[cow->n] = (struct pollfd){ .fd = s->wake_fd, .events = POLLIN };
	/* The signals of the process are for the threads that know of them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = (int)UMEM_FAULT_POINT("cow.no-thread");
	if (r == 0)
		r = pthread_create(&s->thread, NULL, serve, cow);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	s->started = r == 0;
	return -r;
}

void umem_cow_serve_end(struct umem_cow *cow)
{
	struct umem_cow_server *s = &cow->server;

	if (s->started) {
		atomic_store(&cow->order, UMEM_COW_END);
		umem_cow_wake(cow);
		pthread_join(s->thread, NULL);
		s->started = false;
	}
	s->wake_fd = umem_fd_close(s->wake_fd);
	free(s->polls);
	s->polls = NULL;
	umem_ranges_deinit(&s->holes);
	umem_maps_deinit(&s->maps);
}
