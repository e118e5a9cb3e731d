"""What follows from an input, in the imperative. The engine only names effects; others act.

Store effects are applied by the pump in the transaction of the step, questions are answered by it
in the same transaction, and the rest leaves the pump only after the commit.
"""

from dataclasses import dataclass

from netchat.delivery.inputs import ItemState
from netchat.delivery.notices import Notice
from netchat.model import (
    Address,
    Contact,
    DisplayText,
    Item,
    ItemKind,
    MessageId,
    MessageState,
    Name,
    PeerId,
    Ranges,
)

# --- store: applied inside the transaction -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreOwn:
    """Messages of ours, as rows of the history and of the outbox. ``left``: they go out at once,
    so from this commit on they may have left this machine."""

    peer: Name
    rows: tuple["OwnRow", ...]
    expires_ms: int
    left: bool


@dataclass(frozen=True, slots=True)
class OwnRow:
    message_id: MessageId
    text: str
    seq: int
    hlc: int


@dataclass(frozen=True, slots=True)
class StoreItem:
    """Something for the outbox that is no message: a delete, or word of what was read."""

    peer: Name
    item: Item
    expires_ms: int
    left: bool


@dataclass(frozen=True, slots=True)
class StoreReceived:
    """Messages from a keyed peer. Those in ``deleted`` were deleted before they came."""

    peer: Name
    sender: PeerId
    items: tuple[Item, ...]
    deleted: frozenset[MessageId]


@dataclass(frozen=True, slots=True)
class StoreClassicReceived:
    message_id: MessageId
    contact: Contact
    text: DisplayText
    source: str
    hlc: int


@dataclass(frozen=True, slots=True)
class SetMark:
    """Which numbers of ``stream`` are here: every one up to ``upto``, and ``ahead``."""

    sender: PeerId
    stream: bytes
    upto: int
    ahead: Ranges


@dataclass(frozen=True, slots=True)
class StoreChange:
    """Remember that a delete of ours, or of a classic peer, was made or judged."""

    change_id: MessageId
    contact: Contact
    target: MessageId | None


@dataclass(frozen=True, slots=True)
class StoreChangeOf:
    """Remember a delete of a keyed peer, and what was answered to it."""

    sender: PeerId
    change_id: MessageId
    peer: Name
    target: MessageId
    result: str


@dataclass(frozen=True, slots=True)
class SetMessageState:
    message_id: MessageId
    state: MessageState
    reason: str | None


@dataclass(frozen=True, slots=True)
class EraseMessage:
    """The text goes, the row stays as a tombstone. ``sender`` None: ours, or a classic one."""

    message_id: MessageId
    sender: PeerId | None = None
    keep_text: bool = False
    wipe: bool = False


@dataclass(frozen=True, slots=True)
class VoidItem:
    """Nothing is left of this item but its number, which must not become a hole."""

    peer: Name
    seq: int


@dataclass(frozen=True, slots=True)
class SetItemState:
    peer: Name
    seq: int
    state: ItemState


@dataclass(frozen=True, slots=True)
class RemoveItem:
    peer: Name
    seq: int


@dataclass(frozen=True, slots=True)
class SettleItems:
    """The peer has committed these: they leave the outbox, and messages become DELIVERED.

    Tells by ``MessagesProgressed`` and ``DeleteProgressed`` what was among them.
    """

    peer: Name
    ranges: Ranges
    results: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StoreDeposit:
    """These items lie in a mailbox until ``until_ms``. Tells by ``MessagesProgressed``."""

    peer: Name
    ranges: Ranges
    until_ms: int


@dataclass(frozen=True, slots=True)
class ForgetDeposits:
    """What lies in mailboxes for ``peer`` waits as before it did. Tells by a notice."""

    peer: Name


@dataclass(frozen=True, slots=True)
class ExpireItems:
    """What is past its time leaves the outbox. Tells of each by a notice."""

    peer: Name


