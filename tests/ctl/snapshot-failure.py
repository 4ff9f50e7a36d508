# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots that fail: whatever dies or is full, the target runs on, unharmed and
unprotected, the image that was there before is intact, and nothing lies about."""
import ctypes
import hashlib
import os
import random
import signal
import subprocess
import sys
import time

from ctltest import NOBODY, check, clear_line, json_lines, main
from snaptest import CALM, METHODS, Staircase, children, snapshot_words, status, take, until

libc = ctypes.CDLL(None, use_errno=True)
KILLS = 26  # a method


class Folder:
    """A folder with an image in it, and nothing else ever."""

    def __init__(self, place, victim):
        self.place, self.victim = place, victim
        self.dir = os.path.join(place.dir, "images")
        os.makedirs(self.dir, exist_ok=True)
        for name in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, name))
        self.path = os.path.join(self.dir, "image")
        take(place, victim.pid, self.path, "freeze")
        self.digest = self.read()

    def read(self):
        with open(self.path, "rb") as file:
            return hashlib.sha256(file.read()).digest()

    def check(self, killed=0):
        """The old image, or a new one that is whole. Return: is it a new one?"""
        left = os.listdir(self.dir)
        # A file takes another one's place by way of a name: killed just then, it is there.
        hidden = [name for name in left if name.startswith(".image.")]
        check(set(left) == {"image", *hidden} and len(hidden) <= killed, "left behind:", left)
        for name in hidden:
            os.unlink(os.path.join(self.dir, name))
        digest = self.read()
        if digest == self.digest:
            return False
        done = self.place.run("image", "verify", self.path)
        check(done.returncode == 0, "the new image is damaged:", done.stdout, done.stderr)
        self.victim.judge(self.path)
        self.digest = digest
        return True


def start(place, victim, path, method, *more):
    return subprocess.Popen([place.umemctl, *snapshot_words(victim.pid, path, method, *more)],
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def no_orphans(victims):
    """What worked for an umemctl that was killed has come to us, and ended."""
    def ours():
        while True:
            try:
                left = [p for p in children(os.getpid()) if p not in victims]
                if not left or os.waitpid(left[0], os.WNOHANG | 0x40000000)[0] == 0:
                    return left
            except ChildProcessError:
                return []
    until(lambda: not ours(), lambda: f"still running: {ours()}")


def typical_seconds(place, victim, path, method):
    begin = time.monotonic()
    take(place, victim.pid, path, method)
    return time.monotonic() - begin


def struck(place, method, n, strike, **setup):
    """Strike at @n random moments of a snapshot, and look. Return: new images."""
    n_new = 0
    with Staircase(place, **setup) as v:
        folder = Folder(place, v)
        seconds = typical_seconds(place, v, folder.path, method)
        check(folder.check(), "the image was not replaced")
        for _ in range(n):
            ctl = start(place, v, folder.path, method)
            time.sleep(random.random() * seconds * 1.2)
            strike(ctl, v)
            no_orphans([v.pid])
            v.unharmed()
            n_new += folder.check(killed=ctl.returncode == -signal.SIGKILL)
    return n_new


def killed(place):
    """kill -9 of umemctl."""
    def strike(ctl, _):
        ctl.kill()
        ctl.communicate()
    for method in METHODS:
        n = struck(place, method, KILLS // 2, strike, lanes=2, pages=1021)
        n += struck(place, method, KILLS // 2, strike, lanes=4, kind="mixed", pages=251,
                    churn=CALM)
        print(f"  {method}: killed {KILLS} times, {n} images were done before")


def interrupted(place):
    """Ctrl-C, and SIGTERM: it says so, and there is no image."""
    def strike(signo):
        def one(ctl, _):
            ctl.send_signal(signo)
            out, err = ctl.communicate(timeout=30)
            # Before it has asked for them to be told, signals end it as they end anybody.
            check(ctl.returncode in (0, 1, -signo), "exit", ctl.returncode, err)
            if ctl.returncode == 1:
                clear_line(err, False)
                check("interrupted" in err, err)
            check(ctl.returncode != 0 or json_lines(out)[-1]["event"] == "done", out)
        return one
    for method in METHODS:
        n = sum(struck(place, method, 6, strike(s), lanes=3, pages=509)
                for s in (signal.SIGINT, signal.SIGTERM))
        print(f"  {method}: interrupted 12 times, {n} images were done before")


def target_ends(place):
    """Killed, at its end, or executing another program, in mid-way: status 3."""
    n_gone = 0
    for method in METHODS:
        for i in range(6):
            with Staircase(place, lanes=2, pages=1021) as v:
                folder = Folder(place, v)
                seconds = typical_seconds(place, v, folder.path, method)
                folder.check()
                ctl = start(place, v, folder.path, method)
                time.sleep(random.random() * seconds)
                if i % 3 == 0:
                    v.proc.kill()
                else:
                    v.order("qx"[i % 3 - 1])
                out, err = ctl.communicate(timeout=30)
                check(ctl.returncode in (0, 3), method, "exit", ctl.returncode, err)
                if ctl.returncode == 3:
                    n_gone += 1
                    clear_line(err, False)
                    check(str(v.pid) in err, err)
                else:
                    check(json_lines(out)[-1]["event"] == "done", out)
                check(folder.check() == (ctl.returncode == 0), "an image, and", ctl.returncode)
                if i % 3 == 2:
                    v.await_word("ready")
                    v.unharmed()
    check(n_gone > 3, "it was gone", n_gone, "times")


def stopped(place):
    """A stopped target is copied as it is, and stays stopped."""
    for method in METHODS:
        with Staircase(place, lanes=3, kind="mixed") as v:
            os.kill(v.pid, signal.SIGSTOP)
            until(lambda: status(v.pid, "State")[0] == "T", "it does not stop")
            path = os.path.join(place.dir, "stopped")
            done = take(place, v.pid, path, method)
            check(done["complete"], done)
            check(status(v.pid, "State")[0] == "T", method, "woke it up")
            v.judge(path, done)
            v.unharmed()


def traced(place):
    with Staircase(place) as v:
        check(libc.ptrace(0x4206, v.pid, 0, 0) == 0, "PTRACE_SEIZE")
        try:
            for method in METHODS:
                path = os.path.join(place.dir, "traced")
                err = take(place, v.pid, path, method, code=1)
                clear_line(err, False)
                check("traced" in err and str(os.getpid()) in err, method, err)
                check(not os.path.exists(path), "there is an image")
        finally:
            libc.ptrace(0x4207, v.pid, 0, 0)
            os.waitpid(v.pid, 0x40000000)
            libc.ptrace(17, v.pid, 0, 0)
        v.unharmed()


def in_namespace(place, script, *args, **more):
    """A shell in a mount namespace of its own; $1... are @args."""
    return subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *args], text=True,
                          capture_output=True, timeout=120, check=False, **more)


# $1: umemctl. $2: where. $3: the process. $4: the method. $5: addresses. $6: how to mount.
FULL = """
set -e
eval "$6"
cd "$2"
"$1" -q snapshot "$3" -o image --method freeze --region "$5" >/dev/null
cp image "$2.before"
status=0
"$1" --json snapshot "$3" -o image --method "$4" --codec none || status=$?
cmp image "$2.before" || echo "the old image changed"
"$1" image verify image >/dev/null || echo "the old image is damaged"
echo "status $status"
echo "files" $(ls -A | grep -v lost+found)
"""

MOUNTS = {
    "tmpfs": 'mount -t tmpfs -o size=512k none "$2"',
    "ext4": 'truncate -s 2M "$2.disk" && mkfs.ext4 -q -O ^has_journal "$2.disk" && '
            'mount -o loop "$2.disk" "$2"',
}


def disk_full(place):
    skipped = []
    for kind, mount in MOUNTS.items():
        where = os.path.join(place.dir, "full")
        for method in METHODS:
            with Staircase(place, lanes=4, pages=1021) as v:
                os.makedirs(where, exist_ok=True)
                done = in_namespace(place, FULL, place.umemctl, where, str(v.pid), method,
                                    "20000000000-20000001000", mount)
                lines = done.stdout.splitlines()
                if "files image" not in lines and kind == "ext4" and "status" not in done.stdout:
                    skipped.append(kind)
                    break
                check("status 1" in lines and lines[-1] == "files image", kind, method,
                      done.stdout, done.stderr)
                check(not any("the old image" in x for x in lines), done.stdout)
                check("No space left" in done.stderr, done.stderr)
                v.unharmed()
    return f"no {skipped[0]} on a loop device here" if skipped else None


def not_writable(place):
    """Where no image can be: said before anything happens to the target."""
    with Staircase(place) as v:
        folder = os.path.join(place.dir, "not-writable")
        os.makedirs(folder, exist_ok=True)
        for path in (f"{folder}/none/image", folder, "/proc/image", f"{place.umemctl}/image"):
            for method in ("freeze", "cow"):
                done = place.run(*snapshot_words(v.pid, path, method))
                check(done.returncode in (1, 2), path, "exit", done.returncode, done.stderr)
                clear_line(done.stderr, done.returncode == 2)
                check(path in done.stderr, done.stderr)
        done = in_namespace(place, 'mount -t tmpfs -o ro none "$2" && exec "$1" --json snapshot '
                            '"$3" -o "$2/image"', place.umemctl, folder, str(v.pid))
        check(done.returncode == 1 and "Read-only" in done.stderr, done.returncode, done.stderr)
        check(os.listdir(folder) == [], os.listdir(folder))
        v.unharmed()


def too_large(place):
    """A limit on files: the signal of it kills, or is an error; the target does not see it."""
    with Staircase(place, lanes=2, pages=1021) as v:
        folder = Folder(place, v)
        for method in METHODS:
            done = subprocess.run(["sh", "-c", 'ulimit -f 512 && exec "$@"', "sh", place.umemctl,
                                   *snapshot_words(v.pid, folder.path, method, "--codec", "none")],
                                  capture_output=True, text=True, timeout=60, check=False)
            check(done.returncode in (1, -signal.SIGXFSZ), method, done.returncode, done.stderr)
            no_orphans([v.pid])
            check(not folder.check(), "there is a new image")
            v.unharmed()


def others_process(place):
    """It is root's: nobody else may, and nothing happens to it."""
    with Staircase(place) as v:
        for method in METHODS:
            err = take(place, v.pid, "/tmp/umem-test-none", method, code=5, user=NOBODY)
            clear_line(err, False)
            check(str(v.pid) in err, err)
        check(not os.path.exists("/tmp/umem-test-none"), "there is an image")
        v.unharmed()


def reader_goes_away(place):
    """Nobody reads what it prints: no reason to leave the target as it is not."""
    for method in METHODS:
        with Staircase(place) as v:
            ctl = start(place, v, os.path.join(place.dir, "unread"), method)
            ctl.stdout.close()
            ctl.wait(timeout=30)
            ctl.stderr.close()
            v.unharmed()


CASES = [killed, interrupted, target_ends, stopped, traced, disk_full, not_writable, too_large,
         others_process, reader_goes_away]

if __name__ == "__main__":
    if os.getuid() != 0:
        print("SKIP: needs root, to mount")
        sys.exit(77)
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    print(f"SEED={seed}")
    random.seed(seed)
    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    wanted = sys.argv[3:]
    main([c for c in CASES if not wanted or c.__name__ in wanted], sys.argv[1], sys.argv[2])
