"""One life of a node without sockets: the real pump, and what ``node.node`` does around it."""

from collections.abc import Callable
from typing import Protocol, cast

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
    PersonDecided,
    SendRequested,
    TextArrived,
    TimerFired,
)
from netchat.delivery.policy import Policy
from netchat.errors import DirectoryError
from netchat.identity.keys import Identity
from netchat.limits import BATCH_INPUTS_MAX, CLOSE_WAIT_S, RECEIPTS_NOTED_S, STORE_RETRY_S
from netchat.model import Address, MessageId, Name, PeerId, SignedRecord
from netchat.node.introduction import Introduction
from netchat.node.pump import Batch, Owner, Pump, Refused
from netchat.store.secrets import Own
from netchat.testing.courier import Courier
from netchat.testing.directory import SimulatedDirectory
from netchat.testing.hearing import hear
from netchat.testing.host import Peer
from netchat.testing.links import Links
from netchat.testing.network import Host, Network
from netchat.testing.plants import Plant
from netchat.testing.post import Post
from netchat.testing.profile import Profile
from netchat.testing.registration import MovingIntroduction, Registration, at_once
from netchat.testing.wires import Wire
from netchat.testing.world import World
from netchat.wire.classic import ClassicDelete, ClassicText


class Computer(Peer, Protocol):
    """The machine that this life is of."""

    world: World
    network: Network
    directory: SimulatedDirectory
    plant: Plant
    profile: Profile
    is_keyed: bool
    allow_classic: bool
    clock_off_ms: int
    old_identity: Identity | None
    node: "Life | None"

    @property
    def address(self) -> Address: ...

    def guarded(self, deed: Callable[[], None]) -> None: ...

    def decide(self, peer: Name, decision: Decision) -> None: ...


_REPORTS = Located | LocateFailed | TimerFired | DialFailed | Handed | HandOverBroke
"""What nothing else brings again, as ``node._is_worth_repeating`` has it."""


