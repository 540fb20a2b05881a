"""Listens on PORT, says a line once the file GATE is there, and serves: line.py PORT GATE"""

import sys
import threading

from serve import listening, say, serve, wait_for_file

made = listening("127.0.0.1", int(sys.argv[1]))
threading.Thread(target=serve, args=(made,), daemon=True).start()
say("warming up")
wait_for_file(sys.argv[2])
say("worker is ready after", "3 steps")
threading.Event().wait()
