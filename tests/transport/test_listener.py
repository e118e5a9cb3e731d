"""The listening socket over real connections: what counts as a message, and how each one ends.

A sender that looks sees a FIN when its message is on disk and a reset when it is not. What begins
with TLS becomes a link, and no stranger gets more of those than it should have.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from OpenSSL import SSL
from tests.interop.processes import has_ipv6_loopback
from tests.transport.ends import Attacker, Person, items, linked, people, run, until

from netchat.errors import AddressInUse
from netchat.limits import (
    CLASSIC_RECEIVE_BYTES_MAX,
    HANDSHAKES_PER_ADDRESS_S_MAX,
    LINKS_HALF_OPEN_MAX,
    LINKS_HALF_OPEN_PER_ADDRESS_MAX,
)
from netchat.model import Address, DisplayText, Name
from netchat.transport import crowd as crowd_module
from netchat.transport import link as link_module
from netchat.transport import listener as listener_module
from netchat.transport.dialer import DialError
from netchat.transport.link import Credentials
from netchat.transport.listener import LOOPBACK, Arrival, Listener, reason_of
from netchat.wire.classic import ClassicDelete, ClassicText

BURST = round(2 * HANDSHAKES_PER_ADDRESS_S_MAX)
HELLO = b'alice: "hello"'
HELLO_MESSAGE = ClassicText(Name("alice"), DisplayText("hello"))
needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no ::1")


class Sender:
    """A plain socket towards the listener."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def send(self, data: bytes, *, end: bool = False) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)
        if end:
            self._socket.shutdown(socket.SHUT_WR)

    async def ending(self) -> str:
        """How the listener ends the connection; it never says anything."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, 1)
        except ConnectionResetError:
            return "reset"
        assert data == b""
        return "FIN"

    def reset(self) -> None:
        """Vanish, as a process that is killed."""
        linger = b"\x01\0\0\0\0\0\0\0"
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def close(self) -> None:
        self._socket.close()


class Post:
    """A listener, the messages it gave, and senders that are closed at the end."""

    def __init__(self) -> None:
        self.listener = a_listener(self._on_arrival)
        self.arrivals: list[tuple[Arrival, ClassicText | ClassicDelete]] = []
        self.senders: list[Sender] = []
        self._taken = 0

    def _on_arrival(self, arrival: Arrival, message: ClassicText | ClassicDelete) -> None:
        self.arrivals.append((arrival, message))

    async def connect(self, host: str = "127.0.0.1") -> Sender:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connecting = socket.socket(family)
        connecting.setblocking(False)
        self.senders.append(Sender(connecting))
        port = self.listener.addresses[0].port
        await asyncio.get_running_loop().sock_connect(connecting, (host, port))
        return self.senders[-1]

    async def next(self) -> tuple[Arrival, ClassicText | ClassicDelete]:
        """The next message that no earlier call has returned."""
        await until(lambda: len(self.arrivals) > self._taken)
        self._taken += 1
        return self.arrivals[self._taken - 1]

    @property
    def open(self) -> list[Arrival]:
        """The connections that the listener holds, oldest first."""
        return list(self.listener._arrivals)


def ignore(arrival: Arrival, message: ClassicText | ClassicDelete) -> None:
    """What a test does with messages that it is not about."""


def a_listener(
    on_arrival: Callable[[Arrival, ClassicText | ClassicDelete], None] = ignore,
) -> Listener:
    """A listener of somebody."""
    person = Person()
    return Listener(on_arrival, person.credentials, person.hello, person)


@asynccontextmanager
async def listening(hosts: Sequence[str] = ("127.0.0.1",)) -> AsyncIterator[Post]:
    post = Post()
    await post.listener.start(hosts, 0)
    try:
        yield post
    finally:
        await post.listener.stop()
        for arrival, _ in post.arrivals:
            arrival.settle()
        for sender in post.senders:
            sender.close()
        await until(lambda: not post.open)


def with_post(deed: Callable[[Post], Awaitable[None]]) -> None:
    """Do ``deed`` with a listener of its own."""

    async def main() -> None:
        async with listening() as post:
            await deed(post)

    run(main)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that comes soon."""
    monkeypatch.setattr(listener_module, "ARRIVAL_DEADLINE_S", 0.05)


