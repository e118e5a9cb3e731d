"""The contract of a directory store, and what a claim is.

Two kinds of truth: *claims* (how a name is written and which key holds it) and *leases* (where it
is). Claims and durable leases are on disk before a call returns; other leases may be lost in a
restart, because their nodes refresh them. Every write may be repeated. tests/directory/contract.py
is the list that each store has to pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from netchat.directory.registry import Lease
from netchat.model import Name

NOBODY = b""
"""The holder of a claim that no key has made: a classic registration."""


@dataclass(frozen=True, slots=True)
class Claim:
    """``name`` as it was first written; ``holder`` is the public key that holds it, or NOBODY."""

    name: Name
    holder: bytes


class DirectoryStore(Protocol):
    """All methods may raise ``StoreUnavailable``: then the same call may be repeated."""

    async def claim(self, name: Name, holder: bytes) -> Claim:
        """Return the claim of ``name``, made now if there is none.

        A key may claim a name that NOBODY holds; from then on it is the key's.

        Raises:
            NameHeld: a key other than ``holder`` holds the name.
        """
        ...

    async def put_lease(self, lease: Lease) -> None:
        """Put ``lease`` in the place of whatever its name had."""
        ...

    async def drop_lease(self, lease: Lease) -> bool:
        """Drop the lease of that name if it is still at that address; tell whether it was."""
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

    async def sweep(self, now_ms: int) -> int:
        """Remove leases that have ended, and claims of NOBODY without one; count the leases."""
        ...

    async def close(self) -> None: ...
