"""What the odd programs share: an HTTP answer with the pid, from any listening socket."""

import errno
import os
import socket
import time


def listening(host, port, backlog=64):
    """A listening socket as Python's own servers make it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind((host, port))
    made.listen(backlog)
    return made


def outcome(call, *words):
    """`ok`, or the name of the error."""
    try:
        call(*words)
        return "ok"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))


def serve(listener):
    """One connection after the other, for ever."""
    while True:
        answer(listener.accept()[0])


def answer(connection):
    with connection:
        try:
            request = b""
            while b"\r\n\r\n" not in request:
                more = connection.recv(4096)
                if not more:
                    return
                request += more
            if b"ms=" in request:
                time.sleep(int(request.split(b"ms=")[1].split()[0]) / 1000)
            body = b"hello from %d\n" % os.getpid()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            connection.sendall(head + body)
        except ConnectionError:
            pass


def say(*words):
    """A line that is not torn apart by other copies writing to the same stream."""
    os.write(1, (" ".join(str(word) for word in words) + "\n").encode())


def wait_for_file(path):
    """Goes on once the test has made the file."""
    while not os.path.exists(path):
        time.sleep(0.01)
