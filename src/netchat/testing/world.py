"""Time and chance of one simulated run. The same seed gives the same run, event for event."""

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from netchat.model import MessageId

EPOCH_MS: Final = 1_750_000_000_000
"""What clocks that are right show when a run begins."""


class World:
    """A virtual clock, a queue of what happens when, and the one source of randomness.

    ``now_ms`` is time as it passes, ``wall_ms`` what a right clock shows. ``faults`` counts what
    was done to the run, by kind; ``trace`` keeps its story when ``tracing``.
    """

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.seed = seed
        self.chance = random.Random(seed)  # noqa: S311 (a simulation wants to be repeatable)
        self.now_ms = 0
        self.faults: Counter[str] = Counter()
        self.faulty = True
        self.trace: list[str] = []
        self.tracing = tracing
        self._slept_ms = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._ids = 0

    @property
    def wall_ms(self) -> int:
        return EPOCH_MS + self._slept_ms + self.now_ms

    def sleep(self, for_ms: int) -> None:
        """Let time pass in which everything stands still but the clocks: all machines sleep."""
        self._slept_ms += for_ms

    def after(self, delay_ms: float, deed: Callable[[], None]) -> None:
        """Do ``deed`` when ``delay_ms`` have passed; what is due at one time keeps its order."""
        self._number += 1
        heapq.heappush(self._events, (self.now_ms + int(delay_ms), self._number, deed))

    def run_until(self, at_ms: int) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= at_ms:
            self.now_ms, _, deed = heapq.heappop(self._events)
            deed()
        self.now_ms = at_ms

    def strikes(self, kind: str, probability: float) -> bool:
        """Decide whether a fault of ``kind`` happens now, and count it."""
        if not self.faulty or self.chance.random() >= probability:
            return False
        self.count(kind)
        return True

    def count(self, kind: str) -> None:
        """Note that a fault of ``kind`` happens."""
        self.faults[kind] += 1
        self.tell(f"fault {kind}")

    def new_id(self) -> MessageId:
        self._ids += 1
        return MessageId(self._ids.to_bytes(16, "big"))

    def entropy(self, size: int) -> bytes:
        return self.chance.randbytes(size)

    def tell(self, line: str) -> None:
        """Note what happened, for ``--trace``; callers make no costly lines unless ``tracing``."""
        if self.tracing:
            self.trace.append(f"{self.now_ms:>8} ms  {line}")

    def trace_hash(self) -> str:
        """Return a fingerprint of the story so far."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()
