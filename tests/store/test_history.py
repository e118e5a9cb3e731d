"""Conversations on disk: what is written comes back, in order, and deletes leave tombstones."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from netchat.delivery.inputs import NewestMessage, Whereabouts
from netchat.model import Address, DisplayText, Message, MessageId, MessageState, Name
from netchat.store.database import MEMORY, open_database
from netchat.store.history import History

BOB, CAROL = Name("Bob"), Name("carol")


def an_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(open_database(MEMORY)) as connection:
        yield connection


@pytest.fixture
def history(connection: sqlite3.Connection) -> History:
    return History(connection)


def texts(history: History, peer: Name) -> list[str | None]:
    return [message.text and message.text.raw for message in history.page(peer, 0, 100)]


# --- messages ------------------------------------------------------------------------------------


def test_an_own_message_comes_back_as_it_was_written(history: History) -> None:
    """Queued, outgoing, at its time."""
    history.add_own(an_id(1), BOB, "hi", 1_000)
    assert history.page(BOB, 0, 10) == [
        Message(
            position=1,
            message_id=an_id(1),
            peer=BOB,
            outgoing=True,
            text=DisplayText("hi"),
            state=MessageState.QUEUED,
            at_ms=1_000,
        )
    ]


def test_a_received_message_comes_back_as_it_came(history: History) -> None:
    """Received, not outgoing, with its source known to deletes."""
    history.add_received(an_id(1), BOB, DisplayText("hi"), "192.0.2.7", 1_000)
    (message,) = history.page(BOB, 0, 10)
    assert (message.outgoing, message.state) == (False, MessageState.RECEIVED)
    expected = NewestMessage(an_id(1), MessageState.RECEIVED, "192.0.2.7")
    assert history.newest(BOB, outgoing=False) == expected


@pytest.mark.parametrize(
    "text", ["", 'it\'s "quoted"', "a\0b", "\x1b[31mred", "日本語 🎉", "x" * 65_536, "�"]
)
def test_any_text_comes_back_exactly(history: History, text: str) -> None:
    """Nothing is cut at a NUL, quoted twice or recoded."""
    history.add_received(an_id(1), BOB, DisplayText(text), "192.0.2.7", 1_000)
    assert texts(history, BOB) == [text]


def test_the_peer_is_shown_as_it_was_first_seen(history: History) -> None:
    """`bob` and `Bob` are one person with one conversation."""
    history.add_own(an_id(1), BOB, "one", 1)
    history.add_received(an_id(2), Name("bOB"), DisplayText("two"), "192.0.2.7", 2)
    assert [str(message.peer) for message in history.page(Name("BOB"), 0, 10)] == ["Bob", "Bob"]


def test_a_state_and_its_reason_are_set(history: History) -> None:
    """Of that message only."""
    history.add_own(an_id(1), BOB, "one", 1)
    history.add_own(an_id(2), BOB, "two", 2)
    history.set_state(an_id(1), MessageState.FAILED, "reset")
    first, second = history.page(BOB, 0, 10)
    assert (first.state, first.reason) == (MessageState.FAILED, "reset")
    assert (second.state, second.reason) == (MessageState.QUEUED, None)
    assert history.state(an_id(1)) == (MessageState.FAILED, "reset")
    assert history.state(an_id(3)) is None


def test_a_message_is_stored_once(history: History) -> None:
    """The schema is the second guard behind the engine's own question."""
    history.add_own(an_id(1), BOB, "one", 1)
    with pytest.raises(sqlite3.IntegrityError):
        history.add_own(an_id(1), BOB, "one", 1)


# --- pages ---------------------------------------------------------------------------------------


def test_pages_follow_each_other_without_gap_or_overlap(history: History) -> None:
    """Oldest first, whatever else was stored between them."""
    for number in range(10):
        history.add_own(an_id(2 * number + 1), BOB, str(number), number)
        history.add_own(an_id(2 * number + 2), CAROL, "x", number)
    seen: list[str] = []
    after = 0
    while page := history.page(BOB, after, 3):
        assert len(page) <= 3
        seen += [str(message.text) for message in page]
        after = page[-1].position
    assert seen == [str(number) for number in range(10)]


