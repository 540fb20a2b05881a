"""Answers `/health` with 503 until the file GATE is there, then with 200: health.py PORT GATE"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Gated(BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path != "/health" or os.path.exists(sys.argv[2])
        body = b"hello from %d\n" % os.getpid()
        self.send_response(200 if good else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Gated).serve_forever()
