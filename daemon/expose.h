/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metrics as text, in the two forms that are read: OpenMetrics 1.0, and the older one of
 * Prometheus (0.0.4), which calls counters by their samples' name and has no units.
 *
 * A family is begun, then its samples follow; labels are put before their sample.
 * Nothing fails visibly: without memory, expose_end() has no text.
 */
#ifndef DAEMON_EXPOSE_H
#define DAEMON_EXPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** EXPOSE_NAME - room for a name of a family. */
#define EXPOSE_NAME 64

/** EXPOSE_OPEN, EXPOSE_PLAIN - types of content, as HTTP calls the two forms. */
#define EXPOSE_OPEN  "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define EXPOSE_PLAIN "text/plain; version=0.0.4; charset=utf-8"

/** enum expose_type - what a family is. */
enum expose_type { EXPOSE_COUNTER, EXPOSE_GAUGE, EXPOSE_HISTOGRAM };

/**
 * struct expose - a text in the making.
 * @out: where it goes; NULL without memory.
 * @open: as OpenMetrics.
 * @name, @type: of the family.
 * @n_labels: of the sample that comes.
 * @text, @len_bytes: for expose_end().
 */
struct expose {
	FILE *out;
	bool open;
	char name[EXPOSE_NAME];
	enum expose_type type;
	unsigned n_labels;
	char *text;
	size_t len_bytes;
};

/** expose_begin - an empty text. */
void expose_begin(struct expose *ret_expose, bool open);

/**
 * expose_family - the samples of a family follow.
 * @name: without "_total"; ends in "_" and the unit, where it has one.
 * @unit: "seconds", "bytes", or NULL.
 * @help: a sentence.
 */
void expose_family(struct expose *expose, enum expose_type type, const char *name,
	const char *unit, const char *help);

/** expose_label - a label of the next sample; @value may be of anybody's choice. */
void expose_label(struct expose *expose, const char *name, const char *value);

/** expose_label_u64 - the same with a number. */
void expose_label_u64(struct expose *expose, const char *name, uint64_t value);

/** expose_u64, expose_seconds, expose_double - a sample. */
void expose_u64(struct expose *expose, uint64_t value);
void expose_seconds(struct expose *expose, uint64_t ns);
void expose_double(struct expose *expose, double value);

/**
 * expose_histogram - the samples of one, without labels.
 * @bounds_ns, @n: upper bounds; @counts has one more, for what is beyond.
 */
void expose_histogram(struct expose *expose, const uint64_t *bounds_ns, const uint64_t *counts,
	size_t n, uint64_t sum_ns);

/**
 * expose_end - the text; the caller frees.
 * Return: 0 or -ENOMEM.
 */
int expose_end(struct expose *expose, char **ret_text, size_t *ret_len_bytes);

#endif
