"""Sealed mail as the pump carries it: envelopes out and in, and what is owed for them."""

from collections.abc import Sequence

import pytest
from tests.node.fixtures import (
    ANSWER_LOST,
    BOB,
    BOBS,
    HERE,
    LOST,
    NOW,
    OTHER,
    Rig,
    an_id,
    arrived,
    deletion,
    keyed,
    located,
    mail,
    opened,
    prekey_of,
    record_of,
    send,
    text,
)

from netchat.delivery.effects import (
    Acknowledge,
    Deposit,
    Effect,
    Locate,
    MailSettled,
    OpenLink,
    SetTimer,
    Transmit,
)
from netchat.delivery.inputs import (
    ConfirmArrived,
    DeleteRequested,
    Deposited,
    DepositFailed,
    Found,
    LinkClosed,
    LinkFailed,
    ReceiptArrived,
    TimerFired,
)
from netchat.delivery.notices import (
    DeleteProgressed,
    MessagesArrived,
    MessagesProgressed,
    NumbersMissing,
    PeerDeleted,
    PeerPostponed,
)
from netchat.limits import ENVELOPE_ITEMS_MAX, EXPIRY_MS, MAIL_TTL_MS, RETRY_MS_MIN
from netchat.model import DeleteOutcome, DisplayText, MessageState

AWAY = keyed(present=False)
UNTIL = NOW + MAIL_TTL_MS


def the_deposit(effects: Sequence[Effect]) -> Deposit:
    (deposit,) = (effect for effect in effects if isinstance(effect, Deposit))
    return deposit


def deposits(effects: Sequence[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Deposit)]


def stored(*numbers: int) -> MessagesProgressed:
    ids = tuple(an_id(number) for number in numbers)
    return MessagesProgressed(BOB, ids, MessageState.STORED)


def pinned(rig: Rig) -> None:
    """Bob was here, and has gone."""
    rig.effects(opened(), LinkClosed(7, "ended", 0.0))


# --- out -----------------------------------------------------------------------------------------


def test_what_is_for_somebody_away_goes_by_mail_and_is_dialled_too(rig: Rig) -> None:
    """Sealed for its prekey, with the bodies from the store, and it counts as left."""
    rig.effects(send(1, 2, found=AWAY))
    effects = rig.effects(located(AWAY))
    deposit = the_deposit(effects)
    assert (deposit.key, deposit.prekey) == (BOBS.peer_id, prekey_of("bob"))
    assert (deposit.base, [one.seq for one in deposit.items]) == (1, [1, 2])
    assert deposit.items[0].text == DisplayText("text 1")
    assert OpenLink(BOB, BOBS.peer_id, (HERE,)) in effects
    assert rig.rows("SELECT last_seq, left_seq FROM peer") == [(2, 2)]


def test_a_deposit_makes_messages_stored(rig: Rig) -> None:
    """They stay in the outbox until their receipt, and do not go into the mailbox again."""
    rig.effects(send(1, found=AWAY), located(AWAY))
    effects = rig.effects(Deposited(BOB, ((1, 1),), (), UNTIL))
    assert stored(1) in effects
    assert deposits(effects) == []
    assert rig.outbox == [(1, "text", "stored")]
    assert rig.messages == [("text 1", "stored", None)]


def test_what_came_meanwhile_goes_with_the_next_envelope(rig: Rig) -> None:
    """One envelope is on its way at a time."""
    rig.effects(send(1, found=AWAY), located(AWAY))
    assert deposits(rig.effects(send(2), send(3))) == []
    effects = rig.effects(Deposited(BOB, ((1, 1),), (), UNTIL))
    assert [one.seq for one in the_deposit(effects).items] == [2, 3]


def test_an_envelope_holds_so_many_items(rig: Rig) -> None:
    """And the rest follows."""
    rig.effects(send(*range(1, ENVELOPE_ITEMS_MAX + 2), found=AWAY))
    deposit = the_deposit(rig.effects(located(AWAY)))
    assert len(deposit.items) == ENVELOPE_ITEMS_MAX
    effects = rig.effects(Deposited(BOB, ((1, ENVELOPE_ITEMS_MAX),), (), UNTIL))
    assert [one.seq for one in the_deposit(effects).items] == [ENVELOPE_ITEMS_MAX + 1]


