#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""umemctl top: as a table, as JSON, and on terminals of all sizes, which it gives back."""
import json
import os
import signal
import subprocess
import sys

from daemontest import NOBODY, PAGE, Daemon, Target, Writer, check, main, until
from metrics import Named
from recovery import kill_workers
from terminal import Terminal


def words_of(programs, d, *more):
    return [programs["umemctl"], "--connect", d.socket, "top", *more]


def run(words, user=None, **more):
    def become():
        if user:
            os.setgroups([])
            os.setegid(user)
            os.seteuid(user)
    return subprocess.run(words, capture_output=True, text=True, timeout=30, preexec_fn=become,
                          **more)


class Watched:
    """A daemon with three targets: one that is written much, one little, one that is ready."""

    def __init__(self, programs):
        self.d = Daemon(programs)
        self.c = self.d.client()
        self.much, self.little, self.ready = Writer(256), Writer(256), Writer(16)
        self.writers = (self.much, self.little, self.ready)
        for w in self.writers:
            w.target = self.c.targets("Attach", pid=w.pid)["target"]
        for w in (self.much, self.little):
            self.c.dirty("Start", target=w.target, regions=[w.region()])
        self.round()

    def round(self):
        for w, n in ((self.much, 200), (self.little, 3)):
            w.tell("write", *range(n))
            self.c.dirty("Collect", target=w.target)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print(self.d.text()[-2000:])
        for w in self.writers:
            w.close()
        self.c.close()
        self.d.close()


def not_a_terminal(programs):
    """One table; or lines, which are what the daemon says."""
    with Watched(programs) as w:
        done = run(words_of(programs, w.d))
        lines = done.stdout.splitlines()
        check(done.returncode == 0 and len(lines) == 4, done)
        check(lines[0].split() == ["TARGET", "PID", "NAME", "USER", "STATE", "DIRTY/s", "TRACKED",
                                   "RESIDENT", "SWAPPED", "ROUNDS", "SCAN", "LAST", "RESTARTS",
                                   "AGE"], lines[0])
        order = [int(x.split()[1]) for x in lines[1:]]
        check(order == [w.much.pid, w.little.pid, w.ready.pid], order)
        json_words = words_of(programs, w.d, "--updates", "2", "--interval", "50ms")
        json_words.insert(1, "--json")
        done = run(json_words)
        lines = [json.loads(x) for x in done.stdout.splitlines()]
        check(done.returncode == 0 and len(lines) == 6, done)
        check(lines[0]["at_ns"] < lines[3]["at_ns"], "two updates")
        for line in lines:
            told = w.c.targets("Describe", target=line["target"])["description"]
            for key in ("pid", "name", "uid", "how", "state", "kept", "restarts", "rounds",
                        "recovered", "stop_ns"):
                check(line[key] == told[key], key, line, told)
            for key in ("tracked_bytes", "dirty_bytes", "interval_ns", "scan_ns"):
                check(line[key] == told.get(key), key, line, told)
            tracked = line["pid"] != w.ready.pid
            check((line["idle_ns"] is not None) == tracked, line)
            rate = line["dirty_bytes"] * 10**9 // line["interval_ns"] if tracked else None
            check(line["dirty_bytes_per_s"] == rate or
                  abs(line["dirty_bytes_per_s"] - rate) < 2, line)
            check(line["resident_bytes"] > 1 << 20 and line["swapped_bytes"] is not None, line)
        much = [x for x in lines if x["pid"] == w.much.pid][0]
        check(much["dirty_bytes"] == 200 * PAGE and much["tracked_bytes"] == 256 * PAGE, much)
        # Nobody else sees any of it.
        done = run(json_words, user=NOBODY)
        check(done.returncode == 0 and done.stdout == "", done)
        done = run(words_of(programs, w.d), user=NOBODY)
        check(done.returncode == 0 and len(done.stdout.splitlines()) == 1, done)
        with subprocess.Popen(json_words[:4] + ["top"], stdout=subprocess.PIPE) as endless:
            endless.stdout.readline()
            endless.stdout.close()
            check(endless.wait(10) == 0, "a reader that went away")
    check(run(words_of(programs, w.d)).returncode == 1, "no daemon")


def usage(programs):
    with Daemon(programs) as d:
        for more in (["x"], ["--interval", "1"], ["--interval", "1ms"], ["--sort", "x"],
                     ["--updates", "0"], ["--x"]):
            done = run(words_of(programs, d, *more))
            check(done.returncode == 2 and "--help" in done.stderr, more, done)
        done = run(words_of(programs, d, "--help"))
        check(done.returncode == 0 and "--sort" in done.stdout, done)


