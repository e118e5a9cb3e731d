"""Connections that a node opens: each way that connecting and handing over can end."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from tests.interop.processes import has_ipv6_loopback

from netchat.model import Address
from netchat.transport import dialer
from netchat.transport.dialer import (
    Connection,
    DialError,
    HandOverError,
    address_towards,
    dial,
)

LIMIT_S = 30
HELLO = b'alice: "hello"'
RESET_ON_CLOSE = b"\x01\0\0\0\0\0\0\0"
needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no ::1")


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test that hangs for no longer than the limit."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await main()

    asyncio.run(limited())


class Peer:
    """What listens at the other end; it does what the test tells it to."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._accepted: list[socket.socket] = []
        self.address = Address(*listening.getsockname()[:2])

    async def accept(self) -> socket.socket:
        connection, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        self._accepted.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._accepted:
            connection.close()
        self._listening.close()


@asynccontextmanager
async def a_peer(host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, 0), family=family)
    listening.setblocking(False)
    peer = Peer(listening)
    try:
        yield peer
    finally:
        peer.close()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Connection, socket.socket]]:
    """Both ends of a connection."""
    async with a_peer() as peer:
        connection = await dial(peer.address)
        try:
            yield connection, await peer.accept()
        finally:
            connection.close()


async def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := await asyncio.get_running_loop().sock_recv(connection, 4_096):
        data += piece
    return data


async def send_for_ever(connection: socket.socket) -> None:
    """Raises soon when the other end is closed: it answers the first byte with a reset."""
    while True:
        await asyncio.get_running_loop().sock_sendall(connection, b"x")
        await asyncio.sleep(0)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.close()


# --- connecting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_a_peer_that_listens_is_reached(host: str) -> None:
    """By either family; not a byte goes over it by itself, and closing it unused says nothing."""

    async def main() -> None:
        async with a_peer(host) as peer:
            connection = await dial(peer.address)
            accepted = await peer.accept()
            connection.close()
            assert await read_all(accepted) == b""

    run(main)


async def reason_of_dialling(address: Address) -> str:
    with pytest.raises(DialError) as caught:
        await dial(address)
    return caught.value.reason


def test_nobody_listens() -> None:
    """The peer's machine is there and says so."""

    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # bound, never listening: it refuses
            address = Address(*bound.getsockname())
            assert await reason_of_dialling(address) == "refused"

    run(main)


def test_there_is_no_way() -> None:
    """An address that TCP cannot go to at all: a multicast one."""

    async def main() -> None:
        assert await reason_of_dialling(Address("224.0.0.1", 5_000)) == "unreachable"

    run(main)


def test_a_name_that_the_system_cannot_spell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else an address may hide from us: it is one that nobody is at, and no bug."""

    async def main() -> None:
        address = Address("fe80::1%eth0", 5_000)
        object.__setattr__(address, "host", "fe80::1%..")
        assert await reason_of_dialling(address) == "unreachable"

    run(main)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is asleep, or a firewall that is silent: here, a backlog that is full."""
    monkeypatch.setattr(dialer, "DIAL_TIMEOUT_S", 0.05)

    async def main() -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            queued = [socket.socket() for _ in range(4)]
            try:
                for one in queued:
                    one.setblocking(False)
                    one.connect_ex(deaf.getsockname())
                assert await reason_of_dialling(Address(*deaf.getsockname())) == "timeout"
            finally:
                for one in queued:
                    one.close()

    run(main)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EMFILE])
