// SPDX-License-Identifier: LGPL-2.1-or-later
/* Features: the table, overrides, and probes that leave nothing behind. */
#include "lib/kern/feat.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/harness.h"

static struct umem_feats all;

static size_t n_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static uint64_t mapped_kb(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t kb = 0;
	char line[128];

	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmSize:", 7))
			kb = strtoull(line + 7, NULL, 10);
	}
	fclose(file);
	return kb;
}

static void table(void **state)
{
	for (int i = 0; i < UMEM_N_FEATS; i++) {
		const struct umem_feat_info *info = umem_feat_info((enum umem_feat)i);
		enum umem_feat feat;

		assert_non_null(info->name);
		assert_true(strlen(info->enables) > 0 && strlen(info->how_to_get) > 0);
		/* Finds itself, so that no name is there twice. */
		assert_int_equal(0, umem_feat_by_name(info->name, &feat));
		assert_int_equal(i, feat);
		assert_null(strpbrk(info->name, ",+- "));
	}
	assert_string_equal("procmap_query", umem_feat_info(UMEM_FEAT_PROCMAP_QUERY)->name);
	assert_string_equal("swap", umem_feat_info(UMEM_FEAT_SWAP)->name);
	assert_string_equal("?", umem_feat_info(UMEM_N_FEATS)->name);
	assert_int_equal(-EINVAL, umem_feat_by_name("procmap", &(enum umem_feat){ 0 }));
}

static void overrides(void **state)
{
	struct umem_feats feats = { 0 }, before;

	feats.probed = UMEM_FEATS_ALL;
	feats.found = UMEM_FEAT_BIT(UMEM_FEAT_PROCMAP_QUERY);
	feats.unknown = UMEM_FEAT_BIT(UMEM_FEAT_SOFT_DIRTY);
	before = feats;
	assert_int_equal(-EINVAL, umem_feats_override(&feats, "-procmap_query,+nonsense"));
	assert_int_equal(-EINVAL, umem_feats_override(&feats, "procmap_query"));
	assert_int_equal(-EINVAL, umem_feats_override(&feats, "-procmap_query,"));
	assert_int_equal(-EINVAL, umem_feats_override(&feats, ",-procmap_query"));
	assert_int_equal(-EINVAL, umem_feats_override(&feats, "-"));
	assert_int_equal(-EINVAL, umem_feats_override(&feats, "-procmap_quer"));
	assert_int_equal(-EINVAL, umem_feats_override(&feats, "-procmap_query2"));
	assert_int_equal(0, umem_feats_override(&feats, ""));
	assert_int_equal(0, umem_feats_override(&feats, NULL));
	assert_memory_equal(&before, &feats, sizeof(feats));

	assert_int_equal(0, umem_feats_override(&feats, "-procmap_query,+soft_dirty"));
	assert_false(umem_feats_has(&feats, UMEM_FEAT_PROCMAP_QUERY));
	assert_true(umem_feats_has(&feats, UMEM_FEAT_SOFT_DIRTY));
	assert_string_equal("overridden", feats.detail[UMEM_FEAT_SOFT_DIRTY]);
	assert_int_equal(0, umem_feats_override(&feats, "-soft_dirty,+soft_dirty,-soft_dirty"));
	assert_false(umem_feats_has(&feats, UMEM_FEAT_SOFT_DIRTY));
}

/* What is not known is answered on the safe side. */
static void unknown(void **state)
{
	struct umem_feats feats = { 0 };

	assert_false(umem_feats_has(&feats, UMEM_FEAT_PROCMAP_QUERY));
	assert_true(umem_feats_has(&feats, UMEM_FEAT_PINNED_UNSEEN));
	assert_true(umem_feats_has(&feats, UMEM_FEAT_HUGETLB_HOLES_UNSEEN));
	assert_false(umem_feats_has(&feats, UMEM_FEAT_PIDFD_GETFD));
	assert_false(umem_feats_has(&feats, UMEM_N_FEATS));
	assert_int_equal(0, umem_feats_override(&feats, "-pinned_unseen"));
	assert_false(umem_feats_has(&feats, UMEM_FEAT_PINNED_UNSEEN));
	feats = (struct umem_feats){ .probed = UMEM_FEATS_ALL, .unknown = UMEM_FEATS_ALL };
	assert_false(umem_feats_has(&feats, UMEM_FEAT_PAGEMAP_SCAN));
	assert_true(umem_feats_has(&feats, UMEM_FEAT_SHMEM_PUNCH_UNSEEN));
	assert_int_equal(-EINVAL, umem_feats_probe_some(UMEM_FEAT_BIT(UMEM_N_FEATS), &feats));
}

