"""An HTTP server as Python's documentation shows it.

    oneport run -i 4 hello.py [-- PORT]        then: curl http://127.0.0.1:8000/

Nothing in it knows about oneport: it binds, it listens, it has no signal handler.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello from {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
ThreadingHTTPServer(("127.0.0.1", port), Hello).serve_forever()
