"""The rules of registration: every case in a table, and what holds in all of them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import vectors
from tests.vectors import many_examples

from netchat.directory.registry import Decision, Lease, Refusal, Verdict, decide
from netchat.limits import ADDRESSES_MAX, LEASE_S_MAX
from netchat.model import Address, Name
from netchat.wire.directory import LeaseAction, LeaseWish, Registration, Verb

NOW_MS = 1_000_000
CLASSIC_TTL_MS = 86_400_000
HERE = Address("192.0.2.7", 54_321)
ELSEWHERE = Address("192.0.2.8", 54_321)
ALICE = Name("alice")

WISHES = {
    "classic": None,
    "take": LeaseWish(LeaseAction.TAKE, 60),
    "keep": LeaseWish(LeaseAction.KEEP, 60),
    "end": LeaseWish(LeaseAction.END),
}
PRESENT = {
    "nobody": None,
    "expired here": Lease(ALICE, HERE, NOW_MS, durable=False),
    "expired elsewhere": Lease(ALICE, ELSEWHERE, NOW_MS, durable=True),
    "here": Lease(ALICE, HERE, NOW_MS + 1, durable=False),
    "elsewhere": Lease(ALICE, ELSEWHERE, NOW_MS + 1, durable=True),
}
COUNTS = {"room": ADDRESSES_MAX - 1, "full": ADDRESSES_MAX}

GRANT, END, NOTHING = Verdict.GRANT, Verdict.END, Verdict.NOTHING
TAKEN, MOVED, FULL = Refusal.TAKEN, Refusal.MOVED, Refusal.FULL

# What comes of a registration from HERE, by who is present under the name.
# An entry that has expired is nobody; only a name that is new needs room.
EXPECTED: dict[tuple[str, str], dict[str, Verdict | Refusal]] = {
    # verb, wish             nobody                 here                elsewhere
    ("UPDATE", "classic"): {"nobody": GRANT, "here": GRANT, "elsewhere": GRANT},
    ("UPDATE", "take"): {"nobody": GRANT, "here": GRANT, "elsewhere": GRANT},
    ("UPDATE", "keep"): {"nobody": GRANT, "here": GRANT, "elsewhere": MOVED},
    ("UPDATE", "end"): {"nobody": NOTHING, "here": END, "elsewhere": NOTHING},
    ("REGISTER", "classic"): {"nobody": GRANT, "here": TAKEN, "elsewhere": TAKEN},
    ("REGISTER", "take"): {"nobody": GRANT, "here": TAKEN, "elsewhere": TAKEN},
    ("REGISTER", "keep"): {"nobody": GRANT, "here": TAKEN, "elsewhere": TAKEN},
    ("REGISTER", "end"): {"nobody": NOTHING, "here": END, "elsewhere": NOTHING},
}


def expected(verb: str, wish: str, present: str, count: str) -> Verdict | Refusal:
    who = "nobody" if present.startswith("expired") else present
    verdict = EXPECTED[verb, wish][who]
    return FULL if verdict is GRANT and who == "nobody" and count == "full" else verdict


@pytest.mark.parametrize(
    ("verb", "wish", "present", "count"),
    list(itertools.product(("UPDATE", "REGISTER"), WISHES, PRESENT, COUNTS)),
)
def test_every_case(verb: str, wish: str, present: str, count: str) -> None:
    """Verb, wish, who is present and whether there is room decide, as the table says."""
    request = Registration(Verb(verb), ALICE, HERE)
    decision = decide(
        NOW_MS, request, WISHES[wish], PRESENT[present], COUNTS[count], CLASSIC_TTL_MS
    )
    verdict = decision.verdict if isinstance(decision, Decision) else decision
    assert verdict == expected(verb, wish, present, count)


@pytest.mark.parametrize(
    ("wish", "lease"),
    [
        (WISHES["classic"], Lease(ALICE, HERE, NOW_MS + CLASSIC_TTL_MS, durable=True)),
        (WISHES["take"], Lease(ALICE, HERE, NOW_MS + 60_000, durable=False)),
        (WISHES["keep"], Lease(ALICE, HERE, NOW_MS + 60_000, durable=False)),
    ],
)
def test_what_is_granted(wish: LeaseWish | None, lease: Lease) -> None:
    """A classic entry lasts long and on disk; a lease lasts as asked for, in memory."""
    request = Registration(Verb.UPDATE, ALICE, HERE)
    assert decide(NOW_MS, request, wish, None, 0, CLASSIC_TTL_MS) == Decision(GRANT, lease)


def test_a_lease_is_live_until_its_last_millisecond() -> None:
    """At ``expires_ms`` it has ended: neighbours in time never both hold it."""
    lease = Lease(ALICE, HERE, NOW_MS, durable=False)
    assert lease.is_live(NOW_MS - 1)
    assert not lease.is_live(NOW_MS)


# --- whatever the case ---------------------------------------------------------------------------

addresses = st.sampled_from([HERE, ELSEWHERE])
spellings = st.sampled_from([ALICE, Name("ALICE")])
requests = st.builds(Registration, st.sampled_from(Verb), spellings, addresses)
wishes = st.one_of(
    st.none(),
    st.just(LeaseWish(LeaseAction.END)),
    st.builds(
        LeaseWish,
        st.sampled_from([LeaseAction.TAKE, LeaseAction.KEEP]),
        st.integers(1, LEASE_S_MAX),
    ),
)
moments = st.integers(0, 2 * NOW_MS)
leases = st.one_of(st.none(), st.builds(Lease, spellings, addresses, moments, st.booleans()))
counts = st.one_of(st.integers(0, ADDRESSES_MAX + 1), st.sampled_from([*COUNTS.values()]))


@given(moments, requests, wishes, leases, counts, st.integers(0, CLASSIC_TTL_MS))
@many_examples
def test_whatever_is_asked(
    now_ms: int,
    request: Registration,
    wish: LeaseWish | None,
    present: Lease | None,
    count: int,
    ttl_ms: int,
) -> None:
    """The rules are the same at every time, for every spelling, address and length."""
    decision = decide(now_ms, request, wish, present, count, ttl_ms)
    live = present is not None and present.is_live(now_ms)
    if not live:
        assert decision == decide(now_ms, request, wish, None, count, ttl_ms)
    match decision:
        case Decision(Verdict.GRANT, lease):
            assert lease.address == request.address
            assert lease.name.shown == request.name.shown
            assert lease.durable is (wish is None)
            asked_ms = ttl_ms if wish is None else wish.seconds * 1_000
            assert lease.expires_ms == now_ms + asked_ms
            assert live or count < ADDRESSES_MAX
        case Decision(Verdict.END, lease):
            assert live
            assert lease == present
            assert lease.address == request.address
        case Decision(Verdict.NOTHING, _):
            assert wish is not None
            assert wish.action is LeaseAction.END
        case Refusal.FULL:
            assert not live
            assert count >= ADDRESSES_MAX
        case Refusal.TAKEN:
            assert live
            assert request.verb is Verb.REGISTER
        case Refusal.MOVED:
            assert live
            assert present is not None
            assert present.address != request.address


@given(vectors.names, vectors.reachable_addresses, st.integers(1, LEASE_S_MAX))
@many_examples
def test_what_is_granted_can_be_kept_and_ended(name: Name, address: Address, seconds: int) -> None:
    """A node that was granted a lease may prolong it while it lives, and give it up."""
    request = Registration(Verb.UPDATE, name, address)
    take, keep = (LeaseWish(action, seconds) for action in (LeaseAction.TAKE, LeaseAction.KEEP))
    granted = decide(NOW_MS, request, take, None, 0, CLASSIC_TTL_MS)
    assert isinstance(granted, Decision)
    later_ms = granted.lease.expires_ms - 1
    kept = decide(later_ms, request, keep, granted.lease, 1, CLASSIC_TTL_MS)
    assert isinstance(kept, Decision)
    assert kept.lease.expires_ms == later_ms + seconds * 1_000
    end = LeaseWish(LeaseAction.END)
    ended = decide(later_ms, request, end, kept.lease, 1, CLASSIC_TTL_MS)
    assert ended == Decision(Verdict.END, kept.lease)
