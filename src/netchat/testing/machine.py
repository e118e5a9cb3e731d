"""A node without sockets: the real pump, and what ``node.node`` does, done in virtual time.

It also remembers what the person at it was told, so that the checkers can hold it against what the
disks say in the end.
"""

from collections.abc import Callable
from typing import Protocol

from netchat.delivery import effects
from netchat.delivery.inputs import (
    Connected,
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    Handed,
    HandOverBroke,
    Input,
    ItemKind,
    Located,
    LocateFailed,
    SendRequested,
    TextArrived,
    TimerFired,
)
from netchat.errors import StoreUnavailable
from netchat.limits import BATCH_INPUTS_MAX, STORE_RETRY_S
from netchat.model import Address, DeleteOutcome, MessageId, MessageState, Name
from netchat.node.pump import Batch, Pump, Refused
from netchat.testing.disk import Disk, SimulatedCrash
from netchat.testing.network import Network, Wire
from netchat.testing.world import World
from netchat.wire.classic import ClassicDelete, ClassicText, encode_delete, encode_text


class Directory(Protocol):
    """What a machine asks of the simulated directory."""

    def register(self, machine: "Machine") -> None: ...

    def lookup(self, name: Name) -> Address | None: ...

    @property
    def is_up(self) -> bool: ...

    def machine_at(self, address: Address) -> "Machine | None": ...


