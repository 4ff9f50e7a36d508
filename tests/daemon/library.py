#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that use libumemd, each against a daemon of its own."""
import subprocess
import sys

from daemontest import Daemon, check, main, until

PROGRAMS = sys.argv[5:]


def run(programs, path):
    with Daemon(programs) as d:
        done = subprocess.run([path, d.socket], capture_output=True, text=True, timeout=120)
        print(done.stdout, end="")
        if done.returncode == 77:
            return done.stdout
        check(done.returncode == 0, path, done.returncode, done.stderr)
        until(5, lambda: not d.workers(), "workers")
    return None


def case(path):
    def one(programs):
        return run(programs, path)
    one.__name__ = path.rsplit("/", 1)[1]
    return one


main([case(p) for p in PROGRAMS], sys.argv[:5])
