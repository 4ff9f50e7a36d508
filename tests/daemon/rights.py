#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: users of their own processes, administrators of all, quotas."""
import array
import contextlib
import os
import socket
import sys
import time

from daemontest import (NOBODY, OTHER, Client, Daemon, Failed, VarlinkError, Writer, check,
                        error_of, main, until)

GROUP = 65532
TARGET_METHODS = [("io.umemd.Targets.Describe", {}), ("io.umemd.Targets.Detach", {}),
                  ("io.umemd.Dirty.Start", {}), ("io.umemd.Dirty.Collect", {}),
                  ("io.umemd.Dirty.Monitor", {"interval_ns": 10**9}),
                  ("io.umemd.Dirty.Stop", {}), ("io.umemd.Residency.Map", {}),
                  ("io.umemd.Residency.PageOut", {}), ("io.umemd.Residency.PageIn", {}),
                  ("io.umemd.Residency.Cancel", {}), ("io.umemd.Reclaim.Set", {}),
                  ("io.umemd.Reclaim.Get", {}), ("io.umemd.Reclaim.Status", {}),
                  ("io.umemd.Snapshot.Cancel", {})]


@contextlib.contextmanager
def user(uid, gid=None, groups=()):
    """Another effective user, which is the one that a peer is seen as."""
    gid = uid if gid is None else gid
    os.setgroups(list(groups))
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])


def client(d, uid, gid=None, groups=()):
    with user(uid, gid, groups):
        return Client(d.socket)


def ends(c):
    """Does the connection end, without a reply?"""
    try:
        c.receive()
    except (Failed, ConnectionError):
        return True
    return False


def own_processes(programs):
    """An ordinary user tracks what is theirs, and nothing else."""
    with Daemon(programs) as d, Writer(16, user=NOBODY) as mine, Writer(16, user=OTHER) as theirs, \
            Writer(16) as roots, client(d, NOBODY) as c:
        target = c.targets("Attach", pid=mine.pid)["target"]
        c.dirty("Start", target=target, regions=[mine.region()])
        mine.tell("write", 3)
        check(mine.pages(x for x in c.table(target)[1]) == {3}, "tracked")
        for pid in (theirs.pid, roots.pid, os.getpid()):
            e = error_of(c.targets, "Attach", pid=pid)
            check(e.name == "NotPermitted" and "another user's" in e.parameters["text"], e)
        text = d.text()
        check(text.count("denied to process") == 3 and f"user {NOBODY}" in text, text)
        # Nothing was done to them.
        check(theirs.is_clean() and roots.is_clean(), "touched")


def others_see_nothing(programs):
    with Daemon(programs) as d, Writer(16, user=NOBODY) as w, client(d, NOBODY) as c, \
            client(d, OTHER) as other, d.client() as root:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target)
        check(other.targets("List") == {"targets": []}, "listed")
        for method, more in TARGET_METHODS:
            other.send(method, more=method.endswith("Monitor"), target=target, **more)
            e = error_of(other.reply)
            check(e.name == "NoSuchTarget" and e.parameters == {"target": target}, e)
            # As one that never was.
            other.send(method, more=method.endswith("Monitor"), target="t999", **more)
            check(error_of(other.reply).parameters == {"target": "t999"}, method)
        check(len(root.targets("List")["targets"]) == 1, "root sees all")
        check(root.dirty("Collect", target=target)["round"]["round"] == 1, "root may")
        root.targets("Detach", target=target)
        until(5, w.is_clean, "let go by root")


def administrators(programs):
    with Daemon(programs, config=f"[Daemon]\nAdministratorGroup={GROUP}\n") as d, \
            Writer(16, user=OTHER) as w:
        for gid, groups in ((GROUP, ()), (NOBODY, (1, GROUP, 5))):
            with client(d, NOBODY, gid, groups) as c:
                target = c.targets("Attach", pid=w.pid)["target"]
                c.dirty("Start", target=target)
                check(len(c.targets("List")["targets"]) == 1, "sees all")
                c.targets("Detach", target=target)
        with client(d, NOBODY, NOBODY, (1, 5)) as c:
            check(error_of(c.targets, "Attach", pid=w.pid).name == "NotPermitted", "no member")
        check(w.is_clean(), "something was left")


