"""The classic wire: the vectors of docs/spec/classic.md, and what holds for any bytes."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import Vector, data_of, expanded, feed_every_split, many_examples, outcome

from netchat.delivery.inputs import DeleteArrived, TextArrived
from netchat.errors import MalformedMessage, TextTooLong
from netchat.limits import CLASSIC_RECEIVE_BYTES_MAX, CLASSIC_SEND_BYTES_MAX
from netchat.model import DisplayText, MessageId, Name, PeerId
from netchat.node.pump import Owner, Pump
from netchat.store.database import MEMORY, open_database
from netchat.wire.classic import (
    ClassicDelete,
    ClassicReader,
    ClassicText,
    encode_delete,
    encode_text,
)

Classic = ClassicText | ClassicDelete

CLOSED_CODES = {"empty", "not-classic", "no-text", "trailing", "bad-name", "too-long"}
"""Why a connection that its sender closed can be refused."""
ALICE = Name("alice")


def read(pieces: Sequence[bytes], *, closed: bool = True) -> Classic:
    """Read what a connection brought in these pieces."""
    reader = ClassicReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.finish(closed=closed)


def read_closed(data: bytes) -> Classic | str:
    """Read what a connection brought until its sender closed it, in every split."""
    return feed_every_split(read, data)


def write(value: Classic) -> bytes:
    match value:
        case ClassicText(sender, text):
            return encode_text(sender, text.raw)
        case ClassicDelete(sender):
            return encode_delete(sender)


def value_of(vector: Vector) -> Classic:
    value = vector["value"]
    sender = Name(value["sender"])
    if value["kind"] == "delete":
        return ClassicDelete(sender)
    return ClassicText(sender, DisplayText(expanded(value["text"])))


def shown_sender(value: Classic | str) -> str:
    """Return the sender as it is written: names that differ in case are equal."""
    return value if isinstance(value, str) else value.sender.shown


# --- vectors -------------------------------------------------------------------------------------


@vectors.vectors("classic.json", "peer")
def test_vector_is_read(vector: Vector) -> None:
    """A connection that its sender closed says what the vector says, whatever the pieces."""
    result = read_closed(data_of(vector))
    if "error" in vector:
        assert result == vector["error"]
    else:
        assert result == value_of(vector)
        assert shown_sender(result) == vector["value"]["sender"]


@vectors.vectors("classic.json", "peer")
def test_vector_is_written(vector: Vector) -> None:
    """Writing a value gives the bytes of the vector exactly when the vector says so."""
    if "error" in vector:
        assert "encode" not in vector
        return
    try:
        data = write(value_of(vector))
    except TextTooLong:
        data = b""
    assert (data == data_of(vector)) is vector.get("encode", False)


@vectors.vectors("classic.json", "peer_deadline")
def test_vector_at_the_deadline(vector: Vector) -> None:
    """Without a close, a message counts only when no longer one can have been cut to it."""
    pieces = [expanded(piece).encode() for piece in vector["pieces"]]
    result = outcome(lambda: read(pieces, closed=False))
    assert result == (vector["error"] if "error" in vector else value_of(vector))


@vectors.vectors("classic.json", "peer_encode_errors")
def test_vector_is_not_written(vector: Vector) -> None:
    """A text that a classic receiver would cut is refused, and the error says by how much."""
    value = value_of(vector)
    with pytest.raises(TextTooLong) as refusal:
        write(value)
    assert refusal.value.code == vector["error"]
    assert refusal.value.size > refusal.value.size_max == CLASSIC_SEND_BYTES_MAX


@pytest.fixture
def history() -> Iterator[Pump]:
    with closing(open_database(MEMORY)) as connection:
        assert isinstance(connection, sqlite3.Connection)
        pump = Pump(connection, Owner(Name("me"), PeerId(bytes(32))))
        pump.start(0)
        yield pump


@vectors.vectors("classic.json", "deletes")
def test_vector_of_deletes(vector: Vector, history: Pump) -> None:
    """The real rules and the real store show the conversation that the vector shows."""
    for number, arrival in enumerate(vector["arrivals"], start=1):
        arrival_id = MessageId(number.to_bytes(16))
        match read([arrival["bytes"].encode()]):
            case ClassicText(sender, text):
                event = TextArrived(arrival_id, sender, text, arrival["from"])
            case ClassicDelete(sender):
                event = DeleteArrived(arrival_id, sender, arrival["from"])
        assert history.step_batch(number, [event]).refused == ()
    shown = [
        f"{'Deleted' if message.text is None else message.text} - {message.peer}"
        for message in history.page(ALICE, None, 100)
    ]
    assert shown == vector["shows"]


def test_every_code_has_a_vector() -> None:
    """The vectors hold every code that reading can refuse with, so the table is complete."""
    sections = vectors.load("classic.json")
    listed = {vector.get("error") for vector in sections["peer"] + sections["peer_deadline"]}
    assert listed - {None} == CLOSED_CODES | {"unfinished"}


def test_the_file_is_ascii() -> None:
    """No editor and no reviewer can be fooled by a character in the file of vectors."""
    text = (vectors.FOLDER / "classic.json").read_bytes()
    assert text.isascii()
    assert json.loads(text)["about"]


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "position"),
    [
        (b"GET / HTTP/1.1\r\n", 3),
        (b"\x16\x03\x01\x00\xc4", 0),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", 21),
        (b"-alice", 0),
        (b"a" * 40, 32),
        (b"alice: hello", 7),
        (b'alice:         "', 14),
        (b"DELETE_MESSAGE: x", 16),
        (b"DELETE_MESSAGE:" + b"a" * 33, 47),
    ],
)
def test_refused_at_the_first_byte_that_cannot_belong_to_a_message(
    data: bytes, position: int
) -> None:
    """A stranger is not listened to for longer than its bytes can still become a message."""
    reader = ClassicReader()
    for index in range(position):
        reader.feed(data[index : index + 1])
    with pytest.raises(MalformedMessage, match="not-classic"):
        reader.feed(data[position : position + 1])


def test_an_empty_piece_does_not_count_as_one() -> None:
    """At the deadline one piece is one piece, whatever the event loop brought around it."""
    pieces = [b"", b'alice: "hi"', b""]
    assert read(pieces, closed=False) == ClassicText(ALICE, DisplayText("hi"))


near_messages = vectors.soup(
    b"alice", b"bob", b"user", b"x" * 31, b"DELETE_MESSAGE", b"DELETE_MESSAGE:",
    b":", b": ", b" ", b" " * 8, b'"', b"hi", b"\r\n", b"\t", b"\0",
    b"\xc3\xa9", b"\xc3", b"\xf0\x9f",
)  # fmt: skip


@given(st.one_of(near_messages, st.binary(max_size=100)))
@many_examples
def test_any_bytes_give_a_message_or_a_documented_code(data: bytes) -> None:
    """Nothing that a stranger sends raises anything else, and its pieces never matter."""
    result = read_closed(data)
    assert isinstance(result, ClassicText | ClassicDelete) or result in CLOSED_CODES


@given(st.lists(near_messages, max_size=3))
@many_examples
def test_the_deadline_never_reads_more_than_the_close(pieces: list[bytes]) -> None:
    """What counts at the deadline is what the same bytes say when the sender closes."""
    at_deadline = outcome(lambda: read(pieces, closed=False))
    if at_deadline != "unfinished":
        assert at_deadline == outcome(lambda: read(pieces))


@given(st.integers(-2, 2), st.sampled_from([b'alice: "', b"GET / "]))
def test_around_the_receive_limit(distance: int, head: bytes) -> None:
    """The limit holds to the byte, and what is no message is told as that first."""
    size = CLASSIC_RECEIVE_BYTES_MAX + distance
    data = head + b"x" * (size - len(head) - 1) + b'"'
    result = outcome(lambda: read([data]))
    if head == b"GET / ":
        assert result == "not-classic"
    else:
        assert (result == "too-long") is (distance > 0)
        assert result == outcome(lambda: read([data[:-3], data[-3:]]))


# --- writing, and reading what was written -------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(vectors.names, texts)
@many_examples
def test_a_text_comes_back(sender: Name, text: str) -> None:
    """Whatever is written is read as the same, in every split, with white space behind or not."""
    data = encode_text(sender, text)
    result = feed_every_split(read, data, trailing=b" \t\r\n")
    assert result == ClassicText(sender, DisplayText(text))
    assert shown_sender(result) == str(sender)


@given(vectors.names)
@many_examples
def test_a_delete_comes_back(sender: Name) -> None:
    """Whatever is written is read as the same, in every split, with white space behind or not."""
    data = encode_delete(sender)
    result = feed_every_split(read, data, trailing=b" \t\r\n")
    assert result == ClassicDelete(sender)
    assert shown_sender(result) == str(sender)


@given(vectors.names, texts, st.data())
@many_examples
def test_a_cut_text_is_refused_or_cut_behind_a_quote(
    sender: Name, text: str, data: st.DataObject
) -> None:
    """The bytes tell of every cut but one: exactly behind a quote that belongs to the text."""
    whole = encode_text(sender, text)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    result = read_closed(cut)
    head = len(f'{sender}: "')
    behind_a_quote = len(cut.rstrip(b" \t\r\n")) > head and cut.rstrip(b" \t\r\n").endswith(b'"')
    assert isinstance(result, ClassicText) is behind_a_quote


@given(st.text())
def test_halves_of_pairs_are_written_as_question_marks(text: str) -> None:
    """What UTF-8 cannot hold never stops a message, and never reaches the wire."""
    data = encode_text(ALICE, text)
    plain = text.encode(errors="replace").decode()
    assert read_closed(data) == ClassicText(ALICE, DisplayText(plain))


@given(st.integers(-3, 3), st.sampled_from(["x", "é", "☕", "😀"]))
def test_around_the_send_limit(distance: int, char: str) -> None:
    """The limit counts the bytes of the whole message, name and quotes included."""
    room = CLASSIC_SEND_BYTES_MAX - len('alice: ""')
    text = char * (room // len(char.encode())) + "x" * (room % len(char.encode()))
    text = text[: len(text) + min(distance, 0)] + "y" * max(distance, 0)
    if distance > 0:
        with pytest.raises(TextTooLong):
            encode_text(ALICE, text)
    else:
        assert len(encode_text(ALICE, text)) <= CLASSIC_SEND_BYTES_MAX
