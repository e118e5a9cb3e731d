"""What is believed of a name: the states of a pin, and what changes them, as a table.

Pure functions on ``model.Pin``. A directory sets nothing of it: it only brings records, and
``record_seen`` judges them. Specification: docs/spec/identity.md, "Trust".
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from netchat.errors import KeyMismatch, NoKey, TrustError
from netchat.model import PeerId, Pin, SignedRecord, TrustState


class TrustEvent(Enum):
    """What can happen to a pin: the first five come from outside, the others from a person."""

    FIRST_KEY = "first-key"
    SAME_KEY = "same-key"
    OTHER_KEY = "other-key"
    ROTATED_KEY = "rotated-key"
    CLASSIC_ENTRY = "classic-entry"
    VERIFIED = "verified"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    CLASSIC_ALLOWED = "classic-allowed"
    FORGOTTEN = "forgotten"


TRANSITIONS: Final[dict[tuple[TrustState, TrustEvent], TrustState]] = {
    (TrustState.NONE, TrustEvent.FIRST_KEY): TrustState.TOFU,
    (TrustState.NONE, TrustEvent.CLASSIC_ENTRY): TrustState.CLASSIC,
    (TrustState.NONE, TrustEvent.CLASSIC_ALLOWED): TrustState.NONE,
    (TrustState.NONE, TrustEvent.FORGOTTEN): TrustState.NONE,
    (TrustState.CLASSIC, TrustEvent.FIRST_KEY): TrustState.TOFU,
    (TrustState.CLASSIC, TrustEvent.CLASSIC_ENTRY): TrustState.CLASSIC,
    (TrustState.CLASSIC, TrustEvent.CLASSIC_ALLOWED): TrustState.CLASSIC,
    (TrustState.CLASSIC, TrustEvent.FORGOTTEN): TrustState.NONE,
    (TrustState.TOFU, TrustEvent.SAME_KEY): TrustState.TOFU,
    (TrustState.TOFU, TrustEvent.OTHER_KEY): TrustState.TOFU,
    (TrustState.TOFU, TrustEvent.ROTATED_KEY): TrustState.TOFU,
    (TrustState.TOFU, TrustEvent.CLASSIC_ENTRY): TrustState.TOFU,
    (TrustState.TOFU, TrustEvent.VERIFIED): TrustState.VERIFIED,
    (TrustState.TOFU, TrustEvent.ACCEPTED): TrustState.TOFU,
    (TrustState.TOFU, TrustEvent.REFUSED): TrustState.TOFU,
    (TrustState.TOFU, TrustEvent.FORGOTTEN): TrustState.NONE,
    (TrustState.VERIFIED, TrustEvent.SAME_KEY): TrustState.VERIFIED,
    (TrustState.VERIFIED, TrustEvent.OTHER_KEY): TrustState.VERIFIED,
    (TrustState.VERIFIED, TrustEvent.ROTATED_KEY): TrustState.VERIFIED,
    (TrustState.VERIFIED, TrustEvent.CLASSIC_ENTRY): TrustState.VERIFIED,
    (TrustState.VERIFIED, TrustEvent.VERIFIED): TrustState.VERIFIED,
    (TrustState.VERIFIED, TrustEvent.ACCEPTED): TrustState.TOFU,
    (TrustState.VERIFIED, TrustEvent.REFUSED): TrustState.VERIFIED,
    (TrustState.VERIFIED, TrustEvent.FORGOTTEN): TrustState.NONE,
}
"""What is not here is refused. A key that is pinned never gives way to plain text."""


class Verdict(Enum):
    """What may be done with the name after a record was seen.

    GO use what the pin says. STOP another key waits for a person: send nothing, take nothing.
    STALE the record is older than one seen before, FORKED another one under the same number, and
    REFUSED of a key that a person decided against; such a record is not used, and the pin stands
    as it was.
    """

    GO = "go"
    STOP = "stop"
    STALE = "stale"
    FORKED = "forked"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judgement:
    """``is_news``: the pin differs from before and has to be stored; with STOP, the key that waits
    is new, so a person is to be told."""

    pin: Pin
    verdict: Verdict
    is_news: bool


class Way(Enum):
    """How a name may be spoken to. ASK_CLASSIC in plain text, after a yes; UNKNOWN not yet."""

    KEYED = "keyed"
    CLASSIC = "classic"
    ASK_CLASSIC = "ask-classic"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


# --- what comes from outside ---------------------------------------------------------------------


def record_seen(pin: Pin, signed: SignedRecord) -> Judgement:
    """Judge a record of the name, which came by any way; its signatures were checked.

    The first key is pinned. A rotation, which the pinned key signed too, moves the pin. Any other
    key waits for a person, and until then the pin stays as it is, whatever else comes: so a
    decision is always about the key that was shown. Only a rotation to that very key ends the wait.
    """
    assert signed.record.name == pin.name, "a record is judged by the pin of its own name"
    if pin.pending is not None:
        return _seen_while_stopped(pin, pin.pending, signed)
    if pin.key is None:
        return _pinned(pin, TrustEvent.FIRST_KEY, signed)
    if signed.record.key == pin.key:
        verdict = _by_number(pin.record, signed)
        if verdict is not Verdict.GO or _is_known(pin.record, signed):
            return Judgement(pin, verdict, is_news=False)
        return _pinned(pin, TrustEvent.SAME_KEY, signed)
    if _is_rotation(pin, signed):
        return _pinned(pin, TrustEvent.ROTATED_KEY, signed)
    if signed.record.key == pin.refused:
        return Judgement(pin, Verdict.REFUSED, is_news=False)
    state = _next(pin, TrustEvent.OTHER_KEY)
    return Judgement(replace(pin, state=state, pending=signed), Verdict.STOP, is_news=True)


def classic_seen(pin: Pin) -> Pin:
    """Note that the name has a classic entry; a pin with a key does not change."""
    return replace(pin, state=_next(pin, TrustEvent.CLASSIC_ENTRY))


def _seen_while_stopped(pin: Pin, pending: SignedRecord, signed: SignedRecord) -> Judgement:
    stopped = Judgement(pin, Verdict.STOP, is_news=False)
    if signed.record.key != pending.record.key or not _is_rotation(pin, signed):
        return stopped
    match _by_number(pending, signed):
        case Verdict.GO:
            return _pinned(pin, TrustEvent.ROTATED_KEY, signed)
        case Verdict.STALE:  # the rotation proves the key; its newest record is the other one
            return _pinned(pin, TrustEvent.ROTATED_KEY, pending)
        case _:
            return stopped


def _pinned(pin: Pin, event: TrustEvent, signed: SignedRecord) -> Judgement:
    key = signed.record.key
    refused = pin.refused if key == pin.key else None
    moved = Pin(name=pin.name, state=_next(pin, event), key=key, record=signed, refused=refused)
    return Judgement(moved, Verdict.GO, is_news=True)


def _by_number(known: SignedRecord | None, seen: SignedRecord) -> Verdict:
    """Judge a record beside the newest one of the same key. Raised numbers only, and one each."""
    if known is None or seen.record.seq > known.record.seq:
        return Verdict.GO
    if seen.record.seq < known.record.seq:
        return Verdict.STALE
    # The envelope may differ: a rotation adds a signature to the same record.
    return Verdict.GO if seen.record == known.record else Verdict.FORKED


def _is_known(known: SignedRecord | None, seen: SignedRecord) -> bool:
    return known is not None and seen.record == known.record


def _is_rotation(pin: Pin, signed: SignedRecord) -> bool:
    """Tell whether the pinned key vouches for the new one.

    Not with a record older than its own newest: who went back to an old key could else be moved
    away from it again, by playing back the first rotation.
    """
    if signed.rotated_from != pin.key:
        return False
    return pin.record is None or signed.record.issued_ms >= pin.record.record.issued_ms


# --- what a person decides -----------------------------------------------------------------------


def verified(pin: Pin, key: PeerId) -> Pin:
    """Note that a person compared ``key``. A key that waits is not verified before it is accepted.

    Raises:
        NoKey: none is pinned.
        KeyMismatch: another one is.
    """
    state = _next(pin, TrustEvent.VERIFIED)
    if key != pin.key:
        raise KeyMismatch(pin.name.shown)
    return replace(pin, state=state)


def accepted(pin: Pin) -> Pin:
    """Let the key that waits take the place of the pinned one. Raises NoKey when none waits."""
    if pin.pending is None:
        raise NoKey(pin.name.shown, is_new=True)
    return _pinned(pin, TrustEvent.ACCEPTED, pin.pending).pin


def refused(pin: Pin) -> Pin:
    """Drop the key that waits, and do not ask about it again. Raises NoKey when none waits."""
    if pin.pending is None:
        raise NoKey(pin.name.shown, is_new=True)
    state, key = _next(pin, TrustEvent.REFUSED), pin.pending.record.key
    return replace(pin, state=state, pending=None, refused=key)


def classic_allowed(pin: Pin) -> Pin:
    """Allow plain text to the name, until a key is pinned. Raises TrustError when one is."""
    return replace(pin, state=_next(pin, TrustEvent.CLASSIC_ALLOWED), classic_allowed=True)


def forgotten(pin: Pin) -> Pin:
    """Forget everything: the next key of the name is the first one again."""
    return Pin(name=pin.name, state=_next(pin, TrustEvent.FORGOTTEN))


def way(pin: Pin, *, classic_entry: bool, allow_classic: bool) -> Way:
    """Return how the name may be spoken to now.

    ``classic_entry``: a directory has an address for plain text. ``allow_classic``: plain text is
    allowed to everybody who has no key. Nothing makes a name with a key be spoken to in plain text.
    """
    if pin.pending is not None:
        return Way.STOPPED
    if pin.key is not None:
        return Way.KEYED
    if not classic_entry:
        return Way.UNKNOWN
    return Way.CLASSIC if allow_classic or pin.classic_allowed else Way.ASK_CLASSIC


def _next(pin: Pin, event: TrustEvent) -> TrustState:
    state = TRANSITIONS.get((pin.state, event))
    if state is None:
        raise NoKey(pin.name.shown) if pin.key is None else TrustError(pin.name.shown)
    return state
