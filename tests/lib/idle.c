// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A stand-in for the kernel's idle page bitmap.
 *
 * Theory of operation
 *
 * A file system of one file is mounted over a file of t_tree(), in a mount namespace
 * of this program, with which it ends. The thread that serves it looks into the memory
 * of the process it is a thread of; whoever reads or writes the file waits meanwhile.
 *
 *     marks    an entry a frame: marked? at which address then, with which content?
 *
 * Opened files bypass the page cache, so that calls arrive as they were made.
 *
 * Who waits for an answer cannot be killed. When the thread ends, or the program is
 * killed, the last descriptor of /dev/fuse must be closed with it, which ends all
 * waiting: so the thread has descriptors of its own, and nobody else has that one.
 */
#include "tests/lib/idle.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/kern/kpage.h"
#include "lib/kern/pagemap.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"

#define BITMAP      "kernel/mm/page_idle/bitmap"
#define MAX_FRAMES  (1ull << 24)
#define MAX_WINDOWS 8u
#define MAPPING_MAX (1ull << 36) /* larger ones are the shadow memory of a sanitizer */
#define MAX_PLACES  (1u << 18)
#define CALL_BYTES  4096u
#define REQUEST_MAX (1u << 18)
#define LARGE       512u
#define PAGE        4096ull

/* What is remembered of a frame. */
struct mark {
	bool set;
	bool ignored;
	uint64_t at;
	uint64_t content;
};

/* A page of this process, and its frame. */
struct place {
	uint64_t pfn;
	uint64_t at;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum t_idle_kind kind;
static struct mark *marks;
static uint64_t n_frames = MAX_FRAMES;
static struct t_idle_calls calls;
static struct {
	uint64_t start;
	uint64_t end;
} windows[MAX_WINDOWS];
static size_t n_windows;
static struct place *places;
static size_t n_places;
static bool looked;
static pid_t owner;
static int fuse = -1, pagemap = -1, flags_fd = -1;

static int by_pfn(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->pfn < y->pfn ? -1 : x->pfn > y->pfn;
}

static void find_places_in(uint64_t start, uint64_t end)
{
	static uint64_t words[8192];

	/* What is remembered of frames is large, and not of interest. */
	if (start <= (uintptr_t)marks && (uintptr_t)marks < end) {
		find_places_in(start, (uintptr_t)marks);
		start = (uintptr_t)(marks + MAX_FRAMES);
	}
	while (start < end) {
		size_t n = 0;

		if (umem_pagemap_words(pagemap, start, words,
			    umem_min_u64(UMEM_ARRAY_LEN(words), (end - start) / PAGE), &n) < 0 ||
			n == 0)
			return;
		for (size_t i = 0; i < n && n_places < MAX_PLACES; i++, start += PAGE)
			if (words[i] & UMEM_PM_PRESENT)
				places[n_places++] = (struct place){
					words[i] & UMEM_PM_PFN_MASK, start,
				};
	}
}

/* Which pages of this process are where? */
static void find_places(void)
{
	unsigned long start, end;
	char perms[8], line[512];
	FILE *file;

	n_places = 0;
	for (size_t i = 0; i < n_windows; i++)
		find_places_in(windows[i].start, windows[i].end);
	if (n_windows == 0) {
		file = fopen("/proc/self/maps", "re");
		T_CHECK(file);
		while (fgets(line, sizeof(line), file))
			if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) == 3 &&
				!strncmp(perms, "rw", 2) && end - start < MAPPING_MAX)
				find_places_in(start, end);
		fclose(file);
	}
	qsort(places, n_places, sizeof(*places), by_pfn);
}

static uint64_t flags_of(uint64_t pfn)
{
	uint64_t flags = 0;

	T_OK(umem_kpage_read(flags_fd, &pfn, 1, UMEM_KPF(NOPAGE), &flags));
	return flags;
}

static bool still_there(uint64_t pfn, uint64_t at)
{
	uint64_t word;
	size_t n = 0;

	return umem_pagemap_words(pagemap, at, &word, 1, &n) == 0 && n == 1 &&
	       (word & UMEM_PM_PRESENT) && (word & UMEM_PM_PFN_MASK) == pfn;
}

/* Any byte there is, also one that a sanitizer guards. */
__attribute__((no_sanitize("address"))) static uint64_t content(uint64_t pfn, uint64_t at)
{
	uint64_t n = flags_of(pfn) & UMEM_KPF(COMPOUND_HEAD) ? LARGE : 1, sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum = sum * 257 + *(volatile uint8_t *)(uintptr_t)(at + i * PAGE);
	return sum;
}

