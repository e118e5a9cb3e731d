"""Engine and store in one commit: nothing is done outside before it, and nothing twice after it."""

import sqlite3
from collections.abc import Sequence

import pytest
from tests.node.fixtures import (
    ANSWER_LOST,
    BOB,
    BOBS,
    CAROL,
    CLASSIC,
    HERE,
    LOST,
    ME,
    NOW,
    OWN,
    Commits,
    Rig,
    an_id,
    arrived,
    classic_text,
    deletion,
    keyed,
    located,
    opened,
    send,
    text,
)

from netchat.delivery.effects import (
    Abandon,
    Acknowledge,
    Dial,
    HandOver,
    Locate,
    OpenLink,
    SetTimer,
    Settle,
    Transmit,
)
from netchat.delivery.inputs import (
    Connected,
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    Handed,
    HandOverBroke,
    Input,
    LinkClosed,
    ReadNoted,
    ReceiptArrived,
    TimerFired,
)
from netchat.delivery.notices import (
    DeleteIgnored,
    DeleteProgressed,
    MessagesAccepted,
    MessagesArrived,
    MessagesProgressed,
    PeerDeleted,
    PeerPostponed,
)
from netchat.errors import StoreUnavailable
from netchat.limits import BATCH_INPUTS_MAX, RETRY_MS_MIN
from netchat.model import DeleteOutcome, DisplayText, ItemKind, MessageState
from netchat.node.pump import Batch, Pump
from netchat.store.secrets import Own

RETRY = NOW + RETRY_MS_MIN


def handed_over(rig: Rig, number: int) -> None:
    """Bring a message to a classic peer up to the point where its bytes leave."""
    rig.effects(send(number, found=CLASSIC))
    effects = rig.effects(Connected(an_id(number), BOB))
    assert effects == [HandOver(an_id(number), BOB, number, ItemKind.TEXT, f"text {number}")]


def arrivals(*numbers: int) -> list[object]:
    """What is told of classic texts from bob."""
    told: list[object] = []
    for number in numbers:
        shown = ((an_id(number), DisplayText(f"text {number}")),)
        told += [MessagesArrived(BOB, shown, unverified=True), Settle(an_id(number))]
    return told


# --- commit, then act ----------------------------------------------------------------------------


def test_what_is_told_to_act_is_on_disk_already(rig: Rig) -> None:
    """Seen from another process at the moment when the effects are returned."""
    effects = rig.effects(send(1, found=CLASSIC))
    assert effects == [MessagesAccepted((an_id(1),)), Dial(an_id(1), BOB, HERE)]
    assert rig.messages == [("text 1", "queued", None)]
    assert rig.outbox == [(1, "text", "queued")]


def test_bytes_leave_after_the_disk_says_so(rig: Rig) -> None:
    """HANDING is committed when the HandOver comes out; it brings the text from the store."""
    handed_over(rig, 1)
    assert rig.outbox == [(1, "text", "handing")]


def test_the_whole_way_of_a_classic_message(rig: Rig) -> None:
    """The item goes when the message is sent."""
    handed_over(rig, 1)
    sent = MessagesProgressed(BOB, (an_id(1),), MessageState.SENT)
    assert rig.effects(Handed(an_id(1), BOB)) == [sent]
    assert rig.messages == [("text 1", "sent", None)]
    assert rig.outbox == []


def test_the_whole_way_of_a_message_to_a_key(rig: Rig) -> None:
    """Looked for, dialled, carried from the store to the link, and DELIVERED by the receipt."""
    accepted = MessagesAccepted((an_id(1), an_id(2)))
    assert rig.effects(send(1, 2, found=keyed())) == [accepted, Locate(BOB)]
    assert rig.effects(located(keyed())) == [OpenLink(BOB, BOBS.peer_id, (HERE,))]
    (transmit,) = rig.effects(opened())
    assert isinstance(transmit, Transmit)
    assert (transmit.link, transmit.base) == (7, 1)
    assert [(one.seq, one.text) for one in transmit.items] == [
        (1, DisplayText("text 1")),
        (2, DisplayText("text 2")),
    ]
    assert rig.rows("SELECT last_seq, left_seq FROM peer") == [(2, 2)]
    delivered = MessagesProgressed(BOB, (an_id(1), an_id(2)), MessageState.DELIVERED)
    assert rig.effects(ReceiptArrived(7, ((1, 2),))) == [delivered]
    assert rig.outbox == []
    assert rig.messages == [("text 1", "delivered", None), ("text 2", "delivered", None)]


