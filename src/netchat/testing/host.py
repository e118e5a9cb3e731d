"""What the parts of a simulated machine ask of it: time, chance, the network, and its pump."""

from collections.abc import Callable
from typing import Protocol

from netchat.delivery.inputs import Found, Input
from netchat.model import Address, Name, PeerId, SignedRecord
from netchat.node.introduction import Introduction
from netchat.node.pump import Pump
from netchat.testing.cables import LinkEnd, LinkEvents
from netchat.testing.directory import SimulatedDirectory
from netchat.testing.network import Host, Network
from netchat.testing.wires import Receiver
from netchat.testing.world import World


class Peer(Receiver, Protocol):
    """A machine as it is met over the network."""

    def accept_link(
        self, caller: Host, key: PeerId, events: LinkEvents, wanted: PeerId
    ) -> LinkEnd | None:
        """Let in whoever holds ``key``; return the end that it gets.

        None when nobody here holds the key that is ``wanted``.
        """
        ...


class Node(Protocol):
    """One life of a machine. What is planned through it does not happen in a later one."""

    world: World
    network: Network
    directory: SimulatedDirectory
    host: Host
    key: PeerId
    pump: Pump
    introduction: Introduction

    @property
    def now_ms(self) -> int:
        """What the clock of this machine shows, right or wrong."""
        ...

    def jitter(self) -> float: ...

    def submit(self, event: Input) -> None: ...

    def later(self, delay_ms: float, deed: Callable[[], None]) -> None:
        """Do ``deed`` when ``delay_ms`` have passed, if this life lasts as long."""
        ...

    def soon(self, deed: Callable[[], None]) -> None:
        """Do ``deed`` when the network has taken its time."""
        ...

    def peer_at(self, address: Address) -> Peer | None:
        """Return the machine that listens there, up or not."""
        ...

    def find(self, name: Name) -> Found:
        """Ask the directory now. Raises DirectoryError."""
        ...

    def elsewhere(
        self, name: Name, key: PeerId, then: Callable[[SignedRecord | None], None]
    ) -> None:
        """As ``ChatNode._elsewhere``."""
        ...
