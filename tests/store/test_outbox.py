"""The outbox on disk: by its number for each peer, and gone when it is done."""

import sqlite3

import pytest
from tests.store.conftest import Rows
from tests.store.people import BOB, BOBS, CAROL, an_id, delete, own, text

from netchat.delivery.checked import Entry
from netchat.delivery.inputs import ItemState
from netchat.model import DisplayText, Item, ItemKind, MessageState, Name
from netchat.store.history import History
from netchat.store.outbox import OutboxTable, size_of
from netchat.store.peers import Peers

ALL = 2**31


@pytest.fixture
def history(connection: sqlite3.Connection) -> History:
    peers = Peers(connection)
    peers.add(BOB)
    peers.add(CAROL)
    return History(connection)


@pytest.fixture
def outbox(connection: sqlite3.Connection, history: History) -> OutboxTable:
    return OutboxTable(connection)


def entry(number: int, peer: Name = BOB, state: ItemState = ItemState.QUEUED) -> Entry:
    """An item with the text that `own` gives."""
    return Entry(an_id(number), peer, number, ItemKind.TEXT, state, 1_000, text_bytes=2)


def add(outbox: OutboxTable, *numbers: int, peer: Name = BOB, expires_ms: int = 1_000) -> None:
    outbox.add_own(peer, [own(number) for number in numbers], expires_ms)


def numbers(outbox: OutboxTable, peer: Name = BOB) -> list[int]:
    return [item.seq for item in outbox.items(peer, 0, ALL, ALL)]


# --- in and out ----------------------------------------------------------------------------------


def test_an_item_comes_back_as_it_was_added(outbox: OutboxTable) -> None:
    """A text, a delete, and word of what was read."""
    read = Item(3, ItemKind.READ, an_id(3), 77)
    add(outbox, 1)
    outbox.add(BOB, delete(2, target=9), 1_000)
    outbox.add(BOB, read, 1_000)
    assert outbox.items(Name("BOB"), 0, ALL, ALL) == [text(1, "hi"), delete(2, target=9), read]
    assert [outbox.text(BOB, number) for number in (1, 2, 4)] == ["hi", None, None]


def test_the_head_is_the_lowest_number_of_the_peer(outbox: OutboxTable) -> None:
    """In the order of their numbers, whatever their ids and the order of their coming are."""
    outbox.add_own(BOB, [own(1, seq=7), own(9, seq=6), own(4, seq=8)], 1_000)
    order = []
    while (head := outbox.head(BOB)) is not None:
        order.append(head.item_id)
        outbox.remove(BOB, head.seq)
    assert order == [an_id(9), an_id(1), an_id(4)]


def test_heads_are_one_for_each_peer_that_has_any(outbox: OutboxTable) -> None:
    """What a new process has to take up."""
    assert outbox.heads() == []
    add(outbox, 1, 3, peer=CAROL)
    add(outbox, 2, 4)
    assert outbox.heads() == [entry(2), entry(1, CAROL)]


def test_a_number_is_used_once_for_a_peer(outbox: OutboxTable) -> None:
    """The schema is the second guard behind the engine's own counting."""
    add(outbox, 1)
    add(outbox, 1, peer=CAROL)
    with pytest.raises(sqlite3.IntegrityError):
        add(outbox, 1)


def test_what_is_not_there_is_nothing(outbox: OutboxTable) -> None:
    """No item, no text, no base; removing it again is no error."""
    assert outbox.head(BOB) is None
    assert outbox.base(BOB) is None
    assert outbox.text(BOB, 1) is None
    outbox.remove(BOB, 1)
    assert outbox.take(BOB, 1, 100) == []
    assert outbox.store(BOB, 1, 100, 5) == []


def test_the_base_is_the_lowest_number_that_waits(outbox: OutboxTable) -> None:
    """A peer may know by it what it need not wait for."""
    add(outbox, 3, 4, 5)
    assert outbox.base(BOB) == 3
    outbox.take(BOB, 3, 4)
    assert outbox.base(BOB) == 5


