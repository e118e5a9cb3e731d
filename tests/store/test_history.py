"""Conversations on disk: what is written comes back, in the order that both sides have."""

import sqlite3
from collections.abc import Callable

import pytest
from tests.store.conftest import Rows
from tests.store.people import BOB, BOBS, CAROL, CAROLS, CLAIMED, an_id, own, text

from netchat.delivery.checked import NewestReceived, OwnMessage, Target
from netchat.model import (
    ClaimedName,
    Contact,
    DisplayText,
    Message,
    MessageId,
    MessageState,
    Name,
    PeerId,
)
from netchat.store.history import History
from netchat.store.outbox import OutboxTable
from netchat.store.peers import Peers

NOBODY_DELETED: frozenset[MessageId] = frozenset()
ANY_TEXT = ["", 'it\'s "quoted"', "a\0b", "\x1b[31mred", "日本語 🎉", "x" * 65_536, "�"]


@pytest.fixture
def history(connection: sqlite3.Connection) -> History:
    peers = Peers(connection)
    for contact in (BOB, CAROL, CLAIMED):
        peers.add(contact)
    return History(connection)


def received(history: History, *numbers: int, sender: PeerId = BOBS, peer: Name = BOB) -> None:
    history.add_received(peer, sender, [text(one) for one in numbers], NOBODY_DELETED, 1)


def page(history: History, peer: Contact = BOB) -> list[Message]:
    return list(history.page(peer, None, 100))


def texts(history: History, peer: Contact = BOB) -> list[str | None]:
    return [message.text and message.text.raw for message in page(history, peer)]


def steps(history: History, deed: Callable[[], bool]) -> int:
    """Return how many tens of instructions SQLite needed, so that no clock has to be asked."""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1

    history._connection.set_progress_handler(tick, 10)
    assert deed()
    history._connection.set_progress_handler(None, 10)
    return count


# --- messages ------------------------------------------------------------------------------------


def test_an_own_message_comes_back_as_it_was_written(history: History) -> None:
    """Queued, outgoing, at its time."""
    history.add_own(BOB, [own(1, "hi", hlc=77)], 1_000)
    assert page(history) == [
        Message(
            message_id=an_id(1),
            peer=BOB,
            outgoing=True,
            text=DisplayText("hi"),
            state=MessageState.QUEUED,
            hlc=77,
            at_ms=1_000,
        )
    ]


def test_a_received_message_comes_back_as_it_came(history: History) -> None:
    """Received, not outgoing, under the timestamp of its author."""
    history.add_received(BOB, BOBS, [text(1, "hi", hlc=77)], NOBODY_DELETED, 1_000)
    (message,) = page(history)
    assert (message.outgoing, message.state) == (False, MessageState.RECEIVED)
    assert (message.hlc, message.at_ms, message.text) == (77, 1_000, DisplayText("hi"))


def test_a_classic_message_stands_in_the_conversation_of_its_contact(history: History) -> None:
    """Who only claims a name has a conversation of its own."""
    history.add_classic(an_id(1), CLAIMED, DisplayText("it is me"), "192.0.2.7", 5, 1_000)
    (message,) = page(history, CLAIMED)
    assert (message.peer, message.text) == (ClaimedName(BOB), DisplayText("it is me"))
    assert page(history, BOB) == []


@pytest.mark.parametrize("words", ANY_TEXT)
def test_any_text_comes_back_exactly(history: History, words: str) -> None:
    """Nothing is cut at a NUL, quoted twice or recoded; whoever it is from."""
    history.add_own(BOB, [own(1, words)], 1)
    history.add_received(BOB, BOBS, [text(2, words)], NOBODY_DELETED, 1)
    history.add_classic(an_id(3), BOB, DisplayText(words), "192.0.2.7", 3, 1)
    assert texts(history) == [words] * 3


def test_the_peer_is_shown_as_it_was_first_seen(history: History) -> None:
    """`bob` and `Bob` are one person with one conversation."""
    history.add_own(Name("BOB"), [own(1)], 1)
    received(history, 2, peer=Name("bOB"))
    assert [str(message.peer) for message in page(history, Name("bob"))] == ["Bob", "Bob"]


