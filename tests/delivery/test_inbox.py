"""What counts as received, and what a delete means: each rule as input and effects."""

import pytest

from netchat.delivery import inbox
from netchat.delivery.effects import (
    AskHead,
    DeleteIgnored,
    DeleteProgressed,
    Dial,
    EraseMessage,
    Locate,
    MessageArrived,
    MessageProgressed,
    PeerDeleted,
    RemoveItem,
    SetMessageState,
    Settle,
    StoreChange,
    StoreItem,
    StoreReceivedMessage,
)
from netchat.delivery.inputs import (
    Connected,
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    Item,
    ItemKind,
    ItemState,
    NewestMessage,
    SendRequested,
    TextArrived,
)
from netchat.delivery.outbox import Outbox
from netchat.limits import EXPIRY_MS
from netchat.model import Address, DeleteOutcome, DisplayText, MessageId, MessageState, Name

BOB = Name("bob")
HERE = Address("192.0.2.7", 54321)
NOW = 1_000_000
MESSAGE, CHANGE, ARRIVAL = (MessageId(bytes(15) + bytes([number])) for number in (1, 2, 3))
HELLO = DisplayText("hello")
TEXT = TextArrived(ARRIVAL, BOB, HELLO, "192.0.2.7")
DELETE = DeleteArrived(ARRIVAL, BOB, "192.0.2.7")
REQUEST = DeleteRequested(CHANGE, BOB)
ERASED = [StoreChange(CHANGE, BOB, MESSAGE), EraseMessage(MESSAGE)]


# --- texts ---------------------------------------------------------------------------------------


def test_a_text_is_stored_then_told_then_settled() -> None:
    """The sender's connection closes in peace last: only what is on disk is acknowledged."""
    assert inbox.text_arrived(TEXT, seen=False) == [
        StoreReceivedMessage(ARRIVAL, BOB, HELLO, "192.0.2.7"),
        MessageArrived(ARRIVAL, BOB, HELLO),
        Settle(ARRIVAL),
    ]


def test_a_text_that_is_stored_already_is_told_but_not_stored_again() -> None:
    """The commit took effect though it failed: nobody has been told of the message yet."""
    assert inbox.text_arrived(TEXT, seen=True) == [
        MessageArrived(ARRIVAL, BOB, HELLO),
        Settle(ARRIVAL),
    ]


# --- deletes of a peer ---------------------------------------------------------------------------


def test_a_delete_from_where_the_message_came_from_is_applied() -> None:
    """The text goes, the change is remembered, the face hears, the connection ends in peace."""
    newest = NewestMessage(MESSAGE, MessageState.RECEIVED, "192.0.2.7")
    assert inbox.delete_arrived(DELETE, newest, seen=False) == [
        StoreChange(ARRIVAL, BOB, MESSAGE),
        EraseMessage(MESSAGE),
        PeerDeleted(MESSAGE, BOB),
        Settle(ARRIVAL),
    ]


@pytest.mark.parametrize("source", ["192.0.2.8", None])
def test_a_delete_from_elsewhere_is_ignored_and_said_so(source: str | None) -> None:
    """A neighbour must not delete what others said; that it tried is remembered and shown."""
    newest = NewestMessage(MESSAGE, MessageState.RECEIVED, source)
    assert inbox.delete_arrived(DELETE, newest, seen=False) == [
        StoreChange(ARRIVAL, BOB, None),
        DeleteIgnored(BOB, "192.0.2.7", "other-source"),
        Settle(ARRIVAL),
    ]


def test_a_delete_of_nothing_is_ignored() -> None:
    """There is no message of that name which is not deleted."""
    assert inbox.delete_arrived(DELETE, None, seen=False) == [
        StoreChange(ARRIVAL, BOB, None),
        DeleteIgnored(BOB, "192.0.2.7", "nothing-to-delete"),
        Settle(ARRIVAL),
    ]


def test_a_delete_that_was_judged_already_deletes_nothing_more() -> None:
    """A classic delete is not idempotent: offered twice, it would take an older message too."""
    older = NewestMessage(MESSAGE, MessageState.RECEIVED, "192.0.2.7")
    assert inbox.delete_arrived(DELETE, older, seen=True) == [Settle(ARRIVAL)]


# --- deletes of our own --------------------------------------------------------------------------


