// SPDX-License-Identifier: LGPL-2.1-or-later
/* Scenes for residency maps. */
#include "tests/matrix/residency-scene.h"

#include <sys/mman.h>
#include <unistd.h>

#include <umemd/target.h>

#include "lib/kern/pidfd.h"
#include "tests/lib/harness.h"

const char *const scene_methods[] = { NULL, "scan", "words", "smaps", "cachestat", "halving",
	"extents", "continue" };
const char *const scene_blind = "-swap_type_visible";
const size_t scene_n_methods = sizeof(scene_methods) / sizeof(scene_methods[0]);

static void run(int command, int reply, char *(*act)(char command))
	__attribute__((noreturn));

static void run(int command, int reply, char *(*act)(char command))
{
	char what = 0;

	do {
		char *at = act(what);

		if (write(reply, &at, sizeof(at)) != (ssize_t)sizeof(at))
			_exit(1);
	} while (read(command, &what, 1) == 1);
	_exit(0);
}

static bool sleeps(pid_t pid)
{
	struct umem_proc_stat stat;

	return umem_proc_stat_read(pid, 0, &stat) == 0 && stat.state == 'S';
}

/* It has answered, and is where it waits: its faults on the way there are no look's. */
static void hear(struct scene *scene)
{
	T_CHECK(read(scene->reply, &scene->at, sizeof(scene->at)) == (ssize_t)sizeof(scene->at),
		"the child ended");
	T_UNTIL(20, sleeps(scene->pid));
}

struct scene scene_start(char *(*act)(char command))
{
	struct scene scene = { 0 };
	int command[2], reply[2];

	T_SYS(pipe(command));
	T_SYS(pipe(reply));
	scene.pid = t_fork();
	if (scene.pid == 0) {
		close(command[1]);
		close(reply[0]);
		run(command[0], reply[1], act);
	}
	close(command[0]);
	close(reply[1]);
	scene.command = command[1];
	scene.reply = reply[0];
	hear(&scene);
	return scene;
}

void scene_tell(struct scene *scene, char command)
{
	T_CHECK(write(scene->command, &command, 1) == 1);
	hear(scene);
}

void scene_end(struct scene *scene)
{
	close(scene->command);
	close(scene->reply);
	t_end(scene->pid);
}

struct count {
	uint64_t start;
	uint64_t end;
	struct scene_answer *answer;
};

static int add(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct count *count = user;

	start = start > count->start ? start : count->start;
	end = end < count->end ? end : count->end;
	if (start < end)
		count->answer->pages[state] += (end - start) / PAGE;
	return 0;
}

struct scene_answer scene_ask(pid_t pid, const char *method, const char *features,
	const void *at, size_t len)
{
	struct umem_attach_options attach = { .size = sizeof(attach),
		.feature_override = features };
	struct umem_residency_options options = { .size = sizeof(options), .method = method };
	struct scene_answer answer = { 0 };
	struct count count = { (uintptr_t)at, (uintptr_t)at + len, &answer };
	const struct umem_residency_region *v;
	struct umem_residency *map = NULL;
	struct umem_target *target;
	struct umem_note note = { 0 };
	size_t n;
	int r = umem_target_open(pid, &attach, &target, &note);

	if (r == 0)
		r = umem_residency_new(target, &options, &map, &note);
	T_CHECK(r == 0, "%d %s", r, note.text);
	T_OK(umem_residency_each(map, 0, UINT64_MAX, add, &count));
	v = umem_residency_regions(map, &n);
	for (size_t i = 0; i < n; i++) {
		if (v[i].start > count.start || v[i].end <= count.start)
			continue;
		answer.exact = v[i].exact;
		answer.io_known = v[i].io_known;
		answer.io_bytes = v[i].io_bytes;
		snprintf(answer.reason, sizeof(answer.reason), "%s",
			v[i].reason ? v[i].reason : "");
		snprintf(answer.method, sizeof(answer.method), "%s", v[i].method);
	}
	umem_residency_free(map);
	umem_target_free(target);
	return answer;
}

void scene_check(pid_t pid, const char *method, const void *at, size_t len,
	enum umem_state state, const char *what)
{
	struct scene_answer answer = scene_ask(pid, method, NULL, at, len);
	bool weak = method && (!strcmp(method, "extents") || !strcmp(method, "smaps"));

	if (weak && !answer.exact && answer.reason[0])
		return;
	T_CHECK(answer.exact, "(%s, %s by %s: %s)", what, method ? method : "any", answer.method,
		answer.reason);
	T_CHECK(answer.pages[state] == len / PAGE,
		"(%s by %s: %llu untouched %llu resident %llu swapped %llu zero %llu guard)", what,
		answer.method, (unsigned long long)answer.pages[0],
		(unsigned long long)answer.pages[1], (unsigned long long)answer.pages[2],
		(unsigned long long)answer.pages[3], (unsigned long long)answer.pages[4]);
}

char *scene_stay(char *at, size_t len)
{
	T_SYS(mlock2(at, len, MLOCK_ONFAULT));
	return at;
}

void scene_check_all(const struct scene *scene, size_t len, enum umem_state state,
	const char *what)
{
	uint64_t faults = scene_faults(scene->pid);
	struct scene_answer answer;

	for (size_t i = 0; i < scene_n_methods; i++)
		scene_check(scene->pid, scene_methods[i], scene->at, len, state, what);
	answer = scene_ask(scene->pid, NULL, scene_blind, scene->at, len);
	T_CHECK(!answer.exact || answer.pages[state] == len / PAGE, "(%s)", what);
	T_CHECK(scene_faults(scene->pid) == faults, "(%s)", what);
}

uint64_t scene_faults(pid_t pid)
{
	unsigned long long minor = 0, major = 0;
	char path[40], text[512] = "";
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file && fgets(text, sizeof(text), file) && strrchr(text, ')'));
	fclose(file);
	n = sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %llu %*u %llu", &minor,
		&major);
	T_CHECK(n == 2);
	return minor + major;
}
