"""The rules of mailboxes: who may leave how much, and until when it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.directory.people import ALICE, BOB, CAROL
from tests.vectors import many_examples

from netchat.directory.mailbox import (
    DEPOSITOR_BYTES,
    Load,
    MailRefusal,
    Quota,
    depositor_hash,
    expiry_ms,
    judge_deposit,
)
from netchat.limits import (
    ENVELOPE_BYTES_MAX,
    MAIL_TTL_MS,
    MAILBOX_BYTES_MAX,
    MAILBOX_ENVELOPES_MAX,
    MAILBOX_PER_DEPOSITOR_MAX,
)

QUOTA = Quota(envelopes_max=10, per_depositor_max=3, bytes_max=4_000, directory_bytes_max=9_000)
CASES = {
    "the first": (Load(), Load(), 0, None),
    "the last in the mailbox": (Load(9, 0), Load(2, 0), 0, None),
    "one more than the mailbox takes": (Load(10, 0), Load(2, 0), 0, MailRefusal.MAILBOX_FULL),
    "one more than a depositor may": (Load(9, 0), Load(3, 0), 0, MailRefusal.TOO_MANY_FROM_YOU),
    "both": (Load(10, 0), Load(3, 0), 0, MailRefusal.TOO_MANY_FROM_YOU),
    "the last byte in the mailbox": (Load(1, 3_900), Load(), 0, None),
    "a byte more than that": (Load(1, 3_901), Load(), 0, MailRefusal.MAILBOX_FULL),
    "the last byte of a depositor": (Load(1, 900), Load(1, 900), 0, None),
    "a byte more than he may": (Load(1, 901), Load(1, 901), 0, MailRefusal.TOO_MANY_FROM_YOU),
    "the last byte of all": (Load(), Load(), 8_900, None),
    "a byte more than all": (Load(), Load(), 8_901, MailRefusal.FULL),
}  # fmt: skip


@pytest.mark.parametrize(
    ("mailbox", "share", "directory_bytes", "refusal"), CASES.values(), ids=CASES.keys()
)
def test_every_case_of_a_deposit(
    mailbox: Load, share: Load, directory_bytes: int, refusal: MailRefusal | None
) -> None:
    """An envelope of 100 bytes, with little room left."""
    assert judge_deposit(100, mailbox, share, directory_bytes, QUOTA) is refusal


loads = st.builds(Load, st.integers(0, 12), st.integers(0, 5_000))


@given(st.integers(1, 5_000), loads, loads, st.integers(0, 10_000))
@many_examples
def test_whatever_is_taken_is_within_the_quota(
    size: int, mailbox: Load, share: Load, directory_bytes: int
) -> None:
    """Every bound holds behind every deposit."""
    if judge_deposit(size, mailbox, share, directory_bytes, QUOTA) is None:
        assert mailbox.envelopes + 1 <= QUOTA.envelopes_max
        assert share.envelopes + 1 <= QUOTA.per_depositor_max
        assert mailbox.size + size <= QUOTA.bytes_max
        assert share.size + size <= QUOTA.bytes_max // 4
        assert directory_bytes + size <= QUOTA.directory_bytes_max


def test_the_quota_unless_told() -> None:
    """As the limits say; one depositor never fills a mailbox, and the largest envelope fits."""
    quota = Quota()
    assert quota.envelopes_max == MAILBOX_ENVELOPES_MAX
    assert quota.per_depositor_max == MAILBOX_PER_DEPOSITOR_MAX < quota.envelopes_max
    assert quota.bytes_max == MAILBOX_BYTES_MAX < quota.directory_bytes_max
    assert judge_deposit(ENVELOPE_BYTES_MAX, Load(), Load(), 0, quota) is None


def test_mail_expires() -> None:
    """A week after it came."""
    assert expiry_ms(1_000) == 1_000 + MAIL_TTL_MS


def test_a_depositor_is_another_to_each_recipient() -> None:
    """So that a file of one mailbox tells nothing about another, without a list of keys."""
    alice, bob, carol = ALICE.peer_id, BOB.peer_id, CAROL.peer_id
    hashes = {depositor_hash(*pair) for pair in ((alice, bob), (carol, bob), (bob, alice))}
    assert len(hashes) == 3
    assert all(len(one) == DEPOSITOR_BYTES for one in hashes)
    assert depositor_hash(alice, bob) == depositor_hash(alice, bob)
