# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of umemd share: a daemon in a temporary directory, clients, targets."""
import array
import errno
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

NOBODY = 65534
OTHER = 65533
PAGE = 4096


class Failed(Exception):
    pass


class VarlinkError(Exception):
    """An error reply: its name without the interface, and its parameters."""

    def __init__(self, error, parameters):
        super().__init__(f"{error} {parameters}")
        self.name = error.rsplit(".", 1)[1]
        self.error = error
        self.parameters = parameters


def check(cond, *what):
    if not cond:
        raise Failed(" ".join(str(w) for w in what))


def until(seconds, cond, what):
    """Wait until cond() is true."""
    end = time.monotonic() + seconds
    while not cond():
        check(time.monotonic() < end, "not within", seconds, "s:",
              what() if callable(what) else what)
        time.sleep(0.005)


def children(pid, name):
    """Processes of that name whose parent is pid."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", errors="replace") as file:
                head, tail = file.read().rsplit(")", 1)
        except OSError:
            continue
        fields = tail.split()
        if int(fields[1]) == pid and fields[0] != "Z" and head.endswith("(" + name):
            found.append(int(entry))
    return found


class Daemon:
    """umemd with a socket of its own; ended when the block is left."""

    def __init__(self, programs, config="", env=None, user=None):
        self.dir = tempfile.mkdtemp(prefix="umemd-test-")
        os.chmod(self.dir, 0o777)
        self.socket = self.dir + "/socket"
        self.umemd = shutil.copy(programs["umemd"], self.dir)
        self.worker = shutil.copy(programs["worker"], self.dir)
        self.config = self.dir + "/umemd.conf"
        with open(self.config, "w") as file:
            file.write(config)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("UMEM_")}
        self.env.update(env or {})
        self.who = {"user": user, "group": user, "extra_groups": []} if user else {}
        self.log = open(self.dir + "/log", "w+")
        self.words = [self.umemd, "--config", self.config, "--socket", self.socket,
                      "--worker", self.worker, "-v"]
        self.start()

    def start(self):
        before = self.text().count("listening at")
        self.proc = self.spawn()
        self.pid = self.proc.pid
        try:
            until(10, lambda: self.text().count("listening at") > before or
                  self.proc.poll() is not None, "umemd listens")
            check(self.proc.poll() is None, "umemd ended")
        except Failed:
            print(self.text()[-4000:])
            self.close()
            raise

    def spawn(self):
        return subprocess.Popen(self.words, stderr=self.log, env=self.env, **self.who)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print(self.text()[-4000:])
        self.close()

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def text(self):
        if not os.path.exists(self.dir):
            return ""
        with open(self.dir + "/log", errors="replace") as file:
            return file.read()

    def stop(self):
        """End it as a service manager does; its exit code."""
        self.proc.send_signal(signal.SIGTERM)
        return self.proc.wait(30)

    def fds(self):
        """What its descriptors are."""
        found = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                found.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
            except OSError:
                pass
        return sorted(found)

    def n_fds(self):
        return len(self.fds())

    def workers(self):
        # Not the process that attaches, which is umemd itself for a moment.
        return children(self.pid, "umemd-worker")

    def client(self, **more):
        return Client(self.socket, **more)


class Client:
    """A connection, as any Varlink client would have one."""

    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.buffer = b""
        self.fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, method, /, fds=(), more=False, oneway=False, **parameters):
        message = {"method": method, "parameters": parameters}
        if more:
            message["more"] = True
        if oneway:
            message["oneway"] = True
        data = json.dumps(message).encode() + b"\0"
        if fds:
            self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                        array.array("i", fds))])
        else:
            self.sock.sendall(data)

    def receive(self):
        """The next reply: its whole message, and the descriptors that came with it."""
        fds = []
        while b"\0" not in self.buffer:
            data, more, _, _ = socket.recv_fds(self.sock, 65536, 16)
            fds += more
            check(data, "the connection ended")
            self.buffer += data
        data, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(data), fds

    def reply(self):
        message, fds = self.receive()
        if "error" in message:
            for fd in fds:
                os.close(fd)
            raise VarlinkError(message["error"], message.get("parameters"))
        return message, fds

    def call(self, method, /, fds=(), **parameters):
        """Parameters of the reply."""
        self.send(method, fds, **parameters)
        message, got = self.reply()
        self.fds += got
        return message["parameters"]

    def targets(self, method, **parameters):
        """A call; on a machine that is too busy to stop a thread in time it is repeated."""
        for _ in range(5):
            try:
                return self.call("io.umemd.Targets." + method, **parameters)
            except VarlinkError as e:
                if e.name != "Failed" or e.parameters["errno"] != errno.ETIMEDOUT:
                    raise
                last = e
        raise last

    def dirty(self, method, **parameters):
        return self.call("io.umemd.Dirty." + method, **parameters)

    def table(self, target, **more):
        """A round as its numbers and its records (start, end, why)."""
        self.send("io.umemd.Dirty.Collect", target=target, form="table", **more)
        message, fds = self.reply()
        return message["parameters"]["round"], read_table(fds[message["parameters"]["table"]])


def read_table(fd):
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0) if size else b""
    os.close(fd)
    return list(struct.iter_unpack("=QQQ", data))


class Target:
    """A process that checks its own memory (tests/ctl/victim.c)."""

    def __init__(self, programs, mode="plain", user=None):
        who = {"user": user, "group": user, "extra_groups": []} if user else {}
        self.dir = tempfile.mkdtemp(prefix="umemd-victim-")
        os.chmod(self.dir, 0o755)
        self.proc = subprocess.Popen([shutil.copy(programs["victim"], self.dir), mode],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                     **who)
        shutil.rmtree(self.dir)
        words = self.proc.stdout.readline().split()
        check(words and words[0] == "ready", "victim:", words)
        self.pid = int(words[1])
        self.start, self.end = (int(x, 16) for x in words[3].split("-"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.wait()

    def step(self):
        """It checks that its memory is right, and writes all of it again."""
        self.proc.stdin.write("\n")
        self.proc.stdin.flush()
        answer = self.proc.stdout.readline()
        check(answer.startswith("ok"), "the victim's memory is wrong:", answer)

    def left(self):
        """What of ours is in it, or None."""
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            if "userfaultfd" in os.readlink(f"/proc/{self.pid}/fd/{fd}"):
                return "a userfaultfd"
        with open(f"/proc/{self.pid}/smaps") as file:
            for line in file:
                if "-" in line.split()[0]:
                    mapping = line
                if line.startswith("VmFlags:") and {"um", "uw", "ui"} & set(line.split()):
                    return "registered: " + mapping
        with open(f"/proc/{self.pid}/status") as file:
            return None if "TracerPid:\t0\n" in file.read() else "a tracer"

    def is_clean(self):
        """Nothing of ours is left in it."""
        return self.left() is None


WRITER = r"""
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
n, kind, user = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if user:
    # Here, and not before: this program may lie where only root can read.
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
fd = -1
if kind == "memfd":
    fd = os.memfd_create("writer")
    os.ftruncate(fd, n * 4096)
