/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A load of many clients on one umemd: what its parts share.
 *
 *     daemon-load.c   how many of which clients, for how long; what must be left
 *     load-daemon.c   umemd: started, looked at, its log judged, ended
 *     load-client.c   a connection: calls, and every reply checked
 *     load-target.c   processes that write memory (load-victim.c), and what is left in them
 *     load-track.c    clients that have targets of their own
 *     load-look.c     clients that share a few kept targets
 *     load-rude.c     clients that do not behave, or are slow
 *
 * A client is a thread with a connection, or a few in turn. Whatever is not as it has to be
 * ends the test. An error reply is only right where its caller allows it by name.
 */
#ifndef TESTS_TORTURE_LOAD_H
#define TESTS_TORTURE_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "lib/proto/frame.h"
#include "lib/proto/interfaces.h"
#include "lib/proto/message.h"
#include "tests/lib/harness.h"

/** LD_PAGE - bytes of a page. */
#define LD_PAGE 4096u

/** LD_SLOW_READER_S - SlowReader of the umemd under test. */
#define LD_SLOW_READER_S 4

/** LD_USER_CONNECTIONS - UserConnections of it. */
#define LD_USER_CONNECTIONS 230

/** LD_SHARED - targets that many clients share; the first half of them is tracked. */
#define LD_SHARED 6

/** LD_WAIT_MS - what takes longer has failed. */
#define LD_WAIT_MS 90000

/** LD_ATTACH - what an Attach may end with: too many at once; a machine too busy to stop one. */
#define LD_ATTACH "QuotaExceeded=UserRequests Failed=110"

/* --- umemd (load-daemon.c) --- */

/** ld_is_sanitized - is this a build with ASan or TSan? */
bool ld_is_sanitized(void);

/** ld_daemon_start - start one with a socket of its own. Return: its pid. */
pid_t ld_daemon_start(const char *umemd, const char *worker);

/**
 * ld_daemon_kib - its heap and stacks now, in KiB. What is private would tell less: in the
 * moment between fork(2) and execve(2) of a helper nothing is.
 */
uint64_t ld_daemon_kib(void);

/** ld_daemon_cpu_ms - processor time that it took so far. */
uint64_t ld_daemon_cpu_ms(void);

/** ld_daemon_fds, ld_daemon_children - descriptors and processes that it has now. */
unsigned ld_daemon_fds(void);
unsigned ld_daemon_children(void);

/** ld_daemon_stop - end it; it must end well, and its log must have nothing unexpected. */
void ld_daemon_stop(void);

/** ld_daemon_said - how many lines of its log have @words. */
uint64_t ld_daemon_said(const char *words);

/** ld_daemon_show - what of its log no client asked for, for who reads of a failure. */
void ld_daemon_show(void);

/** ld_daemon_scrape - a connection to its metrics that asked for them. */
int ld_daemon_scrape(void);

/* --- targets (load-target.c) --- */

/**
 * struct ld_target - a process that writes memory.
 * @pid, @in, @out: of it. @start, @n_pages: what it writes to.
 * @id: of the kept target that many share. @tracked: it is.
 * @begun, @over: cancellations of what is done with it, asked for and answered.
 */
struct ld_target {
	pid_t pid;
	int in;
	FILE *out;
	uint64_t start;
	uint64_t n_pages;
	char id[64];
	bool tracked;
	atomic_ulong begun;
	atomic_ulong over;
};

/** ld_target_start - start one; @busy: it writes by itself, too. From any thread. */
void ld_target_start(struct ld_target *target, const char *victim, bool busy);

/** ld_target_write - have it write pages now. */
void ld_target_write(struct ld_target *target, const unsigned *pages, unsigned n);

/** ld_target_check - all its pages hold what it wrote; it runs on. */
void ld_target_check(struct ld_target *target);

/** ld_target_left - what of umemd's is in it, or NULL. */
const char *ld_target_left(const struct ld_target *target);

/** ld_target_end - kill it. From any thread. */
void ld_target_end(struct ld_target *target);

/* --- clients (load-client.c) --- */

/** struct ld_latency - what calls of one method took. */
struct ld_latency {
	char method[48];
	uint64_t n;
	uint64_t total_ns;
	uint64_t max_ns;
};

#define LD_METHODS 24

struct ld_client;

/**
 * struct ld_role - a kind of client.
 * @name: of it. @n: how many of 200. @cycle: called again and again until the end.
 * @target: it has a target of its own.
 */
struct ld_role {
	const char *name;
	unsigned n;
	void (*cycle)(struct ld_client *c);
	bool target;
};

/**
 * struct ld_client - a client.
 * @role, @index: which one. @rand: its random numbers. @n_cycles: done.
 * @own: its target. @shared: those of all.
 * @uid: whose it is. @sock, @inbox: its connection; -1 without.
 * @method, @idl, @entry, @sent_ns: the call that is on its way.
 * @v, @n: latencies.
 */
struct ld_client {
	const struct ld_role *role;
	unsigned index;
	uint64_t rand;
	uint64_t n_cycles;
	struct ld_target own;
	struct ld_target *shared;
	uid_t uid;
	int sock;
	struct umem_inbox inbox;
	const char *method;
	const struct umem_idl *idl;
	const struct umem_idl_entry *entry;
	uint64_t sent_ns;
	struct ld_latency v[LD_METHODS];
	size_t n;
};

