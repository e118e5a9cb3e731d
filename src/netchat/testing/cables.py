"""Links as they fail: two real sessions, and between them bytes that come in pieces, or no more.

A cable is cut at any byte. Each end then sees a reset, or sees nothing and finds out by its own
keep-alive. A partition holds bytes back, as TCP does. The handshake of TLS is one comparison
of keys.
"""

from collections.abc import Callable
from typing import Protocol

from netchat.errors import RemoteError
from netchat.model import PeerId
from netchat.testing.network import Host, Network
from netchat.wire.frames import Bye, Frame, Hello
from netchat.wire.session import Session


class LinkEvents(Protocol):
    """As ``transport.link.LinkEvents``."""

    def link_opened(self, end: "LinkEnd") -> None: ...

    def link_received(self, end: "LinkEnd", frames: list[Frame]) -> None: ...

    def link_lost(self, end: "LinkEnd", reason: str) -> None: ...


class LinkEnd:
    """One end of a link, as ``transport.link.Link``: ``key`` is what TLS has proven."""

    def __init__(self, network: Network, host: Host, events: LinkEvents, key: PeerId) -> None:
        self.key = key
        self.is_dialler = False
        self.hello: Hello
        self.said_bye: str | None = None
        self.has_started = False
        self.has_opened = False
        self.has_ended = False
        self.on_end: Callable[[], None] | None = None
        """Hears when it is open, or will never be: what ``dial_link`` waits for."""
        self._network = network
        self._world = network.world
        self._host = host
        self._life = host.life
        self._events = events
        self._session: Session
        self._is_flush_planned = False
        self.out: Direction

    def start(self, hello: Hello) -> None:
        """Say HELLO, and wait for the other's."""
        self.has_started = True
        self._session = Session(self._world.now_ms, hello)
        self._plan_flush()
        self._tick()

    @property
    def is_alive(self) -> bool:
        return not self.has_ended and self._host.is_up and self._host.life == self._life

    @property
    def host(self) -> Host:
        return self._host

    # --- writing ---------------------------------------------------------------------------------

    def send(self, frame: Frame) -> None:
        if self.has_opened and self.is_alive:
            self._session.send(frame)
            self._plan_flush()

    def close(self, code: str) -> None:
        """Say BYE, and end."""
        self.send(Bye(code))
        self._end(code)

    def _plan_flush(self) -> None:
        """All of one turn is written as one."""
        if not self._is_flush_planned:
            self._is_flush_planned = True
            self._world.after(0, self._flush)

    def _flush(self) -> None:
        self._is_flush_planned = False
        if self.is_alive and (data := self._session.take_output()):
            self.out.write(data)

    # --- reading ---------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Bytes have come over the cable."""
        try:
            frames = self._session.receive(self._world.now_ms, data)
        except RemoteError as error:
            self._end(error.reason)
            return
        self._plan_flush()
        if not self.has_opened and (hello := self._session.peer_hello) is not None:
            frames = frames[1:]
            self.hello = hello
            self.has_opened = True
            self._events.link_opened(self)
            self._tell_dialler()
        if frames and not self.has_ended:
            self._events.link_received(self, frames)
        if self._session.said_bye is not None:
            self.said_bye = self._session.said_bye
            self._end("bye")

    def _tick(self) -> None:
        if not self.is_alive:
            return
        try:
            next_ms = self._session.tick(self._world.now_ms)
        except RemoteError as error:
            self._end(error.reason)
            return
        self._plan_flush()
        if next_ms is not None:
            self._world.after(next_ms - self._world.now_ms, self._tick)

    # --- ending ----------------------------------------------------------------------------------

    def reset(self) -> None:
        """The other end is gone, and this one hears of it."""
        if self.is_alive:
            self._end("reset")

    def _end(self, reason: str) -> None:
        if self.has_ended:
            return
        if self.has_started and (data := self._session.take_output()):
            self.out.write(data)
        self.out.end()
        self.has_ended = True
        if self.has_opened:
            self._events.link_lost(self, reason)
        self._tell_dialler()

    def _tell_dialler(self) -> None:
        told, self.on_end = self.on_end, None
        if told is not None:
            told()


class Direction:
    """The bytes from one end to the other, in their order; ``cut`` is what ends both directions."""

    def __init__(self, network: Network, source: LinkEnd, target: LinkEnd) -> None:
        self._network = network
        self._world = network.world
        self._source = source
        self._target = target
        self._waiting = bytearray()
        self._is_ended = False
        self._is_planned = False
        self._cut_after: int | None = None
        self.is_dead = False
        self.back: Direction

    def write(self, data: bytes) -> None:
        if self.is_dead:
            return
        if self._cut_after is None and self._world.strikes("link-cut", 0.02):
            self._cut_after = len(self._waiting) + self._world.chance.randrange(len(data))
        self._waiting += data
        self._plan(self._network.delay_ms())

    def end(self) -> None:
        """Nothing comes any more behind what was written."""
        self._is_ended = True
        self._plan(self._network.delay_ms())

    def _plan(self, delay_ms: int) -> None:
        if not self._is_planned:
            self._is_planned = True
            self._world.after(delay_ms, self._deliver)

    def _deliver(self) -> None:
        """Bring a piece over; most often all of it."""
        self._is_planned = False
        if self.is_dead:
            return
        source, target = self._source, self._target
        if self._network.are_parted(source.host, target.host):
            self._plan(500)
            return
        if target.is_alive and not target.has_started:
            self._plan(1)  # it has not heard yet that it was connected
            return
        chance = self._world.chance
        size = len(self._waiting)
        if size > 1 and chance.random() < 0.2:
            size = chance.randrange(1, size)
        if self._cut_after is not None:
            size = min(size, self._cut_after)
        piece = bytes(self._waiting[:size])
        del self._waiting[:size]
        if target.is_alive:
            if piece:
                target.take(piece)
        elif target.host.is_up:
            self._world.after(self._network.delay_ms(), source.reset)
            self.is_dead = True
            return
        if self._cut_after is not None:
            self._cut_after -= size
            if self._cut_after == 0:
                self._cut()
                return
        if self._waiting:
            self._plan(chance.choice((0, 0, 1, 30)))
        elif self._is_ended:
            self.is_dead = True
            self._world.after(0, target.reset)

    def _cut(self) -> None:
        """The cable is dead; each end hears of it, or does not."""
        self.is_dead = self.back.is_dead = True
        for end in (self._source, self._target):
            if self._world.chance.random() < 0.6:
                self._world.after(self._network.delay_ms(), end.reset)
            else:
                self._world.count("link-silence")

    def break_off(self) -> None:
        """The process at the source died: its system says so, or nobody does."""
        self.is_dead = self.back.is_dead = True
        if self._world.chance.random() < 0.6:
            self._world.after(self._network.delay_ms(), self._target.reset)
        else:
            self._world.count("link-silence")


def join(network: Network, one: LinkEnd, other: LinkEnd) -> None:
    """Put a cable between two ends."""
    one.out, other.out = Direction(network, one, other), Direction(network, other, one)
    one.out.back, other.out.back = other.out, one.out
