"""What a face or a bot may ask a node, and what it hears from it.

``Node`` is implemented by ``node.node`` in this process; a later carrier will offer the same over a
socket. Nothing here knows how either works. Errors are those of ``errors``.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from netchat.model import (
    Contact,
    DeleteOutcome,
    DisplayText,
    Message,
    MessageId,
    Name,
    PeerId,
    TrustState,
)


class SendOutcome(Enum):
    """What a send came to when it returned.

    DELIVERED it is on the peer's disk; STORED it lies sealed in the peer's mailbox, and here;
    SENT every byte went to a classic peer, which confirms nothing; QUEUED it waits on this disk
    and is tried again; FAILED it will not be tried again (``reason``; with ``classic-not-allowed``
    nothing was kept); NO_SUCH_PERSON nothing was kept, because nobody of that name is known.
    """

    DELIVERED = "delivered"
    STORED = "stored"
    SENT = "sent"
    QUEUED = "queued"
    FAILED = "failed"
    NO_SUCH_PERSON = "no-such-person"


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome for one recipient; ``message_id`` is None when nothing was kept."""

    peer: Name
    outcome: SendOutcome
    message_id: MessageId | None = None
    reason: str | None = None


# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message is in the history. From a classic peer (``unverified``) its sender is a claim."""

    message_id: MessageId
    peer: Contact
    text: DisplayText
    unverified: bool = False


@dataclass(frozen=True, slots=True)
class MessageDeleted:
    """``peer`` deleted one of its messages here."""

    message_id: MessageId
    peer: Contact


@dataclass(frozen=True, slots=True)
class DeleteIgnored:
    """Somebody at ``source`` wanted to delete a message of ``peer``; ``reason`` why it stayed."""

    peer: Contact
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class QueuedMessagesEnded:
    """Messages for ``peer`` that nobody waits for any more came further together, or ended.

    Their sends had returned QUEUED or STORED. Cancelled ones are not told of.
    """

    peer: Name
    message_ids: tuple[MessageId, ...]
    outcome: SendOutcome
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class QueuedDeleteEnded:
    """A delete that had to wait for ``peer`` did not get there as it should."""

    peer: Name
    outcome: DeleteOutcome


@dataclass(frozen=True, slots=True)
class MessagesMissing:
    """``count`` messages of ``peer``, or word of changes, never came here, and ``peer`` holds them
    no more.

    It happens when their time ran out, or when one side went back to an older state of its disk.
    """

    peer: Name
    count: int


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """Another key came under the name of ``peer``: nothing goes there or is taken from there until
    a person decides. The numbers are the safety numbers of both keys with ours."""

    peer: Name
    was_verified: bool
    old_number: str
    new_number: str


@dataclass(frozen=True, slots=True)
class KeyRotated:
    """``peer`` moved to a new key, and the old key signed for it: the pin moved along."""

    peer: Name


@dataclass(frozen=True, slots=True)
class RecordSuspicious:
    """The directory gave a record of ``peer`` that cannot be: ``rollback`` (older than one seen) or
    ``equivocation`` (another one under the same number). It was not used."""

    peer: Name
    reason: str


@dataclass(frozen=True, slots=True)
class MessagesHeld:
    """``count`` messages that another key sent under the name of ``peer`` wait, unread, for a
    person to decide on that key."""

    peer: Name
    count: int


@dataclass(frozen=True, slots=True)
class Registered:
    """The name is in the directory at ``url``, as reachable at ``address``.

    ``hosted`` when the directory is a meeting point inside this very process. ``again`` when it was
    registered before, and had to be once more.
    """

    url: str
    address: str
    hosted: bool
    again: bool


@dataclass(frozen=True, slots=True)
class DirectoryLost:
    """The directory at ``url`` does not answer; another is looked for until ``Registered``."""

    url: str


@dataclass(frozen=True, slots=True)
class NameMoved:
    """Somebody else registered our name elsewhere, so others no longer find us."""

    url: str


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """This face took its events too slowly, and ``count`` of them were dropped; history has all."""

    count: int


