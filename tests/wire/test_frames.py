"""Frames: the vectors of docs/spec/frames.md, and what holds for any bytes."""

import json
import sys
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import Vector, data_of, feed_every_split, many_examples, outcome

from netchat.errors import MalformedFrame
from netchat.limits import (
    FRAME_BYTES_BEFORE_HELLO_MAX,
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    RANGES_MAX,
    RECORD_BYTES_MAX,
    SEQ_MAX,
    TEXT_BYTES_MAX,
)
from netchat.model import DisplayText, Item, ItemKind, MessageId
from netchat.wire.frames import (
    Bye,
    Confirm,
    Frame,
    FrameReader,
    Hello,
    Items,
    Ping,
    Pong,
    Receipt,
    encode,
    split_items,
)

CODES = {"empty", "too-large", "unknown-type", "malformed"}
ID = MessageId(bytes(16))


def read(pieces: Sequence[bytes]) -> list[Frame]:
    """Read what came in these pieces, with the limit that holds after HELLO."""
    reader = FrameReader()
    reader.frame_bytes_max = FRAME_BYTES_MAX
    return [frame for piece in pieces for frame in reader.feed(piece)]


def read_one(data: bytes) -> Frame | str:
    """Read one whole frame, in every split, or return the code of its refusal."""
    result = feed_every_split(read, data)
    if isinstance(result, str):
        return result
    (frame,) = result
    return frame


def item_of(value: Vector) -> Item:
    text, target = value.get("text"), value.get("target")
    return Item(
        value["seq"],
        ItemKind(value["kind"]),
        MessageId(bytes.fromhex(value["id"])),
        value["hlc"],
        None if text is None else DisplayText(text),
        None if target is None else MessageId(bytes.fromhex(target)),
    )


def frame_of(value: Vector) -> Frame:
    match value["frame"]:
        case "hello":
            record, stream, instance = (
                bytes.fromhex(value[key]) for key in ("record", "stream", "instance")
            )
            return Hello(record, stream, instance, tuple(value["capabilities"]))
        case "items":
            return Items(value["base"], tuple(item_of(item) for item in value["items"]))
        case "receipt":
            ranges = [text.split("-") for text in value["ranges"].split()]
            results = [text.split() for text in value["results"]]
            return Receipt(
                tuple((int(first), int(last)) for first, last in ranges),
                tuple((int(seq), code) for seq, code in results),
            )
        case "confirm":
            confirmed = [text.partition(" ") for text in value["results"]]
            return Confirm(tuple((MessageId(bytes.fromhex(i)), code) for i, _, code in confirmed))
        case "bye":
            return Bye(value["code"])
        case kind:
            return {"ping": Ping, "pong": Pong}[kind](value["number"])


def text_item(seq: int, text: str) -> Item:
    return Item(seq, ItemKind.TEXT, ID, 0, DisplayText(text))


# --- vectors -------------------------------------------------------------------------------------


@vectors.vectors("frames.json", "frames")
def test_vector(vector: Vector) -> None:
    """A frame is read as the vector says, whatever the pieces, and written so when it says so."""
    data = data_of(vector)
    result = read_one(data)
    if "error" in vector:
        assert result == vector["error"]
        return
    frame = frame_of(vector["value"])
    assert result == frame
    assert (encode(frame) == data) is vector.get("encode", False)


def test_every_code_has_a_vector() -> None:
    """The vectors hold every code that reading can refuse with, so the table is complete."""
    listed = {vector.get("error") for vector in vectors.load("frames.json")["frames"]}
    assert listed - {None} == CODES


def test_the_file_is_ascii() -> None:
    """No editor and no reviewer can be fooled by a character in the file of vectors."""
    data = (vectors.FOLDER / "frames.json").read_bytes()
    assert data.isascii()
    assert json.loads(data)["about"]


# --- refused before it comes, and no memory for what does not come -------------------------------


