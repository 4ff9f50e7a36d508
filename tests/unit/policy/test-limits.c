// SPDX-License-Identifier: LGPL-2.1-or-later
/* Limits: each alone, the strongest of several, the time after a stop, any numbers. */
#include "lib/policy/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

#define SECOND 1000000000ull
#define MIB (1ull << 20)

/* Nothing is wrong: 1 GiB resident, swap unknown. */
static const struct umem_limits_seen fine = {
	.dt_ns = 5 * SECOND,
	.resident_bytes = 1024 * MIB,
	.swap_free_bytes = UINT64_MAX,
};

static struct umem_limits_answer note(struct umem_limits *l, const struct umem_limits_seen *seen)
{
	struct umem_limits_answer answer;

	umem_limits_note(l, seen, &answer);
	assert_int_equal(answer.allowed_bytes == UINT64_MAX, answer.reason == NULL);
	return answer;
}

static struct umem_limits_answer once(const struct umem_limits_conf *conf,
	const struct umem_limits_seen *seen)
{
	struct umem_limits l;

	umem_limits_init(&l, conf);
	return note(&l, seen);
}

static void nothing_limits(void **state)
{
	assert_int_equal(once(NULL, &fine).allowed_bytes, UINT64_MAX);
}

/* What may get a place in swap: by the room there, and nothing when all is stopped. */
static void swap_room(void **state)
{
	struct umem_limits_conf conf = { .rate_bytes_s = MIB, .swap_min_bytes = 10 * MIB };
	struct umem_limits_seen seen = fine;

	assert_int_equal(once(&conf, &fine).swap_bytes, UINT64_MAX);
	seen.swap_free_bytes = 50 * MIB;
	assert_int_equal(once(&conf, &seen).swap_bytes, 40 * MIB);
	assert_int_equal(once(&conf, &seen).allowed_bytes, 5 * MIB);
	conf.floor_bytes = 2048 * MIB;
	assert_int_equal(once(&conf, &seen).swap_bytes, 0);
	seen.kernel_reclaim = true;
	assert_int_equal(once(&conf, &seen).swap_bytes, 0);
}

/* Over any stretch no more than the share, but for what was saved: a minute's worth. */
static void cpu_share(void **state)
{
	struct umem_cpu_share share = { 0 };
	uint64_t rng = t_seed(), left, used = 0, ns = 0;

	assert_int_equal(umem_cpu_share_left(&share, SECOND), UINT64_MAX);
	share.max_ppm = 20000;
	/* a twentieth is kept for what is not foreseen */
	assert_in_range(umem_cpu_share_left(&share, 5 * SECOND), 94999999, 95000001);
	/* used up, and more than that; then nothing until it is paid back */
	umem_cpu_share_note(&share, 5 * SECOND, 190000000);
	assert_in_range(umem_cpu_share_left(&share, 5 * SECOND), 0, 2);
	umem_cpu_share_note(&share, 5 * SECOND, 0);
	assert_in_range(umem_cpu_share_left(&share, 5 * SECOND), 94999999, 95000001);
	/* an hour of rest is worth no more than a minute, and twice the share at a time */
	umem_cpu_share_note(&share, 3600 * SECOND, 0);
	assert_in_range(umem_cpu_share_left(&share, 5 * SECOND), 189999999, 190000001);
	for (int i = 0; i < 10000; i++) {
		uint64_t dt = t_below(&rng, 10) * SECOND;

		left = umem_cpu_share_left(&share, dt);
		left = t_below(&rng, 2) ? left : t_below(&rng, left + 1);
		umem_cpu_share_note(&share, dt, left);
		used += left;
		ns += dt;
		assert_true((double)used <= 0.02 * ((double)ns + 60e9) + 1e3);
	}
	/* a look that takes all by itself */
	for (int i = 0; i < 100; i++)
		umem_cpu_share_note(&share, SECOND, SECOND);
	assert_int_equal(umem_cpu_share_left(&share, SECOND), 0);
	umem_cpu_share_note(&share, 61 * SECOND, 0);
	assert_true(umem_cpu_share_left(&share, SECOND) > 0);
}

static void rate_and_floor(void **state)
{
	struct umem_limits_conf conf = { .rate_bytes_s = 10 * MIB };
	struct umem_limits_seen seen = fine;

	assert_int_equal(once(&conf, &fine).allowed_bytes, 50 * MIB);
	conf.floor_bytes = 1000 * MIB;
	assert_int_equal(once(&conf, &fine).allowed_bytes, 24 * MIB);
	assert_string_equal(once(&conf, &fine).reason, "limited: the floor of resident memory");
	for (uint64_t mib = 990; mib <= 1100; mib++) {
		seen.resident_bytes = mib * MIB;
		assert_int_equal(once(&conf, &seen).allowed_bytes,
			mib <= 1000 ? 0 : umem_min_u64((mib - 1000) * MIB, 50 * MIB));
	}
}

