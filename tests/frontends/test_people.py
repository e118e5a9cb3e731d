"""VERIFY, TRUST and WHOAMI, byte for byte, on a node that does what it is told."""

import asyncio

import pytest
from tests.frontends.faces import Face, typed
from tests.frontends.fake_node import OWN_KEY, FakeNode

from netchat.api import Person, TrustDecision
from netchat.errors import KeyMismatch, NetChatError, NoKey
from netchat.frontends import qr, words
from netchat.model import Name, PeerId, TrustState

KEY, NEW_KEY = PeerId(bytes(32)), PeerId(b"\xff" * 32)
KEY_TEXT = "netchat:1:bob:" + "A" * 43
NEW_KEY_TEXT = "netchat:1:bob:" + "_" * 42 + "8"
NUMBER, NEW_NUMBER = "11111 22222", "33333 44444"
COMPARE = (
    "netchat: bob is shown the same safety number under your name; compare them in person or by"
    ' phone. If they are equal: VERIFY bob "THE NUMBER"; if not, somebody is between you.'
)
DECIDE = (
    "netchat: compare the new number with bob, in person or by phone. If it is the same there:"
    ' TRUST bob "accept"; if not: TRUST bob "refuse".'
)
PERSONS: dict[str, tuple[Person, list[str]]] = {
    "nobody": (
        Person(name=Name("bob"), state=TrustState.NONE),
        [">>Trust in bob: nothing is known yet"],
    ),
    "allowed before": (
        Person(name=Name("bob"), state=TrustState.NONE, classic_allowed=True),
        [">>Trust in bob: nothing is known yet; plain text is allowed"],
    ),
    "classic": (
        Person(name=Name("bob"), state=TrustState.CLASSIC),
        [">>Trust in bob: classic NetChat, not encrypted"],
    ),
    "classic and allowed": (
        Person(name=Name("bob"), state=TrustState.CLASSIC, classic_allowed=True),
        [">>Trust in bob: classic NetChat, not encrypted; plain text is allowed"],
    ),
    "first key": (
        Person(name=Name("bob"), state=TrustState.TOFU, key=KEY, number=NUMBER),
        [
            ">>Trust in bob: first key, not verified",
            f">>Key of bob: {KEY_TEXT}",
            ">>Safety number with bob: 11111 22222",
        ],
    ),
    "verified": (
        Person(
            name=Name("bob"),
            state=TrustState.VERIFIED,
            key=KEY,
            number=NUMBER,
            classic_allowed=True,  # means nothing where there is a key
        ),
        [
            ">>Trust in bob: verified",
            f">>Key of bob: {KEY_TEXT}",
            ">>Safety number with bob: 11111 22222",
        ],
    ),
    "another key": (
        Person(
            name=Name("bob"),
            state=TrustState.VERIFIED,
            key=KEY,
            number=NUMBER,
            pending_key=NEW_KEY,
            pending_number=NEW_NUMBER,
        ),
        [
            ">>Trust in bob: verified; stopped, because another key came",
            f">>Key of bob: {KEY_TEXT}",
            ">>Safety number with bob: 11111 22222",
            f">>New key of bob: {NEW_KEY_TEXT}",
            ">>Safety number with the new key of bob: 33333 44444",
        ],
    ),
}


def node_with(person: Person) -> FakeNode:
    node = FakeNode()
    node.persons[person.name] = person
    return node


@pytest.mark.parametrize(("person", "lines"), PERSONS.values(), ids=PERSONS)
def test_trust_shows_what_is_held(person: Person, lines: list[str]) -> None:
    face = typed(node_with(person), "TRUST bob")
    assert face.facts == lines
    assert face.notes == ([DECIDE] if person.pending_key else [])
    assert not face.session.failed
    assert face.node.decisions == []


@pytest.mark.parametrize(("person", "lines"), PERSONS.values(), ids=PERSONS)
def test_verify_shows_what_to_compare(person: Person, lines: list[str]) -> None:
    face = typed(node_with(person), "VERIFY bob")
    if person.key is None:
        no_key = words.sentence(NoKey("bob"))
        assert face.facts == [f">>Failed to verify bob: {no_key}"]
        assert face.notes == []
    else:
        assert face.facts == lines
        is_compared = person.state is TrustState.VERIFIED
        expected = [DECIDE] if person.pending_key else [] if is_compared else [COMPARE]
        assert face.notes == expected
    assert face.session.failed is (person.key is None)
    assert face.node.proofs == []


