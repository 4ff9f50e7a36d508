// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which other processes map the shared memory of a target.
 *
 * Theory of operation
 *
 * The shared regions of the target are indexed by the identity of their object
 * (device, inode) once a walk; each mapping of another process is then one
 * binary search. What both map is compared by file offset, so that a process
 * that maps another part of the same file is not counted:
 *
 *     target    [ object, 0 to 8 )
 *     other            [ object, 4 to 12 )     both: 4 to 8, at the target's addresses
 *
 * Everybody may read /proc/PID/stat, but only who could trace a process may
 * read its mappings: those that cannot be read are counted. Where /proc hides
 * others (hidepid), process 1 is not there either.
 */
#include "lib/mem/mappers_pass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/kcmp.h"

static uint64_t device_of(uint32_t major, uint32_t minor)
{
	return (uint64_t)major << 32 | minor;
}

void umem_mappers_deinit(struct umem_mappers *mappers)
{
	if (mappers->proc)
		closedir(mappers->proc);
	free(mappers->index);
	umem_maps_deinit(&mappers->maps);
	umem_ranges_deinit(&mappers->now.mapped);
	umem_ranges_deinit(&mappers->now.written);
	umem_json_free(mappers->found);
	*mappers = (struct umem_mappers){ 0 };
}

static int by_object(const void *a, const void *b)
{
	const struct umem_mapped *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	if (x->device != y->device)
		return x->device < y->device ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

int umem_mappers_add(struct umem_mappers *m, const struct umem_mapped *mapped)
{
	if (m->n_index == m->index_room) {
		size_t room = m->index_room ? m->index_room * 2 : 16;
		struct umem_mapped *v = reallocarray(m->index, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		m->index = v;
		m->index_room = room;
	}
	m->index[m->n_index++] = *mapped;
	return 0;
}

int umem_mappers_open(struct umem_mappers *m)
{
	qsort(m->index, m->n_index, sizeof(m->index[0]), by_object);
	if (m->proc)
		rewinddir(m->proc);
	else
		m->proc = opendir("/proc");
	if (!m->proc)
		return -errno;
	m->n_hidden = access("/proc/1", F_OK) < 0;
	return 0;
}

int umem_mappers_begin(struct umem_mappers *m, const struct umem_target *target,
	const struct umem_ranges *only)
{
	const struct umem_space *space = &target->space;
	int r = 0;

	m->n_index = 0;
	m->n_hidden = 0;
	m->pid = target->pid;
	m->tid = target->tid;
	for (size_t i = 0; i < space->n && r == 0; i++) {
		const struct umem_region *g = &space->v[i];

		if (umem_kind_shared(g->kind) && g->inode != 0 &&
			(!only || umem_ranges_overlaps(only, g->start, g->end)))
			r = umem_mappers_add(m, &(struct umem_mapped){
				.inode = g->inode,
				.device = device_of(g->dev_major, g->dev_minor),
				.start = g->start,
				.offset = g->offset,
				.len_bytes = g->end - g->start,
			});
	}
	if (r < 0 || m->n_index == 0)
		return r;
	return target->reach ? umem_mappers_ask(m, target->reach) : umem_mappers_open(m);
}

/* Put the addresses of the target that show what @vma shows into @m->now. */
static int match(struct umem_mappers *m, const struct umem_vma *vma)
{
	const uint32_t writes = UMEM_VMA_SHARED | UMEM_VMA_WRITE;
	uint64_t device = device_of(vma->dev_major, vma->dev_minor);
	uint64_t vma_end = vma->offset + (vma->end - vma->start);
	size_t low = 0, high = m->n_index;
	int r = 0;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct umem_mapped *at = &m->index[mid];

		if (at->inode < vma->inode || (at->inode == vma->inode && at->device < device))
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < m->n_index && r == 0; low++) {
		const struct umem_mapped *at = &m->index[low];
		uint64_t first, last, shift = at->start - at->offset;

		if (at->inode != vma->inode || at->device != device)
			break;
		first = umem_max_u64(at->offset, vma->offset);
		last = umem_min_u64(at->offset + at->len_bytes, vma_end);
		if (first >= last)
			continue;
		r = umem_ranges_add(&m->now.mapped, first + shift, last + shift);
		if (r == 0 && (vma->flags & writes) == writes)
			r = umem_ranges_add(&m->now.written, first + shift, last + shift);
	}
	return r;
}

static int read_maps(struct umem_mappers *m, int tid)
{
	UMEM_FD int fd = -1;
	int r = umem_maps_open(tid, &fd);

	return r < 0 ? r : umem_maps_read(fd, UMEM_MAPS_AUTO, &m->maps);
}

/* Look at one process. Return: 1 when it maps something, 0, -ENOMEM. */
static int look(struct umem_mappers *m, int pid)
{
	UMEM_FD int dir_fd = -1;
	char path[32];
	int tid = pid, r;

	r = read_maps(m, tid);
	/* No memory: a kernel thread, or its leader ended before other threads. */
	if (r == -ESRCH || (r == 0 && m->maps.n == 0)) {
		if (umem_proc_stat_read(pid, 0, &m->now.stat) < 0 || m->now.stat.kernel_thread)
			return 0;
		snprintf(path, sizeof(path), "/proc/%d", pid);
		dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		tid = umem_target_live_thread(pid, dir_fd, &m->now.stat);
		if (tid < 0 || tid == pid)
			return 0;
		r = read_maps(m, tid);
	}
	if (r == -EACCES || r == -EPERM) {
		if (umem_proc_stat_read(pid, 0, &m->now.stat) == 0 &&
			!m->now.stat.kernel_thread && m->now.stat.state != 'Z')
			m->n_hidden++;
		return 0;
	}
	if (r < 0)
		return r == -ENOMEM ? r : 0; /* it ended */
	umem_ranges_clear(&m->now.mapped);
	umem_ranges_clear(&m->now.written);
	for (size_t i = 0; i < m->maps.n && r == 0; i++)
		if (m->maps.v[i].inode != 0)
			r = match(m, &m->maps.v[i]);
	if (r < 0 || m->now.mapped.n == 0)
		return r;
	/* A vfork child writes through the target's own page tables. */
	if (umem_kcmp_same_memory(tid, m->tid) ||
		umem_proc_stat_read(pid, 0, &m->now.stat) < 0)
		return 0;
	m->now.pid = pid;
	return 1;
}

int umem_mappers_next(struct umem_mappers *m, bool (*skip)(void *user, int pid), void *user,
	const struct umem_mapper **ret_mapper)
{
	const struct dirent *entry;

	if (m->n_index == 0)
		return 0;
	if (!m->proc)
		return umem_mappers_take(m, skip, user, ret_mapper);
	while ((entry = readdir(m->proc))) {
		int pid = atoi(entry->d_name);
		int r;

		if (pid <= 0 || pid == m->pid || (skip && skip(user, pid)))
			continue;
		r = look(m, pid);
		if (r < 0)
			return r;
		if (r > 0) {
			*ret_mapper = &m->now;
			return 1;
		}
	}
	return 0;
}
