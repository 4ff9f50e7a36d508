// SPDX-License-Identifier: LGPL-2.1-or-later
/* A run as a picture: three panels over one axis of time. */
#include "tests/policy/svg.h"

#include <math.h>

#include "tests/lib/harness.h"

#define WIDTH 960.0
#define HEIGHT 620.0
#define LEFT 80.0
#define RIGHT 930.0

/* Each point of a curve stands for this much of the width. */
#define STEP_PX 1.0

/* Shown up to this many times the objective; bursts go over the top. */
#define RATE_TOP 4.0
#define OBJECTIVE_PERCENT 0.2

#define RESIDENT "#2563a8"
#define OUT "#d97706"
#define COLD "#8a8a8a"
#define RATE "#7c3aed"
#define HELD "#0d9488"
#define LIMIT "#c81e1e"

/* A panel from @top to @bottom; its values go from 0 to @most. */
struct panel {
	double top;
	double bottom;
	double most;
};

static double x_of(const struct run *run, double minute)
{
	return LEFT + (RIGHT - LEFT) * minute / run->trace->minutes;
}

static double y_of(const struct panel *panel, double value)
{
	return panel->bottom - (panel->bottom - panel->top) * fmin(value / panel->most, 1);
}

/* A round distance between marks: 1, 2 or 5, so that there are at most @n of them. */
static double mark_step(double most, int n)
{
	static const double round[] = { 1, 2, 5, 10 };
	double unit = pow(10, floor(log10(most / n))), step = unit;

	for (int i = 0; i < 4 && most / step > n * 1.0001; i++)
		step = unit * round[i];
	return step;
}

static void text(FILE *f, double x, double y, const char *style, const char *s)
{
	fprintf(f, "<text x='%.1f' y='%.1f' %s>%s</text>\n", x, y, style, s);
}

/* A curve of the mean of each pixel, or of the largest value in it. */
enum summary { MEAN, LARGEST };

typedef double value_of(const struct run *run, size_t k);

static double resident_of(const struct run *run, size_t k)
{
	return (double)run->v[k].resident / 256;
}

static double out_of(const struct run *run, size_t k)
{
	return (double)run->v[k].out / 256;
}

static double cold_of(const struct run *run, size_t k)
{
	return (double)run->v[k].cold / 256;
}

/* Percent a minute of what was out, over the minute that ends here. */
static double rate_of(const struct run *run, size_t k)
{
	double minute = (double)(k + 1) * run->interval_s / 60;

	return run_rate(run, fmax(minute - 1, 0), minute) / 1e4;
}

/* What the loop holds against the objective: while little is out, a share of what is resident. */
static double held_of(const struct run *run, size_t k)
{
	return (double)run->v[k].rate_ppm / 1e4;
}

static void curve(FILE *f, const struct run *run, const struct panel *panel, value_of *value,
	enum summary how, const char *style)
{
	double per_point = fmax((double)run->n / ((RIGHT - LEFT) / STEP_PX), 1);

	fprintf(f, "<polyline fill='none' %s points='", style);
	for (double from = 0; from < (double)run->n; from += per_point) {
		size_t end = (size_t)fmin(from + per_point, (double)run->n), k = (size_t)from;
		size_t n = 0;
		double sum = 0, most = 0;

		for (; k < end || n == 0; k++, n++) {
			sum += value(run, k);
			most = fmax(most, value(run, k));
		}
		fprintf(f, "%.1f,%.1f ", x_of(run, (double)k * run->interval_s / 60),
			y_of(panel, how == MEAN ? sum / (double)n : most));
	}
	fprintf(f, "'/>\n");
}

/* Frame, lines with values, and what the values are. */
static void frame(FILE *f, const struct panel *panel, const char *title, int decimals)
{
	double step = mark_step(panel->most, 5);
	char label[32];

	for (double v = 0; v <= panel->most * 1.0001; v += step) {
		fprintf(f, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='#e4e4e4'/>\n",
			LEFT, RIGHT, y_of(panel, v), y_of(panel, v));
		snprintf(label, sizeof(label), "%.*f", decimals, v);
		text(f, LEFT - 8, y_of(panel, v) + 4, "text-anchor='end' fill='#444'", label);
	}
	fprintf(f, "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='none' "
		   "stroke='#999'/>\n", LEFT, panel->top, RIGHT - LEFT, panel->bottom - panel->top);
	text(f, LEFT, panel->top - 9, "fill='#222' font-weight='bold'", title);
}

static void time_axis(FILE *f, const struct run *run, double y)
{
	double step = mark_step(run->trace->minutes, 12);
	char label[32];

	for (double minute = 0; minute <= run->trace->minutes; minute += step) {
		fprintf(f, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='#999'/>\n",
			x_of(run, minute), x_of(run, minute), y, y + 5);
		snprintf(label, sizeof(label), "%.0f", minute);
		text(f, x_of(run, minute), y + 19, "text-anchor='middle' fill='#444'", label);
	}
	text(f, (LEFT + RIGHT) / 2, y + 38, "text-anchor='middle' fill='#222'",
		"simulated time, minutes");
}

/* One entry of a legend that ends at @x. */
static void legend(FILE *f, double x, double y, const char *style, const char *name)
{
	fprintf(f, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' %s/>\n", x, x + 24, y - 4, y - 4,
		style);
	text(f, x + 30, y, "fill='#222'", name);
}

