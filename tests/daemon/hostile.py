#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Peers, targets and workers that do not behave: refused with a reason, others served,
nothing leaked."""
import array
import errno
import fcntl
import json
import os
import random
import select
import signal
import socket
import stat
import sys
import time

from daemontest import (PAGE, Client, Daemon, Failed, Target, VarlinkError, Writer, check,
                        error_of, main, until)

INFO = b'{"method":"org.varlink.service.GetInfo"}'


def rss(pid):
    with open(f"/proc/{pid}/status") as file:
        return int([x for x in file if x.startswith("VmRSS")][0].split()[1])


class Still:
    """Behind the block the daemon has what it had before, and serves."""

    def __init__(self, d):
        self.d = d

    def __enter__(self):
        with self.d.client() as c:
            c.call("org.varlink.service.GetInfo")
        time.sleep(0.05)
        self.fds, self.rss = self.d.n_fds(), rss(self.d.pid)

    def __exit__(self, kind, *_):
        if kind:
            return
        with self.d.client() as c:
            c.call("org.varlink.service.GetInfo")
        until(10, lambda: self.d.n_fds() <= self.fds,
              f"descriptors: {self.d.fds()}")
        # What a sanitizer keeps of freed memory is not ours.
        check("ASAN_OPTIONS" in os.environ or rss(self.d.pid) < self.rss + 8192,
              "memory", self.rss, rss(self.d.pid))


def ends(c):
    """Does the connection end, without a reply?"""
    try:
        c.receive()
    except (Failed, ConnectionError):
        return True
    return False


def no_calls(programs):
    """What is no call ends the connection, and the reason is in the log."""
    deep = b"[" * 100 + b"]" * 100
    cases = [b"", b" ", b"garbage", b"[]", b"{}", b"null", b'{"method":1}', b'{"method":"x"}',
             b'{"method":"a.b","more":1}', b'{"method":"a.b","method":"a.b"}',
             b'{"method":"a.b","parameters":[]}', b'{"method":"a.b","x":1}', b"\xff\xfe",
             b'{"method":"a.b","parameters":{"a":' + deep + b"}}",
             b'{"method":"a.b","parameters":{"a":[' + b"0," * 50000 + b"0]}}",
             b'{"method":"a.b","upgrade":true}', b'{"method":"' + b"a." * 200 + b'b"}']
    with Daemon(programs) as d, Still(d):
        for text in cases:
            with d.client() as c:
                c.sock.sendall(text + b"\0")
                check(ends(c), "a reply to", text[:60])
        check(d.text().count("what it sent is no call") == len(cases), d.text()[-2000:])
        with d.client() as c:
            try:
                for _ in range(40):
                    c.sock.sendall(b"x" * 10000)
            except ConnectionError:
                pass
            check(ends(c), "too long")
        until(5, lambda: "a message is too long" in d.text(), d.text()[-2000:])


def wrong_calls(programs):
    """What is a call, but not one of ours, is answered."""
    service = "org.varlink.service."
    cases = [("a.b.C", {}, service + "InterfaceNotFound", {"interface": "a.b"}),
             ("io.umemd.Worker.Open", {}, service + "InterfaceNotFound",
              {"interface": "io.umemd.Worker"}),
             ("io.umemd.Broker.OpenMapped", {}, service + "InterfaceNotFound",
              {"interface": "io.umemd.Broker"}),
             ("io.umemd.Targets.Nothing", {}, service + "MethodNotFound",
              {"method": "Nothing"}),
             ("io.umemd.Targets.Attach", {}, service + "InvalidParameter", {"parameter": "pid"}),
             ("io.umemd.Targets.Attach", {"pid": "1"}, service + "InvalidParameter",
              {"parameter": "pid"}),
             ("io.umemd.Targets.Attach", {"pid": 1, "Pid": 1}, service + "InvalidParameter",
              {"parameter": "Pid"}),
             ("io.umemd.Targets.Attach", {"pid": 1, "\n\x1b[31m": 1},
              service + "InvalidParameter", {"parameter": "\n\x1b[31m"}),
             ("io.umemd.Targets.List", {"x": {}}, service + "InvalidParameter",
              {"parameter": "x"})]
    with Daemon(programs) as d, Still(d), d.client() as c:
        for method, parameters, error, told in cases:
            c.send(method, **parameters)
            e = error_of(c.reply)
            check(e.error == error and e.parameters == told, method, e)
        check(c.call("org.varlink.service.GetInfo"), "serves on")
        check("\x1b" not in d.text(), "the log has what a client sent")


def ahead(programs):
    """Calls that are sent ahead are answered in order; those that want no reply get none."""
    with Daemon(programs) as d, Still(d), d.client() as c:
        names = [f"n{i}.m.X" for i in range(2000)]
        for at in range(0, len(names), 100):
            for name in names[at:at + 100]:
                c.send(name)
            for name in names[at:at + 100]:
                check(error_of(c.reply).parameters == {"interface": name[:-2]}, name)
        c.send("io.umemd.Targets.List", oneway=True)
        c.send("no.such.Thing", oneway=True)
        check(c.call("org.varlink.service.GetInfo")["product"] == "umemd", "the third")


def descriptors(programs):
    """Descriptors that nobody asked for are closed; too many end the connection."""
    with Daemon(programs) as d, Still(d):
        files = [os.open("/dev/null", os.O_RDONLY) for _ in range(250)]
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
        with d.client() as c:
            for _ in range(20):
                c.send("io.umemd.Targets.List", fds=files[:16])
                c.reply()
            c.send("io.umemd.Targets.List", fds=files[:17])
            check(ends(c), "17 descriptors")
        with d.client() as c:
            c.sock.sendmsg([INFO + b"\0"], ancillary)
            check(ends(c), "250 descriptors")
        with d.client() as c:
            # Without the end of a message they would gather.
            try:
                for _ in range(10):
                    c.sock.sendmsg([b"{"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                             array.array("i", files[:16]))])
                    time.sleep(0.01)
            except ConnectionError:
                pass
            check(ends(c), "they gather")
        for _ in range(50):
            with d.client() as c:
                c.sock.sendmsg([INFO[:20]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                              array.array("i", files[:10]))])
        for fd in files:
            os.close(fd)


def rights_of(files):
    """An ancillary message with descriptors."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]


