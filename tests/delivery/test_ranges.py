"""Sets of numbers as ranges: whatever they say is what a plain set of the numbers says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vectors import many_examples

from netchat.delivery import ranges
from netchat.model import Ranges

NUMBERS = st.frozensets(st.integers(1, 40))
"""Few enough that ranges touch, overlap, hold and miss each other all the time."""


def numbers_of(found: Ranges) -> set[int]:
    """The numbers of ``found``, which has to be in the one form that ``Ranges`` allows."""
    before = -1
    numbers: set[int] = set()
    for first, last in found:
        assert first <= last, "a range holds something"
        assert first > before + 1, "ranges ascend and do not touch"
        numbers.update(range(first, last + 1))
        before = last
    return numbers


def made(numbers: frozenset[int]) -> Ranges:
    return ranges.of(sorted(numbers))


@given(NUMBERS)
def test_ranges_hold_the_numbers_that_they_are_made_of(numbers: frozenset[int]) -> None:
    """Nothing is lost, nothing is added, and each set has one form."""
    assert numbers_of(made(numbers)) == numbers


@pytest.mark.parametrize("numbers", [(1, 1), (2, 1), (1, 2, 2)])
def test_numbers_have_to_ascend(numbers: tuple[int, ...]) -> None:
    """Whoever gives others has made a mistake: the wire lets no such batch in."""
    with pytest.raises(AssertionError):
        ranges.of(numbers)


@many_examples
@given(NUMBERS, NUMBERS)
def test_union_common_and_without_are_those_of_sets(
    one: frozenset[int], other: frozenset[int]
) -> None:
    """Both ways round."""
    assert numbers_of(ranges.union(made(one), made(other))) == one | other
    assert numbers_of(ranges.common(made(one), made(other))) == one & other
    assert numbers_of(ranges.without(made(one), made(other))) == one - other


@given(NUMBERS)
def test_count_is_how_many_there_are(numbers: frozenset[int]) -> None:
    """Without going through them one by one: a range may be as long as it likes."""
    assert ranges.count(made(numbers)) == len(numbers)
    assert ranges.count(((1, 2**53 - 1),)) == 2**53 - 1


@many_examples
@given(st.integers(0, 40), NUMBERS)
def test_above_moves_over_what_joins(upto: int, numbers: frozenset[int]) -> None:
    """Everything up to the new mark is here, the number behind it is not."""
    moved, ahead = ranges.above(upto, made(numbers))
    held = set(range(1, upto + 1)) | numbers
    assert held == set(range(1, moved + 1)) | numbers_of(ahead)
    assert moved + 1 not in held


def test_huge_ranges_cost_no_more_than_small_ones() -> None:
    """A peer may name any: nothing here counts through them."""
    everything: Ranges = ((1, 2**53 - 1),)
    assert ranges.common(everything, ((7, 9),)) == ((7, 9),)
    assert ranges.without(((7, 9),), everything) == ()
    assert ranges.without(everything, ((7, 9),)) == ((1, 6), (10, 2**53 - 1))
    assert ranges.union(everything, ((7, 9),)) == everything
    assert ranges.above(0, everything) == (2**53 - 1, ())
