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

static int parse_pattern(const char *word, void *to)
{
	if (strlen(word) >= CONFIG_PATH)
		return -EINVAL;
	snprintf(to, CONFIG_PATH, "%s", word);
	return 0;
}

static void print_pattern(const void *from, FILE *out)
{
	fputs(from, out);
}

static int parse_anybody(const char *word, void *to)
{
	if (word[0])
		return parse_user(word, to);
	*(uint64_t *)to = CONFIG_ANYBODY;
	return 0;
}

static int parse_size(const char *word, void *to)
{
	uint64_t bytes;

	if (umem_parse_size(word, &bytes) < 0 || bytes > INT64_MAX)
		return -EINVAL;
	*(uint64_t *)to = bytes;
	return 0;
}

static void print_size(const void *from, FILE *out)
{
	fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)from);
}

static int parse_share(const char *word, void *to)
{
	return umem_parse_percent(word, to) < 0 ? -EINVAL : 0;
}

static void print_share(const void *from, FILE *out)
{
	uint64_t ppm = *(const uint64_t *)from;

	fprintf(out, "%llu.%04llu%%", (unsigned long long)ppm / 10000,
		(unsigned long long)ppm % 10000);
}

/* @word as its place in @words from @first on. */
static int parse_word(const char *word, const char *const *words, size_t first, size_t n, void *to)
{
	for (size_t i = first; i < n; i++) {
		if (strcmp(word, words[i]) == 0) {
			*(uint64_t *)to = i;
			return 0;
		}
	}
	return -EINVAL;
}

static const char *const policies[] = {
	[CONFIG_PROBE] = "probe",
	[CONFIG_AGE] = "age",
	[CONFIG_PRESSURE] = "pressure",
};

static int parse_policy(const char *word, void *to)
{
	return parse_word(word, policies, 0, UMEM_ARRAY_LEN(policies), to);
}

static void print_policy(const void *from, FILE *out)
{
	fputs(config_policy_name((enum config_policy)*(const uint64_t *)from), out);
}

const char *config_policy_name(enum config_policy policy)
{
	return policies[policy];
}

static const char *const levels[] = { "", "", "", "error", "warning", "notice", "info", "debug" };

static int parse_level(const char *word, void *to)
{
	return parse_word(word, levels, 3, UMEM_ARRAY_LEN(levels), to);
}

static void print_level(const void *from, FILE *out)
{
	fputs(levels[*(const uint64_t *)from % UMEM_ARRAY_LEN(levels)], out);
}

struct key {
	const char *section;
	const char *name;
	size_t offset;
	parse_fn *parse;
	print_fn *print;
	const char *what; /* that is expected */
};

static const struct key keys[] = {
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
	KEY("Daemon", "LookForProcesses", look_ns, time, "a time, like 10s"),
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
	KEY("Quota", "UserDescriptors", user_descriptors, count, "a number above 0"),
	KEY("Quota", "UserMemory", user_memory_bytes, size, "a size, like 64M"),
	KEY("Quota", "UserRate", user_rate_bytes_s, size, "a size, like 64M"),
#undef KEY
#undef ID
};

