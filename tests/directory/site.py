"""A directory in the test's own event loop, and signed requests to it, right or wrong."""

import asyncio
import json
import os
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp

from netchat.directory.client import DirectoryClient
from netchat.directory.mailbox import Quota
from netchat.directory.records import sign_request
from netchat.directory.server import DirectoryServer
from netchat.directory.store_sqlite import EmbeddedStore
from netchat.identity.keys import Identity
from netchat.limits import CLASSIC_TTL_S
from netchat.model import SignedRecord
from netchat.wire.directory_v2 import Kind, format_deposit

LIMIT_S = 30
START = 1_000_000


@dataclass(frozen=True)
class Answer:
    """What came; ``code`` is that of a refusal, "" when it was none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return "" if self.status == 200 else str(self.json["error"])

    @property
    def nonce(self) -> bytes:
        return b64decode(self.headers["NetChat-Nonce"], validate=True)


class Site:
    """The directory, its clock, which the test moves, and raw requests to it."""

    def __init__(
        self,
        store: EmbeddedStore,
        session: aiohttp.ClientSession,
        kind: Kind,
        quota: Quota,
        folder: Path | None,
    ) -> None:
        self.store = store
        self.now_ms = START
        self.port = 0
        self.id = b""
        self.server = DirectoryServer(
            store,
            lambda: self.now_ms,
            os.urandom,
            CLASSIC_TTL_S * 1_000,
            kind=kind,
            quota=quota,
            folder=folder,
        )
        self.session = session

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        async with self.session.request(
            method, self.url + path, data=body, headers=headers
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def nonce(self) -> bytes:
        return (await self.ask("GET", "/v2/directory")).nonce

    async def request(self, who: Identity, operation: str, **arguments: str | int) -> bytes:
        """Return a request that counts once, not sent yet."""
        return sign_request(who, operation, self.id, await self.nonce(), arguments)

    async def signed(
        self, who: Identity, path: str, operation: str, **arguments: str | int
    ) -> Answer:
        return await self.ask("POST", path, await self.request(who, operation, **arguments))

    async def claim(self, who: Identity, signed: SignedRecord, name: str | None = None) -> Answer:
        body = await self.request(who, "claim", record=signed.envelope.decode())
        return await self.ask("PUT", f"/v2/records/{name or signed.record.name}", body)

    async def keep(self, who: Identity, name: str) -> Answer:
        return await self.signed(who, "/v2/keep", "keep", name=name)

    async def leave(self, who: Identity, name: str) -> Answer:
        return await self.signed(who, "/v2/leave", "leave", name=name)

    async def deposit(self, who: Identity, to: Identity, envelope: bytes) -> Answer:
        digest = sha256(envelope).hexdigest()
        request = await self.request(who, "deposit", recipient=str(to.peer_id), sha256=digest)
        return await self.ask("POST", "/v2/mail/deposit", format_deposit(request, envelope))

    async def fetch(self, who: Identity, after: int = 0, limit: int = 64) -> Answer:
        return await self.signed(who, "/v2/mail/fetch", "fetch", after=after, limit=limit)

    async def acknowledge(self, who: Identity, through: int) -> Answer:
        return await self.signed(who, "/v2/mail/acknowledge", "acknowledge", through=through)

    async def list(self) -> list[str]:
        return (await self.ask("GET", "/userlist.txt")).body.decode().split()


@asynccontextmanager
async def serving(
    *,
    store: EmbeddedStore | None = None,
    kind: Kind = Kind.LASTING,
    quota: Quota | None = None,
    folder: Path | None = None,
) -> AsyncIterator[Site]:
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        store = store or EmbeddedStore(":memory:")
        site = Site(store, session, kind, quota or Quota(), folder)
        try:
            site.port = await site.server.start(["127.0.0.1"], 0)
            site.id = b64decode((await site.ask("GET", "/v2/directory")).json["id"])
            yield site
        finally:
            await site.server.stop()


@asynccontextmanager
async def client_of(site: Site, timeout_s: float = LIMIT_S) -> AsyncIterator[DirectoryClient]:
    async with DirectoryClient(site.url, timeout_s) as client:
        yield client


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test that hangs for no longer than the limit."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await main()

    asyncio.run(limited())


def with_site(deed: Callable[[Site], Awaitable[None]], **options: Any) -> None:
    """Do ``deed`` with a directory of its own."""

    async def main() -> None:
        async with serving(**options) as site:
            await deed(site)

    run(main)
