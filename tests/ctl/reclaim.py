# SPDX-License-Identifier: LGPL-2.1-or-later
"""umemctl reclaim from outside: its options, its lines, its exit codes, its end."""
import os
import signal
import subprocess
import sys

from ctltest import NOBODY, Victim, check, clear_line, json_lines, main
from swaparea import Swap

# With an interval this short nothing is waited for that the test does not want.
QUICK = ["--interval", "100ms", "--duration", "250ms"]

SEEN = {"resident_bytes": int, "swapped_bytes": int, "out_bytes": int, "reclaimed_bytes": int,
        "refused_bytes": int, "refaulted_bytes": int, "refault_ppm_min": int,
        "refault_out_ppm_min": int,
        "pressure_ppm": (int, type(None)), "cold_bytes": int, "want_bytes": int,
        "sample_bytes": int, "try_bytes": int, "trial_bytes": int, "in_use_max_ppm": int,
        "confidence_ppm": int, "decision": str, "reason": str}
INTERVAL = {"event": str, "interval": int, "at_ns": int, "interval_ns": int, "cpu_ppm": int,
            "swap_free_bytes": (int, type(None)), "stored_ppm": int, **SEEN, "targets": list}
TARGET = {"pid": int, "name": str, **SEEN}
EVENT = {"event": str, "pid": int, "name": str, "what": str}
DONE = {"event": str, "intervals": int, "elapsed_ns": int, "reclaimed_bytes": int,
        "refaulted_bytes": int, "out_bytes": int, "cpu_ns": int}
DECISIONS = {"grow", "hold", "back-off", "stop"}


def fits(line, shape):
    """Exactly these fields, of exactly these types."""
    check(set(line) == set(shape), "fields:", set(line) ^ set(shape))
    for key, kind in shape.items():
        check(isinstance(line[key], kind) and not isinstance(line[key], bool), key, line[key])
        check(not isinstance(line[key], int) or line[key] >= 0, key, line[key])


def expect(place, words, code, *parts, **more):
    done = place.run("--json", "reclaim", *words, **more)
    check(done.returncode == code, words, "exit", done.returncode, "not", code, done.stderr)
    if code:
        clear_line(done.stderr, code == 2)
    else:
        check(done.stderr == "", "stderr:", done.stderr)
    for part in parts:
        check(part in done.stderr, words, "stderr lacks", repr(part), ":", done.stderr)
    return json_lines(done.stdout)


