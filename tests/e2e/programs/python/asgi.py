"""An ASGI application for uvicorn: uvicorn --app-dir HERE asgi:app --port PORT"""

import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = f"hello from {os.getpid()}\n".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
