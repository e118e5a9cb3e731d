"""What counts as received, and what a delete means: each rule as input and effects."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.delivery.made import (
    BOB,
    BOBS_KEY,
    FOUR,
    NOW,
    ONE,
    STREAM,
    THREE,
    TWO,
    a_delete,
    a_read,
    a_text,
    a_void,
    an_id,
)

from netchat.delivery import inbox, ranges
from netchat.delivery.checked import ArrivalChecked, ItemsChecked, NewestReceived, Tally, Target
from netchat.delivery.effects import (
    Acknowledge,
    Effect,
    EraseMessage,
    MailSettled,
    MarkRead,
    SetMark,
    Settle,
    StoreChange,
    StoreChangeOf,
    StoreClassicReceived,
    StoreOwed,
    StoreReceived,
)
from netchat.delivery.inputs import DeleteArrived, TextArrived
from netchat.delivery.notices import DeleteIgnored, MessagesArrived, NumbersMissing, PeerDeleted
from netchat.delivery.policy import Deletes, Policy
from netchat.limits import HLC_BITS_COUNTER, HOLES_MAX
from netchat.model import ClaimedName, DisplayText, Item, MessageId, Ranges

HONOUR = Policy()
LINK = 7
HI = DisplayText("hi")


def batch(*items: Item, **more: object) -> ItemsChecked:
    """Items of bob's that come over a link; everything below the first is here."""
    known = {"upto": items[0].seq - 1} if items else {}
    made = ItemsChecked(
        peer=BOB, sender=BOBS_KEY, stream=STREAM, base=1, items=items, link=LINK, **known
    )
    return replace(made, **more)  # type: ignore[arg-type]


def arrive(event: ItemsChecked, policy: Policy = HONOUR) -> list[Effect]:
    return inbox.items_arrived(NOW, event, policy)


def of_kind(effects: Iterable[Effect], *kinds: type) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kinds)]


def answers(effects: Iterable[Effect]) -> tuple[tuple[int, str], ...]:
    """What the author is told of its changes."""
    (acknowledged,) = of_kind(effects, Acknowledge)
    assert isinstance(acknowledged, Acknowledge)
    return acknowledged.results


# --- texts ---------------------------------------------------------------------------------------


def test_texts_are_stored_then_told_then_confirmed() -> None:
    """The author hears last: only what is on this disk is delivered."""
    assert arrive(batch(a_text(1), a_text(2))) == [
        StoreReceived(BOB, BOBS_KEY, (a_text(1), a_text(2)), frozenset()),
        SetMark(BOBS_KEY, STREAM, 2, ()),
        MessagesArrived(BOB, ((ONE, HI), (TWO, HI))),
        Acknowledge(LINK, ((1, 2),)),
    ]


def test_what_is_here_already_is_confirmed_again_and_nothing_else() -> None:
    """The author did not hear of it: its link broke, or the item took two ways."""
    event = batch(a_text(1), a_text(2), seen={ONE: "", TWO: ""}, upto=2)
    assert arrive(event) == [Acknowledge(LINK, ((1, 2),))]


def test_an_item_that_comes_twice_in_one_batch_counts_once() -> None:
    """Under another number even: a message is named by its author's key and its id."""
    effects = arrive(batch(a_text(1), a_text(2, ONE)))
    assert of_kind(effects, StoreReceived, MessagesArrived) == [
        StoreReceived(BOB, BOBS_KEY, (a_text(1),), frozenset()),
        MessagesArrived(BOB, ((ONE, HI),)),
    ]
    assert effects[-1] == Acknowledge(LINK, ((1, 2),))


def test_what_comes_by_mail_is_owed_by_id_and_the_mailbox_may_forget_it() -> None:
    """The author hears over its next link, or by mail; by id, as it may have numbered anew."""
    assert arrive(batch(a_text(1), link=None, mail=5)) == [
        StoreReceived(BOB, BOBS_KEY, (a_text(1),), frozenset()),
        SetMark(BOBS_KEY, STREAM, 1, ()),
        MessagesArrived(BOB, ((ONE, HI),)),
        StoreOwed(BOB, ((ONE, ""),)),
        MailSettled(5),
    ]


def test_mail_that_was_held_here_is_owed_and_no_mailbox_has_it_any_more() -> None:
    """A person decided, and it is taken now."""
    assert arrive(batch(a_text(1), link=None))[-1] == StoreOwed(BOB, ((ONE, ""),))


def test_mail_of_confirms_alone_is_settled_and_nothing_is_owed_for_it() -> None:
    """Otherwise two nodes would thank each other for ever."""
    assert arrive(batch(link=None, mail=5, upto=0)) == [MailSettled(5)]


