// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Dirty tracking against an oracle that reads everything: many seeds, each in
 * processes of its own (trial.c).
 *
 * SEED=N gives the first seed, and so replays one; --seeds, --rounds, --steps,
 * --jobs; --swap sets up swap on zram; --folios gives shared memory folios of 64 kB;
 * --verbose prints all steps and ranges.
 */
#include <getopt.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"
#include "tests/lib/harness.h"
#include "tests/torture/trial.h"

/* A seed that is being run. */
struct job {
	uint64_t seed;
	pid_t pid;
	int fd;
};

/* Each seed in a process of its own: nothing is handed on from one to the next. */
static struct job begin_seed(const struct trial_options *options, uint64_t seed)
{
	int pipe_fds[2];
	struct job job = { .seed = seed };

	T_SYS(pipe2(pipe_fds, O_CLOEXEC));
	job.pid = t_fork();
	if (job.pid == 0) {
		struct trial_tally tally;
		bool passed = trial_run(options, seed, &tally);

		T_CHECK(write(pipe_fds[1], &tally, sizeof(tally)) == sizeof(tally));
		exit(passed ? 0 : 1);
	}
	close(pipe_fds[1]);
	job.fd = pipe_fds[0];
	return job;
}

/* Return: did it pass? */
static bool end_seed(struct job *job, struct trial_tally *sum)
{
	struct trial_tally tally = { 0 };
	int status;

	if (read(job->fd, &tally, sizeof(tally)) == sizeof(tally)) {
		sum->rounds += tally.rounds;
		sum->pictures += tally.pictures;
		sum->pages += tally.pages;
		sum->dirty_pages += tally.dirty_pages;
		sum->incomplete += tally.incomplete;
		sum->failed += tally.failed;
	}
	close(job->fd);
	status = t_wait(job->pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	if (status)
		printf("seed %llu failed: %#x\n", (unsigned long long)job->seed, status);
	return status == 0;
}

/* Two at a time: one's oracle works while the other's actor does. Return: how many failed. */
static unsigned run_seeds(const struct trial_options *options, uint64_t seed,
	struct trial_tally *sum)
{
	struct job jobs[2];
	unsigned begun = 0, ended = 0, failed = 0;

	while (ended < begun || (begun < options->seeds && failed < 5)) {
		if (begun < options->seeds && failed < 5 && begun - ended < options->jobs) {
			jobs[begun % 2] = begin_seed(options, seed + begun);
			begun++;
		} else {
			failed += !end_seed(&jobs[ended % 2], sum);
			ended++;
		}
	}
	return failed;
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

static uint64_t ksm_run;

static void restore_ksm(void)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)ksm_run);
	k_write_text("/sys/kernel/mm/ksm/run", text);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seeds", required_argument, NULL, 'n' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "steps", required_argument, NULL, 's' }, { "swap", no_argument, NULL, 'w' },
		{ "jobs", required_argument, NULL, 'j' }, { "folios", no_argument, NULL, 'f' },
		{ "verbose", no_argument, NULL, 'v' },
		{ 0 },
	};
	struct trial_options options = { .seeds = 200, .rounds = 50, .steps = 12, .jobs = 2 };
	uint64_t seed, start_ns = t_now_ns();
	struct trial_tally sum = { 0 };
	unsigned failed;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		options.seeds = c == 'n' ? (unsigned)number(optarg) : options.seeds;
		options.rounds = c == 'r' ? (unsigned)number(optarg) : options.rounds;
		options.steps = c == 's' ? (unsigned)number(optarg) : options.steps;
		if (c == 'j')
			options.jobs = number(optarg) == 1 ? 1 : 2;
		options.swap |= c == 'w';
		options.folios |= c == 'f';
		options.verbose |= c == 'v';
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = t_seed();
	if (geteuid() != 0)
		T_SKIP("attaching and reading pagemap words need root");
	if (k_read_u64("/sys/kernel/mm/ksm/run", &ksm_run))
		atexit(restore_ksm);
	if (access("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", W_OK) == 0) {
		options.hugetlb = true;
		k_hugepages(60);
	}
	if (options.folios)
		k_shmem_folios();
	if (options.swap)
		k_zram_swap(1ull << 30);
	failed = run_seeds(&options, seed, &sum);
	printf("%llu rounds, %llu pictures, %llu pages compared, %llu reported, %llu rounds "
	       "incomplete, %llu collects failed on purpose, %.1f s\n",
		(unsigned long long)sum.rounds, (unsigned long long)sum.pictures,
		(unsigned long long)sum.pages, (unsigned long long)sum.dirty_pages,
		(unsigned long long)sum.incomplete, (unsigned long long)sum.failed,
		(double)(t_now_ns() - start_ns) / 1e9);
	return failed ? 1 : 0;
}
