"""The directory over HTTP: the classic requests exactly, and limits on everything else.

    POST /                        UPDATE name@ip:port, REGISTER likewise     200, or why not
    POST /userlist.txt            the same, for the older generation
    GET  /userlist.txt            the list
    GET  /userlist.txt?username=  one address, or 404

Every refusal is a 4xx or 503 with one sentence. The directory never connects to an address that
somebody registered. Specification: docs/spec/classic.md.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from netchat.directory.registry import Decision, Refusal, Verdict, decide
from netchat.directory.store import NOBODY, DirectoryStore
from netchat.errors import (
    AddressInUse,
    InvalidName,
    MalformedBody,
    NameHeld,
    NetChatError,
    StoreUnavailable,
)
from netchat.limits import (
    CONNECTIONS_MAX,
    LISTEN_BACKLOG,
    REQUEST_BODY_BYTES_MAX,
    REQUEST_DEADLINE_S,
    REQUEST_HEADER_BYTES_MAX,
    REQUEST_HEADERS_MAX,
    REQUEST_LINGER_S,
    STOP_GRACE_S,
    SWEEP_S,
)
from netchat.model import Name
from netchat.wire.directory import (
    LEASE_HEADER,
    PRODUCT,
    LeaseWish,
    Registration,
    format_list,
    format_lookup,
    parse_lease,
    parse_registration,
)

log = logging.getLogger(__name__)


_BODY_SENTENCES: Final = {
    "malformed": "The body must be UPDATE name@ip:port.",
    "bad-name": "A name has 1 to 32 letters, digits, dots, dashes or underscores"
    " and begins with a letter or digit.",
    "reserved-name": "This name is reserved; choose another one.",
    "bad-address": "The address must be an IPv4 address and a port, like 192.0.2.7:54321.",
    "bad-lease": "The NetChat-Lease header must be take=SECONDS, keep=SECONDS or end.",
}
_REFUSAL_SENTENCES: Final = {
    Refusal.TAKEN: (409, "This name is registered already."),
    Refusal.MOVED: (409, "This name is registered from another address now."),
    Refusal.FULL: (503, "The directory is full; try again later."),
}
_BIND_REASONS: Final = {
    errno.EADDRINUSE: "in-use",
    errno.EACCES: "not-permitted",
    errno.EADDRNOTAVAIL: "not-here",
    None: "not-here",  # asyncio's own words for EADDRNOTAVAIL, since Python 3.13
}


class _GuardedServer(web.Server):
    """aiohttp's server with a bound on its connections: the oldest one makes room for a new one."""

    def __call__(self) -> "_Connection":
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        connections = self.connections
        for oldest in connections[: max(0, len(connections) - CONNECTIONS_MAX)]:
            assert isinstance(oldest, _Connection)
            oldest.make_room()


class _Connection(web.RequestHandler):
    """What aiohttp refuses by itself gets one sentence too, and no traceback in the log.

    ``is_judged`` while a whole registration is with the store.
    """

    is_judged = False

    def make_room(self) -> None:
        """End now; a registration is answered first, because it may take effect."""
        if self.is_judged:
            self.close()
        else:
            self.force_close()

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's always closes
        """Answer what came before the client ended its half: some end it with their request."""
        if self._waiter is not None and not self._waiter.done():
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
            refusal = _sentence(status, "The directory failed at this request; try again later.")
        else:
            refusal = _sentence(status, "This is not an HTTP request that the directory takes.")
        refusal.force_close()
        return refusal


