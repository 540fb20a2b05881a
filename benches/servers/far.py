"""Clients far away, for a kernel without netem: far.py

Runs in a network namespace of its own. Brings up the loopback interface and a TUN interface behind which this program is the
network: it answers each handshake by itself, a round trip late, and speaks as much TCP as one request and one short answer
need. Says `ready`; then for each line `PORT COUNT MILLISECONDS` opens that many connections at once, asks on each of them, and
says who answered, a pid each. They stay open until its end."""

import fcntl
import heapq
import os
import select
import socket
import struct
import subprocess
import sys
import time

HERE, FAR = "10.77.0.1", "10.77.0.2"
SYN, PSH_ACK, ACK = 0x02, 0x18, 0x10
LIMIT = 5.0  # seconds until an answer
TUNSETIFF, IFF_TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


def tunnel():
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"far0", IFF_TUN_WITHOUT_HEADER))
    for words in (["link", "set", "lo", "up"], ["addr", "add", HERE + "/24", "dev", "far0"], ["link", "set", "far0", "up"]):
        subprocess.run(["ip", *words], check=True)
    return fd


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, port, sequence, acknowledged, flags, payload=b""):
    def segment(check):
        return struct.pack("!HHIIBBHHH", source, port, sequence, acknowledged, 5 << 4, flags, 65535, check, 0) + payload

    ends = socket.inet_aton(FAR) + socket.inet_aton(HERE)
    body = segment(0)
    body = segment(checksum(ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(body)) + body))

    def head(check):
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, socket.IPPROTO_TCP, check) + ends

    return head(checksum(head(0))) + body


def burst(fd, first, port, count, late):
    """Opens `count` connections from the source ports `first` on; the pid of each one's worker."""
    answers = {first + number: b"" for number in range(count)}
    workers, due = {}, []
    for source in answers:
        os.write(fd, packet(source, port, 1000, 0, SYN))
    deadline = time.monotonic() + LIMIT
    while len(workers) < count and time.monotonic() < deadline:
        while due and due[0][0] <= time.monotonic():
            os.write(fd, heapq.heappop(due)[1])
        wait = min(due[0][0] if due else deadline, deadline) - time.monotonic()
        if not select.select([fd], [], [], max(wait, 0))[0]:
            continue
        data = os.read(fd, 65536)
        if data[0] >> 4 != 4 or data[9] != socket.IPPROTO_TCP:
            continue
        data = data[(data[0] & 15) * 4 :]
        _, source, sequence, _, offset, flags = struct.unpack("!HHIIBB", data[:14])
        payload, then = data[(offset >> 4) * 4 :], time.monotonic() + late
        if source not in answers:
            continue
        if flags & SYN:
            heapq.heappush(due, (then, packet(source, port, 1001, sequence + 1, PSH_ACK, REQUEST)))
        elif payload:
            answers[source] += payload
            acknowledged = (sequence + len(payload)) & 0xFFFFFFFF
            heapq.heappush(due, (then, packet(source, port, 1001 + len(REQUEST), acknowledged, ACK)))
            for line in answers[source].split(b"\r\n"):
                if line.startswith(b"X-Worker: "):
                    workers[source] = int(line[10:])
    return list(workers.values())


def main():
    fd, first = tunnel(), 20000
    print("ready", flush=True)
    for line in sys.stdin:
        port, count, milliseconds = map(int, line.split())
        print(*burst(fd, first, port, count, milliseconds / 1000), flush=True)
        first += count


main()
