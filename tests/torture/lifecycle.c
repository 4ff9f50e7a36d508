// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whatever dies, nothing is left behind in the target, and it runs on.
 *
 * Usage: lifecycle UMEMCTL. The target beats: it counts in its memory, so that
 * a target that was stopped, or whose registers were not restored, shows.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <umemd/track.h>

#include "tests/lib/harness.h"

#define PAGE 4096ull
#define BEAT_AT 0x20000000000ull
#define N_PAGES 4096ull

enum orders { BEAT, EXIT, EXEC };

struct beat {
	uint64_t n;
	uint64_t orders;
};

static const char *umemctl;
static uint64_t state;

static void target(char *self)
{
	volatile struct beat *beat = (void *)BEAT_AT;
	volatile char *memory;

	T_CHECK(mmap((void *)BEAT_AT, N_PAGES * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
		(void *)BEAT_AT);
	memory = (void *)BEAT_AT;
	for (uint64_t i = 1; beat->orders == BEAT; i++) {
		memory[(i % (N_PAGES - 1) + 1) * PAGE] = (char)i;
		beat->n = i;
	}
	if (beat->orders == EXIT)
		_exit(0);
	execl(self, self, "--beat", NULL);
	_exit(1);
}

static pid_t start_target(char *self)
{
	pid_t pid = t_fork();

	if (pid == 0)
		target(self);
	return pid;
}

static bool peek(pid_t pid, struct beat *beat)
{
	struct iovec local = { beat, sizeof(*beat) }, remote = { (void *)BEAT_AT, sizeof(*beat) };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)sizeof(*beat);
}

static void order(pid_t pid, uint64_t orders)
{
	struct iovec local = { &orders, 8 }, remote = { (void *)(BEAT_AT + 8), 8 };

	T_CHECK(process_vm_writev(pid, &local, 1, &remote, 1, 0) == 8);
}

static unsigned n_fds(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	T_CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static bool has_line(pid_t pid, const char *file, const char *begin, const char *text)
{
	char path[64], line[4096];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "re");
	T_CHECK(f != NULL, "%s", path);
	while (!found && fgets(line, sizeof(line), f))
		found = strncmp(line, begin, strlen(begin)) == 0 && strstr(line, text);
	fclose(f);
	return found;
}

/*
 * Attaching is done by a helper process that outlives its caller on purpose;
 * when the caller was killed it comes to us. Return: has it ended?
 */
static bool orphans_ended(void)
{
	char path[64], line[256] = "";
	FILE *f;

	/* The target lives, so it is not what is reaped here. */
	while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
		;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		line[0] = '\0';
	if (f)
		fclose(f);
	return strchr(line, ' ') == strrchr(line, ' ');
}

/* Nothing of us is in the target, and it beats. */
static bool is_clean(pid_t pid, unsigned fds)
{
	struct beat a = { 0 }, b = { 0 };
	char c = t_proc_state(pid);

	if (c == '-' || c == 'Z')
		T_FAIL("the target died");
	if (c == 't' || c == 'T' || n_fds(pid) != fds ||
		has_line(pid, "smaps", "VmFlags", " uw") ||
		!has_line(pid, "status", "TracerPid:", "\t0\n"))
		return false;
	T_CHECK(peek(pid, &a));
	for (int i = 0; i < 1000 && b.n <= a.n; i++) {
		usleep(100);
		T_CHECK(peek(pid, &b));
	}
	return b.n > a.n;
}

static pid_t start_umemctl(pid_t target_pid, const char *interval)
{
	char number[16];
	pid_t pid;

	snprintf(number, sizeof(number), "%d", (int)target_pid);
	pid = t_fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		execl(umemctl, umemctl, "--json", "dirty", number, "--interval", interval,
			NULL);
		_exit(127);
	}
	return pid;
}

