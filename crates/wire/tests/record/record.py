#!/usr/bin/env python3
"""Records what Node's own cluster says on its channels, for tests/transcripts.

    record.py [NODE ...]        default: the `node` found first in PATH

For each Node and each scenario of scenarios.cjs the cluster runs under strace, and the worker's system calls on its
channel become one file, transcripts/<major>/<scenario>.jsonl:

    {"node": "v20.20.2", "scenario": "rr"}
    {"worker": 1, "from": "worker", "handle": false, "line": "..."}

`line` is the exact text without its newline, `handle` says that a descriptor came in the same call. Order is kept
within one worker; several workers follow one another. Scratch paths are replaced by /run/app. Linux, strace,
Python 3.9 or later. Nothing but loopback is touched; a scenario that takes longer than 30 s is ended.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "transcripts"
TEXT = r'"((?:\\x[0-9a-f]{2})*)"'
WRITE = re.compile(r"^write\((\d+), " + TEXT + r", \d+\) += (\d+)$")
MESSAGE = re.compile(r"^(sendmsg|recvmsg)\((\d+), .*\) += (\d+)$")
IOV = re.compile(r"iov_base=" + TEXT)


def run(node, scenario, scratch):
    """One cluster under strace; gives one trace file per thread, oldest first."""
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    fds = [tcp.fileno(), udp.fileno()]
    env = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
    env.update(RECORD_TCP_FD=str(fds[0]), RECORD_UDP_FD=str(fds[1]))
    trace = ["strace", "-ff", "-qq", "-xx", "-s", "262144", "-e", "trace=write,sendmsg,recvmsg", "-e", "signal=none"]
    command = [*trace, "-o", str(scratch / "trace"), node, str(HERE / "scenarios.cjs"), scenario]
    child = subprocess.Popen(command, cwd=scratch, env=env, pass_fds=fds, start_new_session=True)
    try:
        code = child.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise SystemExit(f"{node}: scenario {scenario} did not end")
    finally:
        tcp.close()
        udp.close()
    if code != 0:
        raise SystemExit(f"{node}: scenario {scenario} ended with {code}")
    return sorted(scratch.glob("trace.*"), key=lambda path: int(path.suffix[1:]))


def calls(path):
    """(descriptor, direction, bytes, handle) of every call in one thread's trace."""
    for call in path.read_text().splitlines():
        if found := WRITE.match(call):
            yield int(found[1]), "worker", unhex(found[2])[: int(found[3])], False
        elif found := MESSAGE.match(call):
            direction = "worker" if found[1] == "sendmsg" else "primary"
            data = b"".join(unhex(part) for part in IOV.findall(call))[: int(found[3])]
            yield int(found[2]), direction, data, "SCM_RIGHTS" in call


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))


def conversation(path):
    """The lines of one worker's channel, or None if this thread is no worker's main thread."""
    every = list(calls(path))
    online = [fd for fd, who, data, _ in every if who == "worker" and b'"act":"online"' in data]
    if not online:
        return None
    lines, rest, waiting = [], {"worker": b"", "primary": b""}, {"worker": False, "primary": False}
    for fd, who, data, handle in every:
        if fd != online[0]:
            continue
        rest[who] += data
        waiting[who] |= handle
        while b"\n" in rest[who]:
            line, rest[who] = rest[who].split(b"\n", 1)
            has = waiting[who] and b'"NODE_HANDLE"' in line
            waiting[who] &= not has
            lines.append({"from": who, "handle": has, "line": line.decode()})
    return lines


def main():
    for node in sys.argv[1:] or ["node"]:
        version = subprocess.check_output([node, "--version"], text=True).strip()
        names = subprocess.check_output([node, str(HERE / "scenarios.cjs")], text=True).split()
        for scenario in names:
            with tempfile.TemporaryDirectory() as scratch:
                traces = run(node, scenario, Path(scratch))
                workers = [lines for path in traces if (lines := conversation(path)) is not None]
                records = [{"node": version, "scenario": scenario}]
                for number, lines in enumerate(workers, 1):
                    records += [{"worker": number, **line} for line in lines]
                text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
                target = OUT / version.lstrip("v").split(".")[0] / f"{scenario}.jsonl"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text.replace(os.path.realpath(scratch), "/run/app"))
            print(f"{version} {scenario}: {len(workers)} workers, {len(records) - 1} lines")


if __name__ == "__main__":
    main()
