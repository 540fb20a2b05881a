"""Serves on PORT; at SIGUSR1 it binds OTHER and writes how that ended into FILE: binds_late.py PORT OTHER FILE"""

import os
import signal
import sys
import threading

from serve import listening, outcome, serve

port, other, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def late(*_):
    ended = outcome(listening, "127.0.0.1", other)
    with open(f"{path}.new", "w") as out:
        out.write(ended)
    os.rename(f"{path}.new", path)


signal.signal(signal.SIGUSR1, late)
threading.Thread(target=serve, args=(listening("127.0.0.1", port),), daemon=True).start()
while True:
    signal.pause()
