// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which processes are reclaimed from: who comes, who goes, who may not be had. */
#include "lib/op/reclaim_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/op/reclaim_machine.h"

void umem_reclaim_list_deinit(struct umem_reclaim_list *list)
{
	for (size_t i = 0; i < list->n_targets; i++)
		umem_reclaim_target_free(list->targets[i]);
	free(list->targets);
	umem_reclaim_finder_deinit(&list->finder);
	umem_cgroup_pids_deinit(&list->refused);
	free(list->events);
}

static int add_event(struct umem_reclaim_list *list, int pid, const char *comm, const char *text)
{
	struct umem_reclaim_event *event;

	if (list->n_events == list->events_room) {
		size_t room = list->events_room ? list->events_room * 2 : 8;
		struct umem_reclaim_event *v = reallocarray(list->events, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		list->events = v;
		list->events_room = room;
	}
	event = &list->events[list->n_events++];
	*event = (struct umem_reclaim_event){ .pid = pid };
	strncpy(event->comm, comm, sizeof(event->comm) - 1);
	strncpy(event->text, text, sizeof(event->text) - 1);
	return 0;
}

void umem_reclaim_list_forget_shown(struct umem_reclaim_list *list)
{
	if (list->n_shown == 0)
		return;
	list->n_events -= list->n_shown;
	memmove(list->events, list->events + list->n_shown,
		list->n_events * sizeof(*list->events));
	list->n_shown = 0;
}

static bool has_pid(const struct umem_cgroup_pids *pids, int pid)
{
	for (size_t i = 0; i < pids->n; i++)
		if (pids->v[i] == pid)
			return true;
	return false;
}

static int refuse(struct umem_reclaim_list *list, int pid, const char *comm, const char *why)
{
	struct umem_cgroup_pids *refused = &list->refused;

	if (refused->n == refused->room) {
		size_t room = refused->room ? refused->room * 2 : 8;
		int *v = reallocarray(refused->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		refused->v = v;
		refused->room = room;
	}
	refused->v[refused->n++] = pid;
	return add_event(list, pid, comm, why);
}

/* Take a process in. Return: 0, also when it cannot be had and was not named by its id. */
static int take_in(struct umem_reclaim_list *list, int pid, const char *event,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_reclaim_target_freep) struct umem_reclaim_target *t = NULL;
	struct umem_note why = { 0 };
	int r;

	if (list->n_targets == list->targets_room) {
		size_t room = list->targets_room ? list->targets_room * 2 : 8;
		struct umem_reclaim_target **v =
			reallocarray(list->targets, room,
				sizeof(struct umem_reclaim_target *));

		if (!v)
			return -ENOMEM;
		list->targets = v;
		list->targets_room = room;
	}
	r = umem_reclaim_target_new(pid, list->options, &t, &why);
	if (r == -ENOMEM || (r != 0 && list->options->n_pids > 0 && !list->begun)) {
		if (note)
			*note = why;
		return r;
	}
	if (r == UMEM_GONE)
		return 0;
	if (r < 0)
		return refuse(list, pid, "", why.text[0] ? why.text : strerror(-r));
	r = add_event(list, pid, t->seen.comm, event);
	if (r == 0)
		list->targets[list->n_targets++] = UMEM_TAKE_PTR(t);
	return r;
}

static void drop(struct umem_reclaim_list *list, size_t i)
{
	umem_reclaim_target_free(list->targets[i]);
	memmove(&list->targets[i], &list->targets[i + 1],
		(list->n_targets - i - 1) * sizeof(struct umem_reclaim_target *));
	list->n_targets--;
}

static bool is_target(const struct umem_reclaim_list *list, int pid)
{
	for (size_t i = 0; i < list->n_targets; i++)
		if (list->targets[i]->seen.pid == pid)
			return true;
	return false;
}

int umem_reclaim_list_give_up(struct umem_reclaim_list *list, size_t i, int err,
	const struct umem_note *why)
{
	const struct umem_reclaim_seen *seen = &list->targets[i]->seen;
	int r = refuse(list, seen->pid, seen->comm,
		why->text[0] ? why->text : strerror(-err));

	drop(list, i);
	return r;
}

/* A number that is not found any more may be another process the next time. */
static void forget_refused(struct umem_reclaim_list *list)
{
	struct umem_cgroup_pids *refused = &list->refused;
	size_t kept = 0;

	for (size_t i = 0; i < refused->n; i++)
		if (has_pid(&list->finder.pids, refused->v[i]))
			refused->v[kept++] = refused->v[i];
	refused->n = kept;
}

int umem_reclaim_list_find(struct umem_reclaim_list *list, struct umem_note *note)
{
	const struct umem_cgroup_pids *pids = &list->finder.pids;
	int found = umem_reclaim_find(&list->finder, note), r = found == UMEM_GONE ? 0 : found;

	if (r == 0)
		forget_refused(list);
	for (size_t i = 0; i < list->n_targets && r == 0;) {
		struct umem_reclaim_target *t = list->targets[i];

		if (has_pid(pids, t->seen.pid)) {
			i++;
			continue;
		}
		r = add_event(list, t->seen.pid, t->seen.comm,
			umem_target_gone(t->target) ? "ended" : "is not one of them any more");
		drop(list, i);
	}
	for (size_t i = 0; i < pids->n && r == 0; i++) {
		/* One that was named by its id is not another one of that number. */
		if (list->begun && list->options->n_pids > 0)
			break;
		if (!is_target(list, pids->v[i]) && !has_pid(&list->refused, pids->v[i]))
			r = take_in(list, pids->v[i], "found", note);
	}
	return r == 0 ? found : r;
}

/*
 * A target whose memory is gone: it ended, or goes on as another program. Then it is the
 * last of the targets, and looked at in its turn.
 */
static int replace(struct umem_reclaim_list *list, size_t i, struct umem_note *note)
{
	struct umem_reclaim_target *t = list->targets[i];
	char comm[64];
	int pid = t->seen.pid;
	bool ended = umem_target_gone(t->target);

	memcpy(comm, t->seen.comm, sizeof(comm));
	drop(list, i);
	if (ended)
		return add_event(list, pid, comm, "ended");
	/* What was given to us was of the program that is gone. */
	if (list->options->target)
		return add_event(list, pid, comm, "executed another program");
	return take_in(list, pid, "executed another program; begun anew", note);
}

int umem_reclaim_list_look(struct umem_reclaim_list *list, uint64_t now_ns,
	const struct umem_swap_areas *areas, bool forced_back, struct umem_note *note)
{
	struct umem_reclaim_swap swap = { .forced_back = forced_back,
		.target = umem_reclaim_asked(list->options) };

	for (size_t i = 0; i < list->n_targets; i++) {
		swap.own_reads += list->targets[i]->own_reads;
		swap.own_cached += umem_pageset_bytes(&list->targets[i]->trial) >>
			UMEM_PAGE_SHIFT;
	}
	umem_reclaim_swap_read(areas, &swap);
	for (size_t i = 0; i < list->n_targets;) {
		struct umem_reclaim_target *t = list->targets[i];
		struct umem_note why = { 0 };
		int r = umem_reclaim_target_look(t, now_ns, &swap, &why);

		if (r == 0) {
			i++;
			continue;
		}
		if (r == UMEM_GONE)
			r = replace(list, i, note);
		else if (r != -ENOMEM)
			r = umem_reclaim_list_give_up(list, i, r, &why);
		if (r != 0)
			return r;
	}
	return 0;
}
