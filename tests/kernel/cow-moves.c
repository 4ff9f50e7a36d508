// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Synchronous write protection and changes of the mappings: a move keeps
 * protection and content at the new address, and is told before anybody can
 * lift anything; an unmapping is told when it is through; guards come unnoticed,
 * but are not protected; a fork's child is not watched.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernel/cow-scene.h"

#define AT(i) (s->at + (i) * K_PAGE)

static char *_Atomic *moved_to; /* shared with the child */

static void moves(char *at)
{
	char *to = mremap(at + 2 * K_PAGE, 2 * K_PAGE, 2 * K_PAGE,
		MREMAP_MAYMOVE | MREMAP_DONTUNMAP);

	T_CHECK(to != MAP_FAILED);
	atomic_store(moved_to, to);
}

static void unmaps(char *at)
{
	T_SYS(munmap(at + 5 * K_PAGE, K_PAGE));
}

static void maps_over(char *at)
{
	T_CHECK(mmap(at + 6 * K_PAGE, K_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at + 6 * K_PAGE);
}

static void guards(char *at)
{
	if (madvise(at + 8 * K_PAGE, K_PAGE, MADV_GUARD_INSTALL) < 0)
		return;
	T_SYS(madvise(at + 8 * K_PAGE, K_PAGE, MADV_GUARD_REMOVE));
	*(volatile char *)(at + 8 * K_PAGE) = 'w';
}

static void stores_there(char *at)
{
	*(volatile char *)*moved_to = 'w';
}

static void forks(char *at)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 10; i < 13; i++)
			*(volatile char *)(at + i * K_PAGE) = 'c';
		_exit(0);
	}
	T_CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid);
}

static void stores_after_fork(char *at)
{
	*(volatile char *)(at + 11 * K_PAGE) = 'w';
}

static void move(struct k_scene *s)
{
	struct uffd_msg msg;
	char *to;

	k_scene_begin(s, moves);
	T_UNTIL(10, umem_uffd_changing(s->uffd) == 1);
	k_scene_message(s, true, &msg);
	T_CHECK(msg.event == UFFD_EVENT_REMAP && msg.arg.remap.from == (uintptr_t)AT(2) &&
		msg.arg.remap.len == 2 * K_PAGE);
	to = (char *)(uintptr_t)msg.arg.remap.to;
	k_scene_wait(s);
	T_CHECK(*moved_to == to);
	T_CHECK(k_scene_is(s, to, 2) && k_scene_is(s, to + K_PAGE, 3));
	T_CHECK(k_scene_word(s, to) & UMEM_PM_UFFD_WP);
	T_CHECK(!(k_scene_word(s, AT(2)) & UMEM_PM_UFFD_WP));
	k_scene_begin(s, stores_there);
	k_scene_message(s, false, &msg);
	T_CHECK(msg.event == UFFD_EVENT_PAGEFAULT &&
		msg.arg.pagefault.address == (uintptr_t)to);
	T_OK(k_scene_lift(s, to));
	k_scene_wait(s);
}

static void unmap(struct k_scene *s, void (*act)(char *), size_t page)
{
	struct uffd_msg msg;

	k_scene_begin(s, act);
	T_UNTIL(10, umem_uffd_changing(s->uffd) == 1);
	T_UNTIL(10, !k_scene_is(s, AT(page), page)); /* too late to look */
	T_CHECK(k_scene_lift(s, AT(0)) == -EAGAIN);
	k_scene_message(s, true, &msg);
	T_CHECK(msg.event == UFFD_EVENT_UNMAP && msg.arg.remove.start == (uintptr_t)AT(page));
	k_scene_wait(s);
}

int main(void)
{
	struct k_scene scene, *s = &scene;
	struct uffd_msg msg;

	moved_to = (void *)k_map(K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	k_scene_start(s, -1);
	k_scene_protect(s);
	move(s);
	unmap(s, unmaps, 5);
	unmap(s, maps_over, 6);
	T_CHECK(!(k_scene_word(s, AT(6)) & UMEM_PM_UFFD_WP));

	k_scene_begin(s, guards);
	k_scene_wait(s);
	k_fact("guards put in and taken out, and a store: %s",
		k_scene_is(s, AT(8), 8) ? "not known to this kernel" : "no message");
	T_CHECK(k_scene_is(s, AT(8), 8) || !(k_scene_word(s, AT(8)) & UMEM_PM_UFFD_WP));

	/* A child writes as it likes, and does not change what its parent has. */
	k_scene_begin(s, forks);
	k_scene_wait(s);
	T_CHECK(umem_uffd_read(s->uffd, &msg) == -EAGAIN);
	T_CHECK(k_scene_is(s, AT(11), 11));
	k_scene_begin(s, stores_after_fork);
	k_scene_message(s, false, &msg);
	T_CHECK(msg.event == UFFD_EVENT_PAGEFAULT && k_scene_is(s, AT(11), 11));
	T_OK(k_scene_lift(s, AT(11)));
	k_scene_wait(s);
	k_scene_end(s);
	return 0;
}
