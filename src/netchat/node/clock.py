"""The one place where a node reads the clock and makes ids and random numbers.

Everything below gets them passed in, so that the simulator can put its own in their place.
"""

import random
import secrets
import time

from netchat.model import MessageId

_RANDOM = random.SystemRandom()


class Clock:
    """Time in milliseconds since 1970, ids that sort by it, and jitter."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def new_id(self) -> MessageId:
        """Return a UUID of version 7 (RFC 9562 section 5.7): 48 bits of time, 74 random ones."""
        return self.new_ids(1)[0]

    def new_ids(self, count: int) -> list[MessageId]:
        """Return as many of them, for as many calls of the system as for one."""
        at_ms = self.now_ms().to_bytes(6, "big")
        chance = secrets.token_bytes(10 * count)
        ids = []
        for start in range(0, 10 * count, 10):
            value = bytearray(at_ms + chance[start : start + 10])
            value[6] = value[6] & 0x0F | 0x70
            value[8] = value[8] & 0x3F | 0x80
            ids.append(MessageId(bytes(value)))
        return ids

    def entropy(self, size: int) -> bytes:
        """Return bytes that nobody can guess."""
        return secrets.token_bytes(size)

    def jitter(self) -> float:
        """Return a number in [0, 1) that spreads what many nodes would else do at once."""
        return _RANDOM.random()
