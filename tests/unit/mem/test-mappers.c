// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who else maps the shared memory of a process: this one's, by its children. */
#include "lib/mem/mappers.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define PAGE 4096ull

static bool skip_one(void *user, int pid)
{
	return pid == *(int *)user;
}

/* What the process @pid maps of ours, or false. */
static bool find(struct umem_target *target, const struct umem_ranges *only, int pid,
	struct umem_ranges *ret_mapped, struct umem_ranges *ret_written)
{
	struct umem_mappers mappers = { 0 };
	const struct umem_mapper *m;
	bool found = false;

	umem_ranges_clear(ret_mapped);
	umem_ranges_clear(ret_written);
	T_OK(umem_mappers_begin(&mappers, target, only));
	while (umem_mappers_next(&mappers, NULL, NULL, &m) == 1) {
		T_CHECK(m->pid != getpid());
		if (m->pid != pid)
			continue;
		T_CHECK(!found);
		found = true;
		for (size_t i = 0; i < m->mapped.n; i++)
			T_OK(umem_ranges_add(ret_mapped, m->mapped.v[i].start, m->mapped.v[i].end));
		for (size_t i = 0; i < m->written.n; i++)
			T_OK(umem_ranges_add(ret_written, m->written.v[i].start,
				m->written.v[i].end));
	}
	/* And again, passing it over. */
	T_OK(umem_mappers_begin(&mappers, target, only));
	while (umem_mappers_next(&mappers, skip_one, &pid, &m) == 1)
		T_CHECK(m->pid != pid);
	umem_mappers_deinit(&mappers);
	return found;
}

static bool is_range(const struct umem_ranges *set, char *at, uint64_t from, uint64_t to)
{
	return set->n == 1 && set->v[0].start == (uintptr_t)at + from * PAGE &&
		set->v[0].end == (uintptr_t)at + to * PAGE;
}

/* A child that maps pages [@from, @to) of the file with these flags, and no other. */
static pid_t child(int fd, char *at, uint64_t from, uint64_t to, int prot, int flags)
{
	int ready[2];
	pid_t pid;
	char c;

	T_SYS(pipe(ready));
	pid = t_fork();
	if (pid == 0) {
		munmap(at, 16 * PAGE);
		if (to > from && mmap(NULL, (to - from) * PAGE, prot, flags, fd,
					 (off_t)(from * PAGE)) == MAP_FAILED)
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	T_CHECK(read(ready[0], &c, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static int ready_fd;

static void *say_ready(void *user)
{
	/* The leader has ended once it is a zombie. */
	T_UNTIL(5, t_proc_state(getpid()) == 'Z');
	if (write(ready_fd, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

/* A child that keeps all mappings, and whose first thread has ended. */
static pid_t leaderless(void)
{
	pthread_t thread;
	int ready[2];
	pid_t pid;
	char c;

	T_SYS(pipe(ready));
	pid = t_fork();
	if (pid == 0) {
		ready_fd = ready[1];
		pthread_create(&thread, NULL, say_ready, NULL);
		pthread_exit(NULL);
	}
	T_CHECK(read(ready[0], &c, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

int main(void)
{
	int fd = (int)T_SYS(memfd_create("shared", MFD_CLOEXEC));
	struct umem_ranges mapped = { 0 }, written = { 0 }, only = { 0 }, a = { 0 }, v = { 0 };
	struct umem_target *target;
	pid_t pid;
	char *at;

	T_SYS(ftruncate(fd, 32 * PAGE));
	/* Pages 4 to 20 of the file. */
	at = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4 * PAGE);
	T_CHECK(at != MAP_FAILED);
	T_OK(umem_target_open(getpid(), NULL, &target, NULL));
	T_OK(umem_target_refresh(target, &a, &v, NULL));

	pid = child(fd, at, 0, 8, PROT_READ | PROT_WRITE, MAP_SHARED);
	T_CHECK(find(target, NULL, pid, &mapped, &written));
	T_CHECK(is_range(&mapped, at, 0, 4) && is_range(&written, at, 0, 4));
	T_OK(umem_ranges_add(&only, 0x1000, 0x2000));
	T_CHECK(!find(target, &only, pid, &mapped, &written));
	T_OK(umem_ranges_add(&only, (uintptr_t)at, (uintptr_t)at + PAGE));
	T_CHECK(find(target, &only, pid, &mapped, &written));
	t_end(pid);

	pid = child(fd, at, 8, 32, PROT_READ, MAP_SHARED);
	T_CHECK(find(target, NULL, pid, &mapped, &written));
	T_CHECK(is_range(&mapped, at, 4, 16) && written.n == 0);
	t_end(pid);

	/* A private mapping reads the object, and writes copies. */
	pid = child(fd, at, 4, 6, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	T_CHECK(find(target, NULL, pid, &mapped, &written));
	T_CHECK(is_range(&mapped, at, 0, 2) && written.n == 0);
	t_end(pid);

	/* Another part of the same file, or nothing. */
	pid = child(fd, at, 20, 32, PROT_READ | PROT_WRITE, MAP_SHARED);
	T_CHECK(!find(target, NULL, pid, &mapped, &written));
	t_end(pid);
	pid = child(fd, at, 0, 0, 0, 0);
	T_CHECK(!find(target, NULL, pid, &mapped, &written));
	t_end(pid);

	pid = leaderless();
	T_CHECK(find(target, NULL, pid, &mapped, &written));
	T_CHECK(is_range(&mapped, at, 0, 16) && is_range(&written, at, 0, 16));
	t_end(pid);

	umem_target_free(target);
	umem_ranges_deinit(&mapped);
	umem_ranges_deinit(&written);
	umem_ranges_deinit(&only);
	umem_ranges_deinit(&a);
	umem_ranges_deinit(&v);
	return 0;
}
