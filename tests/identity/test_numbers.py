"""Safety numbers and contact texts: the vectors of docs/spec/identity.md, and any others."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vectors import Vector, many_examples, names, vectors

from netchat.errors import InvalidKey
from netchat.identity.numbers import contact_text, parse_contact_text, safety_number
from netchat.model import Name, PeerId

FILE = "identity.json"

keys = st.binary(min_size=32, max_size=32).map(PeerId)


@vectors(FILE, "safety_number")
def test_safety_numbers(vector: Vector) -> None:
    """They are frozen: people wrote them down."""
    one, other = (PeerId(bytes.fromhex(vector[which])) for which in ("one", "other"))
    assert safety_number(one, other) == vector["number"]


@given(keys, keys, keys)
@many_examples
def test_both_sides_see_one_number(one: PeerId, other: PeerId, third: PeerId) -> None:
    """Twelve groups of five digits, which a third key changes."""
    number = safety_number(one, other)
    assert number == safety_number(other, one)
    assert re.fullmatch(r"[0-9]{5}( [0-9]{5}){11}", number, re.ASCII)
    assert (number == safety_number(one, third)) == (other == third)


@vectors(FILE, "contact_text")
def test_contact_texts(vector: Vector) -> None:
    if "error" in vector:
        with pytest.raises(InvalidKey) as caught:
            parse_contact_text(vector["bytes"])
        assert (caught.value.code, caught.value.text) == (vector["error"], vector["bytes"])
        return
    name, key = parse_contact_text(vector["bytes"])
    assert name.shown == vector["contact"]
    assert key == PeerId(bytes.fromhex(vector["key"]))
    assert contact_text(name, key) == vector["bytes"]


@given(names, keys)
@many_examples
def test_a_contact_text_comes_back(name: Name, key: PeerId) -> None:
    """Name, letters and key are what they were, and no character is one that a shell would read."""
    text = contact_text(name, key)
    assert parse_contact_text(text) == (name, key)
    assert parse_contact_text(text)[0].shown == name.shown
    assert re.fullmatch(r"[A-Za-z0-9:._-]+", text, re.ASCII)


@given(st.one_of(st.text(), st.text().map("netchat:1:{}".format)))
@many_examples
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey):
        parse_contact_text(text)