def holding_oneself(programs):
    """A connection whose own end waits in umemd, or in that of another one, ends all the same."""
    with Daemon(programs, config="[Daemon]\nSlowReader=300ms\n") as d, Still(d):
        for _ in range(20):
            c = d.client()
            c.sock.sendmsg([b"{"], rights_of([c.sock.fileno()] * 16))
            c.close()
        one, two = d.client(), d.client()
        one.sock.sendmsg([b"{"], rights_of([two.sock.fileno()]))
        two.sock.sendmsg([b"{"], rights_of([one.sock.fileno()]))
        one.close()
        two.close()
        # A call that lasts does not keep what it has no use for.
        with Writer(4) as w, d.client() as c:
            target = c.targets("Attach", pid=w.pid, keep=True)["target"]
            c.dirty("Start", target=target)
            last = d.client()
            last.send("io.umemd.Dirty.Monitor", fds=[last.sock.fileno()], more=True,
                      target=target, interval_ns=3600 * 10**9)
            last.close()
            until(5, lambda: "socket" not in d.fds() and sum(
                "socket:" in x for x in d.fds()) <= 6, d.fds)
            c.targets("Detach", target=target)
        until(5, lambda: d.text().count("not the rest of their message") == 22, d.text)
    # What is ended in time is served, however long the pieces took.
    with Daemon(programs) as d, Still(d), d.client() as c:
        for piece in (INFO[:5], INFO[5:20]):
            c.sock.sendmsg([piece], rights_of([0]))
            time.sleep(0.1)
        c.sock.sendall(INFO[20:] + b"\0")
        check(c.reply()[0]["parameters"]["product"] == "umemd", "served")


def wrong_kinds(programs):
    """Descriptors of each wrong kind, in each place that takes one, with what is said."""
    with Daemon(programs) as d, Still(d), d.client() as c, Writer(4) as w:
        target = c.targets("Open", pid=w.pid)["target"]
        pipe, pair = os.pipe(), socket.socketpair()
        memfd, sealed = os.memfd_create("x"), os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.truncate(memfd, 8192)
        os.truncate(sealed, 8192)
        # F_ADD_SEALS: F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE.
        fcntl.fcntl(sealed, 1033, 2 | 4 | 8)
        kinds = {"a pipe": pipe[0], "a socket": pair[0].fileno(), "memory": memfd,
                 "sealed memory": sealed, "a directory": os.open("/", os.O_RDONLY),
                 "a path": os.open("/", os.O_PATH), "a device": os.open("/dev/null", os.O_RDWR),
                 "epoll": select.epoll(), "a pidfd": os.pidfd_open(w.pid),
                 "the connection": c.sock.fileno()}
        for kind, fd in kinds.items():
            number = fd if isinstance(fd, int) else fd.fileno()
            e = error_of(c.targets, "HandOff", fds=[number], uffd=0, ranges=[w.region()])
            check(e.name == "Failed" and e.parameters["errno"] == errno.EBADF and
                  "not a userfaultfd" in e.parameters["text"], kind, e)
            c.send("io.umemd.Snapshot.Take", fds=[number], more=True, target=target, output=0)
            e = error_of(c.reply)
            check(e.name == "Failed" and "no empty regular file" in e.parameters["text"], kind, e)
        for fd in [pipe[0], pipe[1], memfd, sealed, kinds["a directory"], kinds["a path"],
                   kinds["a device"], kinds["a pidfd"]]:
            os.close(fd)
        kinds["epoll"].close()
        for one in pair:
            one.close()
        check(w.is_clean(), w.left())


