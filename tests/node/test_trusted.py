"""Names and keys as a profile holds them, where no scenario of the pump reaches."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.node.fixtures import (
    BOB,
    BOBS,
    CAROL,
    CLASSIC,
    ME,
    NOBODY,
    OTHER,
    OWN,
    keyed,
    mail,
    opened,
    record_of,
)

from netchat.delivery.inputs import Decision, Found, Route
from netchat.delivery.notices import RecordRefused
from netchat.errors import StoreUnavailable
from netchat.model import Name, TrustState
from netchat.node import trusted as trusted_module
from netchat.node.trusted import Admission, Entrance, Trusted
from netchat.store.database import open_database
from netchat.store.peers import Peers
from netchat.wire.records import format_envelope, parse_envelope


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "history.db")) as connection:
        yield connection


@pytest.fixture
def peers(connection: sqlite3.Connection) -> Peers:
    return Peers(connection)


def trusted(peers: Peers, *, allow_classic: bool = False) -> Trusted:
    return Trusted(peers, ME, OWN.peer_id, allow_classic=allow_classic)


@pytest.mark.parametrize(
    ("found", "route"),
    [
        (None, Route.UNKNOWN),
        (NOBODY, Route.NOBODY),
        (CLASSIC, Route.CLASSIC_REFUSED),
        (keyed(), Route.KEYED),
        (Found(record_of(), CLASSIC.address), Route.KEYED),
    ],
)
def test_the_way_to_somebody_new(peers: Peers, found: Found | None, route: Route) -> None:
    """By what the directory says, or because nobody could be asked."""
    assert trusted(peers).route(BOB, found) is route
    assert trusted(peers).route(Name("Alice"), found) is Route.SELF


def test_the_way_to_somebody_known_without_an_answer(peers: Peers) -> None:
    """As it was; a friend who is in no directory now is not nobody."""
    one = trusted(peers, allow_classic=True)
    one.route(BOB, keyed())
    one.route(CAROL, CLASSIC)
    again = trusted(peers, allow_classic=True)
    assert (again.standing(BOB), again.standing(CAROL)) == (Route.KEYED, Route.CLASSIC)
    assert again.route(BOB, NOBODY) is Route.KEYED
    assert again.route(CAROL, NOBODY) is Route.CLASSIC
    assert trusted(peers).standing(CAROL) is Route.CLASSIC_REFUSED
    peers.add(Name("dave"))
    assert again.route(Name("dave"), NOBODY) is Route.UNKNOWN


def test_a_pin_is_written_only_when_it_changes(
    connection: sqlite3.Connection, peers: Peers
) -> None:
    """Each lookup sees the same record again."""
    one = trusted(peers)
    one.route(BOB, keyed())
    one.route(CAROL, CLASSIC)
    before = connection.total_changes
    one.route(BOB, keyed())
    one.route(CAROL, CLASSIC)
    one.admit(opened())
    assert connection.total_changes == before


def test_a_pin_on_disk_that_was_tampered_with_is_not_believed(
    connection: sqlite3.Connection, peers: Peers
) -> None:
    """A record is verified each time it is read."""
    trusted(peers).route(BOB, keyed())
    envelope = parse_envelope(record_of().envelope)
    forged = replace(envelope, signatures=((BOBS.peer_id, bytes(64)),))
    connection.execute("UPDATE pin SET record = ?", (format_envelope(forged),))
    with pytest.raises(StoreUnavailable, match="damaged"):
        trusted(peers).pin(BOB)


def test_names_that_strangers_make_up_are_not_kept(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    """Neither those without a pin, nor more pins in memory than there is room for."""
    monkeypatch.setattr(trusted_module, "PINS_CACHED_MAX", 2)
    one = trusted(peers)
    for number in range(5):
        name = Name(f"made-up-{number}")
        assert one.pin(name).key is None
        assert one._pins == {}
    for name in (BOB, CAROL, Name("dave")):
        one.route(name, keyed(name=name))
        assert len(one._pins) <= 2
    assert [one.pin(name).key for name in (BOB, CAROL)] == [BOBS.peer_id] * 2


def test_a_profile_has_room_for_so_many_names(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    """Of strangers; who is known already is known."""
    one = trusted(peers)
    one.route(CAROL, keyed(name=CAROL))
    monkeypatch.setattr(trusted_module, "PINS_MAX", 1)
    new = record_of()
    assert one.admit(opened(1, new, new)) == Admission(Entrance.CLOSED, "too-many-names")
    assert one.receive(mail(1, elsewhere=new)).entrance is Entrance.CLOSED
    assert one.receive(mail(2, name=CAROL)).entrance is Entrance.OPEN
    assert [str(pin.name) for pin in one.pins()] == ["carol"]


def test_who_calls_may_come_in(peers: Peers) -> None:
    """A stranger when no directory can be asked, a friend with a newer record; not a fork."""
    one = trusted(peers)
    assert one.admit(opened(1, record_of(seq=1))) == Admission(Entrance.OPEN)
    assert one.admit(opened(2, record_of(seq=5))) == Admission(Entrance.OPEN)
    newest = one.pin(BOB).record
    assert newest is not None
    assert newest.record.seq == 5
    forked = record_of(seq=5, addresses=())
    assert one.admit(opened(3, forked)) == Admission(Entrance.CLOSED, "record-refused")


def test_a_rotation_that_the_directory_knows_comes_in(peers: Peers) -> None:
    """The record of the link itself need not carry the old key's signature."""
    one = trusted(peers)
    one.route(BOB, keyed())
    moved = record_of(OTHER, old=BOBS)
    assert one.admit(opened(1, record_of(OTHER, seq=2), moved)) == Admission(Entrance.OPEN)
    assert one.pin(BOB).key == OTHER.peer_id


def test_decisions_that_cannot_be(peers: Peers) -> None:
    """Each with the code of why."""
    one = trusted(peers)
    assert one.decide(BOB, Decision.ACCEPT, None) == "no-key"
    assert one.decide(BOB, Decision.VERIFIED, BOBS.peer_id) == "no-key"
    one.route(BOB, keyed())
    assert one.decide(BOB, Decision.VERIFIED, OTHER.peer_id) == "key-mismatch"
    assert one.decide(BOB, Decision.ALLOW_CLASSIC, None) == "identity-refused"
    assert one.pin(BOB).state is TrustState.TOFU


def rollbacks(one: Trusted) -> int:
    return sum(notice == RecordRefused(BOB, "rollback") for notice in one.take_notices())


def test_numbers_of_the_key_before_a_rotation_raise_no_alarm(peers: Peers) -> None:
    """They begin anew with each key: what the directory gave of the old one says nothing."""
    one = trusted(peers)
    one.route(BOB, Found(record_of(seq=9), None))
    one.route(BOB, Found(record_of(OTHER, seq=5, old=BOBS), None))
    one.admit(opened(1, record_of(OTHER, seq=8)))
    one.route(BOB, Found(record_of(OTHER, seq=6), None))
    assert rollbacks(one) == 0
    one.route(BOB, Found(record_of(OTHER, seq=5, old=BOBS), None))
    assert rollbacks(one) == 1


def test_a_foreign_record_hides_no_rollback(peers: Peers) -> None:
    """What a directory gave of the pinned key is remembered, whatever it shows in between."""
    one = trusted(peers)
    one.route(BOB, Found(record_of(seq=9), None))
    one.route(BOB, Found(record_of(OTHER, seq=3), None))
    one.decide(BOB, Decision.REFUSE, None)
    one.route(BOB, Found(record_of(seq=4), None))
    assert rollbacks(one) == 1
