"""What a person says, deletes and has read: numbered, stamped, stored, and let go."""

from dataclasses import replace

import pytest
from tests.delivery.made import (
    ALICES_KEY,
    BOB,
    FOUR,
    HERE,
    NOW,
    ONE,
    THREE,
    TWO,
)

from netchat.delivery import own
from netchat.delivery.checked import (
    Admitted,
    DeleteChecked,
    OwnMessage,
    ReadChecked,
    SendChecked,
    Tally,
)
from netchat.delivery.effects import (
    AskHead,
    AskTransmit,
    Dial,
    Effect,
    EraseMessage,
    ExpireItems,
    Locate,
    OwnRow,
    SetMessageState,
    SettleItems,
    StoreChange,
    StoreItem,
    StoreOwn,
    StoreReceived,
    VoidItem,
)
from netchat.delivery.inputs import (
    Connected,
    DeleteRequested,
    DialFailed,
    NewMessage,
    ReadNoted,
    Route,
    SendRequested,
)
from netchat.delivery.lanes import Lanes
from netchat.delivery.notices import (
    DeleteProgressed,
    MessagesAccepted,
    MessagesArrived,
    MessagesProgressed,
    PeerPostponed,
    SendRefused,
)
from netchat.delivery.outbox import Outbox
from netchat.limits import EXPIRY_MS, HLC_BITS_COUNTER, HLC_MAX, WINDOW_BYTES_MAX, WINDOW_ITEMS_MAX
from netchat.model import Address, DeleteOutcome, DisplayText, Item, ItemKind, MessageState

EXPIRES = NOW + EXPIRY_MS
CLOCK = NOW << HLC_BITS_COUNTER
LOOKED_UP = [ExpireItems(BOB), Locate(BOB)]
LINK = 7


class Sender:
    """A person at a node, which already sent bob five things."""

    def __init__(self) -> None:
        self.outbox = Outbox(text_bytes_max=10)
        self.lanes = Lanes()
        self.tally = Tally(last_seq=5, left_seq=5, hlc=0)

    def link(self) -> "Sender":
        self.lanes.admitted(Admitted(LINK, BOB, 5, has_work=False))
        return self

    def send(
        self,
        route: Route,
        *texts: str,
        seen: frozenset[object] = frozenset(),
        address: Address | None = None,
    ) -> list[Effect]:
        """Write messages with the ids ONE, TWO and so on."""
        ids = (ONE, TWO, THREE, FOUR)
        messages = tuple(NewMessage(*pair) for pair in zip(ids, texts, strict=False))
        request = SendRequested(BOB, messages, None)
        event = SendChecked(request, seen, route, address, self.tally)  # type: ignore[arg-type]
        return own.send(NOW, event, self.outbox, self.lanes, ALICES_KEY)

    def delete(
        self,
        route: Route,
        message: OwnMessage | None,
        *,
        by_id: bool = False,
        seen: bool = False,
    ) -> list[Effect]:
        target = message.message_id if by_id and message else None
        request = DeleteRequested(TWO, None if by_id else BOB, target)
        event = DeleteChecked(request, seen, message, route, self.tally)
        return own.delete(NOW, event, self.outbox, self.lanes, ALICES_KEY)

    def read(self, route: Route, *, seen: bool = False) -> list[Effect]:
        event = ReadChecked(ReadNoted(TWO, BOB, 77), seen, route, self.tally)
        return own.note_reading(NOW, event, self.lanes)


# --- sending -------------------------------------------------------------------------------------


def test_messages_are_numbered_and_stamped_and_stored_before_anything_goes() -> None:
    """All of a send in one row of numbers, accepted by the commit that stores it."""
    rows = (OwnRow(ONE, "hi", 6, CLOCK), OwnRow(TWO, "ho", 7, CLOCK + 1))
    assert Sender().send(Route.KEYED, "hi", "ho") == [
        StoreOwn(BOB, rows, EXPIRES, left=False),
        MessagesAccepted((ONE, TWO)),
        *LOOKED_UP,
    ]


def test_over_an_open_link_they_go_at_once() -> None:
    """So from this very commit on they may have left this machine."""
    effects = Sender().link().send(Route.KEYED, "hi")
    assert effects[0] == StoreOwn(BOB, (OwnRow(ONE, "hi", 6, CLOCK),), EXPIRES, left=True)
    ask = AskTransmit(LINK, BOB, 5, WINDOW_ITEMS_MAX, WINDOW_BYTES_MAX)
    assert effects[2:] == [ask]


