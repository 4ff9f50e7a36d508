// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Synchronous write protection and discards: the caller waits with the content
 * in place until its event is read; a copy of no bytes tells that one is
 * pending; what is discarded has lost its protection.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/kernel/cow-scene.h"

#define AT(i) (s->at + (i) * K_PAGE)

static void dontneed(char *at)
{
	T_SYS(madvise(at + 2 * K_PAGE, 2 * K_PAGE, MADV_DONTNEED));
}

static void lazily(char *at)
{
	T_SYS(madvise(at + 5 * K_PAGE, K_PAGE, MADV_FREE));
}

static void removes(char *at)
{
	T_SYS(madvise(at + 7 * K_PAGE, K_PAGE, MADV_REMOVE));
}

static void stores(char *at)
{
	*(volatile char *)(at + 2 * K_PAGE) = 'w';
}

static void stores_elsewhere(char *at)
{
	*(volatile char *)(at + 9 * K_PAGE) = 'w';
}

/* The call that a thread of the child is blocked in: any that is madvise(2). */
static bool shows_madvise(struct k_scene *s, const char *at, size_t len)
{
	char text[4096], want[80];
	FILE *out;

	snprintf(want, sizeof(want), "%d 0x%lx 0x%zx ", SYS_madvise, (unsigned long)at, len);
	snprintf(text, sizeof(text), "find /proc/%d/task -name syscall -exec cat {} +", s->pid);
	out = popen(text, "r");
	T_CHECK(out != NULL);
	while (fgets(text, sizeof(text), out))
		if (strncmp(text, want, strlen(want)) == 0) {
			pclose(out);
			return true;
		}
	pclose(out);
	return false;
}

static void expect_discard(struct k_scene *s, void (*act)(char *), size_t page, size_t n)
{
	struct uffd_msg msg;

	k_scene_begin(s, act);
	T_UNTIL(10, umem_uffd_changing(s->uffd) == 1);
	T_UNTIL(10, shows_madvise(s, AT(page), n * K_PAGE));
	for (size_t i = 0; i < n; i++)
		T_CHECK(k_scene_is(s, AT(page + i), page + i));
	T_CHECK(k_scene_lift(s, AT(0)) == -EAGAIN);
	T_CHECK(!k_scene_through(s));
	k_scene_message(s, true, &msg);
	T_CHECK(msg.event == UFFD_EVENT_REMOVE && msg.arg.remove.start == (uintptr_t)AT(page) &&
		msg.arg.remove.end == (uintptr_t)AT(page + n));
	k_scene_wait(s);
	T_CHECK(umem_uffd_changing(s->uffd) == 0);
}

static void anonymous(void)
{
	struct k_scene scene, *s = &scene;
	struct uffd_msg msg;

	k_scene_start(s, -1);
	k_scene_protect(s);
	T_CHECK(umem_uffd_changing(s->uffd) == 0);

	/* A store waits, and goes on when its page is lifted. */
	k_scene_begin(s, stores);
	k_scene_message(s, false, &msg);
	T_CHECK(msg.event == UFFD_EVENT_PAGEFAULT &&
		msg.arg.pagefault.address == (uintptr_t)AT(2) &&
		(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP));
	T_CHECK(msg.arg.pagefault.feat.ptid != 0);
	T_CHECK(k_scene_is(s, AT(2), 2) && !k_scene_through(s));
	T_OK(k_scene_lift(s, AT(2)));
	k_scene_wait(s);
	T_CHECK(!k_scene_is(s, AT(2), 2));

	T_OK(umem_uffd_protect(s->uffd, (uintptr_t)AT(0), (uintptr_t)AT(16), true));
	/* Put back what was there, to see it again. */
	T_OK(k_scene_lift(s, AT(2)));
	k_scene_end(s);

	k_scene_start(s, -1);
	k_scene_protect(s);
	expect_discard(s, dontneed, 2, 2);
	T_CHECK(!(k_scene_word(s, AT(2)) & UMEM_PM_UFFD_WP));
	/* The protection went with the content: nobody waits. */
	k_scene_begin(s, stores);
	k_scene_wait(s);
	expect_discard(s, lazily, 5, 1);
	T_CHECK(k_scene_is(s, AT(5), 5));
	k_scene_end(s);
}

static void shared(void)
{
	int fd = k_memfd(K_SCENE_PAGES * K_PAGE);
	struct k_scene scene, *s = &scene;

	k_scene_start(s, fd);
	k_scene_protect(s);
	expect_discard(s, dontneed, 2, 2);
	/* The content is the object's, and a mark stays. */
	T_CHECK(k_scene_word(s, AT(2)) & UMEM_PM_UFFD_WP);
	T_CHECK(k_scene_is(s, AT(2), 2));
	expect_discard(s, removes, 7, 1);
	T_CHECK(k_scene_word(s, AT(7)) & UMEM_PM_UFFD_WP);
	T_CHECK(lseek(fd, 7 * K_PAGE, SEEK_DATA) == 8 * K_PAGE);
	T_CHECK(!k_scene_is(s, AT(7), 7));
	k_scene_end(s);
	close(fd);
}

/* A fault that is pending is read before an event that came first. */
static void order(void)
{
	struct k_scene scene, *s = &scene;
	struct uffd_msg msg;

	k_scene_start(s, -1);
	k_scene_protect(s);
	k_scene_begin(s, dontneed);
	T_UNTIL(10, umem_uffd_changing(s->uffd) == 1);
	k_scene_begin(s, stores_elsewhere);
	t_msleep(50); /* nothing tells that the fault is pending, but its reading */
	k_scene_message(s, true, &msg);
	T_CHECK(msg.event == UFFD_EVENT_PAGEFAULT);
	T_CHECK(k_scene_lift(s, AT(9)) == -EAGAIN);
	k_scene_message(s, true, &msg);
	T_CHECK(msg.event == UFFD_EVENT_REMOVE);
	T_UNTIL(10, umem_uffd_changing(s->uffd) == 0);
	T_CHECK(umem_uffd_read(s->uffd, &msg) == -EAGAIN);
	T_OK(k_scene_lift(s, AT(9)));
	k_scene_wait(s);
	k_scene_end(s);
}

int main(void)
{
	anonymous();
	shared();
	order();
	return 0;
}
