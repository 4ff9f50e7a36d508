#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients of the metrics that do not behave: umemd serves on, has no more connections than it
allows, and gives everything back."""
import os
import random
import socket
import sys
import time

from daemontest import Daemon, Writer, check, main, until
from metrics import Measured, free_port
from openmetrics import Metrics, connect, read_all, request, split_reply

# As in daemon/http.c.
TURN = 10
AT_MOST = 64
QUIET = 5

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class Serves:
    """All the time in this block umemd answers its clients; behind it nothing is left."""

    def __init__(self, d, address=None):
        self.d = d
        self.address = address or d.address

    def __enter__(self):
        Metrics(self.address)
        self.client = self.d.client()
        self.answers()
        time.sleep(0.1)
        self.fds = self.d.n_fds()
        return self

    def answers(self):
        begin = time.monotonic()
        self.client.call("org.varlink.service.GetInfo")
        took = time.monotonic() - begin
        check(took < 2, "an answer took", took)

    def wait(self, seconds, cond, what):
        """Until cond() is true; meanwhile it answers."""
        end = time.monotonic() + seconds
        while not cond():
            check(time.monotonic() < end, "not within", seconds, "s:", what)
            self.answers()
            time.sleep(0.05)

    def __exit__(self, kind, *_):
        if kind:
            return
        # Whatever was done, it is there again when two turns are over.
        until(2 * TURN + 10, lambda: self.d.n_fds() <= self.fds,
              lambda: f"descriptors: {self.d.fds()}")
        self.answers()
        Metrics(self.address)
        self.client.close()


def replies(address, data, end=True):
    """What comes back for these bytes."""
    with connect(address) as sock:
        try:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
            return read_all(sock)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def garbage(programs):
    """What is no request gets an error, or nothing."""
    seed = int(os.environ.get("SEED", time.time_ns() % 10**9))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    cases = [b"", b"\r\n\r\n", b"GET", b"GET /metrics", b"GET /metrics\r\n\r\n",
             b"GET /metrics HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
             b"GET  /metrics  HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/1.1\nHost: x\n\n",
             b"GET http://\xff\xfe/metrics HTTP/1.1\r\n\r\n",
             b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
             b"GET /metrics HTTP/1.1\r\n" + b"A: " + b"x" * 100000 + b"\r\n\r\n",
             b"GET /metrics HTTP/1.1\r\n" + b"A: x\r\n" * 20000 + b"\r\n",
             b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nx",
             b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
             b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nx",
             b"GET /metrics HTTP/1.1\r\n: x\r\n\r\n", b"GET /metrics HTTP/1.1\r\n x\r\n\r\n",
             b"GET /metrics HTTP/1.1\r\nA\0B: x\r\n\r\n", b"\0" * 50000]
    cases += [rng.randbytes(rng.randrange(1, 400)) for _ in range(20)]
    for _ in range(20):
        data = bytearray(GET)
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cases.append(bytes(data))
    with Measured(programs) as d, Serves(d) as serves:
        for data in cases:
            got = replies(d.address, data)
            if got.startswith(b"HTTP/") and b"\r\n\r\n" in got:
                status = split_reply(got)[0]
                check(status in (200, 400, 404, 405, 413, 417, 501), data[:60], got[:60])
            serves.answers()


def pipelined(programs):
    """One reply, whatever comes behind the first request."""
    with Measured(programs) as d, Serves(d):
        with connect(d.address) as sock:
            sock.sendall(GET * 20)
            status, headers, body = split_reply(read_all(sock))
            check(status == 200 and len(body) == int(headers["content-length"]), status)
        with connect(d.address) as sock:
            try:
                for _ in range(1000):
                    sock.sendall(GET * 100)
            except (BrokenPipeError, ConnectionResetError):
                pass
        # One that closes its end at once gets its reply.
        check(split_reply(replies(d.address, GET))[0] == 200, "half closed")


def silent(programs):
    """Who says nothing is closed soon; who says a byte now and then, too, only later."""
    with Measured(programs) as d, Serves(d) as serves:
        mute = [connect(d.address) for _ in range(10)]
        drips = [connect(d.address) for _ in range(10)]
        begin = time.monotonic()
        at = 0

        def ended(sock):
            sock.setblocking(False)
            try:
                return sock.recv(100) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        def drip():
            nonlocal at
            now = int(time.monotonic() - begin)
            for sock in drips:
                try:
                    if now > at:
                        sock.send(b"GET /metrics HTTP/1.1\r\nAAAAAAAAAAAAAAAAAA: "[at:at + 1])
                except OSError:
                    pass
            at = max(at, now)
            return all(ended(s) for s in drips)
        serves.wait(QUIET + 3, lambda: drip() or all(ended(s) for s in mute), "mute")
        check(all(ended(s) for s in mute), "mute ones are there")
        check(time.monotonic() - begin > QUIET - 1, "too soon")
        serves.wait(2 * TURN + 3, drip, "dripping ones are there")
        for sock in mute + drips:
            sock.close()


def many(programs):
    """Never more connections than there may be; and everybody has a turn."""
    with Measured(programs) as d, Serves(d) as serves:
        socks = []
        for _ in range(AT_MOST * 2 + 100):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                sock.connect(d.address)
            except BlockingIOError:  # as many wait as may
                sock.close()
                break
            socks.append(sock)
        check(len(socks) >= AT_MOST, len(socks))
        most = 0
        end = time.monotonic() + TURN + 2
        while time.monotonic() < end:
            serves.answers()
            most = max(most, d.n_fds() - serves.fds)
            time.sleep(0.02)
        # One of the first turn was that of looking before.
        check(AT_MOST - 1 <= most <= 2 * AT_MOST, "connections:", most)
        for sock in socks:
            sock.close()
        check(request(d.address, timeout=3 * TURN)[0] == 200, "served again")


def one_by_one(programs):
    """More than may be there at a time are served when they come one after the other."""
    address = f"127.0.0.1:{free_port()}"
    with Daemon(programs, config=f"[Metrics]\nListen={address}\n") as d, \
            Serves(d, address) as serves, Writer(4):
        for _ in range(AT_MOST + 20):
            check(request(address, timeout=2 * TURN + 5)[0] == 200, "served")
            serves.answers()


def ending(programs):
    """umemd ends while they are there."""
    with Measured(programs) as d:
        socks = [connect(d.address) for _ in range(10)]
        for sock in socks[:5]:
            sock.sendall(GET[:-2])
        check(d.stop() == 0, "exit code")
        for sock in socks:
            try:
                check(read_all(sock) == b"", "a reply")
            except ConnectionResetError:
                pass
            sock.close()
        check(not os.path.exists(d.address), "the socket is left")


main([garbage, pipelined, silent, many, one_by_one, ending], sys.argv)
