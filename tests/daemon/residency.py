#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where pages are and moving them, through umemd.

The oracle is the same look by this program itself (umemctl --embedded): both tell the
same, of every kind of memory and in every state. What was put out and brought back
is proved by where it is then, looked at embedded.
"""
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import types

from daemontest import (NOBODY, PAGE, Client, Daemon, Failed, Target, VarlinkError, Writer,
                        check, error_of, main_with_swap, read_table, until)

VICTIM = sys.argv[5]
sys.path.insert(0, sys.argv[6])
from swaptest import SwapVictim, join  # noqa: E402  (of tests/ctl)

STATES = ("untouched", "resident", "swapped", "zero", "guard")
# Something else on the machine may move pages between two looks.
ATTEMPTS = 8


def call(c, method, /, **parameters):
    return c.call("io.umemd.Residency." + method, **parameters)


def opened(c, pid):
    return c.targets("Open", pid=pid)["target"]


def victim(mode="areas"):
    return SwapVictim(types.SimpleNamespace(victim=VICTIM), mode)


def umemctl(programs, where, *words, code=0):
    done = subprocess.run([programs["umemctl"], "--json", *where, *words], capture_output=True,
                          text=True, timeout=120)
    check(done.returncode == code, words, "exit", done.returncode, done.stderr)
    check(code or done.stderr == "", words, done.stderr)
    return json.loads(done.stdout) if code == 0 else done.stderr


def embedded(programs, *words):
    return umemctl(programs, ["--embedded"], *words)


def swapped_of(programs, pid, region):
    told = embedded(programs, "swap", str(pid), "--region",
                    f"{region['start']:x}-{region['end']:x}")
    return told["total"]["swapped_bytes"], told["total"]["resident_bytes"]


def until_true(look, again):
    for left in reversed(range(ATTEMPTS)):
        try:
            return look()
        except Failed:
            if left == 0:
                raise
            again()
    return None


def same_map(programs):
    """Every kind of memory, each page: the same object, member by member."""
    with Daemon(programs) as d, victim() as v:
        remote = ["--connect", d.socket]
        areas = [a for a in ("private", "memfd", "shared", "sparse", "mixed") if a in v.areas]
        words = [["--region", v.region(a), "--ranges"] for a in areas]
        words += [["--region", v.region("memfd"), "--sharers"], []]
        words += [["--region", v.region(a), "--ranges", "--method", m] for a in ("private", "memfd")
                  for m in ("scan", "words", "smaps", "cachestat", "halving", "extents")]
        for more in words:
            for pid in (v.pid, v.child):
                if pid == v.child and more and v.region("memfd") not in more:
                    continue  # it has no copy of some, and another one of others
                before = v.major_faults()

                def look(more=more, pid=pid):
                    here = embedded(programs, "swap", str(pid), *more)
                    there = umemctl(programs, remote, "swap", str(pid), *more)
                    if not more:
                        # Its own libraries may be read in by others meanwhile.
                        check(here["total"]["regions"] == there["total"]["regions"], more)
                        here["total"] = there["total"] = None
                        here["regions"] = [x for x in here["regions"]
                                           if not x["kind"].startswith("file")]
                        there["regions"] = [x for x in there["regions"]
                                            if not x["kind"].startswith("file")]
                    check(here == there, more, here, there)
                until_true(look, v.again)
                check(pid != v.pid or v.major_faults() == before or before == 0, "it faulted")
        for area in ("private", "mixed"):
            def truth(area=area):
                told = umemctl(programs, remote, "swap", str(v.pid), "--region", v.region(area),
                               "--ranges")
                got = join([(int(x["start"], 16), int(x["end"], 16), x["state"])
                            for g in told["regions"] for x in g["ranges"]])
                check(got == v.truth(area) and told["total"]["exact"], area, got)
            until_true(truth, v.again)
        # For people, too.
        for more in ([], ["--map"], ["--region", v.region("memfd"), "--ranges"]):
            shown = [subprocess.run([programs["umemctl"], *where, "swap", str(v.pid), *more],
                                    capture_output=True, text=True, timeout=60,
                                    env={**os.environ, "COLUMNS": "100"})
                     for where in (["--embedded"], remote)]
            check(shown[0].returncode == shown[1].returncode == 0, shown)
            check(shown[0].stdout.splitlines()[0] == shown[1].stdout.splitlines()[0], shown)


def same_huge_pages(programs):
    with Daemon(programs) as d, victim("huge") as v:
        if v.skipped:
            return v.skipped
        for area in ("huge", "hugefile"):
            for cut in (v.region(area), f"{v.start(area) + PAGE:x}-{v.start(area) + 2 * PAGE:x}"):
                words = ["swap", str(v.pid), "--region", cut, "--ranges"]
                here = embedded(programs, *words)
                there = umemctl(programs, ["--connect", d.socket], *words)
                check(here == there and there["total"]["exact"], here, there)
    return None


TMPFS = r"""
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
n = int(sys.argv[2])
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(fd, n * 4096)
memory = mmap.mmap(fd, n * 4096)
for page in range(0, n, 2):
    memory[page * 4096:(page + 1) * 4096] = bytes([page % 251 + 1]) * 4096
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
print(hex(at), flush=True)
sys.stdin.read()
for page in range(0, n, 2):
    assert memory[page * 4096:(page + 1) * 4096] == bytes([page % 251 + 1]) * 4096
