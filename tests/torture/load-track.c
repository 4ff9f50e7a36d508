// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Clients of a load that have targets of their own: what they wrote must be in the next
 * round, and what they let go must be as it was.
 */
#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/kernel/scratch.h"
#include "tests/torture/load.h"

#define N_WRITTEN 12u

static const char *const forms[] = { "numbers", "ranges", "table", "bitmap" };

/* Is the page at @addr in a round of that form? */
static bool in_ranges(const struct umem_json *list, uint64_t addr)
{
	for (size_t i = 0; i < umem_json_count(list); i++) {
		const struct umem_json *item = umem_json_item(list, i);

		if ((uint64_t)umem_json_get_int(item, "start", 0) <= addr &&
			addr < (uint64_t)umem_json_get_int(item, "end", 0))
			return true;
	}
	return false;
}

static bool in_table(const uint64_t *records, size_t n, uint64_t addr)
{
	for (size_t i = 0; i < n; i++)
		if (records[3 * i] <= addr && addr < records[3 * i + 1])
			return true;
	return false;
}

static bool in_bitmap(const struct umem_json *areas, const uint8_t *bits, size_t len, uint64_t addr)
{
	for (size_t i = 0; i < umem_json_count(areas); i++) {
		const struct umem_json *area = umem_json_item(areas, i);
		uint64_t start = (uint64_t)umem_json_get_int(area, "start", 0);
		uint64_t page = (addr - start) / LD_PAGE;
		uint64_t at = (uint64_t)umem_json_get_int(area, "offset", 0) + page / 8;

		if (start <= addr && addr < (uint64_t)umem_json_get_int(area, "end", 0))
			return at < len && (bits[at] >> page % 8 & 1);
	}
	return false;
}

/* Each of the pages is in the round. */
static void check_round(struct ld_client *c, const struct ld_answer *answer, const char *form,
	const unsigned *pages)
{
	const struct umem_json *p = answer->reply.parameters;
	const bool in_memory = form[0] == 't' || form[0] == 'b';
	const void *at = NULL;
	struct stat st = { 0 };

	LD_CHECK(c, umem_json_get_bool(umem_json_get(p, "round"), "complete", false), "");
	LD_CHECK(c, answer->frame.n_fds == in_memory, "%zu descriptors", answer->frame.n_fds);
	LD_CHECK(c, (uint64_t)umem_json_get_int(umem_json_get(p, "round"), "dirty_bytes", 0) >=
		N_WRITTEN * LD_PAGE, "changes are missing");
	if (form[0] == 'n')
		return;
	if (in_memory) {
		T_SYS(fstat(answer->frame.fds[0], &st));
		at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, answer->frame.fds[0], 0);
		LD_CHECK(c, at != MAP_FAILED, "a %s", form);
	}
	for (unsigned i = 0; i < N_WRITTEN; i++) {
		uint64_t addr = c->own.start + pages[i] * LD_PAGE;
		bool found = form[0] == 'r' ? in_ranges(umem_json_get(p, "ranges"), addr) :
			form[0] == 't' ? in_table(at, (size_t)st.st_size / 24, addr) :
			in_bitmap(umem_json_get(p, "areas"), at, (size_t)st.st_size, addr);

		LD_CHECK(c, found, "page %u was written, and is not in the %s", pages[i], form);
	}
	if (in_memory)
		munmap((void *)at, (size_t)st.st_size);
}

/* Different pages, and one more than a step apart. */
static void write_some(struct ld_client *c, unsigned pages[N_WRITTEN])
{
	unsigned first = (unsigned)ld_below(c, c->own.n_pages);

	for (unsigned i = 0; i < N_WRITTEN; i++)
		pages[i] = (first + i * 19) % (unsigned)c->own.n_pages;
	ld_target_write(&c->own, pages, N_WRITTEN);
}

