# SPDX-License-Identifier: LGPL-2.1-or-later
"""The picture of umemctl swap --map, as a terminal shows it."""
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import unicodedata

from ctltest import check
from swaptest import SwapVictim, main, sums_of, swap, until_true

WIDTHS = (20, 40, 80, 200)
SHADES = {221: "#", 173: "%", 132: "*", 97: "+", 61: "-", 136: ":", 24: ",", 65: "0", 250: "X",
          240: "."}
STATE_OF = {"resident": "-", "swapped": "#", "zero": "0", "untouched": ".", "guard": "X"}
MEANING = {"#": "out", "%": "mostly out", "*": "half out", "+": "a little out",
           "-": "in memory", ":": "sparse, some out", ",": "sparse, in memory",
           "0": "zeros", "X": "guard", ".": "untouched"}
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

# What a terminal is, and how a picture is drawn there.
PLAIN = ({"TERM": "dumb", "LC_ALL": "C.UTF-8"}, {"TERM": "vt100", "LC_ALL": "C.UTF-8"},
         {"TERM": "xterm-256color", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}, {"LC_ALL": "C"})
COLOUR = {"TERM": "xterm-256color", "LC_ALL": "C"}
HALVES = {"TERM": "xterm", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}


def shown(place, width, env, *words):
    """What umemctl writes to a terminal of @width columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in (
        "COLUMNS", "TERM", "COLORTERM", "NO_COLOR", "LC_ALL", "LC_CTYPE", "LANG")}
    out = b""
    with subprocess.Popen([place.umemctl, *words], stdin=subprocess.DEVNULL, stdout=theirs,
                          stderr=subprocess.PIPE, env={**clean, **env}) as ctl:
        os.close(theirs)
        while True:
            try:
                got = os.read(ours, 65536)
            except OSError:
                break
            if not got:
                break
            out += got
        os.close(ours)
        err = ctl.stderr.read()
    check(ctl.returncode == 0 and err == b"", words, ctl.returncode, err)
    return out.decode("utf-8").replace("\r\n", "\n")


def columns_of(char):
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def screen(text):
    """Lines of columns: (character, foreground, background)."""
    lines = [[]]
    fore = back = None
    for part in re.findall(r"\033\[[0-9;]*m|\n|.", text):
        code = re.fullmatch(r"\033\[(?:(3|4)8;5;(\d+)|(3|4)9)m", part)
        if part == "\n":
            check(fore is None and back is None, "colours run on over the end of a line")
            lines.append([])
        elif code:
            value = int(code[2]) if code[2] else None
            if (code[1] or code[3]) == "3":
                fore = value
            else:
                back = value
        else:
            check(part.isprintable(), "unknown sequence or control:", repr(part))
            lines[-1] += [(part, fore, back)] + (columns_of(part) - 1) * [("", fore, back)]
    check(lines.pop() == [], "the last line does not end")
    return lines


def plain(line):
    return "".join(char for char, _, _ in line)


def label_columns(width):
    name = 5 if width < 25 else min(max(width // 5, 9), 32)
    return name + (0 if width < 60 else 6) + 7


def bytes_of(text):
    number = re.fullmatch(r"([0-9.]+)([KMGT]?)", text)
    check(number, "no size:", text)
    return float(number[1]) * UNITS[number[2]]


def cells_of(columns, halves):
    """The cells of a row: a character each; lengths stay texts like "[4.0M]"."""
    cells = []
    at = 0
    while at < len(columns):
        char, fore, back = columns[at]
        if char == "[":
            end = at + [c for c, _, _ in columns[at:]].index("]")
            cells.append("".join(c for c, _, _ in columns[at:end + 1]))
            at = end
        elif fore is None and back is None:
            if char == " ":
                check(all(c == (" ", None, None) for c in columns[at:]), "a hole in a row")
                return cells
            cells.append(char)
        elif char == "\u258c":
            check(halves, "a half block where there is no UTF-8")
            cells += [SHADES[fore]] + ([SHADES[back]] if back is not None else [])
        else:
            check(char == " " and back is not None, columns[at])
            cells += (2 if halves else 1) * SHADES[back]
        at += 1
    return cells


class Picture:
    """A picture, taken apart: scale, legend, groups: name, cells, rows after the first."""

    def __init__(self, text, width, halves=False):
        lines = screen(text)
        for line in lines:
            check(len(line) <= width, len(line), "columns on", width, plain(line))
        texts = [plain(line).rstrip() for line in lines]
        first, last = texts.index(""), len(texts) - 1 - texts[::-1].index("")
        head = " ".join(x.strip() for x in texts[:first])
        self.cell_bytes = int(bytes_of(re.search(r"1 cell(?: \(half a column\))? = (\S+)$",
                                                 head)[1]))
        check(("half a column" in head) == halves, head)
        check(self.cell_bytes & (self.cell_bytes - 1) == 0, self.cell_bytes)
        label = label_columns(width)
        check(texts[first + 1].split() == ["NAME"] + (["SIZE"] if width >= 60 else []) + ["OUT"],
              texts[first + 1])
        self.groups = []
        self.rows = lines[first + 2:last]
        for line in self.rows:
            name = plain(line)[:label].rstrip() if width >= 60 else plain(line)[:label]
            cells = cells_of(line[label:], halves)
            check(len(line) - label <= (width - label) // 8 * 8, "a row is too long")
            check(cells, "a row without cells")
            if re.match(r"[0-9a-f]{12}\s*$", name) or name.strip() == "":
                before = len(self.expanded(-1))
                self.groups[-1][1].extend(cells)
                self.groups[-1][2].append((name.strip(), before))
            else:
                self.groups.append((name, cells, []))
        self.legend = "\n".join(texts[last + 1:])

    def expanded(self, group=0):
        """One character a cell; a length stands for so many untouched cells."""
        out = ""
        for cell in self.groups[group][1]:
            out += cell if len(cell) == 1 else \
                "." * round(bytes_of(cell[1:-1]) / self.cell_bytes)
        return out


def look(place, width, env, *words):
    text = shown(place, width, env, "swap", *words, "--map")
    if env not in (COLOUR, HALVES):
        check(text.isascii() and "\033" not in text, "not plain:", repr(text))
    if env is COLOUR:
        check(text.isascii() and "\033" in text, "colours without UTF-8:", repr(text))
    return Picture(text, width, env is HALVES)


def pages(place):
    """In a small mapping each page has its cell, in the shade of its state."""
    with SwapVictim(place) as v:
        for area in ("private", "memfd"):
            want = "".join(STATE_OF[s] * ((b - a) // 4096) for a, b, s in v.truth(area))
            for width in WIDTHS:
                for env in (*PLAIN, COLOUR, HALVES):
                    def once(area=area, width=width, env=env, want=want):
                        p = look(place, width, env, str(v.pid), "--region", v.region(area))
                        check(p.cell_bytes == 4096, width, p.cell_bytes)
                        check(len(p.groups) == 1, p.groups)
                        cells_are(p, 0, want, 2 if env is HALVES else 1)
                        check(len(p.groups[0][2]) > 0 or width > 40, width)
                        for label, before in p.groups[0][2] if width > 20 else []:
                            check(int(label, 16) == v.start(area) + before * 4096, label)
                        legend(p)
                    until_true(v, once)


def legend(p):
    """It says what is in the picture, and nothing else."""
    used = {c for _, cells, _ in p.groups for c in cells}
    text = " ".join(p.legend.split())
    for shade, meaning in MEANING.items():
        found = re.search(rf"(^| ){meaning}( |$)", text.replace("[1.0G] untouched", ""))
        if shade in used:
            check(meaning in text, meaning, "is not explained:", text)
        elif shade in "X0%":
            check(not found, meaning, "is explained:", text)
    check(("[1.0G]" in text) == any(len(c) > 1 for c in used), text)


def groups_of(answer):
    """(key, runs) of neighbours that go under one name."""
    groups = []
    for g in answer["regions"]:
        key = (g["kind"], g["page_size_bytes"], g["path"])
        runs = [(int(r["end"], 16) - int(r["start"], 16), r["state"]) for r in g["ranges"]]
        if groups and groups[-1][0] == key:
            groups[-1][1].extend(runs)
        else:
            groups.append((key, runs))
    return groups


def shade(cell):
    """How a cell is to look, by its bytes of each state."""
    out = cell.get("swapped", 0)
    touched = out + cell.get("resident", 0)
    if touched == 0:
        return "0" if cell.get("zero") else "X" if cell.get("guard") else "."
    if touched * 8 < sum(cell.values()):
        return ":" if out else ","
    if out in (0, touched):
        return "#" if out else "-"
    return "+" if out * 3 < touched else "%" if out * 3 > 2 * touched else "*"


def shades(runs, cell_bytes):
    """The cells of a group, worked out page by page."""
    out = ""
    cell = {}
    for n, state in runs:
        while n > 0:
            take = min(n, cell_bytes - sum(cell.values()))
            if not cell and state == "untouched" and n >= cell_bytes:
                out += n // cell_bytes * "."
                n %= cell_bytes
                continue
            cell[state] = cell.get(state, 0) + take
            n -= take
            if sum(cell.values()) == cell_bytes:
                out += shade(cell)
                cell = {}
    return out + (shade(cell) if cell else "")


def cells_are(p, i, want, per_column):
    """Group @i has these cells; long rows of untouched ones are a length, others not."""
    short = 16 * per_column
    at = 0
    for cell in p.groups[i][1]:
        if len(cell) == 1:
            check(want[at] == cell, "cell", at, cell, "not", want[at], p.cell_bytes, want)
            at += 1
            continue
        run = len(want[at:]) - len(want[at:].lstrip("."))
        check(run > short, cell, "stands for", run, "cells")
        check(abs(bytes_of(cell[1:-1]) - run * p.cell_bytes) <= run * p.cell_bytes / 100, cell)
        at += run
    check(at == len(want), "cells:", at, "not", len(want))
    drawn = "".join(c if len(c) == 1 else "|" for c in p.groups[i][1])
    check((short + 1) * "." not in drawn, "a long row was drawn:", drawn)


def whole(place):
    """Of a whole process, each cell is in the shade of what it stands for."""
    with SwapVictim(place) as v:
        scales, seen = set(), set()
        for width in WIDTHS:
            for env in (PLAIN[0], COLOUR, HALVES):
                def once(width=width, env=env):
                    answer = swap(place, str(v.pid), "--ranges")
                    # Not while others have taken away the swap that it was in.
                    check(answer["total"]["swapped_bytes"] >=
                          sums_of(v.truth("mixed"))["swapped"], answer["total"])
                    groups = groups_of(answer)
                    p = look(place, width, env, str(v.pid))
                    check(len(p.groups) == len(groups), width, len(p.groups), len(groups))
                    check(len(p.rows) <= len(groups) + 16, width, len(p.rows))
                    for i, (_, runs) in enumerate(groups):
                        want = shades(runs, p.cell_bytes)
                        cells_are(p, i, want, 2 if env is HALVES else 1)
                        seen.update(want)
                    scales.add(p.cell_bytes)
                    legend(p)
                until_true(v, once)
        check(len(scales) > 2, scales)
        check(seen >= set("#%*+-:.0"), "not tried:", set(MEANING) - seen)


def sparse(place):
    """64 GiB of which five pages were touched are a few cells and a length."""
    with SwapVictim(place) as v:
        for env in (PLAIN[0], HALVES):
            def once(env=env):
                p = look(place, 80, env, str(v.pid), "--region", v.region("sparse"))
                cells = p.groups[0][1]
                check(len(p.rows) == 1 and cells[-1] == "#", cells)
                check(cells[0] == "-" and "[64.0G]" in cells and len(cells) <= 8, cells)
            until_true(v, once)
        p = look(place, 80, PLAIN[0], str(v.pid), "--region",
                 f"{v.start('sparse') + 0x10000:x}-{v.end('sparse') - 0x10000:x}")
        check(p.groups[0][1] == ["[64.0G]"] and p.groups[0][0].endswith(" -"), p.groups)


def names(place):
    """Names are cleaned, and do not move what stands beside them."""
    with SwapVictim(place) as v:
        for width in WIDTHS:
            for env in (PLAIN[0], COLOUR, HALVES):
                text = shown(place, width, env, "swap", str(v.pid), "--map")
                check("\033[31m" not in text and "\u202e" not in text, repr(text))
                Picture(text, width, env is HALVES)
        check(re.search(r"\n/memfd:\?\[31mred(\?|\\012)line\?\? ",
                        shown(place, 200, PLAIN[0], "swap", str(v.pid), "--map")), "lost")
    path = f"/dev/shm/\u65e5\u672c\u8a9e-{os.getpid()}"
    try:
        with open(path, "wb") as file:
            file.write(b"x" * 8192)
        for width in WIDTHS:
            for env in (PLAIN[0], COLOUR, HALVES):
                text = shown(place, width, env, "swap", "--file", path, "--map")
                p = Picture(text, width, env is HALVES)
                check(len(p.expanded()) == 2, width, text)
        row = [x for x in shown(place, 200, HALVES, "swap", "--file", path, "--map").split("\n")
               if x.startswith("/dev/shm/")]
        check(row[-1].startswith(f"{path} "), row)
    except FileNotFoundError:
        return "no /dev/shm"
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return None


def no_terminal(place):
    """In a file or a pipe it is plain, 80 columns, or as many as COLUMNS says."""
    with SwapVictim(place) as v:
        for columns, width in ((None, 80), ("40", 40), ("200", 200), ("x", 80), ("3", 80)):
            env = {**HALVES, **({"COLUMNS": columns} if columns else {"COLUMNS": ""})}
            done = place.run("swap", str(v.pid), "--map", "--region", v.region("private"),
                             env=env)
            check(done.returncode == 0 and done.stderr == "", done.stderr)
            check(done.stdout.isascii() and "\033" not in done.stdout, repr(done.stdout))
            body = done.stdout[done.stdout.index("\n\n") + 1:]
            Picture("pid 1 (x): 1 cell = 4.00K\n" + body, width)


if __name__ == "__main__":
    main([pages, whole, sparse, names, no_terminal], sys.argv[1], sys.argv[2])
