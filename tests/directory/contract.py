"""What every directory store has to do. A store passes when a subclass of these classes passes.

A subclass overrides the fixture ``open_store`` with a function that opens the store at one and the
same place each time: ``StoreContract`` opens it once, ``LastingStoreContract`` again and again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from netchat.directory.registry import Lease
from netchat.directory.store import NOBODY, Claim, DirectoryStore
from netchat.errors import NameHeld
from netchat.model import Address, Name

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
    """Put a lease as the server does: claim the name first."""
    claim = await store.claim(entry.name, NOBODY)
    await store.put_lease(Lease(claim.name, entry.address, entry.expires_ms, entry.durable))


both_kinds = pytest.mark.parametrize("durable", [False, True], ids=["leased", "durable"])


class StoreContract:
    """Claims, leases and what a sweep removes, in one life of the store."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        raise NotImplementedError

    # --- claims ----------------------------------------------------------------------------------

    def test_a_name_is_claimed_as_it_was_first_written(self, open_store: OpenStore) -> None:
        """Later ones of the same name get the first spelling, however they write it."""

        async def deed(store: DirectoryStore) -> None:
            first = await store.claim(Name("Alice"), NOBODY)
            assert (first.name.shown, first.holder) == ("Alice", NOBODY)
            again = await store.claim(Name("aLICE"), NOBODY)
            assert (again.name.shown, again.holder) == ("Alice", NOBODY)

        use(open_store, deed)

    def test_a_key_takes_a_name_that_nobody_holds(self, open_store: OpenStore) -> None:
        """From then on the name is the key's; the key itself may claim it again and again."""

        async def deed(store: DirectoryStore) -> None:
            await store.claim(Name("Alice"), NOBODY)
            for _ in range(2):
                claim = await store.claim(Name("alice"), b"key one")
                assert (claim.name.shown, claim.holder) == ("Alice", b"key one")

        use(open_store, deed)

    @pytest.mark.parametrize("holder", [NOBODY, b"key two"], ids=["nobody", "another key"])
    def test_a_name_that_a_key_holds_is_refused(self, open_store: OpenStore, holder: bytes) -> None:
        """The error tells the name as it is written; the claim stays as it was."""

        async def deed(store: DirectoryStore) -> None:
            await store.claim(Name("Alice"), b"key one")
            with pytest.raises(NameHeld) as caught:
                await store.claim(Name("alice"), holder)
            assert caught.value.name == "Alice"
            assert await store.claim(Name("alice"), b"key one") == Claim(Name("Alice"), b"key one")

        use(open_store, deed)

    def test_of_many_keys_at_once_one_gets_the_name(self, open_store: OpenStore) -> None:
        """All the others are refused, and it is clear afterwards who has it."""

        async def deed(store: DirectoryStore) -> None:
            keys = [f"key {number}".encode() for number in range(100)]
            answers = await asyncio.gather(
                *(store.claim(Name("alice"), key) for key in keys), return_exceptions=True
            )
            won = [answer for answer in answers if isinstance(answer, Claim)]
            assert len(won) == 1
            assert sum(isinstance(answer, NameHeld) for answer in answers) == len(keys) - 1
            assert await store.claim(Name("alice"), won[0].holder) == won[0]

        use(open_store, deed)

    def test_a_claim_that_is_refused_takes_no_other_with_it(self, open_store: OpenStore) -> None:
        """They may share a commit."""

        async def deed(store: DirectoryStore) -> None:
            await store.claim(Name("bob"), b"key")
            names = ["alice", "bob", "carol"]
            answers = await asyncio.gather(
                *(store.claim(Name(name), NOBODY) for name in names), return_exceptions=True
            )
            kinds = [type(answer) for answer in answers]
            assert kinds == [Claim, NameHeld, Claim]

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
            await store.drop_lease(lease("carol"))
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

    @both_kinds
    def test_a_lease_is_dropped_where_it_is(self, open_store: OpenStore, durable: bool) -> None:
        """The second time there is nothing to drop."""

        async def deed(store: DirectoryStore) -> None:
            await enter(store, lease("alice", durable=durable))
            assert await store.drop_lease(lease("ALICE"))
            assert not await store.drop_lease(lease("alice"))
            assert store.lease(Name("alice")) is None
            assert list(store.leases()) == []
            assert store.lease_count() == 0

        use(open_store, deed)

    @both_kinds
    def test_a_lease_that_has_moved_is_not_dropped(
        self, open_store: OpenStore, durable: bool
    ) -> None:
        """The node that leaves must not end the registration of the one that came after it."""

        async def deed(store: DirectoryStore) -> None:
            moved = lease("alice", "192.0.2.8", durable=durable)
            await enter(store, moved)
            assert not await store.drop_lease(lease("alice", "192.0.2.7"))
            assert store.lease(Name("alice")) == moved

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
            await store.claim(Name("Carol"), b"key")
            await store.sweep(NOW)
            shown = [
                (await store.claim(Name(name), holder)).name.shown
                for name, holder in (("alice", NOBODY), ("bob", NOBODY), ("carol", b"key"))
            ]
            assert shown == ["alice", "Bob", "Carol"]

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

    def test_claims_outlive_a_restart(self, open_store: OpenStore) -> None:
        """The first key keeps the name."""

        async def before(store: DirectoryStore) -> None:
            await store.claim(Name("Alice"), b"key")
            await store.claim(Name("Bob"), NOBODY)

        async def after(store: DirectoryStore) -> None:
            with pytest.raises(NameHeld):
                await store.claim(Name("alice"), NOBODY)
            assert (await store.claim(Name("bob"), NOBODY)).name.shown == "Bob"

        use(open_store, before, after, after)

    def test_what_is_gone_does_not_come_back(self, open_store: OpenStore) -> None:
        """Dropped, swept, or replaced by a lease that is not durable."""

        async def before(store: DirectoryStore) -> None:
            for name in ("alice", "bob", "carol"):
                await enter(store, lease(name, expires_ms=NOW, durable=True))
            assert await store.drop_lease(lease("alice"))
            await enter(store, lease("bob"))
            assert await store.sweep(NOW) == 1

        async def after(store: DirectoryStore) -> None:
            assert list(store.leases()) == []

        use(open_store, before, after)

    def test_a_sweep_in_between_loses_no_lease(self, open_store: OpenStore) -> None:
        """Between the claim and the lease of a newcomer, the name looks as if nobody used it."""

        async def before(store: DirectoryStore) -> None:
            await store.claim(Name("Alice"), NOBODY)
            await store.sweep(NOW)
            await store.put_lease(lease("Alice", durable=True))

        async def after(store: DirectoryStore) -> None:
            assert list(store.leases()) == [lease("alice", durable=True)]

        use(open_store, before, after)
