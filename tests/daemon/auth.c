// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who may trace whom: the answer for real processes is that of the kernel, asked by a
 * process of that user with ptrace(2) itself.
 */
#include "daemon/auth.h"

#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/harness.h"

#define NOBODY 65534
#define OTHER  65533

static void become(uid_t uid, gid_t gid)
{
	T_SYS(setgroups(0, NULL));
	T_SYS(setresgid(gid, gid, gid));
	T_SYS(setresuid(uid, uid, uid));
	prctl(PR_SET_DUMPABLE, 1);
}

static void root(void)
{
}

static void nobody(void)
{
	become(NOBODY, NOBODY);
}

static void other_group(void)
{
	become(NOBODY, OTHER);
}

static void other(void)
{
	become(OTHER, OTHER);
}

static void hidden(void)
{
	become(NOBODY, NOBODY);
	T_SYS(prctl(PR_SET_DUMPABLE, 0));
}

/* As a set-user-id program that can go back. */
static void saved_root(void)
{
	T_SYS(setgroups(0, NULL));
	T_SYS(setresgid(NOBODY, NOBODY, NOBODY));
	T_SYS(setresuid(NOBODY, NOBODY, 0));
	prctl(PR_SET_DUMPABLE, 1);
}

static void capable(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { .permitted = 1u << CAP_NET_RAW } };

	T_SYS(prctl(PR_SET_KEEPCAPS, 1));
	become(NOBODY, NOBODY);
	T_SYS(syscall(SYS_capset, &head, data));
	T_SYS(prctl(PR_SET_DUMPABLE, 1));
}

static void own_namespace(void)
{
	become(NOBODY, NOBODY);
	if (unshare(CLONE_NEWUSER) < 0)
		_exit(77);
	prctl(PR_SET_DUMPABLE, 1);
}

/* A process that is what @be makes it, and waits. Return: its id, or 0 where it cannot be. */
static pid_t subject(void (*be)(void))
{
	int ready[2], status;
	char byte;
	pid_t pid;

	T_SYS(pipe(ready));
	pid = t_fork();
	if (pid == 0) {
		be();
		if (write(ready[1], "r", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		status = t_wait(pid);
		T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 77);
		pid = 0;
	}
	close(ready[0]);
	return pid;
}

/* May a process of that user trace @pid? By doing it. */
static bool kernel_says(uid_t uid, gid_t gid, pid_t pid)
{
	pid_t child = t_fork();

	if (child == 0) {
		if (uid)
			become(uid, gid);
		_exit(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 ? 0 : 1);
	}
	return t_wait(child) == 0;
}

int main(void)
{
	static const struct {
		const char *name;
		void (*be)(void);
	} subjects[] = {
		{ "root", root },
		{ "nobody", nobody },
		{ "other group", other_group },
		{ "other", other },
		{ "not dumpable", hidden },
		{ "saved root", saved_root },
		{ "capable", capable },
		{ "own namespace", own_namespace },
	};
	static const struct auth_who whos[] = {
		{ .uid = 0, .gid = 0, .admin = true },
		{ .uid = NOBODY, .gid = NOBODY },
		{ .uid = OTHER, .gid = OTHER },
		{ .uid = NOBODY, .gid = OTHER },
	};
	unsigned yes = 0, no = 0;
	struct umem_note note = { 0 };

	if (geteuid() != 0)
		T_SKIP("changing the user needs root");
	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		pid_t pid = subject(subjects[i].be);

		for (size_t k = 0; pid && k < sizeof(whos) / sizeof(whos[0]); k++) {
			bool want = kernel_says(whos[k].uid, whos[k].gid, pid);
			int r = auth_may_trace(&whos[k], pid, NULL);

			/* A namespace's owner may more than we say: never the other way round. */
			if (subjects[i].be == own_namespace && r == -EPERM)
				want = false;
			T_CHECK(r == (want ? 0 : -EPERM),
				"%s by user %u group %u: %d, the kernel %d", subjects[i].name,
				whos[k].uid, whos[k].gid, r, want);
			yes += want;
			no += !want;
		}
		if (pid)
			t_end(pid);
	}
	T_CHECK(yes >= 9 && no >= 15, "%u %u", yes, no);
	T_CHECK(auth_may_trace(&whos[0], 0x7ffffff0, &note) == UMEM_GONE);
	T_CHECK(strstr(note.text, "there is no process"));
	printf("%u times yes, %u times no, as the kernel\n", yes, no);
	return 0;
}
