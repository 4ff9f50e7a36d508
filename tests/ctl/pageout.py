# SPDX-License-Identifier: LGPL-2.1-or-later
"""umemctl pageout and pagein from outside: options, fields, exit codes, their end."""
import os
import pty
import re
import signal
import subprocess
import sys
import time

from ctltest import NOBODY, Failed, Victim, check, clear_line, json_lines, main
from swaparea import Swap

PAGE = 4096
N_PAGES = 64  # of the victim's region
TEXT = (str, type(None))
REFUSED = {"bytes": int, "reason": str}
BOTH = {"pid": int, "asked_bytes": int, "returned_bytes": int, "refused": list,
        "interrupted": bool, "elapsed_ns": int}
OUT = {**BOTH, "reclaimed_bytes": int, "already_out_bytes": int,
       "freed_bytes": (int, type(None)), "freed_note": TEXT, "written_bytes": (int, type(None))}
IN = {**BOTH, "brought_in_bytes": int, "already_in_bytes": int}
VERBS = (["pageout"], ["pagein"])

# Another swap area may be taken away at any moment, and what is in it comes back.
ATTEMPTS = 10


def fits(line, shape):
    """Exactly these fields, of exactly these types."""
    check(set(line) == set(shape), "fields:", set(line) ^ set(shape))
    for key, kind in shape.items():
        check(isinstance(line[key], kind), key, line[key])
        check(kind is bool or not isinstance(line[key], bool), key, line[key])
        check(not isinstance(line[key], int) or line[key] >= 0, key, line[key])


def contract(line, verb):
    fits(line, OUT if verb == "pageout" else IN)
    moved = line["reclaimed_bytes"] if verb == "pageout" else line["brought_in_bytes"]
    for item in line["refused"]:
        fits(item, REFUSED)
        check(item["bytes"] > 0 and item["bytes"] % PAGE == 0 and item["reason"], item)
    reasons = [item["reason"] for item in line["refused"]]
    check(len(set(reasons)) == len(reasons), "a reason twice:", reasons)
    check(line["asked_bytes"] == moved + line["returned_bytes"] +
          sum(item["bytes"] for item in line["refused"]), "sums:", line)
    if verb == "pageout" and line["freed_bytes"] is not None:
        check(line["freed_bytes"] <= moved, line)
        check((line["freed_bytes"] < moved) == (line["freed_note"] is not None), line)


def expect(place, words, code, *parts, **more):
    """Run with --json. Return: the object, or None."""
    done = place.run("--json", *words, **more)
    check(done.returncode == code, words, "exit", done.returncode, "not", code, done.stderr)
    for part in parts:
        check(part in done.stderr, words, "stderr lacks", repr(part), ":", done.stderr)
    if code:
        clear_line(done.stderr, code == 2)
        check(done.stdout == "", "stdout:", done.stdout)
        return None
    lines = json_lines(done.stdout)
    check(len(lines) == 1, lines)
    contract(lines[0], words[0])
    return lines[0]


def until(what, one):
    """Try what other swap on the machine can disturb, until it is as it should be."""
    for _ in range(ATTEMPTS):
        got = one()
        if got:
            return got
    raise Failed(what)


def options(place):
    for verb, more in (("pageout", ["--not-written-for"]), ("pagein", [])):
        for words, part in (
                ([], "process"), (["x"], '"x"'), (["0"], '"0"'), (["1", "2"], '"2"'),
                (["1", "--nonsense"], "--nonsense"), (["1", "--max", "0"], "--max"),
                (["1", "--max", "x"], "--max"), (["1", "--max", "-1"], "--max"),
                (["1", "--max", "5X"], "--max"), (["1", "--max"], "--max"),
                (["1", "--max", "99999999999999999999"], "--max"),
                (["1", "--max", "16777216T"], "--max"),
                (["1", "--region", "x"], "--region"), (["1", "--region", "2000-1000"], "--region"),
                *(([["1", option, word], option] for option in more
                   for word in ("0s", "x", "5", "-1s", "1h", "")))):
            expect(place, [verb, *words], 2, part)
        done = place.run(verb, "--help")
        check(done.returncode == 0 and done.stderr == "", done.stderr)
        for option in ("--region", "--max", *more):
            check(option in done.stdout, "help lacks", option)
    check("--free" in place.run("pageout", "--help").stdout)


def out_and_in(place):
    with Victim(place) as v:
        words = [str(v.pid), "--region", v.region]

        def out():
            line = expect(place, ["pageout", *words], 0)
            check(line["pid"] == v.pid and not line["interrupted"], line)
            check(line["asked_bytes"] + line["already_out_bytes"] == N_PAGES * PAGE, line)
            check(line["written_bytes"] is None and line["elapsed_ns"] > 0, line)
            return line["reclaimed_bytes"] + line["already_out_bytes"] == N_PAGES * PAGE

        def back():
            line = expect(place, ["pagein", *words], 0)
            check(line["asked_bytes"] + line["already_in_bytes"] == N_PAGES * PAGE, line)
            return line["brought_in_bytes"] + line["already_in_bytes"] == N_PAGES * PAGE

        for _ in range(3):
            until("it does not go out", out)
            until("it does not come back", back)
        until("it does not go out", out)
        v.unharmed()
        until("it does not go out", out)
        v.unharmed()


