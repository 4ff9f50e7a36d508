// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which method a snapshot takes.
 *
 * Theory of operation
 *
 *     a program    precopy, freeze
 *     a guest      cow, precopy, freeze
 *
 * A guest (a process that has a virtual machine) keeps its memory mapped, and is
 * to be caught at once: protecting it is exact, and the moment is that of the
 * question. A program maps and unmaps all the time, which takes content away that a
 * protection does not keep; pre-copy reads what is there when it stops. Freezing
 * is left when the kernel lacks what the others need, or another userfaultfd is
 * in the way. A child by fork needs no userfaultfd, but what fork does to the page
 * tables: it is there for who asks.
 */
#include "lib/op/snapshot_choose.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/note.h"

/** struct choice - a method, and why it is taken. */
struct choice {
	const struct umem_snapshot_ops *ops;
	const char *why;
};

static const struct umem_snapshot_ops *const methods[] = {
	&umem_snapshot_precopy,
	&umem_snapshot_cow,
	&umem_snapshot_fork,
	&umem_snapshot_freeze,
};

static const struct choice for_programs[] = {
	{ &umem_snapshot_precopy, "a program: copied while it runs, stopped for the rest" },
	{ &umem_snapshot_freeze, "changes of its memory cannot be followed: stopped for the copy" },
};

static const struct choice for_guests[] = {
	{ &umem_snapshot_cow, "a guest: each page is copied before its first write" },
	{ &umem_snapshot_precopy, "a guest whose writes cannot be held up: copied while it runs" },
	{ &umem_snapshot_freeze, "changes of its memory cannot be followed: stopped for the copy" },
};

/* Has the process a virtual machine? One whose descriptors may not be looked at has none. */
static bool is_guest(int pid)
{
	char path[40], link[64];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (n > 0) {
			link[n] = 0;
			found = strcmp(link, "anon_inode:kvm-vm") == 0;
		}
	}
	closedir(dir);
	return found;
}

static int try_method(struct umem_snapshotter *s, const struct umem_snapshot_ops *ops,
	const char *why, struct umem_note *note)
{
	int r;

	s->ops = ops;
	s->why = why;
	r = ops->prepare(s, note);
	if (r == 0)
		return 0;
	if (ops->release)
		ops->release(s);
	for (size_t i = 0; i < s->n; i++)
		umem_snapshot_detach(&s->v[i]);
	s->ops = NULL;
	return r;
}

/* Would another method fare better? */
static bool is_of_method(int r)
{
	return r == -EBUSY || r == -ENOTTY || r == -ENOSYS || r == -ENOTSUP || r == -EPERM;
}

/* Nothing that was asked for by name may be left out in silence. */
static int check_selection(struct umem_snapshotter *s, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	struct umem_target *target = s->v[0].target;
	struct umem_maps maps = { 0 };
	int r = 0;

	if (s->whole)
		return 0;
	r = umem_maps_read(target->maps_fd, UMEM_MAPS_AUTO, &maps);
	for (size_t i = 0; i < s->selected.n && r == 0; i++) {
		const struct umem_range *a = &s->selected.v[i];
		size_t k = 0;

		while (k < maps.n && maps.v[k].end <= a->start)
			k++;
		if (k == maps.n || maps.v[k].start >= a->end)
			r = umem_note_set(note, -ENOENT, a->start,
				"pid %d has no mapping in %#llx-%#llx (umemctl regions lists them)",
				target->pid, (unsigned long long)a->start,
				(unsigned long long)a->end);
	}
	umem_maps_deinit(&maps);
	return r;
}

int umem_snapshot_choose(struct umem_snapshotter *s, struct umem_note *note)
{
	int r = -EINVAL;

	if (s->options.method != UMEM_SNAPSHOT_AUTO) {
		for (size_t i = 0; i < UMEM_ARRAY_LEN(methods); i++)
			if (methods[i]->method == s->options.method)
				r = try_method(s, methods[i], "asked for", note);
	} else {
		bool guest = is_guest(s->v[0].pid);
		const struct choice *v = guest ? for_guests : for_programs;
		size_t n = guest ? UMEM_ARRAY_LEN(for_guests) : UMEM_ARRAY_LEN(for_programs);

		for (size_t i = 0; i < n; i++) {
			umem_note_clear(note);
			r = try_method(s, v[i].ops, v[i].why, note);
			if (!is_of_method(r))
				break;
		}
	}
	return r == 0 ? check_selection(s, note) : r;
}
