"""Two listeners on port 0 of every address, then a client that binds port 0 and connects: port_0.py"""

import socket
import threading

from serve import listening, outcome, say, serve

first, second = listening("0.0.0.0", 0), listening("0.0.0.0", 0)
ports = [made.getsockname()[1] for made in (first, second)]
threading.Thread(target=serve, args=(second,), daemon=True).start()
threading.Thread(target=serve, args=(first,), daemon=True).start()
client = socket.socket()
client.bind(("127.0.0.1", 0))
ended = outcome(client.connect, ("127.0.0.1", ports[0]))
client.close()
say("ports", *ports, "client:", ended)
threading.Event().wait()