@pytest.mark.parametrize("newest", [CLOCK - 1, CLOCK, CLOCK + 10**9, HLC_MAX])
def test_a_message_stands_below_all_that_it_may_answer(newest: int) -> None:
    """Whatever the two clocks say; and those of one send keep their order even when the peer's
    clock is beyond reason."""
    sender = Sender()
    sender.tally = replace(sender.tally, hlc=newest)
    stored = sender.send(Route.KEYED, "a", "b", "c")[0]
    assert isinstance(stored, StoreOwn)
    first, second, third = (row.hlc for row in stored.rows)
    assert first < second < third
    assert first > newest or newest == HLC_MAX


def test_a_send_that_was_taken_already_is_accepted_and_not_taken_again() -> None:
    """A commit failed without saying that it took effect, and the send is offered again; even
    when the name is nobody's by now."""
    for route in (Route.KEYED, Route.NOBODY, Route.CLASSIC_REFUSED):
        effects = Sender().send(route, "hi", seen=frozenset({ONE}))
        assert effects == [MessagesAccepted((ONE,))]


def test_only_what_is_new_of_a_send_is_stored() -> None:
    """The ids say what that is."""
    effects = Sender().send(Route.KEYED, "hi", "ho", seen=frozenset({ONE}))
    assert effects[:2] == [
        StoreOwn(BOB, (OwnRow(TWO, "ho", 6, CLOCK),), EXPIRES, left=False),
        MessagesAccepted((ONE, TWO)),
    ]


@pytest.mark.parametrize(
    ("route", "reason"),
    [(Route.NOBODY, "no-such-person"), (Route.CLASSIC_REFUSED, "classic-not-allowed")],
)
def test_what_cannot_be_sent_is_refused_and_not_kept(route: Route, reason: str) -> None:
    """A typo must not wait for thirty days; and plain text needs a yes."""
    assert Sender().send(route, "hi") == [SendRefused(BOB, (ONE,), reason)]


def test_a_text_that_is_too_long_for_a_classic_peer_is_refused() -> None:
    """In bytes; while it is not known what the peer speaks, it is taken and measured later."""
    refused = [SendRefused(BOB, (ONE, TWO), "too-long")]
    assert Sender().send(Route.CLASSIC, "hi", "\u00e4" * 6) == refused
    effects = Sender().send(Route.UNKNOWN, "\u00e4" * 6, address=HERE)
    assert effects[2:4] == [
        SetMessageState(ONE, MessageState.FAILED, "too-long"),
        MessagesProgressed(BOB, (ONE,), MessageState.FAILED, "too-long"),
    ]
    assert Sender().send(Route.CLASSIC, "\u00e4" * 6, seen=frozenset({ONE}))[0] == (
        MessagesAccepted((ONE,))
    )


@pytest.mark.parametrize(
    ("route", "address", "goes"),
    [
        (Route.CLASSIC, HERE, Dial(ONE, BOB, HERE)),
        (Route.CLASSIC, None, Locate(BOB)),
        (Route.UNKNOWN, None, Locate(BOB)),
    ],
)
def test_a_peer_without_a_key_gets_one_thing_after_the_other(
    route: Route, address: Address | None, goes: Effect
) -> None:
    """Its lane is one of the outbox; nothing has left yet."""
    sender = Sender()
    effects = sender.send(route, "hi", "ho", address=address)
    assert isinstance(effects[0], StoreOwn)
    assert not effects[0].left
    assert effects[2:] == [goes]
    assert sender.outbox.has(BOB)


def test_a_peer_that_turned_out_to_have_a_key_leaves_the_outbox() -> None:
    """No byte more in plain text."""
    sender = Sender()
    sender.send(Route.UNKNOWN, "hi")
    assert sender.send(Route.KEYED, "hi", "ho", seen=frozenset({ONE}))[2:] == LOOKED_UP
    assert not sender.outbox.has(BOB)


def test_while_a_person_has_to_decide_about_a_key_everything_waits() -> None:
    """Whoever sent it hears why. The decision lets it go."""
    sender = Sender()
    assert sender.send(Route.STOPPED, "hi") == [
        StoreOwn(BOB, (OwnRow(ONE, "hi", 6, CLOCK),), EXPIRES, left=False),
        MessagesAccepted((ONE,)),
        PeerPostponed(BOB, "key-changed"),
    ]
    assert sender.lanes.decided(BOB) == LOOKED_UP


def test_what_waits_in_the_outbox_when_the_key_changes_stays_there() -> None:
    """A peer has one lane."""
    sender = Sender()
    sender.send(Route.UNKNOWN, "hi")
    assert sender.send(Route.STOPPED, "ho")[-1] == PeerPostponed(BOB, "key-changed")
    assert sender.lanes.decided(BOB) == []


