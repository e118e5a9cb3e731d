"""The contract of a directory store.

Truths of three kinds: *claims* (which key holds a name, with its record, and the log of how it came
to that), *leases* (where a name is) and *mail*. Claims, the log, mail and classic entries are on
disk before a call returns; leases of keys may be lost in a restart, because their nodes prolong
them. Every write may be repeated. What is decided together is decided in one transaction.
tests/directory/contract.py is the list that each store has to pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from netchat.directory.mailbox import MailRefusal, Quota
from netchat.directory.registry import ClaimVerdict, Held, Lease, Refused
from netchat.model import Name, PeerId, SignedRecord
from netchat.wire.directory_v2 import LogEntry


@dataclass(frozen=True, slots=True)
class Deposited:
    """An envelope lies in its mailbox until ``until_ms``, at ``cursor``."""

    cursor: int
    until_ms: int


class DirectoryStore(Protocol):
    """All methods may raise ``StoreUnavailable``: then the same call may be repeated."""

    async def directory_id(self, fresh: bytes) -> bytes:
        """Return the id of this directory, which is ``fresh`` from now on if it has none."""
        ...

    # --- names -----------------------------------------------------------------------------------

    async def enter(self, name: Name) -> Name | Refused:
        """Return ``name`` as it was first written, for a classic registration.

        Refused with NAME_HELD, or with LOOK_ALIKE when it looks like a name that a key holds or
        that is reserved.
        """
        ...

    async def claim(self, signed: SignedRecord, now_ms: int) -> ClaimVerdict | Refused:
        """Judge a verified record (``registry.judge_claim``) and keep it, with its log entry.

        The classic entry of that name ends with it.
        """
        ...

    async def release(self, name: Name, now_ms: int) -> bool:
        """Take ``name`` from the key that holds it, and log that; tell whether one did."""
        ...

    async def held(self, name: Name) -> Held | None:
        """Return who holds ``name``, None when no key does."""
        ...

    async def page(self, after: Name | None, limit: int, bytes_max: int) -> Sequence[Held]:
        """Return up to ``limit`` names that keys hold, in order, behind ``after``.

        Fewer when their records have more than ``bytes_max``, but one at least if there is one.
        """
        ...

    async def log(self, after: int, limit: int, name: Name | None) -> Sequence[LogEntry]:
        """Return up to ``limit`` entries of the log behind number ``after``, or of ``name``."""
        ...

    # --- leases ----------------------------------------------------------------------------------

    async def put_lease(self, lease: Lease) -> None:
        """Put ``lease`` in the place of whatever its name had."""
        ...

    async def drop_lease(self, name: Name, holder: PeerId) -> bool:
        """Drop the lease of ``name`` if it is that key's; tell whether it was."""
        ...

    def lease(self, name: Name) -> Lease | None:
        """Return the lease of ``name``, live or not."""
        ...

    def leases(self) -> Sequence[Lease]:
        """Return all leases in the order of their names, live or not."""
        ...

    def lease_count(self) -> int:
        """Return how many leases there are, live or not."""
        ...

    # --- mail ------------------------------------------------------------------------------------

    async def deposit(
        self, recipient: PeerId, depositor: PeerId, envelope: bytes, now_ms: int, quota: Quota
    ) -> Deposited | MailRefusal:
        """Keep an envelope for ``recipient``, who has to hold a name here (``mailbox``).

        One that lies there already is not kept twice, whatever the quota says.
        """
        ...

    async def fetch(
        self, recipient: PeerId, after: int, limit: int, bytes_max: int, now_ms: int
    ) -> Sequence[tuple[int, bytes]]:
        """Return envelopes behind the cursor ``after``, oldest first, none that has expired.

        Fewer than ``limit`` when they have more than ``bytes_max``, but one at least.
        """
        ...

    async def acknowledge(self, recipient: PeerId, through: int) -> int:
        """Remove what lies up to the cursor ``through``; count it."""
        ...

    async def newest_cursor(self, recipient: PeerId) -> int | None:
        """Return the cursor of the newest envelope there ever was, 0 without one.

        None when that key holds no name here.
        """
        ...

    # --- care ------------------------------------------------------------------------------------

    async def sweep(self, now_ms: int) -> int:
        """Remove leases and mail that have ended, and classic names without a lease.

        Counts the leases.
        """
        ...

    async def close(self) -> None: ...
