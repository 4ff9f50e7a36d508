// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is so, found out the slow way: one page at a time, one word, one
 * cachestat(2) of one page; of huge pages of the pool by what was done to
 * them, since nothing tells. And witnesses that saw it by other means.
 */
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/kern/pagemap.h"
#include "lib/kern/uapi.h"
#include "tests/kernel/scratch.h"
#include "tests/lib/harness.h"
#include "tests/torture/residency.h"

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

/* The last swap type that is an area; above are pages that are moved, poisoned, or marks. */
#define LAST_AREA 22u
#define MARK 31u
#define MARK_GUARD 4u

static bool is_zero(const struct cast *c, uint64_t word)
{
	uint64_t pfn = word & ((1ull << 55) - 1), flags = 0;

	if (pread(c->kpageflags, &flags, sizeof(flags), (off_t)(pfn * sizeof(flags))) !=
		(ssize_t)sizeof(flags))
		return false;
	return flags & (1ull << KPF_ZERO_PAGE);
}

/* UNTOUCHED: nothing or a mark. */
static enum umem_state entry_at(const struct cast *c, int pagemap, uint64_t at)
{
	uint64_t word = 0;
	unsigned type;

	T_CHECK(pread(pagemap, &word, sizeof(word), (off_t)(at / PAGE * sizeof(word))) ==
		(ssize_t)sizeof(word));
	if (word & (1ull << 63))
		return is_zero(c, word) ? UMEM_STATE_ZERO : UMEM_STATE_RESIDENT;
	if (!(word & (1ull << 62)))
		return UMEM_STATE_UNTOUCHED;
	type = (unsigned)(word & 31);
	if (type == MARK)
		return word >> 5 & MARK_GUARD ? UMEM_STATE_GUARD : UMEM_STATE_UNTOUCHED;
	return type > LAST_AREA ? UMEM_STATE_RESIDENT : UMEM_STATE_SWAPPED;
}

enum umem_state cast_object_state(const struct cast_object *o, uint64_t page)
{
	struct umem_cachestat_range range = { .off = page * PAGE, .len = PAGE };
	struct umem_cachestat stat = { 0 };

	if (o->backing == BACK_HUGETLB)
		return page / PAGES_PER_HUGE < MAX_HUGE && o->held[page / PAGES_PER_HUGE] ?
			UMEM_STATE_RESIDENT : UMEM_STATE_UNTOUCHED;
	if (o->backing == BACK_DISK)
		return UMEM_STATE_UNTOUCHED;
	T_SYS(syscall(SYS_cachestat, o->fd, &range, &stat, 0));
	return stat.nr_cache ? UMEM_STATE_RESIDENT :
		stat.nr_evicted ? UMEM_STATE_SWAPPED : UMEM_STATE_UNTOUCHED;
}

bool cast_cached(const struct cast_object *o, uint64_t page)
{
	unsigned char in = 0;

	T_SYS(mincore(o->map + page * PAGE, PAGE, &in));
	return in & 1;
}

enum cast_swap cast_swap(void)
{
	FILE *file = fopen("/proc/swaps", "re");
	enum cast_swap swap = SWAP_NONE;
	char line[256], path[128];
	unsigned long long used;

	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%127s %*s %*u %llu", path, &used) == 2 && used > 0)
			swap |= strstr(path, "/zram") ? SWAP_ZRAM : SWAP_DEVICE;
	fclose(file);
	return swap;
}

static void look_at_area(struct cast *c, unsigned who, const struct cast_area *a,
	struct cast_truth *truth)
{
	uint64_t index = (a->at - ARENA_AT) / PAGE;

	for (uint64_t i = 0; i < a->pages; i++, index++) {
		enum umem_state entry = entry_at(c, c->actors[who].pagemap, a->at + i * PAGE);
		enum umem_state object = a->object < 0 ? UMEM_STATE_UNTOUCHED :
			cast_object_state(&c->objects[a->object], a->offset + i);

		truth->entry[index] = (unsigned char)entry;
		truth->object[index] = (unsigned char)object;
		truth->state[index] = (unsigned char)(entry == UMEM_STATE_UNTOUCHED ? object :
										     entry);
	}
}

