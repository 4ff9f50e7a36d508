// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Metrics about umemd itself, by the names that such metrics have in any program, and about
 * its workers.
 */
#include "daemon/metrics_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "daemon/link.h"
#include "daemon/session.h"
#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"

#define STATM_MAX_BYTES 256u
#define STAT_MAX_BYTES  1024u
/* Where in /proc/self/stat, counted behind the name: proc_pid_stat(5). */
#define STARTTIME 20

/* Resident memory of process @pid, of which nothing else is asked. Return: 0 for not known. */
static uint64_t resident_bytes(pid_t pid)
{
	UMEM_FREE char *text = NULL;
	char path[40];
	char *at;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (umem_read_file(AT_FDCWD, path, STATM_MAX_BYTES, &text, NULL) < 0)
		return 0;
	at = strchr(text, ' ');
	return at ? strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void own_resident(struct expose *x, struct metrics *m)
{
	expose_u64(x, resident_bytes(getpid()));
}

static void own_cpu(struct expose *x, struct metrics *m)
{
	struct timespec used = { 0 };

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	expose_seconds(x, (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec);
}

/* When it was started, since 1970: what it was then is now minus how long ago. */
static void own_start(struct expose *x, struct metrics *m)
{
	UMEM_FREE char *text = NULL;
	struct timespec since = { 0 }, now = { 0 };
	double ago = 0;
	char *at = NULL;

	if (umem_read_file(AT_FDCWD, "/proc/self/stat", STAT_MAX_BYTES, &text, NULL) == 0)
		at = strrchr(text, ')');
	for (int i = 0; at && i < STARTTIME; i++)
		at = strchr(at + 1, ' ');
	clock_gettime(CLOCK_BOOTTIME, &since);
	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		ago = (double)since.tv_sec + (double)since.tv_nsec / 1e9 -
			strtod(at, NULL) / (double)sysconf(_SC_CLK_TCK);
	expose_double(x, (double)(int64_t)((double)now.tv_sec + (double)now.tv_nsec / 1e9 - ago));
}

static void open_fds(struct expose *x, struct metrics *m)
{
	DIR *dir = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (dir) {
		while (readdir(dir))
			n++;
		closedir(dir);
	}
	/* Two are no descriptors, one is that of looking. */
	expose_u64(x, n > 3 ? n - 3 : 0);
}

static void max_fds(struct expose *x, struct metrics *m)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	expose_u64(x, limit.rlim_cur);
}

/* Looking at many workers costs something: not more often than once in a while. */
static void look_at_workers(struct metrics *m)
{
	const struct session *s;
	uint64_t now_ns = umem_now_ns();

	if (m->workers_ns && now_ns - m->workers_ns < USAGE_OLD_NS)
		return;
	m->workers_ns = now_ns;
	m->workers_bytes = 0;
	m->n_workers = 0;
	LIST_FOREACH(s, &m->manager->sessions, entry) {
		if (!s->link)
			continue;
		m->n_workers++;
		m->workers_bytes += resident_bytes(link_pid(s->link));
	}
}

static void workers(struct expose *x, struct metrics *m)
{
	look_at_workers(m);
	expose_u64(x, m->n_workers);
}

static void workers_resident(struct expose *x, struct metrics *m)
{
	look_at_workers(m);
	expose_u64(x, m->workers_bytes);
}

static const struct metrics_family families[] = {
	{ EXPOSE_GAUGE, "umemd_workers", NULL, workers, "Worker processes." },
	{ EXPOSE_GAUGE, "umemd_workers_resident_memory_bytes", "bytes", workers_resident,
		"Resident memory of all workers; what they share counts for each." },
	{ EXPOSE_GAUGE, "process_resident_memory_bytes", "bytes", own_resident,
		"Resident memory of umemd itself." },
	{ EXPOSE_COUNTER, "process_cpu_seconds", "seconds", own_cpu,
		"Processor time of umemd itself." },
	{ EXPOSE_GAUGE, "process_start_time_seconds", "seconds", own_start,
		"When umemd was started, since 1970." },
	{ EXPOSE_GAUGE, "process_open_fds", NULL, open_fds, "Descriptors that umemd has open." },
	{ EXPOSE_GAUGE, "process_max_fds", NULL, max_fds, "Descriptors that umemd may have." },
};

const struct metrics_family *metrics_of_processes(size_t *ret_n)
{
	*ret_n = UMEM_ARRAY_LEN(families);
	return families;
}