def hand_off_for_another(programs):
    """A userfaultfd is taken for one's own process only."""
    with Daemon(programs) as d, Writer(16) as w, client(d, NOBODY) as c:
        region = [w.region()]
        e = error_of(c.targets, "HandOff", fds=[0], uffd=0, pid=w.pid, ranges=region)
        check(e.name == "NotPermitted", e)


def quotas(programs):
    config = "[Quota]\nUserTargets=2\nTargets=3\nUserConnections=4\n"
    with Daemon(programs, config=config) as d, contextlib.ExitStack() as stack:
        mine = [stack.enter_context(Writer(4, user=NOBODY)) for _ in range(3)]
        theirs = [stack.enter_context(Writer(4, user=OTHER)) for _ in range(2)]
        c = stack.enter_context(client(d, NOBODY))
        other = stack.enter_context(client(d, OTHER))
        first = c.targets("Attach", pid=mine[0].pid)["target"]
        c.targets("Attach", pid=mine[1].pid)
        e = error_of(c.targets, "Attach", pid=mine[2].pid)
        check(e.name == "QuotaExceeded" and e.parameters["quota"] == "UserTargets", e)
        other.targets("Attach", pid=theirs[0].pid)
        e = error_of(other.targets, "Attach", pid=theirs[1].pid)
        check(e.name == "QuotaExceeded" and e.parameters["quota"] == "Targets", e)
        c.targets("Detach", target=first)
        c.targets("Attach", pid=mine[2].pid)
        # Connections: the fifth of a user is closed, others are not bothered.
        more = [stack.enter_context(client(d, NOBODY)) for _ in range(3)]
        for one in more:
            one.call("org.varlink.service.GetInfo")
        fifth = stack.enter_context(client(d, NOBODY))
        try:
            fifth.call("org.varlink.service.GetInfo")
            check(False, "a fifth connection")
        except (ConnectionError, BrokenPipeError):
            pass
        except Exception as e:
            check("the connection ended" in str(e), e)
        other.call("org.varlink.service.GetInfo")
        more[0].close()
        until(5, lambda: can_connect(d), "one left, one may come")


def can_connect(d):
    try:
        with client(d, NOBODY) as c:
            c.call("org.varlink.service.GetInfo")
            return True
    except Exception:
        return False


def timed(function, *args, **more):
    """How long a call took, in seconds."""
    begin = time.monotonic()
    function(*args, **more)
    return time.monotonic() - begin


def refused_by(d, quota):
    """How often that is in the log."""
    return sum(f"({quota})" in line for line in d.text().splitlines())


def quota_of_descriptors(programs):
    """Of targets, of what comes with messages, of connections; of one user only."""
    with Daemon(programs, config="[Quota]\nUserDescriptors=30\n") as d, \
            contextlib.ExitStack() as stack:
        mine = [stack.enter_context(Writer(4, user=NOBODY)) for _ in range(3)]
        theirs = stack.enter_context(Writer(4, user=OTHER))
        c = stack.enter_context(client(d, NOBODY))
        other = stack.enter_context(client(d, OTHER))
        # One that comes in is counted with all that it may need.
        targets = [c.targets("Attach", pid=mine[0].pid)["target"],
                   c.targets("Attach", pid=mine[1].pid)["target"]]
        for _ in range(3):
            e = error_of(c.targets, "Attach", pid=mine[2].pid)
            check(e.name == "QuotaExceeded" and e.parameters["quota"] == "UserDescriptors" and
                  "limit of 30 (UserDescriptors)" in e.parameters["text"], e)
        check(refused_by(d, "UserDescriptors") == 1, d.text())
        # Descriptors that come along are his, too, and end the connection that sends them.
        with client(d, NOBODY) as more:
            more.sock.sendmsg([b"{"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                        array.array("i", [0] * 16))])
            check(ends(more), "16 more")
        check("Quota UserDescriptors" in d.text(), d.text())
        # Who has little is not bothered.
        target = other.targets("Attach", pid=theirs.pid)["target"]
        other.dirty("Start", target=target)
        other.table(target)
        for target in targets:
            c.targets("Detach", target=target)
        c.targets("Attach", pid=mine[2].pid)


