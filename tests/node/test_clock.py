"""The one source of time, ids and jitter."""

import time
import uuid

from netchat.node.clock import Clock


def test_now_is_in_milliseconds_since_1970() -> None:
    """Between two looks at the system's clock."""
    before = time.time_ns() // 1_000_000
    now_ms = Clock().now_ms()
    assert before <= now_ms <= time.time_ns() // 1_000_000


def test_an_id_is_a_uuid_of_version_7() -> None:
    """RFC 9562 section 5.7: 48 bits of time, version 7, variant 10, the rest random."""
    clock = Clock()
    before = clock.now_ms()
    value = clock.new_id().value
    after = clock.now_ms()
    assert before <= int.from_bytes(value[:6], "big") <= after
    assert value[6] >> 4 == 7
    assert value[8] >> 6 == 0b10
    read = uuid.UUID(bytes=value)
    assert (read.version, read.variant) == (7, uuid.RFC_4122)


def test_the_bits_that_are_random_are_random() -> None:
    """Each of the 74 is seen as 0 and as 1; that it is not, has a chance of 2 ** -190."""
    values = [int.from_bytes(Clock().new_id().value, "big") for _ in range(200)]
    ever = never = 0
    for value in values:
        ever |= value
        never |= ~value
    random_bits = (1 << 80) - 1 - (0xF << 76) - (0b11 << 62)
    assert random_bits.bit_count() == 74
    assert ever & random_bits == random_bits
    assert never & random_bits == random_bits


def test_ids_are_single_and_sort_by_time() -> None:
    """A later one is never before an earlier one by more than its milliseconds."""
    ids = [Clock().new_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert [one.value[:6] for one in ids] == sorted(one.value[:6] for one in ids)


def test_jitter_is_spread_over_its_range() -> None:
    """In [0, 1), as the back-off expects; that all fall in one half has a chance of 2 ** -199."""
    values = [Clock().jitter() for _ in range(200)]
    assert all(0 <= value < 1 for value in values)
    assert min(values) < 0.5 <= max(values)


def test_entropy_is_as_long_as_asked_and_never_the_same() -> None:
    """Names of outboxes and instances are made of it."""
    clock = Clock()
    assert [len(clock.entropy(size)) for size in (0, 8, 32)] == [0, 8, 32]
    assert clock.entropy(32) != clock.entropy(32)