# --- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HELLO, HELLO_MESSAGE),
        (HELLO + b"\r\n", HELLO_MESSAGE),
        (b"DELETE_MESSAGE:alice", ClassicDelete(Name("alice"))),
        (b'alice: "it says "hi""', ClassicText(Name("alice"), DisplayText('it says "hi"'))),
        (b'alice: "' + b"x" * 60_000 + b'"', ClassicText(Name("alice"), DisplayText("x" * 60_000))),
    ],
    ids=["text", "line end", "delete", "quotes", "long"],
)
def test_a_message_ends_with_its_stream(data: bytes, message: ClassicText | ClassicDelete) -> None:
    """However long it is and whatever stands in it."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(data, end=True)
        arrival, found = await post.next()
        assert found == message
        arrival.settle()
        assert await sender.ending() == "FIN"

    with_post(deed)


def test_a_message_may_come_byte_by_byte() -> None:
    """Some classic senders write like this, and networks cut where they like."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        for byte in HELLO:
            await sender.send(bytes([byte]))
            await asyncio.sleep(0)  # the listener may read it now
        await sender.send(b"", end=True)
        assert (await post.next())[1] == HELLO_MESSAGE

    with_post(deed)


def test_the_sender_hears_nothing_before_the_message_is_settled() -> None:
    """A FIN says that it is on disk, so it must not come earlier."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(HELLO, end=True)
        arrival, _ = await post.next()
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(sender.ending())
            for _ in range(20):
                await asyncio.sleep(0)
            assert not ending.done()
            arrival.settle()
            assert await ending == "FIN"

    with_post(deed)


def test_a_message_that_is_turned_away_ends_with_a_reset() -> None:
    """The sender that looks knows that nothing was stored."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(HELLO, end=True)
        arrival, _ = await post.next()
        arrival.turn_away()
        assert await sender.ending() == "reset"

    with_post(deed)


def test_many_at_once_are_all_taken() -> None:
    """A classroom that writes at the same second; a silent one holds up nobody."""

    async def deed(post: Post) -> None:
        await post.connect()
        senders = [await post.connect() for _ in range(100)]
        for number, sender in enumerate(senders):
            await sender.send(b'alice: "%d"' % number, end=True)
        found = [await post.next() for _ in senders]
        texts = {str(message.text) for _, message in found if isinstance(message, ClassicText)}
        assert texts == {str(number) for number in range(100)}

    with_post(deed)


# --- what is no message --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"alice",
        b"alice: ",
        b'alice: "hello',
        b"alice: hello",
        b'user: "hello"',
        b'alice: "hello" and more',
        b"DELETE_MESSAGE:",
    ],
)
def test_what_ends_without_being_a_message_is_turned_away(data: bytes) -> None:
    """Nobody above hears of it."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(data, end=True)
        assert await sender.ending() == "reset"
        assert post.arrivals == []

    with_post(deed)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\0",
        b"-alice: ",
        b'"',
        b"a" * 33,
        b"\x17\x03\x03\0\x05hello",
        b"\x15\x03\x03\0\x02\x02\x28",
        b"\x80\x2e\x01\x03\x01\0\x15",
    ],
    ids=["HTTP", "NUL", "no name", "quote", "long name", "TLS data", "TLS alert", "SSL 2"],
)
def test_what_cannot_become_a_message_is_turned_away_at_once(data: bytes) -> None:
    """Without waiting for its end or the deadline."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(data)
        assert await sender.ending() == "reset"
        assert post.arrivals == []

    with_post(deed)


def test_what_is_too_long_is_turned_away() -> None:
    """At the limit, without waiting for its end: memory is bounded."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(b'alice: "' + b"x" * CLASSIC_RECEIVE_BYTES_MAX)
        assert await sender.ending() == "reset"
        assert post.arrivals == []

    with_post(deed)


def test_a_sender_that_vanishes_has_said_nothing() -> None:
    """A reset is no end of a message, though all of its bytes came before."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(HELLO)
        await until(lambda: any(arrival._reader._data == HELLO for arrival in post.open))
        sender.reset()
        await until(lambda: not post.open)
        assert post.arrivals == []

    with_post(deed)


