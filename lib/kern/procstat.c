// SPDX-License-Identifier: LGPL-2.1-or-later
/* Small numbers about a process, from /proc/PID/stat and /proc/PID/status. */
#include "lib/kern/procstat.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/cursor.h"
#include "lib/base/fd.h"
#include "lib/base/fields.h"
#include "lib/kern/pidfd.h"

#define STAT_MAX_BYTES   (8u << 10)
/* Its group list may have 65,536 numbers. */
#define STATUS_MAX_BYTES (1u << 20)

#define SEC_NS 1000000000u

static const struct umem_field status_fields[] = {
	{ "VmLck:", offsetof(struct umem_procstat, locked_bytes) },
	{ "VmPin:", offsetof(struct umem_procstat, pinned_bytes) },
	{ "VmSwap:", offsetof(struct umem_procstat, swap_bytes) },
	{ "RssAnon:", offsetof(struct umem_procstat, rss_anon_bytes) },
	{ "RssFile:", offsetof(struct umem_procstat, rss_file_bytes) },
	{ "RssShmem:", offsetof(struct umem_procstat, rss_shmem_bytes) },
};

/* "Uid:" and four numbers: real, effective, saved, of files. */
static bool effective_uid(const char *text, size_t len_bytes, uid_t *ret_uid)
{
	struct umem_cursor c = umem_cursor_init(text, len_bytes), line;
	uint64_t real, effective;

	while (umem_cursor_line(&c, &line)) {
		if (!umem_cursor_str(&line, "Uid:\t"))
			continue;
		if (!umem_cursor_dec(&line, &real) || !umem_cursor_char(&line, '\t') ||
			!umem_cursor_dec(&line, &effective) || effective > UINT32_MAX)
			return false;
		*ret_uid = (uid_t)effective;
		return true;
	}
	return false;
}

static uint64_t ticks_to_ns(uint64_t ticks)
{
	uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK), ns;

	return __builtin_mul_overflow(ticks, SEC_NS / per_second, &ns) ? UINT64_MAX : ns;
}

int umem_procstat_read(int proc_fd, struct umem_procstat *ret_stat)
{
	struct umem_procstat numbers = { 0 };
	UMEM_FREE char *status = NULL;
	UMEM_FREE char *text = NULL;
	struct umem_proc_stat stat;
	size_t len;
	int r = umem_read_file(proc_fd, "stat", STAT_MAX_BYTES, &text, &len);

	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	r = umem_proc_stat_parse(text, len, &stat);
	if (r < 0)
		return r;
	r = umem_read_file(proc_fd, "status", STATUS_MAX_BYTES, &status, &len);
	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	if (!effective_uid(status, len, &numbers.uid))
		return -EBADMSG;
	umem_fields_parse(status, len, status_fields, UMEM_ARRAY_LEN(status_fields), &numbers);
	numbers.min_flt = stat.min_flt;
	numbers.maj_flt = stat.maj_flt;
	numbers.utime_ns = ticks_to_ns(stat.utime_ticks);
	numbers.stime_ns = ticks_to_ns(stat.stime_ticks);
	*ret_stat = numbers;
	return 0;
}