@dataclass(frozen=True, slots=True)
class MarkLeft:
    """From this commit on, items up to ``seq`` may have left this machine."""

    peer: Name
    seq: int


@dataclass(frozen=True, slots=True)
class MarkRead:
    """``peer`` has read what we wrote up to ``hlc``. Tells by ``MessagesProgressed``."""

    peer: Name
    hlc: int


@dataclass(frozen=True, slots=True)
class StoreOwed:
    """``peer`` has to be told of what came by mail; a link or an envelope takes it along."""

    peer: Name
    results: tuple[tuple[MessageId, str], ...]


@dataclass(frozen=True, slots=True)
class DropOwed:
    peer: Name
    item_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """``peer`` was at ``address`` when a classic directory said so."""

    peer: Name
    address: Address


# --- questions: answered inside the transaction --------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskHead:
    """Answered by ``HeadLoaded``."""

    peer: Name


@dataclass(frozen=True, slots=True)
class AskTransmit:
    """Give items behind ``after`` to the link, and what is owed to it when ``owed``.

    Answered by ``Carried``; the bodies go from the store to the node (``Transmit``).
    """

    link: int
    peer: Name
    after: int
    items_max: int
    bytes_max: int
    owed: bool = False


@dataclass(frozen=True, slots=True)
class AskDeposit:
    """Put items that lie in no mailbox yet, and what is owed, into one envelope (``Deposit``).

    Answered by ``Carried``.
    """

    peer: Name


# --- outward: only after the commit --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Locate:
    """Ask the directory; answer with ``Located`` or ``LocateFailed``."""

    peer: Name


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Say ``TimerFired`` at ``at_ms``; a later ``SetTimer`` of the same peer replaces this one."""

    peer: Name
    at_ms: int


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a classic connection; answer with ``Connected`` or ``DialFailed``."""

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
    seq: int
    kind: ItemKind
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Abandon:
    """Close the connection that was opened for ``item_id``: nothing goes over it."""

    item_id: MessageId


@dataclass(frozen=True, slots=True)
class Settle:
    """The arrival is on disk (or was before): close its connection in peace."""

    arrival_id: MessageId


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Dial the holder of ``key``; answer with ``LinkOpened`` or ``LinkFailed``."""

    peer: Name
    key: PeerId
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class CloseLink:
    link: int
    code: str


@dataclass(frozen=True, slots=True)
class Transmit:
    """Write items to the link; ``base`` is the lowest number that we still hold."""

    link: int
    base: int
    items: tuple[Item, ...]
    confirms: tuple[tuple[MessageId, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Tell the other end of the link what is committed here."""

    link: int
    ranges: Ranges
    results: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Deposit:
    """Seal this into the mailbox of ``key``; answer with ``Deposited`` or ``DepositFailed``."""

    peer: Name
    key: PeerId
    prekey: bytes
    base: int
    items: tuple[Item, ...]
    confirms: tuple[tuple[MessageId, str], ...]


@dataclass(frozen=True, slots=True)
class MailSettled:
    """What was in the envelope is on this disk: the mailbox may forget it."""

    mail: int


StoreEffect = (
    StoreOwn
    | StoreItem
    | StoreReceived
    | StoreClassicReceived
    | SetMark
    | StoreChange
    | StoreChangeOf
    | SetMessageState
    | EraseMessage
    | VoidItem
    | SetItemState
    | RemoveItem
    | SettleItems
    | StoreDeposit
    | ForgetDeposits
    | ExpireItems
    | MarkLeft
    | MarkRead
    | StoreOwed
    | DropOwed
    | StoreAddress
)
Question = AskHead | AskTransmit | AskDeposit
Outward = (
    Locate
    | SetTimer
    | Dial
    | HandOver
    | Abandon
    | Settle
    | OpenLink
    | CloseLink
    | Transmit
    | Acknowledge
    | Deposit
    | MailSettled
    | Notice
)
Effect = StoreEffect | Question | Outward