# --- the deadline --------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon")
def test_a_short_message_that_is_never_closed_counts_at_the_deadline() -> None:
    """Some classic senders never close; what comes after it is not read any more."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(HELLO)
        arrival, message = await post.next()
        assert message == HELLO_MESSAGE
        await sender.send(HELLO, end=True)
        for _ in range(10):
            await asyncio.sleep(0)  # the listener reads it, and its end
        arrival.settle()
        assert await sender.ending() == "FIN"
        assert len(post.arrivals) == 1

    with_post(deed)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "data",
    [b"", b"alice", b'alice: "hello', b'alice: "' + b"x" * 600 + b'"'],
    ids=["silence", "a name", "half a message", "as long as a segment"],
)
def test_what_is_not_surely_whole_at_the_deadline_is_turned_away(data: bytes) -> None:
    """The sender keeps it and may send it again."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(data)
        assert await sender.ending() == "reset"
        assert post.arrivals == []

    with_post(deed)


@pytest.mark.usefixtures("soon")
def test_a_sender_that_drips_is_turned_away_at_the_deadline() -> None:
    """A byte now and then buys no time."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(b'alice: "')
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(sender.ending())
            while not ending.done():
                try:
                    await sender.send(b'"')
                except ConnectionError:
                    break
                await asyncio.wait([ending], timeout=0.005)
        assert post.arrivals == []
        await until(lambda: not post.open)

    with_post(deed)


# --- ends that cross -----------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Arrival.settle, Arrival.turn_away])
def test_the_sender_may_have_gone_meanwhile(end: Callable[[Arrival], None]) -> None:
    """The message is stored or not all the same; closing what is closed is no error."""

    async def deed(post: Post) -> None:
        sender = await post.connect()
        await sender.send(HELLO, end=True)
        arrival, _ = await post.next()
        sender.reset()
        end(arrival)
        await until(lambda: not post.open)
        end(arrival)

    with_post(deed)


# --- many connections ----------------------------------------------------------------------------


def test_the_oldest_that_has_not_said_all_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent or slow: the newcomer gets through."""
    monkeypatch.setattr(listener_module, "ARRIVALS_MAX", 3)

    async def deed(post: Post) -> None:
        silent = await post.connect()
        slow = await post.connect()
        await slow.send(b'alice: "')
        third = await post.connect()
        await until(lambda: len(post.open) == 3)
        for leaving in (silent, slow):
            sender = await post.connect()
            await sender.send(HELLO, end=True)
            assert (await post.next())[1] == HELLO_MESSAGE
            assert await leaving.ending() == "reset"
        await third.send(HELLO, end=True)
        assert (await post.next())[1] == HELLO_MESSAGE

    with_post(deed)


def test_a_message_that_waits_for_the_disk_makes_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is whole and may be stored at any moment: the newcomer has to come again."""
    monkeypatch.setattr(listener_module, "ARRIVALS_MAX", 2)

    async def deed(post: Post) -> None:
        waiting = [await post.connect() for _ in range(2)]
        for sender in waiting:
            await sender.send(HELLO, end=True)
        found = [await post.next() for _ in waiting]
        assert await (await post.connect()).ending() == "reset"
        for arrival, _ in found:
            arrival.settle()
        assert [await sender.ending() for sender in waiting] == ["FIN", "FIN"]

    with_post(deed)


def test_a_flood_of_silence_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when all of it comes in one turn of the loop; and a message still gets through."""
    monkeypatch.setattr(listener_module, "ARRIVALS_MAX", 3)

    async def deed(post: Post) -> None:
        flood = []
        for _ in range(50):
            sender = socket.create_connection(("127.0.0.1", post.listener.addresses[0].port))
            sender.setblocking(False)
            flood.append(Sender(sender))
        post.senders += flood
        most = 0
        ends = []
        for sender in flood[:-3]:
            ends.append(await sender.ending())
            most = max(most, len(post.open))
        assert set(ends) == {"reset"}
        assert most <= 3
        sender = await post.connect()
        await sender.send(HELLO, end=True)
        assert (await post.next())[1] == HELLO_MESSAGE

    with_post(deed)