def test_nobody_has_no_messages(history: History) -> None:
    """A conversation with a stranger is empty, not an error."""
    assert history.page(BOB, 0, 10) == []
    assert history.newest(BOB, outgoing=True) is None


# --- deletes -------------------------------------------------------------------------------------


def test_erase_removes_the_text_and_leaves_the_tombstone(
    history: History, connection: sqlite3.Connection
) -> None:
    """The row stays with its time; erasing again changes nothing."""
    history.add_own(an_id(1), BOB, "one", 1)
    history.add_own(an_id(2), BOB, "two", 2)
    history.erase(an_id(1), 3)
    history.erase(an_id(1), 4)
    assert texts(history, BOB) == [None, "two"]
    times = connection.execute("SELECT deleted_ms FROM message ORDER BY position").fetchall()
    assert times == [(3,), (None,)]


def test_newest_passes_over_tombstones_and_the_other_direction(history: History) -> None:
    """A classic delete means the newest message that is not deleted yet."""
    history.add_own(an_id(1), BOB, "one", 1)
    history.add_own(an_id(2), BOB, "two", 2)
    history.add_received(an_id(3), BOB, DisplayText("three"), "192.0.2.7", 3)
    history.add_own(an_id(4), CAROL, "four", 4)
    history.erase(an_id(2), 5)
    assert history.newest(BOB, outgoing=True) == NewestMessage(an_id(1), MessageState.QUEUED, None)


def test_newest_is_shadowed_by_a_newer_message_of_unknown_outcome(history: History) -> None:
    """The peer may have the newer one, and a classic delete would hit that."""
    history.add_own(an_id(1), BOB, "one", 1)
    history.add_own(an_id(2), BOB, "two", 2)
    history.set_state(an_id(2), MessageState.FAILED, "interrupted")
    newest = history.newest(BOB, outgoing=True)
    assert newest == NewestMessage(an_id(2), MessageState.FAILED, None, is_shadowed=False)
    history.erase(an_id(2), 3)
    newest = history.newest(BOB, outgoing=True)
    assert newest == NewestMessage(an_id(1), MessageState.QUEUED, None, is_shadowed=True)


def test_seen_knows_messages_and_changes_deleted_or_not(history: History) -> None:
    """Whatever is offered twice counts once, for ever."""
    history.add_own(an_id(1), BOB, "one", 1)
    history.add_own(an_id(2), BOB, "two", 2)
    history.erase(an_id(2), 3)
    history.add_change(an_id(3), BOB, an_id(2), 3)
    history.add_change(an_id(4), BOB, None, 3)
    assert [history.has_seen(an_id(number)) for number in range(1, 6)] == [True] * 4 + [False]


def test_a_change_is_stored_once(history: History) -> None:
    """The schema is the second guard behind the engine's own question."""
    history.add_change(an_id(3), BOB, an_id(1), 1)
    with pytest.raises(sqlite3.IntegrityError):
        history.add_change(an_id(3), BOB, an_id(1), 1)


# --- peers ---------------------------------------------------------------------------------------


def test_a_peer_is_known_from_the_first_message_or_address(history: History) -> None:
    """And not before."""
    assert not history.has_peer(BOB)
    history.add_own(an_id(1), BOB, "one", 1)
    history.set_address(CAROL, Address("192.0.2.7", 5_000), 1)
    assert history.has_peer(Name("BOB"))
    assert history.has_peer(CAROL)


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::1"])
def test_the_last_address_is_remembered(history: History, host: str) -> None:
    """With when it was told; a later one takes its place; of some peers none is known."""
    history.add_peer(BOB)
    assert history.last_seen_at(BOB) is None
    assert history.last_seen_at(CAROL) is None
    history.set_address(BOB, Address("192.0.2.1", 1), 1)
    history.set_address(BOB, Address(host, 5_000), 2)
    assert history.last_seen_at(BOB) == Whereabouts(Address(host, 5_000), 2)
