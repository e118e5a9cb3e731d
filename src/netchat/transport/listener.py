"""The listening socket of a node: one port for links and for classic messages.

The first byte says which, for good. A classic connection is closed in peace only after ``settle``,
that is after its message is on disk; one that is turned away ends with a reset, which tells a
sender that looks that nothing was stored. A link costs a handshake, so who opens too many is sent
away before it begins.
"""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final, assert_never, cast

from netchat.errors import AddressInUse, MalformedMessage
from netchat.limits import (
    ARRIVAL_DEADLINE_S,
    ARRIVALS_MAX,
    LINKS_MAX,
    LISTEN_BACKLOG,
)
from netchat.model import Address
from netchat.transport.crowd import Crowd
from netchat.transport.link import Credentials, Link, LinkEvents
from netchat.wire.classic import ClassicDelete, ClassicReader, ClassicText
from netchat.wire.frames import Hello
from netchat.wire.sniff import Protocol as FirstByte
from netchat.wire.sniff import sniff

LOOPBACK = "loopback"
"""What all loopback addresses are called as a source: 127.0.0.1 and ::1 are one machine."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_CLOSE_IN_PEACE: Final = struct.pack("ii", 0, 0)
"""SO_LINGER. Every connection begins with the first, so that even a process that is killed ends it
with a reset, and its sender learns that nothing was stored; only ``settle`` changes that, and
becoming a link: a link has receipts."""


class Arrival(asyncio.Protocol):
    """One connection that somebody opened to us; reads until it ends, is too much, or too slow.

    It is classic unless its first byte begins TLS: then all of it is handed over to a link.
    """

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._reader = ClassicReader()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._done = False
        self._is_classic = False

    # --- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._linger(_RESET_ON_CLOSE)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(ARRIVAL_DEADLINE_S, self._end_of_message, False)
        self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._done:
            return
        if not self._is_classic:
            match sniff(data[0]):
                case FirstByte.TLS:
                    self._become_a_link(data)
                    return
                case FirstByte.NEITHER:
                    self.turn_away()
                    return
                case FirstByte.CLASSIC:
                    self._is_classic = True
                case _ as never:
                    assert_never(never)
        try:
            self._reader.feed(data)
        except MalformedMessage:
            self.turn_away()

    def eof_received(self) -> bool:
        self._end_of_message(True)
        return True  # our half stays open until the message is on disk

    def connection_lost(self, error: Exception | None) -> None:
        """A reset is no end of a message: what came before it is dropped."""
        self._finish_reading()
        self._transport = None
        self._listener.closed(self)

    def _become_a_link(self, data: bytes) -> None:
        """Let a link read on in our place, from the first byte, if one more may be."""
        assert self._transport is not None
        peer = self._transport.get_extra_info("peername")
        link = self._listener.new_link(peer[0], peer[1]) if peer is not None else None
        if link is None:
            self.turn_away()
            return
        self._finish_reading()
        self._linger(_CLOSE_IN_PEACE)
        transport, self._transport = self._transport, None
        self._listener.closed(self)
        transport.set_protocol(link)
        link.connection_made(transport)
        link.data_received(data)

    # --- the end of a message --------------------------------------------------------------------

    @property
    def is_reading(self) -> bool:
        """Tell whether its message is still to come, so that nobody decides about it yet."""
        return not self._done

    @property
    def source(self) -> str:
        """The IP address at the other end, or ``loopback`` when it is this machine."""
        assert self._transport is not None
        host = self._transport.get_extra_info("peername")[0]
        here = self._transport.get_extra_info("sockname")[0]
        is_here = host in (here, "::1") or host.startswith("127.")
        return LOOPBACK if is_here else str(host)

    def _finish_reading(self) -> None:
        self._done = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_of_message(self, closed: bool) -> None:
        """The sender closed or the time is up: either way it is whole now, or it never will be."""
        if self._done:
            return
        self._finish_reading()
        try:
            message = self._reader.finish(closed=closed)
        except MalformedMessage:
            self.turn_away()
        else:
            self._listener.on_arrival(self, message)

    def settle(self) -> None:
        """Close in peace: the message is on disk."""
        self._finish_reading()
        if self._transport is not None:
            self._linger(_CLOSE_IN_PEACE)
            self._transport.close()

    def turn_away(self) -> None:
        """Close with a reset: nothing was stored."""
        self._finish_reading()
        if self._transport is not None:
            self._transport.abort()

    def _linger(self, how: bytes) -> None:
        assert self._transport is not None
        with contextlib.suppress(OSError):  # the other end may have reset it already
            connected = self._transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)


class Listener:
    """Listens on some addresses of this machine, for links and for classic messages.

    ``on_arrival`` gets each whole classic message with its connection, and must ``settle`` it or
    ``turn_away`` it. ``events`` hears of links from ``link_opened`` on; ``hello`` makes our HELLO.
    """

    def __init__(
        self,
        on_arrival: Callable[[Arrival, ClassicText | ClassicDelete], None],
        credentials: Credentials,
        hello: Callable[[], Hello],
        events: LinkEvents,
    ) -> None:
        self.on_arrival = on_arrival
        self._credentials = credentials
        self._hello = hello
        self._events = events
        self._arrivals: dict[Arrival, None] = {}
        self._crowd: Crowd[Link] = Crowd()
        self._links_open = 0
        self._servers: list[asyncio.Server] = []
        self.addresses: list[Address] = []

    async def start(self, hosts: Sequence[str], port: int) -> None:
        """Listen on the first of ``hosts``, and on the others at the same port where they exist.

        Raises:
            AddressInUse: the first one cannot be had.
        """
        for host in hosts:
            try:
                listening = _bind(host, port)
            except OSError as error:
                if not self.addresses:
                    raise AddressInUse(f"{host}:{port}", reason_of(error)) from error
                continue
            loop = asyncio.get_running_loop()
            server = await loop.create_server(
                lambda: Arrival(self), sock=listening, backlog=LISTEN_BACKLOG
            )
            self._servers.append(server)
            port = listening.getsockname()[1]
            self.addresses.append(Address(host, port))

    def opened(self, arrival: Arrival) -> None:
        """Make room for a connection: the oldest goes whose message is still to come.

        A message takes milliseconds, so whoever means well is never the oldest.
        """
        self._arrivals[arrival] = None
        if len(self._arrivals) > ARRIVALS_MAX:
            leaving = next(one for one in self._arrivals if one.is_reading)
            leaving.turn_away()
            self.closed(leaving)  # at once, so that of many new ones each finds another to leave

    def closed(self, arrival: Arrival) -> None:
        self._arrivals.pop(arrival, None)

    def new_link(self, host: str, port: int) -> Link | None:
        """Return a link for a connection from there; None when there may not be one more now."""
        if self._links_open + len(self._crowd) >= LINKS_MAX:
            return None
        if not self._crowd.may_begin(host, asyncio.get_running_loop().time()):
            return None
        leaving = self._crowd.make_room(host)
        if leaving is not None:
            leaving.abort()
        link = Link(self._credentials, self._hello, self._events, self, Address(host, port))
        self._crowd.add(host, link)
        return link

    def admitted(self, link: Link) -> None:
        self._crowd.remove(link.address.host, link)
        self._links_open += 1

    def left(self, link: Link, reason: str) -> None:
        self._crowd.remove(link.address.host, link)
        if link.has_opened:
            self._links_open -= 1

    async def stop(self) -> None:
        """Accept nothing more, and turn away whoever has not finished.

        Classic messages that are whole are still to be settled, and open links to be closed.
        """
        for server in self._servers:
            server.close()
        for link in self._crowd:
            link.abort()
        for arrival in list(self._arrivals):
            if arrival.is_reading:
                arrival.turn_away()
        for server in self._servers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), 1)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        # Now, as two sockets may be bound to one port until one of them listens.
        listening.listen(LISTEN_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def reason_of(error: OSError) -> str:
    """Return a short code for why an address cannot be used."""
    return {
        errno.EADDRINUSE: "in-use",
        errno.EACCES: "not-permitted",
        errno.EADDRNOTAVAIL: "not-here",
    }.get(error.errno or 0, "failed")
