# SPDX-License-Identifier: LGPL-2.1-or-later
"""Swap for the time of a test."""
import ctypes
import struct

from ctltest import check

libc = ctypes.CDLL(None, use_errno=True)


class Swap:
    """Swap on a zram device of our own."""

    def __init__(self, size_bytes=64 << 20):
        self.size_bytes = size_bytes

    def __enter__(self):
        with open("/sys/class/zram-control/hot_add") as file:
            self.id = int(file.read())
        self.path = f"/dev/zram{self.id}"
        self.write(f"/sys/block/zram{self.id}/disksize", str(self.size_bytes))
        with open(self.path, "r+b", buffering=0) as dev:
            page = bytearray(4096)
            page[1024:1036] = struct.pack("=III", 1, self.size_bytes // 4096 - 1, 0)
            page[4086:] = b"SWAPSPACE2"
            dev.write(page)
        check(libc.swapon(self.path.encode(), 0x8000 | 31000) == 0, "swapon")
        return self

    def __exit__(self, *_):
        libc.swapoff(self.path.encode())
        self.write(f"/sys/block/zram{self.id}/reset", "1")
        self.write("/sys/class/zram-control/hot_remove", str(self.id))

    @staticmethod
    def write(path, text):
        with open(path, "w") as file:
            file.write(text)
