"""Who waits for what inside a node: each is told once, and nobody is forgotten."""

import asyncio

import pytest
from tests.node.fixtures import BOB, CAROL, an_id, run

from netchat.api import EventsMissed, KeyRotated, SendOutcome, Sent
from netchat.errors import StoreUnavailable
from netchat.model import DeleteOutcome, MessageState
from netchat.node import waiting as waiting_module
from netchat.node.waiting import Delete, Face, Send, Waiters, outcome_of

EVENT = KeyRotated(BOB)


@pytest.mark.parametrize("state", list(MessageState))
def test_every_state_has_an_outcome(state: MessageState) -> None:
    """What is read was delivered; every bad end is FAILED, with its reason beside it."""
    good = {
        MessageState.QUEUED: SendOutcome.QUEUED,
        MessageState.STORED: SendOutcome.STORED,
        MessageState.DELIVERED: SendOutcome.DELIVERED,
        MessageState.READ: SendOutcome.DELIVERED,
        MessageState.SENT: SendOutcome.SENT,
    }
    assert outcome_of(state) is good.get(state, SendOutcome.FAILED)


def test_a_send_ends_once() -> None:
    """Whoever waits hears the first outcome; the next one is for everybody."""

    async def main() -> None:
        waiters = Waiters()
        send = waiters.sends[an_id(1)] = Send(BOB)
        stored = Sent(BOB, SendOutcome.STORED, an_id(1))
        assert waiters.end_send(stored)
        assert not waiters.end_send(Sent(BOB, SendOutcome.DELIVERED, an_id(1)))
        assert not waiters.end_send(Sent(BOB, SendOutcome.DELIVERED, an_id(2)))
        assert await send.outcome is stored
        send.accept()
        send.accept()
        assert send.accepted.done()

    run(main)


def test_who_cannot_be_reached_is_not_waited_for() -> None:
    """Only by those whose message is on disk, and only for that peer."""

    async def main() -> None:
        waiters = Waiters()
        on_disk, not_yet, other = Send(BOB), Send(BOB), Send(CAROL)
        on_disk.accept()
        other.accept()
        waiters.sends = {an_id(1): on_disk, an_id(2): not_yet, an_id(3): other}
        waiters.postponed(BOB, "refused")
        assert on_disk.outcome.result() == Sent(BOB, SendOutcome.QUEUED, an_id(1), "refused")
        assert not not_yet.outcome.done()
        assert not other.outcome.done()

    run(main)


def test_a_delete_is_told_what_happened_here_and_then_there() -> None:
    """Two reports; a third one nobody waits for."""

    async def main() -> None:
        waiters = Waiters()
        delete = waiters.deletes[an_id(1)] = Delete()
        assert waiters.delete_progressed(an_id(1), BOB, DeleteOutcome.QUEUED)
        assert (delete.here.result(), delete.peer) == (DeleteOutcome.QUEUED, BOB)
        assert waiters.delete_progressed(an_id(1), BOB, DeleteOutcome.APPLIED)
        assert delete.there.result() is DeleteOutcome.APPLIED
        assert not waiters.delete_progressed(an_id(1), BOB, DeleteOutcome.APPLIED)
        assert not waiters.delete_progressed(an_id(2), BOB, DeleteOutcome.APPLIED)

    run(main)


def test_a_delete_does_not_wait_for_who_cannot_be_reached() -> None:
    """But one that has not happened here yet still does."""

    async def main() -> None:
        waiters = Waiters()
        here, not_yet = Delete(), Delete()
        waiters.deletes = {an_id(1): here, an_id(2): not_yet}
        waiters.delete_progressed(an_id(1), BOB, DeleteOutcome.QUEUED)
        waiters.postponed(BOB, "refused")
        waiters.postponed(BOB, "refused")
        assert here.there.result() is DeleteOutcome.QUEUED
        assert not not_yet.here.done()

    run(main)


def test_a_delete_that_the_disk_refused_is_an_error() -> None:
    """Of whoever asked; what is done already stays done."""

    async def main() -> None:
        waiters = Waiters()
        delete = waiters.deletes[an_id(1)] = Delete()
        waiters.delete_refused(an_id(2), StoreUnavailable("no"))
        waiters.delete_refused(an_id(1), StoreUnavailable("no"))
        waiters.delete_refused(an_id(1), StoreUnavailable("no"))
        with pytest.raises(StoreUnavailable):
            await delete.here

    run(main)


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_decision_ends_once(is_refused: bool) -> None:
    """A batch that is tried again may tell of it twice; one that nobody waits for is no matter."""

    async def main() -> None:
        waiters = Waiters()
        loop = asyncio.get_running_loop()
        decision = waiters.decisions[1] = loop.create_future()
        for request in (1, 1, 2):
            if is_refused:
                waiters.decision_refused(request, StoreUnavailable("no"))
            waiters.decided(request, "no-key")
        if is_refused:
            with pytest.raises(StoreUnavailable):
                await decision
            waiters.decision_refused(1, StoreUnavailable("no"))
        else:
            waiters.decision_refused(1, StoreUnavailable("no"))
            assert await decision == "no-key"

    run(main)


def test_a_face_gets_its_events_in_order_and_their_end() -> None:
    """None is the end."""

    async def main() -> None:
        face = Face()
        face.tell(EVENT)
        face.end()
        assert await face.queue.get() is EVENT
        assert await face.queue.get() is None

    run(main)


def test_a_face_that_is_slow_is_told_how_many_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the next one that it gets; memory is bounded."""
    monkeypatch.setattr(waiting_module, "EVENTS_WAITING_MAX", 2)

    async def main() -> None:
        face = Face()
        for _ in range(5):
            face.tell(EVENT)
        got = [face.queue.get_nowait(), face.queue.get_nowait()]
        face.tell(EVENT)
        got += [face.queue.get_nowait(), face.queue.get_nowait()]
        assert got == [EVENT, EVENT, EventsMissed(3), EVENT]
        with pytest.raises(asyncio.QueueEmpty):
            face.queue.get_nowait()

    run(main)
