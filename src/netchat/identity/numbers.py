"""What two people compare to know each other's key: a safety number, or the key as a text.

Pure functions. Specification, with vectors: docs/spec/identity.md.
"""

from hashlib import sha512
from typing import Final

from netchat.errors import InvalidKey, InvalidName
from netchat.model import Name, PeerId

GROUPS: Final = 12
GROUP_BYTES: Final = 5
GROUP_DIGITS: Final = 5
"""60 digits, 199 bits: to find two pairs of keys with one number takes 2^99 tries."""

_LABEL: Final = b"netchat safety v1\0"
_PREFIX: Final = ("netchat", "1")


def safety_number(one: PeerId, other: PeerId) -> str:
    """Return the number that both see if and only if each holds the key of the other.

    It is the same whichever of the two is ``one``. All of it has to be compared.
    """
    digest = sha512(_LABEL + b"".join(sorted((one.value, other.value)))).digest()
    starts = range(0, GROUPS * GROUP_BYTES, GROUP_BYTES)
    numbers = (int.from_bytes(digest[at : at + GROUP_BYTES]) % 10**GROUP_DIGITS for at in starts)
    return " ".join(f"{number:0{GROUP_DIGITS}}" for number in numbers)


def contact_text(name: Name, key: PeerId) -> str:
    """Return ``netchat:1:NAME:KEY``: what a QR code holds, and what a person may paste."""
    return ":".join((*_PREFIX, name.shown, str(key)))


def parse_contact_text(text: str) -> tuple[Name, PeerId]:
    """Read what ``contact_text`` gives, and nothing else. Raises InvalidKey."""
    *prefix, name, key = text.split(":") if text.count(":") == 3 else ("", "", "", "")
    if tuple(prefix) != _PREFIX:
        raise InvalidKey(text)
    try:
        return Name(name), PeerId.parse(key)
    except (InvalidName, InvalidKey):
        raise InvalidKey(text) from None
