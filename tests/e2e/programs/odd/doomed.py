"""Serves on PORT, except in slot 1 once the file DOOM is there: then it ends right after it listens. doomed.py PORT DOOM"""

import os
import sys

from serve import listening, serve

made = listening("127.0.0.1", int(sys.argv[1]))
if os.environ.get("NODE_APP_INSTANCE") == "1" and os.path.exists(sys.argv[2]):
    sys.exit("slot 1 is doomed")
serve(made)
