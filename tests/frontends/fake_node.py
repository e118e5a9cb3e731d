"""A node that does what a test says, so that a face can be tried without sockets or a disk."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from netchat.api import Event, SendOutcome, Sent
from netchat.errors import NetChatError
from netchat.model import DeleteOutcome, DisplayText, Message, MessageId, MessageState, Name


class FakeNode:
    """``api.Node`` by script.

    ``errors`` holds what a method raises, by its name; ``outcomes`` what a send to a name comes
    to, with the reason if there is one. What was asked of the node is kept in ``sends``, ``reads``
    and ``deletes``.
    """

    def __init__(
        self,
        *,
        name: str = "alice",
        people: Sequence[str] = (),
        outcomes: Mapping[str, SendOutcome | tuple[SendOutcome, str]] | None = None,
        deletes: DeleteOutcome = DeleteOutcome.SENT,
        errors: Mapping[str, NetChatError] | None = None,
        page_size: int = 500,
    ) -> None:
        self._name = Name(name)
        self.people = [Name(one) for one in people]
        self.outcomes = dict(outcomes or {})
        self.delete_outcome = deletes
        self.errors = dict(errors or {})
        self.page_size = page_size
        self.conversations: dict[Name, list[Message]] = {}
        self.sends: list[tuple[tuple[str, ...], str]] = []
        self.reads: list[tuple[str, int]] = []
        self.waits_for: Sequence[Name] = ()
        self.deletes: list[str] = []
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def add(self, peer: str, text: str | None, *, own: bool = False) -> None:
        """Put a message into the history; ``text`` None for one that was deleted."""
        conversation = self.conversations.setdefault(Name(peer), [])
        position = 7 * (1 + sum(map(len, self.conversations.values())))
        conversation.append(
            Message(
                position=position,
                message_id=MessageId(position.to_bytes(16, "big")),
                peer=Name(peer),
                outgoing=own,
                text=None if text is None else DisplayText(text),
                state=MessageState.SENT if own else MessageState.RECEIVED,
                at_ms=1_000 * position,
            )
        )

    def tell(self, event: Event) -> None:
        """Let something happen."""
        self._events.put_nowait(event)

    async def all_shown(self) -> None:
        """Wait until the face has asked for what comes after everything that was told."""
        await self._events.join()

    def _raise(self, method: str) -> None:
        if method in self.errors:
            raise self.errors[method]

    # --- api.Node --------------------------------------------------------------------------------

    @property
    def name(self) -> Name:
        return self._name

    async def register(self) -> None:
        self._raise("register")

    async def names(self) -> Sequence[Name]:
        self._raise("names")
        return self.people

    async def send(self, recipients: Sequence[Name], text: str) -> Sequence[Sent]:
        self.sends.append((tuple(str(one) for one in recipients), text))
        self._raise("send")
        return [self._sent(peer) for peer in dict.fromkeys(recipients)]

    def _sent(self, peer: Name) -> Sent:
        scripted = self.outcomes.get(str(peer), SendOutcome.SENT)
        outcome, reason = scripted if isinstance(scripted, tuple) else (scripted, None)
        kept = None if outcome is SendOutcome.NO_SUCH_PERSON else MessageId(bytes(16))
        return Sent(peer, outcome, kept, reason)

    async def conversation(self, peer: Name, after: int = 0) -> Sequence[Message]:
        self.reads.append((str(peer), after))
        self._raise("conversation")
        found = [one for one in self.conversations.get(peer, []) if one.position > after]
        return found[: self.page_size]

    async def waiting(self) -> Sequence[Name]:
        self._raise("waiting")
        return self.waits_for

    async def delete_newest(self, peer: Name) -> DeleteOutcome:
        self.deletes.append(str(peer))
        self._raise("delete_newest")
        return self.delete_outcome

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()
            self._events.task_done()
