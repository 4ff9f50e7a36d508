/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of umemctl snapshot share: by the engine in this process, and by umemd. */
#ifndef CTL_SNAPSHOT_H
#define CTL_SNAPSHOT_H

#include <umemd/export.h>
#include <umemd/op.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/progress.h"
#include "lib/base/attr.h"
#include "lib/base/ranges.h"

#define SNAPSHOT_VERB "snapshot"

/**
 * struct snapshot - one run of the verb.
 * @options: global ones.
 * @pid: of whom.
 * @path: -o.
 * @format: --format.
 * @parent_path: --parent.
 * @by_stdin: each newline on stdin is one more image, an increment to the one before.
 * @asked: --region.
 * @take: what to take and how.
 * @progress: on stderr.
 * @event_ns: when the last progress event was printed.
 * @n_taken: images so far.
 */
struct snapshot {
	const struct ctl_options *options;
	int pid;
	const char *path;
	const char *format;
	const char *parent_path;
	bool by_stdin;
	struct umem_ranges asked;
	struct umem_snapshot_options take;
	struct ctl_progress progress;
	uint64_t event_ns;
	uint64_t n_taken;
};

/** snapshot_see_progress - tell of it; @user is a struct snapshot. Return: is it to end? */
bool snapshot_see_progress(void *user, const struct umem_snapshot_progress *progress);

/** snapshot_export - write @image to @path in the format that was asked for. */
int snapshot_export(struct snapshot *s, struct umem_image *image, const char *path,
	struct umem_note *note);

/** snapshot_print_done - what was taken, and where to. Return: 0, or -EIO as ctl_flush(). */
int snapshot_print_done(struct snapshot *s, const char *path, const struct umem_snapshot *done);

/**
 * snapshot_remote - have the daemon take one.
 * @ret_there: the process was there.
 * Return: 0; as umem_client_snapshot(); -errno of the file.
 */
int snapshot_remote(struct snapshot *s, bool *ret_there, struct umem_note *note);

UMEM_DEFINE_CLEANUP(struct umem_image, umem_image_free)

#endif
