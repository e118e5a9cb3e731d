"""Engine and store in one commit: nothing is done outside before it, and nothing twice after it."""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from netchat.delivery.effects import (
    Abandon,
    DeleteIgnored,
    DeleteProgressed,
    Dial,
    HandOver,
    Locate,
    MessageAccepted,
    MessageArrived,
    MessageProgressed,
    PeerDeleted,
    PeerPostponed,
    SetTimer,
    Settle,
)
from netchat.delivery.inputs import (
    Connected,
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    Handed,
    HandOverBroke,
    Input,
    ItemKind,
    Located,
    SendRequested,
    TextArrived,
    TimerFired,
)
from netchat.errors import StoreUnavailable
from netchat.limits import BATCH_INPUTS_MAX, RETRY_MS_MIN
from netchat.model import Address, DeleteOutcome, DisplayText, MessageId, MessageState, Name
from netchat.node.pump import Batch, Pump
from netchat.store.database import open_database

BOB, CAROL = Name("bob"), Name("carol")
HERE = Address("192.0.2.7", 54321)
NOW = 1_000_000
RETRY = NOW + RETRY_MS_MIN

LOST, ANSWER_LOST = "lost", "answer lost"
"""How a commit fails: nothing is on disk; or all of it is, and the caller is told otherwise."""


class Commits:
    """How transactions end: as planned in ``fates``, and well when nothing is planned."""

    def __init__(self) -> None:
        self.fates: deque[str] = deque()
        self.count = 0

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.count += 1
        fate = self.fates.popleft() if self.fates else None
        if fate == LOST:
            raise sqlite3.OperationalError("database or disk is full")
        connection.commit()
        if fate == ANSWER_LOST:
            raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(path)) as connection:
        yield connection


@pytest.fixture
def commits() -> Commits:
    return Commits()


@pytest.fixture
def pump(connection: sqlite3.Connection, commits: Commits) -> Pump:
    pump = Pump(connection, commits)
    assert pump.start(NOW) == []
    commits.count = 0
    return pump


Rows = Callable[[str], list[tuple[object, ...]]]


@pytest.fixture
def on_disk(path: Path) -> Iterator[Rows]:
    """Ask the file as another process sees it: only what is committed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        yield lambda query: other.execute(query).fetchall()


MESSAGES = "SELECT text, state, reason FROM message ORDER BY position"
OUTBOX = "SELECT kind, state FROM outbox ORDER BY position"


def an_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def send(
    number: int, peer: Name = BOB, address: Address | None = HERE, text: str | None = None
) -> SendRequested:
    return SendRequested(an_id(number), peer, text or f"text {number}", address)


def text_from_bob(number: int) -> TextArrived:
    return TextArrived(an_id(number), BOB, DisplayText(f"text {number}"), "192.0.2.7")


def handed_over(pump: Pump, number: int) -> None:
    """Bring a message up to the point where its bytes leave."""
    pump.step_batch(NOW, [send(number)])
    batch = pump.step_batch(NOW, [Connected(an_id(number), BOB)])
    assert batch.effects == [HandOver(an_id(number), BOB, ItemKind.TEXT, f"text {number}")]


# --- commit, then act ----------------------------------------------------------------------------


def test_what_is_told_to_act_is_on_disk_already(pump: Pump, on_disk: Rows) -> None:
    """Seen from another process at the moment when the effects are returned."""
    batch = pump.step_batch(NOW, [send(1)])
    assert batch == Batch([MessageAccepted(an_id(1)), Dial(an_id(1), BOB, HERE)])
    assert on_disk(MESSAGES) == [("text 1", "queued", None)]
    assert on_disk(OUTBOX) == [("text", "queued")]


def test_bytes_leave_after_the_disk_says_so(pump: Pump, on_disk: Rows) -> None:
    """HANDING is committed when the HandOver comes out; it brings the text from the store."""
    handed_over(pump, 1)
    assert on_disk(OUTBOX) == [("text", "handing")]


def test_the_whole_way_of_a_message(pump: Pump, on_disk: Rows) -> None:
    """The item goes when the message is sent; the address is kept for the next time."""
    handed_over(pump, 1)
    batch = pump.step_batch(NOW, [Handed(an_id(1), BOB)])
    assert batch.effects == [MessageProgressed(an_id(1), BOB, MessageState.SENT)]
    assert on_disk(MESSAGES) == [("text 1", "sent", None)]
    assert on_disk(OUTBOX) == []
    assert on_disk("SELECT address FROM peer") == [(str(HERE),)]


def test_the_next_item_follows_in_the_same_step(pump: Pump) -> None:
    """The engine's question for the head of the lane is answered inside the transaction."""
    handed_over(pump, 1)
    assert pump.step_batch(NOW, [send(2)]).effects == [MessageAccepted(an_id(2))]
    batch = pump.step_batch(NOW, [Handed(an_id(1), BOB)])
    assert batch.effects[-1] == Dial(an_id(2), BOB, HERE)


