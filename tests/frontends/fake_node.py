"""A node that does what a test says, so that a face can be tried without sockets or a disk."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from netchat.api import Event, Person, SendOutcome, Sent, TrustDecision
from netchat.errors import NetChatError
from netchat.model import (
    Contact,
    DeleteOutcome,
    DisplayText,
    Message,
    MessageId,
    MessageState,
    Name,
    PeerId,
    TrustState,
    parse_contact,
)

OWN_KEY = PeerId(bytes(range(32)))


class FakeNode:
    """``api.Node`` by script.

    ``errors`` holds what a method raises, by its name; ``outcomes`` what a send to a name comes
    to, with the reason if there is one; ``persons`` what is held of somebody. What was asked of the
    node is kept in ``sends``, ``reads``, ``deletes``, ``proofs`` and ``decisions``.
    """

    def __init__(
        self,
        *,
        name: str = "alice",
        people: Sequence[str] = (),
        outcomes: Mapping[str, SendOutcome | tuple[SendOutcome, str]] | None = None,
        deletes: DeleteOutcome = DeleteOutcome.APPLIED,
        errors: Mapping[str, NetChatError] | None = None,
        page_size: int = 500,
    ) -> None:
        self._name = Name(name)
        self.present = [Name(one) for one in people]
        self.outcomes = dict(outcomes or {})
        self.delete_outcome = deletes
        self.errors = dict(errors or {})
        self.page_size = page_size
        self.conversations: dict[Contact, list[Message]] = {}
        self.persons: dict[Name, Person] = {}
        self.sends: list[tuple[tuple[str, ...], str]] = []
        self.reads: list[tuple[str, tuple[int, MessageId] | None]] = []
        self.proofs: list[tuple[str, str]] = []
        self.decisions: list[tuple[str, TrustDecision]] = []
        self.waits_for: Sequence[Name] = ()
        self.deletes: list[str] = []
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def add(
        self,
        peer: str,
        text: str | None,
        *,
        own: bool = False,
        state: MessageState = MessageState.DELIVERED,
    ) -> None:
        """Put a message into the history; ``text`` None for one that was deleted."""
        conversation = self.conversations.setdefault(parse_contact(peer), [])
        number = 1 + sum(map(len, self.conversations.values()))
        conversation.append(
            Message(
                message_id=MessageId(number.to_bytes(16, "big")),
                peer=parse_contact(peer),
                outgoing=own,
                text=None if text is None else DisplayText(text),
                state=state if own else MessageState.RECEIVED,
                hlc=7 * (number // 2),  # two that have the same: the id decides
                at_ms=1_000 * number,
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

    @property
    def key(self) -> PeerId:
        return OWN_KEY

    async def register(self) -> None:
        self._raise("register")

    async def names(self) -> Sequence[Name]:
        self._raise("names")
        return self.present

    async def send(self, recipients: Sequence[Name], text: str) -> Sequence[Sent]:
        self.sends.append((tuple(str(one) for one in recipients), text))
        self._raise("send")
        return [self._sent(peer) for peer in dict.fromkeys(recipients)]

    def _sent(self, peer: Name) -> Sent:
        scripted = self.outcomes.get(str(peer), SendOutcome.DELIVERED)
        outcome, reason = scripted if isinstance(scripted, tuple) else (scripted, None)
        kept = None if outcome is SendOutcome.NO_SUCH_PERSON else MessageId(bytes(16))
        return Sent(peer, outcome, kept, reason)

    async def conversation(
        self, peer: Contact, after: tuple[int, MessageId] | None = None
    ) -> Sequence[Message]:
        self.reads.append((str(peer), after))
        self._raise("conversation")
        found = self.conversations.get(peer, [])
        if after is not None:
            found = [one for one in found if (one.hlc, one.message_id) > after]
        return found[: self.page_size]

    async def waiting(self) -> Sequence[Name]:
        self._raise("waiting")
        return self.waits_for

    async def delete_newest(self, peer: Name) -> DeleteOutcome:
        self.deletes.append(str(peer))
        self._raise("delete_newest")
        return self.delete_outcome

    async def delete(self, message_id: MessageId) -> DeleteOutcome:
        raise NotImplementedError

    async def person(self, name: Name) -> Person:
        self._raise("person")
        return self.persons.get(name, Person(name=name, state=TrustState.NONE))

    async def people(self) -> Sequence[Person]:
        raise NotImplementedError

    async def verify(self, name: Name, proof: str) -> Person:
        self.proofs.append((str(name), proof))
        self._raise("verify")
        return await self.person(name)

    async def trust(self, name: Name, decision: TrustDecision) -> Person:
        self.decisions.append((str(name), decision))
        self._raise("trust")
        return await self.person(name)

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()
            self._events.task_done()
