# SPDX-License-Identifier: LGPL-2.1-or-later
"""The JSON of umemctl, field by field: exactly these names, exactly these types."""
import sys

from ctltest import Victim, check, json_lines, main

ADDR = "address"
NAT = "natural"
TEXT = "text"
BOOL = "bool"
MAYBE = "maybe:"  # null, or the type that follows

REASON = {"start": ADDR, "end": ADDR, "reason": TEXT}
RANGE = {"start": ADDR, "end": ADDR}

ARMED = {"event": TEXT, "pid": NAT, "regions": NAT, "tracked_bytes": NAT, "stop_ns": NAT,
         "arm_ns": NAT, "assumes": [REASON]}
ROUND = {"event": TEXT, "round": NAT, "pid": NAT, "at_ns": NAT, "interval_ns": NAT,
         "tracked_bytes": NAT, "dirty_bytes": NAT, "written_bytes": NAT, "new_bytes": NAT,
         "pinned_bytes": NAT, "punched_bytes": NAT, "sharer_bytes": NAT, "gone_bytes": NAT,
         "scan_ns": NAT, "complete": BOOL, "incomplete": [REASON]}
RANGES = {**ROUND, "ranges": [{**RANGE, "why": TEXT}], "gone": [RANGE]}
DONE = {"event": TEXT, "rounds": NAT}

STATES = ("resident", "swapped", "zero", "untouched", "guard")
BYTES = {state + "_bytes": NAT for state in STATES}

SHARER = {"pid": NAT, "name": TEXT, "writes": BOOL}
REGION = {"event": TEXT, "start": ADDR, "end": ADDR, "kind": TEXT, "path": TEXT, "prot": TEXT,
          "page_size_bytes": NAT, "trackable": BOOL, "reason": MAYBE + TEXT,
          **{key: MAYBE + NAT for key in BYTES}, "swapped_io_bytes": MAYBE + NAT,
          "exact": MAYBE + BOOL, "inexact": MAYBE + TEXT,
          "pinned_bytes": MAYBE + NAT, "sharers": [SHARER]}
TOTAL = {"event": TEXT, "pid": NAT, "regions": NAT, "bytes": NAT, "trackable_bytes": NAT,
         **BYTES, "swapped_io_bytes": MAYBE + NAT, "exact": BOOL,
         "pinned_bytes": MAYBE + NAT, "sharers": NAT, "hidden_processes": NAT}

PAGES = {state: NAT for state in STATES}
SWAP_REGION = {"start": ADDR, "end": ADDR, "kind": TEXT, "path": TEXT, "page_size_bytes": NAT,
               "method": TEXT, "exact": BOOL, "reason": MAYBE + TEXT, "pages": PAGES,
               "swapped_io_bytes": MAYBE + NAT}
SWAP_TOTAL = {"regions": NAT, "bytes": NAT, "pages": PAGES, **BYTES,
              "swapped_io_bytes": MAYBE + NAT, "exact": BOOL}
SWAP = {"pid": MAYBE + NAT, "name": MAYBE + TEXT, "file": MAYBE + TEXT,
        "regions": [SWAP_REGION], "total": SWAP_TOTAL}

FEATURE = {"event": TEXT, "name": TEXT, "found": MAYBE + BOOL, "blind_spot": BOOL,
           "enables": TEXT, "how_to_get": TEXT, "detail": TEXT}
VERDICT = {"event": TEXT, "tracking": BOOL, "tracker": MAYBE + TEXT, "missing": [TEXT],
           "unknown": [TEXT], "blind_spots": [TEXT]}
VERDICT_PID = {**VERDICT, "pid": NAT, "attachable": BOOL, "trackable_bytes": NAT,
               "complete": BOOL, "incomplete": [REASON]}
TARGET = {"event": TEXT, "pid": NAT, "name": TEXT, "attachable": BOOL,
          "obstacles": [{"what": TEXT, "blocks": BOOL, "text": TEXT}],
          "hidden_processes": NAT}
MEMORY = {"event": TEXT, "kind": TEXT, "trackable": BOOL, "reason": MAYBE + TEXT,
          "regions": NAT, "bytes": NAT}
UNSEEN = {"event": TEXT, "start": ADDR, "end": ADDR, "by": TEXT, "detail": TEXT,
          "handling": TEXT}
