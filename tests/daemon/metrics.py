#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Metrics: whether they are well-formed, whether they are right, and who may read them."""
import errno
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

from daemontest import (NOBODY, Daemon, Target, Writer, as_user, check, error_of, main,
                        until)
from openmetrics import OPEN, PLAIN, Metrics, connect, request
from recovery import kill_workers

WHYS = ("written", "new", "punched", "sharer", "pinned")


class Measured(Daemon):
    """umemd that tells metrics at a path."""

    def __init__(self, programs, more="", **others):
        self.address = f"/tmp/umemd-metrics-{os.getpid()}-{random.randrange(10**6)}"
        super().__init__(programs, config=f"[Metrics]\nListen={self.address}\n{more}", **others)

    def close(self):
        super().close()
        if os.path.exists(self.address):
            os.unlink(self.address)

    def read(self):
        return Metrics(self.address)


def form(programs):
    """Both forms, by what the client takes; one page; reading only."""
    with Measured(programs) as d, d.client() as c, Writer(16) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target)
        c.dirty("Collect", target=target)
        prometheus = ("Accept: application/openmetrics-text;version=1.0.0,application/"
                      "openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,"
                      "*/*;q=0.1\r\n")
        for accept, kind in (("", OPEN), ("Accept: */*\r\n", OPEN), (prometheus, OPEN),
                             ("Accept: text/plain\r\n", PLAIN)):
            status, headers, body = request(d.address, headers=accept)
            check(status == 200 and headers["content-type"] == kind, accept, headers)
            check(body.endswith(b"# EOF\n") == (kind == OPEN), "the end")
        status, headers, body = request(d.address, method="HEAD")
        check(status == 200 and body == b"" and int(headers["content-length"]) > 1000, headers)
        for path in ("/", "/metrics/", "/metrics2", "/../metrics", "//metrics", "/%2e"):
            check(request(d.address, path=path)[0] == 404, path)
        check(request(d.address, path="/metrics?x=y")[0] == 200, "a query")
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"):
            check(request(d.address, method=method)[0] in (400, 405, 501), method)
        families = d.read().families
        for name in ("umemd_target_info", "umemd_target_dirty_bytes", "process_open_fds"):
            check(families[name].samples, name)
        d.stop()
        check(not os.path.exists(d.address), "the socket is left")


def promtool(programs):
    """What Prometheus itself says of them."""
    if not shutil.which("promtool"):
        return "no promtool (Debian: prometheus)"
    with Measured(programs, "ShowTargets=1\n") as d, d.client() as c, Writer(16) as w, \
            Writer(16) as v:
        for one in (w, v):
            target = c.targets("Attach", pid=one.pid)["target"]
            c.dirty("Start", target=target)
            c.dirty("Collect", target=target)
        error_of(c.dirty, "Collect", target="none")
        text = request(d.address, headers="Accept: text/plain\r\n")[2]
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                              timeout=60)
        check(done.returncode == 0 and not done.stderr, done)
        # It can find something.
        bad = text.replace(b"# HELP umemd_rounds_total", b"# x")
        done = subprocess.run(["promtool", "check", "metrics"], input=bad, capture_output=True,
                              timeout=60)
        check(done.returncode != 0 and b"umemd_rounds_total" in done.stderr, done)
    return None


