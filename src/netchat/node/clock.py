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
        value = bytearray(self.now_ms().to_bytes(6, "big") + secrets.token_bytes(10))
        value[6] = value[6] & 0x0F | 0x70
        value[8] = value[8] & 0x3F | 0x80
        return MessageId(bytes(value))

    def jitter(self) -> float:
        """Return a number in [0, 1) that spreads what many nodes would else do at once."""
        return _RANDOM.random()
