"""Hybrid logical clocks: timestamps that order a conversation alike on both sides.

A timestamp is milliseconds since 1970, shifted by ``HLC_BITS_COUNTER``, plus a counter. A message
is stamped above everything that its conversation holds, so an answer always stands below what it
answers, whatever the two machines' clocks say. Source: Kulkarni and others, "Logical Physical
Clocks" (2014). One clock a conversation, so that a wrong clock disturbs nobody else.
"""

from netchat.limits import HLC_AHEAD_MS_MAX, HLC_BITS_COUNTER


def following(now_ms: int, newest: int) -> int:
    """Return the timestamp of a message that is written now, when ``newest`` is the latest seen.

    A peer's clock that is more than ``HLC_AHEAD_MS_MAX`` ahead is not followed: one wrong message
    would otherwise put every later one beyond any date.
    """
    followed = min(newest, (now_ms + HLC_AHEAD_MS_MAX) << HLC_BITS_COUNTER)
    return max(now_ms << HLC_BITS_COUNTER, followed + 1)
