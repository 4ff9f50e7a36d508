# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a target is like after a snapshot: as before."""
import os
import signal
import sys

from ctltest import check, json_lines, main
from snaptest import CALM, METHODS, PAGE, Staircase, Traces, read, status, take, until
from swaptest import SwapVictim, sums_of, swap, told_runs, until_true
from swaptest import main as swap_main

FIELDS = ("VmLck", "VmPin", "VmSwap", "HugetlbPages", "SigQ", "SigBlk", "SigIgn", "SigCgt",
          "Seccomp", "NoNewPrivs")


def looks(pid):
    return {key: status(pid, key) for key in FIELDS}


def runs_on(place):
    """It counts on, takes its signals, waits without interruption; nothing is left in it."""
    for method in METHODS:
        for kind in ("anon", "memfd", "mixed"):
            with Staircase(place, lanes=3, kind=kind, pages=251, churn=CALM) as v:
                before = {k: x for k, x in looks(v.pid).items() if k not in ("VmLck", "SigQ")}
                path = os.path.join(place.dir, "image")
                for _ in range(3):
                    done = take(place, v.pid, path, method)
                    # What it frees meanwhile may be gone before it is copied; so it is said.
                    check(done["complete"] or method == "cow", method, kind, done["incomplete"])
                    v.unharmed()
                after = {k: x for k, x in looks(v.pid).items() if k in before}
                check(after == before, method, kind, "was", before, "is", after)
                check(status(v.pid, "State")[0] in "RS", status(v.pid, "State"))
                v.judge(path, done)


def same_moment(place):
    """Of one stopped moment, each method makes the same image: of every byte there is."""
    with Staircase(place, lanes=5, kind="mixed", pages=251) as v:
        os.kill(v.pid, signal.SIGSTOP)
        until(lambda: status(v.pid, "State")[0] == "T", "it does not stop")
        last = None
        for method in METHODS:
            path = os.path.join(place.dir, method)
            truth = all_bytes(v.pid)
            check(sum(map(len, truth.values())) > 5 * 251 * PAGE)
            done = take(place, v.pid, path, method)
            check(done["complete"], method, done["incomplete"])
            compare(place, path, truth)
            if last:
                differ(place, last, path)
            last = path
        v.unharmed()


def all_bytes(pid):
    """Every mapping that can be read, by its start."""
    truth = {}
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if line.split()[1][0] == "r" and "[v" not in line:
                truth[start] = os.pread(mem.fileno(), end - start, start)
    return truth


def pages_that_differ(start, a, b):
    return {start + at for at in range(0, len(a), PAGE) if a[at:at + PAGE] != b[at:at + PAGE]}


def span(a, b):
    """From the first to the last byte that differs."""
    at = [i for i in range(len(a)) if a[i] != b[i]]
    return at[-1] - at[0] + 1


def compare(place, path, before):
    """The image is what the process was; but for one place of 32 bytes, where the kernel notes
    on which processor a thread runs (rseq), as soon as a call for us was made there."""
    done = place.run("--json", "image", "info", path, "--regions")
    check(done.returncode == 0, done.stderr)
    known = {int(g["start"], 16): int(g["end"], 16)
             for g in json_lines(done.stdout)[0]["processes"][0]["regions"]}
    noted = []
    for start, want in before.items():
        check(known.get(start) == start + len(want), path, "has no", hex(start))
        got = read(place, path, start, len(want))
        bad = pages_that_differ(start, got, want)
        check(len(bad) <= 1, path, "differs at", [hex(at) for at in sorted(bad)[:4]])
        if bad:
            check(span(got, want) <= 32, path, "differs at", hex(bad.pop()), span(got, want))
            noted.append(start)
    check(len(noted) <= 1, path, "differs in", [hex(at) for at in noted])


def differ(place, first, second):
    done = place.run("--json", "image", "diff", first, second, "--ranges")
    check(done.returncode == 0, done.stderr)
    told = json_lines(done.stdout)[0]
    check(told["regions"] == [] and len(told["ranges"]) <= 1, told)
    check(told["changed_bytes"] <= PAGE and not told["added_bytes"] + told["removed_bytes"], told)


def huge_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("AnonHugePages:"):
                return int(line.split()[1])
    return 0


def huge_pages(place):
    """Huge pages are huge again."""
    for method in METHODS:
        with Staircase(place, lanes=2, kind="thp", pages=2048) as v:
            before = huge_kib(v.pid)
            if before < 16384:
                return f"there are no huge pages: {before} kB"
            path = os.path.join(place.dir, "image")
            done = take(place, v.pid, path, method)
            v.unharmed()
            after = huge_kib(v.pid)
            print(f"  {method}: {before} kB of huge pages before, {after} kB after")
            check(after >= before, method, before, "kB of huge pages are", after, "kB now")
            v.judge(path, done)
    return None


def swapped_pages(place):
    """What was out is out after it, what was never touched still is; the bytes are right."""
    for method in METHODS:
        with SwapVictim(place) as v:
            if v.skipped:
                return v.skipped
            path = os.path.join(place.dir, "image")

            def look():
                traces = Traces(v.pid)
                done = take(place, v.pid, path, method)
                # A child of it shares the objects, and might write to them.
                check(all("maps it too" in r["reason"] for r in done["incomplete"]), done)
                traces.check()
                for name in ("private", "memfd", "shared", "mixed"):
                    answer = swap(place, str(v.pid), "--ranges", "--region", v.region(name))
                    got, want = told_runs(answer), v.truth(name)
                    check(got == want, method, "left", name, "as", sums_of(got), "not",
                          sums_of(want))

            until_true(v, look)
            for name in ("private", "memfd", "shared", "mixed"):
                same_bytes(place, v, path, method, name)
    return None


def same_bytes(place, v, path, method, name):
    """Now that its state does not matter any more: the bytes themselves."""
    with open(f"/proc/{v.pid}/mem", "rb", buffering=0) as mem:
        for start, end, state in v.truth(name):
            if state == "guard":
                continue
            want = os.pread(mem.fileno(), end - start, start)
            got = read(place, path, start, end - start)
            for at in range(0, end - start, PAGE):
                check(got[at:at + PAGE] == want[at:at + PAGE], method, name, "differs at",
                      hex(start + at), state, got[at:at + 16], want[at:at + 16])


CASES = [runs_on, same_moment, huge_pages]
SWAP_CASES = [swapped_pages]

if __name__ == "__main__":
    if os.getuid() != 0:
        print("SKIP: needs root")
        sys.exit(77)
    if sys.argv[1] == "swap":
        swap_main(SWAP_CASES, *sys.argv[2:4])
    main(CASES, *sys.argv[1:3])