def test_somebody_without_a_prekey_gets_no_mail(rig: Rig) -> None:
    """What is for it waits here."""
    found = Found(record_of(), None, present=False)
    rig.effects(send(1, found=found))
    effects = rig.effects(located(found), LinkFailed(BOB, "refused", 0.0))
    assert deposits(effects) == []
    assert PeerPostponed(BOB, "refused") in effects


def test_a_link_that_fails_leaves_the_mailbox(rig: Rig) -> None:
    """The directory holds it for present, but it is not."""
    rig.effects(send(1, found=keyed()))
    assert deposits(rig.effects(located(keyed()))) == []
    effects = rig.effects(LinkFailed(BOB, "refused", 0.0))
    assert [one.seq for one in the_deposit(effects).items] == [1]


def test_a_deposit_that_fails_is_told_and_tried_again(rig: Rig) -> None:
    """By the timer of its lane."""
    rig.effects(send(1, found=keyed()), located(keyed()), LinkFailed(BOB, "refused", 0.0))
    effects = rig.effects(DepositFailed(BOB, "mailbox-full", 0.0))
    assert effects == [SetTimer(BOB, NOW + RETRY_MS_MIN), PeerPostponed(BOB, "mailbox-full")]
    assert rig.outbox == [(1, "text", "queued")]
    assert rig.effects(TimerFired(BOB, 0.0)) == [Locate(BOB)]
    assert [one.seq for one in the_deposit(rig.effects(located(AWAY))).items] == [1]


def test_what_the_mailbox_has_thrown_away_goes_there_again(rig: Rig) -> None:
    """It keeps an envelope for a week; the outbox keeps a message for a month."""
    rig.effects(send(1, found=AWAY), located(AWAY), LinkFailed(BOB, "refused", 0.0))
    rig.effects(Deposited(BOB, ((1, 1),), (), UNTIL))
    assert rig.effects(TimerFired(BOB, 0.0), now_ms=UNTIL) == [Locate(BOB)]
    effects = rig.effects(located(AWAY), now_ms=UNTIL)
    assert [one.seq for one in the_deposit(effects).items] == [1]


def test_what_nobody_took_in_time_expires(rig: Rig) -> None:
    """With its stored copy; the deletes go with it."""
    rig.effects(send(1, found=AWAY), located(AWAY), LinkFailed(BOB, "refused", 0.0))
    rig.effects(Deposited(BOB, ((1, 1),), (), UNTIL))
    rig.effects(DeleteRequested(an_id(9), None, an_id(1)), send(2))
    rig.effects(located(AWAY), LinkFailed(BOB, "refused", 0.0))
    late = NOW + EXPIRY_MS
    effects = rig.effects(TimerFired(BOB, 0.0), now_ms=late)
    expired = (an_id(2),)
    assert MessagesProgressed(BOB, expired, MessageState.EXPIRED, "expired") in effects
    assert DeleteProgressed(an_id(9), BOB, DeleteOutcome.EXPIRED) in effects
    assert rig.outbox == []


def test_a_stored_message_that_is_deleted_is_followed_by_its_delete(rig: Rig) -> None:
    """It may have been read already; its text leaves no more, its number stays."""
    rig.effects(send(1, found=AWAY), located(AWAY))
    rig.effects(Deposited(BOB, ((1, 1),), (), UNTIL))
    rig.effects(DeleteRequested(an_id(9), None, an_id(1)))
    assert rig.rows("SELECT seq, kind, text FROM outbox") == [
        (1, "void", None),
        (2, "delete", None),
    ]
    transmit = rig.effects(opened())[-1]
    assert isinstance(transmit, Transmit)
    assert [one.text for one in transmit.items] == [None, None]


# --- confirmed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by_mail", [False, True])
def test_a_confirmation_by_id_makes_messages_delivered(rig: Rig, by_mail: bool) -> None:
    """Over a link or by mail; what it says twice, or of what does not wait, is nothing."""
    rig.effects(send(1, 2, 3, found=AWAY), located(AWAY))
    rig.effects(Deposited(BOB, ((1, 3),), (), UNTIL))
    results = ((an_id(1), ""), (an_id(3), ""), (an_id(77), ""))
    if by_mail:
        effects = rig.effects(mail(1, confirms=results))
        assert effects[-1] == MailSettled(1)
    else:
        rig.effects(opened())
        effects = rig.effects(ConfirmArrived(7, results))
    ids = (an_id(1), an_id(3))
    assert effects[0] == MessagesProgressed(BOB, ids, MessageState.DELIVERED)
    assert [seq for seq, _, _ in rig.outbox] == [2]


