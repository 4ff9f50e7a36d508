#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots by the daemon: what they hold, who may have them, beside tracking."""
import json
import os
import stat
import subprocess
import sys

from daemontest import NOBODY, OTHER, PAGE, Client, Daemon, Writer, check, main, until
from snapshottest import (METHODS, Held, Place, Staircase, Taking, images, is_refused, link,
                          nameless, take, until_idle, user)


def done_of(done):
    check(done.returncode == 0, "exit", done.returncode, done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def staircases(programs):
    """One moment, by each method; told in the same words as embedded."""
    with Daemon(programs) as d:
        place = Place(programs, d)
        for method in METHODS:
            for setup in ({"lanes": 2, "pages": 1021}, {"lanes": 4, "kind": "mixed", "pages": 251},
                          {"lanes": 2, "kind": "memfd"}):
                with Staircase(place, **setup) as v:
                    words = ["--json", "snapshot", str(v.pid), "-o", place.path, "--method", method]
                    own = done_of(place.run(*words, daemon=False))
                    done = done_of(place.run(*words))
                    check(list(own) == list(done), list(own), list(done))
                    for key in ("event", "pid", "path", "format", "method", "why", "processes",
                                "incremental", "complete"):
                        check(own[key] == done[key], method, key, own[key], done[key])
                    v.judge(place.path, done)
                    place.verify(place.path)
                    v.unharmed()
        until_idle(d)
        check(os.listdir(place.dir) == ["image"], os.listdir(place.dir))


def trees(programs):
    """Processes that share memory, in one image: as many as embedded, and all of it."""
    with Daemon(programs) as d:
        place = Place(programs, d)
        with Staircase(place, lanes=2, kind="shared", pages=251, processes=2) as v:
            for method in METHODS:
                done = done_of(place.run("--json", "snapshot", str(v.pid), "-o", place.path,
                                         "--tree", "--method", method))
                check(done["processes"] == 2 and done["complete"], done)
                place.verify(place.path)
            v.unharmed()


def same_bytes(programs):
    """Of memory that stands still: the same content as embedded, and as it is."""
    with Daemon(programs) as d, Writer(700) as w:
        place = Place(programs, d)
        w.tell("every", 3)
        w.tell("discard", 5, 6)
        for method in METHODS:
            for name, daemon in (("own", False), ("theirs", True)):
                done_of(place.run("--json", "snapshot", str(w.pid), "-o",
                                  f"{place.dir}/{name}", "--method", method, daemon=daemon))
            done = place.run("--json", "image", "diff", place.dir + "/own", place.dir + "/theirs",
                             "--ranges", daemon=False)
            # What a program does by itself (its stack) may differ, what it was told may not.
            check(done.returncode in (0, 1) and hex(w.at)[:-3] not in done.stdout, done.stdout)
            check(read(place, place.dir + "/theirs", w) == w.content(), method, "other bytes")


def read(place, path, w):
    """What an image has of the memory of a writer."""
    done = subprocess.run([place.umemctl, "image", "read", path, "--at", hex(w.at), "--len",
                           str(w.n_pages * PAGE)], capture_output=True, timeout=60, check=False)
    check(done.returncode == 0, done.stderr)
    return done.stdout


def protocol(programs):
    """As any client would do it: a file without a name, which gets one at the end."""
    with Daemon(programs) as d, d.client() as c, Writer(300) as w:
        place = Place(programs, d)
        target = c.targets("Attach", pid=w.pid)["target"]
        with nameless(place.dir) as fd:
            done = take(d, target, [fd], method="precopy", codec="none", name="mine")
            check(done["method"] == "precopy" and done["complete"] and done["processes"] == 1,
                  done)
            check(os.listdir(place.dir) == [], "umemd made a file")
            check(os.fstat(fd).st_size == done["written_bytes"] > 300 * PAGE, done)
            link(fd, place.path)
        check(read(place, place.path, w) == w.content(), "other bytes")
        # An increment, with the parent by its descriptor.
        w.tell("write", 7)
        parent = os.open(place.path, os.O_RDONLY)
        with nameless(place.dir) as fd:
            done = take(d, target, [fd, parent], parents=[1], parent_name="image",
                        method="freeze")
            check(done["incremental"] == "compared" and done["parent_pages"] > 290, done)
            link(fd, place.dir + "/more")
        check(read(place, place.dir + "/more", w) == w.content(), "other bytes")
        # A region only; a chain of three.
        child = os.open(place.dir + "/more", os.O_RDONLY)
        with nameless(place.dir) as fd:
            done = take(d, target, [fd, child, parent], parents=[1, 2], parent_name="more",
                        regions=[{"start": w.at, "end": w.at + 10 * PAGE}], method="freeze")
            check(done["pages"] == 10 and done["incremental"] == "compared", done)
        # Without its own parent it is not opened by a name.
        with nameless(place.dir) as fd:
            is_refused(lambda: take(d, target, [fd, child], parents=[1], parent_name="more"),
                       "Failed", "no descriptor of its parent")
        os.close(parent)
        os.close(child)
        check(c.targets("Detach", target=target) == {} and w.is_clean(), w.left())


def bad_calls(programs):
    """Files that are none, and parameters that are wrong; nothing happens to the target."""
    with Daemon(programs) as d, d.client() as c, Writer(16) as w:
        place = Place(programs, d)
        target = c.targets("Attach", pid=w.pid)["target"]
        with open(place.path, "wb") as file:
            file.write(b"not empty")
        bad = {
            "read only": os.open(place.dir, os.O_RDONLY),
            "a path": os.open(place.path, os.O_PATH),
            "not empty": os.open(place.path, os.O_RDWR),
            "append": os.open(place.dir, os.O_TMPFILE | os.O_RDWR | os.O_APPEND, 0o600),
            "a pipe": os.pipe()[1],
            "a device": os.open("/dev/null", os.O_RDWR),
            "of the kernel": os.open(f"/proc/{w.pid}/comm", os.O_RDWR),
        }
        for what, fd in bad.items():
            is_refused(lambda: take(d, target, [fd]), "Failed", "no empty regular file")
            os.close(fd)
        with nameless(place.dir) as fd:
            for wrong, more in (("output", {"output": 5}), ("output", {"output": -1}),
                                ("parents", {"parents": [3]}), ("parents", {"parents": [-1]}),
                                ("parents", {"parents": [0] * 14}), ("method", {"method": "x"}),
                                ("codec", {"codec": "gzip"})):
                c.send("io.umemd.Snapshot.Take", [fd], more=True,
                       **{"target": target, "output": 0, **more})
                is_refused(c.reply, "InvalidParameter", wrong)
            c.send("io.umemd.Snapshot.Take", [fd], target=target, output=0)
            is_refused(c.reply, "InvalidParameter", "more")
            is_refused(lambda: take(d, target, [fd, fd], parents=[1]), "Failed", "not an image")
            is_refused(lambda: take(d, target, [fd], regions=[{"start": 0, "end": 4096}]),
                       "Failed", "no mapping")
            is_refused(lambda: take(d, "t99", [fd]), "NoSuchTarget")
        with open(f"/proc/{w.pid}/comm") as file:
            check("umem" not in file.read(), "it wrote there")
        until_idle(d)
        check(w.is_clean(), w.left())
        check(c.call("io.umemd.Snapshot.Cancel", target=target) == {}, "there is none")


def one_at_a_time(programs):
    """Busy; tracking does not begin meanwhile; Cancel and Detach wait for the end."""
    with Daemon(programs) as d, d.client() as c, Writer(30000) as w:
        place = Place(programs, d)
        target = c.targets("Attach", pid=w.pid)["target"]
        for end in ("Cancel", "Detach", "close", None):
            with nameless(place.dir) as fd, nameless(place.dir) as other, \
                    Taking(d, target, [fd], method="precopy") as t:
                with Held(d):
                    is_refused(lambda: take(d, target, [other]), "Busy", target)
                    is_refused(lambda: c.dirty("Start", target=target), "Failed", "snapshot")
                    if end == "Cancel":
                        c.send("io.umemd.Snapshot.Cancel", target=target)
                    elif end == "Detach":
                        c.send("io.umemd.Targets.Detach", target=target)
                    elif end == "close":
                        t.client.close()
                if end in ("Cancel", "Detach"):
                    c.reply()
                    check(w.is_clean() and not images(d), end, w.left(), images(d))
                    is_refused(t.end, "Cancelled", "runs on")
                elif end is None:
                    check(t.end()["complete"], "not complete")
            if end == "Detach":
                target = c.targets("Attach", pid=w.pid)["target"]
            # Who comes back for it does not find its own past in the way.
            if end != "close":
                c.dirty("Start", target=target)
                c.dirty("Stop", target=target)
            until_idle(d)
            until(5, w.is_clean, w.left)
        w.tell("write", 1)


def tracked(programs):
    """Tracking misses nothing; what needs its write protection is refused."""
    with Daemon(programs) as d, d.client() as c, Writer(512) as w:
        place = Place(programs, d)
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target)
        c.table(target)
        for i, method in enumerate((None, "freeze", "fork", None)):
            w.tell("write", i, 100 + i)
            with nameless(place.dir) as fd:
                done = take(d, target, [fd], **({"method": method} if method else {}))
                check(done["method"] == (method or "freeze") and done["complete"], done)
                check(method or "tracked" in done["why"], done["why"])
                if os.path.exists(place.path):
                    os.unlink(place.path)
                link(fd, place.path)
            check(read(place, place.path, w) == w.content(), "other bytes")
            w.tell("write", 200 + i)
            told, records = c.table(target)
            check(w.pages(x for x in records if x[2] != 5) == {i, 100 + i, 200 + i}, method,
                  sorted(w.pages(records)))
            check(told["complete"] and not told["recovered"], told)
        for method in ("precopy", "cow"):
            with nameless(place.dir) as fd:
                is_refused(lambda: take(d, target, [fd], method=method), "Failed", "is tracked")
        c.dirty("Stop", target=target)
        with nameless(place.dir) as fd:
            check(take(d, target, [fd])["method"] == "precopy", "after Stop")
        check(w.is_clean(), w.left())


