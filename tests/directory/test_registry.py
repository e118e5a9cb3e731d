"""The rules of names: every case in a table, and what holds in all of them."""

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.directory.people import ALICE, BOB, CAROL, MALLORY, record, signed
from tests.vectors import Vector, many_examples

from netchat.directory.registry import (
    NOBODY,
    ClaimVerdict,
    Held,
    Lease,
    Refusal,
    Refused,
    judge_claim,
    lease_of,
    register,
    reserved_alike,
    skeleton,
)
from netchat.errors import InvalidName
from netchat.limits import ADDRESSES_MAX, LEASE_S_MAX, RECORD_AHEAD_MS_MAX
from netchat.model import Address, Name, SignedRecord
from netchat.wire.directory import Registration, Verb

NOW_MS = 1_000_000
CLASSIC_TTL_MS = 86_400_000
HERE = Address("192.0.2.7", 54_321)
ELSEWHERE = Address("192.0.2.8", 54_321)
NAME = Name("alice")

# --- classic registrations -----------------------------------------------------------------------

PRESENT = {
    "nobody": None,
    "expired here": Lease(NAME, HERE, NOW_MS, durable=True),
    "expired elsewhere": Lease(NAME, ELSEWHERE, NOW_MS, durable=True),
    "here": Lease(NAME, HERE, NOW_MS + 1, durable=True),
    "elsewhere": Lease(NAME, ELSEWHERE, NOW_MS + 1, durable=True),
}
COUNTS = {"room": ADDRESSES_MAX - 1, "full": ADDRESSES_MAX}


def expected(verb: str, present: str, count: str) -> Refusal | None:
    if present in ("here", "elsewhere"):
        return Refusal.TAKEN if verb == "REGISTER" else None
    return Refusal.FULL if count == "full" else None


@pytest.mark.parametrize(
    ("verb", "present", "count"), list(itertools.product(("UPDATE", "REGISTER"), PRESENT, COUNTS))
)
def test_every_case_of_a_registration(verb: str, present: str, count: str) -> None:
    """Only a name that is new needs room; REGISTER respects who is there, UPDATE moves."""
    request = Registration(Verb(verb), NAME, HERE)
    decision = register(NOW_MS, request, PRESENT[present], COUNTS[count], CLASSIC_TTL_MS)
    why = expected(verb, present, count)
    if why is None:
        assert decision == Lease(NAME, HERE, NOW_MS + CLASSIC_TTL_MS, durable=True)
    else:
        assert isinstance(decision, Refused)
        assert decision.why is why


def test_a_lease_is_live_until_its_last_millisecond() -> None:
    """At ``expires_ms`` it has ended: neighbours in time never both hold it."""
    lease = Lease(NAME, HERE, NOW_MS, durable=False)
    assert lease.is_live(NOW_MS - 1)
    assert not lease.is_live(NOW_MS)


# --- claims --------------------------------------------------------------------------------------


def held_by(one: SignedRecord) -> Held:
    return Held(one.record.name, one.record.key, one.record.seq, one.envelope)


FIRST = signed(ALICE, "alice", seq=5)
NOW_HELD = held_by(FIRST)
CLAIMS = {
    "of a name that nobody holds": (FIRST, None, ClaimVerdict.FIRST),
    "a rotation of what nobody holds": (
        signed(BOB, "alice", old=ALICE), None, ClaimVerdict.FIRST
    ),
    "the same again": (FIRST, NOW_HELD, ClaimVerdict.SAME),
    "a newer record": (signed(ALICE, "alice", seq=6), NOW_HELD, ClaimVerdict.NEWER),
    "another way to write it": (signed(ALICE, "ALICE", seq=6), NOW_HELD, ClaimVerdict.NEWER),
    "an older record": (signed(ALICE, "alice", seq=4), NOW_HELD, Refusal.STALE),
    "the same number, another record": (
        signed(ALICE, "alice", seq=5, lease_s=61), NOW_HELD, Refusal.STALE
    ),
    "another key": (signed(MALLORY, "alice", seq=6), NOW_HELD, Refusal.NAME_HELD),
    "another key, older": (signed(MALLORY, "alice", seq=1), NOW_HELD, Refusal.NAME_HELD),
    "a rotation": (signed(BOB, "alice", old=ALICE, seq=6), NOW_HELD, ClaimVerdict.ROTATED),
    "a rotation that is older": (
        signed(BOB, "alice", old=ALICE, seq=5), NOW_HELD, Refusal.STALE
    ),
    "a rotation by another key": (
        signed(MALLORY, "alice", old=CAROL, seq=6), NOW_HELD, Refusal.NAME_HELD
    ),
    "the holder's, with a second signature": (
        signed(ALICE, "alice", old=BOB, seq=6), NOW_HELD, ClaimVerdict.NEWER
    ),
}  # fmt: skip


@pytest.mark.parametrize(("claim", "held", "verdict"), CLAIMS.values(), ids=CLAIMS.keys())
def test_every_case_of_a_claim(
    claim: SignedRecord, held: Held | None, verdict: ClaimVerdict | Refusal
) -> None:
    """The first key keeps a name; only it, or who has its signature, changes the record."""
    decision = judge_claim(NOW_MS, claim, held, None, is_full=False)
    if isinstance(verdict, Refusal):
        assert decision == Refused(verdict, "alice")
    else:
        assert decision is verdict


def test_an_old_rotation_is_never_taken_again() -> None:
    """``seq`` does not fall under a name, whichever key holds it.

    Guards the line that compares ``record.seq`` with ``held.seq``: back with the first key, its old
    signature would give the name to the second one once more.
    """
    to_bob = signed(BOB, "alice", old=ALICE, seq=6)
    back = held_by(signed(ALICE, "alice", old=BOB, seq=7))
    assert judge_claim(NOW_MS, to_bob, back, None, is_full=False) == Refused(Refusal.STALE, "alice")


