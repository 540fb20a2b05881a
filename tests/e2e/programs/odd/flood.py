"""Writes 32 MiB of output without a pause, then serves: flood.py PORT"""

import os
import sys

from serve import listening, serve

made = listening("127.0.0.1", int(sys.argv[1]))
block = b"x" * 99 + b"\n"
for _ in range(512):
    rest = memoryview(block * 655)
    while rest:
        rest = rest[os.write(1, rest) :]
serve(made)