@pytest.mark.parametrize(
    ("data", "position", "code"),
    [
        (b"\0\0\0\0", 3, "empty"),
        ((FRAME_BYTES_MAX + 1).to_bytes(4), 3, "too-large"),
        (b"\0\0\0\x02\x08", 4, "unknown-type"),
    ],
)
def test_refused_at_the_first_byte_that_says_so(data: bytes, position: int, code: str) -> None:
    """A length above the limit is refused at once, and nobody waits for a body of no type."""
    reader = FrameReader()
    reader.frame_bytes_max = FRAME_BYTES_MAX
    for index in range(position):
        assert reader.feed(data[index : index + 1]) == []
    with pytest.raises(MalformedFrame, match=code):
        reader.feed(data[position : position + 1])


def test_the_limit_before_hello_is_the_smaller_one() -> None:
    """To the byte; and it is an attribute, so that a session can raise it."""
    fits, too_large = FRAME_BYTES_BEFORE_HELLO_MAX.to_bytes(4), (2**16 + 1).to_bytes(4)
    assert FrameReader().feed(fits) == []
    assert outcome(lambda: FrameReader().feed(too_large)) == "too-large"
    reader = FrameReader()
    reader.frame_bytes_max = FRAME_BYTES_MAX
    assert reader.feed(FRAME_BYTES_MAX.to_bytes(4)) == []


def test_the_reader_holds_no_more_than_one_frame() -> None:
    """Thirty thousand frames leave nothing behind: guards ``del data[:end]``."""
    ping = encode(Ping(1))
    reader = FrameReader()
    tracemalloc.start()
    try:
        for _ in range(30):
            assert len(reader.feed(ping * 1_000)) == 1_000
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 50_000
    assert reader.feed(ping[:-1]) == []
    assert reader.feed(ping[-1:]) == [Ping(1)]


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"])
@pytest.mark.parametrize("kind", range(1, 8))
def test_what_is_only_announced_takes_no_memory(kind: int, head: bytes) -> None:
    """Four thousand million elements, entries or bytes in five bytes cost what five bytes cost."""
    bodies = [head + b"\xff" * 4, b"\x91" + head + b"\xff" * 4, b"\x92\x01" + head + b"\xff" * 4]
    for body in bodies:
        data = (1 + len(body)).to_bytes(4) + bytes([kind]) + body
        tracemalloc.start()
        try:
            assert read_one(data) == "malformed"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 100_000


