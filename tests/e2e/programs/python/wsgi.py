"""A WSGI application for gunicorn: gunicorn --chdir HERE --bind 127.0.0.1:PORT wsgi:app"""

import os


def app(environ, start_response):
    body = f"hello from {os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
