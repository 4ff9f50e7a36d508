# SPDX-License-Identifier: LGPL-2.1-or-later
"""umemctl swap against memory of which every page's state is known."""
import fcntl
import os
import signal
import sys

from ctltest import NOBODY, check, clear_line
from swaptest import STATES, SwapVictim, join, main, sums_of, swap, told_runs, until_true

AREAS = ("private", "memfd", "shared", "sparse", "mixed")
TABLES = ("scan", "words", "smaps")
OBJECTS = ("cachestat", "halving", "extents")


def consistent(answer):
    """Sums, ranges and verdicts of an answer fit each other."""
    last = 0
    totals = dict.fromkeys(STATES, 0)
    for g in answer["regions"]:
        start, end, size = int(g["start"], 16), int(g["end"], 16), g["page_size_bytes"]
        check(last <= start < end, "order", g["start"])
        last = end
        check(set(g["pages"]) == set(STATES), g["pages"])
        check(sum(g["pages"].values()) * size == end - start, g)
        check(g["exact"] == (g["reason"] is None), g)
        check(g["swapped_io_bytes"] is None or
              g["swapped_io_bytes"] <= g["pages"]["swapped"] * size, g)
        for state in STATES:
            totals[state] += g["pages"][state] * size
        if "ranges" in g:
            covered(g, start, end, size)
    total = answer["total"]
    check(total["regions"] == len(answer["regions"]), total)
    check(total["bytes"] == sum(totals.values()), total)
    for state in STATES:
        check(total[state + "_bytes"] == totals[state] == total["pages"][state] * 4096, total)
    check(total["exact"] == all(g["exact"] for g in answer["regions"]), total)


def covered(region, start, end, size):
    """The ranges of a region hold each page once, and sum up to its numbers."""
    at = start
    before = None
    for r in region["ranges"]:
        check(int(r["start"], 16) == at and r["state"] != before, region["start"], r)
        at, before = int(r["end"], 16), r["state"]
    check(at == end, region["start"], "ends at", hex(at))
    sums = sums_of([(int(r["start"], 16), int(r["end"], 16), r["state"])
                    for r in region["ranges"]])
    for state in STATES:
        check(sums[state] == region["pages"][state] * size, state, region["start"])


def states(place):
    """Each page of each kind of memory, for the process and for who shares it."""
    with SwapVictim(place) as v:
        for area in AREAS:
            def look(area=area, pid=v.pid):
                faults = v.major_faults()
                answer = swap(place, str(pid), "--region", v.region(area), "--ranges")
                consistent(answer)
                check(told_runs(answer) == v.truth(area), area, told_runs(answer))
                check(answer["total"]["exact"], [g["reason"] for g in answer["regions"]])
                check(v.major_faults() == faults, "it was made to fault")
            until_true(v, look)
            if area in ("memfd", "shared"):
                until_true(v, lambda: look(area, v.child))
        answer = swap(place, str(v.pid), "--region", v.region("memfd"))
        check(answer["pid"] == v.pid and answer["file"] is None, answer)
        check(answer["name"] == "ctl-swap-victim"[:15], answer["name"])
        check([g["kind"] for g in answer["regions"]] == ["shmem"], answer)
        check("\033[31mred" in answer["regions"][0]["path"], answer["regions"][0]["path"])


def whole(place):
    """All of a process: each page once, everything adds up."""
    with SwapVictim(place) as v:
        for options in ([], ["--ranges"]):
            answer = swap(place, str(v.pid), *options)
            consistent(answer)
            check(("ranges" in answer["regions"][0]) == bool(options), options)
            kinds = {g["kind"] for g in answer["regions"]}
            check({"anonymous", "shmem", "file-private"} <= kinds, kinds)
            check(not kinds & {"kernel", "device"}, kinds)


def clipped(place):
    """--region cuts at pages, takes several, and joins those that touch."""
    with SwapVictim(place) as v:
        start, end = v.start("private"), v.end("private")

        def look():
            asked = [(start + 5 * 4096, start + 40 * 4096), (start + 50 * 4096, end)]
            answer = swap(place, str(v.pid), "--ranges", "--region",
                          f"{asked[0][0] + 1:x}-{asked[0][1] - 4095:x}",
                          "--region", f"0x{asked[1][0]:x}-0x{end:x}",
                          "--region", f"{asked[1][0] + 4096:x}-{end:x}")
            consistent(answer)
            want = [(max(a, s), min(b, e), state) for s, e in asked
                    for a, b, state in v.truth("private") if a < e and b > s]
            check(told_runs(answer) == want, told_runs(answer), want)
        until_true(v, look)
        check("no memory" in swap(place, str(v.pid), "--region", "1000-2000", code=1))
        check("0x1000" in swap(place, str(v.pid), "--region", "1000-2000", "--region",
                               v.region("memfd"), code=1))