# --- addresses -----------------------------------------------------------------------------------


@needs_ipv6
@pytest.mark.parametrize("hosts", [("127.0.0.1", "::1"), ("0.0.0.0", "::")])
def test_both_families_have_one_port(hosts: tuple[str, str]) -> None:
    """One address in the directory; a sender by either is this machine."""

    async def main() -> None:
        async with listening(hosts) as post:
            port = post.listener.addresses[0].port
            assert post.listener.addresses == [Address(host, port) for host in hosts]
            for host in ("127.0.0.1", "::1"):
                sender = await post.connect(host)
                await sender.send(HELLO, end=True)
                arrival, message = await post.next()
                assert (arrival.source, message) == (LOOPBACK, HELLO_MESSAGE)

    run(main)


class FakeTransport:
    """A connection from another machine."""

    def __init__(self, host: str) -> None:
        self._names = {"peername": (host, 40_000), "sockname": ("192.0.2.1", 5_000)}

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return self._names[name]


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("192.0.2.1", LOOPBACK),
        ("127.0.0.1", LOOPBACK),
        ("127.9.9.9", LOOPBACK),
        ("::1", LOOPBACK),
    ],
)
def test_the_source_of_a_message(host: str, source: str) -> None:
    """An IP address; all the ways to reach this machine from itself are one."""
    arrival = Arrival(a_listener())
    arrival._transport = FakeTransport(host)  # type: ignore[assignment]
    assert arrival.source == source


def test_an_address_that_is_taken() -> None:
    """It says which one and why."""

    async def deed(post: Post) -> None:
        port = post.listener.addresses[0].port
        second = a_listener()
        with pytest.raises(AddressInUse) as caught:
            await second.start(["127.0.0.1"], port)
        assert (caught.value.address, caught.value.reason) == (f"127.0.0.1:{port}", "in-use")
        assert second.addresses == []

    with_post(deed)


def test_an_address_of_another_machine() -> None:
    """As the first it is an error; as another one it is left out."""

    async def main() -> None:
        with pytest.raises(AddressInUse) as caught:
            await a_listener().start(["192.0.2.1"], 0)
        assert caught.value.reason == "not-here"
        async with listening(["127.0.0.1", "192.0.2.1"]) as post:
            assert [address.host for address in post.listener.addresses] == ["127.0.0.1"]

    run(main)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EADDRINUSE, "in-use"),
        (errno.EACCES, "not-permitted"),
        (errno.EADDRNOTAVAIL, "not-here"),
        (errno.EMFILE, "failed"),
        (None, "failed"),
    ],
)
def test_why_an_address_cannot_be_used(number: int | None, reason: str) -> None:
    """A code for the sentence that a person is told."""
    assert reason_of(OSError(number, "why") if number else OSError("why")) == reason


# --- the end -------------------------------------------------------------------------------------


def test_stop_turns_away_who_has_not_finished() -> None:
    """What is whole already is settled when it is on disk; nobody new comes in."""

    async def deed(post: Post) -> None:
        silent, slow, whole = [await post.connect() for _ in range(3)]
        await slow.send(b'alice: "hel')
        await whole.send(HELLO, end=True)
        arrival, _ = await post.next()
        await until(lambda: len(post.open) == 3)
        await post.listener.stop()
        assert await silent.ending() == "reset"
        assert await slow.ending() == "reset"
        with pytest.raises(ConnectionRefusedError):
            await post.connect()
        arrival.settle()
        assert await whole.ending() == "FIN"

    with_post(deed)


# --- links ---------------------------------------------------------------------------------------


def test_both_wires_have_one_port() -> None:
    """A link and a classic message, at the same time."""

    async def main() -> None:
        async with linked() as (_, _, bob, _):
            reader, writer = await asyncio.open_connection(bob.address.host, bob.address.port)
            writer.write(HELLO)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            assert bob.classic == [HELLO_MESSAGE]
            assert bob.lost == []

    run(main)


