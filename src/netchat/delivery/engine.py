"""The one door of the room: ``step(now, input) -> effects``.

The engine decides and never waits. It can be thrown away at any time and built again from what the
store holds (``Restored``); two engines fed the same inputs return the same effects.
"""

from typing import assert_never

from netchat.delivery import inbox
from netchat.delivery.effects import AskChecked, Effect, MessageAccepted
from netchat.delivery.inputs import (
    Answer,
    Checked,
    Connected,
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    Handed,
    HandOverBroke,
    HeadLoaded,
    Input,
    Located,
    LocateFailed,
    Restored,
    SendRequested,
    TextArrived,
    TimerFired,
)
from netchat.delivery.outbox import Outbox


class Engine:
    """The delivery rules of one node."""

    def __init__(self) -> None:
        self._outbox = Outbox()

    def step(self, now_ms: int, event: Input | Answer) -> list[Effect]:
        """Return what follows from ``event``, in the order in which it has to happen."""
        match event:
            case SendRequested() | DeleteRequested() | TextArrived() | DeleteArrived():
                return [AskChecked(event)]
            case Checked():
                return self._checked(now_ms, event)
            case HeadLoaded():
                return self._outbox.head_loaded(now_ms, event)
            case Restored():
                return self._outbox.restored(now_ms, event)
            case _:
                return self._reported(now_ms, event)

    def _checked(self, now_ms: int, answer: Checked) -> list[Effect]:
        match answer.request:
            case SendRequested() as request:
                if answer.seen:
                    return [MessageAccepted(request.message_id)]
                return self._outbox.send(now_ms, request)
            case DeleteRequested() as request:
                return inbox.delete_requested(
                    now_ms, self._outbox, request, answer.newest, seen=answer.seen
                )
            case TextArrived() as request:
                return inbox.text_arrived(request, seen=answer.seen)
            case DeleteArrived() as request:
                return inbox.delete_arrived(request, answer.newest, seen=answer.seen)
            case _ as never:
                assert_never(never)

    def _reported(
        self,
        now_ms: int,
        event: Located
        | LocateFailed
        | Connected
        | DialFailed
        | Handed
        | HandOverBroke
        | TimerFired,
    ) -> list[Effect]:
        match event:
            case Located():
                return self._outbox.located(now_ms, event)
            case LocateFailed():
                return self._outbox.locate_failed(now_ms, event)
            case Connected():
                return self._outbox.connected(event)
            case DialFailed():
                return self._outbox.dial_failed(now_ms, event)
            case Handed():
                return self._outbox.handed(event)
            case HandOverBroke():
                return self._outbox.broke(event)
            case TimerFired():
                return self._outbox.timer_fired(now_ms, event)
            case _ as never:
                assert_never(never)
