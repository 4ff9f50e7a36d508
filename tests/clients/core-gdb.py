# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cores for gdb: of a program of which everything is known, beside those of gcore; of a
Redis server under load; of a Python interpreter.

usage: core-gdb.py UMEMCTL CORE_VICTIM [CASE...]
"""
import difflib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ctl"))
# pylint: disable=wrong-import-position
from ctltest import check, main  # noqa: E402
from snaptest import METHODS, Traces, status, take, until  # noqa: E402

N_THREADS = 6
RESTS = ("rest_in_read", "rest_in_cond", "rest_in_sleep", "spin_here")

# All that gdb can tell of a core, thread by thread.
EVERYTHING = ("info threads", "thread apply all bt full", "thread apply all info registers",
              "thread apply all info float", "thread apply all print $mxcsr",
              *(f"thread apply all print $xmm{i}.v2_int64" for i in (0, 1, 2, 7, 15)),
              "thread apply all print own_number",
              "print known", "print *known.list", "print *known.list->next->next", "print spins",
              "print large[77]", "print large[262143]", "info auxv", "x/64xg $sp",
              "x/32i main", "info sharedlibrary", "info proc mappings")


def gdb(program, core, *commands):
    """What gdb prints for each command, in order."""
    words = ["gdb", "-batch", "-nx", "-iex", "set auto-load no", "-iex",
             "set auto-load libthread-db on", "-iex", "set debuginfod enabled off", "-ex",
             "set pagination off", "-ex", "set width 0", "-ex", "set print thread-events off"]
    for command in commands:
        words += ["-ex", f"echo \\n<<{command}>>\\n", "-ex", command]
    done = subprocess.run([*words, program, core], capture_output=True, text=True, timeout=120,
                          check=False, stdin=subprocess.DEVNULL)
    check(done.returncode == 0, "gdb ended with", done.returncode, done.stderr)
    check("warning: core file may not match" not in done.stderr, done.stderr)
    check("truncated" not in done.stderr, done.stderr)
    parts = re.split(r"\n<<.*?>>\n", done.stdout)
    check(len(parts) == len(commands) + 1, "gdb printed", len(parts), "parts")
    return parts[1:]


def stacks(text):
    """Names of the functions of each thread, innermost first."""
    found = []
    for part in re.split(r"^Thread \d+ \(", text, flags=re.M)[1:]:
        found.append(re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?([^ ]+) \(", part, flags=re.M))
    return found


class Known:
    """The program of which everything is known."""

    def __init__(self, program):
        self.proc = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True)
        check(self.proc.stdout.readline().split() == ["ready", str(self.proc.pid)])
        self.pid = self.proc.pid
        # Threads say that they are there a moment before they are at rest.
        time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.wait()


def known_stacks(text):
    """Each thread is where it is known to be, so deep."""
    found = stacks(text)
    check(len(found) == N_THREADS + 1, len(found), "threads:", text)
    got = {}
    for functions in found:
        if "main" in functions:
            continue
        rest = [f for f in functions if f in RESTS]
        check(len(rest) == 1 and "run_thread" in functions, functions)
        got[functions.count("descend") - 2] = rest[0]
    check(got == {n: RESTS[n % 4] for n in range(N_THREADS)}, got)


def known_values(texts):
    check("magic = 1234605616436508552, ratio = 2.5, text = \"the moment" in texts[0], texts[0])
    check('number = 3, text = "node 3' in texts[1], texts[1])
    check(f"= {77 * 0x9e3779b97f4a7c15 % 2 ** 64}" in texts[2], texts[2])
    own = sorted(int(x) for x in re.findall(r"^\$\d+ = (\d+)$", texts[3], flags=re.M))
    check(own == sorted([999, *range(1000, 1000 + N_THREADS)]), texts[3])


def running(place):
    """Of a program that runs, by each method, directly and from an image."""
    for method in METHODS:
        with Known(place.victim) as known:
            traces = Traces(known.pid)
            core, image = (os.path.join(place.dir, name) for name in ("core", "image"))
            take(place, known.pid, core, method, "--format", "core")
            take(place, known.pid, image, method)
            done = place.run("image", "export", image, "--format", "core", "-o", core + "2")
            check(done.returncode == 0, done.stderr)
            for one in (core, core + "2"):
                out = gdb(place.victim, one, "thread apply all bt", "print known",
                          "print *known.list->next->next", "print large[77]",
                          "thread apply all print own_number", "info threads")
                known_stacks(out[0])
                known_values(out[1:])
            traces.check()


# Where gdb does not know how this processor lays them out; of the kernel's own cores as well.
UNKNOWN = re.compile(r"^k[0-7] +<unavailable>$")


def same(command, ours, theirs):
    """Line by line. gcore lists what is no file as well; what it says of k0 is a guess."""
    ours, theirs = ([line for line in text.split("\n") if "[v" not in line]
                    if command == "info proc mappings" else text.split("\n")
                    for text in (ours, theirs))
    return len(ours) == len(theirs) and all(a == b or UNKNOWN.match(a)
                                            for a, b in zip(ours, theirs))


def difference(ours, theirs):
    return "\n".join(difflib.unified_diff(theirs.split("\n"), ours.split("\n"), "gcore", "ours",
                                         lineterm="", n=1))


def beside_gcore(place):
    """Of one stopped moment, gdb tells the same of our core as of gcore's, in every word."""
    if not shutil.which("gcore"):
        return "gcore is not installed (package gdb)"
    for method in METHODS:
        with Known(place.victim) as known:
            os.kill(known.pid, signal.SIGSTOP)
            until(lambda: status(known.pid, "State")[0] == "T", "it does not stop")
            core, prefix = (os.path.join(place.dir, name) for name in ("core", "gcore"))
            done = subprocess.run(["gcore", "-o", prefix, str(known.pid)], capture_output=True,
                                  text=True, timeout=60, check=False)
            check(done.returncode == 0, done.stderr)
            take(place, known.pid, core, method, "--format", "core")
            ours = gdb(place.victim, core, *EVERYTHING)
            theirs = gdb(place.victim, f"{prefix}.{known.pid}", *EVERYTHING)
            for command, a, b in zip(EVERYTHING, ours, theirs):
                check(same(command, a, b), method, command, "differs:", difference(a, b))
    return None


