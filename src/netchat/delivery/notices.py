"""What faces are told, after the commit that made it true: the engine's and the store's news.

The node turns them into events of ``api`` and into the ends of what somebody waits for.
"""

from dataclasses import dataclass

from netchat.model import (
    Contact,
    DeleteOutcome,
    DisplayText,
    MessageId,
    MessageState,
    Name,
    PeerId,
)


@dataclass(frozen=True, slots=True)
class MessagesArrived:
    """``unverified``: they came in plain text."""

    contact: Contact
    messages: tuple[tuple[MessageId, DisplayText], ...]
    unverified: bool = False


@dataclass(frozen=True, slots=True)
class MessagesAccepted:
    """Messages of ours are on this disk; from now on they are kept until they end."""

    message_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class SendRefused:
    """Nothing was kept: ``no-such-person`` or ``classic-not-allowed``."""

    peer: Name
    message_ids: tuple[MessageId, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class PeerPostponed:
    """Nothing reaches ``peer`` now because of ``reason``; everything for it stays queued."""

    peer: Name
    reason: str


@dataclass(frozen=True, slots=True)
class MessagesProgressed:
    """Messages of ours came further, or ended; ``reason`` is the code of a failure."""

    peer: Name
    message_ids: tuple[MessageId, ...]
    state: MessageState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteProgressed:
    """What became of a delete of ours."""

    change_id: MessageId
    peer: Name | None
    outcome: DeleteOutcome


@dataclass(frozen=True, slots=True)
class PeerDeleted:
    """The sender deleted one of its messages here."""

    message_id: MessageId
    contact: Contact


@dataclass(frozen=True, slots=True)
class DeleteIgnored:
    """A delete that claims a name was not applied: ``nothing-to-delete`` or ``other-source``."""

    contact: Contact
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class NumbersMissing:
    """``count`` items of ``peer`` never come: the peer holds them no more."""

    peer: Name
    count: int


@dataclass(frozen=True, slots=True)
class KeyStopped:
    """Another key came under the name of ``peer``: nothing goes there until a person decides."""

    peer: Name
    was_verified: bool
    old: PeerId
    new: PeerId


@dataclass(frozen=True, slots=True)
class KeyMoved:
    """``peer`` has a new key, and the old one signed for it."""

    peer: Name


@dataclass(frozen=True, slots=True)
class RecordRefused:
    """A record of ``peer`` cannot be: ``rollback`` or ``equivocation``."""

    peer: Name
    reason: str


@dataclass(frozen=True, slots=True)
class MailHeld:
    """``count`` items wait for a decision about another key that calls itself ``peer``."""

    peer: Name
    count: int


@dataclass(frozen=True, slots=True)
class DecisionDone:
    """What a person decided is on disk; ``refused`` is the code of why it was not possible."""

    request: int
    peer: Name
    refused: str | None = None


Notice = (
    MessagesArrived
    | MessagesAccepted
    | SendRefused
    | PeerPostponed
    | MessagesProgressed
    | DeleteProgressed
    | PeerDeleted
    | DeleteIgnored
    | NumbersMissing
    | KeyStopped
    | KeyMoved
    | RecordRefused
    | MailHeld
    | DecisionDone
)
