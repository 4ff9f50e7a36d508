/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes and small macros that the whole tree uses.
 */
#ifndef UMEM_BASE_ATTR_H
#define UMEM_BASE_ATTR_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/** UMEM_CLEANUP(f) - call f(&variable) when the variable leaves its scope. */
#define UMEM_CLEANUP(f) __attribute__((cleanup(f)))

/** UMEM_FREE - a heap pointer that is freed when it leaves its scope. */
#define UMEM_FREE UMEM_CLEANUP(umem_freep)

/** UMEM_PRINTF(fmt, args) - let the compiler check a format. */
#define UMEM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/** UMEM_ARRAY_LEN(a) - number of elements of an array. */
#define UMEM_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/** UMEM_TAKE_PTR(p) - hand a pointer over: its value, and NULL left behind. */
#define UMEM_TAKE_PTR(p)                       \
	({                                     \
		__typeof__(p) *umem_p_ = &(p); \
		__typeof__(p) umem_v_ = *umem_p_; \
		*umem_p_ = NULL;               \
		umem_v_;                       \
	})

/** UMEM_DEFINE_CLEANUP(type, f) - make f##p(type **) of a type *f(type *). */
#define UMEM_DEFINE_CLEANUP(type, f)         \
	static inline void f##p(type **p)    \
	{                                    \
		if (*p)                      \
			f(*p);               \
	}

static inline void umem_freep(void *p)
{
	free(*(void **)p);
}

static inline uint64_t umem_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t umem_max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/** umem_align_down - @value rounded down to a multiple of @to, a power of two. */
static inline uint64_t umem_align_down(uint64_t value, uint64_t to)
{
	return value & ~(to - 1);
}

/** umem_align_up - @value rounded up to a multiple of @to, a power of two. */
static inline uint64_t umem_align_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) & ~(to - 1);
}

#endif
