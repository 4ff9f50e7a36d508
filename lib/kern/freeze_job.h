/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the caller and the tracer of a freeze share: private to freeze*.c.
 *
 * The tracer is a process that has the caller's memory and the thread-local
 * storage of a thread that waits for its end, so that it may use the C library
 * as that thread might; but it is killed when it gets stuck, so it allocates
 * nothing and takes no lock.
 */
#ifndef UMEM_KERN_FREEZE_JOB_H
#define UMEM_KERN_FREEZE_JOB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "lib/kern/freeze.h"

/** UMEM_FREEZE_MAX_THREADS - room for this many in one freeze (pid_max is 4 M). */
#define UMEM_FREEZE_MAX_THREADS (1u << 20)

/** UMEM_FREEZE_STACK_BYTES - of the tracer. */
#define UMEM_FREEZE_STACK_BYTES (128u << 10)

/** UMEM_FREEZE_ARENA_BYTES - room for the notes of some threads at a time. */
#define UMEM_FREEZE_ARENA_BYTES (256u << 10)

/** UMEM_FREEZE_BATCH - and for at most this many. */
#define UMEM_FREEZE_BATCH 64

/** UMEM_FREEZE_MAX_NOTES - notes of one thread, at most. */
#define UMEM_FREEZE_MAX_NOTES 8

/**
 * enum umem_freeze_state - of a thread.
 * @UMEM_FREEZE_NONE: known no longer: it ended, or another has its id.
 * @UMEM_FREEZE_SEIZED: traced by us, running.
 * @UMEM_FREEZE_ASKED: asked to stop.
 * @UMEM_FREEZE_STOPPED: stands.
 * @UMEM_FREEZE_ZOMBIE: a leader that ended before its threads did.
 * @UMEM_FREEZE_WORKER: a worker of the kernel.
 * @UMEM_FREEZE_EXCEPT: left out by the caller's wish.
 */
enum umem_freeze_state {
	UMEM_FREEZE_NONE,
	UMEM_FREEZE_SEIZED,
	UMEM_FREEZE_ASKED,
	UMEM_FREEZE_STOPPED,
	UMEM_FREEZE_ZOMBIE,
	UMEM_FREEZE_WORKER,
	UMEM_FREEZE_EXCEPT,
};

/**
 * struct umem_freeze_slot - a thread.
 * @tid: its id.
 * @process: index of its process.
 * @state: see above.
 * @deliver: signal that it is about to take, or 0.
 * @worker: which kind, in state UMEM_FREEZE_WORKER.
 */
struct umem_freeze_slot {
	int tid;
	uint32_t process;
	uint8_t state;
	uint8_t deliver;
	uint8_t worker;
};

/** enum umem_freeze_request - what the caller wants of the tracer. */
enum umem_freeze_request {
	UMEM_FREEZE_REQUEST_NONE,
	UMEM_FREEZE_REQUEST_NOTES,
	UMEM_FREEZE_REQUEST_MORE,
	UMEM_FREEZE_REQUEST_GO,
};

/** enum umem_freeze_answer - what the tracer says. */
enum umem_freeze_answer {
	UMEM_FREEZE_ANSWER_NONE,
	UMEM_FREEZE_ANSWER_DONE,
	UMEM_FREEZE_ANSWER_DEAD,
};

/**
 * struct umem_freeze_target - one of the processes.
 * @who: as the caller said.
 * @task_fd: its directory of threads.
 */
struct umem_freeze_target {
	struct umem_freeze_process who;
	int task_fd;
};

/**
 * struct umem_freeze - a freeze.
 * @targets, @n_targets: the processes.
 * @slots, @n_slots: their threads; the array never moves.
 * @table, @table_mask: index of a slot plus one by thread id, open addressing.
 * @names: room for a part of a directory.
 * @deadline_ns: CLOCK_MONOTONIC moment.
 * @failed: index of the process that a failure is about.
 * @note: for the tracer's failure.
 * @result: of the last request.
 * @first_ns, @stopped_ns, @gone_ns: first request to stop, all stood, last let go.
 * @request, @answer: words to wait on.
 * @seizing_ns: since when the tracer is in PTRACE_SEIZE, or 0.
 * @host: the thread that waits for the tracer's end.
 * @ended: the tracer has ended.
 * @tracer_fd: pidfd of the tracer, or -1.
 * @tracer_status: its wait status when it has ended.
 * @killed: we have killed it.
 * @owner_pid: the caller's process.
 * @stack: of the tracer.
 * @holds: threads are held.
 * @process, @at: of whom notes are wanted, from which slot on.
 * @arena, @arena_used: notes.
 * @threads, @n_threads, @notes: what lies there.
 */
