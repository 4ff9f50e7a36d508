// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One memory, several mappers: the round is the union of all, or says that it is not.
 *
 * Processes A (the target), B and others map one memfd, each at a place of its
 * own. Commands go over pipes; a process is quiet (blocked in read) when it is
 * not executing one.
 */
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <umemd/track.h>

#include "tests/lib/harness.h"

#define PAGES 64
#define PAGE  4096u

/* A process that maps the memfd and obeys. */
struct proc {
	pid_t pid;
	int cmd;
	int reply;
	uint64_t base;
};

static int memfd;

static void obey(int cmd, int reply, int prot, int flags)
{
	/* two pages in, so that addresses, offsets and pages differ */
	char *area = mmap(NULL, PAGES * PAGE, prot, flags, memfd, 0);
	char *alias = MAP_FAILED;
	uint64_t base = (uintptr_t)area;
	int source = memfd_create("source", MFD_CLOEXEC);
	struct io_uring ring;
	struct iovec buffer;
	char op[2];

	if (area == MAP_FAILED || ftruncate(source, PAGE) < 0 ||
		write(reply, &base, sizeof(base)) != sizeof(base))
		_exit(1);
	while (read(cmd, op, 2) == 2) {
		uint8_t page = (uint8_t)op[1];
		uint64_t value = 0;

		switch (op[0]) {
		case 'w':
			area[page * PAGE]++;
			break;
		case 'a': /* map the second half once more and write through that */
			if (alias == MAP_FAILED)
				alias = mmap(NULL, PAGES / 2 * PAGE, prot, flags, memfd,
					PAGES / 2 * PAGE);
			alias[(page - PAGES / 2) * PAGE]++;
			value = (uintptr_t)alias;
			break;
		case 'f': /* a child that writes and stays */
			value = (uint64_t)fork();
			if (value == 0) {
				area[page * PAGE]++;
				pause();
				_exit(0);
			}
			usleep(20000);
			break;
		case 'p': /* pin a page */
			buffer = (struct iovec){ area + page * PAGE, PAGE };
			if (io_uring_queue_init(4, &ring, 0) ||
				io_uring_register_buffers(&ring, &buffer, 1))
				_exit(1);
			break;
		case 'r': /* write the pinned page through the ring, without a fault */
			io_uring_prep_read_fixed(io_uring_get_sqe(&ring), source, buffer.iov_base,
				PAGE, 0, 0);
			if (io_uring_submit_and_wait(&ring, 1) != 1)
				_exit(1);
			break;
		case 'x': /* write and end */
			area[page * PAGE]++;
			_exit(0);
		}
		if (write(reply, &value, sizeof(value)) != sizeof(value))
			_exit(1);
	}
	_exit(0);
}

static struct proc start(int prot, int flags)
{
	int cmd[2], reply[2];
	struct proc p = { 0 };

	T_SYS(pipe2(cmd, O_CLOEXEC));
	T_SYS(pipe2(reply, O_CLOEXEC));
	p.pid = t_fork();
	if (p.pid == 0)
		obey(cmd[0], reply[1], prot, flags);
	close(cmd[0]);
	close(reply[1]);
	p.cmd = cmd[1];
	p.reply = reply[0];
	T_CHECK(read(p.reply, &p.base, sizeof(p.base)) == sizeof(p.base));
	return p;
}

static uint64_t tell(struct proc *p, char op, uint8_t page)
{
	char text[2] = { op, (char)page };
	uint64_t value = 0;

	T_CHECK(write(p->cmd, text, 2) == 2);
	if (op != 'x')
		T_CHECK(read(p->reply, &value, sizeof(value)) == sizeof(value));
	return value;
}

static void stop(struct proc *p)
{
	t_end(p->pid);
	close(p->cmd);
	close(p->reply);
}

/* Which pages of A's mapping are in the round, and why; -1: not. */
struct seen {
	uint64_t base;
	int why[PAGES];
};

static int note_range(void *user, uint64_t start_addr, uint64_t end, enum umem_why why)
{
	struct seen *seen = user;

	for (uint64_t at = start_addr; at < end; at += PAGE)
		if (at >= seen->base && at < seen->base + PAGES * PAGE)
			seen->why[(at - seen->base) / PAGE] = (int)why;
	return 0;
}

