"""The standard streams: facts to stdout, everything else to stderr, each line flushed at once."""

import contextlib
import os
import sys
from typing import IO

from netchat.frontends.words import PROMPT

_DUMB = ("", "dumb", "unknown")


def prepare_streams() -> None:
    """See that anything can be printed: what the locale cannot write comes out as ``\\u2615``.

    A standard descriptor that was closed is opened on the null device, because the next file or
    socket would else get its number, and be read as if it were typed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print a fact."""
    print(line, flush=True)


def note(line: str) -> None:
    """Print what is no fact: a hint, a warning, an error of the program itself."""
    print(line, file=sys.stderr, flush=True)


def is_terminal() -> bool:
    """Tell whether a person sits at both ends of a terminal on which a line can be edited."""
    return _is_tty(sys.stdin) and _is_tty(sys.stdout) and os.environ.get("TERM", "") not in _DUMB


def _is_tty(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty()


class Asker:
    """Asks for the next command: on stdout when ``forced``, on stderr for a person, or not at all.

    On the terminal of a person everything shares the lines of the screen, so what arrives while
    the question stands there begins on a line of its own, and the question is asked again.
    """

    def __init__(self, *, forced: bool) -> None:
        self._person = _is_tty(sys.stdin) and not forced
        self._stream = sys.stdout if forced else sys.stderr if self._person else None

    def ask(self) -> None:
        self._print(PROMPT)

    def interrupt(self) -> None:
        """Leave the line of the question."""
        if self._person:
            self._print("\n")

    def _print(self, text: str) -> None:
        if self._stream is not None:
            with contextlib.suppress(BrokenPipeError):
                print(text, end="", file=self._stream, flush=True)
