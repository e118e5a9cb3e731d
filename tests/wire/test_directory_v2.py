"""The JSON bodies of ``/v2/``: what is written is read, and whatever else is refused by a code."""

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import many_examples, outcome

from netchat.limits import ENVELOPE_BYTES_MAX, RECORD_BYTES_MAX, SEQ_MAX, SIGNED_BODY_BYTES_MAX
from netchat.model import Name, PeerId
from netchat.wire import directory_v2 as v2
from netchat.wire.directory_v2 import About, Kind, LogEntry, LogEvent, log_digest
from netchat.wire.records import Request

ID = bytes(range(16))
KEY = PeerId(bytes(32))
NOTHING = bytes(32)
LARGE = b64encode(bytes(ENVELOPE_BYTES_MAX + 1)).decode()

names = vectors.names
numbers = st.integers(0, SEQ_MAX)
keys = st.binary(min_size=32, max_size=32).map(PeerId)
codes = st.from_regex(r"[a-z][a-z0-9-]{0,39}", fullmatch=True)
ascii_texts = st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=50)
envelopes = ascii_texts.map(str.encode)


def text(body: bytes) -> Any:
    return json.loads(body)


# --- bodies that come back -----------------------------------------------------------------------


@given(st.binary(min_size=16, max_size=16), st.sampled_from(Kind), st.booleans(), numbers)
@many_examples
def test_about_comes_back(directory_id: bytes, kind: Kind, mailboxes: bool, now_ms: int) -> None:
    """What a directory says of itself."""
    about = About(directory_id, kind, mailboxes, now_ms)
    assert v2.parse_about(v2.format_about(about)) == about


@given(codes, st.text(max_size=50))
@many_examples
def test_a_refusal_comes_back(code: str, message: str) -> None:
    """Whatever its sentence says."""
    assert v2.parse_refused(v2.format_refused(code, message)) == (code, message)


@given(numbers)
def test_numbers_come_back(number: int) -> None:
    """How long something holds, and the newest cursor."""
    assert v2.parse_until(v2.format_until(number)) == number
    assert v2.parse_mail(v2.format_mail(number)) == number


@given(names)
def test_a_name_comes_back(name: Name) -> None:
    """As it is written."""
    assert v2.parse_name(v2.format_name(name)).shown == name.shown


@given(st.lists(st.tuples(envelopes, st.booleans()), max_size=5), st.one_of(st.none(), names))
@many_examples
def test_a_page_of_records_comes_back(
    listed: list[tuple[bytes, bool]], following: Name | None
) -> None:
    """The envelopes as they came, byte for byte."""
    assert v2.parse_records(v2.format_records(listed, following)) == (tuple(listed), following)


@given(st.dictionaries(numbers, st.binary(max_size=50), max_size=5))
@many_examples
def test_fetched_envelopes_come_back(found: dict[int, bytes]) -> None:
    """With their cursors."""
    envelopes = sorted(found.items())
    assert v2.parse_fetched(v2.format_fetched(envelopes)) == tuple(envelopes)


@given(envelopes, st.binary(min_size=1, max_size=100))
@many_examples
def test_a_deposit_comes_back(request: bytes, envelope: bytes) -> None:
    """The request in text, the envelope in base64."""
    assert v2.parse_deposit(v2.format_deposit(request, envelope)) == (request, envelope)


def test_the_largest_deposit_fits_in_a_request() -> None:
    """The limit of bodies leaves room for the largest envelope in base64."""
    body = v2.format_deposit(b"x" * 2_000, bytes(ENVELOPE_BYTES_MAX))
    assert len(body) <= SIGNED_BODY_BYTES_MAX


# --- the name log --------------------------------------------------------------------------------


def chain(*what: tuple[LogEvent, str, PeerId], first: int = 1) -> list[LogEntry]:
    entries: list[LogEntry] = []
    previous = NOTHING
    for n, (event, name, key) in enumerate(what, first):
        digest = log_digest(n, 1_000 * n, event, Name(name), key, previous)
        entries.append(LogEntry(n, 1_000 * n, event, Name(name), key, previous, digest))
        previous = digest
    return entries


ENTRIES = chain(
    (LogEvent.CLAIM, "Alice", KEY),
    (LogEvent.CLAIM, "bob", PeerId(bytes([1]) * 32)),
    (LogEvent.ROTATE, "alice", PeerId(bytes([2]) * 32)),
    (LogEvent.RELEASE, "bob", PeerId(bytes([1]) * 32)),
)


def test_the_vectors_of_the_log() -> None:
    """Each entry has the hash that the vector says, made of the one before."""
    previous = NOTHING
    for vector in vectors.load("directory.json")["name_log"]:
        assert bytes.fromhex(vector["previous"]) == previous
        previous = log_digest(
            vector["n"],
            vector["at_ms"],
            LogEvent(vector["event"]),
            Name(vector["of"]),
            PeerId.parse(vector["key"]),
            previous,
        )
        assert previous.hex() == vector["hash"]


