"""Who may begin a handshake, and who makes room, without a socket or a clock."""

from netchat.limits import (
    HANDSHAKES_PER_ADDRESS_S_MAX,
    LINKS_HALF_OPEN_MAX,
    LINKS_HALF_OPEN_PER_ADDRESS_MAX,
)
from netchat.transport.crowd import Crowd

RATE = round(HANDSHAKES_PER_ADDRESS_S_MAX)


def taken(crowd: Crowd[str], host: str, now_s: float) -> int:
    """How many handshakes ``host`` gets at once."""
    count = 0
    while crowd.may_begin(host, now_s):
        count += 1
    return count


def test_a_burst_and_then_a_rate() -> None:
    """Twice what a second brings, then what time brings, and never more than the burst again."""
    crowd: Crowd[str] = Crowd()
    assert taken(crowd, "192.0.2.1", 100.0) == 2 * RATE
    assert taken(crowd, "192.0.2.1", 100.5) == RATE // 2
    assert taken(crowd, "192.0.2.1", 101.5) == RATE
    assert taken(crowd, "192.0.2.1", 1_000.0) == 2 * RATE


def test_each_address_has_its_own() -> None:
    """Who floods takes nothing away from others."""
    crowd: Crowd[str] = Crowd()
    taken(crowd, "192.0.2.1", 100.0)
    assert taken(crowd, "192.0.2.2", 100.0) == 2 * RATE


def test_who_asks_in_vain_is_not_punished_for_it() -> None:
    """A refusal costs nothing more: a classroom that retries gets in at the rate."""
    crowd: Crowd[str] = Crowd()
    taken(crowd, "192.0.2.1", 100.0)
    for step in range(100):
        crowd.may_begin("192.0.2.1", 100.0 + step / 10_000)
    assert taken(crowd, "192.0.2.1", 101.0) == RATE


def test_addresses_are_forgotten() -> None:
    """Guards the memory: what is kept are the addresses of the last two seconds."""
    crowd: Crowd[str] = Crowd()
    for number in range(10_000):
        crowd.may_begin(f"10.0.{number // 250}.{number % 250}", number / 1_000)
    assert len(crowd._buckets) <= 2_001


def test_the_oldest_of_one_address_makes_room() -> None:
    """Its own, not somebody else's."""
    crowd: Crowd[str] = Crowd()
    crowd.add("192.0.2.9", "another")
    for number in range(LINKS_HALF_OPEN_PER_ADDRESS_MAX):
        assert crowd.make_room("192.0.2.1") is None
        crowd.add("192.0.2.1", f"{number}")
    assert crowd.make_room("192.0.2.1") == "0"
    crowd.add("192.0.2.1", "new")
    assert crowd.make_room("192.0.2.1") == "1"
    assert len(crowd) == LINKS_HALF_OPEN_PER_ADDRESS_MAX
    assert crowd.make_room("192.0.2.9") is None


def test_where_all_together_are_too_many_the_largest_group_loses_one() -> None:
    """Guards those who come alone: a hundred machines of one attacker displace each other first."""
    crowd: Crowd[str] = Crowd()
    crowd.add("192.0.2.9", "alone")
    number = 0
    while len(crowd) < LINKS_HALF_OPEN_MAX:
        crowd.add(f"10.0.0.{number % 10}", f"{number}")
        number += 1
    assert crowd.make_room("192.0.2.8") == "0"
    crowd.add("192.0.2.8", "new")
    assert crowd.make_room("192.0.2.7") == "1"
    assert {"alone", "new"} <= set(crowd)


def test_who_has_left_counts_no_more() -> None:
    """Twice is no error: a link may be displaced and then end."""
    crowd: Crowd[str] = Crowd()
    crowd.add("192.0.2.1", "one")
    crowd.remove("192.0.2.1", "one")
    crowd.remove("192.0.2.1", "one")
    assert len(crowd) == 0
    assert list(crowd) == []
    assert crowd._here == {}
