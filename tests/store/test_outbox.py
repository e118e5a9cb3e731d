"""The outbox on disk: first in, first out for each peer, and gone when it is done."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from netchat.delivery.inputs import Item, ItemKind, ItemState
from netchat.model import MessageId, MessageState, Name
from netchat.store.database import MEMORY, open_database
from netchat.store.history import History
from netchat.store.outbox import OutboxTable

BOB, CAROL = Name("Bob"), Name("carol")


def an_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def item(number: int, peer: Name = BOB, kind: ItemKind = ItemKind.TEXT) -> Item:
    return Item(an_id(number), peer, kind, ItemState.QUEUED, 1_000 + number)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(open_database(MEMORY)) as connection:
        yield connection


@pytest.fixture
def history(connection: sqlite3.Connection) -> History:
    history = History(connection)
    history.add_peer(BOB)
    history.add_peer(CAROL)
    return history


@pytest.fixture
def outbox(connection: sqlite3.Connection, history: History) -> OutboxTable:
    return OutboxTable(connection)


def test_an_item_comes_back_as_it_was_added(outbox: OutboxTable) -> None:
    """With its text, which a delete does not have."""
    outbox.add(item(1), "hi")
    outbox.add(item(2, CAROL, ItemKind.DELETE), None)
    assert outbox.head(BOB) == item(1)
    assert outbox.text(an_id(1)) == "hi"
    assert outbox.head(CAROL) == item(2, CAROL, ItemKind.DELETE)
    assert outbox.text(an_id(2)) is None


def test_the_head_is_the_oldest_item_of_the_peer(outbox: OutboxTable) -> None:
    """In the order in which they were added, whatever their ids are."""
    for number in (5, 3, 4):
        outbox.add(item(number), "hi")
    order = []
    while (head := outbox.head(Name("BOB"))) is not None:
        order.append(head.item_id)
        outbox.remove(head.item_id)
    assert order == [an_id(5), an_id(3), an_id(4)]


def test_heads_are_one_for_each_peer_that_has_any(outbox: OutboxTable) -> None:
    """What a new process has to take up."""
    assert outbox.heads() == []
    for number, peer in ((1, CAROL), (2, BOB), (3, CAROL), (4, BOB)):
        outbox.add(item(number, peer), "hi")
    assert outbox.heads() == [item(1, CAROL), item(2, BOB)]


def test_a_state_is_set_on_that_item_alone(outbox: OutboxTable) -> None:
    """The one whose bytes may leave now."""
    outbox.add(item(1), "hi")
    outbox.add(item(2, CAROL), "hi")
    outbox.set_state(an_id(1), ItemState.HANDING)
    assert [head.state for head in outbox.heads()] == [ItemState.HANDING, ItemState.QUEUED]


def test_what_is_not_there_is_nothing(outbox: OutboxTable) -> None:
    """No item, no text; removing it again is no error."""
    assert outbox.head(BOB) is None
    assert outbox.text(an_id(1)) is None
    outbox.remove(an_id(1))


def test_an_item_is_added_once(outbox: OutboxTable) -> None:
    """The schema is the second guard behind the engine's own question."""
    outbox.add(item(1), "hi")
    with pytest.raises(sqlite3.IntegrityError):
        outbox.add(item(1), "hi")


@pytest.mark.parametrize("state", [MessageState.SENT, MessageState.FAILED])
def test_a_delete_knows_what_became_of_its_message(
    outbox: OutboxTable, history: History, state: MessageState
) -> None:
    """Whether it may be told to the peer depends on it, though the text is gone by then."""
    history.add_own(an_id(1), BOB, "hi", 1)
    history.add_change(an_id(2), BOB, an_id(1), 2)
    history.erase(an_id(1), 2)
    outbox.add(item(2, BOB, ItemKind.DELETE), None)
    history.set_state(an_id(1), state, None)
    (head,) = outbox.heads()
    assert head.target_state is state
    assert outbox.head(BOB) == head


def test_a_text_knows_that_its_message_was_deleted(outbox: OutboxTable, history: History) -> None:
    """If it has not left by then, it need not leave at all."""
    history.add_own(an_id(1), BOB, "hi", 1)
    outbox.add(item(1), "hi")
    assert outbox.head(BOB) == item(1)
    history.erase(an_id(1), 2)
    (head,) = outbox.heads()
    assert head.is_erased
    assert outbox.text(an_id(1)) == "hi"


def test_positions_are_never_used_again(
    outbox: OutboxTable, connection: sqlite3.Connection
) -> None:
    """Removing the last item and adding another must not bring it before an older one."""
    outbox.add(item(1), "hi")
    outbox.remove(an_id(1))
    outbox.add(item(2), "hi")
    assert connection.execute("SELECT position FROM outbox").fetchall() == [(2,)]
