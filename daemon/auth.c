// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who may touch which process.
 *
 * Theory of operation
 *
 * The kernel's rule (__ptrace_may_access(), kernel/ptrace.c) for a caller without
 * capabilities, asked for somebody else:
 *
 *     all three user and group ids of the process are the caller's
 *     and it is dumpable (it did not just run a set-user-id program, and did not ask for it)
 *     and it is permitted no capability that the caller has not
 *     and it lives in the caller's user namespace
 *     and Yama, where it is there, agrees
 *
 * A peer's capabilities are not known and count as none; root counts as having
 * all. Where the kernel would look at more (the owner of a user namespace, other
 * security modules) the answer here is no, or that of the calls that we make as
 * the manager.
 *
 * That a process is not dumpable shows in who owns its files: root
 * (task_dump_owner(), fs/proc/base.c). The files of a process of root always do, so
 * for that one it is not told, and not asked: only root may trace it.
 */
#include "daemon/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/cursor.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"

#define STATUS_MAX_BYTES (1u << 20)
#define MAX_ANCESTORS    64

/* Scopes of Yama, Documentation/admin-guide/LSM/Yama.rst. */
enum yama { YAMA_CLASSIC, YAMA_DESCENDANTS, YAMA_ADMIN, YAMA_NOBODY };

static bool in_group(int sock, gid_t group)
{
	UMEM_FREE gid_t *groups = NULL;
	socklen_t len = 0;

	if (group == (gid_t)-1)
		return false;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) < 0 && errno != ERANGE)
		return false;
	groups = malloc(len ? len : 1);
	if (!groups || getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(*groups); i++)
		if (groups[i] == group)
			return true;
	return false;
}

int auth_peer(int sock, gid_t admin_gid, struct auth_who *ret_who)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret_who = (struct auth_who){
		.uid = cred.uid,
		.gid = cred.gid,
		.pid = cred.pid,
		.admin = cred.uid == 0 || cred.gid == admin_gid || in_group(sock, admin_gid),
	};
	return 0;
}

/* "KEY:\tN\tN\tN\t..." with three numbers. */
static bool parse_ids(struct umem_cursor line, const char *key, uint32_t ids[3])
{
	if (!umem_cursor_str(&line, key))
		return false;
	for (int i = 0; i < 3; i++) {
		uint64_t id;

		umem_cursor_spaces(&line);
		if (!umem_cursor_dec(&line, &id) || id > UINT32_MAX)
			return false;
		ids[i] = (uint32_t)id;
	}
	return true;
}

static int parse_status(const char *text, size_t len_bytes, struct auth_subject *subject)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	unsigned found = 0;

	while (umem_cursor_line(&c, &line)) {
		if (parse_ids(line, "Uid:", subject->uids))
			found |= 1;
		else if (parse_ids(line, "Gid:", subject->gids))
			found |= 2;
		else if (umem_cursor_str(&line, "CapPrm:\t") &&
			umem_cursor_hex(&line, &subject->capabilities))
			found |= 4;
	}
	return found == 7 ? 0 : -EBADMSG;
}

static int gone_or(int r)
{
	return r == -ENOENT || r == -ESRCH ? UMEM_GONE : r;
}

static bool same_namespace(int dir)
{
	struct stat theirs, ours;

	return fstatat(dir, "ns/user", &theirs, 0) == 0 && stat("/proc/self/ns/user", &ours) == 0 &&
		theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev;
}

int auth_read_subject(const char *proc, pid_t pid, struct auth_subject *ret_subject)
{
	struct auth_subject subject = { 0 };
	UMEM_FREE char *text = NULL;
	UMEM_FD int dir = -1;
	struct stat st;
	char path[256];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "%s/%d", proc, (int)pid);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return gone_or(-errno);
	r = umem_read_file(dir, "status", STATUS_MAX_BYTES, &text, &len);
	if (r == 0)
		r = parse_status(text, len, &subject);
	if (r < 0)
		return gone_or(r);
	if (fstatat(dir, "mem", &st, 0) < 0)
		return gone_or(-errno);
	subject.dumpable = st.st_uid == subject.uids[1];
	subject.own_namespace = same_namespace(dir);
	*ret_subject = subject;
	return 0;
}

const char *auth_why_not(const struct auth_who *who, const struct auth_subject *subject)
{
	if (who->admin)
		return NULL;
	for (int i = 0; i < 3; i++) {
		if (subject->uids[i] != who->uid)
			return "it is another user's";
		if (subject->gids[i] != who->gid)
			return "it runs with another group";
	}
	if (!subject->dumpable)
		return "it does not let itself be traced (prctl PR_SET_DUMPABLE, or a program "
		       "with more rights)";
	if (subject->capabilities)
		return "it has capabilities";
	if (!subject->own_namespace)
		return "it lives in another user namespace";
	return NULL;
}

static enum yama read_yama(void)
{
	UMEM_FREE char *text = NULL;

	if (umem_read_file(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", 64, &text, NULL) < 0)
		return YAMA_CLASSIC;
	switch (text[0]) {
	case '0':
		return YAMA_CLASSIC;
	case '1':
		return YAMA_DESCENDANTS;
	case '2':
		return YAMA_ADMIN;
	default:
		return YAMA_NOBODY;
	}
}

static pid_t parent_of(pid_t pid)
{
	UMEM_FREE char *text = NULL;
	char path[40];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (umem_read_file(AT_FDCWD, path, STATUS_MAX_BYTES, &text, NULL) < 0)
		return 0;
	at = strstr(text, "\nPPid:");
	return at ? (pid_t)atoi(at + 6) : 0;
}

static bool descends(pid_t pid, pid_t ancestor)
{
	for (int i = 0; i < MAX_ANCESTORS && pid > 1; i++) {
		pid = parent_of(pid);
		if (pid == ancestor)
			return true;
	}
	return false;
}

static const char *yama_why_not(const struct auth_who *who, pid_t pid)
{
	switch (read_yama()) {
	case YAMA_CLASSIC:
		return NULL;
	case YAMA_DESCENDANTS:
		return who->admin || descends(pid, who->pid) ? NULL :
			"kernel.yama.ptrace_scope allows it for descendants only";
	case YAMA_ADMIN:
		return who->admin ? NULL : "kernel.yama.ptrace_scope allows it for root only";
	default:
		return "kernel.yama.ptrace_scope allows it for nobody";
	}
}

int auth_may_trace(const struct auth_who *who, pid_t pid, struct umem_note *note)
{
	struct auth_subject subject = { 0 };
	const char *why;
	int r = auth_read_subject("/proc", pid, &subject);

	if (r == UMEM_GONE)
		umem_note_set(note, -ESRCH, 0, "there is no process %d", (int)pid);
	if (r < 0)
		umem_note_set(note, r, 0, "whose process %d is cannot be told: %s", (int)pid,
			strerror(-r));
	if (r != 0)
		return r;
	why = auth_why_not(who, &subject);
	if (!why)
		why = yama_why_not(who, pid);
	return why ? umem_note_set(note, -EPERM, 0, "process %d may not be traced by user %u: %s",
			     (int)pid, (unsigned)who->uid, why) : 0;
}