def test_a_message_of_a_sender_is_stored_once(history: History) -> None:
    """The schema is the second guard behind the engine's own question."""
    received(history, 1)
    with pytest.raises(sqlite3.IntegrityError):
        received(history, 1)
    with pytest.raises(sqlite3.IntegrityError):
        received(history, 1, peer=CAROL)


def test_an_id_belongs_to_its_sender(history: History) -> None:
    """A stranger who reuses the id of a message, ours included, keeps nobody's away."""
    history.add_own(BOB, [own(1, "mine")], 1)
    history.add_received(BOB, BOBS, [text(1, "bob's")], NOBODY_DELETED, 1)
    history.add_received(CAROL, CAROLS, [text(1, "carol's")], NOBODY_DELETED, 1)
    assert sorted(filter(None, texts(history))) == ["bob's", "mine"]
    assert texts(history, CAROL) == ["carol's"]


# --- states --------------------------------------------------------------------------------------


def test_a_state_and_its_reason_are_set(history: History) -> None:
    """Of those messages only."""
    history.add_own(BOB, [own(1), own(2), own(3)], 1)
    history.set_states([an_id(1), an_id(3)], MessageState.FAILED, "reset", 9)
    assert [(one.state, one.reason, one.ended_ms) for one in page(history)] == [
        (MessageState.FAILED, "reset", 9),
        (MessageState.QUEUED, None, None),
        (MessageState.FAILED, "reset", 9),
    ]
    assert history.state(an_id(1)) == (MessageState.FAILED, "reset")
    assert history.state(an_id(4)) is None


def test_when_a_message_came_to_its_states_is_kept(history: History) -> None:
    """Each beside the others: stored, then delivered, then read."""
    history.add_own(BOB, [own(1)], 1)
    history.set_states([an_id(1)], MessageState.STORED, None, 2)
    history.set_states([an_id(1)], MessageState.DELIVERED, None, 3)
    assert history.mark_read(BOB, 1, 4) == [an_id(1)]
    (message,) = page(history)
    times = (message.stored_ms, message.delivered_ms, message.read_ms, message.ended_ms)
    assert times == (2, 3, 4, None)


def test_reading_is_looked_at_once_however_often_it_is_said(history: History) -> None:
    """By whatever clock: a peer that says so again and again costs next to nothing."""
    history.add_own(BOB, [own(1), own(2), own(3)], 1)
    history.set_states([an_id(1), an_id(3)], MessageState.DELIVERED, None, 3)
    assert history.mark_read(CAROL, 9, 4) == []
    assert history.mark_read(BOB, 2, 4) == [an_id(1)]
    assert history.mark_read(BOB, 2**63 - 1, 5) == [an_id(3)]
    history.set_states([an_id(2)], MessageState.DELIVERED, None, 6)
    before = steps(history, lambda: history.mark_read(BOB, 2**63 - 1, 7) == [])
    history.add_own(BOB, [own(number) for number in range(10, 500)], 8)
    assert history.mark_read(BOB, 2**63 - 1, 9) == []
    assert steps(history, lambda: history.mark_read(BOB, 2**63 - 1, 9) == []) < 2 * before


def test_what_is_delivered_behind_a_word_of_reading_waits_for_the_next(
    connection: sqlite3.Connection, history: History
) -> None:
    """It may overtake the confirmation of a message that came by mail."""
    Peers(connection).add(BOB)
    outbox = OutboxTable(connection)
    mine = [own(number) for number in range(1, 5)]
    history.add_own(BOB, mine, 1)
    outbox.add_own(BOB, mine, 99)
    outbox.void(BOB, 2)
    history.set_delivered(BOB, 4, 4, 2)
    assert history.mark_read(BOB, 4, 3) == [an_id(4)]
    history.set_delivered(BOB, 2, 3, 4)
    assert history.mark_read(BOB, 4, 5) == [an_id(3)]
    history.set_delivered(BOB, 1, 1, 6)
    assert history.mark_read(BOB, 4, 7) == [an_id(1)]
    assert history.mark_read(BOB, 4, 8) == []