def test_what_is_sent_over_an_open_link_goes_in_the_same_step(rig: Rig) -> None:
    """And counts as left from that very commit on."""
    rig.effects(opened())
    accepted, transmit = rig.effects(send(1))
    assert accepted == MessagesAccepted((an_id(1),))
    assert isinstance(transmit, Transmit)
    assert rig.rows("SELECT last_seq, left_seq FROM peer") == [(1, 1)]


def test_a_message_that_came_over_a_link_is_acknowledged(rig: Rig) -> None:
    """After the commit that has it, whether it came for the first time or not."""
    rig.effects(opened())
    first, receipt = rig.effects(arrived(text(1), text(2)))
    shown = ((an_id(1), DisplayText("text 1")), (an_id(2), DisplayText("text 2")))
    assert first == MessagesArrived(BOB, shown)
    assert receipt == Acknowledge(7, ((1, 2),))
    assert rig.effects(arrived(text(1), text(2))) == [Acknowledge(7, ((1, 2),))]
    assert rig.messages == [("text 1", "received", None), ("text 2", "received", None)]


def test_what_comes_over_a_link_that_is_not_admitted_is_nothing(rig: Rig) -> None:
    """It was closed meanwhile, or never was one."""
    rig.effects(opened())
    rig.effects(LinkClosed(7, "ended", 0.0))
    assert rig.effects(arrived(text(1)), ReceiptArrived(7, ((1, 1),))) == []
    assert rig.messages == []


def test_a_delete_of_the_peer_takes_the_message_it_names(rig: Rig) -> None:
    """By id, and only one that this very key wrote."""
    rig.effects(opened(), send(9), arrived(text(1), text(2)))
    effects = rig.effects(arrived(deletion(3, target=1), deletion(4, target=9)))
    assert effects == [PeerDeleted(an_id(1), BOB), Acknowledge(7, ((3, 4),))]
    assert [text for text, _, _ in rig.messages] == ["text 9", None, "text 2"]


def test_the_next_item_follows_in_the_same_step(rig: Rig) -> None:
    """The engine's question for the head of the lane is answered inside the transaction."""
    handed_over(rig, 1)
    assert rig.effects(send(2, found=CLASSIC)) == [MessagesAccepted((an_id(2),))]
    assert rig.effects(Handed(an_id(1), BOB))[-1] == Dial(an_id(2), BOB, HERE)


def test_effects_keep_the_order_of_the_inputs(rig: Rig) -> None:
    """Also around answers to questions."""
    effects = rig.effects(classic_text(1), send(2, to=CAROL, found=CLASSIC), classic_text(3))
    assert effects == [
        *arrivals(1),
        MessagesAccepted((an_id(2),)),
        Dial(an_id(2), CAROL, HERE),
        *arrivals(3),
    ]


def test_a_batch_is_one_commit(rig: Rig) -> None:
    """However many inputs have come meanwhile: that is what makes many messages fast."""
    events = [classic_text(number) for number in range(BATCH_INPUTS_MAX)]
    assert len(rig.effects(*events)) == 2 * BATCH_INPUTS_MAX
    assert rig.commits.count == 1
    assert rig.rows("SELECT count(*) FROM message") == [(BATCH_INPUTS_MAX,)]


def test_a_message_to_ourselves_is_delivered_by_the_commit_that_stores_it(rig: Rig) -> None:
    """Nothing of it goes anywhere."""
    accepted, *told = rig.effects(send(1, to=ME))
    assert accepted == MessagesAccepted((an_id(1),))
    assert MessagesProgressed(ME, (an_id(1),), MessageState.DELIVERED) in told
    assert MessagesArrived(ME, ((an_id(1), DisplayText("text 1")),)) in told
    assert len(told) == 2
    assert rig.outbox == []
    pages = rig.pump.page(ME, None, 10)
    assert [one.outgoing for one in pages] in ([True, False], [False, True])


