// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is counted and how it is written down: against sums that are made the slow way,
 * with numbers of a worker that means ill, and labels of every byte.
 */
#include "daemon/stats.h"

#include <string.h>

#include "daemon/expose.h"
#include "daemon/usage.h"
#include "lib/base/attr.h"
#include "tests/lib/harness.h"

static void histogram(uint64_t *seed)
{
	struct stats_times times = { 0 };
	uint64_t v[2000], sum = 0;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(v); i++) {
		/* Of every size, and often exactly a bound. */
		v[i] = t_below(seed, 1ull << t_below(seed, 36));
		if (t_below(seed, 3) == 0)
			v[i] = stats_bounds_ns[t_below(seed, STATS_BUCKETS)] + t_below(seed, 3) - 1;
		stats_time(&times, v[i]);
		sum += v[i];
	}
	T_CHECK(times.sum_ns == sum);
	for (size_t k = 0, below = 0; k <= STATS_BUCKETS; k++) {
		size_t naive = 0;

		for (size_t i = 0; i < UMEM_ARRAY_LEN(v); i++)
			naive += k == STATS_BUCKETS || v[i] <= stats_bounds_ns[k];
		below += times.n[k];
		T_CHECK(below == naive, "bucket %zu: %zu, not %zu", k, below, naive);
	}
}

static struct umem_json *round_of(int64_t bytes)
{
	struct umem_json *parameters = umem_json_object(), *round = umem_json_object();

	umem_json_set_int(round, "written_bytes", bytes);
	umem_json_set_int(round, "scan_ns", bytes);
	umem_json_set_int(round, "tracked_bytes", bytes);
	umem_json_set_bool(round, "complete", true);
	umem_json_set_consume(parameters, "round", round);
	return parameters;
}

static void answer(struct stats *stats, struct stats_target *target, struct umem_json *parameters)
{
	stats_answered(stats, target, "Collect", parameters);
	umem_json_free(parameters);
}

/* Sums never get smaller, whatever a worker says. */
static void hostile_worker(void)
{
	static const int64_t absurd[] = { INT64_MIN, -1, INT64_MAX, 1ll << 62, 1ll << 57 };
	struct stats_target shown = { 0 }, hidden = { 0 };
	struct stats stats = { 0 };

	stats_came(&stats, &shown, STATS_ATTACHED, 1);
	stats_came(&stats, &hidden, STATS_ATTACHED, 1);
	T_CHECK(!shown.hidden && hidden.hidden && stats.hid);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(absurd); i++)
		answer(&stats, &hidden, round_of(absurd[i]));
	T_CHECK(stats.all.rounds == 5 && stats.all.dirty_bytes[STATS_WRITTEN] == 0 &&
		stats.all.scan_ns == 0 && hidden.tracked_bytes == 0);
	answer(&stats, &hidden, umem_json_object());
	answer(&stats, &shown, round_of(4096));
	answer(&stats, &hidden, round_of(8192));
	T_CHECK(stats.all.dirty_bytes[STATS_WRITTEN] == 12288 &&
		stats.others.dirty_bytes[STATS_WRITTEN] == 8192 &&
		shown.sums.dirty_bytes[STATS_WRITTEN] == 4096 && stats.others.rounds == 7);
	stats_left(&stats, &shown);
	stats_left(&stats, &hidden);
	T_CHECK(stats.n_shown == 0 && stats.n_hidden == 0);
}

/* The states that are an end count once, from whichever they come. */
static void ends(void)
{
	for (int from = 0; from < SESSION_N_STATES; from++) {
		for (int to = 0; to < SESSION_N_STATES; to++) {
			struct stats stats = { 0 };
			uint64_t n;

			stats_moved(&stats, (enum session_state)from, (enum session_state)to);
			n = stats.ended[STATS_DETACHED] + stats.ended[STATS_PROCESS_ENDED] +
				stats.ended[STATS_FAILED];
			T_CHECK(n == (from < SESSION_DETACHING && to >= SESSION_DETACHING),
				"%d to %d", from, to);
		}
	}
}

