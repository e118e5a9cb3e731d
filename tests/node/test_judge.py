"""What the judge adds to an input where no scenario of the pump reaches."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.node.fixtures import (
    BOB,
    BOBS,
    HERE,
    ME,
    NOW,
    OWN,
    Rig,
    an_id,
    arrived,
    keyed,
    located,
    opened,
    record_of,
    send,
    text,
)

from netchat.delivery.inputs import (
    ConfirmArrived,
    DeleteArrived,
    DeleteRequested,
    Found,
    LocateFailed,
    Route,
)
from netchat.delivery.notices import NumbersMissing
from netchat.model import Address, ClaimedName
from netchat.node.judge import Judge
from netchat.node.trusted import Trusted
from netchat.store.arrivals import Arrivals
from netchat.store.database import open_database
from netchat.store.history import History
from netchat.store.outbox import OutboxTable
from netchat.store.peers import Peers

THERE = Address("192.0.2.8", 54_321)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "history.db")) as connection:
        yield connection


@pytest.fixture
def judge(connection: sqlite3.Connection) -> Judge:
    peers = Peers(connection)
    return Judge(
        History(connection),
        OutboxTable(connection),
        peers,
        Arrivals(connection),
        Trusted(peers, ME, OWN.peer_id, allow_classic=True),
    )


@pytest.mark.parametrize(
    "request_", [DeleteRequested(an_id(1), BOB), DeleteRequested(an_id(1), None, an_id(9))]
)
def test_there_may_be_nothing_to_delete(judge: Judge, request_: DeleteRequested) -> None:
    """Nobody need be found for that."""
    checked = judge.delete(request_)
    assert (checked.message, checked.route, checked.seen) == (None, Route.UNKNOWN, False)


def test_a_key_is_dialled_where_its_record_says_and_where_the_list_says(judge: Judge) -> None:
    """The list first, as it is newer; each address once. Where it is is no matter of trust: TLS
    proves the key."""
    judge.send(send(1, found=Found(record_of(addresses=(HERE, THERE)), None)))
    routed = judge.located(NOW, located(Found(None, THERE)))
    assert (routed.route, routed.key) == (Route.KEYED, BOBS.peer_id)
    assert routed.addresses == (THERE, HERE)
    assert routed.answered


def test_without_an_answer_the_pin_has_to_do(judge: Judge) -> None:
    """Its addresses may still be right; it is not known to be away."""
    judge.send(send(1, found=keyed(present=False)))
    routed = judge.located(NOW, LocateFailed(BOB, 0.5))
    assert (routed.route, routed.addresses, routed.present) == (Route.KEYED, (HERE,), True)
    assert (routed.answered, routed.jitter, routed.address) == (False, 0.5, None)


def test_a_prekey_serves_as_long_as_its_record_says(judge: Judge) -> None:
    """After that its secret may be gone."""
    judge.send(send(1, found=keyed()))
    until_ms = 2**50
    assert judge.located(until_ms - 1, located(keyed())).can_mail
    assert not judge.located(until_ms, located(keyed())).can_mail


def test_somebody_unknown_has_no_place(judge: Judge) -> None:
    """Neither key nor address."""
    routed = judge.located(NOW, located(Found(None, None)))
    assert (routed.route, routed.key, routed.addresses) == (Route.NOBODY, None, ())


def test_the_directory_may_know_a_key_that_we_do_not(judge: Judge) -> None:
    """The node asked it: what claims the name of that key stands apart, without a pin."""
    event = DeleteArrived(an_id(1), BOB, "192.0.2.7", is_held=True)
    assert judge.arrival(event).contact == ClaimedName(BOB)


def test_nobody_speaks_over_a_link_that_is_not_admitted(judge: Judge) -> None:
    """There is nobody whom it could be about."""
    assert judge.items(arrived(text(1))) is None
    assert judge.confirmed(ConfirmArrived(7, ((an_id(1), ""),))) is None
    judge.admitted(opened(7))
    assert judge.items(arrived(text(1))) is not None
    assert judge.confirmed(ConfirmArrived(7, ((an_id(1), ""),))) is not None


def test_only_the_first_frame_of_each_link_tells_of_holes(rig: Rig) -> None:
    """Whatever a peer claims to have given up after that."""
    rig.effects(opened(7), arrived(text(1)))

    def missing(link: int, number: int) -> list[int]:
        effects = rig.effects(arrived(text(number), link=link, base=number))
        return [one.count for one in effects if isinstance(one, NumbersMissing)]

    assert missing(7, 10) == []
    rig.effects(opened(8))
    assert missing(8, 20) == [9]
    assert missing(8, 30) == []
