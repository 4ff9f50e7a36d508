#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Workers that are killed: tracking goes on, no change is missed, nothing is left behind.

The oracle is a copy of the target's memory that is kept up by the rounds alone: after each
round the pages that it names are read anew, and the copy must be the memory.
"""
import os
import random
import signal
import sys
import threading
import time

from daemontest import PAGE, Daemon, Target, Writer, check, error_of, main, until

N = 256


def kill_workers(d):
    for pid in d.workers():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Copy:
    """The memory of a writer as the rounds tell it."""

    def __init__(self, w):
        self.w = w
        self.bytes = bytearray(w.content())

    def apply(self, records):
        now = self.w.content()
        pages = self.w.pages(x for x in records if x[2] != 5)
        for page in pages:
            self.bytes[page * PAGE:(page + 1) * PAGE] = now[page * PAGE:(page + 1) * PAGE]
        if self.bytes != now:
            missed = [p for p in range(self.w.n_pages)
                      if self.bytes[p * PAGE:(p + 1) * PAGE] != now[p * PAGE:(p + 1) * PAGE]]
            check(False, "missed changes of pages", missed)
        return pages


def idle(programs):
    """Killed between two rounds: everything since is there, then it is exact again."""
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        copy = Copy(w)
        w.tell("write", 1)
        told, records = c.table(target)
        check(copy.apply(records) == {1}, records)
        w.tell("write", 2)
        w.tell("discard", 3)
        kill_workers(d)
        w.tell("write", 4)
        told, records = c.table(target)
        check(told["recovered"] and told["round"] == 2, told)
        check(copy.apply(records) >= {2, 3, 4}, records)
        told = c.targets("Describe", target=target)["description"]
        check(told["restarts"] == 1 and told["state"] == "tracking", told)
        w.tell("write", 5)
        told, records = c.table(target)
        check(copy.apply(records) == {5} and not told["recovered"], records)
        check("another one takes over" in d.text(), "not told")
        c.targets("Detach", target=target)
        check(w.is_clean(), "something was left")


def untold_round(programs):
    """Killed behind a collect that nobody heard of."""
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        copy = Copy(w)
        c.table(target)
        for page in range(20):
            w.tell("write", page)
            c.send("io.umemd.Dirty.Collect", target=target, form="table")
            c.reply()  # thrown away
            kill_workers(d)
            until(10, lambda: d.workers(), "another one")
            told, records = c.table(target, after=1 if page == 0 else told["round"])
            check(copy.apply(records) >= {page}, records)
            if page % 4 == 3:
                # More than five a minute are too many.
                c.targets("Detach", target=target)
                target = c.targets("Attach", pid=w.pid)["target"]
                c.dirty("Start", target=target, regions=[w.region()])
                copy = Copy(w)
                told, _ = c.table(target)


def before_tracking(programs):
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        kill_workers(d)
        c.dirty("Start", target=target, regions=[w.region()])
        w.tell("write", 3)
        told, records = c.table(target)
        check(w.pages(records) == {3} and not told["recovered"], records)
        # Stopped, killed, started: nothing of the first time comes back.
        c.dirty("Stop", target=target)
        kill_workers(d)
        c.dirty("Start", target=target, regions=[w.region()])
        w.tell("write", 4)
        told, records = c.table(target)
        check(w.pages(records) == {4} and not told["recovered"], records)


def too_often(programs):
    """A target whose workers die again and again is let go, and it is said."""
    with Daemon(programs) as d, d.client() as c, Target(programs) as t:
        target = c.targets("Attach", pid=t.pid)["target"]
        c.dirty("Start", target=target)
        end = time.monotonic() + 30
        while c.targets("Describe", target=target)["description"]["state"] != "failed":
            check(time.monotonic() < end, "it never ends")
            kill_workers(d)
            time.sleep(0.01)
        e = error_of(c.dirty, "Collect", target=target)
        check(e.name == "Failed" and "died too often" in e.parameters["text"], e)
        until(5, t.is_clean, "let go")
        check(not d.workers(), "workers")
        t.step()
        c.targets("Detach", target=target)
        # The process itself is as good as ever.
        c.dirty("Start", target=c.targets("Attach", pid=t.pid)["target"])


class Killer(threading.Thread):
    """Kills workers at random moments until it is stopped."""

    def __init__(self, d, rng, pause):
        super().__init__()
        self.d, self.rng, self.pause = d, rng, pause
        self.kills = 0
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(self.rng.random() * self.pause):
            for pid in self.d.workers():
                try:
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:
                    pass

    def __exit__(self, *_):
        self.stopped.set()
        self.join()

    def __enter__(self):
        self.start()
        return self


def torture(programs):
    """Kills at any moment, of arming, collecting, recovering and letting go."""
    seed = int(os.environ.get("SEED", time.time_ns() % 10**9))
    kills = int(os.environ.get("KILLS", 150))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    slow = 5 if "ASAN_OPTIONS" in os.environ else 1
    rounds = recovered = failed = total = 0
    with Daemon(programs) as d, d.client(timeout=60) as c, \
            Writer(N) as w, Writer(N, "memfd") as shared:
        while total < kills:
            target_of = rng.choice([w, shared])
            with Killer(d, rng, slow * rng.choice([0.05, 0.2, 0.6])) as killer:
                try:
                    n, again = one_life(c, target_of, rng)
                    rounds += n
                    recovered += again
                except Exception as e:  # only of one kind
                    check(getattr(e, "name", "") == "Failed" and "died too often" in str(e), e)
                    failed += 1
                for told in c.targets("List")["targets"]:
                    c.targets("Detach", target=told["target"])
            total += killer.kills
            until(10, lambda: w.is_clean() and shared.is_clean(), "something was left")
    print(f"{total} kills, {rounds} rounds, {recovered} recovered, {failed} given up")
    check(recovered > 5 and rounds > 50, "nothing was tried")


def one_life(c, w, rng):
    """Attach, some rounds under the oracle, detach; how many rounds, and how many recovered."""
    target = c.targets("Attach", pid=w.pid)["target"]
    copy = Copy(w)
    c.dirty("Start", target=target)
    last, again = 0, 0
    n = rng.randrange(3, 30)
    for _ in range(n):
        w.tell("write", *(rng.randrange(N) for _ in range(rng.randrange(40))))
        if rng.random() < 0.3:
            w.tell("discard", rng.randrange(N))
        if rng.random() < 0.2:
            c.send("io.umemd.Dirty.Collect", target=target, form="bitmap", after=last)
            c.fds += c.reply()[1]  # thrown away: the next one says it again
        told, records = c.table(target, after=last)
        check(told["complete"] or w.kind == "memfd", told)
        copy.apply(records)
        last = told["round"]
        again += told["recovered"]
    if rng.random() < 0.5:
        c.targets("Detach", target=target)
    return n, again


if __name__ == "__main__":
    main([idle, untold_round, before_tracking, too_often, torture], sys.argv)
