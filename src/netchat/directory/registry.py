"""The rules of names: pure decisions over what the store holds.

A classic client registers a name that nobody's key holds; it never refreshes and never leaves, so
its entry lasts a day (or what ``--classic-ttl`` says) and survives a restart of the directory. A
node claims a name with a signed record: the first key keeps it. Where that node is, is a *lease*,
which it prolongs.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from netchat.errors import InvalidAddress
from netchat.limits import ADDRESSES_MAX, LEASE_S_MAX, RECORD_AHEAD_MS_MAX
from netchat.model import RESERVED_NAMES, Address, Name, PeerId, Record, SignedRecord
from netchat.wire.directory import Registration, Verb

NOBODY: Final = b""
"""The holder of a name that no key has claimed: a classic registration."""


@dataclass(frozen=True, slots=True)
class Lease:
    """``name`` is at ``address`` until ``expires_ms``; a ``durable`` one is kept on disk.

    ``holder`` is the key that holds the name, which prolongs by ``length_ms``; a classic entry has
    NOBODY. Without an IPv4 address, ``address`` is None: present, but not in the classic list.
    ``seq`` is the number of the record that asked for it.
    """

    name: Name
    address: Address | None
    expires_ms: int
    durable: bool
    holder: bytes = NOBODY
    length_ms: int = 0
    seq: int = 0

    def is_live(self, now_ms: int) -> bool:
        return now_ms < self.expires_ms


@dataclass(frozen=True, slots=True)
class Held:
    """A name that the key ``holder`` holds, with the newest record as it came."""

    name: Name
    holder: PeerId
    seq: int
    envelope: bytes


class Refusal(Enum):
    """Why not; the values are the codes of docs/spec/directory.md."""

    TAKEN = "taken"
    NAME_HELD = "name-held"
    LOOK_ALIKE = "look-alike"
    STALE = "stale"
    ISSUED_AHEAD = "issued-ahead"
    NO_SUCH_RECORD = "no-such-record"
    MOVED = "moved"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal, and the name that stands in the way, if one does."""

    why: Refusal
    name: str = ""


# --- classic registrations -----------------------------------------------------------------------


def register(
    now_ms: int, request: Registration, present: Lease | None, count: int, classic_ttl_ms: int
) -> Lease | Refused:
    """Judge a classic registration of a name that no key holds.

    ``present`` is the entry of that name, live or not, and ``count`` how many entries there are.
    UPDATE moves an entry, REGISTER respects it.
    """
    is_present = present is not None and present.is_live(now_ms)
    if is_present and request.verb is Verb.REGISTER:
        return Refused(Refusal.TAKEN, request.name.shown)
    if not is_present and count >= ADDRESSES_MAX:
        return Refused(Refusal.FULL)
    return Lease(request.name, request.address, now_ms + classic_ttl_ms, durable=True)


# --- claims --------------------------------------------------------------------------------------


class ClaimVerdict(Enum):
    """What a claim is: the FIRST of its name, a NEWER record of its key, the SAME again, or
    ROTATED: another key's, with the signature of the one before."""

    FIRST = "first"
    NEWER = "newer"
    SAME = "same"
    ROTATED = "rotated"


def judge_claim(
    now_ms: int, signed: SignedRecord, held: Held | None, alike: str | None, *, is_full: bool
) -> ClaimVerdict | Refused:
    """Judge a claim whose signatures were verified.

    ``held`` is who holds that name, None when no key does; ``alike`` another name that a key holds
    and that looks like it; ``is_full`` whether there is room for one more name or change of keys.
    ``seq`` never falls under a name, not even when its key changes: so no old record, and no old
    rotation, is ever taken again.
    """
    record = signed.record
    if held is not None and signed.envelope == held.envelope:
        return ClaimVerdict.SAME
    verdict = _holder_verdict(signed, held)
    if verdict is None:
        assert held is not None
        return Refused(Refusal.NAME_HELD, held.name.shown)
    if held is not None and record.seq <= held.seq:
        return Refused(Refusal.STALE, held.name.shown)
    if record.issued_ms > now_ms + RECORD_AHEAD_MS_MAX:
        return Refused(Refusal.ISSUED_AHEAD)
    look_alike = reserved_alike(record.name) or alike
    if look_alike is not None:
        return Refused(Refusal.LOOK_ALIKE, look_alike)
    if is_full and verdict is not ClaimVerdict.NEWER:
        return Refused(Refusal.FULL)
    return verdict


def _holder_verdict(signed: SignedRecord, held: Held | None) -> ClaimVerdict | None:
    if held is None:
        return ClaimVerdict.FIRST
    if signed.record.key == held.holder:
        return ClaimVerdict.NEWER
    return ClaimVerdict.ROTATED if signed.rotated_from == held.holder else None


def lease_of(now_ms: int, record: Record) -> Lease:
    """Return the lease that a record asks for, no longer than anybody gets."""
    length_ms = min(record.lease_s, LEASE_S_MAX) * 1_000
    return Lease(
        record.name,
        _listed_address(record),
        now_ms + length_ms,
        durable=False,
        holder=record.key.value,
        length_ms=length_ms,
        seq=record.seq,
    )


def _listed_address(record: Record) -> Address | None:
    """Return the first address that a classic list can hold."""
    for address in record.addresses:
        try:
            return Address.parse_reachable(str(address))
        except InvalidAddress:
            continue
    return None


# --- names that look alike -----------------------------------------------------------------------

_REPEATED: Final = re.compile(r"([._-])\1+")
_ALIKE: Final = str.maketrans({"I": "l", "1": "l", "0": "o"})


def skeleton(name: Name) -> str:
    """Return what two names have in common when a person may take one for the other.

    Made as in UTS #39 section 4, of what confusables.txt says of the characters that a name may
    have: ``1``, ``l`` and ``I`` are one; ``0`` and ``O``; ``rn`` and ``m``; ``vv`` and ``w``. The
    case of the rest does not count, and neither do separators at the end or twice in a row. It is
    made of the shown form: ``Ali`` is no ``all``, ``aIl`` is.
    """
    return _skeleton(name.shown)


def reserved_alike(name: Name) -> str | None:
    """Return the reserved name that ``name`` looks like, if it does."""
    return _RESERVED.get(skeleton(name))


def _skeleton(shown: str) -> str:
    text = _REPEATED.sub(r"\1", shown.rstrip("._-"))
    return text.translate(_ALIKE).lower().replace("rn", "m").replace("vv", "w")


_RESERVED: Final = {_skeleton(text): text for text in RESERVED_NAMES}
