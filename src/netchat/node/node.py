"""The node: sockets, timers and tasks around the pump. Implements ``api.Node``.

It turns what the network does into inputs, what the pump returns into deeds, and notices into
events for faces. Whether anything is to be done is decided below, in ``delivery``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, assert_never

from netchat import api
from netchat.api import Event, Person, SendOutcome, Sent, TrustDecision
from netchat.delivery import effects, notices
from netchat.delivery.inputs import (
    Connected,
    Decision,
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    Found,
    Handed,
    HandOverBroke,
    Input,
    Located,
    LocateFailed,
    NewMessage,
    PersonDecided,
    ReadNoted,
    SendRequested,
    TextArrived,
    TimerFired,
)
from netchat.errors import (
    DirectoryError,
    DirectoryUnreachable,
    NoKey,
    StoreUnavailable,
    TextTooLong,
)
from netchat.identity.keys import Identity
from netchat.identity.numbers import safety_number
from netchat.limits import (
    ARRIVALS_WAITING_MAX,
    CLOSE_WAIT_S,
    EVENTS_WAITING_MAX,
    EXIT_WAIT_S,
    PAGE_MESSAGES_MAX,
    SEND_WAIT_S,
    STORE_RETRY_S,
    TEXT_BYTES_MAX,
)
from netchat.model import (
    Address,
    Contact,
    DeleteOutcome,
    Message,
    MessageId,
    MessageState,
    Name,
    PeerId,
    SignedRecord,
)
from netchat.node.claims import Claims
from netchat.node.clock import Clock
from netchat.node.config import ListenAt, NodeConfig
from netchat.node.courier import Courier
from netchat.node.introduction import Introduction
from netchat.node.links import Links
from netchat.node.people import person_of, proven_key, refusal_of
from netchat.node.post import Post
from netchat.node.pump import Batch, Owner, Pump, Refused
from netchat.node.rendezvous import HostMeetingPoint, Rendezvous
from netchat.node.waiting import Delete, Face, Send, Waiters, outcome_of
from netchat.node.worker import Worker
from netchat.store.database import open_database
from netchat.store.profile import Profile
from netchat.store.secrets import Own
from netchat.transport.dialer import address_towards
from netchat.transport.link import Credentials
from netchat.transport.listener import Arrival, Listener
from netchat.wire.classic import ClassicDelete, ClassicText

_AS_WANTED: Final = (DeleteOutcome.SENT, DeleteOutcome.APPLIED, DeleteOutcome.QUEUED)
"""What becomes of a delete without a person being told who waits for it no more."""
_ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 (people on the network are to reach us)


class ChatNode:
    """``api.Node`` over a profile. Make it with ``running_node``."""

    def __init__(
        self,
        config: NodeConfig,
        identity: Identity,
        pump: Pump,
        tasks: asyncio.TaskGroup,
        host_meeting_point: HostMeetingPoint,
    ) -> None:
        self._config = config
        self._identity = identity
        self._tasks = tasks
        self._clock = Clock()
        self._worker = Worker(pump, self._clock.now_ms, self._on_batch)
        self._waiters = Waiters()
        self._requests = 0
        self._early: list[Event] = []
        self._nudge: asyncio.TimerHandle | None = None
        self._faces: list[Face] = []
        self._background: list[asyncio.Task[None]] = []
        self._arrivals: dict[MessageId, Arrival] = {}
        self._arrived_s: dict[MessageId, float] = {}
        self._told_read: dict[Name, int] = {}
        self._introduction = Introduction(
            identity, config.name, self._clock.now_ms, self._clock.entropy, self._keep
        )
        self._rendezvous = Rendezvous(
            config.name,
            config.directory,
            config.port,
            host_meeting_point,
            self._introduction,
            self._advertised,
            self._tell,
            self._clock.jitter,
            self._on_directory,
        )
        credentials = Credentials(identity)
        submit, jitter = self._worker.submit, self._clock.jitter
        self._links = Links(
            credentials,
            self._introduction.hello,
            tasks,
            submit,
            jitter,
            self._elsewhere_if_any,
            lambda: self._worker.is_full,
        )
        self._post = Post(
            config.name,
            self._introduction,
            lambda: self._rendezvous.mail_client,
            submit,
            jitter,
            lambda prekey: self._worker.ask(lambda pump: pump.own().prekey_secret(prekey)),
            self._elsewhere,
        )
        self._courier = Courier(config.name, tasks, self._clock, submit, self._rendezvous.locate)
        self._claims = Claims(self._rendezvous.record)
        self._listener = Listener(
            self._on_arrival, credentials, self._introduction.hello, self._links
        )

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Find the directory, listen, and take up what waits on disk."""
        await self._rendezvous.find()
        self._worker.start()
        self._background.append(self._tasks.create_task(self._fail_with_worker()))
        await self._introduction.start()
        # Before anybody can connect, as every link begins with it.
        await self._introduction.renew((), mailboxes=False)
        listen = self._config.listen or ListenAt("", 0)
        if listen.host:
            hosts: tuple[str, ...] = (listen.host,)
        else:
            hosts = ("127.0.0.1", "::1") if self._rendezvous.is_local else (_ALL_IPV4, "::")
        await self._listener.start(hosts, listen.port)
        self._background.append(self._tasks.create_task(self._rendezvous.stay()))
        self._background.append(self._tasks.create_task(self._post.watch()))

    def _on_directory(self) -> None:
        """We are registered, perhaps at another directory: look for mail, and for everybody."""
        self._post.wake()
        self._courier.wake_all()

    async def _fail_with_worker(self) -> None:
        await asyncio.shield(self._worker.failure)  # the end of waiting for it is not its end

    async def stop(self) -> None:
        """Leave the directory, let what is under way end for a moment, and close everything."""
        for task in self._background:
            task.cancel()
        await self._listener.stop()
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._rendezvous.leave())
            ends.create_task(self._courier.rest(self._decided, EXIT_WAIT_S))
        await self._links.stop()
        await self._rendezvous.close()
        await self._worker.close()
        for face in self._faces:
            face.end()

    async def _decided(self) -> None:
        """Return when all that was submitted so far has been committed and acted on."""
        if self._background and not self._worker.failure.done():
            await self._worker.ask(lambda _: None)

    async def _keep(self, work: Callable[[Own], None]) -> None:
        await self._worker.ask(lambda pump: pump.keep(work))

    async def _advertised(self) -> Address:
        """Return where others reach us, as things are now; a network may come and go."""
        if self._config.advertise is not None:
            return self._config.advertise
        listening = self._listener.addresses[0]
        if listening.host != _ALL_IPV4:
            return listening
        client = self._rendezvous.client
        host = await asyncio.to_thread(address_towards, client.host, client.port)
        if host is None:
            raise DirectoryUnreachable(client.url, "no-network")
        return Address(host, listening.port)

    async def _elsewhere(self, name: Name, key: PeerId) -> SignedRecord | None:
        """Return what the directory holds under a name, unless ``key`` is pinned for it.

        Raises DirectoryError, StoreUnavailable.
        """
        pin = await self._worker.ask(lambda pump: pump.pin(name))
        return None if pin.key == key else await self._rendezvous.record(name)

    async def _elsewhere_if_any(self, name: Name, key: PeerId) -> SignedRecord | None:
        """As ``_elsewhere``, for what goes on without a directory, too."""
        with contextlib.suppress(DirectoryError, StoreUnavailable):
            return await self._elsewhere(name, key)
        return None

    # --- api.Node --------------------------------------------------------------------------------

    @property
    def name(self) -> Name:
        return self._config.name

    @property
    def key(self) -> PeerId:
        return self._identity.peer_id

    async def register(self) -> None:
        await self._rendezvous.register()

    async def names(self) -> Sequence[Name]:
        return await self._rendezvous.names()

    async def send(self, recipients: Sequence[Name], text: str) -> Sequence[Sent]:
        text = text.encode(errors="replace").decode()
        if (size := len(text.encode())) > TEXT_BYTES_MAX:
            raise TextTooLong(size, TEXT_BYTES_MAX)
        async with asyncio.TaskGroup() as sends:
            tasks = [
                sends.create_task(self._send_one(peer, text)) for peer in dict.fromkeys(recipients)
            ]
        return [task.result() for task in tasks]

    async def _send_one(self, peer: Name, text: str) -> Sent:
        try:
            found = await self._found(peer)
        except StoreUnavailable as error:
            return Sent(peer, SendOutcome.FAILED, reason=error.code)
        message_id = self._clock.new_id()
        waiting = self._waiters.sends[message_id] = Send(peer)
        self._worker.submit(SendRequested(peer, (NewMessage(message_id, text),), found))
        try:
            # No limit here: as long as the disk has not said yes or no, there is nothing to say.
            await waiting.accepted
            async with asyncio.timeout(SEND_WAIT_S):
                return await waiting.outcome
        except TimeoutError:
            pass
        finally:
            del self._waiters.sends[message_id]  # what comes from here on is told as an event
        return await self._as_stored(peer, message_id)

    async def _found(self, peer: Name) -> Found | None:
        """Ask the directory who that is, unless a key says so; None when nobody can be asked."""
        if peer == self.name or self._links.is_linked(peer):
            return None
        pin = await self._worker.ask(lambda pump: pump.pin(peer))
        if pin.key is not None:
            return None  # its lane asks where it is
        try:
            return await self._rendezvous.locate(peer)
        except DirectoryError:
            return None  # it is not known whether there is such a person: the message waits

    async def queue(self, peer: Name, texts: Sequence[str]) -> Sequence[MessageId]:
        """Put many messages for one peer with a key on this disk; return when they are there.

        What becomes of each is told by ``QueuedMessagesEnded``.

        Raises:
            NoKey: no key is pinned for this name. Nothing was kept.
            StoreUnavailable: nothing was kept.
        """
        if not texts:
            return []
        if peer != self.name and (await self._worker.ask(lambda pump: pump.pin(peer))).key is None:
            raise NoKey(str(peer))
        ids = self._clock.new_ids(len(texts))
        messages = tuple(map(NewMessage, ids, texts))
        last = self._waiters.sends[messages[-1].message_id] = Send(peer)
        self._worker.submit(SendRequested(peer, messages, None))
        try:
            await last.accepted
            if last.outcome.done() and last.outcome.result().message_id is None:
                raise NoKey(str(peer))
            if last.outcome.done() and last.outcome.result().reason == StoreUnavailable.code:
                raise StoreUnavailable("the disk did not take the messages")
        finally:
            del self._waiters.sends[messages[-1].message_id]
        return ids

    async def _as_stored(self, peer: Name, message_id: MessageId) -> Sent:
        """Return what the disk says of a message whose end nobody reported."""
        try:
            stored = await self._worker.ask(lambda pump: pump.state(message_id))
        except StoreUnavailable:
            stored = None
        state, reason = stored or (MessageState.QUEUED, None)
        return Sent(peer, outcome_of(state), message_id, reason)

    async def conversation(
        self, peer: Contact, after: tuple[int, MessageId] | None = None
    ) -> Sequence[Message]:
        page = await self._worker.ask(lambda pump: pump.page(peer, after, PAGE_MESSAGES_MAX))
        if not page and after is not None and self._config.policy.tells_reading:
            await self._note_reading(peer)
        return page

    async def _note_reading(self, peer: Contact) -> None:
        """A face has read a conversation to its end: let its other side know, as was chosen."""
        if isinstance(peer, Name):
            hlc = await self._worker.ask(lambda pump: pump.newest_from(peer))
            if hlc > self._told_read.get(peer, 0):
                self._told_read[peer] = hlc
                self._worker.submit(ReadNoted(self._clock.new_id(), peer, hlc))

    async def waiting(self) -> Sequence[Name]:
        return await self._worker.ask(lambda pump: pump.waiting())

    async def delete_newest(self, peer: Name) -> DeleteOutcome:
        return await self._delete(DeleteRequested(self._clock.new_id(), peer))

    async def delete(self, message_id: MessageId) -> DeleteOutcome:
        return await self._delete(DeleteRequested(self._clock.new_id(), None, message_id))

    async def _delete(self, request: DeleteRequested) -> DeleteOutcome:
        waiting = self._waiters.deletes[request.change_id] = Delete()
        self._worker.submit(request)
        try:
            outcome = await waiting.here
            if outcome is DeleteOutcome.QUEUED:
                async with asyncio.timeout(SEND_WAIT_S):
                    outcome = await waiting.there
        except TimeoutError:
            outcome = DeleteOutcome.QUEUED
        finally:
            del self._waiters.deletes[request.change_id]
        return outcome

    async def person(self, name: Name) -> Person:
        pin = await self._worker.ask(lambda pump: pump.pin(name))
        return person_of(pin, self.key)

    async def people(self) -> Sequence[Person]:
        pins = await self._worker.ask(lambda pump: pump.pins())
        return [person_of(pin, self.key) for pin in pins]

    async def verify(self, name: Name, proof: str) -> Person:
        pin = await self._worker.ask(lambda pump: pump.pin(name))
        key = proven_key(pin, self.key, proof)
        return await self._decide(name, Decision.VERIFIED, key)

    async def trust(self, name: Name, decision: TrustDecision) -> Person:
        return await self._decide(name, Decision(decision.value), None)

    async def _decide(self, name: Name, decision: Decision, key: PeerId | None) -> Person:
        self._requests += 1
        request = self._requests
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiters.decisions[request] = done
        self._worker.submit(PersonDecided(request, name, decision, self._clock.jitter(), key))
        try:
            refused = await done
        finally:
            del self._waiters.decisions[request]
        if refused is not None:
            raise refusal_of(name, decision, refused)
        return await self.person(name)

    def events(self) -> AsyncIterator[Event]:
        face = Face()
        for event in self._early:
            face.tell(event)
        self._early.clear()
        self._faces.append(face)
        return self._events_of(face)

    async def _events_of(self, face: Face) -> AsyncIterator[Event]:
        try:
            while (event := await face.queue.get()) is not None:
                yield event
        finally:
            self._faces.remove(face)

    # --- from the network ------------------------------------------------------------------------

    def _on_arrival(self, arrival: Arrival, message: ClassicText | ClassicDelete) -> None:
        if self._worker.is_full or len(self._arrivals) >= ARRIVALS_WAITING_MAX:
            arrival.turn_away()
            return
        arrival_id = self._clock.new_id()
        self._arrivals[arrival_id] = arrival
        self._arrived_s[arrival_id] = asyncio.get_running_loop().time()
        event: TextArrived | DeleteArrived
        match message:
            case ClassicText(sender, text):
                event = TextArrived(arrival_id, sender, text, arrival.source)
            case ClassicDelete(sender):
                event = DeleteArrived(arrival_id, sender, arrival.source)
            case _ as never:
                assert_never(never)
        is_held = self._claims.known(sender)
        if is_held is None:
            self._courier.begin(self._judge_claim(event))
        else:
            self._worker.submit(replace(event, is_held=is_held))

    async def _judge_claim(self, event: TextArrived | DeleteArrived) -> None:
        is_held = await self._claims.ask(event.sender)
        self._worker.submit(replace(event, is_held=is_held))

    # --- from the pump ---------------------------------------------------------------------------

    def _on_batch(self, batch: Batch) -> None:
        for effect in batch.effects:
            self._carry_out(effect)
        if batch.links_lost:
            self._links.close_all("store-failed")
        if batch.is_unread and self._nudge is None:
            loop = asyncio.get_running_loop()
            self._nudge = loop.call_later(STORE_RETRY_S, self._nudge_worker)
        for refused in batch.refused:
            self._on_refused(refused)
        self._links.relieve()

    def _nudge_worker(self) -> None:
        """Have the disk read again: any input does that, and this one is about nobody."""
        self._nudge = None
        self._worker.submit(TimerFired(self.name, 0))

    def _carry_out(self, effect: effects.Outward) -> None:
        match effect:
            case (
                effects.Locate()
                | effects.Dial()
                | effects.HandOver()
                | effects.Abandon()
                | effects.SetTimer()
            ):
                self._courier.carry_out(effect)
            case effects.Transmit():
                self._links.transmit(effect)
            case effects.Acknowledge():
                self._links.acknowledge(effect)
            case effects.OpenLink():
                self._links.open(effect)
            case effects.CloseLink(link, code):
                self._links.close(link, code)
            case effects.Deposit():
                self._courier.begin(self._post.deposit(effect))
            case effects.MailSettled(mail):
                self._post.settled(mail)
            case effects.Settle(arrival_id):
                self._arrived_s.pop(arrival_id, None)
                if (arrival := self._arrivals.pop(arrival_id, None)) is not None:
                    arrival.settle()
            case _:
                self._notice(effect)

    def _on_refused(self, refused: Refused) -> None:
        """The disk did not take an input: tell whoever waits, and offer reports again."""
        error = refused.error
        match refused.event:
            case SendRequested(peer=peer, messages=messages):
                for message in messages:
                    self._refuse_send(peer, message.message_id, error.code)
            case DeleteRequested(change_id=change_id):
                self._waiters.delete_refused(change_id, error)
            case PersonDecided(request=request):
                self._waiters.decision_refused(request, error)
            case TextArrived(arrival_id=arrival_id) | DeleteArrived(arrival_id=arrival_id):
                self._arrival_refused(arrival_id, refused.event)
            case Connected(item_id=item_id, peer=peer):
                self._courier.abandon(item_id)
                self._worker.submit(HandOverBroke(item_id, peer, error.code))
            case TimerFired(self.name):
                pass  # a nudge: the batch says whether another one is wanted
            case event if _is_worth_repeating(event):
                loop = asyncio.get_running_loop()
                loop.call_later(STORE_RETRY_S, self._worker.submit, event)
            case _:
                pass  # links are closed, and mail stays in the mailbox: all of it comes again

    def _refuse_send(self, peer: Name, message_id: MessageId, reason: str) -> None:
        if (send := self._waiters.sends.get(message_id)) is not None:
            send.accept()
            send.end(Sent(peer, SendOutcome.FAILED, message_id, reason))

    def _arrival_refused(self, arrival_id: MessageId, event: TextArrived | DeleteArrived) -> None:
        """Turn the sender away while it still looks; later it takes its message for sent, so the
        message is offered to the disk again until it is there."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._arrived_s[arrival_id] > CLOSE_WAIT_S / 2:
            loop.call_later(STORE_RETRY_S, self._worker.submit, event)
            return
        del self._arrived_s[arrival_id]
        self._arrivals.pop(arrival_id).turn_away()

    def _notice(self, notice: notices.Notice) -> None:
        match notice:
            case notices.MessagesArrived(contact, messages, unverified):
                for message_id, text in messages:
                    self._tell(api.MessageReceived(message_id, contact, text, unverified))
            case notices.MessagesProgressed():
                self._progressed(notice)
            case notices.MessagesAccepted(message_ids):
                for message_id in message_ids:
                    if (send := self._waiters.sends.get(message_id)) is not None:
                        send.accept()
            case notices.SendRefused(peer, message_ids, reason):
                self._send_refused(peer, message_ids, reason)
            case notices.PeerPostponed(peer, reason):
                self._waiters.postponed(peer, reason)
            case notices.DeleteProgressed(change_id, deleted_of, outcome):
                heard = self._waiters.delete_progressed(change_id, deleted_of, outcome)
                if not heard and outcome not in _AS_WANTED and deleted_of is not None:
                    self._tell(api.QueuedDeleteEnded(deleted_of, outcome))
            case notices.DecisionDone(request, _, refused):
                self._waiters.decided(request, refused)
            case _:
                self._tell(self._event_of(notice))

    def _event_of(
        self,
        notice: notices.PeerDeleted
        | notices.DeleteIgnored
        | notices.NumbersMissing
        | notices.KeyStopped
        | notices.KeyMoved
        | notices.RecordRefused
        | notices.MailHeld,
    ) -> Event:
        match notice:
            case notices.PeerDeleted(message_id, contact):
                return api.MessageDeleted(message_id, contact)
            case notices.DeleteIgnored(contact, source, reason):
                return api.DeleteIgnored(contact, source, reason)
            case notices.NumbersMissing(peer, count):
                return api.MessagesMissing(peer, count)
            case notices.KeyStopped(peer, was_verified, old, new):
                old_number, new_number = safety_number(self.key, old), safety_number(self.key, new)
                return api.KeyChanged(peer, was_verified, old_number, new_number)
            case notices.KeyMoved(peer):
                return api.KeyRotated(peer)
            case notices.RecordRefused(peer, reason):
                return api.RecordSuspicious(peer, reason)
            case notices.MailHeld(peer, count):
                return api.MessagesHeld(peer, count)
            case _ as never:
                assert_never(never)

    def _progressed(self, notice: notices.MessagesProgressed) -> None:
        peer, outcome, reason = notice.peer, outcome_of(notice.state), notice.reason
        unheard = tuple(
            message_id
            for message_id in notice.message_ids
            if message_id not in self._waiters.sends
            or not self._waiters.end_send(Sent(peer, outcome, message_id, reason))
        )
        if unheard and notice.state is not MessageState.CANCELLED:
            self._tell(api.QueuedMessagesEnded(peer, unheard, outcome, reason))

    def _send_refused(self, peer: Name, ids: Sequence[MessageId], reason: str) -> None:
        for message_id in ids:
            if (send := self._waiters.sends.get(message_id)) is not None:
                send.accept()
                nobody = reason == "no-such-person"
                outcome = SendOutcome.NO_SUCH_PERSON if nobody else SendOutcome.FAILED
                send.end(Sent(peer, outcome, reason=None if nobody else reason))

    def _tell(self, event: Event) -> None:
        """Tell every face; what happens before the first one is there waits for it."""
        if not self._faces and len(self._early) < EVENTS_WAITING_MAX:
            self._early.append(event)
        for face in self._faces:
            face.tell(event)


def _is_worth_repeating(event: Input) -> bool:
    """Whether nothing else brings this report again."""
    reports = Located | LocateFailed | TimerFired | DialFailed | Handed | HandOverBroke
    return isinstance(event, reports)


@asynccontextmanager
async def running_node(
    config: NodeConfig,
    profile: Profile,
    identity: Identity,
    host_meeting_point: HostMeetingPoint,
) -> AsyncIterator[ChatNode]:
    """Run a node over ``profile`` as long as the context lasts.

    Raises (inside the exception group of its tasks):
        StoreNewer, StoreUnavailable: the history cannot be opened.
        InvalidUrl, DirectoryUnreachable, AddressInUse: it cannot start.
    """
    connection = open_database(profile.history_path)
    owner = Owner(config.name, identity.peer_id, config.policy, allow_classic=config.allow_classic)
    try:
        async with asyncio.TaskGroup() as tasks:
            node = ChatNode(config, identity, Pump(connection, owner), tasks, host_meeting_point)
            try:
                await node.start()
                yield node
            finally:
                await node.stop()
    finally:
        connection.close()