static void cpu(void **state)
{
	struct umem_limits_seen seen = fine;
	uint64_t last = UINT64_MAX;

	for (seen.cpu_ppm = 0; seen.cpu_ppm < 30000; seen.cpu_ppm += 250) {
		struct umem_limits_answer a = once(NULL, &seen);

		assert_true(a.allowed_bytes <= last);
		assert_int_equal(a.allowed_bytes == UINT64_MAX, seen.cpu_ppm <= 15000);
		assert_int_equal(a.allowed_bytes == 0, seen.cpu_ppm >= 20000);
		last = a.allowed_bytes;
	}
	seen.cpu_ppm = UINT64_MAX;
	assert_null(once(NULL, &seen).reason);
	/* half way from the knee to the maximum: half of what is there */
	seen.cpu_ppm = 17500;
	assert_int_equal(once(NULL, &seen).allowed_bytes, 512 * MIB);
	assert_string_equal(once(NULL, &seen).reason, "limited: CPU time");
}

static void swap(void **state)
{
	struct umem_limits_seen seen = fine;

	seen.swap_free_bytes = 0;
	assert_int_equal(once(NULL, &seen).allowed_bytes, 0);
	assert_string_equal(once(NULL, &seen).reason, "stopped: no swap is left");
	seen.swap_free_bytes = 65 * MIB;
	assert_int_equal(once(NULL, &seen).allowed_bytes, MIB);
	assert_string_equal(once(NULL, &seen).reason, "limited: little swap is left");
	/* stored above 90% of what was given, once there is enough to tell */
	seen = fine;
	for (uint64_t percent = 0; percent <= 120; percent++) {
		seen.swap_given_bytes = 100 * MIB;
		seen.swap_stored_bytes = percent * MIB;
		assert_int_equal(once(NULL, &seen).allowed_bytes, percent > 90 ? 0 : UINT64_MAX);
		seen.swap_given_bytes = MIB;
		assert_null(once(NULL, &seen).reason);
	}
}

static void stops_last_a_while(void **state)
{
	for (int why = 0; why < 2; why++) {
		struct umem_limits_seen bad = fine;
		struct umem_limits l;
		const char *reason;

		if (why)
			bad.kernel_reclaim = true;
		else
			bad.stalled_ppm = 1001;
		umem_limits_init(&l, NULL);
		assert_int_equal(note(&l, &bad).allowed_bytes, 0);
		reason = note(&l, &bad).reason;
		for (int i = 0; i < 5; i++) {
			assert_int_equal(note(&l, &fine).allowed_bytes, 0);
			assert_ptr_equal(note(&(struct umem_limits){ .conf = l.conf,
				.wait_ns = l.wait_ns, .wait_reason = l.wait_reason }, &fine).reason,
				i < 4 ? reason : NULL);
		}
		assert_null(note(&l, &fine).reason);
	}
}

/* All at once: what allows least is told, and none of the others allows less. */
static void the_strongest_is_told(void **state)
{
	uint64_t rng = t_seed();

	for (int i = 0; i < 20000; i++) {
		struct umem_limits_conf conf = {
			.rate_bytes_s = t_below(&rng, 4) * 50 * MIB,
			.cpu_max_ppm = 20000,
			.floor_bytes = t_below(&rng, 1100) * MIB,
			.swap_min_bytes = t_below(&rng, 100) * MIB,
		};
		struct umem_limits_seen seen = fine;
		struct umem_limits_answer all, a;
		uint64_t least = UINT64_MAX;

		seen.swap_free_bytes = t_below(&rng, 3) ? t_below(&rng, 400) * MIB : UINT64_MAX;
		all = once(&conf, &seen);
		for (int k = 0; k < 3; k++) {
			struct umem_limits_conf one = {
				.rate_bytes_s = k == 0 ? conf.rate_bytes_s : 0,
				.floor_bytes = k == 1 ? conf.floor_bytes : 0,
				.swap_min_bytes = conf.swap_min_bytes,
			};
			struct umem_limits_seen what = k == 2 ? seen : fine;

			a = once(&one, &what);
			least = umem_min_u64(least, a.allowed_bytes);
			if (a.reason && a.allowed_bytes > all.allowed_bytes)
				assert_string_not_equal(a.reason, all.reason);
		}
		assert_int_equal(all.allowed_bytes, least);
	}
}

static void any_numbers(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 1000000, UINT64_MAX };
	const size_t n = UMEM_ARRAY_LEN(numbers);

	for (size_t k = 0; k < n * n * n * n * n; k++) {
		struct umem_limits_conf conf = {
			.rate_bytes_s = numbers[k % n], .cpu_max_ppm = numbers[k / n % n],
			.floor_bytes = numbers[k / n / n % n], .swap_min_bytes = numbers[k % n],
			.stored_max_ppm = numbers[k / n % n], .pressure_max_ppm = numbers[k % n],
			.back_off_ns = numbers[k / n % n],
		};
		struct umem_limits_seen seen = {
			.dt_ns = numbers[k / n / n / n % n],
			.resident_bytes = numbers[k / n / n % n],
			.cpu_ppm = numbers[k / n / n / n / n],
			.swap_free_bytes = numbers[k / n % n],
			.swap_given_bytes = numbers[k % n],
			.swap_stored_bytes = numbers[k / n % n],
			.stalled_ppm = numbers[k / n / n / n / n],
		};

		once(&conf, &seen);
		once(NULL, &seen);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_limits),
		cmocka_unit_test(rate_and_floor),
		cmocka_unit_test(swap_room),
		cmocka_unit_test(cpu_share),
		cmocka_unit_test(cpu),
		cmocka_unit_test(swap),
		cmocka_unit_test(stops_last_a_while),
		cmocka_unit_test(the_strongest_is_told),
		cmocka_unit_test(any_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
