/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libumemd: talking to the daemon umemd(8).
 *
 * A client is one connection. Every call here waits for its answer, but for
 * umem_client_monitor(): that has a function called for each round, from
 * umem_client_dispatch(), which a program calls when the descriptor of
 * umem_client_fd() is ready. While rounds are monitored no other call is possible
 * on that connection; open another one.
 *
 * A client belongs to one thread at a time; different ones are independent. Targets
 * that were brought in on a connection are let go when it ends, unless kept.
 */
#ifndef UMEMD_CLIENT_H
#define UMEMD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/op.h>
#include <umemd/residency.h>
#include <umemd/track.h>
#include <umemd/types.h>

/** UMEM_CLIENT_API - marks a function that libumemd exports. */
#define UMEM_CLIENT_API __attribute__((visibility("default")))

/** UMEM_CLIENT_TARGET - room for the name of a target. */
#define UMEM_CLIENT_TARGET 32

/** UMEM_CLIENT_UNKNOWN - a number that the daemon does not tell. */
#define UMEM_CLIENT_UNKNOWN UINT64_MAX

struct umem_client;
struct umem_client_round;

/**
 * umem_client_connect - connect to a daemon.
 * @path: of its socket; NULL for the usual one.
 * @ret_client: freed with umem_client_free().
 *
 * Return: 0; -ENOENT, -ECONNREFUSED: there is none; -EACCES; -ENAMETOOLONG; -ENOMEM.
 */
UMEM_CLIENT_API int umem_client_connect(const char *path, struct umem_client **ret_client,
	struct umem_note *note);

/** umem_client_free - end the connection; NULL is fine. Return: NULL. */
UMEM_CLIENT_API struct umem_client *umem_client_free(struct umem_client *client);

/**
 * umem_client_set_timeout - how long a call may take; 0 for as long as it does, which
 * is so at first. Behind a call that took too long (-ETIMEDOUT) the connection is over. It
 * does not hold for umem_client_snapshot(), which asks whether to go on.
 */
UMEM_CLIENT_API void umem_client_set_timeout(struct umem_client *client, uint64_t timeout_ns);

/*
 * Return of all calls below, besides what they say: UMEM_GONE: the target ended or
 * executed another program; -EPERM: not permitted; -EINVAL: a parameter; -EDQUOT: a
 * quota of the daemon; -ENOENT: no such target; -EBUSY: the connection monitors;
 * -EPIPE, -ETIMEDOUT, -EPROTO: the connection is over; and what the daemon's engine
 * says, as umemd/track.h has it. @note says what, on which target, why.
 */

/**
 * struct umem_client_bring_options - how a target is brought in.
 * @size: sizeof(struct umem_client_bring_options), for later growth.
 * @keep: it outlives this connection, until somebody detaches it or it ends.
 */
struct umem_client_bring_options {
	size_t size;
	bool keep;
};

/**
 * umem_client_attach - bring in a process that knows nothing of it.
 * @options: NULL for defaults.
 * @ret_target: its name in further calls.
 */
UMEM_CLIENT_API int umem_client_attach(struct umem_client *client, int pid,
	const struct umem_client_bring_options *options, char ret_target[UMEM_CLIENT_TARGET],
	struct umem_note *note);

/**
 * umem_client_open - bring in a process only to see where its memory is, move or save it: it
 * is not stopped, nothing is put into it, and it cannot be tracked.
 * @options, @ret_target: as of umem_client_attach().
 */
UMEM_CLIENT_API int umem_client_open(struct umem_client *client, int pid,
	const struct umem_client_bring_options *options, char ret_target[UMEM_CLIENT_TARGET],
	struct umem_note *note);

/**
 * umem_client_hand_off - bring in this process's own memory.
 * @uffd: non-blocking userfaultfd after its UFFDIO_API hand-shake with
 *	UFFD_FEATURE_WP_ASYNC; stays the caller's, who must keep it open.
 * @ranges, @n_ranges: what to manage; whole pages.
 */
UMEM_CLIENT_API int umem_client_hand_off(struct umem_client *client, int uffd,
	const struct umem_range *ranges, size_t n_ranges,
	const struct umem_client_bring_options *options, char ret_target[UMEM_CLIENT_TARGET],
	struct umem_note *note);

/** umem_client_detach - let a target go. Nothing is left in it when this returns 0. */
UMEM_CLIENT_API int umem_client_detach(struct umem_client *client, const char *target,
	struct umem_note *note);

