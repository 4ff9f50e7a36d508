# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of `umemctl snapshot` and `image` share: snapshots, victims, truth."""
import os
import select
import signal
import subprocess
import sys

from ctltest import check, json_lines

PAGE = 4096
# What was begun is ended then: files, victims.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

METHODS = ("freeze", "precopy", "cow", "fork")

# Of tests/matrix/staircase.h.
KINDS = {"anon": 0, "memfd": 1, "shared": 2, "file": 3, "alias": 4, "thp": 5, "hugetlb": 6,
         "mixed": 8}
CALM = 1 | 64 | 128 | 256 | 512 | 2048


def snapshot_words(pid, path, method=None, *more):
    return ["--json", "snapshot", str(pid), "-o", path,
            *(["--method", method] if method else []), *more]


def take(place, pid, path, method=None, *more, code=0, **how):
    """A snapshot. Return: its event "done"; with another code than 0, what it said."""
    done = place.run(*snapshot_words(pid, path, method, *more), **how)
    check(done.returncode == code, method, "exit", done.returncode, "not", code, done.stderr)
    lines = json_lines(done.stdout)
    if code:
        check(all(x["event"] == "progress" for x in lines), lines)
        return done.stderr
    check(lines and lines[-1]["event"] == "done", lines)
    return lines[-1]


def read(place, path, at, length, *more):
    """Bytes of an image."""
    words = [place.umemctl, "image", "read", path, "--at", hex(at), "--len", str(length), *more]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    check(done.returncode == 0, words[1:], "exit", done.returncode, done.stderr)
    check(len(done.stdout) == length, words[1:], "gave", len(done.stdout), "bytes")
    return done.stdout


def vm_flags(pid):
    """The start of each mapping and its flags."""
    flags, start = {}, None
    with open(f"/proc/{pid}/smaps", errors="replace") as file:
        for line in file:
            word = line.split()[0]
            if "-" in word and not word.endswith(":"):
                start = int(word.split("-")[0], 16)
            elif word == "VmFlags:":
                flags[start] = set(line.split()[1:])
    return flags


def status(pid, key):
    with open(f"/proc/{pid}/status", errors="replace") as file:
        for line in file:
            if line.startswith(key + ":"):
                return line.split(":", 1)[1].strip()
    return None


def descriptors(pid):
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            pass
    return found


def children(pid):
    found = []
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/children") as file:
                found += [int(x) for x in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return sorted(found)


class Traces:
    """What a process looks like, to be compared with what it looks like later."""

    def __init__(self, pid):
        self.pid = pid
        self.fds = descriptors(pid)
        self.children = children(pid)
        self.threads = status(pid, "Threads")

    def check(self):
        """Nothing was left in it. What works for us may outlive umemctl by a moment."""
        def one():
            busy = {hex(at): sorted(f & {"um", "uw", "ui"}) for at, f in
                    vm_flags(self.pid).items() if f & {"um", "uw", "ui"}}
            return [text for text in (
                busy and f"still registered: {busy}",
                status(self.pid, "TracerPid") != "0" and "still traced",
                descriptors(self.pid) != self.fds and
                f"descriptors: {descriptors(self.pid)}, not {self.fds}",
                children(self.pid) != self.children and f"children: {children(self.pid)}",
                status(self.pid, "Threads") != self.threads and "threads came or went",
            ) if text]
        until(lambda: not one(), lambda: f"left behind in {self.pid}: {one()}")


def until(cond, what, seconds=10):
    """Wait for what has no descriptor to wait on."""
    for _ in range(seconds * 200):
        if cond():
            return
        select.select([], [], [], 0.005)
    check(cond(), "not within", seconds, "s:", what() if callable(what) else what)


class Staircase:
    """A process whose memory proves of any image whether it is one moment."""

    def __init__(self, place, lanes=2, kind="anon", pages=509, churn=0, processes=1, seed=1):
        self.place = place
        setup = f"{lanes} {KINDS[kind]} {pages} {churn} {processes} {seed}"
        self.proc = subprocess.Popen([place.victim, "--staircase", setup], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.proc.pid
        self.await_word("ready")
        self.traces = Traces(self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.wait()

    def await_word(self, word):
        check(select.select([self.proc.stdout], [], [], 60)[0], "the victim does not answer")
        words = self.proc.stdout.readline().split()
        check(words and words[0] == word, "victim:", words, "exit", self.proc.poll())
        return int(words[1])

    def order(self, char):
        self.proc.stdin.write(char)
        self.proc.stdin.flush()

    def unharmed(self):
        """It goes on, with the right bytes, and nothing is left in it."""
        if status(self.pid, "State")[0] == "T":
            os.kill(self.pid, signal.SIGCONT)
        self.order("\n")
        self.await_word("ok")
        self.traces.check()

    def judge(self, path, done=None):
        """The image at @path is one moment. Return: pages written until then."""
        unknown = [f"{r['start'][2:]}-{r['end'][2:]}" for r in (done or {}).get("incomplete", [])]
        got = subprocess.run([self.place.victim, "judge", path, str(self.pid), *unknown],
                             text=True, capture_output=True, timeout=60, check=False,
                             env={**os.environ, "UMEMCTL": self.place.umemctl})
        check(got.returncode == 0, got.stdout, got.stderr)
        return int(got.stdout.split()[2])
