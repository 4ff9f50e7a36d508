// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which processes are of one snapshot.
 *
 * Theory of operation
 *
 * Descendants are found by the parents that /proc tells, all in one walk, so that a
 * grandchild whose parent ended between two walks is not lost: who is a member stays
 * one. Those who map shared memory of a member and may write it are members, too:
 * what they write while the others stand would be torn. Their descendants are not.
 */
#include "lib/op/snapshot_tree.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/mem/mappers.h"

/** struct relation - a process and its parent. */
struct relation {
	int pid;
	int ppid;
};

/** struct relations - all of them. */
struct relations {
	struct relation *v;
	size_t n;
	size_t room;
};

int umem_snapshot_add_member(struct umem_snapshotter *s, int pid)
{
	struct umem_snapshot_member *grown = realloc(s->v, (s->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->v = grown;
	s->v[s->n++] = (struct umem_snapshot_member){
		.pid = pid,
	};
	return 0;
}

static bool is_member(void *user, int pid)
{
	const struct umem_snapshotter *s = user;

	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].pid == pid)
			return true;
	return false;
}

static int read_relations(struct relations *all)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int r = 0;

	if (!proc)
		return -errno;
	while (r == 0 && (entry = readdir(proc))) {
		struct umem_proc_stat stat;
		int pid = atoi(entry->d_name);

		if (pid <= 0 || umem_proc_stat_read(pid, 0, &stat) < 0 || stat.state == 'Z')
			continue;
		if (all->n == all->room) {
			size_t room = all->room ? 2 * all->room : 256;
			struct relation *grown = reallocarray(all->v, room, sizeof(*grown));

			if (!grown) {
				r = -ENOMEM;
				break;
			}
			all->v = grown;
			all->room = room;
		}
		all->v[all->n++] = (struct relation){ pid, stat.ppid };
	}
	closedir(proc);
	return r;
}

static int add_descendants(struct umem_snapshotter *s)
{
	struct relations all = { 0 };
	size_t before;
	int r = read_relations(&all);

	/* Until no child of a member is left that is none. */
	do {
		before = s->n;
		for (size_t i = 0; i < all.n && r == 0; i++)
			if (all.v[i].pid != getpid() && !is_member(s, all.v[i].pid) &&
				is_member(s, all.v[i].ppid))
				r = umem_snapshot_add_member(s, all.v[i].pid);
	} while (r == 0 && s->n > before);
	free(all.v);
	return r;
}

/* Who may write the shared memory of a process. */
static int add_writers(struct umem_snapshotter *s, int pid, struct umem_note *note)
{
	struct umem_attach_options options = {
		.size = sizeof(options),
		.feature_override = s->options.feature_override,
	};
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	struct umem_mappers mappers = { 0 };
	const struct umem_mapper *mapper;
	struct umem_target *target = NULL;
	int r = umem_target_open(pid, &options, &target, note);

	if (r == 0)
		r = umem_target_refresh(target, &appeared, &vanished, note);
	if (r == 0)
		r = umem_mappers_begin(&mappers, target, NULL);
	while (r == 0) {
		r = umem_mappers_next(&mappers, is_member, s, &mapper);
		if (r <= 0)
			break;
		r = mapper->written.n && mapper->pid != getpid() && mapper->pid != 1 ?
			umem_snapshot_add_member(s, mapper->pid) : 0;
	}
	umem_mappers_deinit(&mappers);
	umem_target_free(target);
	return r;
}

int umem_snapshot_find_tree(struct umem_snapshotter *s, size_t *ret_new, struct umem_note *note)
{
	size_t before = s->n;
	int r = add_descendants(s);

	for (size_t i = 0; i < s->n && r == 0; i++) {
		r = add_writers(s, s->v[i].pid, i == 0 ? note : NULL);
		/* That others ended meanwhile is found out when they are attached to. */
		if (r == UMEM_GONE && i > 0)
			r = 0;
	}
	if (r == 0)
		*ret_new = s->n - before;
	return r;
}
