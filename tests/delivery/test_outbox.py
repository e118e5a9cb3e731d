"""The life of what we send to classic peers, as traces: what happened, and what has to follow.

The lanes are driven by hand here: the test plays the store and the network.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.delivery.made import BOB, CAROL, HERE, NOW, ONE, THERE, TWO

from netchat.delivery.checked import Barred, Entry, HeadLoaded, Restored, Routed, Whereabouts
from netchat.delivery.effects import (
    Abandon,
    AskHead,
    Dial,
    Effect,
    HandOver,
    Locate,
    RemoveItem,
    SetItemState,
    SetMessageState,
    SetTimer,
    StoreAddress,
    VoidItem,
)
from netchat.delivery.inputs import (
    Connected,
    DialFailed,
    Handed,
    HandOverBroke,
    ItemState,
    Route,
    TimerFired,
)
from netchat.delivery.notices import DeleteProgressed, MessagesProgressed, PeerPostponed
from netchat.delivery.outbox import NEVER_ARRIVED, TRANSITIONS, ItemEvent, Outbox
from netchat.limits import ADDRESS_AGE_MS_MAX, EXPIRY_MS, RETRY_MS_MAX, RETRY_MS_MIN
from netchat.model import Address, DeleteOutcome, ItemKind, MessageId, MessageState, Name

LAST = Whereabouts(HERE, NOW)
EXPIRES = NOW + EXPIRY_MS
SEQS = {ONE: 1, TWO: 2}


def entry(
    item_id: MessageId,
    kind: ItemKind = ItemKind.TEXT,
    peer: Name = BOB,
    state: ItemState = ItemState.QUEUED,
) -> Entry:
    return Entry(item_id, peer, SEQS[item_id], kind, state, EXPIRES)


def a_delete(item_id: MessageId = TWO, target_state: MessageState | None = None) -> Entry:
    return replace(entry(item_id, ItemKind.DELETE), target_state=target_state)


def found(address: Address | None, peer: Name = BOB, jitter: float = 0) -> Routed:
    """A directory said where ``peer`` is, or that it knows no such name."""
    route = Route.CLASSIC if address else Route.NOBODY
    return Routed(peer, jitter, route, address)


def not_asked(route: Route = Route.CLASSIC) -> Routed:
    """No directory answered; what is known from before says that the peer speaks classic."""
    return Routed(BOB, 0, route, answered=False)


def loaded(item: Entry | None, last: Whereabouts | None = LAST) -> HeadLoaded:
    return HeadLoaded(BOB, item, last, Route.CLASSIC)


def restored(
    item: Entry | None, last: Whereabouts | None = LAST, *, restarted: bool = True
) -> Restored:
    return Restored(BOB, item, last, Route.CLASSIC, restarted)


def send(outbox: Outbox, item_id: MessageId, address: Address | None = HERE) -> list[Effect]:
    return outbox.enqueued(NOW, entry(item_id), address)


def ended(item_id: MessageId, state: MessageState, reason: str | None = None) -> list[Effect]:
    """A message comes to its end: on disk, to the faces, and the lane goes on."""
    return [
        SetMessageState(item_id, state, reason),
        MessagesProgressed(BOB, (item_id,), state, reason),
        RemoveItem(BOB, SEQS[item_id]),
        AskHead(BOB),
    ]


def handed_over(item_id: MessageId, kind: ItemKind = ItemKind.TEXT) -> list[Effect]:
    return [
        SetItemState(BOB, SEQS[item_id], ItemState.HANDING),
        HandOver(item_id, BOB, SEQS[item_id], kind),
    ]


def dialling(item_id: MessageId = ONE) -> Outbox:
    """An outbox that is opening a connection for ``item_id``."""
    outbox = Outbox()
    assert send(outbox, item_id) == [Dial(item_id, BOB, HERE)]
    return outbox


def locating(item_id: MessageId = ONE) -> Outbox:
    """An outbox that has asked where bob is, and knows no address of him."""
    outbox = Outbox()
    assert send(outbox, item_id, None) == [Locate(BOB)]
    return outbox


def handing(item_id: MessageId = ONE) -> Outbox:
    """An outbox that is handing ``item_id`` over."""
    outbox = dialling(item_id)
    assert outbox.connected(Connected(item_id, BOB)) == handed_over(item_id)
    return outbox


def waiting(item_id: MessageId = ONE) -> Outbox:
    """An outbox that waits for its timer after one attempt."""
    outbox = dialling(item_id)
    outbox.dial_failed(NOW, DialFailed(item_id, BOB, "refused", 0))
    return outbox


def unsure() -> Outbox:
    """An outbox that was read back while the store says that ONE is being handed over."""
    outbox = Outbox()
    item = entry(ONE, state=ItemState.HANDING)
    assert outbox.restored(NOW, restored(item, restarted=False)) == []
    return outbox


# --- the table -----------------------------------------------------------------------------------

ENDS = (ItemState.SENT, ItemState.FAILED, ItemState.EXPIRED, ItemState.CANCELLED)
REFUSED = {
    # Nothing moves an item that has come to its end.
    *itertools.product(ENDS, ItemEvent),
    # What lies in a mailbox is for a peer with a key, and never goes in plain text.
    *itertools.product([ItemState.STORED], ItemEvent),
    # No byte has left, so there is no hand-over that could end.
    (ItemState.QUEUED, ItemEvent.HANDED),
    (ItemState.QUEUED, ItemEvent.BROKE),
    # A byte may have left: no repeat, no cancel, no expiry; and it was measured before.
    (ItemState.HANDING, ItemEvent.DIAL_FAILED),
    (ItemState.HANDING, ItemEvent.EXPIRED),
    (ItemState.HANDING, ItemEvent.CANCELLED),
    (ItemState.HANDING, ItemEvent.TOO_LONG),
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


def test_the_address_just_learnt_is_used_at_once_and_otherwise_the_directory_is_asked() -> None:
    """What a send found out a moment ago is not looked up again."""
    assert send(Outbox(), ONE, HERE) == [Dial(ONE, BOB, HERE)]
    assert send(Outbox(), ONE, None) == [Locate(BOB)]


@pytest.mark.parametrize("make", [locating, dialling, handing])
def test_only_one_item_of_a_peer_is_under_way(make: Callable[..., Outbox]) -> None:
    """What comes while a lane is busy waits for its turn."""
    assert send(make(ONE), TWO) == []


def test_peers_do_not_wait_for_each_other() -> None:
    """Each peer has a lane of its own."""
    outbox = dialling(ONE)
    assert outbox.enqueued(NOW, entry(TWO, peer=CAROL), THERE) == [Dial(TWO, CAROL, THERE)]


def test_a_new_message_wakes_a_lane_that_waits() -> None:
    """Somebody who writes has a reason to think that the peer is there; the OLDEST goes first."""
    assert send(waiting(ONE), TWO, THERE) == [Dial(ONE, BOB, THERE)]


def test_a_new_message_resets_the_back_off() -> None:
    """After it, the first retry comes soon again."""
    outbox = waiting(ONE)
    send(outbox, TWO)
    effects = outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0))
    assert effects[0] == SetTimer(BOB, NOW + RETRY_MS_MIN // 2)


def test_the_way_of_a_message_that_arrives() -> None:
    """HANDING is stored before the bytes leave, SENT after they left, and then the lane closes."""
    outbox = dialling(ONE)
    assert outbox.connected(Connected(ONE, BOB)) == handed_over(ONE)
    assert outbox.handed(Handed(ONE, BOB)) == ended(ONE, MessageState.SENT)
    assert outbox.head_loaded(NOW, loaded(None)) == []
    assert not outbox.has(BOB)
    assert outbox.timer_fired(NOW, TimerFired(BOB, 0)) == []  # there is no lane any more


def test_the_next_item_goes_to_the_address_that_has_just_worked() -> None:
    """First in, first out, without asking the directory again for each message."""
    outbox = handing(ONE)
    outbox.handed(Handed(ONE, BOB))
    assert outbox.head_loaded(NOW, loaded(entry(TWO), None)) == [Dial(TWO, BOB, HERE)]


def test_a_connection_that_breaks_fails_the_message_for_good() -> None:
    """Nobody can know whether it arrived, so it is not repeated; the next item looks again."""
    outbox = handing(ONE)
    failed = ended(ONE, MessageState.FAILED, "reset")
    assert outbox.broke(HandOverBroke(ONE, BOB, "reset")) == failed
    assert outbox.head_loaded(NOW, loaded(entry(TWO))) == [Locate(BOB)]


def test_a_text_that_is_too_long_for_classic_fails_before_anybody_is_dialled() -> None:
    """Classic clients die of a connection without a text; with its key the peer could have had it,
    so this is known only when there is an address."""
    outbox = Outbox(text_bytes_max=10)
    long = replace(entry(ONE), text_bytes=11)
    assert outbox.enqueued(NOW, long, None) == [Locate(BOB)]
    assert outbox.routed(NOW, found(HERE)) == [
        StoreAddress(BOB, HERE),
        *ended(ONE, MessageState.FAILED, "too-long"),
    ]
    fits = replace(entry(TWO), text_bytes=10)
    outbox.head_loaded(NOW, loaded(fits))
    assert outbox.routed(NOW, found(HERE))[-1] == Dial(TWO, BOB, HERE)


# --- the directory -------------------------------------------------------------------------------


def test_what_the_directory_says_is_remembered_and_dialled() -> None:
    """It is kept for the day when the directory does not answer."""
    assert locating().routed(NOW, found(HERE)) == [StoreAddress(BOB, HERE), Dial(ONE, BOB, HERE)]


@pytest.mark.parametrize(
    ("routed", "reason"),
    [
        (found(None), "not-registered"),
        (Routed(BOB, 0, Route.CLASSIC), "not-registered"),
        (Routed(BOB, 0, Route.UNKNOWN), "not-registered"),
        (not_asked(), "directory-unreachable"),
        (not_asked(Route.UNKNOWN), "directory-unreachable"),
        (Routed(BOB, 0, Route.CLASSIC_REFUSED, HERE), "classic-not-allowed"),
        (Routed(BOB, 0, Route.STOPPED, HERE), "key-changed"),
    ],
)
def test_what_cannot_go_waits_and_says_why(routed: Routed, reason: str) -> None:
    """The peer may come later, or a person may decide: the message stays queued. In plain text
    nothing goes to a peer for whom that is not allowed, nor to one whose key changed."""
    assert locating().routed(NOW, routed) == [
        SetTimer(BOB, NOW + RETRY_MS_MIN // 2),
        PeerPostponed(BOB, reason),
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
            outbox.routed(NOW, found(HERE))
            outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0))
        else:
            outbox = Outbox()
            outbox.restored(NOW, restored(entry(ONE)))
        later = NOW + age_ms
        assert outbox.timer_fired(later, TimerFired(BOB, 0)) == [Locate(BOB)]
        assert outbox.routed(later, not_asked())[-1] == expected


def test_dialling_an_address_again_makes_it_no_younger() -> None:
    """Its age counts from when somebody who should know said so."""
    outbox = waiting(ONE)
    for at_ms in (NOW + ADDRESS_AGE_MS_MAX // 2, NOW + ADDRESS_AGE_MS_MAX):
        outbox.timer_fired(at_ms, TimerFired(BOB, 0))
        assert outbox.routed(at_ms, not_asked()) == [Dial(ONE, BOB, HERE)]
        outbox.dial_failed(at_ms, DialFailed(ONE, BOB, "refused", 0))
    too_late = NOW + ADDRESS_AGE_MS_MAX + 1
    outbox.timer_fired(too_late, TimerFired(BOB, 0))
    postponed = PeerPostponed(BOB, "directory-unreachable")
    assert outbox.routed(too_late, not_asked())[-1] == postponed


@pytest.mark.parametrize("make", [Outbox, waiting, dialling, handing])
def test_an_answer_of_the_directory_that_nobody_waits_for_changes_nothing(
    make: Callable[..., Outbox],
) -> None:
    """Only a lane that asked takes an answer; a late one must not open a second connection."""
    outbox = make()
    for routed in (found(THERE), found(None), not_asked()):
        assert outbox.routed(NOW, routed) == []


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
        outbox.routed(NOW, found(HERE, jitter=jitter))


def test_reaching_the_peer_resets_the_back_off() -> None:
    """The next message of the lane begins anew."""
    outbox = waiting(ONE)
    outbox.timer_fired(NOW, TimerFired(BOB, 0))
    outbox.routed(NOW, found(HERE))
    outbox.connected(Connected(ONE, BOB))
    outbox.handed(Handed(ONE, BOB))
    outbox.head_loaded(NOW, loaded(entry(TWO)))
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
    assert outbox.routed(EXPIRES, found(HERE)) == [
        StoreAddress(BOB, HERE),
        *ended(ONE, MessageState.EXPIRED, "expired"),
    ]


def test_what_is_under_way_does_not_expire() -> None:
    """Only its own connection ends an item of which a byte may have left."""
    outbox = handing()
    assert outbox.timer_fired(EXPIRES + 1, TimerFired(BOB, 0)) == []
    assert outbox.handed(Handed(ONE, BOB)) == ended(ONE, MessageState.SENT)


def test_a_new_message_finds_the_old_one_expired() -> None:
    """The lane is tried for its head, so an expired head leaves before the new message goes."""
    effects = waiting(ONE).enqueued(EXPIRES, entry(TWO), HERE)
    assert effects == ended(ONE, MessageState.EXPIRED, "expired")


# --- reports that come late ----------------------------------------------------------------------


def test_a_foreign_connection_is_closed_unused() -> None:
    """A connection for an item that is not the head carries nothing."""
    assert dialling(ONE).connected(Connected(TWO, BOB)) == [Abandon(TWO)]
    assert Outbox().connected(Connected(ONE, BOB)) == [Abandon(ONE)]


def test_a_connection_to_a_name_that_has_a_key_now_is_closed_unused() -> None:
    """And it is looked up anew who that is."""
    outbox = dialling(ONE)
    assert outbox.barred(NOW, Barred(ONE, BOB)) == [Abandon(ONE), Locate(BOB)]
    assert outbox.barred(NOW, Barred(ONE, BOB)) == [Abandon(ONE)]
    assert dialling(ONE).barred(NOW, Barred(TWO, BOB)) == [Abandon(TWO)]
    assert waiting(ONE).barred(NOW, Barred(ONE, BOB)) == [Abandon(ONE)]


@pytest.mark.parametrize("route", [Route.CLASSIC_REFUSED, Route.UNKNOWN])
def test_the_next_item_does_not_follow_where_plain_text_may_not_go_any_more(route: Route) -> None:
    """An address that has just worked says nothing about who is there now."""
    outbox = handing(ONE)
    outbox.handed(Handed(ONE, BOB))
    assert outbox.head_loaded(NOW, replace(loaded(entry(TWO)), route=route)) == [Locate(BOB)]


def test_a_peer_that_is_forgotten_is_dialled_no_more() -> None:
    """Its items are gone; only what is being handed over comes to its end."""
    for make, effects in (
        (Outbox, []),
        (locating, []),
        (waiting, []),
        (dialling, [Abandon(ONE)]),
    ):
        outbox = make()
        assert outbox.forgotten(BOB) == effects
        assert not outbox.has(BOB)
    outbox = handing(ONE)
    assert outbox.forgotten(BOB) == []
    assert outbox.handed(Handed(ONE, BOB)) == ended(ONE, MessageState.SENT)


def test_a_second_connection_is_closed_unused() -> None:
    """While one hand-over is under way, a second one of the same item would double the message."""
    assert handing(ONE).connected(Connected(ONE, BOB)) == [Abandon(ONE)]


def test_a_late_connection_of_a_lane_that_waits_is_used() -> None:
    """No byte has left, so it is as good as a fresh one."""
    assert waiting(ONE).connected(Connected(ONE, BOB)) == handed_over(ONE)


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


# --- a peer that turns out to have a key ---------------------------------------------------------


@pytest.mark.parametrize("make", [Outbox, waiting, locating, dialling])
def test_a_lane_is_let_go_while_no_byte_has_left(make: Callable[..., Outbox]) -> None:
    """From then on nothing of it goes in plain text: a connection that is opened stays unused."""
    outbox = make()
    assert outbox.release(BOB)
    assert not outbox.has(BOB)
    assert outbox.connected(Connected(ONE, BOB)) == [Abandon(ONE)]


@pytest.mark.parametrize("make", [handing, unsure])
def test_a_lane_stays_while_bytes_are_on_their_way(make: Callable[[], Outbox]) -> None:
    """How that ends has to be noted; only then the rest of it can go another way."""
    outbox = make()
    assert not outbox.release(BOB)
    assert outbox.has(BOB)
    assert outbox.handed(Handed(ONE, BOB)) == ended(ONE, MessageState.SENT)
    assert outbox.release(BOB)


# --- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [waiting, locating])
def test_the_head_is_cancelled_while_no_connection_is_opened(make: Callable[..., Outbox]) -> None:
    """Nothing is left of it but its number, and the lane takes no late answer for it."""
    outbox = make(ONE)
    assert outbox.cancel(ONE, BOB, 1) == [VoidItem(BOB, 1), AskHead(BOB)]
    assert outbox.routed(NOW, found(THERE)) == []
    void = entry(ONE, ItemKind.VOID)
    assert outbox.head_loaded(NOW, loaded(void)) == [RemoveItem(BOB, 1), AskHead(BOB)]
    assert outbox.head_loaded(NOW, loaded(entry(TWO))) == [Locate(BOB)]


@pytest.mark.parametrize("kind", [ItemKind.VOID, ItemKind.READ])
def test_what_a_classic_peer_cannot_be_told_is_dropped(kind: ItemKind) -> None:
    """Such a peer knows no numbers and no receipts; and the address that worked still serves."""
    outbox = handing(ONE)
    outbox.handed(Handed(ONE, BOB))
    assert outbox.head_loaded(NOW, loaded(entry(TWO, kind))) == [RemoveItem(BOB, 2), AskHead(BOB)]
    assert outbox.head_loaded(NOW, loaded(entry(TWO))) == [Dial(TWO, BOB, HERE)]


def test_an_item_behind_the_head_is_cancelled_without_touching_the_head() -> None:
    """The head may be in flight: it is another item."""
    outbox = handing(ONE)
    assert outbox.cancel(TWO, BOB, 2) == [VoidItem(BOB, 2)]
    assert outbox.handed(Handed(ONE, BOB)) == ended(ONE, MessageState.SENT)


def test_an_item_without_a_lane_is_cancelled() -> None:
    """An item may be on disk though nothing is done for its peer now."""
    assert Outbox().cancel(ONE, BOB, 1) == [VoidItem(BOB, 1)]


@pytest.mark.parametrize("make", [dialling, handing, unsure])
def test_what_is_in_flight_is_not_cancelled(make: Callable[..., Outbox]) -> None:
    """A connection is being opened or used, so a byte may leave at any moment."""
    outbox = make()
    assert outbox.is_in_flight(ONE, BOB)
    with pytest.raises(AssertionError):
        outbox.cancel(ONE, BOB, 1)


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
    cancelled = ended(ONE, MessageState.CANCELLED, "deleted")
    assert outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0)) == cancelled


def test_what_is_deleted_in_flight_is_handed_over_when_bytes_leave() -> None:
    """Its delete follows it."""
    outbox = dialling(ONE)
    outbox.forget_when_it_fails(ONE, BOB)
    assert outbox.connected(Connected(ONE, BOB)) == handed_over(ONE)
    assert outbox.handed(Handed(ONE, BOB)) == ended(ONE, MessageState.SENT)


def test_what_was_deleted_in_flight_is_not_tried_again() -> None:
    """The store remembers it for an engine that is built anew."""
    outbox = Outbox()
    outbox.restored(NOW, restored(replace(entry(ONE), is_erased=True)))
    cancelled = ended(ONE, MessageState.CANCELLED, "deleted")
    assert outbox.timer_fired(NOW, TimerFired(BOB, 0)) == cancelled


def test_only_what_is_in_flight_is_forgotten_when_it_fails() -> None:
    """Anything else is cancelled at once."""
    with pytest.raises(AssertionError):
        waiting(ONE).forget_when_it_fails(ONE, BOB)


# --- deletes -------------------------------------------------------------------------------------


def test_a_delete_is_brought_like_a_message() -> None:
    """It has no text; nobody said where the peer is, so the directory is asked."""
    outbox = Outbox()
    assert outbox.enqueued(NOW, a_delete(), None) == [Locate(BOB)]
    outbox.routed(NOW, found(HERE))
    assert outbox.connected(Connected(TWO, BOB)) == handed_over(TWO, ItemKind.DELETE)
    assert outbox.handed(Handed(TWO, BOB)) == [
        DeleteProgressed(TWO, BOB, DeleteOutcome.SENT),
        RemoveItem(BOB, 2),
        AskHead(BOB),
    ]


def test_a_delete_whose_connection_breaks_is_never_repeated() -> None:
    """A classic delete that is told twice deletes two messages, so its outcome stays unknown."""
    outbox = Outbox()
    outbox.enqueued(NOW, a_delete(), HERE)
    outbox.connected(Connected(TWO, BOB))
    assert outbox.broke(HandOverBroke(TWO, BOB, "reset")) == [
        DeleteProgressed(TWO, BOB, DeleteOutcome.UNKNOWN),
        RemoveItem(BOB, 2),
        AskHead(BOB),
    ]


def test_a_delete_expires_like_a_message() -> None:
    """The peer could not be told in time."""
    outbox = Outbox()
    outbox.enqueued(NOW, a_delete(), None)
    expired = DeleteProgressed(TWO, BOB, DeleteOutcome.EXPIRED)
    assert outbox.routed(EXPIRES, found(HERE))[1] == expired


@pytest.mark.parametrize("target_state", NEVER_ARRIVED)
def test_a_delete_of_what_never_arrived_is_not_told(target_state: MessageState) -> None:
    """A classic delete means the newest message there: it would hit an older one instead."""
    outbox = handing(ONE)
    assert outbox.enqueued(NOW, a_delete(), None) == []  # behind what is in flight
    outbox.broke(HandOverBroke(ONE, BOB, "reset"))
    assert outbox.head_loaded(NOW, loaded(a_delete(target_state=target_state))) == [
        DeleteProgressed(TWO, BOB, DeleteOutcome.LOCAL),
        RemoveItem(BOB, 2),
        AskHead(BOB),
    ]


# --- read back from the store --------------------------------------------------------------------


def test_a_new_process_takes_up_what_is_queued_at_once() -> None:
    """Not a byte has left, so it simply goes on; by its timer, as all lanes begin together."""
    outbox = Outbox()
    assert outbox.restored(NOW, restored(entry(ONE))) == [SetTimer(BOB, NOW)]
    assert outbox.timer_fired(NOW, TimerFired(BOB, 0)) == [Locate(BOB)]
    assert outbox.routed(NOW, not_asked()) == [Dial(ONE, BOB, HERE)]


def test_a_new_process_fails_what_was_being_handed_over() -> None:
    """Nobody can know whether it arrived, so it is never sent again."""
    item = entry(ONE, state=ItemState.HANDING)
    failed = ended(ONE, MessageState.FAILED, "interrupted")
    assert Outbox().restored(NOW, restored(item)) == failed


def test_a_new_process_does_not_repeat_a_delete() -> None:
    """It may have been told."""
    item = replace(a_delete(), state=ItemState.HANDING)
    unknown = DeleteProgressed(TWO, BOB, DeleteOutcome.UNKNOWN)
    assert Outbox().restored(NOW, restored(item))[0] == unknown


def test_after_a_failed_commit_what_is_queued_is_tried_again_in_a_moment() -> None:
    """What was under way may still report, so the lane gives it a moment."""
    outbox = Outbox()
    timer = SetTimer(BOB, NOW + RETRY_MS_MIN)
    assert outbox.restored(NOW, restored(entry(ONE), None, restarted=False)) == [timer]
    assert outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0)) == []


def test_only_the_head_of_a_lane_is_ever_in_flight() -> None:
    """A store that says otherwise was not written by these rules."""
    outbox = handing(ONE)
    outbox.handed(Handed(ONE, BOB))
    with pytest.raises(AssertionError):
        outbox.head_loaded(NOW, loaded(entry(TWO, state=ItemState.HANDING)))


def test_after_a_failed_commit_a_hand_over_still_reports_how_it_ended() -> None:
    """The process lives, and so does the connection."""
    outbox = unsure()
    assert outbox.timer_fired(EXPIRES, TimerFired(BOB, 0)) == []
    assert outbox.handed(Handed(ONE, BOB)) == ended(ONE, MessageState.SENT)


def test_after_a_failed_commit_a_connection_that_is_offered_again_is_used() -> None:
    """The commit that said HANDING reached the disk without saying so: no byte has left yet."""
    outbox = unsure()
    assert outbox.connected(Connected(ONE, BOB)) == handed_over(ONE)
    assert outbox.connected(Connected(ONE, BOB)) == [Abandon(ONE)]


def test_after_a_failed_commit_a_refused_connection_ends_the_item() -> None:
    """The node gave the connection up: the item must not wait for ever."""
    failed = ended(ONE, MessageState.FAILED, "store-unavailable")
    assert unsure().broke(HandOverBroke(ONE, BOB, "store-unavailable")) == failed
