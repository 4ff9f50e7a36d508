// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The cast of the residency oracle: processes that obey, and what they share.
 *
 * Theory of operation
 *
 * Command lines are made for all actors before there is one, so that a child
 * of any actor finds its own. A child ends with the actor that forked it; an
 * actor that has children is not ended. Touching goes through a handler of
 * SIGSEGV and SIGBUS, so that nobody has to know what may be touched.
 *
 * One order is under way at a time: its arguments may lie on the one board.
 */
#include "tests/torture/residency.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/kern/filecache.h"
#include "lib/kern/pagemap.h"
#include "tests/lib/harness.h"

#define NOBODY 65534

enum order_kind {
	ORDER_SYSCALL,
	ORDER_TOUCH,
	ORDER_FORK,
};

/* What an actor is told; @a are arguments. */
struct order {
	uint64_t kind;
	uint64_t a[7];
};

/* The actor's side. */

static sigjmp_buf out;
static int socks[N_ACTORS];

static void on_fault(int signo)
{
	(void)signo;
	siglongjmp(out, 1);
}

static void touch_page(volatile uint64_t *at, enum cast_touch how)
{
	static uint64_t state = 1;

	switch (how) {
	case TOUCH_READ:
		(void)*at;
		break;
	case TOUCH_CLEAR:
		*(volatile uint8_t *)at = 0;
		break;
	case TOUCH_RANDOM:
		for (size_t i = 0; i < PAGE / sizeof(*at); i++)
			at[i] = t_rand(&state);
		break;
	default:
		*(volatile uint8_t *)at = (uint8_t)(1 + state++ % 255);
	}
}

static int64_t touch_pages(const struct order *order)
{
	volatile int64_t n = 0;
	volatile uint64_t i = 0;

	for (; i < order->a[1]; i = i + 1) {
		if (sigsetjmp(out, 0) == 0) {
			touch_page((uint64_t *)(order->a[0] + i * order->a[2] * PAGE),
				(enum cast_touch)order->a[3]);
			n = n + 1;
		}
	}
	return n;
}

static void obey(int sock) __attribute__((noreturn));

static int64_t fork_now(const struct order *order)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		obey(socks[order->a[0]]);
	}
	return pid < 0 ? -errno : pid;
}

static void obey(int sock)
{
	struct order order;

	for (;;) {
		int64_t r;

		if (read(sock, &order, sizeof(order)) != (ssize_t)sizeof(order))
			_exit(0);
		if (order.kind == ORDER_TOUCH) {
			r = touch_pages(&order);
		} else if (order.kind == ORDER_FORK) {
			r = fork_now(&order);
		} else {
			r = syscall((long)order.a[0], order.a[1], order.a[2], order.a[3],
				order.a[4], order.a[5], order.a[6]);
			r = r == -1 ? -errno : r;
		}
		if (write(sock, &r, sizeof(r)) != (ssize_t)sizeof(r))
			_exit(1);
	}
}

static void be_actor(bool nobody, int sock)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	if (nobody) {
		T_SYS(setgroups(0, NULL));
		T_SYS(setresgid(NOBODY, NOBODY, NOBODY));
		T_SYS(setresuid(NOBODY, NOBODY, NOBODY));
		/* Both were lost with the user. */
		T_SYS(prctl(PR_SET_DUMPABLE, 1));
		T_SYS(prctl(PR_SET_PDEATHSIG, SIGKILL));
	}
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	obey(sock);
}

/* The stage's side. */

void cast_log(struct cast *c, const char *fmt, ...)
{
	va_list args;
	int n;

	if (c->log_len + 256 > sizeof(c->log))
		return;
	va_start(args, fmt);
	n = vsnprintf(c->log + c->log_len, 255, fmt, args);
	va_end(args);
	c->log_len += (size_t)(n > 254 ? 254 : n);
	c->log[c->log_len++] = '\n';
	c->log[c->log_len] = '\0';
}

uint64_t cast_below(struct cast *c, uint64_t n)
{
	return t_below(&c->state, n);
}

static int64_t tell(struct cast *c, unsigned who, const struct order *order)
{
	struct cast_actor *a = &c->actors[who];
	int64_t r;

	T_CHECK(write(a->sock, order, sizeof(*order)) == (ssize_t)sizeof(*order));
	T_CHECK(read(a->sock, &r, sizeof(r)) == (ssize_t)sizeof(r), "actor %u ended\n%s", who,
		c->log);
	return r;
}

int64_t cast_syscall(struct cast *c, unsigned who, long nr, uint64_t a0, uint64_t a1,
	uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	struct order order = { ORDER_SYSCALL, { (uint64_t)nr, a0, a1, a2, a3, a4, a5 } };

	return tell(c, who, &order);
}

uint64_t cast_touch(struct cast *c, unsigned who, uint64_t at, uint64_t n, uint64_t stride,
	enum cast_touch how)
{
	struct order order = { ORDER_TOUCH, { at, n, stride, how } };

	return (uint64_t)tell(c, who, &order);
}

static void meet(struct cast *c, unsigned slot, pid_t pid, int parent)
{
	struct cast_actor *a = &c->actors[slot];

	a->pid = pid;
	a->parent = parent;
	a->uffd = -1;
	T_OK(umem_pagemap_open(pid, &a->pagemap));
}