def test_effects_keep_the_order_of_the_inputs(pump: Pump) -> None:
    """Also around answers to questions."""
    batch = pump.step_batch(NOW, [text_from_bob(1), send(2), text_from_bob(3)])
    assert batch.effects == [
        MessageArrived(an_id(1), BOB, DisplayText("text 1")),
        Settle(an_id(1)),
        MessageAccepted(an_id(2)),
        Dial(an_id(2), BOB, HERE),
        MessageArrived(an_id(3), BOB, DisplayText("text 3")),
        Settle(an_id(3)),
    ]


def test_a_batch_is_one_commit(pump: Pump, commits: Commits, on_disk: Rows) -> None:
    """However many inputs have come meanwhile: that is what makes many messages fast."""
    events = [text_from_bob(number) for number in range(BATCH_INPUTS_MAX)]
    batch = pump.step_batch(NOW, events)
    assert commits.count == 1
    assert len(batch.effects) == 2 * BATCH_INPUTS_MAX
    assert on_disk("SELECT count(*) FROM message") == [(BATCH_INPUTS_MAX,)]


def test_a_message_that_is_erased_in_flight_is_handed_over_whole(pump: Pump, on_disk: Rows) -> None:
    """Its text is gone from the history, its copy in the outbox is not; the delete follows it."""
    pump.step_batch(NOW, [send(1)])
    batch = pump.step_batch(NOW, [DeleteRequested(an_id(2), BOB)])
    assert batch.effects == [DeleteProgressed(an_id(2), BOB, DeleteOutcome.QUEUED)]
    assert on_disk(MESSAGES) == [(None, "queued", None)]
    batch = pump.step_batch(NOW, [Connected(an_id(1), BOB)])
    assert batch.effects == [HandOver(an_id(1), BOB, ItemKind.TEXT, "text 1")]
    pump.step_batch(NOW, [Handed(an_id(1), BOB)])
    batch = pump.step_batch(NOW, [Connected(an_id(2), BOB)])
    assert batch.effects == [HandOver(an_id(2), BOB, ItemKind.DELETE, None)]
    batch = pump.step_batch(NOW, [Handed(an_id(2), BOB)])
    assert batch.effects == [DeleteProgressed(an_id(2), BOB, DeleteOutcome.SENT)]


def test_a_delete_behind_a_message_that_broke_is_not_told(pump: Pump, on_disk: Rows) -> None:
    """The peer may not have that message, and would delete an older one."""
    handed_over(pump, 1)
    pump.step_batch(NOW, [DeleteRequested(an_id(2), BOB)])
    batch = pump.step_batch(NOW, [HandOverBroke(an_id(1), BOB, "reset")])
    assert batch.effects == [
        MessageProgressed(an_id(1), BOB, MessageState.FAILED, "reset"),
        DeleteProgressed(an_id(2), BOB, DeleteOutcome.LOCAL),
    ]
    assert on_disk(OUTBOX) == []


