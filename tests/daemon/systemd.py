#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""umemd as a service of a real systemd, booted in a container on an overlay of this system.

Outside this prepares the container; inside (as "inside DIR") it is a service that runs the
cases, writes what came of them, and has the machine powered off.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from daemontest import Client, Target, VarlinkError, Writer, check, until  # noqa: E402
from recovery import Copy  # noqa: E402

SOCKET = "/run/umemd/socket"


def systemctl(*words, good=True):
    done = subprocess.run(["systemctl", "--no-pager", *words], capture_output=True, text=True,
                          timeout=60)
    check(not good or done.returncode == 0, words, done.stdout, done.stderr)
    return done.stdout.strip()


def show(key):
    return systemctl("show", "-P", key, "umemd.service")


def main_pid():
    return int(show("MainPID"))


def journal():
    return subprocess.run(["journalctl", "--no-pager", "-b", "-u", "umemd", "-o", "cat"],
                          capture_output=True, text=True).stdout


def activation(programs):
    """The first connection starts it, and finds it ready."""
    systemctl("start", "umemd.socket")
    check(systemctl("is-active", "umemd.service", good=False) == "inactive", "active before")
    with Client(SOCKET) as c:
        check(c.call("org.varlink.service.GetInfo")["product"] == "umemd", "answers")
    check(show("ActiveState") == "active", "active")


def restart(programs):
    """Targets go on, workers have a user of their own."""
    with Writer(256) as w:
        c = Client(SOCKET)
        target = c.targets("Attach", pid=w.pid)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        copy = Copy(w)
        import pwd
        user = pwd.getpwnam("umemd-worker").pw_uid
        pid = main_pid()
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            worker = int(file.read().split()[0])
        with open(f"/proc/{worker}/status") as file:
            check(f"Uid:\t{user}\t{user}\t{user}\t{user}\n" in file.read(), "user of the worker")
        check(os.listdir(f"/proc/{worker}/root") == [], "its root is not empty")
        for how in ("restart", "kill", "reload"):
            w.tell("write", 1)
            told, records = c.table(target)
            copy.apply(records)
            w.tell("write", 2)
            pid = main_pid()
            if how == "kill":
                os.kill(pid, signal.SIGKILL)
                until(20, lambda: main_pid() not in (0, pid), "started again")
            else:
                systemctl(how, "umemd.service")
            check((main_pid() == pid) == (how == "reload"), how)
            w.tell("write", 3)
            if how != "reload":
                c.close()
                c = Client(SOCKET)
            now, records = c.table(target, after=told["round"])
            check(now["recovered"] == (how != "reload"), how, now)
            check(copy.apply(records) >= {2, 3}, how, records)
        check("1 targets go on after the restart" in journal(), journal())
        c.close()
        until(10, w.is_clean, w.left)


def metrics(programs):
    """With the unit's restrictions they are told at a path and, with a drop-in, at loopback."""
    import grp
    from openmetrics import Metrics
    with Target(programs) as t, Client(SOCKET) as c:
        c.targets("Attach", pid=t.pid)
        path = "/run/umemd/metrics"
        check(Metrics(path).get("umemd_targets", state="ready") == 1, "a path")
        st = os.stat(path)
        check(st.st_gid == grp.getgrnam("umemd").gr_gid and st.st_mode & 0o777 == 0o660, st)
        address = "127.0.0.1:9753"
        with open(programs["conf"], "w") as file:
            file.write(f"[Metrics]\nListen={address}\n")
        os.rename("/umemd-check/metrics-loopback.conf",
                  "/etc/systemd/system/umemd.service.d/metrics-loopback.conf")
        systemctl("daemon-reload")
        systemctl("restart", "umemd.service")
        m = Metrics(address)
        check(m.get("umemd_targets_hidden") == 1 and
              m.get("umemd_targets_started_total", how="restored") == 1, m.text)
        check(not os.path.exists(path), "the path is left")


