"""The one door of delivery: each input goes to the room that judges it, and a peer has one lane,
whatever it turns out to be. ``test_pair`` lets two engines talk; ``test_engine_classic`` one."""

from dataclasses import replace

import pytest
from tests.delivery.made import (
    ALICES_KEY,
    BOB,
    BOBS_KEY,
    HERE,
    NOW,
    ONE,
    STREAM,
    TWO,
    a_text,
)

from netchat.delivery.checked import (
    Admitted,
    ArrivalChecked,
    Barred,
    Carried,
    ConfirmChecked,
    DeleteChecked,
    Entry,
    HeadLoaded,
    ItemsChecked,
    NewestReceived,
    OwnMessage,
    ReadChecked,
    Restored,
    Routed,
    SendChecked,
    Tally,
)
from netchat.delivery.effects import (
    Abandon,
    Acknowledge,
    AskHead,
    AskTransmit,
    CloseLink,
    Dial,
    EraseMessage,
    ExpireItems,
    ForgetDeposits,
    HandOver,
    Locate,
    MailSettled,
    OpenLink,
    SetTimer,
    Settle,
    SettleItems,
    StoreDeposit,
    StoreItem,
)
from netchat.delivery.engine import Engine
from netchat.delivery.inputs import (
    Connected,
    DeleteArrived,
    DeleteRequested,
    Deposited,
    DepositFailed,
    DialFailed,
    Handed,
    HandOverBroke,
    ItemState,
    LinkClosed,
    LinkFailed,
    NewMessage,
    ReadNoted,
    ReceiptArrived,
    Route,
    SendRequested,
    TextArrived,
    TimerFired,
)
from netchat.delivery.notices import (
    DeleteProgressed,
    MessagesAccepted,
    PeerDeleted,
    PeerPostponed,
    SendRefused,
)
from netchat.delivery.policy import Deletes, Policy
from netchat.limits import EXPIRY_MS, RETRY_MS_MIN
from netchat.model import DeleteOutcome, DisplayText, ItemKind, MessageState

TALLY = Tally(last_seq=0, left_seq=0, hlc=0)
SEND = SendRequested(BOB, (NewMessage(ONE, "hi"),), None)
ENTRY = Entry(ONE, BOB, 1, ItemKind.TEXT, ItemState.QUEUED, NOW + EXPIRY_MS)
LINK = 7
LOOKED_UP = [ExpireItems(BOB), Locate(BOB)]
KEYED = Routed(BOB, 0, Route.KEYED, key=BOBS_KEY, addresses=(HERE,))
MAIL = ItemsChecked(
    peer=BOB, sender=BOBS_KEY, stream=STREAM, base=1, items=(a_text(1, TWO),), link=None, mail=5
)
WRITTEN = {Route.KEYED: LOOKED_UP, Route.CLASSIC: [Dial(ONE, BOB, HERE)]}
"""What follows a send."""


def an_engine() -> Engine:
    return Engine(ALICES_KEY, Policy())


def sent(route: Route, engine: Engine | None = None) -> Engine:
    """An engine that somebody gave a message for bob."""
    engine = engine or an_engine()
    engine.step(NOW, SendChecked(SEND, frozenset(), route, HERE, TALLY))
    return engine


def loaded(route: Route, entry: Entry | None = ENTRY) -> HeadLoaded:
    return HeadLoaded(BOB, entry, None, route)


# --- who judges what -----------------------------------------------------------------------------


@pytest.mark.parametrize("route", [Route.KEYED, Route.CLASSIC])
def test_a_send_goes_the_way_that_trust_allows(route: Route) -> None:
    """To a link or a mailbox, or in plain text."""
    event = SendChecked(SEND, frozenset(), route, HERE, TALLY)
    assert an_engine().step(NOW, event)[1:] == [MessagesAccepted((ONE,)), *WRITTEN[route]]


def test_a_delete_and_reading_are_our_own() -> None:
    """They become items."""
    message = OwnMessage(ONE, BOB, 1, MessageState.DELIVERED)
    delete = DeleteChecked(DeleteRequested(TWO, BOB), False, message, Route.KEYED, TALLY)
    effects = an_engine().step(NOW, delete)
    assert effects[-1] == DeleteProgressed(TWO, BOB, DeleteOutcome.QUEUED)
    read = ReadChecked(ReadNoted(TWO, BOB, 77), False, Route.KEYED, TALLY)
    assert isinstance(an_engine().step(NOW, read)[0], StoreItem)


