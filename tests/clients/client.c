// SPDX-License-Identifier: LGPL-2.1-or-later
/* Starting programs, and umemctl dirty beside them. */
#include "tests/clients/client.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char tmpdir[64];
static pid_t tmpdir_owner;
static sighandler_t before_term, before_int;

static void remove_tmpdir(void)
{
	struct dirent *entry;
	DIR *dir;

	if (getpid() != tmpdir_owner)
		return;
	dir = opendir(tmpdir);
	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(tmpdir);
}

static void on_signal(int signo)
{
	sighandler_t before = signo == SIGTERM ? before_term : before_int;

	remove_tmpdir();
	if (before != SIG_DFL && before != SIG_IGN)
		before(signo);
	_exit(128 + signo);
}

const char *cl_tmpdir(void)
{
	if (!tmpdir[0]) {
		snprintf(tmpdir, sizeof(tmpdir), "/tmp/umemd-clients-XXXXXX");
		if (!mkdtemp(tmpdir))
			T_FAIL("mkdtemp: %s", strerror(errno));
		tmpdir_owner = getpid();
		atexit(remove_tmpdir);
		before_term = signal(SIGTERM, on_signal);
		before_int = signal(SIGINT, on_signal);
	}
	return tmpdir;
}

const char *cl_path(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", cl_tmpdir(), name);
	return path;
}

void cl_need(const char *program, const char *package)
{
	const char *dirs = getenv("PATH");
	char path[512];

	while (dirs && *dirs) {
		size_t len = strcspn(dirs, ":");

		snprintf(path, sizeof(path), "%.*s/%s", (int)len, dirs, program);
		if (access(path, X_OK) == 0)
			return;
		dirs += len + (dirs[len] == ':');
	}
	T_SKIP("%s is not installed (package %s)", program, package);
}

pid_t cl_spawn(const char *const *argv, const char *log, int *ret_in, FILE **ret_out)
{
	const char *log_path = cl_path(log);
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	pid_t pid;

	if (ret_in)
		T_SYS(pipe2(in, O_CLOEXEC));
	if (ret_out)
		T_SYS(pipe2(out, O_CLOEXEC));
	pid = t_fork();
	if (pid == 0) {
		int file = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
		int null = open("/dev/null", O_RDONLY);

		dup2(ret_in ? in[0] : null, STDIN_FILENO);
		dup2(ret_out ? out[1] : file, STDOUT_FILENO);
		dup2(file, STDERR_FILENO);
		close(file);
		close(null);
		execvp(argv[0], (char *const *)argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	if (ret_in) {
		close(in[0]);
		*ret_in = in[1];
	}
	if (ret_out) {
		close(out[1]);
		*ret_out = fdopen(out[0], "re");
		T_CHECK(*ret_out);
	}
	return pid;
}

int cl_unix_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = (int)T_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	T_UNTIL(10, connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	return fd;
}

const char *cl_umemctl(void)
{
	const char *path = getenv("UMEMCTL");

	return path ? path : UMEMCTL_PATH;
}

static json_t *next_event(struct cl_dirty *dirty, const char *want)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len = getline(&line, &room, dirty->out);
	json_t *event;
	const char *name;

	if (len <= 0) {
		char log[2048] = "";
		int fd = open(cl_path("umemctl.log"), O_RDONLY | O_CLOEXEC);

		if (fd >= 0 && read(fd, log, sizeof(log) - 1) < 0)
			log[0] = '\0';
		T_FAIL("umemctl ended before \"%s\": %s", want, log);
	}
	event = json_loads(line, 0, NULL);
	T_CHECK(event, "%.200s", line);
	name = json_string_value(json_object_get(event, "event"));
	T_CHECK(name && strcmp(name, want) == 0, "%.200s", line);
	free(line);
	return event;
}

static uint64_t get_u64(json_t *event, const char *key)
{
	json_t *value = json_object_get(event, key);

	T_CHECK(json_is_integer(value), "%s", key);
	return (uint64_t)json_integer_value(value);
}

void cl_dirty_start(struct cl_dirty *dirty, pid_t target)
{
	char pid[16];
	const char *argv[] = { cl_umemctl(), "--json", "dirty", pid, "--trigger", "stdin",
		"--ranges", NULL };
	json_t *event;

	snprintf(pid, sizeof(pid), "%d", (int)target);
	*dirty = (struct cl_dirty){ .target = target };
	dirty->pid = cl_spawn(argv, "umemctl.log", &dirty->in, &dirty->out);
	event = next_event(dirty, "armed");
	dirty->stop_ns = get_u64(event, "stop_ns");
	dirty->tracked_bytes = get_u64(event, "tracked_bytes");
	json_decref(event);
}

static uint64_t address(json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	T_CHECK(text && text[0] == '0' && text[1] == 'x', "%s", key);
	return strtoull(text, NULL, 16);
}

void cl_dirty_collect(struct cl_dirty *dirty, struct cl_round *round)
{
	json_t *event, *item, *why;
	uint64_t sum = 0;
	size_t i;

	T_SYS(write(dirty->in, "\n", 1));
	event = next_event(dirty, "round");
	T_CHECK(get_u64(event, "round") == ++dirty->rounds);
	T_CHECK(get_u64(event, "pid") == (uint64_t)dirty->target);
	json_array_foreach(json_object_get(event, "ranges"), i, item) {
		uint64_t start = address(item, "start"), end = address(item, "end");

		T_CHECK(end > start);
		sum += end - start;
		T_OK(umem_pageset_add(&round->dirty, start, end));
	}
	json_array_foreach(json_object_get(event, "gone"), i, item)
		T_OK(umem_ranges_add(&round->gone, address(item, "start"),
			address(item, "end")));
	round->dirty_bytes = get_u64(event, "dirty_bytes");
	round->scan_ns = get_u64(event, "scan_ns");
	round->complete = json_is_true(json_object_get(event, "complete"));
	T_CHECK(sum == round->dirty_bytes, "ranges %llu, dirty_bytes %llu",
		(unsigned long long)sum, (unsigned long long)round->dirty_bytes);
	if (!round->complete) {
		why = json_array_get(json_object_get(event, "incomplete"), 0);
		printf("round %llu is incomplete: %s\n", (unsigned long long)dirty->rounds,
			json_string_value(json_object_get(why, "reason")));
	}
	json_decref(event);
}

void cl_dirty_end(struct cl_dirty *dirty)
{
	json_t *event;
	int status;

	close(dirty->in);
	event = next_event(dirty, "done");
	T_CHECK(get_u64(event, "rounds") == dirty->rounds);
	json_decref(event);
	status = t_wait(dirty->pid);
	T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
	fclose(dirty->out);
}

void cl_round_clear(struct cl_round *round)
{
	umem_pageset_clear(&round->dirty);
	umem_ranges_clear(&round->gone);
}