/**
 * struct umem_client_target - what the daemon knows of a target; texts live as long as the call.
 * @target: its name. @pid, @name: the process.
 * @uid: whose target it is.
 * @handed: it was handed off; else attached, or @opened.
 * @state: "starting", "ready", "tracking", "recovering", "detaching", "failed" or "ended".
 * @kept: it outlives the connection that brought it in.
 * @restarts: workers that died.
 * @stop_ns: how long attaching stopped it. @age_ns: since it came in.
 * @opened: it was brought in by umem_client_open().
 * @reclaim: the policy of reclaim that is set; NULL for none.
 * @rounds: of dirty tracking. @recovered: of these, behind the death of a worker.
 *
 * What follows is UMEM_CLIENT_UNKNOWN where it is not known, or there is none:
 * @tracked_bytes: while it is tracked.
 * @dirty_bytes, @interval_ns, @scan_ns: of the last round. @idle_ns: since that one.
 * @resident_bytes: of the process, with the shared memory that it maps.
 * @swapped_bytes: of its private memory.
 */
struct umem_client_target {
	const char *target;
	int pid;
	const char *name;
	uint32_t uid;
	bool handed;
	const char *state;
	bool kept;
	uint64_t restarts;
	uint64_t stop_ns;
	uint64_t age_ns;
	bool opened;
	const char *reclaim;
	uint64_t rounds;
	uint64_t recovered;
	uint64_t tracked_bytes;
	uint64_t dirty_bytes;
	uint64_t interval_ns;
	uint64_t scan_ns;
	uint64_t idle_ns;
	uint64_t resident_bytes;
	uint64_t swapped_bytes;
};

/**
 * umem_client_each_target - all targets that may be seen.
 * @each: what it returns other than 0 ends the walk. Return: 0, or that.
 */
UMEM_CLIENT_API int umem_client_each_target(struct umem_client *client,
	int (*each)(void *user, const struct umem_client_target *target), void *user,
	struct umem_note *note);

/** struct umem_client_refusal - a process that a rule leaves alone, and why. */
struct umem_client_refusal {
	int pid;
	const char *reason;
};

/**
 * struct umem_client_rule - a rule of the daemon's configuration.
 * @rule: its name. @policy: that it sets.
 * @matched: processes that it is about. @applied: that have its policy. @refused: that cannot
 *	be had; @refusals, @n_refusals: why, of the first of them.
 */
struct umem_client_rule {
	const char *rule;
	const char *policy;
	uint64_t matched;
	uint64_t applied;
	uint64_t refused;
	const struct umem_client_refusal *refusals;
	size_t n_refusals;
};

/**
 * umem_client_each_rule - all rules; there is none for who is no administrator.
 * @each: what it returns other than 0 ends the walk. Return: 0, or that; -EOPNOTSUPP: the
 * daemon is older.
 */
UMEM_CLIENT_API int umem_client_each_rule(struct umem_client *client,
	int (*each)(void *user, const struct umem_client_rule *rule), void *user,
	struct umem_note *note);

/**
 * umem_client_start - begin dirty tracking.
 * @options: as of umem_watch_new(), without @left; NULL for defaults.
 * @ret_armed: valid until the next call on @client.
 */
UMEM_CLIENT_API int umem_client_start(struct umem_client *client, const char *target,
	const struct umem_watch_options *options, const struct umem_armed **ret_armed,
	struct umem_note *note);

/**
 * enum umem_client_form - what a round is to hold.
 * @UMEM_CLIENT_NUMBERS: its numbers only.
 * @UMEM_CLIENT_RANGES: changed ranges with their reasons, and what is gone.
 * @UMEM_CLIENT_BITMAP: changed pages as bits, and what is gone; for many of them.
 */
enum umem_client_form {
	UMEM_CLIENT_NUMBERS,
	UMEM_CLIENT_RANGES,
	UMEM_CLIENT_BITMAP,
};

/**
 * umem_client_collect - make a round.
 * @after: the last round that arrived, so that nothing is lost with a reply; UINT64_MAX
 *	when it does not matter.
 * @ret_round: freed with umem_client_round_free().
 */
UMEM_CLIENT_API int umem_client_collect(struct umem_client *client, const char *target,
	enum umem_client_form form, uint64_t after, struct umem_client_round **ret_round,
	struct umem_note *note);

