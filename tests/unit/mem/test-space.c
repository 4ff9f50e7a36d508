// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The address space against a naive model that knows what each page shows:
 * random maps, changed at random, cut into mappings at random.
 */
#include "lib/mem/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"

#define BASE    0x7f0000000000ull
#define PAGE    4096ull
#define N_PAGES 160
#define ROUNDS  4000

/* What may be mapped. */
static const struct {
	const char *name;
	uint64_t inode;
	bool shared;
	int class; /* equal for objects that the space does not tell apart */
	enum umem_kind kind;
} objects[] = {
	{ NULL, 0, false, -1, UMEM_N_KINDS }, /* nothing */
	{ "", 0, false, 0, UMEM_KIND_ANON },
	{ "[heap]", 0, false, 0, UMEM_KIND_ANON },
	{ "[vdso]", 0, false, 1, UMEM_KIND_KERNEL },
	{ "/memfd:a (deleted)", 10, true, 2, UMEM_KIND_SHMEM },
	{ "/memfd:b (deleted)", 11, true, 3, UMEM_KIND_SHMEM },
	{ "/bin/x", 20, false, 4, UMEM_KIND_FILE_PRIVATE },
	{ "/bin/x", 20, true, 5, UMEM_KIND_FILE_SHARED },
	{ "anon_inode:[io_uring]", 30, true, 6, UMEM_KIND_KERNEL_SHARED },
};

static const char *const reasons[] = { "reason one", "reason two" };

struct page {
	unsigned object;
	uint64_t offset;
	bool registered;
	const char *untrackable;
};

static uint64_t seed;

static bool same(const struct page *a, const struct page *b)
{
	if (!a->object || !b->object || objects[a->object].class != objects[b->object].class)
		return false;
	return objects[a->object].inode == 0 || a->offset == b->offset;
}

static void change(struct page *pages)
{
	for (uint64_t n = 1 + t_below(&seed, 6); n > 0; n--) {
		uint64_t at = t_below(&seed, N_PAGES);
		uint64_t len = 1 + t_below(&seed, N_PAGES - at);
		unsigned object = (unsigned)t_below(&seed, sizeof(objects) / sizeof(objects[0]));
		uint64_t offset = t_below(&seed, 4) * 16;

		if (len > 40)
			len = 1 + len % 40;
		for (uint64_t i = at; i < at + len; i++)
			pages[i] = (struct page){ .object = object, .offset = offset + i - at };
	}
}

/* Where one mapping has to end and another begin. */
static bool border(const struct page *pages, int i)
{
	const struct page *a = &pages[i - 1], *b = &pages[i];

	return a->object != b->object ||
		(objects[b->object].inode && b->offset != a->offset + 1);
}

/* The text of maps; mappings are cut at random besides. */
static int write_maps(int fd, const struct page *pages)
{
	static const char *const prots[] = { "rw-", "r--", "r-x" };
	char text[N_PAGES * 100];
	size_t len = 0;
	int n = 0;

	for (int i = 0; i < N_PAGES;) {
		int end = i + 1;

		while (end < N_PAGES && !border(pages, end) && t_below(&seed, 12) != 0)
			end++;
		if (pages[i].object) {
			unsigned o = pages[i].object;

			len += (size_t)sprintf(text + len, "%llx-%llx %s%c %08llx 00:01 %llu",
				BASE + (uint64_t)i * PAGE, BASE + (uint64_t)end * PAGE,
				prots[t_below(&seed, 3)], objects[o].shared ? 's' : 'p',
				(unsigned long long)(objects[o].inode ? pages[i].offset * PAGE : 0),
				(unsigned long long)objects[o].inode);
			len += (size_t)sprintf(text + len, "%s%s\n", objects[o].name[0] ?
				"                 " : "", objects[o].name);
			n++;
		}
		i = end;
	}
	T_SYS(ftruncate(fd, 0));
	T_CHECK(pwrite(fd, text, len, 0) == (ssize_t)len);
	return n;
}

/* Give the regions some state, and the model the same. */
static void set_state(struct umem_space *space, struct page *pages)
{
	for (size_t i = 0; i < space->n; i++) {
		struct umem_region *g = &space->v[i];

		g->registered = t_below(&seed, 2);
		g->untrackable = !g->registered && t_below(&seed, 3) == 0 ?
			reasons[t_below(&seed, 2)] : NULL;
		for (uint64_t p = (g->start - BASE) / PAGE; p < (g->end - BASE) / PAGE; p++) {
			pages[p].registered = g->registered;
			pages[p].untrackable = g->untrackable;
		}
	}
}

