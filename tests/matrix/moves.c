// SPDX-License-Identifier: LGPL-2.1-or-later
/* Putting pages of a peer out and back, with the checks that hold each time. */
#include "tests/matrix/moves.h"

#include <sys/syscall.h>
#include <unistd.h>

#define TRIES 30

struct umem_target *m_open(pid_t pid)
{
	struct umem_target *target = NULL;
	struct umem_note note = { 0 };
	int r = umem_target_open(pid, NULL, &target, &note);

	T_CHECK(r == 0, "opening %d: %d %s", (int)pid, r, note.text);
	return target;
}

void m_check(const struct umem_pageout *result)
{
	uint64_t sum = result->moved_bytes + result->returned_bytes + m_refused(result, NULL);

	T_CHECK(result->asked_bytes == sum, "asked %llu, but moved %llu, returned %llu, refused "
		"%llu", (unsigned long long)result->asked_bytes,
		(unsigned long long)result->moved_bytes,
		(unsigned long long)result->returned_bytes,
		(unsigned long long)m_refused(result, NULL));
	T_CHECK(result->n_refused <= UMEM_N_REFUSED);
	T_CHECK(result->freed_bytes <= result->moved_bytes);
	T_CHECK(result->freed_known || result->freed_bytes == 0);
}

void m_show(const char *what, const struct umem_pageout *result)
{
	const unsigned long long page = K_PAGE;

	printf("%s: asked %llu, moved %llu, returned %llu, already %llu, freed %lld%s%s\n", what,
		result->asked_bytes / page, result->moved_bytes / page,
		result->returned_bytes / page, result->already_bytes / page,
		result->freed_known ? (long long)(result->freed_bytes / page) : -1,
		result->freed_note ? ": " : "", result->freed_note ? result->freed_note : "");
	for (size_t i = 0; i < result->n_refused; i++)
		printf("  refused %llu: %s\n", result->refused[i].bytes / page,
			result->refused[i].reason);
}

uint64_t m_refused(const struct umem_pageout *result, const char *word)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < result->n_refused; i++)
		if (!word || strstr(result->refused[i].reason, word))
			bytes += result->refused[i].bytes;
	return bytes;
}

static struct umem_pageout move(pid_t pid, const void *at, size_t len,
	const struct umem_pageout_options *given, bool in)
{
	struct umem_range range = { (uintptr_t)at, (uintptr_t)at + len };
	struct umem_pageout_options options = given ? *given : (struct umem_pageout_options){ 0 };
	struct umem_target *target = m_open(pid);
	struct umem_note note = { 0 };
	struct umem_pageout result;
	int r;

	options.size = sizeof(options);
	options.ranges = &range;
	options.n_ranges = 1;
	r = in ? umem_pagein(target, &options, &result, &note) :
		 umem_pageout(target, &options, &result, &note);
	T_CHECK(r == 0, "%s: %d %s", in ? "pagein" : "pageout", r, note.text);
	m_check(&result);
	umem_target_free(target);
	return result;
}

struct umem_pageout m_out(pid_t pid, const void *at, size_t len,
	const struct umem_pageout_options *options)
{
	return move(pid, at, len, options, false);
}

struct umem_pageout m_in(pid_t pid, const void *at, size_t len)
{
	return move(pid, at, len, NULL, true);
}

struct umem_pageout m_out_all(const char *what, pid_t pid, const void *at, size_t len,
	size_t n_pages)
{
	struct umem_pageout first, now;

	first = now = m_out(pid, at, len, NULL);
	m_show(what, &first);
	for (int i = 0; i < TRIES; i++) {
		if (now.moved_bytes + now.already_bytes == n_pages * K_PAGE)
			return first;
		now = m_out(pid, at, len, NULL);
	}
	m_show("... at last", &now);
	T_FAIL("%s: %zu pages should be out", what, n_pages);
}

struct umem_pageout m_in_all(const char *what, pid_t pid, const void *at, size_t len)
{
	struct umem_pageout first, now;

	first = now = m_in(pid, at, len);
	m_show(what, &first);
	for (int i = 0; i < TRIES; i++) {
		if (now.asked_bytes == now.moved_bytes)
			return first;
		now = m_in(pid, at, len);
	}
	m_show("... at last", &now);
	T_FAIL("%s: some pages stay out", what);
}

long m_hash(char *at, size_t len, long unused)
{
	const uint64_t *words = (const uint64_t *)(void *)at;
	uint64_t hash = 14695981039346656037u;

	(void)unused;
	for (size_t i = 0; i < len / sizeof(*words); i++)
		hash = (hash ^ words[i]) * 1099511628211u;
	return (long)hash;
}

long m_lock(char *at, size_t len, long unused)
{
	(void)unused;
	/* Not by the library: sanitizers make that do nothing. */
	return syscall(SYS_mlock, at, len) < 0 ? -errno : 0;
}

long m_unmap(char *at, size_t len, long unused)
{
	(void)unused;
	return munmap(at, len) < 0 ? -errno : 0;
}

long m_protect(char *at, size_t len, long prot)
{
	return mprotect(at, len, (int)prot) < 0 ? -errno : 0;
}
