"""What follows from an input, in the imperative. The engine only names effects; others act.

Store effects are applied by the pump in the transaction of the step, questions are answered by it
in the same transaction, and the rest leaves the pump only after the commit.
"""

from dataclasses import dataclass

from netchat.delivery.inputs import Identified, Item, ItemKind, ItemState
from netchat.model import Address, DeleteOutcome, DisplayText, MessageId, MessageState, Name

# --- store: applied inside the transaction -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreOwnMessage:
    message_id: MessageId
    peer: Name
    text: str


@dataclass(frozen=True, slots=True)
class StoreReceivedMessage:
    message_id: MessageId
    peer: Name
    text: DisplayText
    source: str


@dataclass(frozen=True, slots=True)
class SetMessageState:
    message_id: MessageId
    state: MessageState
    reason: str | None


@dataclass(frozen=True, slots=True)
class EraseMessage:
    """The text goes, the row stays as a tombstone."""

    message_id: MessageId


@dataclass(frozen=True, slots=True)
class StoreChange:
    """Remember that ``change_id`` was applied, to ``target`` if it had one."""

    change_id: MessageId
    peer: Name
    target: MessageId | None


@dataclass(frozen=True, slots=True)
class StoreItem:
    item: Item
    text: str | None


@dataclass(frozen=True, slots=True)
class SetItemState:
    item_id: MessageId
    state: ItemState


@dataclass(frozen=True, slots=True)
class RemoveItem:
    item_id: MessageId


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """``peer`` was at ``address`` when somebody who should know said so."""

    peer: Name
    address: Address


# --- questions: answered inside the transaction --------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskChecked:
    """Answered by ``Checked``."""

    request: Identified


@dataclass(frozen=True, slots=True)
class AskHead:
    """Answered by ``HeadLoaded``."""

    peer: Name


# --- outward: only after the commit --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Locate:
    """Ask the directory; answer with ``Located`` or ``LocateFailed``."""

    peer: Name


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection; answer with ``Connected`` or ``DialFailed``."""

    item_id: MessageId
    peer: Name
    address: Address


@dataclass(frozen=True, slots=True)
class HandOver:
    """Write the item to its open connection; answer with ``Handed`` or ``HandOverBroke``.

    ``text`` is None in what the engine returns: the pump reads it from the outbox.
    """

    item_id: MessageId
    peer: Name
    kind: ItemKind
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Abandon:
    """Close the connection that was opened for ``item_id``: nothing goes over it."""

    item_id: MessageId


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Say ``TimerFired`` at ``at_ms``; a later ``SetTimer`` of the same peer replaces this one."""

    peer: Name
    at_ms: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The arrival is on disk (or was before): close its connection in peace."""

    arrival_id: MessageId


# --- notices: what faces are told, after the commit ----------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageArrived:
    message_id: MessageId
    peer: Name
    text: DisplayText


@dataclass(frozen=True, slots=True)
class MessageAccepted:
    """A message of ours is on this disk; from now on it is kept until it ends."""

    message_id: MessageId


@dataclass(frozen=True, slots=True)
class PeerPostponed:
    """Nothing reaches ``peer`` now because of ``reason``; everything for it stays queued."""

    peer: Name
    reason: str


@dataclass(frozen=True, slots=True)
class MessageProgressed:
    """A message of ours took its last step; ``reason`` is the code of a failure."""

    message_id: MessageId
    peer: Name
    state: MessageState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteProgressed:
    """What became of a delete of ours."""

    change_id: MessageId
    peer: Name
    outcome: DeleteOutcome


@dataclass(frozen=True, slots=True)
class PeerDeleted:
    """The sender deleted one of its messages here."""

    message_id: MessageId
    peer: Name


@dataclass(frozen=True, slots=True)
class DeleteIgnored:
    """A delete that claims ``peer`` was not applied: ``nothing-to-delete`` or ``other-source``."""

    peer: Name
    source: str
    reason: str


StoreEffect = (
    StoreOwnMessage
    | StoreReceivedMessage
    | SetMessageState
    | EraseMessage
    | StoreChange
    | StoreItem
    | SetItemState
    | RemoveItem
    | StoreAddress
)
Question = AskChecked | AskHead
Notice = (
    MessageArrived
    | MessageAccepted
    | PeerPostponed
    | MessageProgressed
    | DeleteProgressed
    | PeerDeleted
    | DeleteIgnored
)
Outward = Locate | Dial | HandOver | Abandon | SetTimer | Settle | Notice
Effect = StoreEffect | Question | Outward