def client_of(d, uid):
    with user(uid):
        return Client(d.socket, timeout=60)


def users(programs):
    """What ptrace does not allow the caller cannot be had; files are the caller's."""
    with Daemon(programs) as d, Writer(64, user=NOBODY) as mine, Writer(16) as roots, \
            d.client() as root:
        place = Place(programs, d)
        with client_of(d, NOBODY) as c, client_of(d, OTHER) as other:
            target = c.targets("Attach", pid=mine.pid)["target"]
            for method in ("freeze", "fork", "precopy"):
                with user(NOBODY):
                    fd = os.open(place.dir, os.O_TMPFILE | os.O_RDWR, 0o600)
                done = take(d, target, [fd], connection=client_of(d, NOBODY), method=method)
                check(done["complete"] and os.fstat(fd).st_uid == NOBODY, done)
                link(fd, f"{place.dir}/{method}")
                os.close(fd)
                check(read(place, f"{place.dir}/{method}", mine) == mine.content(), method)
            # Nobody else may, or learns that it is there; root may.
            for call in (lambda fd: take(d, target, [fd], connection=client_of(d, OTHER)),
                         lambda fd: other.call("io.umemd.Snapshot.Cancel", target=target)):
                with nameless(place.dir) as fd:
                    is_refused(lambda: call(fd), "NoSuchTarget", target)
            with nameless(place.dir) as fd:
                check(take(d, target, [fd], method="freeze")["complete"], "root")
            roots_target = root.targets("Attach", pid=roots.pid)["target"]
            with nameless(place.dir) as fd:
                is_refused(lambda: take(d, roots_target, [fd], connection=client_of(d, NOBODY)),
                           "NoSuchTarget")
            # It does not let itself be traced any more: the kernel says no, at this very time.
            mine.tell("hide")
            for method in METHODS:
                with nameless(place.dir) as fd:
                    is_refused(lambda: take(d, target, [fd], connection=client_of(d, NOBODY),
                                            method=method), "NotPermitted")
                    check(os.fstat(fd).st_size == 0, "something was written")
            check("denied to process" in d.text(), "not in the log")
            with nameless(place.dir) as fd:
                check(take(d, target, [fd], method="freeze")["complete"], "root")
        until_idle(d)