/* Tracks until the target is gone (status 3) or something fails (status 4). */
static void api_user(pid_t pid, bool once)
{
	struct umem_note note = { 0 };
	int r;

	do {
		const struct umem_round *round;
		struct umem_target *t = NULL;
		struct umem_watch *w = NULL;

		r = umem_target_attach(pid, NULL, &t, &note);
		if (r == 0)
			r = umem_watch_new(t, NULL, &w, &note);
		for (int i = 0; r == 0 && (once || i < 3); i++)
			r = umem_watch_collect(w, &round, &note);
		umem_watch_free(w);
		umem_target_free(t);
	} while (r == 0);
	if (r != UMEM_GONE)
		fprintf(stderr, "%d: %s\n", r, note.text);
	_exit(r == UMEM_GONE ? 3 : 4);
}

static void killed_trackers(char *self)
{
	static const int signals[] = { SIGKILL, SIGTERM, SIGINT };
	pid_t pid = start_target(self);
	unsigned fds, exits = 0;
	struct beat beat;

	T_UNTIL(5, peek(pid, &beat) && beat.n > 0);
	fds = n_fds(pid);
	for (unsigned i = 0; i < 240; i++) {
		int signo = signals[i % 3], status;
		bool api = i % 4 == 3;
		pid_t user = api ? t_fork() : start_umemctl(pid, "1ms");

		if (user == 0)
			api_user(pid, i % 8 == 3);
		usleep((unsigned)t_below(&state, i % 2 ? 40000 : 8000));
		kill(user, signo);
		status = t_wait(user);
		T_CHECK(!WIFEXITED(status) || WEXITSTATUS(status) == 0, "%s ended with %d",
			api ? "an API user" : "umemctl", WEXITSTATUS(status));
		exits += WIFEXITED(status);
		T_UNTIL(5, orphans_ended());
		T_UNTIL(5, is_clean(pid, fds));
	}
	T_CHECK(exits > 20);
	printf("240 trackers ended by signals (%u of them by themselves): the target is clean\n",
		exits);
	t_end(pid);
}

/* The target is killed, exits or executes: exit status 3, UMEM_GONE. */
static void ending_targets(char *self)
{
	for (unsigned i = 0; i < 30; i++) {
		pid_t pid = start_target(self), user;
		struct beat beat;
		int status;

		T_UNTIL(5, peek(pid, &beat) && beat.n > 0);
		user = i % 2 ? t_fork() : start_umemctl(pid, i % 4 ? "1ms" : "20ms");
		if (user == 0)
			api_user(pid, true);
		usleep(10000 + (unsigned)t_below(&state, 30000));
		if (i % 3 == 0)
			kill(pid, SIGKILL);
		else
			order(pid, i % 3 == 1 ? EXIT : EXEC);
		status = t_wait(user);
		T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3,
			"case %u: status %#x", i, status);
		if (i % 3 == 2)
			T_UNTIL(5, !has_line(pid, "smaps", "VmFlags", " uw"));
		t_end(pid);
	}
	printf("30 targets ended under a tracker: exit status 3\n");
}

static void cycles(char *self)
{
	pid_t pid = start_target(self);
	unsigned fds, own;
	struct beat beat;

	T_UNTIL(5, peek(pid, &beat) && beat.n > 0);
	fds = n_fds(pid);
	own = n_fds(getpid());
	for (int i = 0; i < 200; i++) {
		const struct umem_round *round;
		struct umem_target *t;
		struct umem_watch *w;

		T_OK(umem_target_attach(pid, NULL, &t, NULL));
		T_OK(umem_watch_new(t, NULL, &w, NULL));
		T_OK(umem_watch_collect(w, &round, NULL));
		umem_watch_free(w);
		umem_target_free(t);
		T_CHECK(n_fds(getpid()) == own);
	}
	T_UNTIL(5, is_clean(pid, fds));
	printf("200 times attached and detached: %u descriptors in the target, %u here\n",
		fds - 2, own - 2);
	t_end(pid);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--beat") == 0)
		for (;;)
			pause();
	T_CHECK(argc == 2);
	umemctl = argv[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
	state = t_seed();
	if (geteuid() != 0)
		T_SKIP("attaching needs root");
	T_SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
	cycles(argv[0]);
	killed_trackers(argv[0]);
	ending_targets(argv[0]);
	return 0;
}