/* What the inode of huge pages says must be what we did to it. */
static void check_held(const struct cast *c)
{
	for (size_t i = 0; i < c->n_objects; i++) {
		const struct cast_object *o = &c->objects[i];
		uint64_t held = 0;
		struct stat st;

		if (o->backing != BACK_HUGETLB)
			continue;
		for (size_t k = 0; k < MAX_HUGE; k++)
			held += o->held[k];
		T_SYS(fstat(o->fd, &st));
		T_CHECK((uint64_t)st.st_blocks * 512 == held * HUGE,
			"SEED=%llu: object %zu holds %llu pages, not %llu\n%s",
			(unsigned long long)c->seed, i,
			(unsigned long long)st.st_blocks * 512 / HUGE, (unsigned long long)held,
			c->log);
	}
}

void cast_truth(struct cast *c, unsigned who, struct cast_truth *ret_truth)
{
	memset(ret_truth, TRUTH_NONE, sizeof(*ret_truth));
	for (size_t i = 0; i < N_SLOTS; i++)
		if (c->actors[who].areas[i].pages)
			look_at_area(c, who, &c->actors[who].areas[i], ret_truth);
	check_held(c);
}

/**
 * struct sums - of the mappings of an area, in kB.
 */
struct sums {
	uint64_t resident;
	uint64_t swapped;
	uint64_t huge;
};

static bool field(const char *line, const char *name, uint64_t *sum)
{
	size_t len = strlen(name);

	if (strncmp(line, name, len) != 0)
		return false;
	*sum += strtoull(line + len, NULL, 10);
	return true;
}

/* Sums of smaps over what lies in [@start, @end). */
static struct sums sums_of(pid_t pid, uint64_t start, uint64_t end)
{
	unsigned long long low = 0, high = 0;
	char path[40], line[512];
	struct sums sums = { 0 };
	bool in = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx-%llx ", &low, &high) == 2 && strchr(line, '-'))
			in = low >= start && high <= end;
		else if (in && !field(line, "Rss:", &sums.resident) &&
			!field(line, "Swap:", &sums.swapped) &&
			!field(line, "Shared_Hugetlb:", &sums.huge))
			field(line, "Private_Hugetlb:", &sums.huge);
	}
	fclose(file);
	return sums;
}

/* Pages of an area in a state, by one of the arrays of the truth. */
static uint64_t count(const struct cast_area *a, const unsigned char *by, enum umem_state state)
{
	uint64_t first = (a->at - ARENA_AT) / PAGE, n = 0;

	for (uint64_t i = first; i < first + a->pages; i++)
		n += by[i] == state;
	return n;
}

static bool smaps_agrees(struct cast *c, unsigned who, const struct cast_area *a,
	const struct cast_truth *t, struct sums *ret_sums)
{
	struct sums sums = sums_of(c->actors[who].pid, a->at, a->at + a->pages * PAGE);
	uint64_t present = count(a, t->entry, UMEM_STATE_RESIDENT) * 4;

	*ret_sums = sums;
	if (a->huge)
		return sums.huge == present && sums.swapped == 0;
	if (sums.resident != present)
		return false;
	if (a->object < 0)
		return sums.swapped == count(a, t->state, UMEM_STATE_SWAPPED) * 4;
	/* It counts pages past the end of a file, too, wherever those are. */
	if (!a->shared || c->objects[a->object].beyond)
		return true;
	/*
	 * Of a whole object it shows a counter of the kernel's, which large pages can leave
	 * too high (seen: 3,395 swapped pages of 3,172); of a part it counts.
	 */
	if (a->offset == 0 && a->pages >= c->objects[a->object].pages)
		return sums.swapped >= count(a, t->object, UMEM_STATE_SWAPPED) * 4;
	return sums.swapped == count(a, t->object, UMEM_STATE_SWAPPED) * 4;
}