def lies_about_regions(programs):
    """Regions that cannot be: each method that takes some says so, or finds nothing there."""
    empty = [{"start": 5 * PAGE, "end": 5 * PAGE}]
    backwards = [{"start": 9 * PAGE, "end": 5 * PAGE}]
    negative = [{"start": -PAGE, "end": PAGE}]
    with Daemon(programs) as d, Still(d), d.client() as c, Writer(16) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        for regions in (empty, backwards, negative):
            for method in ("Dirty.Start", "Residency.Map", "Residency.PageOut",
                           "Residency.PageIn"):
                e = error_of(c.call, "io.umemd." + method, target=target, regions=regions)
                check(e.name == "Failed" and e.parameters["errno"] == errno.EINVAL and
                      "is no range of addresses" in e.parameters["text"], method, regions, e)
        # One byte more than there are, and whatever is not mapped.
        for regions in ([{"start": 0, "end": 2**63 - 1}], [w.region()] * 200,
                        [{"start": w.at + 1, "end": w.at + 2}]):
            got = c.call("io.umemd.Residency.Map", target=target, regions=regions)
            check(sum(x["end"] - x["start"] for x in got["regions"]) < 1 << 47, got)
        for wrong in (2**63, -2**63 - 1, 1.5, "1", None, [], {}):
            try:
                e = error_of(c.call, "io.umemd.Residency.Map", target=target,
                             regions=[{"start": wrong, "end": PAGE}])
                check(e.error == "org.varlink.service.InvalidParameter" and
                      e.parameters["parameter"] == "regions[0].start", wrong, e)
            except (Failed, ConnectionError):
                # A number that no int holds is no JSON that is taken.
                check(isinstance(wrong, int) and abs(wrong) >= 2**63, wrong)
                c.close()
                c = d.client()
                target = c.targets("Attach", pid=w.pid)["target"]
        c.close()
        until(10, w.is_clean, w.left)


def its_own_processes(programs):
    """umemd itself, and a worker of it, as a target: nobody else is hurt."""
    with Daemon(programs) as d, Still(d), d.client() as c, Writer(16) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        e = error_of(c.targets, "Attach", pid=d.pid)
        check(e.name == "Failed" and "it cannot stop itself" in e.parameters["text"], e)
        # Root may: what comes of that is an ordinary target, or a refusal.
        try:
            worker = c.targets("Attach", pid=d.workers()[0])["target"]
            c.dirty("Start", target=worker)
            c.dirty("Collect", target=worker)
        except VarlinkError as e:
            check(e.name in ("Failed", "Gone"), e)
        w.tell("write", 7)
        got, records = c.table(target)
        check(w.pages(records) >= {7} and got["complete"], got)
        c.targets("Detach", target=target)
        check(w.is_clean(), w.left())


def silent(programs):
    """Two hundred connections that say nothing, or half of something."""
    with Daemon(programs) as d, Still(d):
        crowd = [d.client() for _ in range(200)]
        for c in crowd[::2]:
            c.sock.sendall(INFO[:17])
        with d.client() as c:
            begin = time.monotonic()
            for _ in range(50):
                c.call("org.varlink.service.GetInfo")
            check(time.monotonic() - begin < 2, "it is slow")
        for c in crowd:
            c.close()


