/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The entry point that every fuzz target defines; the name is libFuzzer's. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/** LLVMFuzzerTestOneInput - parse @data and check what must hold. Return: 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

/** FUZZ_CHECK - an invariant: abort when it does not hold. */
#define FUZZ_CHECK(cond)                   \
	do {                               \
		if (!(cond))               \
			__builtin_trap();  \
	} while (0)

#endif