def test_a_confirmation_says_what_became_of_a_delete(rig: Rig) -> None:
    """By the id of the change."""
    rig.effects(send(1, found=AWAY), located(AWAY))
    rig.effects(Deposited(BOB, ((1, 1),), (), UNTIL))
    rig.effects(DeleteRequested(an_id(9), None, an_id(1)))
    effects = rig.effects(mail(1, confirms=((an_id(1), ""), (an_id(9), "refused"))))
    assert DeleteProgressed(an_id(9), BOB, DeleteOutcome.REFUSED) in effects
    assert rig.rows("SELECT result FROM change") == [("refused",)]


def test_a_receipt_over_a_link_confirms_what_was_stored(rig: Rig) -> None:
    """Everything unconfirmed goes over each new link, stored or not."""
    rig.effects(send(1, found=AWAY), located(AWAY))
    rig.effects(Deposited(BOB, ((1, 1),), (), UNTIL))
    transmit = rig.effects(opened())[-1]
    assert isinstance(transmit, Transmit)
    assert [one.seq for one in transmit.items] == [1]
    delivered = MessagesProgressed(BOB, (an_id(1),), MessageState.DELIVERED)
    assert rig.effects(ReceiptArrived(7, ((1, 1),))) == [delivered]


# --- in ------------------------------------------------------------------------------------------


def test_mail_is_settled_after_the_commit_that_has_it(rig: Rig) -> None:
    """Then the mailbox may forget it, and its author has to be told."""
    pinned(rig)
    effects = rig.effects(mail(5, text(1), text(2)))
    shown = ((an_id(1), DisplayText("text 1")), (an_id(2), DisplayText("text 2")))
    assert effects[0] == MessagesArrived(BOB, shown)
    assert MailSettled(5) in effects
    assert effects[-1] == Locate(BOB)
    assert not any(isinstance(effect, Acknowledge) for effect in effects)
    assert len(rig.rows("SELECT * FROM owed")) == 2


def test_mail_never_settles_without_its_commit(rig: Rig) -> None:
    """The mailbox keeps the only copy on this side of the wire."""
    pinned(rig)
    rig.commits.fates.extend([LOST, LOST])
    batch = rig.step(mail(5, text(1)))
    assert batch.effects == []
    assert [refused.event for refused in batch.refused] == [mail(5, text(1))]
    assert rig.messages == []
    assert MailSettled(6) in rig.effects(mail(6, text(1)))


def test_held_mail_never_settles_without_its_commit(rig: Rig) -> None:
    """What waits for a decision has to be on this disk, too."""
    pinned(rig)
    rig.commits.fates.extend([LOST, LOST])
    letter = mail(5, text(1), sender=OTHER, elsewhere=record_of(OTHER))
    assert rig.step(letter).effects == []
    assert rig.rows("SELECT * FROM held") == []
    assert MailSettled(5) in rig.effects(letter)
    assert len(rig.rows("SELECT * FROM held")) == 1


def test_mail_whose_commit_reached_the_disk_unsaid_is_there_once(rig: Rig) -> None:
    """The second try settles it; nothing is stored or told twice by the third."""
    pinned(rig)
    rig.commits.fates.append(ANSWER_LOST)
    batch = rig.step(mail(5, text(1)))
    assert MailSettled(5) in batch.effects
    effects = rig.effects(mail(6, text(1)))
    assert MailSettled(6) in effects
    assert not any(isinstance(effect, MessagesArrived) for effect in effects)
    assert rig.messages == [("text 1", "received", None)]


def test_what_comes_by_mail_and_over_a_link_is_there_once(rig: Rig) -> None:
    """Whichever is first."""
    rig.effects(opened())
    rig.effects(arrived(text(1)), mail(5, text(1), text(2)))
    assert rig.effects(arrived(text(1), text(2))) == [Acknowledge(7, ((1, 2),))]
    assert [text for text, _, _ in rig.messages] == ["text 1", "text 2"]


