"""One side of a link: what is passed on, what is answered, and when the peer counts as gone."""

import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import Vector, many_examples, outcome

from netchat.errors import MalformedFrame
from netchat.limits import FRAME_BYTES_BEFORE_HELLO_MAX, FRAME_BYTES_MAX
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
)
from netchat.wire.session import ANSWER_MS, HELLO_MS, PING_MS, Session

OURS = Hello(b"ours", bytes(8), bytes(8))
THEIRS = Hello(b"theirs", bytes(8), bytes(8), ("edits",))
START = 1_000


def opened() -> Session:
    """Return a session in which both have said HELLO, and whose output was taken."""
    session = Session(START, OURS)
    assert session.receive(START, encode(THEIRS)) == [THEIRS]
    assert session.take_output() == encode(OURS)
    return session


def written(session: Session) -> list[Frame]:
    return FrameReader().feed(session.take_output())


def bring(pieces: Sequence[bytes]) -> tuple[list[str], str, str | None]:
    """Return what a session passes on, what it answers and the code of a BYE."""
    session = Session(START, OURS)
    session.take_output()
    frames = [frame for piece in pieces for frame in session.receive(START, piece)]
    kinds = [type(frame).__name__.lower() for frame in frames]
    return kinds, session.take_output().hex(), session.said_bye


@vectors.vectors("frames.json", "links")
def test_vector(vector: Vector) -> None:
    """What comes over a link is passed on, answered or refused as the vector says."""
    pieces = [bytes.fromhex(piece) for piece in vector["pieces"]]
    result = outcome(lambda: bring(pieces))
    if "error" in vector:
        assert result == vector["error"]
        bytewise = [bytes([byte]) for piece in pieces for byte in piece]
        assert outcome(lambda: bring(bytewise)) == vector["error"]
    else:
        assert result == (vector["gives"], vector.get("answer", ""), vector.get("bye"))


# --- HELLO and BYE -------------------------------------------------------------------------------


def test_our_hello_is_the_first_output() -> None:
    """It is there before anything came, and once only."""
    session = Session(START, OURS)
    assert written(session) == [OURS]
    assert session.take_output() == b""
    assert session.peer_hello is None
    session.receive(START, encode(THEIRS))
    assert session.peer_hello == THEIRS
    assert session.take_output() == b""


def test_the_limit_is_raised_by_hello_itself() -> None:
    """A large frame in the same piece as HELLO is read: the limit must not lag behind."""
    text = DisplayText("x" * 60_000)
    items = tuple(Item(seq, ItemKind.TEXT, MessageId(bytes(16)), 0, text) for seq in (1, 2))
    large = Items(1, items)
    assert FRAME_BYTES_BEFORE_HELLO_MAX < len(encode(large)) < FRAME_BYTES_MAX
    session = Session(START, OURS)
    assert session.receive(START, encode(THEIRS) + encode(large)) == [THEIRS, large]


def test_a_refusal_comes_before_what_is_behind_it() -> None:
    """Frames are judged one by one: guards reading no further than the frame in hand."""
    session = Session(START, OURS)
    with pytest.raises(MalformedFrame, match="hello-expected"):
        session.receive(START, encode(Ping(1)) + b"\0\0\0\0")


def test_nothing_is_said_to_who_has_not_said_hello() -> None:
    """It is the caller's duty to wait, and to say HELLO once."""
    with pytest.raises(AssertionError):
        Session(START, OURS).send(Ping(1))
    with pytest.raises(AssertionError):
        opened().send(OURS)


def test_frames_are_queued_until_they_are_taken() -> None:
    """In their order, all at once, and once."""
    session = opened()
    frames = [Items(1, ()), Receipt(((1, 2),)), Confirm(()), Bye("closed")]
    for frame in frames:
        session.send(frame)
    assert written(session) == frames
    assert session.take_output() == b""


