"""Carries out what the engine wants of classic peers and of time: locate, dial, hand over, wake.

Every order ends in exactly one report to ``submit``; nothing here decides whether to try again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import assert_never

from netchat.delivery.effects import Abandon, Dial, HandOver, Locate, SetTimer
from netchat.delivery.inputs import (
    Connected,
    DialFailed,
    Found,
    Handed,
    HandOverBroke,
    Input,
    Located,
    LocateFailed,
    TimerFired,
)
from netchat.errors import DirectoryError, TextTooLong
from netchat.model import Address, ItemKind, MessageId, Name
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
        locate: Callable[[Name], Awaitable[Found]],
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
        self._is_resting = False

    def carry_out(self, order: Order) -> None:
        """Begin ``order``; never waits."""
        match order:
            case Locate(peer):
                self.begin(self._locate_peer(peer))
            case Dial(item_id, peer, address):
                # An engine that was read back from the store may ask for what is under way.
                if item_id not in self._busy:
                    self._busy.add(item_id)
                    self.begin(self._dial(item_id, peer, address))
            case HandOver():
                self.begin(self._hand_over(order, self._connections.pop(order.item_id, None)))
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

    async def rest(self, decided: Callable[[], Awaitable[None]], timeout_s: float) -> None:
        """Wait until nothing is under way and nothing waits for a decision, but not for ever.

        ``decided`` returns when all that was reported has been decided on. What is not done in time
        is given up: an item that is being handed over is told of at the next start.
        """
        self._is_resting = True
        for timer in self._timers.values():
            timer.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await decided()
                while self._under_way:
                    await asyncio.wait(self._under_way)
                    await decided()
        for task in self._under_way:
            task.cancel()
        for item_id in list(self._connections):
            self.abandon(item_id)

    def begin(self, order: "asyncio._CoroutineLike[None]") -> None:
        """Run ``order`` as something that ``rest`` waits for."""
        task = self._tasks.create_task(order)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    # --- orders ----------------------------------------------------------------------------------

    async def _locate_peer(self, peer: Name) -> None:
        try:
            found = await self._locate(peer)
        except DirectoryError:
            self._submit(LocateFailed(peer, self._clock.jitter()))
        else:
            self._submit(Located(peer, found, self._clock.jitter()))

    async def _dial(self, item_id: MessageId, peer: Name, address: Address) -> None:
        try:
            connection = await dial(address)
        except DialError as error:
            self._busy.discard(item_id)
            self._submit(DialFailed(item_id, peer, error.reason, self._clock.jitter()))
        else:
            self._connections[item_id] = connection
            self._submit(Connected(item_id, peer))

    async def _hand_over(self, order: HandOver, connection: Connection | None) -> None:
        report: Input = Handed(order.item_id, order.peer)
        try:
            if connection is None:
                raise HandOverError("interrupted")
            await connection.hand_over(self._encoded(order))
        except (HandOverError, TextTooLong) as error:
            reason = error.reason if isinstance(error, HandOverError) else error.code
            report = HandOverBroke(order.item_id, order.peer, reason)
        finally:
            if connection is not None:
                connection.close()
        self._busy.discard(order.item_id)
        self._submit(report)

    def _encoded(self, order: HandOver) -> bytes:
        if order.kind is ItemKind.DELETE:
            return encode_delete(self._own_name)
        assert order.text is not None, "a text item carries its text"
        return encode_text(self._own_name, order.text)

    def _set_timer(self, peer: Name, at_ms: int) -> None:
        if (earlier := self._timers.pop(peer, None)) is not None:
            earlier.cancel()
        if self._is_resting:
            return
        delay_s = max(0, at_ms - self._clock.now_ms()) / 1_000
        loop = asyncio.get_running_loop()
        self._timers[peer] = loop.call_later(delay_s, self._wake, peer)

    def wake_all(self) -> None:
        """Let everything that waits for its time have it now: there is a directory again."""
        for peer in list(self._timers):
            self._timers[peer].cancel()
            self._wake(peer)

    def _wake(self, peer: Name) -> None:
        del self._timers[peer]
        self._submit(TimerFired(peer, self._clock.jitter()))
