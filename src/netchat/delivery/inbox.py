"""What counts as received, and what a delete means: the rules of the two directions of a delete.

Everything here is asked for twice when a commit failed without saying whether it took effect, so
each request carries an id, and an id that the store has seen changes nothing again.
"""

from netchat.delivery.effects import (
    DeleteIgnored,
    DeleteProgressed,
    Effect,
    EraseMessage,
    MessageArrived,
    MessageProgressed,
    PeerDeleted,
    SetMessageState,
    Settle,
    StoreChange,
    StoreReceivedMessage,
)
from netchat.delivery.inputs import (
    DeleteArrived,
    DeleteRequested,
    NewestMessage,
    TextArrived,
)
from netchat.delivery.outbox import NEVER_ARRIVED, Outbox
from netchat.model import DeleteOutcome, MessageState


def text_arrived(event: TextArrived, *, seen: bool) -> list[Effect]:
    """Take a message into the history, once; tell of it when the commit that says so has come."""
    told: list[Effect] = [
        MessageArrived(event.arrival_id, event.sender, event.text),
        Settle(event.arrival_id),
    ]
    if seen:
        return told
    return [
        StoreReceivedMessage(event.arrival_id, event.sender, event.text, event.source),
        *told,
    ]


def delete_arrived(
    event: DeleteArrived, newest: NewestMessage | None, *, seen: bool
) -> list[Effect]:
    """Delete the sender's newest message, when the delete comes from where the message came from.

    A classic delete proves nothing about its sender; that its IP address is the one of the message
    is the least that keeps a neighbour from deleting what others said (decision 0004).
    """
    settle = Settle(event.arrival_id)
    if seen:
        return [settle]
    if newest is None:
        ignored = DeleteIgnored(event.sender, event.source, "nothing-to-delete")
        return [StoreChange(event.arrival_id, event.sender, None), ignored, settle]
    if newest.source != event.source:
        ignored = DeleteIgnored(event.sender, event.source, "other-source")
        return [StoreChange(event.arrival_id, event.sender, None), ignored, settle]
    return [
        StoreChange(event.arrival_id, event.sender, newest.message_id),
        EraseMessage(newest.message_id),
        PeerDeleted(newest.message_id, event.sender),
        settle,
    ]


def delete_requested(
    now_ms: int,
    outbox: Outbox,
    request: DeleteRequested,
    newest: NewestMessage | None,
    *,
    seen: bool,
) -> list[Effect]:
    """Delete our newest message to a peer: cancel it, or erase it here and tell the peer."""
    if seen:
        return [DeleteProgressed(request.change_id, request.peer, DeleteOutcome.QUEUED)]
    if newest is None:
        return [DeleteProgressed(request.change_id, request.peer, DeleteOutcome.NOTHING)]
    effects: list[Effect] = [
        StoreChange(request.change_id, request.peer, newest.message_id),
        EraseMessage(newest.message_id),
    ]
    is_shadowed = newest.is_shadowed and newest.state is MessageState.SENT
    if newest.state in NEVER_ARRIVED or is_shadowed:
        outcome = DeleteOutcome.LOCAL
    elif newest.state is MessageState.QUEUED and not outbox.is_in_flight(
        newest.message_id, request.peer
    ):
        outcome = DeleteOutcome.CANCELLED
        effects += [
            SetMessageState(newest.message_id, MessageState.CANCELLED, "deleted"),
            MessageProgressed(newest.message_id, request.peer, MessageState.CANCELLED, "deleted"),
        ]
        effects += outbox.cancel(newest.message_id, request.peer)
    else:
        outcome = DeleteOutcome.QUEUED
        if newest.state is MessageState.QUEUED:
            outbox.forget_when_it_fails(newest.message_id, request.peer)
        effects += outbox.send_delete(now_ms, request.change_id, request.peer)
    effects.append(DeleteProgressed(request.change_id, request.peer, outcome))
    return effects
