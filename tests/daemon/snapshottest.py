# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of snapshots by the daemon share: staircases, files without names."""
import contextlib
import os
import signal
import subprocess
import sys

import daemontest
from daemontest import Client, VarlinkError, check, children, until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ctl"))
import ctltest  # noqa: E402

# One kind of failure for both.
ctltest.Failed = daemontest.Failed
from snaptest import METHODS, Staircase  # noqa: E402

__all__ = ["METHODS", "Held", "Place", "Staircase", "Taking", "images", "is_refused", "link",
           "nameless", "take", "until_idle", "user"]


class Place:
    """Where images are, and the programs as snaptest wants them."""

    def __init__(self, programs, d):
        self.umemctl, self.victim = programs["umemctl"], programs["victim"]
        self.d = d
        self.dir = d.dir + "/images"
        os.mkdir(self.dir)
        os.chmod(self.dir, 0o777)
        self.path = self.dir + "/image"

    def run(self, *words, daemon=True, **more):
        """umemctl by the daemon, or by itself."""
        where = ["--connect", self.d.socket] if daemon else ["--embedded"]
        return subprocess.run([self.umemctl, *where, *words], capture_output=True, text=True,
                              timeout=120, check=False, stdin=subprocess.DEVNULL, **more)

    def start(self, *words):
        return subprocess.Popen([self.umemctl, "--connect", self.d.socket, *words], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def verify(self, path):
        done = self.run("image", "verify", path, daemon=False)
        check(done.returncode == 0, "damaged:", done.stdout, done.stderr)


@contextlib.contextmanager
def user(uid):
    """Another effective user, which is the one that a peer is seen as."""
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.contextmanager
def nameless(folder):
    """A file without a name."""
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def link(fd, path):
    # With a folder, which does not count here, the link is followed: linkat(2).
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


class Taking:
    """A call of Take on a connection of its own."""

    def __init__(self, d, target, fds, connection=None, **more):
        self.client = connection or Client(d.socket, timeout=60)
        self.client.send("io.umemd.Snapshot.Take", fds, more=True, target=target, output=0, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def end(self):
        """Its last reply: the snapshot. Ends in an error as the call does."""
        while True:
            message, fds = self.client.reply()
            check(not fds, "descriptors")
            parameters = message["parameters"]
            if not message.get("continues"):
                return parameters["snapshot"]
            progress = parameters["progress"]
            check("snapshot" not in parameters and progress["round"] > 0 and
                  progress["done_bytes"] <= progress["total_bytes"], parameters)


def take(d, target, fds, **more):
    with Taking(d, target, fds, **more) as t:
        return t.end()


def images(d):
    """Processes that take a snapshot now, however young they are."""
    found = []
    for pid in children(d.pid, "umemd-worker") + children(d.pid, "umemd-snapshot"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().endswith(b"\0snapshot\0"):
                    found.append(pid)
        except OSError:
            pass
    return found


class Held:
    """The process that takes a snapshot stands still in the block."""

    def __init__(self, d):
        until(10, lambda: images(d), "nobody takes one")
        self.pid = images(d)[0]
        os.kill(self.pid, signal.SIGSTOP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def until_idle(d):
    until(15, lambda: not images(d), lambda: f"still there: {images(d)}")


def is_refused(call, name, *words):
    """The error that it must end with, whose text has these words."""
    try:
        call()
    except VarlinkError as e:
        check(e.name == name and all(w in str(e.parameters) for w in words), e, "not", name)
        return
    check(False, "not refused:", name)
