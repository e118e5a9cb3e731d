"""What came from peers, beside the messages: which numbers are here, and mail that has to wait."""

import sqlite3

import pytest
from tests.store.people import BOB, BOBS, CAROL, CAROLS

from netchat.model import Ranges
from netchat.store.arrivals import Arrivals


@pytest.fixture
def arrivals(connection: sqlite3.Connection) -> Arrivals:
    return Arrivals(connection)


@pytest.mark.parametrize("ahead", [(), ((7, 9),), ((7, 9), (12, 12), (2**53 - 2, 2**53 - 1))])
def test_a_mark_comes_back_as_it_was_set(arrivals: Arrivals, ahead: Ranges) -> None:
    """Up to where everything is here, and the ranges ahead of it."""
    arrivals.set_mark(BOBS, b"stream 1", 5, ahead)
    assert arrivals.mark(BOBS, b"stream 1") == (5, ahead)


def test_a_mark_belongs_to_one_outbox_of_one_key(arrivals: Arrivals) -> None:
    """A peer with a new disk counts anew."""
    arrivals.set_mark(BOBS, b"stream 1", 5, ())
    arrivals.set_mark(BOBS, b"stream 2", 1, ())
    arrivals.set_mark(BOBS, b"stream 1", 6, ((8, 8),))
    assert arrivals.mark(BOBS, b"stream 1") == (6, ((8, 8),))
    assert arrivals.mark(BOBS, b"stream 2") == (1, ())
    assert arrivals.mark(CAROLS, b"stream 1") == (None, ())


def test_nothing_came_is_not_up_to_nothing(arrivals: Arrivals) -> None:
    """Before the first item of a stream no number is missing."""
    assert arrivals.mark(BOBS, b"stream 1") == (None, ())
    arrivals.set_mark(BOBS, b"stream 1", 0, ())
    assert arrivals.mark(BOBS, b"stream 1") == (0, ())


def test_held_mail_is_taken_in_the_order_in_which_it_came(arrivals: Arrivals) -> None:
    """Of the key that was decided for; the rest under that name goes with it."""
    for body in (b"one", b"two"):
        arrivals.hold(BOB, BOBS, body, 1)
        arrivals.hold(BOB, CAROLS, b"not " + body, 1)
    arrivals.hold(CAROL, CAROLS, b"another name", 1)
    assert arrivals.held_counts(BOB, CAROLS) == (5, 2)
    assert arrivals.take_held(BOB, BOBS) == [b"one", b"two"]
    assert arrivals.held_counts(BOB, CAROLS) == (1, 0)
    assert arrivals.take_held(BOB, BOBS) == []
    assert arrivals.take_held(CAROL, CAROLS) == [b"another name"]


def test_held_mail_is_dropped_when_it_is_nobodys(arrivals: Arrivals) -> None:
    """A person may want none of it."""
    arrivals.hold(BOB, BOBS, b"one", 1)
    assert arrivals.take_held(BOB, None) == []
    assert arrivals.held_counts(BOB, BOBS) == (0, 0)


def test_an_envelope_that_comes_again_is_held_once(arrivals: Arrivals) -> None:
    """A directory may bring it as often as it likes."""
    assert arrivals.hold(BOB, BOBS, b"one", 1)
    assert not arrivals.hold(BOB, BOBS, b"one", 2)
    assert arrivals.hold(BOB, CAROLS, b"one", 3)
    assert arrivals.hold(CAROL, BOBS, b"one", 4)
    assert arrivals.take_held(BOB, BOBS) == [b"one"]