def test_a_void_is_confirmed_and_leaves_nothing() -> None:
    """Its number is not a hole; whatever it was, nobody sees it."""
    assert arrive(batch(a_void(1))) == [
        SetMark(BOBS_KEY, STREAM, 1, ()),
        Acknowledge(LINK, ((1, 1),)),
    ]


def test_of_many_words_of_reading_the_latest_counts() -> None:
    """They come 256 in a frame."""
    words = batch(a_read(1, hlc=77), a_read(2, hlc=99), a_read(3, hlc=5))
    assert of_kind(arrive(words), MarkRead) == [MarkRead(BOB, 99)]


def test_reading_is_noted_up_to_where_it_says() -> None:
    """By the clock of the conversation, and again when it comes again: it says the same."""
    assert arrive(batch(a_read(1, hlc=77))) == [
        MarkRead(BOB, 77),
        SetMark(BOBS_KEY, STREAM, 1, ()),
        Acknowledge(LINK, ((1, 1),)),
    ]


# --- deletes of a keyed peer ---------------------------------------------------------------------

HERE_SINCE = NOW - 1_000
TARGETS = {ONE: Target(ONE, HERE_SINCE, is_deleted=False)}
DELETE = a_delete(2, ONE)


@pytest.mark.parametrize(
    ("deletes", "erase", "result"),
    [
        (Deletes.HONOUR, EraseMessage(ONE, BOBS_KEY), ""),
        (Deletes.KEEP, EraseMessage(ONE, BOBS_KEY, keep_text=True), "kept"),
        (Deletes.WIPE, EraseMessage(ONE, BOBS_KEY, wipe=True), ""),
    ],
)
def test_a_delete_is_obeyed_as_the_owner_chose(
    deletes: Deletes, erase: EraseMessage, result: str
) -> None:
    """D3: the author is told which of the three it was, and lies are not among them."""
    effects = arrive(batch(DELETE, targets=TARGETS), Policy(deletes=deletes))
    assert effects == [
        erase,
        StoreChangeOf(BOBS_KEY, DELETE.item_id, BOB, ONE, result),
        SetMark(BOBS_KEY, STREAM, 2, ()),
        PeerDeleted(ONE, BOB),
        Acknowledge(LINK, ((2, 2),), ((2, result),) if result else ()),
    ]


@pytest.mark.parametrize(("window_ms", "result"), [(1_000, ""), (999, "refused"), (None, "")])
def test_a_window_counts_from_when_the_message_came(window_ms: int | None, result: str) -> None:
    """D2: by our own clock, because the author's could say anything."""
    effects = arrive(batch(DELETE, targets=TARGETS), Policy(delete_window_ms=window_ms))
    assert bool(of_kind(effects, EraseMessage, PeerDeleted)) is not bool(result)
    assert StoreChangeOf(BOBS_KEY, DELETE.item_id, BOB, ONE, result) in effects
    assert answers(effects) == (((2, result),) if result else ())


def test_only_its_author_can_mean_a_message() -> None:
    """D1: a target is looked up by the key that sent the delete. One that is not found there is
    remembered as that key's, and touches nothing."""
    effects = arrive(batch(a_delete(2, THREE), targets={}))
    assert of_kind(effects, EraseMessage, PeerDeleted) == []
    assert StoreChangeOf(BOBS_KEY, a_delete(2, THREE).item_id, BOB, THREE, "") in effects


@pytest.mark.parametrize("deletes", Deletes)
def test_a_message_that_comes_after_its_delete_is_never_shown(deletes: Deletes) -> None:
    """D4, and D11: no notification for it. WIPE leaves not even a tombstone."""
    effects = arrive(batch(a_text(3), orphans=frozenset({THREE})), Policy(deletes=deletes))
    tombstone = StoreReceived(BOB, BOBS_KEY, (a_text(3),), frozenset({THREE}))
    assert of_kind(effects, StoreReceived) == ([] if deletes is Deletes.WIPE else [tombstone])
    assert of_kind(effects, MessagesArrived) == []
    assert effects[-1] == Acknowledge(LINK, ((3, 3),))


@pytest.mark.parametrize("deletes", Deletes)
@pytest.mark.parametrize("delete_first", [False, True])
def test_a_message_and_its_delete_in_one_batch(deletes: Deletes, delete_first: bool) -> None:
    """In either order: it is never shown, and nobody is told that something went."""
    items = (a_delete(1, TWO), a_text(2)) if delete_first else (a_text(2), a_delete(3, TWO))
    effects = arrive(batch(*items), Policy(deletes=deletes))
    tombstone = StoreReceived(BOB, BOBS_KEY, (a_text(2),), frozenset({TWO}))
    assert of_kind(effects, StoreReceived) == ([] if deletes is Deletes.WIPE else [tombstone])
    assert of_kind(effects, MessagesArrived, EraseMessage, PeerDeleted) == []
    assert len(of_kind(effects, StoreChangeOf)) == 1
    assert answers(effects) == ()