def fields(programs):
    """An event is an entry with fields, of this unit."""
    with Target(programs) as t, Client(SOCKET) as c:
        target = c.targets("Attach", pid=t.pid)["target"]
        with open(f"/proc/{main_pid()}/task/{main_pid()}/children") as file:
            for worker in file.read().split():
                os.kill(int(worker), signal.SIGKILL)

        def found():
            out = subprocess.run(["journalctl", "--no-pager", "-b", "-o", "json", "-u", "umemd",
                                  "MESSAGE_ID=0fa6c391e9714060a5cff1fb593b78cb",
                                  f"UMEMD_PID={t.pid}"], capture_output=True, text=True).stdout
            return [json.loads(x) for x in out.splitlines()]
        until(10, found, "no entry")
        entry = found()[0]
        check(entry["UMEMD_TARGET"] == target and entry["PRIORITY"] == "4" and
              entry["_PID"] == str(main_pid()), entry)


def watchdog(programs):
    """One that is stuck is started again, and its targets go on."""
    with Writer(64) as w:
        c = Client(SOCKET)
        target = c.targets("Attach", pid=w.pid, keep=True)["target"]
        c.dirty("Start", target=target, regions=[w.region()])
        copy = Copy(w)
        w.tell("write", 7)
        pid = main_pid()
        os.kill(pid, signal.SIGSTOP)
        until(40, lambda: main_pid() not in (0, pid), "started again")
        c.close()
        for attempt in range(3):
            try:
                with Client(SOCKET) as c:
                    told, records = c.table(target, after=0)
                    break
            except ConnectionError as e:
                # It was ended once more; a client comes back, and loses nothing.
                print("came back:", e, journal()[-2000:])
        with Client(SOCKET) as c:
            check(copy.apply(records) >= {7}, told)
            c.targets("Detach", target=target)
        check(w.is_clean(), w.left())


def snapshot(programs):
    """Taken under the restrictions of the unit, into a file that is ours."""
    with Writer(64) as w, Client(SOCKET) as c, Client(SOCKET) as taker:
        target = c.targets("Attach", pid=w.pid)["target"]
        for method in ("freeze", "precopy", "fork", "cow"):
            fd = os.memfd_create("image")
            taker.send("io.umemd.Snapshot.Take", [fd], more=True, target=target, output=0,
                       method=method)
            while (reply := taker.reply()[0]).get("continues"):
                pass
            done = reply["parameters"]["snapshot"]
            check(done["complete"] and os.fstat(fd).st_size == done["written_bytes"], done)
            os.close(fd)
        c.targets("Detach", target=target)
        check(w.is_clean(), w.left())


def stop(programs):
    """Everything is let go, kept or not."""
    with Target(programs) as t, Writer(16) as w:
        with Client(SOCKET) as c:
            c.dirty("Start", target=c.targets("Attach", pid=t.pid)["target"])
            c.dirty("Start", target=c.targets("Attach", pid=w.pid, keep=True)["target"])
            check(int(show("NFileDescriptorStore")) > 10, "kept")
            systemctl("stop", "umemd.socket", "umemd.service")
        until(10, lambda: t.is_clean() and w.is_clean(), lambda: (t.left(), w.left()))
        check(show("Result") == "success", show("Result"))
        t.step()


def inside(place):
    with open(place + "/conf") as file:
        programs = {"victim": place + "/victim", "conf": file.read()}
    with open(place + "/result", "w") as out:
        for case in (activation, restart, fields, metrics, watchdog, snapshot, stop):
            try:
                case(programs)
                print("ok  ", case.__name__, file=out)
            except Exception:
                print("FAIL", case.__name__, traceback.format_exc(), journal()[-3000:], file=out)
        print("done", file=out)
    subprocess.run(["systemctl", "poweroff", "--no-block"])


def put(root, path, text):
    os.makedirs(os.path.dirname(root + path), exist_ok=True)
    with open(root + path, "w") as file:
        file.write(text)


