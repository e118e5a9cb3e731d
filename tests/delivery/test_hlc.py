"""The clock of a conversation: an answer stands below what it answers, whatever clocks say."""

from hypothesis import given
from hypothesis import strategies as st
from tests.delivery.made import NOW

from netchat.delivery.hlc import following
from netchat.limits import HLC_AHEAD_MS_MAX, HLC_BITS_COUNTER, HLC_MAX

DAY_MS = 86_400_000
CLOCKS = st.integers(NOW - 199 * DAY_MS, NOW + 199 * DAY_MS)
"""Clocks of two machines: half a year wrong, on either side."""


def test_a_first_message_is_stamped_with_the_time() -> None:
    """The milliseconds stand above the counter."""
    assert following(NOW, 0) == NOW << HLC_BITS_COUNTER


def test_messages_of_the_same_millisecond_are_counted() -> None:
    """Their order is that in which they were written."""
    first = following(NOW, 0)
    second = following(NOW, first)
    assert (first, second) == (NOW << HLC_BITS_COUNTER, (NOW << HLC_BITS_COUNTER) + 1)


def test_a_clock_that_is_set_back_changes_no_order() -> None:
    """What is written later stands below, though the clock says that it is earlier."""
    first = following(NOW, 0)
    assert following(NOW - DAY_MS, first) == first + 1


@given(st.lists(st.tuples(st.booleans(), CLOCKS), min_size=2, max_size=30))
def test_a_conversation_has_the_same_order_on_both_sides(turns: list[tuple[bool, int]]) -> None:
    """Two people who answer each other: each message is above all that its writer has seen."""
    newest = 0
    for _, now_ms in turns:
        stamped = following(now_ms, newest)
        assert stamped > newest
        newest = stamped


@given(CLOCKS, st.integers(0, HLC_MAX))
def test_a_clock_beyond_reason_is_not_followed(now_ms: int, newest: int) -> None:
    """One message from the year 3000 does not take all later ones there, nor out of the disk's
    numbers."""
    stamped = following(now_ms, newest)
    ahead = (now_ms + HLC_AHEAD_MS_MAX) << HLC_BITS_COUNTER
    assert now_ms << HLC_BITS_COUNTER <= stamped <= min(ahead + 1, HLC_MAX)
    assert stamped > newest or newest > ahead - 1


def test_what_was_wrong_is_left_behind_when_the_clock_is_right_again() -> None:
    """Later messages of ours stand in the order of our clock."""
    wrong = HLC_MAX
    assert following(NOW + 1, wrong) > following(NOW, wrong)