def redis_command(sock, text):
    sock.sendall(text.encode() + b"\r\n")
    return sock.recv(65536).decode()


def redis(place):
    """A server under load: its threads are in its functions, its data is there."""
    if not shutil.which("redis-server") or not shutil.which("redis-benchmark"):
        return "redis-server is not installed (packages redis-server, redis-tools)"
    path = os.path.join(place.dir, "redis")
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                               "--appendonly", "no", "--dir", place.dir],
                              stdout=subprocess.DEVNULL)
    load = None
    try:
        until(lambda: os.path.exists(path), "the server does not come up")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            for i in range(100):
                value = f"the-value-{i}-" + "v" * 200
                check(redis_command(sock, f"SET known:{i} {value}") == "+OK\r\n")
            load = subprocess.Popen(["redis-benchmark", "-s", path, "-t", "set,lpush,hset", "-r",
                                     "20000", "-d", "300", "-c", "6", "-n", "100000000", "-q"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            traces_of = len(os.listdir(f"/proc/{server.pid}/task"))
            for method in METHODS:
                core = os.path.join(place.dir, "core")
                take(place, server.pid, core, method, "--format", "core")
                redis_core(shutil.which("redis-server"), core, traces_of)
                check(redis_command(sock, "GET known:7").endswith("v\r\n"))
                check(status(server.pid, "TracerPid") == "0")
    finally:
        for proc in (load, server):
            if proc:
                proc.kill()
                proc.wait()
    return None


def redis_core(program, core, n_threads):
    out = gdb(os.path.realpath(program), core, "thread apply all bt", "info threads",
              "info sharedlibrary")
    found = stacks(out[0])
    check(len(found) == n_threads, len(found), "threads, not", n_threads, out[0])
    mains = [f for f in found if "main" in f and "aeMain" in f]
    check(len(mains) == 1, "the main thread:", out[0])
    # Its helpers wait for jobs.
    waiting = [f for f in found if any("pthread_cond_wait" in x or "futex" in x for x in f)]
    check(len(waiting) >= 3, out[0])
    check("libc.so.6" in out[2], out[2])
    with open(core, "rb") as file:
        data = file.read()
    missing = [i for i in range(100) if f"the-value-{i}-vvv".encode() not in data]
    check(not missing, "values that are not in the core:", missing)


SCRIPT = """
import sys, threading, time
known = bytearray(b"the bytes of the moment " * 1000)
def deeper(n):
    if n:
        return deeper(n - 1)
    sys.stdin.readline()
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
import ctypes
at = ctypes.addressof((ctypes.c_char * len(known)).from_buffer(known))
print(at, flush=True)
deeper(20)
"""


def python(place):
    """An interpreter: its own C frames, and bytes of an object where it said they are."""
    program = os.path.realpath("/usr/bin/python3")
    if not os.path.exists(program):
        return "there is no /usr/bin/python3"
    proc = subprocess.Popen([program, "-S", "-c", SCRIPT], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    try:
        at = int(proc.stdout.readline())
        until(lambda: status(proc.pid, "State")[0] == "S", "it does not come to rest")
        for method in METHODS:
            core = os.path.join(place.dir, "core")
            take(place, proc.pid, core, method, "--format", "core")
            out = gdb(program, core, "thread apply all bt", f"x/s {at + 24 * 999}",
                      "info sharedlibrary")
            found = stacks(out[0])
            check(len(found) == 2, len(found), "threads", out[0])
            for names in found:
                check(any("Py" in name for name in names), names)
            check(any("Py_BytesMain" in names for names in found), out[0])
            check('"the bytes of the moment ' in out[1], out[1])
            check("libc.so.6" in out[2], out[2])
    finally:
        proc.kill()
        proc.stdin.close()
        proc.stdout.close()
        proc.wait()
    return None


CASES = [running, beside_gcore, redis, python]

if __name__ == "__main__":
    if os.getuid() != 0 or not shutil.which("gdb"):
        print("SKIP: needs root, and gdb (package gdb)")
        sys.exit(77)
    wanted = sys.argv[3:]
    main([c for c in CASES if not wanted or c.__name__ in wanted], sys.argv[1], sys.argv[2])
