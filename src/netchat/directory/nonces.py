"""Nonces: what makes a signed request count once.

A nonce is made without remembering it: its time, random bytes, and an HMAC over both with a key
that only this process has. So only those that were used are remembered, and only as long as they
would still be taken.
"""

from collections.abc import Callable
from enum import Enum
from hmac import compare_digest, digest
from typing import Final

from netchat.limits import NONCE_LIFE_MS, NONCES_SPENT_MAX

_TIME_BYTES: Final = 8
_RANDOM_BYTES: Final = 8
_MAC_BYTES: Final = 16
NONCE_BYTES: Final = _TIME_BYTES + _RANDOM_BYTES + _MAC_BYTES


class Spent(Enum):
    """What became of a nonce: GOOD counts now; BAD is unknown, old or used; BUSY one too many."""

    GOOD = "good"
    BAD = "bad-nonce"
    BUSY = "busy"


class Nonces:
    """Makes nonces and takes each of them once; ``entropy`` returns so many random bytes."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._key = entropy(32)
        self._now_ms = 0
        self._spent: dict[bytes, int] = {}
        """Until when each is remembered; in the order in which they were used, so oldest first."""

    def make(self, now_ms: int) -> bytes:
        """Return a nonce that is good for NONCE_LIFE_MS."""
        self._move_to(now_ms)
        text = now_ms.to_bytes(_TIME_BYTES, "big") + self._entropy(_RANDOM_BYTES)
        return text + self._mac(text)

    def spend(self, now_ms: int, nonce: bytes) -> Spent:
        """Take ``nonce`` if it is one of ours, young and not used before."""
        self._move_to(now_ms)
        text = nonce[:-_MAC_BYTES]
        if len(nonce) != NONCE_BYTES or not compare_digest(nonce[len(text) :], self._mac(text)):
            return Spent.BAD
        made_ms = int.from_bytes(text[:_TIME_BYTES], "big")
        if now_ms >= made_ms + NONCE_LIFE_MS or nonce in self._spent:
            return Spent.BAD
        if len(self._spent) >= NONCES_SPENT_MAX:
            return Spent.BUSY
        self._spent[nonce] = now_ms + NONCE_LIFE_MS
        return Spent.GOOD

    def _mac(self, text: bytes) -> bytes:
        return digest(self._key, text, "sha256")[:_MAC_BYTES]

    def _move_to(self, now_ms: int) -> None:
        """Forget what is too old to be taken. When the clock went back, all nonces are void:
        those that were forgotten would be young again."""
        if now_ms < self._now_ms:
            self._key = self._entropy(32)
            self._spent.clear()
        self._now_ms = now_ms
        while self._spent:
            oldest = next(iter(self._spent))
            if now_ms < self._spent[oldest]:
                break
            del self._spent[oldest]