def right(programs):
    """The numbers are those of the replies."""
    with Measured(programs) as d, d.client() as c, Writer(64) as w, Writer(64, "memfd") as v:
        sums = dict.fromkeys(WHYS, 0)
        rounds = scan_ns = gone = 0
        for one in (w, v):
            one.target = c.targets("Attach", pid=one.pid)["target"]
            armed = c.dirty("Start", target=one.target, regions=[one.region()])
            check(d.read().get("umemd_target_tracked_bytes", target=one.target) ==
                  armed["tracked_bytes"], armed)
        for i in range(20):
            one = (w, v)[i % 2]
            one.tell("write", *range(i))
            one.tell("discard", 40 + i)
            if one is v and i % 3 == 0:
                v.tell("punch", i)
            told = c.dirty("Collect", target=one.target)["round"]
            for why in WHYS:
                sums[why] += told[why + "_bytes"]
            gone += told["gone_bytes"]
            scan_ns += told["scan_ns"]
            rounds += 1
        m = d.read()
        for why in WHYS:
            check(m.get("umemd_dirty_bytes_total", why=why) == sums[why], why, sums)
            single = [m.get("umemd_target_dirty_bytes_total", target=x.target, why=why)
                      for x in (w, v)]
            check(sum(single) == sums[why], why, single)
        check(sums["written"] > 0 and sums["punched"] > 0, "nothing was tried", sums)
        check(m.get("umemd_rounds_total") == rounds and
              m.get("umemd_scan_seconds_count") == rounds and
              m.get("umemd_round_seconds_count") == rounds, m.text)
        check(abs(m.get("umemd_scan_seconds_sum") - scan_ns / 1e9) < 1e-8, scan_ns)
        check(m.get("umemd_round_seconds_sum") >= scan_ns / 1e9, "shorter than its scan")
        check(m.get("umemd_gone_bytes_total") == gone, gone)
        check(m.get("umemd_stop_seconds_count") == 2 and m.get("umemd_stop_seconds_sum") > 0,
              "stops")
        check(m.get("umemd_targets", state="tracking") == 2 and
              m.get("umemd_targets", state="ready") == 0, "states")
        check(m.get("umemd_calls_total", method="io.umemd.Dirty.Collect") == rounds, "calls")
        check(m.get("umemd_targets_started_total", how="attached") == 2, "started")
        # Looked at once a second at most.
        until(3, lambda: d.read().get("umemd_workers") == 2, "workers")
        check(m.get("umemd_connections") == 1, "connections")
        check(abs(m.get("process_open_fds") - d.n_fds()) <= 1, m.get("process_open_fds"))
        check(m.get("process_max_fds") >= 1024 and m.get("process_cpu_seconds_total") > 0, "own")
        check(abs(m.get("process_start_time_seconds") - started(d.pid)) < 2, "start")
        with open(f"/proc/{d.pid}/statm") as file:
            now = int(file.read().split()[1]) * 4096
        check(abs(m.get("process_resident_memory_bytes") - now) < 4 << 20, now)
        check(m.get("umemd_workers_resident_memory_bytes") > 1 << 20, "workers")
        with open(f"/proc/{w.pid}/status") as file:
            now = int([x for x in file if x.startswith("VmRSS")][0].split()[1]) * 1024
        check(abs(m.get("umemd_target_resident_bytes", target=w.target) - now) < 4 << 20, now)
        ends(d, c, w, v)


def started(pid):
    """When a process was started, by another way."""
    out = subprocess.run(["ps", "-o", "etimes=", "-p", str(pid)], capture_output=True, text=True)
    return time.time() - int(out.stdout)


def ends(d, c, w, v):
    """How targets end, and what has no metrics any more then."""
    c.targets("Detach", target=w.target)
    v.close()
    until(5, lambda: d.read().get("umemd_targets_ended_total", why="process_ended") == 1, "ended")
    m = d.read()
    check(m.get("umemd_targets_ended_total", why="detached") == 1, "detached")
    check(w.target not in m.labels("umemd_target_info", "target"), "still there")


def refusals(programs):
    """Denials, quotas, errors, connections that are dropped."""
    with Measured(programs, "[Quota]\nUserTargets=1\nUserConnections=2\n"
                            "[Daemon]\nSlowReader=200ms\n") as d, d.client() as c, \
            Target(programs) as t, Target(programs) as u:
        c.targets("Attach", pid=t.pid)
        check(error_of(c.targets, "Attach", pid=u.pid).name == "QuotaExceeded", "quota")
        with as_user(NOBODY):
            other = d.client()
        check(error_of(other.targets, "Attach", pid=u.pid).name == "NotPermitted", "rights")
        other.close()
        for name in ("io.umemd.Targets.Nothing", "no.such.Thing", "io.umemd.Targets.Describe"):
            error_of(c.call, name)
        with d.client() as full:
            with d.client() as one_more:
                check(one_more.sock.recv(1) == b"", "a connection too many")
            full.sock.sendall(b"nonsense\0")
            until(5, lambda: d.read().get("umemd_connections_dropped_total",
                                          why="no_message") == 1, "no message")
        with d.client() as slow:
            slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            for _ in range(300):
                try:
                    slow.send("org.varlink.service.GetInterfaceDescription",
                              interface="io.umemd.Dirty")
                except OSError:
                    break
            until(10, lambda: d.read().get("umemd_connections_dropped_total",
                                           why="slow_reader") == 1, "slow reader")
        m = d.read()
        check(m.get("umemd_denials_total") == 1, "denials")
        check(m.get("umemd_quota_refusals_total", quota="UserTargets") == 1 and
              m.get("umemd_quota_refusals_total", quota="UserConnections") == 1 and
              m.get("umemd_connections_dropped_total", why="too_many") == 1, m.text)
        for method, error in (("io.umemd.Targets.Attach", "QuotaExceeded"),
                              ("io.umemd.Targets.Attach", "NotPermitted"),
                              ("unknown", "MethodNotFound"), ("unknown", "InterfaceNotFound"),
                              ("io.umemd.Targets.Describe", "InvalidParameter")):
            check(m.get("umemd_call_errors_total", method=method, error=error) == 1, method,
                  error, m.text)
        check(m.get("umemd_calls_total", method="unknown") == 2, "unknown")


