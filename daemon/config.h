/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What umemd is told by umemd.conf: a table of keys, each with its section, its
 * parser and its default. See umemd.conf(5).
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <umemd/types.h>

/** CONFIG_PATH - bytes of a path, with a NUL. */
#define CONFIG_PATH 256

/** CONFIG_RULES - at most so many sections [Reclaim NAME]; CONFIG_RULE: bytes of a NAME. */
#define CONFIG_RULES 32
#define CONFIG_RULE  32

/** CONFIG_ANYBODY - a rule that does not ask for a user. */
#define CONFIG_ANYBODY UINT32_MAX

/** enum config_policy - policies, in the order of io.umemd.Reclaim. */
enum config_policy {
	CONFIG_PROBE,
	CONFIG_AGE,
	CONFIG_PRESSURE,
};

/**
 * struct config_rule - a section [Reclaim NAME]: whose memory is put out, and how.
 * @id: its NAME.
 * @name, @cgroup: patterns of what a process is called and of its cgroups; "" for any.
 * @uid: of its user.
 * @policy: of enum config_policy.
 * @interval_ns, @refault_max_ppm_min, @pressure_max_ppm, @rate_bytes_s, @floor_bytes,
 * @swap_left_bytes, @cpu_max_ppm, @age_ns, @dry_run: as Policy of io.umemd.Reclaim has them.
 */
struct config_rule {
	char id[CONFIG_RULE];
	char name[CONFIG_PATH];
	char cgroup[CONFIG_PATH];
	uint64_t uid;
	uint64_t policy;
	uint64_t interval_ns;
	uint64_t refault_max_ppm_min;
	uint64_t pressure_max_ppm;
	uint64_t rate_bytes_s;
	uint64_t floor_bytes;
	uint64_t swap_left_bytes;
	uint64_t cpu_max_ppm;
	uint64_t age_ns;
	uint64_t dry_run;
};

/**
 * struct config - all of it.
 * @socket: where to listen.
 * @worker: the program of the workers.
 * @admin_gid: whose members may do all; (gid_t)-1 for nobody.
 * @worker_uid, @worker_gid: what workers become when umemd is root.
 * @worker_timeout_ns: a call of a worker that takes longer means that it hangs.
 * @slow_reader_ns: a client that reads nothing for so long is dropped, or does not end a
 *	message that has descriptors.
 * @keep_over_restart: have the service manager keep targets while umemd restarts.
 * @keep_orphans_ns: how long such a target waits for its owner.
 * @kept_ended_ns: how long a kept target that ended is still told about.
 * @log_level: of log.h.
 * @metrics: where they are told, as http.h has it; "" for nowhere.
 * @metrics_targets: targets with metrics of their own; METRICS_AUTO: it depends.
 * @connections, @targets: at most, altogether.
 * @user_connections, @user_targets, @user_requests: at most, of one user; requests are
 *	those that are being attached at a time.
 * @user_descriptors, @user_memory_bytes: held for one user, as quota.h counts them.
 * @user_rate_bytes_s: sent to one user a second; 0 for no limit.
 * @look_ns: how often processes are looked for that a rule is about.
 * @rules, @n_rules: in the order of the files.
 */
struct config {
	char socket[CONFIG_PATH];
	char worker[CONFIG_PATH];
	char metrics[CONFIG_PATH];
	uint64_t admin_gid;
	uint64_t worker_uid;
	uint64_t worker_gid;
	uint64_t worker_timeout_ns;
	uint64_t slow_reader_ns;
	uint64_t kept_ended_ns;
	uint64_t keep_over_restart;
	uint64_t keep_orphans_ns;
	uint64_t log_level;
	uint64_t metrics_targets;
	uint64_t connections;
	uint64_t targets;
	uint64_t user_connections;
	uint64_t user_targets;
	uint64_t user_requests;
	uint64_t user_descriptors;
	uint64_t user_memory_bytes;
	uint64_t user_rate_bytes_s;
	uint64_t look_ns;
	struct config_rule rules[CONFIG_RULES];
	size_t n_rules;
};

/** config_defaults - what holds where nothing is said. */
void config_defaults(struct config *ret_config);

/**
 * config_parse - read text of the form of umemd.conf over @config.
 * @name: of the file, for @note.
 * Return: 0; -EINVAL with file, line and what is wrong with it in @note.
 */
int config_parse(struct config *config, const char *name, const char *text,
	struct umem_note *note);

/**
 * config_read - read a file, then those that end in .conf in the directory of its name with
 * ".d" behind, in the order of their names. Then every rule must be about something.
 * Return: 0; -EINVAL, -errno with @note.
 */
int config_read(struct config *config, const char *path, struct umem_note *note);

/** config_policy_name - a word of io.umemd.Reclaim; static. */
const char *config_policy_name(enum config_policy policy);

/** config_print - every key with its value, as a file would have it. */
void config_print(const struct config *config, FILE *out);

#endif
