// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Images of a program that never holds still are one moment: hundreds of snapshots of
 * the staircase, by umemctl, of every kind of memory, with 1 to 8 lanes.
 *
 * staircase METHOD [CASE]: freeze, precopy, cow or fork.
 * staircase hugetlb|merged|half: by all four. Merged: by KSM, which takes the protection of
 * a page away. Half: of two processes that share their memory, one is copied.
 */
#include "tests/matrix/staircase.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/clients/client.h"
#include "tests/clients/snapshot.h"
#include "tests/kernel/scratch.h"

/* What is asked of the command. */
static const char *const methods[] = { "freeze", "precopy", "cow", "fork" };

/** enum claim - what is claimed of an image. */
enum claim {
	COMPLETE, /* it is, and one moment */
	LANES,	  /* that for the lanes; of churned memory it may admit not to know some */
	HONEST,	  /* it is one moment, or says that it is not, or there is none for a reason */
};

/** struct the_case - a victim, and how often it is copied. @is_tree: with all its processes. */
struct the_case {
	const char *name;
	struct sc_setup setup;
	unsigned times;
	enum claim claim;
	bool is_tree;
};

/* Pages of a lane so that all lanes have 2 to 16 MiB. */
static const struct the_case cases[] = {
	{ "anon-1", { 1, SC_ANON, 512, 0, 1, 0 }, 15, COMPLETE, false },
	{ "anon-2", { 2, SC_ANON, 1021, 0, 1, 0 }, 10, COMPLETE, false },
	{ "anon-8", { 8, SC_ANON, 509, 0, 1, 0 }, 15, COMPLETE, false },
	{ "memfd-1", { 1, SC_MEMFD, 2039, 0, 1, 0 }, 10, COMPLETE, false },
	{ "memfd-8", { 8, SC_MEMFD, 127, 0, 1, 0 }, 10, COMPLETE, false },
	{ "shared-4", { 4, SC_SHARED, 509, 0, 1, 0 }, 10, COMPLETE, false },
	{ "file-3", { 3, SC_FILE, 509, 0, 1, 0 }, 8, COMPLETE, false },
	{ "thp-2", { 2, SC_THP, 2048, 0, 1, 0 }, 10, COMPLETE, false },
	{ "alias-3", { 3, SC_ALIAS, 251, 0, 1, 0 }, 10, COMPLETE, false },
	{ "calm-5", { 5, SC_MIXED, 256, SC_CALM, 1, 1 }, 15, LANES, false },
	{ "wild-4", { 4, SC_ANON, 509, SC_WILD, 1, 2 }, 15, LANES, false },
	{ "wild-6", { 6, SC_MIXED, 251, SC_CALM | SC_WILD, 1, 3 }, 15, LANES, false },
	/* Two processes, each with lanes of its own, in one image. */
	{ "tree-anon-4", { 4, SC_ANON, 509, 0, 2, 0 }, 8, COMPLETE, true },
	{ "tree-shared-6", { 6, SC_MEMFD, 251, 0, 2, 0 }, 8, COMPLETE, true },
	{ "tree-wild-6", { 6, SC_MIXED, 251, SC_CALM | SC_WILD, 2, 4 }, 8, LANES, true },
};

static const struct the_case huge_case = { "hugetlb-2", { 2, SC_HUGETLB, 1024, 0, 1, 0 }, 5,
	COMPLETE, false };

/* Merging takes the protection of a page away: a method says so, or copes. */
static const struct the_case merged_case = { "merged-4", { 4, SC_MERGED, 1024, 0, 1, 0 }, 10,
	HONEST, false };

/* Shared memory of which one process only is copied: the other one may write to it. */
static const struct the_case half_case = { "half-4", { 4, SC_MEMFD, 512, 0, 2, 0 }, 10,
	HONEST, false };

struct image {
	const char *file;
	bool is_tree;
};

static bool read_image(void *user, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	const struct image *image = user;

	return cl_snapshot_read(image->file, image->is_tree ? pid : 0, at, bytes, len);
}

struct sums {
	unsigned n;
	unsigned n_incomplete;
	unsigned n_refused;
	unsigned in_page;
	uint64_t scratch_pages;
	uint64_t done;
};

/* There is an image to be judged, or a reason why not. */
static bool is_to_be_judged(const struct the_case *c, const struct cl_snapshot *snapshot,
	const char *method, struct sums *sums)
{
	if (c->claim == HONEST && snapshot->status == 1) {
		T_CHECK(strncmp(snapshot->said, "umemctl: ", 9) == 0, "%s", snapshot->said);
		if (sums->n_refused++ == 0)
			printf("	%s", snapshot->said);
		return false;
	}
	T_CHECK(snapshot->status == 0, "%s of %s: status %d: %s", method, c->name,
		snapshot->status, snapshot->said);
	T_CHECK(strcmp(snapshot->method, method) == 0, "it took %s", snapshot->method);
	if (snapshot->complete)
		return true;
	T_CHECK(c->claim != COMPLETE, "%s of %s is incomplete: %s", method, c->name,
		snapshot->reason);
	if (sums->n_incomplete++ == 0)
		printf("	incomplete: %s\n", snapshot->reason);
	return c->claim == LANES;
}

