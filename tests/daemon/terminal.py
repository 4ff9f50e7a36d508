# SPDX-License-Identifier: LGPL-2.1-or-later
"""A terminal: a pty with what a program draws on it, as far as ours do."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unicodedata

from daemontest import check

CODE = re.compile(r"\033\[(\??[0-9;]*)([A-Za-z])")


class Terminal:
    """A program on a terminal of its own; what it draws is in lines of (character, attributes)."""

    def __init__(self, words, rows=24, columns=80, env=None, keys=True):
        self.rows, self.columns = rows, columns
        self.ours, self.theirs = pty.openpty()
        self.drawn = 0  # pictures
        self.strict = 0  # from this one on
        self.data = b""
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.theirs)
        self.cursor_shown = True
        self.page = 1
        self.attributes = ""
        clean = {k: v for k, v in os.environ.items() if k not in (
            "COLUMNS", "TERM", "COLORTERM", "NO_COLOR", "LC_ALL", "LC_CTYPE", "LANG")}
        clean.update({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}, **(env or {}))

        def ours():
            os.setsid()
            fcntl.ioctl(1, termios.TIOCSCTTY, 0)
        self.proc = subprocess.Popen(words, stdin=self.theirs if keys else subprocess.DEVNULL,
                                     stdout=self.theirs, stderr=subprocess.PIPE, env=clean,
                                     preexec_fn=ours)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.proc.stderr.close()
        for fd in (self.ours, self.theirs):
            if fd >= 0:
                os.close(fd)

    def size(self, rows, columns):
        # Between two pictures; one may be begun yet for the size before.
        while self.drawn and select.select([self.ours], [], [], 0.03)[0]:
            self.pump(0)
        self.strict = self.drawn + 3 if self.drawn else 0
        self.rows, self.columns = rows, columns
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.clear()

    def clear(self):
        self.at = [0, 0]
        self.cells = [[(" ", "")] * self.columns for _ in range(self.rows)]

    def press(self, text):
        os.write(self.ours, text.encode())

    def pump(self, seconds=0.05):
        """Take what was drawn meanwhile."""
        if select.select([self.ours], [], [], seconds)[0]:
            try:
                self.data += os.read(self.ours, 65536)
            except OSError:
                return
        self.feed()

    def feed(self):
        text = self.data.decode("utf-8", errors="ignore")
        at = 0
        while at < len(text):
            if text[at] == "\033":
                m = CODE.match(text, at)
                if not m:
                    check(len(text) - at < 12, "unknown sequence", repr(text[at:at + 12]))
                    break
                self.code(m[1], m[2])
                at = m.end()
                continue
            self.put(text[at])
            at += 1
        self.data = text[at:].encode()

    def code(self, numbers, letter):
        row, column = self.at
        if letter == "H":
            check(numbers == "", numbers)
            self.at = [0, 0]
            self.drawn += 1
        elif letter == "K":
            check(column < self.columns or self.is_loose(), "a line is wiped behind its end")
            self.cells[row][column:] = [(" ", "")] * (self.columns - column)
        elif letter == "J":
            check(numbers == "2", numbers)
            self.cells = [[(" ", "")] * self.columns for _ in range(self.rows)]
        elif letter == "m":
            self.attributes = "" if numbers in ("0", "39") else numbers
        elif numbers in ("?25", "?1049"):
            if numbers == "?25":
                self.cursor_shown = letter == "h"
            else:
                self.page = 2 if letter == "h" else 1
        else:
            check(False, "unknown sequence", numbers, letter)

    def is_loose(self):
        return self.drawn < self.strict

    def put(self, char):
        if char == "\r":
            self.at[1] = 0
        elif char == "\n":
            if self.page == 2 and self.at[0] + 1 == self.rows and not self.is_loose():
                check(False, "it scrolls:", self.text())
            self.at[0] = min(self.at[0] + 1, self.rows - 1)
        elif self.page == 2:
            check(char.isprintable(), "a control:", repr(char))
            width = 2 if unicodedata.east_asian_width(char) in "WF" else 1
            if self.at[1] + width > self.columns:
                check(self.is_loose(), "a line is too long:", self.text())
                return
            for _ in range(width):
                self.cells[self.at[0]][self.at[1]] = (char, self.attributes)
                self.at[1] += 1
                char = ""

    def lines(self):
        return ["".join(c for c, _ in line).rstrip() for line in self.cells]

    def text(self):
        return "\n".join(self.lines())

    def until(self, cond, what, seconds=10):
        end = time.monotonic() + seconds
        while not cond():
            check(time.monotonic() < end, "not within", seconds, "s:", what, "\n" + self.text())
            self.pump()

    def next_picture(self):
        """Wait for one that was begun from now on, whole."""
        self.pump(0)
        drawn = max(self.drawn, self.strict)
        self.until(lambda: self.drawn >= drawn + 2, "a picture")

    def end(self, seconds=10):
        """Wait for its end; its exit code and what it said on stderr."""
        end = time.monotonic() + seconds
        while self.proc.poll() is None:
            check(time.monotonic() < end, "it does not end")
            self.pump()
        self.pump()
        return self.proc.returncode, self.proc.stderr.read().decode()

    def is_given_back(self):
        """Everything is as it was."""
        return (self.page == 1 and self.cursor_shown and
                termios.tcgetattr(self.theirs) == self.before)

    def hang_up(self):
        os.close(self.ours)
        os.close(self.theirs)
        self.ours = self.theirs = -1

    def send(self, signo=signal.SIGTERM):
        self.proc.send_signal(signo)
