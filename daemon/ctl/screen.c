// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The whole of a terminal for a while.
 *
 * Theory of operation
 *
 *     before --enter()--> ours --leave()--> before
 *                          ^ |
 *               SIGCONT    | v SIGTSTP, then SIGSTOP by our own hand
 *
 * Pictures are drawn on the terminal's second page (as editors do), so that what was on it
 * comes back. Signals come through a descriptor, one at a time with everything
 * else: between any two steps the terminal is in one of the two states. Ctrl-C stays a
 * signal; keys need no Enter; Ctrl-S is a key, lest we hang behind it unheard.
 */
#include "daemon/ctl/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"

#define ESC "\033"

/* States of a key of several bytes: ESC [ number ~ and the like. */
enum { PLAIN, ESCAPED, NUMBERED };

bool screen_is_there(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && term[0] && strcmp(term, "dumb") != 0;
}

static void enter(struct screen *screen)
{
	struct termios ours = screen->before;

	ours.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	ours.c_iflag &= ~(tcflag_t)IXON;
	ours.c_cc[VMIN] = 1;
	ours.c_cc[VTIME] = 0;
	if (screen->keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &ours);
	/* Second page, no cursor, nothing on it. */
	fputs(ESC "[?1049h" ESC "[?25l" ESC "[2J", stdout);
	fflush(stdout);
	screen->is_on = true;
}

static void leave(struct screen *screen)
{
	if (!screen->is_on)
		return;
	screen->is_on = false;
	fputs(ESC "[0m" ESC "[?25h" ESC "[?1049l", stdout);
	fflush(stdout);
	if (screen->keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &screen->before);
}

int screen_open(struct screen *screen)
{
	static const int heard[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT };
	sigset_t mask;

	*screen = (struct screen){ .signals = -1 };
	sigemptyset(&mask);
	for (size_t i = 0; i < UMEM_ARRAY_LEN(heard); i++)
		sigaddset(&mask, heard[i]);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	screen->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (screen->signals < 0)
		return -errno;
	screen->keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &screen->before) == 0;
	enter(screen);
	return 0;
}

void screen_close(struct screen *screen)
{
	leave(screen);
	screen->signals = umem_fd_close(screen->signals);
}

void screen_size(int *ret_rows, int *ret_columns)
{
	struct winsize size = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
		size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	*ret_rows = size.ws_row;
	*ret_columns = size.ws_col < 20 ? 20 : size.ws_col;
}

static enum screen_event on_signal(struct screen *screen)
{
	struct signalfd_siginfo info;

	if (read(screen->signals, &info, sizeof(info)) != sizeof(info))
		return SCREEN_DUE;
	switch (info.ssi_signo) {
	case SIGWINCH:
		return SCREEN_REDRAW;
	case SIGTSTP:
		leave(screen);
		kill(getpid(), SIGSTOP);
		enter(screen);
		return SCREEN_REDRAW;
	case SIGCONT:
		/* We may have been stopped unheard, and a shell has set its terminal since. */
		enter(screen);
		return SCREEN_REDRAW;
	default:
		return SCREEN_END;
	}
}

/* What the last byte of a longer key says. Return: 0 for a key that is of no use here. */
static int special(unsigned char last, unsigned number)
{
	static const struct {
		unsigned char last;
		unsigned number;
		int key;
	} keys[] = {
		{ 'A', 0, SCREEN_UP }, { 'B', 0, SCREEN_DOWN }, { 'H', 0, SCREEN_HOME },
		{ 'F', 0, SCREEN_BOTTOM }, { '~', 1, SCREEN_HOME }, { '~', 4, SCREEN_BOTTOM },
		{ '~', 5, SCREEN_PAGE_UP }, { '~', 6, SCREEN_PAGE_DOWN },
		{ '~', 7, SCREEN_HOME }, { '~', 8, SCREEN_BOTTOM },
	};

	for (size_t i = 0; i < UMEM_ARRAY_LEN(keys); i++)
		if (keys[i].last == last && keys[i].number == number)
			return keys[i].key;
	return 0;
}

/* One more byte. Return: a key that it completes, or 0. */
static int take_byte(struct screen *screen, unsigned char byte)
{
	if (byte == 033) {
		screen->state = ESCAPED;
		screen->number = 0;
		return 0;
	}
	if (screen->state == ESCAPED) {
		screen->state = byte == '[' || byte == 'O' ? NUMBERED : PLAIN;
		return 0;
	}
	if (screen->state == PLAIN)
		return byte;
	if (byte >= '0' && byte <= '9') {
		screen->number = screen->number % 1000 * 10 + (unsigned)(byte - '0');
		return 0;
	}
	if (byte < 0x40)
		return 0;
	screen->state = PLAIN;
	return special(byte, screen->number);
}

/* The next key among what was read. Return: 0 for none. */
static int next_key(struct screen *screen)
{
	int key = 0;

	while (key == 0 && screen->at < screen->n_input)
		key = take_byte(screen, screen->input[screen->at++]);
	return key;
}

static enum screen_event read_keys(struct screen *screen, int *ret_key)
{
	ssize_t n = read(STDIN_FILENO, screen->input, sizeof(screen->input));

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return SCREEN_END;
	screen->n_input = n > 0 ? (unsigned)n : 0;
	screen->at = 0;
	*ret_key = next_key(screen);
	return *ret_key ? SCREEN_PRESSED : SCREEN_DUE;
}

enum screen_event screen_wait(struct screen *screen, uint64_t due_ns, int *ret_key)
{
	struct pollfd fds[] = {
		{ .fd = screen->signals, .events = POLLIN },
		{ .fd = screen->keys ? STDIN_FILENO : -1, .events = POLLIN },
		{ .fd = STDOUT_FILENO }, /* an error: the terminal is gone */
	};
	enum screen_event event = SCREEN_DUE;

	*ret_key = next_key(screen);
	if (*ret_key)
		return SCREEN_PRESSED;
	while (event == SCREEN_DUE) {
		uint64_t now_ns = umem_now_ns(), left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
		struct timespec wait = { (time_t)(left_ns / 1000000000u),
			(long)(left_ns % 1000000000u) };
		int n = ppoll(fds, UMEM_ARRAY_LEN(fds), &wait, NULL);

		if (n < 0)
			continue;
		if (n == 0)
			return SCREEN_DUE;
		if (fds[0].revents)
			event = on_signal(screen);
		else if (fds[2].revents)
			return SCREEN_END;
		else if (fds[1].revents)
			event = read_keys(screen, ret_key);
	}
	return event;
}

/* Wiped before it is written: behind a full line the cursor stands on its last column. */
void screen_begin(void)
{
	fputs(ESC "[H" ESC "[K", stdout);
}

void screen_line(void)
{
	fputs(ESC "[0m\r\n" ESC "[K", stdout);
}

void screen_end(void)
{
	fputs(ESC "[0m", stdout);
	fflush(stdout);
}
