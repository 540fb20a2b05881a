"""Serves on PORT and tries to listen on OTHER: outside.py PORT OTHER"""

import sys

from serve import listening, outcome, say, serve

kept = []
first = listening("127.0.0.1", int(sys.argv[1]))
say("other port:", outcome(lambda: kept.append(listening("127.0.0.1", int(sys.argv[2])))))
serve(first)
