// SPDX-License-Identifier: LGPL-2.1-or-later
/* The choice of a source of accesses. */
#include "lib/track/accessed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/note.h"

/* Best first. */
static const struct umem_accessed_ops *const sources[] = {
	&umem_accessed_page_idle,
};

/* Is the feature there? The probe takes part of a millisecond, and nobody else needs it. */
static bool usable(const struct umem_target *target, enum umem_feat feat)
{
	struct umem_feats feats;

	if ((target->feats.probed | target->feats.overridden) & UMEM_FEAT_BIT(feat))
		return umem_feats_has(&target->feats, feat);
	return umem_feats_probe_some(UMEM_FEAT_BIT(feat), &feats) == 0 &&
		umem_feats_has(&feats, feat);
}

int umem_accessed_open(struct umem_target *target, const char *sys,
	struct umem_accessed **ret_accessed, struct umem_note *note)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(sources); i++) {
		UMEM_FREE char *root = NULL;
		int r;

		if (!usable(target, sources[i]->feat))
			continue;
		root = strdup(sys ? sys : "/sys");
		if (!root)
			return -ENOMEM;
		r = sources[i]->create(target, root, ret_accessed, note);
		if (r != 0)
			return r;
		(*ret_accessed)->ops = sources[i];
		(*ret_accessed)->target = target;
		(*ret_accessed)->sys = UMEM_TAKE_PTR(root);
		return 0;
	}
	return umem_note_set(note, -ENOTSUP, 0,
		"this kernel does not tell which pages are read (umemctl doctor: page_idle)");
}

const char *umem_accessed_name(const struct umem_accessed *self)
{
	return self->ops->name;
}

int umem_accessed_collect(struct umem_accessed *self, struct umem_pageset *pages,
	struct umem_pageset *accessed, struct umem_accessed_count *ret_count)
{
	return self->ops->collect(self, pages, accessed, ret_count);
}

uint64_t umem_accessed_memory(const struct umem_accessed *self)
{
	return self->ops->memory(self);
}

struct umem_accessed *umem_accessed_free(struct umem_accessed *self)
{
	if (!self)
		return NULL;
	free(self->sys);
	self->ops->destroy(self);
	return NULL;
}