def test_nothing_to_delete_changes_nothing() -> None:
    """Not even the request is remembered: it had no effect that could count twice."""
    assert inbox.delete_requested(NOW, Outbox(), REQUEST, None, seen=False) == [
        DeleteProgressed(CHANGE, BOB, DeleteOutcome.NOTHING)
    ]


def test_a_request_that_was_taken_already_is_not_taken_again() -> None:
    """Its delete waits in the outbox; a second one would delete an older message."""
    newest = NewestMessage(MESSAGE, MessageState.SENT, None)
    assert inbox.delete_requested(NOW, Outbox(), REQUEST, newest, seen=True) == [
        DeleteProgressed(CHANGE, BOB, DeleteOutcome.QUEUED)
    ]


def test_a_message_that_has_not_left_is_cancelled() -> None:
    """Nobody need be told: the item leaves the outbox, and the lane goes on."""
    outbox = Outbox()
    outbox.send(NOW, SendRequested(MESSAGE, BOB, "hi", None))  # asks the directory, no more
    newest = NewestMessage(MESSAGE, MessageState.QUEUED, None)
    assert inbox.delete_requested(NOW, outbox, REQUEST, newest, seen=False) == [
        *ERASED,
        SetMessageState(MESSAGE, MessageState.CANCELLED, "deleted"),
        MessageProgressed(MESSAGE, BOB, MessageState.CANCELLED, "deleted"),
        RemoveItem(MESSAGE),
        AskHead(BOB),
        DeleteProgressed(CHANGE, BOB, DeleteOutcome.CANCELLED),
    ]


@pytest.mark.parametrize("connected", [False, True])
def test_a_message_in_flight_is_not_cancelled(connected: bool) -> None:
    """A byte may leave or have left, so its delete follows it; if none leaves, it ends there."""
    outbox = Outbox()
    effects = outbox.send(NOW, SendRequested(MESSAGE, BOB, "hi", HERE))
    assert effects[-1] == Dial(MESSAGE, BOB, HERE)
    if connected:
        outbox.connected(Connected(MESSAGE, BOB))
    newest = NewestMessage(MESSAGE, MessageState.QUEUED, None)
    item = Item(CHANGE, BOB, ItemKind.DELETE, ItemState.QUEUED, NOW + EXPIRY_MS)
    assert inbox.delete_requested(NOW, outbox, REQUEST, newest, seen=False) == [
        *ERASED,
        StoreItem(item, None),
        DeleteProgressed(CHANGE, BOB, DeleteOutcome.QUEUED),
    ]
    failed = outbox.dial_failed(NOW, DialFailed(MESSAGE, BOB, "refused", 0))
    cancelled = SetMessageState(MESSAGE, MessageState.CANCELLED, "deleted")
    assert failed[:1] == ([] if connected else [cancelled])


def test_a_message_that_was_sent_is_deleted_on_both_sides() -> None:
    """Here now, there as soon as the peer is reached."""
    newest = NewestMessage(MESSAGE, MessageState.SENT, None)
    item = Item(CHANGE, BOB, ItemKind.DELETE, ItemState.QUEUED, NOW + EXPIRY_MS)
    assert inbox.delete_requested(NOW, Outbox(), REQUEST, newest, seen=False) == [
        *ERASED,
        StoreItem(item, None),
        Locate(BOB),
        DeleteProgressed(CHANGE, BOB, DeleteOutcome.QUEUED),
    ]


def test_a_message_behind_one_of_unknown_outcome_is_deleted_here_only() -> None:
    """The peer may have the newer one, and would delete that."""
    newest = NewestMessage(MESSAGE, MessageState.SENT, None, is_shadowed=True)
    assert inbox.delete_requested(NOW, Outbox(), REQUEST, newest, seen=False) == [
        *ERASED,
        DeleteProgressed(CHANGE, BOB, DeleteOutcome.LOCAL),
    ]


@pytest.mark.parametrize("state", [MessageState.FAILED, MessageState.EXPIRED])
def test_a_message_that_may_not_have_arrived_is_deleted_here_only(state: MessageState) -> None:
    """A classic delete means the newest message there, which may be an older one."""
    newest = NewestMessage(MESSAGE, state, None)
    assert inbox.delete_requested(NOW, Outbox(), REQUEST, newest, seen=False) == [
        *ERASED,
        DeleteProgressed(CHANGE, BOB, DeleteOutcome.LOCAL),
    ]
