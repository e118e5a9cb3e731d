"""What the tests of the node share: people with keys, their records, a pump over a real file."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from netchat.delivery.effects import Outward
from netchat.delivery.inputs import (
    Found,
    Input,
    ItemsArrived,
    LinkOpened,
    Located,
    MailArrived,
    NewMessage,
    SendRequested,
    TextArrived,
)
from netchat.delivery.policy import Policy
from netchat.directory.records import sign_record
from netchat.identity.keys import Identity
from netchat.identity.seal import make_prekey
from netchat.model import (
    Address,
    DisplayText,
    Item,
    ItemKind,
    MessageId,
    Name,
    Record,
    SignedRecord,
)
from netchat.node.pump import Batch, Owner, Pump
from netchat.store.database import open_database
from netchat.wire.mail import MailBody, encode_mail

LIMIT_S = 30
ME, BOB, CAROL = Name("alice"), Name("bob"), Name("carol")
HERE = Address("192.0.2.7", 54_321)
NOW = 1_000_000
STREAM = b"stream-1"
T = TypeVar("T")


@cache
def person(name: str) -> Identity:
    """The same key for the same name, each time."""
    return Identity.from_seed(name.encode().ljust(32, b"."))


OWN, BOBS, OTHER, CAROLS = (person(name) for name in ("alice", "bob", "mallory", "carol"))
"""Our key, the key of bob, another key that calls itself bob, the key of carol."""


@cache
def prekey_of(name: str) -> bytes:
    """A public prekey for the records of somebody; made once, as it takes a while."""
    return make_prekey().public


def record_of(
    identity: Identity = BOBS,
    name: Name = BOB,
    *,
    seq: int = 1,
    addresses: tuple[Address, ...] = (HERE,),
    prekey: bytes = b"",
    issued_ms: int = NOW,
    old: Identity | None = None,
) -> SignedRecord:
    """A record of ``identity``; with ``old`` it is a rotation."""
    record = Record(
        name=name,
        key=identity.peer_id,
        addresses=addresses,
        prekey=prekey,
        prekey_until_ms=2**50 if prekey else 0,
        capabilities=(),
        seq=seq,
        issued_ms=issued_ms,
        lease_s=60,
    )
    return sign_record(identity, record, old=old)


def keyed(identity: Identity = BOBS, name: Name = BOB, *, present: bool = True) -> Found:
    """What the directory says of somebody with a key, who has a mailbox."""
    signed = record_of(identity, name, prekey=prekey_of("bob"))
    return Found(signed, None, present=present)


CLASSIC = Found(None, HERE)
NOBODY = Found(None, None)


def an_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


# --- inputs --------------------------------------------------------------------------------------


def send(
    *numbers: int, to: Name = BOB, found: Found | None = None, text: str | None = None
) -> SendRequested:
    """Messages of ours; without ``found`` nobody could be asked."""
    messages = tuple(NewMessage(an_id(one), text or f"text {one}") for one in numbers)
    return SendRequested(to, messages, found)


def located(found: Found, peer: Name = BOB) -> Located:
    return Located(peer, found, 0.0)


def opened(
    link: int = 7, signed: SignedRecord | None = None, elsewhere: SignedRecord | None = None
) -> LinkOpened:
    return LinkOpened(link, signed or record_of(prekey=prekey_of("bob")), STREAM, elsewhere)


def text(number: int, words: str | None = None) -> Item:
    """A text of a peer; its number is that of its id."""
    words = words or f"text {number}"
    return Item(number, ItemKind.TEXT, an_id(number), number, DisplayText(words))


def deletion(number: int, target: int) -> Item:
    return Item(number, ItemKind.DELETE, an_id(number), number, target=an_id(target))


def arrived(*items: Item, link: int = 7, base: int = 1) -> ItemsArrived:
    return ItemsArrived(link, base, items)


def mail(
    number: int,
    *items: Item,
    sender: Identity = BOBS,
    name: Name = BOB,
    confirms: tuple[tuple[MessageId, str], ...] = (),
    elsewhere: SignedRecord | None = None,
) -> MailArrived:
    """An envelope that was opened; it can be read again from its bytes."""
    base = items[0].seq if items else 1
    body = encode_mail(MailBody(name, STREAM, base, items, confirms))
    return MailArrived(number, sender.peer_id, name, STREAM, base, items, confirms, elsewhere, body)


def classic_text(number: int, sender: Name = BOB, source: str = "192.0.2.7") -> TextArrived:
    return TextArrived(an_id(number), sender, DisplayText(f"text {number}"), source)


# --- a pump and its disk -------------------------------------------------------------------------

LOST, ANSWER_LOST = "lost", "answer lost"
"""How a commit fails: nothing is on disk; or all of it is, and the caller is told otherwise."""


class Commits:
    """How transactions end: as planned in ``fates``, and well when nothing is planned."""

    def __init__(self) -> None:
        self.fates: deque[str] = deque()
        self.count = 0

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.count += 1
        fate = self.fates.popleft() if self.fates else None
        if fate == LOST:
            raise sqlite3.OperationalError("database or disk is full")
        connection.commit()
        if fate == ANSWER_LOST:
            raise sqlite3.OperationalError("disk I/O error")


class Rig:
    """A pump that has started, its commits, and what another process sees in its file."""

    def __init__(self, path: Path, *, allow_classic: bool = True) -> None:
        self._path = path
        self.owner = Owner(ME, OWN.peer_id, Policy(), allow_classic=allow_classic)
        self.connection = open_database(path)
        self._other = sqlite3.connect(path, isolation_level=None)
        self.commits = Commits()
        self.pump = Pump(self.connection, self.owner, self.commits)
        assert self.pump.start(NOW) == []
        self.commits.count = 0

    def close(self) -> None:
        self._other.close()
        self.connection.close()

    def step(self, *events: Input, now_ms: int = NOW) -> Batch:
        return self.pump.step_batch(now_ms, events)

    def effects(self, *events: Input, now_ms: int = NOW) -> Sequence[Outward]:
        """What follows from inputs that the disk takes."""
        batch = self.step(*events, now_ms=now_ms)
        assert (batch.refused, batch.links_lost) == ((), False)
        return batch.effects

    def restart(self, now_ms: int = NOW) -> Sequence[Outward]:
        """Another process takes over."""
        self.pump = Pump(self.connection, self.owner, self.commits)
        return self.pump.start(now_ms)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Ask the file as another process sees it: only what is committed."""
        return self._other.execute(query).fetchall()

    @property
    def messages(self) -> list[tuple[object, ...]]:
        return self.rows("SELECT text, state, reason FROM message ORDER BY position")

    @property
    def outbox(self) -> list[tuple[object, ...]]:
        return self.rows("SELECT seq, kind, state FROM outbox ORDER BY peer, seq")


# --- asyncio -------------------------------------------------------------------------------------


def run(main: Callable[[], Awaitable[T]], limit_s: float = LIMIT_S) -> T:
    """Run a test that hangs for no longer than the limit; what a callback raises is noticed."""
    noticed: list[dict[str, object]] = []

    async def limited() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: noticed.append(what))
        async with asyncio.timeout(limit_s):
            return await main()

    result = asyncio.run(limited())
    assert noticed == []
    return result


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds that no event tells of."""
    while not condition():  # noqa: ASYNC110 (the condition is the kernel's or the link's own)
        await asyncio.sleep(0.001)