static void check_region(const struct umem_region *g, const struct page *old,
	const struct page *now)
{
	uint64_t first = (g->start - BASE) / PAGE, end = (g->end - BASE) / PAGE;
	const char *untrackable = NULL;
	bool registered = true;

	T_CHECK(g->kind == objects[now[first].object].kind, "%s", g->name);
	T_CHECK(strcmp(g->name, objects[now[first].object].name) == 0, "%s", g->name);
	T_CHECK(g->page_size_bytes == PAGE);
	for (uint64_t p = first; p < end; p++) {
		bool kept = same(&old[p], &now[p]);

		registered = registered && kept && old[p].registered;
		if (kept && !untrackable)
			untrackable = old[p].untrackable;
	}
	T_CHECK(g->registered == registered, "at %llx", (unsigned long long)g->start);
	T_CHECK(g->untrackable == untrackable, "at %llx", (unsigned long long)g->start);
}

static void check_refresh(struct umem_space *space, const struct umem_ranges *appeared,
	const struct umem_ranges *vanished, const struct page *old, const struct page *now)
{
	for (uint64_t p = 0; p < N_PAGES; p++) {
		uint64_t at = BASE + p * PAGE;
		bool kept = same(&old[p], &now[p]);
		const struct umem_region *g = umem_space_find(space, at);

		T_CHECK(umem_ranges_has(appeared, at) == (now[p].object && !kept), "page %d",
			(int)p);
		T_CHECK(umem_ranges_has(vanished, at) == (old[p].object && !kept), "page %d",
			(int)p);
		T_CHECK((g != NULL) == (now[p].object != 0), "page %d", (int)p);
		T_CHECK(umem_space_mapped(space, at, at + PAGE) == (now[p].object != 0));
	}
	for (size_t i = 0; i < space->n; i++)
		check_region(&space->v[i], old, now);
}

static void against_model(int fd)
{
	static struct page old[N_PAGES], now[N_PAGES];
	struct umem_ranges appeared = { 0 }, vanished = { 0 };
	struct umem_space space = { 0 };

	memset(old, 0, sizeof(old));
	memcpy(now, old, sizeof(old));
	for (int round = 0; round < ROUNDS; round++) {
		int n;

		/* A map without a change may still be cut in another way. */
		if (t_below(&seed, 5))
			change(now);
		n = write_maps(fd, now);
		if (n == 0) {
			T_CHECK(umem_space_refresh(&space, NULL, NULL, fd, UMEM_MAPS_TEXT,
					&appeared,
					&vanished) == UMEM_GONE);
			memcpy(now, old, sizeof(now));
			continue;
		}
		T_OK(umem_space_refresh(&space, NULL, NULL, fd, UMEM_MAPS_TEXT, &appeared,
			&vanished));
		T_CHECK(space.n == (size_t)n);
		check_refresh(&space, &appeared, &vanished, old, now);
		set_state(&space, now);
		memcpy(old, now, sizeof(old));
	}
	umem_space_deinit(&space);
	umem_ranges_deinit(&appeared);
	umem_ranges_deinit(&vanished);
}

/* What cannot be read changes nothing. */
static void failures(int fd)
{
	static const char text[] = "1000-2000 rw-p 00000000 00:00 0\n";
	struct umem_ranges appeared = { 0 }, vanished = { 0 };
	struct umem_space space = { 0 };

	T_SYS(ftruncate(fd, 0));
	T_CHECK(pwrite(fd, text, sizeof(text) - 1, 0) > 0);
	T_OK(umem_space_refresh(&space, NULL, NULL, fd, UMEM_MAPS_TEXT, &appeared, &vanished));
	T_CHECK(appeared.n == 1 && vanished.n == 0 && space.n == 1);
	space.v[0].registered = true;

	T_CHECK(pwrite(fd, "nonsense", 8, 0) == 8);
	T_CHECK(umem_space_refresh(&space, NULL, NULL, fd, UMEM_MAPS_TEXT, &appeared, &vanished) ==
		-EBADMSG);
	T_CHECK(space.n == 1 && space.v[0].start == 0x1000 && space.v[0].registered);

	T_SYS(ftruncate(fd, 0));
	T_CHECK(umem_space_refresh(&space, NULL, NULL, fd, UMEM_MAPS_TEXT, &appeared, &vanished) ==
		UMEM_GONE);
	T_CHECK(space.n == 1 && space.v[0].registered);

	umem_space_unregister(&space, &(struct umem_range){ 0x1800, 0x1801 });
	T_CHECK(!space.v[0].registered);
	T_CHECK(!umem_space_find(&space, 0xfff) && !umem_space_find(&space, 0x2000));
	T_CHECK(umem_space_first(&space, 0x1fff) == 0 && umem_space_first(&space, 0x2000) == 1);
	T_CHECK(!umem_space_mapped(&space, 0, 0x1000) && umem_space_mapped(&space, 0, 0x1001));
	umem_space_deinit(&space);
	umem_ranges_deinit(&appeared);
	umem_ranges_deinit(&vanished);
}

int main(void)
{
	UMEM_FD int fd = (int)T_SYS(memfd_create("maps", MFD_CLOEXEC));

	seed = t_seed();
	failures(fd);
	against_model(fd);
	return 0;
}