/* Of a section [Reclaim NAME]; offsets are those of a rule. */
static const struct key rule_keys[] = {
#define KEY(section, name, field, kind, what) \
	{ section, name, offsetof(struct config_rule, field), parse_##kind, print_##kind, what }
#define ID(section, name, field, kind, what) \
	{ section, name, offsetof(struct config_rule, field), parse_##kind, print_id, what }
	KEY("Reclaim", "Name", name, pattern, "a pattern"),
	KEY("Reclaim", "Cgroup", cgroup, pattern, "a pattern"),
	ID("Reclaim", "User", uid, anybody, "a user"),
	KEY("Reclaim", "Policy", policy, policy, "probe, age or pressure"),
	KEY("Reclaim", "Interval", interval_ns, time, "a time, like 5s"),
	KEY("Reclaim", "RefaultMax", refault_max_ppm_min, share, "a share, like 0.2%"),
	KEY("Reclaim", "PressureMax", pressure_max_ppm, share, "a share, like 0.1%"),
	KEY("Reclaim", "Rate", rate_bytes_s, size, "a size, like 64M"),
	KEY("Reclaim", "Floor", floor_bytes, size, "a size, like 64M"),
	KEY("Reclaim", "SwapLeft", swap_left_bytes, size, "a size, like 64M"),
	KEY("Reclaim", "CpuMax", cpu_max_ppm, share, "a share, like 2%"),
	KEY("Reclaim", "Age", age_ns, time, "a time, like 2m"),
	KEY("Reclaim", "DryRun", dry_run, bool, "yes or no"),
#undef KEY
#undef ID
};

#define RULE_SECTION "Reclaim "

static const struct config_rule rule_defaults = {
	.uid = CONFIG_ANYBODY,
	.interval_ns = 5000000000u,
	.refault_max_ppm_min = 2000,
	.swap_left_bytes = 64u << 20,
	.cpu_max_ppm = 20000,
	.age_ns = 120000000000u,
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
		.user_descriptors = 32768,
		.user_memory_bytes = 1u << 30,
		.look_ns = 10000000000ull,
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

/* One of @n keys at @v, of what lies at @base. */
static int set_one(const struct key *v, size_t n, void *base, const char *section,
	const char *name, const char *word, const char *where, struct umem_note *note)
{
	for (size_t i = 0; i < n; i++) {
		const size_t len = strlen(v[i].section);

		/* A section of a rule has a name behind. */
		if (strncmp(v[i].section, section, len) != 0 ||
			(section[len] != '\0' && v != rule_keys) || strcmp(v[i].name, name) != 0)
			continue;
		if (v[i].parse(word, (char *)base + v[i].offset) == 0)
			return 0;
		return umem_note_set(note, -EINVAL, 0, "%s: %s: \"%s\" is not %s", where, name,
			word, v[i].what);
	}
	return umem_note_set(note, -EINVAL, 0, "%s: there is no key \"%s\" in [%s]", where, name,
		section);
}

/* The rule called @id, made if need be. Return: NULL: too many, or no name for one. */
static struct config_rule *find_rule(struct config *config, const char *id)
{
	struct config_rule *rule;

	for (size_t i = 0; i < config->n_rules; i++)
		if (strcmp(config->rules[i].id, id) == 0)
			return &config->rules[i];
	if (!id[0] || strlen(id) >= CONFIG_RULE || config->n_rules == CONFIG_RULES)
		return NULL;
	rule = &config->rules[config->n_rules++];
	*rule = rule_defaults;
	snprintf(rule->id, sizeof(rule->id), "%s", id);
	return rule;
}

static int set_key(struct config *config, const char *section, const char *name,
	const char *word, const char *where, struct umem_note *note)
{
	struct config_rule *rule;

	if (strncmp(section, RULE_SECTION, strlen(RULE_SECTION)) != 0)
		return set_one(keys, UMEM_ARRAY_LEN(keys), config, section, name, word, where,
			note);
	rule = find_rule(config, section + strlen(RULE_SECTION));
	if (!rule)
		return umem_note_set(note, -EINVAL, 0, "%s: [%s]: a name of 1 to %d bytes, of %d "
			"rules at most", where, section, CONFIG_RULE - 1, CONFIG_RULES);
	return set_one(rule_keys, UMEM_ARRAY_LEN(rule_keys), rule, section, name, word, where,
		note);
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

/* A rule about nobody would be one about everybody. */
static int check_rules(const struct config *config, const char *path, struct umem_note *note)
{
	for (size_t i = 0; i < config->n_rules; i++) {
		const struct config_rule *rule = &config->rules[i];

		if (!rule->name[0] && !rule->cgroup[0] && rule->uid == CONFIG_ANYBODY)
			return umem_note_set(note, -EINVAL, 0, "%s: [Reclaim %s] needs Name, "
				"Cgroup or User", path, rule->id);
	}
	return 0;
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
	return r == 0 ? check_rules(config, path, note) : r;
}

static void print_key(const struct key *key, const void *base, FILE *out)
{
	fprintf(out, "%s=", key->name);
	key->print((const char *)base + key->offset, out);
	putc('\n', out);
}

void config_print(const struct config *config, FILE *out)
{
	const char *section = "";

	for (size_t i = 0; i < UMEM_ARRAY_LEN(keys); i++) {
		if (strcmp(section, keys[i].section) != 0)
			fprintf(out, "%s[%s]\n", i ? "\n" : "", keys[i].section);
		section = keys[i].section;
		print_key(&keys[i], config, out);
	}
	for (size_t i = 0; i < config->n_rules; i++) {
		fprintf(out, "\n[" RULE_SECTION "%s]\n", config->rules[i].id);
		for (size_t k = 0; k < UMEM_ARRAY_LEN(rule_keys); k++)
			print_key(&rule_keys[k], &config->rules[i], out);
	}
}
