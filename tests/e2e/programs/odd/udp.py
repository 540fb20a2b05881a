"""Answers every datagram with its pid: udp.py PORT"""

import os
import socket
import sys

made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.bind(("127.0.0.1", int(sys.argv[1])))
while True:
    _, peer = made.recvfrom(2048)
    made.sendto(b"hello from %d\n" % os.getpid(), peer)
