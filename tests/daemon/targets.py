#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""io.umemd.Targets and org.varlink.service from outside: coming in, going, nothing left."""
import ctypes
import errno
import fcntl
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys

from daemontest import (PAGE, Daemon, Target, Writer, check, error_of, main, until)

HERE = os.path.dirname(os.path.abspath(__file__))


def service(programs):
    with Daemon(programs) as d, d.client() as c:
        info = c.call("org.varlink.service.GetInfo")
        check(info["product"] == "umemd", info)
        check(info["interfaces"] == ["org.varlink.service", "io.umemd.Targets",
                                     "io.umemd.Dirty", "io.umemd.Residency",
                                     "io.umemd.Reclaim", "io.umemd.Snapshot"], info)
        for name in info["interfaces"]:
            text = c.call("org.varlink.service.GetInterfaceDescription", interface=name)
            with open(f"{HERE}/../../lib/proto/{name}.varlink") as file:
                check(text == {"description": file.read()}, name)
        e = error_of(c.call, "org.varlink.service.GetInterfaceDescription",
                     interface="io.umemd.Worker")
        check(e.error == "org.varlink.service.InterfaceNotFound", e)


def come_and_go(programs):
    with Daemon(programs) as d, d.client() as c, Target(programs) as t:
        c.call("org.varlink.service.GetInfo")
        before = d.n_fds()
        for _ in range(3):
            got = c.targets("Attach", pid=t.pid)
            check(0 < got["stop_ns"] < 50_000_000, got)
            told = c.targets("Describe", target=got["target"])["description"]
            check(told["pid"] == t.pid and told["how"] == "attached" and
                  told["state"] == "ready" and not told["kept"], told)
            check(c.targets("List")["targets"][0]["target"] == got["target"], "listed")
            c.dirty("Start", target=got["target"])
            check(not t.is_clean(), "it is watched")
            t.step()
            c.targets("Detach", target=got["target"])
            check(t.is_clean(), "something was left")
            check(c.targets("List") == {"targets": []}, "still listed")
            check(error_of(c.targets, "Describe", target=got["target"]).name ==
                  "NoSuchTarget", "described")
            t.step()
        until(5, lambda: not d.workers(), "workers are gone")
        until(5, lambda: d.n_fds() == before, "descriptors are gone")


def owner_leaves(programs):
    """A target ends with its connection, unless it is kept."""
    with Daemon(programs) as d, d.client() as c, Target(programs) as t, Target(programs) as u:
        with d.client() as other:
            mine = other.targets("Attach", pid=t.pid)["target"]
            kept = other.targets("Attach", pid=u.pid, keep=True)["target"]
            other.dirty("Start", target=mine)
            other.dirty("Start", target=kept)
        until(5, t.is_clean, "let go with its connection")
        until(5, lambda: len(c.targets("List")["targets"]) == 1, "one is left")
        u.step()
        check(c.dirty("Collect", target=kept)["round"]["dirty_bytes"] > 0, "kept and tracked")
        c.targets("Detach", target=kept)
        check(u.is_clean(), "something was left")
        check(error_of(c.targets, "Detach", target=mine).name == "NoSuchTarget", "gone")


def comes_back(programs):
    """A client that lost its connection finds its target free, not its own past in it."""
    with Daemon(programs) as d, Writer(20000) as w:
        for _ in range(20):
            with d.client() as c:
                c.dirty("Start", target=c.targets("Attach", pid=w.pid)["target"])


def target_ends(programs):
    with Daemon(programs) as d, d.client() as c, Target(programs) as t:
        target = c.targets("Attach", pid=t.pid)["target"]
        c.dirty("Start", target=target)
        t.close()
        until(5, lambda: c.targets("Describe", target=target)["description"]["state"] ==
              "ended", "its end is told")
        e = error_of(c.dirty, "Collect", target=target)
        check(e.name == "Gone" and str(t.pid) in e.parameters["text"], e)
        until(5, lambda: not d.workers(), "its worker is gone")
        c.targets("Detach", target=target)
        check(c.targets("List") == {"targets": []}, "forgotten")


def target_executes(programs):
    with Daemon(programs) as d, d.client() as c, Writer(4) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target)
        w.tell("exec")
        until(5, lambda: os.readlink(f"/proc/{w.pid}/exe").endswith("/sleep"), "executed")
        check(error_of(c.dirty, "Collect", target=target).name == "Gone", "told")
        check(w.is_clean(), "something was left")