/** umem_client_stop - stop dirty tracking; the target stays. */
UMEM_CLIENT_API int umem_client_stop(struct umem_client *client, const char *target,
	struct umem_note *note);

/** umem_client_round_free - NULL is fine. Return: NULL. */
UMEM_CLIENT_API struct umem_client_round *umem_client_round_free(
	struct umem_client_round *round);

/** umem_client_round_numbers - its numbers; they live as long as it does. */
UMEM_CLIENT_API const struct umem_round *umem_client_round_numbers(
	const struct umem_client_round *round);

/** umem_client_round_recovered - a worker died before it: it may hold more than changed. */
UMEM_CLIENT_API bool umem_client_round_recovered(const struct umem_client_round *round);

/**
 * umem_client_round_each - the changed ranges, ascending, each page once.
 * Of a bitmap the reasons are not known: all are UMEM_WHY_WRITTEN.
 * Return: 0, or what @each returned other than that, which ends the walk.
 */
UMEM_CLIENT_API int umem_client_round_each(const struct umem_client_round *round,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_why why), void *user);

/** umem_client_round_gone - ranges that are mapped no longer, @ret_n of them. */
UMEM_CLIENT_API const struct umem_range *umem_client_round_gone(
	const struct umem_client_round *round, size_t *ret_n);

/**
 * umem_client_monitor - have rounds made every @interval_ns, until the connection ends.
 * @rounds: so many; 0 for no end.
 * @on_round: called from umem_client_dispatch(); owns @round. Behind the last one it is
 *	called once more, with NULL and what it ended with: 0, or as of all calls, with @note.
 */
UMEM_CLIENT_API int umem_client_monitor(struct umem_client *client, const char *target,
	uint64_t interval_ns, uint64_t rounds, enum umem_client_form form,
	void (*on_round)(void *user, struct umem_client_round *round, int result,
		const struct umem_note *note),
	void *user, struct umem_note *note);

/**
 * struct umem_client_map_options - what a map is to hold.
 * @size: sizeof(struct umem_client_map_options), for later growth.
 * @regions, @n_regions: only these addresses, widened to whole huge pages; 0 of them
 *	means all.
 * @method: as in struct umem_residency_options.
 * @ranges: the runs of pages, too, for umem_client_map_each().
 * @sharers: who else maps the shared memory, for umem_client_map_sharers().
 */
struct umem_client_map_options {
	size_t size;
	const struct umem_range *regions;
	size_t n_regions;
	const char *method;
	bool ranges;
	bool sharers;
};

struct umem_client_map;

/**
 * umem_client_map - where the pages of a target are now: as umem_residency_new().
 * @options: NULL for defaults.
 * @ret_map: freed with umem_client_map_free().
 *
 * A process with more mappings than a reply takes is told in parts, each of its moment.
 */
UMEM_CLIENT_API int umem_client_map(struct umem_client *client, const char *target,
	const struct umem_client_map_options *options, struct umem_client_map **ret_map,
	struct umem_note *note);

/** umem_client_map_free - NULL is fine. Return: NULL. */
UMEM_CLIENT_API struct umem_client_map *umem_client_map_free(struct umem_client_map *map);

/** umem_client_map_regions - the mappings, ascending; they live as long as the map. */
UMEM_CLIENT_API const struct umem_residency_region *umem_client_map_regions(
	const struct umem_client_map *map, size_t *ret_n);

/** umem_client_map_each - runs of pages, as umem_residency_each(). */
UMEM_CLIENT_API int umem_client_map_each(const struct umem_client_map *map, uint64_t start,
	uint64_t end,
	int (*each)(void *user, uint64_t start, uint64_t end, enum umem_state state),
	void *user);

/**
 * struct umem_client_sharer - a process that maps some of the target's shared memory.
 * @pid, @name: the process.
 * @mapped, @n_mapped: addresses of the target, ascending.
 */
struct umem_client_sharer {
	int pid;
	const char *name;
	const struct umem_range *mapped;
	size_t n_mapped;
};

/**
 * umem_client_map_sharers - the sharers, by process id; they live as long as the map.
 * @ret_hidden: how many more processes may not be looked at.
 */
UMEM_CLIENT_API const struct umem_client_sharer *umem_client_map_sharers(
	const struct umem_client_map *map, size_t *ret_n, uint64_t *ret_hidden);

