/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What umemctl top shows: the targets of umemd, in some order, in as many columns as fit. */
#ifndef CTL_TOP_H
#define CTL_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/client.h>

#include "daemon/ctl/paint.h"

/**
 * struct top_row - a target; numbers that are not known are UMEM_CLIENT_UNKNOWN.
 * @how: it came in, as JSON has it; static.
 * @reclaim: a policy, or "".
 * @rate: bytes a second that were dirty in its last round; not known when that is long ago.
 * Others as in struct umem_client_target.
 */
struct top_row {
	char target[UMEM_CLIENT_TARGET];
	int pid;
	char name[64];
	uint32_t uid;
	const char *how;
	bool kept;
	char state[16];
	char reclaim[16];
	uint64_t restarts;
	uint64_t stop_ns;
	uint64_t age_ns;
	uint64_t rounds;
	uint64_t recovered;
	uint64_t tracked_bytes;
	uint64_t dirty_bytes;
	uint64_t rate;
	uint64_t interval_ns;
	uint64_t scan_ns;
	uint64_t idle_ns;
	uint64_t resident_bytes;
	uint64_t swapped_bytes;
};

/**
 * struct top_list - what there is; all zero is none.
 * @v, @n: rows, owned. @room: for so many.
 */
struct top_list {
	struct top_row *v;
	size_t n;
	size_t room;
};

/** enum top_column - in the order in which they are shown. */
enum top_column {
	TOP_TARGET,
	TOP_PID,
	TOP_NAME,
	TOP_USER,
	TOP_STATE,
	TOP_DIRTY,
	TOP_TRACKED,
	TOP_RESIDENT,
	TOP_SWAPPED,
	TOP_ROUNDS,
	TOP_SCAN,
	TOP_LAST,
	TOP_RESTARTS,
	TOP_AGE,
	TOP_N_COLUMNS,
};

/** top_fetch - ask the daemon. Return: 0; as all calls of <umemd/client.h>. */
int top_fetch(struct umem_client *client, struct top_list *list, struct umem_note *note);

/** top_deinit - free the rows. */
void top_deinit(struct top_list *list);

/**
 * top_sort - by a column: numbers with the largest first, texts from a on, what is not known
 * last. @reverse: the other way round.
 */
void top_sort(struct top_list *list, enum top_column by, bool reverse);

/** top_column_of_word - a column by its word ("dirty"), -1 for none. */
int top_column_of_word(const char *word);

/** top_column_of_key - a column by its key, -1 for none. */
int top_column_of_key(int key);

/** top_words - all words, with commas between; static. */
const char *top_words(void);

/**
 * struct top_view - how it is shown.
 * @paint: what the terminal can do.
 * @source: of the list, to be named.
 * @by, @reverse: its order.
 * @first: row that is shown first; drawing corrects it.
 * @interval_ns: between two updates.
 */
struct top_view {
	struct paint paint;
	const char *source;
	enum top_column by;
	bool reverse;
	size_t first;
	uint64_t interval_ns;
};

/** top_draw - fill the screen. Return: rows of the list that it shows. */
size_t top_draw(struct top_view *view, const struct top_list *list);

/** top_print_table - all of it, once, on stdout. @width: of a line; 0 means no limit. */
void top_print_table(const struct top_view *view, const struct top_list *list, int width);

/** top_print_json - a line for each row. Return: 0 or -errno of the output. */
int top_print_json(const struct top_list *list, uint64_t at_ns);

#endif
