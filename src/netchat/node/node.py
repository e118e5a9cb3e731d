"""The node: sockets, timers and tasks around the pump. Implements ``api.Node``.

It turns what the network does into inputs, what the pump returns into deeds, and notices into
events for faces. Whether anything is to be done is decided below, in ``delivery``.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, assert_never

from netchat.api import (
    DeleteIgnored,
    Event,
    EventsMissed,
    MessageDeleted,
    MessageReceived,
    QueuedDeleteEnded,
    QueuedMessageEnded,
    SendOutcome,
    Sent,
)
from netchat.delivery import effects
from netchat.delivery.inputs import (
    Connected,
    DeleteArrived,
    DeleteRequested,
    HandOverBroke,
    SendRequested,
    TextArrived,
)
from netchat.errors import DirectoryError, DirectoryUnreachable, StoreUnavailable
from netchat.limits import (
    ARRIVALS_WAITING_MAX,
    CLOSE_WAIT_S,
    EVENTS_WAITING_MAX,
    EXIT_WAIT_S,
    PAGE_MESSAGES_MAX,
    SEND_WAIT_S,
    STORE_RETRY_S,
)
from netchat.model import Address, DeleteOutcome, Message, MessageId, MessageState, Name
from netchat.node.clock import Clock
from netchat.node.config import ListenAt, NodeConfig
from netchat.node.courier import Courier
from netchat.node.pump import Batch, Pump, Refused
from netchat.node.rendezvous import HostMeetingPoint, Rendezvous
from netchat.node.worker import Worker
from netchat.store.database import open_database
from netchat.store.profile import Profile
from netchat.transport.dialer import address_towards
from netchat.transport.listener import Arrival, Listener
from netchat.wire.classic import ClassicDelete, ClassicText, encode_text

_ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 (people on the network are to reach us)


class ChatNode:
    """``api.Node`` over a profile. Make it with ``running_node``."""

    def __init__(
        self,
        config: NodeConfig,
        pump: Pump,
        tasks: asyncio.TaskGroup,
        host_meeting_point: HostMeetingPoint,
    ) -> None:
        self._config = config
        self._tasks = tasks
        self._clock = Clock()
        self._worker = Worker(pump, self._clock.now_ms, self._on_batch)
        self._listener = Listener(self._on_arrival)
        self._rendezvous = Rendezvous(
            config.name,
            config.directory,
            config.port,
            host_meeting_point,
            self._advertised,
            self._tell,
            self._clock.jitter,
        )
        self._courier = Courier(
            config.name, tasks, self._clock, self._worker.submit, self._rendezvous.locate
        )
        self._arrivals: dict[MessageId, Arrival] = {}
        self._arrived_s: dict[MessageId, float] = {}
        self._sends: dict[MessageId, _Waiting] = {}
        self._deletes: dict[MessageId, _Delete] = {}
        self._early: list[Event] = []
        self._faces: list[_Face] = []
        self._background: list[asyncio.Task[None]] = []

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Find the directory, listen, and take up what waits on disk."""
        await self._rendezvous.find()
        listen = self._config.listen or ListenAt("", 0)
        if listen.host:
            hosts: tuple[str, ...] = (listen.host,)
        else:
            hosts = ("127.0.0.1", "::1") if self._rendezvous.is_local else (_ALL_IPV4, "::")
        await self._listener.start(hosts, listen.port)
        self._worker.start()
        self._background.append(self._tasks.create_task(self._fail_with_worker()))
        self._background.append(self._tasks.create_task(self._rendezvous.stay()))

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
        await self._rendezvous.close()
        await self._worker.close()
        for face in self._faces:
            face.end()

    async def _decided(self) -> None:
        """Return when all that was submitted so far has been committed and acted on."""
        if self._background and not self._worker.failure.done():
            await self._worker.ask(lambda _: None)

    # --- api.Node --------------------------------------------------------------------------------

    @property
    def name(self) -> Name:
        return self._config.name

    async def register(self) -> None:
        await self._rendezvous.register()

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

    async def names(self) -> Sequence[Name]:
        return await self._rendezvous.names()

    async def send(self, recipients: Sequence[Name], text: str) -> Sequence[Sent]:
        text = text.encode(errors="replace").decode()
        encode_text(self.name, text)
        async with asyncio.TaskGroup() as sends:
            tasks = [
                sends.create_task(self._send_one(peer, text)) for peer in dict.fromkeys(recipients)
            ]
        return [task.result() for task in tasks]

    async def _send_one(self, peer: Name, text: str) -> Sent:
        address: Address | None = None
        try:
            address = await self._rendezvous.locate(peer)
            known = address is not None or await self._worker.ask(lambda pump: pump.knows(peer))
        except DirectoryError:
            known = True  # it is not known whether there is such a person: the message waits
        except StoreUnavailable as error:
            return Sent(peer, SendOutcome.FAILED, reason=error.code)
        if not known:
            return Sent(peer, SendOutcome.NO_SUCH_PERSON)
        message_id = self._clock.new_id()
        waiting = self._sends[message_id] = _Waiting(peer)
        self._worker.submit(SendRequested(message_id, peer, text, address))
        try:
            # No limit here: as long as the disk has not said yes or no, there is nothing to say.
            await waiting.accepted
            async with asyncio.timeout(SEND_WAIT_S):
                return await waiting.outcome
        except TimeoutError:
            return await self._as_stored(peer, message_id)
        finally:
            del self._sends[message_id]

    async def _as_stored(self, peer: Name, message_id: MessageId) -> Sent:
        """Return what the disk says of a message whose end nobody reported."""
        try:
            stored = await self._worker.ask(lambda pump: pump.state(message_id))
        except StoreUnavailable:
            stored = None
        state, reason = stored or (MessageState.QUEUED, None)
        return Sent(peer, _outcome_of(state), message_id, reason)

    async def conversation(self, peer: Name, after: int = 0) -> Sequence[Message]:
        return await self._worker.ask(lambda pump: pump.page(peer, after, PAGE_MESSAGES_MAX))

    async def waiting(self) -> Sequence[Name]:
        return await self._worker.ask(lambda pump: pump.waiting())

    async def delete_newest(self, peer: Name) -> DeleteOutcome:
        change_id = self._clock.new_id()
        waiting = self._deletes[change_id] = _Delete(peer)
        self._worker.submit(DeleteRequested(change_id, peer))
        try:
            outcome = await waiting.here
            if outcome is DeleteOutcome.QUEUED:
                async with asyncio.timeout(SEND_WAIT_S):
                    outcome = await waiting.there
        except TimeoutError:
            outcome = DeleteOutcome.QUEUED
        finally:
            del self._deletes[change_id]
        return outcome

    def events(self) -> AsyncIterator[Event]:
        face = _Face()
        for event in self._early:
            face.tell(event)
        self._early.clear()
        self._faces.append(face)
        return self._events_of(face)

    async def _events_of(self, face: "_Face") -> AsyncIterator[Event]:
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
        match message:
            case ClassicText(sender, text):
                self._worker.submit(TextArrived(arrival_id, sender, text, arrival.source))
            case ClassicDelete(sender):
                self._worker.submit(DeleteArrived(arrival_id, sender, arrival.source))
            case _ as never:
                assert_never(never)

    # --- from the pump ---------------------------------------------------------------------------

    def _on_batch(self, batch: Batch) -> None:
        for effect in batch.effects:
            match effect:
                case (
                    effects.Locate()
                    | effects.Dial()
                    | effects.HandOver()
                    | effects.Abandon()
                    | effects.SetTimer()
                ):
                    self._courier.carry_out(effect)
                case effects.Settle(arrival_id):
                    self._arrived_s.pop(arrival_id, None)
                    if (arrival := self._arrivals.pop(arrival_id, None)) is not None:
                        arrival.settle()
                case _:
                    self._notice(effect)
        for refused in batch.refused:
            self._on_refused(refused)

    def _on_refused(self, refused: Refused) -> None:
        """The disk did not take an input: tell whoever waits, and offer reports again."""
        match refused.event:
            case SendRequested(message_id=message_id, peer=peer):
                reason = refused.error.code
                self._accepted(message_id)
                self._end_send(Sent(peer, SendOutcome.FAILED, message_id, reason))
            case DeleteRequested(change_id=change_id):
                if (waiting := self._deletes.get(change_id)) is not None:
                    waiting.here.set_exception(refused.error)
            case TextArrived(arrival_id=arrival_id) | DeleteArrived(arrival_id=arrival_id):
                self._arrival_refused(arrival_id, refused.event)
            case Connected(item_id=item_id, peer=peer):
                self._courier.abandon(item_id)
                self._worker.submit(HandOverBroke(item_id, peer, refused.error.code))
            case event:
                loop = asyncio.get_running_loop()
                loop.call_later(STORE_RETRY_S, self._worker.submit, event)

    def _arrival_refused(self, arrival_id: MessageId, event: TextArrived | DeleteArrived) -> None:
        """Turn the sender away while it still looks; later it takes its message for sent, so the
        message is offered to the disk again until it is there."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._arrived_s[arrival_id] > CLOSE_WAIT_S / 2:
            loop.call_later(STORE_RETRY_S, self._worker.submit, event)
            return
        del self._arrived_s[arrival_id]
        self._arrivals.pop(arrival_id).turn_away()

    def _notice(self, notice: effects.Notice) -> None:
        match notice:
            case effects.MessageArrived(message_id, peer, text):
                self._tell(MessageReceived(message_id, peer, text))
            case effects.PeerDeleted(message_id, peer):
                self._tell(MessageDeleted(message_id, peer))
            case effects.DeleteIgnored(peer, source, reason):
                self._tell(DeleteIgnored(peer, source, reason))
            case effects.MessageAccepted(message_id):
                self._accepted(message_id)
            case effects.MessageProgressed():
                outcome = _outcome_of(notice.state)
                sent = Sent(notice.peer, outcome, notice.message_id, notice.reason)
                if not self._end_send(sent) and notice.state is not MessageState.CANCELLED:
                    self._tell(QueuedMessageEnded(sent))
            case effects.DeleteProgressed(change_id, peer, delete_outcome):
                self._delete_progressed(change_id, peer, delete_outcome)
            case effects.PeerPostponed(peer, reason):
                self._postponed(peer, reason)
            case _ as never:
                assert_never(never)

    def _postponed(self, postponed: Name, reason: str) -> None:
        """Nothing reaches this peer now, so nobody waits for it any longer."""
        for message_id, send in list(self._sends.items()):
            if send.peer == postponed and send.accepted.done():
                self._end_send(Sent(send.peer, SendOutcome.QUEUED, message_id, reason))
        for delete in list(self._deletes.values()):
            if delete.peer == postponed and delete.here.done() and not delete.there.done():
                delete.there.set_result(DeleteOutcome.QUEUED)

    def _accepted(self, message_id: MessageId) -> None:
        send = self._sends.get(message_id)
        if send is not None and not send.accepted.done():
            send.accepted.set_result(None)

    def _end_send(self, sent: Sent) -> bool:
        """Tell whoever waits for this send; tell whether anybody did."""
        assert sent.message_id is not None
        send = self._sends.get(sent.message_id)
        if send is None or send.outcome.done():
            return False
        send.outcome.set_result(sent)
        return True

    def _delete_progressed(self, change_id: MessageId, peer: Name, outcome: DeleteOutcome) -> None:
        """The first report says what happened here, a second one how the peer was told."""
        delete = self._deletes.get(change_id)
        if delete is not None and not delete.here.done():
            delete.here.set_result(outcome)
        elif delete is not None and not delete.there.done():
            delete.there.set_result(outcome)
        elif outcome is not DeleteOutcome.SENT:
            self._tell(QueuedDeleteEnded(peer, outcome))

    def _tell(self, event: Event) -> None:
        """Tell every face; what happens before the first one is there waits for it."""
        if not self._faces and len(self._early) < EVENTS_WAITING_MAX:
            self._early.append(event)
        for face in self._faces:
            face.tell(event)


def _outcome_of(state: MessageState) -> SendOutcome:
    match state:
        case MessageState.SENT:
            return SendOutcome.SENT
        case MessageState.QUEUED:
            return SendOutcome.QUEUED
        case _:
            return SendOutcome.FAILED


class _Waiting:
    """Somebody who waits for a send: first for the disk, then for what becomes of it."""

    def __init__(self, peer: Name) -> None:
        loop = asyncio.get_running_loop()
        self.peer = peer
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.outcome: asyncio.Future[Sent] = loop.create_future()


class _Delete:
    """Somebody who waits for a delete: first for what happens here, then for the peer."""

    def __init__(self, peer: Name) -> None:
        loop = asyncio.get_running_loop()
        self.peer = peer
        self.here: asyncio.Future[DeleteOutcome] = loop.create_future()
        self.there: asyncio.Future[DeleteOutcome] = loop.create_future()


class _Face:
    """The events that one face has not taken yet; a bounded number of them. None is the end."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._missed = 0

    def tell(self, event: Event) -> None:
        if self.queue.qsize() >= EVENTS_WAITING_MAX:
            self._missed += 1
            return
        if self._missed:
            self.queue.put_nowait(EventsMissed(self._missed))
            self._missed = 0
        self.queue.put_nowait(event)

    def end(self) -> None:
        self.queue.put_nowait(None)


@asynccontextmanager
async def running_node(
    config: NodeConfig, profile: Profile, host_meeting_point: HostMeetingPoint
) -> AsyncIterator[ChatNode]:
    """Run a node over ``profile`` as long as the context lasts.

    Raises (inside the exception group of its tasks):
        StoreNewer, StoreUnavailable: the history cannot be opened.
        InvalidUrl, DirectoryUnreachable, AddressInUse: it cannot start.
    """
    connection = open_database(profile.history_path)
    try:
        async with asyncio.TaskGroup() as tasks:
            node = ChatNode(config, Pump(connection), tasks, host_meeting_point)
            try:
                await node.start()
                yield node
            finally:
                await node.stop()
    finally:
        connection.close()
