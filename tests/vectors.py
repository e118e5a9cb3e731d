"""Loads vectors/*.json, and reads bytes in every way in which a network may bring them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from netchat.errors import InvalidName, RemoteError
from netchat.limits import NAME_CHARS_MAX
from netchat.model import Address, Name

FOLDER = Path(__file__).resolve().parents[1] / "vectors"

Vector = dict[str, Any]
T = TypeVar("T")

many_examples = settings(max_examples=max(500, settings.default.max_examples))
"""For the properties of what strangers reach; more than 500 in the profile ``explore``."""


def load(file: str) -> dict[str, list[Vector]]:
    """Return all sections of a file of vectors."""
    sections = json.loads((FOLDER / file).read_text("utf-8"))
    return {name: items for name, items in sections.items() if name != "about"}


def vectors(file: str, section: str) -> pytest.MarkDecorator:
    """Run a test with ``vector`` once for each vector of a section, under its name."""
    items = load(file)[section]
    return pytest.mark.parametrize("vector", items, ids=[item["name"] for item in items])


def expanded(text: str | list[list[Any]]) -> str:
    """Return a text of a vector: as it stands, or put together from [text, times]."""
    if isinstance(text, str):
        return text
    return "".join(part * times for part, times in text)


def data_of(vector: Vector) -> bytes:
    """Return the bytes of a vector, given as text or in hexadecimal."""
    if "hex" in vector:
        return bytes.fromhex(vector["hex"])
    return expanded(vector["bytes"]).encode()


def outcome(read: Callable[[], T]) -> T | str:
    """Return what ``read`` gives, or the code of its refusal. Any other exception is a bug."""
    try:
        return read()
    except RemoteError as error:
        return error.reason


def feed_every_split(
    read: Callable[[Sequence[bytes]], T], data: bytes, trailing: bytes | None = None
) -> T | str:
    """Read ``data`` whole, one byte at a time and in halves; that must give the same each time.

    So must ``data`` with ``trailing`` behind it, if given.
    """
    half = len(data) // 2
    bytewise = [data[index : index + 1] for index in range(len(data))]
    splits: list[Sequence[bytes]] = [[data], bytewise, [data[:half], b"", data[half:]]]
    if trailing is not None:
        splits += [[data, trailing], [data + trailing]]
    outcomes = [outcome(lambda split=split: read(split)) for split in splits]
    assert all(one == outcomes[0] for one in outcomes), outcomes
    return outcomes[0]


# --- strategies of Hypothesis --------------------------------------------------------------------


def _is_name(text: str) -> bool:
    try:
        Name(text)
    except InvalidName:
        return False
    return True


names = (
    st.from_regex(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_CHARS_MAX - 1}}}", fullmatch=True)
    .filter(_is_name)
    .map(Name)
)
reachable_hosts = st.ip_addresses(v=4).filter(
    lambda host: not (host.is_unspecified or host.is_multicast or str(host) == "255.255.255.255")
)
reachable_addresses = st.builds(Address, reachable_hosts.map(str), st.integers(1, 65_535))


def soup(*parts: bytes) -> st.SearchStrategy[bytes]:
    """Return bytes that are mostly made of ``parts``: near enough to pass the first checks."""
    part = st.one_of(st.sampled_from(parts), st.binary(max_size=4))
    return st.lists(part, max_size=12).map(b"".join)
