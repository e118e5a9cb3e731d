"""What store effects turn out to mean, where no scenario of the pump reaches."""

import pytest
from tests.node.fixtures import (
    BOB,
    Rig,
    an_id,
    arrived,
    mail,
    opened,
    prekey_of,
    record_of,
    send,
    text,
)

from netchat.delivery.effects import Transmit
from netchat.delivery.inputs import (
    Decision,
    DeleteRequested,
    LinkClosed,
    PersonDecided,
    ReceiptArrived,
)
from netchat.delivery.notices import DeleteProgressed, MessagesProgressed
from netchat.model import DeleteOutcome, Item, ItemKind, MessageState


def reading(number: int, hlc: int) -> Item:
    """Word of bob's that he has read everything up to ``hlc``."""
    return Item(number, ItemKind.READ, an_id(100 + number), hlc)


def test_what_the_peer_has_read_is_told_once(rig: Rig) -> None:
    """Only what it had; said again it is no news."""
    rig.effects(opened(), send(1, 2), ReceiptArrived(7, ((1, 1),)))
    rows = rig.rows("SELECT hlc FROM message ORDER BY seq")
    newest = rows[-1][0]
    assert isinstance(newest, int)
    read = MessagesProgressed(BOB, (an_id(1),), MessageState.READ)
    assert read in rig.effects(arrived(reading(1, newest)))
    effects = rig.effects(arrived(reading(2, newest), base=2))
    assert not any(isinstance(effect, MessagesProgressed) for effect in effects)
    assert [state for _, state, _ in rig.messages] == ["read", "queued"]


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ("", DeleteOutcome.APPLIED),
        ("kept", DeleteOutcome.KEPT),
        ("refused", DeleteOutcome.REFUSED),
        ("of-a-later-version", DeleteOutcome.REFUSED),
    ],
)
def test_a_delete_ends_as_the_peer_says(rig: Rig, result: str, outcome: DeleteOutcome) -> None:
    """What we do not know is taken for the worst: the text may still be there."""
    rig.effects(opened(), send(1), ReceiptArrived(7, ((1, 1),)))
    rig.effects(DeleteRequested(an_id(2), BOB))
    effects = rig.effects(ReceiptArrived(7, ((2, 2),), ((2, result),)))
    assert effects == [DeleteProgressed(an_id(2), BOB, outcome)]
    assert rig.rows("SELECT result FROM change") == [(outcome.value,)]


def test_deletes_of_somebody_who_is_forgotten_go_without_a_word(rig: Rig) -> None:
    """The messages end; there is no state of theirs that a delete could come to."""
    rig.effects(opened(), send(1), ReceiptArrived(7, ((1, 1),)), LinkClosed(7, "ended", 0.0))
    rig.effects(DeleteRequested(an_id(2), BOB))
    effects = rig.effects(PersonDecided(1, BOB, Decision.FORGET, 0.0))
    assert not any(isinstance(effect, DeleteProgressed) for effect in effects)
    assert rig.outbox == []


def test_nothing_is_owed_to_somebody_who_is_forgotten(rig: Rig) -> None:
    """Or it would be dialled for that at every start."""
    rig.effects(mail(1, text(50), elsewhere=record_of(prekey=prekey_of("bob"))))
    assert rig.rows("SELECT count(*) FROM owed") == [(1,)]
    rig.effects(PersonDecided(1, BOB, Decision.FORGET, 0.0))
    assert rig.rows("SELECT count(*) FROM owed") == [(0,)]
    assert rig.restart() == []


def test_voided_numbers_are_confirmed_without_a_word(rig: Rig) -> None:
    """A message that was deleted before it left."""
    rig.effects(opened(), LinkClosed(7, "ended", 0.0))
    rig.effects(send(1), DeleteRequested(an_id(2), BOB))
    transmit = rig.effects(opened(8))[-1]
    assert isinstance(transmit, Transmit)
    assert [one.kind for one in transmit.items] == [ItemKind.VOID]
    assert rig.effects(ReceiptArrived(8, ((1, 1),))) == []
    assert rig.messages == [(None, "cancelled", "deleted")]