SHARER_EVENT = {"event": TEXT, "pid": NAT, "name": TEXT, "writes": BOOL, "mapped_bytes": NAT,
                "writable_bytes": NAT, "ranges": [RANGE]}

WHYS = {"written", "new", "pinned", "punched", "sharer"}


def fits(value, shape, where):
    """Fail unless @value has exactly the shape: no field less, none more."""
    if isinstance(shape, dict):
        check(isinstance(value, dict), where, "is no object:", value)
        check(set(value) == set(shape), where, "lacks", set(shape) - set(value), "and has",
              set(value) - set(shape))
        for key in shape:
            fits(value[key], shape[key], f"{where}.{key}")
    elif isinstance(shape, list):
        check(isinstance(value, list), where, "is no array:", value)
        for i, item in enumerate(value):
            fits(item, shape[0], f"{where}[{i}]")
    elif shape.startswith(MAYBE):
        if value is not None:
            fits(value, shape[len(MAYBE):], where)
    elif shape == NAT:
        check(type(value) is int and value >= 0, where, "is no natural number:", value)
    elif shape == BOOL:
        check(type(value) is bool, where, "is no boolean:", value)
    else:
        check(type(value) is str, where, "is no text:", value)
        if shape == ADDR:
            check(value == hex(int(value, 16)), where, "is no address:", value)


def dirty(place):
    for ranges in ([], ["--ranges"]):
        for mode in ("plain", "shared"):
            with Victim(place, mode) as v:
                done = place.run("--json", "dirty", str(v.pid), "--rounds", "3", "--interval",
                                 "1ms", *ranges)
                check(done.returncode == 0, done.stderr)
                lines = json_lines(done.stdout)
                check([x["event"] for x in lines] == ["armed"] + 3 * ["round"] + ["done"])
                fits(lines[0], ARMED, "armed")
                for i, line in enumerate(lines[1:-1]):
                    fits(line, RANGES if ranges else ROUND, "round")
                    check(line["round"] == i + 1 and line["pid"] == v.pid, line)
                    check(line["complete"] == (line["incomplete"] == []), line)
                    check(line["dirty_bytes"] == sum(line[why + "_bytes"] for why in WHYS))
                    if ranges:
                        sums(line)
                fits(lines[-1], DONE, "done")
                check(lines[-1]["rounds"] == 3, lines[-1])
                v.unharmed()


def sums(line):
    """The ranges are what the numbers say: ascending, disjoint, each page once."""
    got = dict.fromkeys(WHYS, 0)
    last = 0
    for r in line["ranges"]:
        start, end = int(r["start"], 16), int(r["end"], 16)
        check(r["why"] in WHYS and last <= start < end, r)
        got[r["why"]] += end - start
        last = end
    for why in WHYS:
        check(got[why] == line[why + "_bytes"], why, line)
    gone = sum(int(r["end"], 16) - int(r["start"], 16) for r in line["gone"])
    check(gone == line["gone_bytes"], line)


