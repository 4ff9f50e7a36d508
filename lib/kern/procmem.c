// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Bytes of another process: process_vm_readv(2), else /proc/PID/mem.
 *
 * Theory of operation
 *
 * A position walks through the runs; the buffer has no gaps, so one local
 * vector serves up to IOV_MAX remote ones. Both interfaces stop at the first
 * page that they cannot read and say how far they came (process_vm_readv(2) by
 * whole pages within a vector, whatever the man page says of elements):
 *
 *     READV    as much as it gets ----> nothing more: next interface
 *     MEM      as much as it gets of this page ----> nothing: a hole
 *     hole     zeros, the page's address is noted, on to the next page
 *
 * MEM also reads what the target itself may not (PROT_NONE, write-only: the
 * kernel forces the access for a tracer), so AUTO tries it before it calls a
 * page a hole. A hole costs two system calls a page; callers ask for what the
 * list of mappings has.
 *
 * AUTO falls back to MEM for good when process_vm_readv(2) is not there or
 * forbidden (a seccomp filter, ENOSYS or EPERM) and there is a descriptor.
 */
#include "lib/kern/procmem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/attr.h"

#define CALL_MAX_BYTES (1u << 30)

struct position {
	const struct umem_range *run;
	const struct umem_range *end;
	uint64_t at; /* within *run */
	uint8_t *to;
};

int umem_procmem_open(int pid, int *ret_fd)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static bool at_end(const struct position *p)
{
	return p->run == p->end;
}

/* To the first run from here that is not empty. */
static void settle(struct position *p)
{
	while (!at_end(p) && p->at >= p->run->end) {
		p->run++;
		if (!at_end(p))
			p->at = p->run->start;
	}
}

static void advance(struct position *p, uint64_t n_bytes)
{
	p->to += n_bytes;
	while (n_bytes > 0) {
		uint64_t step = umem_min_u64(n_bytes, p->run->end - p->at);

		p->at += step;
		n_bytes -= step;
		settle(p);
	}
}

/* The bytes from here to the end of the page or of the run. */
static uint64_t rest_of_page(const struct position *p)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	return umem_min_u64(p->run->end - p->at, page - (p->at & (page - 1)));
}

/* Return: 0 and how much was read, maybe nothing; or -errno. */
static int read_readv(int pid, struct position *p, uint64_t *ret_bytes)
{
	struct iovec remote[IOV_MAX], local = { .iov_base = p->to };
	struct position next = *p;
	size_t n = 0;
	ssize_t got;

	while (!at_end(&next) && n < IOV_MAX && local.iov_len < CALL_MAX_BYTES) {
		uint64_t len = umem_min_u64(next.run->end - next.at,
			CALL_MAX_BYTES - local.iov_len);

		remote[n++] = (struct iovec){ (void *)(uintptr_t)next.at, len };
		local.iov_len += len;
		next.at += len;
		settle(&next);
	}
	got = process_vm_readv(pid, &local, 1, remote, n, 0);
	if (got < 0 && errno != EFAULT && errno != EINTR)
		return -errno;
	*ret_bytes = got < 0 ? 0 : (uint64_t)got;
	return 0;
}

static int read_mem(int fd, const struct position *p, uint64_t len, uint64_t *ret_bytes)
{
	ssize_t got;

	/* The file's offsets are signed; the kernel takes them for addresses. */
	do
		got = pread(fd, p->to, len, (off_t)p->at);
	while (got < 0 && errno == EINTR);
	/* An address that is no offset is none of the target's. */
	if (got < 0 && errno != EIO && errno != EFAULT && errno != EINVAL && errno != EOVERFLOW)
		return -errno;
	if (got == 0)
		return -ESRCH;
	*ret_bytes = got < 0 ? 0 : (uint64_t)got;
	return 0;
}

/* Read some bytes at *@p, by what @method allows; 0 bytes is a hole. */
static int read_some(int pid, int mem_fd, enum umem_procmem_method *method,
	struct position *p, uint64_t *ret_bytes)
{
	uint64_t n = 0;
	int r;

	if (*method != UMEM_PROCMEM_MEM) {
		r = read_readv(pid, p, &n);
		if ((r == -ENOSYS || r == -EPERM) && *method == UMEM_PROCMEM_AUTO && mem_fd >= 0)
			*method = UMEM_PROCMEM_MEM;
		else if (r < 0)
			return r;
	}
	if (n == 0 && *method != UMEM_PROCMEM_READV && mem_fd >= 0) {
		bool only = *method == UMEM_PROCMEM_MEM;
		uint64_t len = only ? umem_min_u64(p->run->end - p->at, CALL_MAX_BYTES) :
				      rest_of_page(p);

		r = read_mem(mem_fd, p, len, &n);
		if (r < 0)
			return r;
	}
	*ret_bytes = n;
	return 0;
}

int umem_procmem_read(int pid, int mem_fd, enum umem_procmem_method method,
	const struct umem_range *runs, size_t n_runs, void *buf, struct umem_ranges *holes)
{
	struct position p = { .run = runs, .end = runs + n_runs, .to = buf };

	if (method == UMEM_PROCMEM_MEM && mem_fd < 0)
		return -EBADF;
	if (n_runs > 0)
		p.at = runs->start;
	settle(&p);
	while (!at_end(&p)) {
		uint64_t n = 0;
		int r = read_some(pid, mem_fd, &method, &p, &n);

		if (r < 0)
			return r;
		if (n == 0) {
			n = rest_of_page(&p);
			r = umem_ranges_add(holes, p.at, p.at + n);
			if (r < 0)
				return r;
			memset(p.to, 0, n);
		}
		advance(&p, n);
	}
	return 0;
}
