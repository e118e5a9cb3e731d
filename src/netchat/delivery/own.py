"""What a person at this node says, deletes and has read: numbered, stamped, and put into a lane.

Everything here is asked for twice when a commit failed without saying whether it took effect, so
each request carries ids, and an id that the store has seen changes nothing again.
"""

from dataclasses import replace

from netchat.delivery.checked import DeleteChecked, Entry, OwnMessage, ReadChecked, SendChecked
from netchat.delivery.effects import (
    Effect,
    EraseMessage,
    OwnRow,
    SetMessageState,
    SettleItems,
    StoreChange,
    StoreItem,
    StoreOwn,
    StoreReceived,
    VoidItem,
)
from netchat.delivery.hlc import following
from netchat.delivery.inputs import DeleteRequested, ItemState, NewMessage, Route
from netchat.delivery.lanes import Lanes
from netchat.delivery.notices import (
    DeleteProgressed,
    MessagesAccepted,
    MessagesArrived,
    MessagesProgressed,
    PeerPostponed,
    SendRefused,
)
from netchat.delivery.outbox import NEVER_ARRIVED, Outbox
from netchat.limits import EXPIRY_MS
from netchat.model import (
    DeleteOutcome,
    DisplayText,
    Item,
    ItemKind,
    MessageId,
    MessageState,
    Name,
    PeerId,
)

_NOT_CLASSIC = (MessageState.STORED, MessageState.DELIVERED, MessageState.READ)
"""It went by link or by mail, before a person forgot that peer's key; a classic delete would hit
another message."""

_REFUSALS = {
    Route.NOBODY: "no-such-person",
    Route.CLASSIC_REFUSED: "classic-not-allowed",
}


def send(
    now_ms: int, event: SendChecked, outbox: Outbox, lanes: Lanes, key: PeerId
) -> list[Effect]:
    """Store messages for one peer under the next numbers, and let them go."""
    peer = event.request.peer
    ids = tuple(message.message_id for message in event.request.messages)
    if event.route in _REFUSALS and not event.seen:
        return [SendRefused(peer, ids, _REFUSALS[event.route])]
    sizes = [len(message.text.encode()) for message in event.request.messages]
    if event.route is Route.CLASSIC and max(sizes) > outbox.text_bytes_max and not event.seen:
        return [SendRefused(peer, ids, "too-long")]
    new = [one for one in event.request.messages if one.message_id not in event.seen]
    if not new:
        return [MessagesAccepted(ids)]
    rows = _numbered(now_ms, event, new)
    left = event.route is Route.KEYED and lanes.has_link(peer)
    effects: list[Effect] = [
        StoreOwn(peer, rows, now_ms + EXPIRY_MS, left),
        MessagesAccepted(ids),
    ]
    match event.route:
        case Route.SELF:
            return effects + _to_self(peer, rows, key)
        case Route.KEYED:
            outbox.release(peer)
            return effects + lanes.enqueued(peer, rows[-1].seq)
        case Route.STOPPED:
            waits = [] if outbox.has(peer) else lanes.stopped(peer, rows[-1].seq)
            return [*effects, *waits, PeerPostponed(peer, "key-changed")]
        case _:
            entry = _entry(peer, rows[0].message_id, rows[0].seq, ItemKind.TEXT, now_ms)
            entry = replace(entry, text_bytes=len(rows[0].text.encode()))
            return effects + outbox.enqueued(now_ms, entry, event.address)


def _numbered(now_ms: int, event: SendChecked, new: list[NewMessage]) -> tuple[OwnRow, ...]:
    seq, hlc = event.tally.last_seq + 1, following(now_ms, event.tally.hlc)
    return tuple(
        OwnRow(message.message_id, message.text, seq + place, hlc + place)
        for place, message in enumerate(new)
    )


def _entry(peer: Name, item_id: MessageId, seq: int, kind: ItemKind, now_ms: int) -> Entry:
    return Entry(item_id, peer, seq, kind, ItemState.QUEUED, now_ms + EXPIRY_MS)


def _to_self(peer: Name, rows: tuple[OwnRow, ...], key: PeerId) -> list[Effect]:
    """What we write to ourselves is delivered by the very commit that stores it."""
    items = tuple(
        Item(row.seq, ItemKind.TEXT, row.message_id, row.hlc, DisplayText(row.text)) for row in rows
    )
    shown = tuple(
        (item.item_id, DisplayText(row.text)) for item, row in zip(items, rows, strict=True)
    )
    return [
        StoreReceived(peer, key, items, frozenset()),
        SettleItems(peer, ((rows[0].seq, rows[-1].seq),)),
        MessagesArrived(peer, shown),
    ]


# --- deleting ------------------------------------------------------------------------------------


