"""The life of what we send, as traces: what happened, and what has to follow from it.

The lanes are driven by hand here: the test plays the store and the network.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from netchat.delivery.effects import (
    Abandon,
    AskHead,
    DeleteProgressed,
    Dial,
    Effect,
    HandOver,
    Locate,
    MessageAccepted,
    MessageProgressed,
    PeerPostponed,
    RemoveItem,
    SetItemState,
    SetMessageState,
    SetTimer,
    StoreAddress,
    StoreItem,
    StoreOwnMessage,
)
from netchat.delivery.inputs import (
    Connected,
    DialFailed,
    Handed,
    HandOverBroke,
    HeadLoaded,
    Item,
    ItemKind,
    ItemState,
    Located,
    LocateFailed,
    Restored,
    SendRequested,
    TimerFired,
    Whereabouts,
)
from netchat.delivery.outbox import NEVER_ARRIVED, TRANSITIONS, ItemEvent, Outbox
from netchat.limits import ADDRESS_AGE_MS_MAX, EXPIRY_MS, RETRY_MS_MAX, RETRY_MS_MIN
from netchat.model import Address, DeleteOutcome, MessageId, MessageState, Name

BOB = Name("bob")
CAROL = Name("carol")
HERE = Address("192.0.2.7", 54321)
THERE = Address("192.0.2.8", 54321)
NOW = 1_000_000
LAST = Whereabouts(HERE, NOW)
EXPIRES = NOW + EXPIRY_MS


def an_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


ONE, TWO, THREE = an_id(1), an_id(2), an_id(3)


def text(
    item_id: MessageId,
    peer: Name = BOB,
    state: ItemState = ItemState.QUEUED,
    expires_ms: int = EXPIRES,
) -> Item:
    return Item(item_id, peer, ItemKind.TEXT, state, expires_ms)


def delete(
    item_id: MessageId,
    state: ItemState = ItemState.QUEUED,
    target_state: MessageState | None = MessageState.SENT,
) -> Item:
    return Item(item_id, BOB, ItemKind.DELETE, state, EXPIRES, target_state)


def send(outbox: Outbox, item_id: MessageId, address: Address | None = HERE) -> list[Effect]:
    return outbox.send(NOW, SendRequested(item_id, BOB, "hi", address))


def dialling(item_id: MessageId = ONE) -> Outbox:
    """An outbox that is opening a connection for ``item_id``."""
    outbox = Outbox()
    assert send(outbox, item_id)[-1] == Dial(item_id, BOB, HERE)
    return outbox


def locating(item_id: MessageId = ONE) -> Outbox:
    """An outbox that has asked where bob is, and knows no address of him."""
    outbox = Outbox()
    assert send(outbox, item_id, None)[-1] == Locate(BOB)
    return outbox


def handing(item_id: MessageId = ONE) -> Outbox:
    """An outbox that is handing ``item_id`` over."""
    outbox = dialling(item_id)
    assert HandOver(item_id, BOB, ItemKind.TEXT) in outbox.connected(Connected(item_id, BOB))
    return outbox


def waiting(item_id: MessageId = ONE) -> Outbox:
    """An outbox that waits for its timer after one attempt."""
    outbox = dialling(item_id)
    outbox.dial_failed(NOW, DialFailed(item_id, BOB, "refused", 0))
    return outbox


# --- the table -----------------------------------------------------------------------------------

ENDS = (ItemState.SENT, ItemState.FAILED, ItemState.EXPIRED, ItemState.CANCELLED)
REFUSED = {
    # Nothing moves an item that has come to its end.
    *itertools.product(ENDS, ItemEvent),
    # No byte has left, so there is no hand-over that could end.
    (ItemState.QUEUED, ItemEvent.HANDED),
    (ItemState.QUEUED, ItemEvent.BROKE),
    # A byte may have left: no repeat, no cancel, no expiry.
    (ItemState.HANDING, ItemEvent.DIAL_FAILED),
    (ItemState.HANDING, ItemEvent.EXPIRED),
    (ItemState.HANDING, ItemEvent.CANCELLED),
}


@pytest.mark.parametrize(
    ("state", "event"),
    [*itertools.product(ItemState, ItemEvent)],
    ids=lambda value: value.name,
)
def test_every_pair_is_allowed_or_refused_on_purpose(state: ItemState, event: ItemEvent) -> None:
    """Nobody adds a state or an event without saying what becomes of each pair."""
    assert ((state, event) in TRANSITIONS) != ((state, event) in REFUSED)


def test_handing_never_goes_back_to_queued() -> None:
    """What may have left is never sent again: at most once after the first byte."""
    after_handing = {to for (state, _), to in TRANSITIONS.items() if state is ItemState.HANDING}
    assert after_handing == {ItemState.HANDING, ItemState.SENT, ItemState.FAILED}


# --- sending -------------------------------------------------------------------------------------


def test_send_is_stored_before_anything_is_tried() -> None:
    """The message and its item are on disk first; the address just learnt is used at once."""
    assert send(Outbox(), ONE) == [
        StoreOwnMessage(ONE, BOB, "hi"),
        StoreAddress(BOB, HERE),
        StoreItem(text(ONE), "hi"),
        MessageAccepted(ONE),
        Dial(ONE, BOB, HERE),
    ]


def test_send_without_an_address_asks_the_directory() -> None:
    """When nobody said where the peer is, the directory is asked."""
    assert send(Outbox(), ONE, None) == [
        StoreOwnMessage(ONE, BOB, "hi"),
        StoreItem(text(ONE), "hi"),
        MessageAccepted(ONE),
        Locate(BOB),
    ]


@pytest.mark.parametrize("make", [locating, dialling, handing])
def test_only_one_item_of_a_peer_is_under_way(make: Callable[..., Outbox]) -> None:
    """What comes while a lane is busy is stored, and waits for its turn."""
    outbox = make(ONE)
    assert send(outbox, TWO) == [
        StoreOwnMessage(TWO, BOB, "hi"),
        StoreAddress(BOB, HERE),
        StoreItem(text(TWO), "hi"),
        MessageAccepted(TWO),
    ]


def test_peers_do_not_wait_for_each_other() -> None:
    """Each peer has a lane of its own."""
    outbox = dialling(ONE)
    effects = outbox.send(NOW, SendRequested(TWO, CAROL, "hi", THERE))
    assert effects[-1] == Dial(TWO, CAROL, THERE)


def test_a_new_message_wakes_a_lane_that_waits() -> None:
    """Somebody who writes has a reason to think that the peer is there; the OLDEST goes first."""
    assert send(waiting(ONE), TWO, THERE)[-1] == Dial(ONE, BOB, THERE)


def test_a_new_message_resets_the_back_off() -> None:
    """After it, the first retry comes soon again."""
    outbox = waiting(ONE)
    send(outbox, TWO)
    effects = outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0))
    assert effects[0] == SetTimer(BOB, NOW + RETRY_MS_MIN // 2)


def test_the_way_of_a_message_that_arrives() -> None:
    """HANDING is stored before the bytes leave, SENT after they left, and then the lane closes."""
    outbox = dialling(ONE)
    assert outbox.connected(Connected(ONE, BOB)) == [
        SetItemState(ONE, ItemState.HANDING),
        HandOver(ONE, BOB, ItemKind.TEXT),
    ]
    assert outbox.handed(Handed(ONE, BOB)) == [
        SetMessageState(ONE, MessageState.SENT, None),
        MessageProgressed(ONE, BOB, MessageState.SENT, None),
        RemoveItem(ONE),
        AskHead(BOB),
    ]
    assert outbox.head_loaded(NOW, HeadLoaded(BOB, None, LAST)) == []
    assert outbox.timer_fired(NOW, TimerFired(BOB, 0)) == []  # there is no lane any more


def test_the_next_item_goes_to_the_address_that_has_just_worked() -> None:
    """First in, first out, without asking the directory again for each message."""
    outbox = handing(ONE)
    outbox.handed(Handed(ONE, BOB))
    assert outbox.head_loaded(NOW, HeadLoaded(BOB, text(TWO), None)) == [Dial(TWO, BOB, HERE)]


def test_a_connection_that_breaks_fails_the_message_for_good() -> None:
    """Nobody can know whether it arrived, so it is not repeated; the next item looks again."""
    outbox = handing(ONE)
    assert outbox.broke(HandOverBroke(ONE, BOB, "reset")) == [
        SetMessageState(ONE, MessageState.FAILED, "reset"),
        MessageProgressed(ONE, BOB, MessageState.FAILED, "reset"),
        RemoveItem(ONE),
        AskHead(BOB),
    ]
    assert outbox.head_loaded(NOW, HeadLoaded(BOB, text(TWO), LAST)) == [Locate(BOB)]


# --- the directory -------------------------------------------------------------------------------


def test_located_is_remembered_and_dialled() -> None:
    """What the directory says is kept for the day when it does not answer."""
    assert locating().located(NOW, Located(BOB, HERE, 0)) == [
        StoreAddress(BOB, HERE),
        Dial(ONE, BOB, HERE),
    ]


def test_a_name_that_nobody_has_waits() -> None:
    """The peer may come later: the message stays queued."""
    assert locating().located(NOW, Located(BOB, None, 0)) == [
        SetTimer(BOB, NOW + RETRY_MS_MIN // 2),
        PeerPostponed(BOB, "not-registered"),
    ]


def test_without_directory_and_address_it_waits() -> None:
    """There is nothing to dial, and it is not known whether there is such a person."""
    assert locating().locate_failed(NOW, LocateFailed(BOB, 0)) == [
        SetTimer(BOB, NOW + RETRY_MS_MIN // 2),
        PeerPostponed(BOB, "directory-unreachable"),
    ]


@pytest.mark.parametrize("source", ["a send", "the directory", "the store"])
def test_without_directory_a_recent_address_serves(source: str) -> None:
    """People who know each other go on; an old address may be a stranger's by now."""
    for age_ms, expected in (
        (ADDRESS_AGE_MS_MAX, Dial(ONE, BOB, HERE)),
        (ADDRESS_AGE_MS_MAX + 1, PeerPostponed(BOB, "directory-unreachable")),
    ):
        if source == "a send":
            outbox = waiting(ONE)
        elif source == "the directory":
            outbox = locating(ONE)
            outbox.located(NOW, Located(BOB, HERE, 0))
            outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0))
        else:
            outbox = Outbox()
            outbox.restored(NOW, Restored(BOB, text(ONE), LAST, restarted=True))
        later = NOW + age_ms
        assert outbox.timer_fired(later, TimerFired(BOB, 0)) == [Locate(BOB)]
        assert outbox.locate_failed(later, LocateFailed(BOB, 0))[-1] == expected


