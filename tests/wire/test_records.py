"""Records, requests and their envelopes: the vectors of docs/spec/records.md, and any bytes."""

import json
from base64 import b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import Vector, data_of, expanded, many_examples, outcome

from netchat.limits import LEASE_S_MAX, RECORD_BYTES_MAX, SEQ_MAX, SIGNED_BODY_BYTES_MAX
from netchat.model import Address, Name, PeerId, Record
from netchat.wire.records import (
    RECORD_KIND,
    REQUEST_KIND,
    Envelope,
    Request,
    format_envelope,
    format_record,
    format_request,
    parse_envelope,
    parse_record,
    parse_request,
)

CODES = {
    "malformed", "too-large", "unknown-version", "bad-name", "bad-key", "bad-address", "bad-prekey",
}  # fmt: skip


def record_of(value: Vector) -> Record:
    return Record(
        name=Name(value["name"]),
        key=PeerId.parse(value["key"]),
        addresses=tuple(Address.parse(text) for text in value["addresses"]),
        prekey=bytes.fromhex(expanded(value["prekey"])),
        prekey_until_ms=value["prekey_until_ms"],
        capabilities=tuple(value["capabilities"]),
        seq=value["seq"],
        issued_ms=value["issued_ms"],
        lease_s=value["lease_s"],
    )


def request_of(value: Vector) -> Request:
    directory, nonce = bytes.fromhex(value["directory"]), bytes.fromhex(value["nonce"])
    return Request(value["operation"], directory, nonce, value["arguments"])


def envelope_of(value: Vector) -> Envelope:
    signers = [PeerId.parse(text) for text in value["signers"]]
    signatures = [bytes.fromhex(text) for text in value["signatures"]]
    signed = tuple(zip(signers, signatures, strict=True))
    return Envelope(value["kind"], value["payload"].encode(), signed)


def check(vector: Vector, result: object, value: Any, written: Any) -> None:
    """Compare what was read, and the bytes that it is written as, with what the vector says."""
    if "error" in vector:
        assert result == vector["error"]
        return
    value = value(vector["value"])
    assert result == value
    assert (written(value) == data_of(vector)) is vector.get("encode", False)


# --- vectors -------------------------------------------------------------------------------------


@vectors.vectors("records.json", "records")
def test_vector_of_a_record(vector: Vector) -> None:
    """A payload is the record that the vector says, and is written so when the vector says so."""
    result = outcome(lambda: parse_record(data_of(vector)))
    check(vector, result, record_of, format_record)
    if isinstance(result, Record):
        assert str(result.name) == vector["value"]["name"]


@vectors.vectors("records.json", "requests")
def test_vector_of_a_request(vector: Vector) -> None:
    """A payload is the request that the vector says, and is written so when it says so."""
    result = outcome(lambda: parse_request(data_of(vector)))
    check(vector, result, request_of, format_request)


@vectors.vectors("records.json", "envelopes")
def test_vector_of_an_envelope(vector: Vector) -> None:
    """Envelopes are read or refused as the vector says, whatever their signatures are worth."""
    result = outcome(lambda: parse_envelope(data_of(vector)))
    check(vector, result, envelope_of, format_envelope)


@vectors.vectors("records.json", "signed")
def test_vector_that_is_signed(vector: Vector) -> None:
    """What the seeds sign is DSSE's PAE of kind and payload, and gives these very bytes."""
    envelope = parse_envelope(data_of(vector))
    check(vector, envelope, envelope_of, format_envelope)
    kind, payload = envelope.kind.encode(), envelope.payload
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    for seed, (signer, signature) in zip(vector["seeds"], envelope.signatures, strict=True):
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
        assert key.public_key().public_bytes_raw() == signer.value
        assert key.sign(pae) == signature
    opened = {RECORD_KIND: parse_record, REQUEST_KIND: parse_request}[envelope.kind](payload)
    assert isinstance(opened, Record | Request)


def test_every_code_has_a_vector() -> None:
    """The vectors hold every code that reading can refuse with, so the table is complete."""
    sections = vectors.load("records.json")
    listed = {vector.get("error") for section in sections.values() for vector in section}
    assert listed - {None} == CODES


def test_the_file_is_ascii() -> None:
    """No editor and no reviewer can be fooled by a character in the file of vectors."""
    data = (vectors.FOLDER / "records.json").read_bytes()
    assert data.isascii()
    assert json.loads(data)["about"]


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "size_max"),
    [
        (parse_envelope, SIGNED_BODY_BYTES_MAX),
        (parse_record, RECORD_BYTES_MAX),
        (parse_request, SIGNED_BODY_BYTES_MAX),
    ],
)
def test_what_is_too_large_is_not_read(read: Any, size_max: int) -> None:
    """To the byte, and before anything looks at it: guards the first line of each reader."""
    assert outcome(lambda: read(b"[" * size_max)) == "malformed"
    assert outcome(lambda: read(b"[" * (size_max + 1))) == "too-large"