@given(
    st.lists(st.tuples(st.sampled_from(LogEvent), names.map(str), keys), max_size=5),
    st.integers(1, 10**6),
)
def test_a_log_comes_back(what: list[tuple[LogEvent, str, PeerId]], first: int) -> None:
    """Names as they are written: they are part of the hash."""
    entries = chain(*what, first=first)
    read = v2.parse_log(v2.format_log(entries))
    assert read == tuple(entries)
    assert [one.name.shown for one in read] == [one.name.shown for one in entries]


def test_entries_of_one_name_are_no_chain_but_fit_themselves() -> None:
    """Entries of other names lie between."""
    some = [ENTRIES[0], ENTRIES[2]]
    assert v2.parse_log(v2.format_log(some)) == tuple(some)


def changed(number: int, **members: object) -> bytes:
    page = text(v2.format_log(ENTRIES))
    page["entries"][number] |= members
    return json.dumps(page).encode()


BROKEN = {
    "another time": changed(1, at_ms=7),
    "another name": changed(1, name="b0b"),
    "another key": changed(1, key=str(KEY)),
    "another event": changed(3, event="claim"),
    "another number": changed(3, n=5),
    "another hash": changed(1, hash=b64encode(NOTHING).decode()),
    "the wrong order": v2.format_log(ENTRIES[::-1]),
    "twice": v2.format_log(ENTRIES[:1] * 2),
    "a break that fits itself": v2.format_log(
        ENTRIES[:1] + chain((LogEvent.CLAIM, "bob", KEY), first=2)
    ),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_log_that_was_changed_is_refused(body: bytes) -> None:
    """Nothing in it can be changed, left out or put in between afterwards."""
    assert outcome(lambda: v2.parse_log(body)) == "broken-chain"


# --- what is refused -----------------------------------------------------------------------------


def a_log(**members: object) -> bytes:
    entry = text(v2.format_log(ENTRIES[:1]))["entries"][0] | members
    return json.dumps({"entries": [entry]}).encode()


REFUSED: dict[str, tuple[Callable[[bytes], object], bytes | object]] = {
    "about: no object": (v2.parse_about, []),
    "about: short id": (
        v2.parse_about,
        {"id": "AAAA", "kind": "lasting", "mailboxes": True, "now_ms": 1},
    ),
    "about: unknown kind": (
        v2.parse_about,
        {"id": b64encode(ID).decode(), "kind": "x", "mailboxes": True, "now_ms": 1},
    ),
    "about: not UTF-8": (v2.parse_about, b'{"id": "\xff"}'),
    "about: nested without end": (v2.parse_about, b'{"x":' + b"[" * 100_000),
    "refusal: a code with spaces": (v2.parse_refused, {"error": "a b", "message": ""}),
    "refusal: a code of two lines": (v2.parse_refused, {"error": "a\n", "message": ""}),
    "refusal: long code": (v2.parse_refused, {"error": "a" * 41, "message": ""}),
    "until: negative": (v2.parse_until, {"until_ms": -1}),
    "until: a fraction": (v2.parse_until, {"until_ms": 1.5}),
    "until: a huge number": (v2.parse_until, b'{"until_ms": 1' + b"0" * 5_000 + b"}"),
    "mail: missing": (v2.parse_mail, {}),
    "name: of no grammar": (v2.parse_name, {"name": "-"}),
    "name: reserved": (v2.parse_name, {"name": "all"}),
    "records: not ASCII": (
        v2.parse_records, {"records": [{"envelope": "é", "present": True}], "next": None}
    ),
    "records: next is no name": (v2.parse_records, {"records": [], "next": ""}),
    "records: too many": (
        v2.parse_records, {"records": [{"envelope": "", "present": True}] * 1_001}
    ),
    "records: too large": (
        v2.parse_records,
        {"records": [{"envelope": "x" * (SIGNED_BODY_BYTES_MAX + 1), "present": True}]},
    ),
    "log: no key": (v2.parse_log, a_log(key="x")),
    "log: no name": (v2.parse_log, a_log(name="")),
    "log: unknown event": (v2.parse_log, a_log(event="gift")),
    "fetched: the same cursor": (
        v2.parse_fetched, {"envelopes": [{"cursor": 1, "envelope": ""}] * 2}
    ),
    "fetched: too large": (
        v2.parse_fetched,
        {"envelopes": [{"cursor": 1, "envelope": LARGE}]},
    ),
    "fetched: no base64": (v2.parse_fetched, {"envelopes": [{"cursor": 1, "envelope": "*"}]}),
    "deposit: empty": (v2.parse_deposit, {"request": "{}", "envelope": ""}),
    "deposit: no request": (v2.parse_deposit, {"envelope": "AAAA"}),
}  # fmt: skip


@pytest.mark.parametrize(("parse", "body"), REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_is_refused(parse: Callable[[bytes], object], body: bytes | object) -> None:
    """By one code, whatever was wrong."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert outcome(lambda: parse(data)) == "malformed"


def test_an_envelope_that_is_too_large_has_a_code_of_its_own() -> None:
    """So that its sender knows what to change."""
    body = v2.format_deposit(b"{}", bytes(ENVELOPE_BYTES_MAX + 1))
    assert outcome(lambda: v2.parse_deposit(body)) == "too-large"


PARSERS: Sequence[Callable[[bytes], object]] = (
    v2.parse_about, v2.parse_refused, v2.parse_until, v2.parse_mail, v2.parse_name,
    v2.parse_records, v2.parse_log, v2.parse_fetched, v2.parse_deposit,
)  # fmt: skip
PIECES = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"0", b"-1", b"1e999", b"null", b"true", b"\xff",
    b'"id"', b'"entries"', b'"envelopes"', b'"records"', b'"until_ms"', b'"\\ud800"', b'"mail"',
    v2.format_until(1), v2.format_log(ENTRIES), v2.format_name(Name("bob")),
)  # fmt: skip


@given(st.sampled_from(PARSERS), st.one_of(vectors.soup(*PIECES), st.binary(max_size=100)))
@many_examples
def test_any_body_is_read_or_refused_by_a_code(
    parse: Callable[[bytes], object], body: bytes
) -> None:
    """Nothing that comes raises anything else."""
    result = outcome(lambda: parse(body))
    assert not isinstance(result, str) or result in {"malformed", "broken-chain", "too-large"}


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
MEMBERS = (
    "id", "kind", "mailboxes", "now_ms", "error", "message", "until_ms", "mail", "name", "records",
    "next", "entries", "envelopes", "request", "envelope", "cursor", "present",
)  # fmt: skip


@given(st.sampled_from(PARSERS), st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=6))
@many_examples
def test_any_object_is_read_or_refused_by_a_code(
    parse: Callable[[bytes], object], value: dict[str, object]
) -> None:
    """Whatever its members are."""
    result = outcome(lambda: parse(json.dumps(value).encode()))
    assert not isinstance(result, str) or result in {"malformed", "too-large"}


# --- arguments of signed requests ----------------------------------------------------------------


def asking(**arguments: str | int) -> Request:
    return Request("x", ID, b"n", arguments)


def test_arguments_are_found() -> None:
    """What each operation needs."""
    assert v2.name_argument(asking(name="Bob")) == Name("bob")
    assert v2.seq_argument(asking(name="Bob")) is None
    assert v2.seq_argument(asking(seq=7)) == 7
    assert v2.record_argument(asking(record="{}")) == b"{}"
    assert v2.number_argument(asking(after=7), "after") == 7
    digest = bytes(range(32))
    assert v2.deposit_arguments(asking(recipient=str(KEY), sha256=digest.hex())) == (KEY, digest)


BAD_ARGUMENTS: dict[str, tuple[Callable[[Request], object], dict[str, str | int], str]] = {
    "no name": (v2.name_argument, {}, "malformed"),
    "a word for a number": (v2.seq_argument, {"seq": "7"}, "malformed"),
    "a number for a name": (v2.name_argument, {"name": 7}, "malformed"),
    "a name of no grammar": (v2.name_argument, {"name": "\x1b"}, "malformed"),
    "no record": (v2.record_argument, {}, "malformed"),
    "a record that is not ASCII": (v2.record_argument, {"record": "é"}, "malformed"),
    "a large record": (v2.record_argument, {"record": "x" * (RECORD_BYTES_MAX + 1)}, "too-large"),
    "no number": (lambda x: v2.number_argument(x, "after"), {}, "malformed"),
    "a text for a number": (lambda x: v2.number_argument(x, "after"), {"after": "7"}, "malformed"),
    "no recipient": (v2.deposit_arguments, {"sha256": "00" * 32}, "malformed"),
    "no key": (v2.deposit_arguments, {"sha256": "00" * 32, "recipient": "bob"}, "malformed"),
    "no hash": (v2.deposit_arguments, {"recipient": str(KEY)}, "malformed"),
    "a short hash": (v2.deposit_arguments, {"recipient": str(KEY), "sha256": "00"}, "malformed"),
    "no hexadecimal": (
        v2.deposit_arguments, {"recipient": str(KEY), "sha256": "x" * 64}, "malformed"
    ),
    "another way to write it": (
        v2.deposit_arguments, {"recipient": str(KEY), "sha256": "AB" * 32}, "malformed"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("read", "arguments", "code"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys()
)
def test_an_argument_that_is_refused(
    read: Callable[[Request], object], arguments: dict[str, str | int], code: str
) -> None:
    """One that is missing, of another kind, or written in another way."""
    assert outcome(lambda: read(asking(**arguments))) == code
