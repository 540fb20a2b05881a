"""Python's http.server, one request after the other, no signal handler: python http_server.py PORT [HOST]

`/slow?ms=N` answers after N milliseconds; with THREADS in the environment requests run side by side.
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from socket import AF_INET6


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        if "ms=" in self.path:
            time.sleep(int(self.path.split("ms=")[1]) / 1000)
        body = f"hello from {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Threads(ThreadingHTTPServer):
    request_queue_size = 512


host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
server = Threads if "THREADS" in os.environ else HTTPServer
if ":" in host:
    server.address_family = AF_INET6
server((host, int(sys.argv[1])), Hello).serve_forever()