def test_a_message_that_is_erased_in_flight_is_handed_over_whole(rig: Rig) -> None:
    """Its text is gone from the history, its copy in the outbox is not; the delete follows it."""
    rig.effects(send(1, found=CLASSIC))
    effects = rig.effects(DeleteRequested(an_id(2), BOB))
    assert effects == [DeleteProgressed(an_id(2), BOB, DeleteOutcome.QUEUED)]
    assert rig.messages == [(None, "queued", None)]
    effects = rig.effects(Connected(an_id(1), BOB))
    assert effects == [HandOver(an_id(1), BOB, 1, ItemKind.TEXT, "text 1")]
    rig.effects(Handed(an_id(1), BOB))
    effects = rig.effects(Connected(an_id(2), BOB))
    assert effects == [HandOver(an_id(2), BOB, 2, ItemKind.DELETE, None)]
    effects = rig.effects(Handed(an_id(2), BOB))
    assert effects == [DeleteProgressed(an_id(2), BOB, DeleteOutcome.SENT)]


def test_a_delete_behind_a_message_that_broke_is_not_told(rig: Rig) -> None:
    """The peer may not have that message, and would delete an older one."""
    handed_over(rig, 1)
    rig.effects(DeleteRequested(an_id(2), BOB))
    assert rig.effects(HandOverBroke(an_id(1), BOB, "reset")) == [
        MessagesProgressed(BOB, (an_id(1),), MessageState.FAILED, "reset"),
        DeleteProgressed(an_id(2), BOB, DeleteOutcome.LOCAL),
    ]
    assert rig.outbox == []


def test_a_message_that_has_not_left_is_cancelled(rig: Rig) -> None:
    """Nothing of it stays in the outbox."""
    rig.effects(send(1))
    assert rig.effects(DeleteRequested(an_id(2), BOB)) == [
        MessagesProgressed(BOB, (an_id(1),), MessageState.CANCELLED, "deleted"),
        DeleteProgressed(an_id(2), BOB, DeleteOutcome.CANCELLED),
    ]
    assert rig.messages == [(None, "cancelled", "deleted")]
    assert rig.outbox == []


def test_a_delete_goes_to_a_key_by_id_and_is_answered(rig: Rig) -> None:
    """The message stays a tombstone here; what the peer did about it is kept."""
    rig.effects(opened(), send(1), ReceiptArrived(7, ((1, 1),)))
    transmit, queued = rig.effects(DeleteRequested(an_id(2), None, an_id(1)))
    assert isinstance(transmit, Transmit)
    assert (transmit.items[0].kind, transmit.items[0].target) == (ItemKind.DELETE, an_id(1))
    assert queued == DeleteProgressed(an_id(2), BOB, DeleteOutcome.QUEUED)
    effects = rig.effects(ReceiptArrived(7, ((2, 2),), ((2, "kept"),)))
    assert effects == [DeleteProgressed(an_id(2), BOB, DeleteOutcome.KEPT)]
    assert rig.rows("SELECT result FROM change") == [("kept",)]


def test_a_classic_delete_takes_the_newest_classic_message(rig: Rig) -> None:
    """From where it came from; from elsewhere, and when nothing is left, it is ignored."""
    rig.effects(classic_text(1), classic_text(2))
    effects = rig.effects(DeleteArrived(an_id(3), BOB, "192.0.2.7"))
    assert effects == [PeerDeleted(an_id(2), BOB), Settle(an_id(3))]
    effects = rig.effects(DeleteArrived(an_id(4), BOB, "192.0.2.8"))
    assert effects[0] == DeleteIgnored(BOB, "192.0.2.8", "other-source")
    effects = rig.effects(DeleteArrived(an_id(5), CAROL, "192.0.2.8"))
    assert effects[0] == DeleteIgnored(CAROL, "192.0.2.8", "nothing-to-delete")
    assert rig.messages == [("text 1", "received", None), (None, "received", None)]


def test_reports_of_nobody_change_nothing(rig: Rig) -> None:
    """A connection that nobody waits for is closed."""
    events: list[Input] = [Handed(an_id(9), BOB), Connected(an_id(9), BOB), TimerFired(BOB, 0)]
    assert rig.effects(*events) == [Abandon(an_id(9))]
    assert rig.outbox == []


# --- commits that fail ---------------------------------------------------------------------------


def test_a_commit_that_fails_lets_nothing_out(rig: Rig) -> None:
    """Nothing is on disk, nothing is done, and whoever asked is told."""
    rig.commits.fates.extend([LOST, LOST])
    batch = rig.step(send(1, found=CLASSIC))
    assert batch.effects == []
    (refused,) = batch.refused
    assert refused.event == send(1, found=CLASSIC)
    assert isinstance(refused.error, StoreUnavailable)
    assert rig.messages == []


