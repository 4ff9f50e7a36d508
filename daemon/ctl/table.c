// SPDX-License-Identifier: LGPL-2.1-or-later
/* Headlines, footnotes and sums of tables of mappings. */
#include "daemon/ctl/table.h"

#include <inttypes.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

size_t ctl_footnotes_add(struct ctl_footnotes *notes, const char *reason, uint64_t bytes)
{
	size_t i = 0;

	while (i < notes->n && strcmp(notes->v[i].reason, reason) != 0)
		i++;
	if (i == CTL_MAX_FOOTNOTES)
		return i;
	if (i == notes->n)
		notes->v[notes->n++].reason = reason;
	notes->v[i].bytes += bytes;
	notes->v[i].regions++;
	return i + 1;
}

void ctl_footnotes_print(const struct ctl_footnotes *notes, const char *title, char mark)
{
	char text[16], line[512];

	for (size_t i = 0; i < notes->n; i++) {
		snprintf(line, sizeof(line), "%s, %" PRIu64 " region%s, %s: %s", title,
			notes->v[i].regions, notes->v[i].regions == 1 ? "" : "s",
			ctl_size(text, notes->v[i].bytes), notes->v[i].reason);
		ctl_wrap(line, mark ? printf("  %c   ", mark) : printf("  [%zu] ", i + 1), 6);
	}
}

bool ctl_headline_same(const struct ctl_headline *a, const struct ctl_headline *b)
{
	return a->page_size_bytes == b->page_size_bytes && strcmp(a->kind, b->kind) == 0 &&
		strcmp(a->path, b->path) == 0;
}

void ctl_headline_print(const struct ctl_headline *headline)
{
	char size[16], name[4200];
	int width = ctl_width(), column = printf("%s", headline->kind);

	if (headline->page_size_bytes > UMEM_PAGE_BYTES)
		column += printf(", pages of %s", ctl_size(size, headline->page_size_bytes));
	if (headline->path[0])
		printf(" %s", ctl_clean(name, sizeof(name), headline->path,
				      width ? width - column - 1 : 0));
	putchar('\n');
}

size_t ctl_sums_add(struct ctl_sums *sums, const struct umem_residency_region *in)
{
	sums->regions++;
	for (size_t i = 0; i < UMEM_N_STATES; i++)
		sums->bytes[i] += in->bytes[i];
	if (in->io_known)
		sums->io_bytes += in->io_bytes;
	else
		sums->io_unknown = true;
	if (in->exact)
		return 0;
	return ctl_footnotes_add(&sums->inexact, in->reason, in->end - in->start);
}

uint64_t ctl_sums_total(const struct ctl_sums *sums)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < UMEM_N_STATES; i++)
		bytes += sums->bytes[i];
	return bytes;
}

void ctl_json_known(struct umem_json *object, const char *key, bool known, uint64_t value)
{
	if (known)
		umem_json_set_u64(object, key, value);
	else
		umem_json_set_null(object, key);
}

void ctl_json_states(struct umem_json *object, const uint64_t *bytes)
{
	static const enum umem_state order[] = { UMEM_STATE_RESIDENT, UMEM_STATE_SWAPPED,
		UMEM_STATE_ZERO, UMEM_STATE_UNTOUCHED, UMEM_STATE_GUARD };
	char key[32];

	for (size_t i = 0; i < UMEM_ARRAY_LEN(order); i++) {
		snprintf(key, sizeof(key), "%s_bytes", umem_state_name(order[i]));
		ctl_json_known(object, key, bytes, bytes ? bytes[order[i]] : 0);
	}
}