def test_a_delete_that_comes_again_is_answered_alike() -> None:
    """What was answered is remembered with it, so its author never hears two things."""
    event = batch(DELETE, seen={DELETE.item_id: "refused"}, targets=TARGETS)
    assert of_kind(arrive(event), EraseMessage, StoreChangeOf, PeerDeleted) == []
    assert answers(arrive(event)) == ((2, "refused"),)


@pytest.mark.parametrize(("deletes", "result"), [(Deletes.HONOUR, ""), (Deletes.KEEP, "kept")])
def test_two_deletes_of_one_message_delete_once(deletes: Deletes, result: str) -> None:
    """In one batch; each gets its answer."""
    second = a_delete(3, ONE)
    effects = arrive(batch(DELETE, second, targets=TARGETS), Policy(deletes=deletes))
    assert len(of_kind(effects, EraseMessage)) == len(of_kind(effects, PeerDeleted)) == 1
    assert answers(effects) == (((2, result), (3, result)) if result else ())


def test_a_delete_of_what_is_deleted_already_changes_nothing() -> None:
    """It is gone, which is what its author wants."""
    gone = {ONE: Target(ONE, HERE_SINCE, is_deleted=True)}
    effects = arrive(batch(DELETE, targets=gone), Policy(delete_window_ms=0))
    assert of_kind(effects, EraseMessage, PeerDeleted) == []
    assert answers(effects) == ()


def test_deletes_by_mail_are_answered_by_id() -> None:
    """As all that comes that way."""
    event = batch(DELETE, targets=TARGETS, link=None, mail=5)
    effects = arrive(event, Policy(deletes=Deletes.KEEP))
    assert StoreOwed(BOB, ((DELETE.item_id, "kept"),)) in effects


# --- which numbers are here ----------------------------------------------------------------------


def marks(effects: Iterable[Effect]) -> list[Effect]:
    return of_kind(effects, SetMark, NumbersMissing)


def test_a_stream_that_begins_anywhere_begins_without_a_hole() -> None:
    """Nothing says that what is below was meant for this disk: it went to an older one, or in
    plain text."""
    assert marks(arrive(batch(a_text(7), base=7, upto=None))) == [SetMark(BOBS_KEY, STREAM, 7, ())]


def test_items_may_come_out_of_order() -> None:
    """Mail is slower than a link. What is ahead waits for what is between."""
    assert marks(arrive(batch(a_text(4), upto=1))) == [SetMark(BOBS_KEY, STREAM, 1, ((4, 4),))]
    event = batch(a_text(2), a_text(3), upto=1, ahead=((4, 4), (6, 6)))
    assert marks(arrive(event)) == [SetMark(BOBS_KEY, STREAM, 4, ((6, 6),))]


def test_numbers_that_never_come_are_told_once() -> None:
    """Their author holds them for delivered, so this disk is older than it was, or the author
    gave them up."""
    event = batch(a_text(9), base=8, upto=3, ahead=((5, 5),))
    assert marks(arrive(event)) == [
        SetMark(BOBS_KEY, STREAM, 7, ((9, 9),)),
        NumbersMissing(BOB, 3),  # 4, 6 and 7
    ]
    again = batch(a_text(10), base=8, upto=7, ahead=((9, 9),))
    assert marks(arrive(again)) == [SetMark(BOBS_KEY, STREAM, 7, ((9, 10),))]


def test_a_hole_that_a_later_frame_of_a_link_claims_is_taken_and_not_told() -> None:
    """A link brings everything in its order, so its first frame shows what is missing. A peer that
    goes on with such claims must not fill the screen."""
    event = replace(batch(a_text(9), base=8, upto=3), is_first=False)
    assert marks(arrive(event)) == [SetMark(BOBS_KEY, STREAM, 7, ((9, 9),))]


@pytest.mark.parametrize(
    ("base", "upto", "ahead"),
    [(4, 3, ()), (1, 3, ()), (7, 3, ((4, 6),)), (9, None, ())],
    ids=["nothing between", "resent", "all of it is here", "a new stream"],
)
def test_no_hole_is_told_that_is_none(base: int, upto: int | None, ahead: Ranges) -> None:
    """Not for what is here, nor for what may still come."""
    event = batch(a_text(9, FOUR), base=base, upto=upto, ahead=ahead)
    assert of_kind(arrive(event), NumbersMissing) == []


def test_what_never_came_may_come_after_all() -> None:
    """An envelope that was slower than a link: taken like any other, and no mark goes back."""
    effects = arrive(batch(a_text(5), base=4, upto=7, link=None, mail=1))
    assert of_kind(effects, StoreReceived) != []
    assert marks(effects) == []