def test_a_state_is_set_on_that_item_alone(outbox: OutboxTable) -> None:
    """The one whose bytes may leave now."""
    add(outbox, 1)
    add(outbox, 1, peer=CAROL)
    outbox.set_state(BOB, 1, ItemState.HANDING)
    assert [head.state for head in outbox.heads()] == [ItemState.HANDING, ItemState.QUEUED]


def test_of_a_void_item_only_its_number_is_left(outbox: OutboxTable, rows: Rows) -> None:
    """It must not become a hole, and nothing of its text may leave."""
    add(outbox, 1)
    outbox.add(BOB, delete(2, target=9), 1_000)
    outbox.void(BOB, 1)
    outbox.void(BOB, 2)
    assert rows("SELECT seq, kind, text, target FROM outbox") == [
        (1, "void", None, None),
        (2, "void", None, None),
    ]


# --- what goes -----------------------------------------------------------------------------------


def test_items_come_behind_a_number_and_no_more_than_wanted(outbox: OutboxTable) -> None:
    """In order, of that peer."""
    add(outbox, 1, 2, 4, 5)
    add(outbox, 3, peer=CAROL)
    assert [item.seq for item in outbox.items(BOB, 1, 2, ALL)] == [2, 4]
    assert [item.seq for item in outbox.items(BOB, 5, 2, ALL)] == []
    assert numbers(outbox, CAROL) == [3]


def test_items_are_bounded_in_bytes_but_one_always_goes(outbox: OutboxTable) -> None:
    """A long text must not wait for ever for a window that is wide enough."""
    rows = [own(number, "x" * 100) for number in (1, 2, 3)]
    outbox.add_own(BOB, rows, 1_000)
    assert [item.seq for item in outbox.items(BOB, 0, ALL, 328)] == [1, 2]
    assert [item.seq for item in outbox.items(BOB, 0, ALL, 1)] == [1]


def test_the_size_of_items_is_counted_as_it_bounds_them(outbox: OutboxTable) -> None:
    """So that a window that was filled is full."""
    outbox.add_own(BOB, [own(1, "x" * 100)], 1_000)
    outbox.add(BOB, delete(2, target=1), 1_000)
    items = outbox.items(BOB, 0, ALL, ALL)
    assert size_of(items) == 164 + 64
    assert len(outbox.items(BOB, 0, ALL, size_of(items))) == 2
    assert len(outbox.items(BOB, 0, ALL, size_of(items) - 1)) == 1


def test_unstored_is_what_lies_in_no_mailbox_or_only_until_now(outbox: OutboxTable) -> None:
    """What is in flight to a classic peer does not go by mail, either."""
    add(outbox, 1, 2, 3, 4)
    assert outbox.store(BOB, 1, 2, 500) == [(ItemKind.TEXT, an_id(1)), (ItemKind.TEXT, an_id(2))]
    outbox.set_state(BOB, 3, ItemState.HANDING)
    assert [item.seq for item in outbox.unstored(BOB, 499, ALL, ALL)] == [4]
    assert [item.seq for item in outbox.unstored(BOB, 500, ALL, ALL)] == [1, 2, 4]
    assert [item.seq for item in outbox.unstored(BOB, 500, 2, ALL)] == [1, 2]


def test_what_is_stored_is_told_by_its_kind(outbox: OutboxTable) -> None:
    """Whoever waits for a delete hears that it lies in the mailbox, too."""
    add(outbox, 1, 3)
    outbox.add(BOB, delete(2, target=1), 1_000)
    kinds = [kind for kind, _ in outbox.store(BOB, 1, 3, 500)]
    assert kinds == [ItemKind.TEXT, ItemKind.DELETE, ItemKind.TEXT]
    assert outbox.unstored(BOB, 0, ALL, ALL) == []


def test_take_removes_a_range_and_says_what_it_was(outbox: OutboxTable) -> None:
    """Both ends included, of that peer."""
    add(outbox, 1, 2, 4)
    outbox.add(BOB, delete(3, target=1), 1_000)
    add(outbox, 2, peer=CAROL)
    assert outbox.take(BOB, 2, 3) == [
        (2, ItemKind.TEXT, an_id(2)),
        (3, ItemKind.DELETE, an_id(3)),
    ]
    assert numbers(outbox) == [1, 4]
    assert numbers(outbox, CAROL) == [2]


