"""Strangers who cost: half-open links, many dials, floods of mail; a friend still gets through."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.classic_client import LIMIT, Address
from tests.interop.processes import REGISTERED, Directory
from tests.system.processes import Chat, address_of, stop_all
from tests.system.test_silent import GROWTH_KIB_MAX, connections, resident_kib

from netchat.directory.client import DirectoryClient
from netchat.directory.records import sign_record
from netchat.errors import DirectoryRefused
from netchat.identity.keys import Identity
from netchat.identity.seal import make_prekey, seal
from netchat.model import Name, Record

pytestmark = pytest.mark.slow

SENT = ">>Message sent!"
FROM_BOB = ">>You have a message from bob"
BEGUN_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(64)
"""The beginning of a ClientHello that never ends."""
DIALS_S = 3.0
DEPOSITOR_MAX = 20
FLOOD_MAX = 1_000
FRIENDLY_MAX = 2_000


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    options = ("--depositor-max", str(DEPOSITOR_MAX))
    running = Directory(tmp_path / "directory", tmp_path / "data", *options)
    try:
        yield running
        running.stop_cleanly()
    finally:
        running.stop()


@pytest.fixture
def friends(tmp_path: Path, directory: Directory) -> Iterator[tuple[Chat, Chat]]:
    """Alice and bob, who have met."""
    chats = [
        Chat(name, tmp_path / "home", "--directory", directory.url) for name in ("alice", "bob")
    ]
    for chat in chats:
        chat.expect(REGISTERED)
    alice, bob = chats
    bob.ask('SEND alice "first"', SENT)
    alice.expect(FROM_BOB)
    yield alice, bob
    stop_all(chats)


def test_a_thousand_half_open_links(friends: tuple[Chat, Chat], directory: Directory) -> None:
    alice, bob = friends
    at = address_of(directory.address, "alice")
    before = resident_kib(alice.pid)
    with contextlib.suppress(ConnectionError), connections(at, 1_000, BEGUN_HELLO):
        bob.ask('SEND alice "meanwhile"', SENT)
        alice.expect(FROM_BOB)
        assert resident_kib(alice.pid) - before < GROWTH_KIB_MAX
    alice.ask("READ bob", ">>first - bob", ">>meanwhile - bob")


def dial_until(told: threading.Event, at: Address, count: list[int]) -> None:
    while not told.is_set():
        with contextlib.suppress(OSError), socket.create_connection(at, LIMIT) as one:
            count[0] += 1
            one.sendall(BEGUN_HELLO)


def test_a_thousand_dials_a_second(
    friends: tuple[Chat, Chat], directory: Directory, record_property: Callable[[str, object], None]
) -> None:
    alice, bob = friends
    at = address_of(directory.address, "alice")
    before = resident_kib(alice.pid)
    told, count = threading.Event(), [0]
    ending = threading.Timer(DIALS_S, told.set)
    dialling = threading.Thread(target=dial_until, args=(told, at, count))
    dialling.start()
    ending.start()
    try:
        for number in range(5):
            bob.ask(f'SEND alice "{number}"', SENT)
            alice.expect(FROM_BOB)
    finally:
        dialling.join()
        ending.cancel()
    record_property(
        "figure", f"strangers: {count[0] / DIALS_S:.0f} dials a second from one address"
    )
    assert count[0] > DIALS_S * 500
    assert resident_kib(alice.pid) - before < GROWTH_KIB_MAX


@contextlib.asynccontextmanager
async def mallory_at(url: str, name: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """A stranger with a key, who leaves sealed nonsense for ``name``, each time another."""
    mallory = Identity.generate()
    async with DirectoryClient(url) as client:
        record = Record(
            name=Name("mallory"),
            key=mallory.peer_id,
            addresses=(),
            prekey=make_prekey().public,
            prekey_until_ms=2**50,
            capabilities=(),
            seq=1,
            issued_ms=1,
            lease_s=60,
        )
        await client.claim(mallory, sign_record(mallory, record))
        signed = await client.record(Name(name))
        assert signed is not None
        key, prekey = signed.record.key, signed.record.prekey

        async def leave(number: int) -> None:
            envelope = seal(mallory, key, prekey, number.to_bytes(4) * 1_000)
            await client.deposit(mallory, key, envelope)

        yield leave


async def flood(url: str, name: str) -> int:
    """Deposit to ``name`` until the directory refuses; return how many it took."""
    async with mallory_at(url, name) as leave:
        for taken in range(10 * DEPOSITOR_MAX):
            try:
                await leave(taken)
            except DirectoryRefused as refusal:
                return taken if refusal.refusal == "too-many-from-you" else -1
    raise AssertionError("a flood that nobody stops")


async def keep_flooding(url: str, name: str, told: threading.Event) -> int:
    """Deposit ``FLOOD_MAX`` times, whatever is said to it, or until ``told``; return how many."""
    async with mallory_at(url, name) as leave:
        for number in range(FLOOD_MAX):
            if told.is_set():
                return number
            with contextlib.suppress(DirectoryRefused):
                await leave(number)
    return FLOOD_MAX


def test_a_flood_of_mail(friends: tuple[Chat, Chat], directory: Directory, tmp_path: Path) -> None:
    """One depositor fills its own share, and what it put there is let go."""
    alice, bob = friends
    alice.leave()
    assert asyncio.run(flood(directory.url, "alice")) == DEPOSITOR_MAX
    bob.ask('SEND alice "in between"', SENT)
    again = Chat("alice", tmp_path / "home", "--directory", directory.url)
    try:
        again.expect(REGISTERED)
        again.expect(FROM_BOB)
        again.ask("READ bob", ">>first - bob", ">>in between - bob")
        again.leave()
    finally:
        stop_all([again])


def test_a_flood_of_mail_to_somebody_who_is_there(
    friends: tuple[Chat, Chat], directory: Directory, record_property: Callable[[str, object], None]
) -> None:
    """She opens it all and lets it go; her friends notice nothing, and her memory does not grow."""
    alice, bob = friends
    before = [resident_kib(pid) for pid in (alice.pid, directory.pid)]
    told, count = threading.Event(), [0]

    def run() -> None:
        count[0] = asyncio.run(keep_flooding(directory.url, "alice", told))

    flooding = threading.Thread(target=run)
    flooding.start()
    took_s = []
    try:
        while flooding.is_alive() and len(took_s) < FRIENDLY_MAX:
            started = time.monotonic()
            bob.ask(f'SEND alice "{len(took_s)}"', SENT)
            alice.expect(FROM_BOB)
            took_s.append(time.monotonic() - started)
        flooding.join(5 * LIMIT)
    finally:
        told.set()
        flooding.join()
    now = [resident_kib(pid) for pid in (alice.pid, directory.pid)]
    grown = [kib - earlier for kib, earlier in zip(now, before, strict=True)]
    record_property(
        "figure",
        f"strangers: {count[0]} envelopes to one mailbox, its owner grew by {grown[0]:,} KiB, the"
        f" directory by {grown[1]:,} KiB; of {len(took_s)} messages of a friend meanwhile none took"
        f" longer than {max(took_s):.2f} s",
    )
    assert count[0] == FLOOD_MAX
    assert max(took_s) < LIMIT / 2
    assert max(grown) < GROWTH_KIB_MAX
    assert alice.unread() == ""
    assert len(alice.messages()) == 1 + len(took_s)
