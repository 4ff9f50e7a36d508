// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which processes reclaim is about. */
#include "lib/op/reclaim_find.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/note.h"
#include "lib/base/parse.h"
#include "lib/kern/pidfd.h"

/* More processes are not managed by one. */
#define MAX_PIDS 65536

int umem_reclaim_finder_init(struct umem_reclaim_finder *finder,
	const struct umem_reclaim_options *options, struct umem_note *note)
{
	*finder = (struct umem_reclaim_finder){
		.options = options,
		.cgroup = UMEM_CGROUP_NONE,
	};
	return options->cgroup ?
		umem_cgroup_open("/proc", options->cgroup, &finder->cgroup, note) : 0;
}

void umem_reclaim_finder_deinit(struct umem_reclaim_finder *finder)
{
	umem_cgroup_pids_deinit(&finder->pids);
	umem_cgroup_deinit(&finder->cgroup);
}

static int add(struct umem_cgroup_pids *pids, int pid)
{
	if (pids->n == pids->room) {
		size_t room = pids->room ? pids->room * 2 : 16;
		int *v = reallocarray(pids->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		pids->v = v;
		pids->room = room;
	}
	pids->v[pids->n++] = pid;
	return 0;
}

static int ascending(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int find_named(struct umem_reclaim_finder *finder)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int r = 0;

	if (!proc)
		return -errno;
	while (r == 0 && finder->pids.n < MAX_PIDS && (entry = readdir(proc))) {
		struct umem_proc_stat stat;
		uint64_t pid;

		if (umem_parse_u64(entry->d_name, &pid) < 0 || pid > INT32_MAX ||
			umem_proc_stat_read((int)pid, 0, &stat) < 0)
			continue;
		if (!stat.kernel_thread && stat.state != 'Z' &&
			fnmatch(finder->options->name, stat.comm, 0) == 0)
			r = add(&finder->pids, (int)pid);
	}
	closedir(proc);
	return r;
}

static int find_given(struct umem_reclaim_finder *finder)
{
	const struct umem_reclaim_options *options = finder->options;
	int r = 0;

	for (size_t i = 0; i < options->n_pids && r == 0; i++)
		r = add(&finder->pids, options->pids[i]);
	return r;
}

static int find_grouped(struct umem_reclaim_finder *finder, struct umem_note *note)
{
	int r = umem_cgroup_pids(&finder->cgroup, MAX_PIDS, &finder->pids);

	if (r == -ENODEV || r == -ENOENT) {
		umem_note_set(note, r, 0, "the cgroup %s was removed", finder->options->cgroup);
		return UMEM_GONE;
	}
	return r == UMEM_CGROUP_MORE ? 0 : r;
}

int umem_reclaim_find(struct umem_reclaim_finder *finder, struct umem_note *note)
{
	struct umem_cgroup_pids *pids = &finder->pids;
	size_t kept = 0;
	int r;

	pids->n = 0;
	if (finder->options->cgroup)
		r = find_grouped(finder, note);
	else if (finder->options->name)
		r = find_named(finder);
	else
		r = find_given(finder);
	if (r != 0)
		return r;
	if (pids->n > 0)
		qsort(pids->v, pids->n, sizeof(*pids->v), ascending);
	for (size_t i = 0; i < pids->n; i++)
		if (pids->v[i] != getpid() && (kept == 0 || pids->v[kept - 1] != pids->v[i]))
			pids->v[kept++] = pids->v[i];
	pids->n = kept;
	return 0;
}
