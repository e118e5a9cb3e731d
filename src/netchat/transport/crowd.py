"""Strangers at the door: how many may be there at once, and how often they may come.

It knows no sockets and no clock; the listener asks it before it spends a handshake on anybody.
"""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from netchat.limits import (
    HANDSHAKES_PER_ADDRESS_S_MAX,
    LINKS_HALF_OPEN_MAX,
    LINKS_HALF_OPEN_PER_ADDRESS_MAX,
)
from netchat.model import origin_of

One = TypeVar("One")

_BURST_S: Final = 2.0
"""How many seconds of handshakes one may have saved up, and so how long a bucket takes to fill."""


class Crowd(Generic[One]):
    """Those whose link is not open yet, by where they come from.

    A handshake takes milliseconds, so whoever means well is never the oldest. Where too many are at
    once, the oldest makes room, of those from where most come: a machine alone displaces itself.
    """

    def __init__(self) -> None:
        self._here: dict[str, dict[One, None]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}

    def may_begin(self, host: str, now_s: float) -> bool:
        """Tell whether ``host`` may have a handshake now, and count it: a token bucket."""
        origin = origin_of(host)
        self._forget_full_buckets(now_s)
        burst = _BURST_S * HANDSHAKES_PER_ADDRESS_S_MAX
        left, at_s = self._buckets.pop(origin, (burst, now_s))
        left = min(burst, left + (now_s - at_s) * HANDSHAKES_PER_ADDRESS_S_MAX)
        may = left >= 1
        self._buckets[origin] = (left - 1 if may else left, now_s)
        return may

    def _forget_full_buckets(self, now_s: float) -> None:
        """Drop what has refilled, oldest use first: memory holds those of the last two seconds."""
        while self._buckets:
            origin, (_, at_s) = next(iter(self._buckets.items()))
            if now_s - at_s < _BURST_S:
                return
            del self._buckets[origin]

    def __len__(self) -> int:
        return sum(len(ones) for ones in self._here.values())

    def __iter__(self) -> Iterator[One]:
        return iter([one for ones in self._here.values() for one in ones])

    def make_room(self, host: str) -> One | None:
        """Take out and return who has to go before one more comes from ``host``, if one has to."""
        origin = origin_of(host)
        if len(self._here.get(origin, ())) < LINKS_HALF_OPEN_PER_ADDRESS_MAX:
            if len(self) < LINKS_HALF_OPEN_MAX:
                return None
            origin = max(self._here, key=lambda origin: len(self._here[origin]))
        leaving = next(iter(self._here[origin]))
        self.remove(origin, leaving)
        return leaving

    def add(self, host: str, one: One) -> None:
        self._here.setdefault(origin_of(host), {})[one] = None

    def remove(self, host: str, one: One) -> None:
        """Take ``one`` out, if it is here."""
        origin = origin_of(host)
        ones = self._here.get(origin, {})
        ones.pop(one, None)
        if not ones:
            self._here.pop(origin, None)
