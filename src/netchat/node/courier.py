"""Carries out what the engine wants of the network: locate, dial, hand over, and be woken.

Every order ends in exactly one report to ``submit``; nothing here decides whether to try again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import assert_never

from netchat.delivery.effects import Abandon, Dial, HandOver, Locate, SetTimer
from netchat.delivery.inputs import (
    Connected,
    DialFailed,
    Handed,
    HandOverBroke,
    Input,
    ItemKind,
    Located,
    LocateFailed,
    TimerFired,
)
from netchat.errors import DirectoryError
from netchat.model import Address, MessageId, Name
from netchat.node.clock import Clock
from netchat.transport.dialer import Connection, DialError, HandOverError, dial
from netchat.wire.classic import encode_delete, encode_text

Order = Locate | Dial | HandOver | Abandon | SetTimer


class Courier:
    """Runs orders as tasks, reports by ``submit``; ``locate`` asks the directory."""

    def __init__(
        self,
        own_name: Name,
        tasks: asyncio.TaskGroup,
        clock: Clock,
        submit: Callable[[Input], None],
        locate: Callable[[Name], Awaitable[Address | None]],
    ) -> None:
        self._own_name = own_name
        self._tasks = tasks
        self._clock = clock
        self._submit = submit
        self._locate = locate
        self._busy: set[MessageId] = set()
        """Items being dialled, connected or handed over: none ever has two connections."""
        self._connections: dict[MessageId, Connection] = {}
        self._timers: dict[Name, asyncio.TimerHandle] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def carry_out(self, order: Order) -> None:
        """Begin ``order``; never waits."""
        match order:
            case Locate(peer):
                self._begin(self._locate_peer(peer))
            case Dial(item_id, peer, address):
                # An engine that was read back from the store may ask for what is under way.
                if item_id not in self._busy:
                    self._busy.add(item_id)
                    self._begin(self._dial(item_id, peer, address))
            case HandOver():
                self._begin(self._hand_over(order, self._connections.pop(order.item_id)))
            case Abandon(item_id):
                self.abandon(item_id)
            case SetTimer(peer, at_ms):
                self._set_timer(peer, at_ms)
            case _ as never:
                assert_never(never)

    def abandon(self, item_id: MessageId) -> None:
        """Close the connection of an item over which nothing went, if there is one."""
        if (connection := self._connections.pop(item_id, None)) is not None:
            self._busy.discard(item_id)
            connection.close()

    async def rest(self, timeout_s: float) -> None:
        """Begin nothing new by timer, and wait for what is under way, but not for ever."""
        for timer in self._timers.values():
            timer.cancel()
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._under_way and asyncio.get_running_loop().time() < deadline:
            left_s = deadline - asyncio.get_running_loop().time()
            await asyncio.wait(self._under_way, timeout=left_s)
            await asyncio.sleep(0.01)  # what a report leads to begins a moment after its commit
        for item_id in list(self._connections):
            self.abandon(item_id)

    def _begin(self, order: "asyncio._CoroutineLike[None]") -> None:
        task = self._tasks.create_task(order)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    # --- orders ----------------------------------------------------------------------------------

    async def _locate_peer(self, peer: Name) -> None:
        try:
            address = await self._locate(peer)
        except DirectoryError:
            self._submit(LocateFailed(peer, self._clock.jitter()))
        else:
            self._submit(Located(peer, address, self._clock.jitter()))

    async def _dial(self, item_id: MessageId, peer: Name, address: Address) -> None:
        try:
            connection = await dial(address)
        except DialError as error:
            self._busy.discard(item_id)
            self._submit(DialFailed(item_id, peer, error.reason, self._clock.jitter()))
        else:
            self._connections[item_id] = connection
            self._submit(Connected(item_id, peer))

    async def _hand_over(self, order: HandOver, connection: Connection) -> None:
        if order.kind is ItemKind.DELETE:
            data = encode_delete(self._own_name)
        else:
            assert order.text is not None, "a text item carries its text"
            data = encode_text(self._own_name, order.text)
        try:
            await connection.hand_over(data)
        except HandOverError as error:
            self._busy.discard(order.item_id)
            self._submit(HandOverBroke(order.item_id, order.peer, error.reason))
        else:
            self._busy.discard(order.item_id)
            self._submit(Handed(order.item_id, order.peer))

    def _set_timer(self, peer: Name, at_ms: int) -> None:
        if (earlier := self._timers.pop(peer, None)) is not None:
            earlier.cancel()
        delay_s = max(0, at_ms - self._clock.now_ms()) / 1_000
        loop = asyncio.get_running_loop()
        self._timers[peer] = loop.call_later(delay_s, self._wake, peer)

    def _wake(self, peer: Name) -> None:
        del self._timers[peer]
        self._submit(TimerFired(peer, self._clock.jitter()))
