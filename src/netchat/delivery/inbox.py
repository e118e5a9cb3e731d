"""What counts as received: each item once, whatever way and however often it comes.

Between nodes an item is named by the key of its author and its id, for ever. A classic message has
no id; it gets one for its connection, so that an input the disk refused can be offered again.
"""

from dataclasses import dataclass, field
from typing import assert_never

from netchat.delivery import ranges
from netchat.delivery.checked import ArrivalChecked, ItemsChecked, Target
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
from netchat.delivery.hlc import following
from netchat.delivery.inputs import DeleteArrived, TextArrived
from netchat.delivery.notices import (
    DeleteIgnored,
    MessagesArrived,
    NumbersMissing,
    PeerDeleted,
)
from netchat.delivery.policy import Deletes, Policy
from netchat.limits import HOLES_MAX
from netchat.model import Item, ItemKind, MessageId, Ranges

APPLIED = ""
KEPT = "kept"
REFUSED = "refused"


# --- from keyed peers ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Taken:
    """What one batch comes to, collected item by item; ``meant`` by deletes that were obeyed."""

    fresh: dict[MessageId, Item] = field(default_factory=dict)
    deleted: set[MessageId] = field(default_factory=set)
    meant: set[MessageId] = field(default_factory=set)
    effects: list[Effect] = field(default_factory=list)
    notices: list[Effect] = field(default_factory=list)
    answers: dict[MessageId, str] = field(default_factory=dict)
    read_hlc: int = 0


def items_arrived(now_ms: int, event: ItemsChecked, policy: Policy) -> list[Effect]:
    """Take what is new, and tell its author about all of it, once it is committed."""
    taken = _Taken()
    for item in event.items:
        answer = event.seen.get(item.item_id, taken.answers.get(item.item_id))
        taken.answers[item.item_id] = (
            _take(now_ms, event, policy, item, taken) if answer is None else answer
        )
    effects: list[Effect] = []
    if taken.fresh:
        fresh = tuple(taken.fresh.values())
        effects.append(StoreReceived(event.peer, event.sender, fresh, frozenset(taken.deleted)))
    effects += taken.effects
    if taken.read_hlc:
        effects.append(MarkRead(event.peer, taken.read_hlc))
    effects += _mark(event)
    shown = tuple(
        (item.item_id, item.text)
        for item in taken.fresh.values()
        if item.item_id not in taken.deleted and item.text is not None
    )
    if shown:
        effects.append(MessagesArrived(event.peer, shown))
    return [*effects, *taken.notices, *_answered(event, taken.answers)]


def _take(now_ms: int, event: ItemsChecked, policy: Policy, item: Item, taken: _Taken) -> str:
    """Judge one item that was never here; return what its author is told."""
    match item.kind:
        case ItemKind.TEXT:
            if item.item_id in event.orphans or item.item_id in taken.meant:
                if policy.deletes is Deletes.WIPE:
                    return APPLIED
                taken.deleted.add(item.item_id)
            taken.fresh[item.item_id] = item
            return APPLIED
        case ItemKind.DELETE:
            assert item.target is not None, "wire.frames refuses one without"
            result = _delete(now_ms, event, policy, item.target, taken)
            taken.effects.append(
                StoreChangeOf(event.sender, item.item_id, event.peer, item.target, result)
            )
            return result
        case ItemKind.READ:
            taken.read_hlc = max(taken.read_hlc, item.hlc)
            return APPLIED
        case ItemKind.VOID:
            return APPLIED
        case _ as never:
            assert_never(never)


