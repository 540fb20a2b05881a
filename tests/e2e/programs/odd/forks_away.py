"""A daemon of the old school: forks twice, lets its parents exit, and serves without terminal: forks_away.py PORT"""

import os
import sys

from serve import listening, serve

if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
serve(listening("127.0.0.1", int(sys.argv[1])))
