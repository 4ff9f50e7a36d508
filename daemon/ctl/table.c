// SPDX-License-Identifier: LGPL-2.1-or-later
/* Headlines and footnotes of tables of mappings. */
#include "daemon/ctl/table.h"

#include <inttypes.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
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

void ctl_footnotes_print(const struct ctl_footnotes *notes, const char *title)
{
	char text[16], line[512];

	for (size_t i = 0; i < notes->n; i++) {
		snprintf(line, sizeof(line), "%s, %" PRIu64 " region%s, %s: %s", title,
			notes->v[i].regions, notes->v[i].regions == 1 ? "" : "s",
			ctl_size(text, notes->v[i].bytes), notes->v[i].reason);
		ctl_wrap(line, printf("  [%zu] ", i + 1), 6);
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
