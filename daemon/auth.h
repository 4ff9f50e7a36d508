/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may touch which process: what ptrace(2) would allow that user.
 *
 * Answers are those of the moment. A process changes what it is when it executes a
 * set-user-id program, so whoever acquires something by an answer asks again behind it.
 */
#ifndef DAEMON_AUTH_H
#define DAEMON_AUTH_H

#include <stdbool.h>
#include <sys/types.h>

#include <umemd/types.h>

/**
 * struct auth_who - who asks.
 * @uid, @gid: effective when it connected.
 * @pid: its process.
 * @admin: root, or in the group of administrators: may do all.
 */
struct auth_who {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	bool admin;
};

/**
 * struct auth_subject - what a process is, as far as rights go.
 * @uids, @gids: real, effective, saved.
 * @capabilities: permitted ones.
 * @dumpable: it lets its own user look at it.
 * @own_namespace: its user namespace is ours.
 */
struct auth_subject {
	uid_t uids[3];
	gid_t gids[3];
	uint64_t capabilities;
	bool dumpable;
	bool own_namespace;
};

/**
 * auth_peer - who is at the other end of a connection.
 * @admin_gid: whose members are administrators; (gid_t)-1 for nobody.
 *
 * Return: 0 or -errno of getsockopt(2).
 */
int auth_peer(int sock, gid_t admin_gid, struct auth_who *ret_who);

/**
 * auth_read_subject - what process @pid is now.
 * @proc: "/proc", or a tree in its place.
 * Return: 0, UMEM_GONE, -EBADMSG, -errno.
 */
int auth_read_subject(const char *proc, pid_t pid, struct auth_subject *ret_subject);

/**
 * auth_why_not - may @who trace a process that is @subject?
 * Return: NULL for yes, else why not, static text.
 */
const char *auth_why_not(const struct auth_who *who, const struct auth_subject *subject);

/**
 * auth_may_trace - may @who trace process @pid, by all rules of this machine?
 * Return: 0; UMEM_GONE; -EPERM with @note, which says nothing of the process but its number.
 */
int auth_may_trace(const struct auth_who *who, pid_t pid, struct umem_note *note);

#endif
