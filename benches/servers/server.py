"""Python's http.server, as its documentation shows it, answering with its pid: server.py PORT [reuse|threads]

No signal handler. `reuse` sets SO_REUSEPORT; with `threads` requests run side by side; `/slow` takes 500 ms.
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.5)
        self.send_response(200)
        self.send_header("X-Worker", str(os.getpid()))
        self.send_header("Connection", "close")
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *_):
        pass


def serve(kind, option):
    kind.request_queue_size = 1024
    kind.allow_reuse_port = option == "reuse"
    kind(("0.0.0.0", int(sys.argv[1])), Hello).serve_forever()


option = sys.argv[2] if len(sys.argv) > 2 else ""
serve(ThreadingHTTPServer if option == "threads" else HTTPServer, option)
