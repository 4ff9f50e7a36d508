# SPDX-License-Identifier: LGPL-2.1-or-later
"""What umemctl snapshot and image say when what they are given is wrong."""
import importlib
import os
import random
import subprocess
import sys
import time

from ctltest import NOBODY, check, clear_line, main
from snaptest import Staircase, take

expect = importlib.import_module("bad-input").expect

IMAGE_VERBS = ("info", "verify", "read", "diff", "export", "flatten")


def usage(place):
    for words in (["snapshot"], ["image"], ["image", "nonsense"], *(["image", verb] for verb in
                                                                   IMAGE_VERBS)):
        done = place.run(*words)
        check(done.returncode == 2 and done.stdout == "", words, done.returncode, done.stdout)
    expect(place, ["image", "nonsense"], 2, '"nonsense"')
    for word in ("abc", "12x", "0", "99999999999999999999", "2147483648", ""):
        expect(place, ["snapshot", word, "-o", "x"], 2, f'"{word}"')
    for words in (["snapshot"], ["image"], *(["image", verb] for verb in IMAGE_VERBS)):
        done = place.run(*words, "--help")
        check(done.returncode == 0 and done.stderr == "" and "umemctl" in done.stdout, words)


def snapshot_options(place):
    with Staircase(place) as v:
        out = os.path.join(place.dir, "none")
        for words, part in (
                ([], "-o"), (["-o"], "'o'"), (["-o", ""], "-o"), (["-o", out, "77"], '"77"'),
                (["-o", out, "--method", "x"], '"x"'), (["-o", out, "--method"], "--method"),
                (["-o", out, "--format", "x"], '"x"'), (["-o", out, "--format", ""], '""'),
                (["-o", out, "--codec", "x"], '"x"'), (["-o", out, "--nonsense"], "--nonsense"),
                (["-o", out, "--region", "x"], "--region"),
                (["-o", out, "--region", "2000-1000"], "--region"),
                (["-o", out, "--region", "1000-1000"], "--region"),
                (["-o", out, "--trigger", "x"], '"x"'),
                (["-o", out, "--tree", "--region", "1000-2000"], "--tree"),
                (["-o", out, "--format", "core", "--parent", out], "--parent")):
            expect(place, ["snapshot", str(v.pid), *words], 2, part)
        expect(place, ["snapshot", str(v.pid), "-o", out, "--region", "1000-2000"], 1, "0x1000")
        expect(place, ["snapshot", str(v.pid), "-o", out, "--parent", out], 1, out)
        check(not os.path.exists(out), "something was made")
        v.unharmed()


def no_process(place):
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    words = ["-o", os.path.join(place.dir, "none")]
    expect(place, ["snapshot", str(child.pid), *words], 3, str(child.pid), "ended")
    child.wait()
    expect(place, ["snapshot", str(child.pid), *words], 3, f"there is no process {child.pid}")
    check(not os.path.exists(words[1]), "something was made")


def special_processes(place):
    out = ["-o", os.path.join(place.dir, "none")]
    expect(place, ["snapshot", "1", *out], 2, "init")
    with open("/proc/2/stat") as file:
        if int(file.read().rsplit(")", 1)[1].split()[6]) & 0x00200000:
            expect(place, ["snapshot", "2", *out], 1, "kernel thread")
    done = subprocess.run(["sh", "-c", f"exec {place.umemctl} snapshot $$ -o {out[1]}"],
                          text=True, capture_output=True, check=False)
    check(done.returncode == 2 and "itself" in done.stderr, done.returncode, done.stderr)
    with Staircase(place) as v:
        tid = [t for t in os.listdir(f"/proc/{v.pid}/task") if int(t) != v.pid][0]
        expect(place, ["snapshot", tid, *out], 2, tid, f"thread of process {v.pid}")
        v.unharmed()
    check(not os.path.exists(out[1]), "something was made")


def no_feature(place):
    """What the kernel lacks is named, status 4; what does without it goes."""
    with Staircase(place) as v:
        out = os.path.join(place.dir, "image")
        env = {"UMEM_FEATURES": "-uffd_wp_async,-soft_dirty"}
        words = ["snapshot", str(v.pid), "-o", out]
        expect(place, [*words, "--method", "precopy"], 4, "uffd_wp_async", env=env)
        check(not os.path.exists(out), "something was made")
        expect(place, [*words, "--method", "freeze"], 0, env=env)
        v.judge(out)
        expect(place, words, 0, env=env)
        v.judge(out)
        expect(place, words, 2, "UMEM_FEATURES", env={"UMEM_FEATURES": "nonsense"})
        v.unharmed()


def no_image(place):
    """Files that are none, for each verb."""
    empty, text, missing = (os.path.join(place.dir, n) for n in ("empty", "text", "missing"))
    out = os.path.join(place.dir, "none")
    with open(empty, "w"):
        pass
    with open(text, "w") as file:
        file.write("no image\n" * 3000)
    for path in (empty, text, missing, place.dir, place.umemctl, "/dev/null", "/dev/zero"):
        for words in (["info", path], ["verify", path], ["diff", path, path],
                      ["read", path, "--at", "0x1000", "--len", "1"],
                      ["export", path, "--format", "raw", "-o", out],
                      ["flatten", path, "-o", out]):
            done = place.run("image", *words)
            check(done.returncode == 1, words, "exit", done.returncode)
            clear_line(done.stderr, False)
            check(path in done.stderr, done.stderr)
    check(not os.path.exists(out), "something was made")


