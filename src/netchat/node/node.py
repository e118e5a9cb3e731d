"""The node: sockets, timers and tasks around the pump. Implements ``api.Node``.

It turns what the network does into inputs, what the pump returns into deeds, and notices into
events for faces. Whether anything is to be done is decided below, in ``delivery``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar, assert_never

from netchat.api import (
    DeleteIgnored,
    Event,
    EventsMissed,
    MessageDeleted,
    MessageReceived,
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
from netchat.errors import DirectoryError, StoreUnavailable
from netchat.limits import (
    ARRIVALS_WAITING_MAX,
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

T = TypeVar("T")


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
            self._tell,
            self._clock.jitter,
        )
        self._courier = Courier(
            config.name, tasks, self._clock, self._worker.submit, self._rendezvous.locate
        )
        self._arrivals: dict[MessageId, Arrival] = {}
        self._sends: dict[MessageId, tuple[Name, asyncio.Future[Sent]]] = {}
        self._deletes: dict[MessageId, tuple[Name, asyncio.Queue[DeleteOutcome | None]]] = {}
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
            hosts = ("127.0.0.1", "::1") if self._rendezvous.is_local else ("0.0.0.0", "::")  # noqa: S104 (for the whole network)
        await self._listener.start(hosts, listen.port)
        self._worker.start()
        self._background.append(self._tasks.create_task(self._fail_with_worker()))

    async def _fail_with_worker(self) -> None:
        await self._worker.failure

    async def stop(self) -> None:
        """Leave the directory, let what is under way end for a moment, and close everything."""
        await self._listener.stop()
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._rendezvous.leave())
            ends.create_task(self._courier.rest(EXIT_WAIT_S))
        await self._rendezvous.close()
        await self._worker.close()
        for task in self._background:
            task.cancel()

    # --- api.Node --------------------------------------------------------------------------------

    @property
    def name(self) -> Name:
        return self._config.name

    async def register(self) -> None:
        try:
            await self._rendezvous.register(await self._advertised())
        finally:
            self._background.append(self._tasks.create_task(self._rendezvous.stay()))

    async def _advertised(self) -> Address:
        if self._config.advertise is not None:
            return self._config.advertise
        listening = self._listener.addresses[0]
        if listening.host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 (a comparison)
            client = self._rendezvous.client
            host = await asyncio.to_thread(address_towards, client.host, client.port)
            return Address(host if listening.host == "0.0.0.0" else "127.0.0.1", listening.port)  # noqa: S104
        return listening

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
        try:
            address = await self._rendezvous.locate(peer)
        except DirectoryError:
            address = None  # it is not known whether there is such a person: the message waits
        else:
            known = address is not None or await self._ask(lambda pump: pump.knows(peer))
            if not known:
                return Sent(peer, SendOutcome.NO_SUCH_PERSON)
        message_id = self._clock.new_id()
        outcome: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        self._sends[message_id] = (peer, outcome)
        self._worker.submit(SendRequested(message_id, peer, text, address))
        try:
            async with asyncio.timeout(SEND_WAIT_S):
                return await outcome
        except TimeoutError:
            return Sent(peer, SendOutcome.QUEUED, message_id)
        finally:
            del self._sends[message_id]

    async def conversation(self, peer: Name, after: int = 0) -> Sequence[Message]:
        return await self._ask(lambda pump: pump.page(peer, after, PAGE_MESSAGES_MAX))

    async def delete_newest(self, peer: Name) -> DeleteOutcome:
        change_id = self._clock.new_id()
        outcomes: asyncio.Queue[DeleteOutcome | None] = asyncio.Queue()
        self._deletes[change_id] = (peer, outcomes)
        self._worker.submit(DeleteRequested(change_id, peer))
        latest: DeleteOutcome | None = None
        try:
            async with asyncio.timeout(SEND_WAIT_S):
                while latest is None or latest is DeleteOutcome.QUEUED:
                    outcome = await outcomes.get()
                    if outcome is None:
                        break
                    latest = outcome
        except TimeoutError:
            pass
        finally:
            del self._deletes[change_id]
        if latest is None:
            raise StoreUnavailable("the history could not be written")
        return latest

    def events(self) -> AsyncIterator[Event]:
        face = _Face()
        self._faces.append(face)
        return self._events_of(face)

    async def _events_of(self, face: "_Face") -> AsyncIterator[Event]:
        try:
            while True:
                yield await face.queue.get()
        finally:
            self._faces.remove(face)

    async def _ask(self, question: Callable[[Pump], T]) -> T:
        return await self._worker.ask(question)

    # --- from the network ------------------------------------------------------------------------

    def _on_arrival(self, arrival: Arrival, message: ClassicText | ClassicDelete) -> None:
        if self._worker.is_full or len(self._arrivals) >= ARRIVALS_WAITING_MAX:
            arrival.turn_away()
            return
        arrival_id = self._clock.new_id()
        self._arrivals[arrival_id] = arrival
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
                self._end_send(Sent(peer, SendOutcome.FAILED, message_id, reason))
            case DeleteRequested(change_id=change_id):
                self._tell_delete(change_id, None)
            case TextArrived(arrival_id=arrival_id) | DeleteArrived(arrival_id=arrival_id):
                if (arrival := self._arrivals.pop(arrival_id, None)) is not None:
                    arrival.turn_away()
            case Connected(item_id=item_id, peer=peer):
                self._courier.abandon(item_id)
                self._worker.submit(HandOverBroke(item_id, peer, refused.error.code))
            case event:
                loop = asyncio.get_running_loop()
                loop.call_later(STORE_RETRY_S, self._worker.submit, event)

    def _notice(self, notice: effects.Notice) -> None:
        match notice:
            case effects.MessageArrived(message_id, peer, text):
                self._tell(MessageReceived(message_id, peer, text))
            case effects.PeerDeleted(message_id, peer):
                self._tell(MessageDeleted(message_id, peer))
            case effects.DeleteIgnored(peer, source, reason):
                self._tell(DeleteIgnored(peer, source, reason))
            case effects.MessageProgressed():
                outcome = _OUTCOMES.get(notice.state, SendOutcome.FAILED)
                sent = Sent(notice.peer, outcome, notice.message_id, notice.reason)
                if not self._end_send(sent):
                    self._tell(QueuedMessageEnded(sent))
            case effects.DeleteProgressed(change_id, _, outcome):
                self._tell_delete(change_id, outcome)
            case effects.PeerPostponed(peer, reason):
                self._postponed(peer, reason)
            case _ as never:
                assert_never(never)

    def _postponed(self, postponed: Name, reason: str) -> None:
        """Nothing reaches this peer now, so nobody waits for it any longer."""
        for message_id, (peer, _) in list(self._sends.items()):
            if peer == postponed:
                self._end_send(Sent(peer, SendOutcome.QUEUED, message_id, reason))
        for change_id, (peer, _) in list(self._deletes.items()):
            if peer == postponed:
                self._tell_delete(change_id, None)

    def _end_send(self, sent: Sent) -> bool:
        """Tell whoever waits for this send; tell whether anybody did."""
        assert sent.message_id is not None
        _, outcome = self._sends.get(sent.message_id, (sent.peer, None))
        if outcome is None or outcome.done():
            return False
        outcome.set_result(sent)
        return True

    def _tell_delete(self, change_id: MessageId, outcome: DeleteOutcome | None) -> None:
        if change_id in self._deletes:
            self._deletes[change_id][1].put_nowait(outcome)

    def _tell(self, event: Event) -> None:
        for face in self._faces:
            face.tell(event)


_OUTCOMES: Final = {MessageState.SENT: SendOutcome.SENT}


class _Face:
    """The events that one face has not taken yet; a bounded number of them."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self._missed = 0

    def tell(self, event: Event) -> None:
        if self.queue.qsize() >= EVENTS_WAITING_MAX:
            self._missed += 1
            return
        if self._missed:
            self.queue.put_nowait(EventsMissed(self._missed))
            self._missed = 0
        self.queue.put_nowait(event)


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
