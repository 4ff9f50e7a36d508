/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a verb of a worker answers: parameters, descriptors, or what went wrong. */
#ifndef WORKER_ANSWER_H
#define WORKER_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/json.h"
#include "lib/proto/frame.h"

/**
 * struct answer - a reply in the making.
 * @parameters: an object, owned.
 * @fds, @n_fds: sent along, owned.
 * @n_ranges: with -E2BIG: how many ranges there were.
 * @note: with another failure: what, why.
 */
struct answer {
	struct umem_json *parameters;
	int fds[UMEM_FRAME_FDS];
	size_t n_fds;
	uint64_t n_ranges;
	struct umem_note note;
};

#endif