def test_a_receipt_never_leaves_without_its_commit(rig: Rig) -> None:
    """It tells the author that it may forget the message. The links are closed, and it comes
    again over the next one."""
    rig.effects(opened())
    rig.commits.fates.extend([LOST, LOST])
    batch = rig.step(arrived(text(1)))
    assert batch.effects == []
    assert batch.links_lost
    assert rig.messages == []
    rig.effects(opened(8))
    assert Acknowledge(8, ((1, 1),)) in rig.effects(arrived(text(1), link=8))
    assert rig.messages == [("text 1", "received", None)]


def test_a_receipt_that_came_is_told_before_its_commit(rig: Rig) -> None:
    """The peer has committed; what a crash forgets of it here is sent and confirmed again."""
    rig.effects(opened(), send(1))
    told: list[Batch] = []
    seen: list[object] = []

    def early(batch: Batch) -> None:
        told.append(batch)
        seen.append(rig.messages)

    batch = rig.pump.step_batch(NOW, [ReceiptArrived(7, ((1, 1),))], early)
    assert batch == Batch(())
    (one,) = told
    assert MessagesProgressed(BOB, (an_id(1),), MessageState.DELIVERED) in one.effects
    assert seen == [[("text 1", "queued", None)]]
    assert rig.pump.is_unsettled
    assert rig.messages == seen[0]
    assert rig.pump.settle(NOW) == Batch(())
    assert not rig.pump.is_unsettled
    assert rig.messages == [("text 1", "delivered", None)]
    commits = rig.commits.count
    assert rig.pump.settle(NOW) == Batch(())
    assert rig.commits.count == commits


def test_what_was_noted_shares_the_commit_of_what_comes_next(rig: Rig) -> None:
    """One fsync instead of two for each message of somebody who waits for every answer."""
    rig.effects(opened(), send(1))
    rig.pump.step_batch(NOW, [ReceiptArrived(7, ((1, 1),))], lambda _: None)
    commits = rig.commits.count
    rig.effects(send(2))
    assert rig.commits.count == commits + 1
    assert not rig.pump.is_unsettled
    assert [state for _, state, _ in rig.messages] == ["delivered", "queued"]


def test_what_was_noted_falls_with_what_comes_next_and_comes_again(rig: Rig) -> None:
    """Every link ends then, so nothing is taken for confirmed that the disk does not know."""
    rig.effects(opened(), send(1))
    rig.pump.step_batch(NOW, [ReceiptArrived(7, ((1, 1),))], lambda _: None)
    rig.commits.fates.append(LOST)
    batch = rig.step(send(2))
    assert batch.links_lost
    assert not rig.pump.is_unsettled
    assert [state for _, state, _ in rig.messages] == ["queued", "queued"]
    (transmit,) = rig.effects(opened(8))
    assert isinstance(transmit, Transmit)
    assert [one.item_id for one in transmit.items] == [an_id(1), an_id(2)]


