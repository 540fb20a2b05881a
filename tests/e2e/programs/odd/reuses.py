"""Sets SO_REUSEPORT itself and listens twice on PORT, one thread for each: reuses.py PORT"""

import os
import socket
import sys
import threading


def loop(name, made):
    while True:
        connection, _ = made.accept()
        with connection:
            connection.recv(4096)
            body = f"{name} hello from {os.getpid()}\n"
            connection.sendall(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
            )


for name in ("first", "second"):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", int(sys.argv[1])))
    made.listen(64)
    threading.Thread(target=loop, args=(name, made), daemon=True).start()
threading.Event().wait()
