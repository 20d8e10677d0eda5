"""An application for WSGI and for ASGI that answers with its process id, a little late, or two seconds late at /slow."""

import asyncio
import os
import time


def delay(path):
    return 2 if path == "/slow" else 0.005


def wsgi(environ, start_response):
    time.sleep(delay(environ["PATH_INFO"]))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(str(os.getpid()))))])
    return [str(os.getpid()).encode()]


async def lifespan(receive, send):
    while True:
        begun = (await receive())["type"]
        await send({"type": begun + ".complete"})
        if begun == "lifespan.shutdown":
            return


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await asyncio.sleep(delay(scope["path"]))
    body = str(os.getpid()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
