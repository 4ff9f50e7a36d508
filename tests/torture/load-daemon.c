// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The umemd that is loaded: started, looked at from outside, its log judged.
 *
 * A line of its log that no client asked for is a failure, and so is a count that is not
 * what the clients did. What sanitizers say is in the log, too.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/clients/client.h"
#include "tests/torture/load.h"

/* Lines of the log that are shown of a failure. */
#define MAX_SHOWN 200u

static pid_t manager;
static char log_path[100], metrics_path[100];

/* Lines that are as they should be, and what says how many there have to be. */
static const struct {
	const char *words;
	atomic_ulong *count;
} lines[] = {
	{ "metrics at ", NULL },
	{ "listening at ", NULL },
	{ "dropped: it does not read what it asked for", &ld_counts.slow },
	{ "dropped: what it sent is no call", &ld_counts.no_call },
	{ "dropped: a message is too long", &ld_counts.too_long },
	{ "dropped: too many descriptors", &ld_counts.too_many_fds },
	{ "too many connections of this user", &ld_counts.refused },
	{ "(UserRequests)", NULL },
	{ "denied to process", NULL },
};

static void write_config(const char *path)
{
	FILE *file = fopen(path, "we");

	T_CHECK(file != NULL);
	fprintf(file, "[Daemon]\nSlowReader=%ds\n[Metrics]\nListen=%s\n", LD_SLOW_READER_S,
		metrics_path);
	fprintf(file, "[Quota]\nUserConnections=%d\nUserRequests=12\n", LD_USER_CONNECTIONS);
	T_CHECK(fclose(file) == 0);
}

bool ld_is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#else
	return false;
#endif
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(cl_path(name), "we");

	T_CHECK(file != NULL);
	fputs(text, file);
	T_CHECK(fclose(file) == 0);
	T_SYS(chmod(cl_path(name), 0755));
}

/*
 * What sanitizers cannot do here, each as narrow as it can be had.
 *
 * Leaks: a worker may not do what looking for them at its end takes, make a thread and
 * trace itself. The manager is looked at.
 *
 * Threads: TSan would end who takes a snapshot, for its helpers that are forked when it has
 * threads. Helpers that begin by a system call share descriptors with their maker, and have
 * a copy of what TSan knows about these, which is outdated at once; in them there is one
 * thread. The tracer of a freeze borrows the thread that waits for it, so that TSan does not
 * see that thread being joined before what it read is freed. States of pages are looked for
 * by memchr(3) in bytes that other threads change atomically, as a hint: who finds one has to
 * take it, atomically (lib/track/cow_sweep.c); where such a read was, TSan mostly does not
 * know any more, so those who change them (cow_copy.c) are named, too. libevent closes the
 * descriptor of an HTTP connection, whose number may be another thread's then, before it
 * takes it out of its epoll set.
 */
static void prepare_sanitizers(const char *worker)
{
	static const char suppressions[] = "race:^umem_inject_helper$\n"
		"race:^umem_fork_helper$\nrace:^umem_freeze_free$\n"
		"race:^find_wanted$\nrace:^is_left$\nrace:^umem_cow_take$\nrace:^set$\n"
		"called_from_lib:libevent_core\n";
	const char *given = getenv("TSAN_OPTIONS");
	char text[600];

	write_file("suppressions", suppressions);
	snprintf(text, sizeof(text), "%s:die_after_fork=0:history_size=7:suppressions=%s",
		given ? given : "", cl_path("suppressions"));
	setenv("TSAN_OPTIONS", text, 1);
	snprintf(text, sizeof(text), "#!/bin/sh\n"
		"export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0\nexec %s \"$@\"\n", worker);
	write_file("worker", text);
}

pid_t ld_daemon_start(const char *umemd, const char *worker)
{
	char config[100], path[100], wrapped[100];
	const char *argv[] = { umemd, "--config", config, "--socket", path, "--worker", worker,
		NULL };

	/* Other users connect, too. */
	T_SYS(chmod(cl_tmpdir(), 0711));
	snprintf(config, sizeof(config), "%s", cl_path("umemd.conf"));
	snprintf(path, sizeof(path), "%s", cl_path("socket"));
	snprintf(log_path, sizeof(log_path), "%s", cl_path("umemd.log"));
	snprintf(metrics_path, sizeof(metrics_path), "%s", cl_path("metrics"));
	write_config(config);
	if (ld_is_sanitized()) {
		snprintf(wrapped, sizeof(wrapped), "%s", cl_path("worker"));
		prepare_sanitizers(worker);
		argv[6] = wrapped;
	}
	manager = cl_spawn(argv, "umemd.log", NULL, NULL);
	ld_setup(path);
	close(cl_unix_connect(path));
	return manager;
}