def delete(
    now_ms: int, event: DeleteChecked, outbox: Outbox, lanes: Lanes, key: PeerId
) -> list[Effect]:
    """Delete an own message: cancel it, or erase it here and tell the peer (rules D1, D2, D5)."""
    request, message = event.request, event.message
    if event.seen:
        return [DeleteProgressed(request.change_id, request.peer, DeleteOutcome.QUEUED)]
    if message is None:
        return [DeleteProgressed(request.change_id, request.peer, DeleteOutcome.NOTHING)]
    effects: list[Effect] = [
        StoreChange(request.change_id, message.peer, message.message_id),
        EraseMessage(message.message_id),
    ]
    if event.route is Route.SELF:
        outcome = DeleteOutcome.APPLIED
        effects.append(EraseMessage(message.message_id, key))
    elif outbox.has(message.peer) or event.route not in (Route.KEYED, Route.STOPPED):
        outcome, more = _delete_classic(now_ms, event, request, message, outbox)
        effects += more
    else:
        outcome, more = _delete_keyed(now_ms, event, request, message, lanes)
        effects += more
    return [*effects, DeleteProgressed(request.change_id, message.peer, outcome)]


def _cancelled(message: OwnMessage) -> list[Effect]:
    return [
        SetMessageState(message.message_id, MessageState.CANCELLED, "deleted"),
        MessagesProgressed(message.peer, (message.message_id,), MessageState.CANCELLED, "deleted"),
    ]


def _voided(message: OwnMessage) -> list[Effect]:
    """It may have left, and may have arrived: what is sure is that its text goes no more."""
    failed = MessageState.FAILED
    return [
        VoidItem(message.peer, message.seq),
        SetMessageState(message.message_id, failed, "withdrawn"),
        MessagesProgressed(message.peer, (message.message_id,), failed, "withdrawn"),
    ]


def _delete_keyed(
    now_ms: int,
    event: DeleteChecked,
    request: DeleteRequested,
    message: OwnMessage,
    lanes: Lanes,
) -> tuple[DeleteOutcome, list[Effect]]:
    """By its id, at any age. What has not left is cancelled; what may have left is followed by a
    delete, and its own text leaves no more."""
    waits = message.state in (MessageState.QUEUED, MessageState.STORED)
    if waits and message.seq > event.tally.left_seq:
        return DeleteOutcome.CANCELLED, [VoidItem(message.peer, message.seq), *_cancelled(message)]
    if message.state is MessageState.CANCELLED:
        return DeleteOutcome.CANCELLED, []
    if message.state is MessageState.SENT:
        return DeleteOutcome.LOCAL, []  # it went in plain text: its id says nothing there
    void: list[Effect] = _voided(message) if waits else []
    item = Item(
        event.tally.last_seq + 1,
        ItemKind.DELETE,
        request.change_id,
        following(now_ms, event.tally.hlc),
        target=message.message_id,
    )
    left = lanes.has_link(message.peer)
    store = StoreItem(message.peer, item, now_ms + EXPIRY_MS, left)
    is_keyed = event.route is Route.KEYED
    go = (lanes.enqueued if is_keyed else lanes.stopped)(message.peer, item.seq)
    return DeleteOutcome.QUEUED, [*void, store, *go]


def _delete_classic(
    now_ms: int,
    event: DeleteChecked,
    request: DeleteRequested,
    message: OwnMessage,
    outbox: Outbox,
) -> tuple[DeleteOutcome, list[Effect]]:
    """A classic delete names no message: it means the newest one, so it is sent only when that is
    sure to be this one."""
    is_in_flight = outbox.is_in_flight(message.message_id, message.peer)
    is_shadowed = message.is_shadowed and message.state is MessageState.SENT
    if message.state in (*NEVER_ARRIVED, *_NOT_CLASSIC) or is_shadowed:
        return DeleteOutcome.LOCAL, []
    if message.state is MessageState.QUEUED and not is_in_flight:
        cancel = outbox.cancel(message.message_id, message.peer, message.seq)
        return DeleteOutcome.CANCELLED, [*_cancelled(message), *cancel]
    if message.state is MessageState.QUEUED:
        outbox.forget_when_it_fails(message.message_id, message.peer)
    elif request.target is not None and not message.is_newest:
        return DeleteOutcome.LOCAL, []
    seq = event.tally.last_seq + 1
    hlc = following(now_ms, event.tally.hlc)
    item = Item(seq, ItemKind.DELETE, request.change_id, hlc, target=message.message_id)
    entry = _entry(message.peer, request.change_id, seq, ItemKind.DELETE, now_ms)
    return DeleteOutcome.QUEUED, [
        StoreItem(message.peer, item, now_ms + EXPIRY_MS, left=False),
        *outbox.enqueued(now_ms, entry, None),
    ]


# --- reading -------------------------------------------------------------------------------------


def note_reading(now_ms: int, event: ReadChecked, lanes: Lanes) -> list[Effect]:
    """Tell a keyed peer up to where its messages were read."""
    if event.seen or event.route is not Route.KEYED:
        return []
    peer = event.request.peer
    item = Item(event.tally.last_seq + 1, ItemKind.READ, event.request.change_id, event.request.hlc)
    store = StoreItem(peer, item, now_ms + EXPIRY_MS, lanes.has_link(peer))
    return [store, *lanes.enqueued(peer, item.seq)]
