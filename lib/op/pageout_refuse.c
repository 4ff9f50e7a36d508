// SPDX-License-Identifier: LGPL-2.1-or-later
/* Why pages do not go out: what is told to people. */
#include "lib/op/pageout_job.h"

static const char *const texts[UMEM_N_REFUSALS] = {
	[UMEM_REFUSAL_FILE] =
		"pages of a file: the kernel drops them when it needs memory; they take no swap",
	[UMEM_REFUSAL_HUGE] = "huge pages of the reserved pool, which are never swapped",
	[UMEM_REFUSAL_PINNED] = "pinned by the program for I/O without page faults",
	[UMEM_REFUSAL_LOCKED] = "locked in memory (mlock), or mapped by a driver",
	[UMEM_REFUSAL_MERGED] = "merged with equal pages (KSM)",
	[UMEM_REFUSAL_FORKED] = "shared with a process it was forked from, or a child",
	[UMEM_REFUSAL_SHARED] = "mapped more than once; the kernel moves only what one mapping has",
	[UMEM_REFUSAL_READ_ONLY] =
		"shared memory that this process may not write, of which the kernel moves nothing",
	[UMEM_REFUSAL_FULL] = "swap is full",
	[UMEM_REFUSAL_UNSEEN] =
		"the memory behind the mapping may not be looked at (needs "
		"CAP_CHECKPOINT_RESTORE): it is not known what became of its pages",
	[UMEM_REFUSAL_MAYBE_PINNED] =
		"the kernel kept them; pinned, maybe: somebody has memory of this process pinned",
	[UMEM_REFUSAL_BUSY] = "the kernel kept them: they were in use at the moment",
	[UMEM_REFUSAL_GONE] =
		"not there any more: unmapped or discarded by the program, or given free before",
};

const char *umem_refusal_text(enum umem_refusal refusal)
{
	return texts[refusal];
}
