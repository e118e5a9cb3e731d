"""Links over real sockets: whose they are, which of two stays, and what waits for an admission."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from tests.node.fixtures import (
    BOB,
    BOBS,
    CAROL,
    ME,
    OTHER,
    OWN,
    an_id,
    record_of,
    run,
    text,
    until,
)

from netchat.delivery.effects import Acknowledge, OpenLink, Transmit
from netchat.delivery.inputs import (
    ConfirmArrived,
    Input,
    ItemsArrived,
    LinkClosed,
    LinkFailed,
    LinkOpened,
    ReceiptArrived,
)
from netchat.identity.keys import Identity
from netchat.limits import FRAME_ITEMS_MAX
from netchat.model import Address, Name, PeerId, SignedRecord
from netchat.node.links import Links
from netchat.transport.link import Credentials
from netchat.transport.listener import Listener
from netchat.wire.frames import Hello

T = TypeVar("T", bound=Input)


class Side:
    """The links of one node, everything that it submits, and what its directory says."""

    def __init__(self, identity: Identity, name: Name, tasks: asyncio.TaskGroup) -> None:
        self.identity, self.name = identity, name
        self.record = record_of(identity, name).envelope
        self.instance = b"instance"
        self.submitted: list[Input] = []
        self.found: SignedRecord | None = None
        self.may_ask = asyncio.Event()
        self.may_ask.set()
        self.asked: list[tuple[Name, PeerId]] = []
        self.is_full = False
        credentials = Credentials(identity)
        self.links = Links(
            credentials,
            self.hello,
            tasks,
            self.submitted.append,
            lambda: 0.5,
            self.elsewhere,
            lambda: self.is_full,
        )
        self.listener = Listener(
            lambda arrival, message: arrival.turn_away(), credentials, self.hello, self.links
        )

    def hello(self) -> Hello:
        return Hello(self.record, self.identity.peer_id.value[:8], self.instance, ())

    async def elsewhere(self, name: Name, key: PeerId) -> SignedRecord | None:
        self.asked.append((name, key))
        await self.may_ask.wait()
        return self.found

    @property
    def address(self) -> Address:
        return self.listener.addresses[0]

    def open(self, other: "Side", *addresses: Address, name: Name | None = None) -> None:
        key = other.identity.peer_id
        self.links.open(OpenLink(name or other.name, key, addresses or (other.address,)))

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.submitted if isinstance(event, kind)]

    async def next(self, kind: type[T], count: int = 1) -> T:
        """Wait for the ``count``-th input of its kind."""
        await until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


@asynccontextmanager
async def sides(*whose: tuple[Identity, Name]) -> AsyncIterator[list[Side]]:
    """Some who listen; at the end no link of theirs is left."""
    async with asyncio.TaskGroup() as tasks:
        made = [Side(identity, name, tasks) for identity, name in whose]
        for side in made:
            await side.listener.start(["127.0.0.1"], 0)
        try:
            yield made
        finally:
            for side in made:
                side.may_ask.set()
                await side.links.stop()
                await side.listener.stop()
            for side in made:
                await until(lambda side=side: len(side.links) == 0)  # type: ignore[misc]


def between(main: Callable[[Side, Side], "asyncio._CoroutineLike[None]"]) -> None:
    """Run a test between alice and bob."""

    async def both() -> None:
        async with sides((OWN, ME), (BOBS, BOB)) as (alice, bob):
            await main(alice, bob)

    run(both)


async def linked(alice: Side, bob: Side) -> None:
    alice.open(bob)
    await alice.next(LinkOpened)
    await bob.next(LinkOpened)


def transmit(*numbers: int, link: int = 1) -> Transmit:
    return Transmit(link, numbers[0], tuple(text(number) for number in numbers))


# --- open ----------------------------------------------------------------------------------------


def test_both_ends_learn_who_is_there() -> None:
    """The one that was called asks its directory first; the one that called knows the key."""

    async def main(alice: Side, bob: Side) -> None:
        bob.found = record_of(OWN, ME)
        await linked(alice, bob)
        record = record_of(BOBS, BOB)
        assert alice.submitted == [LinkOpened(1, record, BOBS.peer_id.value[:8], is_dialled=True)]
        assert alice.asked == []
        expected = LinkOpened(1, record_of(OWN, ME), OWN.peer_id.value[:8], bob.found)
        assert bob.submitted == [expected]
        assert bob.asked == [(ME, OWN.peer_id)]
        assert alice.links.is_linked(BOB)
        assert not alice.links.is_linked(CAROL)
        assert (len(alice.links), len(bob.links)) == (1, 1)

    between(main)


def test_who_was_dialled_and_has_another_name_is_asked_about() -> None:
    """Else the key of bob could take the name of carol, whom we never met.

    The guard is the comparison of the names in ``link_opened``.
    """

    async def main(alice: Side, bob: Side) -> None:
        alice.found = record_of(OTHER, CAROL)
        alice.open(bob, name=CAROL)
        opened = await alice.next(LinkOpened)
        assert alice.asked == [(BOB, BOBS.peer_id)]
        assert opened.elsewhere == alice.found
        assert not opened.is_dialled
        assert (await alice.next(LinkFailed)).reason == "other-name"

    between(main)


def test_frames_become_inputs_in_their_order() -> None:
    """Confirmations, items and receipts, with the number of the link: word of having read comes
    behind what it is about."""

    async def main(alice: Side, bob: Side) -> None:
        await linked(alice, bob)
        confirms = ((an_id(8), ""), (an_id(9), "kept"))
        alice.links.transmit(Transmit(1, 4, (text(5), text(6)), confirms))
        alice.links.acknowledge(Acknowledge(1, ((1, 3),), ((2, "kept"),)))
        await bob.next(ReceiptArrived)
        assert bob.submitted[1:] == [
            ConfirmArrived(1, confirms),
            ItemsArrived(1, 4, (text(5), text(6))),
            ReceiptArrived(1, ((1, 3),), ((2, "kept"),)),
        ]

    between(main)


def test_much_goes_in_many_frames() -> None:
    """No frame is larger than the other end takes."""
    count = 2 * FRAME_ITEMS_MAX + 1

    async def main(alice: Side, bob: Side) -> None:
        await linked(alice, bob)
        confirms = tuple((an_id(number), "") for number in range(count))
        items = tuple(text(number) for number in range(1, count + 1))
        alice.links.transmit(Transmit(1, 1, items, confirms))
        await bob.next(ConfirmArrived, 3)
        came = [item for event in bob.of(ItemsArrived) for item in event.items]
        assert tuple(came) == items
        said = [result for event in bob.of(ConfirmArrived) for result in event.results]
        assert tuple(said) == confirms

    between(main)


def test_what_comes_before_the_admission_waits_for_it() -> None:
    """The directory may take its time; until it has answered nobody knows whose items these are."""

    async def main(alice: Side, bob: Side) -> None:
        bob.may_ask.clear()
        alice.open(bob)
        await alice.next(LinkOpened)
        alice.links.transmit(transmit(1, 2))
        alice.links.transmit(transmit(3))
        await until(lambda: bool(bob.asked))
        assert bob.submitted == []
        bob.may_ask.set()
        await bob.next(ItemsArrived, 2)
        kinds = [type(event) for event in bob.submitted]
        assert kinds == [LinkOpened, ItemsArrived, ItemsArrived]

    between(main)


def test_a_link_that_is_lost_before_its_admission_is_never_opened() -> None:
    """What it brought was not confirmed, and comes again."""

    async def main(alice: Side, bob: Side) -> None:
        bob.may_ask.clear()
        alice.open(bob)
        await alice.next(LinkOpened)
        alice.links.transmit(transmit(1))
        await until(lambda: bool(bob.asked))
        bob.links.close_all("test")
        await until(lambda: len(bob.links) == 0)
        bob.may_ask.set()
        await alice.next(LinkClosed)
        await asyncio.sleep(0)
        assert bob.of(LinkOpened) == []
        assert bob.of(ItemsArrived) == []

    between(main)


# --- who it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "code"),
    [(record_of(OTHER, ME).envelope, "wrong-record"), (b"no record", "bad-record")],
)
def test_a_caller_whose_hello_is_not_its_own_is_closed(record: bytes, code: str) -> None:
    """TLS has proven one key, the record names another: nobody up there hears of it."""

    async def main(alice: Side, bob: Side) -> None:
        alice.record = record
        alice.open(bob)
        assert (await alice.next(LinkClosed)).reason == code
        await until(lambda: not bob.listener._links_open)
        assert bob.submitted == []
        assert bob.asked == []

    between(main)


@pytest.mark.parametrize("record", [record_of(OTHER, BOB).envelope, b"no record"])
def test_somebody_who_answers_with_another_record_is_closed(record: bytes) -> None:
    """Its key is the one that was dialled; what it says about itself is not."""

    async def main(alice: Side, bob: Side) -> None:
        bob.record = record
        alice.open(bob)
        failed = await alice.next(LinkFailed)
        assert failed == LinkFailed(BOB, "wrong-record", 0.5)
        assert len(alice.links) == 0

    between(main)


def test_somebody_who_goes_by_another_name_is_not_who_was_called() -> None:
    """The key is right, so the link is its; the one that was called has none."""

    async def main(alice: Side, bob: Side) -> None:
        alice.open(bob, name=CAROL)
        opened = await alice.next(LinkOpened)
        assert opened.record.record.name == BOB
        assert await alice.next(LinkFailed) == LinkFailed(CAROL, "other-name", 0.5)

    between(main)


def test_a_name_that_a_linked_key_no_longer_goes_by_fails_in_time() -> None:
    """Of two links with one key one stays, so it may be the older one that tells. Else its lane
    would wait for ever for an end of its dial."""

    async def main(alice: Side, bob: Side) -> None:
        bob.open(alice)
        await alice.next(LinkOpened)
        alice.open(bob, name=CAROL)
        assert await alice.next(LinkFailed) == LinkFailed(CAROL, "other-name", 0.5)
        bob.open(alice, name=CAROL)
        assert await bob.next(LinkFailed) == LinkFailed(CAROL, "other-name", 0.5)

    between(main)


# --- no link -------------------------------------------------------------------------------------


def test_addresses_are_tried_in_their_order() -> None:
    """An old one may be nobody's, or somebody else's by now."""

    async def main() -> None:
        whose = ((OWN, ME), (BOBS, BOB), (OTHER, CAROL))
        async with sides(*whose) as (alice, bob, carol):
            alice.open(bob, Address("127.0.0.1", 1), carol.address, bob.address)
            await alice.next(LinkOpened)
            assert alice.of(LinkFailed) == []
            assert carol.submitted == []

    run(main)


def test_a_dial_that_comes_to_nothing_is_told_with_its_last_reason() -> None:
    """And may be tried again."""

    async def main() -> None:
        async with sides((OWN, ME), (BOBS, BOB), (OTHER, CAROL)) as (alice, bob, carol):
            alice.open(bob, Address("127.0.0.1", 1))
            assert await alice.next(LinkFailed) == LinkFailed(BOB, "refused", 0.5)
            alice.open(bob, carol.address)
            assert await alice.next(LinkFailed, 2) == LinkFailed(BOB, "wrong-key", 0.5)
            alice.links.open(OpenLink(BOB, BOBS.peer_id, ()))
            assert await alice.next(LinkFailed, 3) == LinkFailed(BOB, "unreachable", 0.5)
            alice.open(bob)
            await alice.next(LinkOpened)

    run(main)


# --- two links with one peer ---------------------------------------------------------------------


def test_a_dial_that_is_under_way_is_not_doubled() -> None:
    """An engine that was read back may ask again."""

    async def main(alice: Side, bob: Side) -> None:
        alice.open(bob)
        alice.open(bob)
        await linked(alice, bob)
        assert len(alice.of(LinkOpened)) == len(bob.of(LinkOpened)) == 1

    between(main)


def closed(side: Side) -> list[int]:
    return [event.link for event in side.of(LinkClosed)]


def test_a_later_link_of_the_same_dialler_takes_the_place_of_the_older() -> None:
    """It has lost the older one, and we have not noticed yet; each end tells of it once."""

    async def main(alice: Side, bob: Side) -> None:
        await linked(alice, bob)
        alice.open(bob)
        await alice.next(LinkOpened, 2)
        await bob.next(LinkOpened, 2)
        await alice.next(LinkClosed)
        await bob.next(LinkClosed)
        assert closed(alice) == closed(bob) == [1]
        assert (len(alice.links), len(bob.links)) == (1, 1)
        alice.links.transmit(transmit(1, link=1))
        alice.links.transmit(transmit(2, link=2))
        assert await bob.next(ItemsArrived) == ItemsArrived(2, 2, (text(2),))

    between(main)


def test_of_two_that_dial_at_once_one_link_stays() -> None:
    """The same at both ends: that of the smaller key. Each end tells of what it lost, and a lane
    at each end has a link."""
    smaller = min(OWN.peer_id, BOBS.peer_id)

    async def main(alice: Side, bob: Side) -> None:
        alice.open(bob)
        bob.open(alice)
        for side in (alice, bob):
            await side.next(LinkOpened)
            await until(lambda side=side: not side.links._dialling)  # type: ignore[misc]
        await until(lambda: len(alice.links) == len(bob.links) == 1)
        for side in (alice, bob):
            (link,) = side.links._links.values()
            await until(lambda link=link: link not in side.links._pending)  # type: ignore[misc]  # noqa: B023
            assert link.is_dialler is (side.identity.peer_id == smaller)
            opened = [event.link for event in side.of(LinkOpened)]
            assert len(opened) - len(closed(side)) <= 1
            assert {failed.reason for failed in side.of(LinkFailed)} <= {"duplicate"}

    between(main)


def test_a_dial_that_gives_way_to_another_link_has_failed() -> None:
    """Or the lane that ordered it would wait for ever, should the other link end untold."""
    (smaller, first), (larger, second) = sorted(
        ((OWN, ME), (BOBS, BOB)), key=lambda one: one[0].peer_id
    )

    async def main() -> None:
        async with sides((smaller, first), (larger, second)) as (one, other):
            await linked(one, other)
            other.open(one)
            assert await other.next(LinkFailed) == LinkFailed(first, "duplicate", 0.5)
            assert (len(one.links), len(other.links)) == (1, 1)

    run(main)


def test_a_link_that_is_replaced_before_its_admission_is_never_opened() -> None:
    """However late the directory answers: the engine must not take it for the newer one."""

    async def main(alice: Side, bob: Side) -> None:
        bob.may_ask.clear()
        alice.open(bob)
        await until(lambda: len(bob.asked) == 1)
        assert not bob.links.is_linked(ME)
        link_lost, bob.links.link_lost = bob.links.link_lost, lambda *_: None  # type: ignore[method-assign]  # it is slow to end
        alice.open(bob)
        await until(lambda: len(bob.asked) == 2)
        bob.may_ask.set()
        assert (await bob.next(LinkOpened)).link == 2
        await asyncio.sleep(0)
        assert [event.link for event in bob.of(LinkOpened)] == [2]
        assert bob.links.is_linked(ME)
        bob.links.link_lost = link_lost  # type: ignore[method-assign]  # now it ends
        for link in list(bob.links._numbers):
            if bob.links._numbers[link] == 1:
                link_lost(link, "replaced")

    between(main)


def test_a_peer_that_started_again_takes_the_place_of_its_dead_link() -> None:
    """Whoever dials; its HELLO names another run of the program."""

    async def main(alice: Side, bob: Side) -> None:
        await linked(alice, bob)
        bob.instance = b"restart!"
        bob.open(alice)
        await alice.next(LinkClosed)
        assert closed(alice) == [1]
        await alice.next(LinkOpened, 2)

    between(main)


# --- the end -------------------------------------------------------------------------------------


def test_a_link_that_is_closed_tells_why_and_once() -> None:
    """Both ends; what is ordered for it afterwards is nothing."""

    async def main(alice: Side, bob: Side) -> None:
        await linked(alice, bob)
        alice.links.close(1, "name-is-held")
        assert (await bob.next(LinkClosed)) == LinkClosed(1, "name-is-held", 0.5)
        await alice.next(LinkClosed)
        alice.links.close(1, "again")
        alice.links.transmit(transmit(1))
        alice.links.acknowledge(Acknowledge(1, ((1, 1),)))
        await until(lambda: len(alice.links) == len(bob.links) == 0)
        assert (closed(alice), closed(bob)) == ([1], [1])
        assert not alice.links.is_linked(BOB)

    between(main)


def test_a_link_that_breaks_is_told_once() -> None:
    """The process at the other end was killed."""

    async def main(alice: Side, bob: Side) -> None:
        await linked(alice, bob)
        (link,) = alice.links._links.values()
        link.abort()
        await bob.next(LinkClosed)
        await alice.next(LinkClosed)
        assert (closed(alice), closed(bob)) == ([1], [1])

    between(main)


def test_whoever_waits_for_an_admission_is_let_go_at_the_end() -> None:
    """A directory that never answers holds nobody up."""

    async def main(alice: Side, bob: Side) -> None:
        bob.may_ask.clear()
        alice.open(bob)
        await until(lambda: bool(bob.asked))
        await bob.links.stop()
        await until(lambda: not bob.links._introducing)
        assert not bob.may_ask.is_set()
        assert bob.of(LinkOpened) == []

    between(main)


def test_nothing_opens_after_the_end() -> None:
    """Neither what is being dialled, nor what comes in."""

    async def main(alice: Side, bob: Side) -> None:
        alice.open(bob)
        await alice.links.stop()
        alice.open(bob)
        bob.open(alice)
        assert (await bob.next(LinkClosed)).reason == "leaving"
        assert alice.submitted == []

    between(main)


# --- a disk that is behind -----------------------------------------------------------------------


def test_a_link_waits_for_the_disk() -> None:
    """Its peer is not read from while too much waits here; then it is read on."""

    async def main(alice: Side, bob: Side) -> None:
        await linked(alice, bob)
        bob.is_full = True
        alice.links.transmit(transmit(1))
        await bob.next(ItemsArrived)
        (link,) = bob.links._links.values()
        assert not link._transport.is_reading()
        alice.links.transmit(transmit(2))
        bob.links.relieve()
        assert not link._transport.is_reading()
        bob.is_full = False
        bob.links.relieve()
        assert (await bob.next(ItemsArrived, 2)).items == (text(2),)

    between(main)


def test_numbers_of_links_are_never_used_again() -> None:
    """A late report of an old one must not be taken for one of a new one."""

    async def main(alice: Side, bob: Side) -> None:
        seen: list[Sequence[int]] = []
        for count in range(1, 4):
            alice.open(bob)
            number = (await alice.next(LinkOpened, count)).link
            await bob.next(LinkOpened, count)
            alice.links.close(number, "test")
            await alice.next(LinkClosed, count)
            await until(lambda: len(alice.links) == len(bob.links) == 0)
            seen.append([event.link for event in bob.of(LinkOpened)])
        assert seen == [[1], [1, 2], [1, 2, 3]]

    between(main)
