"""The copy in slot 0 listens with TCP, all others with multipath TCP, as Go programs do: multipath.py PORT"""

import os
import socket
import sys

from serve import serve

IPPROTO_MPTCP = 262
plain = os.environ["NODE_APP_INSTANCE"] == "0"
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0 if plain else IPPROTO_MPTCP)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(64)
serve(listener)
