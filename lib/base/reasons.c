// SPDX-License-Identifier: LGPL-2.1-or-later
/* A list of things that have to be said about ranges. */
#include "lib/base/reasons.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void umem_reasons_clear(struct umem_reasons *list)
{
	for (size_t i = 0; i < list->n; i++)
		free((char *)list->v[i].reason);
	list->n = 0;
}

void umem_reasons_deinit(struct umem_reasons *list)
{
	umem_reasons_clear(list);
	free(list->v);
	*list = (struct umem_reasons){ 0 };
}

static int add(struct umem_reasons *list, uint64_t start, uint64_t end, const char *text)
{
	char *copy;

	for (size_t i = 0; i < list->n; i++) {
		struct umem_reason *old = &list->v[i];

		if (strcmp(old->reason, text) != 0)
			continue;
		if (old->start <= start && old->end >= end)
			return 0;
		if (old->end == start) {
			old->end = end;
			return 0;
		}
	}
	if (list->n == list->room) {
		size_t room = list->room ? list->room * 2 : 8;
		struct umem_reason *v = reallocarray(list->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		list->v = v;
		list->room = room;
	}
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	list->v[list->n++] = (struct umem_reason){ start, end, copy };
	return 0;
}

int umem_reasons_add(struct umem_reasons *list, uint64_t start, uint64_t end,
	const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return add(list, start, end, text);
}

int umem_reasons_append(struct umem_reasons *list, const struct umem_reasons *from)
{
	int r = 0;

	for (size_t i = 0; i < from->n && r == 0; i++)
		r = add(list, from->v[i].start, from->v[i].end, from->v[i].reason);
	return r;
}
