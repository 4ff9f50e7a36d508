# SPDX-License-Identifier: LGPL-2.1-or-later
"""The JSON of umemctl snapshot and image, field by field; and what their words promise."""
import importlib
import os
import sys

from ctltest import check, json_lines, main
from snaptest import METHODS, PAGE, Staircase, snapshot_words, take

shapes = importlib.import_module("json-fields")
fits, ADDR, NAT, TEXT, BOOL, MAYBE = (getattr(shapes, name) for name in
                                      ("fits", "ADDR", "NAT", "TEXT", "BOOL", "MAYBE"))
REASON, RANGE = shapes.REASON, shapes.RANGE

PROGRESS = {"event": TEXT, "stage": TEXT, "round": NAT, "done_bytes": NAT, "total_bytes": NAT}
DONE = {"event": TEXT, "pid": NAT, "path": TEXT, "format": TEXT, "method": TEXT, "why": TEXT,
        "processes": NAT, "pause_ns": NAT, "attach_stop_ns": NAT, "total_ns": NAT, "rounds": NAT,
        "pages": NAT, "zero_pages": NAT, "parent_pages": NAT, "stopped_bytes": NAT,
        "written_bytes": NAT, "incremental": MAYBE + TEXT, "complete": BOOL,
        "incomplete": [REASON]}

REGION = {**RANGE, "kind": TEXT, "path": TEXT, "offset": NAT, "page_size_bytes": NAT,
          "file_backed": BOOL}
PROCESS = {"space": NAT, "pid": NAT, "ppid": NAT, "comm": TEXT, "exe": TEXT, "n_threads": NAT,
           "n_regions": NAT}
TOTALS = dict.fromkeys(("data_bytes", "duplicate_bytes", "zero_bytes", "fill_bytes",
                        "parent_bytes", "stored_bytes", "frame_bytes", "index_bytes",
                        "file_bytes", "disk_bytes", "n_frames", "n_runs"), NAT)
INFO = {"path": TEXT, "id": TEXT, "parent": None, "method": TEXT, "creator": TEXT, "kernel": TEXT,
        "machine": TEXT, "time_ns": NAT, "pause_ns": NAT, "total_ns": NAT, "rounds": NAT,
        "complete": BOOL, "incomplete": [{**REASON, "space": NAT}], "processes": [PROCESS],
        "totals": TOTALS}
PARENT = {"path": TEXT, "id": TEXT}
VERIFY = {"path": TEXT, "ok": BOOL, "n_damages": NAT,
          "damages": [{"path": TEXT, "offset": NAT, "text": TEXT}], "elapsed_ns": NAT}
DIFF = {f"{word}_{what}": NAT for word in ("changed", "added", "removed")
        for what in ("bytes", "regions")}
DIFF_RANGES = {**DIFF, "ranges": [{**RANGE, "space": NAT, "change": TEXT}],
               "regions": [{**RANGE, "space": NAT, "kind": TEXT, "path": TEXT, "change": TEXT}]}
EXPORT = {"path": TEXT, "format": TEXT, "length_bytes": NAT, "data_bytes": NAT,
          "file_bytes": NAT, "unknown_bytes": NAT, "parent_bytes": NAT,
          "extents": [{**RANGE, "pid": NAT, "file_offset": NAT}], "elapsed_ns": NAT}
FLATTEN = {"path": TEXT, "data_bytes": NAT, "zero_bytes": NAT, "file_bytes": NAT,
           "elapsed_ns": NAT}


def done_fits(line, v, path, method):
    fits(line, DONE, "done")
    check(line["pid"] == v.pid and line["path"] == path, line)
    check(method in ("auto", line["method"]) and line["method"] in METHODS, line)
    check(line["complete"] == (line["incomplete"] == []), line)
    check(0 < line["pause_ns"] <= line["total_ns"], line)
    check(line["pages"] > 0 and line["processes"] == 1 and line["why"], line)


def snapshot(place):
    for method in ("auto", *METHODS):
        with Staircase(place, lanes=2, kind="mixed") as v:
            path = os.path.join(place.dir, "image")
            done = place.run(*snapshot_words(v.pid, path, method))
            check(done.returncode == 0 and done.stderr == "", done.stderr)
            lines = json_lines(done.stdout)
            for line in lines[:-1]:
                fits(line, PROGRESS, "progress")
                check(line["done_bytes"] <= line["total_bytes"], line)
            done_fits(lines[-1], v, path, method)
            check(lines[-1]["format"] == "umem" and lines[-1]["incremental"] is None, lines[-1])
            check(lines[-1]["parent_pages"] == 0, lines[-1])
            disk = os.stat(path).st_blocks * 512
            check(lines[-1]["written_bytes"] <= max(disk, os.stat(path).st_size), lines[-1], disk)
            again = take(place, v.pid, path + "2", method, "--parent", path)
            done_fits(again, v, path + "2", method)
            check(again["incremental"] and again["parent_pages"] > 0, again)
            v.unharmed()


