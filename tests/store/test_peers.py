"""Peers on disk: how they are written, where they were, who holds their names, what is counted."""

import sqlite3
from dataclasses import replace

import pytest
from tests.store.conftest import Rows
from tests.store.people import BOB, BOBS, CAROL, CAROLS, CLAIMED

from netchat.delivery.checked import Whereabouts
from netchat.model import Address, Name, TrustState
from netchat.store.peers import Peers, PinRow


@pytest.fixture
def peers(connection: sqlite3.Connection) -> Peers:
    return Peers(connection)


def a_pin(
    name: Name = BOB,
    state: TrustState = TrustState.TOFU,
    record: bytes | None = b"record",
    pending: bytes | None = None,
) -> PinRow:
    return PinRow(name, state, BOBS, record, pending, classic_allowed=False)


def test_a_peer_is_known_from_when_it_was_added(peers: Peers, rows: Rows) -> None:
    """As it was first written; somebody who only claims its name is another one."""
    assert not peers.knows(BOB)
    peers.add(BOB)
    peers.add(Name("bOB"))
    assert peers.knows(Name("BOB"))
    assert not peers.knows(CLAIMED)
    peers.add(CLAIMED)
    assert rows("SELECT name_key, shown FROM peer ORDER BY name_key") == [
        ("bob", "Bob"),
        ("~bob", "~Bob"),
    ]


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::1"])
def test_the_last_address_is_remembered(peers: Peers, host: str) -> None:
    """With when it was told; a later one takes its place; of some peers none is known."""
    peers.add(BOB)
    assert peers.last_seen_at(BOB) is None
    assert peers.last_seen_at(CAROL) is None
    peers.set_address(BOB, Address("192.0.2.1", 1), 1)
    peers.set_address(BOB, Address(host, 5_000), 2)
    assert peers.last_seen_at(BOB) == Whereabouts(Address(host, 5_000), 2)


def test_an_address_makes_a_peer_known(peers: Peers) -> None:
    """Somebody in a directory may be written to."""
    peers.set_address(CAROL, Address("192.0.2.7", 5_000), 1)
    assert peers.knows(CAROL)


# --- numbers -------------------------------------------------------------------------------------


def test_numbers_begin_at_nothing(peers: Peers) -> None:
    """For a stranger, too."""
    peers.add(BOB)
    assert peers.numbers(BOB) == (0, 0)
    assert peers.numbers(CAROL) == (0, 0)


def test_what_goes_out_at_once_has_left(peers: Peers) -> None:
    """The number of the newest item, and of the newest that may have left this machine."""
    peers.add(BOB)
    peers.set_last(BOB, 3, left=False)
    assert peers.numbers(BOB) == (3, 0)
    peers.set_last(BOB, 4, left=True)
    assert peers.numbers(BOB) == (4, 4)
    peers.set_last(BOB, 6, left=False)
    assert peers.numbers(BOB) == (6, 4)


def test_what_has_left_never_comes_back(peers: Peers) -> None:
    """A message that may have left is never called cancelled again."""
    peers.add(BOB)
    peers.set_last(BOB, 9, left=False)
    peers.mark_left(BOB, 5)
    peers.mark_left(BOB, 3)
    assert peers.numbers(BOB) == (9, 5)


# --- pins ----------------------------------------------------------------------------------------


def test_a_pin_comes_back_as_it_was_put(peers: Peers) -> None:
    """Its records as the bytes that were signed, and the key that a person decided against."""
    pin = replace(a_pin(pending=b"\xff\x00", state=TrustState.VERIFIED), refused=CAROLS)
    peers.put_pin(pin)
    assert peers.pin(Name("bob")) == pin
    assert peers.pin(CAROL) is None


def test_a_pin_takes_the_place_of_the_one_before(peers: Peers) -> None:
    """Everything of it: what is None now is None on disk."""
    peers.put_pin(a_pin(pending=b"other"))
    empty = PinRow(BOB, TrustState.NONE, None, None, None, classic_allowed=True)
    peers.put_pin(empty)
    assert peers.pin(BOB) == empty
    assert peers.pins() == [empty]


def test_pins_are_in_the_order_of_their_names(peers: Peers) -> None:
    for name in ("zoe", "Ann", "bob"):
        peers.put_pin(a_pin(Name(name)))
    assert [str(pin.name) for pin in peers.pins()] == ["Ann", "bob", "zoe"]
    assert peers.pin_count() == 3


def test_a_holder_has_the_size_of_a_key(peers: Peers, connection: sqlite3.Connection) -> None:
    """The schema is the second guard."""
    peers.add(BOB)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(
            "INSERT INTO pin (name_key, state, holder, classic_allowed)"
            " VALUES ('bob', 'tofu', x'00', 0)"
        )