@pytest.mark.parametrize("kind", range(1, 8))
def test_deep_nesting_is_refused(kind: int) -> None:
    """As deep as a frame can be, and deeper than any stack."""
    assert 100 * sys.getrecursionlimit() < FRAME_BYTES_MAX
    for head in (b"\x91", b"\x81", b"\x92\x01\x91\x95"):
        body = head * ((FRAME_BYTES_MAX - 1) // len(head))
        assert outcome(lambda body=body: read([framed(kind, body)])) == "malformed"


def framed(kind: int, body: bytes) -> bytes:
    return (1 + len(body)).to_bytes(4) + bytes([kind]) + body


# --- limits inside a body ------------------------------------------------------------------------

RESULTS = tuple((seq, "kept") for seq in range(1, FRAME_ITEMS_MAX + 2))
CONFIRMS = ((ID, ""),) * (FRAME_ITEMS_MAX + 1)
RANGES = tuple((2 * n, 2 * n) for n in range(1, RANGES_MAX + 2))
VOIDS = tuple(Item(seq, ItemKind.VOID, ID, 0) for seq in range(1, FRAME_ITEMS_MAX + 2))


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        (Items(1, VOIDS[:-1]), Items(1, VOIDS)),
        (Receipt(RANGES[:-1]), Receipt(RANGES)),
        (Receipt((), RESULTS[:-1]), Receipt((), RESULTS)),
        (Confirm(CONFIRMS[:-1]), Confirm(CONFIRMS)),
        (
            Hello(bytes(RECORD_BYTES_MAX), bytes(8), bytes(8)),
            Hello(bytes(RECORD_BYTES_MAX + 1), bytes(8), bytes(8)),
        ),
        (
            Items(1, (text_item(1, "x" * TEXT_BYTES_MAX),)),
            Items(1, (text_item(1, "x" * (TEXT_BYTES_MAX + 1)),)),
        ),
        (
            Items(1, (text_item(1, "\xe9" * (TEXT_BYTES_MAX // 2)),)),
            Items(1, (text_item(1, "\xe9" * (TEXT_BYTES_MAX // 2) + "x"),)),
        ),
        (
            Items(1, (text_item(1, "\U0001f600" * (TEXT_BYTES_MAX // 4)),)),
            Items(1, (text_item(1, "\U0001f600" * (TEXT_BYTES_MAX // 4) + "x"),)),
        ),
    ],
    ids=["items", "ranges", "results", "confirms", "record", "text", "text of 2", "text of 4"],
)
def test_a_limit_holds_to_the_unit(fits: Frame, too_much: Frame) -> None:
    """What fits is read, and one more is not."""
    assert read([encode(fits)]) == [fits]
    assert outcome(lambda: read([encode(too_much)])) == "malformed"


# --- writing -------------------------------------------------------------------------------------


def test_items_are_split_by_number() -> None:
    """A frame has at most FRAME_ITEMS_MAX items, and the last one what is left."""
    items = tuple(text_item(seq, "hi") for seq in range(3, 2 * FRAME_ITEMS_MAX + 4))
    frames = split_items(2, items)
    assert [len(frame.items) for frame in frames] == [FRAME_ITEMS_MAX, FRAME_ITEMS_MAX, 1]
    assert {frame.base for frame in frames} == {2}
    assert tuple(item for frame in frames for item in frame.items) == items
    assert split_items(2, ()) == []


@pytest.mark.parametrize("char", ["x", "\xe9", "\U0001f600", "\ud800"])
def test_items_are_split_by_size(char: str) -> None:
    """Frames of the longest texts are within the limit, and not much below it."""
    text = char * (TEXT_BYTES_MAX // len(char.encode(errors="replace")))
    items = tuple(
        Item(
            SEQ_MAX - 100 + n, ItemKind.TEXT, MessageId(b"\xff" * 16), 2**63 - 1, DisplayText(text)
        )
        for n in range(40)
    )
    frames = split_items(SEQ_MAX - 100, items)
    assert [len(frame.items) for frame in frames] == [15, 15, 10]
    for frame in frames:
        (back,) = read([encode(frame)])
        assert isinstance(back, Items)
        assert len(back.items) == len(frame.items)


def test_what_is_written_keeps_the_rules() -> None:
    """A frame that is too large, a text without text or a delete of nothing is our own mistake."""
    long = Items(1, tuple(text_item(seq, "x" * TEXT_BYTES_MAX) for seq in range(1, 20)))
    for frame in (
        long,
        Items(1, (Item(1, ItemKind.TEXT, ID, 0),)),
        Items(1, (Item(1, ItemKind.DELETE, ID, 0),)),
    ):
        with pytest.raises(AssertionError):
            encode(frame)


def test_half_of_a_surrogate_pair_becomes_a_question_mark() -> None:
    """UTF-8 cannot write it, and a text that somebody pasted must not end a link."""
    written = encode(Items(1, (text_item(1, "a\ud800\xe9"),)))
    assert read([written]) == [Items(1, (text_item(1, "a?\xe9"),))]


# --- any frames, any bytes -----------------------------------------------------------------------

seqs = st.one_of(st.integers(1, 300), st.integers(1, SEQ_MAX))
hlcs = st.integers(0, 2**63 - 1)
ids = st.binary(min_size=16, max_size=16).map(MessageId)
display_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(DisplayText)
codes = st.from_regex(r"[a-z-]{1,32}", fullmatch=True)
numbers = st.integers(0, SEQ_MAX)


@st.composite
def items_frames(draw: st.DrawFn) -> Items:
    numbers = sorted(draw(st.sets(seqs, max_size=4)))
    items = [
        draw(
            st.one_of(
                st.builds(Item, st.just(seq), st.just(ItemKind.TEXT), ids, hlcs, display_texts),
                st.builds(Item, st.just(seq), st.just(ItemKind.DELETE), ids, hlcs, st.none(), ids),
                st.builds(
                    Item, st.just(seq), st.sampled_from([ItemKind.READ, ItemKind.VOID]), ids, hlcs
                ),
            )
        )
        for seq in numbers
    ]
    return Items(draw(st.integers(1, numbers[0] if numbers else SEQ_MAX)), tuple(items))


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    ends = sorted(draw(st.sets(seqs, max_size=12)))
    pairs = list(zip(ends[::2], ends[1::2], strict=False))
    ranges: list[tuple[int, int]] = []
    for first, last in pairs:
        if not ranges or first > ranges[-1][1] + 1:
            ranges.append((first, last))
    results = sorted(draw(st.dictionaries(seqs, codes, max_size=4)).items())
    return Receipt(tuple(ranges), tuple(results))


frames = st.one_of(
    st.builds(
        Hello,
        st.binary(min_size=1, max_size=40),
        st.binary(min_size=8, max_size=8),
        st.binary(min_size=8, max_size=8),
        st.lists(st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True), max_size=4).map(tuple),
    ),
    items_frames(),
    receipts(),
    st.lists(st.tuples(ids, st.one_of(st.just(""), codes)), max_size=8).map(tuple).map(Confirm),
    st.builds(Ping, numbers),
    st.builds(Pong, numbers),
    st.builds(Bye, codes),
)


@given(st.lists(frames, max_size=3))
@many_examples
def test_frames_come_back(written: list[Frame]) -> None:
    """Whatever is written is read as the same, in every split."""
    data = b"".join(encode(frame) for frame in written)
    assert feed_every_split(read, data) == written


msgpack_soup = vectors.soup(
    b"\x90", b"\x91", b"\x92", b"\x94", b"\x95", b"\x80", b"\xdc\x00\x02", b"\xdd\xff\xff\xff\xff",
    b"\xa4text", b"\xa6delete", b"\xa4read", b"\xa4void", b"\xa2hi", b"\xc4\x10" + bytes(16),
    b"\xc4\x08" + bytes(8), b"\x01", b"\x02", b"\xff", b"\xcc\x01", b"\xd3" + bytes(8), b"\xc0",
    b"\xc3", b"\xcb" + bytes(8), b"\xd6\xff" + bytes(4), b"\xc1",
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 9), st.one_of(msgpack_soup, st.binary(max_size=60)))))
@many_examples
def test_any_bodies_give_frames_or_a_documented_code(bodies: list[tuple[int, bytes]]) -> None:
    """Nothing that a stranger sends raises anything else, and its pieces never matter."""
    result = feed_every_split(read, b"".join(framed(kind, body) for kind, body in bodies))
    assert not isinstance(result, str) or result in CODES


@given(frames, st.data())
@many_examples
def test_a_damaged_frame_gives_a_frame_or_a_documented_code(
    frame: Frame, data: st.DataObject
) -> None:
    """One byte of a true frame is another one: the best near misses that there are."""
    written = bytearray(encode(frame))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] = data.draw(st.integers(0, 255))
    result = feed_every_split(read, bytes(written))
    assert not isinstance(result, str) or result in CODES


@given(st.binary(max_size=100))
@many_examples
def test_any_bytes_give_frames_or_a_documented_code(data: bytes) -> None:
    """Without even a length that is right."""
    result = feed_every_split(read, data)
    assert not isinstance(result, str) or result in CODES