def test_an_engine_knows_its_own_key_and_policy() -> None:
    """What somebody writes to itself is under its key; what others delete is as its owner chose."""
    engine = Engine(ALICES_KEY, Policy(deletes=Deletes.WIPE), classic_text_bytes_max=1)
    message = OwnMessage(ONE, BOB, 1, MessageState.DELIVERED)
    delete = DeleteChecked(DeleteRequested(TWO, BOB), False, message, Route.SELF, TALLY)
    assert EraseMessage(ONE, ALICES_KEY) in engine.step(NOW, delete)
    orphan = replace(MAIL, orphans=frozenset({TWO}))
    assert not any("StoreReceived" in repr(effect) for effect in engine.step(NOW, orphan))
    refused = engine.step(NOW, SendChecked(SEND, frozenset(), Route.CLASSIC, HERE, TALLY))
    assert refused == [SendRefused(BOB, (ONE,), "too-long")]


def test_classic_arrivals_go_to_the_inbox() -> None:
    """A text is stored, a delete applied to the newest text."""
    text = TextArrived(ONE, BOB, DisplayText("hi"), "192.0.2.7")
    assert an_engine().step(NOW, ArrivalChecked(text, False, BOB, TALLY))[-1] == Settle(ONE)
    delete = DeleteArrived(TWO, BOB, "192.0.2.7")
    newest = NewestReceived(ONE, "192.0.2.7")
    event = ArrivalChecked(delete, False, BOB, TALLY, newest)
    assert PeerDeleted(ONE, BOB) in an_engine().step(NOW, event)


def test_items_over_a_link_are_acknowledged_and_owe_nothing() -> None:
    """The receipt says it all."""
    effects = an_engine().step(NOW, replace(MAIL, link=LINK, mail=None))
    assert effects[-1] == Acknowledge(LINK, ((1, 1),))


def test_items_by_mail_are_owed_at_once() -> None:
    """Their author is looked up, or told over the link that is open. Word of what we sent itself
    is no reason to write back."""
    assert an_engine().step(NOW, MAIL)[-3:] == [MailSettled(5), *LOOKED_UP]
    assert an_engine().step(NOW, replace(MAIL, items=()))[-1] == MailSettled(5)
    engine = an_engine()
    engine.step(NOW, Admitted(LINK, BOB, 0, has_work=False))
    assert engine.step(NOW, MAIL)[-1] == AskTransmit(LINK, BOB, 0, 0, 0, owed=True)


def test_reports_of_classic_connections_go_to_the_outbox() -> None:
    """A message on its way: each report leads to the next step."""
    engine = sent(Route.CLASSIC)
    refused = DialFailed(ONE, BOB, "refused", 0)
    assert engine.step(NOW, refused)[-1] == PeerPostponed(BOB, "refused")
    assert engine.step(NOW, TimerFired(BOB, 0)) == [Locate(BOB)]
    routed = Routed(BOB, 0, Route.CLASSIC, HERE)
    assert engine.step(NOW, routed)[-1] == Dial(ONE, BOB, HERE)
    assert isinstance(engine.step(NOW, Connected(ONE, BOB))[-1], HandOver)
    assert engine.step(NOW, Handed(ONE, BOB))[-1] == AskHead(BOB)
    second = replace(ENTRY, item_id=TWO, seq=2)
    assert engine.answer(NOW, loaded(Route.CLASSIC, second)) == [Dial(TWO, BOB, HERE)]
    engine.step(NOW, Connected(TWO, BOB))
    assert engine.step(NOW, HandOverBroke(TWO, BOB, "reset"))[-1] == AskHead(BOB)
    assert engine.answer(NOW, loaded(Route.CLASSIC, None)) == []
    assert engine.step(NOW, TimerFired(BOB, 0)) == []


