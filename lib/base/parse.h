/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strict parsing of what people type: sizes, times, numbers, address ranges.
 * The whole string must fit; no sign, no blank, no overflow.
 */
#ifndef UMEM_BASE_PARSE_H
#define UMEM_BASE_PARSE_H

#include <stdint.h>

#include <umemd/types.h>

/** umem_parse_u64 - a decimal number. Return: 0, -EINVAL, -ERANGE. */
int umem_parse_u64(const char *text, uint64_t *ret_value);

/** umem_parse_size - bytes, with an optional binary K, M, G or T. Return: 0, -EINVAL, -ERANGE. */
int umem_parse_size(const char *text, uint64_t *ret_bytes);

/**
 * umem_parse_time - a time with its unit: ns, us, ms, s or m; a fraction is
 * allowed ("1.5s"). Return: 0, -EINVAL (also without a unit), -ERANGE.
 */
int umem_parse_time(const char *text, uint64_t *ret_ns);

/**
 * umem_parse_percent - a share like "0.2%" or "0.2", in parts per million (2000);
 * at most four digits after the point. Return: 0, -EINVAL, -ERANGE past 100%.
 */
int umem_parse_percent(const char *text, uint64_t *ret_ppm);

/**
 * umem_parse_range - START-END in hexadecimal, with or without 0x, as in
 * /proc/PID/maps. Return: 0, -EINVAL (also empty or reversed), -ERANGE.
 */
int umem_parse_range(const char *text, struct umem_range *ret_range);

#endif
