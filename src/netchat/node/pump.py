"""Engine and store in one transaction; the only place that orders commit and act.

``step_batch`` feeds inputs to the engine, applies what it wants stored, answers its questions, and
commits; only then does it return what has to happen outside. It is synchronous and takes its time
from the caller, so the simulator runs this very code. It belongs to one thread at a time.
"""

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from netchat.delivery.effects import (
    Abandon,
    AskChecked,
    AskHead,
    DeleteIgnored,
    DeleteProgressed,
    Dial,
    Effect,
    EraseMessage,
    HandOver,
    Locate,
    MessageAccepted,
    MessageArrived,
    MessageProgressed,
    Outward,
    PeerDeleted,
    PeerPostponed,
    Question,
    RemoveItem,
    SetItemState,
    SetMessageState,
    SetTimer,
    Settle,
    StoreAddress,
    StoreChange,
    StoreEffect,
    StoreItem,
    StoreOwnMessage,
    StoreReceivedMessage,
)
from netchat.delivery.engine import Engine
from netchat.delivery.inputs import (
    Answer,
    Checked,
    DeleteArrived,
    DeleteRequested,
    HeadLoaded,
    Identified,
    Input,
    NewestMessage,
    Restored,
    SendRequested,
    TextArrived,
)
from netchat.errors import StoreUnavailable
from netchat.model import Message, MessageId, MessageState, Name
from netchat.store.database import translated_errors
from netchat.store.history import History
from netchat.store.outbox import OutboxTable


@dataclass(frozen=True, slots=True)
class Refused:
    """The disk did not take ``event``; nothing of it happened, or it is safe to offer it again."""

    event: Input
    error: StoreUnavailable


@dataclass(frozen=True, slots=True)
class Batch:
    """What one ``step_batch`` came to: what to do now, and which inputs the disk did not take."""

    effects: Sequence[Outward]
    refused: Sequence[Refused] = ()


