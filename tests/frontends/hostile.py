"""Text that wants to do something to a terminal, and what none of it may ever become."""

import re

from tests.vectors import expanded, load

OWN_CORPUS = [
    "\x1b[2J\x1b[Hall gone",
    "\x1b]52;c;cm0gLXJmIH4=\x07",
    "\x1b]0;title\x07",
    "\x1bPq#0;2;0;0;0#0!10~\x1b\\",
    "\x9b31mred by C1",
    "\x90\x9c string by C1",
    "bell\x07 \x08\x08\x08back",
    "\x7f\x7f\x7f",
    "one\r>>forged - user",
    "one\n>>forged - user",
    "one\x0b\x0c\x85two",
    "\u202egnp.exe\u202c",
    "\u2066isolate\u2069 \u200emark\u200f \u061c",
    "zero\u200b\u200c\u200d\ufeffwidth",
    "a\u2028b\u2029c",
    "tags\U000e0041\U000e0042",
    "z" + "\u0301" * 200,
    "\ud800 half a pair",
    "\x00\x01\x02\x03\x04\x05\x06\x0e\x0f\x10\x11",
    "\x1b[?1049h\x1b[6n\x1b[c",
    "%s %d {} {0.__class__} \\x1b[31m",
    "\t\ttabs\tand\xa0spaces\u3000",
]
FROM_VECTORS = [expanded(one["raw"]) for one in load("display.json")["display_text"]]
HOSTILE = list(dict.fromkeys([*OWN_CORPUS, *FROM_VECTORS]))
HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
"""Controls, bidi controls and separators: nothing that was printed may hold one, on its line."""


def assert_harmless(line: str) -> None:
    """One printed line, its end left out."""
    found = HARMFUL.search(line)
    assert found is None, f"{found[0]!r} in {line!r}"


def assert_bytes_harmless(printed: bytes) -> None:
    """What a stream brought, whole lines of it."""
    assert printed.endswith(b"\n") or not printed
    for line in printed.decode().split("\n"):
        assert_harmless(line)