def test_dialling_an_address_again_makes_it_no_younger() -> None:
    """Its age counts from when somebody who should know said so."""
    outbox = waiting(ONE)
    for at_ms in (NOW + ADDRESS_AGE_MS_MAX // 2, NOW + ADDRESS_AGE_MS_MAX):
        outbox.timer_fired(at_ms, TimerFired(BOB, 0))
        assert outbox.locate_failed(at_ms, LocateFailed(BOB, 0)) == [Dial(ONE, BOB, HERE)]
        outbox.dial_failed(at_ms, DialFailed(ONE, BOB, "refused", 0))
    too_late = NOW + ADDRESS_AGE_MS_MAX + 1
    outbox.timer_fired(too_late, TimerFired(BOB, 0))
    assert outbox.locate_failed(too_late, LocateFailed(BOB, 0))[-1] == PeerPostponed(
        BOB, "directory-unreachable"
    )


@pytest.mark.parametrize("make", [Outbox, waiting, dialling, handing])
def test_an_answer_of_the_directory_that_nobody_waits_for_changes_nothing(
    make: Callable[..., Outbox],
) -> None:
    """Only a lane that asked takes an answer; a late one must not open a second connection."""
    outbox = make()
    assert outbox.located(NOW, Located(BOB, THERE, 0)) == []
    assert outbox.located(NOW, Located(BOB, None, 0)) == []
    assert outbox.locate_failed(NOW, LocateFailed(BOB, 0)) == []


# --- trying again --------------------------------------------------------------------------------


def test_a_failed_dial_waits_and_says_why() -> None:
    """No byte left, so the message stays queued, and whoever waits for it hears the reason."""
    outbox = dialling()
    assert outbox.dial_failed(NOW, DialFailed(ONE, BOB, "timeout", 0.5)) == [
        SetTimer(BOB, NOW + RETRY_MS_MIN * 3 // 4),
        PeerPostponed(BOB, "timeout"),
    ]


def test_the_timer_asks_where_the_peer_is_now() -> None:
    """It may have moved, which is a likely reason for not being reached."""
    assert waiting().timer_fired(NOW, TimerFired(BOB, 0)) == [Locate(BOB)]


@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.999_999])
def test_back_off_doubles_up_to_its_limit_within_its_jitter(jitter: float) -> None:
    """Half of the delay is sure and half is spread, and a peer that is back waits 15 s at most."""
    outbox = dialling()
    base_ms = RETRY_MS_MIN
    for _ in range(40):
        timer, _ = outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", jitter))
        assert isinstance(timer, SetTimer)
        delay_ms = timer.at_ms - NOW
        assert delay_ms == int(base_ms * (1 + jitter) / 2)
        assert base_ms // 2 <= delay_ms < base_ms
        base_ms = min(base_ms * 2, RETRY_MS_MAX)
        outbox.timer_fired(NOW, TimerFired(BOB, jitter))
        outbox.located(NOW, Located(BOB, HERE, jitter))


