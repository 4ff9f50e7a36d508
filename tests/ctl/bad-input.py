# SPDX-License-Identifier: LGPL-2.1-or-later
"""What umemctl says and leaves behind when something is wrong."""
import os
import random
import signal
import subprocess
import sys
import time

from ctltest import NOBODY, Failed, Victim, check, clear_line, json_lines, main

VERBS = (["dirty"], ["regions"], ["swap"], ["doctor", "--pid"])


def expect(place, words, code, *parts, **more):
    """Run with --json: this exit code, one clear line with these parts, valid JSON."""
    done = place.run("--json", *words, **more)
    check(done.returncode == code, words, "exit", done.returncode, "not", code, done.stderr)
    if code == 0:
        check(done.stderr == "", words, "stderr:", done.stderr)
    else:
        clear_line(done.stderr, code == 2)
    for part in parts:
        check(part in done.stderr, words, "stderr lacks", repr(part), ":", done.stderr)
    if done.stdout is not None:
        json_lines(done.stdout)
    return done


def usage(place):
    for words in ([], ["dirty"], ["regions"], ["swap"], ["swap", "--file"]):
        done = place.run(*words)
        check(done.returncode == 2, words, done.returncode)
        check(done.stdout == "", "stdout:", done.stdout)
    expect(place, ["nonsense"], 2, "nonsense")
    expect(place, ["--nonsense", "dirty", "1"], 2, "--nonsense")
    for verb in VERBS:
        for word in ("abc", "-5x", "12x", "0", "99999999999999999999", "2147483648", ""):
            if word.startswith("-"):
                expect(place, [verb[0], "--", word] if len(verb) == 1 else [*verb, word], 2,
                       word)
            else:
                expect(place, [*verb, word], 2, f'"{word}"')
        expect(place, [verb[0], "--nonsense"], 2, "--nonsense", verb[0])
    expect(place, ["regions", "1", "2"], 2, '"2"')
    expect(place, ["swap", "1", "2"], 2, '"2"')
    expect(place, ["doctor", "1"], 2, "--pid")
    expect(place, ["doctor", "--pid"], 2, "--pid")


def dirty_options(place):
    with Victim(place) as v:
        for words, part in (
                (["--interval", "1"], "--interval"), (["--interval", "-1s"], "--interval"),
                (["--interval", "1h"], "--interval"), (["--interval", ""], "--interval"),
                (["--interval", "99999999999999s"], "--interval"),
                (["--rounds", "0"], "--rounds"), (["--rounds", "-1"], "--rounds"),
                (["--rounds", "x"], "--rounds"), (["--rounds"], "--rounds"),
                (["--rounds", "18446744073709551616"], "--rounds"),
                (["--trigger", "x"], "--trigger"), (["--pins", "x"], "--pins"),
                (["--region", "x"], "--region"), (["--region", "2000-1000"], "--region"),
                (["--region", "1000-1000"], "--region"),
                (["--region", "0-10000000000000000"], "--region"),
                (["--tracker", "x"], "tracker"), (["77"], "77")):
            expect(place, ["dirty", str(v.pid), *words], 2, part)
        v.unharmed()


def swap_options(place):
    with Victim(place) as v:
        for words, part in (
                (["--region", "x"], "--region"), (["--region", "2000-1000"], "--region"),
                (["--region", "1000-1000"], "--region"), (["--region"], "--region"),
                (["--method", "x"], '"x"'), (["--method", ""], '""'), (["--method"], "--method"),
                (["--file", "/dev/shm/x"], "--file"), (["--map"], "--map"), (["77"], "77"),
                (["--nonsense"], "--nonsense")):
            expect(place, ["swap", str(v.pid), *words], 2, part)
        for words in (["--map", "--ranges"], ["--map", "--sharers"]):
            done = place.run("swap", str(v.pid), *words)
            check(done.returncode == 2 and words[1] in done.stderr, done.stderr)
            clear_line(done.stderr, True)
        v.unharmed()


def no_process(place):
    child = subprocess.Popen(["true"])
    child.wait()
    for verb in VERBS:
        expect(place, [*verb, str(child.pid)], 3, f"there is no process {child.pid}")


def zombie(place):
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    for verb in VERBS:
        expect(place, [*verb, str(child.pid)], 3, str(child.pid), "ended")
    child.wait()


