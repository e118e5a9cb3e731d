"""A computer with one person at it: lives of the program come and go, its profile stays."""

from collections.abc import Callable
from contextlib import suppress

from netchat.delivery.inputs import (
    Decision,
    DeleteRequested,
    Found,
    NewMessage,
    PersonDecided,
    ReadNoted,
    SendRequested,
)
from netchat.errors import DirectoryError, StoreUnavailable
from netchat.identity.keys import Identity
from netchat.model import Address, MessageId, Name, PeerId
from netchat.testing.cables import LinkEnd, LinkEvents
from netchat.testing.directory import SimulatedDirectory
from netchat.testing.disk import Disk, SimulatedCrash
from netchat.testing.life import Life
from netchat.testing.network import Host, Network
from netchat.testing.plants import Plant
from netchat.testing.profile import Profile
from netchat.testing.wires import Wire
from netchat.testing.world import World
from netchat.wire.classic import ClassicDelete, ClassicText


class Machine:
    """``is_keyed``: it runs NetChat; else it speaks classic only, as old programs do.

    ``clock_off_ms`` is how wrong its clock is. ``past`` are profiles that were lost with a disk.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        directory: SimulatedDirectory,
        name: Name,
        plant: Plant,
        *,
        is_keyed: bool,
        allow_classic: bool,
    ) -> None:
        self.world = world
        self.network = network
        self.directory = directory
        self.name = name
        self.plant = plant
        self.is_keyed = is_keyed
        self.allow_classic = allow_classic
        self.life = 0
        self.clock_off_ms = 0
        self.old_identity: Identity | None = None
        self.profile = self._new_profile(0)
        self.past: list[Profile] = []
        self.node: Life | None = None

    def _new_profile(self, number: int) -> Profile:
        return Profile(self.name, number, Disk(self.world, self.plant.migrations()))

    @property
    def address(self) -> Address:
        """Where this life listens: each one gets a port of its own, as from a real kernel."""
        return Address(f"10.0.0.{ord(self.name.key[0])}", 1_024 + self.life)

    @property
    def profiles(self) -> list[Profile]:
        return [*self.past, self.profile]

    # --- life and death --------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self.node is not None

    def start(self) -> None:
        """Begin a life on what the disk holds."""
        if self.is_up:
            return
        self.world.tell(f"{self.name} starts")
        self.profile.begin_life()

        def begin() -> None:
            self.node = Life(self)
            self.node.begin()

        try:
            self.guarded(begin)
        except StoreUnavailable:
            self.crash()  # the program ends with a sentence, and somebody starts it again

    def crash(self, away_ms: int | None = None) -> None:
        """End this life between two instructions; start another one later."""
        node, self.node = self.node, None
        if node is None:
            return
        self.world.tell(f"{self.name} crashes")
        self.life += 1
        node.end()
        away_ms = self.world.chance.randint(200, 8_000) if away_ms is None else away_ms
        self.world.after(away_ms, self.start)

    def guarded(self, deed: Callable[[], None]) -> None:
        """Do something during which the process may die."""
        try:
            deed()
        except SimulatedCrash:
            self.crash()

    def change_key(self, *, rotates: bool) -> None:
        """Go on with another key on another computer; with ``rotates`` the old key vouches."""
        self.world.count("key-rotation" if rotates else "key-loss")
        self.old_identity = self.profile.identity if rotates else None
        self.past.append(self.profile)
        jumped = self.profile.has_jumped
        self.profile = self._new_profile(len(self.past))
        self.profile.has_jumped = jumped
        self.crash()

    def upgrade(self) -> None:
        """From now on a program runs here that has keys, over what the old one left."""
        self.world.count("upgrade")
        self.is_keyed = True
        self.crash()

    def set_clock(self, off_ms: int) -> None:
        self.world.count("clock-jump")
        self.world.tell(f"the clock of {self.name} is {off_ms} ms off")
        self.clock_off_ms = off_ms
        self.profile.has_jumped = True

    # --- what the person does --------------------------------------------------------------------

    def send(self, peer: Name, *texts: str) -> None:
        """As ``ChatNode.send`` and ``ChatNode.queue``: look the peer up, then queue."""
        node = self.node
        if node is None:
            return
        is_known = peer == self.name or node.links.is_linked(peer)
        if is_known or node.pump.pin(peer).key is not None:
            self._queue(peer, texts, None)
            return

        def located() -> None:
            found: Found | None = None
            with suppress(DirectoryError):
                found = node.find(peer)
            self._queue(peer, texts, found)

        node.soon(located)

    def _queue(self, peer: Name, texts: tuple[str, ...], found: Found | None) -> None:
        assert self.node is not None
        messages = tuple(NewMessage(self.world.new_id(), text) for text in texts)
        for message in messages:
            self.profile.asked[message.message_id] = (peer, message.text)
            if self.world.tracing:
                number = int.from_bytes(message.message_id.value)
                self.world.tell(f"{self.name} sends {number} to {peer}: {message.text[:30]!r}")
        self.node.submit(SendRequested(peer, messages, found))

    def delete_newest(self, peer: Name) -> None:
        if self.node is not None:
            self.world.tell(f"{self.name} deletes the newest to {peer}")
            self.node.submit(DeleteRequested(self.world.new_id(), peer))

    def delete(self, target: MessageId) -> None:
        if self.node is not None:
            self.world.tell(f"{self.name} deletes {int.from_bytes(target.value)}")
            self.node.submit(DeleteRequested(self.world.new_id(), None, target))

    def read(self, peer: Name) -> None:
        """Read the conversation to its end, and let the peer know."""
        if self.node is not None and (hlc := self.node.pump.newest_from(peer)):
            self.world.tell(f"{self.name} reads what {peer} wrote")
            self.node.submit(ReadNoted(self.world.new_id(), peer, hlc))

    def decide(self, peer: Name, decision: Decision) -> None:
        if self.node is not None:
            self.world.tell(f"{self.name} about {peer}: {decision.value}")
            self.node.submit(PersonDecided(0, peer, decision, self.node.jitter()))

    # --- over the network ------------------------------------------------------------------------

    def accept_link(
        self, caller: Host, key: PeerId, events: LinkEvents, wanted: PeerId
    ) -> LinkEnd | None:
        if self.node is None or not self.is_keyed or wanted != self.node.key:
            return None
        return self.node.links.accept(caller, key, events)

    def arrived(self, wire: Wire, message: ClassicText | ClassicDelete) -> None:
        assert self.node is not None, "wires of an older life are dead"
        self.node.arrived(wire, message)