def quota_of_memory(programs):
    """Two bits of each page that is tracked, and what was not read."""
    config = "[Quota]\nUserMemory=64K\n[Daemon]\nSlowReader=60s\n"
    with Daemon(programs, config=config) as d, Writer(256, user=NOBODY) as mine, \
            Writer(256, user=OTHER) as theirs, client(d, NOBODY) as c, client(d, OTHER) as other:
        target = c.targets("Attach", pid=mine.pid)["target"]
        huge = {"start": mine.at, "end": mine.at + (1 << 40)}
        for _ in range(3):
            e = error_of(c.dirty, "Start", target=target, regions=[huge])
            check(e.name == "QuotaExceeded" and e.parameters["quota"] == "UserMemory" and
                  "limit of 65536 (UserMemory)" in e.parameters["text"], e)
        check(refused_by(d, "UserMemory") == 1, d.text())
        c.dirty("Start", target=target, regions=[mine.region()])
        c.table(target)
        # Each connection that sent something has a buffer: some of them are all there is.
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(client(d, NOBODY)) for _ in range(4)]
            for one in crowd:
                one.call("org.varlink.service.GetInfo")
            for one in crowd:
                one.sock.sendall(b"{" + b" " * 20000)
            until(5, lambda: error_or_none(c.call, "io.umemd.Residency.Map", target=target) ==
                  "UserMemory", "what was sent ahead counts")
            check(error_of(c.dirty, "Collect", target=target, form="table").name ==
                  "QuotaExceeded", "a table")
            check(error_of(c.dirty, "Collect", target=target, form="ranges").parameters["quota"]
                  == "UserMemory", "ranges")
            c.dirty("Collect", target=target)
            target_of_other = other.targets("Attach", pid=theirs.pid)["target"]
            other.dirty("Start", target=target_of_other, regions=[theirs.region()])
            other.table(target_of_other)
        until(5, lambda: error_or_none(c.call, "io.umemd.Residency.Map", target=target) is None,
              "they are gone")


def error_or_none(function, *args, **more):
    """The quota that was reached, or None."""
    try:
        function(*args, **more)
        return None
    except VarlinkError as e:
        return e.parameters["quota"]


def quota_of_rate(programs):
    """Beyond it one waits, and nobody else does; coming anew does not help."""
    def ask(one):
        return len(one.call("org.varlink.service.GetInterfaceDescription",
                            interface="io.umemd.Residency")["description"])
    config = "[Quota]\nUserRate=10K\n[Daemon]\nSlowReader=500ms\n"
    with Daemon(programs, config=config) as d, client(d, NOBODY) as c, \
            client(d, OTHER) as other:
        begin, sent = time.monotonic(), 0
        while sent < 30000:
            sent += ask(c)
        took = time.monotonic() - begin
        # A second's worth is free, and so is the last one.
        check(took > (sent - 20000) / 10240 - 1, "too fast", sent, took)
        check(took < 10, "too slow", took)
        # Each of them waits for the debt of all.
        check(timed(ask, other) < 0.4, "another user waits")
        c.send("org.varlink.service.GetInterfaceDescription", interface="io.umemd.Dirty")
        with client(d, NOBODY) as again:
            check(timed(ask, again) > 0.3, "anew, and at once")
        c.reply()
        c.close()
        with client(d, NOBODY) as again:
            check(timed(ask, again) > 0.3, "anew, when all were gone")
        check(refused_by(d, "UserRate") == 1 and "does not read" not in d.text(), d.text())
    # One that is larger than all that may go in a second goes, too.
    with Daemon(programs, config="[Quota]\nUserRate=1K\n") as d, client(d, NOBODY) as c:
        check(timed(ask, c) < 0.5, "the first")
        # Its client goes, and does not leave anything behind, whatever is owed.
        c.send("org.varlink.service.GetInfo")
        fds = d.n_fds()
        c.close()
        until(5, lambda: d.n_fds() < fds, d.fds)


