/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole of a terminal for a while: pictures that replace one another, keys, its size.
 * Whatever ends that, but for SIGKILL, gives the terminal back as it was.
 */
#ifndef CTL_SCREEN_H
#define CTL_SCREEN_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

/** Keys that are no characters. */
enum screen_key {
	SCREEN_UP = 256,
	SCREEN_DOWN,
	SCREEN_PAGE_UP,
	SCREEN_PAGE_DOWN,
	SCREEN_HOME,
	SCREEN_BOTTOM,
};

/**
 * enum screen_event - what a wait ended with.
 * @SCREEN_DUE: nothing happened.
 * @SCREEN_PRESSED: a key.
 * @SCREEN_REDRAW: what was drawn is not there any more, or the size is another one.
 * @SCREEN_END: a signal that ends programs, or the terminal is gone.
 */
enum screen_event {
	SCREEN_DUE,
	SCREEN_PRESSED,
	SCREEN_REDRAW,
	SCREEN_END,
};

/**
 * struct screen - a terminal that is ours; made by screen_open().
 * @signals: descriptor of signals.
 * @keys: there is somebody to press any.
 * @is_on: we draw on it.
 * @before: how it was.
 * @state, @number: of a key that comes as several bytes.
 * @input, @n_input, @at: bytes that were read.
 */
struct screen {
	int signals;
	bool keys;
	bool is_on;
	struct termios before;
	unsigned state;
	unsigned number;
	unsigned char input[64];
	unsigned n_input;
	unsigned at;
};

/** screen_is_there - can stdout be drawn on? */
bool screen_is_there(void);

/** screen_open - take the terminal of stdout. Return: 0 or -errno. */
int screen_open(struct screen *screen);

/** screen_close - give it back; also when opening failed. */
void screen_close(struct screen *screen);

/** screen_size - how large it is now; at least 1 by 20. */
void screen_size(int *ret_rows, int *ret_columns);

/** screen_wait - until @due_ns of the monotonic clock. @ret_key: with SCREEN_PRESSED. */
enum screen_event screen_wait(struct screen *screen, uint64_t due_ns, int *ret_key);

/**
 * screen_begin, screen_line, screen_end - a picture, from its first line on; each line is
 * wiped before. It is drawn whole: as many lines as the screen has.
 */
void screen_begin(void);
void screen_line(void);
void screen_end(void);

#endif
