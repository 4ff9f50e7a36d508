// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pressure: take a little as long as the kernel reports no stalls. */
#include "lib/policy/pressure.h"

#include "lib/base/attr.h"

void umem_pressure_init(struct umem_pressure *self, const struct umem_pressure_conf *conf)
{
	static const struct umem_pressure_conf defaults = UMEM_PRESSURE_CONF_DEFAULT;

	*self = (struct umem_pressure){ .conf = conf ? *conf : defaults };
	self->ratio_ppm = umem_min_u64(self->conf.ratio_ppm, self->conf.ratio_max_ppm);
}

/* value * part / whole, saturating; @whole > 0. */
static uint64_t portion(uint64_t value, uint64_t part, uint64_t whole)
{
	unsigned __int128 product = (unsigned __int128)value * part / whole;

	return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

/* resident * ratio * (1 - pressure / maximum), for the length of the interval. */
static uint64_t take(const struct umem_pressure *self, uint64_t stalled_ppm,
	uint64_t resident_bytes, uint64_t dt_ns)
{
	const struct umem_pressure_conf *conf = &self->conf;
	uint64_t most = portion(resident_bytes, umem_min_u64(conf->ratio_max_ppm, 1000000),
		1000000);
	uint64_t bytes = portion(resident_bytes, self->ratio_ppm, 1000000);

	bytes = portion(bytes, conf->max_ppm - stalled_ppm, conf->max_ppm);
	bytes = portion(bytes, dt_ns, umem_max_u64(conf->interval_ns, 1));
	return umem_min_u64(bytes, most);
}

void umem_pressure_next(struct umem_pressure *self, uint64_t stalled_ppm,
	uint64_t resident_bytes, uint64_t dt_ns, struct umem_pressure_answer *ret_answer)
{
	const struct umem_pressure_conf *conf = &self->conf;

	if (stalled_ppm >= conf->max_ppm) {
		self->ratio_ppm = umem_min_u64(conf->ratio_ppm, conf->ratio_max_ppm);
		self->wait_ns = conf->back_off_ns;
		*ret_answer = (struct umem_pressure_answer){
			.reason = "backing off: stalls on memory are above the maximum",
		};
		return;
	}
	if (self->wait_ns > dt_ns) {
		self->wait_ns -= dt_ns;
		*ret_answer = (struct umem_pressure_answer){
			.reason = "waiting: stalls on memory were above the maximum",
		};
		return;
	}
	self->wait_ns = 0;
	*ret_answer = (struct umem_pressure_answer){
		.take_bytes = take(self, stalled_ppm, resident_bytes, dt_ns),
		.reason = "taking more: little stalls on memory",
	};
	if (stalled_ppm < conf->max_ppm / 2)
		self->ratio_ppm = umem_min_u64(conf->ratio_max_ppm,
			portion(self->ratio_ppm, conf->grow_ppm, 1000000));
	else
		ret_answer->reason = "taking less: stalls on memory come near the maximum";
}