static void collect(struct ld_client *c, const char *id)
{
	const char *form = forms[ld_below(c, UMEM_ARRAY_LEN(forms))];
	struct umem_json *parameters = ld_for(id);
	unsigned pages[N_WRITTEN];
	LD_ANSWER answer = { 0 };

	umem_json_set_text(parameters, "form", form);
	write_some(c, pages);
	ld_call(c, "io.umemd.Dirty.Collect", parameters, "", &answer);
	check_round(c, &answer, form, pages);
}

/* As many rounds as were asked for; what was written before is in one of them. */
static void monitor(struct ld_client *c, const char *id)
{
	uint64_t n = 2 + ld_below(c, 6), dirty = 0, round = 0;
	struct umem_json *parameters = ld_for(id);
	unsigned pages[N_WRITTEN];

	umem_json_set_u64(parameters, "interval_ns", 1000000 + ld_below(c, 30000000));
	umem_json_set_u64(parameters, "rounds", n);
	write_some(c, pages);
	ld_send(c, "io.umemd.Dirty.Monitor", parameters, true, NULL, 0);
	for (uint64_t i = 1; i <= n; i++) {
		LD_ANSWER answer = { 0 };
		const struct umem_json *numbers;

		ld_reply(c, "", &answer);
		numbers = umem_json_get(answer.reply.parameters, "round");
		LD_CHECK(c, answer.reply.continues == (i < n), "round %llu of %llu",
			(unsigned long long)i, (unsigned long long)n);
		LD_CHECK(c, i == 1 || (uint64_t)umem_json_get_int(numbers, "round", 0) == round + 1,
			"a round is missing");
		round = (uint64_t)umem_json_get_int(numbers, "round", 0);
		dirty += (uint64_t)umem_json_get_int(numbers, "dirty_bytes", 0);
	}
	LD_CHECK(c, dirty >= N_WRITTEN * LD_PAGE, "changes are missing");
}

/* Attach, follow for a while, let go in one way or another. */
void ld_tracker(struct ld_client *c)
{
	struct umem_json *parameters;
	char id[64];

	ld_attach(c, &c->own, ld_below(c, 4) == 0, id);
	parameters = ld_for(id);
	if (ld_below(c, 2))
		umem_json_set_text(parameters, "pins", "report");
	ld_do(c, "io.umemd.Dirty.Start", parameters);
	ld_must_fail(c, "io.umemd.Dirty.Start", ld_for(id), NULL, 0, "AlreadyStarted");
	for (uint64_t i = ld_below(c, 8); i > 0; i--) {
		collect(c, id);
		ld_pause(c, 20);
	}
	monitor(c, id);
	if (ld_below(c, 3) == 0) {
		ld_do(c, "io.umemd.Dirty.Stop", ld_for(id));
		ld_must_fail(c, "io.umemd.Dirty.Collect", ld_for(id), NULL, 0, "NotStarted");
	}
	if (ld_below(c, 3) == 0)
		ld_disconnect(c); /* a kept target is let go by its name */
	ld_call(c, "io.umemd.Targets.Detach", ld_for(id), "NoSuchTarget", NULL);
	ld_must_fail(c, "io.umemd.Targets.Describe", ld_for(id), NULL, 0, "NoSuchTarget");
	LD_CHECK(c, !ld_target_left(&c->own), "left: %s", ld_target_left(&c->own));
	ld_target_check(&c->own);
	ld_pause(c, 50);
}