def test_what_we_write_to_ourselves_is_delivered_by_the_commit_that_stores_it() -> None:
    """As ours and as received: both sides of the conversation are here."""
    items = (
        Item(6, ItemKind.TEXT, ONE, CLOCK, DisplayText("hi")),
        Item(7, ItemKind.TEXT, TWO, CLOCK + 1, DisplayText("ho")),
    )
    assert Sender().send(Route.SELF, "hi", "ho")[2:] == [
        StoreReceived(BOB, ALICES_KEY, items, frozenset()),
        SettleItems(BOB, ((6, 7),)),
        MessagesArrived(BOB, ((ONE, DisplayText("hi")), (TWO, DisplayText("ho")))),
    ]


# --- deleting ------------------------------------------------------------------------------------

ERASED: list[Effect] = [StoreChange(TWO, BOB, ONE), EraseMessage(ONE)]
DELETE = StoreItem(BOB, Item(6, ItemKind.DELETE, TWO, CLOCK, target=ONE), EXPIRES, left=False)


def mine(state: MessageState, seq: int = 3, **more: bool) -> OwnMessage:
    return OwnMessage(ONE, BOB, seq, state, **more)


def became(outcome: DeleteOutcome) -> Effect:
    return DeleteProgressed(TWO, BOB, outcome)


def ends(state: MessageState, reason: str = "deleted") -> list[Effect]:
    return [
        SetMessageState(ONE, state, reason),
        MessagesProgressed(BOB, (ONE,), state, reason),
    ]


def test_nothing_to_delete_changes_nothing() -> None:
    """Not even the request is remembered: it had no effect that could count twice."""
    assert Sender().delete(Route.UNKNOWN, None) == [became(DeleteOutcome.NOTHING)]


def test_a_delete_that_was_taken_already_is_not_taken_again() -> None:
    """A second one would delete an older message."""
    effects = Sender().delete(Route.KEYED, mine(MessageState.DELIVERED), seen=True)
    assert effects == [became(DeleteOutcome.QUEUED)]


def test_what_we_wrote_to_ourselves_goes_on_both_sides() -> None:
    """At once."""
    effects = Sender().delete(Route.SELF, mine(MessageState.DELIVERED))
    erased = EraseMessage(ONE, ALICES_KEY)
    assert effects == [*ERASED, erased, became(DeleteOutcome.APPLIED)]


@pytest.mark.parametrize("route", [Route.KEYED, Route.STOPPED])
@pytest.mark.parametrize("state", [MessageState.QUEUED, MessageState.STORED])
def test_what_has_not_left_is_cancelled(route: Route, state: MessageState) -> None:
    """D5: nobody need be told. Its number stays, so that it is no hole."""
    effects = Sender().delete(route, mine(state, seq=6))
    cancelled = [VoidItem(BOB, 6), *ends(MessageState.CANCELLED)]
    assert effects == [*ERASED, *cancelled, became(DeleteOutcome.CANCELLED)]


@pytest.mark.parametrize("state", [MessageState.QUEUED, MessageState.STORED])
def test_what_may_have_left_is_followed_by_its_delete(state: MessageState) -> None:
    """D5: behind it, never instead of it; but its own text leaves no more."""
    effects = Sender().delete(Route.KEYED, mine(state, seq=5))
    void = [VoidItem(BOB, 5), *ends(MessageState.FAILED, "withdrawn")]
    assert effects == [*ERASED, *void, DELETE, *LOOKED_UP, became(DeleteOutcome.QUEUED)]


@pytest.mark.parametrize(
    "state",
    [MessageState.DELIVERED, MessageState.READ, MessageState.FAILED, MessageState.EXPIRED],
)
@pytest.mark.parametrize("by_id", [False, True])
def test_a_keyed_peer_is_told_by_id_at_any_age(state: MessageState, by_id: bool) -> None:
    """D2: not the newest only. What expired here may lie in its mailbox."""
    message = mine(state, is_newest=False, is_shadowed=True)
    effects = Sender().delete(Route.KEYED, message, by_id=by_id)
    assert effects == [*ERASED, DELETE, *LOOKED_UP, became(DeleteOutcome.QUEUED)]


def test_over_an_open_link_a_delete_goes_at_once() -> None:
    """Behind whatever is on it."""
    effects = Sender().link().delete(Route.KEYED, mine(MessageState.DELIVERED))
    assert replace(DELETE, left=True) in effects
    assert AskTransmit(LINK, BOB, 5, WINDOW_ITEMS_MAX, WINDOW_BYTES_MAX) in effects


