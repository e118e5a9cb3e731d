"""What reaches the engine: inputs as the pump hands them on, with what trust and the store add.

The pump makes them inside the transaction of the step. The second group answers the engine's own
questions (``effects.Ask...``), in the same transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from netchat.delivery.inputs import (
    Connected,
    DeleteArrived,
    DeleteRequested,
    Deposited,
    DepositFailed,
    DialFailed,
    Handed,
    HandOverBroke,
    ItemState,
    LinkClosed,
    LinkFailed,
    ReadNoted,
    ReceiptArrived,
    Route,
    SendRequested,
    TextArrived,
    TimerFired,
)
from netchat.model import (
    Address,
    Contact,
    Item,
    ItemKind,
    MessageId,
    MessageState,
    Name,
    PeerId,
    Ranges,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """The head of a lane, as the store has it; a TEXT has the id of its message.

    ``target_state`` is where the message that a DELETE means has come to, ``is_erased`` says that
    the message of a TEXT was deleted here meanwhile.
    """

    item_id: MessageId
    peer: Name
    seq: int
    kind: ItemKind
    state: ItemState
    expires_ms: int
    target_state: MessageState | None = None
    is_erased: bool = False
    text_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """``address`` is where somebody who should know said at ``at_ms`` that a peer was."""

    address: Address
    at_ms: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What the store has counted for one conversation.

    ``last_seq`` numbers the newest item for the peer, ``left_seq`` the newest that may have left
    this machine, ``hlc`` is the highest timestamp in the conversation.
    """

    last_seq: int
    left_seq: int
    hlc: int


@dataclass(frozen=True, slots=True)
class OwnMessage:
    """The message of ours that a delete means. ``is_newest``: of those that are not deleted.
    ``is_shadowed``: a newer one ended in FAILED, so a classic peer may have that one, too."""

    message_id: MessageId
    peer: Name
    seq: int
    state: MessageState
    is_newest: bool = True
    is_shadowed: bool = False


@dataclass(frozen=True, slots=True)
class NewestReceived:
    """The newest message that came over classic under a name; ``source`` is where it came from."""

    message_id: MessageId
    source: str | None


@dataclass(frozen=True, slots=True)
class SendChecked:
    """``seen`` are the messages that the store has already."""

    request: SendRequested
    seen: frozenset[MessageId]
    route: Route
    address: Address | None
    tally: Tally


@dataclass(frozen=True, slots=True)
class DeleteChecked:
    """``message`` is None when there is nothing to delete; ``seen``: this very delete is there."""

    request: DeleteRequested
    seen: bool
    message: OwnMessage | None
    route: Route
    tally: Tally


@dataclass(frozen=True, slots=True)
class ReadChecked:
    request: ReadNoted
    seen: bool
    route: Route
    tally: Tally


@dataclass(frozen=True, slots=True)
class ArrivalChecked:
    """``contact`` is whose conversation a classic arrival belongs to, ``tally`` is its."""

    request: TextArrived | DeleteArrived
    seen: bool
    contact: Contact
    tally: Tally
    newest: NewestReceived | None = None


@dataclass(frozen=True, slots=True)
class Routed:
    """What is to be done about ``peer`` now that the directory was asked, or cannot be asked.

    ``key`` and ``addresses`` are for a keyed peer; ``can_mail`` when it has a mailbox and a prekey
    that is in date; ``present`` is False when the directory says that it is away. ``answered``
    tells whether a directory did, ``has_work`` whether items or debts still wait for the peer.
    """

    peer: Name
    jitter: float
    route: Route
    address: Address | None = None
    key: PeerId | None = None
    addresses: tuple[Address, ...] = ()
    can_mail: bool = False
    present: bool = True
    answered: bool = True
    has_work: bool = True


@dataclass(frozen=True, slots=True)
class Admitted:
    """A link may be used: it is ``peer``'s. ``has_work`` when items or debts wait for it."""

    link: int
    peer: Name
    last_seq: int
    has_work: bool


@dataclass(frozen=True, slots=True)
class Target:
    """A message of a peer that the peer wants deleted, as it is here."""

    message_id: MessageId
    at_ms: int
    is_deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsChecked:
    """Items that came from ``peer``, and what the store knows of them.

    They came over ``link``, or by mail when that is None; ``mail`` is then the number of the
    envelope. ``seen`` are ids of texts and changes that are here, with what was answered;
    ``orphans`` are texts that were deleted before they came; ``targets`` the messages that deletes
    mean. ``upto`` and ``ahead`` say which numbers of ``stream`` are here; None: none yet.
    ``is_first``: nothing came over this link before them.
    """

    peer: Name
    sender: PeerId
    stream: bytes
    base: int
    items: tuple[Item, ...]
    link: int | None
    mail: int | None = None
    seen: Mapping[MessageId, str] = field(default_factory=dict)
    orphans: frozenset[MessageId] = frozenset()
    targets: Mapping[MessageId, Target] = field(default_factory=dict)
    upto: int | None = None
    ahead: Ranges = ()
    is_first: bool = True


@dataclass(frozen=True, slots=True)
class ConfirmChecked:
    """The peer has these numbers by mail; ``results`` are what it did about changes among them."""

    peer: Name
    ranges: Ranges
    results: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Barred:
    """A connection for ``item_id`` is open, and plain text may no longer go to ``peer``."""

    item_id: MessageId
    peer: Name


# --- answers to the engine -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadLoaded:
    """The oldest item for ``peer`` in the outbox, None when empty; and where the peer last was."""

    peer: Name
    entry: Entry | None
    last: Whereabouts | None
    route: Route


@dataclass(frozen=True, slots=True)
class Carried:
    """The store gave items of ``peer`` to a link or an envelope, ``size`` bytes of text in all.

    ``ranges`` is empty when there was nothing behind what was asked for; ``owed`` counts the debts
    that go along. ``is_empty``: nothing waits for this peer, nor is owed to it.
    """

    peer: Name
    ranges: Ranges
    size: int
    owed: int = 0
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """Like ``HeadLoaded``, for each peer with items or debts when the outbox is read back.

    ``restarted`` when the process is new: what it was handing over, nobody can know. Otherwise only
    a commit failed, and the connection that carries the item still reports how it ended.
    """

    peer: Name
    entry: Entry | None
    last: Whereabouts | None
    route: Route
    restarted: bool


Checked = (
    SendChecked
    | DeleteChecked
    | ReadChecked
    | ArrivalChecked
    | Routed
    | TimerFired
    | Connected
    | DialFailed
    | Handed
    | HandOverBroke
    | Admitted
    | LinkFailed
    | LinkClosed
    | Barred
    | ItemsChecked
    | ReceiptArrived
    | ConfirmChecked
    | Deposited
    | DepositFailed
    | Restored
)
"""What the pump gives to the engine."""

Answer = HeadLoaded | Carried