def test_a_mark_has_a_limit() -> None:
    """A peer that leaves holes everywhere costs this much and no more."""
    ahead: Ranges = tuple((seq, seq) for seq in range(10, 10 + 2 * HOLES_MAX, 2))
    (mark,) = marks(arrive(batch(a_text(99_999), upto=1, ahead=ahead)))
    assert mark == SetMark(BOBS_KEY, STREAM, 1, ahead)


@given(st.lists(st.frozensets(st.integers(1, 12), min_size=1), min_size=1, max_size=8))
def test_every_item_is_taken_once_in_whatever_batches_it_comes(
    batches: list[frozenset[int]],
) -> None:
    """Any batches of a stream, with the author's base as it confirms what came: each message is
    stored and shown once, and no hole is ever told."""
    here: set[int] = set()
    upto: int | None = 0
    ahead: Ranges = ()
    stored: list[MessageId] = []
    for numbers in batches:
        seen = {an_id(seq): "" for seq in here}
        base = next(seq for seq in range(1, 14) if seq not in here)
        items = tuple(a_text(seq) for seq in sorted(numbers))
        event = batch(*items, base=base, seen=seen, upto=upto, ahead=ahead)
        for effect in arrive(event):
            match effect:
                case StoreReceived(_, _, texts, _):
                    stored += [item.item_id for item in texts]
                case SetMark(_, _, upto, ahead):
                    pass
                case Acknowledge(_, confirmed):
                    assert confirmed == ranges.of(sorted(numbers))
                case _:
                    assert isinstance(effect, MessagesArrived)
        here |= numbers
        assert ranges.union(((1, upto),) if upto else (), ahead) == ranges.of(sorted(here))
    assert sorted(stored) == sorted(an_id(seq) for seq in here)


# --- from classic peers --------------------------------------------------------------------------

SOURCE = "192.0.2.7"
TEXT = TextArrived(ONE, BOB, HI, SOURCE)
CLASSIC_DELETE = DeleteArrived(TWO, BOB, SOURCE)
CLAIMED = ClaimedName(BOB)


def checked(
    request: TextArrived | DeleteArrived,
    newest: NewestReceived | None = None,
    *,
    seen: bool = False,
    contact: ClaimedName = CLAIMED,
) -> ArrivalChecked:
    return ArrivalChecked(request, seen, contact, Tally(0, 0, 9 << 60), newest)


def test_a_classic_text_is_stored_then_told_then_settled() -> None:
    """Under the contact that trust gave it, marked as unproven, below all of its conversation;
    the sender's connection closes in peace last."""
    told = [MessagesArrived(CLAIMED, ((ONE, HI),), unverified=True), Settle(ONE)]
    stored, *rest = inbox.text_arrived(NOW, TEXT, checked(TEXT))
    assert isinstance(stored, StoreClassicReceived)
    assert stored == StoreClassicReceived(ONE, CLAIMED, HI, SOURCE, stored.hlc)
    assert stored.hlc > NOW << HLC_BITS_COUNTER
    assert rest == told
    # The commit took effect though it failed: nobody has been told of the message yet.
    assert inbox.text_arrived(NOW, TEXT, checked(TEXT, seen=True)) == told


def test_a_classic_delete_from_where_the_message_came_from_is_applied() -> None:
    """The text goes, the change is remembered, the face hears, the connection ends in peace."""
    event = checked(CLASSIC_DELETE, NewestReceived(ONE, SOURCE))
    assert inbox.delete_arrived(CLASSIC_DELETE, event) == [
        StoreChange(TWO, CLAIMED, ONE),
        EraseMessage(ONE),
        PeerDeleted(ONE, CLAIMED),
        Settle(TWO),
    ]


@pytest.mark.parametrize(
    ("newest", "reason"),
    [
        (NewestReceived(ONE, "192.0.2.8"), "other-source"),
        (NewestReceived(ONE, None), "other-source"),
        (None, "nothing-to-delete"),
    ],
)
def test_a_classic_delete_that_cannot_be_meant_is_ignored_and_said_so(
    newest: NewestReceived | None, reason: str
) -> None:
    """A neighbour must not delete what others said; that it tried is remembered and shown."""
    assert inbox.delete_arrived(CLASSIC_DELETE, checked(CLASSIC_DELETE, newest)) == [
        StoreChange(TWO, CLAIMED, None),
        DeleteIgnored(CLAIMED, SOURCE, reason),
        Settle(TWO),
    ]


def test_a_classic_delete_that_was_judged_already_deletes_nothing_more() -> None:
    """It is not idempotent: offered twice, it would take an older message too."""
    event = checked(CLASSIC_DELETE, NewestReceived(ONE, SOURCE), seen=True)
    assert inbox.delete_arrived(CLASSIC_DELETE, event) == [Settle(TWO)]
