"""One link above TLS, without its socket: bytes in, frames out, and whether the peer still lives.

Each side says HELLO first and once, and nothing else before. Specification: docs/spec/frames.md.
"""

from typing import Final, assert_never

from netchat.errors import MalformedFrame
from netchat.limits import FRAME_BYTES_MAX, LINK_HELLO_S, LINK_PING_S, LINK_SILENCE_S
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

HELLO_MS: Final = round(LINK_HELLO_S * 1_000)
PING_MS: Final = round(LINK_PING_S * 1_000)
ANSWER_MS: Final = round((LINK_SILENCE_S - LINK_PING_S) * 1_000)
"""How long a ping may stay unanswered."""


class Session:
    """Speaks for one side of a link. Our HELLO is the first output.

    The caller writes ``take_output`` after each call, and calls ``tick`` when it said to.
    """

    def __init__(self, now_ms: int, hello: Hello) -> None:
        self.peer_hello: Hello | None = None
        self.said_bye: str | None = None
        self._reader = FrameReader()
        self._output = bytearray(encode(hello))
        self._begun_ms = now_ms
        self._heard_ms = now_ms
        self._pinged_ms: int | None = None
        self._pings = 0

    def receive(self, now_ms: int, data: bytes) -> list[Frame]:
        """Take what the peer sent; return its Hello, and then Items, Receipts and Confirms.

        Pings are answered here, however many came at once by one Pong. What comes behind a BYE is
        ignored, and ``said_bye`` has its code.

        Raises:
            MalformedFrame: as ``FrameReader.feed``; ``hello-expected`` when another frame comes
                first, ``second-hello``. The link has to be closed then.
        """
        self._heard_ms = now_ms
        self._pinged_ms = None
        if self.said_bye is None:
            self._reader.add(data)
        frames: list[Frame] = []
        asked: Ping | None = None
        while self.said_bye is None and (frame := self._reader.next_frame()) is not None:
            if self.peer_hello is None and not isinstance(frame, Hello):
                raise MalformedFrame("hello-expected")
            match frame:
                case Hello():
                    self._greet(frame)
                    frames.append(frame)
                case Items() | Receipt() | Confirm():
                    frames.append(frame)
                case Ping():
                    asked = frame
                case Pong():
                    pass
                case Bye(code):
                    self.said_bye = code
                case _ as never:
                    assert_never(never)
        if asked is not None:
            self.send(Pong(asked.number))
        return frames

    def _greet(self, hello: Hello) -> None:
        if self.peer_hello is not None:
            raise MalformedFrame("second-hello")
        self.peer_hello = hello
        self._reader.frame_bytes_max = FRAME_BYTES_MAX

    def send(self, frame: Frame) -> None:
        """Queue ``frame``; only once the peer has said HELLO, and never a HELLO."""
        assert self.peer_hello is not None, "nothing is said to who has not said HELLO"
        assert not isinstance(frame, Hello), "HELLO is said once"
        self._output += encode(frame)

    def take_output(self) -> bytes:
        """Return what has to be written now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def tick(self, now_ms: int) -> int | None:
        """Ask the peer whether it lives, if it is time to; return when to call again.

        That is None once the peer has said BYE. A program that was stopped for an hour asks first
        when it goes on: only an unanswered ping is silence.

        Raises:
            MalformedFrame: ``silent``: no HELLO in ``LINK_HELLO_S``, or nothing after a ping.
        """
        if self.said_bye is not None:
            return None
        if self.peer_hello is None:
            return _due(now_ms, self._begun_ms + HELLO_MS)
        if self._pinged_ms is None:
            if now_ms < self._heard_ms + PING_MS:
                return self._heard_ms + PING_MS
            self._pings += 1
            self._pinged_ms = now_ms
            self.send(Ping(self._pings))
        return _due(now_ms, self._pinged_ms + ANSWER_MS)


def _due(now_ms: int, deadline_ms: int) -> int:
    if now_ms >= deadline_ms:
        raise MalformedFrame("silent")
    return deadline_ms