def start(place, *words, json=True):
    return subprocess.Popen([place.umemctl, *(["--json"] if json else []), "reclaim", *words],
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def contract(lines, pids):
    """All lines of a run of these processes, from the first to the last."""
    shapes = {"interval": INTERVAL, "target": EVENT, "done": DONE}
    for line in lines:
        fits(line, shapes[line["event"]])
    found = [x["pid"] for x in lines if x["event"] == "target" and x["what"] == "found"]
    check(sorted(found) == sorted(pids), "found:", found)
    rounds = [x for x in lines if x["event"] == "interval"]
    check([x["interval"] for x in rounds] == list(range(len(rounds))), rounds)
    for line in rounds:
        for item in line["targets"]:
            fits(item, TARGET)
        for one in (line, *line["targets"]):
            check(one["decision"] in DECISIONS and one["reason"], one)
            check(one["sample_bytes"] <= one["want_bytes"], one)
            check(one["out_bytes"] <= one["swapped_bytes"], one)
        for key in ("resident_bytes", "swapped_bytes", "out_bytes", "reclaimed_bytes",
                    "refaulted_bytes", "refused_bytes", "want_bytes"):
            check(line[key] == sum(t[key] for t in line["targets"]), key, line)
    done = lines[-1]
    check(done["event"] == "done" and done["intervals"] == len(rounds) - 1, done)
    for key in ("reclaimed_bytes", "refaulted_bytes"):
        check(done[key] == sum(x[key] for x in rounds), key, done)
    check(done["elapsed_ns"] == sum(x["interval_ns"] for x in rounds), done)
    check(done["out_bytes"] == rounds[-1]["out_bytes"], done)


def options(place):
    for words, part in (
            ([], "--cgroup"), (["1", "--name", "x"], "three ways"),
            (["--name", "x", "--cgroup", "y"], "three ways"), (["x"], '"x"'), (["0"], '"0"'),
            (["1", "-5"], "-"), (["1", "--nonsense"], "--nonsense"),
            (["1", "--policy", "x"], '"x"'), (["1", "--policy"], "--policy"),
            (["1", "--refault-max", "x"], '"x"'), (["1", "--refault-max", "0%/min"], "share"),
            (["1", "--refault-max", "0.2/s"], "share"), (["1", "--refault-max", "-1%"], "share"),
            (["1", "--refault-max", "101%"], "share"), (["1", "--pressure-max", "0%"], "share"),
            (["1", "--pressure-max", "1/min"], "share"), (["1", "--cpu-max", "x%"], "--cpu-max"),
            (["1", "--cpu-max", "0%"], "--cpu-max"), (["1", "--rate", "x"], "--rate"),
            (["1", "--rate", "1M/m"], "--rate"), (["1", "--floor", "-1"], "--floor"),
            (["1", "--floor", "1X"], "--floor"), (["1", "--swap-left", ""], "--swap-left"),
            (["1", "--swap-left", "99999999999999999999"], "--swap-left"),
            (["1", "--interval", "99ms"], "--interval"), (["1", "--interval", "5"], "5"),
            (["1", "--duration", "0s"], "--duration"), (["1", "--age", "x"], "--age"),
            (["1", "--seed", "x"], "--seed")):
        expect(place, words, 2, part)
    done = place.run("reclaim", "--help")
    check(done.returncode == 0 and done.stderr == "", done.stderr)
    for option in ("policy", "age", "interval", "refault-max", "pressure-max", "rate", "floor",
                   "cpu-max", "swap-left", "duration", "dry-run", "seed", "cgroup", "name"):
        check(f"--{option}" in done.stdout, "help lacks", option)


def lines(place):
    for policy in ("probe", "age", "pressure"):
        for more in ([], ["--dry-run"]):
            with Victim(place) as v, Victim(place, "named") as other:
                done = expect(place, [str(v.pid), str(other.pid), "--policy", policy, *more,
                                      *QUICK], 0)
                contract(done, [v.pid, other.pid])
                if more:
                    check(done[-1]["reclaimed_bytes"] == 0, done[-1])
                v.unharmed()
                other.unharmed()


def table(place):
    """For people: no control characters of a name, a head, a line an interval, a sum."""
    with Victim(place, "named") as v:
        done = place.run("reclaim", str(v.pid), "--refault-max", "off", "--rate", "1M/s",
                         "--floor", "1K", "--swap-left", "0", "--cpu-max", "50%",
                         "--pressure-max", "50%", *QUICK)
        check(done.returncode == 0 and done.stderr == "", done.stderr)
        check("\033" not in done.stdout and "\u202e" not in done.stdout, repr(done.stdout))
        check(done.stdout.splitlines()[0].split()[:2] == ["RESIDENT", "SWAPPED"], done.stdout)
        check("found" in done.stdout and "put out" in done.stdout.splitlines()[-1], done.stdout)
        v.unharmed()


def ends_cleanly(place):
    for number in (signal.SIGINT, signal.SIGTERM):
        with Victim(place) as v:
            ctl = start(place, str(v.pid), "--interval", "60s")
            text = ctl.stdout.readline() + ctl.stdout.readline()
            ctl.send_signal(number)
            rest, err = ctl.communicate(timeout=10)
            check(ctl.returncode == 0 and err == "", number, ctl.returncode, err)
            contract(json_lines(text + rest), [v.pid])
            v.unharmed()


def target_ends(place):
    with Victim(place) as v:
        ctl = start(place, str(v.pid), "--interval", "100ms")
        ctl.stdout.readline()
        v.proc.kill()
        v.proc.wait()
        out, err = ctl.communicate(timeout=10)
        check(ctl.returncode == 3 and "ended" in err, ctl.returncode, err)
        clear_line(err, False)
        got = json_lines(out)
        check(got[-1]["event"] == "done" and [x["what"] for x in got if x["event"] == "target"]
              == ["ended"], got)


def reader_goes_away(place):
    with Victim(place) as v:
        ctl = start(place, str(v.pid), "--interval", "60s")
        ctl.stdout.readline()
        ctl.stdout.close()
        err = ctl.stderr.read()
        check(ctl.wait(timeout=10) == 0 and err == "", ctl.returncode, err)
        ctl.stderr.close()
        with open("/dev/full", "w") as full:
            done = place.run("--json", "reclaim", str(v.pid), *QUICK, stdout=full)
        check(done.returncode == 1 and "output" in done.stderr, done.stderr)
        v.unharmed()


def not_to_be_had(place):
    child = subprocess.Popen(["true"])
    child.wait()
    expect(place, [str(child.pid)], 3, f"there is no process {child.pid}")
    # The shell becomes umemctl: the id is its own.
    done = subprocess.run(["sh", "-c", f"exec {place.umemctl} reclaim $$"], text=True,
                          capture_output=True)
    check(done.returncode == 2 and "itself" in done.stderr, done.returncode, done.stderr)
    with Victim(place, "thread") as v:
        expect(place, [str(v.tid)], 2, f"thread of process {v.pid}")
        v.unharmed()
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat") as file:
                flags = int(file.read().rsplit(")", 1)[1].split()[6])
        except (OSError, ValueError, IndexError):
            continue
        if name.isdigit() and flags & 0x00200000:
            expect(place, [name], 1, "kernel thread")
            break
    expect(place, ["--cgroup", "no-such-group"], 1, "no-such-group")
    got = expect(place, ["--name", "no-such-*", *QUICK], 0)
    contract(got, [])
    check(got[0]["reason"] == "no process is there", got[0])


def init_process(place):
    """It can be looked at like any other, where one may; deciding does nothing to it."""
    done = place.run("--json", "reclaim", "1", "--dry-run", *QUICK)
    if done.returncode == 5:
        clear_line(done.stderr, False)
        check("pid 1 " in done.stderr, done.stderr)
        return
    check(done.returncode == 0, done.returncode, done.stderr)
    contract(json_lines(done.stdout), [1])
    expect(place, ["1", "--policy", "age", *QUICK], 2, "init")


def rights(place):
    with Victim(place) as v:
        expect(place, [str(v.pid), *QUICK], 5, str(v.pid), user=NOBODY)
        v.unharmed()
    with Victim(place, user=NOBODY) as v:
        expect(place, [str(v.pid), *QUICK], 5, str(v.pid), "CAP_SYS_NICE", user=NOBODY)
        contract(expect(place, [str(v.pid), "--dry-run", *QUICK], 0, user=NOBODY), [v.pid])
        v.unharmed()


def two_at_once(place):
    with Victim(place) as v:
        ctl = start(place, str(v.pid), "--interval", "60s")
        ctl.stdout.readline()
        expect(place, [str(v.pid), *QUICK], 1, "another umemctl", str(v.pid))
        ctl.send_signal(signal.SIGINT)
        ctl.communicate(timeout=10)
        expect(place, [str(v.pid), *QUICK], 0)
        v.unharmed()


def tracked_by_another(place):
    with Victim(place) as v:
        ctl = subprocess.Popen([place.umemctl, "--json", "dirty", str(v.pid), "--trigger",
                                "stdin"], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
        ctl.stdout.readline()
        expect(place, [str(v.pid), "--policy", "age", *QUICK], 1, "userfaultfd", str(v.pid))
        contract(expect(place, [str(v.pid), *QUICK], 0), [v.pid])
        out, _ = ctl.communicate("\n")
        check(ctl.returncode == 0 and json_lines(out)[0]["complete"], out)
        v.unharmed()


def lacking(place):
    with Victim(place) as v:
        pid = str(v.pid)
        env = {"UMEM_FEATURES": "-psi"}
        expect(place, [pid, "--policy", "pressure", *QUICK], 4, "pressure stall", "psi", env=env)
        expect(place, [pid, *QUICK], 0, env=env)
        env = {"UMEM_FEATURES": "-process_madvise"}
        expect(place, [pid, *QUICK], 4, "process_madvise", env=env)
        expect(place, [pid, "--dry-run", *QUICK], 0, env=env)
        for spec in ("nonsense", "psi"):
            env = {"UMEM_FEATURES": spec}
            expect(place, [pid, *QUICK], 2, "UMEM_FEATURES", spec, env=env)
        v.unharmed()


def no_swap(place):
    """Where /proc/swaps lists none; a mount namespace of its own is asked to say so."""
    empty = os.path.join(place.dir, "swaps")
    with open(empty, "w") as file:
        file.write("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
    with Victim(place) as v:
        for more, code in ([], 1), (["--dry-run"], 0):
            words = " ".join([place.umemctl, "reclaim", str(v.pid), *QUICK, *more])
            done = subprocess.run(["unshare", "-m", "sh", "-c",
                                   f"mount --bind {empty} /proc/swaps && exec {words}"],
                                  text=True, capture_output=True)
            check(done.returncode == code, done.returncode, done.stderr)
            check(code == 0 or "no swap" in done.stderr, done.stderr)
        v.unharmed()


CASES = [options, lines, table, ends_cleanly, target_ends, reader_goes_away, not_to_be_had,
         init_process, rights, two_at_once, tracked_by_another, lacking, no_swap]

if __name__ == "__main__":
    if os.getuid() != 0 or not os.path.exists("/sys/class/zram-control/hot_add"):
        print("SKIP: needs root, and zram to swap to")
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wanted = sys.argv[3:]
    with Swap():
        main([c for c in CASES if not wanted or c.__name__ in wanted], sys.argv[1], sys.argv[2])
