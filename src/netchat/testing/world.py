"""Time and chance of one simulated run. The same seed gives the same run, event for event."""

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from netchat.model import MessageId


@dataclass(order=True, slots=True)
class _Event:
    at_ms: int
    number: int
    deed: Callable[[], None] = field(compare=False)


class World:
    """A virtual clock, a queue of what happens when, and the one source of randomness.

    ``faults`` counts what was done to the run, by kind; ``trace`` keeps its story when ``tracing``.
    """

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.seed = seed
        self.chance = random.Random(seed)  # noqa: S311 (a simulation wants to be repeatable)
        self.now_ms = 0
        self.faults: Counter[str] = Counter()
        self.faulty = True
        self.trace: list[str] = []
        self._tracing = tracing
        self._events: list[_Event] = []
        self._number = 0
        self._ids = 0

    def after(self, delay_ms: float, deed: Callable[[], None]) -> None:
        """Do ``deed`` when ``delay_ms`` have passed; what is due at one time keeps its order."""
        self._number += 1
        heapq.heappush(self._events, _Event(self.now_ms + int(delay_ms), self._number, deed))

    def run_until(self, at_ms: int) -> None:
        """Let time pass."""
        while self._events and self._events[0].at_ms <= at_ms:
            event = heapq.heappop(self._events)
            self.now_ms = event.at_ms
            event.deed()
        self.now_ms = at_ms

    def strikes(self, kind: str, probability: float) -> bool:
        """Decide whether a fault of ``kind`` happens now, and count it."""
        if not self.faulty or self.chance.random() >= probability:
            return False
        self.faults[kind] += 1
        self.tell(f"fault {kind}")
        return True

    def new_id(self) -> MessageId:
        self._ids += 1
        return MessageId(self._ids.to_bytes(16, "big"))

    def tell(self, line: str) -> None:
        """Note what happened, for ``--trace``."""
        if self._tracing:
            self.trace.append(f"{self.now_ms:>8} ms  {line}")

    def trace_hash(self) -> str:
        """Return a fingerprint of the story so far."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()