def methods(place):
    """Every method that can be forced tells the truth, or says that it cannot."""
    with SwapVictim(place) as v:
        for area in ("private", "memfd"):
            exact = set()
            for method in TABLES + OBJECTS:
                def look(area=area, method=method):
                    answer = swap(place, str(v.pid), "--region", v.region(area), "--ranges",
                                  "--method", method)
                    consistent(answer)
                    used = answer["regions"][0]["method"]
                    if method in TABLES or area == "memfd":
                        check(method in used.split("+"), method, "asked,", used, "used")
                    if answer["total"]["exact"]:
                        check(told_runs(answer) == v.truth(area), method, told_runs(answer))
                        exact.add(method)
                until_true(v, look)
            print(f"  {area}: exact by {', '.join(sorted(exact))}")
            check({"scan", "smaps", "cachestat", "halving"} <= exact, area, exact)
        why = swap(place, str(v.pid), "--method", "guessing", code=2)
        check("guessing" in why and "cachestat" in why, why)


def huge_pages(place):
    """Pages of the reserved pool are not cut; the object is asked without a touch."""
    with SwapVictim(place, "huge") as v:
        if v.skipped:
            return v.skipped
        for area in ("huge", "hugefile"):
            answer = swap(place, str(v.pid), "--region", v.region(area), "--ranges")
            consistent(answer)
            check(told_runs(answer) == v.truth(area), told_runs(answer))
            check(answer["total"]["exact"], answer["regions"])
            check(answer["regions"][0]["page_size_bytes"] == 2 << 20, answer)
            check(answer["regions"][0]["pages"]["resident"] == 1, answer)
            check(answer["total"]["pages"]["resident"] == 512, answer["total"])
            middle = v.start(area) + (1 << 20)
            answer = swap(place, str(v.pid), "--region", f"{middle:x}-{middle + 4096:x}")
            check(int(answer["regions"][0]["start"], 16) == v.start(area), answer)
            check(sum(answer["regions"][0]["pages"].values()) == 1, answer)
        answer = swap(place, "--file", v.fd_path("hugefile"), "--ranges", "--region",
                      "200001-200002")
        check(told_runs(answer) == [(2 << 20, 4 << 20, "resident")], answer)
        check(answer["regions"][0]["method"] == "continue", answer)
        check(answer["regions"][0]["kind"] == "hugetlb-shared", answer)
    return None


def files(place):
    """A file in memory, also one that nobody maps."""
    with SwapVictim(place) as v:
        for area in ("unmapped", "memfd"):
            path = v.fd_path(area)
            for method in (None, *OBJECTS):
                def look(area=area, path=path, method=method):
                    more = ["--method", method] if method else []
                    answer = swap(place, "--file", path, "--ranges", *more)
                    consistent(answer)
                    g = answer["regions"][0]
                    check(g["method"] == (method or "cachestat"), g["method"])
                    check(answer["file"] == path and answer["pid"] is None, answer)
                    check(g["kind"] == "shmem" and g["path"] == path, g)
                    if g["exact"] or method is None:
                        check(told_runs(answer) == v.truth(area, 0), told_runs(answer))
                until_true(v, look)
        path = v.fd_path("unmapped")

        def cut():
            answer = swap(place, "--file", path, "--ranges", "--region", "2800-5000",
                          "--region", "10000-ffffffffffffffff")
            consistent(answer)
            check(told_runs(answer) == [
                (0x2000, 0x3000, "untouched"), (0x3000, 0x5000, "swapped"),
                (0x10000, 0x18000, "swapped"), (0x18000, 0x1d000, "resident"),
                (0x1d000, 0x20000, "untouched")], told_runs(answer))
        until_true(v, cut)
        # Looking through a descriptor did not leave a mapping of it behind.
        with open(f"/proc/{v.pid}/maps", errors="replace") as maps:
            check("scratch" not in maps.read(), "mapped")


def wrong_files(place):
    with SwapVictim(place) as v:
        path = v.fd_path("unmapped")
        for words, code, part in (
                (["--file", "/nonexistent"], 1, "/nonexistent"),
                (["--file", "/dev/null"], 2, "/dev/null"),
                (["--file", "/"], 2, "no file in memory"),
                (["--file", ""], 1, "No such file"),
                (["--file", path, "--region", "100000-200000"], 1, "0x100000"),
                (["--file", path, "--method", "scan"], 2, "scan"),
                (["--file", path, "--method", "continue"], 2, "continue"),
                (["--file", path, "1"], 2, "not both"),
                (["--file", path, "--sharers"], 2, "--sharers"),
                (["--file", f"/proc/{v.pid}/fd/999"], 1, "fd/999")):
            clear_line(swap(place, *words, code=code), code == 2)
            check(part in swap(place, *words, code=code), words)
        clear_line(swap(place, "--file", path, code=5, user=NOBODY), False)
        disk = os.path.join(place.dir, "file")
        with open(disk, "w", encoding="ascii") as file:
            file.write("x")
        if os.statvfs(place.dir).f_fsid != os.statvfs("/dev/shm").f_fsid:
            check("no file in memory" in swap(place, "--file", disk, code=2))
        os.mkfifo(os.path.join(place.dir, "fifo"))
        swap(place, "--file", os.path.join(place.dir, "fifo"), code=2)