def test_reports_of_links_and_mailboxes_go_to_the_lanes() -> None:
    """A message on its way to a peer with a key."""
    engine = sent(Route.KEYED)
    assert engine.step(NOW, replace(KEYED, can_mail=True)) == [OpenLink(BOB, BOBS_KEY, (HERE,))]
    engine.step(NOW, LinkFailed(BOB, "refused", 0))
    engine.answer(NOW, Carried(BOB, ((1, 1),), 64), by_mail=True)
    deposited = engine.step(NOW, Deposited(BOB, ((1, 1),), (), NOW + EXPIRY_MS))
    assert isinstance(deposited[0], StoreDeposit)
    assert engine.step(NOW, DepositFailed(BOB, "mailbox-full", 0)) == []
    assert engine.step(NOW, TimerFired(BOB, 0)) == LOOKED_UP
    ask = engine.step(NOW, Admitted(LINK, BOB, 1, has_work=True))[-1]
    assert isinstance(ask, AskTransmit)
    engine.answer(NOW, Carried(BOB, ((1, 1),), 64))
    settled = [SettleItems(BOB, ((1, 1),))]
    assert engine.step(NOW, ReceiptArrived(LINK, ((1, 1),))) == settled
    assert engine.step(NOW, ConfirmChecked(BOB, ((1, 1),))) == settled
    assert engine.step(NOW, LinkClosed(LINK, "lost", 0)) == []


# --- one lane for one peer -----------------------------------------------------------------------


@pytest.mark.parametrize("route", [Route.CLASSIC, Route.UNKNOWN, Route.CLASSIC_REFUSED])
def test_a_lane_is_taken_up_by_those_whose_it_is(route: Route) -> None:
    """By what is known of the peer now. The outbox goes on asking for its head, lanes do not."""
    engine = an_engine()
    event = Restored(BOB, ENTRY, None, route, restarted=True)
    assert engine.step(NOW, event) == [SetTimer(BOB, NOW)]
    assert engine.step(NOW, TimerFired(BOB, 0)) == [Locate(BOB)]


@pytest.mark.parametrize(
    ("entry", "route"),
    [(ENTRY, Route.KEYED), (ENTRY, Route.STOPPED), (None, Route.KEYED), (None, Route.UNKNOWN)],
)
def test_a_keyed_lane_or_a_debt_is_taken_up_by_the_lanes(entry: Entry | None, route: Route) -> None:
    """Something owed is never told in plain text."""
    engine = an_engine()
    event = Restored(BOB, entry, None, route, restarted=False)
    assert engine.step(NOW, event) == [SetTimer(BOB, NOW + RETRY_MS_MIN)]
    assert engine.step(NOW, TimerFired(BOB, 0)) == LOOKED_UP


def test_a_peer_that_turns_out_to_have_a_key_gets_nothing_in_plain_text() -> None:
    """Its items are asked for again, and go over a link."""
    engine = sent(Route.UNKNOWN)
    engine.step(NOW, DialFailed(ONE, BOB, "refused", 0))
    engine.step(NOW, TimerFired(BOB, 0))
    assert engine.step(NOW, KEYED) == [AskHead(BOB)]
    assert engine.answer(NOW, loaded(Route.KEYED)) == LOOKED_UP
    assert engine.step(NOW, KEYED) == [OpenLink(BOB, BOBS_KEY, (HERE,))]
    assert engine.step(NOW, Connected(ONE, BOB)) != []  # closed unused


def test_a_key_that_comes_while_a_connection_is_opened_closes_it_unused() -> None:
    """The last moment before a byte leaves."""
    engine = sent(Route.CLASSIC)
    assert engine.step(NOW, Barred(ONE, BOB))[0] == Abandon(ONE)
    assert engine.step(NOW, KEYED) == [AskHead(BOB)]
    assert engine.answer(NOW, loaded(Route.KEYED)) == LOOKED_UP


def test_what_waits_behind_plain_text_stops_with_a_key_that_nobody_accepted() -> None:
    """It is a name with a key all the same."""
    engine = sent(Route.CLASSIC)
    engine.step(NOW, Connected(ONE, BOB))
    engine.step(NOW, Handed(ONE, BOB))
    behind = replace(ENTRY, item_id=TWO, seq=2)
    assert engine.answer(NOW, loaded(Route.STOPPED, behind)) == LOOKED_UP


