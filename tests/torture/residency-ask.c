// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The asking process of the residency oracle: the engine as a user of it runs
 * it, in a process that maps nothing of the actors', maybe without privilege.
 */
#include <grp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <umemd/target.h>

#include "tests/lib/harness.h"
#include "tests/torture/residency.h"

#define MAX_RANGES 4
#define NOBODY     65534

const struct cast_way cast_ways[] = {
	{ NULL, NULL, true },
	{ "scan", NULL, true },
	{ "words", NULL, true },
	{ "smaps", NULL, false },
	{ "cachestat", NULL, true },
	{ "halving", NULL, true },
	{ "extents", NULL, false },
	{ "continue", NULL, true },
	{ NULL, "-pagemap_scan", true },
	{ NULL, "-procmap_query", true },
	{ NULL, "-cachestat", false },
	{ NULL, "-map_files", true },
	{ NULL, "-swap_type_visible", false },
	{ NULL, "-uffd_minor", false },
	{ NULL, "-guard_regions", true },
	{ NULL, "-pagemap_scan,-cachestat,-map_files,-swap_type_visible,-uffd_minor", false },
};
const size_t cast_n_ways = sizeof(cast_ways) / sizeof(cast_ways[0]);

/* What is asked. */
struct question {
	pid_t pid;
	size_t way;
	bool again;
	size_t n;
	struct umem_range ranges[MAX_RANGES];
};

/* What is kept of a way to ask about a process; the map, if it is of everything. */
struct kept {
	pid_t pid;
	bool all;
	struct umem_target *target;
	struct umem_residency *map;
};

static int sock = -1;
static struct cast_answer *answer;

static int take_run(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	(void)user;
	for (uint64_t at = start; at < end; at += PAGE) {
		unsigned char *page;

		if (at < ARENA_AT || at >= ARENA_END)
			continue;
		page = &answer->state[(at - ARENA_AT) / PAGE];
		answer->twice |= *page != TRUTH_NONE;
		*page = (unsigned char)state;
	}
	return 0;
}

static void take_regions(const struct umem_residency *map)
{
	size_t n;
	const struct umem_residency_region *v = umem_residency_regions(map, &n);

	T_CHECK(n <= MAX_ANSWERS);
	answer->n = n;
	for (size_t i = 0; i < n; i++) {
		struct cast_region *to = &answer->v[i];

		*to = (struct cast_region){
			.start = v[i].start,
			.end = v[i].end,
			.page_size_bytes = v[i].page_size_bytes,
			.exact = v[i].exact,
			.io_known = v[i].io_known,
			.io_bytes = v[i].io_bytes,
		};
		memcpy(to->bytes, v[i].bytes, sizeof(to->bytes));
		snprintf(to->kind, sizeof(to->kind), "%s", v[i].kind);
		snprintf(to->method, sizeof(to->method), "%s", v[i].method);
		snprintf(to->reason, sizeof(to->reason), "%s", v[i].reason ? v[i].reason : "");
	}
}

static int make_map(struct kept *kept, const struct question *q, struct umem_note *note)
{
	const struct cast_way *way = &cast_ways[q->way];
	struct umem_attach_options attach = { .size = sizeof(attach),
		.feature_override = way->features };
	struct umem_residency_options options = { .size = sizeof(options), .method = way->method,
		.regions = q->ranges, .n_regions = q->n };
	int r = 0;

	if (kept->pid != q->pid) {
		kept->map = umem_residency_free(kept->map);
		umem_target_free(kept->target);
		kept->target = NULL;
		kept->pid = q->pid;
		r = umem_target_open(q->pid, &attach, &kept->target, note);
		if (r != 0)
			return r;
	}
	if (q->again && kept->map && kept->all && q->n == 0)
		return umem_residency_refresh(kept->map, note);
	kept->map = umem_residency_free(kept->map);
	kept->all = q->n == 0;
	return umem_residency_new(kept->target, &options, &kept->map, note);
}

static void answer_one(struct kept *kept, const struct question *q)
{
	struct umem_note note = { 0 };
	int r = make_map(kept, q, &note);

	answer->n = 0;
	answer->twice = false;
	memset(answer->state, TRUTH_NONE, sizeof(answer->state));
	if (r == 0) {
		take_regions(kept->map);
		r = umem_residency_each(kept->map, 0, UINT64_MAX, take_run, NULL);
	}
	answer->r = r;
	snprintf(answer->note, sizeof(answer->note), "%s", note.text);
}

static void serve(bool nobody)
{
	static struct kept kept[N_ACTORS][sizeof(cast_ways) / sizeof(cast_ways[0])];
	struct question q;

	if (nobody) {
		T_SYS(setgroups(0, NULL));
		T_SYS(setresgid(NOBODY, NOBODY, NOBODY));
		T_SYS(setresuid(NOBODY, NOBODY, NOBODY));
	}
	while (read(sock, &q, sizeof(q)) == (ssize_t)sizeof(q)) {
		char done = 1;

		answer_one(&kept[(unsigned)q.pid % N_ACTORS][q.way], &q);
		T_CHECK(write(sock, &done, 1) == 1);
	}
	exit(0);
}

void cast_asker_start(bool nobody)
{
	int pair[2];

	T_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	answer = mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	T_CHECK(answer != MAP_FAILED);
	if (t_fork() == 0) {
		close(pair[0]);
		sock = pair[1];
		serve(nobody);
	}
	close(pair[1]);
	sock = pair[0];
}

const struct cast_answer *cast_ask(pid_t pid, size_t way, bool again,
	const struct umem_range *ranges, size_t n)
{
	struct question q = { .pid = pid, .way = way, .again = again, .n = n };
	char done;

	T_CHECK(n <= MAX_RANGES);
	if (n)
		memcpy(q.ranges, ranges, n * sizeof(*ranges));
	T_CHECK(write(sock, &q, sizeof(q)) == (ssize_t)sizeof(q));
	T_CHECK(read(sock, &done, 1) == 1, "the asking process ended");
	return answer;
}
