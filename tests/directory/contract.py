"""What every directory store has to do. A store passes when a subclass of these classes passes.

A subclass overrides the fixture ``open_store`` with a function that opens the store at one and the
same place each time: ``StoreContract`` opens it once, ``LastingStoreContract`` again and again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from tests.directory.people import ALICE, BOB, CAROL, MALLORY, person, signed

from netchat.directory.mailbox import MailRefusal, Quota
from netchat.directory.registry import (
    ClaimVerdict,
    Held,
    Lease,
    Refusal,
    Refused,
    lease_of,
)
from netchat.directory.store import Deposited, DirectoryStore
from netchat.identity.keys import Identity
from netchat.limits import LIST_PAGE_MAX, LOG_PAGE_MAX, MAIL_TTL_MS, PAGE_BYTES_MAX
from netchat.model import Address, Name, PeerId, SignedRecord
from netchat.wire.directory_v2 import DIGEST_BYTES, LogEvent, format_log, parse_log

LIMIT_S = 30
NOW = 1_000_000
LATER = NOW + 60_000

OpenStore = Callable[[], AbstractAsyncContextManager[DirectoryStore]]
WithStore = Callable[[DirectoryStore], Awaitable[None]]


def opened(make: Callable[[], DirectoryStore]) -> OpenStore:
    """Make an ``OpenStore`` of something that returns a store in a running event loop."""

    @asynccontextmanager
    async def open_store():  # type: ignore[no-untyped-def]  # the decorator types it
        store = make()
        try:
            yield store
        finally:
            await store.close()

    return open_store


def use(open_store: OpenStore, *deeds: WithStore) -> None:
    """Do each of ``deeds`` with the store opened anew."""

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S):
            for deed in deeds:
                async with open_store() as store:
                    await deed(store)

    asyncio.run(main())


def lease(
    name: str, host: str = "192.0.2.7", *, expires_ms: int = LATER, durable: bool = False
) -> Lease:
    return Lease(Name(name), Address(host, 5_000), expires_ms, durable)


async def enter(store: DirectoryStore, entry: Lease) -> None:
    """Put a lease as the server does: enter the name first."""
    name = await store.enter(entry.name)
    assert isinstance(name, Name)
    await store.put_lease(Lease(name, entry.address, entry.expires_ms, entry.durable))


async def claim(store: DirectoryStore, one: SignedRecord) -> ClaimVerdict | Refused:
    """Claim as the server does: the lease comes behind the claim."""
    verdict = await store.claim(one, NOW)
    if isinstance(verdict, ClaimVerdict):
        await store.put_lease(lease_of(NOW, one.record))
    return verdict


async def holder(store: DirectoryStore, name: str) -> PeerId | None:
    held = await store.held(Name(name))
    return None if held is None else held.holder


QUOTA = Quota(envelopes_max=5, per_depositor_max=3, bytes_max=4_000, directory_bytes_max=5_000)


async def deposit(
    store: DirectoryStore,
    envelope: bytes,
    *,
    to: Identity = BOB,
    of: Identity = ALICE,
    now_ms: int = NOW,
    quota: Quota = QUOTA,
) -> Deposited | MailRefusal:
    return await store.deposit(to.peer_id, of.peer_id, envelope, now_ms, quota)


async def mail(
    store: DirectoryStore,
    of: Identity = BOB,
    *,
    after: int = 0,
    limit: int = 100,
    bytes_max: int = PAGE_BYTES_MAX,
    now_ms: int = NOW,
) -> list[tuple[int, bytes]]:
    return list(await store.fetch(of.peer_id, after, limit, bytes_max, now_ms))


both_kinds = pytest.mark.parametrize("durable", [False, True], ids=["leased", "durable"])


class StoreContract:
    """Names, leases, mail and what a sweep removes, in one life of the store."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        raise NotImplementedError

    # --- the directory itself --------------------------------------------------------------------

    def test_the_id_is_made_once(self, open_store: OpenStore) -> None:
        """Requests are signed over it, so it never changes."""

        async def deed(store: DirectoryStore) -> None:
            first = await store.directory_id(b"1" * 16)
            assert first == b"1" * 16
            assert await store.directory_id(b"2" * 16) == first

        use(open_store, deed)

    # --- classic names ---------------------------------------------------------------------------

    def test_a_name_is_entered_as_it_was_first_written(self, open_store: OpenStore) -> None:
        """Later ones of the same name get the first spelling, however they write it."""

        async def deed(store: DirectoryStore) -> None:
            for written in ("Alice", "aLICE"):
                name = await store.enter(Name(written))
                assert isinstance(name, Name)
                assert name.shown == "Alice"
            assert await store.held(Name("alice")) is None

        use(open_store, deed)

    def test_a_name_that_a_key_holds_is_not_entered(self, open_store: OpenStore) -> None:
        """The refusal tells the name as it is written."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(ALICE, "Alice"))
            assert await store.enter(Name("alice")) == Refused(Refusal.NAME_HELD, "Alice")
            assert await holder(store, "alice") == ALICE.peer_id

        use(open_store, deed)

    @pytest.mark.parametrize("name", ["aIice", "a1ice", "alice."])
    def test_a_name_that_looks_like_a_held_one_is_not_entered(
        self, open_store: OpenStore, name: str
    ) -> None:
        """Not even when it was there before; one that looks like a classic name is."""

        async def deed(store: DirectoryStore) -> None:
            await store.enter(Name("alice"))
            assert await store.enter(Name(name)) == Name(name)
            await claim(store, signed(ALICE, "alice"))
            assert await store.enter(Name(name)) == Refused(Refusal.LOOK_ALIKE, "alice")

        use(open_store, deed)

    def test_a_name_that_looks_like_a_reserved_one_is_not_entered(
        self, open_store: OpenStore
    ) -> None:
        """Reserved names themselves are no names."""

        async def deed(store: DirectoryStore) -> None:
            assert await store.enter(Name("aIl")) == Refused(Refusal.LOOK_ALIKE, "all")

        use(open_store, deed)

    def test_a_name_that_is_refused_takes_no_other_with_it(self, open_store: OpenStore) -> None:
        """They may share a commit."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(BOB, "bob"))
            names = [Name(name) for name in ("alice", "bob", "carol")]
            answers = await asyncio.gather(*(store.enter(name) for name in names))
            assert [type(answer) for answer in answers] == [Name, Refused, Name]

        use(open_store, deed)

    # --- claims ----------------------------------------------------------------------------------

    def test_a_claim_is_held_with_its_record(self, open_store: OpenStore) -> None:
        """By any spelling of the name; the bytes as they came."""

        async def deed(store: DirectoryStore) -> None:
            one = signed(ALICE, "Alice", seq=7)
            assert await claim(store, one) is ClaimVerdict.FIRST
            held = await store.held(Name("aLICE"))
            assert held == Held(Name("alice"), ALICE.peer_id, 7, one.envelope)
            assert held.name.shown == "Alice"
            assert await store.held(Name("bob")) is None

        use(open_store, deed)

    def test_a_key_takes_a_name_that_nobody_holds(self, open_store: OpenStore) -> None:
        """The classic entry ends with it; the name is written as the key writes it."""

        async def deed(store: DirectoryStore) -> None:
            await enter(store, lease("Alice", durable=True))
            assert await claim(store, signed(ALICE, "aLICE")) is ClaimVerdict.FIRST
            assert [str(one.name) for one in store.leases()] == ["aLICE"]
            assert isinstance(await store.enter(Name("Alice")), Refused)

        use(open_store, deed)

    def test_the_same_claim_may_be_repeated(self, open_store: OpenStore) -> None:
        """A node whose answer was lost asks again; nothing is logged twice."""

        async def deed(store: DirectoryStore) -> None:
            one = signed(ALICE, "alice")
            verdicts = [await claim(store, one) for _ in range(3)]
            assert verdicts == [ClaimVerdict.FIRST, ClaimVerdict.SAME, ClaimVerdict.SAME]
            assert len(await store.log(0, LOG_PAGE_MAX, None)) == 1

        use(open_store, deed)

    def test_a_newer_record_takes_the_place_of_the_one_before(self, open_store: OpenStore) -> None:
        """An older one never does; and renewing is nothing for the log."""

        async def deed(store: DirectoryStore) -> None:
            newer = signed(ALICE, "alice", seq=2)
            await claim(store, signed(ALICE, "alice", seq=1))
            assert await claim(store, newer) is ClaimVerdict.NEWER
            for seq, lease_s in ((1, 60), (2, 61)):
                old = signed(ALICE, "alice", seq=seq, lease_s=lease_s)
                assert await claim(store, old) == Refused(Refusal.STALE, "alice")
            held = await store.held(Name("alice"))
            assert held is not None
            assert held.envelope == newer.envelope
            assert len(await store.log(0, LOG_PAGE_MAX, None)) == 1

        use(open_store, deed)

    def test_another_key_does_not_get_a_name(self, open_store: OpenStore) -> None:
        """Whatever its number; without the signature of the key that holds it."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(ALICE, "alice"))
            for old in (None, CAROL):
                stolen = signed(MALLORY, "alice", seq=100, old=old)
                assert await claim(store, stolen) == Refused(Refusal.NAME_HELD, "alice")
            assert await holder(store, "alice") == ALICE.peer_id

        use(open_store, deed)

    def test_a_name_moves_to_another_key_by_the_old_one(self, open_store: OpenStore) -> None:
        """From then on the old key cannot take it back by itself."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(ALICE, "alice"))
            assert await claim(store, signed(BOB, "alice", old=ALICE, seq=2)) is (
                ClaimVerdict.ROTATED
            )
            assert await holder(store, "alice") == BOB.peer_id
            back = signed(ALICE, "alice", seq=3)
            assert await claim(store, back) == Refused(Refusal.NAME_HELD, "alice")

        use(open_store, deed)

    def test_of_many_keys_at_once_one_gets_the_name(self, open_store: OpenStore) -> None:
        """All the others are refused, and it is clear afterwards who has it."""

        async def deed(store: DirectoryStore) -> None:
            claims = [signed(person(number), "alice") for number in range(50)]
            answers = await asyncio.gather(*(store.claim(one, NOW) for one in claims))
            assert answers.count(ClaimVerdict.FIRST) == 1
            winner = claims[answers.index(ClaimVerdict.FIRST)]
            assert await holder(store, "alice") == winner.record.key
            assert answers.count(Refused(Refusal.NAME_HELD, "alice")) == len(claims) - 1

        use(open_store, deed)

    def test_a_name_that_looks_like_a_held_one_is_not_claimed(self, open_store: OpenStore) -> None:
        """Until that one is released; one that looks like a classic entry is."""

        async def deed(store: DirectoryStore) -> None:
            await enter(store, lease("b0b"))
            await claim(store, signed(BOB, "bob"))
            other = signed(MALLORY, "B0B")
            assert await claim(store, other) == Refused(Refusal.LOOK_ALIKE, "bob")
            assert await store.release(Name("bob"), NOW)
            assert await claim(store, other) is ClaimVerdict.FIRST

        use(open_store, deed)

    def test_a_key_that_writes_its_name_anew_keeps_it(self, open_store: OpenStore) -> None:
        """What looks like the old way to write it is free then."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(ALICE, "Ivy"))
            assert await claim(store, signed(ALICE, "ivy", seq=2)) is ClaimVerdict.NEWER
            assert await claim(store, signed(BOB, "lvy")) is ClaimVerdict.FIRST

        use(open_store, deed)

    def test_names_are_paged_in_their_order(self, open_store: OpenStore) -> None:
        """Each once, whatever the size of a page; a page ends before it is too large."""

        async def deed(store: DirectoryStore) -> None:
            names = [f"p{number:02}" for number in range(10)]
            for number, name in enumerate(names):
                await claim(store, signed(person(number), name))
            await enter(store, lease("p05x"))
            whole = await store.page(None, LIST_PAGE_MAX, PAGE_BYTES_MAX)
            assert [str(one.name) for one in whole] == names
            size = len(whole[0].envelope)
            for limit, bytes_max, found in (
                (3, PAGE_BYTES_MAX, 3),
                (9, 2 * size + 9, 2),
                (9, 1, 1),
            ):
                page = await store.page(Name("P03"), limit, bytes_max)
                assert [str(one.name) for one in page] == names[4 : 4 + found]
            assert list(await store.page(Name("p09"), 5, PAGE_BYTES_MAX)) == []

        use(open_store, deed)

    # --- release and the log ---------------------------------------------------------------------

    def test_a_released_name_is_free(self, open_store: OpenStore) -> None:
        """Its lease has ended, and any key or classic client may have it."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(ALICE, "alice"))
            assert await store.release(Name("ALICE"), NOW)
            assert not await store.release(Name("alice"), NOW)
            assert store.lease(Name("alice")) is None
            assert await store.held(Name("alice")) is None
            assert await store.enter(Name("alice")) == Name("alice")
            assert not await store.release(Name("alice"), NOW)
            assert await claim(store, signed(MALLORY, "alice")) is ClaimVerdict.FIRST

        use(open_store, deed)

    def test_the_log_tells_what_became_of_each_name(self, open_store: OpenStore) -> None:
        """In its order, chained from the first entry on."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(ALICE, "Alice"))
            await claim(store, signed(BOB, "bob"))
            await claim(store, signed(MALLORY, "bob", seq=9))
            await claim(store, signed(CAROL, "alice", old=ALICE, seq=2))
            await store.release(Name("bob"), NOW + 5)
            entries = await store.log(0, LOG_PAGE_MAX, None)
            assert [(x.n, x.at_ms, x.event, x.name.shown, x.key) for x in entries] == [
                (1, NOW, LogEvent.CLAIM, "Alice", ALICE.peer_id),
                (2, NOW, LogEvent.CLAIM, "bob", BOB.peer_id),
                (3, NOW, LogEvent.ROTATE, "alice", CAROL.peer_id),
                (4, NOW + 5, LogEvent.RELEASE, "bob", BOB.peer_id),
            ]
            assert entries[0].previous == bytes(DIGEST_BYTES)
            assert parse_log(format_log(entries)) == tuple(entries)
            assert list(await store.log(1, 2, None)) == list(entries)[1:3]
            assert [one.n for one in await store.log(0, 9, Name("ALICE"))] == [1, 3]
            assert [one.n for one in await store.log(1, 9, Name("alice"))] == [3]

        use(open_store, deed)

    # --- leases ----------------------------------------------------------------------------------

    @both_kinds
    def test_a_lease_is_there_when_it_was_put(self, open_store: OpenStore, durable: bool) -> None:
        """By any spelling of its name; a name without one has none."""

        async def deed(store: DirectoryStore) -> None:
            entry = lease("Alice", durable=durable)
            await enter(store, entry)
            assert store.lease(Name("aLICE")) == entry
            assert store.lease(Name("bob")) is None
            assert list(store.leases()) == [entry]
            assert store.lease_count() == 1

        use(open_store, deed)

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("before", [False, True])
    def test_a_lease_takes_the_place_of_the_one_before(
        self, open_store: OpenStore, before: bool, after: bool
    ) -> None:
        """Whichever of them is durable; and putting it again changes nothing."""

        async def deed(store: DirectoryStore) -> None:
            await enter(store, lease("alice", "192.0.2.7", durable=before))
            moved = lease("alice", "192.0.2.8", expires_ms=LATER + 1, durable=after)
            for _ in range(2):
                await enter(store, moved)
                assert list(store.leases()) == [moved]

        use(open_store, deed)

    def test_leases_are_in_the_order_of_their_names(self, open_store: OpenStore) -> None:
        """Whatever their case and the order in which they came and went."""

        async def deed(store: DirectoryStore) -> None:
            for name in ("dave", "Bob", "alice", "Carol"):
                await enter(store, lease(name))
            assert [str(one.name) for one in store.leases()] == ["alice", "Bob", "Carol", "dave"]
            await claim(store, signed(CAROL, "Carol"))
            await store.release(Name("carol"), NOW)
            await enter(store, lease("abe"))
            assert [str(one.name) for one in store.leases()] == ["abe", "alice", "Bob", "dave"]

        use(open_store, deed)

    def test_many_leases_at_once(self, open_store: OpenStore) -> None:
        """None is lost when a classroom starts at the same second."""

        async def deed(store: DirectoryStore) -> None:
            entries = [lease(f"p{number:03}", durable=number % 2 == 0) for number in range(300)]
            await asyncio.gather(*(enter(store, entry) for entry in entries))
            assert list(store.leases()) == entries
            assert store.lease_count() == 300

        use(open_store, deed)

    def test_a_lease_that_has_ended_is_there_until_it_is_swept(self, open_store: OpenStore) -> None:
        """Whether it is live is for the registry to judge."""

        async def deed(store: DirectoryStore) -> None:
            ended = lease("alice", expires_ms=NOW)
            await enter(store, ended)
            assert store.lease(Name("alice")) == ended
            assert store.lease_count() == 1

        use(open_store, deed)

    def test_a_lease_is_dropped_by_its_key_only(self, open_store: OpenStore) -> None:
        """The second time there is nothing to drop; the name stays claimed."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(ALICE, "alice"))
            await enter(store, lease("bob", durable=True))
            for name in ("alice", "bob", "carol"):
                assert not await store.drop_lease(Name(name), MALLORY.peer_id)
            assert store.lease_count() == 2
            assert await store.drop_lease(Name("ALICE"), ALICE.peer_id)
            assert not await store.drop_lease(Name("alice"), ALICE.peer_id)
            assert [str(one.name) for one in store.leases()] == ["bob"]
            assert await holder(store, "alice") == ALICE.peer_id

        use(open_store, deed)

    # --- mail ------------------------------------------------------------------------------------

    def test_mail_is_fetched_in_the_order_in_which_it_came(self, open_store: OpenStore) -> None:
        """Behind a cursor, so many, and not more than fit; one at least."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(BOB, "bob"))
            assert await store.newest_cursor(BOB.peer_id) == 0
            for number in range(1, 4):
                found = await deposit(store, bytes([number]) * 100)
                assert found == Deposited(number, NOW + MAIL_TTL_MS)
            whole = [(number, bytes([number]) * 100) for number in range(1, 4)]
            assert await mail(store) == whole
            assert await mail(store, after=1) == whole[1:]
            assert await mail(store, limit=2) == whole[:2]
            assert await mail(store, bytes_max=299) == whole[:2]
            assert await mail(store, bytes_max=1) == whole[:1]
            assert await mail(store, after=3) == []
            assert await mail(store, of=ALICE) == []
            assert await store.newest_cursor(BOB.peer_id) == 3

        use(open_store, deed)

    def test_only_a_key_that_holds_a_name_has_a_mailbox(self, open_store: OpenStore) -> None:
        """Else anybody could fill the disk for keys that nobody has.

        A classic name is nobody's; and with its name a key loses the mailbox, but not the mail.
        """

        async def deed(store: DirectoryStore) -> None:
            await enter(store, lease("bob", durable=True))
            assert await deposit(store, b"one") is MailRefusal.NO_SUCH_RECIPIENT
            assert await store.newest_cursor(BOB.peer_id) is None
            await claim(store, signed(BOB, "bob"))
            assert isinstance(await deposit(store, b"one"), Deposited)
            await store.release(Name("bob"), NOW)
            assert await deposit(store, b"two") is MailRefusal.NO_SUCH_RECIPIENT
            assert await mail(store) == [(1, b"one")]

        use(open_store, deed)

    def test_the_same_envelope_is_kept_once(self, open_store: OpenStore) -> None:
        """Its sender may not have heard the answer; even when there is no more room."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(BOB, "bob"))
            await claim(store, signed(CAROL, "carol"))
            first = await deposit(store, b"one")
            for number in range(2):
                await deposit(store, bytes([number]))
            assert await deposit(store, b"two") is MailRefusal.TOO_MANY_FROM_YOU
            assert await deposit(store, b"one", now_ms=NOW + 9) == first
            assert await deposit(store, b"one", to=CAROL) == first
            assert len(await mail(store)) == 3

        use(open_store, deed)

    def test_a_flood_leaves_room_for_a_friend(self, open_store: OpenStore) -> None:
        """Nobody fills a mailbox alone; when several did, it takes no more from anybody."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(BOB, "bob"))
            flood = [await deposit(store, b"%d" % n, of=MALLORY) for n in range(9)]
            assert sum(isinstance(one, Deposited) for one in flood) == QUOTA.per_depositor_max
            assert set(flood[3:]) == {MailRefusal.TOO_MANY_FROM_YOU}
            assert isinstance(await deposit(store, b"friend"), Deposited)
            assert isinstance(await deposit(store, b"friend 2"), Deposited)
            assert await deposit(store, b"friend 3") is MailRefusal.MAILBOX_FULL

        use(open_store, deed)

    def test_room_is_counted_in_bytes_too(self, open_store: OpenStore) -> None:
        """Of a depositor, of a mailbox, and of all."""

        async def deed(store: DirectoryStore) -> None:
            for one in (BOB, CAROL):
                await claim(store, signed(one, str(one.peer_id)[:8]))
            assert isinstance(await deposit(store, b"1" * 1_000), Deposited)
            assert await deposit(store, b"2") is MailRefusal.TOO_MANY_FROM_YOU
            for n in range(3):
                assert isinstance(
                    await deposit(
                        store,
                        b"x" * 1_000 + b"%d" % n,
                        of=person(n),
                        quota=Quota(bytes_max=8_000, directory_bytes_max=5_000),
                    ),
                    Deposited,
                )
            assert await deposit(store, b"y" * 999, of=person(9)) is MailRefusal.MAILBOX_FULL
            assert isinstance(await deposit(store, b"z" * 997, to=CAROL), Deposited)
            assert await deposit(store, b"z", to=CAROL, of=BOB) is MailRefusal.FULL

        use(open_store, deed)

    def test_what_was_taken_makes_room(self, open_store: OpenStore) -> None:
        """Up to the cursor that is acknowledged; cursors are never used again."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(BOB, "bob"))
            for number in range(3):
                await deposit(store, bytes([number]) * 300)
            assert await deposit(store, b"four") is MailRefusal.TOO_MANY_FROM_YOU
            assert await store.acknowledge(ALICE.peer_id, 3) == 0
            assert await store.acknowledge(BOB.peer_id, 2) == 2
            assert await store.acknowledge(BOB.peer_id, 2) == 0
            assert [cursor for cursor, _ in await mail(store)] == [3]
            assert await store.acknowledge(BOB.peer_id, 99) == 1
            assert await store.newest_cursor(BOB.peer_id) == 3
            for number in range(4, 7):
                assert await deposit(store, b"%d" % number) == Deposited(number, NOW + MAIL_TTL_MS)

        use(open_store, deed)

    def test_mail_that_has_expired_is_not_fetched(self, open_store: OpenStore) -> None:
        """From its very millisecond, swept or not; the sweep makes room."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(BOB, "bob"))
            for number in range(3):
                await deposit(store, bytes([number]), now_ms=NOW + number)
            over = NOW + MAIL_TTL_MS + 1
            assert [cursor for cursor, _ in await mail(store, now_ms=over)] == [3]
            assert await deposit(store, b"four") is MailRefusal.TOO_MANY_FROM_YOU
            await store.sweep(over)
            assert [cursor for cursor, _ in await mail(store, now_ms=NOW)] == [3]
            assert isinstance(await deposit(store, b"four"), Deposited)

        use(open_store, deed)

    def test_many_deposits_at_once(self, open_store: OpenStore) -> None:
        """Each has a cursor of its own, and no quota is passed because they share a commit."""

        async def deed(store: DirectoryStore) -> None:
            await claim(store, signed(BOB, "bob"))
            answers = await asyncio.gather(
                *(deposit(store, b"%d" % n, of=person(n % 4)) for n in range(40))
            )
            kept = [answer for answer in answers if isinstance(answer, Deposited)]
            assert sorted(one.cursor for one in kept) == [1, 2, 3, 4, 5]
            assert len(await mail(store)) == 5

        use(open_store, deed)

    # --- sweep -----------------------------------------------------------------------------------

    def test_a_sweep_removes_what_has_ended(self, open_store: OpenStore) -> None:
        """At its very millisecond; it counts what it removed, and finds nothing the second time."""

        async def deed(store: DirectoryStore) -> None:
            await enter(store, lease("alice", expires_ms=NOW - 1))
            await enter(store, lease("bob", expires_ms=NOW, durable=True))
            await enter(store, lease("carol", expires_ms=NOW + 1))
            await enter(store, lease("dave", expires_ms=NOW + 1, durable=True))
            assert await store.sweep(NOW) == 2
            assert [str(one.name) for one in store.leases()] == ["carol", "dave"]
            assert await store.sweep(NOW) == 0

        use(open_store, deed)

    def test_a_sweep_frees_names_that_nobody_holds(self, open_store: OpenStore) -> None:
        """The next one may write it as he likes; a name in use and a key's name stay."""

        async def deed(store: DirectoryStore) -> None:
            await enter(store, lease("Alice", expires_ms=NOW))
            await enter(store, lease("Bob"))
            await claim(store, signed(CAROL, "Carol", lease_s=0))
            await store.sweep(NOW)
            shown = [str(await store.enter(Name(name))) for name in ("alice", "bob")]
            assert shown == ["alice", "Bob"]
            assert store.lease(Name("carol")) is None
            assert await holder(store, "carol") == CAROL.peer_id

        use(open_store, deed)