class DirectoryServer:
    """Serves ``store`` over HTTP on any number of addresses.

    ``now_ms`` is the clock. Start it, then stop it once; both from the same event loop.
    """

    def __init__(
        self, store: DirectoryStore, now_ms: Callable[[], int], classic_ttl_ms: int
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._classic_ttl_ms = classic_ttl_ms
        self._runner: web.ServerRunner | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen on every one of ``hosts``, all at one port, and return that port.

        Raises:
            AddressInUse: one of them cannot be had.
        """
        server = _GuardedServer(
            self._handle,
            access_log=None,
            keepalive_timeout=REQUEST_DEADLINE_S,
            lingering_time=REQUEST_LINGER_S,
            auto_decompress=False,
            max_line_size=REQUEST_HEADER_BYTES_MAX,
            max_field_size=REQUEST_HEADER_BYTES_MAX,
            max_headers=REQUEST_HEADERS_MAX,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_GRACE_S)
        await self._runner.setup()
        for host in hosts:
            site = web.TCPSite(self._runner, host, port, backlog=LISTEN_BACKLOG)
            try:
                await site.start()
            except OSError as error:
                await self._runner.cleanup()
                reason = _BIND_REASONS.get(error.errno, "failed")
                raise AddressInUse(f"{host}:{port}", reason) from error
            port = self._runner.addresses[0][1]
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep_for_ever())
        return port

    async def stop(self) -> None:
        """Accept nothing more, let requests in flight finish, close the store."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait((self._sweeping,))
        await self._store.close()

    async def _sweep_for_ever(self) -> None:
        """Remove what has ended, now and then."""
        while True:
            await asyncio.sleep(SWEEP_S)
            with contextlib.suppress(StoreUnavailable):
                await self._store.sweep(self._now_ms())

    # --- requests --------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        try:
            response = await self._route(request)
        except NetChatError as error:
            response = _refuse(error)
        await _write(request, response)
        return response

    async def _route(self, request: web.BaseRequest) -> web.Response:
        match request.method, request.path:
            case (("GET" | "HEAD"), "/userlist.txt"):
                if "username" in request.query:
                    return self._lookup(request.query["username"])
                return self._list()
            case "POST", "/" | "/userlist.txt" if "Origin" in request.headers:
                # No classic client sends one: this is a page in somebody's browser.
                return _sentence(403, "Web pages may not register names here.")
            case "POST", "/" | "/userlist.txt":
                return await self._register(request)
            case _, "/" | "/userlist.txt":
                return _sentence(405, "This directory takes GET /userlist.txt and POST /.")
            case _:
                return _sentence(404, "There is nothing here; the list is at /userlist.txt.")

    def _list(self) -> web.Response:
        now_ms = self._now_ms()
        live = ((x.name, x.address) for x in self._store.leases() if x.is_live(now_ms))
        return _plain(200, format_list(live))

    def _lookup(self, username: str) -> web.Response:
        try:
            lease = self._store.lease(Name(username))
        except InvalidName:
            lease = None
        if lease is None or not lease.is_live(self._now_ms()):
            return _sentence(404, "Nobody of this name is registered.")
        return _plain(200, format_lookup(lease.address))

    async def _register(self, request: web.BaseRequest) -> web.Response:
        body = await _read_body(request)
        if body is None:
            return _sentence(413, f"The body may have {REQUEST_BODY_BYTES_MAX:,} bytes at most.")
        header = request.headers.get(LEASE_HEADER)
        wish = None if header is None else parse_lease(header)
        registration = parse_registration(body)
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.is_judged = True
        try:
            decision = await self._decide(registration, wish)
        finally:
            connection.is_judged = False
        if isinstance(decision, Refusal):
            return _sentence(*_REFUSAL_SENTENCES[decision])
        if decision.verdict is not Verdict.GRANT:
            return _sentence(200, f"{decision.lease.name} is not registered at this address.")
        return _sentence(200, f"{decision.lease.name} is at {decision.lease.address}.")

    async def _decide(
        self, registration: Registration, wish: LeaseWish | None
    ) -> Decision | Refusal:
        """Judge and carry out; from the look at the store to the change of it nothing waits."""
        claim = await self._store.claim(registration.name, NOBODY)
        registration = Registration(registration.verb, claim.name, registration.address)
        decision = decide(
            self._now_ms(),
            registration,
            wish,
            self._store.lease(claim.name),
            self._store.lease_count(),
            self._classic_ttl_ms,
        )
        if isinstance(decision, Decision):
            await self._carry_out(decision)
        return decision

    async def _carry_out(self, decision: Decision) -> None:
        match decision.verdict:
            case Verdict.GRANT:
                await self._store.put_lease(decision.lease)
            case Verdict.END:
                await self._store.drop_lease(decision.lease)
            case Verdict.NOTHING:
                pass


async def _read_body(request: web.BaseRequest) -> bytes | None:
    """Return the body, or None when it is too long. Who stops in the middle is cut off."""
    body = bytearray()
    try:
        async with asyncio.timeout(REQUEST_DEADLINE_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > REQUEST_BODY_BYTES_MAX:
                    return None
    except (TimeoutError, ConnectionError, web.RequestPayloadError):
        raise MalformedBody("malformed") from None
    return bytes(body)


async def _write(request: web.BaseRequest, response: web.Response) -> None:
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


def _refuse(error: NetChatError) -> web.Response:
    match error:
        case MalformedBody():
            return _sentence(400, _BODY_SENTENCES[error.reason])
        case NameHeld():
            return _sentence(409, "A key holds this name, so it cannot be registered without it.")
        case _:
            log.error("request failed: %s", error)
            return _sentence(503, "The directory's disk does not take this now; try again later.")


def _sentence(status: int, text: str) -> web.Response:
    return _plain(status, text.encode())


def _plain(status: int, body: bytes) -> web.Response:
    return web.Response(
        status=status,
        body=body,
        headers={
            "Server": PRODUCT,
            "Content-Type": "text/plain; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
