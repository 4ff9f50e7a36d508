// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where pages are, as JSON. */
#include "daemon/ctl/swap.h"
#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

static struct umem_json *json_pages(const uint64_t bytes[UMEM_N_STATES],
	uint64_t page_size_bytes)
{
	struct umem_json *pages = umem_json_object();

	umem_json_set_u64(pages, "resident", bytes[UMEM_STATE_RESIDENT] / page_size_bytes);
	umem_json_set_u64(pages, "swapped", bytes[UMEM_STATE_SWAPPED] / page_size_bytes);
	umem_json_set_u64(pages, "zero", bytes[UMEM_STATE_ZERO] / page_size_bytes);
	umem_json_set_u64(pages, "untouched", bytes[UMEM_STATE_UNTOUCHED] / page_size_bytes);
	umem_json_set_u64(pages, "guard", bytes[UMEM_STATE_GUARD] / page_size_bytes);
	return pages;
}

static struct umem_json *json_sharers(const struct umem_survey_sharers *sharers,
	const struct umem_residency_region *in)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < sharers->n; i++) {
		const struct umem_survey_sharer *s = &sharers->v[i];
		struct umem_json *item;

		if (!umem_ranges_overlaps(&s->mapped, in->start, in->end))
			continue;
		item = umem_json_object();
		umem_json_set_u64(item, "pid", (uint64_t)s->pid);
		umem_json_set_text(item, "name", s->comm);
		umem_json_append_consume(list, item);
	}
	return list;
}

static struct umem_json *json_region(const struct swap_view *view,
	const struct umem_residency_region *in)
{
	struct umem_json *item = umem_json_object();

	umem_json_set_addr(item, "start", in->start);
	umem_json_set_addr(item, "end", in->end);
	umem_json_set_text(item, "kind", in->kind);
	umem_json_set_text(item, "path", in->path);
	umem_json_set_u64(item, "page_size_bytes", in->page_size_bytes);
	umem_json_set_text(item, "method", in->method);
	umem_json_set_bool(item, "exact", in->exact);
	if (in->reason)
		umem_json_set_text(item, "reason", in->reason);
	else
		umem_json_set_null(item, "reason");
	umem_json_set_consume(item, "pages", json_pages(in->bytes, in->page_size_bytes));
	ctl_json_known(item, "swapped_io_bytes", in->io_known, in->io_bytes);
	if (view->sharers)
		umem_json_set_consume(item, "sharers", json_sharers(view->sharers, in));
	return item;
}

/* @user is the number of ranges before this one. */
static int print_range(void *user, uint64_t start, uint64_t end, enum umem_state state)
{
	struct umem_json *item = umem_json_object();
	uint64_t *n = user;

	umem_json_set_addr(item, "start", start);
	umem_json_set_addr(item, "end", end);
	umem_json_set_text(item, "state", umem_state_name(state));
	return umem_json_item_consume(stdout, item, (*n)++ == 0);
}

static int print_region(const struct swap_view *view, size_t i, bool ranges)
{
	struct umem_json *item = json_region(view, &view->v[i]);
	uint64_t n = 0;
	int r;

	if (!ranges)
		return umem_json_item_consume(stdout, item, i == 0);
	r = umem_json_item_open_consume(stdout, item, i == 0, "ranges");
	if (r == 0)
		r = swap_view_each(view, &view->v[i], print_range, &n);
	return r < 0 ? r : umem_json_item_close(stdout);
}

static struct umem_json *json_total(const struct swap_view *view)
{
	const struct ctl_sums *sums = &view->sums;
	struct umem_json *total = umem_json_object();

	umem_json_set_u64(total, "regions", sums->regions);
	umem_json_set_u64(total, "bytes", ctl_sums_total(sums));
	umem_json_set_consume(total, "pages", json_pages(sums->bytes, UMEM_PAGE_BYTES));
	ctl_json_states(total, sums->bytes);
	ctl_json_known(total, "swapped_io_bytes", !sums->io_unknown, sums->io_bytes);
	umem_json_set_bool(total, "exact", sums->inexact.n == 0);
	if (view->sharers) {
		umem_json_set_u64(total, "sharers", view->sharers->n);
		umem_json_set_u64(total, "hidden_processes", view->sharers->n_hidden);
	}
	return total;
}

int swap_json_print(const struct swap_view *view, bool ranges)
{
	struct umem_json *head = umem_json_object();
	int r;

	if (view->file) {
		umem_json_set_null(head, "pid");
		umem_json_set_null(head, "name");
		umem_json_set_text(head, "file", view->file);
	} else {
		umem_json_set_u64(head, "pid", (uint64_t)view->pid);
		umem_json_set_text(head, "name", view->comm);
		umem_json_set_null(head, "file");
	}
	r = umem_json_open_consume(stdout, head, "regions");
	for (size_t i = 0; i < view->n && r == 0; i++)
		r = print_region(view, i, ranges);
	if (r == 0)
		r = umem_json_close_consume(stdout, "total", json_total(view));
	return r < 0 ? r : ctl_flush();
}
