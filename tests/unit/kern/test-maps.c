// SPDX-License-Identifier: LGPL-2.1-or-later
/* The list of mappings: both interfaces against each other, odd names, churn. */
#include "lib/kern/maps.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static const uint64_t page = 4096;
static bool have_query;

static void check_ascending(const struct umem_maps *m)
{
	for (size_t i = 0; i < m->n; i++) {
		T_CHECK(m->v[i].start < m->v[i].end);
		T_CHECK(i == 0 || m->v[i - 1].end <= m->v[i].start);
		T_CHECK(m->v[i].name);
	}
}

static const struct umem_vma *find(const struct umem_maps *m, const void *at)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->v[i].start <= (uintptr_t)at && (uintptr_t)at < m->v[i].end)
			return &m->v[i];
	}
	return NULL;
}

static void check_same(const struct umem_vma *q, const struct umem_vma *t)
{
	T_CHECK(q->start == t->start && q->end == t->end, "%lx", (long)q->start);
	T_CHECK(q->flags == t->flags, "%lx", (long)q->start);
	T_CHECK(q->inode == t->inode, "%lx", (long)q->start);
	T_CHECK(q->dev_major == t->dev_major && q->dev_minor == t->dev_minor);
	T_CHECK(q->inode == 0 || q->offset == t->offset);
	T_CHECK(strcmp(q->name, t->name) == 0, "'%s' '%s'", q->name, t->name);
	T_CHECK(q->page_size_bytes >= page && t->page_size_bytes == 0);
}

/* Reading may itself grow the heap: read until nothing was allocated. */
static void read_steady(int fd, enum umem_maps_method method, struct umem_maps *m)
{
	const void *v, *names, *text;

	do {
		v = m->v;
		names = m->names;
		text = m->text;
		T_OK(umem_maps_read(fd, method, m));
		check_ascending(m);
	} while (v != m->v || names != m->names || text != m->text);
}

static int open_self(void)
{
	int fd = -1;

	T_OK(umem_maps_open(getpid(), &fd));
	return fd;
}

static void query_against_text(void **state)
{
	UMEM_FD int fd = open_self();
	struct umem_maps q = { 0 }, t = { 0 };

	if (!have_query)
		skip();
	read_steady(fd, UMEM_MAPS_QUERY, &q);
	read_steady(fd, UMEM_MAPS_TEXT, &t);
	read_steady(fd, UMEM_MAPS_QUERY, &q);
	T_CHECK(q.n == t.n && q.n > 5, "%zu %zu", q.n, t.n);
	for (size_t i = 0; i < q.n; i++)
		check_same(&q.v[i], &t.v[i]);
	umem_maps_deinit(&q);
	umem_maps_deinit(&t);
	T_CHECK(q.n == 0 && !q.v && !q.names && !q.text);
}

/* Map one page of a new file of this name below a scratch directory. */
static void *map_named(const char *dir, const char *name, bool removed)
{
	char path[PATH_MAX + 300];
	void *at;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	UMEM_FD int fd = (int)T_SYS(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));

	T_SYS(ftruncate(fd, (off_t)page));
	at = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0);
	T_CHECK(at != MAP_FAILED);
	T_SYS(removed ? unlink(path) : 0);
	return at;
}