def _delete(
    now_ms: int, event: ItemsChecked, policy: Policy, target_id: MessageId, taken: _Taken
) -> str:
    """Carry out D1 to D4 of docs/spec/delivery.md. That only its author can mean a message is
    how it is looked up: by the key that sent the delete."""
    if target_id in taken.fresh:
        taken.deleted.add(target_id)
        if policy.deletes is Deletes.WIPE:
            del taken.fresh[target_id]  # not even a tombstone; a copy finds the delete
        return APPLIED
    target = event.targets.get(target_id)
    if target is None or target.is_deleted:
        taken.meant.add(target_id)
        return APPLIED  # one that has not come yet will find this delete waiting for it
    if not _is_in_window(now_ms, policy, target):
        return REFUSED
    keeps = policy.deletes is Deletes.KEEP
    if target_id in taken.meant:
        return KEPT if keeps else APPLIED
    taken.meant.add(target_id)
    taken.effects.append(
        EraseMessage(target_id, event.sender, keep_text=keeps, wipe=policy.deletes is Deletes.WIPE)
    )
    taken.notices.append(PeerDeleted(target_id, event.peer))
    return KEPT if keeps else APPLIED


def _is_in_window(now_ms: int, policy: Policy, target: Target) -> bool:
    window_ms = policy.delete_window_ms
    return window_ms is None or now_ms - target.at_ms <= window_ms


def _mark(event: ItemsChecked) -> list[Effect]:
    """Note which numbers are here, and tell of those that never come.

    What is below ``base`` its author holds for confirmed. So a hole there stays one; before the
    first item of a stream there is none, because nothing says that those were meant for this disk.
    A link shows its holes with the first of its frames; what a peer claims after that is not told.
    """
    below = event.base - 1
    upto = below if event.upto is None else event.upto
    effects: list[Effect] = []
    if below > upto:
        due: Ranges = ((upto + 1, below),)
        missing = ranges.count(ranges.without(due, event.ahead))
        if missing and event.is_first:
            effects.append(NumbersMissing(event.peer, missing))
        upto = below
    numbers = ranges.of(item.seq for item in event.items)
    upto, ahead = ranges.above(upto, ranges.union(event.ahead, numbers))
    if event.upto != upto or event.ahead != ahead:
        mark = SetMark(event.sender, event.stream, upto, ahead[:HOLES_MAX])
        effects.insert(0, mark)
    return effects


def _answered(event: ItemsChecked, answers: dict[MessageId, str]) -> list[Effect]:
    if event.link is not None:
        results = tuple(
            (item.seq, answers[item.item_id])
            for item in event.items
            if answers[item.item_id] != APPLIED
        )
        return [Acknowledge(event.link, ranges.of(item.seq for item in event.items), results)]
    done: list[Effect] = []
    if answers:
        done.append(StoreOwed(event.peer, tuple(answers.items())))
    if event.mail is not None:
        done.append(MailSettled(event.mail))
    return done


# --- from classic peers --------------------------------------------------------------------------


def text_arrived(now_ms: int, event: TextArrived, checked: ArrivalChecked) -> list[Effect]:
    """Take a message into the history, once; tell of it when the commit that says so has come."""
    text = (event.arrival_id, event.text)
    told: list[Effect] = [
        MessagesArrived(checked.contact, (text,), unverified=True),
        Settle(event.arrival_id),
    ]
    if checked.seen:
        return told
    hlc = following(now_ms, checked.tally.hlc)
    stored = StoreClassicReceived(event.arrival_id, checked.contact, event.text, event.source, hlc)
    return [stored, *told]


def delete_arrived(event: DeleteArrived, checked: ArrivalChecked) -> list[Effect]:
    """Delete the sender's newest message, when the delete comes from where the message came from.

    A classic delete proves nothing about its sender; that its IP address is the one of the message
    is the least that keeps a neighbour from deleting what others said (decision 0004). It never
    touches a message that came over a link.
    """
    settle = Settle(event.arrival_id)
    contact, newest = checked.contact, checked.newest
    if checked.seen:
        return [settle]
    if newest is None or newest.source != event.source:
        reason = "nothing-to-delete" if newest is None else "other-source"
        ignored = DeleteIgnored(contact, event.source, reason)
        return [StoreChange(event.arrival_id, contact, None), ignored, settle]
    return [
        StoreChange(event.arrival_id, contact, newest.message_id),
        EraseMessage(newest.message_id),
        PeerDeleted(newest.message_id, contact),
        settle,
    ]
