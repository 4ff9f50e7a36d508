#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Metrics of memory that is moved: against the replies to who moved it, and against the
intervals of policies, to the byte."""
import sys
import time

from daemontest import Writer, check, main_with_swap, until
from metrics import Measured

N = 2048
AGE = {"policy": "age", "age_ns": 100_000_000, "interval_ns": 200_000_000,
       "refault_max_ppm_min": 0, "cpu_max_ppm": 1_000_000, "swap_left_bytes": 0}


def on_demand(programs):
    with Measured(programs) as d, d.client() as c, Writer(N) as w, Writer(N, "memfd") as v:
        sums = {"out": 0, "in": 0}
        for one in (w, v):
            one.target = c.targets("Open", pid=one.pid)["target"]
            single = {"out": 0, "in": 0}
            for i in range(3):
                for word, method in (("out", "PageOut"), ("in", "PageIn")):
                    moved = c.call("io.umemd.Residency." + method, target=one.target,
                                   regions=[one.region()],
                                   max_bytes=(i + 1) * 100 * 4096)["moved"]
                    single[word] += moved["moved_bytes"]
            m = d.read()
            for word, n in single.items():
                check(m.get("umemd_target_moved_bytes_total", target=one.target, direction=word)
                      == n, word, single)
                sums[word] += n
                check(m.get("umemd_moved_bytes_total", direction=word) == sums[word], sums)
        check(sums["out"] > 100 * 4096 and sums["in"] > 100 * 4096, "nothing was tried", sums)
        check(m.get("umemd_targets_started_total", how="opened") == 2, "opened")


def by_policy(programs):
    """Each interval is counted once, whoever hears of it."""
    with Measured(programs) as d, d.client() as c, d.client() as hears, Writer(N) as w:
        before = d.read()
        target = c.targets("Attach", pid=w.pid)["target"]
        c.call("io.umemd.Reclaim.Set", target=target, policy=AGE)
        check(d.read().get("umemd_targets_reclaimed", policy="age") == 1, "a policy")
        hears.send("io.umemd.Reclaim.Status", more=True, target=target)
        intervals = {}

        def hear():
            told = hears.reply()[0]["parameters"].get("interval")
            if told:
                intervals[told["interval"]] = told["sum"]
            return sum(x["reclaimed_bytes"] for x in intervals.values())
        until(60, lambda: hear() > 1 << 20, lambda: f"nothing went out: {intervals}")
        w.tell("every", 1)
        until(30, lambda: hear() and any(x["refaulted_bytes"] for x in intervals.values()),
              lambda: f"nothing came back: {intervals}")
        for _ in range(3):
            hear()
        c.call("io.umemd.Reclaim.Set", target=target)
        time.sleep(0.1)
        m = d.read()
        m.grown_since(before)
        seen = range(min(intervals), max(intervals) + 1)
        check(sorted(intervals) == list(seen), "some were not heard of", sorted(intervals))
        counted = sum(m.get("umemd_reclaim_decisions_total", decision=x)
                      for x in ("grow", "hold", "back_off", "stop"))
        # The first may have ended before anybody listened, the last behind what was heard.
        check(len(intervals) <= counted <= len(intervals) + 2, counted, sorted(intervals))
        for name, key in (("reclaimed", "reclaimed_bytes"), ("refaulted", "refaulted_bytes")):
            heard = sum(x[key] for x in intervals.values())
            total = m.get(f"umemd_{name}_bytes_total")
            check(total == m.get(f"umemd_target_{name}_bytes_total", target=target), name)
            check(total == heard if counted == len(intervals) else total >= heard > 0, name,
                  total, heard)
        check(m.get("umemd_targets_reclaimed", policy="age") == 0, "no policy")


main_with_swap([on_demand, by_policy], sys.argv)
