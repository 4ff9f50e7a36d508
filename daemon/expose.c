// SPDX-License-Identifier: LGPL-2.1-or-later
/* Metrics as text: OpenMetrics 1.0, and the older form of Prometheus. */
#include "daemon/expose.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const types[] = { "counter", "gauge", "histogram" };

void expose_begin(struct expose *x, bool open)
{
	*x = (struct expose){ .open = open };
	x->out = open_memstream(&x->text, &x->len_bytes);
}

void expose_family(struct expose *x, enum expose_type type, const char *name, const char *unit,
	const char *help)
{
	/* In the older form a family has the name of its samples. */
	const char *end = type == EXPOSE_COUNTER && !x->open ? "_total" : "";

	snprintf(x->name, sizeof(x->name), "%s", name);
	x->type = type;
	if (!x->out)
		return;
	fprintf(x->out, "# TYPE %s%s %s\n", name, end, types[type]);
	if (unit && x->open)
		fprintf(x->out, "# UNIT %s %s\n", name, unit);
	fprintf(x->out, "# HELP %s%s %s\n", name, end, help);
}

/* Length of the character at @s in UTF-8; 0 if it is none, or a control. */
static size_t letter(const unsigned char *s)
{
	static const struct {
		size_t len;
		unsigned char from, to; /* of the first byte */
		unsigned char low, high; /* of the second */
	} rows[] = {
		{ 1, 0x20, 0x7e, 0, 0 },
		{ 2, 0xc3, 0xdf, 0x80, 0xbf },
		{ 2, 0xc2, 0xc2, 0xa0, 0xbf },
		{ 3, 0xe0, 0xe0, 0xa0, 0xbf },
		{ 3, 0xed, 0xed, 0x80, 0x9f },
		{ 3, 0xe1, 0xef, 0x80, 0xbf },
		{ 4, 0xf0, 0xf0, 0x90, 0xbf },
		{ 4, 0xf4, 0xf4, 0x80, 0x8f },
		{ 4, 0xf1, 0xf3, 0x80, 0xbf },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (s[0] < rows[i].from || s[0] > rows[i].to)
			continue;
		if (rows[i].len > 1 && (s[1] < rows[i].low || s[1] > rows[i].high))
			return 0;
		for (size_t k = 2; k < rows[i].len; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return rows[i].len;
	}
	return 0;
}

/* What a label may not hold as it is, and what nobody wants on a terminal. */
static void print_escaped(FILE *out, const char *text)
{
	while (*text) {
		size_t len = letter((const unsigned char *)text);

		if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '\\' || *text == '"')
			fprintf(out, "\\%c", *text);
		else if (len == 0)
			putc('?', out);
		else
			fwrite(text, 1, len, out);
		text += len ? len : 1;
	}
}

static void open_sample(struct expose *x, const char *end)
{
	fprintf(x->out, "%s%s", x->name, end);
}

void expose_label(struct expose *x, const char *name, const char *value)
{
	if (!x->out)
		return;
	if (x->n_labels == 0)
		open_sample(x, x->type == EXPOSE_COUNTER ? "_total" : "");
	fprintf(x->out, "%c%s=\"", x->n_labels++ ? ',' : '{', name);
	print_escaped(x->out, value);
	putc('"', x->out);
}

void expose_label_u64(struct expose *x, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	expose_label(x, name, text);
}

/* The name and labels of the sample are complete. Return: false when there is no text. */
static bool close_labels(struct expose *x)
{
	if (!x->out)
		return false;
	if (x->n_labels == 0)
		open_sample(x, x->type == EXPOSE_COUNTER ? "_total" : "");
	else
		putc('}', x->out);
	x->n_labels = 0;
	return true;
}

void expose_u64(struct expose *x, uint64_t value)
{
	if (close_labels(x))
		fprintf(x->out, " %llu\n", (unsigned long long)value);
}

static void print_seconds(FILE *out, uint64_t ns)
{
	fprintf(out, "%llu.%09llu", (unsigned long long)(ns / 1000000000u),
		(unsigned long long)(ns % 1000000000u));
}

void expose_seconds(struct expose *x, uint64_t ns)
{
	if (!close_labels(x))
		return;
	putc(' ', x->out);
	print_seconds(x->out, ns);
	putc('\n', x->out);
}

void expose_double(struct expose *x, double value)
{
	if (close_labels(x))
		fprintf(x->out, " %.17g\n", value);
}

void expose_histogram(struct expose *x, const uint64_t *bounds_ns, const uint64_t *counts,
	size_t n, uint64_t sum_ns)
{
	uint64_t below = 0;

	if (!x->out)
		return;
	for (size_t i = 0; i <= n; i++) {
		below += counts[i];
		open_sample(x, "_bucket{le=\"");
		if (i == n)
			fputs("+Inf", x->out);
		else
			fprintf(x->out, bounds_ns[i] % 1000000000u ? "%g" : "%.1f",
				(double)bounds_ns[i] / 1e9);
		fprintf(x->out, "\"} %llu\n", (unsigned long long)below);
	}
	open_sample(x, "_sum ");
	print_seconds(x->out, sum_ns);
	putc('\n', x->out);
	open_sample(x, "_count ");
	fprintf(x->out, "%llu\n", (unsigned long long)below);
}

int expose_end(struct expose *x, char **ret_text, size_t *ret_len_bytes)
{
	bool whole = x->out && (!x->open || fputs("# EOF\n", x->out) != EOF);

	if (x->out && fclose(x->out) != 0)
		whole = false;
	x->out = NULL;
	if (!whole) {
		free(x->text);
		return -ENOMEM;
	}
	*ret_text = x->text;
	*ret_len_bytes = x->len_bytes;
	return 0;
}
