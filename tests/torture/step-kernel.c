// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Steps in which the kernel changes the memory: reclaim, collapse, KSM, direct
 * I/O, io_uring with and without registered buffers.
 *
 * Registered buffers stay for some rounds. An area with one is neither moved
 * nor unmapped: the kernel goes on writing to the pages that were pinned,
 * wherever they are mapped then, and no interface tells where that is.
 */
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/harness.h"
#include "tests/torture/actor.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define SOURCE_PAGES 64

static struct io_uring ring;
static bool have_ring;
static uint64_t ring_at, ring_pages;

static void *at_page(const struct actor_area *a, uint64_t page)
{
	return (void *)(a->at + page * PAGE);
}

/* A file on disk with a new pattern, so that reading it changes memory. */
static int source(int flags)
{
	char path[64];
	uint8_t page[PAGE];
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), again;

	if (fd < 0)
		return -1;
	for (uint64_t i = 0; i < SOURCE_PAGES; i++) {
		t_fill_page(page, i, act_below(250));
		T_CHECK(write(fd, page, sizeof(page)) == (ssize_t)sizeof(page));
	}
	if (!flags)
		return fd;
	fsync(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC | flags);
	close(fd);
	return again;
}

static void reclaim(void)
{
	struct actor_area *a = act_pick();
	uint64_t first, n;

	if (!a)
		return;
	first = act_below(a->pages);
	n = act_below(3) ? a->pages - first : 1 + act_below(a->pages - first);
	/* Taking a part of a huge page splits it, and a shared one loses its marks. */
	if (a->object >= 0 && board->objects[a->object].collapsed)
		act_touch(a, first, n);
	madvise(at_page(a, first), n * PAGE, act_below(4) ? MADV_PAGEOUT : MADV_COLD);
	act_log("  pageout %#llx page %llu +%llu", (unsigned long long)a->at,
		(unsigned long long)first, (unsigned long long)n);
}

static void collapse(void)
{
	struct actor_area *a = act_pick();

	if (!a || a->pages < 512)
		return;
	if (a->object >= 0 && board->objects[a->object].punched)
		return;
	if (a->object >= 0)
		board->objects[a->object].collapsed = true;
	else if (a->kind == ACT_ANON)
		a->kind = ACT_THP; /* as far as it matters */
	act_touch(a, 0, a->pages);
	if (madvise((void *)a->at, a->pages * PAGE, MADV_COLLAPSE) == 0)
		act_log("  collapsed %#llx", (unsigned long long)a->at);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		act_log("  %s: %s", path, strerror(errno));
	close(fd);
}

static uint64_t read_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	return strtoull(text, NULL, 0);
}

/* Equal pages, and two passes of ksmd, or 300 ms of it. */
static void merge(void)
{
	struct actor_area *a = act_pick();
	uint64_t scans = read_number("/sys/kernel/mm/ksm/full_scans");

	if (!a || a->kind != ACT_ANON || a->hidden)
		return;
	act_touch(a, 0, a->pages);
	for (uint64_t i = 0; i < 8 && i < a->pages; i++)
		if (act_usable(a, i))
			t_fill_page(at_page(a, i), 1, i / 4);
	if (madvise((void *)a->at, a->pages * PAGE, MADV_MERGEABLE) < 0)
		return;
	a->mergeable = true;
	write_text("/sys/kernel/mm/ksm/run", "1");
	for (int i = 0; i < 30; i++) {
		if (read_number("/sys/kernel/mm/ksm/full_scans") >= scans + 2)
			break;
		t_msleep(10);
	}
	write_text("/sys/kernel/mm/ksm/run", "0");
	act_log("  merged %#llx", (unsigned long long)a->at);
	if (act_below(3) == 0)
		madvise((void *)a->at, a->pages * PAGE, MADV_UNMERGEABLE);
}

/* A run of usable pages for I/O; the file is noted as touched. */
static struct actor_area *pick_run(uint64_t *ret_first, uint64_t *ret_n)
{
	struct actor_area *a = act_pick();
	uint64_t n = 1 + act_below(8);

	if (!a || a->pages < n)
		return NULL;
	*ret_first = act_below(a->pages - n + 1);
	for (uint64_t i = 0; i < n; i++)
		if (!act_usable(a, *ret_first + i))
			return NULL;
	*ret_n = n;
	act_touch(a, *ret_first, n);
	return a;
}

