"""Both ends of a link for the tests: honest ones, one that attacks by hand, and a wire between."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from netchat.identity.keys import Identity
from netchat.model import Address, DisplayText, Item, ItemKind, MessageId, PeerId
from netchat.transport.link import ALPN, Credentials, Link, dial_link
from netchat.transport.listener import Arrival, Listener
from netchat.wire.classic import ClassicDelete, ClassicText
from netchat.wire.frames import Frame, Hello, Items

LIMIT_S = 30


def run(main: Callable[[], Awaitable[None]], limit_s: float = LIMIT_S) -> None:
    """Run a test that hangs for no longer than the limit, and in which nothing goes unnoticed.

    What a callback raises goes to the loop's handler, which would print a traceback.
    """
    noticed: list[dict[str, Any]] = []

    async def limited() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: noticed.append(what))
        try:
            async with asyncio.timeout(limit_s):
                await main()
        finally:
            while Attacker.made:
                Attacker.made.pop().close()
            await asyncio.sleep(0)

    asyncio.run(limited())
    assert noticed == [], noticed


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds that no event tells of."""
    while not condition():  # noqa: ASYNC110 (the condition is the kernel's or the link's own)
        await asyncio.sleep(0.001)


def text_item(seq: int, text: str = "hello") -> Item:
    return Item(seq, ItemKind.TEXT, MessageId(seq.to_bytes(16, "big")), seq, DisplayText(text))


def items(*texts: str) -> Items:
    return Items(1, tuple(text_item(seq, text) for seq, text in enumerate(texts, 1)))


# --- honest ends ---------------------------------------------------------------------------------


class Person:
    """A key, a listener, and the record of all that it was told about links."""

    def __init__(self) -> None:
        self.identity = Identity.generate()
        self.credentials = Credentials(self.identity)
        self.listener = Listener(self._on_arrival, self.credentials, self.hello, self)
        self.instance = b"instance"
        self.opened: list[Link] = []
        self.lost: list[tuple[Link, str]] = []
        self.received: list[Frame] = []
        self.writable: list[Link] = []
        self.classic: list[ClassicText | ClassicDelete] = []
        self.on_opened: Callable[[Link], None] = lambda link: None
        self.on_received: Callable[[Link, Sequence[Frame]], None] = lambda link, frames: None

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def address(self) -> Address:
        return self.listener.addresses[0]

    def hello(self) -> Hello:
        return Hello(str(self.peer_id).encode(), b"stream-8", self.instance, ("test",))

    def _on_arrival(self, arrival: Arrival, message: ClassicText | ClassicDelete) -> None:
        self.classic.append(message)
        arrival.settle()

    async def dial(self, other: "Person", address: Address | None = None) -> Link:
        return await dial_link(
            address or other.address, other.peer_id, self.credentials, self.hello, self
        )

    # What a link tells; whatever breaks the promises of LinkEvents fails here.

    def link_opened(self, link: Link) -> None:
        assert link not in self.opened
        assert link.hello.record == str(link.key).encode()
        self.opened.append(link)
        self.on_opened(link)

    def link_received(self, link: Link, frames: Sequence[Frame]) -> None:
        assert link in self.opened
        assert link not in dict(self.lost)
        assert frames
        self.received += frames
        self.on_received(link, frames)

    def link_lost(self, link: Link, reason: str) -> None:
        assert link in self.opened
        assert link not in dict(self.lost)
        self.lost.append((link, reason))

    def link_writable(self, link: Link) -> None:
        assert link in self.opened
        assert link not in dict(self.lost)
        assert link.is_writable
        self.writable.append(link)

    @property
    def reasons(self) -> list[str]:
        """Why links were lost."""
        return [reason for _, reason in self.lost]

    async def next_link(self) -> Link:
        """The only link, once it is open."""
        await until(lambda: bool(self.opened))
        (link,) = self.opened
        return link


@asynccontextmanager
async def people(count: int) -> AsyncIterator[list[Person]]:
    """Some who listen; at the end no connection of theirs is left."""
    crowd = [Person() for _ in range(count)]
    for person in crowd:
        await person.listener.start(["127.0.0.1"], 0)
    try:
        yield crowd
    finally:
        for person in crowd:
            await person.listener.stop()
            for link in person.opened:
                link.abort()
        for person in crowd:
            await until(lambda person=person: len(person.lost) == len(person.opened))
            assert person.listener._links_open == 0
            assert len(person.listener._crowd) == 0


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Person, Link, Person, Link]]:
    """Alice, her link to Bob, Bob, his link to her."""
    async with people(2) as (alice, bob):
        link = await alice.dial(bob)
        yield alice, link, bob, await bob.next_link()


