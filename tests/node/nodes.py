"""Real nodes with real profiles, and a real directory on loopback, for the tests of the node."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from tests.node.fixtures import person

from netchat.api import Event
from netchat.delivery.policy import Policy
from netchat.directory.client import DirectoryClient
from netchat.directory.server import DirectoryServer
from netchat.directory.store_sqlite import EmbeddedStore
from netchat.errors import AddressInUse
from netchat.identity.keys import Identity
from netchat.limits import CLASSIC_TTL_S, PAGE_MESSAGES_MAX
from netchat.model import Contact, Message, Name
from netchat.node.clock import Clock
from netchat.node.config import ListenAt, NodeConfig
from netchat.node.node import ChatNode, running_node
from netchat.store.profile import Profile


class Directory:
    """One that keeps its port and its disk when it starts again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._port = 0
        self.server: DirectoryServer

    async def start(self) -> None:
        clock = Clock()
        store = EmbeddedStore(self._path)
        ttl_ms = CLASSIC_TTL_S * 1_000
        self.server = DirectoryServer(store, clock.now_ms, clock.entropy, ttl_ms)
        self._port = await self.server.start(["127.0.0.1"], self._port)

    async def stop(self) -> None:
        await self.server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def client(self) -> DirectoryClient:
        return DirectoryClient(self.url)


@asynccontextmanager
async def directory(path: Path) -> AsyncIterator[Directory]:
    one = Directory(path / "directory.db")
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


async def no_meeting_point(port: int) -> NoReturn:
    """Nobody hosts one in these tests."""
    raise AddressInUse(f"127.0.0.1:{port}", "not-permitted")


class Running:
    """A node, and everything that it has told."""

    def __init__(self, node: ChatNode) -> None:
        self.node = node
        self.events: list[Event] = []
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        async for event in self.node.events():
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    async def hear(self, kind: type[Any], so: Callable[[Any], bool] = lambda _: True) -> Any:
        """Wait until an event of this kind has been told of which ``so`` holds; return it."""
        async with self._news:
            while True:
                for event in self.events:
                    if isinstance(event, kind) and so(event):
                        return event
                await self._news.wait()

    async def conversation(self, peer: Contact) -> list[Message]:
        """Return all of it, and not more, so that nobody is told that it was read."""
        found: list[Message] = []
        while len(found) % PAGE_MESSAGES_MAX == 0:
            after = (found[-1].hlc, found[-1].message_id) if found else None
            page = await self.node.conversation(peer, after)
            found += page
            if not page:
                break
        return found

    async def texts(self, peer: Contact) -> list[str]:
        return [str(one.text) for one in await self.conversation(peer)]


@asynccontextmanager
async def running(
    folder: Path,
    name: str,
    where: Directory,
    *,
    identity: Identity | None = None,
    allow_classic: bool = False,
    policy: Policy | None = None,
    registers: bool = True,
) -> AsyncIterator[Running]:
    """Run a node over the profile in ``folder / name``, registered and heard."""
    config = NodeConfig(
        name=Name(name),
        directory=where.url,
        listen=ListenAt("127.0.0.1", 0),
        allow_classic=allow_classic,
        policy=policy or Policy(),
    )
    with Profile(folder / name) as profile:
        async with (
            running_node(config, profile, identity or person(name), no_meeting_point) as node,
            asyncio.TaskGroup() as tasks,
        ):
            one = Running(node)
            listening = tasks.create_task(one.listen())
            try:
                if registers:
                    await node.register()
                yield one
            finally:
                listening.cancel()