def quota_of_rate_counts_bitmaps(programs):
    """What is sent along as a descriptor is sent."""
    with Daemon(programs, config="[Quota]\nUserRate=8K\n") as d, \
            Writer(2048, user=NOBODY) as w, client(d, NOBODY) as c:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        w.tell("every", 2)
        # 1024 records of 24 bytes.
        check(len(c.table(target)[1]) == 1024, "all of them")
        check(timed(c.dirty, "Collect", target=target) > 1, "it is paid for")


def workers_are_confined(programs):
    """What a worker is, as the kernel tells it."""
    with Daemon(programs) as d, d.client() as c, Writer(4) as w:
        c.dirty("Start", target=c.targets("Attach", pid=w.pid)["target"])
        worker = d.workers()[0]
        status = {}
        with open(f"/proc/{worker}/status") as file:
            for line in file:
                key, value = line.split(":", 1)
                status[key] = value.split()
        check(status["Uid"] == [str(NOBODY)] * 4 and status["Gid"] == [str(NOBODY)] * 4, status)
        check(status["Groups"] == [] and status["NoNewPrivs"] == ["1"], status)
        check(status["Seccomp"] == ["2"] and status["Seccomp_filters"] == ["2"], status)
        # CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_SYS_PTRACE, CAP_SYS_NICE.
        caps = 1 << 2 | 1 << 3 | 1 << 19 | 1 << 23
        check(int(status["CapPrm"][0], 16) == caps and int(status["CapEff"][0], 16) == caps, status)
        check(int(status["CapBnd"][0], 16) == 0 and int(status["CapInh"][0], 16) == 0, status)
        check(os.listdir(f"/proc/{worker}/root") == [], "its root is not empty")
        check(os.readlink(f"/proc/{worker}/ns/mnt") != os.readlink("/proc/self/ns/mnt"), "mounts")
        kinds = [os.readlink(f"/proc/{worker}/fd/{fd}") for fd in os.listdir(f"/proc/{worker}/fd")]
        check(len(kinds) < 20 and sum("userfaultfd" in k for k in kinds) == 1, kinds)
        check(len([k for k in kinds if k.startswith("socket:")]) == 2, kinds)
        # Not even its own user may look into it.
        with user(NOBODY):
            try:
                os.listdir(f"/proc/{worker}/fd")
                check(False, "it can be looked into")
            except PermissionError:
                pass


def as_ordinary_user(programs):
    """umemd that is started by a user serves that user."""
    with Daemon(programs, user=NOBODY) as d, Writer(16, user=NOBODY) as w, \
            client(d, NOBODY) as c, Writer(16) as roots:
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        w.tell("write", 5)
        got, records = c.table(target)
        check(w.pages(records) == {5} and got["complete"], records)
        check(error_of(c.targets, "Attach", pid=roots.pid).name == "NotPermitted", "root's")
        os.kill(d.workers()[0], 9)
        w.tell("write", 6)
        check(w.pages(c.table(target)[1]) >= {6}, "recovered")
        c.targets("Detach", target=target)
        check(w.is_clean(), "something was left")


def a_passed_connection(programs):
    """Rights are those of who connected, whoever has the connection now."""
    with Daemon(programs) as d, Writer(4) as w, client(d, NOBODY) as c:
        copy = socket.socket(fileno=os.dup(c.sock.fileno()))
        copy.settimeout(20)
        c.sock.close()
        c.sock = copy
        check(error_of(c.targets, "Attach", pid=w.pid).name == "NotPermitted", "rights of root")


main([own_processes, others_see_nothing, administrators, hand_off_for_another, quotas,
      quota_of_descriptors, quota_of_memory, quota_of_rate, quota_of_rate_counts_bitmaps,
      workers_are_confined, as_ordinary_user, a_passed_connection], sys.argv)
