"""Lanes of peers with a key, driven by hand: the test plays the store, the directory, the links
and the mailbox, and says what has to follow from what they report."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.delivery.made import BOB, BOBS_KEY, CAROL, HERE, NOW, ONE, THERE, TWO

from netchat.delivery.checked import Admitted, Carried, ConfirmChecked, Entry, Restored, Routed
from netchat.delivery.effects import (
    AskDeposit,
    AskHead,
    AskTransmit,
    CloseLink,
    DropOwed,
    Effect,
    ExpireItems,
    ForgetDeposits,
    Locate,
    MarkLeft,
    OpenLink,
    SetTimer,
    SettleItems,
    StoreDeposit,
)
from netchat.delivery.inputs import (
    Deposited,
    DepositFailed,
    ItemState,
    LinkClosed,
    LinkFailed,
    ReceiptArrived,
    Route,
    TimerFired,
)
from netchat.delivery.lanes import Lanes
from netchat.delivery.notices import PeerPostponed
from netchat.limits import (
    MAIL_TTL_MS,
    RETRY_MS_MAX,
    RETRY_MS_MIN,
    RETRY_STORED_MS_MAX,
    WINDOW_BYTES_MAX,
    WINDOW_ITEMS_MAX,
)
from netchat.model import ItemKind, Ranges

LOOKED_UP = [ExpireItems(BOB), Locate(BOB)]
OPEN = OpenLink(BOB, BOBS_KEY, (HERE, THERE))
SOON = SetTimer(BOB, NOW + RETRY_MS_MIN // 2)
"""The first retry, with the least jitter."""
LINK, OTHER = 7, 8
UNTIL = NOW + MAIL_TTL_MS


def found(
    *, can_mail: bool = True, present: bool = True, there: bool = True, answered: bool = True
) -> Routed:
    """What trust and the directory say of bob, whose key is pinned."""
    addresses = (HERE, THERE) if there else ()
    return Routed(
        BOB,
        0,
        Route.KEYED,
        key=BOBS_KEY,
        addresses=addresses,
        can_mail=can_mail,
        present=present,
        answered=answered,
    )


def off(route: Route) -> Routed:
    return Routed(BOB, 0, route)


def room(after: int, items: int = WINDOW_ITEMS_MAX, *, owed: bool = False) -> AskTransmit:
    """A question for items, of which no byte is on the link yet."""
    return AskTransmit(LINK, BOB, after, items, WINDOW_BYTES_MAX, owed)


def sent(lanes: Lanes, numbers: Ranges, size: int = 0, owed: int = 0) -> list[Effect]:
    return lanes.carried(Carried(BOB, numbers, size, owed), by_mail=False)


def mailed(lanes: Lanes, numbers: Ranges, owed: int = 0) -> list[Effect]:
    return lanes.carried(Carried(BOB, numbers, 0, owed), by_mail=True)


def locating(last_seq: int = 3) -> Lanes:
    lanes = Lanes()
    assert lanes.enqueued(BOB, last_seq) == LOOKED_UP
    return lanes


def dialling(*, can_mail: bool = True, last_seq: int = 3) -> Lanes:
    lanes = locating(last_seq)
    assert lanes.routed(NOW, found(can_mail=can_mail)) == [OPEN]
    return lanes


def waiting() -> Lanes:
    """A link and the mailbox were of no use."""
    lanes = dialling(can_mail=False)
    lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0))
    return lanes


def depositing() -> Lanes:
    """No link came about, and an envelope with all three items is on its way."""
    lanes = dialling()
    assert lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0)) == [SOON, AskDeposit(BOB)]
    assert mailed(lanes, ((1, 3),)) == [MarkLeft(BOB, 3)]
    return lanes


def linked(last_seq: int = 3) -> Lanes:
    """A link with all items on it, none confirmed."""
    lanes = dialling(last_seq=last_seq)
    lanes.admitted(Admitted(LINK, BOB, last_seq, has_work=True))
    assert sent(lanes, ((1, last_seq),)) == []
    return lanes


ALL = [Lanes, locating, dialling, waiting, depositing, linked]


# --- finding the peer ----------------------------------------------------------------------------


def test_the_way_to_a_peer_that_is_there() -> None:
    """It is looked up and dialled, and all that waits goes over the link in its order; from that
    commit on it may have left."""
    lanes = dialling()
    assert lanes.admitted(Admitted(LINK, BOB, 3, has_work=True)) == [
        MarkLeft(BOB, 3),
        room(0, owed=True),
    ]
    assert lanes.has_link(BOB)
    sent(lanes, ((1, 3),))
    settled = SettleItems(BOB, ((1, 3),), ((2, "kept"),))
    assert lanes.receipt(ReceiptArrived(LINK, ((1, 3),), ((2, "kept"),))) == [settled]
    assert lanes.link_closed(NOW, LinkClosed(LINK, "lost", 0)) == []
    assert not lanes.has_link(BOB)


@pytest.mark.parametrize("make", [locating, dialling, depositing])
def test_what_comes_meanwhile_waits_for_what_is_under_way(make: Callable[[], Lanes]) -> None:
    """One lookup, one dial, one envelope at a time."""
    assert make().enqueued(BOB, 4) == []


def test_what_comes_while_a_lane_waits_is_a_reason_to_try_at_once() -> None:
    """And the back-off begins anew."""
    lanes = waiting()
    assert lanes.enqueued(BOB, 4) == LOOKED_UP
    lanes.routed(NOW, found(can_mail=False))
    assert lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0))[0] == SOON


def test_what_comes_over_an_open_link_goes_at_once() -> None:
    """There is nothing to look up."""
    lanes = linked()
    lanes.receipt(ReceiptArrived(LINK, ((1, 3),)))
    assert lanes.enqueued(BOB, 4) == [room(3)]


@pytest.mark.parametrize(
    ("routed", "reason"),
    [
        (found(there=False, can_mail=False), "not-registered"),
        (found(there=False, can_mail=False, answered=False), "directory-unreachable"),
        (off(Route.STOPPED), "key-changed"),
    ],
)
def test_a_peer_that_cannot_be_reached_in_any_way_is_postponed(routed: Routed, reason: str) -> None:
    """Whoever waits for it may stop."""
    assert locating().routed(NOW, routed) == [SOON, PeerPostponed(BOB, reason)]


@pytest.mark.parametrize("make", [Lanes, dialling, waiting, depositing, linked])
def test_an_answer_of_the_directory_that_nobody_waits_for_changes_nothing(
    make: Callable[[], Lanes],
) -> None:
    """A late one must not open a second link."""
    lanes = make()
    assert lanes.routed(NOW, found()) == []
    assert lanes.routed(NOW, off(Route.STOPPED)) == []


@pytest.mark.parametrize("make", [Lanes, locating, dialling, linked])
def test_a_timer_or_a_failure_that_comes_late_changes_nothing(make: Callable[[], Lanes]) -> None:
    """Only a lane that waits is woken, and only one that dials is put off."""
    lanes = make()
    assert lanes.timer_fired(TimerFired(BOB, 0)) == []
    if make is not dialling:
        assert lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0)) == []


def test_the_timer_looks_again() -> None:
    """The peer may have moved, or come back."""
    assert waiting().timer_fired(TimerFired(BOB, 0)) == LOOKED_UP


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999_999])
def test_back_off_doubles_up_to_its_limit_within_its_jitter(jitter: float) -> None:
    """A peer that comes back gets its messages within 15 s."""
    lanes = dialling(can_mail=False)
    base_ms = RETRY_MS_MIN
    for _ in range(40):
        timer, postponed = lanes.link_failed(NOW, LinkFailed(BOB, "refused", jitter))
        assert timer == SetTimer(BOB, NOW + int(base_ms * (1 + jitter) / 2))
        assert postponed == PeerPostponed(BOB, "refused")
        base_ms = min(base_ms * 2, RETRY_MS_MAX)
        lanes.timer_fired(TimerFired(BOB, jitter))
        lanes.routed(NOW, found(can_mail=False))


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL)
def test_a_link_is_used_whoever_dialled_it(make: Callable[[], Lanes]) -> None:
    """Everything that waits goes over it, and so does what is owed; whatever else was under way
    to get a link comes too late."""
    lanes = make()
    effects = lanes.admitted(Admitted(OTHER, BOB, 3, has_work=True))
    assert effects[-1] == AskTransmit(OTHER, BOB, 0, WINDOW_ITEMS_MAX, WINDOW_BYTES_MAX, owed=True)
    assert lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0)) == []
    assert lanes.routed(NOW, found()) == []
    assert lanes.timer_fired(TimerFired(BOB, 0)) == []


def test_a_link_for_which_nothing_waits_costs_nothing() -> None:
    """Not a question; the next message goes over it, and only that."""
    lanes = Lanes()
    assert lanes.admitted(Admitted(LINK, BOB, 3, has_work=False)) == []
    assert lanes.enqueued(BOB, 4) == [room(3)]


def test_a_new_link_replaces_the_old_one() -> None:
    """What is unconfirmed goes again, over the new one; what the old one still says is not
    believed, and that it closes is no news."""
    lanes = linked()
    assert lanes.admitted(Admitted(OTHER, BOB, 3, has_work=True)) == [
        CloseLink(LINK, "replaced"),
        MarkLeft(BOB, 3),
        AskTransmit(OTHER, BOB, 0, WINDOW_ITEMS_MAX, WINDOW_BYTES_MAX, owed=True),
    ]
    assert lanes.receipt(ReceiptArrived(LINK, ((1, 3),))) == []
    assert lanes.link_closed(NOW, LinkClosed(LINK, "replaced", 0)) == []
    assert lanes.has_link(BOB)


def test_a_receipt_counts_only_for_what_went_over_that_very_link() -> None:
    """A peer may name any number: what was never given to it is not delivered."""
    lanes = linked()
    assert lanes.admitted(Admitted(OTHER, CAROL, 0, has_work=False)) == []
    assert lanes.receipt(ReceiptArrived(OTHER, ((1, 3),))) == []
    assert lanes.receipt(ReceiptArrived(LINK, ((4, 2**53 - 1),))) == []
    assert lanes.receipt(ReceiptArrived(99, ((1, 3),))) == []
    settled = SettleItems(BOB, ((2, 3),))
    assert lanes.receipt(ReceiptArrived(LINK, ((2, 900),))) == [settled]
    assert lanes.receipt(ReceiptArrived(LINK, ((2, 3),))) == []


def test_before_the_new_link_carried_anything_its_receipts_mean_nothing() -> None:
    """Though the same numbers went over the link before it."""
    lanes = linked()
    lanes.admitted(Admitted(OTHER, BOB, 3, has_work=True))
    assert lanes.receipt(ReceiptArrived(OTHER, ((1, 3),))) == []


def test_a_link_that_closes_with_unconfirmed_items_is_replaced_soon() -> None:
    """Whether the mailbox helps is asked again then, so nobody is told to stop waiting yet."""
    lanes = linked()
    lanes.receipt(ReceiptArrived(LINK, ((1, 1),)))
    assert lanes.link_closed(NOW, LinkClosed(LINK, "lost", 0)) == [SOON]
    assert lanes.timer_fired(TimerFired(BOB, 0)) == LOOKED_UP
    assert lanes.routed(NOW, found(there=False, can_mail=False))[1:] == [
        PeerPostponed(BOB, "not-registered")
    ]


def test_a_link_that_closes_before_its_window_took_everything_is_replaced() -> None:
    """All that it carried is confirmed, and there was more."""
    lanes = linked(last_seq=WINDOW_ITEMS_MAX)
    assert lanes.enqueued(BOB, WINDOW_ITEMS_MAX + 1) == []
    assert lanes.receipt(ReceiptArrived(LINK, ((1, WINDOW_ITEMS_MAX),)))[1:] == [
        room(WINDOW_ITEMS_MAX)
    ]
    assert lanes.link_closed(NOW, LinkClosed(LINK, "lost", 0)) == [SOON]


def test_a_peer_that_closes_every_link_at_once_is_dialled_later_and_later() -> None:
    """A link that opens is no success, only a receipt is. From the second time on its mailbox is
    used: what the directory said a moment ago still stands."""
    lanes = dialling()
    delays_ms = []
    for turn in range(6):
        lanes.admitted(Admitted(turn, BOB, 3, has_work=True))
        sent(lanes, ((1, 3),))
        timer, *more = lanes.link_closed(NOW, LinkClosed(turn, "key-not-accepted", 0))
        assert isinstance(timer, SetTimer)
        delays_ms.append(timer.at_ms - NOW)
        assert more == ([AskDeposit(BOB)] if turn else [])
        lanes.timer_fired(TimerFired(BOB, 0))
        lanes.routed(NOW, found())
    assert delays_ms == [500, 1_000, 2_000, 4_000, 7_500, 7_500]


def test_a_peer_that_closes_every_link_and_has_no_mailbox_is_postponed() -> None:
    """Nothing may take it."""
    lanes = dialling(can_mail=False)
    told = []
    for turn in range(2):
        lanes.admitted(Admitted(turn, BOB, 3, has_work=True))
        sent(lanes, ((1, 3),))
        told.append(lanes.link_closed(NOW, LinkClosed(turn, "busy", 0))[1:])
        lanes.timer_fired(TimerFired(BOB, 0))
        lanes.routed(NOW, found(can_mail=False))
    assert told == [[], [PeerPostponed(BOB, "busy")]]


def test_a_receipt_makes_the_next_retry_soon_again() -> None:
    """That link was good."""
    lanes = waiting()
    lanes.admitted(Admitted(LINK, BOB, 3, has_work=True))
    sent(lanes, ((1, 3),))
    lanes.receipt(ReceiptArrived(LINK, ((1, 1),)))
    assert lanes.link_closed(NOW, LinkClosed(LINK, "lost", 0)) == [SOON]


# --- the window ----------------------------------------------------------------------------------


def test_a_peer_that_moved_is_looked_up_soon() -> None:
    """Though all of it lay in the mailbox of the old key, whose owner would have been woken."""
    lanes = depositing()
    lanes.deposited(NOW, Deposited(BOB, ((1, 3),), (), UNTIL))
    assert lanes.moved(BOB) == [ForgetDeposits(BOB), *LOOKED_UP]
    for _ in range(9):
        lanes.routed(NOW, found(can_mail=False))
        again = lanes.link_failed(NOW, LinkFailed(BOB, "refused", 1.0))[0]
        lanes.timer_fired(TimerFired(BOB, 0))
    assert again == SetTimer(BOB, NOW + RETRY_MS_MAX)


def test_a_peer_of_whom_nothing_waits_may_move() -> None:
    """What the disk says of mailboxes is forgotten all the same."""
    assert Lanes().moved(BOB) == [ForgetDeposits(BOB)]


def test_the_window_opens_again_at_half() -> None:
    """A receipt of one item does not cost a read of one item."""
    lanes = linked(last_seq=WINDOW_ITEMS_MAX)
    assert lanes.enqueued(BOB, 10_000) == []
    half = WINDOW_ITEMS_MAX // 2
    first = SettleItems(BOB, ((1, half - 1),))
    assert lanes.receipt(ReceiptArrived(LINK, ((1, half - 1),))) == [first]
    assert lanes.receipt(ReceiptArrived(LINK, ((half, half),))) == [
        SettleItems(BOB, ((half, half),)),
        room(WINDOW_ITEMS_MAX, half),
    ]


def test_the_window_is_one_of_bytes_too() -> None:
    """Long texts: bytes are counted anew when all of them are confirmed."""
    lanes = dialling(last_seq=10)
    lanes.admitted(Admitted(LINK, BOB, 10, has_work=True))
    sent(lanes, ((1, 4),), size=WINDOW_BYTES_MAX)
    assert lanes.receipt(ReceiptArrived(LINK, ((1, 3),))) == [SettleItems(BOB, ((1, 3),))]
    assert lanes.receipt(ReceiptArrived(LINK, ((4, 4),))) == [
        SettleItems(BOB, ((4, 4),)),
        room(4),
    ]


def test_a_link_that_was_given_all_there_is_asks_no_more() -> None:
    """Numbers may end in items that are gone: expired, or cancelled in plain text."""
    lanes = dialling()
    lanes.admitted(Admitted(LINK, BOB, 9, has_work=True))
    sent(lanes, ((1, 3),))
    assert lanes.receipt(ReceiptArrived(LINK, ((1, 3),)))[1:] == [room(3)]
    sent(lanes, ())
    assert lanes.link_closed(NOW, LinkClosed(LINK, "lost", 0)) == []


def test_what_is_owed_goes_over_a_link_with_a_full_window_and_skips_nothing() -> None:
    """No items are asked for then, so that none came along says nothing about those behind."""
    lanes = linked(last_seq=WINDOW_ITEMS_MAX)
    lanes.enqueued(BOB, 10_000)
    assert lanes.owes(BOB) == [AskTransmit(LINK, BOB, WINDOW_ITEMS_MAX, 0, 0, owed=True)]
    sent(lanes, (), owed=1)
    effects = lanes.receipt(ReceiptArrived(LINK, ((1, WINDOW_ITEMS_MAX),)))
    assert effects[1:] == [room(WINDOW_ITEMS_MAX)]


def test_what_the_peer_confirms_by_id_makes_room_as_well() -> None:
    """It took the same items out of its mailbox. The receipts that follow say nothing new, so
    nothing else would let the rest go."""
    lanes = dialling(last_seq=10)
    lanes.admitted(Admitted(LINK, BOB, 10, has_work=True))
    sent(lanes, ((1, 4),), size=WINDOW_BYTES_MAX)
    assert lanes.confirmed(ConfirmChecked(BOB, ((1, 4),))) == [
        SettleItems(BOB, ((1, 4),)),
        room(4),
    ]
    assert lanes.receipt(ReceiptArrived(LINK, ((1, 4),))) == []


def test_a_lane_for_which_nothing_waits_ends() -> None:
    """All was confirmed by mail, or only a debt was paid: nobody is dialled for nothing."""
    lanes = waiting()
    lanes.confirmed(ConfirmChecked(BOB, ((1, 3),)))
    assert lanes.carried(Carried(BOB, (), 0, is_empty=True), by_mail=True) == []
    assert lanes.timer_fired(TimerFired(BOB, 0)) == []
    dialled = dialling()
    dialled.carried(Carried(BOB, (), 0, is_empty=True), by_mail=True)
    assert dialled.link_failed(NOW, LinkFailed(BOB, "refused", 0)) != []  # it was there
    talking = linked()
    talking.carried(Carried(BOB, (), 0, is_empty=True), by_mail=True)
    assert talking.has_link(BOB)


def test_a_lane_without_a_mailbox_ends_when_its_peer_is_looked_up() -> None:
    """What waited has expired, or came by mail. Not while an envelope is on its way."""
    nothing = replace(found(can_mail=False), has_work=False)
    lanes = waiting()
    assert lanes.timer_fired(TimerFired(BOB, 0)) == LOOKED_UP
    assert lanes.routed(NOW, nothing) == []
    assert lanes.timer_fired(TimerFired(BOB, 0)) == []
    busy = depositing()
    assert busy.timer_fired(TimerFired(BOB, 0)) == LOOKED_UP
    assert busy.routed(NOW, nothing) == [OPEN]


# --- what is owed --------------------------------------------------------------------------------


def test_what_is_owed_is_work_of_its_own() -> None:
    """For a peer that mailed and is not linked: it is looked up, and no number is asked for."""
    lanes = Lanes()
    assert lanes.owes(BOB) == LOOKED_UP
    lanes.routed(NOW, found())
    lanes.admitted(Admitted(LINK, BOB, 0, has_work=True))
    assert sent(lanes, (), owed=2) == []
    assert lanes.owes(BOB) == [AskTransmit(LINK, BOB, 0, 0, 0, owed=True)]
    assert lanes.link_closed(NOW, LinkClosed(LINK, "lost", 0)) == []


def test_what_is_owed_goes_by_mail_to_a_peer_that_is_away() -> None:
    """And is dropped when it lies there. Nothing of ours leaves with it."""
    lanes = Lanes()
    lanes.owes(BOB)
    assert lanes.routed(NOW, found(there=False))[1:] == [AskDeposit(BOB)]
    assert mailed(lanes, (), owed=2) == []
    assert lanes.owes(BOB) == []  # with the next envelope
    deposited = Deposited(BOB, (), (ONE, TWO), UNTIL)
    assert lanes.deposited(NOW, deposited)[:2] == [DropOwed(BOB, (ONE, TWO)), AskDeposit(BOB)]


# --- the mailbox: of a peer that is away, or cannot be dialled ---------------------------------


@pytest.mark.parametrize(
    ("routed", "expected"),
    [
        (found(present=False), [AskDeposit(BOB), OPEN]),
        (found(present=False, can_mail=False), [OPEN]),
        (found(present=True), [OPEN]),
        (found(present=False, there=False), [SOON, AskDeposit(BOB)]),
        (found(present=True, there=False), [SOON, AskDeposit(BOB)]),
    ],
)
def test_the_mailbox_is_used_at_once_only_when_the_peer_is_away(
    routed: Routed, expected: list[Effect]
) -> None:
    """Where it was may still answer; and never two envelopes of the same."""
    assert locating().routed(NOW, routed) == expected


def test_while_an_envelope_may_still_be_taken_nobody_is_told_to_stop_waiting() -> None:
    """A send that waits for its outcome may yet hear `stored`."""
    lanes = locating()
    lanes.routed(NOW, found(present=False))
    mailed(lanes, ((1, 3),))
    assert lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0)) == [SOON]
    failed = DepositFailed(BOB, "mailbox-full", 0)
    assert lanes.deposit_failed(NOW, failed) == [
        SetTimer(BOB, NOW + RETRY_MS_MIN),
        PeerPostponed(BOB, "mailbox-full"),
    ]
    assert lanes.deposit_failed(NOW, failed) == []


def test_a_deposit_that_fails_behind_one_that_did_not_is_tried_again_soon() -> None:
    """Not only when the first one would be looked after."""
    lanes = depositing()
    lanes.deposited(NOW, Deposited(BOB, ((1, 2),), (), UNTIL))
    mailed(lanes, ((3, 3),))
    again, _ = lanes.deposit_failed(NOW, DepositFailed(BOB, "directory-unreachable", 0))
    assert again == SetTimer(BOB, NOW + RETRY_MS_MIN)


def test_a_deposit_that_fails_while_the_peer_is_dialled_tells_nobody_yet() -> None:
    """The link may come about; and if not, that is told."""
    lanes = locating()
    lanes.routed(NOW, found(present=False))
    mailed(lanes, ((1, 3),))
    assert lanes.deposit_failed(NOW, DepositFailed(BOB, "mailbox-full", 0)) == []
    assert lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0)) == [
        SOON,
        PeerPostponed(BOB, "refused"),
    ]


@pytest.mark.parametrize("make", [Lanes, locating, dialling, waiting])
def test_a_failed_deposit_of_nobody_changes_nothing(make: Callable[[], Lanes]) -> None:
    """It comes too late."""
    assert make().deposit_failed(NOW, DepositFailed(BOB, "mailbox-full", 0)) == []


def test_what_lies_in_the_mailbox_is_noted_and_what_came_meanwhile_follows() -> None:
    """The owner of the mailbox is woken and comes to us, so we look rarely from now on."""
    lanes = depositing()
    assert lanes.deposited(NOW, Deposited(BOB, ((1, 3),), (), UNTIL)) == [
        StoreDeposit(BOB, ((1, 3),), UNTIL),
        AskDeposit(BOB),
        SetTimer(BOB, NOW + RETRY_STORED_MS_MAX),
    ]
    # Whoever waits for a delete is told that it takes its time.
    assert mailed(lanes, ()) == [PeerPostponed(BOB, "stored")]


def test_while_the_peer_is_dialled_nobody_is_told_that_all_of_it_lies_in_the_mailbox() -> None:
    lanes = locating()
    assert lanes.routed(NOW, found(present=False)) == [AskDeposit(BOB), OPEN]
    assert mailed(lanes, ()) == []


def test_one_envelope_at_a_time() -> None:
    """A lookup while it is on its way leads to a dial, and to no second copy; nor does a link
    that opens and closes meanwhile."""
    lanes = depositing()
    assert lanes.timer_fired(TimerFired(BOB, 0)) == LOOKED_UP
    assert lanes.routed(NOW, found(present=False)) == [OPEN]
    effects = lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0))
    assert AskDeposit(BOB) not in effects
    lanes.admitted(Admitted(LINK, BOB, 3, has_work=True))
    sent(lanes, ((1, 3),))
    assert len(lanes.link_closed(NOW, LinkClosed(LINK, "lost", 0))) == 1
    lanes.timer_fired(TimerFired(BOB, 0))
    assert lanes.routed(NOW, found(present=False)) == [OPEN]


def test_an_envelope_that_arrives_while_a_link_is_open_asks_for_no_other() -> None:
    """What is not in it goes over the link."""
    lanes = depositing()
    lanes.admitted(Admitted(LINK, BOB, 4, has_work=True))
    assert lanes.deposited(NOW, Deposited(BOB, ((1, 3),), (), UNTIL)) == [
        StoreDeposit(BOB, ((1, 3),), UNTIL)
    ]


def test_while_all_of_it_lies_in_the_mailbox_the_retries_become_rare() -> None:
    """Up to two minutes, in which nobody is told anything; a new message is as urgent as any."""
    lanes = depositing()
    lanes.deposited(NOW, Deposited(BOB, ((1, 3),), (), UNTIL))
    mailed(lanes, ())
    delays_ms = []
    for _ in range(9):
        lanes.timer_fired(TimerFired(BOB, 0))
        lanes.routed(NOW, found())
        timer, ask = lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0))
        assert isinstance(timer, SetTimer)
        assert ask == AskDeposit(BOB)
        mailed(lanes, ())
        delays_ms.append(timer.at_ms - NOW)
    assert delays_ms[-1] == RETRY_STORED_MS_MAX // 2
    assert lanes.enqueued(BOB, 4) == LOOKED_UP


@pytest.mark.parametrize(
    ("said_ms", "noted_ms"),
    [
        (0, NOW + RETRY_STORED_MS_MAX),
        (NOW + 1, NOW + RETRY_STORED_MS_MAX),
        (NOW + MAIL_TTL_MS // 2, NOW + MAIL_TTL_MS // 2),
        (2**60, NOW + MAIL_TTL_MS),
    ],
)
def test_a_directory_with_a_wrong_clock_gets_nothing_twice_at_once_nor_never(
    said_ms: int, noted_ms: int
) -> None:
    """The store hands out again what is past its time: with a time that has passed already, each
    envelope would be followed by the same one."""
    effects = depositing().deposited(NOW, Deposited(BOB, ((1, 3),), (), said_ms))
    assert effects[0] == StoreDeposit(BOB, ((1, 3),), noted_ms)


def test_an_envelope_for_a_lane_that_is_gone_is_noted() -> None:
    """A link was faster, and closed; the rest of what it says is true all the same."""
    assert Lanes().deposited(NOW, Deposited(BOB, ((1, 1),), (ONE,), UNTIL)) == [
        StoreDeposit(BOB, ((1, 1),), UNTIL),
        DropOwed(BOB, (ONE,)),
    ]


@pytest.mark.parametrize("make", ALL)
def test_a_confirm_by_id_settles_whatever_the_lane_is_doing(make: Callable[[], Lanes]) -> None:
    """The store found the numbers by the ids, so they are sure."""
    results = ((2, "kept"),)
    assert make().confirmed(ConfirmChecked(BOB, ((2, 3),), results)) == [
        SettleItems(BOB, ((2, 3),), results)
    ]


def test_a_confirm_of_nothing_that_waits_changes_nothing() -> None:
    """It was confirmed before."""
    assert linked().confirmed(ConfirmChecked(BOB, ())) == []


# --- another key ---------------------------------------------------------------------------------


def test_nothing_goes_while_a_person_has_to_decide() -> None:
    """What waits then begins no lookup; the decision does."""
    lanes = Lanes()
    assert lanes.stopped(BOB, 3) == []
    assert lanes.decided(BOB) == LOOKED_UP
    assert lanes.routed(NOW, found()) == [OPEN]


def test_an_envelope_under_way_when_the_key_changes_is_the_last_one() -> None:
    """What came meanwhile must not be sealed to the old key."""
    lanes = depositing()
    lanes.timer_fired(TimerFired(BOB, 0))
    assert lanes.routed(NOW, off(Route.STOPPED)) == [SetTimer(BOB, NOW + RETRY_MS_MIN)]
    lanes.timer_fired(TimerFired(BOB, 0))
    assert lanes.deposited(NOW, Deposited(BOB, ((1, 3),), (), UNTIL)) == [
        StoreDeposit(BOB, ((1, 3),), UNTIL)
    ]
    assert lanes.routed(NOW, off(Route.STOPPED))[1:] == [PeerPostponed(BOB, "key-changed")]
    lanes.timer_fired(TimerFired(BOB, 0))
    assert lanes.routed(NOW, found(there=False))[1:] == [AskDeposit(BOB)]


def test_a_dial_that_fails_after_the_key_changed_seals_nothing() -> None:
    """Though the mailbox was usable when it began."""
    lanes = dialling()
    lanes.stopped(BOB, 4)
    assert lanes.link_failed(NOW, LinkFailed(BOB, "key-not-accepted", 0)) == [
        SOON,
        PeerPostponed(BOB, "key-not-accepted"),
    ]


def test_a_decision_begins_the_back_off_anew() -> None:
    """It was not the peer's fault."""
    lanes = locating()
    for _ in range(5):
        lanes.routed(NOW, off(Route.STOPPED))
        lanes.timer_fired(TimerFired(BOB, 0))
    lanes.routed(NOW, off(Route.STOPPED))
    assert lanes.decided(BOB) == LOOKED_UP
    lanes.routed(NOW, found(can_mail=False))
    assert lanes.link_failed(NOW, LinkFailed(BOB, "refused", 0))[0] == SOON


