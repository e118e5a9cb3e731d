"""Who waits for what inside a node: sends, deletes and decisions until their outcome is known, and
faces for events. All of it belongs to the loop."""

import asyncio

from netchat.api import Event, EventsMissed, SendOutcome, Sent
from netchat.errors import NetChatError
from netchat.limits import EVENTS_WAITING_MAX
from netchat.model import DeleteOutcome, MessageId, MessageState, Name

_OUTCOMES = {
    MessageState.QUEUED: SendOutcome.QUEUED,
    MessageState.STORED: SendOutcome.STORED,
    MessageState.DELIVERED: SendOutcome.DELIVERED,
    MessageState.READ: SendOutcome.DELIVERED,
    MessageState.SENT: SendOutcome.SENT,
}


def outcome_of(state: MessageState) -> SendOutcome:
    """Return what a face is told of a message in this state."""
    return _OUTCOMES.get(state, SendOutcome.FAILED)


class Send:
    """Somebody who waits for a send: first for the disk, then for what becomes of it."""

    def __init__(self, peer: Name) -> None:
        loop = asyncio.get_running_loop()
        self.peer = peer
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.outcome: asyncio.Future[Sent] = loop.create_future()

    def accept(self) -> None:
        if not self.accepted.done():
            self.accepted.set_result(None)

    def end(self, sent: Sent) -> bool:
        """Tell the outcome, if none was told; tell whether it was this one."""
        if self.outcome.done():
            return False
        self.outcome.set_result(sent)
        return True


class Delete:
    """Somebody who waits for a delete: first for what happens here, then for the peer."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.peer: Name | None = None
        self.here: asyncio.Future[DeleteOutcome] = loop.create_future()
        self.there: asyncio.Future[DeleteOutcome] = loop.create_future()


class Waiters:
    """Everybody who waits, by the id of what they wait for."""

    def __init__(self) -> None:
        self.sends: dict[MessageId, Send] = {}
        self.deletes: dict[MessageId, Delete] = {}
        self.decisions: dict[int, asyncio.Future[str | None]] = {}

    def end_send(self, sent: Sent) -> bool:
        """Tell whoever waits for this send; tell whether anybody did."""
        assert sent.message_id is not None
        send = self.sends.get(sent.message_id)
        return send is not None and send.end(sent)

    def postponed(self, peer: Name, reason: str) -> None:
        """Nothing reaches this peer now, so nobody waits for it any longer."""
        for message_id, send in list(self.sends.items()):
            if send.peer == peer and send.accepted.done():
                send.end(Sent(send.peer, SendOutcome.QUEUED, message_id, reason))
        for delete in list(self.deletes.values()):
            if delete.peer == peer and delete.here.done() and not delete.there.done():
                delete.there.set_result(DeleteOutcome.QUEUED)

    def delete_progressed(
        self, change_id: MessageId, peer: Name | None, outcome: DeleteOutcome
    ) -> bool:
        """The first report says what happened here, a second one how the peer was told.

        Tell whether anybody heard.
        """
        delete = self.deletes.get(change_id)
        if delete is None:
            return False
        if not delete.here.done():
            delete.peer = peer
            delete.here.set_result(outcome)
            return True
        if not delete.there.done():
            delete.there.set_result(outcome)
            return True
        return False

    def decided(self, request: int, refused: str | None) -> None:
        decision = self.decisions.get(request)
        if decision is not None and not decision.done():
            decision.set_result(refused)

    def decision_refused(self, request: int, error: NetChatError) -> None:
        decision = self.decisions.get(request)
        if decision is not None and not decision.done():
            decision.set_exception(error)

    def delete_refused(self, change_id: MessageId, error: NetChatError) -> None:
        delete = self.deletes.get(change_id)
        if delete is not None and not delete.here.done():
            delete.here.set_exception(error)


class Face:
    """The events that one face has not taken yet; a bounded number of them. None is the end."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._missed = 0

    def tell(self, event: Event) -> None:
        if self.queue.qsize() >= EVENTS_WAITING_MAX:
            self._missed += 1
            return
        if self._missed:
            self.queue.put_nowait(EventsMissed(self._missed))
            self._missed = 0
        self.queue.put_nowait(event)

    def end(self) -> None:
        self.queue.put_nowait(None)
