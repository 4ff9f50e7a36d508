# SPDX-License-Identifier: LGPL-2.1-or-later
"""An ELF core, by hand: from the layout of the format, not from what writes it."""
import struct

PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xffff
NT_PRSTATUS, NT_FPREGSET, NT_PRPSINFO, NT_AUXV = 1, 2, 3, 6
NT_FILE = 0x46494c45
PAGE = 4096


class Core:
    """Segments, notes and memory of a core file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        head = struct.unpack_from("<16sHHIQQQIHHHHHH", self.data)
        (ident, kind, self.machine, _, _, phoff, shoff, _, ehsize, phentsize, phnum,
         shentsize, shnum, _) = head
        assert ident[:7] == b"\x7fELF\x02\x01\x01", ident
        assert kind == 4 and ehsize == 64 and phentsize == 56
        if phnum == PN_XNUM:
            assert shnum == 1 and shentsize == 64
            phnum = struct.unpack_from("<IIQQQQIIQQ", self.data, shoff)[7]
        self.loads = []
        self.notes = []
        for i in range(phnum):
            (kind, flags, offset, vaddr, _, filesz, memsz,
             align) = struct.unpack_from("<IIQQQQQQ", self.data, phoff + i * 56)
            assert offset + filesz <= len(self.data), "a segment past the end"
            if kind == PT_LOAD:
                assert align == PAGE and offset % PAGE == vaddr % PAGE == 0
                assert filesz <= memsz and memsz % PAGE == 0
                self.loads.append((vaddr, memsz, filesz, offset, flags))
            elif kind == PT_NOTE:
                self._notes(offset, filesz)
        assert self.loads == sorted(self.loads)

    def _notes(self, at, length):
        end = at + length
        while at < end:
            name_len, desc_len, kind = struct.unpack_from("<III", self.data, at)
            at += 12
            name = self.data[at:at + name_len]
            assert name.endswith(b"\0")
            at += (name_len + 3) // 4 * 4
            self.notes.append((name[:-1].decode(), kind, self.data[at:at + desc_len]))
            at += (desc_len + 3) // 4 * 4
        assert at == end

    def load_of(self, addr):
        """The segment of an address, or None."""
        for load in self.loads:
            if load[0] <= addr < load[0] + load[1]:
                return load
        return None

    def page(self, addr):
        """Bytes; None in a segment that has none of them there; False in no segment."""
        load = self.load_of(addr)
        if load is None:
            return False
        vaddr, _, filesz, offset, _ = load
        at = addr - vaddr
        if at >= filesz:
            return None
        return self.data[offset + at:offset + at + PAGE]

    def threads(self):
        """(tid, registers) in the order of the notes."""
        return [(struct.unpack_from("<i", desc, 32)[0],
                 struct.unpack_from("<27Q", desc, 112)) for _, kind, desc in self.notes
                if kind == NT_PRSTATUS]

    def files(self):
        """(start, end, offset in bytes, path) of NT_FILE."""
        for _, kind, desc in self.notes:
            if kind != NT_FILE:
                continue
            count, page = struct.unpack_from("<QQ", desc)
            names = desc[16 + 24 * count:].split(b"\0")
            assert names.pop() == b"" and len(names) == count
            return [struct.unpack_from("<QQ", desc, 16 + 24 * i) +
                    (struct.unpack_from("<Q", desc, 32 + 24 * i)[0] * page, names[i].decode())
                    for i in range(count)]
        return []
