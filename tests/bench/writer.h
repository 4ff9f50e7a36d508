/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that writes to a part of its memory in a loop, and notices when it is held up.
 *
 * It is asked and told by process_vm_readv(2) and process_vm_writev(2): nothing of it is
 * shared, so that it is like any other program to whoever looks at it.
 */
#ifndef TESTS_BENCH_WRITER_H
#define TESTS_BENCH_WRITER_H

#include <stdint.h>
#include <sys/types.h>

/**
 * struct b_writer - one that runs.
 * @at, @bytes: its memory: private, 4K pages, content that does not compress.
 * @hot_bytes: of it are written, a word in each page, over and over.
 */
struct b_writer {
	pid_t pid;
	uint64_t at;
	uint64_t bytes;
	uint64_t hot_bytes;
};

/** struct b_writer_seen - what it saw. @longest_ns: between two of its looks at the clock. */
struct b_writer_seen {
	uint64_t longest_ns;
	uint64_t n_pages;
};

/** b_writer_start - start one; returns when its memory is filled. @hot_bytes 0: it rests. */
void b_writer_start(struct b_writer *w, uint64_t bytes, uint64_t hot_bytes);

/** b_writer_reset - forget what it saw so far. */
void b_writer_reset(struct b_writer *w);

/** b_writer_look - what it saw since. */
void b_writer_look(struct b_writer *w, struct b_writer_seen *ret_seen);

/** b_writer_fork - have it fork a child that ends. Return: how long fork(2) took. */
uint64_t b_writer_fork(struct b_writer *w);

/**
 * b_writer_fork_tables - have it fork a child, for a moment.
 * Return: kB of page tables of the child.
 */
uint64_t b_writer_fork_tables(struct b_writer *w);

/** b_writer_change - have it write new content to @percent of its pages, evenly spread. */
void b_writer_change(struct b_writer *w, uint64_t percent);

/** b_writer_end - end it. */
void b_writer_end(struct b_writer *w);

/** b_tables_kb - page tables of a process, in kB; 0 where there is none. */
uint64_t b_tables_kb(pid_t pid);

#endif
