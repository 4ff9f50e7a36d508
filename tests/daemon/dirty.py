#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""io.umemd.Dirty from outside: every form tells the same, and no change is lost on its way."""
import errno
import fcntl
import mmap
import os
import random
import sys
import time

from daemontest import NOBODY, PAGE, Daemon, Writer, check, error_of, main, read_table, until

N = 256
WHY = ["written", "new", "punched", "sharer", "pinned", "gone"]


def start(c, w, **more):
    target = c.targets("Attach", pid=w.pid)["target"]
    return target, c.dirty("Start", target=target, regions=[w.region()], **more)


def collect(c, w, target, form, **more):
    """Pages of a round, in any form, and the round."""
    c.send("io.umemd.Dirty.Collect", target=target, form=form, **more)
    message, fds = c.reply()
    got = message["parameters"]
    if form == "numbers":
        pages = None
    elif form == "ranges":
        pages = w.pages((x["start"], x["end"]) for x in got["ranges"])
        check(all(x["why"] in WHY for x in got["ranges"]), got)
    elif form == "table":
        sealed(fds[got["table"]])
        pages = w.pages(x for x in read_table(fds[got["table"]]) if x[2] != 5)
    else:
        fd = fds[got["bitmap"]]
        sealed(fd)
        bits = os.pread(fd, os.fstat(fd).st_size, 0)
        os.close(fd)
        pages = set()
        for area in got["areas"]:
            for n in range((area["end"] - area["start"]) // PAGE):
                if bits[area["offset"] + n // 8] >> n % 8 & 1:
                    pages |= w.pages([(area["start"] + n * PAGE, area["start"] + (n + 1) * PAGE)])
    return pages, got["round"]


def sealed(fd):
    seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    want = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    check(seals & want == want, "not sealed", seals)


def forms(programs):
    rng = random.Random(5)
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target, armed = start(c, w)
        check(armed["tracked_bytes"] == N * PAGE and armed["tracker"] == "wp_async", armed)
        for number in range(1, 41):
            form = ("ranges", "table", "bitmap", "numbers")[number % 4]
            want = {rng.randrange(N) for _ in range(rng.randrange(60))}
            if number % 7 == 0:
                want = set(range(rng.randrange(N), N))
            w.tell("write", *want)
            pages, told = collect(c, w, target, form)
            check(pages is None or pages == want, form, pages, want)
            check(told["round"] == number and told["dirty_bytes"] == len(want) * PAGE, told)
            check(told["complete"] and not told["recovered"] and not told["incomplete"], told)
        c.targets("Detach", target=target)
        check(w.is_clean(), "something was left")


def lost_replies(programs):
    """What did not arrive is in the next round, however often."""
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target, _ = start(c, w)
        w.tell("write", 1)
        pages, told = collect(c, w, target, "table")
        check(pages == {1} and told["round"] == 1, pages)
        for page in (2, 3):
            w.tell("write", page)
            collect(c, w, target, "table", after=1)  # as if nobody got it
        w.tell("write", 4)
        pages, told = collect(c, w, target, "table", after=1)
        check(pages == {2, 3, 4} and told["round"] == 4, pages, told)
        pages, told = collect(c, w, target, "table", after=4)
        check(pages == set(), pages)
        e = error_of(c.dirty, "Collect", target=target, after=2)
        check(e.name == "Failed" and e.parameters["errno"] == errno.EINVAL, e)
        w.tell("write", 6)
        check(collect(c, w, target, "ranges")[0] == {6}, "goes on")


def states(programs):
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        check(error_of(c.dirty, "Collect", target=target).name == "NotStarted", "collect")
        check(error_of(c.dirty, "Stop", target=target).name == "NotStarted", "stop")
        c.dirty("Start", target=target)
        check(error_of(c.dirty, "Start", target=target).name == "AlreadyStarted", "start")
        w.tell("write", 7)
        c.dirty("Stop", target=target)
        check(error_of(c.dirty, "Collect", target=target).name == "NotStarted", "stopped")
        # Started anew it begins at one, with what is written from then on.
        c.dirty("Start", target=target, regions=[w.region()])
        w.tell("write", 9)
        pages, told = collect(c, w, target, "ranges")
        check(pages == {9} and told["round"] == 1, pages, told)


def refusals(programs):
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        e = error_of(c.dirty, "Start", target=target,
                     regions=[{"start": PAGE, "end": 2 * PAGE}])
        check(e.name == "Failed" and e.parameters["errno"] == errno.ENOENT, e)
        check("no mapping" in e.parameters["text"], e)
        for bad in ({"start": 5, "end": 5}, {"start": -PAGE, "end": PAGE}):
            e = error_of(c.dirty, "Start", target=target, regions=[bad])
            check(e.name == "Failed" and e.parameters["errno"] == errno.EINVAL, e)
        e = error_of(c.dirty, "Start", target=target, tracker="nothing")
        check(e.name == "Failed" and "nothing" in e.parameters["text"], e)
        e = error_of(c.dirty, "Start", target=target, pins="sometimes")
        check(e.name == "InvalidParameter" and e.parameters["parameter"] == "pins", e)
        e = error_of(c.dirty, "Start", target=target, region=[])
        check(e.name == "InvalidParameter" and e.parameters["parameter"] == "region", e)
        e = error_of(c.dirty, "Start", target=target,
                     regions=[{"start": 0, "end": 1}, {"start": 0, "end": "1"}])
        check(e.parameters["parameter"] == "regions[1].end", e)
        # None of it did any harm.
        c.dirty("Start", target=target, regions=[w.region()])
        w.tell("write", 2)
        check(collect(c, w, target, "ranges")[0] == {2}, "works")


def many_ranges(programs):
    """More ranges than a reply takes: refused, and then in the table with the rest."""
    n = 24000
    with Daemon(programs) as d, d.client(timeout=60) as c, Writer(n) as w:
        target, _ = start(c, w)
        w.tell("every", 2)
        e = error_of(collect, c, w, target, "ranges")
        check(e.name == "TooManyRanges" and e.parameters["ranges"] == n // 2, e)
        w.tell("write", 1)
        pages, told = collect(c, w, target, "table")
        check(pages == set(range(0, n, 2)) | {1}, "pages are missing")
        check(told["dirty_bytes"] == (n // 2 + 1) * PAGE, told)
        w.tell("every", 2)
        error_of(collect, c, w, target, "ranges")
        check(collect(c, w, target, "bitmap")[0] == set(range(0, n, 2)), "bitmap")


def shared_memory(programs):
    """Shared memory, which a worker can look at only with the help of the manager."""
    with Daemon(programs) as d, d.client() as c, Writer(N, "memfd") as w:
        target, armed = start(c, w)
        check(armed["tracked_bytes"] == N * PAGE, armed)
        w.tell("write", 3, 200)
        check(collect(c, w, target, "ranges")[0] == {3, 200}, "written")
        w.tell("punch", 50)
        c.send("io.umemd.Dirty.Collect", target=target, form="ranges")
        got = c.reply()[0]["parameters"]
        check(w.pages((x["start"], x["end"]) for x in got["ranges"]) == {50}, got)
        check([x["why"] for x in got["ranges"]] == ["punched"], got)
        check(got["round"]["complete"], got)


def map_memfd(w):
    """Map the shared memory of a writer here, for writing."""
    for fd in os.listdir(f"/proc/{w.pid}/fd"):
        if "memfd:writer" in os.readlink(f"/proc/{w.pid}/fd/{fd}"):
            with open(f"/proc/{w.pid}/fd/{fd}", "r+b") as file:
                return mmap.mmap(file.fileno(), w.n_pages * PAGE)
    raise AssertionError("no memfd")


def other_writers(programs):
    """Who else may write shared memory is found, and named to those who may know."""
    for user, words in ((None, f"pid {os.getpid()} ("), (NOBODY, "a process of another user")):
        with Daemon(programs) as d, Writer(N, "memfd", user=user) as w:
            with client_of(d, user) as c:
                target, _ = start(c, w)
                w.tell("write", 1)
                check(collect(c, w, target, "ranges")[1]["complete"], "alone")
                memory = map_memfd(w)
                w.tell("write", 2)
                pages, told = collect(c, w, target, "ranges")
                check(pages >= {2} and not told["complete"], told)
                reasons = [x["reason"] for x in told["incomplete"]]
                check(any(words in r and "may write it" in r for r in reasons), reasons)
                if user:
                    check(not any(str(os.getpid()) in r for r in reasons), reasons)
                memory.close()
                check(collect(c, w, target, "ranges")[1]["complete"], "alone again")


def client_of(d, user):
    if user is None:
        return d.client()
    os.setegid(user)
    os.seteuid(user)
    try:
        return d.client()
    finally:
        os.seteuid(0)
        os.setegid(0)


def pins_are_seen(programs):
    """The worker can list the descriptors of its target: it is not blind to pins."""
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target, _ = start(c, w, pins="report")
        check(c.dirty("Collect", target=target)["round"]["complete"], "pins hidden")


def monitor(programs):
    with Daemon(programs) as d, d.client() as c, d.client() as other, Writer(N) as w:
        target, _ = start(c, w)
        e = error_of(c.call, "io.umemd.Dirty.Monitor", target=target, interval_ns=10**7)
        check(e.parameters["parameter"] == "more", e)
        c.send("io.umemd.Dirty.Monitor", more=True, target=target, interval_ns=20_000_000,
               rounds=5, form="ranges")
        found, begin = set(), time.monotonic()
        for number in range(1, 6):
            w.tell("write", number)
            message, _ = c.reply()
            got = message["parameters"]
            check(got["round"]["round"] == number, got)
            check(message.get("continues", False) == (number < 5), message)
            found |= w.pages((x["start"], x["end"]) for x in got["ranges"])
        check(0.09 < time.monotonic() - begin < 5, "interval", time.monotonic() - begin)
        check(found >= {1, 2, 3, 4}, found)
        # Without an end: until the connection ends. Its target goes with it.
        c.send("io.umemd.Dirty.Monitor", more=True, target=target, interval_ns=5_000_000)
        for _ in range(3):
            c.reply()
        c.close()
        until(10, lambda: w.is_clean() and other.targets("List") == {"targets": []}, w.left)


def slow_reader(programs):
    """One that does not read gets fewer rounds, and misses no change."""
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        target, _ = start(c, w)
        c.send("io.umemd.Dirty.Monitor", more=True, target=target, interval_ns=1_000_000,
               form="ranges", rounds=10000)
        written, found, last = set(), set(), 0
        for page in range(40):
            w.tell("write", page)
            written.add(page)
            time.sleep(0.01)
        while not found >= written:
            got = c.reply()[0]["parameters"]
            check(got["round"]["round"] == last + 1, "a round was skipped", got)
            last += 1
            found |= w.pages((x["start"], x["end"]) for x in got["ranges"])


def dropped_reader(programs):
    """One that reads nothing at all is dropped, and its target let go."""
    n = 8000
    with Daemon(programs, config="[Daemon]\nSlowReader=500ms\n") as d, d.client() as c, \
            Writer(n) as w:
        target, _ = start(c, w)
        c.send("io.umemd.Dirty.Monitor", more=True, target=target, interval_ns=1_000_000,
               form="ranges")
        end = time.monotonic() + 20
        while "does not read" not in d.text():
            check(time.monotonic() < end, "not dropped")
            w.tell("every", 2)
        while not w.is_clean():
            check(time.monotonic() < end, "not let go")
            time.sleep(0.01)
        with d.client() as other:
            check(other.targets("List") == {"targets": []}, "still there")


main([forms, lost_replies, states, refusals, many_ranges, shared_memory, other_writers,
      pins_are_seen, monitor, slow_reader, dropped_reader], sys.argv)