def another_program(programs):
    """Behind an exec it is not the target any more."""
    with Daemon(programs) as d, d.client() as c, Writer(16) as w:
        place = Place(programs, d)
        target = c.targets("Attach", pid=w.pid)["target"]
        w.tell("exec")
        until(10, lambda: open(f"/proc/{w.pid}/comm").read() == "sleep\n", "it executes sleep")
        with nameless(place.dir) as fd:
            is_refused(lambda: take(d, target, [fd]), "Gone", "another program")
        w.proc.kill()
        w.proc.wait()
        with nameless(place.dir) as fd:
            is_refused(lambda: take(d, target, [fd]), "Gone")


def options(programs):
    """Formats, increments, regions; what is not served is refused by name."""
    with Daemon(programs) as d, Staircase(place := Place(programs, d), lanes=2) as v:
        pid = str(v.pid)
        first = done_of(place.run("--json", "snapshot", pid, "-o", place.path))
        check(first["method"] == "precopy", first)
        more = done_of(place.run("--json", "snapshot", pid, "-o", place.dir + "/more", "--parent",
                                 place.path, "--codec", "none"))
        check(more["incremental"] == "compared" and more["parent_pages"], more)
        v.judge(place.dir + "/more", more)
        done = place.run("snapshot", pid, "-o", place.path, "--parent", place.dir + "/more")
        check(done.returncode == 1 and "ancestor" in done.stderr, done.stderr)
        for fmt, magic in (("core", b"\x7fELF"), ("raw", None), ("criu", None)):
            path = f"{place.dir}/{fmt}"
            done = done_of(place.run("--json", "snapshot", pid, "-o", path, "--format", fmt))
            check(done["format"] == fmt and os.path.exists(path), done)
            if magic:
                with open(path, "rb") as file:
                    check(file.read(4) == magic, fmt)
        table = place.run("snapshot", pid, "-o", place.path)
        check(table.returncode == 0 and "  complete" in table.stdout.splitlines(), table)
        done = place.run("snapshot", pid, "-o", place.path, "--trigger", "stdin")
        check(done.returncode == 2 and "--embedded" in done.stderr, done)
        for words, code, text in (
                ((pid, "-o", "/proc/x"), 1, "/proc/x"), ((pid, "-o", place.dir), 2, place.dir),
                (("2147483646", "-o", place.path), 3, "no process"),
                ((pid, "-o", place.path, "--region", "1000-2000"), 1, "no mapping"),
                ((pid, "-o", place.path, "--parent", place.dir + "/core"), 1, "not an image")):
            done = place.run("snapshot", *words)
            check(done.returncode == code and text in done.stderr, words, done)
        check(stat.S_IMODE(os.stat(place.path).st_mode) == 0o600, "others may read it")
        check(not [x for x in os.listdir(place.dir) if x.startswith(".")], os.listdir(place.dir))
        v.unharmed()


main([staircases, trees, same_bytes, protocol, bad_calls, one_at_a_time, tracked, users,
      another_program, options], sys.argv)
