"""Trust in a name: the whole table, the rules of records, and invariants in any order of events."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from netchat.errors import KeyMismatch, NoKey, TrustError
from netchat.identity.trust import (
    TRANSITIONS,
    Judgement,
    TrustEvent,
    Verdict,
    Way,
    accepted,
    classic_allowed,
    classic_seen,
    forgotten,
    record_seen,
    refused,
    verified,
    way,
)
from netchat.model import Address, Name, PeerId, Pin, Record, SignedRecord, TrustState

BOB = Name("bob")
K, P, Q = (PeerId(letter * 32) for letter in (b"k", b"p", b"q"))

NONE, CLASSIC, TOFU, VERIFIED = TrustState
NOTHING = Pin(name=BOB)


def signed(
    key: PeerId = K,
    seq: int = 5,
    *,
    issued_ms: int = 1_000,
    port: int = 1,
    rotated_from: PeerId | None = None,
) -> SignedRecord:
    """Return a record whose signatures were checked; ``port`` stands for what it says."""
    record = Record(
        name=BOB,
        key=key,
        addresses=(Address("192.0.2.7", port),),
        prekey=b"",
        prekey_until_ms=0,
        capabilities=(),
        seq=seq,
        issued_ms=issued_ms,
        lease_s=60,
    )
    envelope = repr((key, seq, issued_ms, port, rotated_from)).encode()
    return SignedRecord(record, envelope, rotated_from)


def pin_of(state: TrustState) -> Pin:
    match state:
        case TrustState.NONE | TrustState.CLASSIC:
            return Pin(name=BOB, state=state)
        case TrustState.TOFU | TrustState.VERIFIED:
            return Pin(name=BOB, state=state, key=K, record=signed())


PINNED = pin_of(TOFU)
STOPPED = replace(PINNED, pending=signed(P, 1))
keyed_states = pytest.mark.parametrize("state", [TOFU, VERIFIED])


def went(before: Pin, judgement: Judgement) -> Pin:
    """Assert that the pin moved and may be used, and return it."""
    assert judgement.pin != before
    assert (judgement.verdict, judgement.is_news) == (Verdict.GO, True)
    return judgement.pin


# --- the table -----------------------------------------------------------------------------------

EXPECTED: dict[TrustEvent, tuple[TrustState | type[TrustError] | None, ...]] = {
    # What becomes of NONE, CLASSIC, TOFU and VERIFIED; None: the event is another one there.
    TrustEvent.FIRST_KEY: (TOFU, TOFU, None, None),
    TrustEvent.SAME_KEY: (None, None, TOFU, VERIFIED),
    TrustEvent.OTHER_KEY: (None, None, TOFU, VERIFIED),
    TrustEvent.ROTATED_KEY: (None, None, TOFU, VERIFIED),
    TrustEvent.CLASSIC_ENTRY: (CLASSIC, CLASSIC, TOFU, VERIFIED),
    TrustEvent.VERIFIED: (NoKey, NoKey, VERIFIED, VERIFIED),
    TrustEvent.ACCEPTED: (NoKey, NoKey, TOFU, TOFU),
    TrustEvent.REFUSED: (NoKey, NoKey, TOFU, VERIFIED),
    TrustEvent.CLASSIC_ALLOWED: (NONE, CLASSIC, TrustError, TrustError),
    TrustEvent.FORGOTTEN: (NONE, NONE, NONE, NONE),
}


def happen(pin: Pin, event: TrustEvent) -> Pin:
    """Let an event happen to a pin by the function that it comes through."""
    match event:
        case TrustEvent.FIRST_KEY | TrustEvent.SAME_KEY:
            return record_seen(pin, signed(seq=6)).pin
        case TrustEvent.OTHER_KEY:
            return record_seen(pin, signed(P)).pin
        case TrustEvent.ROTATED_KEY:
            return record_seen(pin, signed(P, rotated_from=K)).pin
        case TrustEvent.CLASSIC_ENTRY:
            return classic_seen(pin)
        case TrustEvent.VERIFIED:
            return verified(pin, K)
        case TrustEvent.ACCEPTED:
            return accepted(pin if pin.key is None else replace(pin, pending=signed(P)))
        case TrustEvent.REFUSED:
            return refused(pin if pin.key is None else replace(pin, pending=signed(P)))
        case TrustEvent.CLASSIC_ALLOWED:
            return classic_allowed(pin)
        case TrustEvent.FORGOTTEN:
            return forgotten(pin)


@pytest.mark.parametrize(("state", "event"), list(product(TrustState, TrustEvent)))
def test_every_state_and_event(state: TrustState, event: TrustEvent) -> None:
    """A pair is in the table and leads where it says, or the event is refused there."""
    expected = EXPECTED[event][list(TrustState).index(state)]
    listed = TRANSITIONS.get((state, event))
    match expected:
        case TrustState():
            assert listed is expected
            assert happen(pin_of(state), event).state is expected
        case None:
            assert listed is None
        case _:
            assert listed is None
            with pytest.raises(TrustError) as caught:
                happen(pin_of(state), event)
            assert type(caught.value) is expected
            assert caught.value.name == "bob"


# --- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [NONE, CLASSIC])
def test_the_first_key_is_pinned(state: TrustState) -> None:
    """And plain text, which was allowed before, is not any more."""
    before = replace(pin_of(state), classic_allowed=True)
    for first in (signed(), signed(rotated_from=P)):
        pin = went(before, record_seen(before, first))
        assert pin == Pin(name=BOB, state=TOFU, key=K, record=first)


@keyed_states
def test_a_newer_record_of_the_key(state: TrustState) -> None:
    before, newer = pin_of(state), signed(seq=6, port=2)
    assert went(before, record_seen(before, newer)) == replace(before, record=newer)


@keyed_states
def test_the_first_record_of_a_key_without_one(state: TrustState) -> None:
    """A key can be pinned before any record of it was seen, and rotate then, too."""
    before = replace(pin_of(state), record=None)
    assert went(before, record_seen(before, signed())) == pin_of(state)
    assert went(before, record_seen(before, signed(P, rotated_from=K))).key == P


@keyed_states
def test_the_same_record_again(state: TrustState) -> None:
    """Nothing is to be stored; also when a signature more stands on it."""
    pin = pin_of(state)
    for again in (signed(), signed(rotated_from=Q)):
        assert record_seen(pin, again) == Judgement(pin, Verdict.GO, is_news=False)


@keyed_states
def test_an_older_record_is_not_used(state: TrustState) -> None:
    """Rollback: a directory that hides the newer one."""
    pin = pin_of(state)
    for seq in (0, 4):
        older = signed(seq=seq, issued_ms=9_000)
        assert record_seen(pin, older) == Judgement(pin, Verdict.STALE, is_news=False)


@keyed_states
def test_another_record_under_the_same_number(state: TrustState) -> None:
    """Equivocation: whoever holds the key tells different people different things."""
    pin = pin_of(state)
    for other in (signed(port=2), signed(issued_ms=1_001)):
        assert record_seen(pin, other) == Judgement(pin, Verdict.FORKED, is_news=False)


@keyed_states
def test_another_key_stops_everything(state: TrustState) -> None:
    """The pin stays what it was, but for the key that waits; whatever number it has."""
    before = pin_of(state)
    for other in (signed(P, 1), signed(P, 99), signed(P, rotated_from=Q)):
        expected = Judgement(replace(before, pending=other), Verdict.STOP, is_news=True)
        assert record_seen(before, other) == expected


@keyed_states
def test_a_rotation_moves_the_pin(state: TrustState) -> None:
    """Without a stop, and what was verified stays so; numbers begin anew with the key."""
    before, rotation = pin_of(state), signed(P, 1, rotated_from=K)
    pin = went(before, record_seen(before, rotation))
    assert pin == Pin(name=BOB, state=state, key=P, record=rotation)
    assert record_seen(pin, signed(K, 6)).verdict is Verdict.STOP


def test_a_rotation_that_was_undone_cannot_be_played_back() -> None:
    """Guards the time in ``_is_rotation``: K went to P and back, then the first record comes."""
    there = signed(P, 1, issued_ms=2_000, rotated_from=K)
    back = signed(K, 6, issued_ms=3_000, rotated_from=P)
    pin = record_seen(record_seen(PINNED, there).pin, back).pin
    assert pin.key == K
    assert record_seen(pin, there).verdict is Verdict.STOP
    late = replace(there.record, issued_ms=3_000)
    assert record_seen(pin, replace(there, record=late)).pin.key == P


def test_a_record_of_another_name_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        record_seen(Pin(name=Name("carol")), signed())


# --- while a key waits ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seen",
    [
        signed(),
        signed(seq=6, port=2),  # of the pinned key, newer
        signed(seq=4),
        signed(port=2),
        signed(P, 1),
        signed(P, 2),
        signed(Q),
        signed(Q, rotated_from=P),
        signed(Q, rotated_from=K),  # the pinned key vouches for a third one
        signed(P, rotated_from=Q),
        signed(P, 2, issued_ms=999, rotated_from=K),  # an old rotation
        signed(P, 1, port=2, rotated_from=K),  # another record under the number of the one shown
    ],
)
def test_nothing_changes_while_a_key_waits(seen: SignedRecord) -> None:
    """So the person decides on the key that was shown, and not on one that came since.

    A thief of the pinned key cannot end the wait either, by vouching for a third one.
    """
    assert record_seen(STOPPED, seen) == Judgement(STOPPED, Verdict.STOP, is_news=False)


@keyed_states
@pytest.mark.parametrize("seq", [0, 1, 2])
def test_a_rotation_to_the_key_that_waits(state: TrustState, seq: int) -> None:
    """Ends the wait, as it would have moved the pin had it come first; the newer record counts."""
    before = replace(STOPPED, state=state)
    rotation = signed(P, seq, rotated_from=K)
    pin = went(before, record_seen(before, rotation))
    newest = rotation if seq >= 1 else before.pending
    assert pin == Pin(name=BOB, state=state, key=P, record=newest)


# --- decisions -----------------------------------------------------------------------------------


@keyed_states
def test_verified(state: TrustState) -> None:
    pin = pin_of(state)
    assert verified(pin, K) == pin_of(VERIFIED)
    with pytest.raises(KeyMismatch, match="bob"):
        verified(pin, P)


def test_a_key_that_waits_is_not_verified() -> None:
    """It has to be accepted before; the pinned one can be, and the other waits on."""
    with pytest.raises(KeyMismatch):
        verified(STOPPED, P)
    assert verified(STOPPED, K) == replace(STOPPED, state=VERIFIED)


@keyed_states
def test_accepted(state: TrustState) -> None:
    """The new key is as new as any: VERIFIED falls back to TOFU."""
    pin = accepted(replace(STOPPED, state=state))
    assert pin == Pin(name=BOB, state=TOFU, key=P, record=signed(P, 1))
    assert record_seen(pin, signed()).verdict is Verdict.STOP


@keyed_states
def test_refused(state: TrustState) -> None:
    """The old key goes on; the other one stops nothing when it comes again, and a third one does.

    The guard is the line in ``record_seen`` that asks ``pin.refused``.
    """
    pin = refused(replace(STOPPED, state=state))
    assert pin == replace(pin_of(state), refused=STOPPED.pending.record.key)
    again = record_seen(pin, STOPPED.pending)
    assert again == Judgement(pin, Verdict.REFUSED, is_news=False)
    newer = record_seen(pin, signed(K, seq=pin.record.record.seq + 1) if pin.record else signed(K))
    assert newer.pin.refused == pin.refused
    third = record_seen(pin, signed(Q))
    assert third.verdict is Verdict.STOP
    assert accepted(third.pin).refused is None


@keyed_states
def test_there_is_nothing_to_decide_on(state: TrustState) -> None:
    for decide in (accepted, refused):
        with pytest.raises(NoKey, match="bob"):
            decide(pin_of(state))


@pytest.mark.parametrize("state", TrustState)
def test_forgotten(state: TrustState) -> None:
    pin = pin_of(state)
    assert forgotten(pin) == NOTHING
    assert forgotten(replace(pin, pending=signed(P), classic_allowed=True)) == NOTHING


# --- ways ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pin", "classic_entry", "allow_classic", "expected"),
    [
        (NOTHING, False, False, Way.UNKNOWN),
        (NOTHING, False, True, Way.UNKNOWN),
        (NOTHING, True, False, Way.ASK_CLASSIC),
        (NOTHING, True, True, Way.CLASSIC),
        (pin_of(CLASSIC), False, True, Way.UNKNOWN),
        (pin_of(CLASSIC), True, False, Way.ASK_CLASSIC),
        (pin_of(CLASSIC), True, True, Way.CLASSIC),
        (classic_allowed(NOTHING), True, False, Way.CLASSIC),
        (classic_allowed(NOTHING), False, False, Way.UNKNOWN),
        *((pin_of(TOFU), entry, allow, Way.KEYED) for entry in (0, 1) for allow in (0, 1)),
        *((pin_of(VERIFIED), entry, allow, Way.KEYED) for entry in (0, 1) for allow in (0, 1)),
        *((STOPPED, entry, allow, Way.STOPPED) for entry in (0, 1) for allow in (0, 1)),
    ],
)
def test_ways(pin: Pin, classic_entry: bool, allow_classic: bool, expected: Way) -> None:
    """A name with a key is never spoken to in plain text, whatever is allowed or listed."""
    assert way(pin, classic_entry=classic_entry, allow_classic=allow_classic) is expected


# --- any order of events -------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Strangers, a directory and a person do to one pin what they like."""

    def __init__(self) -> None:
        super().__init__()
        self.pin = NOTHING

    def moved(self, pin: Pin) -> None:
        """Take the pin, and assert what no event may do."""
        before, self.pin = self.pin, pin
        if before.key is not None:
            assert pin.key is not None, "a key only goes when it is forgotten"
        if pin.key == before.key and before.record is not None:
            assert pin.record is not None
            assert pin.record.record.seq >= before.record.record.seq, "numbers never fall"
        if pin.state is VERIFIED and before.state is not VERIFIED:
            assert pin.key == before.key, "only the key that was compared gets verified"

    @rule(
        key=st.sampled_from([K, P, Q]),
        seq=st.integers(0, 4),
        port=st.integers(1, 2),
        issued_ms=st.integers(1_000, 1_002),
        rotated_from=st.sampled_from([None, K, P, Q]),
    )
    def record(
        self, key: PeerId, seq: int, port: int, issued_ms: int, rotated_from: PeerId | None
    ) -> None:
        vouches = None if rotated_from == key else rotated_from
        seen = signed(key, seq, port=port, issued_ms=issued_ms, rotated_from=vouches)
        before = self.pin
        judgement = record_seen(before, seen)
        assert (judgement.pin != before) == judgement.is_news
        assert (judgement.verdict is Verdict.STOP) == (judgement.pin.pending is not None)
        if before.key is not None and judgement.pin.key != before.key:
            assert vouches == before.key, "a pin only moves by the signature of its key"
            assert judgement.pin.key == key
        if judgement.verdict is Verdict.GO:
            assert judgement.pin.key == key
        if before.pending is not None and judgement.pin.pending is not None:
            assert judgement.pin == before, "nothing changes while a key waits"
        self.moved(judgement.pin)

    @rule()
    def classic(self) -> None:
        self.moved(classic_seen(self.pin))

    @precondition(lambda self: self.pin.key is None)
    @rule()
    def allow_classic(self) -> None:
        self.moved(classic_allowed(self.pin))

    @precondition(lambda self: self.pin.key is not None)
    @rule()
    def verify(self) -> None:
        assert self.pin.key is not None
        self.moved(verified(self.pin, self.pin.key))

    @precondition(lambda self: self.pin.pending is not None)
    @rule(accept=st.booleans())
    def decide(self, accept: bool) -> None:
        assert self.pin.pending is not None
        waiting = self.pin.pending.record.key
        before = self.pin
        self.moved(accepted(before) if accept else refused(before))
        assert self.pin.key == (waiting if accept else before.key)
        assert self.pin.pending is None

    @rule()
    def forget(self) -> None:
        self.pin = forgotten(self.pin)
        assert self.pin == NOTHING

    @invariant()
    def a_pin_is_of_one_piece(self) -> None:
        pin = self.pin
        assert (pin.key is not None) == (pin.state in (TOFU, VERIFIED))
        assert pin.record is None or pin.record.record.key == pin.key
        assert pin.pending is None or pin.pending.record.key != pin.key
        assert pin.key is not None or pin.pending is None

    @invariant()
    def a_key_never_gives_way_to_plain_text(self) -> None:
        if self.pin.key is not None:
            assert not self.pin.classic_allowed
            for entry, allow in product((False, True), repeat=2):
                found = way(self.pin, classic_entry=entry, allow_classic=allow)
                assert found is (Way.KEYED if self.pin.pending is None else Way.STOPPED)


TestAnyOrder = AnyOrder.TestCase