def image_options(place):
    with Staircase(place, lanes=1) as v:
        path, out = os.path.join(place.dir, "image"), os.path.join(place.dir, "none")
        take(place, v.pid, path, "freeze")
        for words, code, part in (
                (["info", path, path], 2, path), (["info", path, "--nonsense"], 2, "--nonsense"),
                (["verify", path, path], 2, path), (["diff", path], 2, "two"),
                (["read", path], 2, "--at"), (["read", path, "--at", "0x1000"], 2, "--len"),
                (["read", path, "--at", "x", "--len", "1"], 2, '"x"'),
                (["read", path, "--at", "-1", "--len", "1"], 2, '"-1"'),
                (["read", path, "--at", "0x1000", "--len", "0"], 2, "--len"),
                (["read", path, "--at", "0x1000", "--len", "x"], 2, '"x"'),
                (["read", path, "--at", "0xffffffffffffffff", "--len", "2"], 2, "--at"),
                (["read", path, "--at", "0x1000", "--len", "1"], 1, "0x1000"),
                (["read", path, "--at", "0x20000000000", "--len", "1", "--pid", "1"], 1, "1"),
                (["read", path, "--at", "0x20000000000", "--len", "1", "--pid", "x"], 2, '"x"'),
                (["read", path, "--at", "0x20000000000", "--len", "1G"], 1, "0x2000000"),
                (["export", path, "-o", out], 2, "--format"),
                (["export", path, "--format", "raw"], 2, "-o"),
                (["export", path, "--format", "x", "-o", out], 2, "x"),
                (["export", path, "--format", "raw", "-o", out, "--region", "x"], 2, "--region"),
                (["export", path, "--format", "raw", "-o", out, "--region", "1000-2000"], 1,
                 "0x1000"),
                (["export", path, "--format", "core", "-o", out, "--pid", "1"], 1, "1"),
                (["export", path, "--format", "raw", "-o", f"{out}/none"], 1, f"{out}/none"),
                (["flatten", path], 2, "-o"),
                (["flatten", path, "-o", out, "--codec", "x"], 2, '"x"'),
                (["flatten", path, "-o", f"{out}/none"], 1, f"{out}/none")):
            done = place.run("image", *words)
            check(done.returncode == code, words, "exit", done.returncode, "not", code,
                  done.stderr)
            clear_line(done.stderr, code == 2)
            check(part in done.stderr, words, "stderr lacks", repr(part), ":", done.stderr)
            check(not os.path.exists(out), words, "made something")
        v.unharmed()


def damaged(place):
    """Images with flipped bits and cut short: an error or the right bytes, never others."""
    rng = random.Random(int(os.environ.get("SEED", 7)))
    with Staircase(place, lanes=2, pages=256) as v:
        good, path = os.path.join(place.dir, "image"), os.path.join(place.dir, "damaged")
        take(place, v.pid, good, "freeze")
        with open(good, "rb") as file:
            data = file.read()
        n_silent = 0
        for i in range(60):
            bad = bytearray(data)
            at = rng.randrange(len(bad))
            if i % 3 == 2:
                del bad[at:]
            else:
                bad[at] ^= 1 << rng.randrange(8)
            with open(path, "wb") as file:
                file.write(bad)
            done = place.run("image", "verify", path)
            check(done.returncode in (0, 1), "verify ended with", done.returncode, "at", at)
            if done.returncode == 0:
                n_silent += 1
                check(i % 3 != 2, "cut at", at, "and verified")
                v.judge(path)
            for words in (["info", path], ["read", path, "--at", "0x20000000000", "--len", "8"]):
                got = place.run("image", *words)
                check(got.returncode in (0, 1), words, "ended with", got.returncode)
                if got.returncode == 1:
                    clear_line(got.stderr, False)
                elif words[0] == "read":
                    check(got.stdout == "1_stairs", "wrong bytes:", repr(got.stdout))
        print(f"  60 damaged images, {n_silent} of them in bytes that mean nothing")
        v.unharmed()


def dies_at_once(place):
    """Before anything was found out about it."""
    random.seed(7)
    for _ in range(20):
        with Staircase(place, lanes=1, pages=64) as v:
            ctl = subprocess.Popen([place.umemctl, "snapshot", str(v.pid), "-o",
                                    os.path.join(place.dir, "none")], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(random.random() * 0.01)
            v.proc.kill()
            _, err = ctl.communicate(timeout=30)
            check(ctl.returncode in (0, 3), "exit", ctl.returncode, err)
            if ctl.returncode:
                clear_line(err, False)


def others_image(place):
    """Memory is private: an image is its owner's alone, whatever the umask."""
    with Staircase(place, lanes=1) as v:
        path = os.path.join(place.dir, "private")
        take(place, v.pid, path, "freeze", umask=0)
        check(os.stat(path).st_mode & 0o777 == 0o600, oct(os.stat(path).st_mode))
        done = place.run("image", "info", path, user=NOBODY)
        check(done.returncode in (1, 5), done.returncode)
        clear_line(done.stderr, False)
        for name in ("core", "raw"):
            out = f"{path}-{name}"
            take(place, v.pid, out, "freeze", "--format", name, umask=0)
            check(os.stat(out).st_mode & 0o777 == 0o600, name, oct(os.stat(out).st_mode))


CASES = [usage, snapshot_options, no_process, special_processes, no_feature, no_image,
         image_options, damaged, dies_at_once, others_image]

if __name__ == "__main__":
    wanted = sys.argv[3:]
    main([c for c in CASES if not wanted or c.__name__ in wanted], sys.argv[1], sys.argv[2])