def dirty_written(place):
    """A round with content: what the victim wrote is there, as written."""
    import subprocess
    with Victim(place) as v:
        start, end = (int(x, 16) for x in v.region.split("-"))
        ctl = subprocess.Popen([place.umemctl, "--json", "dirty", str(v.pid), "--ranges",
                                "--trigger", "stdin"], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
        fits(json_lines(ctl.stdout.readline())[0], ARMED, "armed")
        v.proc.stdin.write("\n")
        v.proc.stdin.flush()
        v.proc.stdout.readline()
        out, _ = ctl.communicate("\n")
        line = json_lines(out)[0]
        fits(line, RANGES, "round")
        sums(line)
        mine = [r for r in line["ranges"] if int(r["start"], 16) < end and
                int(r["end"], 16) > start]
        check(sum(min(int(r["end"], 16), end) - max(int(r["start"], 16), start)
                  for r in mine) == end - start, mine)
        check({r["why"] for r in mine} == {"written"}, mine)


def sharers(place):
    """What a child writes is reported with --sharers, or said to be missing."""
    import subprocess
    for option in ([], ["--sharers"]):
        with Victim(place, "family") as v:
            start, end = (int(x, 16) for x in v.region.split("-"))
            ctl = subprocess.Popen([place.umemctl, "--json", "dirty", str(v.pid), "--ranges",
                                    "--trigger", "stdin", *option], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            json_lines(ctl.stdout.readline())
            v.proc.stdin.write("\n")
            v.proc.stdin.flush()
            v.proc.stdout.readline()
            out, _ = ctl.communicate("\n")
            line = json_lines(out)[0]
            fits(line, RANGES, "round")
            sums(line)
            if option:
                check(line["complete"] and line["sharer_bytes"] == end - start, line)
            else:
                why = [r for r in line["incomplete"] if f"pid {v.tid} " in r["reason"]]
                check(not line["complete"] and len(why) == 1, line)
                check(int(why[0]["start"], 16) == start and int(why[0]["end"], 16) == end)
            v.unharmed()
            done = place.run("--json", "regions", str(v.pid))
            mine = [x for x in json_lines(done.stdout) if x["event"] == "region" and
                    int(x["start"], 16) == start][0]
            check([(s["pid"], s["writes"]) for s in mine["sharers"]] == [(v.tid, True)], mine)


def region_pages(line):
    """Each byte of a mapping is in one state, or it is said why that is not known."""
    got = [line[key] for key in BYTES]
    if line["kind"] in ("kernel", "kernel-shared", "device"):
        check(got == 5 * [None] and line["exact"] is None and line["inexact"] is None, line)
        return
    check((line["inexact"] is None) == (line["exact"] is True), line)
    if got != 5 * [None]:
        check(sum(got) == int(line["end"], 16) - int(line["start"], 16), line)
        io = line["swapped_io_bytes"]
        check(io is None or io <= line["swapped_bytes"], line)


def regions(place):
    with Victim(place, "shared") as v:
        done = place.run("--json", "regions", str(v.pid))
        check(done.returncode == 0, done.stderr)
        lines = json_lines(done.stdout)
        for line in lines[:-1]:
            fits(line, REGION, "region")
            check((line["reason"] is None) == line["trackable"], line)
            region_pages(line)
        total = lines[-1]
        fits(total, TOTAL, "total")
        check(total["regions"] == len(lines) - 1, total)
        for key in (*BYTES, "pinned_bytes"):
            check(total[key] == sum(x[key] or 0 for x in lines[:-1]), key, total)
        check(total["exact"] == all(x["exact"] is not False for x in lines[:-1]), total)
        start, end = (int(x, 16) for x in v.region.split("-"))
        mine = [x for x in lines[:-1] if int(x["start"], 16) == start][0]
        check(mine["kind"] == "shmem" and mine["prot"] == "rw-s" and mine["trackable"], mine)
        check(mine["resident_bytes"] + mine["swapped_bytes"] == end - start, mine)
        check(mine["exact"], mine)
        v.unharmed()


def swap(place):
    with Victim(place, "family") as v:
        for options in ([], ["--ranges"], ["--sharers"], ["--ranges", "--sharers"]):
            region, total = dict(SWAP_REGION), dict(SWAP_TOTAL)
            if "--ranges" in options:
                region["ranges"] = [{**RANGE, "state": TEXT}]
            if "--sharers" in options:
                region["sharers"] = [{"pid": NAT, "name": TEXT}]
                total |= {"sharers": NAT, "hidden_processes": NAT}
            done = place.run("--json", "swap", str(v.pid), *options)
            check(done.returncode == 0 and done.stderr == "", done.stderr)
            lines = json_lines(done.stdout)
            check(len(lines) == 1, lines)
            fits(lines[0], {**SWAP, "regions": [region], "total": total}, "swap")
            check(lines[0]["pid"] == v.pid, lines[0]["pid"])
        v.unharmed()


def doctor(place):
    done = place.run("--json", "doctor")
    check(done.returncode in (0, 4), done.stderr)
    lines = json_lines(done.stdout)
    for line in lines[:-1]:
        fits(line, FEATURE, "feature")
    fits(lines[-1], VERDICT, "verdict")
    with Victim(place, "shared") as v:
        done = place.run("--json", "doctor", "--pid", str(v.pid))
        shapes = {"feature": FEATURE, "target": TARGET, "memory": MEMORY, "unseen": UNSEEN,
                  "sharer": SHARER_EVENT, "verdict": VERDICT_PID}
        lines = json_lines(done.stdout)
        for line in lines:
            fits(line, shapes[line["event"]], line["event"])
        check(lines[-1]["event"] == "verdict", lines[-1])
        check([x["event"] for x in lines].count("target") == 1)
        v.unharmed()


if __name__ == "__main__":
    main([dirty, dirty_written, sharers, regions, swap, doctor], sys.argv[1], sys.argv[2])
