// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Policies of reclaim for processes as they appear.
 *
 * Theory of operation
 *
 *     every LookForProcesses, in a thread:  /proc -> processes and the first rule about each
 *     in the loop, one after the other:     acquire (a thread) -> session -> policy
 *
 * What came of it is an ordinary session, of umemd's own user and kept, that remembers
 * its rule. A process that cannot be had is told once; it is known by its number and
 * its start time, so that another one of that number is tried again. A process stays a
 * target until it ends or its rule is gone, also when it does not fit that any more.
 */
#include "daemon/rules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/keep.h"
#include "daemon/log.h"
#include "daemon/reclaim.h"
#include "daemon/session.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/base/parse.h"

#define FILE_MAX_BYTES (64u << 10)
/* Processes that a look finds. */
#define FOUND_MAX 4096u
/* Of those that are left alone, so many are told about one by one. */
#define TOLD_MAX  64u

/* A process, and the rule that is about it. */
struct found {
	pid_t pid;
	uint64_t start_ticks;
	char id[CONFIG_RULE];
};

/* A process that cannot be had, and why. */
struct refused {
	struct found found;
	char reason[sizeof((struct umem_note){ 0 }.text)];
};

/* A look on its way, or what it found; in a thread. */
struct look {
	struct rules *rules;
	struct config_rule v[CONFIG_RULES];
	size_t n;
	struct found *found;
	size_t n_found;
};

/* A process that is being taken in. */
struct taking {
	struct rules *rules;
	struct found found;
	struct config_rule rule;
	struct acquired acquired;
	struct session *session;
	int result;
	struct umem_note note;
};

/**
 * struct rules - one for a manager.
 * @timer: of the next look.
 * @look: what was found last; @next: the first of it that was not taken in yet.
 * @refused, @n_refused: processes that cannot be had.
 */
struct rules {
	struct manager *manager;
	struct loop_timer *timer;
	struct look *look;
	size_t next;
	struct refused *refused;
	size_t n_refused;
};

static struct auth_who own_user(void)
{
	return (struct auth_who){ .uid = geteuid(), .gid = getegid(), .pid = getpid(),
		.admin = geteuid() == 0 };
}

/* State and start time of process @pid, and its name. Return: false when it is gone or ending. */
static bool read_process(int pid, char comm[64], uint64_t *ret_ticks)
{
	UMEM_FREE char *text = NULL;
	char path[40], state, *open, *close;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (umem_read_file(AT_FDCWD, path, FILE_MAX_BYTES, &text, NULL) < 0)
		return false;
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close || close < open)
		return false;
	*close = '\0';
	snprintf(comm, 64, "%s", open + 1);
	/* The state is field 3, flags and the start time are 9 and 22. */
	for (int field = 3; field <= 22 && (close = strchr(close + 1, ' ')); field++) {
		state = field == 3 ? close[1] : 'R';
		if (state == 'Z' || state == 'X')
			return false;
		/* PF_KTHREAD: no memory of its own. */
		if (field == 9 && strtoul(close + 1, NULL, 10) & 0x00200000)
			return false;
		if (field == 22)
			*ret_ticks = strtoull(close + 1, NULL, 10);
	}
	return close != NULL;
}

/* Does one of the cgroups of process @pid fit? */
static bool fits_cgroup(int pid, const char *pattern)
{
	UMEM_FREE char *text = NULL;
	char path[40], *line, *rest;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	if (umem_read_file(AT_FDCWD, path, FILE_MAX_BYTES, &text, NULL) < 0)
		return false;
	/* NUMBER:CONTROLLERS:PATH */
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *at = strchr(line, ':');

		at = at ? strchr(at + 1, ':') : NULL;
		if (at && fnmatch(pattern, at + 1, 0) == 0)
			return true;
	}
	return false;
}