def test_a_classic_delete_does_not_walk_over_what_was_deleted(history: History) -> None:
    """Anybody on the network can send such deletes, each for a connection."""
    for number in range(1, 400):
        history.add_classic(an_id(number), BOB, DisplayText("hi"), "192.0.2.7", number, number)
        if number > 2:
            history.erase(an_id(number), None, number)
    newest = NewestReceived(an_id(2), "192.0.2.7")
    assert steps(history, lambda: history.newest_classic(BOB) == newest) < 100


def test_a_message_of_a_peer_never_changes_its_state(history: History) -> None:
    """Though it has the id that a state is set for."""
    received(history, 1)
    history.set_states([an_id(1)], MessageState.FAILED, "reset", 9)
    assert page(history)[0].state is MessageState.RECEIVED
    assert history.state(an_id(1)) is None


def test_read_are_those_that_are_there_up_to_a_timestamp(history: History) -> None:
    """Not what is newer, still on its way, to somebody else, or of the peer itself."""
    history.add_own(BOB, [own(1), own(2), own(3), own(9)], 1)
    history.add_own(CAROL, [own(4, hlc=1)], 1)
    received(history, 5)
    delivered = [an_id(1), an_id(3), an_id(9), an_id(4)]
    history.set_states(delivered, MessageState.DELIVERED, None, 2)
    assert history.mark_read(BOB, 3, 5) == [an_id(1), an_id(3)]
    assert history.mark_read(BOB, 3, 6) == []
    assert history.state(an_id(2)) == (MessageState.QUEUED, None)


# --- pages ---------------------------------------------------------------------------------------


def test_pages_are_in_the_order_of_the_timestamps(history: History) -> None:
    """Whatever the order in which the messages came, and on both sides alike."""
    history.add_own(BOB, [own(1, "third", hlc=30)], 1)
    history.add_received(BOB, BOBS, [text(9, "first", hlc=10)], NOBODY_DELETED, 2)
    history.add_received(BOB, BOBS, [text(8, "second", hlc=20)], NOBODY_DELETED, 3)
    assert texts(history) == ["first", "second", "third"]


def test_the_id_decides_between_equal_timestamps(history: History) -> None:
    """So that two sides that wrote at once see the same order."""
    history.add_own(BOB, [own(5, "5", hlc=1), own(3, "3", hlc=1)], 1)
    history.add_received(BOB, BOBS, [text(4, "4", hlc=1)], NOBODY_DELETED, 1)
    assert texts(history) == ["3", "4", "5"]


