"""The rules of mailboxes: pure decisions over the counts that the store keeps.

A mailbox keeps sealed envelopes for a key that holds a name in this directory, until that key took
them or their time is over. It knows no sender: what is counted against a depositor is a hash.
"""

from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final

from netchat.limits import (
    MAIL_BYTES_MAX,
    MAIL_TTL_MS,
    MAILBOX_BYTES_MAX,
    MAILBOX_ENVELOPES_MAX,
    MAILBOX_PER_DEPOSITOR_MAX,
)
from netchat.model import PeerId

DEPOSITOR_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much a mailbox takes, of one depositor, and all mailboxes of a directory together."""

    envelopes_max: int = MAILBOX_ENVELOPES_MAX
    per_depositor_max: int = MAILBOX_PER_DEPOSITOR_MAX
    bytes_max: int = MAILBOX_BYTES_MAX
    directory_bytes_max: int = MAIL_BYTES_MAX

    @property
    def per_depositor_bytes_max(self) -> int:
        return self.bytes_max // 4


@dataclass(frozen=True, slots=True)
class Load:
    """Envelopes that are kept, and their size."""

    envelopes: int = 0
    size: int = 0


class MailRefusal(Enum):
    """Why not; the values are the codes of docs/spec/directory.md."""

    NO_SUCH_RECIPIENT = "no-such-recipient"
    TOO_MANY_FROM_YOU = "too-many-from-you"
    MAILBOX_FULL = "mailbox-full"
    FULL = "full"


def judge_deposit(
    size: int, mailbox: Load, from_depositor: Load, directory_bytes: int, quota: Quota
) -> MailRefusal | None:
    """Say why an envelope of ``size`` bytes is not taken, or None.

    A depositor hears first of its own share, which is smaller: so whoever sends without end learns
    nothing of what others sent.
    """
    if (
        from_depositor.envelopes >= quota.per_depositor_max
        or from_depositor.size + size > quota.per_depositor_bytes_max
    ):
        return MailRefusal.TOO_MANY_FROM_YOU
    if mailbox.envelopes >= quota.envelopes_max or mailbox.size + size > quota.bytes_max:
        return MailRefusal.MAILBOX_FULL
    if directory_bytes + size > quota.directory_bytes_max:
        return MailRefusal.FULL
    return None


def expiry_ms(now_ms: int) -> int:
    """Return until when an envelope is kept that comes now."""
    return now_ms + MAIL_TTL_MS


def depositor_hash(recipient: PeerId, depositor: PeerId) -> bytes:
    """Return what a depositor is counted by: other for each recipient, so that files tell less.

    Keys are public, so whoever has the file and a list of keys can still find out who wrote.
    """
    text = b"netchat-depositor-v1" + recipient.value + depositor.value
    return sha256(text).digest()[:DEPOSITOR_BYTES]
