/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the verbs of "umemctl image" share. */
#ifndef CTL_IMAGE_H
#define CTL_IMAGE_H

#include <umemd/store.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/progress.h"
#include "lib/base/attr.h"

UMEM_DEFINE_CLEANUP(struct umem_image, umem_image_free)

/**
 * struct ctl_image - one run of a verb.
 * @ctl: global options.
 * @verb: its name, "image info" and the like.
 * @progress: on stderr.
 * @pid: --pid, or 0.
 * @space: of that process; set by ctl_image_space().
 */
struct ctl_image {
	const struct ctl_options *ctl;
	const char *verb;
	struct ctl_progress progress;
	int pid;
	uint32_t space;
};

/** ctl_image_step - progress of the engine's image functions; @user is a struct ctl_image. */
int ctl_image_step(void *user, uint64_t done_bytes, uint64_t total_bytes);

/**
 * ctl_image_ended - exit code of what failed or was interrupted.
 * @done: what there is now, for who interrupted it: "nothing was written".
 */
int ctl_image_ended(struct ctl_image *run, int result, struct umem_note *note,
	const char *done);

/**
 * ctl_image_space - the space of --pid, else of the first process. Return: 0, -ESRCH noted.
 * @ret_process: the process; NULL when the image names none.
 */
int ctl_image_space(struct ctl_image *run, const struct umem_image *image,
	const struct umem_image_process **ret_process, struct umem_note *note);

/** ctl_image_id_text - an id in hexadecimal. Return: @buf. */
const char *ctl_image_id_text(char buf[33], const struct umem_image_id *id);

/** ctl_image_one_path - the one word that is left. Return: CTL_DONE or CTL_USAGE. */
int ctl_image_one_path(const struct ctl_image *run, int argc, char **argv, const char **ret_path);

int image_info(struct ctl_image *run, int argc, char **argv);
int image_verify(struct ctl_image *run, int argc, char **argv);
int image_read(struct ctl_image *run, int argc, char **argv);
int image_diff(struct ctl_image *run, int argc, char **argv);
int image_export(struct ctl_image *run, int argc, char **argv);
int image_flatten(struct ctl_image *run, int argc, char **argv);

#endif