Event = (
    MessageReceived
    | MessageDeleted
    | DeleteIgnored
    | QueuedMessagesEnded
    | QueuedDeleteEnded
    | MessagesMissing
    | KeyChanged
    | KeyRotated
    | RecordSuspicious
    | MessagesHeld
    | Registered
    | DirectoryLost
    | NameMoved
    | EventsMissed
)


# --- who is who ----------------------------------------------------------------------------------


class TrustDecision(Enum):
    """What a person may decide about a name.

    ACCEPT the new key that came under it, from now on; REFUSE that key, and keep the old one;
    ALLOW_CLASSIC plain text to it, while it has no key; FORGET everything but the conversation.
    """

    ACCEPT = "accept"
    REFUSE = "refuse"
    ALLOW_CLASSIC = "classic"
    FORGET = "forget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What this profile holds of ``name``. The numbers are safety numbers, equal on both sides.

    ``pending_number`` belongs to another key that came under this name and waits for a decision.
    """

    name: Name
    state: TrustState
    key: PeerId | None = None
    number: str | None = None
    pending_key: PeerId | None = None
    pending_number: str | None = None
    classic_allowed: bool = False


class Node(Protocol):
    """One running node. All methods may be called at any time and side by side."""

    @property
    def name(self) -> Name:
        """Who this node is."""
        ...

    @property
    def key(self) -> PeerId:
        """The key of this node's profile."""
        ...

    async def register(self) -> None:
        """Enter the directory; from then on the node keeps itself there.

        Raises:
            DirectoryUnreachable: it goes on trying, and tells by ``Registered``.
            DirectoryRefused: the directory said no.
            InvalidAddress: this node has no address that the directory's list can hold.
        """
        ...

    async def names(self) -> Sequence[Name]:
        """Return who is present, this node included. Raises DirectoryError."""
        ...

    async def send(self, recipients: Sequence[Name], text: str) -> Sequence[Sent]:
        """Send ``text`` to each recipient side by side, and wait for the outcomes.

        A message is on disk before anything is tried; an outcome that is not there after
        ``SEND_WAIT_S`` is QUEUED. A name that stands twice in ``recipients`` is served once.

        Raises:
            TextTooLong: no peer can receive it; nothing was sent to anybody.
        """
        ...

    async def conversation(
        self, peer: Contact, after: tuple[int, MessageId] | None = None
    ) -> Sequence[Message]:
        """Return the next page of messages with ``peer``, oldest first.

        ``after`` is the ``(hlc, message_id)`` of the last one seen. An empty page is the end.
        Raises StoreUnavailable.
        """
        ...

    async def waiting(self) -> Sequence[Name]:
        """Return for whom messages or deletes still wait on this disk. Raises StoreUnavailable."""
        ...

    async def delete_newest(self, peer: Name) -> DeleteOutcome:
        """Delete the newest own message to ``peer`` here, and try to tell the peer.

        Raises StoreUnavailable: nothing was deleted.
        """
        ...

    async def delete(self, message_id: MessageId) -> DeleteOutcome:
        """Delete an own message of any age, as ``delete_newest``. Raises StoreUnavailable."""
        ...

    async def person(self, name: Name) -> Person:
        """Return what is held of a name. Raises StoreUnavailable."""
        ...

    async def people(self) -> Sequence[Person]:
        """Return everybody with a pin. Raises StoreUnavailable."""
        ...

    async def verify(self, name: Name, proof: str) -> Person:
        """Mark the key of ``name`` as compared by a person.

        ``proof`` is what was compared: the safety number (spaces do not matter), or the text
        ``netchat:1:NAME:KEY`` of the other side.

        Raises:
            NoKey: no key is pinned for this name.
            KeyMismatch: ``proof`` belongs to another key.
            StoreUnavailable: nothing was changed.
        """
        ...

    async def trust(self, name: Name, decision: TrustDecision) -> Person:
        """Carry out what a person decided.

        Raises:
            NoKey: ACCEPT or REFUSE, and no new key waits.
            StoreUnavailable: nothing was changed.
        """
        ...

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on, until the node ends."""
        ...