def test_so_much_is_noted_and_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing but receipts comes, they get a commit of their own now and then."""
    monkeypatch.setattr("netchat.node.pump.RECEIPTS_NOTED_MAX", 2)
    rig.effects(opened(), send(1, 2))
    for number in (1, 2):
        rig.pump.step_batch(NOW, [ReceiptArrived(7, ((number, number),))], lambda _: None)
        assert rig.pump.is_unsettled is (number == 1)
    assert [state for _, state, _ in rig.messages] == ["delivered", "delivered"]


def test_only_receipts_are_told_before_their_commit(rig: Rig) -> None:
    """Beside anything else they wait for the commit of all."""
    rig.effects(opened(), send(1))
    told: list[Batch] = []
    events = [ReceiptArrived(7, ((1, 1),)), arrived(text(1))]
    batch = rig.pump.step_batch(NOW, events, told.append)
    assert told == []
    assert len(batch.effects) > 1


def test_a_receipt_that_was_told_and_not_committed_comes_again(rig: Rig) -> None:
    """The disk says less than was told, and the next link makes it the same."""
    rig.effects(opened(), send(1))
    rig.commits.fates.append(LOST)
    told: list[Batch] = []
    assert rig.pump.step_batch(NOW, [ReceiptArrived(7, ((1, 1),))], told.append) == Batch(())
    assert len(told) == 1
    assert rig.pump.settle(NOW).links_lost
    assert rig.messages == [("text 1", "queued", None)]
    assert any(isinstance(effect, Transmit) for effect in rig.effects(opened(8)))
    rig.effects(ReceiptArrived(8, ((1, 1),)))
    assert rig.messages == [("text 1", "delivered", None)]


def test_after_a_failed_commit_no_link_is_known(rig: Rig) -> None:
    """The engine was read back from a store that holds no links: all of them have to be closed,
    and what still comes over them is dropped without a receipt."""
    rig.effects(opened(), send(1))
    rig.commits.fates.append(LOST)
    batch = rig.step(classic_text(2))
    assert batch.links_lost
    assert SetTimer(BOB, RETRY) in batch.effects
    assert rig.effects(arrived(text(3)), ReceiptArrived(7, ((1, 1),))) == []
    assert rig.outbox == [(1, "text", "queued")]
    (transmit,) = rig.effects(opened(8))
    assert isinstance(transmit, Transmit)
    assert [one.item_id for one in transmit.items] == [an_id(1)]


def test_a_batch_whose_commit_fails_is_done_one_by_one(rig: Rig) -> None:
    """Each input then has a commit of its own, and its effects come out once."""
    rig.commits.fates.append(LOST)
    batch = rig.step(classic_text(1), send(2, to=CAROL, found=CLASSIC))
    assert rig.commits.count == 3
    assert batch.refused == []
    assert batch.effects == [
        *arrivals(1),
        MessagesAccepted((an_id(2),)),
        Dial(an_id(2), CAROL, HERE),
    ]
    assert rig.messages == [("text 1", "received", None), ("text 2", "queued", None)]


def test_an_input_that_the_disk_cannot_take_is_refused_alone(rig: Rig) -> None:
    """It must not hold up what came with it."""
    rig.connection.execute(
        "CREATE TEMP TRIGGER poison BEFORE INSERT ON main.message WHEN NEW.text = 'poison'"
        " BEGIN SELECT RAISE(ABORT, 'too much'); END"
    )
    poison = send(2, found=CLASSIC, text="poison")
    batch = rig.step(send(1, found=CLASSIC), poison, send(3, to=CAROL, found=CLASSIC))
    assert [refused.event for refused in batch.refused] == [poison]
    assert str(batch.refused[0].error) == "too much"
    # After the refusal the lane of bob is read back: it goes on by its timer.
    assert batch.effects == [
        MessagesAccepted((an_id(1),)),
        Dial(an_id(1), BOB, HERE),
        SetTimer(BOB, RETRY),
        MessagesAccepted((an_id(3),)),
        Dial(an_id(3), CAROL, HERE),
    ]
    assert rig.messages == [("text 1", "queued", None), ("text 3", "queued", None)]


ONCE = [
    pytest.param([ANSWER_LOST], id="then it goes well"),
    pytest.param([ANSWER_LOST, LOST], id="then it fails"),
    pytest.param([LOST, ANSWER_LOST], id="at the second try"),
    pytest.param([ANSWER_LOST, ANSWER_LOST], id="twice"),
]


@pytest.mark.parametrize("found", [CLASSIC, keyed()], ids=["classic", "keyed"])
@pytest.mark.parametrize("fates", ONCE)
def test_a_send_that_reached_the_disk_unsaid_is_one_message(
    rig: Rig, fates: Sequence[str], found: object
) -> None:
    """To call it refused would be a lie, as it is sent all the same: by the timer of its lane."""
    rig.commits.fates.extend(fates)
    batch = rig.step(send(1, found=found))  # type: ignore[arg-type]
    assert batch.refused == []
    assert set(batch.effects) == {MessagesAccepted((an_id(1),)), SetTimer(BOB, RETRY)}
    assert rig.messages == [("text 1", "queued", None)]
    assert rig.outbox == [(1, "text", "queued")]
    assert rig.effects(TimerFired(BOB, 0)) == [Locate(BOB)]


@pytest.mark.parametrize("fates", ONCE)
def test_a_classic_text_that_reached_the_disk_unsaid_is_told_once(
    rig: Rig, fates: Sequence[str]
) -> None:
    """And its sender hears that it was taken."""
    rig.commits.fates.extend(fates)
    assert rig.step(classic_text(1)) == Batch(arrivals(1), [], links_lost=True)  # type: ignore[arg-type]
    assert rig.messages == [("text 1", "received", None)]


@pytest.mark.parametrize("fates", ONCE)
@pytest.mark.parametrize("own", [True, False], ids=["ours", "the peer's"])
def test_a_delete_that_reached_the_disk_unsaid_takes_one_message(
    rig: Rig, fates: Sequence[str], own: bool
) -> None:
    """Offered again, it must not go on to the message before."""
    delete: Input
    if own:
        for number in (1, 2):
            handed_over(rig, number)
            rig.effects(Handed(an_id(number), BOB))
        delete = DeleteRequested(an_id(3), BOB)
    else:
        rig.effects(classic_text(1), classic_text(2))
        delete = DeleteArrived(an_id(3), BOB, "192.0.2.7")
    rig.commits.fates.extend(fates)
    assert rig.step(delete).refused == []
    assert [text for text, _, _ in rig.messages] == ["text 1", None]
    assert rig.outbox == ([(3, "delete", "queued")] if own else [])


@pytest.mark.parametrize("fates", [[LOST], [ANSWER_LOST], [ANSWER_LOST, ANSWER_LOST]])
def test_items_whose_commit_reached_the_disk_unsaid_are_there_once(
    rig: Rig, fates: Sequence[str]
) -> None:
    """Over the next link they come again, and are acknowledged without being new."""
    rig.effects(opened())
    rig.commits.fates.extend(fates)
    batch = rig.step(arrived(text(1)))
    assert not any(isinstance(effect, Acknowledge) for effect in batch.effects)
    rig.effects(opened(8))
    assert rig.effects(arrived(text(1), link=8))[-1] == Acknowledge(8, ((1, 1),))
    assert rig.messages == [("text 1", "received", None)]


@pytest.mark.parametrize("fate", [LOST, ANSWER_LOST])
def test_a_receipt_whose_commit_fails_leaves_nothing_lost(rig: Rig, fate: str) -> None:
    """DELIVERED is on disk, or the message goes again and is confirmed again."""
    rig.effects(opened(), send(1))
    rig.commits.fates.append(fate)
    rig.step(ReceiptArrived(7, ((1, 1),)))
    rig.step(opened(8), ReceiptArrived(8, ((1, 1),)))
    assert rig.messages == [("text 1", "delivered", None)]
    assert rig.outbox == []


def test_a_connection_whose_commit_reached_the_disk_unsaid_is_used(rig: Rig) -> None:
    """No byte has left, so offering it again hands the message over, once."""
    rig.effects(send(1, found=CLASSIC))
    rig.commits.fates.append(ANSWER_LOST)
    batch = rig.step(Connected(an_id(1), BOB))
    assert batch.effects == [HandOver(an_id(1), BOB, 1, ItemKind.TEXT, "text 1")]
    assert rig.outbox == [(1, "text", "handing")]


@pytest.mark.parametrize("fate", [LOST, ANSWER_LOST])
def test_a_connection_that_the_disk_refuses_is_never_written_to(rig: Rig, fate: str) -> None:
    """The node gives it up and says so; the message waits, or fails if HANDING is on disk."""
    rig.effects(send(1, found=CLASSIC))
    rig.commits.fates.extend([fate, LOST])
    batch = rig.step(Connected(an_id(1), BOB))
    assert [refused.event for refused in batch.refused] == [Connected(an_id(1), BOB)]
    assert not any(isinstance(effect, HandOver) for effect in batch.effects)
    rig.step(HandOverBroke(an_id(1), BOB, "store-unavailable"))
    expected = ("queued", None) if fate == LOST else ("failed", "store-unavailable")
    assert rig.messages == [("text 1", *expected)]


@pytest.mark.parametrize("fate", [LOST, ANSWER_LOST])
def test_an_outcome_that_is_offered_again_ends_the_item_once(rig: Rig, fate: str) -> None:
    """A report has no id, so the state of its item is what keeps it single."""
    handed_over(rig, 1)
    rig.effects(send(2, found=CLASSIC))
    rig.commits.fates.append(fate)
    rig.step(Handed(an_id(1), BOB))
    assert rig.messages == [("text 1", "sent", None), ("text 2", "queued", None)]
    assert rig.outbox == [(2, "text", "queued")]


def test_a_hand_over_survives_that_another_commit_fails(rig: Rig) -> None:
    """The engine is read back, and still knows that the connection has to report."""
    handed_over(rig, 1)
    rig.commits.fates.extend([LOST, LOST])
    assert rig.step(classic_text(2)).effects == []
    sent = MessagesProgressed(BOB, (an_id(1),), MessageState.SENT)
    assert rig.effects(Handed(an_id(1), BOB)) == [sent]


def test_lanes_that_are_read_back_go_on_by_their_timers(rig: Rig) -> None:
    """Each lane, to a key or not, in its order."""
    rig.effects(send(1, 2, found=CLASSIC), send(3, to=CAROL, found=keyed(name=CAROL)))
    rig.commits.fates.extend([LOST, LOST])
    batch = rig.step(classic_text(4))
    assert set(batch.effects) == {SetTimer(BOB, RETRY), SetTimer(CAROL, RETRY)}
    assert rig.effects(TimerFired(BOB, 0), now_ms=RETRY) == [Locate(BOB)]
    assert rig.effects(located(CLASSIC), now_ms=RETRY) == [Dial(an_id(1), BOB, HERE)]
    assert rig.effects(TimerFired(CAROL, 0), now_ms=RETRY) == [Locate(CAROL)]


def test_a_disk_that_cannot_even_be_read_is_read_when_it_is_back(rig: Rig) -> None:
    """Meanwhile everything is refused; then no lane has been forgotten, not even one in flight."""
    handed_over(rig, 1)
    rig.effects(send(2, to=CAROL, found=CLASSIC))
    rig.connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    report = Handed(an_id(1), BOB)
    batch = rig.step(report, classic_text(3))
    assert batch.effects == []
    assert batch.is_unread
    assert [refused.event for refused in batch.refused] == [report, classic_text(3)]
    for question in (
        lambda: rig.pump.page(BOB, None, 10),
        lambda: rig.pump.waiting(),
        lambda: rig.pump.state(an_id(1)),
        lambda: rig.pump.newest_from(BOB),
        lambda: rig.pump.pin(CAROL),
        lambda: rig.pump.pins(),
        lambda: rig.pump.keep(lambda own: own.put("stream", b"")),
    ):
        with pytest.raises(StoreUnavailable):
            question()
    rig.connection.set_authorizer(None)
    batch = rig.step(report)
    assert not batch.is_unread
    assert batch.effects == [
        SetTimer(CAROL, RETRY),
        MessagesProgressed(BOB, (an_id(1),), MessageState.SENT),
    ]
    assert rig.outbox == [(1, "text", "queued")]


def test_a_disk_that_fails_while_receipts_are_noted_is_read_when_it_is_back(rig: Rig) -> None:
    """Nothing is refused then, so nobody would ask again: any input of nobody's has it read."""
    rig.effects(opened(), send(1))
    rig.pump.step_batch(NOW, [ReceiptArrived(7, ((1, 1),))], lambda _: None)
    rig.commits.fates.append(LOST)
    no_reading = {sqlite3.SQLITE_READ: sqlite3.SQLITE_DENY}
    rig.connection.set_authorizer(lambda deed, *_: no_reading.get(deed, sqlite3.SQLITE_OK))
    assert rig.pump.settle(NOW) == Batch([], links_lost=True, is_unread=True)
    rig.connection.set_authorizer(None)
    assert rig.step(TimerFired(ME, 0)).effects == [SetTimer(BOB, RETRY)]
    assert rig.outbox == [(1, "text", "queued")]