def test_a_message_that_has_not_left_is_cancelled(pump: Pump, on_disk: Rows) -> None:
    """Nothing of it stays in the outbox."""
    pump.step_batch(NOW, [send(1, address=None)])
    batch = pump.step_batch(NOW, [DeleteRequested(an_id(2), BOB)])
    assert batch.effects == [
        MessageProgressed(an_id(1), BOB, MessageState.CANCELLED, "deleted"),
        DeleteProgressed(an_id(2), BOB, DeleteOutcome.CANCELLED),
    ]
    assert on_disk(MESSAGES) == [(None, "cancelled", "deleted")]
    assert on_disk(OUTBOX) == []


def test_a_delete_of_the_peer_takes_its_newest_message(pump: Pump, on_disk: Rows) -> None:
    """From where it came from; from elsewhere, and when nothing is left, it is ignored."""
    pump.step_batch(NOW, [text_from_bob(1), text_from_bob(2)])
    batch = pump.step_batch(NOW, [DeleteArrived(an_id(3), BOB, "192.0.2.7")])
    assert batch.effects == [PeerDeleted(an_id(2), BOB), Settle(an_id(3))]
    batch = pump.step_batch(NOW, [DeleteArrived(an_id(4), BOB, "192.0.2.8")])
    assert batch.effects[0] == DeleteIgnored(BOB, "192.0.2.8", "other-source")
    batch = pump.step_batch(NOW, [DeleteArrived(an_id(5), CAROL, "192.0.2.8")])
    assert batch.effects[0] == DeleteIgnored(CAROL, "192.0.2.8", "nothing-to-delete")
    assert on_disk(MESSAGES) == [("text 1", "received", None), (None, "received", None)]


def test_reports_of_nobody_change_nothing(pump: Pump, on_disk: Rows) -> None:
    """A connection that nobody waits for is closed."""
    events: list[Input] = [Handed(an_id(9), BOB), Connected(an_id(9), BOB), TimerFired(BOB, 0)]
    assert pump.step_batch(NOW, events) == Batch([Abandon(an_id(9))])
    assert on_disk(OUTBOX) == []


# --- commits that fail ---------------------------------------------------------------------------


def test_a_commit_that_fails_lets_nothing_out(pump: Pump, commits: Commits, on_disk: Rows) -> None:
    """Nothing is on disk, nothing is done, and whoever asked is told."""
    commits.fates.extend([LOST, LOST])
    batch = pump.step_batch(NOW, [send(1)])
    assert batch.effects == []
    (refused,) = batch.refused
    assert refused.event == send(1)
    assert isinstance(refused.error, StoreUnavailable)
    assert on_disk(MESSAGES) == []


def test_a_batch_whose_commit_fails_is_done_one_by_one(
    pump: Pump, commits: Commits, on_disk: Rows
) -> None:
    """Each input then has a commit of its own, and its effects come out once."""
    commits.fates.append(LOST)
    batch = pump.step_batch(NOW, [text_from_bob(1), send(2)])
    assert commits.count == 3
    assert batch.refused == []
    assert batch.effects == [
        MessageArrived(an_id(1), BOB, DisplayText("text 1")),
        Settle(an_id(1)),
        MessageAccepted(an_id(2)),
        Dial(an_id(2), BOB, HERE),
    ]
    assert on_disk(MESSAGES) == [("text 1", "received", None), ("text 2", "queued", None)]


def test_an_input_that_the_disk_cannot_take_is_refused_alone(
    pump: Pump, connection: sqlite3.Connection, on_disk: Rows
) -> None:
    """It must not hold up what came with it."""
    connection.execute(
        "CREATE TEMP TRIGGER poison BEFORE INSERT ON main.message WHEN NEW.text = 'poison'"
        " BEGIN SELECT RAISE(ABORT, 'too much'); END"
    )
    poison = send(2, text="poison")
    batch = pump.step_batch(NOW, [send(1), poison, send(3, CAROL)])
    assert [refused.event for refused in batch.refused] == [poison]
    assert str(batch.refused[0].error) == "too much"
    # After the refusal the lane of bob is read back: it goes on by its timer.
    assert batch.effects == [
        MessageAccepted(an_id(1)),
        Dial(an_id(1), BOB, HERE),
        SetTimer(BOB, RETRY),
        MessageAccepted(an_id(3)),
        Dial(an_id(3), CAROL, HERE),
    ]
    assert on_disk(MESSAGES) == [("text 1", "queued", None), ("text 3", "queued", None)]