def test_there_is_no_socket_to_be_had(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """No IPv6 here, or too many open files: one message waits, the node goes on."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    stub = SimpleNamespace(**{**vars(socket), "socket": refuse})
    monkeypatch.setattr(dialer, "socket", stub)

    async def main() -> None:
        assert await reason_of_dialling(Address("::1", 5_000)) == "unreachable"

    run(main)


def test_a_connection_to_itself_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP connects a socket to itself when it dials its own port: nobody would hear the message."""

    async def main() -> None:
        own = socket.socket()
        own.bind(("127.0.0.1", 0))
        address = Address(*own.getsockname())
        stub = SimpleNamespace(**{**vars(socket), "socket": lambda *_: own})
        monkeypatch.setattr(dialer, "socket", stub)
        assert await reason_of_dialling(address) == "refused"
        assert own.fileno() == -1

    run(main)


def test_who_gives_up_dialling_leaves_nothing_open() -> None:
    """EXIT while a peer does not answer; an open socket would be a warning here."""

    async def main() -> None:
        async with a_peer() as peer, asyncio.TaskGroup() as tasks:
            dialling = tasks.create_task(dial(peer.address))
            await asyncio.sleep(0)
            dialling.cancel()

    run(main)


# --- handing over --------------------------------------------------------------------------------


def test_a_peer_that_reads_and_closes_has_it() -> None:
    """It sees the whole message, and then its end."""

    async def main() -> None:
        async with connected() as (connection, accepted), asyncio.TaskGroup() as tasks:
            handing = tasks.create_task(connection.hand_over(HELLO))
            assert await read_all(accepted) == HELLO
            assert not handing.done()
            accepted.close()

    run(main)


def test_what_the_peer_says_is_ignored() -> None:
    """Some classic clients answer something; it still has the message."""

    async def main() -> None:
        async with connected() as (connection, accepted), asyncio.TaskGroup() as tasks:
            tasks.create_task(connection.hand_over(HELLO))
            await asyncio.get_running_loop().sock_sendall(accepted, b"OK\r\n" * 1_000)
            assert await read_all(accepted) == HELLO
            accepted.close()

    run(main)


@pytest.mark.parametrize("talks", [False, True])
def test_a_peer_that_never_closes_is_taken_to_have_it(
    monkeypatch: pytest.MonkeyPatch, talks: bool
) -> None:
    """Silent or not, its sender does not wait for ever; then the connection is closed."""
    monkeypatch.setattr(dialer, "CLOSE_WAIT_S", 0.05)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (connection, accepted), asyncio.TaskGroup() as tasks:
            handing = tasks.create_task(connection.hand_over(HELLO))
            while talks and not handing.done():
                try:
                    await loop.sock_sendall(accepted, b"blah " * 100)
                except ConnectionError:
                    break
                await asyncio.sleep(0)
            await handing
            with pytest.raises(ConnectionError):
                await send_for_ever(accepted)

    run(main)


async def reason_of_handing_over(connection: Connection, data: bytes = HELLO) -> str:
    with pytest.raises(HandOverError) as caught:
        await connection.hand_over(data)
    return caught.value.reason


def test_a_peer_that_resets_has_thrown_it_away() -> None:
    """After it read everything: a NetChat peer whose disk is full does this."""

    async def main() -> None:
        async with connected() as (connection, accepted), asyncio.TaskGroup() as tasks:
            reason = tasks.create_task(reason_of_handing_over(connection))
            assert await read_all(accepted) == HELLO
            reset(accepted)
            assert await reason == "reset"

    run(main)


def test_a_peer_that_reset_before() -> None:
    """While nobody looked: between the connection and the message, our disk was asked."""

    async def main() -> None:
        async with connected() as (connection, accepted):
            reset(accepted)
            assert await reason_of_handing_over(connection) == "reset"

    run(main)


def test_a_peer_that_resets_between_the_bytes_and_the_end() -> None:
    """Ending our half fails then in a way of its own; it is the same reset."""

    class Reset(socket.socket):
        def shutdown(self, _how: int) -> None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    async def main() -> None:
        async with a_peer() as peer:
            connecting = Reset()
            connecting.setblocking(False)
            address = (peer.address.host, peer.address.port)
            await asyncio.get_running_loop().sock_connect(connecting, address)
            assert await reason_of_handing_over(Connection(connecting)) == "reset"
            assert connecting.fileno() == -1

    run(main)


def test_a_peer_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than any buffer takes, and nobody takes it: nobody can know what arrived."""
    monkeypatch.setattr(dialer, "HAND_OVER_TIMEOUT_S", 0.05)

    async def main() -> None:
        async with connected() as (connection, _):
            assert await reason_of_handing_over(connection, bytes(20_000_000)) == "timeout"

    run(main)


def test_a_connection_that_broke_otherwise() -> None:
    """Whatever else the system says."""

    async def main() -> None:
        async with connected() as (connection, _):
            connection.close()
            assert await reason_of_handing_over(connection) == "broken"

    run(main)


def test_who_gives_up_handing_over_leaves_nothing_open() -> None:
    """The peer sees the end of it."""

    async def main() -> None:
        async with connected() as (connection, accepted), asyncio.TaskGroup() as tasks:
            handing = tasks.create_task(connection.hand_over(HELLO))
            assert await read_all(accepted) == HELLO
            handing.cancel()
            await asyncio.wait([handing])
            with pytest.raises(ConnectionError):
                await send_for_ever(accepted)

    run(main)


# --- the address towards somebody ----------------------------------------------------------------


def test_this_machine_is_reached_over_loopback() -> None:
    """Whatever the way to say so; an IPv6 loopback has no IPv4 address but this one."""
    for host in ("127.0.0.1", "127.9.9.9", "::1"):
        assert address_towards(host, 7_800) == "127.0.0.1"


@pytest.mark.parametrize(
    ("ways", "host", "own"),
    [
        ({"198.51.100.1": "192.0.2.7"}, "198.51.100.1", "192.0.2.7"),
        ({"localhost": "127.0.0.1"}, "localhost", "127.0.0.1"),
        ({"192.0.2.1": "192.0.2.7"}, "2001:db8::1", "192.0.2.7"),
        ({}, "198.51.100.1", None),
    ],
    ids=["the way there", "this machine by name", "the default route", "no way"],
)
def test_the_own_address_towards_a_directory(
    monkeypatch: pytest.MonkeyPatch, ways: dict[str, str], host: str, own: str | None
) -> None:
    """The one that others there can reach us at."""
    monkeypatch.setattr(dialer, "_own_address", lambda host, _: ways.get(host))
    assert address_towards(host, 7_800) == own


def test_no_packet_is_sent_to_find_the_own_address() -> None:
    """A way that cannot be is no error: a broadcast address may not be connected to."""
    assert dialer._own_address("127.0.0.1", 7_800) == "127.0.0.1"
    assert dialer._own_address("255.255.255.255", 7_800) is None
