# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exports of random images, read by readers of their own, are what the memory was.

usage: roundtrip.py MAKER [SEED...]
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from criuread import Images
from elfcore import NT_AUXV, NT_FPREGSET, NT_PRPSINFO, NT_PRSTATUS, Core

PAGE = 4096
ZEROS = bytes(PAGE)
N_SEEDS = 6


def check(cond, *what):
    if not cond:
        raise AssertionError(" ".join(str(part) for part in what))


class Memory:
    """What a generation is: each page of each process."""

    def __init__(self, generation):
        self.generation = generation
        with open(f"{generation}.json", encoding="utf-8") as file:
            self.processes = json.load(file)["processes"]

    def pages(self, process):
        """(region, address, offset in the raw file, state, bytes); None: not in that"""
        with open(f"{self.generation}-{process['pid']}.bin", "rb") as file:
            at = 0
            for region in process["regions"]:
                in_raw = not of_kernel(region)
                for i in range(region["pages"]):
                    yield (region, region["start"] + i * PAGE, at if in_raw else None,
                           region["states"][i], file.read(PAGE))
                    at += PAGE if in_raw else 0


def of_kernel(region):
    return region["kind"] == "special"


def of_file(region):
    return region["kind"].startswith("file")


def check_core_page(core, embed, region, addr, state, content):
    have = core.page(addr)
    if state == "U":
        check(have is False, hex(addr), "is in a segment, and nobody knows it")
        return
    check(have is not False, hex(addr), "is in no segment")
    load = core.load_of(addr)
    check(load[4] == (region["flags"] & 1) << 2 | (region["flags"] & 2) |
          (region["flags"] & 4) >> 2, "permissions", load, region)
    if have is not None:
        check(have == content, hex(addr), state, "differs")
    elif state == "F":
        # the first page of an ELF object is there
        check(not embed, hex(addr), "is not embedded")
        check(region["offset"] or addr != region["start"], "no ELF header at", hex(addr))
    else:
        # what was never written, in memory that no file has
        check(state == "Z" and set(region["states"]) <= {"Z", "U"} and not region["path"],
              hex(addr), state, "is not there")


def check_core(memory, process, name, embed):
    core = Core(name)
    for region, addr, _, state, content in memory.pages(process):
        check_core_page(core, embed, region, addr, state, content)
    mapped = sum(load[1] for load in core.loads)
    known = sum(len(region["states"]) - region["states"].count("U")
                for region in process["regions"])
    check(mapped == known * PAGE, "more is mapped than there is")
    pid, n = process["pid"], process["threads"]
    # the thread that was asked for is first: the last one
    order = [n - 1] + [i for i in range(n) if i != n - 1]
    check(core.threads() == [(pid + i, tuple(1000 * (i + 1) + k for k in range(27)))
                             for i in order], "threads")
    kinds = [kind for _, kind, _ in core.notes]
    check(kinds[:2] == [NT_PRSTATUS, NT_PRPSINFO], kinds)
    check(kinds.count(NT_FPREGSET) == n and kinds.count(NT_AUXV) == 1, kinds)
    check(core.files() == [
        (region["start"], region["start"] + region["pages"] * PAGE, region["offset"],
         region["path"]) for region in process["regions"] if region["path"][:1] == "/"],
        "NT_FILE")
    # pages of zeros take no room
    stat = os.stat(name)
    stored = sum(state in "DW" or state == "F" and embed
                 for _, _, _, state, _ in memory.pages(process))
    head = (core.loads[0][3] if core.loads else stat.st_size) + len(core.loads) * PAGE
    check(stat.st_blocks * 512 <= stored * PAGE + head + 16 * PAGE, "zeros are stored")