static void direct_read(void)
{
	uint64_t first, n;
	struct actor_area *a = pick_run(&first, &n);
	int fd = a ? source(O_DIRECT) : -1;

	if (fd < 0)
		return;
	if (pread(fd, at_page(a, first), n * PAGE, 0) < 0)
		act_log("  direct: %s", strerror(errno));
	close(fd);
	act_log("  direct %#llx page %llu +%llu", (unsigned long long)a->at,
		(unsigned long long)first, (unsigned long long)n);
}

static bool submit(struct io_uring *r)
{
	struct io_uring_cqe *cqe = NULL;
	int got;

	if (io_uring_submit(r) != 1 || io_uring_wait_cqe(r, &cqe))
		return false;
	got = cqe->res;
	io_uring_cqe_seen(r, cqe);
	return got > 0;
}

static void ring_read(void)
{
	uint64_t first, n;
	struct actor_area *a = pick_run(&first, &n);
	struct io_uring r;
	int fd = a ? source(act_below(2) ? O_DIRECT : 0) : -1;

	if (fd < 0)
		return;
	if (io_uring_queue_init(4, &r, 0) == 0) {
		io_uring_prep_read(io_uring_get_sqe(&r), fd, at_page(a, first),
			(unsigned)(n * PAGE), 0);
		submit(&r);
		io_uring_queue_exit(&r);
	}
	close(fd);
	act_log("  ring %#llx page %llu +%llu", (unsigned long long)a->at,
		(unsigned long long)first, (unsigned long long)n);
}

static uint64_t pinned_kb(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	uint64_t kb = 0;

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "VmPin:", 6) == 0)
			kb = strtoull(line + 6, NULL, 10);
	if (file)
		fclose(file);
	return kb;
}

static void end_ring(void)
{
	if (act_below(2))
		io_uring_unregister_buffers(&ring);
	io_uring_queue_exit(&ring);
	have_ring = false;
	for (uint64_t i = 0; i < board->n_areas; i++)
		board->areas[i].pinned = false;
	/* The kernel drops the pins a moment later. */
	for (int i = 0; i < 1000 && pinned_kb(); i++)
		t_msleep(1);
	act_log("  ring ended");
}

static void begin_ring(void)
{
	uint64_t first, n;
	struct actor_area *a = pick_run(&first, &n);
	struct iovec iov;

	/* Of a huge page all of it counts as pinned, and who owns the rest is not known. */
	if (!a || a->kind == ACT_FILE_SHARED || a->kind == ACT_FILE_PRIVATE ||
		a->kind == ACT_THP || act_is_huge(a) ||
		(a->object >= 0 && board->objects[a->object].collapsed))
		return;
	if (io_uring_queue_init(4, &ring, 0))
		return;
	iov = (struct iovec){ at_page(a, first), n * PAGE };
	if (io_uring_register_buffers(&ring, &iov, 1)) {
		io_uring_queue_exit(&ring);
		return;
	}
	a->pinned = have_ring = true;
	ring_at = (uint64_t)iov.iov_base;
	ring_pages = n;
	act_log("  registered %#llx +%llu", (unsigned long long)ring_at, (unsigned long long)n);
}

static void use_ring(void)
{
	int fd;

	if (!have_ring) {
		begin_ring();
		return;
	}
	if (act_below(4) == 0) {
		end_ring();
		return;
	}
	fd = source(0);
	if (fd < 0)
		return;
	io_uring_prep_read_fixed(io_uring_get_sqe(&ring), fd, (void *)ring_at,
		(unsigned)(ring_pages * PAGE), 0, 0);
	submit(&ring);
	close(fd);
	act_log("  read fixed %#llx", (unsigned long long)ring_at);
}

void act_kernel_step(void)
{
	uint64_t what = act_below(100);

	if (what < (board->swap ? 50u : 25u)) {
		act_log("reclaim");
		reclaim();
	} else if (what < 60) {
		act_log("collapse");
		collapse();
	} else if (what < 62) {
		act_log("merge");
		merge();
	} else if (what < 75) {
		act_log("direct read");
		direct_read();
	} else if (what < 87) {
		act_log("ring read");
		ring_read();
	} else {
		act_log("registered ring");
		use_ring();
	}
}