void cast_fork(struct cast *c, unsigned who, unsigned slot)
{
	struct order order = { ORDER_FORK, { slot } };
	struct cast_actor *a = &c->actors[slot];
	int64_t pid = tell(c, who, &order);

	T_CHECK(pid > 0, "fork: %lld", (long long)pid);
	memcpy(a->areas, c->actors[who].areas, sizeof(a->areas));
	for (size_t i = 0; i < N_SLOTS; i++)
		a->areas[i].registered = false;
	meet(c, slot, (pid_t)pid, (int)who);
}

void cast_exit(struct cast *c, unsigned who)
{
	struct cast_actor *a = &c->actors[who];
	struct order order = { ORDER_SYSCALL, { SYS_exit_group } };

	T_CHECK(write(a->sock, &order, sizeof(order)) == (ssize_t)sizeof(order));
	T_CHECK(cast_syscall(c, (unsigned)a->parent, SYS_wait4, (uint64_t)a->pid, 0, 0, 0, 0, 0) ==
		a->pid);
	close(a->pagemap);
	if (a->uffd >= 0)
		close(a->uffd);
	a->pid = 0;
	memset(a->areas, 0, sizeof(a->areas));
}

/* A descriptor of the memory behind a mapping of our own. */
static int fd_of(const void *at, uint64_t len_bytes)
{
	int fd = -1;

	T_OK(umem_filecache_open_mapping(getpid(), (uintptr_t)at, (uintptr_t)at + len_bytes,
		O_RDWR, &fd));
	return fd;
}

static int open_object(struct cast_object *o)
{
	uint64_t len = o->pages * PAGE;
	void *at;

	switch (o->backing) {
	case BACK_MEMFD:
		return memfd_create("torture", MFD_CLOEXEC);
	case BACK_HUGETLB:
		return memfd_create("torture-huge", MFD_CLOEXEC | MFD_HUGETLB);
	case BACK_TMPFS:
		return open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	case BACK_TMPFS_HUGE:
		return open("/mnt/torture", O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
	case BACK_SHARED_ANON:
		at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		T_CHECK(at != MAP_FAILED);
		return fd_of(at, len);
	case BACK_SYSV:
		o->shm_id = (int)T_SYS(shmget(IPC_PRIVATE, len, IPC_CREAT | 0666));
		at = shmat(o->shm_id, NULL, 0);
		T_CHECK(at != (void *)-1);
		/* It goes with its last user. */
		T_SYS(shmctl(o->shm_id, IPC_RMID, NULL));
		return fd_of(at, len);
	default:
		return open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	}
}

/* Mostly small, so that looking at each page takes no time; one is always large. */
static uint64_t random_size(struct cast *c, enum cast_backing backing, bool large)
{
	if (large)
		return LARGE_PAGES - cast_below(c, 600);
	if (backing == BACK_HUGETLB)
		return PAGES_PER_HUGE * (1 + cast_below(c, MAX_HUGE / 2));
	return cast_below(c, 3) ? 64 + cast_below(c, 700) :
				  PAGES_PER_HUGE * (1 + cast_below(c, 4));
}

static void make_object(struct cast *c, enum cast_backing backing, bool large)
{
	struct cast_object *o = &c->objects[c->n_objects];
	bool fixed = backing == BACK_SYSV || backing == BACK_SHARED_ANON;

	*o = (struct cast_object){ .backing = backing };
	o->pages = random_size(c, backing, large);
	o->fd = (int)T_SYS(open_object(o));
	if (!fixed)
		T_SYS(ftruncate(o->fd, (off_t)(o->pages * PAGE)));
	if (c->options->nobody && cast_below(c, 2))
		T_SYS(fchown(o->fd, NOBODY, NOBODY));
	if (backing == BACK_DISK)
		T_OK(posix_fallocate(o->fd, 0, (off_t)(o->pages * PAGE)));
	/* Longer than it will ever be. */
	if (backing != BACK_HUGETLB)
		o->map = mmap(NULL, SLOT_BYTES, PROT_READ, MAP_SHARED, o->fd, 0);
	T_CHECK(o->map != MAP_FAILED);
	cast_log(c, "object %zu: backing %d, %llu pages", c->n_objects, backing,
		(unsigned long long)o->pages);
	c->n_objects++;
}

static void mount_tmpfs(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		T_SKIP("mounts cannot be made private");
	T_SYS(mount("torture", "/mnt", "tmpfs", 0, "size=256m,huge=always,mode=0777"));
}

void cast_open(struct cast *c)
{
	static const enum cast_backing always[] = { BACK_MEMFD, BACK_TMPFS, BACK_TMPFS_HUGE,
		BACK_SHARED_ANON, BACK_SYSV, BACK_DISK };
	struct cast_board *board;
	pid_t pid;

	mount_tmpfs();
	board = mmap((void *)BOARD_AT, sizeof(*board), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	T_CHECK(board == cast_board());
	memset(board, 0, sizeof(*board));
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		make_object(c, always[i], false);
	make_object(c, BACK_MEMFD, true);
	if (c->options->hugetlb)
		make_object(c, BACK_HUGETLB, false);
	c->kpageflags = (int)T_SYS(open("/proc/kpageflags", O_RDONLY | O_CLOEXEC));
	for (unsigned i = 0; i < N_ACTORS; i++) {
		int pair[2];

		T_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
		c->actors[i] = (struct cast_actor){ .sock = pair[0], .own_sock = pair[1],
			.pagemap = -1, .uffd = -1 };
		socks[i] = pair[1];
	}
	pid = t_fork();
	if (pid == 0) {
		for (unsigned i = 0; i < N_ACTORS; i++)
			close(c->actors[i].sock);
		be_actor(c->options->nobody, socks[0]);
	}
	meet(c, 0, pid, -1);
}