ONCE = [
    pytest.param([ANSWER_LOST], id="then it goes well"),
    pytest.param([ANSWER_LOST, LOST], id="then it fails"),
    pytest.param([LOST, ANSWER_LOST], id="at the second try"),
    pytest.param([ANSWER_LOST, ANSWER_LOST], id="twice"),
]


@pytest.mark.parametrize("fates", ONCE)
def test_a_send_that_reached_the_disk_unsaid_is_one_message(
    pump: Pump, commits: Commits, on_disk: Rows, fates: Sequence[str]
) -> None:
    """To call it refused would be a lie, as it is sent all the same: by the timer of its lane."""
    commits.fates.extend(fates)
    batch = pump.step_batch(NOW, [send(1)])
    assert batch.refused == []
    assert set(batch.effects) == {MessageAccepted(an_id(1)), SetTimer(BOB, RETRY)}
    assert on_disk(MESSAGES) == [("text 1", "queued", None)]
    assert on_disk(OUTBOX) == [("text", "queued")]
    assert pump.step_batch(NOW, [TimerFired(BOB, 0)]).effects == [Locate(BOB)]


@pytest.mark.parametrize("fates", ONCE)
def test_a_text_that_reached_the_disk_unsaid_is_told_once(
    pump: Pump, commits: Commits, on_disk: Rows, fates: Sequence[str]
) -> None:
    """And its sender hears that it was taken."""
    commits.fates.extend(fates)
    batch = pump.step_batch(NOW, [text_from_bob(1)])
    assert batch == Batch(
        [MessageArrived(an_id(1), BOB, DisplayText("text 1")), Settle(an_id(1))], []
    )
    assert on_disk(MESSAGES) == [("text 1", "received", None)]


@pytest.mark.parametrize("fates", ONCE)
@pytest.mark.parametrize("own", [True, False], ids=["ours", "the peer's"])
def test_a_delete_that_reached_the_disk_unsaid_takes_one_message(
    pump: Pump, commits: Commits, on_disk: Rows, fates: Sequence[str], own: bool
) -> None:
    """Offered again, it must not go on to the message before."""
    delete: Input
    if own:
        for number in (1, 2):
            handed_over(pump, number)
            pump.step_batch(NOW, [Handed(an_id(number), BOB)])
        delete = DeleteRequested(an_id(3), BOB)
    else:
        pump.step_batch(NOW, [text_from_bob(1), text_from_bob(2)])
        delete = DeleteArrived(an_id(3), BOB, "192.0.2.7")
    commits.fates.extend(fates)
    assert pump.step_batch(NOW, [delete]).refused == []
    assert [text for text, _, _ in on_disk(MESSAGES)] == ["text 1", None]
    assert on_disk(OUTBOX) == ([("delete", "queued")] if own else [])


def test_a_connection_whose_commit_reached_the_disk_unsaid_is_used(
    pump: Pump, commits: Commits, on_disk: Rows
) -> None:
    """No byte has left, so offering it again hands the message over, once."""
    pump.step_batch(NOW, [send(1)])
    commits.fates.append(ANSWER_LOST)
    batch = pump.step_batch(NOW, [Connected(an_id(1), BOB)])
    assert batch.effects == [HandOver(an_id(1), BOB, ItemKind.TEXT, "text 1")]
    assert on_disk(OUTBOX) == [("text", "handing")]