# --- the wire between ----------------------------------------------------------------------------

Change = Callable[[bytes], tuple[bytes, bool]]
"""What a wire makes of the next bytes, and whether it ends behind them, both ways."""


class Wire:
    """Copies bytes between whoever connects and ``towards``; keeps them, and may change them.

    ``sent`` went towards the listener, ``answered`` came back.
    """

    def __init__(self, towards: Address, there: Change, back: Change) -> None:
        self._towards = towards
        self._changes = (there, back)
        self.sent = bytearray()
        self.answered = bytearray()
        self._writers: list[asyncio.StreamWriter] = []
        self._carrying: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> Address:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        return Address(*self._server.sockets[0].getsockname())

    def cut(self) -> None:
        """End every stream, as a machine between would: with a FIN, whatever TLS thinks."""
        for writer in self._writers:
            with contextlib.suppress(OSError, RuntimeError):  # one end may be gone already
                writer.write_eof()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for carrying in self._carrying:
            carrying.cancel()
        ended = await asyncio.gather(*self._carrying, return_exceptions=True)
        assert not [error for error in ended if isinstance(error, Exception)]
        for writer in self._writers:
            writer.transport.abort()

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: what asyncio makes of a coroutine complains when it is cancelled.
        self._carrying.append(asyncio.create_task(self._carry(reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            there = await asyncio.open_connection(self._towards.host, self._towards.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.append(there[1])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._copy(reader, there[1], self.sent, self._changes[0]))
            tasks.create_task(self._copy(there[0], writer, self.answered, self._changes[1]))

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        kept: bytearray,
        change: Change,
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4_096):
                kept += data
                changed, is_last = change(data)
                writer.write(changed)
                await writer.drain()
                if is_last:
                    self.cut()
                    return
        writer.close()


def unchanged(data: bytes) -> tuple[bytes, bool]:
    return data, False


def flipped(offset: int) -> Change:
    """Flip one bit of the byte at ``offset`` of all that passes."""
    seen = 0

    def change(data: bytes) -> tuple[bytes, bool]:
        nonlocal seen
        at, seen = offset - seen, seen + len(data)
        if 0 <= at < len(data):
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return data, False

    return change


@asynccontextmanager
async def wire(
    towards: Address, there: Change = unchanged, back: Change = unchanged
) -> AsyncIterator[tuple[Wire, Address]]:
    """A wire, and the address at which it is."""
    between = Wire(towards, there, back)
    address = await between.start()
    try:
        yield between, address
    finally:
        await between.stop()


# --- an end that attacks -------------------------------------------------------------------------


def certificate(
    public: Any,
    signer: CertificateIssuerPrivateKeyTypes,
    *,
    subject: str = "netchat",
    issuer: str = "netchat",
    until_year: int = 9_999,
    padding: int = 0,
    is_ca: bool = False,
) -> x509.Certificate:
    """A certificate of our kind, with whatever is wrong about it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    issued_by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issued_by)
        .public_key(public)
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1))  # noqa: DTZ001 (what the builder wants)
        .not_valid_after(datetime(until_year, 12, 31))  # noqa: DTZ001
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if padding:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(padding))
        builder = builder.add_extension(unknown, critical=False)
    is_ed25519 = isinstance(signer, Ed25519PrivateKey)
    return builder.sign(signer, None if is_ed25519 else hashes.SHA256())


def context(
    key: Any = None,
    shown: x509.Certificate | None = None,
    *,
    alpn: bytes | None = ALPN,
    chain: Sequence[x509.Certificate] = (),
) -> SSL.Context:
    """TLS settings of somebody who looks at nothing, with a fresh key unless one is given."""
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    made.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    if alpn is not None:
        made.set_alpn_protos([alpn])
        made.set_alpn_select_callback(lambda _tls, _offered: alpn)
    key = key or Ed25519PrivateKey.generate()
    made.use_privatekey(key)
    made.use_certificate(shown or certificate(key.public_key(), key))
    for one in chain:
        made.add_extra_chain_cert(one)
    return made


def only_classical(made: SSL.Context) -> SSL.Context:
    """No post-quantum key exchange; pyOpenSSL has no public name for this."""
    assert SSL._lib.SSL_CTX_set1_curves_list(made._context, b"X25519") == 1  # type: ignore[attr-defined]
    return made


class Attacker:
    """One end of a connection by hand: TLS with any settings, and bytes of any kind below it."""

    made: ClassVar[list["Attacker"]] = []
    """All that ``run`` has to close at the end of a test."""

    def __init__(self, tls: SSL.Connection) -> None:
        self.tls = tls
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.plain = bytearray()

    @classmethod
    async def dial(
        cls, address: Address, made: SSL.Context | None = None, source: str | None = None
    ) -> "Attacker":
        """Connect, and no more."""
        tls = SSL.Connection(made or context(), None)
        tls.set_connect_state()
        attacker = cls(tls)
        attacker.reader, attacker.writer = await asyncio.open_connection(
            address.host, address.port, local_addr=(source, 0) if source else None
        )
        cls.made.append(attacker)
        return attacker

    async def shake_hands(self) -> None:
        """Raises SSL.Error or ConnectionError."""
        is_done = False
        while not is_done:
            try:
                self.tls.do_handshake()
                is_done = True
            except SSL.WantReadError:
                pass
            await self.flush()
            if not is_done:
                await self.fill()

    async def flush(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self.writer.write(self.tls.bio_read(65_536))
        await self.writer.drain()

    async def fill(self) -> None:
        data = await self.reader.read(65_536)
        if not data:
            raise ConnectionResetError("closed")
        self.tls.bio_write(data)

    async def write(self, data: bytes) -> None:
        """Bytes below TLS."""
        self.writer.write(data)
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        """Bytes inside TLS."""
        for start in range(0, len(data), 16_384):
            self.tls.send(data[start : start + 16_384])
            await self.flush()

    async def read(self) -> None:
        """Wait for more inside TLS. Raises SSL.Error or ConnectionError at the end."""
        before = len(self.plain)
        while len(self.plain) == before:
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    self.plain += self.tls.recv(16_384)
            if len(self.plain) == before:
                await self.fill()

    async def ending(self) -> None:
        """Wait until the other end has closed; what it said inside TLS is in ``plain``."""
        with contextlib.suppress(SSL.Error, ConnectionError):
            while True:
                await self.read()
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    def close(self) -> None:
        self.writer.transport.abort()


async def refused(attacker: Attacker) -> bool:
    """Tell whether the other end closes, and says nothing inside TLS before that."""
    with contextlib.suppress(SSL.Error, ConnectionError):
        await attacker.shake_hands()
    await attacker.ending()
    attacker.close()
    return not attacker.plain


class Forger:
    """Records made by hand under the keys of a connection: what OpenSSL would never send.

    RFC 8446 sections 5.2, 7.2 and 7.3, for TLS_AES_128_GCM_SHA256.
    """

    def __init__(self, secret: bytes, sequence: int = 0) -> None:
        self._use(secret)
        self._sequence = sequence

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._key = AESGCM(self._expand(b"key", 16))
        self._iv = self._expand(b"iv", 12)
        self._sequence = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(hashes.SHA256(), size, info).derive(self._secret)

    def record(self, kind: int, data: bytes) -> bytes:
        """``kind``: 21 alert, 22 handshake, 23 data."""
        header = b"\x17\x03\x03" + (len(data) + 17).to_bytes(2, "big")
        counted = zip(self._iv, self._sequence.to_bytes(12, "big"), strict=True)
        self._sequence += 1
        nonce = bytes(one ^ other for one, other in counted)
        return header + self._key.encrypt(nonce, data + bytes([kind]), header)

    def key_update(self) -> bytes:
        """The record that changes the key, and asks the other end to change its own."""
        record = self.record(22, b"\x18\0\0\x01\x01")
        self._use(self._expand(b"traffic upd", 32))
        return record


async def forging(address: Address) -> tuple[Attacker, Forger]:
    """An attacker whose handshake is done, and who can forge its own records."""
    lines: list[bytes] = []
    made = context()
    made.set_keylog_callback(lambda _, line: lines.append(line))
    attacker = await Attacker.dial(address, made)
    await attacker.shake_hands()
    (secret,) = (line.split()[2] for line in lines if line.startswith(b"CLIENT_TRAFFIC_SECRET_0"))
    return attacker, Forger(bytes.fromhex(secret.decode()))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Address]:
    """Whatever listens where a node was expected."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield Address(*server.sockets[0].getsockname())
    finally:
        server.close()
        await server.wait_closed()


def reset(connected: socket.socket) -> None:
    """Vanish, as a process that is killed."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connected.close()