class Pump:
    """One engine over one history file.

    ``commit`` is how a transaction ends (the simulator lets it fail); call ``start`` once before
    the first ``step_batch``.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        commit: Callable[[sqlite3.Connection], None] = sqlite3.Connection.commit,
    ) -> None:
        self._connection = connection
        self._commit = commit
        self._history = History(connection)
        self._outbox = OutboxTable(connection)
        self._engine = Engine()
        self._is_unread = False

    def start(self, now_ms: int) -> Sequence[Outward]:
        """Take up what an earlier process left behind.

        Raises:
            StoreUnavailable: the disk refused.
        """
        return self._in_transaction(now_ms, self._restored(restarted=True))

    def step_batch(self, now_ms: int, events: Sequence[Input]) -> Batch:
        """Step through ``events`` with one commit for all of them.

        When that commit fails, the engine is read back from the store and each event gets a commit
        of its own, so that one that the disk cannot take does not hold up the others. Whether the
        failed commit reached the disk is not known then; the ids of the events keep them single.
        """
        if not self._is_unread:
            try:
                return Batch(self._in_transaction(now_ms, events))
            except StoreUnavailable:
                self._is_unread = True
        effects: list[Outward] = []
        refused: list[Refused] = []
        for event in events:
            try:
                effects += self._read_back(now_ms)
                effects += self._in_transaction(now_ms, (event,))
            except StoreUnavailable as error:
                self._is_unread = True
                if self._is_stored(event):
                    effects += self._run(now_ms, event)
                else:
                    refused.append(Refused(event, error))
        # Now if it goes: what an input unsaid left on disk may be all there is to come for a while.
        with contextlib.suppress(StoreUnavailable):
            effects += self._read_back(now_ms)
        return Batch(effects, refused)

    def _is_stored(self, event: Input) -> bool:
        """Tell whether an event reached the disk after all; to refuse it then would be a lie."""
        try:
            with translated_errors():
                return isinstance(event, Identified) and self._seen(event)
        except StoreUnavailable:
            return False

    def page(self, peer: Name, after: int, limit: int) -> Sequence[Message]:
        """Read a page of a conversation (``History.page``)."""
        with translated_errors():
            return self._history.page(peer, after, limit)

    def waiting(self) -> Sequence[Name]:
        """Read for whom something still waits here."""
        with translated_errors():
            return [item.peer for item in self._outbox.heads()]

    def state(self, message_id: MessageId) -> tuple[MessageState, str | None] | None:
        """Read what became of a message of ours (``History.state``)."""
        with translated_errors():
            return self._history.state(message_id)

    def knows(self, peer: Name) -> bool:
        """Tell whether there was ever anything between us and ``peer``."""
        with translated_errors():
            return self._history.has_peer(peer)

    # --- transactions ----------------------------------------------------------------------------

    def _in_transaction(self, now_ms: int, events: Sequence[Input]) -> list[Outward]:
        with translated_errors():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                outward = [effect for event in events for effect in self._run(now_ms, event)]
                self._commit(self._connection)
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.rollback()
                raise
        return outward

    def _read_back(self, now_ms: int) -> list[Outward]:
        """Make the engine what the store says, if it may be something else.

        Raises:
            StoreUnavailable: not even reading goes; the engine must not be asked anything.
        """
        if not self._is_unread:
            return []
        restored = self._restored(restarted=False)
        self._engine = Engine()
        self._is_unread = False
        return [effect for event in restored for effect in self._run(now_ms, event)]

    def _restored(self, *, restarted: bool) -> list[Input]:
        with translated_errors():
            return [
                Restored(item.peer, item, self._history.last_seen_at(item.peer), restarted)
                for item in self._outbox.heads()
            ]

    # --- one input -------------------------------------------------------------------------------

    def _run(self, now_ms: int, event: Input) -> list[Outward]:
        """Step until the engine has no more questions; the queue keeps its effects in order."""
        outward: list[Outward] = []
        waiting: deque[Effect] = deque(self._engine.step(now_ms, event))
        while waiting:
            effect = waiting.popleft()
            match effect:
                case AskChecked() | AskHead():
                    answer = self._answer(effect)
                    waiting.extendleft(reversed(self._engine.step(now_ms, answer)))
                case HandOver():
                    outward.append(replace(effect, text=self._outbox.text(effect.item_id)))
                case (
                    Locate()
                    | Dial()
                    | Abandon()
                    | SetTimer()
                    | Settle()
                    | MessageArrived()
                    | MessageAccepted()
                    | PeerPostponed()
                    | MessageProgressed()
                    | DeleteProgressed()
                    | PeerDeleted()
                    | DeleteIgnored()
                ):
                    outward.append(effect)
                case _:
                    self._apply(now_ms, effect)
        return outward

    def _answer(self, question: Question) -> Answer:
        match question:
            case AskHead(peer):
                return HeadLoaded(peer, self._outbox.head(peer), self._history.last_seen_at(peer))
            case AskChecked(request):
                return Checked(request, self._seen(request), self._newest(request))
            case _ as never:
                assert_never(never)

    def _seen(self, request: Identified) -> bool:
        match request:
            case SendRequested():
                return self._history.has_seen(request.message_id)
            case DeleteRequested():
                return self._history.has_seen(request.change_id)
            case TextArrived() | DeleteArrived():
                return self._history.has_seen(request.arrival_id)
            case _ as never:
                assert_never(never)

    def _newest(self, request: Identified) -> NewestMessage | None:
        match request:
            case DeleteRequested():
                return self._history.newest(request.peer, outgoing=True)
            case DeleteArrived():
                return self._history.newest(request.sender, outgoing=False)
            case SendRequested() | TextArrived():
                return None
            case _ as never:
                assert_never(never)

    def _apply(self, now_ms: int, effect: StoreEffect) -> None:
        match effect:
            case StoreOwnMessage():
                self._history.add_own(effect.message_id, effect.peer, effect.text, now_ms)
            case StoreReceivedMessage():
                self._history.add_received(
                    effect.message_id, effect.peer, effect.text, effect.source, now_ms
                )
            case SetMessageState():
                self._history.set_state(effect.message_id, effect.state, effect.reason)
            case EraseMessage():
                self._history.erase(effect.message_id, now_ms)
            case StoreChange():
                self._history.add_change(effect.change_id, effect.peer, effect.target, now_ms)
            case StoreItem():
                self._outbox.add(effect.item, effect.text)
            case SetItemState():
                self._outbox.set_state(effect.item_id, effect.state)
            case RemoveItem():
                self._outbox.remove(effect.item_id)
            case StoreAddress():
                self._history.set_address(effect.peer, effect.address, now_ms)
            case _ as never:
                assert_never(never)