static bool fits(const struct config_rule *rule, int pid, const char *comm)
{
	struct auth_subject subject;

	if (rule->name[0] && fnmatch(rule->name, comm, 0) != 0)
		return false;
	if (rule->uid != CONFIG_ANYBODY && (auth_read_subject("/proc", pid, &subject) != 0 ||
		subject.uids[1] != rule->uid))
		return false;
	return !rule->cgroup[0] || fits_cgroup(pid, rule->cgroup);
}

static void look_at(struct look *look, int pid)
{
	struct found found = { .pid = pid };
	char comm[64];

	if (!read_process(pid, comm, &found.start_ticks))
		return;
	for (size_t i = 0; i < look->n; i++) {
		if (!fits(&look->v[i], pid, comm))
			continue;
		memcpy(found.id, look->v[i].id, sizeof(found.id));
		look->found[look->n_found++] = found;
		return;
	}
}

static void do_look(void *user)
{
	struct look *look = user;
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	uint64_t pid;

	while (proc && look->n_found < FOUND_MAX && (entry = readdir(proc)))
		if (umem_parse_u64(entry->d_name, &pid) == 0 && pid <= INT32_MAX &&
			(pid_t)pid != getpid())
			look_at(look, (int)pid);
	if (proc)
		closedir(proc);
}

static void look_free(struct look *look)
{
	if (look)
		free(look->found);
	free(look);
}

static const struct config_rule *find_rule(const struct rules *rules, const char *id)
{
	const struct config *config = &rules->manager->config;

	for (size_t i = 0; i < config->n_rules; i++)
		if (strcmp(config->rules[i].id, id) == 0)
			return &config->rules[i];
	return NULL;
}

static struct umem_json *json_policy(const struct config_rule *rule)
{
	struct umem_json *json = umem_json_object();

	umem_json_set_text(json, "policy", config_policy_name((enum config_policy)rule->policy));
	umem_json_set_u64(json, "interval_ns", rule->interval_ns);
	umem_json_set_u64(json, "refault_max_ppm_min", rule->refault_max_ppm_min);
	if (rule->pressure_max_ppm)
		umem_json_set_u64(json, "pressure_max_ppm", rule->pressure_max_ppm);
	umem_json_set_u64(json, "rate_bytes_s", rule->rate_bytes_s);
	umem_json_set_u64(json, "floor_bytes", rule->floor_bytes);
	umem_json_set_u64(json, "swap_left_bytes", rule->swap_left_bytes);
	umem_json_set_u64(json, "cpu_max_ppm", umem_max_u64(rule->cpu_max_ppm, 1));
	umem_json_set_u64(json, "age_ns", rule->age_ns);
	umem_json_set_bool(json, "dry_run", rule->dry_run);
	return json;
}

static bool is_refused(const struct rules *rules, const struct found *found)
{
	for (size_t i = 0; i < rules->n_refused; i++)
		if (rules->refused[i].found.pid == found->pid &&
			rules->refused[i].found.start_ticks == found->start_ticks)
			return true;
	return false;
}

/* Those that are not found any more need not be remembered. */
static void forget_refused(struct rules *rules)
{
	size_t kept = 0;

	for (size_t i = 0; i < rules->n_refused; i++)
		for (size_t k = 0; k < rules->look->n_found; k++)
			if (rules->look->found[k].pid == rules->refused[i].found.pid) {
				rules->refused[kept++] = rules->refused[i];
				break;
			}
	rules->n_refused = kept;
}

static void refuse(struct rules *rules, const struct found *found, int result,
	const struct umem_note *note)
{
	const char *reason = note && note->text[0] ? note->text : strerror(-result);
	struct refused *v;

	if (result > 0 || result == -ECANCELED)
		return;
	log_notice("process %d is left alone by rule \"%s\": %s", (int)found->pid, found->id,
		reason);
	v = reallocarray(rules->refused, rules->n_refused + 1, sizeof(*v));
	if (!v)
		return;
	rules->refused = v;
	v += rules->n_refused++;
	v->found = *found;
	snprintf(v->reason, sizeof(v->reason), "%s", reason);
}

