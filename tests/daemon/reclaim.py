#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Policies of reclaim that umemd keeps: the lines of umemctl, what goes out, and that they
go on: behind the connection, a worker that dies, and a restart."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from daemontest import Daemon, Target, Writer, check, error_of, main_with_swap, until
from restart import Managed

N = 2048
SIZE = N * 4096
LIMITS = {"interval_ns": 100_000_000, "refault_max_ppm_min": 0, "cpu_max_ppm": 1_000_000,
          "swap_left_bytes": 0}
# Begins by putting some pages on trial, at once.
PROBE = {"policy": "probe", **LIMITS}
AGE = {"policy": "age", "age_ns": 100_000_000, **LIMITS}


def call(c, method, /, **parameters):
    return c.call("io.umemd.Reclaim." + method, **parameters)


def swapped(w):
    """Bytes of the writer that have no place but in swap, or are on trial."""
    with open(f"/proc/{w.pid}/status") as file:
        return next(int(x.split()[1]) << 10 for x in file if x.startswith("VmSwap:"))


def until_tried(w):
    until(30, lambda: swapped(w) > 0, "nothing is on trial")


def all_in(w):
    w.tell("every", 1)


def is_over(w):
    """Nobody puts anything on trial, or out, any more."""
    all_in(w)
    before = swapped(w)
    time.sleep(0.5)
    check(swapped(w) <= before, "somebody is at work still")


def begun_anew(w):
    """What is in use is found out again: somebody else is at work."""
    all_in(w)
    before = swapped(w)
    until(30, lambda: swapped(w) > before, "nothing is put on trial")


def number(c, target):
    told = call(c, "Status", target=target)
    return told["interval"]["interval"] if "interval" in told else -1


def goes_on_counting(c, target):
    before = number(c, target)
    until(20, lambda: number(c, target) > before + 2, "no interval ends")