def monotonic(programs):
    """Over deaths of workers nothing that only grows gets smaller, and they are counted."""
    seed = int(os.environ.get("SEED", time.time_ns() % 10**9))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    with Measured(programs) as d, d.client() as c, Writer(64) as w:
        before = d.read()
        kills = rounds = again = 0
        for _ in range(6):
            target = c.targets("Attach", pid=w.pid)["target"]
            c.dirty("Start", target=target, regions=[w.region()])
            for _ in range(4):
                w.tell("write", *(rng.randrange(64) for _ in range(10)))
                if rng.random() < 0.7:
                    kill_workers(d)
                    kills += 1
                    until(10, lambda: d.read().get("umemd_target_worker_deaths_total",
                                                   target=target) ==
                          c.targets("Describe", target=target)["description"]["restarts"] and
                          d.workers(), "deaths")
                told = c.dirty("Collect", target=target)["round"]
                rounds += 1
                again += told["recovered"]
                now = d.read()
                now.grown_since(before)
                before = now
            c.targets("Detach", target=target)
        m = d.read()
        check(m.get("umemd_rounds_total") == rounds and
              m.get("umemd_rounds_recovered_total") == again, rounds, again)
        check(m.get("umemd_worker_deaths_total", why="died") == kills, kills)
        check(again > 3, "nothing was tried")
        # A worker that hangs is another kind.
        check(m.get("umemd_worker_deaths_total", why="timeout") == 0, "timeout")


def timeout(programs):
    with Measured(programs, "[Worker]\nTimeout=300ms\n") as d, d.client() as c, Writer(16) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        for pid in d.workers():
            os.kill(pid, signal.SIGSTOP)
        c.dirty("Start", target=target)
        check(d.read().get("umemd_worker_deaths_total", why="timeout") == 1, "timeout")


NAMED = """
import sys
open("/proc/self/comm", "wb").write(bytes.fromhex(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
"""


class Named:
    """A process with a name of its own choice."""

    def __init__(self, name):
        self.proc = subprocess.Popen([sys.executable, "-c", NAMED, name.hex()],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.proc.pid
        self.proc.stdout.readline()

    __enter__ = Target.__enter__
    __exit__ = Target.__exit__
    close = Target.close


def names(programs):
    """Names of processes are told as they are, and break nothing."""
    cases = [(b'a"b\\c', 'a"b\\c'), (b'"} 1\numemd_x 2', '"} 1\numemd_x 2'), (b"\\", "\\"),
             ("Größe".encode(), "Größe"), (b"\xff\xfe\x80a", "???a"), (b"\x1b[31mred", "?[31mred"),
             ("🐧".encode()[:3], "???"), (b"a\x7f\tb", "a??b"), (b"\xc0\xaf\xed\xa0\x80", "?????"),
             (b"{} = # ,", "{} = # ,")]
    with Measured(programs) as d, d.client() as c:
        for name, told in cases:
            with Named(name) as p:
                target = c.targets("Attach", pid=p.pid)["target"]
                m = d.read()
                got = {dict(x)["target"]: dict(x) for _, x in
                       m.families["umemd_target_info"].samples}[target]
                check(got["name"] == told and got["pid"] == str(p.pid), name, got)
                c.targets("Detach", target=target)
        # From its end no name is left.
        check(not d.read().families["umemd_target_info"].samples, "names are left")


def limit(programs):
    """Past a limit targets are told about together; no sum ever gets smaller."""
    with Measured(programs, "ShowTargets=2\n") as d, d.client() as c:
        writers = [Writer(16) for _ in range(5)]
        try:
            before = d.read()
            check(before.get("umemd_targets_shown_limit") == 2, "limit")
            check(before.get("umemd_target_rounds_total", target="other") is None, "other")
            rounds = {}
            for step in range(30):
                w = writers[step % 5]
                if step in (10, 17):
                    # One that is shown ends, and comes back: it takes the place again.
                    gone = writers[0]
                    c.targets("Detach", target=gone.target)
                    del rounds[gone.target]
                    gone.target = None
                if not getattr(w, "target", None):
                    w.target = c.targets("Attach", pid=w.pid)["target"]
                    c.dirty("Start", target=w.target, regions=[w.region()])
                    rounds[w.target] = 0
                w.tell("write", step % 16)
                c.dirty("Collect", target=w.target)
                rounds[w.target] += 1
                now = d.read()
                now.grown_since(before)
                before = now
                shown = now.labels("umemd_target_info", "target")
                check(len(shown) <= 2, shown)
                check(now.get("umemd_targets_hidden") == len(rounds) - len(shown), shown)
                for target in shown:
                    check(now.get("umemd_target_rounds_total", target=target) == rounds[target],
                          target, rounds)
                if now.get("umemd_targets_hidden"):
                    other = sum(n for t, n in rounds.items() if t not in shown)
                    check(now.get("umemd_target_rounds_total", target="other") == other, rounds)
                    tracked = sum(c.targets("Describe", target=t)["description"]["tracked_bytes"]
                                  for t in rounds if t not in shown)
                    check(now.get("umemd_target_tracked_bytes", target="other") == tracked, "sum")
            check(now.get("umemd_rounds_total") == 30, "all")
        finally:
            for w in writers:
                w.close()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def loopback(programs):
    """A loopback address: served, to everybody, so without single targets unless told so."""
    for host in ("127.0.0.1", "127.3.2.1", "[::1]"):
        address = f"{host}:{free_port()}"
        for shown in ("", "ShowTargets=5\n"):
            try:
                probe = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET)
                probe.bind((host.strip("[]"), 0))
                probe.close()
            except OSError:
                print("no", host)
                break
            with Daemon(programs, config=f"[Metrics]\nListen={address}\n{shown}") as d, \
                    d.client() as c, Writer(4) as w:
                c.targets("Attach", pid=w.pid)
                with as_user(NOBODY):
                    m = Metrics(address)
                check(m.get("umemd_targets", state="ready") == 1, "served")
                check(len(m.families["umemd_target_info"].samples) == bool(shown), "shown")
                check(m.get("umemd_targets_hidden") == (not shown), "hidden")
    # Taken: umemd serves, and says what it does not.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Daemon(programs, config=f"[Metrics]\nListen=127.0.0.1:{port}\n") as d, \
                d.client() as c:
            check(c.targets("List") == {"targets": []}, "serves")
            check("umemd serves without them" in d.text(), d.text())


