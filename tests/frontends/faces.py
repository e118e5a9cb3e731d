"""A session at a node that does what a test says, and everything that it printed."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.frontends.fake_node import FakeNode

from netchat.frontends.prompt import Session


class Face:
    """A session on ``node``, and what it printed."""

    def __init__(self, node: FakeNode, *, allow_classic: bool = False, draws: bool = False) -> None:
        self.node = node
        self.facts: list[str] = []
        self.notes: list[str] = []
        self.drawn: list[str] = []
        self.session = Session(
            node,
            self.facts.append,
            self.notes.append,
            draw=self.drawn.append if draws else None,
            allow_classic=allow_classic,
        )

    async def type(self, *lines: str) -> "Face":
        for line in lines:
            assert await self.session.execute(line)
        return self


def typed(node: FakeNode, *lines: str) -> Face:
    """Type ``lines`` at a face of ``node``, and return it."""
    return asyncio.run(Face(node).type(*lines))


def seen(node: FakeNode, act: Callable[[Face], Awaitable[None]]) -> Face:
    """Return a face that shows events while ``act`` runs, once all of them are shown."""

    async def watch() -> Face:
        face = Face(node)
        async with asyncio.TaskGroup() as tasks:
            shows = tasks.create_task(face.session.show_events())
            await act(face)
            await node.all_shown()
            shows.cancel()
        return face

    return asyncio.run(watch())