/* Has the process been taken in already? */
static bool is_taken(const struct rules *rules, const struct found *found)
{
	const struct session *s;

	LIST_FOREACH(s, &rules->manager->sessions, entry)
		if (s->rule[0] && s->acquired.pid == found->pid && session_wants_worker(s))
			return true;
	return false;
}

static void take_next(struct rules *rules);

/* It is over with @t, in one way or the other. */
static void end(struct taking *t)
{
	struct rules *rules = t->rules;

	acquired_deinit(&t->acquired);
	free(t);
	take_next(rules);
}

static void on_begun(void *user, const struct session_result *result)
{
	struct taking *t = user;

	/* Another policy came in between, as by a reload: that is as good. */
	if (result->result == 0 || t->session->reclaim) {
		keep_update(t->session);
		log_info("target %s (process %d): rule \"%s\"", t->session->id,
			(int)t->found.pid, t->found.id);
	} else {
		refuse(t->rules, &t->found, result->result, result->note);
		if (session_wants_worker(t->session))
			session_detach(t->session, NULL, NULL);
	}
	end(t);
}

static void on_open(void *user, const struct session_result *result)
{
	struct taking *t = user;
	struct umem_json *policy;
	int r = result->result;

	if (r == 0)
		r = acquire_claim(&t->session->acquired, &t->session->claim_fd);
	if (r == 0) {
		policy = json_policy(&t->rule);
		r = reclaim_new(t->session, policy, on_begun, t);
		umem_json_free(policy);
		if (r == 0)
			return;
	}
	refuse(t->rules, &t->found, r, result->note);
	if (result->result == 0)
		session_detach(t->session, NULL, NULL);
	end(t);
}

static void do_take(void *user)
{
	const struct auth_who who = own_user();
	struct taking *t = user;

	t->result = t->rule.policy == CONFIG_AGE ?
		acquire_attach(&who, t->found.pid, &t->acquired, &t->note) :
		acquire_open(&who, t->found.pid, &t->acquired, &t->note);
}

static void on_taken(void *user)
{
	struct taking *t = user;
	const struct session_options options = {
		.who = own_user(),
		.how = t->rule.policy == CONFIG_AGE ? SESSION_ATTACHED : SESSION_OPENED_ONLY,
		.rule = t->found.id,
	};
	int r = t->result;

	if (r == 0)
		r = session_new(t->rules->manager, &options, &t->acquired, on_open, t, &t->session);
	if (r == 0)
		return;
	refuse(t->rules, &t->found, r, &t->note);
	end(t);
}

/* Take the next one in that was found; behind the last one, look again some time later. */
static void take_next(struct rules *rules)
{
	struct manager *m = rules->manager;
	const struct config_rule *rule;
	const struct found *found;
	struct taking *t;

	for (; rules->next < rules->look->n_found; rules->next++) {
		found = &rules->look->found[rules->next];
		rule = find_rule(rules, found->id);
		if (!rule || is_taken(rules, found) || is_refused(rules, found) || m->ending ||
			m->n_sessions >= m->config.targets)
			continue;
		t = calloc(1, sizeof(*t));
		if (!t)
			break;
		rules->next++;
		*t = (struct taking){ .rules = rules, .found = *found, .rule = *rule };
		acquired_init(&t->acquired);
		if (pool_run(m->pool, do_take, on_taken, t) == 0)
			return;
		free(t);
		break;
	}
	loop_timer_set(rules->timer, m->config.look_ns);
}

static void on_looked(void *user)
{
	struct look *look = user;
	struct rules *rules = look->rules;

	look_free(rules->look);
	rules->look = look;
	rules->next = 0;
	forget_refused(rules);
	take_next(rules);
}

static void on_timer(void *user)
{
	struct rules *rules = user;
	const struct config *config = &rules->manager->config;
	struct look *look = calloc(1, sizeof(*look));

	if (look)
		look->found = calloc(FOUND_MAX, sizeof(*look->found));
	if (look && look->found && config->n_rules > 0) {
		look->rules = rules;
		look->n = config->n_rules;
		memcpy(look->v, config->rules, sizeof(look->v));
		if (pool_run(rules->manager->pool, do_look, on_looked, look) == 0)
			return;
	}
	look_free(look);
	loop_timer_set(rules->timer, config->look_ns);
}