static const struct umem_round *collect(struct umem_watch *w, struct proc *a, struct seen *seen)
{
	const struct umem_round *round;
	struct umem_note note = { 0 };
	int r = umem_watch_collect(w, &round, &note);

	T_CHECK(r == 0, ": %d %s", r, note.text);
	seen->base = a->base;
	for (int i = 0; i < PAGES; i++)
		seen->why[i] = -1;
	T_OK(umem_watch_each(w, note_range, seen));
	return round;
}

static void check_only(const struct seen *seen, int page, int why, const char *what)
{
	for (int i = 0; i < PAGES; i++)
		T_CHECK(seen->why[i] == (i == page ? why : -1), "(%s: page %d is %d)", what, i,
			seen->why[i]);
}

static bool names(const struct umem_round *round, const struct proc *a, pid_t pid)
{
	char text[32];

	snprintf(text, sizeof(text), "pid %d ", (int)pid);
	for (size_t i = 0; i < round->n_incomplete; i++)
		if (round->incomplete[i].start <= a->base &&
			round->incomplete[i].end > a->base &&
			strstr(round->incomplete[i].reason, text))
			return true;
	return false;
}

static bool is_clean(pid_t pid)
{
	char path[40], line[512];
	bool clean = true;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " uw"))
			clean = false;
	fclose(file);
	return clean;
}

struct watched {
	struct umem_target *target;
	struct umem_watch *watch;
};

static struct watched watch(struct proc *a, bool sharers)
{
	struct umem_range region = { a->base, a->base + PAGES * PAGE };
	struct umem_watch_options options = {
		.size = sizeof(options), .sharers = sharers,
		.regions = &region, .n_regions = 1,
	};
	struct umem_note note = { 0 };
	struct watched w = { 0 };
	int r = umem_target_attach(a->pid, NULL, &w.target, &note);

	if (r == 0)
		r = umem_watch_new(w.target, &options, &w.watch, &note);
	T_CHECK(r == 0, ": %d %s", r, note.text);
	return w;
}

static void unwatch(struct watched *w)
{
	umem_watch_free(w->watch);
	umem_target_free(w->target);
}

