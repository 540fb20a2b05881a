"""Serves on the sockets it was started with (LISTEN_FDS), as a service of systemd does; says their names."""

import os
import socket
import threading

from serve import say, serve

mine = os.environ.get("LISTEN_PID") == str(os.getpid())
names = os.environ.get("LISTEN_FDNAMES", "").split(":")
sockets = [socket.socket(fileno=3 + n) for n in range(int(os.environ.get("LISTEN_FDS", "0")))] if mine else []
say("activated", len(sockets), *names)
for made in sockets:
    threading.Thread(target=serve, args=(made,), daemon=True).start()
threading.Event().wait()