print("right", flush=True)
"""


def file_of_root(programs):
    """Memory that only root may open: the worker, which is nobody, is told of it and moves it."""
    n = 256
    path = f"/dev/shm/umemd-test-{os.getpid()}"
    proc = subprocess.Popen([sys.executable, "-c", TMPFS, path, str(n)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    try:
        at = int(proc.stdout.readline(), 16)
        region = {"start": at, "end": at + n * PAGE}
        words = ["swap", str(proc.pid), "--region", f"{at:x}-{region['end']:x}", "--ranges"]
        with Daemon(programs) as d, d.client() as c:
            remote = ["--connect", d.socket]
            target = opened(c, proc.pid)

            def same():
                here, there = embedded(programs, *words), umemctl(programs, remote, *words)
                check(here == there and there["total"]["exact"], here, there)
            until_true(same, lambda: None)

            def out():
                moved = call(c, "PageOut", target=target, regions=[region])["moved"]
                swapped, _ = swapped_of(programs, proc.pid, region)
                check(swapped == n // 2 * PAGE, moved, swapped)
            until_true(out, lambda: None)
            until_true(same, lambda: None)
        proc.stdin.close()
        check(proc.stdout.readline() == "right\n", "its content")
    finally:
        proc.kill()
        proc.wait()
        proc.stdout.close()
        os.unlink(path)


def forms(programs):
    """Numbers, ranges and a table say the same, in parts and in one piece."""
    with Daemon(programs) as d, d.client() as c, victim() as v:
        target = opened(c, v.pid)
        region = {"start": v.start("mixed"), "end": v.end("mixed")}

        def look():
            got = call(c, "Map", target=target, regions=[region], form="ranges")
            runs = [(x["start"], x["end"], x["state"]) for x in got["ranges"]]
            c.send("io.umemd.Residency.Map", target=target, regions=[region], form="table")
            message, fds = c.reply()
            table = read_table(fds[message["parameters"]["table"]])
            check([(a, b, STATES[s]) for a, b, s in table] == runs, table, runs)
            check(join(runs) == v.truth("mixed"), runs)
            sums = dict.fromkeys(STATES, 0)
            for start, end, state in runs:
                sums[state] += end - start
            for state in STATES:
                check(sum(r[state + "_bytes"] for r in got["regions"]) == sums[state], state)
            half = (region["start"] + region["end"]) // 2 // PAGE * PAGE
            rest = call(c, "Map", target=target, regions=[region], form="ranges",
                        **{"from": half})
            check(rest["regions"][0]["start"] == half, rest["regions"])
            check([x for x in runs if x[0] >= half] ==
                  [(x["start"], x["end"], x["state"]) for x in rest["ranges"]
                   if x["start"] > half or runs.count((x["start"], x["end"], x["state"]))], "rest")
        until_true(look, v.again)
        for wrong in ({"regions": [{"start": 5, "end": 5}]}, {"method": "guessing"},
                      {"from": -1}, {"regions": [region], "from": region["end"]}):
            e = error_of(call, c, "Map", target=target, **wrong)
            check(e.name == "Failed" and e.parameters["errno"] in (22, 2), e)
        e = error_of(call, c, "Map", target=target, form="drawing")
        check(e.name == "InvalidParameter" and e.parameters["parameter"] == "form", e)
        e = error_of(call, c, "PageOut", target=target, max=5)
        check(e.name == "InvalidParameter" and e.parameters["parameter"] == "max", e)


MANY = r"""
import ctypes, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
n = int(sys.argv[1])
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
at = libc.mmap(None, n * 4096, 3, 0x22, -1, 0)
ctypes.memset(at, 1, n * 4096)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for page in range(0, n, 2):
    assert libc.mprotect(at + page * 4096, 4096, 1) == 0