def test_who_is_forgotten_is_reached_by_nothing() -> None:
    """Neither in plain text nor by what waits for a key."""
    engine = sent(Route.CLASSIC)
    assert engine.forgotten(BOB) == [Abandon(ONE)]
    assert engine.step(NOW, TimerFired(BOB, 0)) == []
    keyed = sent(Route.KEYED)
    keyed.step(NOW, replace(KEYED, addresses=()))
    assert keyed.forgotten(BOB) == LOOKED_UP


def test_what_lies_sealed_to_an_old_key_goes_to_the_new_one() -> None:
    """Guards ``moved``."""
    engine = sent(Route.KEYED)
    assert engine.moved(BOB) == [ForgetDeposits(BOB)]
    engine.step(NOW, replace(KEYED, addresses=()))
    assert engine.moved(BOB) == [ForgetDeposits(BOB), *LOOKED_UP]


def test_a_lookup_that_both_lanes_of_a_peer_wait_for_serves_both() -> None:
    """One holds what was written while nobody knew the peer, the other what is owed to it since.
    Guards the lanes' share of ``_routed``: without it they would wait for ever."""
    engine = an_engine()
    engine.step(NOW, SendChecked(SEND, frozenset(), Route.UNKNOWN, None, TALLY))
    assert engine.step(NOW, MAIL)[-1] == Locate(BOB)
    assert engine.step(NOW, KEYED) == [OpenLink(BOB, BOBS_KEY, (HERE,)), AskHead(BOB)]
    assert engine.answer(NOW, loaded(Route.KEYED)) == []
    ask = engine.step(NOW, Admitted(LINK, BOB, 1, has_work=True))[-1]
    assert isinstance(ask, AskTransmit)
    assert ask.owed


def test_a_link_takes_over_what_waits_for_a_peer_of_whom_nothing_was_known() -> None:
    """It came by itself."""
    engine = sent(Route.UNKNOWN)
    ask = engine.step(NOW, Admitted(LINK, BOB, 1, has_work=True))[-1]
    assert isinstance(ask, AskTransmit)
    assert engine.step(NOW, DialFailed(ONE, BOB, "refused", 0)) == []


def test_bytes_that_are_on_their_way_in_plain_text_end_first() -> None:
    """How that went has to be noted; what stands behind goes over a link."""
    engine = sent(Route.CLASSIC)
    engine.step(NOW, Connected(ONE, BOB))
    assert engine.step(NOW, KEYED) == []
    assert engine.step(NOW, Handed(ONE, BOB))[-1] == AskHead(BOB)
    behind = replace(ENTRY, item_id=TWO, seq=2)
    assert engine.answer(NOW, loaded(Route.KEYED, behind)) == LOOKED_UP


# --- another key ---------------------------------------------------------------------------------


def test_a_link_ends_when_another_key_comes_and_a_decision_goes_on() -> None:
    """Nothing goes to the old key meanwhile."""
    engine = sent(Route.KEYED)
    engine.step(NOW, Admitted(LINK, BOB, 1, has_work=True))
    engine.answer(NOW, Carried(BOB, ((1, 1),), 64))
    assert engine.stopped(BOB) == [CloseLink(LINK, "key-changed")]
    assert engine.step(NOW, LinkClosed(LINK, "key-changed", 0)) == []
    assert engine.decided(BOB) == LOOKED_UP


# --- the same again ------------------------------------------------------------------------------


def test_two_engines_that_are_told_the_same_do_the_same() -> None:
    """No clock, no chance: what a failed run was told is all that it takes to see it again."""
    events = [
        SendChecked(SEND, frozenset(), Route.KEYED, HERE, TALLY),
        KEYED,
        LinkFailed(BOB, "refused", 0.25),
        TimerFired(BOB, 0.75),
        MAIL,
        Admitted(LINK, BOB, 1, has_work=True),
        LinkClosed(LINK, "lost", 0.5),
    ]
    one, other = an_engine(), an_engine()
    assert [one.step(NOW, event) for event in events] == [
        other.step(NOW, event) for event in events
    ]