def kernel_thread(place):
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat") as file:
                flags = int(file.read().rsplit(")", 1)[1].split()[6])
        except (OSError, ValueError, IndexError):
            continue
        if name.isdigit() and flags & 0x00200000:
            for verb in VERBS:
                expect(place, [*verb, name], 1, name, "kernel thread")
            return None
    return "no kernel thread is visible here"


def init_process(place):
    expect(place, ["dirty", "1"], 2, "init")
    # Looking stops nothing, so any process will do that may be looked at.
    try:
        with open("/proc/1/maps", encoding="latin-1") as file:
            code = 0 if file.read(1) else 5
    except PermissionError:
        code = 5
    for verb in ("swap", "regions"):
        expect(place, [verb, "1"], code)
        expect(place, [verb, "1"], 5, "1", user=NOBODY)


def ourselves(place):
    read, write = os.pipe()
    # The shell becomes umemctl: the id is its own.
    done = subprocess.run(["sh", "-c", f"exec {place.umemctl} dirty $$"], text=True,
                          capture_output=True)
    os.close(read)
    os.close(write)
    check(done.returncode == 2, "exit", done.returncode, done.stderr)
    clear_line(done.stderr, False)
    check("itself" in done.stderr, done.stderr)
    done = subprocess.run(["sh", "-c", f"exec {place.umemctl} --json swap $$"], text=True,
                          capture_output=True)
    check(done.returncode == 0 and done.stderr == "", done.stderr)
    check(json_lines(done.stdout)[0]["total"]["resident_bytes"] > 0, done.stdout)


def thread_id(place):
    with Victim(place, "thread") as v:
        for verb in VERBS:
            expect(place, [*verb, str(v.tid)], 2, str(v.tid), f"thread of process {v.pid}")
        v.unharmed()


def others_process(place):
    for mode in ("plain", "named"):
        with Victim(place, mode) as v:
            for verb in VERBS:
                expect(place, [*verb, str(v.pid)], 5, str(v.pid), user=NOBODY)
            v.unharmed()


def hostile_name(place):
    """Names that other people chose do not reach the terminal."""
    with Victim(place, "named") as v:
        for words in (["doctor", "--pid", str(v.pid)], ["regions", str(v.pid)],
                      ["swap", str(v.pid)], ["swap", str(v.pid), "--map"]):
            done = place.run(*words)
            check(done.returncode == 0, done.stderr)
            check("\033" not in done.stdout, repr(done.stdout))
            check("\u202e" not in done.stdout, repr(done.stdout))
            if "--map" not in words:
                expect(place, words, 0)
        for words in (["dirty", "\033[31m\nx"], ["swap", "--file", "/\033[31m\nx\u202e"],
                      ["swap", "--file", "/dev/null", "--method", "\033[31m"],
                      ["swap", str(v.pid), "--method", "\033[31m"]):
            done = place.run(*words)
            check(done.returncode in (1, 2), words, done.returncode)
            check("\033" not in done.stderr and "\u202e" not in done.stderr, repr(done.stderr))
            clear_line(done.stderr, done.returncode == 2)
        v.unharmed()


def no_mapping(place):
    with Victim(place) as v:
        for verb in ("dirty", "swap"):
            expect(place, [verb, str(v.pid), "--region", "1000-2000"], 1, "0x1000",
                   str(v.pid))
        v.unharmed()


def own_userfaultfd(place):
    with Victim(place, "uffd") as v:
        start = int(v.region.split("-")[0], 16)
        expect(place, ["dirty", str(v.pid), "--rounds", "1", "--interval", "1ms"], 1,
               "another userfaultfd", str(v.pid), hex(start)[2:], "--region")
        done = expect(place, ["regions", str(v.pid)], 0)
        busy = [g for g in json_lines(done.stdout) if g["event"] == "region" and
                g["reason"] == "another userfaultfd watches it"]
        check(len(busy) == 1 and int(busy[0]["start"], 16) == start, busy)
        # What the other one does not watch can be tracked.
        expect(place, ["dirty", str(v.pid), "--rounds", "1", "--interval", "1ms", "--region",
                       f"{start + 0x4000:x}-{start + 0x8000:x}"], 0)
        v.unharmed()


