"""Who reaches whom: delays, partitions, dials that fail, and addresses that change their owners."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from netchat.limits import DIAL_TIMEOUT_S
from netchat.model import Address, Name
from netchat.testing.world import World

T = TypeVar("T")


class Host(Protocol):
    """What the network knows of a machine. ``life`` grows with each crash: what was is dead."""

    name: Name
    life: int

    @property
    def is_up(self) -> bool: ...


class Network:
    """Connects machines, badly."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._parted: set[frozenset[Name]] = set()
        self._listening: dict[Address, tuple[Host, int]] = {}

    def listen(self, address: Address, host: Host) -> None:
        """From now on ``host`` is found at ``address``, as long as this life of it lasts."""
        self._listening[address] = (host, host.life)

    def host_at(self, address: Address) -> Host | None:
        """Return who listens at ``address``, up or not; None when its port is another life's."""
        host, life = self._listening.get(address, (None, 0))
        return host if host is not None and host.life == life else None

    def delay_ms(self) -> int:
        """Return how long something takes: mostly a LAN, now and then an overloaded one."""
        chance = self.world.chance
        if self.world.faulty and chance.random() < 0.05:
            self.world.faults["delay"] += 1
            return chance.randint(100, 3_000)
        return chance.randint(0, 5)

    def part(self, one: Host, other: Host, for_ms: int) -> None:
        """Let nothing through between two machines for a while."""
        pair = frozenset((one.name, other.name))
        self.world.count("partition")
        self.world.tell(f"parted {one.name} and {other.name} for {for_ms} ms")
        self._parted.add(pair)
        self.world.after(for_ms, lambda: self._parted.discard(pair))

    def heal(self) -> None:
        self._parted.clear()

    def are_parted(self, one: Host, other: Host) -> bool:
        return bool(self._parted) and frozenset((one.name, other.name)) in self._parted

    def connect(
        self,
        caller: Host,
        listener: Host | None,
        met: Callable[[], T],
        connected: Callable[[T], None],
        failed: Callable[[str], None],
    ) -> None:
        """Open a connection: ``met`` makes it where it arrives, ``connected`` hears at the caller.

        Exactly one of ``connected`` and ``failed`` hears, unless the caller dies.
        """
        life = caller.life

        def still(deed: Callable[[], None]) -> Callable[[], None]:
            return lambda: deed() if caller.is_up and caller.life == life else None

        if (
            listener is None
            or self.are_parted(caller, listener)
            or self.world.strikes("drop", 0.05)
        ):
            self.world.after(DIAL_TIMEOUT_S * 1_000, still(lambda: failed("timeout")))
            return

        def arrive() -> None:
            if listener.is_up:
                made = met()
                self.world.after(self.delay_ms(), still(lambda: connected(made)))
            else:
                self.world.after(self.delay_ms(), still(lambda: failed("refused")))

        self.world.after(self.delay_ms(), arrive)