def test_a_link_may_end_in_peace() -> None:
    """Guards the linger option: only what may be a classic message ends with a reset by itself."""

    async def main() -> None:
        async with linked() as (_, _, _, to_alice):
            connected = to_alice._transport.get_extra_info("socket")
            linger = connected.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
            assert linger == listener_module._CLOSE_IN_PEACE

    run(main)


@pytest.mark.parametrize("first", [1, 2, 5, 100])
def test_a_link_may_begin_in_pieces(first: int) -> None:
    """The first byte decides; the listener hands over all that came with it."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            data = beginning_of_tls(attacker)
            await attacker.write(data[:first])
            await until(lambda: len(bob.listener._crowd) == 1)
            assert not bob.listener._arrivals
            await attacker.write(data[first:])
            await attacker.shake_hands()

    run(main)


def beginning_of_tls(attacker: Attacker) -> bytes:
    with contextlib.suppress(SSL.WantReadError):
        attacker.tls.do_handshake()
    return attacker.tls.bio_read(65_536)


def test_what_begins_with_the_byte_of_tls_only_is_turned_away() -> None:
    """OpenSSL sees at once that it is none; and nobody reads it as anything else."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.write(b"\x16" + b"A" * 200 + HELLO)
            await attacker.ending()
            assert bob.opened == bob.classic == []

    run(main)


@pytest.mark.parametrize("data", [b"alice", b'alice: "'], ids=["a name", "a text"])
def test_tls_behind_a_classic_beginning_is_turned_away(data: bytes) -> None:
    """The choice of the first byte is final: no link begins behind a name, or inside a text."""

    async def main() -> None:
        async with people(1) as (bob,):
            attacker = await Attacker.dial(bob.address)
            await attacker.write(data)
            await until(lambda: any(one._is_classic for one in bob.listener._arrivals))
            await attacker.write(beginning_of_tls(attacker))
            with contextlib.suppress(OSError):
                attacker.writer.write_eof()
            await attacker.ending()
            assert bob.opened == bob.classic == []
            assert not bob.listener._crowd

    run(main)


def test_a_link_has_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards LINK_HELLO_S: silence, a byte now and then, or no HELLO behind the handshake."""
    monkeypatch.setattr(link_module, "LINK_HELLO_S", 0.2)

    async def main() -> None:
        async with people(1) as (bob,):
            silent, slow, polite = [await Attacker.dial(bob.address) for _ in range(3)]
            await silent.write(b"\x16\x03")
            await polite.shake_hands()
            await slow.write(b"\x16")
            async with asyncio.TaskGroup() as tasks:
                for one in (silent, slow, polite):
                    tasks.create_task(one.ending())
                for byte in beginning_of_tls(slow)[1:]:
                    with contextlib.suppress(ConnectionError):
                        await slow.write(bytes([byte]))
                    if not bob.listener._crowd:
                        break
                    await asyncio.sleep(0.005)
            assert bob.opened == []
            assert polite.plain, "it heard our HELLO"

    run(main)


def test_who_comes_too_often_is_sent_away_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards HANDSHAKES_PER_ADDRESS_S_MAX; what it costs then is a TCP connection and a byte."""
    begun = []
    whole = Credentials.open

    def counted(credentials: Credentials, *what: Any, **more: Any) -> Any:
        begun.append(credentials)
        return whole(credentials, *what, **more)

    async def main() -> None:
        async with people(2) as (alice, bob):
            now = asyncio.get_running_loop().time()
            monkeypatch.setattr(bob.listener._crowd, "may_begin", stopped(bob.listener, now))
            monkeypatch.setattr(Credentials, "open", counted)
            flood = [await Attacker.dial(bob.address) for _ in range(100)]
            for one in flood:
                await one.write(b"\x16")
            for one in flood[BURST:]:
                await one.ending()
            assert len(begun) == BURST
            with pytest.raises(DialError) as caught:
                await alice.dial(bob)
            assert caught.value.reason == "broken"
            # Somebody at another address is not concerned.
            honest = await Attacker.dial(bob.address, source="127.0.0.2")
            await honest.shake_hands()
            await honest.read()

    run(main)