struct umem_freeze {
	struct umem_freeze_target *targets;
	size_t n_targets;
	struct umem_freeze_slot *slots;
	size_t n_slots;
	uint32_t *table;
	uint32_t table_mask;
	char *names;
	uint64_t deadline_ns;
	size_t failed;
	struct umem_note note;
	int result;
	uint64_t first_ns;
	uint64_t stopped_ns;
	uint64_t gone_ns;
	_Atomic uint32_t request;
	_Atomic uint32_t answer;
	_Atomic uint64_t seizing_ns;
	pthread_t host;
	_Atomic bool ended;
	int tracer_fd;
	int tracer_status;
	bool killed;
	int owner_pid;
	char *stack;
	bool holds;
	size_t process;
	size_t at;
	unsigned char *arena;
	size_t arena_used;
	struct umem_frozen_thread threads[UMEM_FREEZE_BATCH];
	size_t n_threads;
	struct umem_frozen_note notes[UMEM_FREEZE_BATCH][UMEM_FREEZE_MAX_NOTES];
};

/** UMEM_FREEZE_NAMES_BYTES - size of umem_freeze.names. */
#define UMEM_FREEZE_NAMES_BYTES 65536

/**
 * umem_freeze_table_new - a table for @n_expected threads, and room for them,
 * touched. Return: 0, -ENOMEM.
 */
int umem_freeze_table_new(struct umem_freeze *f, size_t n_expected);

/** umem_freeze_table_free - give both back. */
void umem_freeze_table_free(struct umem_freeze *f);

/**
 * umem_freeze_seize_new - become the tracer of threads of a process that are not
 * known yet.
 * @ret_n_new: how many were added.
 *
 * Return: 0, UMEM_GONE, -errno with a note.
 */
int umem_freeze_seize_new(struct umem_freeze *f, size_t process, size_t *ret_n_new);

/**
 * umem_freeze_is_settled - are all threads of a process known? Holds only when
 * those that are known stand. Return: 1 yes, 0 list them again, -errno.
 */
int umem_freeze_is_settled(struct umem_freeze *f, size_t process);

/** umem_freeze_interrupt - ask all that are traced and run to stop. */
void umem_freeze_interrupt(struct umem_freeze *f);

/**
 * umem_freeze_collect - wait until all that were asked stand, or have ended.
 * Return: 0, UMEM_GONE, -ETIMEDOUT with a note.
 */
int umem_freeze_collect(struct umem_freeze *f);

/** umem_freeze_reap - take note of threads that were killed while they stood. */
void umem_freeze_reap(struct umem_freeze *f);

/** umem_freeze_release - let all that stand go. */
void umem_freeze_release(struct umem_freeze *f);

/** umem_freeze_read_notes - fill the arena from slot @at of process @process on. */
void umem_freeze_read_notes(struct umem_freeze *f);

/**
 * umem_freeze_touch - prepare the thread-local storage of the calling thread for a
 * tracer that borrows it.
 */
void umem_freeze_touch(struct umem_freeze *f);

/** umem_freeze_start - start a tracer. Return: 0, -errno. */
int umem_freeze_start(struct umem_freeze *f);

/** umem_freeze_end - wait for its end, by which the kernel has let everything go. */
void umem_freeze_end(struct umem_freeze *f);

/**
 * umem_freeze_await - wait for its answer.
 * @until_ns: CLOCK_MONOTONIC moment after which it is killed.
 * @stuck_ns: how long it may be about one PTRACE_SEIZE.
 *
 * Return: did it answer?
 */
bool umem_freeze_await(struct umem_freeze *f, uint64_t until_ns, uint64_t stuck_ns);

/** umem_freeze_ask - ask the one that holds the threads. Return: did it answer? */
bool umem_freeze_ask(struct umem_freeze *f, enum umem_freeze_request request);

/** umem_freeze_tracer - the tracer's whole life. Return: its exit status. */
int umem_freeze_tracer(struct umem_freeze *f);

#endif