def test_a_delete_waits_for_the_decision_about_a_key() -> None:
    """Here the text is gone at once."""
    sender = Sender()
    effects = sender.delete(Route.STOPPED, mine(MessageState.DELIVERED))
    assert effects == [*ERASED, DELETE, became(DeleteOutcome.QUEUED)]
    assert sender.lanes.decided(BOB) == LOOKED_UP


def test_what_ended_before_it_left_is_only_erased() -> None:
    """A person forgot who the peer was."""
    effects = Sender().delete(Route.KEYED, mine(MessageState.CANCELLED))
    assert effects == [*ERASED, became(DeleteOutcome.CANCELLED)]


def test_what_went_in_plain_text_is_not_deleted_by_id() -> None:
    """The peer has a key now, and knows that message by an id of its own: it would say `applied`
    and keep the text."""
    effects = Sender().delete(Route.KEYED, mine(MessageState.SENT))
    assert effects == [*ERASED, became(DeleteOutcome.LOCAL)]


# --- deleting at a classic peer ------------------------------------------------------------------


def test_a_classic_message_that_has_not_left_is_cancelled() -> None:
    """The lane goes on with the next one."""
    sender = Sender()
    sender.send(Route.CLASSIC, "hi")  # asks the directory, no more
    effects = sender.delete(Route.CLASSIC, mine(MessageState.QUEUED, seq=6))
    cancelled = [*ends(MessageState.CANCELLED), VoidItem(BOB, 6), AskHead(BOB)]
    assert effects == [*ERASED, *cancelled, became(DeleteOutcome.CANCELLED)]


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("route", [Route.CLASSIC, Route.KEYED])
def test_a_classic_message_in_flight_is_not_cancelled(route: Route, connected: bool) -> None:
    """A byte may leave or have left, so its delete follows it, the same way, even if the peer
    turns out to have a key meanwhile; if no byte leaves, it ends there."""
    sender = Sender()
    sender.send(Route.CLASSIC, "hi", address=HERE)
    if connected:
        sender.outbox.connected(Connected(ONE, BOB))
    effects = sender.delete(route, mine(MessageState.QUEUED))
    assert effects == [*ERASED, DELETE, became(DeleteOutcome.QUEUED)]
    failed = sender.outbox.dial_failed(NOW, DialFailed(ONE, BOB, "refused", 0))
    assert failed[:2] == ([] if connected else ends(MessageState.CANCELLED))


@pytest.mark.parametrize("by_id", [False, True])
def test_the_newest_classic_message_is_deleted_there_too(by_id: bool) -> None:
    """As soon as the peer is reached."""
    effects = Sender().delete(Route.CLASSIC, mine(MessageState.SENT), by_id=by_id)
    assert effects == [*ERASED, DELETE, Locate(BOB), became(DeleteOutcome.QUEUED)]


@pytest.mark.parametrize(
    "message",
    [
        mine(MessageState.SENT, is_newest=False),
        mine(MessageState.SENT, is_shadowed=True),
        mine(MessageState.FAILED),
        mine(MessageState.EXPIRED),
        mine(MessageState.CANCELLED),
        mine(MessageState.STORED),
        mine(MessageState.DELIVERED),
        mine(MessageState.READ),
    ],
    ids=["older", "behind one of unknown outcome", "f", "e", "c", "s", "d", "r"],
)
def test_a_classic_delete_that_might_hit_another_message_is_not_sent(message: OwnMessage) -> None:
    """It means the newest that came in plain text: this one may not be there, may not be the
    newest, or went by another way before a person forgot the key."""
    effects = Sender().delete(Route.CLASSIC, message, by_id=True)
    assert effects == [*ERASED, became(DeleteOutcome.LOCAL)]


# --- reading -------------------------------------------------------------------------------------


def test_a_keyed_peer_is_told_what_was_read() -> None:
    """As an item like any other, so it waits and is numbered like one."""
    item = Item(6, ItemKind.READ, TWO, 77)
    assert Sender().read(Route.KEYED) == [StoreItem(BOB, item, EXPIRES, False), *LOOKED_UP]
    assert Sender().link().read(Route.KEYED)[0] == StoreItem(BOB, item, EXPIRES, True)


def test_nobody_else_is_told_what_was_read_and_nobody_twice() -> None:
    """A classic peer cannot be, one whose key changed must not be."""
    assert Sender().read(Route.KEYED, seen=True) == []
    for route in Route:
        if route is not Route.KEYED:
            assert Sender().read(route) == []
