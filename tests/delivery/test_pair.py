"""Two engines that write to each other over links and mailboxes which lose anything at any time:
in the end every message is there once, every delete is carried out, and each side knows it."""

from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.delivery.made import ONE, THREE, TWO, an_id
from tests.delivery.pair import End, Luck, World

from netchat.delivery import lanes
from netchat.limits import MAIL_TTL_MS, RETRY_STORED_MS_MAX
from netchat.model import DeleteOutcome, MessageState

ENDS = st.booleans()
FAILURES = st.sampled_from([None, None, None, "lost", "answer lost"])
INDEX = st.integers(0, 5)
LUCK = st.builds(Luck, st.booleans(), st.booleans(), st.booleans(), st.booleans())


class PairMachine(RuleBasedStateMachine):
    """Anything that may happen, in any order; windows are narrow, so that they fill."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = mock.patch.object(lanes, "WINDOW_ITEMS_MAX", 4)
        self.narrow.start()
        self.world = World()

    def teardown(self) -> None:
        try:
            self.world.finish()
        finally:
            self.narrow.stop()

    @initialize(mailed=st.booleans(), linked=st.booleans())
    def begin(self, mailed: bool, linked: bool) -> None:
        """Where much of what is rare begins: mail of bob's waits, and a link is open."""
        alice, bob = self.world.ends
        if mailed:
            bob.send(ONE, TWO)
            self.world.answer_lookup(bob, present=True, can_mail=True, there=False)
            self.world.end_deposit(bob, arrives=True, well=True)
        if linked:
            alice.send(THREE)
            self.world.answer_lookup(alice, present=True, can_mail=True, there=True)
            self.world.end_dial(alice, well=True)
            for end in self.world.ends:
                self.world.deliver(end, next(iter(end.links)))

    def end(self, is_alice: bool, failure: str | None = None) -> End:
        end = self.world.alice if is_alice else self.world.bob
        end.failure = failure
        return end

    # --- people ----------------------------------------------------------------------------------

    @rule(who=ENDS, count=st.integers(1, 7), failure=FAILURES)
    def send(self, who: bool, count: int, failure: str | None) -> None:
        self.end(who, failure).send(*(an_id(self.world.number()) for _ in range(count)))

    @rule(who=ENDS, back=INDEX, failure=FAILURES)
    def delete(self, who: bool, back: int, failure: str | None) -> None:
        end = self.end(who, failure)
        mine = list(end.store.own)
        if mine:
            end.delete(an_id(self.world.number()), mine[-1 - back % len(mine)])

    @rule(who=ENDS, failure=FAILURES)
    def read(self, who: bool, failure: str | None) -> None:
        self.end(who, failure).read(an_id(self.world.number()))

    @rule(who=ENDS)
    def another_key_comes(self, who: bool) -> None:
        self.end(who).stop()

    @rule(who=ENDS)
    def a_person_decides(self, who: bool) -> None:
        self.end(who).decide()

    @rule(who=ENDS)
    def restart(self, who: bool) -> None:
        self.end(who).begin_anew(restarted=True)

    # --- the directory, links and mailboxes ------------------------------------------------------

    @precondition(lambda self: self.world.happenings())
    @rule(index=st.integers(0, 20), luck=LUCK, failure=FAILURES)
    def something_happens(self, index: int, luck: Luck, failure: str | None) -> None:
        """One of all things that are under way, well or not; now and then its commit fails."""
        happenings = self.world.happenings()
        end, happen = happenings[index % len(happenings)]
        end.failure = failure
        happen(luck)

    @rule(who=ENDS, luck=LUCK, steps=st.integers(1, 12))
    def somebody_is_busy(self, who: bool, luck: Luck, steps: int) -> None:
        """Much happens at one end, in the order in which it came."""
        for _ in range(steps):
            mine = [happen for end, happen in self.world.happenings() if end is self.end(who)]
            if mine:
                mine[0](luck)

    @rule(steps=st.integers(1, 12))
    def it_goes_well(self, steps: int) -> None:
        for _ in range(steps):
            self.world.go_on()

    @precondition(lambda self: self.world.alice.links or self.world.bob.links)
    @rule(index=INDEX, kept=st.integers(0, 3))
    def lose_a_link(self, index: int, kept: int) -> None:
        open_links = sorted({*self.world.alice.links, *self.world.bob.links})
        self.world.cut(open_links[index % len(open_links)], kept)

    @rule(ms=st.sampled_from([RETRY_STORED_MS_MAX, MAIL_TTL_MS]))
    def let_time_pass(self, ms: int) -> None:
        self.world.pass_time(ms)

    @invariant()
    def nothing_is_doubled_or_untrue(self) -> None:
        for end in self.world.ends:
            end.failure = None
            self.world.check(end)


