"""An application for WSGI and for ASGI that answers with its process id, a little late."""

import asyncio
import os
import time


def wsgi(environ, start_response):
    time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(str(os.getpid()))))])
    return [str(os.getpid()).encode()]


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(0.005)
    body = str(os.getpid()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