def same_lines(programs):
    """The same events with the same members, embedded and by the daemon."""
    with Daemon(programs) as d, Writer(N) as w:
        for policy in ("probe", "age", "pressure"):
            told = {}
            for how, where in (("embedded", ["--embedded"]), ("daemon", ["--connect", d.socket])):
                done = subprocess.run([programs["umemctl"], "--json", *where, "reclaim", str(w.pid),
                                       "--policy", policy, "--interval", "200ms", "--duration",
                                       "1s", "--dry-run"], capture_output=True, text=True,
                                      timeout=60)
                if policy == "pressure" and done.returncode == 4:
                    told[how] = done.stderr
                    continue
                check(done.returncode == 0 and done.stderr == "", how, done)
                told[how] = [json.loads(x) for x in done.stdout.splitlines()]
                check(w.is_clean(), how, w.left())
            if not isinstance(told["daemon"], list):
                check(told["daemon"] == told["embedded"], told)
                continue
            shapes = {}
            for how, lines in told.items():
                check([x["event"] for x in lines][:2] == ["target", "interval"] and
                      lines[-1]["event"] == "done" and len(lines) >= 5, how, lines)
                check([x["interval"] for x in lines if x["event"] == "interval"] ==
                      list(range(len(lines) - 2)), how, lines)
                shapes[how] = {x["event"]: (list(x), [list(t) for t in x.get("targets", [])])
                               for x in lines}
            check(shapes["embedded"] == shapes["daemon"], policy, shapes)
            first = [lines[1]["targets"][0] for lines in told.values()]
            check(first[0]["pid"] == first[1]["pid"] == w.pid, first)
            check(abs(first[0]["resident_bytes"] - first[1]["resident_bytes"]) < SIZE // 4, first)
        done = subprocess.run([programs["umemctl"], "--connect", d.socket, "reclaim", str(w.pid),
                               "--interval", "100ms", "--duration", "300ms", "--dry-run"],
                              capture_output=True, text=True, timeout=60)
        check(done.returncode == 0 and done.stdout.split()[0] == "RESIDENT", done)


def goes_out(programs):
    """A policy puts out what nobody uses, and tells it."""
    with Daemon(programs) as d, d.client(timeout=60) as c, Writer(N) as w:
        content = w.content()
        target = c.targets("Open", pid=w.pid)["target"]
        check(call(c, "Get", target=target) == {}, "nothing is set")
        check(error_of(call, c, "Status", target=target).name == "NotSet", "nothing is set")
        check(error_of(call, c, "Set", target=target).name == "NotSet", "nothing is set")
        call(c, "Set", target=target, policy=PROBE)
        check(call(c, "Get", target=target) == {"policy": PROBE}, "Get")
        told = c.targets("List")["targets"]
        check(told[0]["reclaim"] == "probe", told)
        c.send("io.umemd.Reclaim.Status", more=True, target=target)
        numbers, sums = [], []
        while not sums or sums[-1]["out_bytes"] < 64 << 12:
            message, _ = c.reply()
            check(message["continues"], message)
            numbers.append(message["parameters"]["interval"]["interval"])
            sums.append(message["parameters"]["interval"]["sum"])
            check(len(sums) < 1000, sums[-1])
        check(numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers)
        check(max(x["trial_bytes"] for x in sums) > 0 and sums[-1]["decision"] == "grow", sums[-1])
        check(swapped(w) >= sums[-1]["out_bytes"] > 0, swapped(w), sums[-1])
        check(w.content() == content, "content")


def ends(programs):
    """It ends when it is set to nothing, and so does who listens."""
    with Daemon(programs) as d, d.client() as c, d.client() as other, Writer(N) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        call(c, "Set", target=target, policy=AGE)
        check(c.targets("List")["targets"][0]["reclaim"] == "age", "listed")
        other.send("io.umemd.Reclaim.Status", more=True, target=target)
        other.reply()
        # By age the writes are watched: nobody else may.
        e = error_of(c.dirty, "Start", target=target)
        check(e.name == "Failed" and "age" in e.parameters["text"], e)
        call(c, "Set", target=target)
        while other.receive()[0].get("continues"):
            pass
        check(call(c, "Get", target=target) == {}, "it ended")
        c.dirty("Start", target=target)
        e = error_of(call, c, "Set", target=target, policy=AGE)
        check(e.name == "Failed" and "tracked" in e.parameters["text"], e)
        check(call(c, "Get", target=target) == {}, "it did not begin")
        # Beside tracking, by samples; nothing is missed.
        call(c, "Set", target=target, policy=PROBE)
        until_tried(w)
        c.table(target)
        w.tell("write", 3)
        check(3 in w.pages(c.table(target)[1]), "tracked")
        goes_on_counting(c, target)
        call(c, "Set", target=target)
        is_over(w)
        c.targets("Detach", target=target)
        check(w.is_clean(), w.left())


def bad_policies(programs):
    with Daemon(programs) as d, d.client() as c, Writer(4) as w:
        target = c.targets("Open", pid=w.pid)["target"]
        for wrong in ({"interval_ns": 5}, {"rate_bytes_s": -1}, {"cpu_max_ppm": 0}):
            e = error_of(call, c, "Set", target=target, policy=wrong)
            check(e.name == "Failed" and "policy." + list(wrong)[0] in e.parameters["text"], e)
        for wrong, where in (({"policy": "hope"}, "policy.policy"), ({"intervall": 5},
                             "policy.intervall"), ({"interval_ns": "1s"}, "policy.interval_ns")):
            e = error_of(call, c, "Set", target=target, policy=wrong)
            check(e.name == "InvalidParameter" and e.parameters["parameter"] == where, e)
        e = error_of(call, c, "Set", target=target, policy={"policy": "age"})
        check(e.name == "Failed" and "attach" in e.parameters["text"], e)
        # One at a time, whoever it is.
        call(c, "Set", target=target, policy={"dry_run": True})
        done = subprocess.run([programs["umemctl"], "--embedded", "reclaim", str(w.pid),
                               "--dry-run", "--duration", "1s"], capture_output=True, text=True)
        check(done.returncode == 1 and "already" in done.stderr, done)
        other = c.targets("Open", pid=w.pid)["target"]
        e = error_of(call, c, "Set", target=other, policy={"dry_run": True})
        check(e.name == "Failed" and "already" in e.parameters["text"], e)
        call(c, "Set", target=target)
        call(c, "Set", target=other, policy={"dry_run": True})


def goes_on(programs):
    """Behind the connection when it is kept, and behind the death of a worker."""
    with Daemon(programs) as d, Writer(N) as w, Writer(N) as short:
        with d.client() as c:
            target = c.targets("Attach", pid=w.pid, keep=True)["target"]
            call(c, "Set", target=target, policy=PROBE)
            call(c, "Set", target=c.targets("Open", pid=short.pid)["target"], policy=PROBE)
            until_tried(w)
            until_tried(short)
        with d.client() as c:
            until(10, lambda: len(c.targets("List")["targets"]) == 1, "the other is let go")
            is_over(short)
            goes_on_counting(c, target)
            for _ in range(3):
                before = c.targets("Describe", target=target)["description"]["restarts"]
                for pid in d.workers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                until(10, lambda: c.targets("Describe", target=target)["description"]["restarts"] >
                      before, "it died")
                begun_anew(w)
                goes_on_counting(c, target)
            line = json.loads(subprocess.run(
                [programs["umemctl"], "--json", "--connect", d.socket, "status"],
                capture_output=True, text=True, timeout=20).stdout)
            check(line["reclaim"] == "probe" and line["kept"], line)
            c.targets("Detach", target=target)
            check(w.is_clean(), w.left())
            is_over(w)


def restarts(programs):
    """Over a restart of umemd, and a kill of it."""
    with Managed(programs) as d, Writer(N) as w:
        with d.client() as c:
            target = c.targets("Open", pid=w.pid, keep=True)["target"]
            call(c, "Set", target=target, policy=PROBE)
            until_tried(w)
        for signo in (signal.SIGTERM, signal.SIGKILL):
            d.again(signo)
            with d.client() as c:
                check(call(c, "Get", target=target) == {"policy": PROBE}, "kept")
                told = c.targets("Describe", target=target)["description"]
                check(told["how"] == "opened" and told["reclaim"] == "probe", told)
                begun_anew(w)
        with d.client() as c:
            call(c, "Set", target=target)
        d.again(signal.SIGTERM)
        with d.client() as c:
            check(call(c, "Get", target=target) == {}, "not kept any more")
            c.targets("Detach", target=target)


def target_ends(programs):
    with Daemon(programs) as d, d.client() as c, Target(programs) as t:
        target = c.targets("Open", pid=t.pid)["target"]
        call(c, "Set", target=target, policy={"interval_ns": 100_000_000})
        c.send("io.umemd.Reclaim.Status", more=True, target=target)
        c.reply()
        run = subprocess.Popen([programs["umemctl"], "--connect", d.socket, "status"],
                               stdout=subprocess.PIPE)
        run.communicate()
        t.proc.kill()
        while True:
            message, _ = c.reply()
            if not message.get("continues"):
                break
        with d.client() as other, Writer(N) as w:
            run = subprocess.Popen([programs["umemctl"], "--json", "--connect", d.socket, "reclaim",
                                    str(w.pid), "--interval", "100ms"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
            for _ in range(3):
                run.stdout.readline()
            w.proc.kill()
            out, err = run.communicate(timeout=20)
            check(run.returncode == 3 and "ended" in err, run.returncode, err)
            check(json.loads(out.splitlines()[-1])["event"] == "done", out)
            check(all(x["pid"] == t.pid for x in other.targets("List")["targets"]), "listed")


def interrupted(programs):
    with Daemon(programs) as d, d.client() as c, Writer(N) as w:
        run = subprocess.Popen([programs["umemctl"], "--json", "--connect", d.socket, "reclaim",
                                str(w.pid), "--interval", "100ms"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
        for _ in range(3):
            run.stdout.readline()
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=20)
        check(run.returncode == 0 and err == "", run.returncode, err)
        check(json.loads(out.splitlines()[-1])["event"] == "done", out)
        check(c.targets("List") == {"targets": []} and w.is_clean(), "let go")


if __name__ == "__main__":
    main_with_swap([same_lines, goes_out, ends, bad_policies, goes_on, restarts, target_ends,
                    interrupted], sys.argv)