static void memory(FILE *f, const struct run *run, const struct panel *panel)
{
	frame(f, panel, "Memory, MiB", 0);
	curve(f, run, panel, cold_of, MEAN, "stroke='" COLD "' stroke-dasharray='5 4' "
		"stroke-width='1.5'");
	curve(f, run, panel, resident_of, MEAN, "stroke='" RESIDENT "' stroke-width='2'");
	curve(f, run, panel, out_of, MEAN, "stroke='" OUT "' stroke-width='2'");
	legend(f, RIGHT - 420, panel->top - 9, "stroke='" RESIDENT "' stroke-width='2'",
		"resident");
	legend(f, RIGHT - 310, panel->top - 9, "stroke='" OUT "' stroke-width='2'",
		"out (evicted)");
	legend(f, RIGHT - 165, panel->top - 9, "stroke='" COLD "' stroke-dasharray='5 4' "
		"stroke-width='1.5'", "cold in truth");
}

static void rate(FILE *f, const struct run *run, const struct panel *panel)
{
	const struct panel limit = { panel->top, panel->bottom, RATE_TOP };

	frame(f, panel, "Refaults, % a minute", 1);
	curve(f, run, panel, rate_of, LARGEST, "stroke='" RATE "' stroke-width='1.5' "
		"stroke-linejoin='round'");
	if (run->trace->n_targets == 1) {
		curve(f, run, panel, held_of, LARGEST, "stroke='" HELD "' stroke-width='1.5' "
			"stroke-linejoin='round'");
		legend(f, RIGHT - 350, panel->top - 9, "stroke='" HELD "' stroke-width='1.5'",
			"as the loop counts");
	}
	fprintf(f, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='" LIMIT "' "
		   "stroke-dasharray='7 4' stroke-width='1.5'/>\n",
		LEFT, RIGHT, y_of(&limit, 1), y_of(&limit, 1));
	legend(f, RIGHT - 620, panel->top - 9, "stroke='" RATE "' stroke-width='1.5'",
		"of what is out, over a minute");
	legend(f, RIGHT - 165, panel->top - 9, "stroke='" LIMIT "' stroke-dasharray='7 4' "
		"stroke-width='1.5'", "objective");
}

/* What the outer loop said: one colour a state. */
static void states(FILE *f, const struct run *run, const struct panel *panel)
{
	static const char *const colours[] = { "#5aa469", "#e3b341", "#d64545" };
	static const char *const names[] = { "grow", "hold", "back off" };
	static const double at[] = { RIGHT - 310, RIGHT - 220, RIGHT - 130 };
	char style[64];
	size_t from = 0;

	text(f, LEFT, panel->top - 9, "fill='#222' font-weight='bold'",
		run->trace->n_targets > 1 ? "State of the outer loop (first target)" :
					    "State of the outer loop");
	for (size_t k = 1; k <= run->n; k++) {
		if (k < run->n && run->v[k].state == run->v[from].state)
			continue;
		fprintf(f, "<rect x='%.2f' y='%.1f' width='%.2f' height='%.1f' fill='%s'/>\n",
			x_of(run, (double)from * run->interval_s / 60), panel->top,
			x_of(run, (double)(k - from) * run->interval_s / 60) - LEFT,
			panel->bottom - panel->top, colours[run->v[from].state]);
		from = k;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(style, sizeof(style), "stroke='%s' stroke-width='10'", colours[i]);
		legend(f, at[i], panel->top - 9, style, names[i]);
	}
}

static void head(FILE *f, const struct run *run)
{
	const struct trace *trace = run->trace;
	double all = (double)trace->n_pages * trace->n_targets;
	char line[256];

	fprintf(f, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' width='%.0f' "
		   "height='%.0f' font-family='sans-serif' font-size='13'>\n"
		   "<rect width='100%%' height='100%%' fill='white'/>\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT);
	snprintf(line, sizeof(line), "%s, policy %s: %s", trace->name,
		run_policy_name(run->policy, run->tries), trace->about);
	text(f, LEFT, 32, "font-size='18' fill='#111'", line);
	snprintf(line, sizeof(line), "cold memory that is out: %.0f%% after 5 minutes, "
		"%.0f%% after 30, %.0f%% at the end; evicted %.2f and refaulted %.3f times the "
		"memory",
		100 * run_cold_out(run, 5), 100 * run_cold_out(run, 30),
		100 * run_cold_out(run, trace->minutes), (double)run->put / all,
		(double)run->returned / all);
	text(f, LEFT, 53, "fill='#444'", line);
}

void svg_write(const struct run *run, const char *folder)
{
	double all = (double)run->trace->n_pages * run->trace->n_targets / 256;
	const struct panel mib = { 95, 315, all };
	const struct panel percent = { 355, 485, RATE_TOP * OBJECTIVE_PERCENT };
	const struct panel state = { 525, 545, 1 };
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s-%s.svg", folder, run->trace->name,
		run_policy_name(run->policy, run->tries));
	f = fopen(path, "we");
	T_CHECK(f, "%s: %s", path, strerror(errno));
	head(f, run);
	memory(f, run, &mib);
	rate(f, run, &percent);
	states(f, run, &state);
	time_axis(f, run, state.bottom);
	fprintf(f, "</svg>\n");
	T_CHECK(fclose(f) == 0, "%s", path);
}
