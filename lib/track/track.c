// SPDX-License-Identifier: LGPL-2.1-or-later
/* The choice of a tracker. */
#include "lib/track/track.h"

#include <errno.h>
#include <string.h>

#include "lib/base/note.h"

/* Best first. */
static const struct umem_tracker_ops *const trackers[] = {
	&umem_track_wp_async,
	&umem_track_soft_dirty,
};

int umem_tracker_new(struct umem_target *target, const char *name,
	struct umem_tracker **ret_tracker, struct umem_note *note)
{
	bool known = false;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(trackers); i++) {
		const struct umem_tracker_ops *ops = trackers[i];
		int r;

		if (name && strcmp(name, ops->name) != 0)
			continue;
		known = true;
		if (!ops->usable(&target->feats))
			continue;
		r = ops->create(target, ret_tracker);
		if (r == 0) {
			(*ret_tracker)->ops = ops;
			(*ret_tracker)->target = target;
		}
		return r;
	}
	if (!known)
		return umem_note_set(note, -EINVAL, 0,
			"there is no tracker \"%s\"; wp_async and soft_dirty are known", name);
	return umem_note_set(note, -ENOTTY, 0,
		"the kernel lacks what %s needs (umemctl doctor tells)",
		name ? name : "dirty tracking");
}

const char *umem_tracker_choice(const struct umem_feats *feats)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(trackers); i++)
		if (trackers[i]->usable(feats))
			return trackers[i]->name;
	return NULL;
}

struct umem_tracker *umem_tracker_free(struct umem_tracker *tracker)
{
	if (tracker)
		tracker->ops->destroy(tracker);
	return NULL;
}