/* The page that is in a frame; what was found before may have moved. */
static const struct place *find_place(uint64_t pfn)
{
	const struct place key = { pfn, 0 }, *place;

	for (;;) {
		place = bsearch(&key, places, n_places, sizeof(key), by_pfn);
		if (looked || (place && still_there(pfn, place->at)))
			return place;
		find_places();
		looked = true;
	}
}

static void set_mark(uint64_t pfn)
{
	const struct place *place = NULL;

	if (marks[pfn].ignored)
		return;
	if (kind == T_IDLE_FRAMES) {
		if (flags_of(pfn) & UMEM_KPF(COMPOUND_TAIL))
			return;
		place = find_place(pfn);
	}
	marks[pfn].set = true;
	marks[pfn].at = place ? place->at : 0;
	marks[pfn].content = place ? content(pfn, place->at) : 0;
}

static bool is_idle(uint64_t pfn)
{
	struct mark *mark = &marks[pfn];

	if (mark->set && mark->at &&
		!(still_there(pfn, mark->at) && content(pfn, mark->at) == mark->content))
		mark->set = false;
	return mark->set;
}

/* Return: bytes moved, or -errno. */
static int serve_words(uint64_t offset, uint32_t size, uint64_t *words, bool write)
{
	uint64_t pfn = offset * 8, end;

	(*(write ? &calls.writes : &calls.reads))++;
	if (offset % 8 || size % 8 || pfn >= n_frames)
		calls.bad++;
	if (offset % 8 || size % 8)
		return -EINVAL;
	if (pfn >= n_frames)
		return write ? -ENXIO : 0;
	size = (uint32_t)umem_min_u64(size, CALL_BYTES);
	end = umem_min_u64(pfn + size * 8ull, n_frames);
	looked = false;
	if (!write)
		memset(words, 0, size);
	for (uint64_t at = pfn; at < end; at++) {
		uint64_t *word = &words[(at - pfn) / 64], bit = 1ull << at % 64;

		if (!write) {
			*word |= is_idle(at) ? bit : 0;
		} else if (*word & bit) {
			calls.bits++;
			set_mark(at);
		}
	}
	/* A last word that is not whole is not counted: the kernel stops before its end. */
	size = (uint32_t)((end - pfn) / 64 * 8);
	*(write ? &calls.words_written : &calls.words_read) += size / 8;
	return (int)size;
}

static void reply(uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + len),
		.error = error,
		.unique = unique,
	};
	struct iovec iov[] = { { &head, sizeof(head) }, { (void *)(uintptr_t)data, len } };

	/* ENOENT: whoever asked was interrupted. */
	if (writev(fuse, iov, 2) < 0 && errno != ENOENT && errno != ENODEV)
		T_FAIL("fuse: %s", strerror(errno));
}

static void serve_read(uint64_t unique, const struct fuse_read_in *in)
{
	static uint64_t words[CALL_BYTES / 8];
	int n;

	pthread_mutex_lock(&lock);
	n = serve_words(in->offset, in->size, words, false);
	pthread_mutex_unlock(&lock);
	reply(unique, n < 0 ? n : 0, words, n < 0 ? 0 : (size_t)n);
}

static void serve_write(uint64_t unique, const struct fuse_write_in *in)
{
	static uint64_t words[REQUEST_MAX / 8];
	struct fuse_write_out out = { 0 };
	int n;

	memcpy(words, in + 1, in->size);
	pthread_mutex_lock(&lock);
	n = serve_words(in->offset, in->size, words, true);
	pthread_mutex_unlock(&lock);
	out.size = n < 0 ? 0 : (uint32_t)n;
	reply(unique, n < 0 ? n : 0, &out, n < 0 ? 0 : sizeof(out));
}

static void serve_one(const struct fuse_in_header *head)
{
	const struct fuse_open_out open_out = { .open_flags = FOPEN_DIRECT_IO };
	const struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION,
		.minor = 31,
		.max_write = REQUEST_MAX / 2,
		.time_gran = 1,
	};
	const struct fuse_attr_out attr = {
		.attr_valid = 3600,
		.attr = {
			.ino = 1,
			.size = MAX_FRAMES / 8,
			.mode = S_IFREG | 0600,
			.nlink = 1,
			.blksize = 4096,
		},
	};

	switch (head->opcode) {
	case FUSE_INIT:
		return reply(head->unique, 0, &init, sizeof(init));
	case FUSE_GETATTR:
		return reply(head->unique, 0, &attr, sizeof(attr));
	case FUSE_OPEN:
		return reply(head->unique, 0, &open_out, sizeof(open_out));
	case FUSE_READ:
		return serve_read(head->unique, (const void *)(head + 1));
	case FUSE_WRITE:
		return serve_write(head->unique, (const void *)(head + 1));
	case FUSE_RELEASE:
		return reply(head->unique, 0, NULL, 0);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		return;
	default:
		return reply(head->unique, -ENOSYS, NULL, 0);
	}
}

