// SPDX-License-Identifier: LGPL-2.1-or-later
/* How far an export or import is. */
#include "lib/store/export.h"

/* Progress is told after at least this much. */
#define TELL_BYTES (4u << 20)

int umem_export_advance(struct umem_export *job, uint64_t bytes)
{
	job->done_bytes += bytes;
	job->total_bytes = umem_max_u64(job->total_bytes, job->done_bytes);
	if (!job->options.progress || (job->done_bytes - job->told_bytes < TELL_BYTES &&
			job->done_bytes < job->total_bytes))
		return 0;
	job->told_bytes = job->done_bytes;
	return job->options.progress(job->options.user, job->done_bytes, job->total_bytes);
}

int umem_import_advance(struct umem_import *job, uint64_t bytes)
{
	job->done_bytes += bytes;
	job->total_bytes = umem_max_u64(job->total_bytes, job->done_bytes);
	if (!job->options.progress || (job->done_bytes - job->told_bytes < TELL_BYTES &&
			job->done_bytes < job->total_bytes))
		return 0;
	job->told_bytes = job->done_bytes;
	return job->options.progress(job->options.user, job->done_bytes, job->total_bytes);
}
