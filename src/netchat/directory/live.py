"""WebSockets that tell of mail at once.

The first message is a signed request; from then on the newest cursor of that key's mailbox is
pushed, first the one there is, then each that comes. One connection a key, and the newest wins. Who
does not take what is pushed holds one number in memory, and is cut off in time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from netchat.directory.http import Connection
from netchat.directory.refusals import refused_body
from netchat.errors import MalformedBody, MalformedRecord, NetChatError, RemoteError
from netchat.limits import (
    LIVE_MAX,
    LIVE_MESSAGE_BYTES_MAX,
    LIVE_PER_ADDRESS_MAX,
    LIVE_PING_S,
    REQUEST_DEADLINE_S,
    REQUEST_LINGER_S,
)
from netchat.model import PeerId, origin_of
from netchat.wire.directory import PRODUCT
from netchat.wire.directory_v2 import format_mail

Proof = Callable[[bytes], Awaitable[tuple[PeerId, int]]]
"""Return whose signed request that is, and the newest cursor of its mailbox."""


class _Waiting:
    """One key that waits; ``end`` is why it shall not any longer, "" when the directory stops."""

    def __init__(self, connection: Connection, host: str, cursor: int) -> None:
        connection.is_live = True
        self.host = host
        self._connection = connection
        self.cursor = cursor
        self.end: str | None = None
        self.news = asyncio.Event()
        self.news.set()

    def told(self, cursor: int) -> None:
        self.cursor = max(self.cursor, cursor)
        self.news.set()

    def ended(self, why: str) -> None:
        self._connection.is_live = False  # so that it may have to make room while it closes
        self.end = why
        self.news.set()


class Live:
    """Who waits for mail; ``proof`` judges the first message of each."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        self._waiting: dict[PeerId, _Waiting] = {}
        self._is_stopping = False

    def wake(self, key: PeerId, cursor: int) -> None:
        """Tell ``key`` of an envelope at ``cursor``, if it waits."""
        if (waiting := self._waiting.get(key)) is not None:
            waiting.told(cursor)

    def stop(self) -> None:
        """Let go of all who wait, and of all who come later."""
        self._is_stopping = True
        for waiting in self._waiting.values():
            waiting.ended("")

    async def serve(
        self, request: web.BaseRequest, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        """Serve one connection until it ends.

        Raises:
            MalformedBody: it is no WebSocket.
        """
        socket = web.WebSocketResponse(
            timeout=REQUEST_LINGER_S,
            heartbeat=LIVE_PING_S,
            compress=False,
            max_msg_size=LIVE_MESSAGE_BYTES_MAX,
            writer_limit=0,
        )
        socket.headers.update({"Server": PRODUCT, **headers})
        connection, transport = request.protocol, request.transport
        if transport is None or not socket.can_prepare(request):
            raise MalformedBody("malformed")
        assert isinstance(connection, Connection)
        transport.set_write_buffer_limits(0)  # so that written means: taken by the kernel
        try:
            async with asyncio.timeout(REQUEST_DEADLINE_S):
                await socket.prepare(request)
                host = origin_of(request.remote or "::")
                key, waiting = await self._admitted(socket, connection, host)
        except RemoteError as error:
            await _refuse(socket, error.reason)
        except NetChatError:
            await _refuse(socket, "store-unavailable")
        except (TimeoutError, ConnectionError):
            transport.abort()
        else:
            try:
                await self._push_until_it_ends(socket, waiting)
            except* (TimeoutError, ConnectionError):
                transport.abort()
            finally:
                if self._waiting.get(key) is waiting:
                    del self._waiting[key]
        return socket

    async def _admitted(
        self, socket: web.WebSocketResponse, connection: Connection, host: str
    ) -> tuple[PeerId, _Waiting]:
        message = await socket.receive()
        if message.type is not WSMsgType.TEXT:
            raise MalformedRecord("malformed")
        key, cursor = await self._proof(message.data.encode())
        older = self._waiting.get(key)
        if older is None and self._is_full(host):
            raise MalformedRecord("busy")
        if older is not None:
            older.ended("replaced")
        waiting = self._waiting[key] = _Waiting(connection, host, cursor)
        if self._is_stopping:
            waiting.ended("")
        return key, waiting

    def _is_full(self, host: str) -> bool:
        here = sum(waiting.host == host for waiting in self._waiting.values())
        return len(self._waiting) >= LIVE_MAX or here >= LIVE_PER_ADDRESS_MAX

    async def _push_until_it_ends(self, socket: web.WebSocketResponse, waiting: _Waiting) -> None:
        async with asyncio.TaskGroup() as tasks:
            pushing = tasks.create_task(_push(socket, waiting))
            await socket.receive()  # nothing more may come: it has ended, or breaks the rules
            pushing.cancel()
        await socket.close()


async def _push(socket: web.WebSocketResponse, waiting: _Waiting) -> None:
    while True:
        await waiting.news.wait()
        waiting.news.clear()
        async with asyncio.timeout(REQUEST_DEADLINE_S):
            if waiting.end is not None:
                await _refuse(socket, waiting.end)
                return
            await socket.send_str(format_mail(waiting.cursor).decode())


async def _refuse(socket: web.WebSocketResponse, code: str) -> None:
    """Say why, if there is something to say, and close."""
    with suppress(ConnectionError):
        if code:
            await socket.send_str(refused_body(code)[1].decode())
        await socket.close(code=WSCloseCode.POLICY_VIOLATION if code else WSCloseCode.GOING_AWAY)
