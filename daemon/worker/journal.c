// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a worker leaves to its successor: a record (lib/base/record.h) of three
 * numbers, then the ranges that were watched and those that held something.
 */
#include "daemon/worker/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/attr.h"
#include "lib/base/record.h"

/* More than any process has mappings. */
#define MAX_RANGES (8u << 20)

/* What the record begins with. */
struct head {
	uint64_t round;
	uint64_t n_watched;
	uint64_t n_held;
};

void journal_left_deinit(struct journal_left *left)
{
	umem_ranges_deinit(&left->watched);
	umem_ranges_deinit(&left->held);
	*left = (struct journal_left){ 0 };
}

int journal_write(int fd, const struct umem_watch_left *left)
{
	struct head head = { left->round, left->n_watched, left->n_held };
	const struct iovec parts[] = {
		{ &head, sizeof(head) },
		{ (void *)left->watched, left->n_watched * sizeof(*left->watched) },
		{ (void *)left->held, left->n_held * sizeof(*left->held) },
	};

	if (left->n_watched > MAX_RANGES || left->n_held > MAX_RANGES)
		return -EFBIG;
	return umem_record_write(fd, parts, UMEM_ARRAY_LEN(parts));
}

/* @n ranges at @from, which must be ascending and not empty. */
static int read_ranges(const char *from, uint64_t n, struct umem_ranges *ret_set)
{
	uint64_t last = 0;
	int r = 0;

	for (uint64_t i = 0; i < n && r == 0; i++) {
		struct umem_range range;

		memcpy(&range, from + i * sizeof(range), sizeof(range));
		if (range.start < last || range.end <= range.start)
			return -EBADMSG;
		last = range.end;
		r = umem_ranges_add(ret_set, range.start, range.end);
	}
	return r;
}

int journal_read(int fd, struct journal_left *ret_left)
{
	const uint64_t max_bytes = sizeof(struct head) + 2 * (uint64_t)MAX_RANGES *
		sizeof(struct umem_range);
	UMEM_CLEANUP(journal_left_deinit) struct journal_left found = { 0 };
	UMEM_FREE void *bytes = NULL;
	struct head head;
	const char *at;
	size_t len;
	int r = umem_record_read(fd, max_bytes, &bytes, &len);

	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	if (len < sizeof(head))
		return -EBADMSG;
	memcpy(&head, bytes, sizeof(head));
	at = (const char *)bytes + sizeof(head);
	if (head.n_watched > MAX_RANGES || head.n_held > MAX_RANGES ||
		len != sizeof(head) + (head.n_watched + head.n_held) * sizeof(struct umem_range))
		return -EBADMSG;
	r = read_ranges(at, head.n_watched, &found.watched);
	if (r == 0)
		r = read_ranges(at + head.n_watched * sizeof(struct umem_range), head.n_held,
			&found.held);
	if (r < 0)
		return r;
	*ret_left = found;
	ret_left->left = (struct umem_watch_left){
		.round = head.round,
		.watched = ret_left->watched.v,
		.n_watched = ret_left->watched.n,
		.held = ret_left->held.v,
		.n_held = ret_left->held.n,
	};
	found = (struct journal_left){ 0 };
	return 0;
}
