"""The node's side of the directory: register, list, look up, over classic HTTP.

It speaks to any classic directory. One connection a request, each bounded in time and size; what
an answer says is checked before anything above sees it.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
from yarl import URL

from netchat.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
    InvalidUrl,
    MalformedBody,
)
from netchat.limits import (
    ADDRESSES_MAX,
    DIRECTORY_REQUESTS_MAX,
    DIRECTORY_TIMEOUT_S,
    ERROR_BYTES_MAX,
    LIST_BYTES_MAX,
)
from netchat.model import Address, DisplayText, Name
from netchat.wire.directory import (
    LEASE_HEADER,
    PRODUCT,
    LeaseWish,
    Verb,
    format_registration,
    parse_list,
    parse_lookup,
)

T = TypeVar("T")


def parse_url(text: str) -> str:
    """Return the ``http://host:port`` that ``text`` means; a bare HOST:PORT is understood too.

    Raises:
        InvalidUrl: it names no host, or something that is not plain HTTP.
    """
    try:
        url = URL(text if "://" in text else f"http://{text}")
        if url.scheme != "http" or not url.host or url.user or url.path not in ("", "/"):
            raise InvalidUrl(text)
        url.host.encode("idna")  # as the resolver will, which has no error of ours to say
        return str(url.origin())
    except ValueError:
        raise InvalidUrl(text) from None


class DirectoryClient:
    """Asks the directory at ``url``; use it as an async context manager, or ``close`` it.

    Every method may raise:
        DirectoryUnreachable: no answer in ``timeout_s``, or none that a directory gives.
        DirectoryRefused: it said no.
    """

    def __init__(self, url: str, timeout_s: float = DIRECTORY_TIMEOUT_S) -> None:
        self.url = parse_url(url)
        self.is_netchat = False
        """Whether its last answer said that it is one of ours, which know leases."""
        self._session = aiohttp.ClientSession(
            # Classic servers answer one request a connection, whatever their headers say.
            connector=aiohttp.TCPConnector(force_close=True, limit=DIRECTORY_REQUESTS_MAX),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    @property
    def host(self) -> str:
        return URL(self.url).host or ""

    @property
    def port(self) -> int:
        return URL(self.url).port or 80

    async def register(self, name: Name, address: Address, wish: LeaseWish) -> None:
        """Ask for what ``wish`` says; a classic directory takes it for a plain UPDATE."""
        body = format_registration(Verb.UPDATE, name, address)
        await self._request("POST", "/", body=body, headers={LEASE_HEADER: str(wish)})

    async def list(self) -> Sequence[tuple[Name, Address]]:
        """Return who is present, in the order of the directory."""
        body = await self._request("GET", "/userlist.txt")
        if body.count(b"\n") > ADDRESSES_MAX:
            raise DirectoryUnreachable(self.url, "not-a-directory")
        # A full list takes seconds to read, in which messages still come and go.
        return await asyncio.to_thread(self._checked, parse_list, body)

    async def lookup(self, name: Name) -> Address | None:
        """Return where ``name`` is; None when the directory knows nobody of that name."""
        try:
            body = await self._request("GET", f"/userlist.txt?username={name}")
        except DirectoryRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return self._checked(parse_lookup, body)

    def _checked(self, parse: Callable[[bytes], T], body: bytes) -> T:
        try:
            return parse(body)
        except MalformedBody as error:
            raise DirectoryUnreachable(self.url, "not-a-directory") from error

    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        try:
            async with self._session.request(
                method, self.url + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await self._read(response)
                status = response.status
                self.is_netchat = response.headers.get("Server") == PRODUCT
        except TimeoutError as error:
            raise DirectoryUnreachable(self.url, "timeout") from error
        except aiohttp.ClientConnectorError as error:
            raise DirectoryUnreachable(self.url, "no-connection") from error
        except aiohttp.ClientError as error:
            raise DirectoryUnreachable(self.url, "not-a-directory") from error
        if status != 200:
            why = answer[:ERROR_BYTES_MAX].decode(errors="replace").strip()
            raise DirectoryRefused(self.url, str(DisplayText(why)), status)
        return answer

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        answer = bytearray()
        async for chunk in response.content.iter_any():
            answer += chunk
            if len(answer) > LIST_BYTES_MAX:
                raise DirectoryUnreachable(self.url, "not-a-directory")
        return bytes(answer)
