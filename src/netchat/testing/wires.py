"""Classic connections as they fail: one message each, cut anywhere, with a reset or in silence."""

from collections.abc import Callable
from typing import Protocol

from netchat.errors import MalformedMessage
from netchat.limits import ARRIVAL_DEADLINE_S, CLOSE_WAIT_S, SEGMENT_BYTES_MIN
from netchat.testing.network import Host, Network
from netchat.wire.classic import ClassicDelete, ClassicReader, ClassicText


class Receiver(Host, Protocol):
    """Who takes classic messages."""

    def arrived(self, wire: "Wire", message: ClassicText | ClassicDelete) -> None: ...


class Wire:
    """One connection from ``sender`` to ``receiver``."""

    def __init__(self, network: Network, sender: Host, receiver: Receiver) -> None:
        self._network = network
        self._world = network.world
        self._sender = (sender, sender.life)
        self._receiver = (receiver, receiver.life)
        self._reader = ClassicReader()
        self._reading = True
        self._ended: Callable[[str | None], None] | None = None
        deadline_ms = ARRIVAL_DEADLINE_S * 1_000
        self._world.after(deadline_ms, lambda: self._end_of_message(closed=False))

    @property
    def source(self) -> str:
        """The address the receiver sees."""
        return self._sender[0].name.key

    def _lives(self, end: tuple[Host, int]) -> bool:
        host, life = end
        return host.is_up and host.life == life

    # --- the sender's end ------------------------------------------------------------------------

    def hand_over(self, data: bytes, ended: Callable[[str | None], None]) -> None:
        """Write everything and end our half; ``ended`` hears once: None, or why it broke."""
        self._ended = ended
        self._world.after(CLOSE_WAIT_S * 1_000, lambda: self._end_sender(None))
        cut_at = None
        silent = self._world.strikes("silence", 0.04)
        if silent:
            # A segment arrives whole or not at all, and then nobody hears anything any more.
            cut_at = SEGMENT_BYTES_MIN if len(data) > SEGMENT_BYTES_MIN else 0
        elif self._world.strikes("cut", 0.06):
            cut_at = self._world.chance.randrange(len(data))
        self._carry(data, cut_at, silent=silent)

    def _carry(self, data: bytes, cut_at: int | None, *, silent: bool) -> None:
        """Bring the bytes over in pieces, each later than the one before."""
        chance = self._world.chance
        delay_ms = self._network.delay_ms()
        position = 0
        end = len(data) if cut_at is None else cut_at
        while position < end:
            piece = data[position : position + chance.randint(1, 40)][: end - position]
            self._world.after(delay_ms, lambda piece=piece: self._receive(piece))  # type: ignore[misc]  # lambda default
            position += len(piece)
            delay_ms += chance.choice((0, 0, 0, 1, 30))
        if cut_at is None:
            self._world.after(delay_ms, lambda: self._end_of_message(closed=True))
        elif not silent:
            self._world.after(delay_ms, self._reset)

    def _end_sender(self, reason: str | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None and self._lives(self._sender):
            ended(reason)

    def close(self) -> None:
        """Give the connection up before anything went over it."""
        self._world.after(self._network.delay_ms(), lambda: self._end_of_message(closed=True))

    # --- the receiver's end ----------------------------------------------------------------------

    def _receive(self, piece: bytes) -> None:
        if not self._reading or self._network.are_parted(self._sender[0], self._receiver[0]):
            self._reading = False
            return
        try:
            self._reader.feed(piece)
        except MalformedMessage:
            self.turn_away()

    def _end_of_message(self, *, closed: bool) -> None:
        if not self._reading:
            return
        self._reading = False
        if not self._lives(self._receiver):
            self._reset()
            return
        try:
            message = self._reader.finish(closed=closed)
        except MalformedMessage:
            self.turn_away()
        else:
            self._receiver[0].arrived(self, message)

    def settle(self) -> None:
        """The receiver closes in peace."""
        self._world.after(self._network.delay_ms(), lambda: self._end_sender(None))

    def turn_away(self) -> None:
        """The receiver closes with a reset."""
        self._reading = False
        self._reset()

    def _reset(self) -> None:
        self._reading = False
        self._world.after(self._network.delay_ms(), lambda: self._end_sender("reset"))