static void names_of_files(void **state)
{
	static const char *const odd[] = {
		"plain", "a b", " leading", "trailing ", "new\nline", "tab\there",
		"back\\slash", "gone (deleted)", "\xff\xfe", "[heap]", "[anon:x]",
		"1000-2000 rw-p 00000000 00:00 0", "\n",
	};
	char dir[] = "/tmp/umem-test-maps-XXXXXX", want[PATH_MAX + 300], path[PATH_MAX + 300];
	UMEM_FD int fd = open_self();
	struct umem_maps m = { 0 };

	T_CHECK(mkdtemp(dir));
	for (size_t i = 0; i < UMEM_ARRAY_LEN(odd) * 2; i++) {
		const char *name = odd[i / 2];
		bool removed = i & 1;
		void *at = map_named(dir, name, removed);

		snprintf(want, sizeof(want), "%s/%s%s", dir, name, removed ? " (deleted)" : "");
		for (int method = UMEM_MAPS_AUTO; method <= UMEM_MAPS_TEXT; method++) {
			if (method == UMEM_MAPS_QUERY && !have_query)
				continue;
			T_OK(umem_maps_read(fd, (enum umem_maps_method)method, &m));
			T_CHECK(find(&m, at));
			T_CHECK(strcmp(find(&m, at)->name, want) == 0, "'%s' is not '%s'",
				find(&m, at)->name, want);
		}
		munmap(at, page);
		snprintf(path, sizeof(path), "%s/%s", dir, name);
		T_SYS(removed ? 0 : unlink(path));
	}
	T_SYS(rmdir(dir));
	umem_maps_deinit(&m);
}

/* A path longer than PATH_MAX: the text tells it, the query cannot. */
static void names_too_long(void **state)
{
	char dir[] = "/tmp/umem-test-maps-XXXXXX", part[201];
	UMEM_FD int fd = open_self(), home = (int)T_SYS(open(".", O_PATH | O_CLOEXEC));
	struct umem_maps m = { 0 };
	void *at;

	memset(part, 'x', 200);
	part[200] = '\0';
	T_CHECK(mkdtemp(dir));
	T_SYS(chdir(dir));
	for (int i = 0; i < 25; i++) {
		T_SYS(mkdir(part, 0700));
		T_SYS(chdir(part));
	}
	at = map_named(".", "file", false);
	T_OK(umem_maps_read(fd, UMEM_MAPS_TEXT, &m));
	T_CHECK(strlen(find(&m, at)->name) == strlen(dir) + 25 * 201 + 5);
	if (have_query) {
		T_OK(umem_maps_read(fd, UMEM_MAPS_QUERY, &m));
		T_CHECK(strcmp(find(&m, at)->name, "//too-long") == 0);
		T_CHECK(find(&m, at)->inode != 0);
		check_ascending(&m);
	}
	munmap(at, page);
	T_SYS(unlink("file"));
	for (int i = 0; i < 25; i++) {
		T_SYS(chdir(".."));
		T_SYS(rmdir(part));
	}
	T_SYS(fchdir(home));
	T_SYS(rmdir(dir));
	umem_maps_deinit(&m);
}

static void check_name(const void *at, const char *want, uint32_t flags)
{
	UMEM_FD int fd = open_self();
	struct umem_maps m = { 0 };

	for (int method = UMEM_MAPS_AUTO; method <= UMEM_MAPS_TEXT; method++) {
		const struct umem_vma *vma;

		if (method == UMEM_MAPS_QUERY && !have_query)
			continue;
		T_OK(umem_maps_read(fd, (enum umem_maps_method)method, &m));
		vma = find(&m, at);
		T_CHECK(vma && vma->flags == flags, "%s", want);
		T_CHECK(strcmp(vma->name, want) == 0, "'%s' is not '%s'", vma->name, want);
	}
	umem_maps_deinit(&m);
}

static void names_of_memory(void **state)
{
	const uint32_t rw = UMEM_VMA_READ | UMEM_VMA_WRITE, rws = rw | UMEM_VMA_SHARED;
	int prot = PROT_READ | PROT_WRITE;
	void *at = mmap(NULL, page, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int id, memfd = (int)T_SYS(memfd_create("odd \n name", MFD_CLOEXEC));

	T_CHECK(at != MAP_FAILED);
	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, page, "foo bar") == 0)
		check_name(at, "[anon:foo bar]", rw);
	munmap(at, page);

	at = mmap(NULL, page, prot, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check_name(at, "/dev/zero (deleted)", rws);
	munmap(at, page);

	T_SYS(ftruncate(memfd, (off_t)page));
	at = mmap(NULL, page, prot, MAP_SHARED, memfd, 0);
	check_name(at, "/memfd:odd \n name (deleted)", rws);
	T_SYS(mprotect(at, page, PROT_NONE));
	check_name(at, "/memfd:odd \n name (deleted)", UMEM_VMA_SHARED);
	munmap(at, page);
	close(memfd);

	id = shmget(IPC_PRIVATE, page, 0600);
	if (id >= 0) {
		at = shmat(id, NULL, 0);
		T_SYS(shmctl(id, IPC_RMID, NULL));
		T_CHECK(at != (void *)-1);
		check_name(at, "/SYSV00000000 (deleted)", rws);
		shmdt(at);
	}
}

