// SPDX-License-Identifier: LGPL-2.1-or-later
/* How much memory a process has, by /proc/PID/status. */
#include "daemon/usage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"

#define STATUS_MAX_BYTES (64u << 10)

/* The number of a line of @text, in bytes. Return: false for none. */
static bool line(const char *text, const char *key, uint64_t *ret_bytes)
{
	const char *at = strstr(text, key);
	unsigned long long kib;
	char *end;

	if (!at)
		return false;
	at += strlen(key);
	errno = 0;
	kib = strtoull(at, &end, 10);
	if (errno || end == at || strncmp(end, " kB", 3) != 0 || kib > UINT64_MAX / 1024)
		return false;
	*ret_bytes = kib * 1024;
	return true;
}

void usage_parse(const char *text, struct usage *usage)
{
	/* The name before them is escaped by the kernel: it has no line of its own. */
	usage->known = line(text, "\nVmRSS:\t", &usage->resident_bytes) &&
		line(text, "\nVmSwap:\t", &usage->swapped_bytes);
}

void usage_read(int dir_fd, struct usage *usage)
{
	UMEM_FREE char *text = NULL;
	uint64_t now_ns = umem_now_ns();

	if (usage->read_ns && now_ns - usage->read_ns < USAGE_OLD_NS)
		return;
	usage->read_ns = now_ns;
	usage->known = false;
	if (dir_fd >= 0 &&
		umem_read_file(dir_fd, "status", STATUS_MAX_BYTES, &text, NULL) == 0)
		usage_parse(text, usage);
}
