"""Becomes nobody before it binds, says who it is, and serves: drops.py PORT"""

import os
import sys

from serve import listening, say, serve

os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
made = listening("127.0.0.1", int(sys.argv[1]))
say("uid", os.getuid())
serve(made)
