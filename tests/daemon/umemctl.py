#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""umemctl through the daemon: the same output as embedded, the same exit codes, nothing left."""
import json
import os
import signal
import subprocess
import sys

from daemontest import NOBODY, Daemon, Target, Writer, check, main, until


class Run:
    """umemctl --json dirty with a round for each line that is written to it."""

    def __init__(self, programs, where, pid, *words, json_lines=True):
        self.proc = subprocess.Popen([programs["umemctl"], *(["--json"] if json_lines else []),
                                      *where, "dirty", str(pid), "--trigger", "stdin", *words],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)

    def armed(self):
        return json.loads(self.proc.stdout.readline())

    def round(self):
        self.proc.stdin.write("\n")
        self.proc.stdin.flush()
        return json.loads(self.proc.stdout.readline())

    def end(self):
        out, err = self.proc.communicate(timeout=30)
        return self.proc.returncode, out, err


def where_of(d):
    return {"embedded": ["--embedded"], "daemon": ["--connect", d.socket]}


def same_rounds(programs):
    """The same writes, told the same: members, ranges, reasons."""
    told = {}
    with Daemon(programs) as d, Writer(256) as w:
        region = f"{w.at:x}-{w.region()['end']:x}"
        for how, where in where_of(d).items():
            run = Run(programs, where, w.pid, "--ranges", "--region", region)
            lines = [run.armed()]
            for pages in ((1, 2, 9), (), (200,)):
                w.tell("write", *pages)
                lines.append(run.round())
            w.tell("discard", 5)
            lines.append(run.round())
            code, out, err = run.end()
            check(code == 0 and err == "", how, code, err)
            lines.append(json.loads(out))
            told[how] = lines
            check(w.is_clean(), how, w.left())
        for a, b in zip(told["embedded"], told["daemon"]):
            check(list(a) == list(b), list(a), list(b))
            for key in a:
                if not key.endswith("_ns"):
                    check(a[key] == b[key], key, a[key], b[key])
        check(len(told["daemon"]) == 6 and told["daemon"][1]["ranges"], told)


def same_whole_process(programs):
    with Daemon(programs) as d, Target(programs) as t:
        told = {}
        for how, where in where_of(d).items():
            run = Run(programs, where, t.pid)
            armed = run.armed()
            t.step()
            now = run.round()
            check(run.end()[0] == 0, how)
            told[how] = (armed["regions"], armed["tracked_bytes"],
                         [x["reason"] for x in armed["assumes"]], now["dirty_bytes"],
                         now["complete"])
        check(told["embedded"] == told["daemon"], told)


def table(programs):
    """The table for people, from the daemon."""
    with Daemon(programs) as d, Target(programs) as t:
        done = subprocess.run([programs["umemctl"], "--connect", d.socket, "dirty", str(t.pid),
                               "--rounds", "2", "--interval", "10ms"], capture_output=True,
                              text=True, timeout=60)
        lines = done.stdout.splitlines()
        check(done.returncode == 0 and lines[0].startswith(f"pid {t.pid}: "), done)
        check(sum(x.split()[-1] == "yes" for x in lines) == 2, done)


