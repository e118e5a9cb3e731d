"""The standard streams: facts to stdout, everything else to stderr, each line flushed at once."""

import contextlib
import sys
from collections.abc import Callable

from netchat.frontends.words import PROMPT


def say(line: str) -> None:
    """Print a fact."""
    print(line, flush=True)


def note(line: str) -> None:
    """Print what is no fact: a hint, a warning, an error of the program itself."""
    print(line, file=sys.stderr, flush=True)


def is_terminal() -> bool:
    """Tell whether a person sits at both ends, so that a line can be edited."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def asker(*, forced: bool) -> Callable[[], None]:
    """Return what prints the prompt: on stdout when forced, on stderr for a person, or nothing."""
    if not forced and not sys.stdin.isatty():
        return lambda: None
    stream = sys.stdout if forced else sys.stderr

    def ask() -> None:
        with contextlib.suppress(BrokenPipeError):
            print(PROMPT, end="", file=stream, flush=True)

    return ask
