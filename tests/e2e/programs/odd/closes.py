"""Closes every descriptor above stderr at its start, as daemons do, then serves: closes.py PORT"""

import os
import sys

from serve import listening, serve

os.closerange(3, 4096)
serve(listening("127.0.0.1", int(sys.argv[1])))
