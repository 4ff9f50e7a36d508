# SPDX-License-Identifier: LGPL-2.1-or-later
"""CRIU's images, by hand: from the numbers of the format, not from what writes them."""
import os
import struct

PAGE = 4096
COMMON, SERVICE = 0x54564319, 0x55105940
PAGEMAP, MM, PSTREE, STATS, CORE, FILES = (0x56084025, 0x57492820, 0x50273030, 0x57093306,
                                           0x55053847, 0x56303138)
INVENTORY = 0x58313116
PARENT, LAZY, PRESENT = 1, 2, 4


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def message(data):
    """{number: [values]} of one message; nested ones stay bytes."""
    fields = {}
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            assert at + length <= len(data)
            value = data[at:at + length]
            at += length
        else:
            raise AssertionError(f"wire type {key & 7}")
        fields.setdefault(key >> 3, []).append(value)
    return fields


def records(path, *magic):
    """The messages of a file that begins with these numbers."""
    with open(path, "rb") as file:
        data = file.read()
    assert struct.unpack_from(f"<{len(magic)}I", data) == magic, path
    at = 4 * len(magic)
    found = []
    while at < len(data):
        length, = struct.unpack_from("<I", data, at)
        at += 4
        assert at + length <= len(data), path
        found.append(message(data[at:at + length]))
        at += length
    return found


class Pagemap:
    """One pagemap with its pages, and those of the parent directories."""

    def __init__(self, folder, name):
        head, *entries = records(os.path.join(folder, name), COMMON, PAGEMAP)
        self.entries = []
        with open(os.path.join(folder, f"pages-{head[1][0]}.img"), "rb") as file:
            self.pages = file.read()
        self.where = {}
        at = 0
        for entry in entries:
            vaddr, flags = entry[1][0], entry[4][0]
            # The older count must do as well: it is what older versions read.
            count, = entry[5]
            assert entry[2] == [count if count < 1 << 32 else 0], entry
            assert flags in (PARENT, PRESENT), flags
            assert (flags == PARENT) == (entry.get(3) == [1]), entry
            if self.entries:
                assert vaddr >= self.entries[-1][0] + self.entries[-1][1] * PAGE
            self.entries.append((vaddr, count, flags))
            for i in range(count):
                self.where[vaddr + i * PAGE] = at if flags == PRESENT else None
                at += PAGE if flags == PRESENT else 0
        assert at == len(self.pages), "pages that no entry has"
        up = os.path.join(folder, "parent")
        self.parent = None
        if any(flags == PARENT for _, _, flags in self.entries):
            self.parent = Pagemap(up, name)

    def page(self, vaddr):
        """Bytes, or None for one that is not there."""
        if vaddr not in self.where:
            return None
        at = self.where[vaddr]
        if at is None:
            found = self.parent.page(vaddr)
            assert found is not None, f"{vaddr:#x} is not in the parent"
            return found
        return self.pages[at:at + PAGE]


class Images:
    """The processes of a directory."""

    def __init__(self, folder):
        self.folder = folder
        assert records(os.path.join(folder, "inventory.img"), INVENTORY)[0][1] == [2]
        self.tree = {task[1][0]: task for task in
                     records(os.path.join(folder, "pstree.img"), COMMON, PSTREE)}
        self.files = {file[2][0]: message(file[3][0])[6][0].decode() for file in
                      records(os.path.join(folder, "files.img"), COMMON, FILES)}
        self.stats = message(records(os.path.join(folder, "stats-dump"), SERVICE,
                                     STATS)[0][1][0])

    def vmas(self, pid):
        mm, = records(os.path.join(self.folder, f"mm-{pid}.img"), COMMON, MM)
        return [{key: value[0] for key, value in message(vma).items()} for vma in mm[14]]

    def core(self, tid):
        return records(os.path.join(self.folder, f"core-{tid}.img"), COMMON, CORE)[0]

    def pagemap(self, pid):
        return Pagemap(self.folder, f"pagemap-{pid}.img")

    def segment(self, shmid):
        return Pagemap(self.folder, f"pagemap-shmem-{shmid}.img")
