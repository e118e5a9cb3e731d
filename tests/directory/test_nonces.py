"""Nonces: each of ours counts once, for a minute."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vectors import many_examples

from netchat.directory import nonces as module
from netchat.directory.nonces import NONCE_BYTES, Nonces, Spent
from netchat.limits import NONCE_BYTES_MAX, NONCE_LIFE_MS

NOW = 1_000_000


def counted() -> Callable[[int], bytes]:
    """Return entropy that never gives the same twice."""
    numbers = itertools.count()
    return lambda size: next(numbers).to_bytes(size, "big")


def test_a_nonce_counts_once() -> None:
    """Guards ``nonce in self._spent``: without it a request could be sent again."""
    nonces = Nonces(counted())
    nonce = nonces.make(NOW)
    assert len(nonce) == NONCE_BYTES <= NONCE_BYTES_MAX
    assert [nonces.spend(NOW, nonce) for _ in range(3)] == [Spent.GOOD, Spent.BAD, Spent.BAD]


def test_each_nonce_is_another() -> None:
    """Two requests at the same moment do not get in each other's way."""
    nonces = Nonces(counted())
    made = [nonces.make(NOW) for _ in range(10)]
    assert len(set(made)) == 10
    assert all(nonces.spend(NOW, nonce) is Spent.GOOD for nonce in made)


def test_a_nonce_has_its_time() -> None:
    """It is good until the last millisecond of its life, and never again."""
    for late_ms, result in ((NONCE_LIFE_MS - 1, Spent.GOOD), (NONCE_LIFE_MS, Spent.BAD)):
        nonces = Nonces(counted())
        assert nonces.spend(NOW + late_ms, nonces.make(NOW)) is result


def test_a_nonce_is_forgotten_only_when_it_is_too_old() -> None:
    """Guards the life of what is remembered: used at its last moment, it stays used."""
    nonces = Nonces(counted())
    nonce = nonces.make(NOW)
    assert nonces.spend(NOW, nonce) is Spent.GOOD
    for late_ms in (1, NONCE_LIFE_MS - 1, NONCE_LIFE_MS, 2 * NONCE_LIFE_MS):
        assert nonces.spend(NOW + late_ms, nonce) is Spent.BAD


def test_nonces_of_another_directory_do_not_count() -> None:
    """Nor of the same one before a restart."""
    one, other = Nonces(lambda size: b"1" * size), Nonces(lambda size: b"2" * size)
    assert other.spend(NOW, one.make(NOW)) is Spent.BAD


def test_when_the_clock_goes_back_all_nonces_are_void() -> None:
    """Those that were forgotten would be young again.

    Guards the new key in ``_move_to``.
    """
    nonces = Nonces(counted())
    used, unused = nonces.make(NOW), nonces.make(NOW)
    assert nonces.spend(NOW, used) is Spent.GOOD
    nonces.make(NOW + 10 * NONCE_LIFE_MS)  # the clock jumps ahead: ``used`` is forgotten
    assert nonces.spend(NOW, used) is Spent.BAD
    assert nonces.spend(NOW, unused) is Spent.BAD
    assert nonces.spend(NOW, nonces.make(NOW)) is Spent.GOOD


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit nothing counts until the oldest is forgotten."""
    monkeypatch.setattr(module, "NONCES_SPENT_MAX", 3)
    nonces = Nonces(counted())
    for _ in range(3):
        assert nonces.spend(NOW, nonces.make(NOW)) is Spent.GOOD
    waiting = nonces.make(NOW + 1)
    assert nonces.spend(NOW + 1, waiting) is Spent.BUSY
    later = NOW + NONCE_LIFE_MS
    assert nonces.spend(later, waiting) is Spent.GOOD
    assert nonces.spend(later, waiting) is Spent.BAD


@given(st.integers(0, NONCE_BYTES - 1), st.integers(1, 255))
@many_examples
def test_no_byte_of_a_nonce_can_be_changed(at: int, by: int) -> None:
    """Its time neither."""
    nonces = Nonces(counted())
    nonce = bytearray(nonces.make(NOW))
    nonce[at] ^= by
    assert nonces.spend(NOW, bytes(nonce)) is Spent.BAD


@given(st.binary(max_size=80))
@many_examples
def test_nothing_else_is_a_nonce(data: bytes) -> None:
    """Whatever its length."""
    assert Nonces(counted()).spend(NOW, data) is Spent.BAD
