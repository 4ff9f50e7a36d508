# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of `umemctl swap` share: swap, victims with known pages, truth."""
import json
import subprocess
import sys

import ctltest
from ctltest import check, json_lines

STATES = ("resident", "swapped", "zero", "untouched", "guard")

# Something else on the machine may page out, or in, between victim and look.
ATTEMPTS = 8


class SwapVictim:
    """Memory in known states; ended when the block is left."""

    def __init__(self, place, mode="areas", user=None):
        who = {"user": user, "group": user, "extra_groups": []} if user else {}
        self.proc = subprocess.Popen([place.victim, mode], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True, **who)
        self.skipped = None
        self.read()

    def read(self):
        line = self.proc.stdout.readline()
        if line.startswith("SKIP"):
            self.skipped = line.strip()
            return
        check(line.startswith("{"), "victim:", repr(line))
        told = json.loads(line)
        self.pid, self.child, self.areas = told["pid"], told["child"], told["areas"]

    def again(self):
        """Have every page brought to its state again."""
        self.proc.stdin.write("\n")
        self.proc.stdin.flush()
        self.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.wait()

    def major_faults(self):
        with open(f"/proc/{self.pid}/stat", encoding="latin-1") as file:
            return int(file.read().rsplit(")", 1)[1].split()[9])

    def start(self, name):
        return self.areas[name]["start"]

    def end(self, name):
        return self.truth(name)[-1][1]

    def region(self, name):
        return f"{self.start(name):x}-{self.end(name):x}"

    def fd_path(self, name):
        return f"/proc/{self.pid}/fd/{self.areas[name]['fd']}"

    def truth(self, name, start=None):
        """Runs of (start, end, state), neighbours in one state joined."""
        area = self.areas[name]
        at = area["start"] if start is None else start
        runs = []
        for state, n in area["runs"]:
            runs.append((at, at + n * area["page"], state))
            at += n * area["page"]
        return join(runs)


def join(runs):
    out = []
    for start, end, state in runs:
        if out and out[-1][1] == start and out[-1][2] == state:
            out[-1] = (out[-1][0], end, state)
        else:
            out.append((start, end, state))
    return out


def told_runs(answer):
    """The ranges of an answer, joined over its regions."""
    return join([(int(r["start"], 16), int(r["end"], 16), r["state"])
                 for region in answer["regions"] for r in region["ranges"]])


def sums_of(runs):
    sums = dict.fromkeys(STATES, 0)
    for start, end, state in runs:
        sums[state] += end - start
    return sums


def swap(place, *words, code=0, **more):
    """The JSON object that `umemctl swap` prints."""
    done = place.run("--json", "swap", *words, **more)
    check(done.returncode == code, words, "exit", done.returncode, "not", code, done.stderr)
    if code != 0:
        check(done.stdout == "", done.stdout)
        return done.stderr
    check(done.stderr == "", done.stderr)
    lines = json_lines(done.stdout)
    check(len(lines) == 1, len(lines), "lines")
    return lines[0]


def until_true(victim, look):
    """@look raises Failed while the world is not as the victim brought it; try again then."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return look()
        except ctltest.Failed:
            if left == 0:
                raise
            victim.again()
    return None


def main(cases, umemctl, victim):
    """As ctltest.main(), with swap on; all is skipped where there can be none."""
    hold = subprocess.Popen([victim, "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True)
    try:
        line = hold.stdout.readline()
        if not line.startswith("{"):
            print(line.strip() or "SKIP: no swap")
            sys.exit(77)
        ctltest.main(cases, umemctl, victim)
    finally:
        hold.stdin.close()
        hold.stdout.close()
        hold.wait()
