"""Greets each client with its pid and holds the connection until the client ends it: holds.py PORT"""

import os
import selectors
import sys

from serve import listening

chosen = selectors.DefaultSelector()
listener = listening("127.0.0.1", int(sys.argv[1]))
chosen.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in chosen.select():
        if key.fileobj is listener:
            client = listener.accept()[0]
            client.sendall(b"hello from %d\n" % os.getpid())
            chosen.register(client, selectors.EVENT_READ)
        elif not key.fileobj.recv(4096):
            chosen.unregister(key.fileobj)
            key.fileobj.close()