def named_file(place):
    """A file of a tmpfs, by its path; empty as well."""
    path = f"/dev/shm/umemctl-test-{os.getpid()}"
    try:
        with open(path, "wb") as file:
            answer = swap(place, "--file", path, "--ranges")
            consistent_empty(answer)
            file.write(b"x" * 10000)
            file.flush()
            answer = swap(place, "--file", path, "--ranges")
            consistent(answer)
            got = sums_of(told_runs(answer))
            check(got["resident"] + got["swapped"] == 12288, answer)
        # A lease ends when anybody opens the file for writing, and so would executing it.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        with open(path, "rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            swap(place, "--file", path)
            check(fcntl.fcntl(file, fcntl.F_GETLEASE) == fcntl.F_RDLCK, "opened for writing")
    except FileNotFoundError:
        return "no /dev/shm"
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return None


def consistent_empty(answer):
    check(answer["total"]["bytes"] == 0 and answer["total"]["exact"], answer)
    check([g["ranges"] for g in answer["regions"]] == [[]], answer)


def sharers(place):
    with SwapVictim(place) as v:
        for area, want in (("shared", [v.child]), ("memfd", [v.child]), ("private", [])):
            answer = swap(place, str(v.pid), "--region", v.region(area), "--sharers")
            consistent(answer)
            got = answer["regions"][0]["sharers"]
            check([s["pid"] for s in got] == want, area, got)
            check(all(s["name"] == "ctl-swap-victim"[:15] for s in got), got)
        check(answer["total"]["sharers"] >= 1, answer["total"])
        check("sharers" not in swap(place, str(v.pid))["regions"][0])


def unprivileged(place):
    """A user's own process: exact, or it is said why not."""
    if os.getuid() != 0:
        return "needs root to become somebody else"
    with SwapVictim(place, user=NOBODY) as v:
        for area in AREAS:
            def look(area=area):
                answer = swap(place, str(v.pid), "--region", v.region(area), "--ranges",
                              user=NOBODY)
                consistent(answer)
                for g in answer["regions"]:
                    if g["exact"]:
                        runs = join([(int(r["start"], 16), int(r["end"], 16), r["state"])
                                     for r in g["ranges"]])
                        check(runs == v.truth(area), area, runs)
                return [g["reason"] for g in answer["regions"]]
            print(f"  {area}: {until_true(v, look)}")

        def own_file():
            answer = swap(place, "--file", v.fd_path("unmapped"), "--ranges", user=NOBODY)
            consistent(answer)
            check(told_runs(answer) == v.truth("unmapped", 0), told_runs(answer))
            check(answer["total"]["exact"], answer["regions"])
        until_true(v, own_file)
    return None


def table(place):
    """The table says what JSON does, in as many columns as there are."""
    with SwapVictim(place) as v:
        def look():
            done = place.run("swap", str(v.pid), "--region", v.region("private"), "--ranges",
                             "--sharers")
            check(done.returncode == 0 and done.stderr == "", done.stderr)
            lines = done.stdout.splitlines()
            row = [x.split() for x in lines if x.startswith(f"  {v.start('private'):012x}-")]
            sums = sums_of(v.truth("private"))
            got = dict(zip(("range", "SIZE", "RESIDENT", "SWAPPED", "I/O", "ZERO",
                            "UNTOUCHED", "GUARD", "METHOD", "EXACT"), row[0]))
            want = {s: f"{b / 1024:.3g}K" if b else "0" for s, b in sums.items()}
            for state in STATES:
                text = got[state.upper()]
                check(float(text.rstrip("K")) == float(want[state].rstrip("K")), state, row[0])
            check(got["EXACT"] == "yes" and got["METHOD"] == "scan", row[0])
            listed = [x.split() for x in lines if x.startswith("    ")]
            check([x[2] for x in listed] == [s for _, _, s in v.truth("private")], listed)
        until_true(v, look)
        done = place.run("swap", str(v.pid), "--region", v.region("memfd"), "--region",
                         v.region("shared"), env={"COLUMNS": "80"})
        check(max(map(len, done.stdout.splitlines())) <= 80, done.stdout)
        check("METHOD" not in done.stdout and "\033" not in done.stdout, done.stdout)
        check("\u202e" not in done.stdout, repr(done.stdout))


if __name__ == "__main__":
    main([states, whole, clipped, methods, huge_pages, files, wrong_files, named_file, sharers,
          unprivileged, table], sys.argv[1], sys.argv[2])