def test_after_bye_nothing_counts() -> None:
    """Not even nonsense; the session asks for no more calls."""
    session = opened()
    assert session.receive(START, encode(Bye("closed")) + b"\xff" * 9) == []
    assert session.said_bye == "closed"
    assert session.receive(START, encode(Items(1, ())) + b"\xff" * 9) == []
    assert session.tick(START + 10**9) is None
    assert session.take_output() == b""


def test_after_bye_nothing_is_kept() -> None:
    """Whoever goes on talking fills no memory: guards the condition before ``add``."""
    session = opened()
    session.receive(START, encode(Bye("closed")))
    tracemalloc.start()
    try:
        for _ in range(50):
            session.receive(START, b"x" * 10_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 50_000


# --- PING ----------------------------------------------------------------------------------------


def test_a_flood_of_pings_has_one_answer_a_piece() -> None:
    """Ten thousand of them in one piece cost one PONG: output is never more than input."""
    session = opened()
    flood = b"".join(encode(Ping(number)) for number in range(10_000))
    assert session.receive(START, flood) == []
    assert written(session) == [Pong(9_999)]


def test_silence_is_asked_about_and_then_ends() -> None:
    """A ping after LINK_PING_S, the end after LINK_SILENCE_S, to the millisecond."""
    session = opened()
    asked_ms = START + PING_MS
    assert session.tick(START) == asked_ms
    assert session.tick(asked_ms - 1) == asked_ms
    assert session.take_output() == b""
    ends_ms = asked_ms + ANSWER_MS
    assert session.tick(asked_ms) == ends_ms
    assert written(session) == [Ping(1)]
    assert session.tick(ends_ms - 1) == ends_ms
    assert session.take_output() == b""
    with pytest.raises(MalformedFrame, match="silent"):
        session.tick(ends_ms)


def test_any_byte_is_a_sign_of_life() -> None:
    """Half a frame is enough, and the next ping has another number."""
    session = opened()
    session.tick(START + PING_MS)
    pong = encode(Pong(1))
    heard_ms = START + PING_MS + ANSWER_MS - 1
    assert session.receive(heard_ms, pong[:1]) == []
    assert session.tick(heard_ms + 1) == heard_ms + PING_MS
    assert session.tick(heard_ms + PING_MS) == heard_ms + PING_MS + ANSWER_MS
    assert written(session) == [Ping(1), Ping(2)]


def test_who_was_stopped_for_an_hour_asks_first() -> None:
    """The answers may lie unread in the socket: only an unanswered ping is silence."""
    session = opened()
    late_ms = START + 3_600_000
    assert session.tick(late_ms) == late_ms + ANSWER_MS
    assert written(session) == [Ping(1)]


def test_who_says_no_hello_is_silent() -> None:
    """Whatever else it sends: a byte now and then does not keep a stranger's link."""
    session = Session(START, OURS)
    assert session.tick(START) == START + HELLO_MS
    session.receive(START + HELLO_MS - 1, encode(THEIRS)[:-1])
    assert session.tick(START + HELLO_MS - 1) == START + HELLO_MS
    with pytest.raises(MalformedFrame, match="silent"):
        session.tick(START + HELLO_MS)


# --- any order -----------------------------------------------------------------------------------

some_frames = st.sampled_from(
    [THEIRS, Items(1, ()), Receipt(()), Confirm(()), Ping(3), Pong(4), Bye("closed")]
)
CODES = {"hello-expected", "second-hello", "empty", "too-large", "unknown-type", "malformed"}


@given(st.lists(some_frames, max_size=6), st.binary(max_size=8))
@many_examples
def test_any_frames_in_any_order(frames: list[Frame], rest: bytes) -> None:
    """HELLO, then what is no HELLO, until BYE; all else is refused by a code, in any pieces."""
    data = b"".join(encode(frame) for frame in frames) + rest
    whole = outcome(lambda: bring([data]))
    bytewise = outcome(lambda: bring([bytes([byte]) for byte in data]))
    if isinstance(whole, str):
        assert whole in CODES
        assert bytewise == whole
    else:
        assert isinstance(bytewise, tuple)
        assert (bytewise[0], bytewise[2]) == (whole[0], whole[2])
