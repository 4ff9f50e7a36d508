#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""umemd under a service manager: readiness, watchdog, sockets that are given, reload; and targets
that go on over a restart, an upgrade or a kill, with no change missed.

The service manager is this test: it speaks the protocol of sd_notify(3) and keeps
descriptors as systemd does. The oracle of recovery.py is used again.
"""
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

from daemontest import NOBODY, Client, Daemon, Target, Writer, check, error_of, main, until
from recovery import Copy


class Managed(Daemon):
    """umemd with a service manager that keeps descriptors."""

    def __init__(self, programs, watchdog=None, listen=False, **more):
        self.store = {}
        self.heard = []
        self.lock = threading.Lock()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("")  # a name that the kernel chooses
        self.notify.settimeout(0.1)
        self.watchdog = watchdog
        self.given = []
        self.over = False
        if listen:
            self.given = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)]
        self.thread = threading.Thread(target=self.hear)
        self.thread.start()
        super().__init__(programs, **more)

    def hear(self):
        while not self.over:
            try:
                data, fds, _, _ = socket.recv_fds(self.notify, 4096, 16)
            except TimeoutError:
                continue
            words = dict(x.split("=", 1) for x in data.decode().split("\n") if "=" in x)
            with self.lock:
                self.heard.append(words)
                name = words.get("FDNAME")
                if "FDSTOREREMOVE" in words:
                    for fd in self.store.pop(name, []):
                        os.close(fd)
                elif "FDSTORE" in words:
                    check(words.get("FDPOLL") == "0", words)
                    self.store.setdefault(name, []).extend(fds)
                    fds = []
            for fd in fds:
                os.close(fd)

    def spawn(self):
        with self.lock:
            names = [(name, fd) for name, fds in self.store.items() for fd in fds]
        names = [("umemd.socket", s.fileno()) for s in self.given] + names
        # Out of the way of the numbers that they get.
        above = [(name, os.dup(fd)) for name, fd in names]
        high = []
        for name, fd in above:
            high.append(fcntl.fcntl(fd, fcntl.F_DUPFD, 200))
            os.close(fd)

        def place():
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
                os.close(fd)
        env = dict(self.env, NOTIFY_SOCKET="@" + self.notify.getsockname()[1:].decode())
        if names:
            env["LISTEN_FDS"] = str(len(names))
            env["LISTEN_FDNAMES"] = ":".join(name for name, _ in names)
        if self.watchdog:
            env["WATCHDOG_USEC"] = str(self.watchdog)
        proc = subprocess.Popen(["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *self.words],
                                stderr=self.log, env=env, preexec_fn=place, close_fds=False,
                                **self.who)
        for fd in high:
            os.close(fd)
        return proc

    def until_heard(self, **words):
        def there():
            with self.lock:
                return any(all(h.get(k) == v for k, v in words.items()) for h in self.heard)
        until(10, there, lambda: f"{words} in {self.heard[-5:]}")

    def kept(self):
        """Names of targets that are kept."""
        with self.lock:
            return {name.split(".")[0] for name in self.store}

    def again(self, signo):
        """End it, and start it again."""
        self.proc.send_signal(signo)
        self.proc.wait(20)
        time.sleep(0.05)  # what it said last is heard
        self.start()

    def close(self):
        if hasattr(self, "proc"):
            super().close()
        self.over = True
        self.thread.join()
        with self.lock:
            for fds in self.store.values():
                for fd in fds:
                    os.close(fd)
            self.store = {}
        self.notify.close()
        for s in self.given:
            s.close()


def readiness(programs):
    with Managed(programs, watchdog=400000) as d:
        d.until_heard(READY="1", STATUS="serving")
        with d.lock:
            d.heard.clear()
        begin = time.monotonic()
        while sum("WATCHDOG" in h for h in d.heard) < 4:
            check(time.monotonic() - begin < 5, "no sign of life")
            time.sleep(0.01)
        d.proc.send_signal(signal.SIGTERM)
        d.until_heard(STOPPING="1")
        check(d.proc.wait(10) == 0, "exit code")


def given_socket(programs):
    """A socket that somebody else listens at is used, and not taken away."""
    path = f"/tmp/umemd-given-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(5)
    try:
        with Managed(programs, listen=False) as d:
            d.proc.terminate()
            d.proc.wait()
            d.given = [listener]
            d.start()
            with Client(path) as c:
                check(c.call("org.varlink.service.GetInfo")["product"] == "umemd", "answers")
            d.given = []
            d.stop()
            check(os.path.exists(path), "the socket was taken away")
    finally:
        listener.close()
        os.unlink(path)


def reload(programs):
    with Managed(programs, config="[Quota]\nUserTargets=1\n") as d, d.client() as c, \
            Target(programs) as t, Target(programs) as u:
        c.targets("Attach", pid=t.pid)
        check(error_of(c.targets, "Attach", pid=u.pid).name == "QuotaExceeded", "one")
        with open(d.config, "w") as file:
            file.write("[Quota]\nUserTargets=2\n")
        d.proc.send_signal(signal.SIGHUP)
        d.until_heard(RELOADING="1")
        until(5, lambda: "was read again" in d.text(), d.text)
        c.targets("Attach", pid=u.pid)
        with open(d.config, "w") as file:
            file.write("[Quota]\nnonsense\n")
        d.proc.send_signal(signal.SIGHUP)
        until(5, lambda: "stays as it was" in d.text(), d.text)
        check(len(c.targets("List")["targets"]) == 2, "serves on")


def goes_on(programs):
    """A target over each kind of end of umemd; its owner comes back and misses nothing."""
    with Managed(programs) as d, Writer(256) as w:
        c = d.client()
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        copy = Copy(w)
        for signo in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            w.tell("write", 1)
            told, records = c.table(target)
            copy.apply(records)
            w.tell("write", 2)
            w.tell("discard", 3)
            d.again(signo)
            w.tell("write", 4)
            c.close()
            c = d.client()
            now, records = c.table(target, after=told["round"])
            check(now["recovered"] and now["round"] == told["round"] + 1, now)
            check(copy.apply(records) >= {2, 3, 4}, records)
            w.tell("write", 5)
            check(copy.apply(c.table(target)[1]) == {5}, "exact again")
        # It belongs to this connection now.
        c.close()
        until(5, w.is_clean, w.left)
        until(5, lambda: not d.kept(), d.kept)


def nobody_comes(programs):
    """An orphan is let go after a while; a kept one is not, and others cannot take it."""
    with Managed(programs, config="[Daemon]\nKeepOrphans=1s\n") as d, \
            Writer(16, user=NOBODY) as w, Writer(16) as kept:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            c = d.client()
        finally:
            os.seteuid(0)
            os.setegid(0)
        root = d.client()
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target)
        other = root.targets("Attach", pid=kept.pid, keep=True)["target"]
        root.dirty("Start", target=other)
        d.again(signal.SIGTERM)
        c.close()
        root.close()
        with d.client() as root:
            # Root may look at it, and does not become its owner.
            root.targets("Describe", target=target)
            until(10, w.is_clean, w.left)
            until(5, lambda: d.kept() == {other}, d.kept)
            kept.tell("write", 3)
            check(root.dirty("Collect", target=other)["round"]["dirty_bytes"] > 0, "goes on")
        check("nobody came back for it" in d.text(), "not told")
        time.sleep(0.2)
        check(not kept.is_clean(), "a kept one ended")


def target_ends_meanwhile(programs):
    with Managed(programs) as d, Target(programs) as t:
        with d.client() as c:
            target = c.targets("Attach", pid=t.pid, keep=True)["target"]
            c.dirty("Start", target=target)
            d.proc.kill()
            d.proc.wait()
            t.close()
        time.sleep(0.05)
        d.start()
        with d.client() as c:
            e = error_of(c.dirty, "Collect", target=target)
            check(e.name == "Gone", e)
        until(5, lambda: not d.kept(), d.kept)


def stopped(programs):
    """A service manager that stops it closes what it kept: nothing is left in the target."""
    with Managed(programs) as d, Target(programs) as t:
        with d.client() as c:
            c.dirty("Start", target=c.targets("Attach", pid=t.pid)["target"])
            check(d.stop() == 0, "exit code")
        time.sleep(0.05)
        check(not t.is_clean(), "it was not kept")
        with d.lock:
            for fds in d.store.values():
                for fd in fds:
                    os.close(fd)
            d.store.clear()
        until(5, t.is_clean, t.left)
        t.step()


def not_kept(programs):
    """KeepOverRestart=no: an end is an end."""
    with Managed(programs, config="[Daemon]\nKeepOverRestart=no\n") as d, Target(programs) as t:
        with d.client() as c:
            c.dirty("Start", target=c.targets("Attach", pid=t.pid, keep=True)["target"])
            check(not d.kept(), d.kept())
            check(d.stop() == 0 and t.is_clean(), t.left())


def damaged(programs):
    """What was kept and is not whole, or not understood, is let go, and others go on."""
    with Managed(programs) as d, Target(programs) as t, Target(programs) as u, \
            Target(programs) as v:
        with d.client() as c:
            ids = []
            for one in (t, u, v):
                ids.append(c.targets("Attach", pid=one.pid, keep=True)["target"])
                c.dirty("Start", target=ids[-1])
            d.proc.kill()
            d.proc.wait()
        time.sleep(0.05)
        with d.lock:
            os.close(d.store.pop(ids[0] + ".state")[0])
            os.pwrite(d.store[ids[1] + ".state"][0], b"xxxxxxxx", 0)
            d.store["nonsense"] = [os.open("/dev/null", os.O_RDONLY)]
        d.start()
        with d.client() as c:
            listed = [x["target"] for x in c.targets("List")["targets"]]
            check(listed == [ids[2]], listed)
            c.dirty("Collect", target=ids[2])
            # Names are not given twice.
            check(c.targets("Attach", pid=t.pid)["target"] not in ids, "the same name")
        until(5, lambda: t.is_clean() and u.is_clean(), lambda: (t.left(), u.left()))


def torture(programs):
    """umemd killed at random moments, its workers with it, under the oracle."""
    seed = int(os.environ.get("SEED", time.time_ns() % 10**9))
    kills = int(os.environ.get("KILLS", 60))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    recovered = 0
    with Managed(programs, config="[Daemon]\nKeepOrphans=60s\n") as d, Writer(256) as w:
        c = d.client(timeout=60)
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        copy = Copy(w)
        last = 0
        for number in range(kills):
            for _ in range(rng.randrange(4)):
                w.tell("write", *(rng.randrange(256) for _ in range(rng.randrange(30))))
                told, records = c.table(target, after=last)
                copy.apply(records)
                last = told["round"]
                recovered += told["recovered"]
            w.tell("write", rng.randrange(256))
            if rng.random() < 0.6:
                c.send("io.umemd.Dirty.Collect", target=target, form="table", after=last)
            time.sleep(rng.random() * rng.choice([0.001, 0.02]))
            if rng.random() < 0.3:
                for pid in d.workers():
                    os.kill(pid, signal.SIGKILL)
                    time.sleep(rng.random() * 0.005)
            d.again(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            w.tell("discard", rng.randrange(256))
            c.close()
            c = d.client(timeout=60)
        told, records = c.table(target, after=last)
        copy.apply(records)
        c.targets("Detach", target=target)
        check(w.is_clean(), w.left())
        c.close()
    print(f"{kills} restarts, {last} rounds, {recovered} recovered")
    check(recovered > kills / 4, "nothing was tried")


if __name__ == "__main__":
    main([readiness, given_socket, reload, goes_on, nobody_comes, target_ends_meanwhile, stopped,
          not_kept, damaged, torture], sys.argv)
