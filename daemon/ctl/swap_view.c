// SPDX-License-Identifier: LGPL-2.1-or-later
/* One look at where the pages of a process are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ctl/swap.h"
#include "lib/base/attr.h"
#include "lib/base/note.h"
#include "lib/kern/pidfd.h"
#include "lib/mem/residency.h"
#include "lib/mem/target.h"

void swap_view_deinit(struct swap_view *view)
{
	umem_survey_sharers_deinit(&view->found);
	umem_residency_free(view->map);
	umem_target_free(view->target);
	swap_file_free(view->pages);
	umem_client_map_free(view->remote);
	*view = (struct swap_view){ 0 };
}

/* Each of the ranges must hold something. */
static int check_asked(const struct swap_view *view, const struct umem_ranges *asked,
	struct umem_note *note)
{
	for (size_t i = 0; i < asked->n; i++) {
		bool any = false;

		for (size_t k = 0; k < view->n && !any; k++)
			any = view->v[k].start < asked->v[i].end &&
				view->v[k].end > asked->v[i].start;
		if (!any)
			return umem_note_set(note, -ENOENT, asked->v[i].start,
				"no memory of pid %d is mapped at %#llx-%#llx; umemctl regions "
				"lists what is", view->pid,
				(unsigned long long)asked->v[i].start,
				(unsigned long long)asked->v[i].end);
	}
	return 0;
}

static void add_sums(struct swap_view *view)
{
	for (size_t i = 0; i < view->n; i++)
		ctl_sums_add(&view->sums, &view->v[i]);
}

/* Who it is that is looked at, for people. */
static void set_process(struct swap_view *view, int pid)
{
	struct umem_proc_stat stat;

	view->pid = pid;
	if (umem_proc_stat_read(pid, 0, &stat) == 0)
		memcpy(view->comm, stat.comm, sizeof(view->comm));
}

static int read_mappings(struct swap_view *view, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };

	return umem_target_refresh(view->target, &appeared, &vanished, note);
}

static int look(struct swap_view *view, const struct umem_ranges *asked, const char *method,
	struct umem_note *note)
{
	struct umem_residency_options options = {
		.size = sizeof(options),
		.regions = asked->v,
		.n_regions = asked->n,
		.method = method,
	};
	int r = umem_residency_new(view->target, &options, &view->map, note);

	if (r == -ENOENT) {
		/* Which of them is said below. */
		umem_note_clear(note);
		return check_asked(view, asked, note);
	}
	if (r != 0)
		return r;
	view->v = umem_residency_regions(view->map, &view->n);
	add_sums(view);
	return check_asked(view, asked, note);
}

int swap_view_process(struct swap_view *view, int pid, struct umem_ranges *asked,
	const char *method, bool sharers, struct umem_note *note)
{
	struct umem_attach_options attach = ctl_attach_options();
	int r = umem_target_open(pid, &attach, &view->target, note);

	set_process(view, pid);
	if (r == 0)
		r = read_mappings(view, note);
	if (r == 0)
		r = umem_residency_widen(&view->target->space, asked);
	if (r == 0)
		r = look(view, asked, method, note);
	if (r == 0 && sharers) {
		r = umem_survey_sharers_find(view->target, &view->found);
		view->sharers = &view->found;
	}
	return r;
}

static int add_sharers(struct swap_view *view)
{
	struct umem_survey_sharers *found = &view->found;
	size_t n;
	const struct umem_client_sharer *v = umem_client_map_sharers(view->remote, &n,
		&found->n_hidden);
	int r = 0;

	view->sharers = found;
	found->v = calloc(n + 1, sizeof(*found->v));
	if (!found->v)
		return -ENOMEM;
	for (; found->n < n && r == 0; found->n++) {
		struct umem_survey_sharer *s = &found->v[found->n];

		s->pid = v[found->n].pid;
		snprintf(s->comm, sizeof(s->comm), "%s", v[found->n].name);
		for (size_t i = 0; i < v[found->n].n_mapped && r == 0; i++)
			r = umem_ranges_add(&s->mapped, v[found->n].mapped[i].start,
				v[found->n].mapped[i].end);
	}
	return r;
}

int swap_view_remote(struct swap_view *view, const char *path, int pid,
	const struct umem_ranges *asked, struct umem_client_map_options *options,
	struct umem_note *note)
{
	char target[UMEM_CLIENT_TARGET];
	struct umem_client *client = NULL;
	int r = umem_client_connect(path, &client, note);

	set_process(view, pid);
	options->regions = asked->v;
	options->n_regions = asked->n;
	if (r == 0)
		r = umem_client_open(client, pid, NULL, target, note);
	if (r == 0)
		r = umem_client_map(client, target, options, &view->remote, note);
	umem_client_free(client);
	if (r == -ENOENT && view->remote == NULL && asked->n) {
		/* Which of them is said below. */
		umem_note_clear(note);
		r = check_asked(view, asked, note);
	}
	if (r != 0)
		return r;
	view->v = umem_client_map_regions(view->remote, &view->n);
	add_sums(view);
	r = check_asked(view, asked, note);
	return r == 0 && options->sharers ? add_sharers(view) : r;
}

int swap_view_each(const struct swap_view *view, const struct umem_residency_region *region,
	swap_each each, void *user)
{
	if (view->remote)
		return umem_client_map_each(view->remote, region->start, region->end, each, user);
	if (view->pages)
		return swap_file_each(view->pages, (size_t)(region - view->v), each, user);
	return umem_residency_each(view->map, region->start, region->end, each, user);
}
