/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A run as a picture: memory, refault rate and decisions over time, as SVG.
 */
#ifndef TESTS_POLICY_SVG_H
#define TESTS_POLICY_SVG_H

#include "tests/policy/run.h"

/** svg_write - write FOLDER/TRACE-POLICY.svg. Ends the test when it cannot. */
void svg_write(const struct run *run, const char *folder);

#endif
