"""Serves on a Unix path, after unlinking what lies there, as most programs do: unix.py PATH"""

import os
import socket
import sys

from serve import serve

if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
made = socket.socket(socket.AF_UNIX)
made.bind(sys.argv[1])
made.listen(64)
serve(made)