static void huge_page_size(void **state)
{
	const size_t huge = 2u << 20;
	UMEM_FD int fd = open_self();
	struct umem_maps m = { 0 };
	void *at = mmap(NULL, huge, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED || !have_query)
		skip();
	T_OK(umem_maps_read(fd, UMEM_MAPS_AUTO, &m));
	T_CHECK(find(&m, at)->page_size_bytes == huge);
	munmap(at, huge);
	umem_maps_deinit(&m);
}

static const char golden[] =
	"00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon\n"
	"00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n"
	"35b1a000-35b20000 rw-p 00000000 00:00 0 \n"
	"f6f13000-f7053000 ---p 00000000 00:00 0           [anon:foo bar]\n"
	"7f2c8000-7f2c9000 rw-s 0000f000 00:01 1030        /memfd:a b (deleted)\n"
	"7ffd0000000-7ffd0021000 rw-p 00000000 00:00 0    [stack]\n"
	"7ffe0000000-7ffe0001000 r--s ffffffffff000 103:1f 18446744073709551615 /x\\012y\\134z\n"
	"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

static int read_bytes(const void *bytes, size_t len, struct umem_maps *m)
{
	UMEM_FD int fd = (int)T_SYS(memfd_create("text", MFD_CLOEXEC));

	T_OK(umem_write_all(fd, bytes, len));
	return umem_maps_read(fd, UMEM_MAPS_AUTO, m);
}

static void golden_text(void **state)
{
	struct umem_maps m = { 0 };

	/* The memfd's line lies lower than the one before it: taken for a repeat. */
	T_OK(read_bytes(golden, strlen(golden), &m));
	check_ascending(&m);
	T_CHECK(m.n == 6, "%zu", m.n);
	T_CHECK(m.v[0].start == 0x400000 && m.v[0].end == 0x452000);
	T_CHECK(m.v[0].flags == (UMEM_VMA_READ | UMEM_VMA_EXEC));
	T_CHECK(m.v[0].dev_major == 8 && m.v[0].dev_minor == 2 && m.v[0].inode == 173521);
	T_CHECK(strcmp(m.v[0].name, "/usr/bin/dbus-daemon") == 0);
	T_CHECK(strcmp(m.v[1].name, "[heap]") == 0 && strcmp(m.v[2].name, "") == 0);
	T_CHECK(strcmp(m.v[3].name, "[anon:foo bar]") == 0 && m.v[3].flags == 0);
	T_CHECK(strcmp(m.v[4].name, "[stack]") == 0);
	T_CHECK(strcmp(m.v[5].name, "/x\ny\\134z") == 0, "%s", m.v[5].name);
	T_CHECK(m.v[5].offset == 0xffffffffff000 && m.v[5].inode == UINT64_MAX);
	T_CHECK(m.v[5].dev_major == 0x103 && m.v[5].dev_minor == 0x1f);
	umem_maps_deinit(&m);
}

