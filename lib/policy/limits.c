// SPDX-License-Identifier: LGPL-2.1-or-later
/* Limits: how many bytes may go out now, whatever a policy wants. */
#include "lib/policy/limits.h"

#include "lib/base/attr.h"

/* What is not used of the share is kept for so long, and what was used too much, too. */
#define SHARE_NS 60e9

/* Of the share: what ends a run, and the looks of its last interval, is not foreseen. */
#define SHARE_USED 0.95

/* So many times its share an interval may use. */
#define SHARE_TIMES 2

void umem_cpu_share_note(struct umem_cpu_share *share, uint64_t dt_ns, uint64_t used_ns)
{
	double part = (double)share->max_ppm / 1e6 * SHARE_USED, most = part * SHARE_NS;

	share->left_ns += part * (double)dt_ns - (double)used_ns;
	if (share->left_ns > most)
		share->left_ns = most;
	if (share->left_ns < -most)
		share->left_ns = -most;
}

uint64_t umem_cpu_share_left(const struct umem_cpu_share *share, uint64_t interval_ns)
{
	double own = (double)share->max_ppm / 1e6 * SHARE_USED * (double)interval_ns, left;

	if (!share->max_ppm)
		return UINT64_MAX;
	/* what the interval itself gives may be used before it has passed */
	left = share->left_ns + own;
	if (left > own * SHARE_TIMES)
		left = own * SHARE_TIMES;
	return left > 0 ? (uint64_t)left : 0;
}

void umem_limits_init(struct umem_limits *self, const struct umem_limits_conf *conf)
{
	static const struct umem_limits_conf defaults = UMEM_LIMITS_CONF_DEFAULT;

	*self = (struct umem_limits){ .conf = conf ? *conf : defaults };
}

/* value * part / whole, saturating; @whole > 0. */
static uint64_t portion(uint64_t value, uint64_t part, uint64_t whole)
{
	unsigned __int128 product = (unsigned __int128)value * part / whole;

	return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

/* At most @bytes; the limit that allows least gives the reason, the first of equal ones. */
static void at_most(struct umem_limits_answer *answer, uint64_t bytes, const char *reason)
{
	if (bytes >= answer->allowed_bytes)
		return;
	answer->allowed_bytes = bytes;
	answer->reason = reason;
}

/* What stops everything for a while, and the while after it. */
static void waits(struct umem_limits *self, const struct umem_limits_seen *seen,
	struct umem_limits_answer *answer)
{
	const struct umem_limits_conf *conf = &self->conf;
	const char *now = NULL;

	if (seen->kernel_reclaim)
		now = "stopped: the kernel reclaims memory by itself";
	else if (conf->pressure_max_ppm && seen->stalled_ppm != UINT64_MAX &&
		seen->stalled_ppm > conf->pressure_max_ppm)
		now = "stopped: the target stalls on memory";
	if (now) {
		self->wait_ns = conf->back_off_ns;
		self->wait_reason = now;
		at_most(answer, 0, now);
		return;
	}
	if (self->wait_ns > seen->dt_ns) {
		self->wait_ns -= seen->dt_ns;
		at_most(answer, 0, self->wait_reason);
		return;
	}
	self->wait_ns = 0;
}

static void swap(const struct umem_limits_conf *conf, const struct umem_limits_seen *seen,
	struct umem_limits_answer *answer)
{
	uint64_t given = seen->swap_given_bytes, stored = seen->swap_stored_bytes;

	if (seen->swap_free_bytes != UINT64_MAX)
		at_most(answer, seen->swap_free_bytes > conf->swap_min_bytes ?
			seen->swap_free_bytes - conf->swap_min_bytes : 0,
			seen->swap_free_bytes ? "limited: little swap is left" :
						"stopped: no swap is left");
	if (conf->stored_max_ppm && given && given >= conf->stored_least_bytes &&
		stored > portion(given, conf->stored_max_ppm, 1000000))
		at_most(answer, 0, "stopped: swapped memory does not compress");
}

/* Full until three quarters of the maximum, then less and less, nothing from it on. */
static void cpu(const struct umem_limits_conf *conf, const struct umem_limits_seen *seen,
	struct umem_limits_answer *answer)
{
	uint64_t most = conf->cpu_max_ppm, knee = most - most / 4;

	if (!most || seen->cpu_ppm == UINT64_MAX || seen->cpu_ppm <= knee)
		return;
	if (seen->cpu_ppm >= most)
		at_most(answer, 0, "stopped: CPU time is used up");
	else
		/* of what would be allowed without it, or of what is there */
		at_most(answer, portion(umem_min_u64(answer->allowed_bytes, seen->resident_bytes),
			most - seen->cpu_ppm, most - knee), "limited: CPU time");
}

void umem_limits_note(struct umem_limits *self, const struct umem_limits_seen *seen,
	struct umem_limits_answer *ret_answer)
{
	const struct umem_limits_conf *conf = &self->conf;
	struct umem_limits_answer answer = { .allowed_bytes = UINT64_MAX };

	waits(self, seen, &answer);
	swap(conf, seen, &answer);
	answer.swap_bytes = answer.allowed_bytes;
	if (conf->floor_bytes)
		at_most(&answer, seen->resident_bytes > conf->floor_bytes ?
			seen->resident_bytes - conf->floor_bytes : 0,
			"limited: the floor of resident memory");
	if (conf->rate_bytes_s)
		at_most(&answer, portion(conf->rate_bytes_s, seen->dt_ns, 1000000000),
			"limited: rate");
	cpu(conf, seen, &answer);
	if (answer.allowed_bytes == 0)
		answer.swap_bytes = 0;
	*ret_answer = answer;
}