def test_what_is_past_its_time_is_taken_unless_it_is_being_handed_over(outbox: OutboxTable) -> None:
    """Only its connection knows how that one ends."""
    add(outbox, 1, expires_ms=10)
    add(outbox, 2, expires_ms=10)
    add(outbox, 3, expires_ms=11)
    add(outbox, 4, peer=CAROL, expires_ms=10)
    outbox.set_state(BOB, 1, ItemState.HANDING)
    assert outbox.take_expired(BOB, 10) == [(2, ItemKind.TEXT, an_id(2))]
    assert [outbox.base(BOB), *numbers(outbox)] == [1, 3]


def test_the_numbers_of_items_that_are_confirmed_by_their_ids(outbox: OutboxTable) -> None:
    """In order; what is not waiting for that peer has none."""
    outbox.add_own(BOB, [own(9, seq=1), own(8, seq=2)], 1_000)
    add(outbox, 3, peer=CAROL)
    ids = [an_id(number) for number in (8, 9, 3, 77)]
    assert outbox.numbers_of(BOB, ids) == [(1, an_id(9)), (2, an_id(8))]
    assert outbox.numbers_of(BOB, []) == []


# --- what the head knows of its message ----------------------------------------------------------


@pytest.mark.parametrize("state", [MessageState.SENT, MessageState.FAILED])
def test_a_delete_knows_what_became_of_its_message(
    outbox: OutboxTable, history: History, state: MessageState
) -> None:
    """Whether it may be told to the peer depends on it, though the text is gone by then."""
    history.add_own(BOB, [own(1)], 1)
    history.erase(an_id(1), None, 2)
    history.set_states([an_id(1)], state, None, 3)
    outbox.add(BOB, delete(2, target=1), 1_000)
    (head,) = outbox.heads()
    assert (head.target_state, head.is_erased) == (state, False)
    assert outbox.head(BOB) == head


def test_a_text_knows_that_its_message_was_deleted(outbox: OutboxTable, history: History) -> None:
    """If it has not left by then, it need not leave at all; the copy stays for when it has."""
    history.add_own(BOB, [own(1)], 1)
    add(outbox, 1)
    assert outbox.head(BOB) == entry(1)
    history.erase(an_id(1), None, 2)
    (head,) = outbox.heads()
    assert head.is_erased
    assert outbox.text(BOB, 1) == "hi"


def test_a_message_of_a_peer_with_that_id_says_nothing_about_ours(
    outbox: OutboxTable, history: History
) -> None:
    """A peer that deletes its own must not cancel ours."""

    history.add_received(BOB, BOBS, [text(1)], frozenset({an_id(1)}), 2)
    add(outbox, 1)
    assert outbox.head(BOB) == entry(1)


# --- debts ---------------------------------------------------------------------------------------


def test_debts_are_kept_until_they_are_dropped(outbox: OutboxTable) -> None:
    """Each once, with the newest answer; for each peer its own."""
    outbox.owe(BOB, [(an_id(1), ""), (an_id(2), "kept")])
    outbox.owe(BOB, [(an_id(1), "refused")])
    outbox.owe(CAROL, [(an_id(1), "")])
    assert set(outbox.owed(BOB, ALL)) == {(an_id(1), "refused"), (an_id(2), "kept")}
    assert len(outbox.owed(BOB, 1)) == 1
    assert set(outbox.debtors()) == {BOB, CAROL}
    outbox.drop_owed(BOB, [an_id(1), an_id(2), an_id(3)])
    assert outbox.owed(BOB, ALL) == []
    assert outbox.debtors() == [CAROL]


def test_an_item_shows_safely_what_it_carries(outbox: OutboxTable) -> None:
    """The text goes to the peer as it was typed."""
    outbox.add_own(BOB, [own(1, "\x1b[31mred")], 1_000)
    (item,) = outbox.items(BOB, 0, ALL, ALL)
    assert item.text == DisplayText("\x1b[31mred")
