#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What umemd logs: lines on stderr, or entries of a journal with fields.

The journal is this test: a socket where systemd's has its, in a mount namespace of umemd's own.
"""
import os
import re
import signal
import socket
import subprocess
import sys

from daemontest import NOBODY, Daemon, Target, Writer, as_user, check, error_of, main, until
from metrics import Named
from recovery import kill_workers

SCRIPT = """
mount -t tmpfs none /run && mkdir -p /run/systemd/journal && : >/run/systemd/journal/socket &&
mount --bind "$1" /run/systemd/journal/socket && shift && exec "$@"
"""


class Journaled(Daemon):
    """umemd whose stderr is that of a journal, unless @elsewhere."""

    def __init__(self, programs, elsewhere=False, **more):
        self.path = f"/tmp/umemd-journal-{os.getpid()}"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.setblocking(False)
        self.elsewhere = elsewhere
        self.entries = []
        super().__init__(programs, **more)

    def spawn(self):
        st = os.fstat(self.log.fileno())
        inode = st.st_ino + self.elsewhere
        env = dict(self.env, JOURNAL_STREAM=f"{st.st_dev}:{inode}")
        return subprocess.Popen(["unshare", "-m", "--propagation", "private", "/bin/sh", "-c",
                                 SCRIPT, "sh", self.path, *self.words], stderr=self.log, env=env)

    def close(self):
        super().close()
        self.sock.close()
        os.unlink(self.path)

    def hear(self):
        while True:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return self.entries
            lines = data.decode().rstrip("\n").split("\n")
            check(all("=" in x for x in lines), "not one line a field", data)
            self.entries.append(dict(x.split("=", 1) for x in lines))

    def until_heard(self, ident, **fields):
        def there():
            return [e for e in self.hear() if e.get("MESSAGE_ID") == IDS[ident] and
                    all(e.get(k) == str(v) for k, v in fields.items())]
        until(10, there, lambda: f"{ident} {fields} in {self.entries[-5:]}")
        return there()[-1]


def ids():
    """By the manual page, so that it is right."""
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../man/umemd.8")
    with open(page) as file:
        return dict(zip(("denied", "died", "given_up", "came", "went"),
                        re.findall(r"^\.It Li ([0-9a-f]{32})$", file.read(), re.M)))


IDS = ids()


def fields(programs):
    check(len(IDS) == 5 and len(set(IDS.values())) == 5, IDS)
    with Journaled(programs) as d, d.client() as c, Target(programs) as t, Writer(4) as w, \
            Named(b"a\nUMEMD_X=1\x1b") as named:
        target = c.targets("Attach", pid=t.pid)["target"]
        came = d.until_heard("came", UMEMD_TARGET=target, UMEMD_PID=t.pid, UMEMD_UID=0)
        check(came["PRIORITY"] == "6" and target in came["MESSAGE"] and
              set(came) == {"MESSAGE", "MESSAGE_ID", "PRIORITY", "UMEMD_TARGET", "UMEMD_PID",
                            "UMEMD_UID", "SYSLOG_IDENTIFIER"}, came)
        with as_user(NOBODY):
            other = d.client()
        error_of(other.targets, "Attach", pid=w.pid)
        other.close()
        denied = d.until_heard("denied", UMEMD_PID=w.pid, UMEMD_UID=NOBODY)
        check(denied["PRIORITY"] == "5" and "UMEMD_TARGET" not in denied and
              "another user's" in denied["MESSAGE"], denied)
        # What a process is called makes no field.
        c.targets("Attach", pid=named.pid)
        came = d.until_heard("came", UMEMD_PID=named.pid)
        check("(a?UMEMD_X=1?)" in came["MESSAGE"] and "UMEMD_X" not in came, came)
        kill_workers(d)
        died = d.until_heard("died", UMEMD_TARGET=target, UMEMD_PID=t.pid)
        check(died["PRIORITY"] == "4" and "another one takes over" in died["MESSAGE"], died)
        while not any(e["MESSAGE_ID"] == IDS["given_up"] and e["UMEMD_TARGET"] == target
                      for e in d.hear()):
            kill_workers(d)
        c.targets("Detach", target=target)
        d.until_heard("went", UMEMD_TARGET=target, UMEMD_PID=t.pid)
        # What is no event stays a line, with its level; no event is told twice.
        check("<5>listening at" in d.text(), d.text())
        check("takes over" not in d.text() and "denied" not in d.text(), d.text())
        d.proc.send_signal(signal.SIGTERM)
        check(d.proc.wait(20) == 0, "exit code")
        check(sum(e["MESSAGE_ID"] == IDS["denied"] for e in d.hear()) == 1, d.entries)


def lines(programs):
    """Without a journal, or where stderr was led elsewhere, the same as lines."""
    for kind in (Daemon, lambda p: Journaled(p, elsewhere=True)):
        with kind(programs) as d, d.client() as c, Target(programs) as t, Writer(4) as w:
            c.targets("Attach", pid=t.pid)
            with as_user(NOBODY):
                other = d.client()
            error_of(other.targets, "Attach", pid=w.pid)
            other.close()
            kill_workers(d)
            until(10, lambda: all(x in d.text() for x in ("came in for user 0: attached",
                                                          "denied to process", "takes over")),
                  d.text)
            check(not getattr(d, "hear", list)(), "heard")


main([fields, lines], sys.argv)