@pytest.mark.parametrize("make", [Lanes, locating, dialling, linked])
def test_a_decision_about_a_lane_that_does_not_wait_changes_nothing(
    make: Callable[[], Lanes],
) -> None:
    """It is on its way already, or there is nothing."""
    assert make().decided(BOB) == []


def test_a_link_with_the_old_key_ends_when_another_one_comes() -> None:
    """Nothing is sent to the name until a person decides; then all that is unconfirmed goes."""
    lanes = linked()
    assert lanes.stopped(BOB, 4) == [CloseLink(LINK, "key-changed")]
    assert not lanes.has_link(BOB)
    assert lanes.receipt(ReceiptArrived(LINK, ((1, 3),))) == []
    assert lanes.link_closed(NOW, LinkClosed(LINK, "key-changed", 0)) == []
    assert lanes.decided(BOB) == LOOKED_UP
    lanes.routed(NOW, found())
    lanes.admitted(Admitted(OTHER, BOB, 4, has_work=True))
    assert lanes.receipt(ReceiptArrived(OTHER, ((1, 3),))) == []


@pytest.mark.parametrize("make", [locating, dialling])
def test_what_is_under_way_when_a_name_is_stopped_finds_out_by_itself(
    make: Callable[[], Lanes],
) -> None:
    """The next lookup says so."""
    lanes = make()
    assert lanes.stopped(BOB) == []
    assert lanes.decided(BOB) == []


