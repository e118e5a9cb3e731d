"""The body inside a sealed envelope: the vectors of docs/spec/frames.md, and any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import Vector, data_of, many_examples, outcome

from netchat.limits import ENVELOPE_BYTES_MAX, ENVELOPE_ITEMS_MAX, FRAME_ITEMS_MAX, SEQ_MAX
from netchat.model import DisplayText, Item, ItemKind, MessageId, Name
from netchat.wire.mail import MailBody, decode_mail, encode_mail

CODES = {"empty", "too-large", "unknown-version", "malformed"}
ALICE = Name("alice")
ID = MessageId(bytes(16))


def body_of(value: Vector) -> MailBody:
    items = [
        Item(
            item["seq"],
            ItemKind(item["kind"]),
            MessageId(bytes.fromhex(item["id"])),
            item["hlc"],
            DisplayText(item["text"]),
        )
        for item in value["items"]
    ]
    confirms = [text.partition(" ") for text in value["confirms"]]
    return MailBody(
        Name(value["name"]),
        bytes.fromhex(value["stream"]),
        value["base"],
        tuple(items),
        tuple((MessageId(bytes.fromhex(item_id)), code) for item_id, _, code in confirms),
    )


@vectors.vectors("frames.json", "mail_bodies")
def test_vector(vector: Vector) -> None:
    """A body is read as the vector says, and written so."""
    data = data_of(vector)
    result = outcome(lambda: decode_mail(data))
    if "error" in vector:
        assert result == vector["error"]
        return
    assert isinstance(result, MailBody)
    assert result == body_of(vector["value"])
    assert str(result.name) == vector["value"]["name"]
    assert encode_mail(result) == data


def voids(count: int) -> tuple[Item, ...]:
    return tuple(Item(seq, ItemKind.VOID, ID, 0) for seq in range(1, count + 1))


def test_no_more_items_than_an_envelope_has() -> None:
    """The limit of items is that of envelopes, not that of frames, and holds on both sides."""
    full = MailBody(ALICE, bytes(8), 1, voids(ENVELOPE_ITEMS_MAX))
    assert decode_mail(encode_mail(full)) == full
    one_more = MailBody(ALICE, bytes(8), 1, voids(ENVELOPE_ITEMS_MAX + 1))
    with pytest.raises(AssertionError):
        encode_mail(one_more)
    # Written by hand: the array of items says 65, and one more stands between it and the confirms.
    first, _, items = encode_mail(full)[:-1].partition(b"\xdc\x00\x40")
    void = encode_mail(MailBody(ALICE, bytes(8), 1, (Item(65, ItemKind.VOID, ID, 0),)))
    _, _, one = void[:-1].partition(b"\x01\x91")
    confirms = b"\x90"
    assert decode_mail(first + b"\xdc\x00\x40" + items + confirms) == full
    written = first + b"\xdc\x00\x41" + items + one + confirms
    assert outcome(lambda: decode_mail(written)) == "malformed"


def test_the_limit_of_confirms() -> None:
    """As many as a frame has, and no more."""
    full = MailBody(ALICE, bytes(8), 1, (), ((ID, ""),) * FRAME_ITEMS_MAX)
    assert decode_mail(encode_mail(full)) == full
    one_more = MailBody(ALICE, bytes(8), 1, (), ((ID, ""),) * (FRAME_ITEMS_MAX + 1))
    assert outcome(lambda: decode_mail(encode_mail(one_more))) == "malformed"


def test_what_is_too_large_is_not_read() -> None:
    """To the byte."""
    assert outcome(lambda: decode_mail(b"\1" * ENVELOPE_BYTES_MAX)) == "malformed"
    assert outcome(lambda: decode_mail(b"\1" * (ENVELOPE_BYTES_MAX + 1))) == "too-large"


def test_every_code_has_a_test() -> None:
    """The vectors hold every code that reading can refuse with, but for what is too large."""
    listed = {vector.get("error") for vector in vectors.load("frames.json")["mail_bodies"]}
    assert listed - {None} == CODES - {"too-large"}


ids = st.binary(min_size=16, max_size=16).map(MessageId)
display_texts = st.text(st.characters(exclude_categories=["Cs"])).map(DisplayText)
codes = st.from_regex(r"[a-z-]{0,32}", fullmatch=True)


@st.composite
def bodies(draw: st.DrawFn) -> MailBody:
    seqs = sorted(draw(st.sets(st.integers(1, SEQ_MAX), max_size=6)))
    items = [
        Item(seq, ItemKind.TEXT, draw(ids), draw(st.integers(0, 2**63 - 1)), draw(display_texts))
        for seq in seqs
    ]
    confirms = draw(st.lists(st.tuples(ids, codes), max_size=6))
    base = draw(st.integers(1, seqs[0] if seqs else SEQ_MAX))
    stream = draw(st.binary(min_size=8, max_size=8))
    return MailBody(draw(vectors.names), stream, base, tuple(items), tuple(confirms))


@given(bodies())
@many_examples
def test_a_body_comes_back(body: MailBody) -> None:
    """Whatever is written is read as the same."""
    read = decode_mail(encode_mail(body))
    assert read == body
    assert str(read.name) == str(body.name)


@given(bodies(), st.data())
@many_examples
def test_a_damaged_body_gives_a_body_or_a_documented_code(
    body: MailBody, data: st.DataObject
) -> None:
    """One byte is another one, or the rest is missing; who signed it may still be anybody."""
    written = bytearray(encode_mail(body))
    written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(written[: data.draw(st.integers(0, len(written)))])
    for damaged in (bytes(written), cut):
        result = outcome(lambda damaged=damaged: decode_mail(damaged))
        assert isinstance(result, MailBody) or result in CODES


@given(st.binary(max_size=100))
@many_examples
def test_any_bytes_give_a_body_or_a_documented_code(data: bytes) -> None:
    """Nothing that somebody seals raises anything else."""
    for written in (data, b"\1" + data):
        result = outcome(lambda written=written: decode_mail(written))
        assert isinstance(result, MailBody) or result in CODES