static void later_word_wins(void **state)
{
	static const char text[] =
		"1000-2000 r--p 0 0:0 0 \n" "2000-4000 r--p 0 0:0 0 one\n"
		"2000-4000 r--p 0 0:0 0 repeat\n" "3000-5000 rw-p 0 0:0 0 two\n"
		"1800-6000 r--p 0 0:0 0 three\n" "6000-7000 r--p 0 0:0 0 three\n";
	struct umem_maps m = { 0 };

	T_OK(read_bytes(text, strlen(text), &m));
	T_CHECK(m.n == 3);
	T_CHECK(m.v[0].start == 0x1000 && m.v[0].end == 0x1800);
	T_CHECK(m.v[1].start == 0x1800 && m.v[1].end == 0x6000);
	T_CHECK(m.v[2].start == 0x6000 && m.v[1].name == m.v[2].name);
	T_CHECK(strcmp(m.v[2].name, "three") == 0);
	umem_maps_deinit(&m);
}

static void hostile_lines(void **state)
{
	static const char *const bad[] = {
		"", " ", "1000", "1000-", "1000-2000", "1000-2000 ", "1000-2000 rwxp",
		"1000-2000 rwxp 0 0:0", "1000-2000 rwxp 0 00 0", "2000-1000 r--p 0 0:0 0 ",
		"1000-1000 r--p 0 0:0 0 ", "-1000-2000 r--p 0 0:0 0", "1000-2000 r--q 0 0:0 0",
		"1000-2000 -r-p 0 0:0 0", "1000-2000 r--p 0 100000000:0 0",
		"1000-2000 r--p 0 0:100000000 0", "10000000000000000-2 r--p 0 0:0 0",
		"1000-2000 r--p 0 0:0 18446744073709551616", "1000-2000 r--p 0 0:0 0name",
		"1000-2000  r--p 0 0:0 0", "0x1000-0x2000 r--p 0 0:0 0", "1000-2000 r--p 0 0:0 0x",
		"1000-2000\tr--p 0 0:0 0",
	};
	static const char nul[] = "1000-2000 r--p 0 0:0 0 a\0b";
	char name[64];
	struct umem_vma vma = { .start = 77 };
	struct umem_maps m = { 0 };

	for (size_t i = 0; i < UMEM_ARRAY_LEN(bad); i++) {
		T_CHECK(!umem_maps_parse_line(bad[i], strlen(bad[i]), name, &vma), "%s", bad[i]);
		T_CHECK(vma.start == 77);
	}
	T_CHECK(!umem_maps_parse_line(nul, sizeof(nul) - 1, name, &vma));
	T_CHECK(umem_maps_parse_line("1-2 ---p 0 0:0 0", 16, name, &vma) && !vma.name[0]);
	/* no newline at the end; an empty line; a line without an end */
	T_CHECK(read_bytes("1000-2000 r--p 0 0:0 0 x", 24, &m) == -EBADMSG && m.n == 0);
	T_CHECK(read_bytes("1-2 r--p 0 0:0 0\n\n", 18, &m) == -EBADMSG && m.n == 0);
	UMEM_FREE char *big = calloc(1, 3u << 20);
	memset(big, 'x', 3u << 20);
	T_CHECK(read_bytes(big, 3u << 20, &m) == -EBADMSG && m.n == 0);
	T_CHECK(m.text_room <= 1u << 20);
	T_OK(read_bytes("", 0, &m));
	T_CHECK(m.n == 0);
	umem_maps_deinit(&m);
}

static void cut_anywhere(void **state)
{
	size_t len = strlen(golden);
	struct umem_maps m = { 0 };

	for (size_t cut = 0; cut < len; cut++) {
		bool whole = cut == 0 || golden[cut - 1] == '\n';

		T_CHECK(read_bytes(golden, cut, &m) == (whole ? 0 : -EBADMSG), "%zu", cut);
	}
	umem_maps_deinit(&m);
}