def stopped(listener: Listener, now_s: float) -> Callable[[str, float], bool]:
    """Ask the crowd of ``listener`` with a clock that stands still."""
    may_begin = listener._crowd.may_begin
    return lambda host, _: may_begin(host, now_s)


def test_many_half_open_links_of_one_address_displace_each_other() -> None:
    """Guards LINKS_HALF_OPEN_PER_ADDRESS_MAX: the oldest goes, and one who means well is linked."""

    async def main() -> None:
        async with people(2) as (alice, bob):
            flood = [await Attacker.dial(bob.address) for _ in range(30)]
            await until(lambda: len(bob.listener._arrivals) == 30)
            for number, one in enumerate(flood, 1):
                await one.write(b"\x16")
                await until(lambda number=number: len(bob.listener._arrivals) == 30 - number)
                expected = min(number, LINKS_HALF_OPEN_PER_ADDRESS_MAX)
                assert len(bob.listener._crowd) == expected
            for one in flood[: 30 - LINKS_HALF_OPEN_PER_ADDRESS_MAX]:
                await one.ending()
            await alice.dial(bob)
            await bob.next_link()

    run(main)


@pytest.mark.slow
def test_a_thousand_half_open_links_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a hundred addresses, with nothing to hold them back but the bound on all together.

    Guards LINKS_HALF_OPEN_MAX; and all the time, somebody who means well gets through.
    """
    monkeypatch.setattr(crowd_module, "HANDSHAKES_PER_ADDRESS_S_MAX", 1_000_000.0)

    async def main() -> None:
        async with people(2) as (alice, bob):
            for number in range(1_000):
                one = await Attacker.dial(bob.address, source=f"127.0.1.{number % 100 + 1}")
                await one.write(b"\x16\x03\x01\x02\0")
                assert len(bob.listener._crowd) <= LINKS_HALF_OPEN_MAX
                if number % 100 == 50:
                    (await alice.dial(bob)).close("exit")
            await until(lambda: len(bob.opened) == 10)
            await until(lambda: len(bob.listener._crowd) == LINKS_HALF_OPEN_MAX)

    run(main, 120)


def test_there_are_only_so_many_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards LINKS_MAX: who is linked stays, and who comes has to come again."""
    monkeypatch.setattr(listener_module, "LINKS_MAX", 2)

    async def main() -> None:
        async with people(3) as (alice, bob, carol):
            first = await alice.dial(carol)
            await bob.dial(carol)
            await until(lambda: len(carol.opened) == 2)
            with pytest.raises(DialError) as caught:
                await alice.dial(carol)
            assert caught.value.reason == "broken"
            assert carol.lost == []
            first.close("exit")
            await until(lambda: len(carol.lost) == 1)
            await alice.dial(carol)
            await until(lambda: len(carol.opened) == 3)

    run(main)


def test_a_sender_that_is_gone_before_its_first_byte_is_read() -> None:
    """The system no longer knows where it was; nobody has to."""
    arrival = Arrival(a_listener())
    transport = GoneTransport()
    arrival._transport = transport  # type: ignore[assignment]
    arrival.data_received(b"\x16")
    assert transport.is_aborted


class GoneTransport:
    """A connection whose other end has vanished."""

    is_aborted = False

    def get_extra_info(self, _name: str) -> None:
        return None

    def abort(self) -> None:
        self.is_aborted = True


def test_stop_ends_what_is_not_linked_yet() -> None:
    """Open links go on: saying goodbye on them is the node's part."""

    async def main() -> None:
        async with people(2) as (alice, bob):
            link = await alice.dial(bob)
            await bob.next_link()
            half = await Attacker.dial(bob.address)
            await half.write(b"\x16")
            await until(lambda: len(bob.listener._crowd) == 1)
            await bob.listener.stop()
            await half.ending()
            assert not bob.listener._crowd
            link.send(items("still here"))
            await until(lambda: bool(bob.received))

    run(main)
