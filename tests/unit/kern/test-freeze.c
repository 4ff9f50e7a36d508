// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freezing and children by injection: arguments, life of the objects, many threads.
 * What they promise about the kernel is proved in tests/kernel/.
 */
#include "lib/kern/freeze.h"
#include "lib/kern/inject_fork.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/kern/freeze_job.h"
#include "lib/kern/pidfd.h"
#include "tests/lib/harness.h"

#define N_MANY 3000

static void *rest(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

/* A process of @n threads; their number comes through @ready when all are there. */
static pid_t start(int n, volatile int *ready)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		pthread_attr_t attr;
		pthread_t thread;
		int made = 1;

		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 65536);
		pthread_attr_setguardsize(&attr, 0);
		while (made < n && pthread_create(&thread, &attr, rest, NULL) == 0)
			made++;
		*ready = made;
		rest(NULL);
	}
	T_UNTIL(60, *ready != 0);
	return pid;
}

static volatile int *new_word(void)
{
	volatile int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);

	assert_true(word != MAP_FAILED);
	return word;
}

static int count_thread(void *user, const struct umem_frozen_thread *thread)
{
	int *n = user;

	assert_true(thread->tid > 0 && thread->n_notes >= 2);
	assert_int_equal(0, thread->name[15]);
	return ++*n == 5000 ? 77 : 0;
}

static int stop_at_two(void *user, const struct umem_frozen_thread *thread)
{
	int *n = user;

	return ++*n == 2 ? 77 : 0;
}

/* More than the table and one batch of notes have room for at first. */
static void many(void **state)
{
	volatile int *ready = new_word();
	struct umem_freeze_process who = { .pid = start(N_MANY, ready) };
	struct umem_freeze_count count;
	struct umem_freeze *freeze;
	struct umem_note note = { 0 };
	uint64_t stop_ns = 0, held_ns = 0;
	int n = 0;

	assert_int_equal(0, umem_pidfd_open(who.pid, &who.pidfd));
	assert_int_equal(0, umem_freeze_new(&freeze));
	for (int i = 0; i < 3; i++) {
		int r = umem_freeze_stop(freeze, &who, 1, 60000000000u, &stop_ns, &note);

		assert_int_equal(0, r);
		umem_freeze_count(freeze, 0, &count);
		assert_int_equal(*ready, count.n_stopped);
		assert_int_equal(0, count.worker_tid);
		n = 0;
		assert_int_equal(0, umem_freeze_threads(freeze, 0, count_thread, &n));
		assert_int_equal(*ready, n);
		n = 0;
		assert_int_equal(77, umem_freeze_threads(freeze, 0, stop_at_two, &n));
		assert_int_equal(-EINVAL, umem_freeze_threads(freeze, 1, stop_at_two, &n));
		assert_int_equal(-EINVAL,
			umem_freeze_stop(freeze, &who, 1, 1000000000u, NULL, NULL));
		assert_int_equal(0, umem_freeze_go(freeze, &held_ns));
		assert_true(held_ns >= stop_ns);
		assert_int_equal(0, umem_freeze_go(freeze, &held_ns));
		assert_int_equal(0, held_ns);
	}
	/* Freed while it holds: all run on. */
	assert_int_equal(0, umem_freeze_stop(freeze, &who, 1, 60000000000u, NULL, NULL));
	assert_null(umem_freeze_free(freeze));
	T_UNTIL(5, t_proc_state(who.pid) == 'S');
	close(who.pidfd);
	t_end(who.pid);
	munmap((void *)(uintptr_t)ready, 4096);
}

/* The table by itself: ids that fall on each other, ids that come back, growth. */
static void table(void **state)
{
	struct umem_freeze f = { .n_slots = 0 };

	assert_int_equal(-ENOMEM, umem_freeze_table_new(&f, UMEM_FREEZE_MAX_THREADS));
	assert_int_equal(0, umem_freeze_table_new(&f, 10));
	assert_non_null(f.slots);
	assert_int_equal(4095, f.table_mask);
	umem_freeze_table_free(&f);
	assert_null(f.slots);
	assert_int_equal(0, umem_freeze_table_new(&f, 1000));
	assert_int_equal(8191, f.table_mask);
	umem_freeze_table_free(&f);
	umem_freeze_table_free(&f);
}

static void words(void **state)
{
	for (int i = 0; i < UMEM_FREEZE_N_WORKERS; i++)
		assert_true(strlen(umem_freeze_worker_name((enum umem_freeze_worker)i)) > 0);
	assert_null(umem_freeze_free(NULL));
	assert_null(umem_fork_free(NULL));
}

/* A fork that was prepared and never used leaves nothing, nor one that is used twice. */
static void forks(void **state)
{
	volatile int *ready = new_word();
	pid_t pid = start(3, ready);
	struct umem_freeze *freeze;
	struct umem_fork *fork_of = NULL;
	struct umem_note note = { 0 };
	int pidfd;

	assert_int_equal(0, umem_pidfd_open(pid, &pidfd));
	assert_int_equal(0, umem_freeze_new(&freeze));
	assert_int_equal(-EINVAL, umem_fork_new(0, pidfd, &fork_of, &note));
	assert_null(fork_of);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(0, umem_fork_new(pid, pidfd, &fork_of, &note));
		assert_int_equal(0, umem_fork_child(fork_of).pid);
		assert_int_equal(-1, umem_fork_child(fork_of).mem_fd);
		assert_null(umem_fork_thread(fork_of));
		assert_int_equal(0, umem_fork_go(fork_of));
		if (i > 0)
			assert_int_equal(0,
				umem_fork_stop(&fork_of, 1, freeze, 10000000000u, &note));
		if (i > 1) {
			assert_int_equal(0, umem_fork_go(fork_of));
			assert_int_equal(0, umem_freeze_go(freeze, NULL));
			assert_true(umem_fork_report(fork_of).clone_ns > 0);
			assert_true(umem_fork_report(fork_of).stop_ns >=
				umem_fork_report(fork_of).clone_ns);
		}
		/* Also while all stand. */
		assert_null(umem_fork_free(fork_of));
		assert_int_equal(0, umem_freeze_go(freeze, NULL));
		T_UNTIL(5, t_proc_state(pid) == 'S');
	}
	umem_freeze_free(freeze);
	close(pidfd);
	t_end(pid);
	munmap((void *)(uintptr_t)ready, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(table),
		cmocka_unit_test(many),
		cmocka_unit_test(forks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
