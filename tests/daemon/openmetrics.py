# SPDX-License-Identifier: LGPL-2.1-or-later
"""A strict reader of OpenMetrics text, and of HTTP as far as it takes to get it."""
import re
import socket

from daemontest import check

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")
NUMBER = re.compile(r"-?(\d+(\.\d+)?|\d(\.\d+)?e[+-]\d+)\Z")
# Loaded while it can be: later the user may be one who cannot read it.
"x".encode("idna")
ENDS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def connect(address, timeout=20):
    """A connection to a path or to HOST:PORT."""
    if address.startswith("/"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(address)
        return sock
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout)


def read_all(sock):
    data = b""
    while True:
        more = sock.recv(65536)
        if not more:
            return data
        data += more


def split_reply(data):
    """Status, headers, and what is behind them."""
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = dict(x.lower().split(": ", 1) for x in lines[1:])
    return int(lines[0].split()[1]), headers, body


def request(address, path="/metrics", method="GET", headers="", timeout=20):
    with connect(address, timeout) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        return split_reply(read_all(sock))


class Family:
    def __init__(self, name, kind):
        self.name = name
        self.kind = kind
        self.unit = None
        self.help = None
        self.samples = {}  # (name, ((label, value), ...)) -> number


def parse_labels(text, at):
    """Labels behind a brace: a tuple of pairs, and where they end."""
    labels = []
    while True:
        m = re.compile(r'([a-z_]+)="').match(text, at)
        check(m, "no label at", text[at:])
        at = m.end()
        value = ""
        while text[at] != '"':
            if text[at] == "\\":
                check(text[at + 1] in '\\"n', "escaped:", text)
                value += "\n" if text[at + 1] == "n" else text[at + 1]
                at += 2
                continue
            check(text[at].isprintable(), "a control in", repr(text))
            value += text[at]
            at += 1
        labels.append((m[1], value))
        at += 1
        if text[at] == "}":
            check(len({k for k, _ in labels}) == len(labels), "a label twice:", text)
            return tuple(labels), at + 1
        check(text[at] == ",", "between labels:", text)
        at += 1


def parse_sample(line):
    m = re.compile(r"[a-z_][a-z0-9_]*").match(line)
    check(m, "no name:", line)
    at, labels = m.end(), ()
    if line[at] == "{":
        labels, at = parse_labels(line, at + 1)
    check(line[at] == " ", "no blank:", line)
    check(NUMBER.match(line[at + 1:]), "no number:", line)
    return m[0], labels, float(line[at + 1:])


def check_histogram(family):
    at = family.name
    bounds = [(float(labels[0][1]), n) for (name, labels), n in family.samples.items()
              if name == at + "_bucket"]
    check(bounds == sorted(bounds) and len({b for b, _ in bounds}) == len(bounds), "order", bounds)
    counts = [n for _, n in bounds]
    check(counts == sorted(counts), "not cumulative", bounds)
    check(bounds[-1][0] == float("inf") and bounds[-1][1] == family.samples[at + "_count", ()],
          "the last bucket", bounds)
    check(family.samples[at + "_sum", ()] >= 0, "sum")


def check_family(family):
    check(family.help and family.help.endswith("."), family.name, "has no help")
    check(not family.name.endswith("_total"), family.name)
    for unit in ("bytes", "seconds"):
        check(family.name.endswith("_" + unit) == (family.unit == unit), family.name, family.unit)
    for (name, labels), value in family.samples.items():
        check(family.kind == "gauge" or value >= 0, name, value)
        check(name in [family.name + end for end in ENDS[family.kind]], name, "in", family.name)
    if family.kind == "histogram":
        check_histogram(family)


def parse(text):
    """Families by name. What is not as the standard has it is a failure."""
    families = {}
    now = None
    lines = text.split("\n")
    check(lines[-2:] == ["# EOF", ""], "the end", lines[-2:])
    for line in lines[:-2]:
        check(line and "\r" not in line, "line", repr(line))
        if line.startswith("#"):
            mark, word, name, rest = line.split(" ", 3)
            check(mark == "#" and NAME.match(name), "comment", line)
            if word == "TYPE":
                check(name not in families and rest in ENDS, line)
                now = families[name] = Family(name, rest)
            else:
                check(now and name == now.name and not now.samples, "not where it belongs:", line)
                field = {"UNIT": "unit", "HELP": "help"}[word]
                check(getattr(now, field) is None, "twice:", line)
                setattr(now, field, rest)
            continue
        name, labels, value = parse_sample(line)
        check(now and name.startswith(now.name), "in no family:", line)
        check((name, labels) not in now.samples, "twice:", line)
        now.samples[name, labels] = value
    for family in families.values():
        check_family(family)
    return families


class Metrics:
    """What was read at one moment."""

    def __init__(self, address):
        status, headers, body = request(address)
        check(status == 200 and headers["content-type"] == OPEN, status, headers)
        check(headers["connection"] == "close" and
              int(headers["content-length"]) == len(body), headers)
        self.text = body.decode()
        self.families = parse(self.text)

    def get(self, name, **labels):
        """The value of the one sample with these labels, or None."""
        family = self.families[re.sub(r"_(total|bucket|sum|count)\Z", "", name)]
        found = [v for (n, pairs), v in family.samples.items()
                 if n == name and labels.items() <= dict(pairs).items()]
        check(len(found) <= 1, name, labels, "is not one sample:", found)
        return found[0] if found else None

    def labels(self, name, label):
        """The values of a label."""
        return [dict(pairs)[label] for _, pairs in self.families[name].samples]

    def grown_since(self, before):
        """Nothing that only grows got smaller."""
        for family in before.families.values():
            if family.kind == "gauge":
                continue
            for key, value in family.samples.items():
                now = self.families[family.name].samples.get(key)
                # A target that ended takes its own along.
                gone = now is None and key[1] and key[1][0][0] == "target"
                check(gone or now >= value, key, "was", value, "is", now)