def data_pages(fd, length):
    """Offsets of pages that are data."""
    at = 0
    while at < length:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield from range(start // PAGE * PAGE, at, PAGE)


def read_raw(name):
    with open(name, "rb") as file:
        content = file.read()
        return content, set(data_pages(file.fileno(), len(content)))


def check_extents(process, name):
    with open(name + ".extents", encoding="utf-8") as file:
        have = [tuple(int(word) for word in line.split()) for line in file]
    at, want = 0, []
    for region in process["regions"]:
        if of_kernel(region):
            continue
        length = region["pages"] * PAGE
        want.append((process["pid"], region["start"], region["start"] + length, at))
        at += length
    check(have == want, "extents", have, want)


def check_raw(memory, process, name):
    content, data = read_raw(name)
    n = 0
    for _, addr, at, state, page in memory.pages(process):
        if at is None:
            continue
        check(content[at:at + PAGE] == page, hex(addr), state, "differs")
        check((at in data) == (state in "DWF"), hex(addr), state, "hole or not")
        n += 1
    check(len(content) == n * PAGE, "length")
    check_extents(process, name)


def check_diff(memory, before, process, then, name):
    """Over the parent's file it gives this one's; and no more than changed is in it."""
    content, data = read_raw(name)
    merged = bytearray(read_raw(f"{before.generation}-{process['pid']}.raw")[0])
    check(len(merged) == len(content), "another length")
    for at in data:
        merged[at:at + PAGE] = content[at:at + PAGE]
    old = {addr: (state, page) for _, addr, _, state, page in before.pages(then)}
    for _, addr, at, state, page in memory.pages(process):
        if at is None:
            continue
        check(merged[at:at + PAGE] == page, hex(addr), state, "differs")
        if old[addr] == (state, page) and state in "ZFU":
            check(at not in data, hex(addr), "did not change")
    check_extents(process, name)


def check_criu_page(images, pagemap, vma, region, addr, state, content):
    if region["segment"] >= 0:
        check(vma[7] & 1 << 8, "status", vma)
        have = images.segment(vma[4]).page(addr - vma[1] + vma[3])
        check(pagemap.page(addr) is None, "shared memory among private")
    else:
        have = pagemap.page(addr)
    if state in "DW":
        check(have == content, hex(addr), state, "differs")
    elif state == "Z" and of_file(region):
        check(have == ZEROS, hex(addr), "would be the file's")
    elif state == "Z":
        check(have is None, hex(addr), "zeros that are stored")
    else:
        check(have is None, hex(addr), state, "is there")


def check_criu(memory, name):
    images = Images(name)
    check(set(images.tree) == {process["pid"] for process in memory.processes}, "processes")
    seen = {0}
    for pid, task in images.tree.items():
        check(task[2][0] in seen, "a child before its parent")
        seen.add(pid)
    n_segments = {}
    for process in memory.processes:
        pagemap = images.pagemap(process["pid"])
        vmas = images.vmas(process["pid"])
        check(images.tree[process["pid"]][5] == [process["pid"] + i for i in
                                                 range(process["threads"])], "threads")
        check(len(vmas) == len(process["regions"]), "mappings")
        by_start = {vma[1]: vma for vma in vmas}
        segments = {}
        for region, addr, _, state, content in memory.pages(process):
            vma = by_start[region["start"]]
            check(vma[2] == vma[1] + region["pages"] * PAGE, "end", vma)
            check(vma[5] == region["flags"] & 7, "prot", vma)
            check(vma[6] & 3 == (1 if region["flags"] & 8 else 2), "flags", vma)
            if of_file(region):
                check(vma[3] == region["offset"] and images.files[vma[4]] == region["path"],
                      "file", vma)
            if region["segment"] >= 0:
                # one segment is one number, of whoever maps it
                check(n_segments.setdefault(region["segment"], vma[4]) == vma[4], "shmid")
                if vma[4] not in segments:
                    segments[vma[4]] = images.segment(vma[4])
            check_criu_page(Cached(segments), pagemap, vma, region, addr, state, content)
        for i in range(process["threads"]):
            check_thread(images.core(process["pid"] + i), i)


class Cached:
    """Segments that were read."""

    def __init__(self, segments):
        self.segments = segments

    def segment(self, shmid):
        return self.segments[shmid]


def check_thread(core, i):
    from criuread import message
    check(core[1] == [1], "machine")
    info = message(core[2][0])
    regs = message(info[2][0])
    check([regs[k + 1][0] for k in range(27)] == [1000 * (i + 1) + k for k in range(27)],
          "registers")
    check(message(info[3][0])[7][0] == 0x01010101 * (i + 1), "mxcsr")
    check((4 in core) is False and (3 in core) == (i == 0), "of the process")
    if i == 0:
        check(message(core[3][0])[6] == [b"a thread"], "name")


def check_crit(folder):
    """CRIU's own tool reads the same. Return: whether it is there."""
    crit = shutil.which("crit")
    if not crit:
        return False
    for name in sorted(os.listdir(folder)):
        if name.startswith("pages-") or name in ("parent", "umemd-image-id"):
            continue
        done = subprocess.run([crit, "decode", "-i", os.path.join(folder, name)],
                              capture_output=True, text=True, check=False)
        check(done.returncode == 0, "crit:", name, done.stderr[-300:])
        decoded = json.loads(done.stdout)
        if not name.startswith("pagemap-"):
            continue
        from criuread import Pagemap
        want = Pagemap(folder, name)
        have = [(e["vaddr"], e["nr_pages"], e["flags"]) for e in decoded["entries"][1:]]
        check(have == want.entries, "crit sees another pagemap", name)
    done = subprocess.run([crit, "x", folder, "mems"], capture_output=True, text=True,
                          check=False)
    check(done.returncode == 0, "crit x mems:", done.stderr[-300:])
    return True


def one_seed(maker, seed, with_crit):
    place = tempfile.mkdtemp(prefix="umem-test-formats-")
    here = os.getcwd()
    try:
        done = subprocess.run([maker, place, str(seed)], capture_output=True, text=True,
                              check=False)
        check(done.returncode == 0, "maker:", done.stdout, done.stderr)
        os.chdir(place)
        before = None
        diffs = 0
        for generation in range(3):
            memory = Memory(generation)
            for i, process in enumerate(memory.processes):
                base = f"{generation}-{process['pid']}"
                check_core(memory, process, base + ".core", False)
                check_core(memory, process, base + "-embed.core", True)
                check_raw(memory, process, base + ".raw")
                if os.path.exists(base + ".diff"):
                    check_diff(memory, before, process, before.processes[i], base + ".diff")
                    diffs += 1
            for name in (f"{generation}.criu", f"{generation}.criu-whole"):
                check_criu(memory, name)
                if with_crit and generation < 2:
                    with_crit = check_crit(name)
            before = memory
        return diffs, with_crit
    finally:
        os.chdir(here)
        shutil.rmtree(place, ignore_errors=True)


def main():
    seeds = [int(seed, 0) for seed in sys.argv[2:]]
    if not seeds:
        first = int(os.environ.get("SEED", str(time.time_ns())), 0)
        seeds = [first + i for i in range(N_SEEDS)]
    diffs = 0
    for i, seed in enumerate(seeds):
        print(f"SEED={seed}", flush=True)
        n, crit = one_seed(os.path.abspath(sys.argv[1]), seed, i == 0)
        diffs += n
        if i == 0 and not crit:
            print("no crit here: CRIU's own tool did not read along")
    check(diffs > 0 or len(seeds) < N_SEEDS, "no difference was exported")
    print(f"{len(seeds)} seeds, {diffs} differences")
    return 0


sys.exit(main())
