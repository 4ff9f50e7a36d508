/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What pageout and pagein share: their options, and what they print.
 */
#ifndef CTL_MOVE_H
#define CTL_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include <umemd/client.h>
#include <umemd/residency.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/progress.h"
#include "lib/base/json.h"

/**
 * struct move_words - how one of the two verbs calls things.
 * @verb: its name.
 * @moved_key, @already_key: of the JSON object.
 * @moved, @already, @returned: titles of the table.
 */
struct move_words {
	const char *verb;
	const char *moved_key;
	const char *already_key;
	const char *moved;
	const char *already;
	const char *returned;
};

/**
 * struct move - one run of either verb.
 * @ctl: global options.
 * @words: see above.
 * @pid: the process.
 * @asked: --region.
 * @options: what to move; its @ranges are set by move_parse_end().
 * @progress: of the work.
 */
struct move {
	const struct ctl_options *ctl;
	const struct move_words *words;
	int pid;
	struct umem_ranges asked;
	struct umem_pageout_options options;
	struct ctl_progress progress;
};

/**
 * struct move_remote - a target of the daemon.
 * @client: the connection.
 * @moved: what it came to; lives as long as @client is not used again.
 */
struct move_remote {
	struct umem_client *client;
	const struct umem_client_moved *moved;
};

/** move_remote_deinit - end the connection. */
void move_remote_deinit(struct move_remote *remote);

/**
 * move_by_daemon - have the daemon do it.
 * @out: put out; else bring in.
 * @unwritten_ns: as in struct umem_client_move_options.
 * @remote: all zero; given to move_remote_deinit() in any case.
 * Return: as umem_client_pageout(), umem_client_open().
 */
int move_by_daemon(struct move *m, bool out, uint64_t unwritten_ns, struct move_remote *remote,
	struct umem_note *note);

/** move_deinit - free what it owns. */
void move_deinit(struct move *m);

/** move_parse_region, move_parse_max - options of both. Return: CTL_DONE or CTL_USAGE, said. */
int move_parse_region(struct move *m, const char *arg);
int move_parse_max(struct move *m, const char *arg);

/** move_parse_end - the process, behind all options. Return: as above. */
int move_parse_end(struct move *m, int argc, char **argv);

/** move_json - what both verbs say of @result; the verb adds its own. */
struct umem_json *move_json(const struct move *m, const struct umem_pageout *result);

/** move_print - the table. @freed: what is to be said of freed memory, or NULL. */
void move_print(const struct move *m, const struct umem_pageout *result, const char *freed);

#endif
