# SPDX-License-Identifier: LGPL-2.1-or-later
"""Increments: what is read through a chain of images is what the process held; folded,
compared and written in other formats as well."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time

from ctltest import check, clear_line, json_lines, main
from snaptest import METHODS, PAGE, Staircase, read, take

N_PAGES = 384  # of each area


class Hold:
    """A process that holds still while its memory is changed from here."""

    def __init__(self, place):
        self.proc = subprocess.Popen([os.environ["UMEM_TEST_HOLD"], str(N_PAGES)], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        told = json.loads(self.proc.stdout.readline())
        self.pid, self.areas = told["pid"], told["areas"]
        self.mem = os.open(f"/proc/{self.pid}/mem", os.O_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.mem)
        self.proc.stdin.close()
        self.proc.stdout.close()
        self.proc.kill()
        self.proc.wait()

    def truth(self):
        """All of its areas, as they are now."""
        return {name: os.pread(self.mem, end - start, start)
                for name, (start, end) in self.areas.items()}

    def discard(self):
        self.proc.stdin.write("\n")
        self.proc.stdin.flush()
        self.proc.stdout.readline()

    def change(self):
        """Some pages: new content, zeros, the content of another page, a single byte, or
        written and the same as before."""
        for start, _ in self.areas.values():
            for _ in range(random.randrange(1, 24)):
                page = start + random.randrange(N_PAGES) * PAGE
                other = start + random.randrange(N_PAGES) * PAGE
                old = os.pread(self.mem, PAGE, page)
                new = random.choice((random.randbytes(PAGE), bytes(PAGE), old,
                                     os.pread(self.mem, PAGE, other), b"\x17" * PAGE,
                                     old[:999] + bytes([old[999] ^ 1]) + old[1000:]))
                os.pwrite(self.mem, new, page)


def changed_pages(before, after, areas):
    """Addresses of pages that differ."""
    return {areas[name][0] + at for name in areas for at in range(0, len(after[name]), PAGE)
            if before[name][at:at + PAGE] != after[name][at:at + PAGE]}


def compare(place, path, truth, areas, *more):
    for name, (start, end) in areas.items():
        got = read(place, path, start, end - start, *more)
        if got != truth[name]:
            bad = [hex(start + at) for at in range(0, len(got), PAGE)
                   if got[at:at + PAGE] != truth[name][at:at + PAGE]]
            check(False, os.path.basename(path), name, "differs at", len(bad), "pages:", bad[:4])


def one(place, *words):
    done = place.run("--json", "image", *words)
    check(done.returncode == 0, words, "exit", done.returncode, done.stderr)
    return json_lines(done.stdout)[0]


def refused(place, *words, part=""):
    done = place.run("--json", "image", *words)
    check(done.returncode == 1, words, "exit", done.returncode, "not 1", done.stderr)
    clear_line(done.stderr, False)
    check(part in done.stderr, words, "stderr lacks", repr(part), ":", done.stderr)


class Chain:
    """Images of a process, each but the first an increment; and what it held."""

    def __init__(self, place, hold, n, method=None):
        self.place, self.hold = place, hold
        self.dir = os.path.join(place.dir, "chain")
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        self.paths, self.truths = [], []
        for i in range(n):
            path = os.path.join(self.dir, f"image-{i}")
            parent = ["--parent", self.paths[-1]] if i else []
            done = take(place, hold.pid, path, method or METHODS[i % len(METHODS)], *parent)
            check(done["complete"], done["incomplete"])
            self.paths.append(path)
            self.truths.append(hold.truth())
            hold.change()
            if i % 3 == 2:
                hold.discard()


def chains(place):
    """Each image of a chain is what the process held; increments are small."""
    for method in (*METHODS, None):
        with Hold(place) as hold:
            chain = Chain(place, hold, 5, method)
            for path, truth in zip(chain.paths, chain.truths):
                compare(place, path, truth, hold.areas)
            sizes = [os.stat(path).st_size for path in chain.paths]
            # Two thirds of four areas do not compress; at most 92 pages and 96 discarded change.
            check(sizes[0] > N_PAGES * 2 * PAGE, sizes)
            check(all(s < sizes[0] / 3 for s in sizes[1:]), sizes)
            done = one(place, "verify", chain.paths[-1])
            check(done["ok"] and done["n_damages"] == 0, done)


def differences(place):
    """diff lists exactly the pages that differ, between any two images."""
    with Hold(place) as hold:
        chain = Chain(place, hold, 5)
        for i, k in ((0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (4, 1)):
            want = changed_pages(chain.truths[i], chain.truths[k], hold.areas)
            told = one(place, "diff", chain.paths[i], chain.paths[k], "--ranges")
            got = {at for r in told["ranges"]
                   for at in range(int(r["start"], 16), int(r["end"], 16), PAGE)}
            inside = {at for at in got
                      if any(start <= at < end for start, end in hold.areas.values())}
            check(inside == want, i, k, "differ at", len(want), "pages, told are", len(inside),
                  "not told:", [hex(x) for x in sorted(want - inside)[:4]], "told too much:",
                  [(hex(x), name) for x in sorted(inside - want)[:4]
                   for name, (start, end) in hold.areas.items() if start <= x < end])
            sums = sum(told[key + "_bytes"] for key in ("changed", "added", "removed"))
            check(sums == len(got) * PAGE, told)
        told = one(place, "diff", chain.paths[2], chain.paths[2], "--ranges")
        check(told["ranges"] == [] and told["changed_bytes"] == 0, told)


def flattened(place):
    with Hold(place) as hold:
        chain = Chain(place, hold, 4)
        for i, codec in ((3, "zstd"), (2, "none"), (0, "zstd")):
            out = os.path.join(chain.dir, f"flat-{i}")
            one(place, "flatten", chain.paths[i], "-o", out, "--codec", codec)
            told = one(place, "info", out)
            check(told["parent"] is None, told["parent"])
            one(place, "verify", out)
            told = one(place, "diff", chain.paths[i], out, "--ranges")
            check(told["ranges"] == [], told["ranges"][:4])
        for path in chain.paths:
            os.unlink(path)
        compare(place, os.path.join(chain.dir, "flat-3"), chain.truths[3], hold.areas)
        compare(place, os.path.join(chain.dir, "flat-2"), chain.truths[2], hold.areas)


def wrong_parents(place):
    """One that is another image, is none, is damaged, is not there, or is the child."""
    with Hold(place) as hold:
        chain = Chain(place, hold, 3)
        first, second, third = chain.paths
        start = hold.areas["anon"][0]
        kept = os.path.join(place.dir, "kept")
        for wrong in (lambda: os.unlink(first), lambda: shutil.copy(third, first),
                      lambda: open(first, "w").close(),
                      lambda: shutil.copy(place.umemctl, first)):
            shutil.copy(first, kept)
            wrong()
            for words in (["read", third, "--at", hex(start), "--len", "1M"], ["verify", third],
                          ["flatten", third, "-o", os.path.join(chain.dir, "none")],
                          ["export", third, "--format", "raw", "-o",
                           os.path.join(chain.dir, "none")]):
                refused(place, *words, part="image-0")
            told = one(place, "info", second)
            check(told["parent"]["path"].endswith("image-0"), told["parent"])
            err = take(place, hold.pid, os.path.join(chain.dir, "none"), None, "--parent", third,
                       code=1)
            check("image-0" in err, err)
            check(not os.path.exists(os.path.join(chain.dir, "none")), "something was made")
            shutil.copy(kept, first)
        compare(place, third, chain.truths[2], hold.areas)
        for bad in (place.umemctl, "/dev/null", os.path.join(chain.dir, "none"), chain.dir):
            err = take(place, hold.pid, os.path.join(chain.dir, "none"), None, "--parent", bad,
                       code=1)
            clear_line(err, False)
            check(bad in err, err)
        check(sorted(os.listdir(chain.dir)) == ["image-0", "image-1", "image-2"],
              os.listdir(chain.dir))


def onto_parent(place):
    """An increment in the place of its own parent would have none: refused, nothing lost."""
    with Hold(place) as hold:
        chain = Chain(place, hold, 2)
        err = take(place, hold.pid, chain.paths[1], None, "--parent", chain.paths[1], code=1)
        clear_line(err, False)
        compare(place, chain.paths[1], chain.truths[1], hold.areas)


def folder_moves(place):
    """A chain is found again where its folder went."""
    with Hold(place) as hold:
        chain = Chain(place, hold, 3)
        moved = os.path.join(place.dir, "moved")
        shutil.rmtree(moved, ignore_errors=True)
        os.rename(chain.dir, moved)
        compare(place, os.path.join(moved, "image-2"), chain.truths[2], hold.areas)


def other_process(place):
    """A parent of another process is a worse parent, and no wrong one."""
    with Hold(place) as first, Hold(place) as second:
        chain = Chain(place, first, 1)
        path = os.path.join(chain.dir, "other")
        take(place, second.pid, path, None, "--parent", chain.paths[0])
        compare(place, path, second.truth(), second.areas)


def running(place):
    """Increments to a process that never holds still are one moment each."""
    for method in METHODS:
        with Staircase(place, lanes=4, kind="mixed", pages=256) as v:
            parent = []
            for i in range(6):
                path = os.path.join(place.dir, f"running-{i}")
                done = take(place, v.pid, path, method, *parent)
                v.judge(path, done)
                parent = ["--parent", path]
            v.unharmed()


def stay_armed(place):
    """--trigger stdin: the increments of one session."""
    for method in ("freeze", "precopy"):
        with Hold(place) as hold:
            path = os.path.join(place.dir, "armed")
            ctl = subprocess.Popen([place.umemctl, "--json", "snapshot", str(hold.pid), "-o",
                                    path, "--method", method, "--trigger", "stdin"], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            truths, paths = [], [path] + [f"{path}.{i}" for i in range(1, 6)]
            for i in range(6):
                if i:
                    ctl.stdin.write("\n")
                    ctl.stdin.flush()
                line = json.loads(ctl.stdout.readline())
                while line["event"] == "progress":
                    line = json.loads(ctl.stdout.readline())
                check(line["event"] == "done" and line["path"] == paths[i], line)
                truths.append(hold.truth())
                hold.change()
                if i == 3:
                    hold.discard()
            ctl.stdin.close()
            check(ctl.wait(timeout=30) == 0, "exit", ctl.returncode)
            ctl.stdout.close()
            for name, truth in zip(paths, truths):
                compare(place, name, truth, hold.areas)
                os.stat(name)


# --- other formats, read without the code that wrote them ---

def core_bytes(path, start, end):
    """Memory of an ELF core: of the segments that have it in the file."""
    out = bytearray(end - start)
    known = 0
    with open(path, "rb") as file:
        head = file.read(64)
        check(head[:4] == b"\x7fELF" and struct.unpack_from("<H", head, 16)[0] == 4, head)
        phoff, shoff = struct.unpack_from("<QQ", head, 32)
        size, n = struct.unpack_from("<HH", head, 54)
        if n == 0xffff:
            file.seek(shoff)
            n = struct.unpack_from("<I", file.read(64), 44)[0]
        for i in range(n):
            file.seek(phoff + i * size)
            kind, _, offset, vaddr, _, in_file, in_memory, _ = struct.unpack("<IIQQQQQQ",
                                                                           file.read(56))
            a, b = max(start, vaddr), min(end, vaddr + in_memory)
            if kind != 1 or a >= b:
                continue
            known += b - a
            b = min(b, vaddr + in_file)
            if a < b:
                file.seek(offset + a - vaddr)
                out[a - start:b - start] = file.read(b - a)
    check(known == end - start, hex(start), "has", known, "bytes in the core's segments")
    return bytes(out)


def raw_bytes(path, extents, start, end):
    """Memory of a raw file; extents say what is where."""
    with open(path, "rb") as file:
        for x in extents:
            if int(x["start"], 16) <= start and end <= int(x["end"], 16):
                file.seek(x["file_offset"] + start - int(x["start"], 16))
                return file.read(end - start)
    check(False, hex(start), "is in no extent")
    return None


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """The fields of a message that has numbers only."""
    at, found = 0, {}
    while at < len(data):
        key, at = varint(data, at)
        check(key & 7 == 0, "a field that is no number")
        found[key >> 3], at = varint(data, at)
    return found


def criu_pages(folder, pid):
    """Address and bytes of each page of a folder of CRIU images."""
    with open(os.path.join(folder, f"pagemap-{pid}.img"), "rb") as file:
        data = file.read()
    check(struct.unpack_from("<II", data) == (0x54564319, 0x56084025), "magic", data[:8])
    records, at = [], 8
    while at < len(data):
        size = struct.unpack_from("<I", data, at)[0]
        records.append(fields(data[at + 4:at + 4 + size]))
        at += 4 + size
    pages = {}
    with open(os.path.join(folder, f"pages-{records[0][1]}.img"), "rb") as file:
        for r in records[1:]:
            n = r[5] if 5 in r else r[2]
            flags = r.get(4, 4)
            check(flags & 4 and not flags & 1, "no page is elsewhere:", r)
            for i in range(n):
                pages[r[1] + i * PAGE] = file.read(PAGE)
        check(file.read(1) == b"", "more pages than entries")
    return pages


def exported(place):
    """The tip of a chain, in the three other formats, and directly from the process."""
    with Hold(place) as hold:
        chain = Chain(place, hold, 3)
        truth, tip = chain.truths[2], chain.paths[2]
        out = os.path.join(chain.dir, "out")
        one(place, "export", tip, "--format", "core", "-o", out)
        for name, (start, end) in hold.areas.items():
            check(core_bytes(out, start, end) == truth[name], "core:", name)
        told = one(place, "export", tip, "--format", "raw", "-o", out)
        for name, (start, end) in hold.areas.items():
            check(raw_bytes(out, told["extents"], start, end) == truth[name], "raw:", name)
        folder = os.path.join(chain.dir, "criu")
        one(place, "export", tip, "--format", "criu", "-o", folder)
        criu(place, hold, folder, truth)
        for suffix in ("core", "criu"):
            out = os.path.join(chain.dir, "direct-" + suffix)
            truth = hold.truth()
            take(place, hold.pid, out, None, "--format", suffix)
            if suffix == "criu":
                criu(place, hold, out, truth)
                continue
            for name, (start, end) in hold.areas.items():
                check(core_bytes(out, start, end) == truth[name], "direct core:", name)


def criu(place, hold, folder, truth):
    """Private memory is in the pages of the process; what was never touched need not be."""
    pages = criu_pages(folder, hold.pid)
    start, end = hold.areas["anon"]
    got = b"".join(pages.get(at, bytes(PAGE)) for at in range(start, end, PAGE))
    check(got == truth["anon"], "criu: anon")


CASES = [chains, differences, flattened, wrong_parents, onto_parent, folder_moves, other_process,
         running, stay_armed, exported]

if __name__ == "__main__":
    if os.getuid() != 0:
        print("SKIP: needs root")
        sys.exit(77)
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    print(f"SEED={seed}")
    random.seed(seed)
    wanted = sys.argv[4:]
    os.environ["UMEM_TEST_HOLD"] = sys.argv[3]
    main([c for c in CASES if not wanted or c.__name__ in wanted], sys.argv[1], sys.argv[2])