/* Hand its own memory off. */
void ld_hander(struct ld_client *c)
{
	const size_t len = 64 * LD_PAGE;
	char *at = k_anon(len);
	int uffd = k_uffd(K_TRACK);
	struct umem_json *parameters = umem_json_object(), *list = umem_json_array();
	struct umem_json *range = umem_json_object();
	LD_ANSWER answer = { 0 }, round = { 0 };
	char id[64];

	umem_json_set_int(range, "start", (int64_t)(uintptr_t)at);
	umem_json_set_int(range, "end", (int64_t)(uintptr_t)(at + len));
	umem_json_append_consume(list, range);
	umem_json_set_consume(parameters, "ranges", list);
	umem_json_set_int(parameters, "uffd", 0);
	k_touch(at, len, 1);
	ld_send(c, "io.umemd.Targets.HandOff", parameters, false, &uffd, 1);
	if (ld_reply(c, "QuotaExceeded=UserRequests", &answer)) {
		snprintf(id, sizeof(id), "%s", umem_json_get_text(answer.reply.parameters, "target",
			""));
		ld_do(c, "io.umemd.Dirty.Start", ld_for(id));
		for (int i = 0; i < 3; i++) {
			k_touch(at + i * 10 * LD_PAGE, 10 * LD_PAGE, (char)i);
			ld_call(c, "io.umemd.Dirty.Collect", ld_for(id), "", &round);
			LD_CHECK(c, umem_json_get_int(umem_json_get(round.reply.parameters,
				"round"), "dirty_bytes", 0) >= 10 * LD_PAGE, "changes are missing");
			ld_answer_deinit(&round);
		}
		if (ld_below(c, 2))
			ld_do(c, "io.umemd.Targets.Detach", ld_for(id));
	}
	ld_disconnect(c);
	close(uffd);
	munmap(at, len);
	ld_pause(c, 100);
}

/* A policy that decides and does nothing. */
void ld_reclaimer(struct ld_client *c)
{
	struct umem_json *parameters = ld_pid(c->own.pid), *policy;
	LD_ANSWER answer = { 0 };
	char id[64];

	if (!ld_call(c, "io.umemd.Targets.Open", parameters, "QuotaExceeded=UserRequests",
		    &answer)) {
		ld_pause(c, 50);
		return;
	}
	snprintf(id, sizeof(id), "%s", umem_json_get_text(answer.reply.parameters, "target", ""));
	ld_must_fail(c, "io.umemd.Reclaim.Status", ld_for(id), NULL, 0, "NotSet");
	parameters = ld_for(id);
	policy = umem_json_object();
	umem_json_set_text(policy, "policy", ld_below(c, 2) ? "probe" : "pressure");
	umem_json_set_int(policy, "interval_ns", 100000000);
	umem_json_set_bool(policy, "dry_run", true);
	umem_json_set_consume(parameters, "policy", policy);
	ld_do(c, "io.umemd.Reclaim.Set", parameters);
	ld_do(c, "io.umemd.Reclaim.Get", ld_for(id));
	for (uint64_t i = ld_below(c, 6); i > 0; i--) {
		ld_do(c, "io.umemd.Reclaim.Status", ld_for(id));
		ld_pause(c, 150);
	}
	if (ld_below(c, 2))
		ld_do(c, "io.umemd.Reclaim.Set", ld_for(id));
	ld_do(c, "io.umemd.Targets.Detach", ld_for(id));
	LD_CHECK(c, !ld_target_left(&c->own), "left: %s", ld_target_left(&c->own));
}

/* Its target dies at any moment; then "gone" is the answer, and others are not. */
void ld_mortal(struct ld_client *c)
{
	static const char gone[] = "Gone NoSuchTarget";
	bool asked;
	char id[64];

	ld_target_start(&c->own, getenv("LOAD_VICTIM"), true);
	ld_attach(c, &c->own, ld_below(c, 2), id);
	ld_do(c, "io.umemd.Dirty.Start", ld_for(id));
	ld_do(c, "io.umemd.Dirty.Collect", ld_for(id));
	ld_pause(c, 30);
	asked = ld_below(c, 2);
	if (asked)
		ld_send(c, "io.umemd.Dirty.Collect", ld_for(id), false, NULL, 0);
	ld_target_end(&c->own);
	if (asked)
		ld_reply(c, gone, NULL);
	ld_call(c, "io.umemd.Dirty.Collect", ld_for(id), gone, NULL);
	ld_call(c, "io.umemd.Residency.Map", ld_for(id), gone, NULL);
	ld_call(c, "io.umemd.Targets.Detach", ld_for(id), gone, NULL);
	ld_pause(c, 200);
}