def features(place):
    with Victim(place) as v:
        words = ["dirty", str(v.pid), "--rounds", "1", "--interval", "1ms"]
        for spec in ("nonsense", "-nonsense", "uffd_wp_async", "-", ",", "-swap,"):
            env = {"UMEM_FEATURES": spec}
            for more in (words, ["doctor"], ["regions", str(v.pid)], ["swap", str(v.pid)]):
                expect(place, more, 2, "UMEM_FEATURES", spec, env=env)
        for spec in ("-uffd_wp_async,-soft_dirty", "-pagemap_scan,-soft_dirty"):
            env = {"UMEM_FEATURES": spec}
            expect(place, words, 4, spec[1:].split(",")[0], env=env)
            done = expect(place, ["doctor"], 4, spec[1:].split(",")[0], env=env)
            verdict = json_lines(done.stdout)[-1]
            check(verdict["tracking"] is False and verdict["tracker"] is None, verdict)
        v.unharmed()


def dies_while_attaching(place):
    random.seed(7)
    for _ in range(30):
        with Victim(place) as v:
            ctl = subprocess.Popen([place.umemctl, "--json", "dirty", str(v.pid),
                                    "--interval", "1ms"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(random.random() * 0.008)
            v.proc.kill()
            out, err = ctl.communicate(timeout=30)
            check(ctl.returncode == 3, "exit", ctl.returncode, err)
            clear_line(err, False)
            json_lines(out)


def reader_goes_away(place):
    for words in (["--interval", "1ms"], ["--interval", "60s"],
                  ["--trigger", "stdin"]):
        with Victim(place) as v:
            ctl = subprocess.Popen([place.umemctl, "--json", "dirty", str(v.pid), *words],
                                   text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            first = ctl.stdout.readline()
            ctl.stdout.close()
            check(json_lines(first)[0]["event"] == "armed", first)
            err = ctl.stderr.read()
            check(ctl.wait(timeout=10) == 0, words, "exit", ctl.returncode, err)
            check(err == "", "stderr:", err)
            ctl.stdin.close()
            ctl.stderr.close()
            v.unharmed()
    for words in (["--json", "swap", "--ranges"], ["swap", "--ranges"], ["swap", "--map"]):
        with Victim(place) as v:
            read, write = os.pipe()
            os.close(read)
            done = place.run(*words, str(v.pid), stdout=write)
            os.close(write)
            check(done.returncode == 0 and done.stderr == "", words, done)
            v.unharmed()


def full_disk(place):
    with Victim(place) as v:
        for words in (["dirty", str(v.pid), "--rounds", "1", "--interval", "1ms"],
                      ["regions", str(v.pid)], ["doctor"], ["doctor", "--pid", str(v.pid)],
                      ["swap", str(v.pid)], ["swap", str(v.pid), "--ranges"],
                      ["swap", str(v.pid), "--map"]):
            for json in ([], ["--json"]) if "--map" not in words else ([],):
                with open("/dev/full", "w") as full:
                    done = place.run(*json, *words, stdout=full)
                check(done.returncode == 1, words, "exit", done.returncode, done.stderr)
                clear_line(done.stderr, False)
                check("output" in done.stderr, done.stderr)
        v.unharmed()


def closed_descriptors(place):
    """None of the target's descriptors takes their place."""
    with Victim(place) as v:
        words = ["dirty", str(v.pid), "--rounds", "2", "--interval", "1ms"]
        done = place.run(*words, preexec_fn=lambda: os.close(1))
        check(done.returncode == 1, "exit", done.returncode, done.stderr)
        clear_line(done.stderr, False)
        done = expect(place, ["dirty", str(v.pid), "--trigger", "stdin"], 0,
                      preexec_fn=lambda: os.close(0))
        check([x["event"] for x in json_lines(done.stdout)] == ["armed", "done"], done.stdout)
        done = place.run("--json", *words, preexec_fn=lambda: os.close(2))
        check(done.returncode == 0 and len(json_lines(done.stdout)) == 4, done)
        done = place.run(*words, preexec_fn=lambda: os.closerange(0, 3))
        check(done.returncode == 1, "exit", done.returncode)
        v.unharmed()


def stdin_ends_at_once(place):
    with Victim(place) as v:
        done = expect(place, ["dirty", str(v.pid), "--trigger", "stdin"], 0)
        events = [line["event"] for line in json_lines(done.stdout)]
        check(events == ["armed", "done"], events)
        # The last line need not end in a newline; what is before it does count.
        done = expect(place, ["dirty", str(v.pid), "--trigger", "stdin"], 0, stdin=None,
                      input="\n\n")
        events = [line["event"] for line in json_lines(done.stdout)]
        check(events == ["armed", "round", "round", "done"], events)
        v.unharmed()


def interrupted(place):
    for words in (["--interval", "60s"], ["--interval", "0ns"], ["--trigger", "stdin"]):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with Victim(place) as v:
                with open(os.devnull, "w") as sink:
                    ctl = subprocess.Popen([place.umemctl, "dirty", str(v.pid), *words],
                                           text=True, stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE if words[1] != "0ns" else
                                           sink, stderr=subprocess.PIPE)
                    if ctl.stdout:
                        ctl.stdout.readline()
                    else:
                        time.sleep(0.1)
                    ctl.send_signal(number)
                    _, err = ctl.communicate(timeout=10)
                check(ctl.returncode == 0, words, number, "exit", ctl.returncode, err)
                v.unharmed()


def filtered(place):
    with Victim(place, "seccomp") as v:
        done = place.run("--json", "dirty", str(v.pid), "--rounds", "1", "--interval", "1ms")
        if done.returncode != 0:
            clear_line(done.stderr, False)
            check(done.returncode == 5 and "seccomp" in done.stderr, done.stderr)
        done = place.run("--json", "doctor", "--pid", str(v.pid))
        target = [x for x in json_lines(done.stdout) if x["event"] == "target"][0]
        check([o["what"] for o in target["obstacles"]] == ["seccomp"], target)
        v.unharmed()


def stopped(place):
    with Victim(place) as v:
        os.kill(v.pid, signal.SIGSTOP)
        while v.status("State")[0] != "T":
            time.sleep(0.001)
        expect(place, ["dirty", str(v.pid), "--rounds", "1", "--interval", "1ms"], 0)
        check(v.status("State")[0] == "T", "it was woken up")
        done = expect(place, ["doctor", "--pid", str(v.pid)], 0)
        target = [x for x in json_lines(done.stdout) if x["event"] == "target"][0]
        check(target["attachable"] and target["obstacles"][0]["what"] == "stopped", target)
        v.unharmed()


def traced(place):
    """A tracer is in the way, and is named."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    with Victim(place) as v:
        check(libc.ptrace(0x4206, v.pid, 0, 0) == 0, "PTRACE_SEIZE")  # of this process
        try:
            expect(place, ["dirty", str(v.pid)], 1, str(v.pid), "traced", str(os.getpid()))
            done = expect(place, ["doctor", "--pid", str(v.pid)], 1, "traced")
            check(json_lines(done.stdout)[-1]["attachable"] is False, done.stdout)
            expect(place, ["regions", str(v.pid)], 0)
            expect(place, ["swap", str(v.pid)], 0)
        finally:
            libc.ptrace(0x4207, v.pid, 0, 0)  # interrupt, to be able to detach
            os.waitpid(v.pid, 0x40000000)
            libc.ptrace(17, v.pid, 0, 0)
        v.unharmed()


def unprivileged(place):
    """Everybody may work on processes of their own."""
    if os.getuid() != 0:
        return "needs root to become somebody else"
    for mode in ("plain", "shared"):
        with Victim(place, mode, user=NOBODY) as v:
            words = [str(v.pid), "--rounds", "2", "--interval", "1ms"]
            done = expect(place, ["dirty", *words], 0, user=NOBODY)
            lines = json_lines(done.stdout)
            rounds = [x for x in lines if x["event"] == "round"]
            check(len(rounds) == 2, lines)
            if mode == "plain":
                check(all(r["complete"] for r in rounds), rounds)
            expect(place, ["regions", str(v.pid)], 0, user=NOBODY)
            expect(place, ["swap", str(v.pid)], 0, user=NOBODY)
            expect(place, ["doctor", "--pid", str(v.pid)], 0, user=NOBODY)
            v.unharmed()
    return None


CASES = [usage, dirty_options, swap_options, no_process, zombie, kernel_thread, init_process,
         ourselves, thread_id, others_process, hostile_name, no_mapping,
         own_userfaultfd, features, dies_while_attaching, reader_goes_away, full_disk,
         closed_descriptors, stdin_ends_at_once, interrupted, filtered, stopped, traced,
         unprivileged]

if __name__ == "__main__":
    wanted = sys.argv[3:]
    main([c for c in CASES if not wanted or c.__name__ in wanted], sys.argv[1], sys.argv[2])
