"""What a face or a bot may ask a node, and what it hears from it.

``Node`` is implemented by ``node.node`` in this process; a later carrier will offer the same over a
socket. Nothing here knows how either works. Errors are those of ``errors``.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from netchat.model import DeleteOutcome, DisplayText, Message, MessageId, Name


class SendOutcome(Enum):
    """What a send came to when it returned.

    SENT every byte went to the peer; QUEUED it waits on this disk and is tried again; FAILED it
    will not be tried again (``reason``); NO_SUCH_PERSON nothing was kept, because nobody of that
    name was ever registered.
    """

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
    """A message is in the history; who it says it is from is a claim of its sender."""

    message_id: MessageId
    peer: Name
    text: DisplayText


@dataclass(frozen=True, slots=True)
class MessageDeleted:
    """``peer`` deleted one of its messages here."""

    message_id: MessageId
    peer: Name


@dataclass(frozen=True, slots=True)
class DeleteIgnored:
    """Somebody at ``source`` wanted to delete a message of ``peer``; ``reason`` why it stayed."""

    peer: Name
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class QueuedMessageEnded:
    """A message whose send had returned QUEUED is now SENT or FAILED; never cancelled ones."""

    sent: Sent


@dataclass(frozen=True, slots=True)
class QueuedDeleteEnded:
    """A delete that had to wait for ``peer`` did not get there as it should."""

    peer: Name
    outcome: DeleteOutcome


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
    | QueuedMessageEnded
    | QueuedDeleteEnded
    | Registered
    | DirectoryLost
    | NameMoved
    | EventsMissed
)


class Node(Protocol):
    """One running node. All methods may be called at any time and side by side."""

    @property
    def name(self) -> Name:
        """Who this node is."""
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
            TextTooLong: nothing was sent to anybody.
        """
        ...

    async def conversation(self, peer: Name, after: int = 0) -> Sequence[Message]:
        """Return the next page of messages with ``peer`` behind position ``after``, oldest first.

        An empty page is the end. Raises StoreUnavailable.
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

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on, until the node ends."""
        ...