/* More names of errors than there is room for: the others are not lost. */
static void many_errors(void)
{
	static struct stats stats;
	char name[40];

	for (int i = 0; i < 2 * (int)STATS_ERRORS; i++) {
		snprintf(name, sizeof(name), "AnErrorOfAnyName%d", i);
		stats_error(&stats, STATS_METHODS, name);
	}
	T_CHECK(stats.n_errors == STATS_ERRORS && stats.errors[0].n == 1);
	stats_error(&stats, STATS_METHODS, "AnErrorOfAnyName0");
	stats_error(&stats, 3, "AnErrorOfAnyName0");
	T_CHECK(stats.errors[0].n == 2);
	stats_called(&stats, UINT64_MAX);
	T_CHECK(stats.calls[STATS_METHODS] == 1);
}

static void usages(void)
{
	static const struct {
		const char *text;
		bool known;
		uint64_t resident, swapped;
	} cases[] = {
		{ "Name:\ta\nVmRSS:\t    1024 kB\nVmSwap:\t       8 kB\n", true, 1 << 20, 8192 },
		{ "Name:\tVmRSS:\t7 kB\nVmRSS:\t1 kB\nVmSwap:\t0 kB\n", true, 1024, 0 },
		{ "", false, 0, 0 },
		{ "\nVmRSS:", false, 0, 0 },
		{ "\nVmRSS:\t1 kB\n", false, 0, 0 },
		{ "\nVmRSS:\t1\nVmSwap:\t1 kB\n", false, 0, 0 },
		{ "\nVmRSS:\t99999999999999999999999 kB\nVmSwap:\t1 kB\n", false, 0, 0 },
		{ "\nVmRSS:\t18446744073709551615 kB\nVmSwap:\t1 kB\n", false, 0, 0 },
	};

	for (size_t i = 0; i < UMEM_ARRAY_LEN(cases); i++) {
		struct usage usage = { 0 };

		usage_parse(cases[i].text, &usage);
		T_CHECK(usage.known == cases[i].known, "%zu", i);
		T_CHECK(!usage.known || (usage.resident_bytes == cases[i].resident &&
				usage.swapped_bytes == cases[i].swapped), "%zu", i);
	}
}

/* The value of a label as it is written. */
static char *written(const char *value)
{
	struct expose x;
	char *text = NULL;
	size_t len;

	expose_begin(&x, true);
	expose_family(&x, EXPOSE_GAUGE, "a", NULL, "b");
	expose_label(&x, "c", value);
	expose_u64(&x, 1);
	T_OK(expose_end(&x, &text, &len));
	T_CHECK(strlen(text) == len);
	return text;
}

static void labels(uint64_t *seed)
{
	static const char nasty[] = "\"\\\n{},= \xe2\x82\xac";

	for (unsigned byte = 1; byte < 256; byte++) {
		char value[2] = { (char)byte, '\0' }, want[80];
		UMEM_FREE char *text = written(value);
		const char *told = byte == '\n' ? "\\n" : byte == '\\' ? "\\\\" :
			byte == '"' ? "\\\"" : byte < ' ' || byte >= 0x7f ? "?" : value;

		snprintf(want, sizeof(want), "# TYPE a gauge\n# HELP a b\na{c=\"%s\"} 1\n# EOF\n",
			told);
		T_CHECK(strcmp(text, want) == 0, "%u: %s", byte, text);
	}
	/* No bytes whatever get out of their quotes. */
	for (int i = 0; i < 2000; i++) {
		char value[33];
		size_t n = t_below(seed, 32), quotes = 0;
		UMEM_FREE char *text = NULL;

		for (size_t k = 0; k < n; k++)
			value[k] = (char)(t_below(seed, 2) ? nasty[t_below(seed, 11)] :
							     1 + (int)t_below(seed, 255));
		value[n] = '\0';
		text = written(value);
		for (const char *at = text; *at; at++) {
			if (*at == '\\')
				at++; /* and what it escapes */
			else
				quotes += *at == '"';
		}
		T_CHECK(quotes == 2, "%s", text);
		T_CHECK(strcmp(text + strlen(text) - 11, "\"} 1\n# EOF\n") == 0, "%s", text);
	}
}

int main(void)
{
	uint64_t seed = t_seed();

	histogram(&seed);
	hostile_worker();
	ends();
	many_errors();
	usages();
	labels(&seed);
	return 0;
}