/* Without --sharers: named, range for range, and nothing claimed. */
static void untracked_is_named(struct proc *a)
{
	struct proc b = start(PROT_READ | PROT_WRITE, MAP_SHARED);
	struct proc reader = start(PROT_READ, MAP_SHARED);
	struct proc copier = start(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct watched w = watch(a, false);
	struct seen seen;
	const struct umem_round *round = collect(w.watch, a, &seen);

	T_CHECK(!round->complete && names(round, a, b.pid));
	T_CHECK(!names(round, a, reader.pid) && !names(round, a, copier.pid));
	stop(&b);
	round = collect(w.watch, a, &seen);
	T_CHECK(round->complete, "(%zu reasons: %s)", round->n_incomplete,
		round->n_incomplete ? round->incomplete[0].reason : "");
	stop(&reader);
	stop(&copier);
	unwatch(&w);
}

static void members_are_tracked(struct proc *a)
{
	struct proc b = start(PROT_READ | PROT_WRITE, MAP_SHARED);
	struct watched w = watch(a, true);
	const struct umem_round *round;
	struct seen seen;
	pid_t child;

	round = collect(w.watch, a, &seen);
	T_CHECK(round->complete, "(%s)", round->n_incomplete ? round->incomplete[0].reason : "");
	check_only(&seen, -1, 0, "nothing written");
	for (int i = 0; i < 20; i++) {
		uint8_t page = (uint8_t)(i * 3);

		tell(&b, 'w', page);
		round = collect(w.watch, a, &seen);
		T_CHECK(round->complete);
		check_only(&seen, page, UMEM_WHY_SHARER, "written by b");
		T_CHECK(round->why_bytes[UMEM_WHY_SHARER] == PAGE);
		tell(a, 'w', page);
		collect(w.watch, a, &seen);
		check_only(&seen, page, UMEM_WHY_WRITTEN, "written by a");
	}
	/* a child of b is found, with what it wrote before that */
	child = (pid_t)tell(&b, 'f', 7);
	round = collect(w.watch, a, &seen);
	T_CHECK(round->complete && seen.why[7] == UMEM_WHY_SHARER);
	collect(w.watch, a, &seen);
	check_only(&seen, -1, 0, "after the fork");
	kill(child, SIGKILL);
	T_UNTIL(5, t_proc_state(child) == 'Z' || t_proc_state(child) == '-');
	/* what a process wrote before it ended is not known: all data */
	collect(w.watch, a, &seen);
	tell(&b, 'x', 11);
	T_UNTIL(5, t_proc_state(b.pid) == 'Z');
	collect(w.watch, a, &seen);
	T_CHECK(seen.why[11] == UMEM_WHY_SHARER);
	collect(w.watch, a, &seen);
	check_only(&seen, -1, 0, "after b ended");
	stop(&b);
	unwatch(&w);
}

/* What a member has pinned is written without a fault: it is in every round. */
static void pins_of_members_count(struct proc *a)
{
	struct proc b = start(PROT_READ | PROT_WRITE, MAP_SHARED);
	struct watched w;
	struct seen seen;

	tell(&b, 'p', 5);
	w = watch(a, true);
	for (int i = 0; i < 3; i++) {
		const struct umem_round *round;

		tell(&b, 'r', 5);
		round = collect(w.watch, a, &seen);
		T_CHECK(round->complete, "(%s)",
			round->n_incomplete ? round->incomplete[0].reason : "");
		check_only(&seen, 5, UMEM_WHY_SHARER, "pinned by b");
	}
	stop(&b);
	unwatch(&w);
}

static void members_are_left_clean(struct proc *a)
{
	struct proc b = start(PROT_READ | PROT_WRITE, MAP_SHARED);
	struct watched w = watch(a, true);
	struct seen seen;

	collect(w.watch, a, &seen);
	T_CHECK(!is_clean(a->pid) && !is_clean(b.pid));
	unwatch(&w);
	T_CHECK(is_clean(a->pid) && is_clean(b.pid));
	tell(&b, 'w', 1);
	stop(&b);
}

/* Two mappings in the target: both addresses of a page are in the round. */
static void aliases(void)
{
	struct proc a = start(PROT_READ | PROT_WRITE, MAP_SHARED);
	uint64_t alias = tell(&a, 'a', PAGES / 2);
	struct umem_target *target;
	struct umem_watch *w;
	struct seen seen = { 0 };
	const struct umem_round *round;

	T_OK(umem_target_attach(a.pid, NULL, &target, NULL));
	T_OK(umem_watch_new(target, NULL, &w, NULL));
	tell(&a, 'a', PAGES / 2 + 3);
	collect(w, &a, &seen);
	check_only(&seen, PAGES / 2 + 3, UMEM_WHY_SHARER, "written through the alias");
	tell(&a, 'w', PAGES / 2 + 5);
	T_OK(umem_watch_collect(w, &round, NULL));
	seen.base = alias - PAGES / 2 * PAGE;
	for (int i = 0; i < PAGES; i++)
		seen.why[i] = -1;
	T_OK(umem_watch_each(w, note_range, &seen));
	T_CHECK(seen.why[PAGES / 2 + 5] == UMEM_WHY_SHARER);
	umem_watch_free(w);
	umem_target_free(target);
	stop(&a);
}

int main(void)
{
	struct proc a;

	if (geteuid() != 0)
		T_SKIP("attaching to several processes needs root");
	memfd = (int)T_SYS(memfd_create("shared", MFD_CLOEXEC));
	T_SYS(ftruncate(memfd, PAGES * PAGE));
	for (int i = 0; i < PAGES; i++) {
		char page[PAGE];

		t_fill_page(page, (uint64_t)i, 0);
		T_CHECK(pwrite(memfd, page, PAGE, i * (off_t)PAGE) == PAGE);
	}
	a = start(PROT_READ | PROT_WRITE, MAP_SHARED);
	untracked_is_named(&a);
	members_are_tracked(&a);
	members_are_left_clean(&a);
	pins_of_members_count(&a);
	stop(&a);
	aliases();
	return 0;
}
