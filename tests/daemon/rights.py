#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: users of their own processes, administrators of all, quotas."""
import contextlib
import os
import socket
import sys

from daemontest import NOBODY, OTHER, Client, Daemon, Writer, check, error_of, main, until

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
      workers_are_confined, as_ordinary_user, a_passed_connection], sys.argv)
