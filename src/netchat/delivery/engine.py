"""The one door of the room: ``step(now, input) -> effects``.

The engine decides and never waits. It can be thrown away at any time and built again from what the
store holds (``Restored``); two engines fed the same inputs return the same effects. It joins the
two kinds of lanes: a peer with a key has one in ``lanes``, everybody else in ``outbox``.
"""

from typing import assert_never

from netchat.delivery import inbox, own
from netchat.delivery.checked import (
    Admitted,
    Answer,
    ArrivalChecked,
    Barred,
    Carried,
    Checked,
    ConfirmChecked,
    DeleteChecked,
    HeadLoaded,
    ItemsChecked,
    ReadChecked,
    Restored,
    Routed,
    SendChecked,
)
from netchat.delivery.effects import AskHead, Effect
from netchat.delivery.inputs import (
    Connected,
    Deposited,
    DepositFailed,
    DialFailed,
    Handed,
    HandOverBroke,
    LinkClosed,
    LinkFailed,
    ReceiptArrived,
    Route,
    TextArrived,
    TimerFired,
)
from netchat.delivery.lanes import Lanes
from netchat.delivery.outbox import Outbox
from netchat.delivery.policy import Policy
from netchat.limits import CLASSIC_SEND_BYTES_MAX
from netchat.model import Name, PeerId


class Engine:
    """The delivery rules of one node, whose key is ``key``.

    ``classic_text_bytes_max`` is what a classic message under its name has room for.
    """

    def __init__(
        self,
        key: PeerId,
        policy: Policy,
        classic_text_bytes_max: int = CLASSIC_SEND_BYTES_MAX,
    ) -> None:
        self._key = key
        self._policy = policy
        self._outbox = Outbox(classic_text_bytes_max)
        self._lanes = Lanes()

    def step(self, now_ms: int, event: Checked) -> list[Effect]:
        """Return what follows from ``event``, in the order in which it has to happen."""
        match event:
            case SendChecked():
                return own.send(now_ms, event, self._outbox, self._lanes, self._key)
            case DeleteChecked():
                return own.delete(now_ms, event, self._outbox, self._lanes, self._key)
            case ReadChecked():
                return own.note_reading(now_ms, event, self._lanes)
            case ItemsChecked():
                return self._items(now_ms, event)
            case ArrivalChecked():
                return self._arrival(now_ms, event)
            case Routed():
                return self._routed(now_ms, event)
            case TimerFired():
                if self._outbox.has(event.peer):
                    return self._outbox.timer_fired(now_ms, event)
                return self._lanes.timer_fired(event)
            case Restored():
                return self._restored(now_ms, event)
            case _:
                return self._reported(now_ms, event)

    def answer(self, now_ms: int, event: Answer, *, by_mail: bool = False) -> list[Effect]:
        """Return what follows from what the store says to a question of the engine's."""
        match event:
            case HeadLoaded(entry=entry, route=Route.KEYED | Route.STOPPED) if entry is not None:
                self._outbox.release(event.peer)
                return self._lanes.enqueued(event.peer, entry.seq)
            case HeadLoaded():
                return self._outbox.head_loaded(now_ms, event)
            case Carried():
                return self._lanes.carried(event, by_mail=by_mail)
            case _ as never:
                assert_never(never)

    def stopped(self, peer: Name) -> list[Effect]:
        """Another key came under the name of ``peer``: nothing goes to the old one from now on."""
        return self._lanes.stopped(peer)

    def forgotten(self, peer: Name) -> list[Effect]:
        """A person forgot who ``peer`` is, and what waited for it is gone from the store."""
        return [*self._outbox.forgotten(peer), *self._lanes.decided(peer)]

    def moved(self, peer: Name) -> list[Effect]:
        """``peer`` has another key, which is accepted: everything goes to that one."""
        return self._lanes.moved(peer)

    def decided(self, peer: Name) -> list[Effect]:
        """A person decided about the key of ``peer``: what waits for it may go now."""
        return self._lanes.decided(peer)

    @staticmethod
    def _arrival(now_ms: int, event: ArrivalChecked) -> list[Effect]:
        if isinstance(event.request, TextArrived):
            return inbox.text_arrived(now_ms, event.request, event)
        return inbox.delete_arrived(event.request, event)

    def _items(self, now_ms: int, event: ItemsChecked) -> list[Effect]:
        effects = inbox.items_arrived(now_ms, event, self._policy)
        if event.link is None and event.items:
            effects += self._lanes.owes(event.peer)
        return effects

    def _routed(self, now_ms: int, event: Routed) -> list[Effect]:
        if not self._outbox.has(event.peer):
            return self._lanes.routed(now_ms, event)
        if event.route is Route.KEYED and self._outbox.release(event.peer):
            # Its items are in the store; the lane of a keyed peer asks for their numbers there. It
            # may itself wait for this answer, with something that is owed.
            return [*self._lanes.routed(now_ms, event), AskHead(event.peer)]
        return self._outbox.routed(now_ms, event)

    def _restored(self, now_ms: int, event: Restored) -> list[Effect]:
        is_keyed = event.route in (Route.KEYED, Route.STOPPED)
        if event.entry is None or is_keyed:
            return self._lanes.restored(now_ms, event)
        return self._outbox.restored(now_ms, event)

    def _reported(
        self,
        now_ms: int,
        event: Connected
        | Barred
        | DialFailed
        | Handed
        | HandOverBroke
        | Admitted
        | LinkFailed
        | LinkClosed
        | ReceiptArrived
        | ConfirmChecked
        | Deposited
        | DepositFailed,
    ) -> list[Effect]:
        match event:
            case Connected():
                return self._outbox.connected(event)
            case Barred():
                return self._outbox.barred(now_ms, event)
            case DialFailed():
                return self._outbox.dial_failed(now_ms, event)
            case Handed():
                return self._outbox.handed(event)
            case HandOverBroke():
                return self._outbox.broke(event)
            case Admitted():
                self._outbox.release(event.peer)
                return self._lanes.admitted(event)
            case LinkFailed():
                return self._lanes.link_failed(now_ms, event)
            case LinkClosed():
                return self._lanes.link_closed(now_ms, event)
            case ReceiptArrived():
                return self._lanes.receipt(event)
            case ConfirmChecked():
                return self._lanes.confirmed(event)
            case Deposited():
                return self._lanes.deposited(now_ms, event)
            case DepositFailed():
                return self._lanes.deposit_failed(now_ms, event)
            case _ as never:
                assert_never(never)
