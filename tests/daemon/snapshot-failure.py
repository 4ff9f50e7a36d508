#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots by the daemon that fail: whoever is killed, at whatever moment, the target runs on,
unharmed and unprotected, and the file is the old one or a new one that is whole."""
import hashlib
import os
import random
import signal
import sys
import time

from daemontest import Daemon, Writer, check, main, until
from snapshottest import (METHODS, Place, Staircase, Taking, images, is_refused, nameless, take,
                          until_idle)

KILLS = 10  # a method

SEED = int(os.environ.get("SEED", time.time_ns() % 1000000))


class Folder:
    """A folder with an image in it, and nothing else ever."""

    def __init__(self, place, victim):
        self.place, self.victim = place, victim
        done = place.run("snapshot", str(victim.pid), "-o", place.path)
        check(done.returncode == 0, done.stderr)
        self.digest = self.read()

    def read(self):
        with open(self.place.path, "rb") as file:
            return hashlib.sha256(file.read()).digest()

    def check(self):
        """The old image, or a new one that is whole. Return: is it a new one?"""
        check(os.listdir(self.place.dir) == ["image"], "left:", os.listdir(self.place.dir))
        digest = self.read()
        if digest == self.digest:
            return False
        self.place.verify(self.place.path)
        self.victim.judge(self.place.path)
        self.digest = digest
        return True


def snapshot(place, victim, method):
    return place.start("--json", "snapshot", str(victim.pid), "-o", place.path, "--method", method)


def typical_seconds(place, victim, method):
    begin = time.monotonic()
    ctl = snapshot(place, victim, method)
    _, err = ctl.communicate(timeout=60)
    check(ctl.returncode == 0, method, err)
    return time.monotonic() - begin


def struck(programs, strike, n=KILLS, **daemon):
    """Strike at random moments of snapshots, and look."""
    for method in METHODS:
        with Daemon(programs, **daemon) as d:
            place = Place(programs, d)
            n_new = n_struck = 0
            for setup in ({"lanes": 2, "pages": 1021}, {"lanes": 4, "kind": "mixed", "pages": 251}):
                with Staircase(place, **setup) as v:
                    folder = Folder(place, v)
                    seconds = typical_seconds(place, v, method)
                    folder.check()
                    for _ in range(n // 2):
                        ctl = snapshot(place, v, method)
                        time.sleep(random.random() * seconds * 1.1)
                        n_struck += strike(d, ctl)
                        until_idle(d)
                        v.unharmed()
                        n_new += folder.check()
                    # It is as good as new.
                    typical_seconds(place, v, method)
                    check(folder.check(), "no new image")
            check(d.proc.poll() is None, "umemd ended")
            print(f"  {method}: struck {n_struck} of {n}, {n_new} images were done before")


def snapshotter_killed(programs):
    """kill -9 of the process that takes it: it has failed, and says so."""
    def strike(d, ctl):
        pids = images(d)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        out, err = ctl.communicate(timeout=30)
        check(ctl.returncode in (0, 1), ctl.returncode, err)
        if ctl.returncode == 1:
            check("was killed" in err and "no image" not in out, err)
        return ctl.returncode
    struck(programs, strike)


def client_killed(programs):
    """kill -9 of the client: it is cancelled, and the target is let go."""
    def strike(d, ctl):
        ctl.kill()
        ctl.communicate()
        return 1
    struck(programs, strike)


def interrupted(programs):
    """Ctrl-C: nothing is left when umemctl ends."""
    def strike(d, ctl):
        ctl.send_signal(signal.SIGINT)
        out, err = ctl.communicate(timeout=30)
        check(ctl.returncode in (0, 1, -signal.SIGINT), ctl.returncode, err)
        if ctl.returncode == 1:
            check("interrupted" in err and not images(d), err)
        return ctl.returncode == 1
    struck(programs, strike)


def worker_killed(programs):
    """kill -9 of the target's worker: the snapshot does not even notice."""
    def strike(d, ctl):
        for pid in set(d.workers()) - set(images(d)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        _, err = ctl.communicate(timeout=60)
        # Before there was a target, or when five of them died, that fails.
        check(ctl.returncode == 0 or "worker" in err, ctl.returncode, err)
        return 1
    struck(programs, strike, n=6)


def daemon_killed(programs):
    """kill -9 of umemd: the one that takes a snapshot ends by itself."""
    for method in METHODS:
        with Daemon(programs) as d:
            place = Place(programs, d)
            with Staircase(place, lanes=2, pages=1021) as v:
                folder = Folder(place, v)
                seconds = typical_seconds(place, v, method)
                folder.check()
                for _ in range(3):
                    ctl = snapshot(place, v, method)
                    time.sleep(random.random() * seconds)
                    pids = images(d)
                    d.proc.kill()
                    d.proc.wait()
                    _, err = ctl.communicate(timeout=30)
                    check(ctl.returncode in (0, 1), ctl.returncode, err)
                    until(15, lambda: not any(os.path.exists(f"/proc/{p}/exe") for p in pids),
                          "it does not end")
                    v.unharmed()
                    folder.check()
                    d.start()


def target_ends(programs):
    """Killed in mid-way: status 3, and no image."""
    n_gone = 0
    for method in METHODS:
        with Daemon(programs) as d:
            place = Place(programs, d)
            for _ in range(3):
                with Staircase(place, lanes=2, pages=1021) as v:
                    folder = Folder(place, v)
                    seconds = typical_seconds(place, v, method)
                    folder.check()
                    ctl = snapshot(place, v, method)
                    time.sleep(random.random() * seconds)
                    v.proc.kill()
                    _, err = ctl.communicate(timeout=30)
                    check(ctl.returncode in (0, 3), ctl.returncode, err)
                    n_gone += ctl.returncode == 3
                    check(folder.check() == (ctl.returncode == 0), "an image", ctl.returncode)
            until_idle(d)
    check(n_gone > 2, "it was gone", n_gone, "times")


FAKE = """#!{python} -S
import os, socket, time
s = socket.socket(fileno=3)
socket.recv_fds(s, 1 << 16, 16)
how = {how!r}
says = {{
    "ends": b"",
    "garbage": os.urandom(5000),
    "not json": b"hello\\0",
    "nothing in it": b'{{"parameters":{{}}}}\\0',
    "unknown field": b'{{"parameters":{{"snapshot":{{}},"x":1}}}}\\0',
    "progress at last": b'{{"parameters":{{"progress":{{"stage":"x","round":1,"done_bytes":1,'
                        b'"total_bytes":1}}}}}}\\0',
    "unknown error": b'{{"error":"io.umemd.Snapshotter.X","parameters":{{}}}}\\0',
    "foreign error": b'{{"error":"io.umemd.Targets.Gone","parameters":{{"text":"x"}}}}\\0',
    "error that continues": b'{{"error":"io.umemd.Snapshotter.Gone","parameters":{{"text":"x"}},'
                            b'"continues":true}}\\0',
}}
while how == "endless":
    s.sendall(b"x" * 65536)
if how == "descriptors":
    socket.send_fds(s, [b'{{"parameters":{{}}}}\\0'], [0])
s.sendall(says.get(how, b""))
if how != "ends":
    time.sleep(600)
"""


def fakes(programs):
    """The manager does not trust it: whatever it says, it is ended, and others are served."""
    hows = ["ends", "garbage", "not json", "nothing in it", "unknown field", "progress at last",
            "unknown error", "foreign error", "error that continues", "endless", "descriptors"]
    with Daemon(programs) as d, d.client() as c, Writer(16) as w:
        place = Place(programs, d)
        target = c.targets("Attach", pid=w.pid)["target"]
        real = d.worker + ".real"
        os.rename(d.worker, real)
        for how in hows + ["silent"]:
            with open(d.worker, "w") as file:
                file.write(FAKE.format(python=sys.executable, how=how))
            os.chmod(d.worker, 0o755)
            with nameless(place.dir) as fd, Taking(d, target, [fd]) as t:
                if how == "silent":
                    until(10, lambda: images(d), "nobody takes one")
                    # It has ten seconds to let go of what it may hold.
                    c.call("io.umemd.Snapshot.Cancel", target=target)
                is_refused(t.end, "Cancelled" if how == "silent" else "Failed", "runs on")
            os.unlink(d.worker)
        with nameless(place.dir) as fd:
            is_refused(lambda: take(d, target, [fd]), "Failed", "cannot be had")
        os.rename(real, d.worker)
        with nameless(place.dir) as fd:
            check(take(d, target, [fd])["complete"], "the real one")
        check(c.dirty("Start", target=target)["regions"] > 0, "others")


print(f"SEED={SEED}")
random.seed(SEED)
main([snapshotter_killed, client_killed, interrupted, worker_killed, daemon_killed, target_ends,
      fakes], sys.argv)