static void *serve(void *started)
{
	static char request[REQUEST_MAX] __attribute__((aligned(8)));

	if (unshare(CLONE_FILES) < 0)
		T_FAIL("unshare: %s", strerror(errno));
	sem_post(started);
	for (;;) {
		ssize_t n = read(fuse, request, sizeof(request));

		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < 0)
			return NULL;
		serve_one((const void *)request);
	}
}

/* Before the folder is removed. */
static void unmount(void)
{
	if (getpid() == owner)
		umount2(t_tree_path(BITMAP), MNT_DETACH);
}

void t_idle_start(enum t_idle_kind new_kind)
{
	char options[96];
	pthread_t thread;
	sem_t started;
	int fd;

	kind = new_kind;
	owner = getpid();
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		T_SKIP("no FUSE to stand in for the idle page bitmap: %s", strerror(errno));
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		T_SKIP("no mount namespace of our own: %s", strerror(errno));
	if (umem_kpage_open(UMEM_KPAGE_FLAGS, &flags_fd) < 0)
		T_SKIP("no /proc/kpageflags");
	T_OK(umem_pagemap_open(getpid(), &pagemap));
	marks = mmap(NULL, MAX_FRAMES * sizeof(*marks), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	T_CHECK(marks != MAP_FAILED);
	places = calloc(MAX_PLACES, sizeof(*places));
	T_CHECK(places);
	t_tree_put(BITMAP, "");
	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0", fuse);
	T_CHECK(mount("umem-idle", t_tree_path(BITMAP), "fuse", MS_NOSUID | MS_NODEV, options) ==
			0, "%s", strerror(errno));
	atexit(unmount);
	T_CHECK(sem_init(&started, 0, 0) == 0);
	T_CHECK(pthread_create(&thread, NULL, serve, &started) == 0);
	pthread_detach(thread);
	while (sem_wait(&started) < 0)
		T_CHECK(errno == EINTR);
	close(fuse);
	/*
	 * The first close learns that there is nothing to flush. Without that, one at the
	 * end of the program would wait for the thread that has ended by then.
	 */
	fd = (int)T_SYS(open(t_tree_path(BITMAP), O_RDWR | O_CLOEXEC));
	close(fd);
}

void t_idle_window(const void *at, size_t len)
{
	pthread_mutex_lock(&lock);
	T_CHECK(n_windows < MAX_WINDOWS);
	if (at) {
		windows[n_windows].start = (uintptr_t)at;
		windows[n_windows++].end = (uintptr_t)at + len;
	} else {
		n_windows = 0;
	}
	pthread_mutex_unlock(&lock);
}

void t_idle_limit(uint64_t n)
{
	pthread_mutex_lock(&lock);
	n_frames = umem_min_u64(n, MAX_FRAMES);
	pthread_mutex_unlock(&lock);
}

void t_idle_ignore(uint64_t pfn, bool ignore)
{
	pthread_mutex_lock(&lock);
	marks[pfn].ignored = ignore;
	if (ignore)
		marks[pfn].set = false;
	pthread_mutex_unlock(&lock);
}

void t_idle_access(uint64_t pfn)
{
	pthread_mutex_lock(&lock);
	marks[pfn].set = false;
	pthread_mutex_unlock(&lock);
}

bool t_idle_is(uint64_t pfn)
{
	bool idle;

	pthread_mutex_lock(&lock);
	idle = is_idle(pfn);
	pthread_mutex_unlock(&lock);
	return idle;
}

void t_idle_forget(void)
{
	pthread_mutex_lock(&lock);
	T_SYS(madvise(marks, MAX_FRAMES * sizeof(*marks), MADV_DONTNEED));
	calls = (struct t_idle_calls){ 0 };
	pthread_mutex_unlock(&lock);
}

struct t_idle_calls t_idle_calls(void)
{
	struct t_idle_calls copy;

	pthread_mutex_lock(&lock);
	copy = calls;
	pthread_mutex_unlock(&lock);
	return copy;
}