@pytest.mark.parametrize("proof", ["11111 22222", KEY_TEXT])
def test_verify_with_what_was_compared(proof: str) -> None:
    node = node_with(PERSONS["first key"][0])
    face = typed(node, f'VERIFY bob "{proof}"')
    assert face.facts == [">>Key of bob verified!"]
    assert face.notes == []
    assert node.proofs == [("bob", proof)]
    assert not face.session.failed


@pytest.mark.parametrize("error", [KeyMismatch("bob"), NoKey("bob")])
def test_verify_with_what_does_not_fit(error: NetChatError) -> None:
    face = typed(FakeNode(errors={"verify": error}), 'VERIFY bob "1"')
    assert face.facts == [f">>Failed to verify bob: {words.sentence(error)}"]
    assert face.notes == []
    assert face.session.failed


DECISIONS = {
    "accept": (
        ">>New key of bob accepted!",
        "netchat: what waited for bob goes on; this key is not verified yet.",
    ),
    "refuse": (
        ">>New key of bob refused!",
        "netchat: the key you know stays, and what came from the other one is dropped; you are not"
        " asked about that one again unless yet another key comes.",
    ),
    "classic": (
        ">>Plain text to bob allowed!",
        "netchat: anybody on the network can read what you send to bob.",
    ),
    "forget": (
        ">>Key of bob forgotten!",
        "netchat: the next key that comes under this name is taken for the one of bob, also one"
        " that you refused before.",
    ),
}


@pytest.mark.parametrize("typed_decision", DECISIONS)
def test_trust_hands_on_a_decision(typed_decision: str) -> None:
    node = FakeNode()
    face = typed(node, f'TRUST bob "{typed_decision}"')
    fact, note = DECISIONS[typed_decision]
    assert (face.facts, face.notes) == ([fact], [note])
    assert node.decisions == [("bob", TrustDecision(typed_decision))]
    assert not face.session.failed


def test_every_decision_is_tried() -> None:
    assert set(DECISIONS) == {one.value for one in TrustDecision}


def test_leave_for_plain_text_means_nothing_where_there_is_a_key() -> None:
    face = typed(node_with(PERSONS["verified"][0]), 'TRUST bob "classic"')
    assert face.notes == [
        "netchat: bob has a key, so what you send to bob is encrypted all the same."
    ]


def test_a_decision_on_a_key_that_does_not_wait() -> None:
    face = typed(FakeNode(errors={"trust": NoKey("bob")}), 'TRUST bob "accept"')
    assert face.facts == [f">>Failed to decide on bob: {words.sentence(NoKey('bob'))}"]
    assert face.notes == []
    assert face.session.failed


@pytest.mark.parametrize(
    "line", ["VERIFY b@b", 'VERIFY b@b "1"', "TRUST ~bob", 'TRUST b@b "accept"', "VERIFY user"]
)
def test_what_is_no_name_is_nobody(line: str) -> None:
    face = typed(FakeNode(), line)
    assert face.facts == [">>User not found!"]
    assert face.session.failed
    assert face.node.proofs == face.node.decisions == []


OWN_TEXT = "netchat:1:alice:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_whoami() -> None:
    face = typed(FakeNode(), "WHOAMI")
    assert face.facts == [">>You are alice", f">>Your key: {OWN_TEXT}"]
    assert str(OWN_KEY) == OWN_TEXT.removeprefix("netchat:1:alice:")
    assert face.notes == face.drawn == []
    assert not face.session.failed


def test_whoami_where_a_picture_can_be_seen() -> None:
    face = asyncio.run(Face(FakeNode(), draws=True).type("WHOAMI"))
    assert face.facts == [">>You are alice", f">>Your key: {OWN_TEXT}"]
    assert face.drawn == [qr.picture(OWN_TEXT)]