def rows(t):
    """Lines of targets: words by title."""
    lines = t.lines()
    titles = lines[1].split()
    return [dict(zip(titles, line.split())) for line in lines[2:]
            if line.split() and line.split()[0].startswith("t") and line.split()[0][1:].isdigit()]


def pids(t):
    return [int(r["PID"]) for r in rows(t)]


def keys(programs):
    """Keys put the list in order; the numbers move."""
    with Watched(programs) as w, \
            Terminal(words_of(programs, w.d, "--interval", "200ms"), 30, 140) as t:
        pid = {n: getattr(w, n).pid for n in ("much", "little", "ready")}
        t.until(lambda: pids(t) == [pid["much"], pid["little"], pid["ready"]], "by dirty")
        check(t.page == 2 and not t.cursor_shown, "the second page")
        first = t.lines()[0]
        check("3 targets, 2 tracked" in first and "by DIRTY/s" in first and w.d.socket in first,
              first)
        check(all("7" == a for c, a in t.cells[1] if c != " "), "the head is reversed")
        foot = "  ".join(t.lines()[-3:])
        for word in ("d dirty", "p pid", "q quit", "v reverse"):
            check(word in foot, word, "in", foot)
        t.press("p")
        t.until(lambda: pids(t) == sorted(pid.values(), reverse=True), "by pid")
        t.press("v")
        t.until(lambda: pids(t) == sorted(pid.values()), "reversed")
        check("by PID reversed" in t.lines()[0], t.lines()[0])
        t.press("e")
        t.until(lambda: [r["STATE"] for r in rows(t)] == ["ready", "tracking", "tracking"], "state")
        t.press("d")
        t.until(lambda: pids(t)[0] == pid["much"], "by dirty again")
        for _ in range(3):
            w.round()
        rounds = w.c.targets("Describe", target=w.much.target)["description"]["rounds"]
        t.until(lambda: rows(t)[0]["ROUNDS"] == str(rounds), rounds)
        kill_workers(w.d)
        t.until(lambda: all(r["RESTARTS"] == "1" for r in rows(t)), "restarts")
        w.ready.close()
        t.until(lambda: len(rows(t)) == 2 or "ended" in t.text(), "ended")
        t.press("q")
        code, err = t.end()
        check(code == 0 and not err and t.is_given_back(), code, err)


def scrolling(programs):
    with Daemon(programs) as d, d.client() as c:
        writers = [Writer(1) for _ in range(12)]
        try:
            for w in writers:
                c.targets("Attach", pid=w.pid)
            want = sorted(w.pid for w in writers)
            with Terminal(words_of(programs, d, "--sort", "pid", "--reverse", "--interval",
                                   "100ms"), 11, 140) as t:
                t.until(lambda: pids(t) and pids(t) == want[:len(pids(t))], "the first")
                room = len(pids(t))
                check(3 <= room < 12, room)
                t.press("\033[B")
                t.until(lambda: pids(t) == want[1:room + 1], "one down")
                t.press("\033[6~")
                t.until(lambda: pids(t) == want[min(room + 1, 12 - room):][:room], "a page down")
                t.press("\033[F")
                t.until(lambda: pids(t) == want[-room:], "the last")
                t.press("\033[B\033[B")
                t.next_picture()
                check(pids(t) == want[-room:], "beyond")
                t.press("\033[A")
                t.until(lambda: pids(t) == want[-room - 1:-1], "one up")
                t.press("\033[1~")
                t.until(lambda: pids(t) == want[:room], "the first again")
        finally:
            for w in writers:
                w.close()


def sizes(programs):
    """Every size has lines that fit, with the columns that say most; and it follows changes."""
    with Watched(programs) as w, Named("Grüße/世界/x".encode()[:15]) as named, \
            Named(b"\x1b[2J\n\xff\xc2\x9bm") as hostile:
        for one in (named, hostile):
            w.c.targets("Attach", pid=one.pid)
        with Terminal(words_of(programs, w.d, "--interval", "50ms"), 24, 80) as t:
            t.until(lambda: t.drawn > 2, "a picture")
            for columns in (80, 20, 21, 33, 40, 64, 79, 100, 131, 250, 80):
                for n in (24, 1, 2, 3, 5, 8, 50):
                    t.size(n, columns)
                    t.next_picture()
                    lines = t.lines()
                    check("5 target" in lines[0], n, columns, lines)
                    if n < 3:
                        continue
                    check("PID" in lines[1] and "NAME" in lines[1], lines[1])
                    shown = sum(any(str(x.pid) in line for x in
                                    (w.much, w.little, w.ready, named, hostile))
                                for line in lines[2:])
                    check(shown >= min(5, n - 2, 3), n, columns, t.text())
                    check(("DIRTY/s" in lines[1]) == (columns >= 25), columns, lines[1])
                    check(("AGE" in lines[1]) == (columns >= 100), columns, lines[1])
            t.size(20, 140)
            t.next_picture()
            check("Grüße/世界" in t.text() or "Grüße/世" in t.text(), t.text())
            check("?[2J" in t.text(), t.text())
            t.press("q")
            check(t.end()[0] == 0 and t.is_given_back(), "given back")


