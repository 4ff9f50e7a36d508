// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A memory cgroup of our own: the process in it is found there, its processes are
 * listed, swap is charged page by page, and it can be made to give back. With
 * version 1 (memory.force_empty) or version 2 (memory.reclaim), what there is.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/cgroup.h"
#include "lib/kern/vmstat.h"
#include "tests/kernel/scratch.h"

#define N 8192ul

static char home[256], group[300], inner[320];

static int move_to(const char *folder, pid_t pid)
{
	char path[340], text[16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	snprintf(text, sizeof(text), "%d", (int)pid);
	return k_write_text(path, text);
}

static void leave(void)
{
	move_to(home, getpid());
	rmdir(inner);
	rmdir(group);
}

/* Ours and one below, beside us; version 2 must give the controller on. */
static void make_groups(const struct umem_cgroup *ours)
{
	char path[340];

	snprintf(home, sizeof(home), "%s", ours->path);
	snprintf(group, sizeof(group), "%s/umem-test-%d", home, (int)getpid());
	snprintf(inner, sizeof(inner), "%s/in", group);
	if (mkdir(group, 0755) < 0)
		T_SKIP("no cgroup can be made in %s: %s", home, strerror(errno));
	k_at_end(leave);
	T_SYS(mkdir(inner, 0755));
	snprintf(path, sizeof(path), "%s/%s", group,
		ours->version == 2 ? "memory.current" : "memory.usage_in_bytes");
	if (access(path, F_OK) < 0)
		T_SKIP("cgroups in %s have no memory controller", home);
}

static struct umem_cgroup_usage usage_of(const struct umem_cgroup *cgroup)
{
	struct umem_cgroup_usage usage;

	T_OK(umem_cgroup_usage(cgroup, &usage));
	return usage;
}

static void processes(const struct umem_cgroup *cgroup)
{
	struct umem_cgroup_pids pids = { 0 };
	pid_t pid = t_fork();

	if (pid == 0) {
		for (;;)
			pause();
	}
	T_OK(umem_cgroup_pids(cgroup, 100, &pids));
	T_CHECK(pids.n == 2 && pids.v[0] != pids.v[1]);
	T_CHECK(pids.v[0] == getpid() || pids.v[1] == getpid());
	T_OK(move_to(inner, pid));
	T_OK(umem_cgroup_pids(cgroup, 100, &pids));
	T_CHECK(pids.n == 2);
	T_CHECK(umem_cgroup_pids(cgroup, 1, &pids) == UMEM_CGROUP_MORE && pids.n == 1);
	T_OK(move_to(home, pid));
	T_OK(umem_cgroup_pids(cgroup, 100, &pids));
	T_CHECK(pids.n == 1 && pids.v[0] == getpid() && pids.n_unseen == 0);
	t_end(pid);
	umem_cgroup_pids_deinit(&pids);
}

static void swap_charged(const struct umem_cgroup *cgroup, char *at)
{
	struct umem_cgroup_usage in = usage_of(cgroup), out;

	T_CHECK(in.has_swap && in.memory_bytes >= N * K_PAGE && in.swap_bytes < N * K_PAGE / 10);
	T_CHECK(in.swap_room_bytes == UINT64_MAX && in.memsw_max_bytes == UINT64_MAX);
	T_SYS(madvise(at, N * K_PAGE, MADV_PAGEOUT));
	out = usage_of(cgroup);
	k_fact("%lu pages out to zram: memory -%llu pages, swap +%llu, VmSwap %llu", N,
		(unsigned long long)(in.memory_bytes - out.memory_bytes) / K_PAGE,
		(unsigned long long)(out.swap_bytes - in.swap_bytes) / K_PAGE,
		(unsigned long long)k_status_kb("VmSwap") * 1024 / K_PAGE);
	T_CHECK(out.swap_bytes - in.swap_bytes >= N * K_PAGE * 9 / 10);
	T_CHECK(out.swap_bytes - in.swap_bytes <= k_status_kb("VmSwap") * 1024);
	T_CHECK(in.memory_bytes - out.memory_bytes >= N * K_PAGE * 9 / 10);
	k_touch(at, N * K_PAGE, 1);
	/* Some kernels (seen on 6.1) keep the charge of a few freed slots for a while. */
	T_CHECK(usage_of(cgroup).swap_bytes < N * K_PAGE / 10);
}

static uint64_t sum(uint64_t a, uint64_t b, uint64_t c)
{
	return a + b + c;
}

/* Reclaim for a cgroup is counted as looking at pages, and under no other name. */
static void give_back(const struct umem_cgroup *cgroup, char *at)
{
	struct umem_cgroup_usage in = usage_of(cgroup), out;
	struct umem_vmstat before, now;
	uint64_t start;
	int r;

	/* Pages in use may be spared. */
	T_SYS(madvise(at, N * K_PAGE, MADV_COLD));
	start = t_now_ns();
	T_OK(umem_vmstat_read(NULL, &before));
	if (cgroup->version == 1) {
		T_CHECK(umem_cgroup_reclaim(cgroup, K_PAGE) == -EOPNOTSUPP);
		T_OK(umem_cgroup_force_empty(cgroup));
	} else {
		T_CHECK(umem_cgroup_force_empty(cgroup) == -EOPNOTSUPP);
		r = umem_cgroup_reclaim(cgroup, N * K_PAGE / 2);
		T_CHECK(r == 0, "%d", r);
	}
	start = t_now_ns() - start;
	T_OK(umem_vmstat_read(NULL, &now));
	out = usage_of(cgroup);
	k_fact("version %d gave back %llu of %llu pages in %llu us; scanned: anon %llu, "
	       "kswapd, direct, proactive %llu", cgroup->version,
		(unsigned long long)(in.memory_bytes - out.memory_bytes) / K_PAGE,
		(unsigned long long)in.memory_bytes / K_PAGE, (unsigned long long)start / 1000,
		(unsigned long long)(now.pgscan_anon - before.pgscan_anon),
		(unsigned long long)(sum(now.pgscan_kswapd, now.pgscan_direct,
			now.pgscan_proactive) - sum(before.pgscan_kswapd, before.pgscan_direct,
			before.pgscan_proactive)));
	T_CHECK(in.memory_bytes - out.memory_bytes >= N * K_PAGE / 4);
	T_CHECK(now.pgscan_anon - before.pgscan_anon >= N / 4);
	if (cgroup->version == 2)
		T_CHECK(umem_cgroup_reclaim(cgroup, 4 * N * K_PAGE) == UMEM_CGROUP_PARTIAL);
}

static void limits(const struct umem_cgroup *cgroup)
{
	char path[340];

	snprintf(path, sizeof(path), "%s/%s", group,
		cgroup->version == 2 ? "memory.max" : "memory.limit_in_bytes");
	T_CHECK(usage_of(cgroup).memory_max_bytes == UINT64_MAX);
	T_OK(k_write_text(path, "1073741824"));
	T_CHECK(usage_of(cgroup).memory_max_bytes == 1073741824);
	T_OK(k_write_text(path, cgroup->version == 2 ? "max" : "-1"));
	T_CHECK(usage_of(cgroup).memory_max_bytes == UINT64_MAX);
	if (cgroup->version == 1)
		return;
	snprintf(path, sizeof(path), "%s/memory.swap.max", group);
	T_OK(k_write_text(path, "1048576"));
	T_CHECK(usage_of(cgroup).swap_room_bytes + usage_of(cgroup).swap_bytes == 1048576);
	T_OK(k_write_text(path, "max"));
	T_CHECK(usage_of(cgroup).swap_room_bytes == UINT64_MAX);
}

/* Version 2 has its pressure in the group, if the machine has any. */
static void pressure(const struct umem_cgroup *cgroup)
{
	struct umem_psi ours, machine;
	int r = umem_cgroup_psi(cgroup, &ours);
	int r_machine = umem_psi_read(AT_FDCWD, UMEM_PSI_MACHINE, &machine);

	k_fact("version %d: pressure of the group %s, of the machine %s", cgroup->version,
		r ? strerrorname_np(-r) : "read", r_machine ? strerrorname_np(-r_machine) : "read");
	if (cgroup->version == 1)
		T_CHECK(r == -ENOENT);
	else if (r < 0) /* without PSI, or with cgroup_disable=pressure */
		T_CHECK(r == -ENOENT || r == -EOPNOTSUPP);
	else
		T_CHECK(r_machine == 0 && ours.full.total_us <= ours.some.total_us);
}

static void root(const struct umem_cgroup *cgroup)
{
	UMEM_CLEANUP(umem_cgroup_deinit) struct umem_cgroup top = UMEM_CGROUP_NONE;

	/* Version 1 empties no root (it must not be tried with another). */
	T_OK(umem_cgroup_open("/proc", "/", &top, NULL));
	T_CHECK(top.version == cgroup->version);
	if (top.version == 1)
		T_CHECK(umem_cgroup_force_empty(&top) == -EINVAL);
}

int main(void)
{
	struct umem_cgroup ours = UMEM_CGROUP_NONE, cgroup = UMEM_CGROUP_NONE;
	struct umem_cgroup mine = UMEM_CGROUP_NONE;
	struct umem_note note = { 0 };
	struct umem_cgroup_pids pids = { 0 };
	char *at;
	int r = umem_cgroup_of("/proc", getpid(), &ours, &note);

	if (r < 0)
		T_SKIP("%s", note.text);
	k_zram_swap(N * K_PAGE * 2);
	make_groups(&ours);
	r = move_to(group, getpid());
	if (r < 0)
		T_SKIP("cannot move into %s: %s", group, strerror(-r));
	T_OK(umem_cgroup_open("/proc", group, &cgroup, &note));
	T_OK(umem_cgroup_of("/proc", getpid(), &mine, &note));
	T_CHECK(strcmp(mine.path, group) == 0, "%s", mine.path);
	T_CHECK(cgroup.has_memory && mine.has_memory && cgroup.version == ours.version);

	at = k_anon(N * K_PAGE);
	for (size_t i = 0; i < N; i++)
		t_fill_page(at + i * K_PAGE, i, 0);
	processes(&cgroup);
	limits(&cgroup);
	swap_charged(&cgroup, at);
	give_back(&cgroup, at);
	root(&cgroup);
	pressure(&cgroup);
	munmap(at, N * K_PAGE);

	/* The descriptor stays with the group, and says when it is gone. */
	leave();
	T_CHECK(access(group, F_OK) < 0);
	T_CHECK(umem_cgroup_usage(&cgroup, &(struct umem_cgroup_usage){ 0 }) == -ENODEV);
	T_CHECK(umem_cgroup_pids(&cgroup, 10, &pids) == -ENODEV);
	T_CHECK(umem_cgroup_psi(&cgroup, &(struct umem_psi){ 0 }) == -ENODEV);
	T_CHECK(umem_cgroup_force_empty(&cgroup) == -ENODEV);
	umem_cgroup_deinit(&cgroup);
	umem_cgroup_deinit(&mine);
	umem_cgroup_deinit(&ours);
	return 0;
}