def formats(place):
    with Staircase(place) as v:
        for name in ("core", "raw", "criu"):
            path = os.path.join(place.dir, name)
            line = take(place, v.pid, path, None, "--format", name)
            done_fits(line, v, path, "auto")
            check(line["format"] == name and os.path.exists(path), line)
        v.unharmed()


def one(place, *words, code=0):
    done = place.run("--json", "image", *words)
    check(done.returncode == code, words, "exit", done.returncode, done.stderr)
    lines = json_lines(done.stdout)
    check(len(lines) == 1, lines)
    return lines[0]


def image(place):
    with Staircase(place) as v:
        first, second, out = (os.path.join(place.dir, name) for name in ("a", "b", "out"))
        taken = take(place, v.pid, first, "freeze")
        take(place, v.pid, second, "freeze", "--parent", first)

        for more in ([], ["--regions"]):
            process = {**PROCESS, **({"regions": [REGION]} if more else {})}
            parents = []
            for path in (first, second):
                line = one(place, "info", path, *more)
                parents.append(line["parent"])
                fits({**line, "parent": ""}, {**INFO, "parent": TEXT, "processes": [process]},
                     "info")
                info(line, v, taken if path == first else None)
            check(parents[0] is None, parents)
            fits(parents[1], PARENT, "parent")
            check(parents[1]["id"] == one(place, "info", first)["id"], parents)

        line = one(place, "verify", second)
        fits(line, VERIFY, "verify")
        check(line["ok"] and line["damages"] == [], line)
        fits(one(place, "diff", first, second), DIFF, "diff")
        line = one(place, "diff", first, second, "--ranges")
        fits(line, DIFF_RANGES, "diff")
        check({r["change"] for r in line["ranges"]} <= {"changed", "added", "removed"}, line)
        sums = {word: sum(int(r["end"], 16) - int(r["start"], 16) for r in line["ranges"]
                          if r["change"] == word) for word in ("changed", "added", "removed")}
        check(all(sums[word] == line[word + "_bytes"] for word in sums), sums, line)
        for name in ("core", "raw", "criu"):
            line = one(place, "export", second, "--format", name, "-o", f"{out}-{name}")
            fits(line, EXPORT, "export")
            check(line["format"] == name and line["path"] == f"{out}-{name}", line)
        line = one(place, "flatten", second, "-o", out)
        fits(line, FLATTEN, "flatten")
        check(line["file_bytes"] == os.stat(out).st_size, line)
        v.unharmed()


def info(line, v, taken):
    check(line["complete"] == (line["incomplete"] == []), line)
    check(line["totals"]["file_bytes"] == os.stat(line["path"]).st_size, line["totals"])
    check(len(line["id"]) == 32 and line["kernel"] == os.uname().release, line)
    check(len(line["processes"]) == 1 and line["processes"][0]["pid"] == v.pid, line)
    mine = line["processes"][0]
    if "regions" in mine:
        check(mine["n_regions"] == len(mine["regions"]), mine["n_regions"])
        last = 0
        for g in mine["regions"]:
            start, end = int(g["start"], 16), int(g["end"], 16)
            check(last <= start < end and g["page_size_bytes"] >= PAGE, g)
            last = end
    if taken:
        check(line["method"] == taken["method"] and line["pause_ns"] == taken["pause_ns"], line)


def damaged(place):
    """verify names the damage: status 1, and JSON that says where."""
    with Staircase(place) as v:
        path = os.path.join(place.dir, "damaged")
        take(place, v.pid, path, "freeze")
        with open(path, "r+b") as file:
            file.seek(os.stat(path).st_size // 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 0x10]))
        line = one(place, "verify", path, code=1)
        fits({k: x for k, x in line.items() if k != "error"}, VERIFY, "verify")
        check(not line["ok"] and line["n_damages"] >= 1 and line["error"], line)
        v.unharmed()


def regions(place):
    """--region: the image has these addresses, and no others."""
    with Staircase(place, lanes=1) as v:
        path = os.path.join(place.dir, "part")
        line = take(place, v.pid, path, "freeze", "--region", "20000000000-20000001000")
        done_fits(line, v, path, "freeze")
        check(line["pages"] == 1, line)
        done = place.run("image", "read", path, "--at", "0x20000000000", "--len", "8",
                         "--pid", str(v.pid))
        check(done.returncode == 0 and done.stdout == "1_stairs", repr(done.stdout))
        done = place.run("image", "read", path, "--at", "0x20000001000", "--len", "8")
        check(done.returncode == 1 and done.stdout == "", done.stdout, done.stderr)
        v.unharmed()


CASES = [snapshot, formats, image, damaged, regions]

if __name__ == "__main__":
    wanted = sys.argv[3:]
    main([c for c in CASES if not wanted or c.__name__ in wanted], sys.argv[1], sys.argv[2])
