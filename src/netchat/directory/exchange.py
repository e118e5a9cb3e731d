"""One request over HTTP and its answer, bounded in time and size; aiohttp's errors become ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp

from netchat.errors import DirectoryUnreachable
from netchat.limits import (
    DIRECTORY_REQUESTS_MAX,
    LIST_BYTES_MAX,
    LIVE_MESSAGE_BYTES_MAX,
    LIVE_PING_S,
    REQUEST_LINGER_S,
)
from netchat.wire.directory import PRODUCT
from netchat.wire.directory_v2 import NONCE_HEADER, PRESENT_HEADER


@dataclass(frozen=True, slots=True)
class Answer:
    """What came; ``is_netchat`` when it says so, ``nonce`` and ``present`` as in its headers."""

    status: int
    body: bytes
    is_netchat: bool
    nonce: str = ""
    present: str = ""


class Exchange:
    """Asks the server at ``url``. Close it.

    Every method may raise:
        DirectoryUnreachable: no answer in ``timeout_s``, or none that is HTTP.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._session = aiohttp.ClientSession(
            # Classic servers answer one request a connection, whatever their headers say.
            connector=aiohttp.TCPConnector(force_close=True, limit=DIRECTORY_REQUESTS_MAX),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            trust_env=False,
            trace_configs=[_not_elsewhere()],
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept"),
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Return what it answers, whatever the status."""
        with self._translated():
            async with self._session.request(
                method, self.url + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await self._read(response)
                given = response.headers
                return Answer(
                    response.status,
                    answer,
                    given.get("Server") == PRODUCT,
                    given.get(NONCE_HEADER, ""),
                    given.get(PRESENT_HEADER, ""),
                )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        answer = bytearray()
        async for chunk in response.content.iter_any():
            answer += chunk
            if len(answer) > LIST_BYTES_MAX:
                raise DirectoryUnreachable(self.url, "not-a-directory")
        return bytes(answer)

    @asynccontextmanager
    async def talk(self, path: str, first: str) -> AsyncIterator["Talk"]:
        """Open a WebSocket and say ``first``."""
        with self._translated():
            async with asyncio.timeout(self._timeout_s):
                socket = await self._session.ws_connect(
                    self.url + path,
                    heartbeat=LIVE_PING_S,
                    max_msg_size=LIVE_MESSAGE_BYTES_MAX,
                    timeout=aiohttp.ClientWSTimeout(ws_close=REQUEST_LINGER_S),
                )
        async with socket:
            with self._translated():
                await socket.send_str(first)
            yield Talk(self.url, socket)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._session.closed:  # by whoever found another directory meanwhile
            raise DirectoryUnreachable(self.url, "no-connection")
        try:
            yield
        except TimeoutError as error:
            raise DirectoryUnreachable(self.url, "timeout") from error
        except aiohttp.ClientConnectorError as error:
            raise DirectoryUnreachable(self.url, "no-connection") from error
        except (aiohttp.ClientError, ValueError) as error:  # the latter from parts of its answer
            raise DirectoryUnreachable(self.url, "not-a-directory") from error


def _not_elsewhere() -> aiohttp.TraceConfig:
    """Follow no redirect, not even where aiohttp has no argument for it: a directory sends nobody
    to other machines."""

    async def refuse(*_: object) -> None:
        raise aiohttp.ClientError("a redirect")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(refuse)
    return tracing


class Talk:
    """The other end of a WebSocket."""

    def __init__(self, url: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._url = url
        self._socket = socket

    async def hear(self, timeout_s: float | None) -> bytes:
        """Return the next message.

        Raises:
            DirectoryUnreachable: it ended, or was silent for longer than ``timeout_s``.
        """
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._socket.receive()
        except TimeoutError as error:
            raise DirectoryUnreachable(self._url, "timeout") from error
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise DirectoryUnreachable(self._url, "no-connection")
        said: str = message.data
        return said.encode()
