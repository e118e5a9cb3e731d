"""The bodies that the classic directory speaks over HTTP, for both of its sides.

    UPDATE alice@192.0.2.7:54321      to register, and to move
    REGISTER alice@192.0.2.7:54321    the older generation, to /userlist.txt
    alice@192.0.2.7:54321             a line of the list
    192.0.2.7:54321                   the answer to a lookup

Specification: docs/spec/classic.md; vectors: vectors/classic.json.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from netchat.errors import InvalidAddress, InvalidName, MalformedBody
from netchat.model import Address, Name

PRODUCT: Final = "NetChat"
"""The ``Server`` header of our directories: whoever sends it also knows the requests of /v2/."""

_REGISTRATION: Final = re.compile(r"(UPDATE|REGISTER) ([^@\s]+)@(\S+)", re.ASCII)


class Verb(Enum):
    UPDATE = "UPDATE"
    REGISTER = "REGISTER"


@dataclass(frozen=True, slots=True)
class Registration:
    """``verb`` says whether an entry that exists is moved (UPDATE) or respected (REGISTER)."""

    verb: Verb
    name: Name
    address: Address


def format_registration(verb: Verb, name: Name, address: Address) -> bytes:
    """Return the body of a registration."""
    return f"{verb.value} {name}@{address}".encode()


def parse_registration(body: bytes) -> Registration:
    """Read a registration; white space around it (a line end) is forgiven.

    Raises:
        MalformedBody: ``malformed``, ``bad-name``, ``reserved-name`` or ``bad-address``.
    """
    try:
        text = body.decode("ascii").strip()
    except UnicodeDecodeError:
        raise MalformedBody("bad-name") from None
    match = _REGISTRATION.fullmatch(text)
    if match is None:
        raise MalformedBody("malformed")
    try:
        return Registration(Verb(match[1]), Name(match[2]), Address.parse_reachable(match[3]))
    except InvalidName as error:
        raise MalformedBody("reserved-name" if error.reserved else "bad-name") from None
    except InvalidAddress:
        raise MalformedBody("bad-address") from None


def format_list(entries: Iterable[tuple[Name, Address]]) -> bytes:
    """Return the list: a line an entry, with a newline between lines and none at the end."""
    return "\n".join(f"{name}@{address}" for name, address in entries).encode()


def parse_list(body: bytes) -> tuple[tuple[Name, Address], ...]:
    """Read a list. Lines that are no entries are left out: one bad entry must not hide the rest.

    Raises:
        MalformedBody: ``not-a-list`` when there is text and not one line of it is an entry.
    """
    lines = body.decode(errors="replace").split("\n")
    entries = [entry for line in lines if (entry := _entry(line.strip())) is not None]
    if not entries and body.strip():
        raise MalformedBody("not-a-list")
    return tuple(entries)


def _entry(line: str) -> tuple[Name, Address] | None:
    name, _, address = line.partition("@")
    try:
        return Name(name), Address.parse_reachable(address)
    except (InvalidName, InvalidAddress):
        return None


def format_lookup(address: Address) -> bytes:
    """Return the bare answer to a lookup."""
    return str(address).encode()


def parse_lookup(body: bytes) -> Address:
    """Read the answer to a lookup.

    Raises:
        MalformedBody: ``bad-address``.
    """
    try:
        return Address.parse_reachable(body.decode("ascii", errors="replace").strip())
    except InvalidAddress:
        raise MalformedBody("bad-address") from None
