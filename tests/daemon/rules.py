#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules of umemd.conf: policies for processes as they appear."""
import json
import os
import signal
import subprocess
import sys
import time

from daemontest import (OTHER, Client, Daemon, Target, as_user, check, error_of, main_with_swap,
                        until)
from reclaim import swapped
from restart import Managed

# At once, and of nobody who may be on this machine besides.
RULE = f"""[Reclaim test]
Name=ctl-vic*
User={OTHER}
Interval=100ms
RefaultMax=0%
CpuMax=100%
SwapLeft=0
"""
LOOK = "[Daemon]\nLookForProcesses=100ms\nLogLevel=info\n"


def told(c, t):
    """What is told of a process, or None."""
    return next((x for x in c.targets("List")["targets"] if x["pid"] == t.pid and
                 x["state"] not in ("ended", "failed", "detaching")), None)


def until_taken(c, t):
    until(20, lambda: told(c, t) and "reclaim" in told(c, t), lambda: c.targets("List"))
    return told(c, t)


def until_let_go(c, t):
    until(20, lambda: not told(c, t), lambda: c.targets("List"))


def victim(programs, user=OTHER):
    return Target(programs, user=user)


def rewrite(d, text):
    """Another configuration, read again."""
    before = d.text().count("read again") + d.text().count("stays as it was")
    with open(d.config, "w") as file:
        file.write(text)
    d.proc.send_signal(signal.SIGHUP)
    until(10, lambda: d.text().count("read again") + d.text().count("stays as it was") > before,
          "read again")


def appear(programs):
    """Those that are there, those that come, and not those of others."""
    with victim(programs) as early, Daemon(programs, config=LOOK + RULE) as d, d.client() as c:
        one = until_taken(c, early)
        check(one["rule"] == "test" and one["reclaim"] == "probe" and one["kept"] and
              one["how"] == "opened" and one["uid"] == 0, one)
        with victim(programs) as late, victim(programs, user=None) as roots:
            until_taken(c, late)
            until(30, lambda: swapped(late) > 0, "it is put on trial")
            late.step()
            check(not told(c, roots), "of another user")
            check(late.is_clean(), late.left())
            pid = late.pid
        until(20, lambda: all(x["pid"] != pid or x["state"] == "ended"
                              for x in c.targets("List")["targets"]), "it ended")
        with victim(programs) as again:
            until_taken(c, again)
        # One session a process, however often it is found.
        time.sleep(0.5)
        check(sum(x["pid"] == early.pid for x in c.targets("List")["targets"]) == 1, "twice")
        early.step()
        # Its user sees nothing of it, and may have it besides.
        with as_user(OTHER):
            own = Client(d.socket)
        with own:
            check(own.targets("List") == {"targets": []}, "seen")
            target = own.targets("Open", pid=early.pid)["target"]
            e = error_of(own.call, "io.umemd.Reclaim.Set", target=target, policy={})
            check(e.name == "Failed" and "already" in e.parameters["text"], e)
            own.call("io.umemd.Residency.Map", target=target)


def by_cgroup(programs):
    with victim(programs) as t:
        with open(f"/proc/{t.pid}/cgroup") as file:
            path = file.readline().strip().split(":", 2)[2]
        rule = RULE + f"Cgroup={path}\n"
        with Daemon(programs, config=LOOK + rule) as d, d.client() as c:
            until_taken(c, t)
            rewrite(d, LOOK + RULE.replace("[Reclaim test]", "[Reclaim other]") +
                    "Cgroup=/no/such/*\n")
            until_let_go(c, t)
            time.sleep(0.5)
            check(not told(c, t), "it does not fit")


def reload(programs):
    """A rule that changes, one that is gone, and one that is wrong."""
    with victim(programs) as t, Daemon(programs, config=LOOK + RULE) as d, d.client() as c:
        target = until_taken(c, t)["target"]
        rewrite(d, LOOK + RULE + "DryRun=yes\nFloor=1M\n")
        policy = c.call("io.umemd.Reclaim.Get", target=target)["policy"]
        check(policy["dry_run"] and policy["floor_bytes"] == 1 << 20, policy)
        rewrite(d, LOOK + RULE + "Policy=hope\n")
        check(c.call("io.umemd.Reclaim.Get", target=target)["policy"] == policy, "as it was")
        # By age it has to be attached to.
        rewrite(d, LOOK + RULE + "Policy=age\n")
        until(20, lambda: told(c, t) and told(c, t)["how"] == "attached" and
              told(c, t).get("reclaim") == "age", lambda: c.targets("List"))
        rewrite(d, LOOK)
        until_let_go(c, t)
        until(10, t.is_clean, t.left)
        t.step()


