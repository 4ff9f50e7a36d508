// SPDX-License-Identifier: LGPL-2.1-or-later
/* What umemd is told by umemd.conf: one table. */
#include "daemon/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/http.h"
#include "daemon/metrics.h"
#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/base/parse.h"

#define FILE_MAX_BYTES (64u << 10)
#define LINE_BYTES     512
#define NOBODY         65534
#define NO_GROUP       UINT32_MAX

/* Takes the word of a key into the field at @to. Return: 0 or -EINVAL. */
typedef int parse_fn(const char *word, void *to);
typedef void print_fn(const void *from, FILE *out);

static int parse_path(const char *word, void *to)
{
	if (word[0] != '/' || strlen(word) >= CONFIG_PATH)
		return -EINVAL;
	snprintf(to, CONFIG_PATH, "%s", word);
	return 0;
}

static void print_path(const void *from, FILE *out)
{
	fputs(from, out);
}

static int parse_count(const char *word, void *to)
{
	uint64_t value;

	if (umem_parse_u64(word, &value) < 0 || value == 0 || value > 1000000)
		return -EINVAL;
	*(uint64_t *)to = value;
	return 0;
}

static void print_count(const void *from, FILE *out)
{
	fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)from);
}

static int parse_address(const char *word, void *to)
{
	struct http_address address;

	if (strlen(word) >= CONFIG_PATH || (word[0] && http_parse_address(word, &address) < 0))
		return -EINVAL;
	snprintf(to, CONFIG_PATH, "%s", word);
	return 0;
}

static void print_address(const void *from, FILE *out)
{
	print_path(from, out);
}

static int parse_shown(const char *word, void *to)
{
	uint64_t value = METRICS_AUTO;

	if (strcmp(word, "auto") != 0 && (umem_parse_u64(word, &value) < 0 || value > 10000))
		return -EINVAL;
	*(uint64_t *)to = value;
	return 0;
}

static void print_shown(const void *from, FILE *out)
{
	if (*(const uint64_t *)from == METRICS_AUTO)
		fputs("auto", out);
	else
		print_count(from, out);
}

static int parse_time(const char *word, void *to)
{
	uint64_t ns;

	if (umem_parse_time(word, &ns) < 0 || ns < 1000000 || ns > 86400000000000ull)
		return -EINVAL;
	*(uint64_t *)to = ns;
	return 0;
}

static void print_time(const void *from, FILE *out)
{
	uint64_t ns = *(const uint64_t *)from;

	if (ns % 1000000000u == 0)
		fprintf(out, "%llus", (unsigned long long)ns / 1000000000u);
	else
		fprintf(out, "%lluns", (unsigned long long)ns);
}

static int parse_bool(const char *word, void *to)
{
	bool yes = strcmp(word, "yes") == 0;

	if (!yes && strcmp(word, "no") != 0)
		return -EINVAL;
	*(uint64_t *)to = yes;
	return 0;
}

static void print_bool(const void *from, FILE *out)
{
	fputs(*(const uint64_t *)from ? "yes" : "no", out);
}

static int parse_group(const char *word, void *to)
{
	const struct group *group;
	uint64_t gid;

	if (umem_parse_u64(word, &gid) < 0 || gid >= NO_GROUP) {
		group = getgrnam(word);
		if (!group && word[0])
			return -EINVAL;
		gid = group ? group->gr_gid : NO_GROUP;
	}
	*(uint64_t *)to = gid;
	return 0;
}

static int parse_user(const char *word, void *to)
{
	const struct passwd *user;
	uint64_t uid;

	if (umem_parse_u64(word, &uid) < 0 || uid >= NO_GROUP) {
		user = getpwnam(word);
		if (!user)
			return -EINVAL;
		uid = user->pw_uid;
	}
	*(uint64_t *)to = uid;
	return 0;
}

static void print_id(const void *from, FILE *out)
{
	if (*(const uint64_t *)from != NO_GROUP)
		print_count(from, out);
}

static const char *const levels[] = { "", "", "", "error", "warning", "notice", "info", "debug" };

static int parse_level(const char *word, void *to)
{
	for (size_t i = 3; i < UMEM_ARRAY_LEN(levels); i++) {
		if (strcmp(word, levels[i]) == 0) {
			*(uint64_t *)to = i;
			return 0;
		}
	}
	return -EINVAL;
}

static void print_level(const void *from, FILE *out)
{
	fputs(levels[*(const uint64_t *)from % UMEM_ARRAY_LEN(levels)], out);
}