def test_mail_with_nothing_in_it_is_settled(rig: Rig) -> None:
    """There is nothing to tell anybody."""
    pinned(rig)
    assert rig.effects(mail(5)) == [MailSettled(5)]
    assert rig.rows("SELECT * FROM owed") == []


def test_a_delete_by_mail_takes_its_message_though_it_comes_first(rig: Rig) -> None:
    """Envelopes and links may bring things in any order."""
    pinned(rig)
    rig.effects(mail(5, deletion(2, target=1)))
    effects = rig.effects(mail(6, text(1)))
    assert not any(isinstance(effect, MessagesArrived | PeerDeleted) for effect in effects)
    assert rig.messages == [(None, "received", None)]


def test_numbers_that_never_come_are_told(rig: Rig) -> None:
    """The author holds them for delivered: one side went back to an older disk."""
    pinned(rig)
    rig.effects(mail(5, text(1)))
    assert NumbersMissing(BOB, 3) in rig.effects(mail(6, text(5)))
    assert rig.rows("SELECT upto, ahead FROM received") == [(5, "")]


# --- debts ---------------------------------------------------------------------------------------


def test_a_debt_is_paid_over_the_link_that_is_open(rig: Rig) -> None:
    """In the same step; it is no debt any more."""
    rig.effects(opened())
    effects = rig.effects(mail(5, text(1)))
    (transmit,) = (effect for effect in effects if isinstance(effect, Transmit))
    assert (transmit.items, transmit.confirms) == ((), ((an_id(1), ""),))
    assert rig.rows("SELECT * FROM owed") == []


def test_a_debt_is_work_for_a_link(rig: Rig) -> None:
    """Nobody is made to wait for the next message in that direction."""
    pinned(rig)
    rig.effects(mail(5, text(1)), located(keyed()))
    transmit = rig.effects(opened(8))[-1]
    assert isinstance(transmit, Transmit)
    assert transmit.confirms == ((an_id(1), ""),)


def test_a_debt_goes_by_mail_and_stays_until_the_mailbox_has_it(rig: Rig) -> None:
    """Its envelope carries nothing else."""
    pinned(rig)
    rig.effects(mail(5, text(1)))
    deposit = the_deposit(rig.effects(located(AWAY)))
    assert (deposit.items, deposit.confirms) == ((), ((an_id(1), ""),))
    assert len(rig.rows("SELECT * FROM owed")) == 1
    assert deposits(rig.effects(Deposited(BOB, (), (an_id(1),), UNTIL))) == []
    assert rig.rows("SELECT * FROM owed") == []


def test_who_has_nothing_more_to_say_does_not_even_look(rig: Rig) -> None:
    """A stranger's mail must not have its address dialled for ever."""
    pinned(rig)
    rig.effects(mail(5, text(1)), located(AWAY), LinkFailed(BOB, "refused", 0.0))
    rig.effects(Deposited(BOB, (), (an_id(1),), UNTIL))
    assert rig.effects(TimerFired(BOB, 0.0)) == []


def test_who_has_no_mailbox_and_nothing_waits_for_is_dialled_no_more(rig: Rig) -> None:
    """Its confirmation came by our own mailbox."""
    nowhere = Found(record_of(), None, present=False)
    rig.effects(send(1, found=nowhere), located(nowhere), LinkFailed(BOB, "refused", 0.0))
    rig.effects(mail(5, confirms=((an_id(1), ""),)))
    assert rig.effects(TimerFired(BOB, 0.0)) == [Locate(BOB)]
    assert rig.effects(located(nowhere)) == []
    assert rig.effects(TimerFired(BOB, 0.0)) == []


def test_debts_are_taken_up_by_another_process(rig: Rig) -> None:
    """What the author does not know yet, it has to hear some day."""
    pinned(rig)
    rig.effects(mail(5, text(1)))
    assert rig.restart() == [SetTimer(BOB, NOW)]
    assert rig.effects(TimerFired(BOB, 0.0)) == [Locate(BOB)]


def test_an_answer_to_a_delete_is_owed_with_it(rig: Rig) -> None:
    """The confirmation says what was done about it."""
    pinned(rig)
    rig.effects(mail(5, text(1)), mail(6, deletion(2, target=1)))
    assert rig.rows("SELECT count(*) FROM owed WHERE result = ''") == [(2,)]