def whole(place):
    """Without --region: program, libraries, stack and all; it runs on."""
    with Victim(place) as v:
        line = expect(place, ["pageout", str(v.pid)], 0)
        check(line["reclaimed_bytes"] + line["returned_bytes"] >= N_PAGES * PAGE, line)
        check(any("pages of a file" in item["reason"] for item in line["refused"]), line)
        v.unharmed()
        expect(place, ["pageout", str(v.pid), "--free"], 0)
        v.unharmed()
        expect(place, ["pagein", str(v.pid)], 0)
        v.unharmed()


def at_most(place):
    with Victim(place) as v:
        for size, pages in (("8K", 2), ("9000", 2), ("1", 0), ("1T", N_PAGES)):
            words = ["pageout", str(v.pid), "--region", v.region, "--max", size]
            line = expect(place, words, 0)
            check(line["asked_bytes"] <= pages * PAGE, size, line)
            if size != "1T":
                check(line["asked_bytes"] == pages * PAGE, size, line)
            line = expect(place, ["pagein", *words[1:]], 0)
            check(line["asked_bytes"] <= pages * PAGE, size, line)
        v.unharmed()


def not_written(place):
    """What was written in that time stays; the watch leaves nothing behind."""
    with Victim(place, "thread") as v:
        words = ["pageout", str(v.pid), "--region", v.region, "--not-written-for"]

        def still():
            line = expect(place, [*words, "50ms"], 0)
            check(line["written_bytes"] is not None, line)
            return line["reclaimed_bytes"] == N_PAGES * PAGE and line["written_bytes"] == 0

        def written():
            ctl = subprocess.Popen([place.umemctl, "--json", *words, "1s"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while not armed(v):
                check(ctl.poll() is None, "it has ended:", ctl.poll())
                time.sleep(0.002)
            time.sleep(0.05)  # the first round is what came before
            v.proc.stdin.write("\n")  # it writes all of its pages
            v.proc.stdin.flush()
            check(v.proc.stdout.readline().startswith("ok"), "the victim's memory is wrong")
            out, err = ctl.communicate(timeout=30)
            check(ctl.returncode == 0, err)
            line = json_lines(out)[0]
            contract(line, "pageout")
            return line["written_bytes"] == N_PAGES * PAGE and line["asked_bytes"] == 0

        v.unharmed()
        until("what was not written does not go", still)
        v.unharmed()
        until("what was written goes", written)
        v.unharmed()


def armed(v):
    with open(f"/proc/{v.pid}/smaps") as file:
        return any(line.startswith("VmFlags:") and "uw" in line.split() for line in file)


def table(place):
    with Victim(place) as v:
        for words in (["pageout", str(v.pid)], ["pageout", str(v.pid), "--not-written-for",
                                                "10ms"], ["pagein", str(v.pid)]):
            done = place.run(*words, env={"COLUMNS": "60"})
            check(done.returncode == 0 and done.stderr == "", words, done.stderr)
            first, *rest = done.stdout.splitlines()
            check(re.match(rf"pid {v.pid}: asked for \S+, took \S+", first), first)
            check(all(len(line) <= 60 for line in rest), done.stdout)
            for title in (["reclaimed", "already out"] if words[0] == "pageout" else
                          ["brought in", "already in"]):
                check(title in done.stdout, title, done.stdout)
        v.unharmed()


def not_to_be_had(place):
    child = subprocess.Popen(["true"])
    child.wait()
    for verb in VERBS:
        expect(place, [*verb, str(child.pid)], 3, f"there is no process {child.pid}")
        for name in os.listdir("/proc"):
            if name.isdigit() and os.path.exists(f"/proc/{name}/stat"):
                with open(f"/proc/{name}/stat") as file:
                    flags = int(file.read().rsplit(")", 1)[1].split()[6])
                if flags & 0x00200000:
                    expect(place, [*verb, name], 1, name, "kernel thread")
                    break
        with Victim(place, "thread") as v:
            expect(place, [*verb, str(v.tid)], 2, f"thread of process {v.pid}")
            expect(place, [*verb, str(v.pid), "--region", "1000-2000"], 1, str(v.pid))
            v.unharmed()
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    for verb in VERBS:
        expect(place, [*verb, str(zombie.pid)], 3, str(zombie.pid))
    zombie.wait()


def rights(place):
    with Victim(place) as v:
        for verb in VERBS:
            expect(place, [*verb, str(v.pid)], 5, str(v.pid), user=NOBODY)
        v.unharmed()
    with Victim(place, user=NOBODY) as v:
        # One's own: looking is allowed, and bringing in is; putting out takes more.
        expect(place, ["pageout", str(v.pid), "--region", v.region], 5, "CAP_SYS_NICE",
               user=NOBODY)
        expect(place, ["pageout", str(v.pid), "--region", v.region], 0)
        expect(place, ["pagein", str(v.pid), "--region", v.region], 0, user=NOBODY)
        v.unharmed()


class Large:
    """A process of some size that does nothing."""

    def __enter__(self):
        self.proc = subprocess.Popen(
            [sys.executable, "-c", "import os, sys; x = bytearray(os.urandom(200 << 20));"
             "print('ready', flush=True); sys.stdin.read()"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        check(self.proc.stdout.readline() == "ready\n", "it did not start")
        self.pid = self.proc.pid
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.wait()


def interrupted(place):
    """A signal in the middle: what was done is told, and it is no failure."""
    with Large() as target:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            ctl = subprocess.Popen([place.umemctl, "--json", "pageout", str(target.pid)],
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(0.03)
            ctl.send_signal(number)
            out, err = ctl.communicate(timeout=30)
            check(ctl.returncode == 0 and err == "", ctl.returncode, err)
            line = json_lines(out)[0]
            contract(line, "pageout")
            check(line["interrupted"] or line["asked_bytes"] > 0, line)
            expect(place, ["pagein", str(target.pid)], 0)
        # While it watches, before anything is done.
        ctl = subprocess.Popen([place.umemctl, "--json", "pageout", str(target.pid),
                                "--not-written-for", "60s"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        time.sleep(0.3)
        ctl.send_signal(signal.SIGINT)
        out, err = ctl.communicate(timeout=30)
        line = json_lines(out)[0]
        contract(line, "pageout")
        check(ctl.returncode == 0 and line["interrupted"] and line["asked_bytes"] == 0, line)


def progress(place):
    """On a terminal, and gone at the end; not with -q."""
    with Large() as target:
        for quiet in ([], ["-q"]):
            reader, terminal = pty.openpty()
            done = subprocess.run([place.umemctl, *quiet, "--json", "pageout", str(target.pid),
                                   "--free"], stdout=subprocess.PIPE, stderr=terminal,
                                  stdin=subprocess.DEVNULL, timeout=60)
            os.close(terminal)
            shown = b""
            try:
                while True:
                    shown += os.read(reader, 65536)
            except OSError:
                pass
            os.close(reader)
            check(done.returncode == 0, done.returncode)
            took = json_lines(done.stdout.decode())[0]["elapsed_ns"]
            if quiet:
                check(shown == b"", shown)
            elif took > 900_000_000:
                check(b"pageout: " in shown and b"/s, " in shown and b" left" in shown, shown)
                check(shown.endswith(b"\r\x1b[K"), shown[-40:])
            expect(place, ["pagein", str(target.pid)], 0)


def reader_goes_away(place):
    with Large() as target:
        for verb in VERBS:
            ctl = subprocess.Popen([place.umemctl, *verb, str(target.pid)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            ctl.stdout.close()
            err = ctl.stderr.read()
            check(ctl.wait(timeout=30) == 0 and err == b"", ctl.returncode, err)
            ctl.stderr.close()
    with Victim(place) as v:
        for verb in VERBS:
            with open("/dev/full", "w") as full:
                done = place.run(*verb, str(v.pid), stdout=full)
            check(done.returncode == 1 and "output" in done.stderr, done.stderr)
        v.unharmed()


def target_ends(place):
    for verb in VERBS:
        with Large() as target:
            if verb == ["pagein"]:
                expect(place, ["pageout", str(target.pid)], 0)
            ctl = subprocess.Popen([place.umemctl, "--json", *verb, str(target.pid)],
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(0.05)
            target.proc.kill()
            out, err = ctl.communicate(timeout=30)
            check(ctl.returncode in (0, 3), ctl.returncode, err)
            if ctl.returncode == 3:
                clear_line(err, False)
                check("ended" in err and out == "", err, out)


def no_swap(place):
    """Where /proc/swaps lists none; a mount namespace of its own is asked to say so."""
    empty = os.path.join(place.dir, "swaps")
    with open(empty, "w") as file:
        file.write("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
    with Victim(place) as v:
        for words, code in ((["pageout"], 1), (["pageout", "--not-written-for", "60s"], 1),
                            (["pagein"], 0)):
            line = " ".join([place.umemctl, words[0], str(v.pid), *words[1:]])
            done = subprocess.run(["unshare", "-m", "sh", "-c",
                                   f"mount --bind {empty} /proc/swaps && exec {line}"],
                                  text=True, capture_output=True, timeout=30)
            check(done.returncode == code, done.returncode, done.stderr)
            check(code == 0 or ("no swap" in done.stderr and "swapon" in done.stderr),
                  done.stderr)
        v.unharmed()


CASES = [options, out_and_in, whole, at_most, not_written, table, not_to_be_had, rights,
         interrupted, progress, reader_goes_away, target_ends, no_swap]

if __name__ == "__main__":
    if os.getuid() != 0 or not os.path.exists("/sys/class/zram-control/hot_add"):
        print("SKIP: needs root, and zram to swap to")
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wanted = sys.argv[3:]
    with Swap(512 << 20):
        main([c for c in CASES if not wanted or c.__name__ in wanted], sys.argv[1], sys.argv[2])
