"""The QR code as a camera would see it: square, whole, framed, and of harmless characters only."""

import io
import sys

import pytest
import segno
from hypothesis import given
from tests import vectors

from netchat.frontends import qr, words_trust
from netchat.frontends.console import shows_pictures
from netchat.model import Name, PeerId

KEY = PeerId(bytes(range(32)))
LONGEST = words_trust.contact_text(Name("n" * 32), KEY)
BORDER = 2

MODULES = {"\u2588": (0, 0), "\u2580": (0, 1), "\u2584": (1, 0), " ": (1, 1)}
"""What a character shows: the module above and the one below, 1 for dark."""


def modules(picture: str) -> list[list[int]]:
    """Read a picture back into its dark and light modules."""
    lines = picture.split("\n")
    assert set(picture) <= {*MODULES, "\n"}
    assert len({len(line) for line in lines}) == 1
    rows = [[MODULES[char][half] for char in line] for line in lines for half in (0, 1)]
    return rows[: len(rows[0])]


@given(vectors.names)
def test_the_picture_is_the_code_of_the_text(name: Name) -> None:
    text = words_trust.contact_text(name, KEY)
    code = segno.make_qr(text, error="l")
    assert modules(qr.picture(text)) == [list(row) for row in code.matrix_iter(border=BORDER)]


@pytest.mark.parametrize("text", ["netchat", LONGEST])
def test_the_picture_has_a_light_frame(text: str) -> None:
    rows = modules(qr.picture(text))
    assert not any(map(any, (*rows[:BORDER], *rows[-BORDER:])))
    assert not any(any(row[:BORDER] + row[-BORDER:]) for row in rows)
    assert any(map(any, rows))


def test_the_longest_key_fits_on_a_small_screen() -> None:
    lines = qr.picture(LONGEST).split("\n")
    assert len(lines) <= 22  # of 24, so that the prompt stands below it
    assert len(lines[0]) <= 80


class Screen(io.TextIOWrapper):
    """A stream with an encoding, on a terminal or not."""

    def __init__(self, encoding: str, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize(
    ("screen", "shows"),
    [
        (Screen("utf-8", is_terminal=True), True),
        (Screen("cp437", is_terminal=True), True),
        (Screen("ascii", is_terminal=True), False),
        (Screen("latin-1", is_terminal=True), False),
        (Screen("utf-8", is_terminal=False), False),
        (None, False),
    ],
)
def test_it_is_drawn_only_where_it_can_be_seen(
    monkeypatch: pytest.MonkeyPatch, screen: Screen | None, shows: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", screen)
    assert shows_pictures() is shows
