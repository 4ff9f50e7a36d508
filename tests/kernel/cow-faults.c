// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who waits for whom in synchronous write protection: stores of the kernel wait
 * as well; a signal takes a waiting fault out of the queue, and it comes again;
 * SIGKILL ends a waiting thread; unregistering needs a wake; the end of the last
 * descriptor lifts everything and wakes everybody.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernel/cow-scene.h"

#define AT(i) (s->at + (i) * K_PAGE)

static _Atomic int *hits; /* shared with the child */

static void reads_into(char *at)
{
	int fd = (int)T_SYS(open("/dev/zero", O_RDONLY | O_CLOEXEC));

	T_CHECK(read(fd, at + 3 * K_PAGE, 100) == 100);
	close(fd);
}

static void stores(char *at)
{
	*(volatile char *)(at + 4 * K_PAGE) = 'w';
}

static void on_signal(int signo)
{
	atomic_fetch_add(hits, 1);
}

static void stores_signalled(char *at)
{
	struct sigaction sa = { .sa_handler = on_signal };

	T_SYS(sigaction(SIGUSR1, &sa, NULL));
	*(volatile char *)(at + 5 * K_PAGE) = 'w';
}

/* Is a fault pending? fdinfo has "pending:\tN\ntotal:\tN". */
static int pending(int uffd)
{
	char path[64], text[256];
	int n = -1, fd;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", uffd);
	fd = (int)T_SYS(open(path, O_RDONLY | O_CLOEXEC));
	len = T_SYS(read(fd, text, sizeof(text) - 1));
	text[len] = '\0';
	close(fd);
	if (strstr(text, "pending:"))
		n = atoi(strstr(text, "pending:") + strlen("pending:"));
	T_CHECK(n >= 0);
	return n;
}

static void kernel_mode(struct k_scene *s)
{
	struct uffd_msg msg;

	k_scene_begin(s, reads_into);
	k_scene_message(s, false, &msg);
	T_CHECK(msg.event == UFFD_EVENT_PAGEFAULT &&
		msg.arg.pagefault.address == (uintptr_t)AT(3));
	T_CHECK(k_scene_is(s, AT(3), 3));
	T_OK(k_scene_lift(s, AT(3)));
	k_scene_wait(s);
}

static void *writes_from_outside(void *arg)
{
	struct k_scene *s = arg;
	char byte = 'o';
	struct iovec from = { &byte, 1 }, to = { AT(6), 1 };

	T_CHECK(process_vm_writev(s->pid, &from, 1, &to, 1, 0) == 1);
	return NULL;
}

static void outside(struct k_scene *s)
{
	struct uffd_msg msg;
	pthread_t thread;

	T_OK(pthread_create(&thread, NULL, writes_from_outside, s));
	k_scene_message(s, false, &msg);
	T_CHECK(msg.event == UFFD_EVENT_PAGEFAULT &&
		msg.arg.pagefault.address == (uintptr_t)AT(6));
	T_CHECK(k_scene_is(s, AT(6), 6));
	T_OK(k_scene_lift(s, AT(6)));
	pthread_join(thread, NULL);
	T_CHECK(!k_scene_is(s, AT(6), 6));
}

/* A signal that comes while a store waits is handled at once; then it faults anew. */
static void interrupted(struct k_scene *s)
{
	struct uffd_msg msg;

	k_scene_begin(s, stores_signalled);
	T_UNTIL(10, pending(s->uffd) == 1);
	/* All threads take it in turn; the one that stores is among them. */
	for (int i = 0; i < 100 && atomic_load(hits) == 0; i++) {
		T_SYS(kill(s->pid, SIGUSR1));
		t_msleep(1);
	}
	T_CHECK(atomic_load(hits) > 0);
	k_scene_message(s, false, &msg);
	T_CHECK(msg.event == UFFD_EVENT_PAGEFAULT &&
		msg.arg.pagefault.address == (uintptr_t)AT(5));
	T_OK(k_scene_lift(s, AT(5)));
	k_scene_wait(s);
}

/* Unregistered while somebody waits: woken by us, not by the kernel. */
static void unregistered(struct k_scene *s)
{
	struct uffd_msg msg;
	uint64_t start = (uintptr_t)AT(0), end = (uintptr_t)AT(K_SCENE_PAGES);

	k_scene_begin(s, stores);
	k_scene_message(s, false, &msg);
	T_OK(umem_uffd_unregister(s->uffd, start, end));
	t_msleep(20);
	k_fact("a store that waited is %s by unregistering",
		k_scene_through(s) ? "woken" : "not woken");
	T_OK(umem_uffd_wake(s->uffd, start, end));
	k_scene_wait(s);
	T_CHECK(!(k_scene_word(s, AT(1)) & UMEM_PM_UFFD_WP));
}

static void kill_waiting(void)
{
	struct k_scene scene, *s = &scene;
	struct uffd_msg msg;

	k_scene_start(s, -1);
	k_scene_protect(s);
	k_scene_begin(s, stores);
	k_scene_message(s, false, &msg);
	T_SYS(kill(s->pid, SIGKILL));
	T_CHECK(t_wait(s->pid) != 0); /* a store that waits does not keep it alive */
	T_CHECK(k_scene_lift(s, AT(4)) == -ESRCH);
	close(s->uffd);
	close(s->pm);
}

static void closed(void)
{
	struct k_scene scene, *s = &scene;
	struct uffd_msg msg;

	k_scene_start(s, -1);
	k_scene_protect(s);
	k_scene_close_there(s); /* ours is the only one now */
	k_scene_begin(s, stores);
	k_scene_message(s, false, &msg);
	T_CHECK(!k_scene_through(s) && (k_scene_word(s, AT(1)) & UMEM_PM_UFFD_WP));
	close(s->uffd);
	k_scene_wait(s);
	T_CHECK(!(k_scene_word(s, AT(1)) & UMEM_PM_UFFD_WP));
	s->uffd = -1;
	k_scene_end(s);
}

int main(void)
{
	struct k_scene scene, *s = &scene;

	hits = (void *)k_map(K_PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	k_scene_start(s, -1);
	k_scene_protect(s);
	kernel_mode(s);
	outside(s);
	interrupted(s);
	unregistered(s);
	k_scene_end(s);
	kill_waiting();
	closed();
	return 0;
}
