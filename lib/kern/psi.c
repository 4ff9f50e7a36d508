// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pressure stall information of memory: how long tasks stood still for it. */
#include "lib/kern/psi.h"

#include <errno.h>
#include <stdbool.h>

#include "lib/base/attr.h"
#include "lib/base/cursor.h"
#include "lib/base/fd.h"

/* Two lines of some 60 bytes. */
#define PSI_MAX_BYTES 4096

/* "12.34" in hundredths; the kernel writes two digits behind the point, and at most 100. */
static bool hundredths(struct umem_cursor c, uint32_t *ret_value)
{
	uint64_t whole, fraction;
	const char *digits;

	if (!umem_cursor_dec(&c, &whole) || whole > 100 || !umem_cursor_char(&c, '.'))
		return false;
	digits = c.at;
	if (!umem_cursor_dec(&c, &fraction) || c.at - digits != 2 || umem_cursor_left(&c))
		return false;
	*ret_value = (uint32_t)(whole * 100 + fraction);
	return whole < 100 || fraction == 0;
}

/* The KEY=VALUE words behind "some" or "full"; keys that are not known are passed over. */
static bool parse_line(struct umem_cursor line, struct umem_psi_line *ret_line)
{
	struct umem_psi_line psi = { 0 };
	bool avg = false, total = false;
	struct umem_cursor word;

	for (;;) {
		umem_cursor_spaces(&line);
		if (!umem_cursor_word(&line, &word))
			break;
		if (umem_cursor_str(&word, "avg10=")) {
			if (avg || !hundredths(word, &psi.avg10))
				return false;
			avg = true;
		} else if (umem_cursor_str(&word, "total=")) {
			if (total || !umem_cursor_dec(&word, &psi.total_us) ||
				umem_cursor_left(&word))
				return false;
			total = true;
		}
	}
	if (!avg || !total)
		return false;
	*ret_line = psi;
	return true;
}

int umem_psi_parse(const char *text, size_t len_bytes, struct umem_psi *ret_psi)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	bool some = false, full = false;
	struct umem_psi psi;

	while (umem_cursor_line(&c, &line)) {
		if (umem_cursor_str(&line, "some ")) {
			if (some || !parse_line(line, &psi.some))
				return -EBADMSG;
			some = true;
		} else if (umem_cursor_str(&line, "full ")) {
			if (full || !parse_line(line, &psi.full))
				return -EBADMSG;
			full = true;
		}
	}
	if (!some || !full)
		return -EBADMSG;
	*ret_psi = psi;
	return 0;
}

int umem_psi_read(int dirfd, const char *name, struct umem_psi *ret_psi)
{
	UMEM_FREE char *text = NULL;
	size_t len;
	int r = umem_read_file(dirfd, name, PSI_MAX_BYTES, &text, &len);

	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	return umem_psi_parse(text, len, ret_psi);
}

static uint32_t share_ppm(uint64_t before_us, uint64_t now_us, uint64_t interval_ns)
{
	uint64_t stalled_ns;

	if (now_us <= before_us || interval_ns == 0)
		return 0;
	/* More than the interval is the kernel's lag in adding up, or a hostile number. */
	if (__builtin_mul_overflow(now_us - before_us, 1000u, &stalled_ns) ||
		stalled_ns >= interval_ns)
		return 1000000;
	return (uint32_t)((__uint128_t)stalled_ns * 1000000u / interval_ns);
}

struct umem_psi_share umem_psi_share(const struct umem_psi *before, const struct umem_psi *now,
	uint64_t interval_ns)
{
	return (struct umem_psi_share){
		.some_ppm = share_ppm(before->some.total_us, now->some.total_us, interval_ns),
		.full_ppm = share_ppm(before->full.total_us, now->full.total_us, interval_ns),
	};
}