def test_reaching_the_peer_resets_the_back_off() -> None:
    """The next message of the lane begins anew."""
    outbox = waiting(ONE)
    outbox.timer_fired(NOW, TimerFired(BOB, 0))
    outbox.located(NOW, Located(BOB, HERE, 0))
    outbox.connected(Connected(ONE, BOB))
    outbox.handed(Handed(ONE, BOB))
    outbox.head_loaded(NOW, HeadLoaded(BOB, text(TWO), LAST))
    timer, _ = outbox.dial_failed(NOW, DialFailed(TWO, BOB, "refused", 0))
    assert timer == SetTimer(BOB, NOW + RETRY_MS_MIN // 2)


@pytest.mark.parametrize("make", [Outbox, locating, dialling, handing])
def test_a_timer_that_comes_late_changes_nothing(make: Callable[..., Outbox]) -> None:
    """Only a lane that waits is woken."""
    assert make().timer_fired(NOW, TimerFired(BOB, 0)) == []


# --- expiry --------------------------------------------------------------------------------------


def test_a_message_expires_instead_of_being_tried_again() -> None:
    """At its time, not a millisecond earlier, and the lane goes on with the next one."""
    outbox = waiting()
    assert outbox.timer_fired(EXPIRES - 1, TimerFired(BOB, 0)) == [Locate(BOB)]
    assert outbox.located(EXPIRES, Located(BOB, HERE, 0)) == [
        StoreAddress(BOB, HERE),
        SetMessageState(ONE, MessageState.EXPIRED, "expired"),
        MessageProgressed(ONE, BOB, MessageState.EXPIRED, "expired"),
        RemoveItem(ONE),
        AskHead(BOB),
    ]


def test_what_is_under_way_does_not_expire() -> None:
    """Only its own connection ends an item of which a byte may have left."""
    outbox = handing()
    assert outbox.timer_fired(EXPIRES + 1, TimerFired(BOB, 0)) == []
    assert outbox.handed(Handed(ONE, BOB))[0] == SetMessageState(ONE, MessageState.SENT, None)


def test_a_new_message_finds_the_old_one_expired() -> None:
    """The lane is tried for its head, so an expired head leaves before the new message goes."""
    outbox = waiting(ONE)
    effects = outbox.send(EXPIRES, SendRequested(TWO, BOB, "hi", HERE))
    assert effects[4:] == [
        SetMessageState(ONE, MessageState.EXPIRED, "expired"),
        MessageProgressed(ONE, BOB, MessageState.EXPIRED, "expired"),
        RemoveItem(ONE),
        AskHead(BOB),
    ]


# --- reports that come late ----------------------------------------------------------------------


def test_a_foreign_connection_is_closed_unused() -> None:
    """A connection for an item that is not the head carries nothing."""
    assert dialling(ONE).connected(Connected(TWO, BOB)) == [Abandon(TWO)]
    assert Outbox().connected(Connected(ONE, BOB)) == [Abandon(ONE)]


def test_a_second_connection_is_closed_unused() -> None:
    """While one hand-over is under way, a second one of the same item would double the message."""
    assert handing(ONE).connected(Connected(ONE, BOB)) == [Abandon(ONE)]


def test_a_late_connection_of_a_lane_that_waits_is_used() -> None:
    """No byte has left, so it is as good as a fresh one."""
    assert waiting(ONE).connected(Connected(ONE, BOB)) == [
        SetItemState(ONE, ItemState.HANDING),
        HandOver(ONE, BOB, ItemKind.TEXT),
    ]


@pytest.mark.parametrize("make", [Outbox, waiting, locating, dialling])
def test_hand_over_reports_of_what_is_not_handed_over_change_nothing(
    make: Callable[..., Outbox],
) -> None:
    """Late, doubled or foreign: an item that is not being handed over cannot end that way."""
    outbox = make()
    assert outbox.handed(Handed(ONE, BOB)) == []
    assert outbox.broke(HandOverBroke(ONE, BOB, "reset")) == []


@pytest.mark.parametrize("make", [Outbox, waiting, locating, handing])
def test_a_dial_report_that_nobody_waits_for_changes_nothing(make: Callable[..., Outbox]) -> None:
    """Only a lane that dials is put off by a failed dial."""
    assert make().dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0)) == []


