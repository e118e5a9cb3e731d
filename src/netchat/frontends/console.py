"""The standard streams: facts to stdout, everything else to stderr, each line flushed at once."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import IO, Final

from netchat.frontends.words import PROMPT

Printer = Callable[[str], None]
"""What takes a line, or several, to be printed."""

_DUMB: Final = ("dumb", "unknown")
"""Values of TERM that stand for a terminal without a cursor."""
_BLOCKS: Final = "\u2580\u2584\u2588"
"""What a QR code is drawn with."""


def prepare_streams() -> None:
    r"""See that anything can be printed: what the locale cannot write comes out as ``\u2615``.

    A standard descriptor that was closed is opened on the null device, because the next file or
    socket would else get its number, and be read as if it were typed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print a fact."""
    _print(sys.stdout, line + "\n")


def note(line: str) -> None:
    """Print what is no fact: a hint, a warning, an error of the program itself."""
    _print(sys.stderr, line + "\n")


def _print(stream: IO[str] | None, text: str) -> None:
    """Print on a stream that was perhaps closed when the program began."""
    if stream is not None:
        print(text, end="", file=stream, flush=True)


def is_terminal() -> bool:
    """Tell whether a person sits at both ends of a terminal on which a line can be edited."""
    return _is_tty(sys.stdin) and _is_tty(sys.stdout) and os.environ.get("TERM") not in _DUMB


def can_ask() -> bool:
    """Tell whether a person can be asked something: on any terminal, a dumb one as well."""
    return _is_tty(sys.stdin) and _is_tty(sys.stderr)


def shows_pictures() -> bool:
    """Tell whether what is printed reaches a screen, and may be made of blocks."""
    if sys.stdout is None or not _is_tty(sys.stdout):
        return False
    try:
        _BLOCKS.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _is_tty(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty()


class Plain:
    """Printing beside a prompt that is a plain line of text.

    The prompt goes to stdout when it is ``forced``, to stderr for a person, and else nowhere. On
    a person's terminal all streams share the screen, so what comes while the prompt stands there
    begins on a line of its own, and the prompt follows again.
    """

    def __init__(self, *, forced: bool) -> None:
        self._is_person = _is_tty(sys.stdin) and not forced
        self._stream = sys.stdout if forced else sys.stderr if self._is_person else None
        self._stands = False

    def ask(self) -> None:
        """Print the prompt, if there is one."""
        self._stands = True
        self._print(PROMPT)

    def answered(self, *, typed: bool) -> None:
        """Note that the prompt stands no longer: a line was ``typed``, or the input has ended."""
        if not typed:
            self._leave_line()
        self._stands = False

    def say(self, line: str) -> None:
        """Print a fact."""
        self._leave_line()
        say(line)
        if self._stands:
            self._print(PROMPT)

    def note(self, line: str) -> None:
        """Print what is no fact."""
        self._leave_line()
        note(line)
        if self._stands and self._is_person:
            self._print(PROMPT)

    def _leave_line(self) -> None:
        if self._stands and self._is_person:
            self._print("\n")

    def _print(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            _print(self._stream, text)