/* A number of KiB in /proc/PID/@file. */
static uint64_t field_kib(const char *file, const char *name)
{
	char path[64], line[256];
	uint64_t kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)manager, file);
	f = fopen(path, "re");
	T_CHECK(f != NULL, "%s", path);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			kib = strtoull(line + strlen(name), NULL, 10);
	fclose(f);
	return kib;
}

uint64_t ld_daemon_kib(void)
{
	return field_kib("smaps_rollup", "Anonymous:") + field_kib("smaps_rollup", "Swap:");
}

uint64_t ld_daemon_cpu_ms(void)
{
	char path[64], text[1024] = "";
	unsigned long user = 0, kernel = 0;
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)manager);
	file = fopen(path, "re");
	T_CHECK(file && fgets(text, sizeof(text), file));
	fclose(file);
	n = sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		&user, &kernel);
	T_CHECK(n == 2);
	return (user + kernel) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

unsigned ld_daemon_fds(void)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)manager);
	dir = opendir(path);
	T_CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

/* Is @name a process whose parent is the manager? Also when it was not waited for. */
static bool is_child(const char *name)
{
	char path[300], text[512] = "";
	int parent = 0;
	char *end;
	FILE *file;

	if (name[0] < '1' || name[0] > '9')
		return false;
	snprintf(path, sizeof(path), "/proc/%s/stat", name);
	file = fopen(path, "re");
	if (!file)
		return false;
	end = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL;
	fclose(file);
	return end && sscanf(end + 2, "%*c %d", &parent) == 1 && parent == manager;
}

unsigned ld_daemon_children(void)
{
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir = opendir("/proc");

	T_CHECK(dir != NULL);
	while ((entry = readdir(dir)))
		n += is_child(entry->d_name);
	closedir(dir);
	return n;
}

uint64_t ld_daemon_said(const char *words)
{
	char line[1024];
	uint64_t n = 0;
	FILE *file = fopen(log_path, "re");

	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, words) != NULL;
	fclose(file);
	return n;
}

static bool is_known(const char *line)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(lines); i++)
		if (strstr(line, lines[i].words))
			return true;
	return false;
}

void ld_daemon_show(void)
{
	char line[1024];
	unsigned n = 0;
	FILE *file = fopen(log_path, "re");

	if (!file)
		return;
	fputs("--- umemd said besides what it was to say:\n", stderr);
	while (n < MAX_SHOWN && fgets(line, sizeof(line), file)) {
		if (is_known(line))
			continue;
		fputs(line, stderr);
		n++;
	}
	fclose(file);
	fputs("---\n", stderr);
}

int ld_daemon_scrape(void)
{
	static const char request[] =
		"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = (int)T_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", metrics_path);
	T_SYS(connect(sock, (struct sockaddr *)&addr, sizeof(addr)));
	T_CHECK(send(sock, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0);
	return sock;
}

/* Each line is one that a client asked for. */
static void judge_log(void)
{
	char line[1024];
	FILE *file = fopen(log_path, "re");

	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file)) {
		if (!is_known(line))
			ld_daemon_show();
		T_CHECK(is_known(line), "umemd said: %s", line);
	}
	fclose(file);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(lines); i++) {
		uint64_t said = ld_daemon_said(lines[i].words);

		if (lines[i].count)
			T_CHECK(said == atomic_load(lines[i].count), "\"%s\": %llu times, not %lu",
				lines[i].words, (unsigned long long)said,
				atomic_load(lines[i].count));
	}
}

void ld_daemon_stop(void)
{
	int status;

	T_SYS(kill(manager, SIGTERM));
	status = t_wait(manager);
	if (status != 0)
		ld_daemon_show();
	T_CHECK(status == 0, "umemd ended with status %d", status);
	judge_log();
}