print("ready", flush=True)
sys.stdin.read()
"""


def many_mappings(programs):
    """More mappings than a reply takes."""
    proc = subprocess.Popen([sys.executable, "-c", MANY, "9000"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    try:
        check(proc.stdout.readline() == "ready\n", "many")
        with Daemon(programs) as d, d.client() as c:
            first = call(c, "Map", target=opened(c, proc.pid))
            check(len(first["regions"]) < 9000 and first["next"] > 0, len(first["regions"]))
            here = embedded(programs, "swap", str(proc.pid), "--ranges")
            there = umemctl(programs, ["--connect", d.socket], "swap", str(proc.pid), "--ranges")
            check(here["total"]["regions"] == there["total"]["regions"] > 9000, there["total"])
            check([r["start"] for r in here["regions"]] == [r["start"] for r in there["regions"]],
                  "regions")
    finally:
        proc.kill()
        proc.wait()
        proc.stdin.close()
        proc.stdout.close()


def out_and_in(programs):
    """Put out and brought back through the daemon, seen by another look."""
    with Daemon(programs) as d, d.client() as c, Writer(512) as w, Writer(512, "memfd") as m:
        for who in (w, m):
            content = who.content()
            target = opened(c, who.pid)
            region = who.region()
            size = region["end"] - region["start"]

            def out():
                call(c, "PageOut", target=target, regions=[region])
                check(swapped_of(programs, who.pid, region) == (size, 0), who.kind)

            def back():
                moved = call(c, "PageIn", target=target, regions=[region])["moved"]
                check(moved["asked_bytes"] + moved["already_bytes"] == size, moved)
                check(swapped_of(programs, who.pid, region) == (0, size), who.kind)
            until_true(out, lambda: None)
            until_true(back, lambda: None)
            # Sums, a limit, and what is out already.
            got = call(c, "PageOut", target=target, regions=[region], max_bytes=10 * PAGE + 5)
            moved = got["moved"]
            check(moved["asked_bytes"] == 10 * PAGE and not got["recovered"], got)
            check(moved["moved_bytes"] + moved["returned_bytes"] +
                  sum(x["bytes"] for x in moved["refused"]) == moved["asked_bytes"], moved)
            until_true(out, lambda: None)
            check(call(c, "PageOut", target=target, regions=[region])["moved"]["already_bytes"] ==
                  size, "already out")
            check(who.content() == content and who.is_clean(), "content")
        # The command, with the same members.
        for verb in ("pageout", "pagein"):
            words = [verb, str(w.pid), "--region", f"{w.at:x}-{w.region()['end']:x}"]
            here = embedded(programs, *words)
            there = umemctl(programs, ["--connect", d.socket], *words)
            check(list(here) == list(there), here, there)
        whole = umemctl(programs, ["--connect", d.socket], "pageout", str(w.pid))
        check(any("pages of a file" in x["reason"] for x in whole["refused"]), whole)
        umemctl(programs, ["--connect", d.socket], "pageout", str(w.pid), "--free")
        done = subprocess.run([programs["umemctl"], "--connect", d.socket, "pagein", str(w.pid)],
                              capture_output=True, text=True, timeout=60)
        check(done.returncode == 0 and done.stdout.startswith(f"pid {w.pid}: asked for"), done)


def unwritten(programs):
    """What is written within a time is left in."""
    with Daemon(programs) as d, Writer(256) as w:
        words = [programs["umemctl"], "--json", "--connect", d.socket, "pageout", str(w.pid),
                 "--region", f"{w.at:x}-{w.region()['end']:x}", "--not-written-for", "1500ms"]

        def look():
            run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            until(10, lambda: not w.is_clean(), "it is watched")
            time.sleep(0.5)
            w.tell("write", 7, 9)
            out, err = run.communicate(timeout=60)
            check(run.returncode == 0 and err == "", err)
            told = json.loads(out)
            check(told["written_bytes"] == 2 * PAGE, told)
            check(told["reclaimed_bytes"] + told["already_out_bytes"] >= 250 * PAGE, told)
            check(w.is_clean(), w.left())
        until_true(look, lambda: w.tell("every", 1))
        with d.client() as c:
            e = error_of(call, c, "PageOut", target=opened(c, w.pid), unwritten_ns=10**6)
            check(e.name == "Failed" and "opened" in e.parameters["text"], e)
            target = c.targets("Attach", pid=w.pid)["target"]
            c.dirty("Start", target=target)
            e = error_of(call, c, "PageOut", target=target, unwritten_ns=10**6)
            check(e.name == "Failed" and "tracked" in e.parameters["text"], e)


def beside_tracking(programs):
    """A look, and pages that move, take nothing from a watch of the same target."""
    with Daemon(programs) as d, d.client() as c, Writer(256) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        c.table(target)
        for page in range(4):
            w.tell("write", page, 200)
            got = call(c, "Map", target=target, form="ranges", sharers=True)
            check(not any(w.pages((m["start"], m["end"]) for m in x["mapped"])
                          for x in got["sharers"]), got["sharers"])
            call(c, "PageOut", target=target, regions=[w.region()])
            call(c, "PageIn", target=target, regions=[w.region()])
            told, records = c.table(target)
            check(w.pages(records) == {page, 200} and told["complete"], records)
        # Mapped while it is looked at: it appears in the round.
        call(c, "Map", target=target)
        c.targets("Detach", target=target)
        check(w.is_clean(), w.left())


def opened_only(programs):
    """Nothing is put into a process that is opened, and it cannot be tracked."""
    with Daemon(programs) as d, d.client() as c, Target(programs) as t:
        target = opened(c, t.pid)
        check(t.is_clean(), t.left())
        told = c.targets("Describe", target=target)["description"]
        check(told["how"] == "opened" and told["stop_ns"] == 0, told)
        e = error_of(c.dirty, "Start", target=target)
        check(e.name == "Failed" and "attach" in e.parameters["text"], e)
        call(c, "Map", target=target)
        # Beside one that is attached, of the same process.
        other = c.targets("Attach", pid=t.pid)["target"]
        c.dirty("Start", target=other)
        call(c, "Map", target=target)
        c.targets("Detach", target=target)
        check(not t.is_clean(), "the other is let go")
        c.targets("Detach", target=other)
        check(t.is_clean(), t.left())
        t.step()
        target = opened(c, t.pid)
        t.proc.kill()
        e = error_of(call, c, "Map", target=target)
        check(e.name == "Gone", e)


def rights(programs):
    with Daemon(programs) as d, Writer(16, user=NOBODY) as mine, Writer(16) as roots:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            c = Client(d.socket)
        finally:
            os.seteuid(0)
            os.setegid(0)
        with c:
            e = error_of(c.targets, "Open", pid=roots.pid)
            check(e.name == "NotPermitted" and "another user's" in e.parameters["text"], e)
            target = opened(c, mine.pid)
            got = call(c, "Map", target=target, regions=[mine.region()], form="ranges")
            check(all(r["exact"] for r in got["regions"]), got)

            def out():
                call(c, "PageOut", target=target, regions=[mine.region()])
                check(swapped_of(programs, mine.pid, mine.region()) == (16 * PAGE, 0), "out")
            until_true(out, lambda: None)
            # What is told of sharers is what this user may know.
            check("sharers" in call(c, "Map", target=target, sharers=True), "sharers")


BIG = 48 << 8  # pages: 48 MiB


def out_bytes(w):
    """Bytes that are out, as the kernel counts them: a quick look."""
    with open(f"/proc/{w.pid}/status") as file:
        return next(int(x.split()[1]) << 10 for x in file if x.startswith("VmSwap:"))


def start_moving(c, target, region, verb="PageOut"):
    c.send("io.umemd.Residency." + verb, more=True, target=target, regions=[region])


def last_reply(c):
    while True:
        message, _ = c.reply()
        if not message.get("continues"):
            return message["parameters"]
        check("progress" in message["parameters"], message)


def until_moving(w, before):
    end = time.monotonic() + 20
    while abs(out_bytes(w) - before) < 256 * PAGE:
        check(time.monotonic() < end, "nothing moves")


def kill_in_the_middle(programs, d, c, w, verb):
    """Whether the worker died at work."""
    region = w.region()
    target = opened(c, w.pid)
    # Some other worker may be coming up for what was let go before.
    until(10, lambda: len(d.workers()) == 1, "a worker")
    before = out_bytes(w)
    start_moving(c, target, region, verb)
    until_moving(w, before)
    for pid in d.workers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    got = last_reply(c)
    moved = got["moved"]
    check(got["recovered"] or moved["asked_bytes"] + moved["already_bytes"] >= BIG * PAGE, got)
    check(moved["asked_bytes"] == moved["moved_bytes"] + moved["returned_bytes"] +
          sum(x["bytes"] for x in moved["refused"]), moved)
    swapped, resident = swapped_of(programs, w.pid, region)
    there = swapped if verb == "PageOut" else resident
    check(there >= BIG * PAGE * 9 // 10, verb, swapped, resident, moved)
    until(10, lambda: c.targets("Describe", target=target)["description"]["state"] == "ready",
          "another worker")
    c.targets("Detach", target=target)
    return got["recovered"]


def killed(programs):
    """A worker that is killed in the middle: the next one goes on, nothing is lost."""
    with Daemon(programs) as d, d.client(timeout=60) as c, Writer(BIG) as w:
        content = w.content()
        died = {"PageOut": 0, "PageIn": 0}
        for _ in range(10):
            for verb in died:
                died[verb] += kill_in_the_middle(programs, d, c, w, verb)
            if all(died.values()):
                break
        check(all(died.values()), "never in the middle:", died)
        check(w.content() == content and w.is_clean(), "content")


def limit_over_a_death(programs):
    """What a worker put out that died counts: the next one puts out no more than the rest."""
    with Daemon(programs) as d, d.client(timeout=60) as c, Writer(BIG) as w:
        region = w.region()
        most = BIG * PAGE // 2
        target = opened(c, w.pid)
        before = out_bytes(w)
        c.send("io.umemd.Residency.PageOut", more=True, target=target, regions=[region],
               max_bytes=most)
        until_moving(w, before)
        for pid in d.workers():
            os.kill(pid, signal.SIGKILL)
        last_reply(c)
        # As much as was done after it was told last may be put out once more.
        check(out_bytes(w) <= 2 * most, out_bytes(w), most)


def cancelled(programs):
    """Cancel, a client that goes away, and letting go end what is on its way."""
    with Daemon(programs) as d, d.client(timeout=60) as c, d.client() as other, Writer(BIG) as w:
        region = w.region()
        target = opened(c, w.pid)
        interrupted = 0
        for _ in range(10):
            before = out_bytes(w)
            start_moving(c, target, region)
            until_moving(w, before)
            call(other, "Cancel", target=target)
            moved = last_reply(c)["moved"]
            check(moved["asked_bytes"] == moved["moved_bytes"] + moved["returned_bytes"] +
                  sum(x["bytes"] for x in moved["refused"]), moved)
            check(moved["interrupted"] or moved["asked_bytes"] + moved["already_bytes"] ==
                  BIG * PAGE, moved)
            interrupted += moved["interrupted"]
            if interrupted:
                break
            call(c, "PageIn", target=target, regions=[region])
        check(interrupted, "it was always too late")
        call(other, "Cancel", target=target)  # of nothing
        # The owner's connection ends: the target goes with it.
        start_moving(c, target, region)
        c.close()
        until(20, lambda: other.targets("List") == {"targets": []}, "let go")
        until(10, lambda: not d.workers(), "no worker is left")
        # And umemctl, interrupted.
        run = subprocess.Popen([programs["umemctl"], "--json", "--connect", d.socket, "pageout",
                                str(w.pid), "--region", f"{w.at:x}-{region['end']:x}",
                                "--not-written-for", "60s"],
                               stdout=subprocess.PIPE, text=True)
        until(10, lambda: not w.is_clean(), "it is watched")
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=20)
        check(run.returncode == 0 and json.loads(out)["interrupted"], out)
        until(10, w.is_clean, w.left)
        w.tell("write", 1)


def has_swap():
    with open("/proc/swaps") as file:
        return len(file.readlines()) > 1


def no_swap(programs):
    """Said as it is embedded; run before there is any."""
    with Daemon(programs) as d, Writer(4) as w:
        told = [subprocess.run([programs["umemctl"], *where, "pageout", str(w.pid)], text=True,
                               capture_output=True, timeout=60)
                for where in (["--embedded"], ["--connect", d.socket])]
        # Somebody else may have made some meanwhile.
        check(has_swap() or (told[0].stderr == told[1].stderr and "no swap" in told[0].stderr and
                             told[0].returncode == told[1].returncode == 1), told)


def run_all():
    cases = [same_map, same_huge_pages, file_of_root, forms, many_mappings, out_and_in, unwritten,
             beside_tracking, opened_only, rights, killed, limit_over_a_death, cancelled]
    programs = dict(zip(("umemd", "worker", "victim", "umemctl"), sys.argv[1:]))
    if os.geteuid() == 0 and not has_swap():
        no_swap(programs)
    main_with_swap(cases, sys.argv)


run_all()
