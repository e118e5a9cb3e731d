"""The bodies of the classic directory: the vectors of docs/spec/classic.md, and any bytes."""

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import Vector, data_of, many_examples, outcome

from netchat.model import Address, Name
from netchat.wire.directory import (
    Registration,
    Verb,
    format_list,
    format_lookup,
    format_registration,
    parse_list,
    parse_lookup,
    parse_registration,
)

Entries = Sequence[tuple[Name, Address]]


def check(
    vector: Vector, parse: Callable[[bytes], object], value: object, write: Callable[[], bytes]
) -> None:
    """Check both ways of a vector; ``write`` is not asked where there is an error."""
    data = data_of(vector)
    result = outcome(lambda: parse(data))
    if "error" in vector:
        assert result == vector["error"]
        assert "encode" not in vector
    else:
        assert result == value
        assert (write() == data) is vector.get("encode", False)


def registration_of(value: dict[str, str] | None) -> Registration | None:
    if value is None:
        return None
    return Registration(Verb(value["verb"]), Name(value["name"]), Address.parse(value["address"]))


def entries_of(value: Sequence[Sequence[str]] | None) -> Entries:
    return tuple((Name(name), Address.parse(address)) for name, address in value or ())


# --- vectors -------------------------------------------------------------------------------------


@vectors.vectors("classic.json", "registration")
def test_vector_of_a_registration(vector: Vector) -> None:
    """A body says what the vector says, and is written so exactly when the vector says so."""
    value = registration_of(vector.get("value"))

    def write() -> bytes:
        assert value is not None
        return format_registration(value.verb, value.name, value.address)

    check(vector, parse_registration, value, write)


@vectors.vectors("classic.json", "list")
def test_vector_of_a_list(vector: Vector) -> None:
    """A list holds what the vector says, in its order, each name as it is written there."""
    entries = entries_of(vector.get("value"))
    check(vector, parse_list, entries, lambda: format_list(entries))
    if "value" in vector:
        shown = [str(name) for name, _ in parse_list(data_of(vector))]
        assert shown == [name for name, _ in vector["value"]]


@vectors.vectors("classic.json", "lookup")
def test_vector_of_a_lookup(vector: Vector) -> None:
    """An answer holds the address that the vector says."""
    address = Address.parse(vector["value"]) if "value" in vector else Address("192.0.2.1", 1)
    check(vector, parse_lookup, address, lambda: format_lookup(address))


# --- any bytes -----------------------------------------------------------------------------------

PIECES = (
    b"UPDATE", b"REGISTER", b" ", b"alice", b"user", b"@", b"192.0.2.7", b":", b"54321", b"0",
    b"UPDATE alice@", b"alice@192.0.2.7:54321", b"[2001:db8::7]", b"0.0.0.0", b"65536",
    b"\r\n", b"\n", b"\t", b"\0", b"\xc3\xa9", b"\xff", b"\x1b[2J",
)  # fmt: skip
near_bodies = st.one_of(vectors.soup(*PIECES), st.binary(max_size=100))


@given(near_bodies)
@many_examples
def test_any_body_is_a_registration_or_a_documented_code(body: bytes) -> None:
    """Nothing that is posted raises anything else; what is taken can be reached and listed."""
    result = outcome(lambda: parse_registration(body))
    if isinstance(result, Registration):
        written = format_registration(result.verb, result.name, result.address)
        assert parse_registration(written) == result
        assert parse_list(format_list([(result.name, result.address)])) != ()
        assert parse_lookup(format_lookup(result.address)) == result.address
    else:
        assert result in {"malformed", "bad-name", "reserved-name", "bad-address"}


@given(near_bodies)
@many_examples
def test_any_answer_is_a_list_or_a_documented_code(body: bytes) -> None:
    """Nothing that a directory answers raises anything else; what is taken is written back."""
    result = outcome(lambda: parse_list(body))
    if isinstance(result, tuple):
        assert parse_list(format_list(result)) == result
        assert bool(result) is bool(body.strip())
    else:
        assert result == "not-a-list"


@given(near_bodies)
@many_examples
def test_any_answer_is_a_lookup_or_a_documented_code(body: bytes) -> None:
    """Nothing that a directory answers raises anything else; what is taken is written back."""
    result = outcome(lambda: parse_lookup(body))
    if isinstance(result, Address):
        assert parse_lookup(format_lookup(result)) == result
    else:
        assert result == "bad-address"


# --- writing, and reading what was written -------------------------------------------------------

WHITE_SPACE = st.text(st.sampled_from(" \t\r\n"), max_size=4).map(str.encode)


@given(st.sampled_from(Verb), vectors.names, vectors.reachable_addresses, WHITE_SPACE, WHITE_SPACE)
@many_examples
def test_a_registration_comes_back(
    verb: Verb, name: Name, address: Address, before: bytes, behind: bytes
) -> None:
    """Whatever is written is read as the same, with white space around it or not."""
    result = parse_registration(before + format_registration(verb, name, address) + behind)
    assert result == Registration(verb, name, address)
    assert result.name.shown == name.shown


@given(st.lists(st.tuples(vectors.names, vectors.reachable_addresses), max_size=5), WHITE_SPACE)
@many_examples
def test_a_list_comes_back(entries: Entries, behind: bytes) -> None:
    """Whatever is written is read as the same, in the same order."""
    assert list(parse_list(format_list(entries) + behind)) == entries


@given(vectors.reachable_addresses, WHITE_SPACE)
@many_examples
def test_a_lookup_comes_back(address: Address, behind: bytes) -> None:
    """Whatever is written is read as the same."""
    assert parse_lookup(format_lookup(address) + behind) == address


def test_every_code_has_a_vector() -> None:
    """The vectors hold every code that the server and the client know a sentence for."""
    sections = vectors.load("classic.json")

    def codes(section: str) -> set[str]:
        return {vector["error"] for vector in sections[section] if "error" in vector}

    assert codes("registration") == {"malformed", "bad-name", "reserved-name", "bad-address"}
    assert codes("list") == {"not-a-list"}
    assert codes("lookup") == {"bad-address"}
