"""The first byte of a connection says which wire it speaks; the choice is final.

One port takes both TLS and classic messages (docs/spec/link.md).
"""

from enum import Enum
from typing import Final

TLS_HANDSHAKE: Final = 0x16
"""The content type of the first TLS record, a ClientHello (RFC 8446 section 5.1)."""

_CLASSIC: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"  # a name, or DELETE_MESSAGE
)


class Protocol(Enum):
    """What a connection may still become; NEITHER is closed without an answer."""

    TLS = "tls"
    CLASSIC = "classic"
    NEITHER = "neither"


def sniff(first: int) -> Protocol:
    """Tell what a connection speaks whose first byte is ``first``.

    CLASSIC means no more than that ``ClassicReader`` would not refuse this byte.
    """
    if first == TLS_HANDSHAKE:
        return Protocol.TLS
    return Protocol.CLASSIC if first in _CLASSIC else Protocol.NEITHER
