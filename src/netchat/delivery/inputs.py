"""What can happen to a node, in the past tense. The node makes them, the engine judges them.

Ids, addresses and random numbers arrive inside an input, so that the engine needs no source of
any. The last group answers the engine's own questions (``effects.Ask...``): the pump reads the
store for them inside the same transaction.
"""

from dataclasses import dataclass
from enum import Enum

from netchat.model import Address, DisplayText, MessageId, MessageState, Name


class ItemKind(Enum):
    """What an item of the outbox asks of the peer."""

    TEXT = "text"
    DELETE = "delete"


class ItemState(Enum):
    """Where an item of the outbox is; ``outbox.TRANSITIONS`` says how it moves."""

    QUEUED = "queued"
    HANDING = "handing"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to bring to ``peer``. A TEXT has the id of its message, a DELETE one of its own.

    ``target_state`` is where the message that a DELETE means has come to, as the store has it;
    ``is_erased`` says that the message of a TEXT was deleted here meanwhile.
    """

    item_id: MessageId
    peer: Name
    kind: ItemKind
    state: ItemState
    expires_ms: int
    target_state: MessageState | None = None
    is_erased: bool = False


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """``address`` is where somebody who should know said at ``at_ms`` that a peer was."""

    address: Address
    at_ms: int


# --- from a person -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendRequested:
    """Somebody wrote ``text`` to ``peer``; ``address`` is where the directory just said it is."""

    message_id: MessageId
    peer: Name
    text: str
    address: Address | None


@dataclass(frozen=True, slots=True)
class DeleteRequested:
    """Somebody wants the newest own message to ``peer`` to go, here and there."""

    change_id: MessageId
    peer: Name


# --- from the network ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Located:
    """The directory answered: ``peer`` is at ``address``, or it knows nobody of that name."""

    peer: Name
    address: Address | None
    jitter: float


@dataclass(frozen=True, slots=True)
class LocateFailed:
    """The directory did not answer, so the last address we know has to do."""

    peer: Name
    jitter: float


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection for ``item_id`` is open and no byte has gone over it."""

    item_id: MessageId
    peer: Name


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No connection for ``item_id``; ``jitter`` in [0, 1) spreads the retries of many nodes."""

    item_id: MessageId
    peer: Name
    reason: str
    jitter: float


@dataclass(frozen=True, slots=True)
class Handed:
    """Every byte of ``item_id`` went to the peer's socket, and no reset came back."""

    item_id: MessageId
    peer: Name


@dataclass(frozen=True, slots=True)
class HandOverBroke:
    """The connection broke after a byte of ``item_id`` may have left: nobody can know."""

    item_id: MessageId
    peer: Name
    reason: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time that a ``SetTimer`` of ``peer`` named has come."""

    peer: Name
    jitter: float


@dataclass(frozen=True, slots=True)
class TextArrived:
    """A whole classic message came; ``arrival_id`` was made for its connection."""

    arrival_id: MessageId
    sender: Name
    text: DisplayText
    source: str


@dataclass(frozen=True, slots=True)
class DeleteArrived:
    """A classic delete came from the IP address ``source``."""

    arrival_id: MessageId
    sender: Name
    source: str


# --- answers from the store, inside the same transaction -----------------------------------------

Identified = SendRequested | DeleteRequested | TextArrived | DeleteArrived
"""Inputs with an id of their own: the pump may have to offer them twice, and they count once."""


@dataclass(frozen=True, slots=True)
class NewestMessage:
    """The newest message of one direction that is not deleted; ``source`` of a received one.

    ``is_shadowed``: a newer one of ours ended in FAILED, so the peer may have that one, too.
    """

    message_id: MessageId
    state: MessageState
    source: str | None
    is_shadowed: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """``seen``: the store has the id of ``request`` already. ``newest`` is what a delete means."""

    request: Identified
    seen: bool
    newest: NewestMessage | None = None


@dataclass(frozen=True, slots=True)
class HeadLoaded:
    """The oldest item for ``peer`` in the outbox, None when empty; and where the peer last was."""

    peer: Name
    item: Item | None
    last: Whereabouts | None


@dataclass(frozen=True, slots=True)
class Restored:
    """Like ``HeadLoaded``, for each peer that has items when the outbox is read back.

    ``restarted`` when the process is new: what it was handing over, nobody can know. Otherwise only
    a commit failed, and the connection that carries the item still reports how it ended.
    """

    peer: Name
    item: Item
    last: Whereabouts | None
    restarted: bool


Answer = Checked | HeadLoaded
Input = (
    Identified
    | Located
    | LocateFailed
    | Connected
    | DialFailed
    | Handed
    | HandOverBroke
    | TimerFired
    | Restored
)
