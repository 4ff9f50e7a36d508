// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How umemctl top shows its list: as a table, or as a picture that fills a terminal.
 *
 * Where a line has no room for all columns, those stay that say most. The name gets what
 * is left.
 */
#include "daemon/ctl/top.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/screen.h"
#include "lib/base/attr.h"

#define NAME_MIN 9
#define NAME_MAX 32
#define CELL     24

/* Of 256 colours: what is wrong, what is about to be right, what is over. */
#define RED    203
#define YELLOW 221
#define GREY   244

static void size_cell(char cell[CELL], uint64_t bytes)
{
	char buf[16];

	snprintf(cell, CELL, "%s", bytes == UMEM_CLIENT_UNKNOWN ? "-" : ctl_size(buf, bytes));
}

/* Up to a minute as ctl_time() has it; then in whole minutes, hours, days. */
static void time_cell(char cell[CELL], uint64_t ns)
{
	uint64_t s = ns / 1000000000u;
	char buf[16];

	if (ns == UMEM_CLIENT_UNKNOWN)
		snprintf(cell, CELL, "-");
	else if (s < 60)
		snprintf(cell, CELL, "%s", ctl_time(buf, ns));
	else if (s < 3600)
		snprintf(cell, CELL, "%um%02us", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(cell, CELL, "%uh%02um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(cell, CELL, "%llud%02uh", (unsigned long long)(s / 86400),
			(unsigned)(s / 3600 % 24));
}

static void count_cell(char cell[CELL], uint64_t n)
{
	snprintf(cell, CELL, "%llu", (unsigned long long)n);
}

static void target_cell(const struct top_row *row, char cell[CELL])
{
	snprintf(cell, CELL, "%.*s", CELL - 1, row->target);
}

static void pid_cell(const struct top_row *row, char cell[CELL])
{
	count_cell(cell, (uint64_t)row->pid);
}

static void user_cell(const struct top_row *row, char cell[CELL])
{
	const struct passwd *user = getpwuid(row->uid);

	if (user && strlen(user->pw_name) <= 8)
		snprintf(cell, CELL, "%s", user->pw_name);
	else
		count_cell(cell, row->uid);
}

static void state_cell(const struct top_row *row, char cell[CELL])
{
	snprintf(cell, CELL, "%s", row->state);
}

static void dirty_cell(const struct top_row *row, char cell[CELL])
{
	size_cell(cell, row->rate);
}

static void tracked_cell(const struct top_row *row, char cell[CELL])
{
	size_cell(cell, row->tracked_bytes);
}

static void resident_cell(const struct top_row *row, char cell[CELL])
{
	size_cell(cell, row->resident_bytes);
}

static void swapped_cell(const struct top_row *row, char cell[CELL])
{
	size_cell(cell, row->swapped_bytes);
}

static void rounds_cell(const struct top_row *row, char cell[CELL])
{
	count_cell(cell, row->rounds);
}

static void scan_cell(const struct top_row *row, char cell[CELL])
{
	time_cell(cell, row->scan_ns);
}

static void last_cell(const struct top_row *row, char cell[CELL])
{
	time_cell(cell, row->idle_ns);
}

static void restarts_cell(const struct top_row *row, char cell[CELL])
{
	count_cell(cell, row->restarts);
}

static void age_cell(const struct top_row *row, char cell[CELL])
{
	time_cell(cell, row->age_ns);
}

/* A column; a name has no function of its own. @rank: the lowest stays longest. */
static const struct column {
	const char *title;
	const char *word;
	char key;
	bool left;
	int width;
	int rank;
	void (*cell)(const struct top_row *row, char cell[CELL]);
} columns[TOP_N_COLUMNS] = {
	[TOP_TARGET] = { "TARGET", "target", 'g', true, 7, 12, target_cell },
	[TOP_PID] = { "PID", "pid", 'p', false, 7, 0, pid_cell },
	[TOP_NAME] = { "NAME", "name", 'n', true, NAME_MIN, 1, NULL },
	[TOP_USER] = { "USER", "user", 'u', true, 8, 13, user_cell },
	[TOP_STATE] = { "STATE", "state", 'e', true, 10, 3, state_cell },
	[TOP_DIRTY] = { "DIRTY/s", "dirty", 'd', false, 7, 2, dirty_cell },
	[TOP_TRACKED] = { "TRACKED", "tracked", 't', false, 7, 6, tracked_cell },
	[TOP_RESIDENT] = { "RESIDENT", "resident", 'r', false, 8, 4, resident_cell },
	[TOP_SWAPPED] = { "SWAPPED", "swapped", 's', false, 7, 5, swapped_cell },
	[TOP_ROUNDS] = { "ROUNDS", "rounds", 'o', false, 7, 8, rounds_cell },
	[TOP_SCAN] = { "SCAN", "scan", 'c', false, 6, 7, scan_cell },
	[TOP_LAST] = { "LAST", "last", 'l', false, 6, 11, last_cell },
	[TOP_RESTARTS] = { "RESTARTS", "restarts", 'x', false, 8, 9, restarts_cell },
	[TOP_AGE] = { "AGE", "age", 'a', false, 7, 10, age_cell },
};

int top_column_of_word(const char *word)
{
	for (int i = 0; i < TOP_N_COLUMNS; i++)
		if (strcmp(columns[i].word, word) == 0)
			return i;
	return -1;
}

int top_column_of_key(int key)
{
	for (int i = 0; i < TOP_N_COLUMNS; i++)
		if (columns[i].key == key)
			return i;
	return -1;
}

const char *top_words(void)
{
	static char words[256];
	size_t n = 0;

	for (int i = 0; i < TOP_N_COLUMNS; i++)
		n += (size_t)snprintf(words + n, sizeof(words) - n, "%s%s", i ? ", " : "",
			columns[i].word);
	return words;
}

/* Which columns fit, and how wide the name is. */
struct layout {
	bool shown[TOP_N_COLUMNS];
	int name_width;
};

static struct layout fit(int width)
{
	struct layout layout = { .name_width = NAME_MIN };
	int left = width;

	for (int rank = 0; rank < TOP_N_COLUMNS; rank++) {
		for (int i = 0; i < TOP_N_COLUMNS; i++) {
			int needed = columns[i].width + (rank > 0);

			if (columns[i].rank != rank || (width && left < needed))
				continue;
			layout.shown[i] = true;
			left -= needed;
		}
	}
	layout.name_width += width ? left : 7;
	if (layout.name_width > NAME_MAX)
		layout.name_width = NAME_MAX;
	return layout;
}

static void print_head(const struct layout *layout)
{
	const char *blank = "";

	for (int i = 0; i < TOP_N_COLUMNS; i++) {
		int width = i == TOP_NAME ? layout->name_width : columns[i].width;

		if (!layout->shown[i])
			continue;
		printf("%s%*s", blank, columns[i].left ? -width : width, columns[i].title);
		blank = " ";
	}
}

static unsigned colour_of(const struct top_row *row)
{
	if (strcmp(row->state, "failed") == 0)
		return RED;
	if (strcmp(row->state, "recovering") == 0)
		return YELLOW;
	return strcmp(row->state, "ended") == 0 || strcmp(row->state, "detaching") == 0 ? GREY : 0;
}

static void print_cell(const struct top_view *view, const struct top_row *row, int i)
{
	unsigned colour = i == TOP_STATE && view->paint.colours ? colour_of(row) : 0;
	char cell[CELL];

	columns[i].cell(row, cell);
	if (colour)
		printf("\033[38;5;%um", colour);
	printf("%*s", columns[i].left ? -columns[i].width : columns[i].width, cell);
	if (colour)
		fputs("\033[39m", stdout);
}

static void print_row(const struct top_view *view, const struct layout *layout,
	const struct top_row *row)
{
	const char *blank = "";

	for (int i = 0; i < TOP_N_COLUMNS; i++) {
		if (!layout->shown[i])
			continue;
		fputs(blank, stdout);
		blank = " ";
		if (i == TOP_NAME)
			paint_label(&view->paint, row->name, (size_t)layout->name_width);
		else
			print_cell(view, row, i);
	}
}

void top_print_table(const struct top_view *view, const struct top_list *list, int width)
{
	struct layout layout = fit(width);

	print_head(&layout);
	putchar('\n');
	for (size_t i = 0; i < list->n; i++) {
		print_row(view, &layout, &list->v[i]);
		putchar('\n');
	}
}

/* What all of it comes to: a line. */
static void print_summary(const struct top_view *view, const struct top_list *list, int width)
{
	size_t n_tracked = 0;
	uint64_t rate = 0;
	char text[256], size[16], every[16], clean[64];

	for (size_t i = 0; i < list->n; i++) {
		n_tracked += list->v[i].tracked_bytes != UMEM_CLIENT_UNKNOWN;
		rate += list->v[i].rate != UMEM_CLIENT_UNKNOWN ? list->v[i].rate : 0;
	}
	snprintf(text, sizeof(text), "%zu target%s, %zu tracked, %s/s dirty; by %s%s, every %s; %s",
		list->n, list->n == 1 ? "" : "s", n_tracked, ctl_size(size, rate),
		columns[view->by].title, view->reverse ? " reversed" : "",
		ctl_time(every, view->interval_ns),
		ctl_clean(clean, sizeof(clean), view->source, 40));
	paint_label(&view->paint, text, (size_t)width);
}

/* Words of the foot, in lines of at most @width columns; printed where @draw. Return: lines. */
static int foot(const struct layout *layout, int width, bool draw)
{
	static const char *const more[] = { "v reverse", "space now", "q quit" };
	int lines = 1, column = 0;
	char word[32];

	for (size_t i = 0; i < TOP_N_COLUMNS + UMEM_ARRAY_LEN(more); i++) {
		int len;

		if (i < TOP_N_COLUMNS && !layout->shown[i])
			continue;
		if (i < TOP_N_COLUMNS)
			len = snprintf(word, sizeof(word), "%c %s", columns[i].key,
				columns[i].word);
		else
			len = snprintf(word, sizeof(word), "%s", more[i - TOP_N_COLUMNS]);
		if (column && column + 2 + len > width) {
			lines++;
			column = 0;
			if (draw)
				screen_line();
		}
		if (draw)
			printf("%s%s", column ? "  " : "", word);
		column += len + (column ? 2 : 0);
	}
	return lines;
}

size_t top_draw(struct top_view *view, const struct top_list *list)
{
	int rows, width, room, n_foot;
	struct layout layout;
	size_t shown;

	screen_size(&rows, &width);
	layout = fit(width);
	n_foot = foot(&layout, width, false);
	/* Two lines above; keys below only where they leave room for some rows. */
	room = rows - 2 - (rows - 2 - n_foot >= 3 ? n_foot : 0);
	shown = room < 1 ? 0 : (size_t)room;
	if (view->first + shown > list->n)
		view->first = list->n > shown ? list->n - shown : 0;
	screen_begin();
	print_summary(view, list, width);
	if (rows > 1) {
		screen_line();
		fputs("\033[7m", stdout);
		print_head(&layout);
	}
	for (int i = 0; i < room; i++) {
		screen_line();
		if (view->first + (size_t)i < list->n)
			print_row(view, &layout, &list->v[view->first + (size_t)i]);
	}
	if (room < rows - 2) {
		screen_line();
		foot(&layout, width, true);
	}
	screen_end();
	return shown;
}