@pytest.mark.parametrize("fate", [LOST, ANSWER_LOST])
def test_a_connection_that_the_disk_refuses_is_never_written_to(
    pump: Pump, commits: Commits, on_disk: Rows, fate: str
) -> None:
    """The node gives it up and says so; the message waits, or fails if HANDING is on disk."""
    pump.step_batch(NOW, [send(1)])
    commits.fates.extend([fate, LOST])
    batch = pump.step_batch(NOW, [Connected(an_id(1), BOB)])
    assert [refused.event for refused in batch.refused] == [Connected(an_id(1), BOB)]
    assert not any(isinstance(effect, HandOver) for effect in batch.effects)
    pump.step_batch(NOW, [HandOverBroke(an_id(1), BOB, "store-unavailable")])
    expected = ("queued", None) if fate == LOST else ("failed", "store-unavailable")
    assert on_disk(MESSAGES) == [("text 1", *expected)]


@pytest.mark.parametrize("fate", [LOST, ANSWER_LOST])
def test_an_outcome_that_is_offered_again_ends_the_item_once(
    pump: Pump, commits: Commits, on_disk: Rows, fate: str
) -> None:
    """A report has no id, so the state of its item is what keeps it single."""
    handed_over(pump, 1)
    pump.step_batch(NOW, [send(2)])
    commits.fates.append(fate)
    pump.step_batch(NOW, [Handed(an_id(1), BOB)])
    assert on_disk(MESSAGES) == [("text 1", "sent", None), ("text 2", "queued", None)]
    assert on_disk(OUTBOX) == [("text", "queued")]


def test_a_hand_over_survives_that_another_commit_fails(
    pump: Pump, commits: Commits, on_disk: Rows
) -> None:
    """The engine is read back, and still knows that the connection has to report."""
    handed_over(pump, 1)
    commits.fates.extend([LOST, LOST])
    assert pump.step_batch(NOW, [text_from_bob(2)]).effects == []
    batch = pump.step_batch(NOW, [Handed(an_id(1), BOB)])
    assert batch.effects == [MessageProgressed(an_id(1), BOB, MessageState.SENT)]


def test_lanes_that_are_read_back_go_on_by_their_timers(pump: Pump, commits: Commits) -> None:
    """Each lane of a queued item, with the address that is known, and in its order."""
    pump.step_batch(NOW, [send(1), send(2), send(3, CAROL)])
    commits.fates.extend([LOST, LOST])
    batch = pump.step_batch(NOW, [text_from_bob(4)])
    assert set(batch.effects) == {SetTimer(BOB, RETRY), SetTimer(CAROL, RETRY)}
    assert pump.step_batch(RETRY, [TimerFired(BOB, 0)]).effects == [Locate(BOB)]
    assert pump.step_batch(RETRY, [Located(BOB, HERE, 0)]).effects == [Dial(an_id(1), BOB, HERE)]


def test_a_disk_that_cannot_even_be_read_is_read_when_it_is_back(
    pump: Pump, connection: sqlite3.Connection, on_disk: Rows
) -> None:
    """Meanwhile everything is refused; then no lane has been forgotten, not even one in flight."""
    handed_over(pump, 1)
    pump.step_batch(NOW, [send(2, CAROL)])
    connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    report = Handed(an_id(1), BOB)
    batch = pump.step_batch(NOW, [report, text_from_bob(3)])
    assert batch.effects == []
    assert [refused.event for refused in batch.refused] == [report, text_from_bob(3)]
    with pytest.raises(StoreUnavailable):
        pump.page(BOB, 0, 10)
    with pytest.raises(StoreUnavailable):
        pump.knows(BOB)
    connection.set_authorizer(None)
    batch = pump.step_batch(NOW, [report])
    assert batch.effects == [
        SetTimer(CAROL, RETRY),
        MessageProgressed(an_id(1), BOB, MessageState.SENT),
    ]
    assert on_disk(OUTBOX) == [("text", "queued")]


