"""What people and fate do in one simulated run, chosen by the seed: one minute of trouble, then
peace until everything that can arrive has arrived."""

from typing import Final

from netchat.delivery.inputs import Decision
from netchat.model import Name
from netchat.testing.directory import SimulatedDirectory
from netchat.testing.machine import Machine
from netchat.testing.network import Network
from netchat.testing.plants import NONE, Plant
from netchat.testing.wires import Wire
from netchat.testing.world import World
from netchat.wire.classic import encode_text

KEYED: Final = ("alice", "bob", "carol")
CLASSIC: Final = "dave"
TROUBLE_MS: Final = 60_000
PEACE_MS: Final = 300_000
"""Longer than the longest pause of a lane, a silent link and a person's decision in a row."""
DEEDS: Final = 40
DAY_MS: Final = 86_400_000
CLOCK_AHEAD_MS_MAX: Final = 365 * DAY_MS
CLOCK_BEHIND_MS_MAX: Final = 30 * DAY_MS
"""Two clocks are then nearer than HLC_AHEAD_MS_MAX, beyond which no order is promised."""
SLEEP_MS: Final = 8 * DAY_MS
"""A little longer than a mailbox keeps mail."""
_TEXTS: Final = ("hello", 'she said "hi"', "žofia €", "a\nb", "^[", "x" * 600, "")


class Stranger:
    """Somebody without a key who writes in plain text under the names of others."""

    def __init__(self) -> None:
        self.name = Name("mallory")
        self.life = 0
        self.is_up = True
        self.handed: list[tuple[Name, bytes]] = []

    def forge(self, network: Network, claimed: Name, receiver: Machine, text: str) -> None:
        """Write ``text`` to ``receiver`` as if ``claimed`` did."""
        network.world.count("forgery")
        data = encode_text(claimed, text)

        def connected(wire: Wire) -> None:
            self.handed.append((receiver.name, data))
            wire.hand_over(data, lambda _: None)

        network.connect(
            self, receiver, lambda: Wire(network, self, receiver), connected, lambda _: None
        )


class Run:
    """One seed: builds the world, lets trouble and then peace pass. Close it afterwards."""

    def __init__(self, seed: int, *, plant: Plant = NONE, tracing: bool = False) -> None:
        self.world = World(seed, tracing=tracing)
        self.network = Network(self.world)
        self.directory = SimulatedDirectory(self.world)
        chance = self.world.chance
        self._has_walls = chance.random() < 0.4
        """Whether machines reach each other as rarely as behind two home routers: mail it is."""
        people = [*KEYED, CLASSIC] if chance.random() < 0.5 else [*KEYED]
        self.machines = [
            Machine(
                self.world,
                self.network,
                self.directory,
                Name(person),
                plant,
                is_keyed=person != CLASSIC,
                allow_classic=person == CLASSIC or chance.random() < 0.8,
            )
            for person in people
        ]
        self.stranger = Stranger()

    def play(self) -> None:
        """Let everything happen."""
        world = self.world
        for machine in self.machines:
            world.after(world.chance.randint(0, 500), machine.start)
            for other in self.machines:
                if self._has_walls and machine.name < other.name:
                    self.network.part(machine, other, world.chance.randint(5_000, TROUBLE_MS))
        for number in range(DEEDS):
            world.after(
                world.chance.randint(600, TROUBLE_MS),
                lambda number=number: self._deed(number),  # type: ignore[misc]  # lambda default
            )
        world.run_until(TROUBLE_MS)
        self._make_peace()
        world.run_until(TROUBLE_MS + PEACE_MS)

    def _make_peace(self) -> None:
        """Nothing breaks any more, clocks are set right, and every new key is accepted."""
        self.world.tell("peace")
        self.world.faulty = False
        self.network.heal()
        self.directory.come_back()
        for machine in self.machines:
            machine.clock_off_ms = 0
            machine.start()
        self._look_at_keys()

    def _look_at_keys(self) -> None:
        """A decision that was asked for in trouble may have been forgotten in a crash."""
        for machine in self.machines:
            if machine.node is not None:
                for pin in machine.node.pump.pins():
                    if pin.pending is not None:
                        machine.decide(pin.name, Decision.ACCEPT)
        self.world.after(20_000, self._look_at_keys)

    # --- deeds -----------------------------------------------------------------------------------

    def _deed(self, number: int) -> None:
        """Do one thing: mostly talk, sometimes delete or read, now and then break something."""
        chance = self.world.chance
        one, other = chance.sample(self.machines, 2)
        match chance.choices(range(9), weights=(46, 6, 5, 12, 6, 10, 7, 8, 2))[0]:
            case 0:
                one.send(other.name, self._text(number))
            case 1:
                text = self._text(number)
                for machine in self.machines:
                    one.send(machine.name, text + f" for {machine.name}")
            case 2:
                texts = (f"{self._text(number)} {index}" for index in range(chance.randint(2, 90)))
                if one.is_keyed and other.is_keyed:
                    one.send(other.name, *texts)
            case 3:
                self._delete(one, other)
            case 4:
                one.read(other.name)
            case 5:
                self.world.count("crash")
                is_long = chance.random() < 0.5
                one.crash(chance.randint(8_000, 40_000) if is_long else None)
            case 6:
                longest_ms = TROUBLE_MS if self._has_walls else 20_000
                self.network.part(one, other, chance.randint(500, longest_ms))
            case 7:
                self._misfortune(one)
            case _:
                text = self._text(number) + " forged"
                self.stranger.forge(self.network, one.name, other, text)

    def _delete(self, one: Machine, other: Machine) -> None:
        """Delete the newest, or any message at all, by its id."""
        chance = self.world.chance
        mine = [
            message_id
            for message_id, (peer, _) in one.profile.asked.items()
            if peer == other.name and message_id in one.profile.accepted
        ]
        if mine and chance.random() < 0.7:
            one.delete(chance.choice(mine))
        else:
            one.delete_newest(other.name)

    def _misfortune(self, one: Machine) -> None:
        """Do something to a whole machine, or to all of them."""
        chance = self.world.chance
        match chance.choices(range(5), weights=(32, 14, 30, 14, 10))[0]:
            case 0:
                self.directory.restart(chance.randint(500, 15_000))
            case 1:
                self.world.count("sleep")
                self.world.tell("everything sleeps")
                self.world.sleep(SLEEP_MS)
            case 2:
                one.set_clock(chance.randint(-CLOCK_BEHIND_MS_MAX, CLOCK_AHEAD_MS_MAX))
            case 3:
                self._change_key(one)
            case _:
                if not one.is_keyed:
                    one.upgrade()

    def _change_key(self, one: Machine) -> None:
        """A disk is lost; the key, too, unless it was kept apart and vouches for the new one."""
        if not one.is_keyed:
            return
        rotates = self.world.chance.random() < 0.5
        one.change_key(rotates=rotates)
        if not rotates and self.world.chance.random() < 0.7:
            name = one.name
            self.world.after(
                self.world.chance.randint(0, 20_000), lambda: self.directory.release(name)
            )

    def _text(self, number: int) -> str:
        """Return a text that no other deed of this run sends."""
        return f"{self.world.chance.choice(_TEXTS)} #{number}"

    def close(self) -> None:
        self.directory.close()
        for machine in self.machines:
            for profile in machine.profiles:
                profile.disk.close()