flags = mmap.MAP_SHARED if kind == "memfd" else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
memory = mmap.mmap(fd, n * 4096, flags=flags)
memory.madvise(mmap.MADV_NOHUGEPAGE)
count = 0
def fill(page):
    global count
    count += 1
    memory[page * 4096:(page + 1) * 4096] = bytes([count % 251 + 1]) * 4096
if kind != "empty":
    for page in range(n):
        fill(page)
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
print(hex(at), flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "write":
        for page in words[1:]:
            fill(int(page))
    elif words[0] == "every":
        for page in range(0, n, int(words[1])):
            fill(page)
    elif words[0] == "discard":
        for page in words[1:]:
            memory.madvise(mmap.MADV_DONTNEED, int(page) * 4096, 4096)
    elif words[0] == "punch":
        for page in words[1:]:
            libc.fallocate(fd, 3, ctypes.c_long(int(page) * 4096), ctypes.c_long(4096))
    elif words[0] == "hide":
        libc.prctl(4, 0, 0, 0, 0)
    elif words[0] == "exec":
        os.execv("/bin/sleep", ["sleep", "600"])
    print("ok", flush=True)
"""


class Writer:
    """A process that writes pages of a mapping of its own when it is told to."""

    def __init__(self, n_pages, kind="anonymous", user=None):
        self.n_pages = n_pages
        self.kind = kind
        self.proc = subprocess.Popen([sys.executable, "-c", WRITER, str(n_pages), kind,
                                      str(user or 0)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.at = int(self.proc.stdout.readline(), 16)
        self.pid = self.proc.pid

    __enter__ = Target.__enter__
    __exit__ = Target.__exit__
    close = Target.close
    left = Target.left
    is_clean = Target.is_clean

    def tell(self, *words):
        self.proc.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.proc.stdin.flush()
        if words[0] != "exec":
            check(self.proc.stdout.readline() == "ok\n", "the writer ended")

    def region(self):
        return {"start": self.at, "end": self.at + self.n_pages * PAGE}

    def pages(self, ranges):
        """Pages of the mapping that ranges (start, end, ...) hold."""
        found = set()
        for start, end, *_ in ranges:
            for page in range(max(start, self.at), min(end, self.region()["end"]), PAGE):
                found.add((page - self.at) // PAGE)
        return found

    def content(self):
        with open(f"/proc/{self.pid}/mem", "rb") as file:
            file.seek(self.at)
            return file.read(self.n_pages * PAGE)


class as_user:
    """Run the block as another user, as far as connecting goes."""

    def __init__(self, uid):
        self.uid = uid

    def __enter__(self):
        os.setgroups([])
        os.setresgid(self.uid, self.uid, 0)
        os.setresuid(self.uid, self.uid, 0)

    def __exit__(self, *_):
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


def main_with_swap(cases, argv):
    """As main(), with swap on; argv has the program that puts it on behind the others."""
    hold = subprocess.Popen([argv[5], "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True)
    try:
        line = hold.stdout.readline()
        if not line.startswith("{"):
            print(line.strip() or "SKIP: no swap")
            sys.exit(77)
        main(cases, argv[:5])
    finally:
        hold.stdin.close()
        hold.stdout.close()
        hold.wait()


def error_of(function, /, *args, **more):
    """The error that a call must end with."""
    try:
        got = function(*args, **more)
    except VarlinkError as e:
        return e
    raise Failed(f"no error, but {got}")


def main(cases, argv):
    """Run functions of (programs), print what failed, exit as test programs do."""
    programs = dict(zip(("umemd", "worker", "victim", "umemctl"), argv[1:]))
    only = os.environ.get("CASE")
    failed = skipped = 0
    if os.geteuid() != 0:
        print("SKIP: needs root")
        sys.exit(77)
    for case in cases:
        if only and case.__name__ != only:
            continue
        try:
            why = case(programs)
            print(f"{'SKIP' if why else 'ok  '} {case.__name__} {why or ''}")
            skipped += bool(why)
        except (Failed, VarlinkError, OSError, ValueError, KeyError,
                subprocess.SubprocessError) as e:
            print(f"FAIL {case.__name__}: {type(e).__name__} {e}")
            failed += 1
    print(f"{len(cases)} cases, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