def refused(programs):
    with Daemon(programs) as d, d.client() as c:
        check(error_of(c.targets, "Attach", pid=0x7ffffff0).name == "Gone", "no process")
        for pid, number in ((1, errno.EINVAL), (2, errno.ENOTSUP), (d.pid, errno.EINVAL)):
            e = error_of(c.targets, "Attach", pid=pid)
            check(e.name == "Failed" and e.parameters["errno"] == number, pid, e)
            check(str(pid) in e.parameters["text"], e)
        for pid in (0, -1, 1 << 40):
            e = error_of(c.targets, "Attach", pid=pid)
            check(e.name == "InvalidParameter" and e.parameters == {"parameter": "pid"}, e)
        check(not d.workers(), "a worker for nothing")


def ends_in_order(programs):
    """SIGTERM lets go of everything, kept or not, and takes the socket away."""
    with Daemon(programs) as d, d.client() as c, Target(programs) as t, Target(programs) as u:
        for target in (c.targets("Attach", pid=t.pid), c.targets("Attach", pid=u.pid, keep=True)):
            c.dirty("Start", target=target["target"])
        workers = d.workers()
        check(len(workers) == 2, workers)
        check(d.stop() == 0, "exit code")
        check(t.is_clean() and u.is_clean(), "something was left")
        check(not os.path.exists(d.socket), "the socket was left")
        until(5, lambda: not any(os.path.exists(f"/proc/{w}/exe") for w in workers), "workers")
        t.step()
        u.step()


def manager_is_killed(programs):
    """Workers go with it, and the kernel lifts what they protected."""
    with Daemon(programs) as d, d.client() as c, Target(programs) as t:
        c.dirty("Start", target=c.targets("Attach", pid=t.pid)["target"])
        workers = d.workers()
        d.proc.kill()
        d.proc.wait()
        until(5, lambda: not any(os.path.exists(f"/proc/{w}/exe") for w in workers), "workers")
        until(5, t.is_clean, "protection is lifted")
        t.step()


def socket_in_use(programs):
    with Daemon(programs) as d:
        done = subprocess.run([d.umemd, "--config", d.config, "--socket", d.socket, "--worker",
                               d.worker], capture_output=True, text=True, timeout=20)
        check(done.returncode == 1 and "Address already in use" in done.stderr, done)
        d.client().call("org.varlink.service.GetInfo")
        # One that nobody listens at is taken over.
        d.proc.kill()
        d.proc.wait()
        check(os.path.exists(d.socket), "left by the killed one")
        done = subprocess.Popen([d.umemd, "--config", d.config, "--socket", d.socket, "--worker",
                                 d.worker], stderr=subprocess.DEVNULL)
        try:
            def answers():
                try:
                    return d.client().call("org.varlink.service.GetInfo")
                except OSError:
                    return False
            until(5, answers, "it listens in its place")
        finally:
            done.terminate()
            done.wait()


def many_connections(programs):
    """Connect, call, close: nothing stays behind."""
    with Daemon(programs) as d, Target(programs) as t:
        def cycle(attach):
            with d.client() as c:
                c.call("org.varlink.service.GetInfo")
                if attach:
                    c.dirty("Start", target=c.targets("Attach", pid=t.pid)["target"])

        def rss():
            with open(f"/proc/{d.pid}/status") as file:
                return int([x for x in file if x.startswith("VmRSS")][0].split()[1])
        for i in range(60):
            cycle(i % 4 == 0)
        until(10, lambda: not d.workers(), "workers")
        fds, memory = d.n_fds(), rss()
        for i in range(1000):
            cycle(i % 50 == 0)
        until(10, lambda: not d.workers(), "workers")
        until(10, lambda: d.n_fds() == fds, "descriptors")
        check("ASAN_OPTIONS" in os.environ or rss() < memory + 1024,
              "memory grew by", rss() - memory, "KiB")
        until(5, t.is_clean, "clean")