class Life:
    """From a start of the program to its crash; implements ``host.Node``."""

    def __init__(self, machine: Computer) -> None:
        profile = machine.profile
        self.world = machine.world
        self.network = machine.network
        self.directory = machine.directory
        self.host: Host = machine
        self.key: PeerId = profile.identity.peer_id
        self.profile = profile
        owner = Owner(
            machine.name,
            self.key,
            Policy(tells_reading=True),
            allow_classic=machine.allow_classic,
        )
        self.pump: Pump = machine.plant.pump(profile.disk.connection, owner, profile.disk.commit)
        self._machine = machine
        self._waiting: list[Input] = []
        self._is_step_due = False
        self._is_nudge_due = False
        self._arrivals: dict[MessageId, tuple[Wire, int]] = {}
        self.introduction: Introduction = MovingIntroduction(
            profile.identity,
            machine.old_identity,
            machine.name,
            lambda: self.now_ms,
            self.world.entropy,
            self._keep,
        )
        self.links = Links(self)
        self.courier = Courier(self, profile)

    async def _keep(self, work: Callable[[Own], None]) -> None:
        self._settle()
        self.pump.keep(work)

    def begin(self) -> None:
        """As ``ChatNode.start``. Raises StoreUnavailable."""
        self._act(Batch(self.pump.start(self.now_ms)))
        at_once(self.introduction.start())
        at_once(self.introduction.renew((), mailboxes=False))
        self.network.listen(self._machine.address, self._machine)
        self.post = Post(self)
        is_keyed = self._machine.is_keyed
        Registration(self, self._machine.address, is_keyed=is_keyed, changed=self._registered)

    def _registered(self) -> None:
        self.post.has_mailboxes = self._machine.is_keyed
        self.post.look()

    def end(self) -> None:
        """The process is gone, and whatever it had not committed."""
        self.profile.disk.connection.rollback()
        self.courier.end()
        self.links.end()
        for wire, _ in self._arrivals.values():
            wire.turn_away()

    # --- host.Node -------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self.world.wall_ms + self._machine.clock_off_ms

    def jitter(self) -> float:
        return self.world.chance.random()

    def later(self, delay_ms: float, deed: Callable[[], None]) -> None:
        machine = self._machine

        def done() -> None:
            if machine.node is self:
                machine.guarded(deed)

        self.world.after(delay_ms, done)

    def soon(self, deed: Callable[[], None]) -> None:
        self.later(self.network.delay_ms(), deed)

    def peer_at(self, address: Address) -> Peer | None:
        return cast("Peer | None", self.network.host_at(address))

    def find(self, name: Name) -> Found:
        if self._machine.is_keyed:
            return self.directory.find(name)
        return Found(None, self.directory.lookup(name))

    def elsewhere(
        self, name: Name, key: PeerId, then: Callable[[SignedRecord | None], None]
    ) -> None:
        if self.pump.pin(name).key == key:
            then(None)
            return

        def asked() -> None:
            try:
                found = self.directory.find(name).record
            except DirectoryError:
                found = None
            then(found)

        self.soon(asked)

    # --- the pump --------------------------------------------------------------------------------

    def submit(self, event: Input) -> None:
        """Queue an input; what has come by the time of the next step shares its commit."""
        self._waiting.append(event)
        if not self._is_step_due:
            self._is_step_due = True
            self.later(self.world.chance.choice((0, 0, 1, 3)), self._step)

    def _step(self) -> None:
        self._is_step_due = False
        events = self._waiting[:BATCH_INPUTS_MAX]
        del self._waiting[: len(events)]
        self._act(self.pump.step_batch(self.now_ms, events, self._act))
        if self.pump.is_unsettled:
            self.later(RECEIPTS_NOTED_S * 1_000, self._settle)
        if self._waiting and not self._is_step_due:
            self._is_step_due = True
            self.later(0, self._step)

    def _settle(self) -> None:
        self._act(self.pump.settle(self.now_ms))

    def _act(self, batch: Batch) -> None:
        for effect in batch.effects:
            self._carry_out(effect)
        if batch.links_lost:
            self.links.close_all("store-failed")
        if batch.is_unread and not self._is_nudge_due:
            self._is_nudge_due = True
            self.later(STORE_RETRY_S * 1_000, self._nudge)
        for refused in batch.refused:
            self._on_refused(refused)

    def _nudge(self) -> None:
        self._is_nudge_due = False
        self.submit(TimerFired(self.host.name, 0))

    def _carry_out(self, effect: effects.Outward) -> None:
        match effect:
            case (
                effects.Locate()
                | effects.Dial()
                | effects.HandOver()
                | effects.Abandon()
                | effects.SetTimer()
            ):
                self.courier.carry_out(effect)
            case effects.Transmit():
                self.links.transmit(effect)
            case effects.Acknowledge():
                self.links.acknowledge(effect)
            case effects.OpenLink():
                self.links.open(effect)
            case effects.CloseLink(link, code):
                self.links.close(link, code)
            case effects.Deposit():
                self.post.deposit(effect)
            case effects.MailSettled(mail):
                self.post.settled(mail)
            case effects.Settle(arrival_id):
                if (arrival := self._arrivals.pop(arrival_id, None)) is not None:
                    arrival[0].settle()
            case notices.KeyStopped(peer):
                hear(self.world, self.profile, effect)
                self.later(self.world.chance.randint(1_000, 15_000), lambda: self._decide(peer))
            case _:
                hear(self.world, self.profile, effect)

    def _decide(self, peer: Name) -> None:
        """The person looks at the other key, and mostly takes it."""
        accepts = not self.world.faulty or self.world.chance.random() < 0.7
        self._machine.decide(peer, Decision.ACCEPT if accepts else Decision.REFUSE)

    def _on_refused(self, refused: Refused) -> None:
        self.world.tell(f"{self.host.name}: the disk refused {type(refused.event).__name__}")
        match refused.event:
            case SendRequested(messages=messages):
                self.profile.refused.update(message.message_id for message in messages)
            case DeleteRequested():
                pass
            case PersonDecided(peer=peer):
                self.later(2_000, lambda: self._decide(peer))
            case TextArrived(arrival_id=arrival_id) | DeleteArrived(arrival_id=arrival_id):
                self._arrival_refused(arrival_id, refused.event)
            case Connected(item_id=item_id, peer=peer):
                self.courier.abandon(item_id)
                self.submit(HandOverBroke(item_id, peer, refused.error.code))
            case TimerFired(peer) if peer == self.host.name:
                pass
            case event if isinstance(event, _REPORTS):
                self.later(STORE_RETRY_S * 1_000, lambda: self.submit(event))
            case _:
                pass  # links are closed, and mail stays in the mailbox: all of it comes again

    def _arrival_refused(self, arrival_id: MessageId, event: TextArrived | DeleteArrived) -> None:
        """Turn the sender away while it still looks; later offer its message to the disk again."""
        wire, arrived_ms = self._arrivals[arrival_id]
        if self.world.now_ms - arrived_ms > CLOSE_WAIT_S * 500:
            self.later(STORE_RETRY_S * 1_000, lambda: self.submit(event))
            return
        del self._arrivals[arrival_id]
        wire.turn_away()

    # --- from classic connections ----------------------------------------------------------------

    def arrived(self, wire: Wire, message: ClassicText | ClassicDelete) -> None:
        """A whole message came over ``wire``."""
        arrival_id = self.world.new_id()
        self._arrivals[arrival_id] = (wire, self.world.now_ms)
        if isinstance(message, ClassicText):
            self.submit(TextArrived(arrival_id, message.sender, message.text, wire.source))
        else:
            self.submit(DeleteArrived(arrival_id, message.sender, wire.source))