def test_a_full_disk_refuses_and_loses_nothing(rig: Rig) -> None:
    """With room again, the same input is taken."""
    rig.effects(send(1, found=CLASSIC))
    pages = rig.connection.execute("PRAGMA page_count").fetchone()[0]
    rig.connection.execute(f"PRAGMA max_page_count = {pages}")
    big = send(2, to=CAROL, found=keyed(name=CAROL), text="x" * 60_000)
    batch = rig.step(big)
    assert [str(refused.error) for refused in batch.refused] == ["database or disk is full"]
    assert rig.messages == [("text 1", "queued", None)]
    rig.connection.execute("PRAGMA max_page_count = 100000")
    assert rig.step(big).refused == ()
    assert rig.rows("SELECT count(*) FROM message") == [(2,)]


def test_a_bug_is_no_matter_of_the_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the program instead of being tried again; what was begun is rolled back."""

    def fail(_: sqlite3.Connection) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(rig.pump, "_commit", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        rig.step(send(1, found=CLASSIC))
    assert rig.messages == []
    rig.rows("BEGIN IMMEDIATE")  # nobody holds the file
    rig.rows("ROLLBACK")


# --- another process -----------------------------------------------------------------------------


def test_a_new_process_takes_up_what_the_last_one_left(rig: Rig) -> None:
    """Queued lanes go on at once; of what was in flight to a classic peer nobody can know."""
    handed_over(rig, 1)
    rig.effects(send(2, found=CLASSIC), send(3, to=CAROL, found=CLASSIC))
    rig.effects(DialFailed(an_id(3), CAROL, "refused", 0))
    later = NOW + 50_000
    assert rig.restart(later) == [
        MessagesProgressed(BOB, (an_id(1),), MessageState.FAILED, "interrupted"),
        Locate(BOB),
        SetTimer(CAROL, later),
    ]
    assert rig.messages == [
        ("text 1", "failed", "interrupted"),
        ("text 2", "queued", None),
        ("text 3", "queued", None),
    ]


def test_a_new_process_sends_to_a_key_what_was_not_confirmed(rig: Rig) -> None:
    """Over the first link that comes, in order, and with the numbers that it had."""
    rig.effects(opened(), send(1, 2, 3), ReceiptArrived(7, ((2, 2),)))
    assert rig.restart() == [SetTimer(BOB, NOW)]
    (transmit,) = rig.effects(opened(1))
    assert isinstance(transmit, Transmit)
    assert [one.seq for one in transmit.items] == [1, 3]
    assert transmit.base == 1


def test_a_start_that_the_disk_refuses_is_an_error(rig: Rig) -> None:
    """The program says so and ends; what was there is there at the next start."""
    handed_over(rig, 1)
    commits = Commits()
    commits.fates.append(LOST)
    with pytest.raises(StoreUnavailable):
        Pump(rig.connection, rig.owner, commits).start(NOW)
    assert rig.outbox == [(1, "text", "handing")]


# --- questions -----------------------------------------------------------------------------------


def test_a_page_shows_what_was_committed(rig: Rig) -> None:
    """Oldest first, behind a message, a bounded number."""
    rig.effects(*(classic_text(number) for number in range(1, 5)))
    (zeroth,) = rig.pump.page(BOB, None, 1)
    first, second = rig.pump.page(BOB, (zeroth.hlc, zeroth.message_id), 2)
    assert [str(first.text), str(second.text)] == ["text 2", "text 3"]
    assert first.at_ms == NOW


def test_what_waits_and_what_became_of_a_message_can_be_asked(rig: Rig) -> None:
    """For who has stopped waiting; of a stranger's or no message there is nothing to say."""
    handed_over(rig, 1)
    assert rig.pump.waiting() == [BOB]
    rig.effects(HandOverBroke(an_id(1), BOB, "reset"))
    assert rig.pump.waiting() == []
    assert rig.pump.state(an_id(1)) == (MessageState.FAILED, "reset")
    assert rig.pump.state(an_id(2)) is None