class Uffd:
    """A userfaultfd of this process over memory of its own."""
    API, ASYNC, UNPOPULATED, WP = 0xAA, 1 << 15, 1 << 13, 1 << 12

    def __init__(self, n_pages, features=ASYNC | UNPOPULATED | WP):
        libc = ctypes.CDLL(None, use_errno=True)
        self.memory = mmap.mmap(-1, n_pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_NOHUGEPAGE)
        self.memory[:] = b"x" * len(self.memory)
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.fd = libc.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK)
        check(self.fd >= 0, "userfaultfd:", os.strerror(ctypes.get_errno()))
        fcntl.ioctl(self.fd, 0xc018aa3f, struct.pack("QQQ", self.API, features, 0))

    def range(self):
        return {"start": self.at, "end": self.at + len(self.memory)}


def hand_off(programs):
    """Own memory, handed in: rounds of it, and its own userfaultfd is as before behind it."""
    with Daemon(programs) as d, d.client() as c:
        u = Uffd(64)
        got = c.targets("HandOff", fds=[u.fd], uffd=0, ranges=[u.range()])
        told = c.targets("Describe", target=got["target"])["description"]
        check(told["how"] == "handed_off" and told["pid"] == os.getpid(), told)
        c.dirty("Start", target=got["target"])
        for page in (3, 9):
            u.memory[page * PAGE] = 1
        _, records = c.table(got["target"])
        pages = {(a - u.at) // PAGE for a, b, _ in records}
        check(pages == {3, 9} and all(b - a == PAGE for a, b, _ in records), records)
        # Its worker is killed: the program still has its own descriptor.
        os.kill(d.workers()[0], signal.SIGKILL)
        u.memory[5 * PAGE] = 1
        now, records = c.table(got["target"])
        check(now["recovered"] and any(a <= u.at + 5 * PAGE < b for a, b, _ in records), records)
        os.kill(d.workers()[0], signal.SIGKILL)
        c.targets("Detach", target=got["target"])
        with open("/proc/self/smaps") as file:
            flags = [x for x in file if x.startswith("VmFlags") and " uw" in x]
        check(not flags, "still registered", flags)


def hand_off_refused(programs):
    with Daemon(programs) as d, d.client() as c, Target(programs) as t:
        u = Uffd(8)
        c.call("org.varlink.service.GetInfo")
        before = d.n_fds()
        file = os.open("/dev/null", os.O_RDONLY)
        pair = socket.socketpair()

        def refusal(name, fds=None, **more):
            parameters = {"uffd": 0, "ranges": [u.range()]}
            parameters.update(more)
            e = error_of(c.targets, "HandOff", fds=[u.fd] if fds is None else fds, **parameters)
            check(e.name == name, e)
            return e
        refusal("Failed", fds=[file])
        refusal("Failed", fds=[pair[0].fileno()])
        refusal("InvalidParameter", fds=[])
        refusal("InvalidParameter", uffd=1)
        refusal("InvalidParameter", uffd=-1)
        refusal("InvalidParameter", ranges=[])
        refusal("Failed", ranges=[{"start": u.at + 1, "end": u.at + PAGE}])
        refusal("Failed", ranges=[{"start": u.at, "end": u.at}])
        refusal("Failed", ranges=[u.range(), u.range()])
        refusal("Failed", ranges=[{"start": PAGE, "end": 2 * PAGE}])
        # Its memory is not the one of the process that is named.
        e = refusal("Failed", pid=t.pid, ranges=[{"start": t.start, "end": t.end}])
        check("memory" in e.parameters["text"] or "another process" in e.parameters["text"], e)
        sync = Uffd(4, features=0)
        e = refusal("Failed", fds=[sync.fd], ranges=[sync.range()])
        check("asynchronous" in e.parameters["text"], e)
        # One whose process is gone.
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            v = Uffd(4)
            socket.send_fds(theirs, [struct.pack("Q", v.at)], [v.fd])
            os._exit(0)
        data, fds, _, _ = socket.recv_fds(ours, 8, 1)
        os.waitpid(pid, 0)
        at = struct.unpack("Q", data)[0]
        refusal("Failed", fds=fds, ranges=[u.range()])
        refusal("Gone", fds=fds, pid=pid, ranges=[{"start": at, "end": at + PAGE}])
        os.close(fds[0])
        os.close(file)
        until(5, lambda: d.n_fds() == before, "descriptors")
        check(not d.workers() and t.is_clean(), "something was left")


main([service, come_and_go, owner_leaves, comes_back, target_ends, target_executes, refused,
      ends_in_order, manager_is_killed, socket_in_use, many_connections, hand_off,
      hand_off_refused], sys.argv)