def test_a_record_is_smaller_than_what_else_is_signed() -> None:
    """The limit follows the kind: guards the second ``too-large`` of ``parse_envelope``."""
    for kind, size_max in ((RECORD_KIND, RECORD_BYTES_MAX), (REQUEST_KIND, SIGNED_BODY_BYTES_MAX)):
        data = format_envelope(Envelope(kind, b"{}", ((PeerId(bytes(32)), bytes(64)),)))
        fits, too_large = data.ljust(size_max), data.ljust(size_max + 1)
        assert parse_envelope(fits) == parse_envelope(data)
        assert outcome(lambda data=too_large: parse_envelope(data)) == "too-large"


def test_what_is_written_keeps_the_rules() -> None:
    """To sign what others must refuse is a mistake of our own."""
    signature = (PeerId(bytes(32)), bytes(64))
    for envelope in (
        Envelope(RECORD_KIND, b"{}", ()),
        Envelope(RECORD_KIND, b"{}", (signature,) * 3),
        Envelope(RECORD_KIND, bytes(RECORD_BYTES_MAX), (signature,)),
        Envelope(REQUEST_KIND, bytes(SIGNED_BODY_BYTES_MAX), (signature,)),
    ):
        with pytest.raises(AssertionError):
            format_envelope(envelope)


# --- any bytes -----------------------------------------------------------------------------------

keys = st.binary(min_size=32, max_size=32).map(PeerId)
numbers = st.integers(0, SEQ_MAX)
record_values = st.builds(
    Record,
    name=vectors.names,
    key=keys,
    addresses=st.lists(vectors.reachable_addresses, max_size=3).map(tuple),
    prekey=st.sampled_from([b"", bytes(1_216), b"\xff" * 1_216]),
    prekey_until_ms=numbers,
    capabilities=st.lists(st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True), max_size=16).map(
        tuple
    ),
    seq=st.integers(1, SEQ_MAX),
    issued_ms=numbers,
    lease_s=st.integers(0, LEASE_S_MAX),
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
request_values = st.builds(
    Request,
    operation=st.from_regex(r"[a-z-]{1,32}", fullmatch=True),
    directory=st.binary(min_size=16, max_size=16),
    nonce=st.binary(min_size=1, max_size=64),
    arguments=st.dictionaries(
        st.from_regex(r"[a-z0-9_]{1,32}", fullmatch=True), st.one_of(texts, numbers), max_size=3
    ),
)
json_soup = vectors.soup(
    b"{", b"}", b"[", b"]", b",", b":", b'"', b'"v":1', b'"name":"alice"', b'"key":',
    b'"addrs":[]', b'"payload":""', b'"payloadType":"a"', b'"signatures":[', b"1", b"1.5", b"NaN",
    b"true", b"null", b'"\\ud800"', b"1e999", b"\xff",
)  # fmt: skip


@given(record_values)
@many_examples
def test_a_record_comes_back(record: Record) -> None:
    """Whatever is written is read as the same."""
    payload = format_record(record)
    assert payload.isascii()
    read = parse_record(payload)
    assert read == record
    assert str(read.name) == str(record.name)


@given(request_values)
@many_examples
def test_a_request_comes_back(request: Request) -> None:
    """Whatever is written is read as the same."""
    payload = format_request(request)
    assert payload.isascii()
    assert parse_request(payload) == request


@given(
    st.sampled_from([RECORD_KIND, REQUEST_KIND]),
    st.binary(max_size=200),
    st.lists(st.tuples(keys, st.binary(min_size=64, max_size=64)), min_size=1, max_size=2),
)
@many_examples
def test_an_envelope_comes_back(
    kind: str, payload: bytes, signatures: list[tuple[PeerId, bytes]]
) -> None:
    """Whatever is written is read as the same, and its bytes are those of DSSE's JSON."""
    envelope = Envelope(kind, payload, tuple(signatures))
    data = format_envelope(envelope)
    assert parse_envelope(data) == envelope
    read = json.loads(data)
    assert (read["payloadType"], b64decode(read["payload"])) == (kind, payload)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.one_of(json_soup, st.binary(max_size=100), json_values.map(lambda x: json.dumps(x).encode()))
)
@many_examples
def test_any_bytes_give_a_value_or_a_documented_code(data: bytes) -> None:
    """Nothing that a stranger sends raises anything else."""
    for read in (parse_envelope, parse_record, parse_request):
        result = outcome(lambda read=read: read(data))
        assert not isinstance(result, str) or result in CODES


@given(st.data(), json_values)
@many_examples
def test_any_member_of_a_record_may_be_anything(data: st.DataObject, value: object) -> None:
    """A record in which one member is something else is read, or refused by a code."""
    members = json.loads(format_record(data.draw(record_values)))
    members[data.draw(st.sampled_from(sorted(members)))] = value
    result = outcome(lambda: parse_record(json.dumps(members).encode()))
    assert isinstance(result, Record) or result in CODES


@given(st.data(), json_values)
@many_examples
def test_any_member_of_a_request_may_be_anything(data: st.DataObject, value: object) -> None:
    """A request in which one member is something else is read, or refused by a code."""
    members = json.loads(format_request(data.draw(request_values)))
    members[data.draw(st.sampled_from(sorted(members)))] = value
    result = outcome(lambda: parse_request(json.dumps(members).encode()))
    assert isinstance(result, Request) or result in CODES
