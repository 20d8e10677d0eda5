"""uvicorn closes what it has accepted and not read yet when it is asked to end (h11_impl.py, `shutdown`: a connection
without a request), so a client that has just connected gets a reset. Here such a connection gets a second to speak."""

from uvicorn.protocols.http.h11_impl import H11Protocol


class Protocol(H11Protocol):
    def shutdown(self):
        if self.cycle is None:
            self.loop.call_later(1, self.end_if_silent)
        else:
            super().shutdown()

    def end_if_silent(self):
        if not self.transport.is_closing():
            super().shutdown()
