"""What can happen to a node, in the past tense. The node makes them, the engine judges them.

Ids, addresses and random numbers arrive inside an input, so that the engine needs no source of
any. Between the two stands the pump: it asks trust whether a name may be spoken to (the engine gets
a ``Route``), and adds what the store knows. So most inputs have a second form, in
``delivery.checked``, and only that one reaches the engine.

A peer that is known by its key is called *keyed*.
"""

from dataclasses import dataclass
from enum import Enum

from netchat.model import (
    Address,
    DisplayText,
    Item,
    MessageId,
    Name,
    PeerId,
    Ranges,
    SignedRecord,
)


class Route(Enum):
    """How a name may be spoken to now.

    SELF it is us; KEYED over a link, or sealed; CLASSIC in plain text, which is allowed;
    CLASSIC_REFUSED only in plain text, which is not; STOPPED not at all, until a person decides on
    another key; UNKNOWN nobody could be asked; NOBODY the directory knows nobody of that name, and
    neither do we.
    """

    SELF = "self"
    KEYED = "keyed"
    CLASSIC = "classic"
    CLASSIC_REFUSED = "classic-refused"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Found:
    """What the directory just said of a name: a signed record, a classic entry, both or neither.

    ``present`` tells whether whoever holds the record is there now.
    """

    record: SignedRecord | None
    address: Address | None
    present: bool = True


class ItemState(Enum):
    """Where an item towards a classic peer is; ``outbox.TRANSITIONS`` says how it moves.

    STORED is for keyed peers only: it lies in the mailbox, too.
    """

    QUEUED = "queued"
    STORED = "stored"
    HANDING = "handing"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NewMessage:
    """Something that a person wrote; its id was made for it."""

    message_id: MessageId
    text: str


# --- from a person -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendRequested:
    """Somebody wrote ``messages`` to ``peer``; ``found`` is None when no directory answered."""

    peer: Name
    messages: tuple[NewMessage, ...]
    found: Found | None


@dataclass(frozen=True, slots=True)
class DeleteRequested:
    """Somebody wants an own message to go, here and there: ``target``, or the newest to ``peer``.

    With a ``target``, ``peer`` is whoever it was sent to, and None here.
    """

    change_id: MessageId
    peer: Name | None
    target: MessageId | None = None


@dataclass(frozen=True, slots=True)
class ReadNoted:
    """Somebody read what ``peer`` wrote, up to ``hlc``, and wants ``peer`` to know."""

    change_id: MessageId
    peer: Name
    hlc: int


# --- from the network ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Located:
    """The directory answered; ``jitter`` in [0, 1) spreads the retries of many nodes."""

    peer: Name
    found: Found
    jitter: float


@dataclass(frozen=True, slots=True)
class LocateFailed:
    """The directory did not answer, so what is known from before has to do."""

    peer: Name
    jitter: float


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time that a ``SetTimer`` of ``peer`` named has come."""

    peer: Name
    jitter: float


# --- from classic connections --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection for ``item_id`` is open and no byte has gone over it."""

    item_id: MessageId
    peer: Name


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No connection for ``item_id``."""

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
class TextArrived:
    """A whole classic message came; ``arrival_id`` was made for its connection. ``is_held``: the
    directory says that a key holds the name of ``sender``."""

    arrival_id: MessageId
    sender: Name
    text: DisplayText
    source: str
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class DeleteArrived:
    """A classic delete came from the IP address ``source``; ``is_held`` as in ``TextArrived``."""

    arrival_id: MessageId
    sender: Name
    source: str
    is_held: bool = False


# --- from links ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """A link to the holder of ``record`` is open: its TLS key is the key of the record.

    ``link`` is a number of the node's. ``stream`` names the outbox that the other end sends from.
    ``elsewhere`` is what a directory holds under that name, if one was asked; ``is_dialled`` when
    this node dialled that name.
    """

    link: int
    record: SignedRecord
    stream: bytes
    elsewhere: SignedRecord | None = None
    is_dialled: bool = False


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """No link to ``peer`` came about."""

    peer: Name
    reason: str
    jitter: float


@dataclass(frozen=True, slots=True)
class LinkClosed:
    link: int
    reason: str
    jitter: float


@dataclass(frozen=True, slots=True)
class ItemsArrived:
    """Items came over a link. ``base`` is the lowest number that the other end still holds."""

    link: int
    base: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class ReceiptArrived:
    """The other end has committed these numbers; ``results`` says what it did about changes."""

    link: int
    ranges: Ranges
    results: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ConfirmArrived:
    """The other end has committed what it got by mail, by id."""

    link: int
    results: tuple[tuple[MessageId, str], ...]


# --- from the mailbox ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MailArrived:
    """An envelope was opened: ``sender`` is the key that signed it, ``name`` what it calls itself.

    ``mail`` is a number of the node's. ``elsewhere`` is what the directory holds under that name.
    """

    mail: int
    sender: PeerId
    name: Name
    stream: bytes
    base: int
    items: tuple[Item, ...]
    confirms: tuple[tuple[MessageId, str], ...]
    elsewhere: SignedRecord | None = None
    body: bytes = b""
    """As it came, to be kept when it has to wait for a person."""


@dataclass(frozen=True, slots=True)
class Deposited:
    """These items, and what we owed, lie in the mailbox of ``peer`` until ``until_ms``.

    They are sealed to ``key``; ``jitter`` is for when that is no longer the key of ``peer``.
    """

    peer: Name
    ranges: Ranges
    owed: tuple[MessageId, ...]
    until_ms: int
    key: PeerId | None = None
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class DepositFailed:
    peer: Name
    reason: str
    jitter: float


# --- from a person, about a key ------------------------------------------------------------------


class Decision(Enum):
    """What a person decided about a name (``api.TrustDecision``), or VERIFIED its key."""

    VERIFIED = "verified"
    ACCEPT = "accept"
    REFUSE = "refuse"
    ALLOW_CLASSIC = "classic"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class PersonDecided:
    """``key`` is the one that was VERIFIED. ``request`` is a number of the node's."""

    request: int
    peer: Name
    decision: Decision
    jitter: float
    key: PeerId | None = None


Identified = SendRequested | DeleteRequested | ReadNoted | TextArrived | DeleteArrived
"""Inputs with ids of their own: the pump may have to offer them twice, and they count once."""

Input = (
    Identified
    | Located
    | LocateFailed
    | TimerFired
    | Connected
    | DialFailed
    | Handed
    | HandOverBroke
    | LinkOpened
    | LinkFailed
    | LinkClosed
    | ItemsArrived
    | ReceiptArrived
    | ConfirmArrived
    | MailArrived
    | Deposited
    | DepositFailed
    | PersonDecided
)
"""What the node gives to the pump."""