static void gone(void **state)
{
	struct umem_maps m = { 0 };
	int go[2], fd = -1, dead = -1;
	pid_t pid;

	T_CHECK(umem_maps_open(0x7ffffffe, &dead) == -ENOENT && dead == -1);
	T_SYS(pipe2(go, O_CLOEXEC));
	pid = t_fork();
	if (pid == 0) {
		char byte;

		close(go[1]);
		if (read(go[0], &byte, 1) == 1)
			execl("/bin/sleep", "sleep", "100", NULL);
		_exit(1);
	}
	T_OK(umem_maps_open(pid, &fd));
	T_OK(umem_maps_read(fd, UMEM_MAPS_AUTO, &m));
	T_CHECK(m.n > 5);
	T_CHECK(write(go[1], "x", 1) == 1);
	for (int method = UMEM_MAPS_TEXT; method >= UMEM_MAPS_AUTO; method--) {
		if (method == UMEM_MAPS_QUERY && !have_query)
			continue;
		do
			T_OK(umem_maps_read(fd, (enum umem_maps_method)method, &m));
		while (m.n > 0);
	}
	close(fd);
	T_OK(umem_maps_open(pid, &fd));
	t_end(pid);
	for (int method = UMEM_MAPS_AUTO; method <= UMEM_MAPS_TEXT; method++) {
		if (method == UMEM_MAPS_QUERY && !have_query)
			continue;
		T_OK(umem_maps_read(fd, (enum umem_maps_method)method, &m));
		T_CHECK(m.n == 0);
	}
	close(fd);
	close(go[0]);
	close(go[1]);
	umem_maps_deinit(&m);
}

/* What a child keeps changing, beside a fence of mappings that never change. */
#define ARENA_PAGES 256u
#define N_FENCES    8u