def test_reports_of_another_item_change_nothing() -> None:
    """The lane is at another item now."""
    outbox = handing(ONE)
    assert outbox.handed(Handed(TWO, BOB)) == []
    assert outbox.broke(HandOverBroke(TWO, BOB, "reset")) == []
    assert dialling(ONE).dial_failed(NOW, DialFailed(TWO, BOB, "refused", 0)) == []


# --- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [waiting, locating])
def test_the_head_is_cancelled_while_no_connection_is_opened(make: Callable[..., Outbox]) -> None:
    """It leaves the lane, which goes on with the next item and takes no late answer for it."""
    outbox = make(ONE)
    assert outbox.cancel(ONE, BOB) == [RemoveItem(ONE), AskHead(BOB)]
    assert outbox.located(NOW, Located(BOB, THERE, 0)) == []
    assert outbox.head_loaded(NOW, HeadLoaded(BOB, text(TWO), LAST)) == [Locate(BOB)]


def test_an_item_behind_the_head_is_cancelled_without_touching_the_head() -> None:
    """The head may be in flight: it is another item."""
    outbox = handing(ONE)
    assert outbox.cancel(TWO, BOB) == [RemoveItem(TWO)]
    assert outbox.handed(Handed(ONE, BOB))[0] == SetMessageState(ONE, MessageState.SENT, None)


