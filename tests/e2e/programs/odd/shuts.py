"""Shuts its listening socket down, as WEBrick does when it stops, at SIGUSR1, and stays: shuts.py PORT"""

import signal
import socket
import sys
import threading

from serve import listening, say, serve

made = listening("127.0.0.1", int(sys.argv[1]))


def shut(*_):
    made.shutdown(socket.SHUT_RDWR)
    say("shut down")


signal.signal(signal.SIGUSR1, shut)


def loop():
    try:
        serve(made)
    except OSError:
        pass  # the listener is gone


threading.Thread(target=loop, daemon=True).start()
while True:
    signal.pause()