class LastingStoreContract(StoreContract):
    """What is there when the store is opened again at the same place."""

    def test_durable_leases_outlive_a_restart(self, open_store: OpenStore) -> None:
        """A classic client never registers again; a node of ours does, within its lease."""
        kept = lease("Alice", durable=True)

        async def before(store: DirectoryStore) -> None:
            await enter(store, kept)
            await enter(store, lease("bob"))

        async def after(store: DirectoryStore) -> None:
            assert list(store.leases()) == [kept]
            (found,) = store.leases()
            assert found.name.shown == "Alice"

        use(open_store, before, after, after)

    def test_claims_and_their_log_outlive_a_restart(self, open_store: OpenStore) -> None:
        """The first key keeps the name, with the record as it came; its lease is not kept."""
        one = signed(ALICE, "Alice")

        async def before(store: DirectoryStore) -> None:
            assert await store.directory_id(b"1" * 16) == b"1" * 16
            await claim(store, one)
            await enter(store, lease("Bob", durable=True))

        async def after(store: DirectoryStore) -> None:
            assert await store.directory_id(b"2" * 16) == b"1" * 16
            assert await store.held(Name("alice")) == Held(
                Name("alice"), ALICE.peer_id, 1, one.envelope
            )
            assert store.lease(Name("alice")) is None
            assert isinstance(await store.enter(Name("alice")), Refused)
            assert str(await store.enter(Name("bob"))) == "Bob"
            assert [entry.n for entry in await store.log(0, 9, None)] == [1]
            assert await store.claim(one, NOW) is ClaimVerdict.SAME

        use(open_store, before, after)

    def test_mail_and_its_counts_outlive_a_restart(self, open_store: OpenStore) -> None:
        """And so do cursors, when everything was taken before."""

        async def before(store: DirectoryStore) -> None:
            await claim(store, signed(BOB, "bob"))
            for number in range(3):
                await deposit(store, bytes([number]))
            await store.acknowledge(BOB.peer_id, 1)

        async def between(store: DirectoryStore) -> None:
            assert await mail(store) == [(2, b"\1"), (3, b"\2")]
            assert isinstance(await deposit(store, b"four"), Deposited)
            assert await deposit(store, b"five") is MailRefusal.TOO_MANY_FROM_YOU
            await store.acknowledge(BOB.peer_id, 4)

        async def after(store: DirectoryStore) -> None:
            assert await mail(store) == []
            assert await deposit(store, b"five") == Deposited(5, NOW + MAIL_TTL_MS)

        use(open_store, before, between, after)

    def test_what_is_gone_does_not_come_back(self, open_store: OpenStore) -> None:
        """Claimed by a key, swept, or replaced by a lease that is not durable."""

        async def before(store: DirectoryStore) -> None:
            for name in ("alice", "bob", "carol"):
                await enter(store, lease(name, expires_ms=NOW, durable=True))
            await claim(store, signed(ALICE, "alice"))
            await enter(store, lease("bob"))
            assert await store.sweep(NOW) == 1

        async def after(store: DirectoryStore) -> None:
            assert list(store.leases()) == []

        use(open_store, before, after)

    def test_a_sweep_in_between_loses_no_lease(self, open_store: OpenStore) -> None:
        """Between the entering and the lease of a newcomer, the name looks as if nobody used it."""

        async def before(store: DirectoryStore) -> None:
            await store.enter(Name("Alice"))
            await store.sweep(NOW)
            await store.put_lease(lease("Alice", durable=True))

        async def after(store: DirectoryStore) -> None:
            assert list(store.leases()) == [lease("alice", durable=True)]

        use(open_store, before, after)