def test_an_item_without_a_lane_is_cancelled() -> None:
    """An item may be on disk though nothing is done for its peer now."""
    assert Outbox().cancel(ONE, BOB) == [RemoveItem(ONE)]


@pytest.mark.parametrize("make", [dialling, handing])
def test_what_is_in_flight_is_not_cancelled(make: Callable[..., Outbox]) -> None:
    """A connection is being opened or used, so a byte may leave at any moment."""
    outbox = make(ONE)
    assert outbox.is_in_flight(ONE, BOB)
    with pytest.raises(AssertionError):
        outbox.cancel(ONE, BOB)


@pytest.mark.parametrize("make", [Outbox, waiting, locating])
def test_what_only_waits_is_not_in_flight(make: Callable[..., Outbox]) -> None:
    """Neither is an item of nobody, nor another one than the head."""
    assert not make().is_in_flight(ONE, BOB)
    assert not dialling(ONE).is_in_flight(TWO, BOB)
    assert not dialling(ONE).is_in_flight(ONE, CAROL)


def test_what_is_deleted_in_flight_is_cancelled_when_no_byte_leaves() -> None:
    """Nobody wants it to arrive any more, so a failed dial is the end of it."""
    outbox = dialling(ONE)
    outbox.forget_when_it_fails(ONE, BOB)
    assert outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0)) == [
        SetMessageState(ONE, MessageState.CANCELLED, "deleted"),
        MessageProgressed(ONE, BOB, MessageState.CANCELLED, "deleted"),
        RemoveItem(ONE),
        AskHead(BOB),
    ]


