"""Serves on PORT, and has a helper socket on port 0 of loopback: helper.py PORT"""

import sys

from serve import listening, say, serve

helper = listening("127.0.0.1", 0)
main = listening("127.0.0.1", int(sys.argv[1]))
say("helper", helper.getsockname()[1])
serve(main)
