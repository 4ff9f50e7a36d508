/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Putting pages of a peer out and back, with the checks that hold each time.
 *
 * Swap belongs to the whole machine: another program may take an area away, and what
 * was out is in again. So "all is out" is what a few calls in a row come to.
 */
#ifndef TESTS_MATRIX_MOVES_H
#define TESTS_MATRIX_MOVES_H

#include <umemd/residency.h>

#include "tests/kernel/peer.h"

/** m_open - a target for looking at @pid. */
struct umem_target *m_open(pid_t pid);

/**
 * m_check - asked = moved + returned + refused, and what is freed is not more than moved.
 */
void m_check(const struct umem_pageout *result);

/** m_show - print what became of it. */
void m_show(const char *what, const struct umem_pageout *result);

/** m_refused - bytes that were refused with @word in the reason; NULL for all. */
uint64_t m_refused(const struct umem_pageout *result, const char *word);

/** m_out - umem_pageout() of [@at, @at + @len). @options: its ranges are not used; or NULL. */
struct umem_pageout m_out(pid_t pid, const void *at, size_t len,
	const struct umem_pageout_options *options);

/** m_in - umem_pagein() of [@at, @at + @len). */
struct umem_pageout m_in(pid_t pid, const void *at, size_t len);

/**
 * m_out_all - m_out() until @n_pages are out of [@at, @at + @len), and stay so; fails if
 * they never are. Return: the first answer.
 */
struct umem_pageout m_out_all(const char *what, pid_t pid, const void *at, size_t len,
	size_t n_pages);

/** m_in_all - m_in() until nothing of [@at, @at + @len) is out. Return: the first answer. */
struct umem_pageout m_in_all(const char *what, pid_t pid, const void *at, size_t len);

/** m_hash - a number of all bytes; an act of a peer. */
long m_hash(char *at, size_t len, long unused);

/** m_lock - mlock(2); an act of a peer. */
long m_lock(char *at, size_t len, long unused);

/** m_unmap - munmap(2); an act of a peer. */
long m_unmap(char *at, size_t len, long unused);

/** m_protect - mprotect(2) with @prot; an act of a peer. */
long m_protect(char *at, size_t len, long prot);

#endif
