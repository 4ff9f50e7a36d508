// SPDX-License-Identifier: LGPL-2.1-or-later
/* A child with memory that we protect in synchronous mode. */
#include "tests/kernel/cow-scene.h"

#include <poll.h>
#include <pthread.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/kern/pidfd.h"

/* What both processes see. */
struct k_board {
	_Atomic int uffd;
	_Atomic int n_begun;
	_Atomic int n_done;
	void (*_Atomic act)(char *at);
};

static struct k_board *the_board; /* the child's */

struct act {
	struct k_board *board;
	char *at;
	void (*run)(char *at);
};

static void *run_act(void *arg)
{
	struct act *act = arg;

	act->run(act->at);
	atomic_fetch_add(&act->board->n_done, 1);
	free(act);
	return NULL;
}

/* The child: a thread for each act. */
static void serve(struct k_board *board, char *at)
{
	for (;;) {
		void (*run)(char *) = atomic_exchange(&board->act, NULL);
		struct act *act;
		pthread_t thread;

		if (!run) {
			t_msleep(1);
			continue;
		}
		act = malloc(sizeof(*act));
		*act = (struct act){ board, at, run };
		T_OK(pthread_create(&thread, NULL, run_act, act));
		pthread_detach(thread);
		atomic_fetch_add(&board->n_begun, 1);
	}
}

void k_scene_start(struct k_scene *scene, int fd)
{
	size_t len = K_SCENE_PAGES * K_PAGE;
	int pidfd;

	scene->board = (struct k_board *)k_map(K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	scene->at = fd < 0 ? k_anon(len) : k_map(len, MAP_SHARED, fd);
	scene->pid = t_fork();
	if (scene->pid == 0) {
		for (size_t i = 0; i < K_SCENE_PAGES; i++)
			t_fill_page(scene->at + i * K_PAGE, i, 1);
		the_board = scene->board;
		atomic_store(&scene->board->uffd, k_uffd(K_SYNC));
		serve(scene->board, scene->at);
	}
	T_UNTIL(10, atomic_load(&scene->board->uffd) > 0);
	T_OK(umem_pidfd_open(scene->pid, &pidfd));
	T_OK(umem_pidfd_getfd(pidfd, atomic_load(&scene->board->uffd), &scene->uffd));
	close(pidfd);
	T_OK(umem_pagemap_open(scene->pid, &scene->pm));
}

void k_scene_end(struct k_scene *scene)
{
	t_end(scene->pid);
	close(scene->uffd);
	close(scene->pm);
}

static void close_there(char *at)
{
	T_SYS(close(atomic_load(&the_board->uffd)));
}

void k_scene_close_there(struct k_scene *scene)
{
	k_scene_begin(scene, close_there);
	k_scene_wait(scene);
}

void k_scene_protect(struct k_scene *scene)
{
	uint64_t start = (uintptr_t)scene->at;

	T_OK(k_register(scene->uffd, scene->at, K_SCENE_PAGES * K_PAGE));
	T_OK(umem_uffd_protect(scene->uffd, start, start + K_SCENE_PAGES * K_PAGE, true));
}

void k_scene_begin(struct k_scene *scene, void (*act)(char *at))
{
	int begun = atomic_load(&scene->board->n_begun);

	atomic_store(&scene->board->act, act);
	T_UNTIL(10, atomic_load(&scene->board->n_begun) == begun + 1);
}

bool k_scene_through(struct k_scene *scene)
{
	return atomic_load(&scene->board->n_done) == atomic_load(&scene->board->n_begun);
}

void k_scene_wait(struct k_scene *scene)
{
	T_UNTIL(10, k_scene_through(scene));
}

void k_scene_message(struct k_scene *scene, bool event, struct uffd_msg *ret_msg)
{
	struct pollfd pfd = { .fd = scene->uffd, .events = POLLIN };

	T_CHECK(poll(&pfd, 1, 10000) == 1 && (pfd.revents & POLLIN));
	T_CHECK(umem_uffd_changing(scene->uffd) == event);
	T_OK(umem_uffd_read(scene->uffd, ret_msg));
}

bool k_scene_read(struct k_scene *scene, const char *at, char *page)
{
	struct iovec to = { page, K_PAGE }, from = { (void *)(uintptr_t)at, K_PAGE };

	return process_vm_readv(scene->pid, &to, 1, &from, 1, 0) == (ssize_t)K_PAGE;
}

bool k_scene_is(struct k_scene *scene, const char *at, uint64_t page)
{
	char is[K_PAGE], want[K_PAGE];

	t_fill_page(want, page, 1);
	return k_scene_read(scene, at, is) && memcmp(is, want, K_PAGE) == 0;
}

int k_scene_lift(struct k_scene *scene, const char *at)
{
	return umem_uffd_protect(scene->uffd, (uintptr_t)at, (uintptr_t)at + K_PAGE, false);
}

uint64_t k_scene_word(struct k_scene *scene, const char *at)
{
	return k_word(scene->pm, at);
}