def test_what_is_deleted_in_flight_is_handed_over_when_bytes_leave() -> None:
    """Its delete follows it."""
    outbox = dialling(ONE)
    outbox.forget_when_it_fails(ONE, BOB)
    assert outbox.connected(Connected(ONE, BOB))[-1] == HandOver(ONE, BOB, ItemKind.TEXT)
    assert outbox.handed(Handed(ONE, BOB))[0] == SetMessageState(ONE, MessageState.SENT, None)


def test_what_was_deleted_in_flight_is_not_tried_again() -> None:
    """The store remembers it for an engine that is built anew."""
    outbox = Outbox()
    erased = replace(text(ONE), is_erased=True)
    outbox.restored(NOW, Restored(BOB, erased, LAST, restarted=True))
    assert outbox.timer_fired(NOW, TimerFired(BOB, 0))[0] == SetMessageState(
        ONE, MessageState.CANCELLED, "deleted"
    )


def test_only_what_is_in_flight_is_forgotten_when_it_fails() -> None:
    """Anything else is cancelled at once."""
    with pytest.raises(AssertionError):
        waiting(ONE).forget_when_it_fails(ONE, BOB)


# --- deletes -------------------------------------------------------------------------------------


def test_a_delete_is_stored_and_brought_like_a_message() -> None:
    """It has no text; nobody said where the peer is, so the directory is asked."""
    outbox = Outbox()
    item = delete(TWO, target_state=None)
    assert outbox.send_delete(NOW, TWO, BOB) == [StoreItem(item, None), Locate(BOB)]
    outbox.located(NOW, Located(BOB, HERE, 0))
    assert outbox.connected(Connected(TWO, BOB))[-1] == HandOver(TWO, BOB, ItemKind.DELETE)
    assert outbox.handed(Handed(TWO, BOB)) == [
        DeleteProgressed(TWO, BOB, DeleteOutcome.SENT),
        RemoveItem(TWO),
        AskHead(BOB),
    ]


def test_a_delete_waits_behind_what_is_in_flight() -> None:
    """The message it means is on its way, and has to arrive first."""
    assert handing(ONE).send_delete(NOW, TWO, BOB) == [
        StoreItem(delete(TWO, target_state=None), None)
    ]


def test_a_delete_whose_connection_breaks_is_never_repeated() -> None:
    """A classic delete that is told twice deletes two messages, so its outcome stays unknown."""
    outbox = Outbox()
    outbox.send_delete(NOW, TWO, BOB)
    outbox.located(NOW, Located(BOB, HERE, 0))
    outbox.connected(Connected(TWO, BOB))
    assert outbox.broke(HandOverBroke(TWO, BOB, "reset"))[:2] == [
        DeleteProgressed(TWO, BOB, DeleteOutcome.UNKNOWN),
        RemoveItem(TWO),
    ]


def test_a_delete_expires_like_a_message() -> None:
    """The peer could not be told in time."""
    outbox = Outbox()
    outbox.send_delete(NOW, TWO, BOB)
    assert outbox.located(EXPIRES, Located(BOB, HERE, 0))[1] == DeleteProgressed(
        TWO, BOB, DeleteOutcome.EXPIRED
    )


@pytest.mark.parametrize("target_state", NEVER_ARRIVED)
def test_a_delete_of_what_never_arrived_is_not_told(target_state: MessageState) -> None:
    """A classic delete means the newest message there: it would hit an older one instead."""
    outbox = handing(ONE)
    outbox.send_delete(NOW, TWO, BOB)
    outbox.broke(HandOverBroke(ONE, BOB, "reset"))
    behind = delete(TWO, target_state=target_state)
    assert outbox.head_loaded(NOW, HeadLoaded(BOB, behind, LAST)) == [
        DeleteProgressed(TWO, BOB, DeleteOutcome.LOCAL),
        RemoveItem(TWO),
        AskHead(BOB),
    ]


