"""Works through a queue that is always empty: it never binds anything."""

import signal

while True:
    signal.pause()
