"""Listens on PORT, tries the same again, says how that ended, and serves: twice.py PORT"""

import sys

from serve import listening, outcome, say, serve

port = int(sys.argv[1])
first = listening("127.0.0.1", port)
say("second listen:", outcome(listening, "127.0.0.1", port))
serve(first)