int rules_new(struct manager *manager, struct rules **ret_rules)
{
	struct rules *rules = calloc(1, sizeof(*rules));

	if (!rules || loop_timer_new(manager->loop, on_timer, rules, &rules->timer) < 0) {
		free(rules);
		return -ENOMEM;
	}
	rules->manager = manager;
	loop_timer_set(rules->timer, 0);
	*ret_rules = rules;
	return 0;
}

/* Another policy is set anew; the same one goes on. */
static void set_policy(struct session *s, const struct config_rule *rule)
{
	struct umem_json *policy = json_policy(rule);

	if (!umem_json_same(policy, reclaim_policy(s->reclaim)) &&
		reclaim_new(s, policy, NULL, NULL) < 0)
		log_error("target %s: its policy cannot be changed: out of memory", s->id);
	umem_json_free(policy);
	keep_update(s);
}

void rules_reload(struct rules *rules)
{
	struct session *s, *next;

	rules->n_refused = 0;
	for (s = LIST_FIRST(&rules->manager->sessions); s; s = next) {
		const struct config_rule *rule = find_rule(rules, s->rule);

		next = LIST_NEXT(s, entry);
		if (!s->rule[0] || !session_wants_worker(s))
			continue;
		/* To watch writes it has to be attached to, so it is taken in anew. */
		if (rule && (s->how == SESSION_ATTACHED || rule->policy != CONFIG_AGE))
			set_policy(s, rule);
		else
			session_detach(s, NULL, NULL);
	}
}

static uint64_t count_matched(const struct rules *rules, const char *id)
{
	uint64_t n = 0;

	for (size_t i = 0; rules->look && i < rules->look->n_found; i++)
		n += strcmp(rules->look->found[i].id, id) == 0;
	return n;
}

static uint64_t count_applied(const struct rules *rules, const char *id)
{
	const struct session *s;
	uint64_t n = 0;

	LIST_FOREACH(s, &rules->manager->sessions, entry)
		n += strcmp(s->rule, id) == 0 && s->reclaim && session_wants_worker(s);
	return n;
}

/* Those that rule @id leaves alone. Return: how many; the first of them are in @list. */
static uint64_t list_refused(const struct rules *rules, const char *id, struct umem_json *list)
{
	uint64_t n = 0;

	for (size_t i = 0; i < rules->n_refused; i++) {
		const struct refused *refused = &rules->refused[i];
		struct umem_json *item;

		if (strcmp(refused->found.id, id) != 0 || n++ >= TOLD_MAX)
			continue;
		item = umem_json_object();
		umem_json_set_int(item, "pid", refused->found.pid);
		umem_json_set_text(item, "reason", refused->reason);
		umem_json_append_consume(list, item);
	}
	return n;
}

struct umem_json *rules_describe(const struct rules *rules)
{
	const struct config *config = &rules->manager->config;
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < config->n_rules; i++) {
		const struct config_rule *rule = &config->rules[i];
		struct umem_json *item = umem_json_object(), *refusals = umem_json_array();

		umem_json_set_text(item, "rule", rule->id);
		umem_json_set_text(item, "policy",
			config_policy_name((enum config_policy)rule->policy));
		umem_json_set_u64(item, "matched", count_matched(rules, rule->id));
		umem_json_set_u64(item, "applied", count_applied(rules, rule->id));
		umem_json_set_u64(item, "refused", list_refused(rules, rule->id, refusals));
		umem_json_set_consume(item, "refusals", refusals);
		umem_json_append_consume(list, item);
	}
	return list;
}

struct rules *rules_free(struct rules *rules)
{
	if (!rules)
		return NULL;
	loop_timer_free(rules->timer);
	look_free(rules->look);
	free(rules->refused);
	free(rules);
	return NULL;
}
