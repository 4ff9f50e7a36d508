// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Residency maps against an oracle that looks at each page by itself: many
 * seeds, each with processes of its own (residency.h).
 *
 * SEED=N gives the first seed, and so replays one; --seeds, --rounds, --steps,
 * --jobs; --file has a swap file on disk (pages stay in the swap cache) instead
 * of zram; --nobody asks, and acts, as an unprivileged user; --compact has the
 * kernel move pages all the time; --verbose prints all steps.
 */
#include <fcntl.h>
#include <getopt.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"
#include "tests/lib/harness.h"
#include "tests/torture/residency.h"

#define SWAP_BYTES (768ull << 20)
#define POOL_PAGES 24

static struct cast cast;

/* Moves pages of everybody, until it is ended. */
static void compact_all_the_time(void)
{
	if (t_fork() != 0)
		return;
	for (;;)
		if (k_write_text("/proc/sys/vm/compact_memory", "1") < 0)
			exit(0);
}

bool cast_run(const struct cast_options *options, uint64_t seed, struct cast_tally *ret_tally)
{
	struct cast *c = &cast;
	bool passed = true;

	c->options = options;
	c->seed = seed;
	c->state = seed ^ 0x7265736964656eu;
	cast_asker_start(options->nobody);
	cast_open(c);
	if (options->compact)
		compact_all_the_time();
	for (; c->round < options->rounds && passed; c->round++) {
		cast_log(c, "round %u", c->round);
		for (unsigned i = 0; i < 40 && c->round == 0; i++)
			cast_map_step(c);
		for (unsigned i = 0; i < options->steps; i++)
			cast_step(c);
		if (options->verbose)
			fputs(c->log, stdout);
		passed = cast_judge(c) && cast_judge_objects(c);
		if (options->verbose || c->log_len > sizeof(c->log) / 2)
			c->log_len = 0;
	}
	*ret_tally = c->tally;
	return passed;
}

/* A seed that is being run. */
struct job {
	uint64_t seed;
	pid_t pid;
	int fd;
};

static struct job begin_seed(const struct cast_options *options, uint64_t seed)
{
	int pipe_fds[2];
	struct job job = { .seed = seed };

	T_SYS(pipe2(pipe_fds, O_CLOEXEC));
	job.pid = t_fork();
	if (job.pid == 0) {
		struct cast_tally tally;
		bool passed = cast_run(options, seed, &tally);

		T_CHECK(write(pipe_fds[1], &tally, sizeof(tally)) == (ssize_t)sizeof(tally));
		exit(passed ? 0 : 1);
	}
	close(pipe_fds[1]);
	job.fd = pipe_fds[0];
	return job;
}

static void add(struct cast_tally *sum, const struct cast_tally *tally)
{
	sum->steps += tally->steps;
	sum->queries += tally->queries;
	sum->pages += tally->pages;
	sum->inexact += tally->inexact;
	sum->moved += tally->moved;
	sum->again += tally->again;
	for (size_t i = 0; i < UMEM_N_STATES; i++)
		sum->states[i] += tally->states[i];
}

/* Return: did it pass? */
static bool end_seed(struct job *job, struct cast_tally *sum)
{
	struct cast_tally tally = { 0 };
	int status;

	if (read(job->fd, &tally, sizeof(tally)) == (ssize_t)sizeof(tally))
		add(sum, &tally);
	close(job->fd);
	status = t_wait(job->pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	if (status)
		printf("seed %llu failed: %#x\n", (unsigned long long)job->seed, status);
	return status == 0;
}

/* Two at a time. Return: how many failed. */
static unsigned run_seeds(const struct cast_options *options, uint64_t seed,
	struct cast_tally *sum)
{
	struct job jobs[2];
	unsigned begun = 0, ended = 0, failed = 0;

	while (ended < begun || (begun < options->seeds && failed < 3)) {
		if (begun < options->seeds && failed < 3 && begun - ended < options->jobs) {
			jobs[begun % 2] = begin_seed(options, seed + begun);
			begun++;
		} else {
			failed += !end_seed(&jobs[ended % 2], sum);
			ended++;
		}
	}
	return failed;
}

static void report(const struct cast_tally *sum, double seconds)
{
	printf("%llu steps, %llu queries, %llu pages compared (", (unsigned long long)sum->steps,
		(unsigned long long)sum->queries, (unsigned long long)sum->pages);
	for (int i = 0; i < UMEM_N_STATES; i++)
		printf("%s%llu %s", i ? ", " : "", (unsigned long long)sum->states[i],
			umem_state_name((enum umem_state)i));
	printf("), %llu in regions that are not exact, %llu moved, %llu queries repeated, %.1f s\n",
		(unsigned long long)sum->inexact, (unsigned long long)sum->moved,
		(unsigned long long)sum->again, seconds);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seeds", required_argument, NULL, 'n' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "steps", required_argument, NULL, 's' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "file", no_argument, NULL, 'f' },
		{ "nobody", no_argument, NULL, 'u' },
		{ "compact", no_argument, NULL, 'c' },
		{ "verbose", no_argument, NULL, 'v' },
		{ 0 },
	};
	struct cast_options options = { .seeds = 16, .rounds = 10, .steps = 30, .jobs = 2 };
	uint64_t seed, start_ns = t_now_ns();
	struct cast_tally sum = { 0 };
	bool file = false;
	unsigned failed;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		unsigned n = optarg ? (unsigned)strtoul(optarg, NULL, 0) : 0;

		options.seeds = c == 'n' ? n : options.seeds;
		options.rounds = c == 'r' ? n : options.rounds;
		options.steps = c == 's' ? n : options.steps;
		if (c == 'j')
			options.jobs = n == 1 ? 1 : 2;
		file |= c == 'f';
		options.nobody |= c == 'u';
		options.compact |= c == 'c';
		options.verbose |= c == 'v';
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = t_seed();
	if (geteuid() != 0)
		T_SKIP("the truth is shown to root only");
	if (access("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", W_OK) == 0) {
		options.hugetlb = true;
		k_hugepages(POOL_PAGES);
	}
	if (file)
		k_swap_file(SWAP_BYTES);
	else
		k_zram_swap(SWAP_BYTES);
	failed = run_seeds(&options, seed, &sum);
	report(&sum, (double)(t_now_ns() - start_ns) / 1e9);
	return failed ? 1 : 0;
}
