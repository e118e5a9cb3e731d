"""Sets of outbox numbers as ranges, and what they say about holes. Pure arithmetic."""

from collections.abc import Iterable

from netchat.model import Ranges


def of(numbers: Iterable[int]) -> Ranges:
    """Return the ranges that hold ``numbers``, which ascend."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            assert not found or number > found[-1][1], "numbers ascend"
            found.append((number, number))
    return tuple(found)


def union(one: Ranges, other: Ranges) -> Ranges:
    """Return every number that is in one or the other."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted((*one, *other)):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)


def common(one: Ranges, other: Ranges) -> Ranges:
    """Return every number that is in both."""
    found: list[tuple[int, int]] = []
    left, right = list(one), list(other)
    while left and right:
        first, last = max(left[0][0], right[0][0]), min(left[0][1], right[0][1])
        if first <= last:
            found.append((first, last))
        # The range that ends first can meet nothing more.
        (left if left[0][1] <= right[0][1] else right).pop(0)
    return tuple(found)


def without(one: Ranges, other: Ranges) -> Ranges:
    """Return every number that is in ``one`` and not in ``other``."""
    found: list[tuple[int, int]] = []
    taken = list(other)
    for first, last in one:
        while taken and taken[0][1] < first:
            taken.pop(0)
        for cut_first, cut_last in taken:
            if cut_first > last:
                break
            if first < cut_first:
                found.append((first, cut_first - 1))
            first = cut_last + 1
        if first <= last:
            found.append((first, last))
    return tuple(found)


def count(ranges: Ranges) -> int:
    """Return how many numbers ``ranges`` hold."""
    return sum(last - first + 1 for first, last in ranges)


def above(upto: int, ahead: Ranges) -> tuple[int, Ranges]:
    """Move ``upto`` over the ranges that join it; return it and the ranges that stay ahead."""
    rest = list(ahead)
    while rest and rest[0][0] <= upto + 1:
        upto = max(upto, rest.pop(0)[1])
    return upto, tuple(rest)