class Machine:
    """One person's node on a disk of its own."""

    def __init__(self, world: World, network: Network, directory: Directory, name: Name) -> None:
        self.name = name
        self.life = 0
        self.disk = Disk(world)
        self.told_accepted: dict[MessageId, str] = {}
        self.told_states: dict[MessageId, MessageState] = {}
        self.told_received: list[str] = []
        self.handed: list[tuple[Name, bytes]] = []
        self._world = world
        self._network = network
        self._directory = directory
        self._pump: Pump | None = None
        self._waiting: list[Input] = []
        self._step_due = False
        self._wires: dict[MessageId, Wire] = {}
        self._busy: set[MessageId] = set()
        self._arrivals: dict[MessageId, Wire] = {}

    @property
    def address(self) -> Address:
        """Where this life listens: each one gets a port of its own, as from a real kernel."""
        return Address(f"10.0.0.{ord(self.name.key[0])}", 1_024 + self.life)

    # --- life and death --------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self._pump is not None

    def start(self) -> None:
        """Begin a life on what the disk holds."""
        if self.is_up:
            return
        self._world.tell(f"{self.name} starts")
        self._pump = Pump(self.disk.connection, self.disk.commit)
        self._directory.register(self)
        pump = self._pump
        try:
            self._guarded(lambda: self._act(Batch(pump.start(self._world.now_ms))))
        except StoreUnavailable:
            self.crash()  # the program ends with a sentence, and somebody starts it again

    def crash(self) -> None:
        """End this life between two instructions; start another one later."""
        if not self.is_up:
            return
        self._world.tell(f"{self.name} crashes")
        self.life += 1
        self._pump = None
        self._waiting.clear()
        self._step_due = False
        self._busy.clear()
        dying = [*self._wires.values(), *self._arrivals.values()]
        self._wires.clear()
        self._arrivals.clear()
        for wire in dying:
            wire.turn_away()
        self._world.after(self._world.chance.randint(200, 8_000), self.start)

    def _guarded(self, deed: Callable[[], None]) -> None:
        try:
            deed()
        except SimulatedCrash:
            self.crash()

    def _alive(self, deed: Callable[[], None]) -> Callable[[], None]:
        """Return ``deed`` as it is in this life, and nothing in a later one."""
        life = self.life
        return lambda: deed() if self.is_up and self.life == life else None

    # --- what the person does --------------------------------------------------------------------

    def send(self, peer: Name, text: str) -> None:
        """As ``ChatNode.send``: look the peer up, then queue."""
        if not self.is_up:
            return

        def located() -> None:
            assert self._pump is not None
            address = self._directory.lookup(peer) if self._directory.is_up else None
            if address is None and self._directory.is_up and not self._pump.knows(peer):
                return  # nobody of that name: nothing is kept, and the person is told so
            message_id = self._world.new_id()
            self.told_accepted[message_id] = text
            self._world.tell(f"{self.name} sends {text!r} to {peer}")
            self.submit(SendRequested(message_id, peer, text, address))

        self._world.after(self._network.delay_ms(), self._alive(located))

    def delete_newest(self, peer: Name) -> None:
        if self.is_up:
            self._world.tell(f"{self.name} deletes the newest to {peer}")
            self.submit(DeleteRequested(self._world.new_id(), peer))

    # --- the pump --------------------------------------------------------------------------------

    def submit(self, event: Input) -> None:
        """Queue an input; what has come by the time of the next step shares its commit."""
        self._waiting.append(event)
        if not self._step_due:
            self._step_due = True
            self._world.after(self._world.chance.randint(0, 3), self._alive(self._step))

    def _step(self) -> None:
        assert self._pump is not None
        self._step_due = False
        events = self._waiting[:BATCH_INPUTS_MAX]
        del self._waiting[: len(events)]
        pump = self._pump
        self._guarded(lambda: self._act(pump.step_batch(self._world.now_ms, events)))

    def _act(self, batch: Batch) -> None:
        for effect in batch.effects:
            self._carry_out(effect)
        for refused in batch.refused:
            self._on_refused(refused)

    def _carry_out(self, effect: effects.Outward) -> None:
        match effect:
            case effects.Locate(peer):
                self._world.after(self._network.delay_ms(), self._alive(lambda: self._look(peer)))
            case effects.Dial():
                self._dial(effect)
            case effects.HandOver():
                self._hand_over(effect)
            case effects.Abandon(item_id):
                self._abandon(item_id)
            case effects.SetTimer(peer, at_ms):
                wake = self._alive(lambda: self.submit(TimerFired(peer, self._jitter())))
                self._world.after(max(0, at_ms - self._world.now_ms), wake)
            case effects.Settle(arrival_id):
                if (wire := self._arrivals.pop(arrival_id, None)) is not None:
                    wire.settle()
            case _:
                self._notice(effect)

    def _jitter(self) -> float:
        return self._world.chance.random()

    def _look(self, peer: Name) -> None:
        if self._directory.is_up:
            self.submit(Located(peer, self._directory.lookup(peer), self._jitter()))
        else:
            self.submit(LocateFailed(peer, self._jitter()))

    def _dial(self, order: effects.Dial) -> None:
        if order.item_id in self._busy:
            return
        self._busy.add(order.item_id)

        def connected(wire: Wire) -> None:
            self._wires[order.item_id] = wire
            self.submit(Connected(order.item_id, order.peer))

        def failed(reason: str) -> None:
            self._busy.discard(order.item_id)
            self.submit(DialFailed(order.item_id, order.peer, reason, self._jitter()))

        receiver = self._directory.machine_at(order.address)
        self._network.connect(self, receiver, connected, failed)

    def _hand_over(self, order: effects.HandOver) -> None:
        if order.kind is ItemKind.DELETE:
            data = encode_delete(self.name)
        else:
            assert order.text is not None
            data = encode_text(self.name, order.text)
        self.handed.append((order.peer, data))

        def ended(reason: str | None) -> None:
            self._busy.discard(order.item_id)
            if reason is None:
                self.submit(Handed(order.item_id, order.peer))
            else:
                self.submit(HandOverBroke(order.item_id, order.peer, reason))

        self._wires.pop(order.item_id).hand_over(data, ended)

    def _abandon(self, item_id: MessageId) -> None:
        if (wire := self._wires.pop(item_id, None)) is not None:
            self._busy.discard(item_id)
            wire.close()

    def _on_refused(self, refused: Refused) -> None:
        self._world.tell(f"{self.name}: the disk refused {type(refused.event).__name__}")
        match refused.event:
            case SendRequested(message_id=message_id):
                del self.told_accepted[message_id]
            case DeleteRequested():
                pass
            case TextArrived(arrival_id=arrival_id) | DeleteArrived(arrival_id=arrival_id):
                self._arrivals.pop(arrival_id).turn_away()
            case Connected(item_id=item_id, peer=peer):
                self._abandon(item_id)
                self.submit(HandOverBroke(item_id, peer, refused.error.code))
            case event:
                self._world.after(STORE_RETRY_S * 1_000, self._alive(lambda: self.submit(event)))

    # --- what it hears ---------------------------------------------------------------------------

    def arrived(self, wire: Wire, message: ClassicText | ClassicDelete) -> None:
        """A whole message came over ``wire``."""
        arrival_id = self._world.new_id()
        self._arrivals[arrival_id] = wire
        if isinstance(message, ClassicText):
            self.submit(TextArrived(arrival_id, message.sender, message.text, wire.source))
        else:
            self.submit(DeleteArrived(arrival_id, message.sender, wire.source))

    def _notice(self, notice: effects.Notice) -> None:
        match notice:
            case effects.MessageArrived(_, peer, text):
                self._world.tell(f"{self.name} received {text} from {peer}")
                self.told_received.append(text.raw)
            case effects.MessageProgressed(message_id, _, state, _):
                self._world.tell(f"{self.name}: {message_id} is {state.value}")
                self.told_states[message_id] = state
            case effects.DeleteProgressed(_, _, outcome):
                if outcome is not DeleteOutcome.NOTHING:
                    self._world.tell(f"{self.name}: delete is {outcome.value}")
            case effects.PeerPostponed() | effects.PeerDeleted() | effects.DeleteIgnored():
                self._world.tell(f"{self.name}: {type(notice).__name__}")
            case effects.MessageAccepted():
                pass
