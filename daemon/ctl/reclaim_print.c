// SPDX-License-Identifier: LGPL-2.1-or-later
/* What umemctl reclaim shows: one line an interval. */
#include "daemon/ctl/reclaim_print.h"

#include "lib/base/attr.h"
#include "lib/base/json.h"

/* Parts per million as a percentage of at most 6 characters. */
static const char *percent(char buf[16], uint64_t ppm)
{
	double value = (double)ppm / 1e4;

	snprintf(buf, 16, value < 10 ? "%.2f%%" : value < 100 ? "%.1f%%" : "%.0f%%", value);
	return buf;
}

int reclaim_print_events(const struct umem_reclaim_report *report, bool json)
{
	for (size_t i = 0; i < report->n_events; i++) {
		const struct umem_reclaim_event *event = &report->events[i];
		char text[512], name[80];
		struct umem_json *line;
		int r;

		if (!json) {
			int column = printf("  pid %d%s%s%s: ", event->pid,
				event->comm[0] ? " (" : "",
				ctl_clean(name, sizeof(name), event->comm, 0),
				event->comm[0] ? ")" : "");

			ctl_wrap(ctl_clean(text, sizeof(text), event->text, 0), column, 4);
			continue;
		}
		line = umem_json_object();
		umem_json_set_text(line, "event", "target");
		umem_json_set_u64(line, "pid", (uint64_t)event->pid);
		umem_json_set_text(line, "name", event->comm);
		umem_json_set_text(line, "what", event->text);
		r = umem_json_write_consume(stdout, line);
		if (r < 0)
			return r;
	}
	return 0;
}

static void set_seen(struct umem_json *line, const struct umem_reclaim_seen *seen)
{
	umem_json_set_u64(line, "resident_bytes", seen->resident_bytes);
	umem_json_set_u64(line, "swapped_bytes", seen->swapped_bytes);
	umem_json_set_u64(line, "out_bytes", seen->out_bytes);
	umem_json_set_u64(line, "trial_bytes", seen->trial_bytes);
	umem_json_set_u64(line, "reclaimed_bytes", seen->reclaimed_bytes);
	umem_json_set_u64(line, "refused_bytes", seen->refused_bytes);
	umem_json_set_u64(line, "refaulted_bytes", seen->refaulted_bytes);
	umem_json_set_u64(line, "refault_ppm_min", seen->refault_ppm_min);
	umem_json_set_u64(line, "refault_out_ppm_min", seen->refault_out_ppm_min);
	if (seen->pressure_known)
		umem_json_set_u64(line, "pressure_ppm", seen->pressure_ppm);
	else
		umem_json_set_null(line, "pressure_ppm");
	umem_json_set_u64(line, "cold_bytes", seen->cold_bytes);
	umem_json_set_u64(line, "want_bytes", seen->want_bytes);
	umem_json_set_u64(line, "sample_bytes", seen->sample_bytes);
	umem_json_set_u64(line, "try_bytes", seen->try_bytes);
	umem_json_set_u64(line, "in_use_max_ppm", seen->bound_ppm);
	umem_json_set_u64(line, "confidence_ppm", seen->confidence_ppm);
	umem_json_set_text(line, "decision", umem_reclaim_decision_name(seen->decision));
	umem_json_set_text(line, "reason", seen->reason);
}

static int print_interval_json(const struct umem_reclaim_report *report)
{
	struct umem_json *line = umem_json_object(), *list = umem_json_array();

	umem_json_set_text(line, "event", "interval");
	umem_json_set_u64(line, "interval", report->interval);
	umem_json_set_u64(line, "at_ns", report->at_ns);
	umem_json_set_u64(line, "interval_ns", report->interval_ns);
	umem_json_set_u64(line, "cpu_ppm", report->cpu_ppm);
	if (report->swap_free_bytes == UINT64_MAX)
		umem_json_set_null(line, "swap_free_bytes");
	else
		umem_json_set_u64(line, "swap_free_bytes", report->swap_free_bytes);
	umem_json_set_u64(line, "stored_ppm", report->stored_ppm);
	set_seen(line, &report->sum);
	for (size_t i = 0; i < report->n_targets; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_u64(item, "pid", (uint64_t)report->targets[i].pid);
		umem_json_set_text(item, "name", report->targets[i].comm);
		set_seen(item, &report->targets[i]);
		umem_json_append_consume(list, item);
	}
	umem_json_set_consume(line, "targets", list);
	return umem_json_write_consume(stdout, line);
}

void reclaim_print_head(void)
{
	printf("%8s %8s %8s %8s %9s %8s %6s  %s\n", "RESIDENT", "SWAPPED", "OUT", "REFAULT",
		"PER MIN", "PRESSURE", "CPU", "DECISION");
}

int reclaim_print_interval(const struct umem_reclaim_report *report, bool json)
{
	const struct umem_reclaim_seen *sum = &report->sum;
	char text[16], line[512], want[16];
	int column;

	if (json)
		return print_interval_json(report);
	column = printf("%8s", ctl_size(text, sum->resident_bytes));
	column += printf(" %8s", ctl_size(text, sum->swapped_bytes));
	column += printf(" %8s", ctl_size(text, sum->reclaimed_bytes));
	column += printf(" %8s", ctl_size(text, sum->refaulted_bytes));
	column += printf(" %9s", percent(text, sum->refault_ppm_min));
	column += printf(" %8s", sum->pressure_known ? percent(text, sum->pressure_ppm) : "?");
	column += printf(" %6s  ", percent(text, report->cpu_ppm));
	if (sum->want_bytes + sum->try_bytes)
		snprintf(line, sizeof(line), "%s %s: %s",
			umem_reclaim_decision_name(sum->decision),
			ctl_size(want, sum->want_bytes + sum->try_bytes), sum->reason);
	else
		snprintf(line, sizeof(line), "%s: %s", umem_reclaim_decision_name(sum->decision),
			sum->reason);
	ctl_wrap(line, column, column);
	return 0;
}

void reclaim_count(struct reclaim_total *total, const struct umem_reclaim_report *report)
{
	total->intervals = report->interval;
	total->ns += report->interval_ns;
	total->reclaimed_bytes += report->sum.reclaimed_bytes;
	total->refaulted_bytes += report->sum.refaulted_bytes;
	total->cpu_ns += report->cpu_ppm * (report->interval_ns / 1000000);
}

int reclaim_print_done(const struct reclaim_total *total,
	const struct umem_reclaim_report *last, bool json)
{
	struct umem_json *line;
	char took[16], out[16], back[16];

	if (!json) {
		printf("put out %s in %s, of which %s came back; %s is out now\n",
			ctl_size(out, total->reclaimed_bytes), ctl_time(took, total->ns),
			ctl_size(back, total->refaulted_bytes),
			ctl_size((char[16]){ 0 }, last ? last->sum.out_bytes : 0));
		return 0;
	}
	line = umem_json_object();
	umem_json_set_text(line, "event", "done");
	umem_json_set_u64(line, "intervals", total->intervals);
	umem_json_set_u64(line, "elapsed_ns", total->ns);
	umem_json_set_u64(line, "reclaimed_bytes", total->reclaimed_bytes);
	umem_json_set_u64(line, "refaulted_bytes", total->refaulted_bytes);
	umem_json_set_u64(line, "out_bytes", last ? last->sum.out_bytes : 0);
	umem_json_set_u64(line, "cpu_ns", total->cpu_ns);
	return umem_json_write_consume(stdout, line);
}
