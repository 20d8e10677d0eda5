"""hypercorn too closes what it has accepted and not read yet when it is asked to end (tcp_server.py, `_idle_timeout`: a
connection is idle until its first request). Here such a connection gets a second to speak; a request ends the wait."""

import asyncio

from hypercorn.asyncio.tcp_server import TCPServer

from app import asgi  # noqa: F401: hypercorn looks for it here


async def _idle_timeout(self):
    try:
        await asyncio.wait_for(self.context.terminated.wait(), self.config.keep_alive_timeout)
        await asyncio.sleep(1)
    except asyncio.TimeoutError:
        pass
    await asyncio.shield(self._initiate_server_close())


TCPServer._idle_timeout = _idle_timeout
