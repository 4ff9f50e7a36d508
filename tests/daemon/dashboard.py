#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The dashboard that is installed: every metric that it names is told by umemd, and each metric
that is told is in a panel; its labels exist, and Prometheus takes its expressions."""
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

from daemontest import Daemon, Writer, check, error_of, main, until
from metrics import Measured, free_port
from openmetrics import request
from recovery import kill_workers

WORD = re.compile(r"\b((?:umemd|process)_[a-z0-9_]+)\b(\{[^}]*\})?")


def load():
    with open(sys.argv[5]) as file:
        return json.load(file)


def expressions(dashboard):
    """All of them, with where each is."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target["legendFormat"]
    for one in dashboard["annotations"]["list"]:
        yield one["name"], one["expr"], ""


def told(programs):
    """Families of a daemon to which everything happened once."""
    with Measured(programs, "ShowTargets=1\n") as d, d.client() as c, Writer(16) as w, \
            Writer(16) as v:
        for one in (w, v):
            target = c.targets("Attach", pid=one.pid)["target"]
            c.dirty("Start", target=target)
            kill_workers(d)
            c.dirty("Collect", target=target)
        error_of(c.call, "no.such.Method")
        return d.read().families


def named(programs):
    families = told(programs)
    labels = {}
    for family in families.values():
        for name, pairs in family.samples:
            # Prometheus adds where it has a sample from.
            labels.setdefault(name, {"instance", "job"}).update(k for k, _ in pairs)
    seen = set()
    for title, expr, legend in expressions(load()):
        check(WORD.search(expr), title, "names no metric:", expr)
        for name, where in WORD.findall(expr):
            check(name in labels, title, "names", name, "that nobody tells")
            seen.add(name)
            for label in re.findall(r"([a-z_]+)=", where):
                check(label in labels[name], title, name, "has no label", label)
        known = set().union(*(labels[n] for n, _ in WORD.findall(expr)))
        for label in re.findall(r"\{\{([a-z_]+)\}\}", legend):
            check(label in known, title, "has no label", label)
        for group in re.findall(r"\b(?:by|on|group_left) ?\(([^)]*)\)", expr):
            check({x.strip() for x in group.split(",")} <= known, title, group)
    for family in families.values():
        names = {n for n, _ in family.samples}
        check(names & seen, family.name, "is in no panel")
    print(f"{len(seen)} names in {len(load()['panels'])} panels")


def layout(programs):
    """Panels have numbers of their own, lie beside one another, and say what they show."""
    panels = load()["panels"]
    check(len({p["id"] for p in panels}) == len(panels), "a number twice")
    cells = set()
    for p in panels:
        at = p["gridPos"]
        check(at["x"] + at["w"] <= 24, p["title"])
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                check((x, y) not in cells, p["title"], "lies over another one")
                cells.add((x, y))
        refs = [t["refId"] for t in p.get("targets", [])]
        check(len(set(refs)) == len(refs), p["title"])


def filled():
    """Expressions as Grafana sends them: with values for its variables."""
    for title, expr, _ in expressions(load()):
        for variable, value in (("$__rate_interval", "1m"), ("$__interval", "1m"),
                                ("$instance", ".*")):
            expr = expr.replace(variable, value)
        check("$" not in expr, title, expr)
        yield title, expr


def accepted(programs):
    """Prometheus takes each expression, as a rule."""
    if not shutil.which("promtool"):
        return "no promtool (Debian: prometheus)"
    rules = [{"record": f"r{i}", "expr": expr} for i, (_, expr) in enumerate(filled())]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True,
                              text=True, timeout=60)
        check(done.returncode == 0 and f"{len(rules)} rules" in done.stdout, done)
    return None


class Prometheus:
    """A server of its own that reads from one address."""

    def __init__(self, address):
        self.dir = tempfile.mkdtemp(prefix="umemd-prometheus-")
        self.address = f"127.0.0.1:{free_port()}"
        with open(self.dir + "/conf.yml", "w") as file:
            json.dump({"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
                       "scrape_configs": [{"job_name": "umemd", "static_configs": [
                           {"targets": [address]}]}]}, file)
        self.log = open(self.dir + "/log", "w+")
        self.proc = subprocess.Popen(
            ["prometheus", f"--config.file={self.dir}/conf.yml",
             f"--storage.tsdb.path={self.dir}/data", f"--web.listen-address={self.address}"],
            stderr=self.log, stdout=self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def query(self, expr):
        """The samples of an expression now, or None when it does not answer yet."""
        try:
            path = "/api/v1/query?query=" + urllib.parse.quote(expr, safe="")
            status, _, body = request(self.address, path, headers="Connection: close\r\n")
        except OSError:
            return None
        if status == 503:
            return None
        check(status == 200, expr, status, body[:500])
        return json.loads(body)["data"]["result"]


# Of what did not happen there is nothing to show.
EMPTY = ("> 0", "other", "umemd_stop", "umemd_targets_ended")


def queried(programs):
    """A Prometheus reads them, and every panel has something to show."""
    if not shutil.which("prometheus"):
        return "no prometheus"
    address = f"127.0.0.1:{free_port()}"
    with Daemon(programs, config=f"[Metrics]\nListen={address}\nShowTargets=10\n") as d, \
            d.client() as c, Writer(64) as w, Prometheus(address) as p:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target)

        def works():
            w.tell("write", *range(20))
            c.dirty("Collect", target=target)
            return p.query("increase(umemd_rounds_total[1m]) > 3")
        until(60, works, "rounds are counted")
        series = p.query("umemd_target_info")[0]["metric"]
        check(series["target"] == target and series["pid"] == str(w.pid), series)
        for title, expr in filled():
            found = p.query(expr)
            check(found or any(x in expr for x in EMPTY), title, "shows nothing:", expr)
        rounds = c.targets("Describe", target=target)["description"]["rounds"]
        until(20, lambda: float(p.query("umemd_rounds_total")[0]["value"][1]) == rounds, rounds)
    return None


main([named, layout, accepted, queried], sys.argv)
