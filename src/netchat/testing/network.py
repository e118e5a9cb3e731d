"""The wires between simulated machines: TCP as it fails.

Bytes of one connection stay in order; connections overtake one another. A connection may be
refused, take for ever, be cut in the middle of a message (with a reset that both ends see, or in
silence), and two machines may be parted for a while.
"""

from collections.abc import Callable
from typing import Protocol

from netchat.errors import MalformedMessage
from netchat.limits import ARRIVAL_DEADLINE_S, CLOSE_WAIT_S, DIAL_TIMEOUT_S, SEGMENT_BYTES_MIN
from netchat.model import Name
from netchat.testing.world import World
from netchat.wire.classic import ClassicDelete, ClassicReader, ClassicText


class Host(Protocol):
    """What the network knows of a machine. ``life`` grows with each crash: old wires are dead."""

    name: Name
    life: int

    @property
    def is_up(self) -> bool: ...

    def arrived(self, wire: "Wire", message: ClassicText | ClassicDelete) -> None: ...


class Wire:
    """One connection from ``sender`` to ``receiver``."""

    def __init__(self, network: "Network", sender: Host, receiver: Host) -> None:
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


class Network:
    """Connects machines, badly."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._parted: set[frozenset[Name]] = set()

    def delay_ms(self) -> int:
        """Return how long something takes: mostly a LAN, now and then an overloaded one."""
        chance = self.world.chance
        if self.world.faulty and chance.random() < 0.05:
            self.world.faults["delay"] += 1
            return chance.randint(100, 3_000)
        return chance.randint(0, 5)

    def part(self, one: Host, other: Host, for_ms: int) -> None:
        """Let nothing through between two machines for a while."""
        pair = frozenset((one.name, other.name))
        self.world.faults["partition"] += 1
        self.world.tell(f"parted {one.name} and {other.name} for {for_ms} ms")
        self._parted.add(pair)
        self.world.after(for_ms, lambda: self._parted.discard(pair))

    def heal(self) -> None:
        self._parted.clear()

    def are_parted(self, one: Host, other: Host) -> bool:
        return frozenset((one.name, other.name)) in self._parted

    def connect(
        self,
        sender: Host,
        receiver: Host | None,
        connected: Callable[[Wire], None],
        failed: Callable[[str], None],
    ) -> None:
        """Open a connection; exactly one of the two callbacks hears, unless the sender dies."""
        life = sender.life

        def still(deed: Callable[[], None]) -> Callable[[], None]:
            return lambda: deed() if sender.is_up and sender.life == life else None

        if (
            receiver is None
            or self.are_parted(sender, receiver)
            or self.world.strikes("drop", 0.05)
        ):
            self.world.after(DIAL_TIMEOUT_S * 1_000, still(lambda: failed("timeout")))
            return

        def arrive() -> None:
            if receiver.is_up:
                wire = Wire(self, sender, receiver)
                self.world.after(self.delay_ms(), still(lambda: connected(wire)))
            else:
                self.world.after(self.delay_ms(), still(lambda: failed("refused")))

        self.world.after(self.delay_ms(), arrive)
