"""The link: one TLS connection between two nodes, and the frames on it.

TLS runs in OpenSSL over memory buffers, so that what the listener has already read can be handed
over as it came. Nothing goes up or down before the other end has proved its key, and what TLS
refuses is never passed on. Specification: docs/spec/link.md. It decides nothing about people:
whether the key is the right one for a name is the node's to say, unless a dial names the key.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, Protocol, cast

from OpenSSL import SSL
from OpenSSL.crypto import X509

from netchat.errors import RemoteError
from netchat.identity.keys import Identity, key_of_certificate
from netchat.limits import (
    CLOSE_WAIT_S,
    HANDSHAKES_BYTES_MAX,
    LINK_BARREN_BYTES_MAX,
    LINK_DEAF_BYTES_MAX,
    LINK_HELLO_S,
    LINK_WRITE_BYTES_MAX,
)
from netchat.model import Address, PeerId
from netchat.transport.dialer import DialError, connect
from netchat.wire.frames import Bye, Frame, Hello
from netchat.wire.session import Session
from netchat.wire.sniff import Protocol as FirstByte
from netchat.wire.sniff import sniff

ALPN: Final = b"netchat/2"
"""The version of everything above TLS; another version is another name (docs/spec/link.md)."""
GROUP: Final = "X25519MLKEM768"
"""The only key exchange that is good enough (draft-ietf-tls-ecdhe-mlkem): recorded traffic stays
closed to a quantum computer. OpenSSL would also agree on X25519 alone."""
_CIPHERS: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_RECORD_BYTES: Final = 16_384
"""The largest TLS record (RFC 8446 section 5.1)."""
_PIECE_BYTES: Final = 4_096
"""What is put into a memory buffer at once: it keeps the size that it has grown to for as long as
the link lives. Whole records at once would save no time, and cost 40 KiB a link."""
_DIAL_REASONS: Final = frozenset({"wrong-key", "own-key", "not-netchat", "timeout"})


class _Guard:
    """What the verify callback has to know about one connection, and what it found."""

    __slots__ = ("pin", "refusal")

    def __init__(self, pin: PeerId | None) -> None:
        self.pin = pin
        self.refusal: str | None = None


class Credentials:
    """How this node shows itself on a link, and how it looks at others; one for all links."""

    def __init__(self, identity: Identity) -> None:
        self.peer_id = identity.peer_id
        private_key, certificate = identity.tls_credentials()
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_tls13_ciphersuites(_CIPHERS)
        context.use_privatekey(private_key)
        context.use_certificate(certificate)
        # No resumption: each connection proves both keys anew.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify)
        context.set_alpn_protos([ALPN])
        context.set_alpn_select_callback(_select_protocol)
        self._context = context

    def open(self, pin: PeerId | None, *, is_dialler: bool) -> tuple[SSL.Connection, _Guard]:
        """Return the TLS state of a new connection, over memory buffers."""
        tls = SSL.Connection(self._context, None)
        guard = _Guard(pin)
        tls.set_app_data(guard)
        if is_dialler:
            tls.set_connect_state()
        else:
            tls.set_accept_state()
        return tls, guard

    def objection(self, key: PeerId | None, pin: PeerId | None) -> str | None:
        """Say why a connection with ``key`` at the other end may not be; None when it may."""
        if key is None:
            return "not-netchat"
        if key == self.peer_id:
            return "own-key"  # our own bytes, sent back to us
        return "wrong-key" if pin is not None and key != pin else None

    def _verify(
        self, tls: SSL.Connection, certificate: X509, _error: int, depth: int, _ok: int
    ) -> bool:
        """Look at the key in a certificate, and at nothing else: no chain, no dates, no names.

        It is asked before our own certificate leaves, so who holds another key than the one that we
        dial never learns who we are. OpenSSL checks that the other end can sign with the key.
        """
        guard = cast(_Guard, tls.get_app_data())
        key = key_of_certificate(certificate.to_cryptography()) if depth == 0 else None
        guard.refusal = guard.refusal or self.objection(key, guard.pin)
        return guard.refusal is None


def _select_protocol(
    _tls: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    """Refuse without an exception, which would come out of the handshake as itself."""
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class LinkEvents(Protocol):
    """Who is told, on the loop, what becomes of links."""

    def link_opened(self, link: "Link") -> None:
        """Keys are proved and both HELLOs are there; whose name it is has to be looked at."""

    def link_received(self, link: "Link", frames: Sequence[Frame]) -> None:
        """Frames came, in order; never the HELLO, nor a PING or PONG."""

    def link_lost(self, link: "Link", reason: str) -> None:
        """The link is gone; once, and only after ``link_opened``."""

    def link_writable(self, link: "Link") -> None:
        """``is_writable`` holds again."""


class Door(Protocol):
    """Who made a link, and follows it from its first byte on."""

    def admitted(self, link: "Link") -> None:
        """It is open; ``link_opened`` comes next."""

    def left(self, link: "Link", reason: str) -> None:
        """It is gone; once, whether it ever opened or not."""


class _Phase(Enum):
    """HANDSHAKE until TLS stands, GREETING until the HELLO came, OPEN, ENDING for the rest."""

    HANDSHAKE = auto()
    GREETING = auto()
    OPEN = auto()
    ENDING = auto()


class Link(asyncio.Protocol):
    """One connection to one key. Made by ``dial_link`` and by the listener only.

    ``address`` is where the other end is, ``is_dialler`` tells whether we dialled it. ``key`` and
    ``hello`` hold from ``link_opened`` on: the key that the other end proved, and what it says
    about itself, of which nothing is checked yet.
    """

    __slots__ = (
        "_barren_bytes",
        "_credentials",
        "_door",
        "_events",
        "_guard",
        "_handshake_bytes",
        "_is_flush_planned",
        "_is_full",
        "_is_paused",
        "_loop",
        "_make_hello",
        "_outgoing",
        "_phase",
        "_pin",
        "_reason",
        "_session",
        "_timer",
        "_tls",
        "_transport",
        "address",
        "has_opened",
        "hello",
        "is_dialler",
        "key",
    )
    hello: Hello
    key: PeerId
    _loop: asyncio.AbstractEventLoop
    _session: Session
    _timer: asyncio.TimerHandle
    _transport: asyncio.Transport

    def __init__(
        self,
        credentials: Credentials,
        hello: Callable[[], Hello],
        events: LinkEvents,
        door: Door,
        address: Address,
        dialled: PeerId | None = None,
    ) -> None:
        self.address = address
        self.is_dialler = dialled is not None
        self._credentials = credentials
        self._make_hello = hello
        self._events = events
        self._door = door
        self._pin = dialled
        self._tls, self._guard = credentials.open(dialled, is_dialler=self.is_dialler)
        self._phase = _Phase.HANDSHAKE
        self._reason: str | None = None
        self.has_opened = False
        self._handshake_bytes = 0
        self._barren_bytes = 0
        self._outgoing = bytearray()
        self._is_flush_planned = False
        self._is_full = False
        self._is_paused = False

    # --- what the node does ----------------------------------------------------------------------

    @property
    def said_bye(self) -> str | None:
        """The code in the peer's BYE, if it said one."""
        return self._session.said_bye

    @property
    def is_writable(self) -> bool:
        """Tell whether less than ``LINK_WRITE_BYTES_MAX`` waits to be written.

        Once it is not, ``link_writable`` tells when it is again.
        """
        return not (self._is_full or self._is_paused)

    @property
    def _is_ending(self) -> bool:
        return self._phase is _Phase.ENDING

    def send(self, frame: Frame) -> None:
        """Send ``frame`` with all others of this turn of the loop; nothing once the link ends."""
        if self._is_ending:
            return
        assert self._phase is _Phase.OPEN, "nothing is sent before both HELLOs"
        self._session.send(frame)
        self._take_output()

    def pause_reading(self) -> None:
        """Let the peer wait; what was read already may still come."""
        if self._phase is _Phase.OPEN:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on after ``pause_reading``."""
        if self._phase is _Phase.OPEN:
            self._transport.resume_reading()

    def close(self, code: str) -> None:
        """Say BYE with ``code`` behind everything that was sent, and close."""
        if self._phase is _Phase.OPEN:
            self.send(Bye(code))
            self._end("closed")
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once; what waits to be written is dropped."""
        self._fail("aborted")

    # --- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=LINK_WRITE_BYTES_MAX)
        self._timer = self._loop.call_later(LINK_HELLO_S, self._fail, "timeout")
        if self.is_dialler:
            self._shake_hands(0)

    def data_received(self, data: bytes) -> None:
        if self._is_no_tls(data):
            self._fail("not-netchat")
        view = memoryview(data)
        plain: list[bytes] = []
        has_ended = False
        for start in range(0, len(view), _PIECE_BYTES):
            if self._is_ending:
                return
            piece = view[start : start + _PIECE_BYTES]
            self._tls.bio_write(piece)
            if self._phase is _Phase.HANDSHAKE:
                self._shake_hands(len(piece))
            if self._phase in (_Phase.GREETING, _Phase.OPEN):
                has_ended = self._decrypt(len(piece), plain)
        if self._phase in (_Phase.GREETING, _Phase.OPEN):
            if plain:
                self._take_in(b"".join(plain))
            if has_ended:
                self._end("ended")

    def eof_received(self) -> bool:
        """The end of the stream; without TLS's own end before it anybody may have cut it off."""
        self._fail("truncated")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        reason = self._reason or "reset"
        self._phase = _Phase.ENDING
        self._timer.cancel()
        self._outgoing.clear()
        self._door.left(self, reason)
        if self.has_opened:
            self._events.link_lost(self, reason)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._phase is _Phase.OPEN and self.is_writable:
            self._events.link_writable(self)

    # --- the handshake ---------------------------------------------------------------------------

    def _is_no_tls(self, data: bytes) -> bool:
        is_first = self._phase is _Phase.HANDSHAKE and self._handshake_bytes == 0
        return is_first and sniff(data[0]) is not FirstByte.TLS

    def _shake_hands(self, size: int) -> None:
        self._handshake_bytes += size
        if self._handshake_bytes > HANDSHAKES_BYTES_MAX:
            self._fail("too-large")
            return
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._drain()
        except Exception:  # what a callback raises comes out of here as itself
            self._drain()  # the alert, which tells the other end
            self._fail(self._guard.refusal or "broken")
        else:
            self._look_at_the_other_end()

    def _look_at_the_other_end(self) -> None:
        """Nothing but TLS has gone over the connection yet; refuse it before anything else does.

        The verify callback has seen the key already, but who knows whether it was called.
        """
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        key = None if certificate is None else key_of_certificate(certificate)
        refusal = self._credentials.objection(key, self._pin)
        if self._tls.get_alpn_proto_negotiated() != ALPN or self._tls.get_group_name() != GROUP:
            refusal = refusal or "not-netchat"
        if key is None or refusal is not None:
            self._fail(refusal or "not-netchat")
            return
        self.key = key
        self._tls.set_app_data(None)
        del self._guard
        self._phase = _Phase.GREETING
        self._session = Session(self._now_ms(), self._make_hello())
        self._drain()
        self._take_output()

    # --- reading ---------------------------------------------------------------------------------

    def _decrypt(self, size: int, plain: list[bytes]) -> bool:
        """Add to ``plain`` what ``size`` more bytes made readable; return whether TLS has ended."""
        has_ended = False
        count = len(plain)
        try:
            while True:
                plain.append(self._tls.recv(_RECORD_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            has_ended = True
        except Exception:
            self._drain()
            self._fail("broken")  # and with it goes all of ``plain``
            return False
        self._drain()  # an answer to a key update
        self._barren_bytes = 0 if len(plain) > count else self._barren_bytes + size
        if self._barren_bytes > LINK_BARREN_BYTES_MAX:
            self._fail("chatter")
        return has_ended

    def _take_in(self, data: bytes) -> None:
        try:
            frames: Sequence[Frame] = self._session.receive(self._now_ms(), data)
        except RemoteError as error:
            self._fail(error.reason)
            return
        self._take_output()
        if self._phase is _Phase.GREETING and self._session.peer_hello is not None:
            frames = frames[1:]
            self._open(self._session.peer_hello)
        if frames and self._phase is _Phase.OPEN:
            self._events.link_received(self, frames)
        if self._session.said_bye is not None:
            self._end("bye")

    def _open(self, hello: Hello) -> None:
        self.hello = hello
        self._phase = _Phase.OPEN
        self.has_opened = True
        self._tick()
        self._door.admitted(self)
        self._events.link_opened(self)

    def _tick(self) -> None:
        """Let the session ask whether the peer lives, and give up when it does not."""
        self._timer.cancel()
        try:
            next_ms = self._session.tick(self._now_ms())
        except RemoteError as error:
            self._fail(error.reason)
            return
        self._take_output()
        if next_ms is not None:
            self._timer = self._loop.call_at(next_ms / 1_000, self._tick)

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1_000)

    # --- writing ---------------------------------------------------------------------------------

    def _take_output(self) -> None:
        """Take what the session wants written; all of one turn of the loop is written as one."""
        self._outgoing += self._session.take_output()
        if len(self._outgoing) > LINK_WRITE_BYTES_MAX:
            self._is_full = True
        if self._outgoing and not self._is_flush_planned:
            self._is_flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_planned = False
        if self._is_ending:
            return
        outgoing, self._outgoing = self._outgoing, bytearray()
        was_full, self._is_full = self._is_full, False
        self._encrypt(memoryview(outgoing))
        if was_full and self.is_writable and self._phase is _Phase.OPEN:
            self._events.link_writable(self)

    def _encrypt(self, data: memoryview) -> None:
        records: list[bytes] = []
        try:
            for start in range(0, len(data), _PIECE_BYTES):
                self._tls.send(data[start : start + _PIECE_BYTES])
                records += self._records()
        except Exception:  # the peer has broken TLS meanwhile
            self._fail("broken")
            return
        self._write(records)

    def _drain(self) -> None:
        """Write what TLS itself has to say."""
        self._write(self._records())

    def _records(self) -> list[bytes]:
        records = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                records.append(self._tls.bio_read(_RECORD_BYTES))
        return records

    def _write(self, records: list[bytes]) -> None:
        if records:
            self._transport.write(b"".join(records))
            if self._transport.get_write_buffer_size() > LINK_DEAF_BYTES_MAX:
                self._fail("deaf")

    # --- the end ---------------------------------------------------------------------------------

    def _end(self, reason: str) -> None:
        """End in peace: all that was sent goes out, then TLS's end, then ours; theirs is awaited.

        Closing the socket at once could answer what is still coming with a reset, and that would
        take away from the peer what it has not read yet.
        """
        if self._is_ending:
            return
        self._flush()
        if self._transport.is_closing():  # it broke on the way
            return
        self._phase = _Phase.ENDING
        self._reason = reason
        with contextlib.suppress(SSL.Error):
            self._tls.shutdown()
        self._drain()
        self._timer.cancel()
        self._timer = self._loop.call_later(CLOSE_WAIT_S, self._transport.abort)
        self._transport.resume_reading()
        self._transport.write_eof()

    def _fail(self, reason: str) -> None:
        """End at once, for ``reason`` if it had none yet."""
        self._reason = self._reason or reason
        if not self._is_ending:
            self._phase = _Phase.ENDING
            self._transport.abort()


class _Dial:
    """The door of a link that we dial: somebody waits for it."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self._done = done

    def admitted(self, link: Link) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def left(self, link: Link, reason: str) -> None:
        if not self._done.done():
            self._done.set_exception(DialError(reason if reason in _DIAL_REASONS else "broken"))


async def dial_link(
    address: Address,
    pin: PeerId,
    credentials: Credentials,
    hello: Callable[[], Hello],
    events: LinkEvents,
) -> Link:
    """Open a link to whoever holds ``pin`` and listens at ``address``.

    ``events.link_opened`` is called before it returns. Not one classic byte is ever written, and
    who holds another key does not learn ours.

    Raises:
        DialError: ``refused``, ``timeout``, ``unreachable``, ``wrong-key`` (somebody else is
            there), ``own-key`` (we are), ``not-netchat``, ``broken`` (it ended on the way: try
            again).
    """
    if pin == credentials.peer_id:
        raise DialError("own-key")
    connected = await connect(address)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    link = Link(credentials, hello, events, _Dial(done), address, dialled=pin)
    try:
        await loop.create_connection(lambda: link, sock=connected)
        await done
    except asyncio.CancelledError:
        done.cancel()  # nobody waits for how it ends any more
        link.abort()
        raise
    return link
