"""The rules of registration: pure decisions over what the store holds.

A node of ours holds a *lease* that it refreshes. A classic client never refreshes and never leaves,
so its entry lasts a day (or what ``--classic-ttl`` says) and survives a restart of the directory.
"""

from dataclasses import dataclass
from enum import Enum

from netchat.limits import ADDRESSES_MAX
from netchat.model import Address, Name
from netchat.wire.directory import LeaseAction, LeaseWish, Registration, Verb


@dataclass(frozen=True, slots=True)
class Lease:
    """``name`` is at ``address`` until ``expires_ms``; a ``durable`` one is kept on disk."""

    name: Name
    address: Address
    expires_ms: int
    durable: bool

    def is_live(self, now_ms: int) -> bool:
        return now_ms < self.expires_ms


class Verdict(Enum):
    """``GRANT`` put the lease; ``END`` drop it; ``NOTHING`` leave all as it is, and say yes."""

    GRANT = "grant"
    END = "end"
    NOTHING = "nothing"


class Refusal(Enum):
    """Why not: the name is present already, has moved elsewhere, or the directory is full."""

    TAKEN = "taken"
    MOVED = "moved"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    lease: Lease


def decide(
    now_ms: int,
    request: Registration,
    wish: LeaseWish | None,
    present: Lease | None,
    count: int,
    classic_ttl_ms: int,
) -> Decision | Refusal:
    """Judge a registration.

    ``present`` is the entry of that name, live or not, and ``count`` how many entries there are.
    Without a ``wish`` the request is a classic one. UPDATE moves an entry, REGISTER respects it.
    """
    if present is not None and not present.is_live(now_ms):
        present = None
    same_address = present is not None and present.address == request.address
    if wish is not None and wish.action is LeaseAction.END:
        lease = present or _lease(now_ms, request, wish, classic_ttl_ms)
        return Decision(Verdict.END if same_address else Verdict.NOTHING, lease)
    if request.verb is Verb.REGISTER and present is not None:
        return Refusal.TAKEN
    if wish is not None and wish.action is LeaseAction.KEEP and present and not same_address:
        return Refusal.MOVED
    if present is None and count >= ADDRESSES_MAX:
        return Refusal.FULL
    return Decision(Verdict.GRANT, _lease(now_ms, request, wish, classic_ttl_ms))


def _lease(
    now_ms: int, request: Registration, wish: LeaseWish | None, classic_ttl_ms: int
) -> Lease:
    ttl_ms = classic_ttl_ms if wish is None else wish.seconds * 1_000
    return Lease(request.name, request.address, now_ms + ttl_ms, durable=wish is None)
