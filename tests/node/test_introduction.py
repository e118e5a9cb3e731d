"""What a node says about itself: numbers that never go back, and prekeys that come and go."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.node.fixtures import HERE, ME, NOW, OWN, run

from netchat.directory.records import open_record
from netchat.errors import StoreUnavailable
from netchat.identity import trust
from netchat.identity.seal import prekey_id
from netchat.limits import (
    LEASE_S,
    PREKEY_GRACE_MS,
    PREKEY_ROTATION_MS,
    PREKEY_UNTIL_MS,
    RECORD_ADDRESSES_MAX,
)
from netchat.model import Address, Name, Pin, SignedRecord
from netchat.node.introduction import Introduction, last_name
from netchat.store.database import open_database
from netchat.store.secrets import Own

THERE = Address("192.0.2.8", 54_321)
START = 1_800_000_000_000


class Desk:
    """Introductions over one profile, one after the other, with a clock that is set by hand."""

    def __init__(self, path: Path) -> None:
        self.now_ms = START
        self.connection = open_database(path)
        self.own = Own(self.connection)
        self.is_broken = False

    async def keep(self, work: Callable[[Own], None]) -> None:
        await asyncio.sleep(0)  # another thread does it
        if self.is_broken:
            raise StoreUnavailable("no")
        work(self.own)

    def introduction(self, name: Name = ME) -> Introduction:
        counts = iter(range(100))
        entropy = lambda size: bytes([next(counts)]) * size  # noqa: E731
        return Introduction(OWN, name, lambda: self.now_ms, entropy, self.keep)

    async def started(self, name: Name = ME) -> Introduction:
        introduction = self.introduction(name)
        await introduction.start()
        return introduction

    def numbers(self, *advance_ms: int) -> list[int]:
        """The numbers of records that each had to be new, by one process."""

        async def main() -> list[int]:
            introduction = await self.started()
            seqs = []
            for number, step_ms in enumerate(advance_ms):
                self.now_ms += step_ms
                there = (Address("192.0.2.8", 1 + number),)
                seqs.append((await introduction.renew(there, mailboxes=False)).record.seq)
            return seqs

        return run(main)


@pytest.fixture
def desk(tmp_path: Path) -> "Desk":
    return Desk(tmp_path / "history.db")


@pytest.fixture(autouse=True)
def closed(desk: Desk) -> object:
    with closing(desk.connection):
        yield


# --- records -------------------------------------------------------------------------------------


def test_a_record_says_how_things_are(desk: Desk) -> None:
    """Signed with our key, for whoever opens it."""

    async def main() -> SignedRecord:
        return await (await desk.started()).renew((HERE, THERE), mailboxes=False)

    signed = run(main)
    assert open_record(signed.envelope) == signed
    record = signed.record
    assert (record.name, record.key, record.addresses) == (ME, OWN.peer_id, (HERE, THERE))
    assert (record.prekey, record.prekey_until_ms) == (b"", 0)
    assert (record.seq, record.issued_ms, record.lease_s) == (START, START, LEASE_S)


def test_a_record_is_signed_anew_only_when_something_changed(desk: Desk) -> None:
    """An unchanged one is the same bytes: each new number is a write to every directory."""

    async def main() -> None:
        introduction = await desk.started()
        first = await introduction.renew((HERE,), mailboxes=False)
        desk.now_ms += 60_000
        assert await introduction.renew((HERE,), mailboxes=False) is first
        assert introduction.record is first
        second = await introduction.renew((THERE,), mailboxes=False)
        assert second.record.seq > first.record.seq
        third = await introduction.renew((THERE,), mailboxes=True)
        assert third.record.prekey
        assert await introduction.renew((THERE,), mailboxes=True) is third

    run(main)


def test_a_record_holds_so_many_addresses(desk: Desk) -> None:
    """A machine may have more."""
    many = tuple(Address("192.0.2.7", port) for port in range(1, 20))

    async def main() -> SignedRecord:
        return await (await desk.started()).renew(many, mailboxes=False)

    assert run(main).record.addresses == many[:RECORD_ADDRESSES_MAX]


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps", [(0, 0, 0), (1, 1, 1), (5_000, -9_000, 0), (-86_400_000, 0, 0), (0, 10**9, -(10**9))]
)
def test_numbers_of_records_only_grow(desk: Desk, steps: tuple[int, ...]) -> None:
    """Whatever the clock does, and over a restart: who saw one twice would think of two faces."""
    seqs = [*desk.numbers(*steps), *desk.numbers(*steps)]
    assert seqs == sorted(set(seqs))


def test_numbers_follow_the_clock_into_a_fresh_profile(desk: Desk, tmp_path: Path) -> None:
    """A key that moved to a new computer goes on above the numbers of the old one."""
    old = desk.numbers(0, 0, 0, 60_000)
    fresh = Desk(tmp_path / "fresh.db")
    fresh.now_ms = desk.now_ms + 1_000
    with closing(fresh.connection):
        assert fresh.numbers(0)[0] > old[-1]


def test_a_number_that_somebody_saw_is_passed(desk: Desk) -> None:
    """The directory holds a higher one, from a computer whose clock is ahead."""

    async def main() -> None:
        introduction = await desk.started()
        await introduction.renew((HERE,), mailboxes=False)
        above = START + 10**9
        signed = await introduction.renew((HERE,), mailboxes=False, above=above)
        assert signed.record.seq == above + 1
        assert await introduction.renew((HERE,), mailboxes=False, above=above) is signed

    run(main)


def test_a_number_is_on_disk_before_anybody_sees_it(desk: Desk) -> None:
    """When the disk refuses there is no new record, and its number is not used again."""

    async def main() -> None:
        introduction = await desk.started()
        first = await introduction.renew((HERE,), mailboxes=False)
        desk.is_broken = True
        with pytest.raises(StoreUnavailable):
            await introduction.renew((THERE,), mailboxes=False)
        assert introduction.record is first
        desk.is_broken = False
        second = await introduction.renew((THERE,), mailboxes=False)
        assert int.from_bytes(desk.own.get("record-seq") or b"") == second.record.seq

    run(main)


def test_two_records_at_once_have_two_numbers(desk: Desk) -> None:
    """A heartbeat and a registration may ask side by side, in one millisecond. Guards that the
    number is taken before the wait for the disk."""

    async def main() -> list[SignedRecord]:
        introduction = await desk.started()
        await introduction.renew((), mailboxes=False)
        return await asyncio.gather(
            introduction.renew((HERE,), mailboxes=False),
            introduction.renew((THERE,), mailboxes=False),
        )

    one, other = run(main)
    assert one.record.seq != other.record.seq
    pin = trust.record_seen(Pin(name=ME), one).pin
    assert trust.record_seen(pin, other).verdict is trust.Verdict.GO


# --- HELLO ---------------------------------------------------------------------------------------


def test_hello_is_the_record_and_the_outbox(desk: Desk) -> None:
    """The outbox keeps its name over a restart; each run of the program has another instance."""

    async def main() -> None:
        introduction = await desk.started()
        with pytest.raises(AssertionError):
            introduction.hello()
        signed = await introduction.renew((HERE,), mailboxes=False)
        hello = introduction.hello()
        assert hello.record == signed.envelope
        assert (len(hello.stream), len(hello.instance)) == (8, 8)
        assert hello.stream == desk.own.get("stream")
        later = desk.introduction()
        later._fresh_stream = b"another!"
        later.instance = b"instance"
        await later.start()
        await later.renew((HERE,), mailboxes=False)
        assert later.hello().stream == hello.stream
        assert later.hello().instance != hello.instance

    run(main)


def test_the_name_is_remembered(desk: Desk) -> None:
    """For what is done to a profile while no node runs."""
    assert last_name(desk.own) is None
    run(lambda: desk.started(Name("Alice")))
    assert last_name(desk.own) == Name("Alice")
    assert str(last_name(desk.own)) == "Alice"
    run(lambda: desk.started(Name("eve")))
    assert last_name(desk.own) == Name("eve")


# --- prekeys -------------------------------------------------------------------------------------


def prekey_after(desk: Desk, *steps_ms: int) -> list[bytes]:
    """The prekeys that one process offers after each step of the clock."""

    async def main() -> list[bytes]:
        introduction = await desk.started()
        offered = []
        for step_ms in steps_ms:
            desk.now_ms += step_ms
            offered.append((await introduction.renew((HERE,), mailboxes=True)).record.prekey)
        return offered

    return run(main)


def test_a_prekey_serves_for_a_day(desk: Desk) -> None:
    """Over a restart, too; then there is a new one, and the record says so."""
    first, same = prekey_after(desk, 0, PREKEY_ROTATION_MS - 1)
    assert same == first
    assert prekey_after(desk, 0) == [first]
    (second,) = prekey_after(desk, 1)
    assert second != first
    third, same = prekey_after(desk, PREKEY_ROTATION_MS, 0)
    assert third not in (first, second)
    assert same == third


def test_a_prekey_from_the_future_is_replaced(desk: Desk) -> None:
    """The clock was wrong; else it would serve for years."""
    desk.now_ms = START + 10 * PREKEY_ROTATION_MS
    (first,) = prekey_after(desk, 0)
    desk.now_ms = START
    assert prekey_after(desk, 0) != [first]


def test_the_secret_of_an_old_prekey_is_erased_after_its_grace(desk: Desk) -> None:
    """What was sealed for it may be a week on its way; after that nobody can open it any more."""
    first, second = prekey_after(desk, 0, PREKEY_ROTATION_MS)
    assert desk.own.prekey_secret(prekey_id(first)) is not None
    (third,) = prekey_after(desk, PREKEY_GRACE_MS)
    assert desk.own.prekey_secret(prekey_id(first)) is not None
    prekey_after(desk, PREKEY_ROTATION_MS)
    assert desk.own.prekey_secret(prekey_id(first)) is None
    assert desk.own.prekey_secret(prekey_id(second)) is not None
    assert desk.own.prekey_secret(prekey_id(third)) is not None


def test_a_record_offers_its_prekey_for_a_while(desk: Desk) -> None:
    """Mail for somebody who is away longer waits at its sender."""

    async def main() -> SignedRecord:
        return await (await desk.started()).renew((HERE,), mailboxes=True)

    record = run(main).record
    assert record.prekey_until_ms == START + PREKEY_UNTIL_MS
    assert desk.own.prekey_secret(prekey_id(record.prekey)) is not None


def test_without_mailboxes_no_prekey_is_made(desk: Desk) -> None:
    """There is nothing that it could open."""
    assert NOW < START

    async def main() -> None:
        await (await desk.started()).renew((HERE,), mailboxes=False)

    run(main)
    assert desk.own.newest_prekey() is None