def test_what_was_read_is_told_to_a_key_once(rig: Rig) -> None:
    """And not to a classic peer, who would not know what it is."""
    rig.effects(opened(), arrived(text(1)))
    assert rig.pump.newest_from(BOB) == 1
    (transmit,) = rig.effects(ReadNoted(an_id(9), BOB, 1))
    assert isinstance(transmit, Transmit)
    assert [(one.kind, one.hlc) for one in transmit.items] == [(ItemKind.READ, 1)]
    assert rig.effects(ReadNoted(an_id(10), CAROL, 1)) == []


def test_own_entries_are_kept_in_a_transaction_of_their_own(rig: Rig) -> None:
    """All of the work, or nothing of it."""

    def work(own: Own) -> None:
        own.put("stream", b"1")
        own.put("record-seq", b"2")

    rig.commits.fates.append(LOST)
    with pytest.raises(StoreUnavailable):
        rig.pump.keep(work)
    assert rig.rows("SELECT * FROM own") == []
    rig.pump.keep(work)
    assert rig.pump.own().get("stream") == b"1"


def test_a_peer_that_is_not_reachable_is_told_of(rig: Rig) -> None:
    """Whoever waits for the message need not wait longer."""
    rig.effects(send(1, found=CLASSIC))
    assert rig.effects(DialFailed(an_id(1), BOB, "refused", 0)) == [
        SetTimer(BOB, NOW + RETRY_MS_MIN // 2),
        PeerPostponed(BOB, "refused"),
    ]


def test_the_owner_is_never_somebody_else(rig: Rig) -> None:
    """Our own key is not pinned for our own name: there is nothing to decide about it."""
    rig.effects(send(1, to=ME, found=keyed(OWN, ME)))
    assert rig.pump.pins() == []
