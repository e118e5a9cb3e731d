"""What can be done to a profile while no node runs over it."""

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.node.fixtures import (
    BOB,
    BOBS,
    CLASSIC,
    ME,
    OTHER,
    OWN,
    an_id,
    keyed,
    mail,
    record_of,
    send,
    text,
)

from netchat.api import TrustDecision
from netchat.delivery.inputs import Found
from netchat.errors import (
    IdentityLocked,
    IdentityUnreadable,
    KeyMismatch,
    NoKey,
    StoreUnavailable,
    TrustError,
)
from netchat.identity.keys import Identity
from netchat.identity.numbers import contact_text, safety_number
from netchat.model import TrustState
from netchat.node import offline
from netchat.node.clock import Clock
from netchat.node.pump import Owner, Pump
from netchat.store.database import open_database
from netchat.store.profile import Profile

Ask = Callable[[str, str], str | None]


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Profile]:
    with Profile(tmp_path / "alice") as profile:
        yield profile


def nobody(path: str, reason: str) -> str | None:
    """Nobody is there to be asked."""
    return None


def asks(*answers: str | None) -> tuple[Ask, list[str]]:
    """Somebody who answers so, and the reasons that were given."""
    left, reasons = list(answers), []

    def ask(path: str, reason: str) -> str | None:
        reasons.append(reason)
        return left.pop(0)

    return ask, reasons


def history(profile: Profile, *events: object) -> Sequence[object]:
    """What a node did before, over this profile."""
    with closing(open_database(profile.history_path)) as connection:
        pump = Pump(connection, Owner(ME, OWN.peer_id))
        pump.start(1)
        pump.keep(lambda own: own.put("name", b"Alice"))
        return pump.step_batch(1, events).effects  # type: ignore[arg-type]


# --- the identity --------------------------------------------------------------------------------


def test_an_identity_is_made_once(profile: Profile) -> None:
    """Only where that is wanted, and then it stays."""
    with pytest.raises(IdentityUnreadable) as caught:
        offline.open_identity(profile, nobody)
    assert caught.value.reason == "missing"
    made = offline.open_identity(profile, nobody, make=True)
    assert offline.open_identity(profile, nobody).peer_id == made.peer_id
    assert offline.open_identity(profile, nobody, make=True).peer_id == made.peer_id
    assert not offline.is_locked(profile)


def test_without_an_identity_there_is_nothing_to_lock(profile: Profile) -> None:
    """Nor to copy."""
    assert not offline.is_locked(profile)
    with pytest.raises(IdentityUnreadable, match="missing"):
        offline.export_identity(profile, profile.path / "copy")
    with pytest.raises(IdentityUnreadable, match="missing"):
        offline.relock_identity(profile, nobody, lambda _: None)


def test_a_passphrase_is_put_on_changed_and_taken_off(profile: Profile) -> None:
    """The key stays; whoever chooses is told whether there is one now."""
    profile.write_identity_file(OWN.to_openssh(None))
    told: list[bool] = []

    def choosing(chosen: str | None) -> Callable[[bool], str | None]:
        def choose(is_locked: bool) -> str | None:
            told.append(is_locked)
            return chosen

        return choose

    assert offline.relock_identity(profile, nobody, choosing("first")).peer_id == OWN.peer_id
    assert offline.is_locked(profile)
    ask, reasons = asks("wrong", "first")
    assert offline.relock_identity(profile, ask, choosing(None)).peer_id == OWN.peer_id
    assert reasons == ["passphrase-needed", "wrong-passphrase"]
    assert told == [False, True]
    assert not offline.is_locked(profile)


def test_nobody_who_knows_the_passphrase(profile: Profile) -> None:
    """The error says why, and nothing was changed."""
    profile.write_identity_file(OWN.to_openssh("secret"))
    before = profile.identity_path.read_bytes()
    for answers, reason in (((None,), "passphrase-needed"), (("x", None), "wrong-passphrase")):
        with pytest.raises(IdentityLocked) as caught:
            offline.open_identity(profile, asks(*answers)[0])
        assert (caught.value.path, caught.value.reason) == (str(profile.identity_path), reason)
        with pytest.raises(IdentityLocked):
            offline.relock_identity(profile, asks(*answers)[0], lambda _: None)
    assert profile.identity_path.read_bytes() == before