def test_a_name_for_which_nothing_waits_is_stopped_without_a_lane() -> None:
    """So a decision has nothing to begin."""
    lanes = Lanes()
    assert lanes.stopped(BOB) == []
    assert lanes.decided(BOB) == []


@pytest.mark.parametrize("route", [Route.UNKNOWN, Route.NOBODY, Route.CLASSIC])
def test_the_lane_of_somebody_whose_key_was_forgotten_ends(route: Route) -> None:
    """What was written to that name since then is asked for, and goes as that name now does."""
    lanes = locating()
    assert lanes.routed(NOW, off(route)) == [AskHead(BOB)]
    assert lanes.timer_fired(TimerFired(BOB, 0)) == []


# --- read back from the store --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "restarted", "at_ms"),
    [
        (Entry(ONE, BOB, 3, ItemKind.TEXT, ItemState.QUEUED, UNTIL), True, NOW),
        (Entry(ONE, BOB, 3, ItemKind.TEXT, ItemState.QUEUED, UNTIL), False, NOW + RETRY_MS_MIN),
        (None, True, NOW),  # something is owed
    ],
)
def test_a_lane_is_taken_up_from_the_store(
    entry: Entry | None, restarted: bool, at_ms: int
) -> None:
    """At once by a new process; after a failed commit in a moment, when its links are closed."""
    lanes = Lanes()
    event = Restored(BOB, entry, None, Route.KEYED, restarted)
    assert lanes.restored(NOW, event) == [SetTimer(BOB, at_ms)]
    assert lanes.timer_fired(TimerFired(BOB, 0)) == LOOKED_UP
