"""Serves on a Unix path, after unlinking what lies there, as most programs do: unix.py PATH [HABIT ...]

umask=OCTAL: its umask; nobody: it is nobody before it binds; tidy: it unlinks the path when it is asked to end.
"""

import os
import signal
import socket
import sys

from serve import serve

path, *habits = sys.argv[1:]


def tidy_up(*_):
    os.unlink(path)
    os._exit(0)


for habit in habits:
    if habit.startswith("umask="):
        os.umask(int(habit[6:], 8))
    elif habit == "nobody":
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    elif habit == "tidy":
        signal.signal(signal.SIGTERM, tidy_up)
    else:
        sys.exit(f"{habit}?")
if os.path.exists(path):
    os.unlink(path)
made = socket.socket(socket.AF_UNIX)
made.bind(path)
made.listen(64)
serve(made)