def prepare(root, programs, units):
    prefix = re.search(r"ExecStart=(.*)/sbin/umemd", open(programs["service"]).read()).group(1)
    for name, path in (("umemd", "/sbin/umemd"), ("worker", "/libexec/umemd-worker")):
        os.makedirs(os.path.dirname(root + prefix + path), exist_ok=True)
        shutil.copy(programs[name], root + prefix + path)
    etc = root + "/etc/systemd/system/"
    shutil.copy(programs["service"], etc + "umemd.service")
    shutil.copy(units + "/umemd.socket", etc)
    for folder, name in (("sysusers", "umemd.sysusers"), ("tmpfiles", "umemd.tmpfiles")):
        os.makedirs(f"{root}/etc/{folder}.d", exist_ok=True)
        shutil.copy(f"{units}/{name}", f"{root}/etc/{folder}.d/umemd.conf")
    os.makedirs(root + prefix + "/etc/umemd", exist_ok=True)
    shutil.copy(units + "/umemd.conf", root + prefix + "/etc/umemd")
    put(root, "/etc/systemd/system/umemd.service.d/test.conf", "[Service]\nWatchdogSec=3s\n")
    place = "/umemd-check"
    os.makedirs(root + place)
    for name in ("daemontest.py", "openmetrics.py", "recovery.py", "systemd.py"):
        shutil.copy(f"{HERE}/{name}", root + place)
    conf = prefix + "/etc/umemd/umemd.conf.d/metrics.conf"
    put(root, conf, "[Metrics]\nListen=/run/umemd/metrics\n[Daemon]\n"
                    "AdministratorGroup=umemd\n")
    put(root, place + "/conf", conf)
    shutil.copy(units + "/metrics-loopback.conf", root + place)
    shutil.copy(programs["victim"], root + place + "/victim")
    # Only what is needed boots.
    put(root, "/etc/systemd/system/umemd-check.target",
        "[Unit]\nRequires=basic.target umemd-check.service\nAfter=basic.target\n"
        "AllowIsolate=yes\n")
    put(root, "/etc/systemd/system/umemd-check.service",
        "[Unit]\nAfter=basic.target systemd-sysusers.service systemd-tmpfiles-setup.service\n"
        f"[Service]\nType=oneshot\nTimeoutStartSec=200\nExecStart={sys.executable} -B "
        f"{place}/systemd.py inside {place}\n")
    os.makedirs(root + "/tmp", exist_ok=True)


def main():
    if sys.argv[1] == "inside":
        inside(sys.argv[2])
        return 0
    programs = dict(zip(("umemd", "worker", "victim", "service"), sys.argv[1:5]))
    units = sys.argv[5]
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        print("SKIP: needs root and systemd-nspawn")
        return 77
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=30",
                           "--no-pager", programs["service"]], capture_output=True, text=True)
    level = re.search(r"exposure level for \S+ ([0-9.]+)", done.stdout)
    print("systemd-analyze security:", level and level.group(1))
    if not level or float(level.group(1)) > 3.0:
        print(done.stdout[-2000:], done.stderr)
        return 1
    base = tempfile.mkdtemp(prefix="umemd-systemd-")
    mounted = []

    def mount(*words):
        done = subprocess.run(["mount", *words], capture_output=True, text=True)
        if done.returncode:
            print("SKIP: mount:", done.stderr)
            raise SystemExit(77)
        mounted.append(words[-1])
    try:
        mount("-t", "tmpfs", "tmpfs", base)
        for name in ("upper", "work", "root"):
            os.mkdir(f"{base}/{name}")
        mount("-t", "overlay", "overlay", "-o",
              f"lowerdir=/,upperdir={base}/upper,workdir={base}/work", f"{base}/root")
        prepare(base + "/root", programs, units)
        done = subprocess.run(
            ["systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--quiet",
             "--capability=all", "--system-call-filter=@known", "-D", base + "/root", "--",
             "systemd.unit=umemd-check.target"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
            # Else everything in there has a filter, and who has one cannot lift another's.
            env=dict(os.environ, SYSTEMD_SECCOMP="0"), errors="replace")
        result = ""
        if os.path.exists(base + "/upper/umemd-check/result"):
            with open(base + "/upper/umemd-check/result") as file:
                result = file.read()
        print(result)
        if not result.endswith("done\n"):
            print(done.stdout[-3000:], done.stderr[-1000:])
            return 1
        return 1 if "FAIL" in result else 0
    finally:
        for path in reversed(mounted):
            subprocess.run(["umount", "-l", path], capture_output=True)
        time.sleep(0.1)
        os.rmdir(base)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VarlinkError as e:
        print("FAIL", e)
        sys.exit(1)