def test_pages_follow_each_other_without_gap_or_overlap(history: History) -> None:
    """Behind the last one seen, though several have one timestamp, and others stand between."""
    for number in range(1, 11):
        history.add_own(BOB, [own(number, str(number), hlc=number // 4)], 1)
        history.add_own(CAROL, [own(100 + number)], 1)
    seen: list[str] = []
    after: tuple[int, MessageId] | None = None
    while found := history.page(BOB, after, 3):
        assert len(found) <= 3
        seen += [str(message.text) for message in found]
        after = (found[-1].hlc, found[-1].message_id)
    assert seen == [str(number) for number in range(1, 11)]


def test_nobody_has_no_messages(history: History) -> None:
    """A conversation with a stranger is empty, not an error."""
    assert page(history, Name("mallory")) == []
    assert history.newest_own(BOB) is None
    assert history.newest_classic(BOB) is None
    assert (history.newest_hlc(BOB), history.newest_from(BOB)) == (0, 0)


def test_the_newest_timestamps_of_a_conversation(history: History) -> None:
    """Of all that is in it, and of what its keyed peer wrote."""
    history.add_own(BOB, [own(9)], 1)
    received(history, 4, 6)
    history.add_classic(an_id(8), BOB, DisplayText("hi"), "192.0.2.7", 8, 1)
    assert history.newest_hlc(BOB) == 9
    assert history.newest_from(BOB) == 6


# --- deletes -------------------------------------------------------------------------------------


def test_erase_removes_the_text_and_leaves_the_tombstone(history: History, rows: Rows) -> None:
    """The row stays with its time; erasing again changes nothing."""
    history.add_own(BOB, [own(1, "one"), own(2, "two")], 1)
    history.erase(an_id(1), None, 3)
    history.erase(an_id(1), None, 4)
    assert texts(history) == [None, "two"]
    assert rows("SELECT text, deleted_ms FROM message ORDER BY hlc") == [(None, 3), ("two", None)]


def test_only_the_message_of_that_sender_is_erased(history: History) -> None:
    """Others may have given the same id to theirs."""
    history.add_own(BOB, [own(1, "mine")], 1)
    received(history, 1)
    history.erase(an_id(1), BOBS, 3)
    assert [(one.outgoing, one.text is None) for one in page(history)] == [
        (True, False),
        (False, True),
    ]


def test_a_text_that_is_kept_lies_under_its_tombstone(history: History, rows: Rows) -> None:
    """Deleted for every face; the owner of this disk chose to keep the words."""
    received(history, 1)
    history.erase(an_id(1), BOBS, 3, keep_text=True)
    (message,) = page(history)
    assert (message.text, message.deleted_ms) == (None, 3)
    assert rows("SELECT text FROM message") == [("hello",)]


def test_of_a_message_that_is_wiped_nothing_is_left(history: History) -> None:
    """Not even that there was one."""
    received(history, 1, 2)
    history.erase(an_id(1), BOBS, 3, wipe=True)
    assert [one.message_id for one in page(history)] == [an_id(2)]


def test_a_text_that_was_deleted_before_it_came_is_a_tombstone(history: History) -> None:
    """Its words never reach the disk."""
    items = [text(1, "gone"), text(2, "here")]
    history.add_received(BOB, BOBS, items, frozenset({an_id(1)}), 5)
    assert texts(history) == [None, "here"]
    assert [one.deleted_ms for one in page(history)] == [5, None]


def test_seen_knows_messages_and_changes_of_a_sender(history: History) -> None:
    """Deleted or not, and with what was answered: whatever is offered twice counts once."""
    received(history, 1, 2)
    history.erase(an_id(2), BOBS, 3)
    history.add_change(an_id(3), BOBS, BOB, an_id(2), "kept", 3)
    history.add_change(an_id(4), BOBS, BOB, an_id(9), "", 3)
    ids = [an_id(number) for number in range(1, 7)]
    assert history.seen(BOBS, ids) == {
        an_id(1): "",
        an_id(2): "",
        an_id(3): "kept",
        an_id(4): "",
    }
    assert history.seen(CAROLS, ids) == {}
    assert history.seen(None, ids) == {}


def test_seen_knows_what_we_wrote_and_changed(history: History) -> None:
    """None stands for us, and for classic senders."""
    history.add_own(BOB, [own(1)], 1)
    history.add_change(an_id(2), None, BOB, None, None, 1)
    assert history.seen(None, [an_id(1), an_id(2), an_id(3)]) == {an_id(1): "", an_id(2): ""}
    assert history.seen(None, []) == {}


def test_a_change_of_a_sender_is_stored_once(history: History) -> None:
    """The schema is the second guard behind the engine's own question."""
    history.add_change(an_id(3), BOBS, BOB, an_id(1), "", 1)
    history.add_change(an_id(3), CAROLS, CAROL, an_id(1), "", 1)
    with pytest.raises(sqlite3.IntegrityError):
        history.add_change(an_id(3), BOBS, BOB, an_id(1), "", 1)


def test_what_the_peer_did_about_a_delete_of_ours_is_kept(history: History, rows: Rows) -> None:
    """Of ours, not of one of its own under that id."""
    history.add_change(an_id(3), None, BOB, an_id(1), None, 1)
    history.add_change(an_id(3), BOBS, BOB, an_id(1), "", 1)
    history.set_result(an_id(3), "applied")
    query = "SELECT length(sender), result FROM change ORDER BY 1"
    assert rows(query) == [(0, "applied"), (32, "")]


def test_deletes_that_wait_for_their_message(history: History) -> None:
    """Only its own author can have deleted a message before it came."""
    history.add_change(an_id(3), BOBS, BOB, an_id(1), "", 1)
    assert history.deleted_before(BOBS, [an_id(1), an_id(2)]) == {an_id(1)}
    assert history.deleted_before(CAROLS, [an_id(1)]) == frozenset()


def test_orphans_are_forgotten_in_time(history: History, rows: Rows) -> None:
    """Old ones only, and neither ours nor those that have found their message."""
    received(history, 1)
    for number, sender, target, at_ms in (
        (11, BOBS, 1, 10),
        (12, BOBS, 2, 10),
        (13, BOBS, 3, 20),
        (14, None, 4, 10),
        (15, CAROLS, 1, 10),
    ):
        history.add_change(an_id(number), sender, BOB, an_id(target), "", at_ms)
    history.drop_orphans(15)
    left = [an_id(number).value for number in (11, 13, 14)]
    assert rows("SELECT change_id FROM change ORDER BY change_id") == [(one,) for one in left]


def test_targets_are_messages_that_this_sender_wrote(history: History) -> None:
    """A delete of anybody else's, ours too, means nothing."""
    history.add_own(BOB, [own(1)], 1)
    received(history, 2, 3)
    received(history, 4, sender=CAROLS, peer=CAROL)
    history.erase(an_id(3), BOBS, 9)
    assert history.targets(BOBS, [an_id(number) for number in range(1, 6)]) == {
        an_id(2): Target(an_id(2), 1, is_deleted=False),
        an_id(3): Target(an_id(3), 1, is_deleted=True),
    }


# --- the newest ----------------------------------------------------------------------------------


def test_the_newest_own_message_that_is_not_deleted(history: History) -> None:
    """By its timestamp; the other direction and other people do not count."""
    history.add_own(BOB, [own(1, hlc=30), own(2, hlc=20)], 1)
    history.add_own(CAROL, [own(3, hlc=99)], 1)
    received(history, 98)
    assert history.newest_own(BOB) == OwnMessage(an_id(1), BOB, 1, MessageState.QUEUED)
    history.erase(an_id(1), None, 5)
    assert history.newest_own(BOB) == OwnMessage(an_id(2), BOB, 2, MessageState.QUEUED)


def test_an_own_message_knows_whether_it_is_the_newest(history: History) -> None:
    """A classic delete names none, so it may mean an older one only by mistake."""
    history.add_own(BOB, [own(1), own(2)], 1)
    first = OwnMessage(an_id(1), BOB, 1, MessageState.QUEUED, is_newest=False)
    assert history.own(an_id(1)) == first
    history.erase(an_id(2), None, 5)
    assert history.own(an_id(1)) == OwnMessage(an_id(1), BOB, 1, MessageState.QUEUED)
    assert history.own(an_id(2)) is None
    assert history.own(an_id(3)) is None


@pytest.mark.parametrize("is_erased", [False, True])
def test_a_message_is_shadowed_by_a_newer_one_of_unknown_outcome(
    history: History, is_erased: bool
) -> None:
    """The peer may have that one, and a classic delete would hit it, deleted here or not."""
    history.add_own(BOB, [own(1), own(2)], 1)
    history.set_states([an_id(2)], MessageState.FAILED, "interrupted", 2)
    if is_erased:
        history.erase(an_id(2), None, 3)
    found = history.own(an_id(1))
    assert found is not None
    assert (found.is_newest, found.is_shadowed) == (False, True)


def test_the_newest_classic_message_under_a_name(history: History) -> None:
    """With where it came from; what came over a link is never meant by a classic delete."""
    history.add_classic(an_id(1), BOB, DisplayText("one"), "192.0.2.7", 1, 1)
    history.add_classic(an_id(2), BOB, DisplayText("two"), "192.0.2.8", 2, 1)
    history.add_classic(an_id(3), CLAIMED, DisplayText("three"), "192.0.2.9", 3, 1)
    received(history, 4)
    assert history.newest_classic(BOB) == NewestReceived(an_id(2), "192.0.2.8")
    history.erase(an_id(2), None, 5)
    assert history.newest_classic(BOB) == NewestReceived(an_id(1), "192.0.2.7")
    assert history.newest_classic(CLAIMED) == NewestReceived(an_id(3), "192.0.2.9")