/* In the actor, mincore(2) must have a page that is mapped, and not one that is nowhere. */
static bool mincore_agrees(struct cast *c, unsigned who, const struct cast_area *a,
	const struct cast_truth *t)
{
	uint64_t first = (a->at - ARENA_AT) / PAGE;

	int64_t r = cast_syscall(c, who, SYS_mincore, a->at, a->pages * PAGE,
		(uintptr_t)cast_board()->mincore, 0, 0, 0);

	T_CHECK(r == 0, "SEED=%llu: mincore of %#llx: %lld\n%s", (unsigned long long)c->seed,
		(unsigned long long)a->at, (long long)r, c->log);
	for (uint64_t i = 0; i < a->pages; i++) {
		bool in = cast_board()->mincore[i] & 1;

		if (!in && t->entry[first + i] == UMEM_STATE_RESIDENT)
			return false;
		if (in && t->state[first + i] == UMEM_STATE_UNTOUCHED &&
			(a->object < 0 || c->objects[a->object].backing != BACK_DISK))
			return false;
	}
	return true;
}

void cast_check_witnesses(struct cast *c, unsigned who, const struct cast_truth *before)
{
	static struct cast_truth now;
	const struct cast_truth *t = before;

	for (size_t i = 0; i < N_SLOTS; i++) {
		const struct cast_area *a = &c->actors[who].areas[i];
		struct sums sums;
		int attempts = 0;

		if (!a->pages)
			continue;
		/* What the kernel moves by itself at this moment is seen differently. */
		while (!smaps_agrees(c, who, a, t, &sums) ||
			(!c->options->nobody && !mincore_agrees(c, who, a, t))) {
			T_CHECK(attempts++ < 20,
				"SEED=%llu round %u: area %#llx +%llu of actor %u: smaps says "
				"resident %llu swapped %llu huge %llu kB; present %llu swapped "
				"%llu pages\n%s", (unsigned long long)c->seed, c->round,
				(unsigned long long)a->at, (unsigned long long)a->pages, who,
				(unsigned long long)sums.resident,
				(unsigned long long)sums.swapped, (unsigned long long)sums.huge,
				(unsigned long long)count(a, t->entry, UMEM_STATE_RESIDENT),
				(unsigned long long)count(a, t->object, UMEM_STATE_SWAPPED),
				c->log);
			cast_truth(c, who, &now);
			t = &now;
		}
	}
}

static uint64_t status_kb(pid_t pid, const char *name)
{
	char path[40], line[256];
	uint64_t kb = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		if (field(line, name, &kb))
			break;
	fclose(file);
	return kb;
}

static void read_faults(pid_t pid, uint64_t *minor, uint64_t *major)
{
	unsigned long long min = 0, maj = 0;
	char path[40], text[512] = "";
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	T_CHECK(file && fgets(text, sizeof(text), file) && strrchr(text, ')'));
	fclose(file);
	n = sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %llu %*u %llu", &min,
		&maj);
	T_CHECK(n == 2);
	*minor = min;
	*major = maj;
}

void cast_footprint(struct cast *c, struct cast_footprint *ret_print)
{
	memset(ret_print, 0, sizeof(*ret_print));
	for (unsigned i = 0; i < N_ACTORS; i++) {
		pid_t pid = c->actors[i].pid;
		struct sums sums;

		if (!pid)
			continue;
		read_faults(pid, &ret_print->minor[i], &ret_print->major[i]);
		ret_print->pte_kb[i] = status_kb(pid, "VmPTE:");
		sums = sums_of(pid, 0, UINT64_MAX);
		ret_print->resident_kb[i] = sums.resident;
		ret_print->swapped_kb[i] = sums.swapped;
	}
	k_read_u64(POOL "free_hugepages", &ret_print->huge_free);
	k_read_u64(POOL "resv_hugepages", &ret_print->huge_reserved);
}
