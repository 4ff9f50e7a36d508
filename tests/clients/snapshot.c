// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemctl snapshot and image read, for the tests. */
#include "tests/clients/snapshot.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/clients/client.h"

#define MAX_WORDS 24

static uint64_t number(json_t *event, const char *key)
{
	json_t *value = json_object_get(event, key);

	T_CHECK(json_is_integer(value) && json_integer_value(value) >= 0, "%s", key);
	return (uint64_t)json_integer_value(value);
}

static uint64_t address(json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	T_CHECK(text && text[0] == '0' && text[1] == 'x', "%s", key);
	return strtoull(text, NULL, 16);
}

static void read_done(struct cl_snapshot *s, json_t *event)
{
	const char *method = json_string_value(json_object_get(event, "method")), *reason;
	json_t *item;
	size_t i;

	T_CHECK(method);
	snprintf(s->method, sizeof(s->method), "%s", method);
	s->pause_ns = number(event, "pause_ns");
	s->total_ns = number(event, "total_ns");
	s->rounds = number(event, "rounds");
	s->pages = number(event, "pages");
	s->zero_pages = number(event, "zero_pages");
	s->written_bytes = number(event, "written_bytes");
	s->complete = json_is_true(json_object_get(event, "complete"));
	json_array_foreach(json_object_get(event, "incomplete"), i, item) {
		/* What may be anywhere takes nothing from what is said of single ranges. */
		if (address(item, "end") != UINT64_MAX)
			T_OK(umem_ranges_add(&s->incomplete, address(item, "start"),
				address(item, "end")));
		reason = json_string_value(json_object_get(item, "reason"));
		if (i == 0 && reason)
			snprintf(s->reason, sizeof(s->reason), "%s", reason);
	}
	T_CHECK(s->complete == (i == 0), "complete, and %zu ranges are not", i);
}

static void read_events(struct cl_snapshot *s, FILE *out)
{
	UMEM_FREE char *line = NULL;
	size_t room = 0;
	bool is_done = false;

	while (getline(&line, &room, out) > 0) {
		json_t *event = json_loads(line, 0, NULL);
		const char *name = json_string_value(json_object_get(event, "event"));

		T_CHECK(name && !is_done, "%.200s", line);
		is_done = strcmp(name, "done") == 0;
		T_CHECK(is_done || strcmp(name, "progress") == 0, "%.200s", line);
		if (is_done)
			read_done(s, event);
		json_decref(event);
	}
}

static int status_of(pid_t pid)
{
	int status = t_wait(pid);

	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void cl_snapshot_take(struct cl_snapshot *s, pid_t pid, const char *file, const char *method,
	const char *const *more)
{
	char number_of[16];
	const char *argv[MAX_WORDS + 1] = { cl_umemctl(), "--json", "snapshot", number_of, "-o",
		file, "--method", method };
	size_t n = 8;
	FILE *out;
	int log;

	cl_snapshot_deinit(s);
	snprintf(number_of, sizeof(number_of), "%d", (int)pid);
	while (more && *more) {
		T_CHECK(n < MAX_WORDS);
		argv[n++] = *more++;
	}
	unlink(cl_path("snapshot.log"));
	pid = cl_spawn(argv, "snapshot.log", NULL, &out);
	read_events(s, out);
	fclose(out);
	s->status = status_of(pid);
	log = open(cl_path("snapshot.log"), O_RDONLY | O_CLOEXEC);
	if (log >= 0 && read(log, s->said, sizeof(s->said) - 1) < 0)
		s->said[0] = '\0';
	close(log);
	T_CHECK(s->status != 0 || s->method[0], "it ended without \"done\"");
}

void cl_snapshot_deinit(struct cl_snapshot *s)
{
	umem_ranges_deinit(&s->incomplete);
	*s = (struct cl_snapshot){ 0 };
}

bool cl_snapshot_read(const char *file, pid_t pid, uint64_t at, void *bytes, uint64_t len)
{
	char at_text[24], len_text[24], pid_text[16];
	const char *argv[] = { cl_umemctl(), "image", "read", file, "--at", at_text, "--len",
		len_text, pid ? "--pid" : NULL, pid_text, NULL };
	uint64_t got;
	char more;
	FILE *out;
	pid_t child;

	snprintf(at_text, sizeof(at_text), "0x%llx", (unsigned long long)at);
	snprintf(len_text, sizeof(len_text), "%llu", (unsigned long long)len);
	snprintf(pid_text, sizeof(pid_text), "%d", (int)pid);
	child = cl_spawn(argv, "read.log", NULL, &out);
	got = fread(bytes, 1, len, out);
	got += fread(&more, 1, 1, out);
	fclose(out);
	return status_of(child) == 0 && got == len;
}