def addresses(programs):
    """No other address is taken."""
    for word in ("0.0.0.0:9753", "192.168.1.1:9753", "[::]:9753", "[::2]:9753", "localhost:9753",
                 "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", ":9753", "9753",
                 "127.0.0.1:9753 ", "127.0.1:9753", "[::1]", "[::ffff:127.0.0.1]:9753", "*:9753"):
        path = f"/tmp/umemd-metrics-conf-{os.getpid()}"
        with open(path, "w") as file:
            file.write(f"[Metrics]\nListen={word}\n")
        done = subprocess.run([programs["umemd"], "--config", path, "--check-config"],
                              capture_output=True, text=True, timeout=20)
        os.unlink(path)
        # Blanks around a word are no part of it.
        good = word.endswith(" ")
        check(done.returncode == (0 if good else 2), word, done)
        check(good or "127.0.0.1:PORT or [::1]:PORT" in done.stderr, done.stderr)
    # And none at all, unless one is given.
    with Daemon(programs) as d:
        ours = {x for x in d.fds() if x.startswith("socket:")}
        with open("/proc/net/unix") as file:
            at = [x.split() for x in file if d.dir in x]
        check(len(at) == 1, at)
        for family in ("tcp", "tcp6", "udp", "udp6"):
            with open(f"/proc/{d.pid}/net/{family}") as file:
                check(not {f"socket:[{x.split()[9]}]" for x in file.readlines()[1:]} & ours,
                      "a socket of", family)


def rights(programs):
    """A path: for the user of umemd and for administrators."""
    with Measured(programs, f"[Daemon]\nAdministratorGroup={NOBODY}\n") as d:
        st = os.stat(d.address)
        check(stat.S_IMODE(st.st_mode) == 0o660 and st.st_gid == NOBODY, oct(st.st_mode), st)
        for user, group, good in ((NOBODY - 1, NOBODY - 1, False), (NOBODY - 1, NOBODY, True)):
            pid = os.fork()
            if pid == 0:
                os.setgroups([])
                os.setresgid(group, group, group)
                os.setresuid(user, user, user)
                try:
                    connect(d.address).close()
                    os._exit(0)
                except OSError as e:
                    os._exit(e.errno)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            check(code == (0 if good else errno.EACCES), user, group, os.strerror(code))


if __name__ == "__main__":
    main([form, promtool, right, refusals, monotonic, timeout, names, limit, loopback, addresses,
          rights], sys.argv)