def test_a_full_disk_refuses_and_loses_nothing(
    pump: Pump, connection: sqlite3.Connection, on_disk: Rows
) -> None:
    """With room again, the same input is taken."""
    pump.step_batch(NOW, [send(1)])
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = send(2, text="x" * 100_000)
    batch = pump.step_batch(NOW, [big])
    assert [str(refused.error) for refused in batch.refused] == ["database or disk is full"]
    assert on_disk(MESSAGES) == [("text 1", "queued", None)]
    connection.execute("PRAGMA max_page_count = 100000")
    assert pump.step_batch(NOW, [big]).refused == ()
    assert on_disk("SELECT count(*) FROM message") == [(2,)]


def test_a_bug_is_no_matter_of_the_disk(
    pump: Pump, commits: Commits, monkeypatch: pytest.MonkeyPatch, on_disk: Rows
) -> None:
    """It ends the program instead of being tried again; what was begun is rolled back."""

    def fail(_: sqlite3.Connection) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(pump, "_commit", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        pump.step_batch(NOW, [send(1)])
    assert on_disk(MESSAGES) == []
    on_disk("BEGIN IMMEDIATE")  # nobody holds the file
    on_disk("ROLLBACK")


# --- another process -----------------------------------------------------------------------------


def test_a_new_process_takes_up_what_the_last_one_left(
    pump: Pump, connection: sqlite3.Connection, on_disk: Rows
) -> None:
    """Queued lanes go on at once; of what was in flight nobody can know, and its lane goes on."""
    handed_over(pump, 1)
    pump.step_batch(NOW, [send(2), send(3, CAROL)])
    pump.step_batch(NOW, [DialFailed(an_id(3), CAROL, "refused", 0)])
    later = NOW + 50_000
    assert Pump(connection).start(later) == [
        MessageProgressed(an_id(1), BOB, MessageState.FAILED, "interrupted"),
        Locate(BOB),
        SetTimer(CAROL, later),
    ]
    assert on_disk(MESSAGES) == [
        ("text 1", "failed", "interrupted"),
        ("text 2", "queued", None),
        ("text 3", "queued", None),
    ]


def test_a_start_that_the_disk_refuses_is_an_error(
    pump: Pump, connection: sqlite3.Connection, on_disk: Rows
) -> None:
    """The program says so and ends; what was there is there at the next start."""
    handed_over(pump, 1)
    commits = Commits()
    commits.fates.append(LOST)
    with pytest.raises(StoreUnavailable):
        Pump(connection, commits).start(NOW)
    assert on_disk(OUTBOX) == [("text", "handing")]


# --- questions -----------------------------------------------------------------------------------


def test_a_page_shows_what_was_committed(pump: Pump) -> None:
    """Oldest first, behind a position, a bounded number."""
    pump.step_batch(NOW, [text_from_bob(number) for number in range(1, 5)])
    first, second = pump.page(BOB, 1, 2)
    assert [str(first.text), str(second.text)] == ["text 2", "text 3"]
    assert first.at_ms == NOW


def test_known_is_whoever_there_was_anything_with(pump: Pump) -> None:
    """A message to somebody who is not in the directory now may wait."""
    assert not pump.knows(BOB)
    pump.step_batch(NOW, [send(1)])
    assert pump.knows(BOB)


def test_what_became_of_a_message_can_be_asked(pump: Pump, connection: sqlite3.Connection) -> None:
    """For who has stopped waiting; of a stranger's or no message there is nothing to say."""
    handed_over(pump, 1)
    pump.step_batch(NOW, [HandOverBroke(an_id(1), BOB, "reset")])
    assert pump.state(an_id(1)) == (MessageState.FAILED, "reset")
    assert pump.state(an_id(2)) is None
    connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    with pytest.raises(StoreUnavailable):
        pump.state(an_id(1))


def test_a_peer_that_is_not_reachable_is_told_of(pump: Pump) -> None:
    """Whoever waits for the message need not wait longer."""
    pump.step_batch(NOW, [send(1)])
    batch = pump.step_batch(NOW, [DialFailed(an_id(1), BOB, "refused", 0)])
    assert batch.effects == [
        SetTimer(BOB, NOW + RETRY_MS_MIN // 2),
        PeerPostponed(BOB, "refused"),
    ]
