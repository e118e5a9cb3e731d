"""The classic wire: one message or one delete a connection, in plain text.

    alice: "see you at noon"
    DELETE_MESSAGE:alice

Specification: docs/spec/classic.md; vectors: vectors/classic.json. Reading is strict, because the
first byte that cannot belong to such a message ends the connection; writing is exactly the above.
"""

import re
from dataclasses import dataclass
from typing import Final

from netchat.errors import InvalidName, MalformedMessage, TextTooLong
from netchat.limits import (
    CLASSIC_RECEIVE_BYTES_MAX,
    CLASSIC_SEND_BYTES_MAX,
    CLASSIC_SPACES_MAX,
    NAME_CHARS_MAX,
    SEGMENT_BYTES_MIN,
)
from netchat.model import DisplayText, Name

_DELETE: Final = b"DELETE_MESSAGE:"
_TRAILING: Final = b" \t\r\n"
_HEAD_BYTES: Final = NAME_CHARS_MAX + 1 + CLASSIC_SPACES_MAX + 1
"""A message says within these whether it is one: name, colon, spaces, first quote."""
_DELETE_BYTES: Final = len(_DELETE) + NAME_CHARS_MAX + CLASSIC_SPACES_MAX
"""A delete is never longer, trailing white space included."""

_NAME: Final = rb"[A-Za-z0-9][A-Za-z0-9._-]{0,%d}" % (NAME_CHARS_MAX - 1)
_TEXT_HEAD: Final = re.compile(rb"(%b): {0,%d}\"" % (_NAME, CLASSIC_SPACES_MAX))
_TEXT_HEAD_SO_FAR: Final = re.compile(rb"%b(?:: {0,%d}(?:\"|\Z)|\Z)" % (_NAME, CLASSIC_SPACES_MAX))
_DELETE_SO_FAR: Final = re.compile(rb"DELETE_MESSAGE:(?:%b)?[ \t\r\n]*\Z" % _NAME)


@dataclass(frozen=True, slots=True)
class ClassicText:
    """``sender`` says ``text``; that it is really the sender is a claim, not a proof."""

    sender: Name
    text: DisplayText


@dataclass(frozen=True, slots=True)
class ClassicDelete:
    """``sender`` wants its newest message that is not deleted yet to be deleted here too."""

    sender: Name


def encode_text(sender: Name, text: str) -> bytes:
    """Return the bytes of one message.

    Raises:
        TextTooLong: a classic receiver would cut it (``CLASSIC_SEND_BYTES_MAX``).
    """
    data = f'{sender}: "{text}"'.encode(errors="replace")
    if len(data) > CLASSIC_SEND_BYTES_MAX:
        raise TextTooLong(len(data), CLASSIC_SEND_BYTES_MAX)
    return data


def encode_delete(sender: Name) -> bytes:
    """Return the bytes that delete the sender's newest message at the other side."""
    return _DELETE + str(sender).encode()


class ClassicReader:
    """Collects what one connection sends. Feed it, then ``finish`` it at the end of the stream."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._head_known = False
        self._pieces = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            MalformedMessage: ``not-classic`` as soon as no continuation could be a message,
                ``too-long`` above ``CLASSIC_RECEIVE_BYTES_MAX``. Feed no more after it.
        """
        if not data:
            return
        self._data += data
        self._pieces += 1
        if not self._head_known and not self._may_become_a_message():
            raise MalformedMessage("not-classic")
        if len(self._data) > CLASSIC_RECEIVE_BYTES_MAX:
            raise MalformedMessage("too-long")
        self._head_known = len(self._data) >= _HEAD_BYTES and not self._is_delete()

    def _is_delete(self) -> bool:
        return self._data.startswith(_DELETE)

    def _may_become_a_message(self) -> bool:
        if self._is_delete():
            return len(self._data) <= _DELETE_BYTES and bool(_DELETE_SO_FAR.match(self._data))
        return _TEXT_HEAD_SO_FAR.match(self._data[:_HEAD_BYTES]) is not None

    def finish(self, *, closed: bool) -> ClassicText | ClassicDelete:
        """Return what the connection said, once the sender ``closed`` it or its deadline has come.

        Some classic senders never close. What they said counts if it came in one piece that is
        smaller than any segment a longer message is cut into; a text that was cut short right
        behind a quote inside it would otherwise pass for whole.

        Bytes that are not UTF-8 become U+FFFD, one for each maximal wrong part (Unicode 3.9).

        Raises:
            MalformedMessage: ``empty``, ``unfinished`` (not closed, see above),
                ``not-classic``, ``no-text`` (no opening quote, or cut before the closing one),
                ``trailing`` (something after it), ``bad-name``.
        """
        if not self._data:
            raise MalformedMessage("empty")
        if not closed and (self._pieces > 1 or len(self._data) >= SEGMENT_BYTES_MIN):
            raise MalformedMessage("unfinished")
        data = bytes(self._data.rstrip(_TRAILING))
        if self._is_delete():
            return ClassicDelete(self._name(data[len(_DELETE) :]))
        head = _TEXT_HEAD.match(data)
        if head is None:
            raise MalformedMessage("no-text" if b":" in data else "not-classic")
        if not data.endswith(b'"'):
            raise MalformedMessage("trailing" if b'"' in data[head.end() :] else "no-text")
        if len(data) == head.end():
            raise MalformedMessage("no-text")
        text = data[head.end() : -1].decode(errors="replace")
        return ClassicText(self._name(head[1]), DisplayText(text))

    @staticmethod
    def _name(data: bytes) -> Name:
        try:
            return Name(data.decode("ascii", errors="replace"))
        except InvalidName:
            raise MalformedMessage("bad-name") from None
