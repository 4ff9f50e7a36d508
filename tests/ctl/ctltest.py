# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of umemctl share: running it, victims, checks."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

NOBODY = 65534


class Failed(Exception):
    pass


def check(cond, *what):
    if not cond:
        raise Failed(" ".join(str(w) for w in what))


class Place:
    """umemctl and the victim program, where also another user can run them."""

    def __init__(self, umemctl, victim):
        self.dir = tempfile.mkdtemp(prefix="umemctl-test-")
        os.chmod(self.dir, 0o755)
        self.umemctl = shutil.copy(umemctl, self.dir)
        self.victim = shutil.copy(victim, self.dir)

    def close(self):
        shutil.rmtree(self.dir)

    def run(self, *words, user=None, env=None, **more):
        """Run umemctl to its end. Ends in an error after a minute."""
        more.setdefault("stdin", subprocess.DEVNULL)
        who = {"user": user, "group": user, "extra_groups": []} if user else {}
        full = {k: v for k, v in os.environ.items() if not k.startswith("UMEM_")}
        full.update(env or {})
        return subprocess.run([self.umemctl, *words], text=True, timeout=60, env=full,
                              errors="backslashreplace",
                              stdout=more.pop("stdout", subprocess.PIPE),
                              stderr=subprocess.PIPE, **who, **more)


class Victim:
    """A process that checks its own memory; ended when the block is left."""

    def __init__(self, place, mode="plain", user=None):
        who = {"user": user, "group": user, "extra_groups": []} if user else {}
        self.mode = mode
        self.proc = subprocess.Popen([place.victim, mode], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True, **who)
        words = self.proc.stdout.readline().split()
        check(words and words[0] == "ready", "victim:", words)
        self.pid, self.tid, self.region = int(words[1]), int(words[2]), words[3]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.wait()

    def status(self, key):
        with open(f"/proc/{self.pid}/status", errors="replace") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return line.split(":", 1)[1].strip()
        return None

    def n_uffds(self):
        n = 0
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            n += "userfaultfd" in os.readlink(f"/proc/{self.pid}/fd/{fd}")
        return n

    def unharmed(self):
        """It runs, its memory is right, and nothing of ours is left in it."""
        check(self.status("TracerPid") == "0", "it is still traced")
        check(self.n_uffds() == (self.mode == "uffd"), "a userfaultfd was left behind")
        if self.mode != "uffd":
            with open(f"/proc/{self.pid}/smaps") as file:
                for line in file:
                    if line.startswith("VmFlags:"):
                        check(not {"um", "uw", "ui"} & set(line.split()), "still registered")
        stopped = self.status("State")[0] == "T"
        if stopped:
            os.kill(self.pid, signal.SIGCONT)
        self.proc.stdin.write("\n")
        self.proc.stdin.flush()
        answer = self.proc.stdout.readline()
        check(answer.startswith("ok"), "the victim's memory is wrong:", answer)


def json_lines(text):
    """The objects of a JSON-lines text; each line must be one whole object."""
    lines = []
    for line in text.splitlines():
        value = json.loads(line)
        check(isinstance(value, dict), "not an object:", line)
        lines.append(value)
    return lines


def clear_line(text, usage):
    """One line that says who speaks; usage errors may add where to read more."""
    lines = text.splitlines()
    check(lines and lines[0].startswith("umemctl: "), "no clear line on stderr:", repr(text))
    if usage and len(lines) == 2:
        check(lines[1].startswith("Try 'umemctl"), "second line:", lines[1])
    else:
        check(len(lines) == 1, "more than one line on stderr:", repr(text))


def main(cases, umemctl, victim):
    """Run functions, print what failed, exit as test programs do."""
    place = Place(umemctl, victim)
    failed = skipped = 0
    try:
        for case in cases:
            try:
                why = case(place)
                print(f"{'SKIP' if why else 'ok  '} {case.__name__} {why or ''}")
                skipped += bool(why)
            except (Failed, OSError, ValueError, subprocess.SubprocessError) as e:
                print(f"FAIL {case.__name__}: {e}")
                failed += 1
    finally:
        place.close()
    print(f"{len(cases)} cases, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
