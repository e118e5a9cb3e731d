"""The life of what we send to classic peers: one lane a peer, oldest first, one item in flight.

It also holds the lanes of those of whom it is not known yet what they speak: the engine moves a
lane to ``delivery.lanes`` as soon as its peer turns out to have a key. A classic peer knows no ids
and sends no receipts, so an item is tried again only while no byte of it can have left; after that
its outcome is what the connection showed, and it is never repeated.
The table below is that rule. The engine holds the head of each lane; all the rest is on disk.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from netchat.delivery.checked import Barred, Entry, HeadLoaded, Restored, Routed, Whereabouts
from netchat.delivery.effects import (
    Abandon,
    AskHead,
    Dial,
    Effect,
    HandOver,
    Locate,
    RemoveItem,
    SetItemState,
    SetMessageState,
    SetTimer,
    StoreAddress,
    VoidItem,
)
from netchat.delivery.inputs import (
    Connected,
    DialFailed,
    Handed,
    HandOverBroke,
    ItemState,
    Route,
    TimerFired,
)
from netchat.delivery.notices import DeleteProgressed, MessagesProgressed, PeerPostponed
from netchat.limits import (
    ADDRESS_AGE_MS_MAX,
    CLASSIC_SEND_BYTES_MAX,
    RETRY_MS_MAX,
    RETRY_MS_MIN,
)
from netchat.model import Address, DeleteOutcome, ItemKind, MessageId, MessageState, Name


class ItemEvent(Enum):
    CONNECTED = auto()
    DIAL_FAILED = auto()
    HANDED = auto()
    BROKE = auto()
    RESTARTED = auto()
    EXPIRED = auto()
    CANCELLED = auto()
    TOO_LONG = auto()


TRANSITIONS: Final[dict[tuple[ItemState, ItemEvent], ItemState]] = {
    # Not a byte has left: everything may still happen, and a new process simply goes on.
    (ItemState.QUEUED, ItemEvent.CONNECTED): ItemState.HANDING,
    (ItemState.QUEUED, ItemEvent.DIAL_FAILED): ItemState.QUEUED,
    (ItemState.QUEUED, ItemEvent.RESTARTED): ItemState.QUEUED,
    (ItemState.QUEUED, ItemEvent.EXPIRED): ItemState.EXPIRED,
    (ItemState.QUEUED, ItemEvent.CANCELLED): ItemState.CANCELLED,
    (ItemState.QUEUED, ItemEvent.TOO_LONG): ItemState.FAILED,
    # The commit that said HANDING failed without telling that it took effect: no byte has left.
    (ItemState.HANDING, ItemEvent.CONNECTED): ItemState.HANDING,
    # A byte may have left: no repeat, no cancel, no expiry; only its own connection ends it.
    (ItemState.HANDING, ItemEvent.HANDED): ItemState.SENT,
    (ItemState.HANDING, ItemEvent.BROKE): ItemState.FAILED,
    (ItemState.HANDING, ItemEvent.RESTARTED): ItemState.FAILED,
}
"""Every pair that is not here is refused: a report that comes late changes nothing."""

_MESSAGE_STATES: Final = {
    ItemState.SENT: MessageState.SENT,
    ItemState.FAILED: MessageState.FAILED,
    ItemState.EXPIRED: MessageState.EXPIRED,
    ItemState.CANCELLED: MessageState.CANCELLED,
}
_DELETE_OUTCOMES: Final = {
    ItemState.SENT: DeleteOutcome.SENT,
    ItemState.FAILED: DeleteOutcome.UNKNOWN,
    ItemState.EXPIRED: DeleteOutcome.EXPIRED,
    ItemState.CANCELLED: DeleteOutcome.LOCAL,
}
NEVER_ARRIVED: Final = (MessageState.FAILED, MessageState.EXPIRED, MessageState.CANCELLED)
"""The peer may not have such a message: a classic delete of it would hit an older one there."""


class Phase(Enum):
    """What a lane is doing for its head. Never on disk: after a crash it is simply not doing it."""

    WAITING = auto()
    LOCATING = auto()
    DIALING = auto()
    HANDING = auto()
    UNSURE = auto()
    """The store says HANDING, and this engine does not know whether the bytes were let go."""


@dataclass(slots=True)
class _Lane:
    """``last`` is where the peer last was; ``has_worked`` when the last hand-over there went well.

    Ports change owners, so an address is used without asking the directory only when it has just
    worked, or when the directory does not answer and the address is not old.
    """

    item: Entry
    last: Whereabouts | None
    phase: Phase = Phase.WAITING
    attempts: int = 0
    has_worked: bool = False


class Outbox:
    """The lanes of all peers. Methods take the time in ms and return effects; nothing waits.

    ``text_bytes_max`` is what a classic message of ours has room for.
    """

    def __init__(self, text_bytes_max: int = CLASSIC_SEND_BYTES_MAX) -> None:
        self.text_bytes_max = text_bytes_max
        self._lanes: dict[Name, _Lane] = {}

    # --- from a person ---------------------------------------------------------------------------

    def enqueued(self, now_ms: int, entry: Entry, address: Address | None) -> list[Effect]:
        """Something was put behind whatever waits for its peer: try the lane at once."""
        lane = self._lanes.get(entry.peer)
        if lane is None:
            lane = self._lanes[entry.peer] = _Lane(entry, None)
        elif lane.phase is not Phase.WAITING:
            return []
        lane.attempts = 0
        return self._begin(now_ms, lane, address)

    def has(self, peer: Name) -> bool:
        """Tell whether this peer has a lane here."""
        return peer in self._lanes

    def release(self, peer: Name) -> bool:
        """Let go of the lane of a peer that turned out to have a key: no byte more in plain text.

        Returns whether it is gone. While bytes are on their way it stays; the head that is loaded
        after them comes with the new route.
        """
        lane = self._lanes.get(peer)
        if lane is not None and lane.phase in (Phase.HANDING, Phase.UNSURE):
            return False
        self._lanes.pop(peer, None)
        return True

    def forgotten(self, peer: Name) -> list[Effect]:
        """Nothing for this peer is in the store any more, but what is being handed over."""
        lane = self._lanes.get(peer)
        if lane is None or not self.release(peer):
            return []
        return [Abandon(lane.item.item_id)] if lane.phase is Phase.DIALING else []

    def is_in_flight(self, item_id: MessageId, peer: Name) -> bool:
        """Tell whether a connection for this item is being opened or used."""
        lane = self._lanes.get(peer)
        return (
            lane is not None
            and lane.item.item_id == item_id
            and lane.phase in (Phase.DIALING, Phase.HANDING, Phase.UNSURE)
        )

    def forget_when_it_fails(self, item_id: MessageId, peer: Name) -> None:
        """The message of an item in flight was deleted here: if no byte leaves, it is cancelled."""
        assert self.is_in_flight(item_id, peer)
        lane = self._lanes[peer]
        lane.item = replace(lane.item, is_erased=True)

    def cancel(self, item_id: MessageId, peer: Name, seq: int) -> list[Effect]:
        """Take an item that is not in flight out of its lane, wherever it stands there."""
        assert not self.is_in_flight(item_id, peer)
        effects: list[Effect] = [VoidItem(peer, seq)]
        lane = self._lanes.get(peer)
        if lane is not None and lane.item.item_id == item_id:
            lane.phase = Phase.WAITING
            effects.append(AskHead(peer))
        return effects

    # --- the way of the head of a lane -----------------------------------------------------------

    def _begin(self, now_ms: int, lane: _Lane, address: Address | None) -> list[Effect]:
        if lane.item.kind in (ItemKind.VOID, ItemKind.READ):  # nothing a classic peer could be told
            lane.phase = Phase.WAITING
            return [RemoveItem(lane.item.peer, lane.item.seq), AskHead(lane.item.peer)]
        if now_ms >= lane.item.expires_ms:
            return self._end(lane, ItemEvent.EXPIRED, "expired")
        if lane.item.is_erased or lane.item.target_state in NEVER_ARRIVED:
            return self._end(lane, ItemEvent.CANCELLED, "deleted")
        if address is not None and lane.item.text_bytes > self.text_bytes_max:
            # Before anybody is dialled: classic clients die of a connection without a text.
            return self._end(lane, ItemEvent.TOO_LONG, "too-long")
        if address is None:
            lane.phase = Phase.LOCATING
            return [Locate(lane.item.peer)]
        if lane.last is None or lane.last.address != address:
            lane.last = Whereabouts(address, now_ms)
        lane.phase = Phase.DIALING
        return [Dial(lane.item.item_id, lane.item.peer, address)]

    def _postpone(self, now_ms: int, lane: _Lane, reason: str, jitter: float) -> list[Effect]:
        """Wait, twice as long each time; ``jitter`` takes off up to half (AWS's equal jitter)."""
        delay_ms = min(RETRY_MS_MAX, RETRY_MS_MIN << min(lane.attempts, 16))
        lane.attempts += 1
        lane.phase = Phase.WAITING
        at_ms = now_ms + int(delay_ms * (1 + jitter) / 2)
        return [SetTimer(lane.item.peer, at_ms), PeerPostponed(lane.item.peer, reason)]

    def _end(self, lane: _Lane, event: ItemEvent, reason: str | None = None) -> list[Effect]:
        """Take the head out of its lane, in the state ``event`` gives it; ask for the next."""
        item = lane.item
        state = TRANSITIONS[item.state, event]
        lane.phase = Phase.WAITING
        lane.has_worked = event is ItemEvent.HANDED
        done: list[Effect]
        if item.kind is ItemKind.TEXT:
            message_state = _MESSAGE_STATES[state]
            done = [
                SetMessageState(item.item_id, message_state, reason),
                MessagesProgressed(item.peer, (item.item_id,), message_state, reason),
            ]
        else:
            done = [DeleteProgressed(item.item_id, item.peer, _DELETE_OUTCOMES[state])]
        return [*done, RemoveItem(item.peer, item.seq), AskHead(item.peer)]

    def _head(self, item_id: MessageId, peer: Name, event: ItemEvent) -> _Lane | None:
        """Return the lane whose head this event may move; None for a report that comes too late."""
        lane = self._lanes.get(peer)
        if lane is None or lane.item.item_id != item_id:
            return None
        return lane if (lane.item.state, event) in TRANSITIONS else None

    # --- reports from the network ----------------------------------------------------------------

    def timer_fired(self, now_ms: int, event: TimerFired) -> list[Effect]:
        lane = self._lanes.get(event.peer)
        if lane is None or lane.phase is not Phase.WAITING:
            return []
        return self._begin(now_ms, lane, None)

    def routed(self, now_ms: int, event: Routed) -> list[Effect]:
        """Go on as the directory says; without one a recent address serves: people who know each
        other go on."""
        lane = self._lanes.get(event.peer)
        if lane is None or lane.phase is not Phase.LOCATING:
            return []
        match event.route:
            case Route.CLASSIC_REFUSED:
                return self._postpone(now_ms, lane, "classic-not-allowed", event.jitter)
            case Route.STOPPED:
                return self._postpone(now_ms, lane, "key-changed", event.jitter)
            case Route.CLASSIC if event.answered and event.address is not None:
                lane.last = Whereabouts(event.address, now_ms)
                at = StoreAddress(event.peer, event.address)
                return [at, *self._begin(now_ms, lane, event.address)]
            case Route.CLASSIC if not event.answered and self._is_recent(now_ms, lane):
                assert lane.last is not None
                return self._begin(now_ms, lane, lane.last.address)
            case _:
                reason = "not-registered" if event.answered else "directory-unreachable"
                return self._postpone(now_ms, lane, reason, event.jitter)

    @staticmethod
    def _is_recent(now_ms: int, lane: _Lane) -> bool:
        return lane.last is not None and now_ms - lane.last.at_ms <= ADDRESS_AGE_MS_MAX

    def connected(self, event: Connected) -> list[Effect]:
        """Say on disk that bytes may leave; only after that commit does one leave."""
        lane = self._head(event.item_id, event.peer, ItemEvent.CONNECTED)
        if lane is None or lane.phase is Phase.HANDING:
            return [Abandon(event.item_id)]
        state = TRANSITIONS[lane.item.state, ItemEvent.CONNECTED]
        lane.item = replace(lane.item, state=state)
        lane.phase = Phase.HANDING
        return [
            SetItemState(event.peer, lane.item.seq, state),
            HandOver(event.item_id, event.peer, lane.item.seq, lane.item.kind),
        ]

    def barred(self, now_ms: int, event: Barred) -> list[Effect]:
        """A key came under that name while the connection was opened: look again who that is."""
        lane = self._head(event.item_id, event.peer, ItemEvent.DIAL_FAILED)
        if lane is None or lane.phase is not Phase.DIALING:
            return [Abandon(event.item_id)]
        return [Abandon(event.item_id), *self._begin(now_ms, lane, None)]

    def dial_failed(self, now_ms: int, event: DialFailed) -> list[Effect]:
        lane = self._head(event.item_id, event.peer, ItemEvent.DIAL_FAILED)
        if lane is None or lane.phase is not Phase.DIALING:
            return []
        if lane.item.is_erased:
            return self._end(lane, ItemEvent.CANCELLED, "deleted")
        return self._postpone(now_ms, lane, event.reason, event.jitter)

    def handed(self, event: Handed) -> list[Effect]:
        lane = self._head(event.item_id, event.peer, ItemEvent.HANDED)
        return [] if lane is None else self._end(lane, ItemEvent.HANDED)

    def broke(self, event: HandOverBroke) -> list[Effect]:
        lane = self._head(event.item_id, event.peer, ItemEvent.BROKE)
        return [] if lane is None else self._end(lane, ItemEvent.BROKE, event.reason)

    # --- answers from the store ------------------------------------------------------------------

    def head_loaded(self, now_ms: int, answer: HeadLoaded) -> list[Effect]:
        """Go on with the next item, at the address that has just worked; or close the lane.

        Only while plain text may go there: a key may have come since the last item left.
        """
        if answer.entry is None:
            self._lanes.pop(answer.peer, None)
            return []
        assert answer.entry.state is not ItemState.HANDING, "only the head is ever in flight"
        lane = self._lanes.setdefault(answer.peer, _Lane(answer.entry, answer.last))
        lane.item = answer.entry
        lane.attempts = 0
        worked = lane.last if lane.has_worked and answer.route is Route.CLASSIC else None
        return self._begin(now_ms, lane, worked.address if worked else None)

    def restored(self, now_ms: int, event: Restored) -> list[Effect]:
        """Take up a lane that the store remembers."""
        assert event.entry is not None
        lane = self._lanes[event.peer] = _Lane(event.entry, event.last)
        if event.entry.state is ItemState.HANDING:
            if event.restarted:
                return self._end(lane, ItemEvent.RESTARTED, "interrupted")
            lane.phase = Phase.UNSURE
            return []
        return [SetTimer(event.peer, now_ms if event.restarted else now_ms + RETRY_MS_MIN)]
