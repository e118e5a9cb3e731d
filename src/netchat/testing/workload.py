"""What people and fate do in one simulated run, chosen by the seed: one minute of trouble, then
peace until everything that can arrive has arrived."""

from typing import Final

from netchat.directory.registry import Decision, Lease, Verdict, decide
from netchat.limits import CLASSIC_TTL_S, LEASE_S
from netchat.model import Address, Name
from netchat.testing.machine import Machine
from netchat.testing.network import Network
from netchat.testing.world import World
from netchat.wire.directory import LeaseAction, LeaseWish, Registration, Verb

PEOPLE: Final = ("alice", "bob", "carol")
TROUBLE_MS: Final = 60_000
PEACE_MS: Final = 120_000
DEEDS: Final = 40
REFRESH_MS: Final = 20_000
_TEXTS: Final = ("hello", 'she said "hi"', "žofia €", "a\nb", "^[", "x" * 600, "")


class SimulatedDirectory:
    """The real rules of registration over a dict; it can be down, and forgets when it restarts."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._leases: dict[Name, Lease] = {}
        self._machines: dict[Address, Machine] = {}
        self.is_up = True

    def register(self, machine: Machine) -> None:
        """Take a lease for ``machine`` now, and keep it while it lives; nobody is where it was."""
        self._machines = {at: one for at, one in self._machines.items() if one is not machine}
        self._machines[machine.address] = machine
        self._refresh(machine, machine.life, LeaseAction.TAKE)

    def _refresh(self, machine: Machine, life: int, action: LeaseAction) -> None:
        if not machine.is_up or machine.life != life:
            return
        if self.is_up:
            self._enter(machine, action)
        again = lambda: self._refresh(machine, life, LeaseAction.KEEP)  # noqa: E731 (read as one)
        self._world.after(REFRESH_MS, again)

    def _enter(self, machine: Machine, action: LeaseAction) -> None:
        decision = decide(
            self._world.now_ms,
            Registration(Verb.UPDATE, machine.name, machine.address),
            LeaseWish(action, LEASE_S),
            self._leases.get(machine.name),
            len(self._leases),
            CLASSIC_TTL_S * 1_000,
        )
        assert isinstance(decision, Decision)
        assert decision.verdict is Verdict.GRANT
        self._leases[machine.name] = decision.lease

    def restart(self, after_ms: int) -> None:
        self._world.faults["directory-restart"] += 1
        self.is_up = False
        self._leases.clear()

        def back() -> None:
            self.is_up = True

        self._world.after(after_ms, back)

    def lookup(self, name: Name) -> Address | None:
        lease = self._leases.get(name)
        return lease.address if lease is not None and lease.is_live(self._world.now_ms) else None

    def machine_at(self, address: Address) -> Machine | None:
        return self._machines.get(address)


class Run:
    """One seed: builds the world, lets trouble and then peace pass. Close it afterwards."""

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.world = World(seed, tracing=tracing)
        self.network = Network(self.world)
        self.directory = SimulatedDirectory(self.world)
        self.machines = [
            Machine(self.world, self.network, self.directory, Name(person)) for person in PEOPLE
        ]

    def play(self) -> None:
        """Let everything happen."""
        world = self.world
        for machine in self.machines:
            world.after(world.chance.randint(0, 500), machine.start)
        for number in range(DEEDS):
            world.after(
                world.chance.randint(600, TROUBLE_MS),
                lambda number=number: self._deed(number),  # type: ignore[misc]  # lambda default
            )
        world.run_until(TROUBLE_MS)
        world.faulty = False
        self.network.heal()
        world.tell("peace")
        world.run_until(TROUBLE_MS + PEACE_MS)

    def _deed(self, number: int) -> None:
        """Do one thing: mostly talk, sometimes delete, now and then break something."""
        chance = self.world.chance
        one, other = chance.sample(self.machines, 2)
        match chance.choices(range(6), weights=(60, 8, 14, 6, 8, 4))[0]:
            case 0:
                one.send(other.name, self._text(number))
            case 1:
                text = self._text(number)
                for machine in self.machines:
                    one.send(machine.name, text + f" for {machine.name}")
            case 2:
                one.delete_newest(other.name)
            case 3:
                self.world.faults["crash"] += 1
                one.crash()
            case 4:
                self.network.part(one, other, chance.randint(500, 20_000))
            case _:
                self.directory.restart(chance.randint(500, 10_000))

    def _text(self, number: int) -> str:
        """Return a text that no other deed of this run sends."""
        return f"{self.world.chance.choice(_TEXTS)} #{number}"

    def close(self) -> None:
        for machine in self.machines:
            machine.disk.close()