def colours(programs):
    """Colours only where there are any, and they are wanted."""
    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "vt100"}, False)):
        with Watched(programs) as w:
            with Terminal(words_of(programs, w.d, "--interval", "100ms"), 24, 140, env) as t:
                t.until(lambda: len(pids(t)) == 3, "targets")
                while "failed" not in t.text():
                    kill_workers(w.d)
                    t.pump()
                t.next_picture()
                found = {a for line in t.cells[2:] for c, a in line if c != " "}
                check((found > {""}) == coloured, env, found)


def given_back(programs):
    """However it ends, the terminal is as it was."""
    ends = {
        "q": lambda t, w: t.press("q"),
        "Ctrl-C": lambda t, w: t.press("\x03"),
        "Ctrl-\\": lambda t, w: t.press("\x1c"),
        "SIGTERM": lambda t, w: t.send(signal.SIGTERM),
        "SIGHUP": lambda t, w: t.send(signal.SIGHUP),
        "SIGINT": lambda t, w: t.send(signal.SIGINT),
        "daemon": lambda t, w: w.d.proc.kill(),
    }
    with Watched(programs) as w:
        for name, end in ends.items():
            for n, columns in ((24, 80), (5, 30)):
                if name == "daemon" and n == 5:
                    continue
                with Terminal(words_of(programs, w.d, "--interval", "100ms"), n, columns) as t:
                    t.until(lambda: t.drawn > 2, "a picture")
                    check(not t.is_given_back(), "not ours")
                    end(t, w)
                    code, err = t.end()
                    check(t.is_given_back(), name)
                    if name == "daemon":
                        check(code == 1 and "connection to umemd is over" in err, code, err)
                    else:
                        check(code == 0 and err == "", name, code, err)
    with Watched(programs) as w:
        with Terminal(words_of(programs, w.d, "--updates", "3", "--interval", "50ms")) as t:
            check(t.end()[0] == 0 and t.is_given_back() and t.drawn >= 3, "updates")
        with Terminal(words_of(programs, w.d, "--interval", "50ms")) as t:
            t.until(lambda: t.drawn > 2, "a picture")
            t.hang_up()
            t.proc.wait(10)
        # A terminal that can do nothing gets the table; no keys where nobody is to press any.
        with Terminal(words_of(programs, w.d), env={"TERM": "dumb"}) as t:
            check(t.end()[0] == 0 and t.drawn == 0 and t.is_given_back(), "dumb")
        with Terminal(words_of(programs, w.d, "--interval", "50ms"), keys=False) as t:
            t.until(lambda: t.drawn > 3, "pictures")
            t.press("q")
            t.next_picture()
            t.send(signal.SIGTERM)
            check(t.end()[0] == 0 and t.is_given_back(), "no keys")


def stopped(programs):
    """Ctrl-Z gives the terminal back, and going on takes it again."""
    def state(t):
        with open(f"/proc/{t.proc.pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    with Watched(programs) as w, \
            Terminal(words_of(programs, w.d, "--interval", "100ms"), 24, 140) as t:
        for _ in range(3):
            t.until(lambda: len(pids(t)) == 3, "targets")
            t.press("\x1a")
            until(5, lambda: state(t) == "T", "it does not stop")
            t.pump()
            check(t.is_given_back(), "stopped, and not given back")
            t.clear()
            t.send(signal.SIGCONT)
            t.next_picture()
            check(t.page == 2 and not t.cursor_shown and not t.is_given_back(), "taken again")
        # Stopped unheard, while somebody else used the terminal.
        t.send(signal.SIGSTOP)
        until(5, lambda: state(t) == "T", "it does not stop")
        t.clear()
        t.send(signal.SIGCONT)
        t.until(lambda: len(pids(t)) == 3, "drawn anew")
        t.press("q")
        check(t.end()[0] == 0 and t.is_given_back(), "given back")


main([not_a_terminal, usage, keys, scrolling, sizes, colours, given_back, stopped], sys.argv)