@pytest.mark.parametrize("passphrase", [None, "secret"])
def test_an_identity_moves_to_another_profile(
    profile: Profile, tmp_path: Path, passphrase: str | None
) -> None:
    """As it is, with its lock; the copy is for its owner only."""
    profile.write_identity_file(OWN.to_openssh(passphrase))
    copy = tmp_path / "copy"
    offline.export_identity(profile, copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with Profile(tmp_path / "other") as other:
        moved = offline.import_identity(other, copy, asks(passphrase)[0])
        assert moved.peer_id == OWN.peer_id
        assert other.read_identity_file() == copy.read_bytes()
        assert offline.is_locked(other) is (passphrase is not None)


def test_a_copy_takes_the_place_of_nothing(profile: Profile, tmp_path: Path) -> None:
    """It may be the only key of something else."""
    profile.write_identity_file(OWN.to_openssh(None))
    copy = tmp_path / "copy"
    copy.write_text("precious")
    with pytest.raises(IdentityUnreadable) as caught:
        offline.export_identity(profile, copy)
    assert caught.value.reason == "exists"
    assert copy.read_text() == "precious"
    with pytest.raises(StoreUnavailable):
        offline.export_identity(profile, tmp_path / "nowhere" / "copy")


def test_an_identity_takes_the_place_of_none(profile: Profile, tmp_path: Path) -> None:
    """Whoever has one would be somebody else."""
    profile.write_identity_file(OWN.to_openssh(None))
    source = tmp_path / "source"
    source.touch(mode=0o600)
    source.write_bytes(Identity.generate().to_openssh(None))
    with pytest.raises(IdentityUnreadable) as caught:
        offline.import_identity(profile, source, nobody)
    assert caught.value.reason == "in-use"
    assert offline.open_identity(profile, nobody).peer_id == OWN.peer_id


def test_what_is_no_identity_is_not_imported(profile: Profile, tmp_path: Path) -> None:
    """Nor what is not there, nor a locked one whose passphrase nobody knows."""
    source = tmp_path / "source"
    with pytest.raises(StoreUnavailable):
        offline.import_identity(profile, source, nobody)
    source.write_bytes(b"Dear diary")
    source.chmod(0o644)
    with pytest.raises(IdentityUnreadable) as refusal:
        offline.import_identity(profile, source, nobody)
    assert refusal.value.reason == "open-to-others"
    source.chmod(0o600)
    with pytest.raises(IdentityUnreadable):
        offline.import_identity(profile, source, nobody)
    source.write_bytes(OWN.to_openssh("secret"))
    with pytest.raises(IdentityLocked):
        offline.import_identity(profile, source, nobody)
    assert profile.read_identity_file() is None


# --- names and trust -----------------------------------------------------------------------------


def test_a_profile_knows_its_last_name(profile: Profile) -> None:
    """As it was written; a new one has none."""
    assert offline.name_of(profile) is None
    history(profile)
    assert str(offline.name_of(profile)) == "Alice"


def test_a_person_is_verified_without_a_node(profile: Profile) -> None:
    """By number or contact text; the next node finds it so."""
    history(profile, send(1, found=keyed()))
    before = offline.person(profile, OWN, BOB)
    number = safety_number(OWN.peer_id, BOBS.peer_id)
    assert (before.state, before.number) == (TrustState.TOFU, number)
    with pytest.raises(KeyMismatch):
        offline.verify(profile, OWN, BOB, contact_text(BOB, OTHER.peer_id))
    assert offline.verify(profile, OWN, BOB, number).state is TrustState.VERIFIED
    assert offline.person(profile, OWN, BOB).state is TrustState.VERIFIED


def test_nobody_is_verified_without_a_key(profile: Profile) -> None:
    """A profile that never ran, too."""
    with pytest.raises(NoKey):
        offline.verify(profile, OWN, BOB, "12345")
    assert offline.person(profile, OWN, BOB).state is TrustState.NONE


def test_a_changed_key_is_decided_on_without_a_node(profile: Profile) -> None:
    """What was held for it is read then, and stands at the time of the decision."""
    changed = record_of(OTHER)
    letter = mail(1, text(1), sender=OTHER, elsewhere=changed)
    history(profile, send(9, found=keyed()), letter)
    waiting = offline.person(profile, OWN, BOB)
    assert (waiting.key, waiting.pending_key) == (BOBS.peer_id, OTHER.peer_id)
    before_ms = Clock().now_ms()
    person = offline.trust(profile, OWN, BOB, TrustDecision.ACCEPT)
    assert (person.key, person.pending_key) == (OTHER.peer_id, None)
    with closing(open_database(profile.history_path)) as connection:
        pump = Pump(connection, Owner(ME, OWN.peer_id))
        (message,) = [one for one in pump.page(BOB, None, 9) if not one.outgoing]
        assert message.message_id == an_id(1)
        assert before_ms <= message.at_ms <= Clock().now_ms()
        assert pump.start(1)  # what was owed and what waits is taken up


@pytest.mark.parametrize("decision", [TrustDecision.ACCEPT, TrustDecision.REFUSE])
def test_there_is_nothing_to_decide(profile: Profile, decision: TrustDecision) -> None:
    """No other key waits."""
    history(profile, send(1, found=keyed()))
    with pytest.raises(NoKey):
        offline.trust(profile, OWN, BOB, decision)


def test_plain_text_is_allowed_to_who_has_no_key_only(profile: Profile) -> None:
    """The error says that it is about trust."""
    history(profile, send(1, found=CLASSIC))
    assert offline.trust(profile, OWN, BOB, TrustDecision.ALLOW_CLASSIC).classic_allowed
    history(profile, send(2, found=keyed()))
    with pytest.raises(TrustError):
        offline.trust(profile, OWN, BOB, TrustDecision.ALLOW_CLASSIC)


def test_somebody_is_forgotten_without_a_node(profile: Profile) -> None:
    """Their key and what waits for them; the next key is the first one."""
    history(profile, send(1, found=keyed()))
    assert offline.trust(profile, OWN, BOB, TrustDecision.FORGET).state is TrustState.NONE
    history(profile, send(2, found=Found(record_of(OTHER), None)))
    assert offline.person(profile, OWN, BOB).key == OTHER.peer_id


def test_a_disk_that_refuses_a_decision_is_an_error(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was changed."""
    history(profile, send(1, found=keyed()))
    with closing(open_database(profile.history_path)) as other:
        other.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON pin BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(StoreUnavailable):
        offline.trust(profile, OWN, BOB, TrustDecision.FORGET)
    assert offline.person(profile, OWN, BOB).key == BOBS.peer_id