static void one_image(const struct the_case *c, struct sc_victim *victim, const char *method,
	struct sums *sums)
{
	static const char *const tree[] = { "--tree", NULL };
	char path[128];
	struct image image = { path, c->is_tree };
	struct sc_reader reader = { read_image, &image };
	struct cl_snapshot snapshot = { 0 };
	struct sc_verdict verdict;

	snprintf(path, sizeof(path), "%s", cl_path("image"));
	cl_snapshot_take(&snapshot, victim->pid, path, method, c->is_tree ? tree : NULL);
	if (is_to_be_judged(c, &snapshot, method, sums)) {
		sc_judge(&reader, victim->pid, &snapshot.incomplete, &verdict);
		T_CHECK(verdict.is_one_moment, "%s of %s, snapshot %u: %s", method, c->name,
			sums->n, verdict.why);
		T_CHECK(verdict.done >= sums->done, "it is earlier than the one before");
		sums->done = verdict.done;
		sums->n++;
		sums->in_page += verdict.in_page;
		sums->scratch_pages += verdict.scratch_pages;
	}
	cl_snapshot_deinit(&snapshot);
	unlink(path);
}

static uint64_t n_merged(pid_t pid)
{
	uint64_t n = 0;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", (int)pid);
	k_read_u64(path, &n);
	return n;
}

static void run_case(const struct the_case *c, const char *method, struct sums *total)
{
	/* Threads and descriptors come and go of themselves. */
	const unsigned leaving = SC_THREADS | SC_WILD;
	struct sc_setup setup = c->setup;
	struct sums sums = { 0 };
	struct cl_traces traces;
	struct sc_victim victim;
	uint64_t start_ns = t_now_ns();

	/*
	 * Rarely, a mapping that is replaced while it is registered or released is divided for
	 * a moment, and a mremap(2) over both parts fails just then (kernel/register-splits).
	 */
	if (strcmp(method, "cow") == 0 || strcmp(method, "precopy") == 0)
		setup.churn &= ~(unsigned)SC_MREMAP;
	sc_start(&victim, &setup);
	if (c->setup.kind == SC_MERGED)
		T_UNTIL(30, n_merged(victim.pid) > c->setup.n_pages / 2);
	if (!(c->setup.churn & leaving))
		cl_traces_take(&traces, victim.pid);
	for (unsigned i = 0; i < c->times; i++)
		one_image(c, &victim, method, &sums);
	sc_check(&victim);
	if (!(c->setup.churn & leaving))
		cl_traces_check(&traces, victim.pid);
	sc_stop(&victim);
	printf("%-8s %-14s %u images, 0 torn; %u incomplete, %u refused, %u lanes caught within "
	       "a page, %llu scratch pages; %llu ms each\n", method, c->name, sums.n,
		sums.n_incomplete, sums.n_refused, sums.in_page,
		(unsigned long long)sums.scratch_pages,
		(unsigned long long)(t_now_ns() - start_ns) / 1000000 / c->times);
	total->n += sums.n;
}

#define KSM "/sys/kernel/mm/ksm/"

static const char *const ksm_knobs[] = { KSM "pages_to_scan", KSM "sleep_millisecs", KSM "run" };
static uint64_t ksm_kept[3];

static void ksm_set(int i, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	k_write_text(ksm_knobs[i], text);
}

static void ksm_put_back(void)
{
	for (int i = 0; i < 3; i++)
		ksm_set(i, ksm_kept[i]);
}

/* Pages that are alike are merged as fast as can be, until the program ends. */
static void merge_pages(void)
{
	for (int i = 0; i < 3; i++)
		if (!k_read_u64(ksm_knobs[i], &ksm_kept[i]) || access(ksm_knobs[i], W_OK) < 0)
			T_SKIP("no KSM that may be switched on");
	k_at_end(ksm_put_back);
	ksm_set(0, 5000);
	ksm_set(1, 1);
	ksm_set(2, 1);
}

static void run_by_all(const struct the_case *c, struct sums *total)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(methods); i++)
		run_case(c, methods[i], total);
}

static void run_named(const char *method, const char *name, struct sums *total)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(cases); i++)
		if (!name || strcmp(name, cases[i].name) == 0)
			run_case(&cases[i], method, total);
	printf("%s: %u images, 0 torn\n", method, total->n);
}

int main(int argc, char **argv)
{
	struct sums total = { 0 };

	sc_main(argc, argv);
	T_CHECK(argc >= 2);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0)
		T_SKIP("attaching needs root");
	if (strcmp(argv[1], "hugetlb") == 0) {
		k_hugepages(8);
		run_by_all(&huge_case, &total);
	} else if (strcmp(argv[1], "merged") == 0) {
		merge_pages();
		run_by_all(&merged_case, &total);
	} else if (strcmp(argv[1], "half") == 0) {
		run_by_all(&half_case, &total);
	} else {
		run_named(argv[1], argc > 2 ? argv[2] : NULL, &total);
	}
	return 0;
}