static const struct key {
	const char *section;
	const char *name;
	size_t offset;
	parse_fn *parse;
	print_fn *print;
	const char *what; /* that is expected */
} keys[] = {
#define KEY(section, name, field, kind, what) \
	{ section, name, offsetof(struct config, field), parse_##kind, print_##kind, what }
#define ID(section, name, field, kind, what) \
	{ section, name, offsetof(struct config, field), parse_##kind, print_id, what }
	KEY("Daemon", "Socket", socket, path, "a path from the root on"),
	ID("Daemon", "AdministratorGroup", admin_gid, group, "a group"),
	KEY("Daemon", "SlowReader", slow_reader_ns, time, "a time, like 10s"),
	KEY("Daemon", "KeepEnded", kept_ended_ns, time, "a time, like 60s"),
	KEY("Daemon", "KeepOverRestart", keep_over_restart, bool, "yes or no"),
	KEY("Daemon", "KeepOrphans", keep_orphans_ns, time, "a time, like 30s"),
	KEY("Daemon", "LogLevel", log_level, level, "error, warning, notice, info or debug"),
	KEY("Worker", "Program", worker, path, "a path from the root on"),
	ID("Worker", "User", worker_uid, user, "a user"),
	ID("Worker", "Group", worker_gid, group, "a group"),
	KEY("Worker", "Timeout", worker_timeout_ns, time, "a time, like 60s"),
	KEY("Metrics", "Listen", metrics, address,
		"a path from the root on, 127.0.0.1:PORT or [::1]:PORT"),
	KEY("Metrics", "ShowTargets", metrics_targets, shown, "auto, or a number up to 10000"),
	KEY("Quota", "Connections", connections, count, "a number above 0"),
	KEY("Quota", "Targets", targets, count, "a number above 0"),
	KEY("Quota", "UserConnections", user_connections, count, "a number above 0"),
	KEY("Quota", "UserTargets", user_targets, count, "a number above 0"),
	KEY("Quota", "UserRequests", user_requests, count, "a number above 0"),
#undef KEY
#undef ID
};

void config_defaults(struct config *ret_config)
{
	*ret_config = (struct config){
		.socket = UMEMD_RUNDIR "/umemd/socket",
		.worker = UMEMD_LIBEXECDIR "/umemd-worker",
		.admin_gid = NO_GROUP,
		.worker_uid = NOBODY,
		.worker_gid = NOBODY,
		.worker_timeout_ns = 60000000000ull,
		.slow_reader_ns = 10000000000ull,
		.kept_ended_ns = 60000000000ull,
		.keep_over_restart = 1,
		.keep_orphans_ns = 30000000000ull,
		.log_level = 5,
		.metrics_targets = METRICS_AUTO,
		.connections = 1024,
		.targets = 4096,
		.user_connections = 256,
		.user_targets = 1024,
		.user_requests = 8,
	};
}

/* @text without blanks at both ends. */
static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t\r");
	len = strlen(text);
	while (len && strchr(" \t\r", text[len - 1]))
		text[--len] = '\0';
	return text;
}

static int set_key(struct config *config, const char *section, const char *name,
	const char *word, const char *where, struct umem_note *note)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(keys); i++) {
		if (strcmp(keys[i].section, section) != 0 || strcmp(keys[i].name, name) != 0)
			continue;
		if (keys[i].parse(word, (char *)config + keys[i].offset) == 0)
			return 0;
		return umem_note_set(note, -EINVAL, 0, "%s: %s: \"%s\" is not %s", where, name,
			word, keys[i].what);
	}
	return umem_note_set(note, -EINVAL, 0, "%s: there is no key \"%s\" in [%s]", where, name,
		section);
}

/* One line; @section is that of the lines before, and may change. */
static int take_line(struct config *config, char *line, char section[LINE_BYTES],
	const char *where, struct umem_note *note)
{
	char *equal, *text = trim(line);
	size_t len = strlen(text);

	if (len == 0 || text[0] == '#' || text[0] == ';')
		return 0;
	if (text[0] == '[' && text[len - 1] == ']') {
		text[len - 1] = '\0';
		snprintf(section, LINE_BYTES, "%s", text + 1);
		return 0;
	}
	equal = strchr(text, '=');
	if (!equal)
		return umem_note_set(note, -EINVAL, 0, "%s: neither [section] nor key=value",
			where);
	*equal = '\0';
	return set_key(config, section, trim(text), trim(equal + 1), where, note);
}

int config_parse(struct config *config, const char *name, const char *text,
	struct umem_note *note)
{
	char line[LINE_BYTES], section[LINE_BYTES] = "", where[CONFIG_PATH + 16];
	unsigned number = 0;

	while (*text) {
		size_t len = strcspn(text, "\n");
		int r;

		snprintf(where, sizeof(where), "%s:%u", name, ++number);
		if (len >= sizeof(line))
			return umem_note_set(note, -EINVAL, 0, "%s: the line is too long", where);
		memcpy(line, text, len);
		line[len] = '\0';
		r = take_line(config, line, section, where, note);
		if (r < 0)
			return r;
		text += len + (text[len] == '\n');
	}
	return 0;
}

static int read_one(struct config *config, const char *path, struct umem_note *note)
{
	UMEM_FREE char *text = NULL;
	int r = umem_read_file(AT_FDCWD, path, FILE_MAX_BYTES, &text, NULL);

	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", path, strerror(-r));
	return config_parse(config, path, text, note);
}

static int is_conf(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && dot && strcmp(dot, ".conf") == 0;
}

int config_read(struct config *config, const char *path, struct umem_note *note)
{
	char dir[CONFIG_PATH], file[2 * CONFIG_PATH];
	struct dirent **names = NULL;
	int n, r = read_one(config, path, note);

	if (r < 0)
		return r;
	snprintf(dir, sizeof(dir), "%s.d", path);
	n = scandir(dir, &names, is_conf, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", dir, names[i]->d_name);
		if (r == 0)
			r = read_one(config, file, note);
		free(names[i]);
	}
	free(names);
	return r;
}

void config_print(const struct config *config, FILE *out)
{
	const char *section = "";

	for (size_t i = 0; i < UMEM_ARRAY_LEN(keys); i++) {
		if (strcmp(section, keys[i].section) != 0)
			fprintf(out, "%s[%s]\n", i ? "\n" : "", keys[i].section);
		section = keys[i].section;
		fprintf(out, "%s=", keys[i].name);
		keys[i].print((const char *)config + keys[i].offset, out);
		putc('\n', out);
	}
}
