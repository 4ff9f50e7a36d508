// SPDX-License-Identifier: LGPL-2.1-or-later
/* Progress of long work, on stderr where that is a terminal. */
#include "daemon/ctl/progress.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/ctl/ctl.h"
#include "lib/base/clock.h"

/* Nothing is shown of what takes no longer than the first; then it is redrawn so often. */
#define FIRST_NS 500000000u
#define EVERY_NS 200000000u

void ctl_progress_begin(struct ctl_progress *progress, const char *verb, bool quiet, int signals)
{
	*progress = (struct ctl_progress){
		.verb = verb,
		.signals = signals,
		.shown = !quiet && isatty(STDERR_FILENO),
		.start_ns = umem_now_ns(),
	};
	progress->drawn_ns = progress->start_ns + FIRST_NS - EVERY_NS;
}

const char *ctl_progress_text(char *buf, size_t size, const char *verb, uint64_t done_bytes,
	uint64_t total_bytes, uint64_t ns)
{
	double seconds = (double)ns / 1e9, rate = (double)done_bytes / (seconds + 1e-9);
	uint64_t rest = total_bytes > done_bytes ? total_bytes - done_bytes : 0;
	char done[16], total[16], per_second[16];

	if (done_bytes == 0)
		snprintf(buf, size, "%s: %s of %s", verb, ctl_size(done, 0),
			ctl_size(total, total_bytes));
	else
		snprintf(buf, size, "%s: %s of %s, %s/s, %.0fs left", verb,
			ctl_size(done, done_bytes), ctl_size(total, total_bytes),
			ctl_size(per_second, (uint64_t)rate), (double)rest / rate);
	return buf;
}

bool ctl_progress_step(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct ctl_progress *progress = user;
	struct pollfd fds[] = {
		{ .fd = progress->signals, .events = POLLIN },
		{ .fd = STDOUT_FILENO }, /* an error: nobody reads any more */
	};
	uint64_t now_ns = umem_now_ns();
	char text[128];

	if (progress->shown && total_bytes && now_ns - progress->drawn_ns >= EVERY_NS &&
		now_ns > progress->drawn_ns) {
		progress->drawn_ns = now_ns;
		progress->drawn = true;
		fprintf(stderr, "\r\033[K%s", ctl_progress_text(text, sizeof(text), progress->verb,
			done_bytes, total_bytes, now_ns - progress->start_ns));
	}
	progress->stopped |= poll(fds, 2, 0) > 0;
	return progress->stopped;
}

void ctl_progress_end(struct ctl_progress *progress)
{
	if (progress->drawn)
		fputs("\r\033[K", stderr);
	progress->drawn = false;
}