def stuck_target(programs):
    """A process that cannot be stopped holds up who asked for it, and nobody else."""
    code = ("import ctypes, time, sys\nlibc = ctypes.CDLL(None)\nprint('ready', flush=True)\n"
            "if libc.syscall(56, 0x4000 | 17, 0, 0, 0, 0) == 0:\n    time.sleep(600)\n")
    import subprocess
    with Daemon(programs) as d, Still(d), d.client() as c, d.client() as other:
        parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        try:
            parent.stdout.readline()

            def state():
                with open(f"/proc/{parent.pid}/stat") as file:
                    return file.read().rsplit(")", 1)[1].split()[0]
            until(5, lambda: state() == "D", "it waits for its child")
            c.send("io.umemd.Targets.Attach", pid=parent.pid)
            begin = time.monotonic()
            for _ in range(20):
                other.call("org.varlink.service.GetInfo")
            check(time.monotonic() - begin < 0.5, "others wait")
            e = error_of(c.reply)
            check(e.name == "Failed" and "could be stopped in time" in e.parameters["text"], e)
        finally:
            with open(f"/proc/{parent.pid}/task/{parent.pid}/children") as file:
                for pid in file.read().split():
                    os.kill(int(pid), signal.SIGKILL)
            parent.kill()
            parent.wait()
            parent.stdout.close()


def hanging_worker(programs):
    """A worker that does not answer counts as dead."""
    with Daemon(programs, config="[Worker]\nTimeout=1s\n") as d, Still(d), d.client() as c, \
            Writer(16) as w:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        w.tell("write", 2)
        os.kill(d.workers()[0], signal.SIGSTOP)
        told, records = c.table(target)
        check(told["recovered"] and w.pages(records) >= {2}, records)
        check("did not answer in time" in d.text(), d.text()[-1000:])


FAKE = """#!{python} -S
import os, socket, sys, json, array, time
how = {how!r}
s = socket.socket(fileno=3)
b = socket.socket(fileno=4)
data, fds, _, _ = socket.recv_fds(s, 1 << 16, 16)
good = json.dumps({{"parameters": {{"confined": True, "loose": []}}}}).encode() + b"\\0"
def say(text):
    s.sendall(text)
if how == "silent":
    time.sleep(600)
elif how == "garbage":
    say(os.urandom(5000))
elif how == "endless":
    while True:
        say(b"x" * 65536)
elif how == "not json":
    say(b"hello\\0")
elif how == "wrong type":
    say(b'{{"parameters":{{"confined":1,"loose":[]}}}}\\0')
elif how == "unknown field":
    say(b'{{"parameters":{{"confined":true,"loose":[],"x":1}}}}\\0')
elif how == "missing field":
    say(b'{{"parameters":{{}}}}\\0')
elif how == "unknown error":
    say(b'{{"error":"io.umemd.Worker.Nothing","parameters":{{}}}}\\0')
elif how == "foreign error":
    say(b'{{"error":"io.umemd.Targets.Gone","parameters":{{"text":"x"}}}}\\0')
elif how == "continues":
    say(b'{{"parameters":{{"confined":true,"loose":[]}},"continues":true}}\\0')
elif how == "unasked":
    say(good)
    say(good)
    say(good)
    time.sleep(600)
elif how == "asks nonsense":
    for text in (b"x\\0", b'{{"method":"io.umemd.Targets.List"}}\\0',
                 b'{{"method":"io.umemd.Broker.Backing","parameters":{{"start":-1,"end":9}}}}\\0'):
        b.sendall(text)
    time.sleep(600)
elif how in ("works for ever", "no result"):
    say(good)
    s.recv(1 << 16)
    progress = {{"progress": {{"done_bytes": 1, "total_bytes": 2}}}}
    while how == "works for ever":
        say(json.dumps({{"parameters": progress, "continues": True}}).encode() + b"\\0")
        time.sleep(0.05)
    say(json.dumps({{"parameters": progress}}).encode() + b"\\0")
    time.sleep(600)
elif how == "open fd":
    say(good)
    s.recv(1 << 16)
    reply = {{"round": dict.fromkeys(("round at_ns interval_ns tracked_bytes dirty_bytes "
        "written_bytes new_bytes punched_bytes sharer_bytes pinned_bytes gone_bytes "
        "scan_ns").split(), 1), "table": 0}}
    reply["round"].update(complete=True, incomplete=[], recovered=False)
    fd = os.open("/", os.O_RDONLY)
    socket.send_fds(s, [json.dumps({{"parameters": reply}}).encode() + b"\\0"], [fd])
    time.sleep(600)
"""