def not_to_be_had(programs):
    """Somebody else is at work there: told once, and left alone."""
    with victim(programs) as t:
        run = subprocess.Popen([programs["umemctl"], "--json", "--embedded", "reclaim", str(t.pid),
                                "--dry-run", "--interval", "100ms"], stdout=subprocess.PIPE)
        run.stdout.readline()
        with Daemon(programs, config=LOOK + RULE) as d, d.client() as c:
            until(20, lambda: "is left alone by rule" in d.text(), d.text)
            time.sleep(0.5)
            check(d.text().count("is left alone by rule") == 1, d.text())
            until(10, lambda: c.targets("List") == {"targets": []}, lambda: c.targets("List"))
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=20)
            check(not told(c, t), "not tried again")


def told_of_rules(programs):
    """What each rule is about, has, and leaves alone; as status tells it, and its JSON."""
    other = RULE.replace("[Reclaim test]", "[Reclaim none]").replace("ctl-vic*", "no-such-name")
    age = RULE.replace("[Reclaim test]", "[Reclaim shadowed]") + "Policy=age\n"

    def status(*words):
        return subprocess.run([programs["umemctl"], *words, "--connect", d.socket, "status"],
                              capture_output=True, text=True, check=True).stdout
    with victim(programs) as t, victim(programs) as busy:
        run = subprocess.Popen([programs["umemctl"], "--json", "--embedded", "reclaim",
                                str(busy.pid), "--dry-run", "--interval", "100ms"],
                               stdout=subprocess.PIPE)
        run.stdout.readline()
        with Daemon(programs, config=LOOK + RULE + other + age) as d, d.client() as c:
            def rules():
                return c.call("io.umemd.Reclaim.Rules")["rules"]
            until(20, lambda: [(x["matched"], x["applied"], x["refused"]) for x in rules()] ==
                  [(2, 1, 1), (0, 0, 0), (0, 0, 0)], rules)
            test, none, shadowed = rules()
            names = [test["rule"], none["rule"], shadowed["rule"]]
            check(names == ["test", "none", "shadowed"] and shadowed["policy"] == "age", rules())
            check([x["pid"] for x in test["refusals"]] == [busy.pid] and
                  test["refusals"][0]["reason"] and none["refusals"] == [], test)
            lines = [json.loads(x) for x in status("--json").splitlines()]
            check([x for x in lines if "rule" in x] == rules() and
                  [x["pid"] for x in lines if "target" in x] == [t.pid], lines)
            text = status()
            check("\nRULE " in text and "\ntest " in text and
                  f"process {busy.pid} is left alone: {test['refusals'][0]['reason']}" in text,
                  text)
            # Whoever else asks learns nothing of the processes of others.
            with as_user(OTHER):
                own = Client(d.socket)
            with own:
                check(own.call("io.umemd.Reclaim.Rules") == {"rules": []}, "told")
            # It is to be had when the configuration is read again, and another one ended.
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=20)
            rewrite(d, LOOK + RULE)
            until(20, lambda: [(x["matched"], x["applied"], x["refused"]) for x in rules()] ==
                  [(2, 2, 0)], rules)
            busy.close()
            until(20, lambda: [(x["matched"], x["applied"], x["refused"]) for x in rules()] ==
                  [(1, 1, 0)], rules)
            rewrite(d, LOOK)
            until_let_go(c, t)
            check(rules() == [] and "RULE" not in status(), status())


def restarts(programs):
    """Over a restart it goes on as one; a rule that is gone then lets it go."""
    with victim(programs) as t, Managed(programs, config=LOOK + RULE) as d:
        with d.client() as c:
            target = until_taken(c, t)["target"]
        for signo in (signal.SIGTERM, signal.SIGKILL):
            d.again(signo)
            with d.client() as c:
                one = until_taken(c, t)
                check(one["target"] == target and one["rule"] == "test", one)
                until(10, lambda: "interval" in c.call("io.umemd.Reclaim.Status", target=target),
                      "it goes on")
                time.sleep(0.4)
                check(len(c.targets("List")["targets"]) == 1, c.targets("List"))
        with open(d.config, "w") as file:
            file.write(LOOK)
        d.again(signal.SIGTERM)
        with d.client() as c:
            until_let_go(c, t)
        t.step()


def checked(programs):
    """--check-config shows rules, and refuses one about nobody."""
    def run(text):
        path = f"/tmp/umemd-rules-{os.getpid()}"
        with open(path, "w") as file:
            file.write(text)
        done = subprocess.run([programs["umemd"], "--config", path, "--check-config"],
                              capture_output=True, text=True)
        os.unlink(path)
        return done
    done = run(RULE)
    check(done.returncode == 0 and "[Reclaim test]\nName=ctl-vic*\n" in done.stdout, done)
    done = run("[Reclaim x]\nRate=1M\n")
    check(done.returncode == 2 and "[Reclaim x] needs Name" in done.stderr, done)


if __name__ == "__main__":
    main_with_swap([appear, by_cgroup, reload, not_to_be_had, told_of_rules, restarts, checked],
                   sys.argv)