PairMachine.TestCase.settings = settings(
    max_examples=max(500, settings().max_examples), stateful_step_count=30
)


class TestPair(PairMachine.TestCase):
    """No message is lost, doubled or shown against its author's will, and no state is a lie."""


# --- some of its ways, one by one ----------------------------------------------------------------


def opened() -> World:
    """Alice wrote a message, and her link to bob is open; nothing went over it."""
    world = World()
    world.alice.send(ONE)
    world.answer_lookup(world.alice, present=True, can_mail=True, there=True)
    world.end_dial(world.alice, well=True)
    return world


def step(world: World, end: End, count: int = 1) -> None:
    for _ in range(count):
        (link,) = (link for link, come in end.links.items() if come)
        world.deliver(end, link)


def test_a_receipt_that_is_lost_with_its_link() -> None:
    """Bob has it and alice cannot know; it goes again, is not shown again, and then she knows."""
    world = opened()
    step(world, world.alice)
    step(world, world.bob, 2)
    world.cut(next(iter(world.alice.links)), kept=0)
    assert world.bob.shown == [ONE]
    assert world.alice.store.own[ONE] is MessageState.QUEUED
    world.finish()
    assert world.bob.shown == [ONE]


def test_both_dial_at_once() -> None:
    """Two links, of which each side closes the older one; both messages arrive."""
    world = opened()
    world.bob.send(TWO)
    world.answer_lookup(world.bob, present=True, can_mail=True, there=True)
    world.end_dial(world.bob, well=True)
    world.finish()
    assert (world.alice.shown, world.bob.shown) == ([TWO], [ONE])


def test_they_are_never_there_at_the_same_time() -> None:
    """Mail both ways: the message, and word that it came."""
    world = World()
    world.alice.send(ONE)
    world.answer_lookup(world.alice, present=False, can_mail=True, there=False)
    world.end_deposit(world.alice, arrives=True, well=True)
    assert world.alice.store.own[ONE] is MessageState.STORED
    world.bob.fetch(world.bob.mailbox[0])
    assert (world.bob.shown, world.bob.mailbox) == ([ONE], [])
    world.answer_lookup(world.bob, present=False, can_mail=True, there=False)
    world.end_deposit(world.bob, arrives=True, well=True)
    world.alice.fetch(world.alice.mailbox[0])
    assert world.alice.store.own[ONE] is MessageState.DELIVERED
    assert world.bob.store.owed == {}


def test_a_delete_that_overtakes_its_message() -> None:
    """The message lies in the mailbox, its delete takes the link."""
    world = World()
    alice, bob = world.ends
    alice.send(ONE)
    world.answer_lookup(alice, present=False, can_mail=True, there=True)
    world.end_deposit(alice, arrives=True, well=True)
    alice.delete(TWO, ONE)
    world.end_dial(alice, well=True)
    while any(kept.item.item_id == TWO for kept in alice.store.outbox.values()):
        full = [(end, link) for end in world.ends for link, come in end.links.items() if come]
        world.deliver(*full[0])
    bob.fetch(bob.mailbox[0])
    world.finish()
    assert bob.shown == []
    assert alice.store.changes == {TWO: DeleteOutcome.APPLIED}


@pytest.mark.parametrize("failure", ["lost", "answer lost"])
def test_a_send_whose_commit_fails_is_sent_once(failure: str) -> None:
    """Whether it is on disk is not known, so it is offered again under its id."""
    world = World()
    world.alice.failure = failure
    world.alice.send(ONE)
    world.finish()
    assert world.bob.shown == [ONE]


def test_mail_that_comes_while_a_window_is_full_leaves_nothing_behind() -> None:
    """Word of it goes over the link at once; what waits for the window still follows."""
    with mock.patch.object(lanes, "WINDOW_ITEMS_MAX", 4):
        world = World()
        alice, bob = world.ends
        bob.send(ONE, TWO)
        world.answer_lookup(bob, present=True, can_mail=True, there=False)
        world.end_deposit(bob, arrives=True, well=True)
        alice.send(*(an_id(number) for number in range(10, 17)))
        world.answer_lookup(alice, present=True, can_mail=True, there=True)
        world.end_dial(alice, well=True)
        for end in world.ends:
            world.deliver(end, next(iter(end.links)))
        alice.fetch(alice.mailbox[0])
        world.finish()
    assert bob.shown == [an_id(number) for number in range(10, 17)]