/** LD_CHECK - fail with the name of the client unless @cond holds. */
#define LD_CHECK(c, cond, ...)                                                            \
	do {                                                                              \
		if (!(cond))                                                              \
			ld_fail(__FILE__, __LINE__, c, #cond " " __VA_ARGS__);            \
	} while (0)

void ld_fail(const char *file, int line, const struct ld_client *c, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 4, 5)));

/** struct ld_answer - a reply, and the descriptors that came with it. */
struct ld_answer {
	struct umem_reply reply;
	struct umem_frame frame;
};

/** ld_answer_deinit - free and close. */
void ld_answer_deinit(struct ld_answer *answer);

/** LD_ANSWER - an answer that is freed when it leaves its scope. */
#define LD_ANSWER UMEM_CLEANUP(ld_answer_deinit) struct ld_answer

/** ld_setup - load the interfaces; once, before any client. @socket: of umemd. */
void ld_setup(const char *socket);

/** ld_ending - is it over? Then a cycle is the last one. */
bool ld_ending(void);

/** ld_end - it is. */
void ld_end(void);

/** ld_below - a random number from 0 to @n - 1. */
uint64_t ld_below(struct ld_client *c, uint64_t n);

/** ld_pause - wait up to @ms, at random. */
void ld_pause(struct ld_client *c, unsigned ms);

/** ld_connect_raw - a new connection. Return: its socket; -1: no room in the backlog. */
int ld_connect_raw(void);

/** ld_connect, ld_disconnect - the client's connection; either may be called again. */
void ld_connect(struct ld_client *c);
void ld_disconnect(struct ld_client *c);

/** ld_send_bytes - send bytes with descriptors. Return: false when umemd has hung up. */
bool ld_send_bytes(int sock, const void *bytes, size_t len, const int *fds, size_t n_fds);

/** ld_send - call @method; @parameters is consumed, @fds stay the caller's. */
void ld_send(struct ld_client *c, const char *method, struct umem_json *parameters, bool more,
	const int *fds, size_t n_fds);

/**
 * ld_reply - the next reply to it, checked against the interface.
 * @allowed: errors that are fine: their names, "Failed=NUMBER", "QuotaExceeded=QUOTA".
 * Return: false when it is one of these.
 */
bool ld_reply(struct ld_client *c, const char *allowed, struct ld_answer *ret_answer);

/** ld_call - both. */
bool ld_call(struct ld_client *c, const char *method, struct umem_json *parameters,
	const char *allowed, struct ld_answer *ret_answer);

/** ld_do - a call whose answer nobody wants, and which must not fail. */
void ld_do(struct ld_client *c, const char *method, struct umem_json *parameters);

/** ld_must_fail - a call that must end in the error @wanted, as ld_reply() has them. */
void ld_must_fail(struct ld_client *c, const char *method, struct umem_json *parameters,
	const int *fds, size_t n_fds, const char *wanted);

/** ld_hung_up - did umemd end the connection, within @ms? What it sent is left unread. */
bool ld_hung_up(int sock, int ms);

/** ld_drain - read to the end of the stream; what comes must be whole replies, but the last. */
void ld_drain(struct ld_client *c);

/** ld_for - parameters that name a target. */
struct umem_json *ld_for(const char *target);

/** ld_pid - parameters that name a process. */
struct umem_json *ld_pid(pid_t pid);

/** ld_attach - attach, again and again until it is done; @id gets the target's. */
void ld_attach(struct ld_client *c, const struct ld_target *target, bool keep, char id[64]);

/** ld_become - be another user, this thread alone. */
void ld_become(struct ld_client *c, uid_t uid);

/** ld_allowed - print how often each error came that was allowed. */
void ld_print_allowed(void);

/* --- what they do --- */

/**
 * struct ld_counts - what umemd must have said in its log.
 * @slow: clients that it has dropped because they did not read.
 * @no_call, @too_long, @too_many_fds: because of what they sent.
 * @refused: connections that were one too many.
 */
struct ld_counts {
	atomic_ulong slow;
	atomic_ulong no_call;
	atomic_ulong too_long;
	atomic_ulong too_many_fds;
	atomic_ulong refused;
};

extern struct ld_counts ld_counts;

/** ld_have_swap - is there swap now? Else moving may be refused. */
bool ld_have_swap(void);

/** ld_own_swap - it is ours, and stays unless somebody else takes it away. */
extern bool ld_own_swap;

/* load-track.c */
void ld_tracker(struct ld_client *c);
void ld_hander(struct ld_client *c);
void ld_reclaimer(struct ld_client *c);
void ld_mortal(struct ld_client *c);

/* load-look.c */
void ld_looker(struct ld_client *c);
void ld_monitor(struct ld_client *c);
void ld_mover(struct ld_client *c);
void ld_snapshotter(struct ld_client *c);
void ld_canceller(struct ld_client *c);
void ld_stranger(struct ld_client *c);
void ld_scraper(struct ld_client *c);

/* load-rude.c */
void ld_silent(struct ld_client *c);
void ld_dribbler(struct ld_client *c);
void ld_deaf(struct ld_client *c);
void ld_lazy(struct ld_client *c);
void ld_cutter(struct ld_client *c);
void ld_sender(struct ld_client *c);
void ld_liar(struct ld_client *c);
void ld_crowd(struct ld_client *c);

#endif