# --- read back from the store --------------------------------------------------------------------


def test_a_new_process_takes_up_what_is_queued_at_once() -> None:
    """Not a byte has left, so it simply goes on; by its timer, as all lanes begin together."""
    outbox = Outbox()
    restored = Restored(BOB, text(ONE), LAST, restarted=True)
    assert outbox.restored(NOW, restored) == [SetTimer(BOB, NOW)]
    assert outbox.timer_fired(NOW, TimerFired(BOB, 0)) == [Locate(BOB)]
    assert outbox.locate_failed(NOW, LocateFailed(BOB, 0)) == [Dial(ONE, BOB, HERE)]


def test_a_new_process_fails_what_was_being_handed_over() -> None:
    """Nobody can know whether it arrived, so it is never sent again."""
    item = text(ONE, state=ItemState.HANDING)
    assert Outbox().restored(NOW, Restored(BOB, item, LAST, restarted=True)) == [
        SetMessageState(ONE, MessageState.FAILED, "interrupted"),
        MessageProgressed(ONE, BOB, MessageState.FAILED, "interrupted"),
        RemoveItem(ONE),
        AskHead(BOB),
    ]


def test_a_new_process_does_not_repeat_a_delete() -> None:
    """It may have been told."""
    item = delete(TWO, state=ItemState.HANDING)
    effects = Outbox().restored(NOW, Restored(BOB, item, LAST, restarted=True))
    assert effects[0] == DeleteProgressed(TWO, BOB, DeleteOutcome.UNKNOWN)


def test_after_a_failed_commit_what_is_queued_is_tried_again_in_a_moment() -> None:
    """What was under way may still report, so the lane gives it a moment."""
    outbox = Outbox()
    restored = Restored(BOB, text(ONE), None, restarted=False)
    assert outbox.restored(NOW, restored) == [SetTimer(BOB, NOW + RETRY_MS_MIN)]
    assert outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0)) == []


def test_only_the_head_of_a_lane_is_ever_in_flight() -> None:
    """A store that says otherwise was not written by these rules."""
    outbox = handing(ONE)
    outbox.handed(Handed(ONE, BOB))
    with pytest.raises(AssertionError):
        outbox.head_loaded(NOW, HeadLoaded(BOB, text(TWO, state=ItemState.HANDING), LAST))


def unsure() -> Outbox:
    """An outbox that was read back while the store says that ONE is being handed over."""
    outbox = Outbox()
    item = text(ONE, state=ItemState.HANDING)
    assert outbox.restored(NOW, Restored(BOB, item, LAST, restarted=False)) == []
    return outbox


def test_after_a_failed_commit_a_hand_over_still_reports_how_it_ended() -> None:
    """The process lives, and so does the connection."""
    outbox = unsure()
    assert outbox.is_in_flight(ONE, BOB)
    assert outbox.timer_fired(EXPIRES, TimerFired(BOB, 0)) == []
    assert outbox.handed(Handed(ONE, BOB))[0] == SetMessageState(ONE, MessageState.SENT, None)


def test_after_a_failed_commit_a_connection_that_is_offered_again_is_used() -> None:
    """The commit that said HANDING reached the disk without saying so: no byte has left yet."""
    outbox = unsure()
    assert outbox.connected(Connected(ONE, BOB)) == [
        SetItemState(ONE, ItemState.HANDING),
        HandOver(ONE, BOB, ItemKind.TEXT),
    ]
    assert outbox.connected(Connected(ONE, BOB)) == [Abandon(ONE)]


def test_after_a_failed_commit_a_refused_connection_ends_the_item() -> None:
    """The node gave the connection up: the item must not wait for ever."""
    assert unsure().broke(HandOverBroke(ONE, BOB, "store-unavailable"))[0] == SetMessageState(
        ONE, MessageState.FAILED, "store-unavailable"
    )
