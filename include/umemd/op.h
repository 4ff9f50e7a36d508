/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots: the memory of running processes at one moment, as an image.
 *
 * A snapshotter is made for a process (or a tree of them) and takes one
 * snapshot or several; between two it may stay armed, so that the next one is
 * an increment that costs what changed. Whatever goes wrong, the processes run
 * on as if nothing had been, and the old file stays or none is made.
 */
#ifndef UMEMD_OP_H
#define UMEMD_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/store.h>
#include <umemd/types.h>

struct umem_snapshotter;

/**
 * enum umem_snapshot_method - how the memory of one moment is come by.
 * @UMEM_SNAPSHOT_AUTO: chosen by what the process is and the kernel can do.
 * @UMEM_SNAPSHOT_PRECOPY: copy while it runs, round after round; stop it for the
 *	last small difference. The image is of the moment of the stop.
 * @UMEM_SNAPSHOT_COW: protect everything, stop it for a moment, go on; each page is
 *	copied before its first write. The image is of that moment.
 * @UMEM_SNAPSHOT_FORK: stop it, make a copy-on-write child in it, go on; the child
 *	is read and ended.
 * @UMEM_SNAPSHOT_FREEZE: stop it, copy, go on.
 */
enum umem_snapshot_method {
	UMEM_SNAPSHOT_AUTO,
	UMEM_SNAPSHOT_PRECOPY,
	UMEM_SNAPSHOT_COW,
	UMEM_SNAPSHOT_FORK,
	UMEM_SNAPSHOT_FREEZE,
	UMEM_N_SNAPSHOT_METHODS,
};

/**
 * struct umem_snapshot_progress - how far a snapshot is.
 * @stage: "copy", "stop", "write"; static text.
 * @round: round of copying, from 1.
 * @done_bytes, @total_bytes: of this round.
 */
struct umem_snapshot_progress {
	const char *stage;
	uint64_t round;
	uint64_t done_bytes;
	uint64_t total_bytes;
};

/**
 * struct umem_snapshot_options - what to take and how.
 * @size: sizeof(struct umem_snapshot_options), for later growth.
 * @method: how.
 * @regions, @n_regions: only these addresses; 0 of them means all. Not with @tree.
 * @tree: with it all its descendants and all who map its shared memory: they stop
 *	together, and are in one image.
 * @codec: of the image.
 * @unnamed: images get no name, and live as long as they are open; their path tells
 *	on which file system they are.
 * @stay_armed: keep track of changes after a snapshot, so that the next one is quick;
 *	method precopy only.
 * @feature_override: as in struct umem_attach_options.
 * @progress: called now and then; true ends the snapshot with -ECANCELED. May be NULL.
 * @user: for @progress.
 */
struct umem_snapshot_options {
	size_t size;
	enum umem_snapshot_method method;
	const struct umem_range *regions;
	size_t n_regions;
	bool tree;
	enum umem_image_codec codec;
	bool unnamed;
	bool stay_armed;
	const char *feature_override;
	bool (*progress)(void *user, const struct umem_snapshot_progress *progress);
	void *user;
};

/**
 * struct umem_snapshot - a snapshot that was taken.
 * @method: that was used; static text.
 * @why: why it was chosen, or "asked for"; static text.
 * @n_processes: in the image.
 * @pause_ns: how long the processes stood still: from the first thread that was
 *	stopped to the last that went on. Attaching, which stops one thread for less
 *	than a millisecond before, is not in it.
 * @attach_stop_ns: that.
 * @total_ns: all of it.
 * @rounds: of copying; the last one, within the stop, included.
 * @pages: pages of 4096 bytes that were read.
 * @zero_pages: pages that are known to read as zeros.
 * @parent_pages: pages that are those of the parent.
 * @written_bytes: size of the file on disk.
 * @stopped_bytes: bytes that were read within the stop.
 * @incremental: how changes since the parent were found: "tracked" or "compared"; NULL
 *	without a parent. Static text.
 * @complete: the image is that of one moment, and nothing of it is missing.
 * @incomplete, @n_incomplete: where and why not.
 */
struct umem_snapshot {
	const char *method;
	const char *why;
	uint64_t n_processes;
	uint64_t pause_ns;
	uint64_t attach_stop_ns;
	uint64_t total_ns;
	uint64_t rounds;
	uint64_t pages;
	uint64_t zero_pages;
	uint64_t parent_pages;
	uint64_t written_bytes;
	uint64_t stopped_bytes;
	const char *incremental;
	bool complete;
	const struct umem_reason *incomplete;
	size_t n_incomplete;
};

/**
 * umem_snapshotter_new - get ready; nothing is stopped but one thread for a moment.
 * @options: NULL for defaults; copied.
 * @ret_snapshotter: freed with umem_snapshotter_free(), which leaves nothing behind.
 *
 * Return: 0; UMEM_GONE; -ENOTSUP: the method cannot be used with this process, the
 * reason in @note; -ENOENT: nothing of @regions is mapped; as umem_target_attach().
 */
UMEM_API int umem_snapshotter_new(int pid, const struct umem_snapshot_options *options,
	struct umem_snapshotter **ret_snapshotter, struct umem_note *note);

/**
 * umem_snapshotter_take - take a snapshot.
 * @path: of the image; one that is there is replaced when the new one is whole.
 * @parent: only what differs from it is stored; NULL for a whole image.
 * @ret_image: the image, open for reading; may be NULL.
 * @ret_snapshot: valid until the next call on the snapshotter.
 *
 * Return: 0; UMEM_GONE: a process ended before everything was copied; -ECANCELED;
 * -EBUSY: another program traces it or watches its memory; -ENOSPC, -EFBIG and other
 * errors of the file; -ETIMEDOUT: a thread could not be stopped; -ENOMEM, ...
 */
UMEM_API int umem_snapshotter_take(struct umem_snapshotter *snapshotter, const char *path,
	struct umem_image *parent, struct umem_image **ret_image,
	const struct umem_snapshot **ret_snapshot, struct umem_note *note);

/**
 * struct umem_snapshot_file - the file of an image, which somebody else opened.
 * @size: sizeof(struct umem_snapshot_file), for later growth.
 * @fd: empty, open for reading and writing; stays the caller's, who gives it its name
 *	when the snapshot was taken: all of it is on the disk then.
 * @name: what notes call it.
 * @parent_name: how it is to name its parent, relative to its own folder; NULL
 *	without a parent.
 */
struct umem_snapshot_file {
	size_t size;
	int fd;
	const char *name;
	const char *parent_name;
};

/**
 * umem_snapshotter_take_into - take a snapshot into a file that is open.
 *
 * For who may read a process, but is not to open files by their names. All else is as
 * of umem_snapshotter_take(). Return: the same; -EINVAL: it is no such file.
 */
UMEM_API int umem_snapshotter_take_into(struct umem_snapshotter *snapshotter,
	const struct umem_snapshot_file *file, struct umem_image *parent,
	const struct umem_snapshot **ret_snapshot, struct umem_note *note);

/** umem_snapshotter_free - detach everywhere; NULL is fine. Return: NULL. */
UMEM_API struct umem_snapshotter *umem_snapshotter_free(struct umem_snapshotter *snapshotter);

/** umem_snapshot_method_name - "auto", "precopy", "cow", "fork", "freeze". */
UMEM_API const char *umem_snapshot_method_name(enum umem_snapshot_method method);

#endif
