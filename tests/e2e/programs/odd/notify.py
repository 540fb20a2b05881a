"""Speaks sd_notify: listens on PORT, waits for the file GATE, says READY=1 and then WORDS...: notify.py PORT GATE [WORDS...]"""

import os
import socket
import sys
import threading

from serve import listening, serve, wait_for_file


def tell(*words):
    name = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto("\n".join(words).encode(), "\0" + name[1:] if name.startswith("@") else name)


made = listening("127.0.0.1", int(sys.argv[1]))
threading.Thread(target=serve, args=(made,), daemon=True).start()
wait_for_file(sys.argv[2])
tell("READY=1", "STATUS=at your service")
for word in sys.argv[3:]:
    tell(word)
threading.Event().wait()