static void churn(uint8_t *arena, uint64_t seed)
{
	for (;;) {
		uint64_t at = t_below(&seed, ARENA_PAGES), n = 1 + t_below(&seed, 24);
		int prot = t_below(&seed, 2) ? PROT_READ : PROT_READ | PROT_WRITE;

		if (at + n > ARENA_PAGES)
			n = ARENA_PAGES - at;
		switch (t_below(&seed, 3)) {
		case 0:
			munmap(arena + at * page, n * page);
			break;
		case 1:
			mmap(arena + at * page, n * page, prot,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			break;
		default:
			mprotect(arena + at * page, n * page, prot);
		}
	}
}

/* While the child moves, the list is ascending and no fence is ever missed. */
static void churn_in_a_child(void **state)
{
	uint64_t seed = t_seed(), end;
	uint8_t *fences[N_FENCES];
	size_t span = (ARENA_PAGES + 1) * page, stride = (ARENA_PAGES + 2) * page;
	uint8_t *base = mmap(NULL, N_FENCES * stride, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct umem_maps m = { 0 };
	unsigned reads = 0;
	int fd = -1;
	pid_t pid;

	for (unsigned i = 0; i < N_FENCES; i++) {
		int memfd = (int)T_SYS(memfd_create("fence", MFD_CLOEXEC));

		T_SYS(ftruncate(memfd, (off_t)page));
		fences[i] = mmap(base + i * stride + span, page, PROT_READ,
				MAP_SHARED | MAP_FIXED, memfd, 0);
		T_CHECK(fences[i] != MAP_FAILED);
		close(memfd);
	}
	pid = t_fork();
	if (pid == 0)
		churn(base + stride, seed);
	T_OK(umem_maps_open(pid, &fd));
	end = t_now_ns() + 1500000000u;
	while (t_now_ns() < end) {
		enum umem_maps_method method = reads++ & 1 ? UMEM_MAPS_TEXT : UMEM_MAPS_AUTO;

		T_OK(umem_maps_read(fd, method, &m));
		check_ascending(&m);
		for (unsigned i = 0; i < N_FENCES; i++) {
			const struct umem_vma *vma = find(&m, fences[i]);

			T_CHECK(vma, "fence %u missed in read %u", i, reads);
			T_CHECK(vma->end - vma->start == page);
			T_CHECK(strcmp(vma->name, "/memfd:fence (deleted)") == 0);
		}
	}
	printf("%u reads of a changing child\n", reads);
	t_end(pid);
	close(fd);
	munmap(base, N_FENCES * stride);
	umem_maps_deinit(&m);
}

/* Random changes of our own, one by one, against a page-by-page model. */
static void churn_against_model(void **state)
{
	uint64_t rng = t_seed();
	uint8_t model[ARENA_PAGES] = { 0 };
	UMEM_FD int fd = open_self();
	struct umem_maps m = { 0 };
	uint8_t *arena = mmap(NULL, ARENA_PAGES * page, PROT_NONE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	T_CHECK(arena != MAP_FAILED);
	for (int round = 0; round < 600; round++) {
		uint64_t at = t_below(&rng, ARENA_PAGES), n = 1 + t_below(&rng, 16);
		uint8_t flags = (uint8_t)t_below(&rng, 4); /* READ, WRITE */

		if (at + n > ARENA_PAGES)
			n = ARENA_PAGES - at;
		T_SYS(mprotect(arena + at * page, n * page, flags));
		memset(model + at, flags, n);
		T_OK(umem_maps_read(fd, round & 1 ? UMEM_MAPS_TEXT : UMEM_MAPS_AUTO, &m));
		check_ascending(&m);
		for (uint64_t i = 0; i < ARENA_PAGES; i++) {
			const struct umem_vma *vma = find(&m, arena + i * page);

			T_CHECK(vma && vma->flags == (model[i] | UMEM_VMA_SHARED));
		}
	}
	munmap(arena, ARENA_PAGES * page);
	umem_maps_deinit(&m);
}

static double cost_ns(int fd, enum umem_maps_method method, struct umem_maps *m)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 7; i++) {
		uint64_t start = t_now_ns();

		T_OK(umem_maps_read(fd, method, m));
		start = t_now_ns() - start;
		best = start < best ? start : best;
	}
	return (double)best / (double)m->n;
}

/* Not a check: what one mapping costs, for the theory block of maps.c. */
static void cost(void **state)
{
	UMEM_FD int fd = open_self();
	struct umem_maps m = { 0 };
	const unsigned n_maps = 10000;
	uint8_t *area = mmap(NULL, n_maps * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int round = 0; round < 3; round++) {
		const char *what[] = { "few", "many anonymous", "many of a file" };
		UMEM_FD int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

		for (unsigned i = 0; round && i < n_maps; i += 1) {
			if (round == 1 && i % 2)
				T_SYS(mprotect(area + i * page, page, PROT_READ));
			if (round == 2)
				mmap(area + i * page, page, PROT_READ,
					MAP_PRIVATE | MAP_FIXED, file, 0);
		}
		if (have_query)
			cost_ns(fd, UMEM_MAPS_QUERY, &m);
		printf("%s: query %.0f ns, text %.0f ns a mapping of %zu\n", what[round],
			have_query ? cost_ns(fd, UMEM_MAPS_QUERY, &m) : 0.0,
			cost_ns(fd, UMEM_MAPS_TEXT, &m), m.n);
	}
	munmap(area, n_maps * page);
	umem_maps_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(query_against_text), cmocka_unit_test(names_of_files),
		cmocka_unit_test(names_too_long), cmocka_unit_test(names_of_memory),
		cmocka_unit_test(huge_page_size), cmocka_unit_test(golden_text),
		cmocka_unit_test(later_word_wins), cmocka_unit_test(hostile_lines),
		cmocka_unit_test(cut_anywhere), cmocka_unit_test(gone),
		cmocka_unit_test(churn_in_a_child), cmocka_unit_test(churn_against_model),
		cmocka_unit_test(cost),
	};
	struct umem_maps m = { 0 };
	UMEM_FD int fd = open_self();
	int r = umem_maps_read(fd, UMEM_MAPS_QUERY, &m);

	T_CHECK(r == 0 || r == -ENOTTY);
	have_query = r == 0;
	umem_maps_deinit(&m);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