def exit_codes(programs):
    with Daemon(programs) as d, Target(programs) as t:
        def run(*words, user=None):
            done = subprocess.run([programs["umemctl"], "--connect", d.socket, *words],
                                  capture_output=True, text=True, timeout=60)
            check(done.returncode == 0 or done.stderr.startswith("umemctl: "), done)
            return done
        check(run("dirty", "2147483646").returncode == 3, "gone")
        check(run("dirty", "1", "--rounds", "1").returncode == 2, "init")
        check(run("regions", str(t.pid)).returncode == 2, "not through the daemon")
        check(run("swap", "2147483646").returncode == 3, "gone")
        check(run("pagein", "2147483646").returncode == 3, "gone")
        done = run("swap", str(t.pid), "--region", "1000-2000")
        check(done.returncode == 1 and "no memory of pid" in done.stderr, done)
        done = run("swap", str(t.pid), "--method", "guessing")
        check(done.returncode == 2 and "cachestat" in done.stderr, done)
        done = run("dirty", str(t.pid), "--sharers", "--rounds", "1")
        check(done.returncode == 1 and "sharers" in done.stderr, done)
        done = run("dirty", str(t.pid), "--region", "1000-2000", "--rounds", "1")
        check(done.returncode == 1 and "no mapping" in done.stderr, done)
        done = subprocess.run([programs["umemctl"], "--connect", "/nothing", "dirty", "1"],
                              capture_output=True, text=True)
        check(done.returncode == 1 and "does not listen at /nothing" in done.stderr, done)
        done = subprocess.run([programs["umemctl"], "--connect", d.socket, "--embedded", "status"],
                              capture_output=True, text=True)
        check(done.returncode == 2, done)
        check(t.is_clean(), t.left())
        # The end of the target, and of the daemon, while rounds are made.
        with Target(programs) as u:
            done = subprocess.Popen([programs["umemctl"], "--connect", d.socket, "dirty",
                                     str(u.pid), "--interval", "50ms"], stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True)
            done.stdout.readline()
            u.proc.kill()
            _, err = done.communicate(timeout=20)
            check(done.returncode == 3 and f"process {u.pid} " in err, done.returncode, err)
        done = subprocess.Popen([programs["umemctl"], "--connect", d.socket, "dirty", str(t.pid),
                                 "--interval", "50ms"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        done.stdout.readline()
        d.proc.kill()
        _, err = done.communicate(timeout=20)
        check(done.returncode == 1 and "connection to umemd is over" in err, err)
        until(5, t.is_clean, t.left)


def interrupted(programs):
    """Ctrl-C ends it cleanly; so does SIGKILL, by the connection."""
    with Daemon(programs) as d, d.client() as c, Target(programs) as t:
        for signo in (signal.SIGINT, signal.SIGKILL):
            done = subprocess.Popen([programs["umemctl"], "--connect", d.socket, "dirty",
                                     str(t.pid), "--interval", "1s"], stdout=subprocess.PIPE,
                                    text=True)
            done.stdout.readline()
            check(not t.is_clean(), "it is watched")
            done.send_signal(signo)
            done.communicate(timeout=20)
            if signo == signal.SIGINT:
                check(done.returncode == 0 and t.is_clean(), done.returncode, t.left())
            until(5, t.is_clean, t.left)
            until(5, lambda: c.targets("List") == {"targets": []}, "still listed")
        t.step()


def status(programs):
    with Daemon(programs) as d, d.client() as c, Target(programs) as t, Writer(4) as w:
        c.targets("Attach", pid=t.pid)
        c.dirty("Start", target=c.targets("Attach", pid=w.pid, keep=True)["target"])
        done = subprocess.run([programs["umemctl"], "--json", "--connect", d.socket, "status"],
                              capture_output=True, text=True, timeout=20)
        lines = [json.loads(x) for x in done.stdout.splitlines()]
        check(done.returncode == 0 and len(lines) == 2, done)
        by_pid = {x["pid"]: x for x in lines}
        check(by_pid[t.pid]["state"] == "ready" and not by_pid[t.pid]["kept"], by_pid)
        check(by_pid[w.pid]["state"] == "tracking" and by_pid[w.pid]["kept"], by_pid)
        done = subprocess.run([programs["umemctl"], "--connect", d.socket, "status"],
                              capture_output=True, text=True, timeout=20)
        check(len(done.stdout.splitlines()) == 3 and "tracking" in done.stdout, done)
        # Another user sees nothing of it.
        done = subprocess.run([programs["umemctl"], "--json", "--connect", d.socket, "status"],
                              capture_output=True, text=True, timeout=20,
                              preexec_fn=lambda: (os.setgroups([]), os.setegid(NOBODY),
                                                  os.seteuid(NOBODY)))
        check(done.returncode == 0 and done.stdout == "", done)


main([same_rounds, same_whole_process, table, exit_codes, interrupted, status], sys.argv)