def fake_workers(programs):
    """The manager does not trust a worker: whatever it says, others are served."""
    hows = ["silent", "garbage", "endless", "not json", "wrong type", "unknown field",
            "missing field", "unknown error", "foreign error", "continues", "asks nonsense"]
    with Daemon(programs, config="[Worker]\nTimeout=500ms\n") as d, Target(programs) as t:
        for how in hows:
            os.unlink(d.worker)
            with open(d.worker, "w") as file:
                file.write(FAKE.format(python=sys.executable, how=how))
            os.chmod(d.worker, 0o755)
            with Still(d), d.client(timeout=60) as c:
                e = error_of(c.targets, "Attach", pid=t.pid)
                check(e.name == "Failed" and "died too often" in e.parameters["text"], how, e)
                check(c.targets("List") == {"targets": []}, how)
            until(5, t.is_clean, t.left)
        t.step()


def unsealed(programs):
    """A descriptor that is not sealed memory does not reach a client."""
    with Daemon(programs, config="[Worker]\nTimeout=500ms\n") as d, Target(programs) as t, \
            Still(d), d.client() as c:
        os.unlink(d.worker)
        with open(d.worker, "w") as file:
            file.write(FAKE.format(python=sys.executable, how="open fd"))
        os.chmod(d.worker, 0o755)
        target = c.targets("Attach", pid=t.pid)["target"]
        c.send("io.umemd.Dirty.Collect", target=target, form="table")
        message, fds = c.receive()
        check(message["error"].endswith(".Failed") and not fds, message, fds)


def endless_work(programs):
    """A worker that works and works is waited for, but not when somebody wants it to end."""
    with Daemon(programs, config="[Worker]\nTimeout=500ms\n") as d, Target(programs) as t, \
            Still(d), d.client() as c, d.client() as other:
        for how in ("works for ever", "no result"):
            os.unlink(d.worker)
            with open(d.worker, "w") as file:
                file.write(FAKE.format(python=sys.executable, how=how))
            os.chmod(d.worker, 0o755)
            target = c.targets("Open", pid=t.pid)["target"]
            c.send("io.umemd.Residency.PageOut", target=target)
            if how == "works for ever":
                time.sleep(1.5)
                check("did not answer in time" not in d.text(), "it shows signs of life")
                other.targets("Detach", target=target)
                check("did not answer in time" in d.text(), d.text()[-1000:])
            e = error_of(c.reply)
            check(e.name == "Failed", e)
            if how == "no result":
                check("does not behave" in e.parameters["text"], e)
                other.targets("Detach", target=target)
        check(t.is_clean(), t.left())


def no_worker(programs):
    with Daemon(programs) as d, Target(programs) as t, Still(d), d.client(timeout=60) as c:
        os.unlink(d.worker)
        e = error_of(c.targets, "Attach", pid=t.pid)
        check(e.name == "Failed", e)
        check("starting a worker: No such file" in d.text(), d.text()[-1000:])
        check(t.is_clean(), "something was left")


def noise(programs):
    """Random damage to calls that are right, on many connections."""
    seed = int(os.environ.get("SEED", time.time_ns() % 10**9))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    with Daemon(programs) as d, Target(programs) as t, Still(d):
        calls = [INFO] + [json.dumps({"method": m, "parameters": p}).encode() for m, p in (
            ("io.umemd.Targets.Attach", {"pid": t.pid}),
            ("io.umemd.Targets.HandOff", {"uffd": 0, "ranges": [{"start": 4096, "end": 8192}]}),
            ("io.umemd.Dirty.Start", {"target": "t1", "pins": "always"}),
            ("io.umemd.Dirty.Collect", {"target": "t1", "form": "ranges", "after": 1}),
            ("io.umemd.Targets.List", {}))]
        for _ in range(300):
            with Client(d.socket, timeout=0.05) as c:
                try:
                    for _ in range(rng.randrange(1, 6)):
                        data = bytearray(rng.choice(calls) + b"\0")
                        for _ in range(rng.choice([0, 0, 1, 3])):
                            data[rng.randrange(len(data))] = rng.randrange(256)
                        if rng.random() < 0.3:
                            socket.send_fds(c.sock, [bytes(data)], [0] * rng.randrange(1, 4))
                        else:
                            c.sock.sendall(data)
                    c.receive()
                except (OSError, Failed):
                    pass
        check(d.proc.poll() is None, "it ended")
        until(20, lambda: not d.workers() and t.is_clean(), t.left)
        t.step()


main([no_calls, wrong_calls, ahead, descriptors, holding_oneself, wrong_kinds,
      lies_about_regions, its_own_processes, silent, stuck_target, hanging_worker,
      fake_workers, unsealed, endless_work, no_worker, noise], sys.argv)