@pytest.mark.parametrize(("ahead_ms", "is_taken"), [(0, True), (1, False)])
def test_a_record_from_the_future_is_refused(ahead_ms: int, is_taken: bool) -> None:
    """But not one whose clock is off by a day or two."""
    claim = signed(ALICE, "alice", issued_ms=NOW_MS + RECORD_AHEAD_MS_MAX + ahead_ms)
    decision = judge_claim(NOW_MS, claim, None, None, is_full=False)
    assert decision == (ClaimVerdict.FIRST if is_taken else Refused(Refusal.ISSUED_AHEAD))


def test_a_name_that_looks_like_another_is_refused() -> None:
    """For the holder too, when it wants to write its name in another way."""
    claim = signed(ALICE, "aIice", seq=6)
    for held in (None, NOW_HELD):
        decision = judge_claim(NOW_MS, claim, held, "alice", is_full=False)
        assert decision == Refused(Refusal.LOOK_ALIKE, "alice")


def test_a_name_that_looks_like_a_reserved_one_is_refused() -> None:
    """Whether a key holds that one or not: nobody can."""
    decision = judge_claim(NOW_MS, signed(ALICE, "aIl"), None, None, is_full=False)
    assert decision == Refused(Refusal.LOOK_ALIKE, "all")


@pytest.mark.parametrize(
    ("claim", "held", "is_taken"),
    [
        (FIRST, None, False),
        (signed(BOB, "alice", old=ALICE, seq=6), NOW_HELD, False),
        (signed(ALICE, "alice", seq=6), NOW_HELD, True),
        (FIRST, NOW_HELD, True),
    ],
    ids=["new", "rotation", "newer", "same"],
)
def test_a_full_directory_takes_nothing_new(
    claim: SignedRecord, held: Held | None, is_taken: bool
) -> None:
    """Who is in it can still renew its record."""
    decision = judge_claim(NOW_MS, claim, held, None, is_full=True)
    assert isinstance(decision, ClaimVerdict) is is_taken
    assert is_taken or decision == Refused(Refusal.FULL)


holders = st.sampled_from([ALICE, BOB, CAROL])
claims = st.builds(
    lambda key, old, seq, lease_s: signed(
        key, "alice", old=None if old is key else old, seq=seq, lease_s=lease_s
    ),
    holders,
    st.one_of(st.none(), holders),
    st.integers(1, 4),
    st.integers(1, 2),
)


@given(st.lists(claims, max_size=12))
@many_examples
def test_whatever_is_claimed_a_name_moves_forward_by_its_holder(many: list[SignedRecord]) -> None:
    """The key changes only with a signature of the one before, and the number only grows."""
    held: Held | None = None
    for claim in many:
        decision = judge_claim(NOW_MS, claim, held, None, is_full=False)
        if isinstance(decision, Refused):
            assert held is not None
            continue
        if held is not None and decision is not ClaimVerdict.SAME:
            assert claim.record.seq > held.seq
            assert held.holder in (claim.record.key, claim.rotated_from)
        held = held_by(claim)


# --- leases of keys ------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked_s", "given_s"), [(60, 60), (LEASE_S_MAX + 1, LEASE_S_MAX)])
def test_the_lease_of_a_record(asked_s: int, given_s: int) -> None:
    """As long as asked for, but nobody gets more than anybody."""
    lease = lease_of(NOW_MS, record(ALICE, "Alice", addresses=(HERE,), lease_s=asked_s))
    assert lease == Lease(
        Name("Alice"),
        HERE,
        NOW_MS + given_s * 1_000,
        durable=False,
        holder=ALICE.peer_id.value,
        length_ms=given_s * 1_000,
        seq=1,
    )
    assert lease.holder != NOBODY


V6 = Address("2001:db8::7", 54_321)


@pytest.mark.parametrize(
    ("addresses", "listed"),
    [((), None), ((V6,), None), ((V6, HERE, ELSEWHERE), HERE)],
    ids=["none", "only IPv6", "the first IPv4"],
)
def test_the_address_in_the_classic_list(
    addresses: tuple[Address, ...], listed: Address | None
) -> None:
    """The first that a classic client can use; without one a name is present, but not listed."""
    assert lease_of(NOW_MS, record(ALICE, "alice", addresses=addresses)).address == listed


# --- names that look alike -----------------------------------------------------------------------


@vectors.vectors("directory.json", "skeleton")
def test_vector_of_a_skeleton(vector: Vector) -> None:
    """The skeleton of a name is what the vector says, and so is the reserved name it looks like."""
    name = Name(vector["text"])
    assert skeleton(name) == vector["skeleton"]
    assert reserved_alike(name) == vector.get("reserved")


@given(vectors.names)
@many_examples
def test_any_name_has_a_skeleton(name: Name) -> None:
    """It is not empty, and has a skeleton of its own that says the same."""
    text = skeleton(name)
    assert text
    assert set(text) <= set(string.ascii_lowercase + string.digits + "._-") - {"0", "1"}
    try:
        again = Name(text)
    except InvalidName:
        assert reserved_alike(name) is not None or len(text) > 32
    else:
        assert skeleton(again) == text


@given(vectors.names, st.sampled_from("._-"))
@many_examples
def test_separators_at_the_end_do_not_count(name: Name, separator: str) -> None:
    """Nobody sees whether there is one dot more."""
    longer = name.shown[:31] + separator
    assert skeleton(Name(longer)) == skeleton(Name(name.shown[:31]))
