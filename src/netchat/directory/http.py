"""HTTP for the directory: aiohttp's server, with a bound on everything that strangers can take.

The parts that the classic requests and those of ``/v2/`` share.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from aiohttp import web

from netchat.errors import MalformedBody
from netchat.limits import CONNECTIONS_MAX, REQUEST_DEADLINE_S
from netchat.wire.directory import PRODUCT

log = logging.getLogger(__name__)


class GuardedServer(web.Server):
    """aiohttp's server with a bound on its connections: the oldest one makes room for a new one.

    Those that wait for their mail are not counted: ``live`` has a bound for them. Once it
    ``is_stopping``, one that was accepted just before is ended at once: nobody else would.
    """

    is_stopping = False

    def __call__(self) -> "Connection":
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self.is_stopping:
            transport.abort()
        counted = [x for x in self.connections if isinstance(x, Connection) and not x.is_live]
        for oldest in counted[: max(0, len(counted) - CONNECTIONS_MAX)]:
            oldest.make_room()


class Connection(web.RequestHandler):
    """What aiohttp refuses by itself gets one sentence too, and no traceback in the log.

    ``is_judged`` while a whole change is with the store; ``is_live`` while a key that was proved
    waits for its mail.
    """

    is_judged = False
    is_live = False

    def make_room(self) -> None:
        """End now; a change is answered first, because it may take effect."""
        if self.is_judged:
            self.close()
        else:
            self.force_close()

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's always closes
        """Answer what came before the client ended its half: some end it with their request."""
        if self.is_live or (self._waiter is not None and not self._waiter.done()):
            return False  # nothing came that is not answered
        self.close()
        return True

    async def start(self) -> None:
        """Serve the connection; when aiohttp trips over a request, the connection ends with it."""
        try:
            await super().start()
        except Exception as error:
            log.error("connection failed: %r", error)
            if self.transport is not None:
                self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            log.error("request failed: %r", exc)
            refusal = sentence(status, "The directory failed at this request; try again later.")
        else:
            refusal = sentence(status, "This is not an HTTP request that the directory takes.")
        refusal.force_close()
        return refusal


@contextlib.contextmanager
def judged(request: web.BaseRequest) -> Iterator[None]:
    """Keep the connection of ``request`` meanwhile: what is asked for may take effect."""
    connection = request.protocol
    assert isinstance(connection, Connection)
    connection.is_judged = True
    try:
        yield
    finally:
        connection.is_judged = False


async def read_body(request: web.BaseRequest, size_max: int) -> bytes:
    """Return the body. Who stops in the middle is cut off.

    Raises:
        MalformedBody: ``too-large`` above ``size_max``; ``malformed`` when it does not come whole.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(REQUEST_DEADLINE_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > size_max:
                    raise MalformedBody("too-large")
    except (TimeoutError, ConnectionError, web.RequestPayloadError):
        raise MalformedBody("malformed") from None
    return bytes(body)


async def write(request: web.BaseRequest, response: web.Response) -> None:
    """Send the answer; who does not take it in time is cut off, and holds no memory of ours."""
    transport = request.transport
    if transport is None:
        return
    transport.set_write_buffer_limits(0)  # so that written means: taken by the kernel
    try:
        async with asyncio.timeout(REQUEST_DEADLINE_S):
            await response.prepare(request)
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        transport.abort()


def sentence(status: int, text: str) -> web.Response:
    return plain(status, text.encode())


def plain(status: int, body: bytes) -> web.Response:
    return _response(status, body, "text/plain; charset=utf-8")


def as_json(status: int, body: bytes) -> web.Response:
    return _response(status, body, "application/json")


def _response(status: int, body: bytes, kind: str) -> web.Response:
    return web.Response(
        status=status,
        body=body,
        headers={
            "Server": PRODUCT,
            "Content-Type": kind,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