static void on_child(int signo)
{
	_exit(3);
}

static void probes(void **state)
{
	size_t fds = n_fds(), kb;
	uint64_t t0, ns;
	struct umem_feats again;

	signal(SIGCHLD, on_child); /* a probe's child is nobody's business */
	assert_int_equal(0, umem_feats_probe(&all));
	kb = mapped_kb();
	assert_int_equal(0, umem_feats_probe(&again));
	signal(SIGCHLD, SIG_DFL);
	assert_int_equal(all.found, again.found);
	assert_int_equal(fds, n_fds());
	assert_int_equal(kb, mapped_kb());
	assert_int_equal(-1, waitpid(-1, NULL, WNOHANG | __WALL));
	assert_int_equal(ECHILD, errno);

	for (int i = 0; i < UMEM_N_FEATS; i++)
		printf("%-30s %-8s %s\n", umem_feat_info((enum umem_feat)i)->name,
			all.unknown & UMEM_FEAT_BIT(i) ? "unknown" :
			all.found & UMEM_FEAT_BIT(i)   ? "found" :
							 "missing",
			all.detail[i]);
	t0 = t_now_ns();
	assert_int_equal(0, umem_feats_probe_some(UMEM_FEATS_TRACKING, &again));
	ns = t_now_ns() - t0;
	printf("tracking features: %llu us\n", (unsigned long long)ns / 1000);
	assert_true(ns < 500000000);
	assert_true(again.probed == UMEM_FEATS_TRACKING);
	assert_int_equal(all.found & UMEM_FEATS_TRACKING, again.found);
	assert_true((all.found & all.unknown) == 0);
}

/* In a child: without descriptors every answer is "no" or "not known". */
static void no_descriptors(void **state)
{
	pid_t pid = t_fork();
	struct rlimit limit = { 3, 3 };
	struct umem_feats feats;

	if (pid == 0) {
		alarm(20);
		setrlimit(RLIMIT_NOFILE, &limit);
		if (umem_feats_probe(&feats) != 0)
			_exit(1);
		if (umem_feats_has(&feats, UMEM_FEAT_USERFAULTFD) ||
			umem_feats_has(&feats, UMEM_FEAT_PAGEMAP_SCAN) ||
			!(feats.unknown & UMEM_FEAT_BIT(UMEM_FEAT_PAGEMAP_SCAN)) ||
			!umem_feats_has(&feats, UMEM_FEAT_PINNED_UNSEEN) ||
			!feats.detail[UMEM_FEAT_PAGEMAP_SCAN][0])
			_exit(2);
		_exit(0);
	}
	assert_int_equal(0, t_wait(pid));
}

/* In a child without privilege: the table differs from root's where it must. */
static void unprivileged(void **state)
{
	struct umem_feats feats;
	pid_t pid;

	if (geteuid() != 0 || !umem_feats_has(&all, UMEM_FEAT_UFFD_WP_ASYNC))
		skip();
	pid = t_fork();
	if (pid == 0) {
		alarm(20);
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(1);
		/* Changing user hides /proc/self from its owner. */
		prctl(PR_SET_DUMPABLE, 1);
		if (umem_feats_probe(&feats) != 0)
			_exit(2);
		for (int i = 0; i < UMEM_N_FEATS; i++) {
			uint64_t bit = UMEM_FEAT_BIT(i);

			if ((feats.found ^ all.found) & bit || (feats.unknown ^ all.unknown) & bit)
				printf("unprivileged: %s %s: %s\n",
					umem_feat_info((enum umem_feat)i)->name,
					feats.unknown & bit ? "unknown" :
					feats.found & bit   ? "found" :
							      "missing",
					feats.detail[i]);
		}
		fflush(stdout);
		if (umem_feats_has(&feats, UMEM_FEAT_SWAP_TYPE_VISIBLE) ||
			umem_feats_has(&feats, UMEM_FEAT_MAP_FILES))
			_exit(3);
		/* Tracking oneself needs no privilege where this is there. */
		_exit(umem_feats_has(&feats, UMEM_FEAT_UFFD_USER_MODE_ONLY) ==
				umem_feats_has(&all, UMEM_FEAT_UFFD_USER_MODE_ONLY) ? 0 : 4);
	}
	assert_int_equal(0, t_wait(pid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(overrides),
		cmocka_unit_test(unknown),
		cmocka_unit_test(probes),
		cmocka_unit_test(no_descriptors),
		cmocka_unit_test(unprivileged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
