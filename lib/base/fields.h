/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text of the form "KEY NUMBER", a line each, as /proc and cgroups have it:
 *
 *     pswpin 1234              (vmstat, memory.stat)
 *     MemTotal:   5678 kB      (meminfo, status; 1 kB = 1024 bytes)
 *
 * A table says which keys go where; other lines are passed over.
 */
#ifndef UMEM_BASE_FIELDS_H
#define UMEM_BASE_FIELDS_H

#include <stddef.h>
#include <stdint.h>

/**
 * struct umem_field - one line that is wanted.
 * @key: the whole first word, a colon included.
 * @offset: of a uint64_t in the structure that is filled.
 */
struct umem_field {
	const char *key;
	size_t offset;
};

/**
 * umem_fields_parse - fill a structure from text.
 * @fields, @n_fields: what is wanted, at most 32.
 * @ret_struct: gets the numbers, those in kB as bytes. What the text has not
 *              stays as it is.
 *
 * A line whose number is missing, past 64 bits or followed by more than a unit is
 * no such line. When a key comes twice, the first one counts.
 *
 * Return: a bit for each field that was found, bit 0 for the first.
 */
uint32_t umem_fields_parse(const char *text, size_t len_bytes, const struct umem_field *fields,
	size_t n_fields, void *ret_struct);

#endif
