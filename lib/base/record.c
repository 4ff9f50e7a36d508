// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A record in a file that somebody else holds, too.
 *
 * Theory of operation
 *
 *     [ head: magic, counter, length ] [ slot 0 ... ] [ slot 1 ... ]
 *
 * A record goes to the slot that the head does not name; then the head is
 * written, in one piece that a signal cannot cut, and names it. Whenever the writer
 * dies, the head names a slot that is whole. A slot grows as needed; a sparse file costs
 * what is written.
 */
#include "lib/base/record.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/attr.h"

#define MAGIC      0x31304352454d5521ull
#define HEAD_BYTES 4096

/* The head; @counter is even for slot 0 and odd for slot 1. */
struct head {
	uint64_t magic;
	uint64_t counter;
	uint64_t len_bytes;
};

static off_t slot_at(uint64_t counter)
{
	return HEAD_BYTES + (off_t)((counter & 1) * UMEM_RECORD_MAX);
}

static int write_at(int fd, const void *data, size_t len_bytes, off_t at)
{
	const char *from = data;

	while (len_bytes) {
		ssize_t n = pwrite(fd, from, len_bytes, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		at += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

static int read_head(int fd, struct head *ret_head)
{
	ssize_t n = pread(fd, ret_head, sizeof(*ret_head), 0);

	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(*ret_head) || ret_head->magic == 0)
		return -ENODATA;
	return ret_head->magic == MAGIC ? 0 : -EBADMSG;
}

int umem_record_write(int fd, const struct iovec *parts, size_t n_parts)
{
	struct head head;
	int r = read_head(fd, &head);
	off_t at;

	if (r == -ENODATA)
		head.counter = 1;
	else if (r < 0)
		return r;
	head = (struct head){ MAGIC, head.counter + 1, 0 };
	at = slot_at(head.counter);
	for (size_t i = 0; i < n_parts; i++) {
		if (parts[i].iov_len > UMEM_RECORD_MAX - head.len_bytes)
			return -EFBIG;
		r = write_at(fd, parts[i].iov_base, parts[i].iov_len, at + (off_t)head.len_bytes);
		if (r < 0)
			return r;
		head.len_bytes += parts[i].iov_len;
	}
	return write_at(fd, &head, sizeof(head), 0);
}

int umem_record_read(int fd, uint64_t max_bytes, void **ret_bytes, size_t *ret_len_bytes)
{
	UMEM_FREE char *bytes = NULL;
	struct head head;
	size_t got = 0;
	int r = read_head(fd, &head);

	if (r < 0)
		return r;
	if (head.len_bytes > UMEM_RECORD_MAX)
		return -EBADMSG;
	if (head.len_bytes > max_bytes)
		return -EFBIG;
	bytes = malloc(head.len_bytes + 1);
	if (!bytes)
		return -ENOMEM;
	while (got < head.len_bytes) {
		ssize_t n = pread(fd, bytes + got, head.len_bytes - got,
			slot_at(head.counter) + (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		got += (size_t)n;
	}
	bytes[got] = '\0';
	*ret_len_bytes = got;
	*ret_bytes = UMEM_TAKE_PTR(bytes);
	return 0;
}
