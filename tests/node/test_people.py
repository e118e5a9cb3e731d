"""What a face sees of a pin, and which proofs are taken."""

import pytest
from tests.node.fixtures import BOB, BOBS, OTHER, OWN, record_of

from netchat.errors import KeyMismatch, NoKey
from netchat.identity.numbers import contact_text, safety_number
from netchat.model import Name, Pin, TrustState
from netchat.node.people import person_of, proven_key

PIN = Pin(name=BOB, state=TrustState.TOFU, key=BOBS.peer_id, record=record_of())
NUMBER = safety_number(OWN.peer_id, BOBS.peer_id)


def test_a_pin_is_shown_with_its_safety_number() -> None:
    """The one that bob's side shows for us."""
    person = person_of(PIN, OWN.peer_id)
    assert (person.name, person.state, person.key) == (BOB, TrustState.TOFU, BOBS.peer_id)
    assert person.number == safety_number(BOBS.peer_id, OWN.peer_id)
    assert (person.pending_key, person.pending_number) == (None, None)


def test_a_key_that_waits_is_shown_beside_the_other() -> None:
    """So that a person can compare both."""
    pin = Pin(name=BOB, state=TrustState.TOFU, key=BOBS.peer_id, pending=record_of(OTHER))
    person = person_of(pin, OWN.peer_id)
    assert person.number == NUMBER
    assert person.pending_key == OTHER.peer_id
    assert person.pending_number == safety_number(OWN.peer_id, OTHER.peer_id)


def test_somebody_without_a_key_has_no_number() -> None:
    """There is nothing to compare."""
    person = person_of(Pin(name=BOB, classic_allowed=True), OWN.peer_id)
    assert (person.key, person.number, person.classic_allowed) == (None, None, True)


@pytest.mark.parametrize(
    "proof",
    [
        NUMBER,
        NUMBER.replace(" ", ""),
        f"  {NUMBER.replace(' ', '  ')}\n",
        contact_text(BOB, BOBS.peer_id),
        f" {contact_text(Name('BOB'), BOBS.peer_id)}\n",
    ],
)
def test_a_proof_of_the_pinned_key(proof: str) -> None:
    """The number however it is spaced, or the other side's contact text."""
    assert proven_key(PIN, OWN.peer_id, proof) == BOBS.peer_id


@pytest.mark.parametrize(
    "proof",
    [
        "",
        NUMBER[:-1],
        NUMBER + "0",
        safety_number(OWN.peer_id, OTHER.peer_id),
        contact_text(BOB, OTHER.peer_id),
        contact_text(Name("carol"), BOBS.peer_id),
        "netchat:1:bob:no-key",
        "netchat:",
        str(BOBS.peer_id),
    ],
)
def test_what_is_no_proof_of_it(proof: str) -> None:
    """Of another key or name, or of nothing."""
    with pytest.raises(KeyMismatch):
        proven_key(PIN, OWN.peer_id, proof)


def test_nothing_can_be_proven_of_nobody() -> None:
    """No key is pinned."""
    with pytest.raises(NoKey):
        proven_key(Pin(name=BOB), OWN.peer_id, NUMBER)