/**
 * struct umem_client_move_options - what is moved, and how.
 * @size: sizeof(struct umem_client_move_options), for later growth.
 * @regions, @n_regions: only these addresses; 0 of them means all.
 * @max_bytes: at most so much; 0 means no limit.
 * @free_cached: as in struct umem_pageout_options; of paging out only.
 * @unwritten_ns: leave what is written within that time; 0 to put out all. Of paging out,
 *	and of a target that was attached and is not tracked.
 * @progress: told now and then how far it is, and asked whether to end: true ends it, with
 *	what was done by then. May be NULL.
 * @user: for @progress.
 */
struct umem_client_move_options {
	size_t size;
	const struct umem_range *regions;
	size_t n_regions;
	uint64_t max_bytes;
	bool free_cached;
	uint64_t unwritten_ns;
	bool (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
	void *user;
};

/**
 * struct umem_client_moved - what became of it.
 * @numbers: as of umem_pageout() and umem_pagein().
 * @written_bytes: left alone because of @unwritten_ns.
 * @unseen, @n_unseen: why not all writes could be seen.
 * @elapsed_ns: how long it took, without watching for writes.
 * @interrupted: it was ended before it was done.
 * @recovered: a worker died meanwhile; what it moved counts as if it had been before.
 */
struct umem_client_moved {
	struct umem_pageout numbers;
	uint64_t written_bytes;
	const char *const *unseen;
	size_t n_unseen;
	uint64_t elapsed_ns;
	bool interrupted;
	bool recovered;
};

/**
 * umem_client_pageout, umem_client_pagein - put memory of a target out, or bring it back.
 * @options: NULL for all of it.
 * @ret_moved: with its texts valid until the next call on @client.
 */
UMEM_CLIENT_API int umem_client_pageout(struct umem_client *client, const char *target,
	const struct umem_client_move_options *options,
	const struct umem_client_moved **ret_moved, struct umem_note *note);
UMEM_CLIENT_API int umem_client_pagein(struct umem_client *client, const char *target,
	const struct umem_client_move_options *options,
	const struct umem_client_moved **ret_moved, struct umem_note *note);

/**
 * struct umem_client_policy - a policy of reclaim; numbers that are 0 are as umemctl reclaim
 * has them unless it says otherwise.
 * @size: sizeof(struct umem_client_policy), for later growth.
 * @policy: "probe", "age" or "pressure"; NULL is the first.
 * @interval_ns: between two decisions.
 * @refault_max_ppm_min: refault objective, of what is out, a minute; UINT64_MAX: none.
 * @pressure_max_ppm: highest share of time that tasks may wait for memory, also by the
 *	machine's figure.
 * @rate_bytes_s, @floor_bytes: limits; 0: none.
 * @swap_left_bytes: leave so much; UINT64_MAX: as usual, 0: nothing.
 * @cpu_max_ppm: of one processor.
 * @age_ns: of the policy age.
 * @dry_run: decide, and do nothing.
 * @seed: of the choice of samples.
 */
struct umem_client_policy {
	size_t size;
	const char *policy;
	uint64_t interval_ns;
	uint64_t refault_max_ppm_min;
	uint64_t pressure_max_ppm;
	uint64_t rate_bytes_s;
	uint64_t floor_bytes;
	uint64_t swap_left_bytes;
	uint64_t cpu_max_ppm;
	uint64_t age_ns;
	bool dry_run;
	uint64_t seed;
};

/**
 * umem_client_reclaim_set - have @policy put out what is not in use, in place of what was
 * set before; NULL ends that. It goes on as long as the target is there.
 */
UMEM_CLIENT_API int umem_client_reclaim_set(struct umem_client *client, const char *target,
	const struct umem_client_policy *policy, struct umem_note *note);

/**
 * struct umem_client_reclaim_seen - the target after an interval, and what is decided about
 * the next; members as umemctl reclaim --json has them.
 * @pressure_known: @pressure_ppm is.
 * @decision: "grow", "hold", "back_off" or "stop".
 */
struct umem_client_reclaim_seen {
	uint64_t resident_bytes;
	uint64_t swapped_bytes;
	uint64_t out_bytes;
	uint64_t trial_bytes;
	uint64_t reclaimed_bytes;
	uint64_t refused_bytes;
	uint64_t refaulted_bytes;
	uint64_t refault_ppm_min;
	uint64_t refault_out_ppm_min;
	bool pressure_known;
	uint64_t pressure_ppm;
	uint64_t cold_bytes;
	uint64_t want_bytes;
	uint64_t sample_bytes;
	uint64_t try_bytes;
	uint64_t in_use_max_ppm;
	uint64_t confidence_ppm;
	const char *decision;
	const char *reason;
};

/**
 * struct umem_client_interval - an interval.
 * @swap_free_bytes: UINT64_MAX: not known.
 * @sum, @target: with and without what the machine allows; @has_target: the latter is there.
 * @events, @n_events: what became of the target.
 */
struct umem_client_interval {
	uint64_t interval;
	uint64_t at_ns;
	uint64_t interval_ns;
	uint64_t cpu_ppm;
	uint64_t swap_free_bytes;
	uint64_t stored_ppm;
	struct umem_client_reclaim_seen sum;
	bool has_target;
	struct umem_client_reclaim_seen target;
	const char *const *events;
	size_t n_events;
};

/**
 * umem_client_reclaim_each - hear of each interval, the last one first.
 * @each: gets it while it is called, and NULL now and then when there is none; what it
 *	returns other than 0 ends this, and the connection.
 * Return: 0 when the policy ended, what @each returned, or as of all calls; -ENOENT without
 * a policy.
 */
UMEM_CLIENT_API int umem_client_reclaim_each(struct umem_client *client, const char *target,
	int (*each)(void *user, const struct umem_client_interval *interval), void *user,
	struct umem_note *note);

/**
 * struct umem_client_snapshot_options - what snapshot to take, and where to.
 * @size: sizeof(struct umem_client_snapshot_options), for later growth.
 * @output_fd: an empty regular file, open for reading and writing, best one without a name
 *	(O_TMPFILE), maybe past the page cache (O_DIRECT). It gets its name by the caller,
 *	behind success: then all of it is on the disk, and before there is nothing that
 *	could be left.
 * @name: what messages are to call it; NULL for nothing.
 * @method: how.
 * @parents, @n_parents: descriptors of an image and all its ancestors, nearest first, open
 *	for reading: only what differs is stored; at most 13.
 * @parent_name: where the first of them is, relative to the folder of the file.
 * @codec: of the image.
 * @regions, @n_regions: only these addresses; 0 of them means all.
 * @tree: with all its descendants, and all who map its shared memory.
 * @progress: called with what the daemon tells, and at least ten times a second; true ends
 *	it: the connection is closed, which cancels the snapshot. May be NULL.
 * @user: for @progress.
 */
struct umem_client_snapshot_options {
	size_t size;
	int output_fd;
	const char *name;
	enum umem_snapshot_method method;
	const int *parents;
	size_t n_parents;
	const char *parent_name;
	enum umem_image_codec codec;
	const struct umem_range *regions;
	size_t n_regions;
	bool tree;
	bool (*progress)(void *user, const struct umem_snapshot_progress *progress);
	void *user;
};

/**
 * umem_client_snapshot - have the memory of a target saved, as it is at one moment.
 * @ret_snapshot: valid until the next call on @client.
 *
 * Return: 0; -ECANCELED: by @progress, or by umem_client_cancel_snapshot(); -EBUSY: one is
 * being taken, or the target is tracked and @method needs what that has; as of
 * umem_snapshotter_new() and umem_snapshotter_take_into(). But for success, what is in the
 * file is of no use.
 */
UMEM_CLIENT_API int umem_client_snapshot(struct umem_client *client, const char *target,
	const struct umem_client_snapshot_options *options,
	const struct umem_snapshot **ret_snapshot, struct umem_note *note);

/**
 * umem_client_cancel_snapshot - end the snapshot of a target that another connection waits
 * for; nothing of it is left when this returns 0. There need not be one.
 */
UMEM_CLIENT_API int umem_client_cancel_snapshot(struct umem_client *client,
	const char *target, struct umem_note *note);

/** umem_client_fd - a descriptor to poll; owned by the client. */
UMEM_CLIENT_API int umem_client_fd(const struct umem_client *client);

/** umem_client_events - what to poll for: POLLIN, and POLLOUT where something is to go out. */
UMEM_CLIENT_API short umem_client_events(const struct umem_client *client);

/**
 * umem_client_dispatch - take what has come, without waiting, and call on_round() for it.
 * Return: 0; -EPIPE, -EPROTO, -ENOMEM: the connection is over.
 */
UMEM_CLIENT_API int umem_client_dispatch(struct umem_client *client);

#endif
